"""
What is done when there is time: one thing after the other, and no run waits for any of it.

Nothing is put here that must be done: the process may end before.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from remediator.ports import Clock

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]

AFTER_SECONDS: Final = 2.0
PATIENCE_SECONDS: Final = 60.0
"""For so long a burst comes first."""

MOST: Final = 10_000
FINISHED_WITHIN_SECONDS: Final = 5.0


class Later:
    """Work that waits for its time."""

    def __init__(self) -> None:
        self._waiting: deque[Work] = deque(maxlen=MOST)

    def put(self, work: Work) -> None:
        """Do it soon; where too much waits, the oldest is left undone."""
        self._waiting.append(work)

    async def keep(self, clock: Clock, quiet: Callable[[float], Awaitable[None]]) -> None:
        """Do it, for ever; `quiet` waits for a better moment, for at most so many seconds."""
        while True:
            await clock.sleep(AFTER_SECONDS)
            until = clock.boot_seconds() + PATIENCE_SECONDS
            for _ in range(len(self._waiting)):
                await quiet(until - clock.boot_seconds())
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
            await self._waiting.popleft()()
