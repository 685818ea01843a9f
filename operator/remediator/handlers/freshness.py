"""
How long ago the API server was last heard of, and whether the caches can be believed.

"No policy wants it" from an empty or an old cache is a lost alert, so intake asks before it says so.
A watch with nothing to tell is silent, which is why silence alone is no fault: after a minute of it
the policies are listed once and compared. After some seconds they are where the API server has not answered
anything else either: a process that is cut off from it must not say of a new policy that there is none.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from remediator.domain.errors import RemediatorError, Unavailable
from remediator.domain.json import dig_int, dig_text
from remediator.domain.objects import POLICY, RUNBOOK, Kind
from remediator.engine.audience import Audience
from remediator.handlers.run_index import RunIndex
from remediator.ports import Clock, Cluster

SILENT_SECONDS: Final = 60.0
OUT_OF_REACH_SECONDS: Final = 7.5
"""By then each process has looked at the leader's Lease, at the usual pace, whether it leads or not."""
LISTED: Final = 500


class Policies(Protocol):
    """What intake asks of the cache of definitions."""

    def synced(self, kind: Kind) -> bool: ...

    def audience(self) -> Audience: ...


@dataclass(frozen=True, slots=True)
class _Source:
    last_event: Callable[[], float | None]
    synced: Callable[[], bool]


class Heard:
    """When the API server last said something about a kind: an event of its watch, or a list instead."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sources: dict[str, _Source] = {}
        self._noted: dict[str, float] = {}

    def follow(self, kind: Kind, last_event: Callable[[], float | None], synced: Callable[[], bool]) -> None:
        """Ask these two about the kind: seconds since boot of the last event, and whether all was listed once."""
        self._sources[kind.kind] = _Source(last_event, synced)

    def note(self, kind: Kind) -> None:
        """The kind was confirmed just now."""
        self._noted[kind.kind] = self._clock.boot_seconds()

    def seconds_since(self, kind: str) -> float | None:
        """None where nothing was heard yet."""
        source = self._sources.get(kind)
        moments = [self._noted.get(kind), source.last_event() if source is not None else None]
        known = [moment for moment in moments if moment is not None]
        return self._clock.boot_seconds() - max(known) if known else None

    def ages(self) -> dict[str, float | None]:
        """The age of the last word about each kind."""
        return {kind: self.seconds_since(kind) for kind in sorted(self._sources)}

    @property
    def unsynced(self) -> tuple[str, ...]:
        """The kinds that were not listed to their end yet."""
        return tuple(kind for kind, source in sorted(self._sources.items()) if not source.synced())


class Freshness:
    """Whether what the caches say may be answered with."""

    def __init__(
        self,
        cluster: Cluster,
        policies: Policies,
        index: RunIndex,
        heard: Heard,
        reached: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`reached` says how many seconds ago the API server has last answered something that is asked regularly."""
        self._reached = reached
        self._cluster = cluster
        self._policies = policies
        self._index = index
        self._heard = heard
        self._asking = asyncio.Lock()

    async def confirm(self) -> None:
        """Raises Unavailable where the caches may not hold what the API server holds."""
        if not (self._policies.synced(POLICY) and self._policies.synced(RUNBOOK) and self._index.synced):
            raise Unavailable("the policies, Runbooks and runs are not read yet")
        if not self._is_silent():
            return
        async with self._asking:
            if self._is_silent():  # else somebody else has just asked
                await self._compare()
                self._heard.note(POLICY)

    def _is_silent(self) -> bool:
        age = self._heard.seconds_since(POLICY.kind)
        return age is None or age > SILENT_SECONDS or min(age, self._reached()) > OUT_OF_REACH_SECONDS

    async def _compare(self) -> None:
        try:
            listing = await self._cluster.list(POLICY, limit=LISTED)
        except RemediatorError as failure:
            raise Unavailable(f"the policies could not be confirmed: {failure}") from failure
        known = {
            (one.namespace, one.name, one.version.uid, one.version.generation) for one in self._policies.audience()
        }
        live = {
            (
                dig_text(obj, "metadata", "namespace"),
                dig_text(obj, "metadata", "name"),
                dig_text(obj, "metadata", "uid"),
                dig_int(obj, "metadata", "generation", default=1),
            )
            for obj in listing.items
        }
        if not live <= known or (not listing.truncated and live != known):
            raise Unavailable("the policies that are known are not the ones that the API server has")
