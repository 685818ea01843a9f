"""
The roles that follow from what actions declare: what may be read, and what a change takes.

`remediator-read` is bound to the operator by the base install. `remediator-change` is bound to nobody
there: whoever lets a namespace's runs change something binds it to the account that they act as.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from remediator.domain.actions import ActionInfo, Permission
from remediator.domain.objects import BUILT_IN
from remediator.generate.crds import LABELS

READ: Final = "remediator-read"
CHANGE: Final = "remediator-change"

_READING: Final = frozenset({"get", "list", "watch"})
_Needed = dict[tuple[str, str], set[str]]


def roles(actions: Iterable[ActionInfo]) -> list[dict[str, Any]]:
    """Both ClusterRoles."""
    known = list(actions)
    read: _Needed = {}
    # A target, and what `get` names, may be of any kind that Runbooks know without a group.
    for kind in BUILT_IN.values():
        _add(read, Permission(kind.group, kind.plural, ("get", "list")))
    for info in known:
        for permission in info.permissions:
            _add(read, permission, only=_READING)
    change: _Needed = {}
    for info in known:
        if info.changes:
            for permission in info.permissions:
                _add(change, permission)
    return [
        _role(READ, "What diagnostics read, and what is looked at before and after a change.", read),
        _role(CHANGE, "What the actions that change something need, in the namespace of their target.", change),
    ]


def _add(needed: _Needed, permission: Permission, only: frozenset[str] | None = None) -> None:
    verbs = set(permission.verbs) if only is None else only.intersection(permission.verbs)
    if verbs:
        needed.setdefault((permission.group, permission.resource), set()).update(verbs)


def _role(name: str, description: str, needed: _Needed) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {
            "name": name,
            "labels": dict(LABELS),
            "annotations": {"remediator.dev/description": description},
        },
        "rules": rules(needed),
    }


def rules(needed: Mapping[tuple[str, str], set[str]]) -> list[dict[str, Any]]:
    """RBAC rules, those of one group and the same verbs together."""
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), verbs in sorted(needed.items()):
        together.setdefault((group, tuple(sorted(verbs))), []).append(resource)
    return [
        {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}
        for (group, verbs), resources in sorted(together.items())
    ]
