"""How Runbooks spell kinds, and what to write instead of a spelling that is none."""

import re
from typing import Final

from remediator.domain.objects import BUILT_IN
from remediator.engine.manifests import nearest, shown

EXTERNAL: Final = "external"

_FOREIGN: Final = re.compile(r"[a-z][a-z0-9]*(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+")
_SECRETS: Final = ("secret", "secrets")


def kind_objection(kind: str) -> str:
    """Why the text names no kind that may be used, and what to write; empty if it does."""
    if kind in BUILT_IN or kind == EXTERNAL:
        return ""
    singular, _, group = kind.partition(".")
    if singular.lower() in _SECRETS and not group:
        return "Secrets are not read and not changed; name the workload that uses it"
    built_in = next(
        (known for known in BUILT_IN.values() if singular.lower() in (known.kind.lower(), known.plural)), None
    )
    if built_in is not None and group in ("", built_in.group):
        return f"{shown(kind)} is spelled {built_in.kind}"
    if not group:
        return f"there is no built-in kind {shown(kind)}{nearest(kind, BUILT_IN)}; others are spelled as in certificate.cert-manager.io"
    if not _FOREIGN.fullmatch(kind):
        return f"{shown(kind)} is not spelled as kubectl does: kind in small letters, point, group, as in certificate.cert-manager.io"
    return ""


def is_cluster_scoped(kind: str) -> bool:
    """Whether objects of the kind are in no namespace, as far as that is known without asking."""
    built_in = BUILT_IN.get(kind)
    return built_in is not None and not built_in.namespaced
