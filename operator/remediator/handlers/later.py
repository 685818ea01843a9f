"""
What is done when there is time: one thing after the other, and no run waits for any of it.

Nothing is put here that must be done: the process may end before.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from remediator.domain.objects import ObjectRef
from remediator.ports import Clock, KubernetesEvents

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]

PATIENCE_SECONDS: Final = 60.0
"""For so long a burst comes first."""

MOST: Final = 10_000
FINISHED_WITHIN_SECONDS: Final = 5.0


class Later:
    """Work that waits for its time, in order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: deque[tuple[float, Work]] = deque(maxlen=MOST)
        self._some = asyncio.Event()

    def put(self, work: Work) -> None:
        """Do it in a lull, or when its patience is over; where too much waits, the oldest is left undone."""
        self._waiting.append((self._clock.boot_seconds() + PATIENCE_SECONDS, work))
        self._some.set()

    async def keep(self, lull: Callable[[float], Awaitable[None]]) -> None:
        """Do it, for ever; `lull` waits for a better moment, for at most so many seconds."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._waiting:
                await lull(self._waiting[0][0] - self._clock.boot_seconds())
                await self._do_one()

    async def finish(self) -> None:
        """What waits is done, as far as there is time for it."""
        try:
            async with asyncio.timeout(FINISHED_WITHIN_SECONDS):
                while self._waiting:
                    await self._do_one()
        except TimeoutError:
            log.info("left undone at the end", extra={"works": len(self._waiting)})

    async def _do_one(self) -> None:
        if self._waiting:
            _, work = self._waiting.popleft()
            await work()


class EventsLater:
    """`ports.KubernetesEvents` that are written when there is time."""

    def __init__(self, events: KubernetesEvents, later: Later) -> None:
        self._events = events
        self._later = later

    async def record(self, about: ObjectRef, uid: str, *, reason: str, message: str, warning: bool = False) -> None:
        self._later.put(partial(self._events.record, about, uid, reason=reason, message=message, warning=warning))
