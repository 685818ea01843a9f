"""What separates two states of an object, as lines that a person reads."""

import json
import re
from collections.abc import Iterator
from typing import Final

from remediator.actions.secrecy import looks_secret
from remediator.domain.bounded import shorten
from remediator.domain.changes import STAMPS
from remediator.domain.json import JSON, Object
from remediator.domain.redaction import redact

LIMIT_BYTES: Final = 8_192
_VALUE_BYTES: Final = 512

_KEYS: Final = ("name", "key", "type", "containerPort", "mountPath")
"""By which field people name the items of Kubernetes' lists, the plainest first."""

_BOOKKEEPING: Final = ("managedFields", "resourceVersion", "generation")


def difference(before: Object, after: Object) -> str:
    """
    One line per value that goes or comes, with its path: `+ spec.replicas: 3`.

    What the API server and we write beside every change is left out, secrets are hidden.
    """
    old, new = dict(_values(_cleaned(before), "")), dict(_values(_cleaned(after), ""))
    lines: list[str] = []
    for path in [*old, *(path for path in new if path not in old)]:
        if path not in old or path not in new or old[path] != new[path]:
            sides = (("-", old), ("+", new))
            lines.extend(f"{sign} {path}: {_shown(path, side[path])}" for sign, side in sides if path in side)
    return shorten("\n".join(lines), LIMIT_BYTES)


def _cleaned(obj: Object) -> Object:
    kept = {key: value for key, value in obj.items() if key != "status"}
    meta = kept.get("metadata")
    if isinstance(meta, dict):
        meta = {key: value for key, value in meta.items() if key not in _BOOKKEEPING}
        annotations = meta.pop("annotations", None)
        if isinstance(annotations, dict):
            meta["annotations"] = {key: value for key, value in annotations.items() if key not in STAMPS}
        kept["metadata"] = meta
    return kept


def _values(value: JSON, path: str) -> Iterator[tuple[str, JSON]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _values(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _values(item, f"{path}[{_name(item, index)}]")
    else:
        yield path, value


def _shown(path: str, value: JSON) -> str:
    """The value; of a hidden one its length, so that a change of it can be seen."""
    text = json.dumps(value, ensure_ascii=False)
    hidden = any(looks_secret(part) for part in re.split(r"[][.]+", path) if part)
    return f"(hidden, {len(text)} characters)" if hidden else shorten(redact(text), _VALUE_BYTES)


def _name(item: JSON, index: int) -> str:
    found = [item[key] for key in _KEYS if isinstance(item.get(key), (str, int))] if isinstance(item, dict) else []
    return str(found[0]) if found else str(index)
