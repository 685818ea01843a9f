"""
Who leads: one Lease, and when a process may take it.

No two clocks are compared. A holder counts its time from before it sent a renewal, a candidate from when
it saw the Lease change, each in seconds since its own machine's boot. So the holder's time is over before
anybody else's begins, also where it was frozen meanwhile; times of day stand on the Lease for people.

The Lease keeps the work from being done twice. What is fenced off by it is nothing: between a look at it
and a write a process may sleep for an hour. The fence is the epoch, which the API server compares.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from remediator.domain.json import Object, dig_int, dig_text

LEASE_NAME: Final = "remediator-leader"
LONGEST_SECONDS: Final = 300.0
"""A Lease that says to last longer is waited out for so long."""

EPOCH_NAME: Final = "leader-epoch"
"""The ConfigMap in the operator's namespace; the admission policy names it too."""

EPOCH: Final = "epoch"
MOST_EPOCHS: Final = 10**15


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a Lease lasts; all else follows from it."""

    duration_seconds: int = 15

    @property
    def renew_seconds(self) -> float:
        """How often its holder renews it."""
        return self.duration_seconds / 3

    @property
    def retry_seconds(self) -> float:
        """How often a candidate looks, and how soon a holder tries again."""
        return self.duration_seconds * 2 / 15

    @property
    def held_seconds(self) -> float:
        """
        How long a holder relies on it, from before it sent the renewal.

        A fifth less than others wait: for clocks that do not run equally fast, and for what is on its way
        when the time is over.
        """
        return self.duration_seconds * 4 / 5


@dataclass(frozen=True, slots=True)
class Lease:
    """The Lease as it is stored; without a holder it is free, without a version it is not there."""

    holder: str = ""
    acquired_at: datetime | None = None
    renewed_at: datetime | None = None
    duration_seconds: int = 0
    transitions: int = 0
    resource_version: str = ""

    def taken(self, holder: str, now: datetime, timing: Timing) -> "Lease":
        """The same in the hands of this holder."""
        moved = self.holder != holder and bool(self.resource_version)
        return replace(
            self,
            holder=holder,
            acquired_at=now,
            renewed_at=now,
            duration_seconds=timing.duration_seconds,
            transitions=self.transitions + moved,
        )

    def renewed(self, now: datetime, timing: Timing) -> "Lease":
        """Held on."""
        return replace(self, renewed_at=now, duration_seconds=timing.duration_seconds)

    def released(self, now: datetime) -> "Lease":
        """In nobody's hands."""
        return replace(self, holder="", renewed_at=now, duration_seconds=1)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A Lease, and since when this process has seen it unchanged, in seconds since boot."""

    lease: Lease
    since: float

    def followed_by(self, lease: Lease, boot_seconds: float) -> "Sighting":
        """What another look brought."""
        is_same = lease.resource_version == self.lease.resource_version
        return Sighting(lease, self.since if is_same else boot_seconds)

    def is_free_for(self, holder: str, boot_seconds: float, timing: Timing) -> bool:
        """Whether the Lease may be taken: it is nobody's, was one's own, or has stood still for its whole time."""
        if self.lease.holder in ("", holder):
            return True
        stated = self.lease.duration_seconds or timing.duration_seconds
        return boot_seconds - self.since >= min(stated, LONGEST_SECONDS)


def lease_object(lease: Lease, namespace: str) -> Object:
    """The Lease as the API has it; one without a holder has none, as the API has no empty one."""
    metadata: Object = {
        "namespace": namespace,
        "name": LEASE_NAME,
        "labels": {"app.kubernetes.io/part-of": "remediator"},
    }
    if lease.resource_version:
        metadata["resourceVersion"] = lease.resource_version
    spec: Object = {"leaseDurationSeconds": lease.duration_seconds, "leaseTransitions": lease.transitions}
    if lease.holder:
        spec["holderIdentity"] = lease.holder
    for name, moment in (("acquireTime", lease.acquired_at), ("renewTime", lease.renewed_at)):
        if moment is not None:
            spec[name] = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"metadata": metadata, "spec": spec}


def lease_of(obj: Object) -> Lease:
    """The Lease that this says; what it says in a form that it should not have is left out."""
    return Lease(
        holder=dig_text(obj, "spec", "holderIdentity"),
        acquired_at=_time(dig_text(obj, "spec", "acquireTime")),
        renewed_at=_time(dig_text(obj, "spec", "renewTime")),
        duration_seconds=max(dig_int(obj, "spec", "leaseDurationSeconds"), 0),
        transitions=max(dig_int(obj, "spec", "leaseTransitions"), 0),
        resource_version=dig_text(obj, "metadata", "resourceVersion"),
    )


def epoch_object(namespace: str, epoch: int, leader: str, now: datetime, resource_version: str = "") -> Object:
    """The ConfigMap that says which leader is the last one."""
    metadata: Object = {
        "namespace": namespace,
        "name": EPOCH_NAME,
        "labels": {"app.kubernetes.io/part-of": "remediator"},
    }
    if resource_version:
        metadata["resourceVersion"] = resource_version
    since = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"metadata": metadata, "data": {EPOCH: str(epoch), "leader": leader, "since": since}}


def epoch_of(obj: Object) -> int:
    """The epoch that the ConfigMap says; 0 where it says none that could be counted on from."""
    text = dig_text(obj, "data", EPOCH)
    return int(text) if text.isascii() and text.isdigit() and int(text) < MOST_EPOCHS else 0


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
