"""
The time of day that is set anew: whatever waits until a moment has been told the wrong time to wait.

A run that waits until one o'clock sleeps for an hour at noon. If the clock is put right in between, it
would sleep on; so everything is looked at again, and asks anew how long there is to wait. A clock that is
wrong for a moment only is noticed by the very look that has been told a wrong time.
"""

import logging
from collections.abc import Callable
from typing import Final

from remediator.handlers.queue import Key, Work
from remediator.ports import Clock

log = logging.getLogger(__name__)

COMPARED_EVERY_SECONDS: Final = 5.0
TOLERATED_SECONDS: Final = 1.0
"""What a machine's time of day may gain or lose between two comparisons; NTP moves it by far less."""


class ClockJumps:
    """Calls `jumped` whenever the time of day has moved against the seconds since boot."""

    def __init__(self, clock: Clock, jumped: Callable[[], None]) -> None:
        self._clock = clock
        self._jumped = jumped
        self._ahead = self._by_how_much()

    async def keep(self) -> None:
        """Compare, for ever."""
        while True:
            await self.compare()

    async def compare(self) -> None:
        """Once, after a while."""
        await self._clock.sleep(COMPARED_EVERY_SECONDS)
        self.check()

    def after(self, work: Work) -> Work:
        """The same work, with a comparison as soon as it knows how long to wait."""

        async def compared(key: Key) -> float | None:
            try:
                return await work(key)
            finally:
                self.check()

        return compared

    def check(self) -> None:
        """Once, now."""
        ahead, before = self._by_how_much(), self._ahead
        self._ahead = ahead
        if abs(ahead - before) > TOLERATED_SECONDS:
            log.warning("the time of day has jumped", extra={"seconds": round(ahead - before, 1)})
            self._jumped()

    def _by_how_much(self) -> float:
        return self._clock.now().timestamp() - self._clock.boot_seconds()
