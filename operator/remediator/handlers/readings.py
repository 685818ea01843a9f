"""
Objects as one account sees them, each read once for as long as a reading counts.

What is done one after the other about one object (its UID, its diagnosis, its plan, the guards' first
look) may rest on one reading of it. What must be read again is another `Readings`: after anything was
written or waited for, and after a lock was taken which somebody else may have held meanwhile.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, TypeVar

from remediator.domain.errors import Forbidden, NotFound, Rejected, Unavailable
from remediator.domain.json import Object
from remediator.domain.locks import LockState
from remediator.domain.objects import Kind, ObjectRef
from remediator.engine.facts import NOT_READ, Seen
from remediator.ports import Clock, Cluster, Listing

COUNTS_SECONDS: Final = 1.0
"""A fifth of what facts may be old when an effect is sent."""

T = TypeVar("T")

UNREADABLE: Final = (Forbidden, Rejected, Unavailable)


class Readings:
    """What was read since this was made, or is being read."""

    def __init__(self, cluster: Cluster, clock: Clock, lock: LockState | None = None) -> None:
        """`lock` is the one of the run's target as it was known before anything was read."""
        self.lock = lock
        self._cluster = cluster
        self._clock = clock
        self._made: dict[Hashable, tuple[float, asyncio.Task[Any]]] = {}
        self._shared_since = math.inf

    @property
    def since(self) -> float:
        """When the oldest of them was asked for, in seconds since boot; now where nothing was."""
        oldest = min((at for at, _ in self._made.values()), default=self._clock.boot_seconds())
        return min(oldest, self._shared_since)

    def share(self, asked_at: float | None) -> None:
        """One of them had been asked for by somebody else, at that time."""
        if asked_at is not None:
            self._shared_since = min(self._shared_since, asked_at)

    async def read(self, ref: ObjectRef) -> Object:
        """
        The object, from the API server or as it was read a moment ago.

        Raises what the cluster raises.
        """
        return await self.once(ref, lambda: self._cluster.read(ref))

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = 500
    ) -> Listing:
        """
        Some objects of a kind, from the API server each time.

        Raises what the cluster raises.
        """
        return await self._cluster.list(kind, namespace, labels=labels, fields=fields, limit=limit)

    async def once(self, what: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer to a question of that name, as it was given a moment ago or is given now."""
        answer: T = await asyncio.shield(self._asked(what, ask))
        return answer

    def ahead(self, what: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> None:
        """Ask already what `once` will be asked for soon; its answer, or error, is for whoever asks then."""
        self._asked(what, ask).add_done_callback(_noticed)

    def _asked(self, what: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        now = self._clock.boot_seconds()
        at, asked = self._made.get(what, (now, None))
        if asked is None or now - at > COUNTS_SECONDS:
            asked = asyncio.ensure_future(ask())
            self._made[what] = now, asked
        return asked

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


def _noticed(asked: asyncio.Task[Any]) -> None:
    """Its error, if it has one, is no surprise: nobody may want to know any more."""
    if not asked.cancelled():
        asked.exception()
