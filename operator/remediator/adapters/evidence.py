"""
Evidence in ConfigMaps: compressed, immutable, and gone with the run that owns it.

The name follows from the run and the content, so that keeping the same thing twice, after a crash
between the write and its record, stores it once. The name also tells on loading whether it is still that
content: who may write ConfigMaps in the namespace could have put something else in its place, and a decision
may rest on it.
"""

import asyncio
import base64
import gzip
import hashlib
import io
import json
import re
from collections.abc import Mapping
from typing import Final

from remediator.domain.errors import AlreadyExists, NotFound, Unavailable
from remediator.domain.json import JSON, Object, dig_list, dig_text
from remediator.domain.names import label_value
from remediator.domain.objects import BUILT_IN, RUN, ObjectRef
from remediator.domain.redaction import redact_json
from remediator.ports import Cluster

CONFIG_MAP: Final = BUILT_IN["ConfigMap"]
RUN_LABEL: Final = "remediator.dev/run"
NAME: Final = "remediator.dev/evidence"
KEY: Final = "evidence.json.gz"
MAX_BYTES: Final = 900 * 1024
MAX_UNPACKED_BYTES: Final = 64 * 1024 * 1024
CUT: Final = "[the beginning was cut]\n"
NAME_LENGTH: Final = 253


class ConfigMapEvidence:
    """`ports.Evidence` in ConfigMaps of the run's namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def keep(self, run: Object, name: str, content: Mapping[str, JSON]) -> str:
        uid, owner = dig_text(run, "metadata", "uid"), dig_text(run, "metadata", "name")
        # a megabyte of log takes long enough that watches and health checks would wait
        packed = await asyncio.to_thread(_packed, content)
        digest = _digest(uid, name, packed)
        part = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
        made = f"{owner[: NAME_LENGTH - len(part) - len(digest) - 2]}-{part}-{digest}"
        manifest: Object = {
            "metadata": {
                "namespace": dig_text(run, "metadata", "namespace"),
                "name": made,
                "labels": {RUN_LABEL: label_value(owner)},
                "annotations": {NAME: name},
                "ownerReferences": [{"apiVersion": RUN.api_version, "kind": RUN.kind, "name": owner, "uid": uid}],
            },
            "immutable": True,
            "binaryData": {KEY: base64.b64encode(packed).decode()},
        }
        try:
            await self._cluster.create(CONFIG_MAP, manifest)
        except AlreadyExists:
            # the digest is over the run's UID and the content, so it is this very thing
            return made
        return made

    async def load(self, namespace: str, name: str) -> Mapping[str, JSON]:
        stored = await self._cluster.read(ObjectRef(CONFIG_MAP.group, CONFIG_MAP.kind, namespace, name))
        text = dig_text(stored, "binaryData", KEY)
        if not text:
            raise NotFound(f"ConfigMap {namespace}/{name} holds no evidence")
        owners = dig_list(stored, "metadata", "ownerReferences")
        uid = dig_text(owners[0], "uid") if owners else ""
        try:
            packed = base64.b64decode(text)
        except ValueError as wrong:
            raise Unavailable("the evidence is damaged") from wrong
        if not name.endswith(f"-{_digest(uid, dig_text(stored, 'metadata', 'annotations', NAME), packed)}"):
            raise Unavailable(f"ConfigMap {namespace}/{name} does not hold what was kept under that name")
        return unpacked(packed)


def _digest(uid: str, name: str, packed: bytes) -> str:
    return hashlib.sha256(uid.encode() + b"\0" + name.encode() + b"\0" + packed).hexdigest()[:16]


def _packed(content: Mapping[str, JSON]) -> bytes:
    return packed_within(redact_json(dict(content)), MAX_BYTES)


def packed_within(content: JSON, limit_bytes: int) -> bytes:
    """
    The content compressed to at most `limit_bytes`.

    Where it does not fit, the longest text loses its first half, again and again: the end of a log
    is the part that tells why.
    """
    while True:
        # without the time of day, so that the same content is the same bytes
        packed = gzip.compress(json.dumps(content, sort_keys=True, separators=(",", ":")).encode(), mtime=0)
        if len(packed) <= limit_bytes:
            return packed
        longest = max(_texts(content), key=len, default="")
        if len(longest) < 1_000:
            return packed_within({"error": "too large to be kept"}, limit_bytes)
        content = _with(content, longest, CUT + longest[len(longest) // 2 :].removeprefix(CUT))


def unpacked(packed: bytes) -> Mapping[str, JSON]:
    """The content of what was kept. Raises Unavailable where it is damaged."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as opened:
            raw = opened.read(MAX_UNPACKED_BYTES + 1)
        found = json.loads(raw) if len(raw) <= MAX_UNPACKED_BYTES else None
    except (OSError, EOFError, ValueError) as wrong:
        raise Unavailable("the evidence is damaged") from wrong
    if not isinstance(found, dict):
        raise Unavailable("the evidence is damaged")
    return found


def _texts(value: JSON) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for part in value.values() for text in _texts(part)]
    return [text for part in value for text in _texts(part)] if isinstance(value, list) else []


def _with(value: JSON, old: str, new: str) -> JSON:
    if isinstance(value, str):
        return new if value == old else value
    if isinstance(value, dict):
        return {key: _with(part, old, new) for key, part in value.items()}
    return [_with(part, old, new) for part in value] if isinstance(value, list) else value
