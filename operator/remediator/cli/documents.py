"""JSON and YAML as kubectl writes them, with secrets taken out."""

import copy
import json
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from remediator.domain.json import JSON, Object, dig_list, dig_object, dig_text
from remediator.domain.objects import RUN
from remediator.domain.redaction import redact_json


def presentable(obj: Object) -> Object:
    """
    The object without bookkeeping and secrets.

    A token is a mark and no secret: people look for it on the changed object.
    """
    found = copy.deepcopy(obj)
    dig_object(found, "metadata").pop("managedFields", None)
    redacted = redact_json({"apiVersion": RUN.api_version, "kind": RUN.kind, **found})
    assert isinstance(redacted, dict), "an object stays one"
    rounds = zip(dig_list(found, "status", "attempts"), dig_list(redacted, "status", "attempts"), strict=False)
    for was, now in rounds:
        for part in ("steps", "undo"):
            _keep_tokens(zip(dig_list(was, part), dig_list(now, part), strict=False))
    _keep_tokens(zip(dig_list(found, "status", "debts"), dig_list(redacted, "status", "debts"), strict=False))
    return redacted


def _keep_tokens(pairs: Iterable[tuple[Object, Object]]) -> None:
    for was, now in pairs:
        if token := dig_text(was, "token"):
            now["token"] = token


def listed(objects: Sequence[Object]) -> Object:
    """Many objects as one document."""
    items: JSON = [presentable(obj) for obj in objects]
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}


def written(document: Any, form: str) -> str:
    """The document as text: `json` or `yaml`."""
    if form == "json":
        return json.dumps(document, indent=4, ensure_ascii=False)
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(_plain(document), Dumper=dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return text.rstrip("\n")


def _plain(value: Any) -> Any:
    """Tuples as lists, which is what YAML knows."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def name_of(obj: Object) -> str:
    """What `-o name` shows; every verb takes it back."""
    return f"runbookrun.{RUN.group}/{dig_text(obj, 'metadata', 'name')}"
