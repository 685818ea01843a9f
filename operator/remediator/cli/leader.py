"""
Who leads, as a person sees it, and who stands by.

What the Lease says is shown as it is; whether it has run out is told by this machine's clock, which may be
wrong, so it is said and nothing is concluded from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from remediator.cli.connect import Connected
from remediator.domain.errors import NotFound
from remediator.domain.json import dig, dig_list, dig_text
from remediator.domain.objects import BUILT_IN, ObjectRef

SELECTOR: Final = "app.kubernetes.io/name=remediator,app.kubernetes.io/component=operator"
MOST: Final = 100


@dataclass(frozen=True, slots=True)
class Leader:
    """The Lease and the epoch, as they stand in the API server."""

    holder: str
    """Empty where nobody leads."""
    epoch: int
    since: datetime | None
    renewed_at: datetime | None
    duration_seconds: int
    transitions: int

    def ran_out(self, now: datetime) -> timedelta:
        """How long ago the Lease has run out; nothing or less: it has not."""
        if not self.holder or self.renewed_at is None:
            return timedelta()
        return now - self.renewed_at - timedelta(seconds=self.duration_seconds)

    def as_json(self) -> dict[str, Any]:
        return {
            "holder": self.holder or None,
            "epoch": self.epoch,
            "since": _text(self.since) if self.holder else None,
            "renewedAt": _text(self.renewed_at),
            "leaseSeconds": self.duration_seconds,
            "transitions": self.transitions,
        }


@dataclass(frozen=True, slots=True)
class Replica:
    """A pod of the operator."""

    name: str
    is_ready: bool


async def leader(ports: Connected) -> Leader:
    """Who leads. Raises what the reads raise, but that nothing is there."""
    from remediator.engine.election import EPOCH_NAME, LEASE_NAME, Lease, epoch_of, lease_of

    namespace, kind = ports.operator_namespace, BUILT_IN["Lease"]
    try:
        lease = lease_of(await ports.cluster.read(ObjectRef(kind.group, kind.kind, namespace, LEASE_NAME)))
    except NotFound:
        lease = Lease()
    try:
        epoch = epoch_of(await ports.cluster.read(ObjectRef("", "ConfigMap", namespace, EPOCH_NAME)))
    except NotFound:
        epoch = 0
    return Leader(
        lease.holder, epoch, lease.acquired_at, lease.renewed_at, lease.duration_seconds, lease.transitions
    )  # fmt: skip


async def replicas(ports: Connected) -> Sequence[Replica]:
    """The operator's pods, by name."""
    found = await ports.cluster.list(BUILT_IN["Pod"], ports.operator_namespace, labels=SELECTOR, limit=MOST)
    return [
        Replica(
            dig_text(pod, "metadata", "name"),
            any(
                dig(one, "type") == "Ready" and dig(one, "status") == "True"
                for one in dig_list(pod, "status", "conditions")
            ),
        )
        for pod in sorted(found.items, key=lambda pod: dig_text(pod, "metadata", "name"))
    ]


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment is not None else None
