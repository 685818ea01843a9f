"""
Kubernetes Events about runs and targets: what `kubectl describe` shows at the end.

They are a courtesy. The record is the run; an Event that cannot be written is counted and
forgotten, so that nothing waits for it.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from remediator.domain.bounded import shorten
from remediator.domain.errors import RemediatorError
from remediator.domain.json import Object
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.domain.redaction import redact
from remediator.ports import Clock, Cluster

EVENT: Final = BUILT_IN["Event"]
COMPONENT: Final = "remediator"
SAME_WITHIN: Final = timedelta(minutes=10)
REMEMBERED: Final = 2_000
WRITE_SECONDS: Final = 5.0
MESSAGE_BYTES: Final = 1_000  # the API server takes 1,024
CLUSTER_SCOPED_PLACE: Final = "default"  # where kubectl looks for Events about nodes

Key = tuple[ObjectRef, str, str, str]


@dataclass(slots=True)
class _Written:
    ref: ObjectRef
    count: int
    last: datetime


class ClusterEvents:
    """`ports.KubernetesEvents` as core/v1 Events; the same one within ten minutes is counted up."""

    def __init__(self, cluster: Cluster, clock: Clock, *, instance: str = "") -> None:
        self._cluster = cluster
        self._clock = clock
        self._instance = instance or COMPONENT
        self._written: OrderedDict[Key, _Written] = OrderedDict()
        self._serial = 0
        self.failed = 0
        """How many could not be written."""

    async def record(self, about: ObjectRef, uid: str, *, reason: str, message: str, warning: bool = False) -> None:
        said = shorten(redact(message), MESSAGE_BYTES)
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._record(about, uid, reason, said, warning)
        except (RemediatorError, TimeoutError):
            self.failed += 1

    async def _record(self, about: ObjectRef, uid: str, reason: str, message: str, warning: bool) -> None:
        now = self._clock.now()
        key = (about, uid, reason, message)
        before = self._written.get(key)
        if before is not None and now - before.last < SAME_WITHIN and await self._counted_up(before, now):
            return
        made = await self._cluster.create(EVENT, await self._event(about, uid, reason, message, warning, now))
        self._written[key] = _Written(ObjectRef.to(made, EVENT), 1, now)
        self._written.move_to_end(key)
        while len(self._written) > REMEMBERED:
            self._written.popitem(last=False)

    async def _counted_up(self, before: _Written, now: datetime) -> bool:
        """False where the Event has expired meanwhile."""
        operations: list[Object] = [
            {"op": "replace", "path": "/count", "value": before.count + 1},
            {"op": "replace", "path": "/lastTimestamp", "value": _seconds(now)},
        ]
        try:
            await self._cluster.patch(before.ref, operations)
        except RemediatorError:
            return False
        before.count += 1
        before.last = now
        return True

    async def _event(
        self, about: ObjectRef, uid: str, reason: str, message: str, warning: bool, now: datetime
    ) -> Object:
        kind = await self._cluster.kind(about.kind_text)
        self._serial += 1
        involved: Object = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": uid,
        }
        return {
            "metadata": {
                "namespace": about.namespace or CLUSTER_SCOPED_PLACE,
                # as client-go names them; the number keeps two of one moment apart
                "name": f"{about.name[:200]}.{int(now.timestamp() * 1e6):x}{self._serial:x}",
            },
            "involvedObject": involved,
            "reason": reason[:128],
            "message": message,
            "type": "Warning" if warning else "Normal",
            "firstTimestamp": _seconds(now),
            "lastTimestamp": _seconds(now),
            "count": 1,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance,
        }


def _seconds(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
