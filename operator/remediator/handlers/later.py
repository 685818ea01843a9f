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
            if self._waiting:
                await quiet(PATIENCE_SECONDS)
            await self._do_all()

    async def finish(self) -> None:
        """What waits is done, as far as there is time for it."""
        try:
            async with asyncio.timeout(FINISHED_WITHIN_SECONDS):
                await self._do_all()
        except TimeoutError:
            log.info("left undone at the end", extra={"works": len(self._waiting)})

    async def _do_all(self) -> None:
        while self._waiting:
            await self._waiting.popleft()()
