"""
The alerts that were polled and are not over yet, kept in one ConfigMap for the next leader.

Labels, fingerprint and start of each, compressed; good for the sources that they were polled of, and for no others. What does not fit is not kept: after a change of
leaders such an alert counts as firing until it is seen and missed again, which is the careful side.
"""

import base64
import binascii
import gzip
import json
import logging
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from remediator.domain.alerts import Alert, read_alert
from remediator.domain.errors import AlreadyExists, InvalidPayload, NotFound
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.engine.alertsets import redacted
from remediator.ports import Cluster

log = logging.getLogger(__name__)

CONFIG_MAP: Final = BUILT_IN["ConfigMap"]
NAME: Final = "polled-alerts"
KEY: Final = "alerts.json.gz"
MAX_BYTES: Final = 600 * 1024
MAX_UNPACKED_BYTES: Final = 64 * 1024 * 1024


class SightedAlerts:
    """Reads and writes them; written only when they are others than before."""

    def __init__(self, cluster: Cluster, namespace: str, sources: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._sources = sources
        self._kept: frozenset[tuple[str, int]] | None = None

    async def load(self) -> tuple[Alert, ...]:
        """What was kept; nothing where nothing was, or where it cannot be read. Raises Unavailable."""
        try:
            stored = await self._cluster.read(ObjectRef("", CONFIG_MAP.kind, self._namespace, NAME))
        except NotFound:
            return ()
        try:
            packed = base64.b64decode(dig_text(stored, "binaryData", KEY), validate=True)
            unpacked = zlib.decompressobj(wbits=31).decompress(packed, MAX_UNPACKED_BYTES)
            found = json.loads(unpacked)
            if found["sources"] != self._sources:
                log.info("the sources of alerts are others than before: what those listed is forgotten")
                return ()
            alerts = tuple(read_alert(one) for one in found["alerts"])
        except (binascii.Error, zlib.error, ValueError, TypeError, KeyError, InvalidPayload) as wrong:
            log.warning("the alerts that were polled before cannot be read", extra={"error": str(wrong)[:300]})
            return ()
        self._kept = _identities(alerts)
        return alerts

    async def keep(self, alerts: Sequence[Alert]) -> None:
        """These are kept. Raises Unavailable where they are not."""
        identities = _identities(alerts)
        if identities == self._kept:
            return
        await self._write(self._packed(alerts))
        self._kept = identities

    async def _write(self, content: bytes) -> None:
        obj: Object = {
            "metadata": {"namespace": self._namespace, "name": NAME},
            "binaryData": {KEY: base64.b64encode(content).decode()},
        }
        ref = ObjectRef("", CONFIG_MAP.kind, self._namespace, NAME)
        for _ in range(2):
            try:
                stored = await self._cluster.read(ref)
            except NotFound:
                try:
                    await self._cluster.create(CONFIG_MAP, obj)
                    return
                except AlreadyExists:
                    continue
            version = dig_text(stored, "metadata", "resourceVersion")
            metadata: Object = {"namespace": self._namespace, "name": NAME, "resourceVersion": version}
            await self._cluster.replace(CONFIG_MAP, {**obj, "metadata": metadata})
            return

    def _packed(self, alerts: Sequence[Alert]) -> bytes:
        """As many of them as fit, those that began last first: they are the ones that runs are open for."""
        ordered = sorted(alerts, key=lambda alert: (alert.starts_at, alert.fingerprint), reverse=True)
        while True:
            texts = [_bare(alert) for alert in ordered]
            packed = gzip.compress(
                json.dumps({"sources": self._sources, "alerts": texts}, separators=(",", ":")).encode(), mtime=0
            )
            if len(packed) <= MAX_BYTES:
                return packed
            log.warning("not all alerts that were polled can be kept", extra={"count": len(ordered)})
            ordered = ordered[: len(ordered) // 2]


def _identities(alerts: Sequence[Alert]) -> frozenset[tuple[str, int]]:
    return frozenset((alert.fingerprint, int(alert.starts_at.timestamp())) for alert in alerts)


def _bare(alert: Alert) -> Object:
    """Without prose; labels as they may be stored."""
    return redacted(replace(alert, annotations={}, generator_url="")).to_json()
