"""
Objects as one account sees them, each read once for as long as a reading counts.

What is done one after the other about one object (its UID, its diagnosis, its plan, the guards' first
look) may rest on one reading of it. What must be read again is another `Readings`: after a lock was
taken, after anything was written or waited for.
"""

import asyncio
from typing import Final

from remediator.domain.errors import Forbidden, NotFound, Rejected, Unavailable
from remediator.domain.json import Object
from remediator.domain.objects import ObjectRef
from remediator.engine.facts import NOT_READ, Seen
from remediator.ports import Clock, Cluster

COUNTS_SECONDS: Final = 1.0
"""A fifth of what facts may be old when an effect is sent."""

UNREADABLE: Final = (Forbidden, Rejected, Unavailable)


class Readings:
    """What was read since this was made, or is being read."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._made: dict[ObjectRef, tuple[float, asyncio.Task[Object]]] = {}

    @property
    def since(self) -> float:
        """When the oldest of them was asked for, in seconds since boot; now where nothing was."""
        return min((at for at, _ in self._made.values()), default=self._clock.boot_seconds())

    async def read(self, ref: ObjectRef) -> Object:
        """
        The object, from the API server or as it was read a moment ago.

        Raises what the cluster raises.
        """
        now = self._clock.boot_seconds()
        at, reading = self._made.get(ref, (now, None))
        if reading is None or now - at > COUNTS_SECONDS:
            reading = asyncio.ensure_future(self._cluster.read(ref))
            self._made[ref] = now, reading
        return await asyncio.shield(reading)

    async def seen(self, ref: ObjectRef) -> Seen:
        """The same as a fact: there, gone, or why it could not be read."""
        if ref.kind == "external" or not ref.name:
            return NOT_READ
        try:
            return Seen(obj=await self.read(ref))
        except NotFound:
            return Seen(gone=True)
        except UNREADABLE as error:
            return Seen(error=str(error))
