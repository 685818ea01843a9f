"""
Which cluster, user and namespace a kubeconfig's context names, read the way kubectl reads it.

Several files may be merged; of entries with one name the first counts. Nothing is connected here.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from remediator.domain.errors import NotFound, Unavailable
from remediator.domain.json import JSON, Object, dig_list, dig_object, dig_text

DEFAULT_NAMESPACE: Final = "default"
FILES: Final = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
"""The fields that name files, relative to the kubeconfig that holds them."""


@dataclass(frozen=True, slots=True)
class Context:
    """What one context names; `cluster` and `user` are the kubeconfig's own entries, with paths made whole."""

    name: str
    namespace: str
    cluster: Object = field(default_factory=dict)
    user: Object = field(default_factory=dict)

    @property
    def server(self) -> str:
        return dig_text(self.cluster, "server").rstrip("/")


def locations(given: str, environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """The files that kubectl would read: the one given, those of KUBECONFIG, or the one at home."""
    named = given or environment.get("KUBECONFIG", "")
    if given:
        return (Path(given).expanduser(),)
    found = tuple(Path(part).expanduser() for part in named.split(os.pathsep) if part)
    return found or (Path.home() / ".kube" / "config",)


def context_in(paths: tuple[Path, ...], wanted: str = "") -> Context:
    """
    The context of that name, or the current one.

    Raises NotFound where there is no file or no such context, Unavailable where one cannot be read.
    """
    configs = [_read(path) for path in paths if path.is_file()]
    if not configs:
        raise NotFound(
            f"there is no kubeconfig at {' or '.join(str(path) for path in paths)}: give one by --kubeconfig"
        )
    name = wanted or next((text for one in configs if (text := dig_text(one, "current-context"))), "")
    if not name:
        raise NotFound("the kubeconfig has no current context: give one by --context")
    entry = _entry(configs, "contexts", name)
    if entry is None:
        raise NotFound(f"the kubeconfig has no context {name}: `kubectl config get-contexts` lists those it has")
    context = dig_object(entry, "context")
    return Context(
        name=name,
        namespace=dig_text(context, "namespace") or DEFAULT_NAMESPACE,
        cluster=dig_object(_entry(configs, "clusters", dig_text(context, "cluster")) or {}, "cluster"),
        user=dig_object(_entry(configs, "users", dig_text(context, "user")) or {}, "user"),
    )


def _read(path: Path) -> Object:
    try:
        loaded: JSON = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506 - a safe loader
    except (OSError, ValueError, yaml.YAMLError) as wrong:
        reason = str(wrong).partition("\n")[0]
        raise Unavailable(f"the kubeconfig {path} cannot be read: {reason}") from wrong
    config: Object = loaded if isinstance(loaded, dict) else {}
    for kind, part in (("clusters", "cluster"), ("users", "user")):
        for entry in dig_list(config, kind):
            values = dig_object(entry, part)
            for key in FILES:
                if text := dig_text(values, key):
                    values[key] = str(path.parent / text)  # an absolute path stays as it is
    return config


def _entry(configs: list[Object], kind: str, name: str) -> Object | None:
    entries = (entry for config in configs for entry in dig_list(config, kind))
    return next((entry for entry in entries if dig_text(entry, "name") == name), None)


_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
