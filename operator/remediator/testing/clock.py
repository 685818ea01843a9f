"""A clock that only a test moves."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

NOON: Final = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


class StoppedClock:
    """`ports.Clock`: stands still until it is moved; sleeping moves it at once."""

    def __init__(self, at: datetime = NOON) -> None:
        self._now = at
        self._boot = 1_000.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._now

    def boot_seconds(self) -> float:
        return self._boot

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(timedelta(seconds=seconds))
        await asyncio.sleep(0)  # others run, as they would while one sleeps

    def jitter(self, seconds: float) -> float:
        """Always half, so that a test can say what it expects."""
        return seconds / 2

    def advance(self, by: timedelta) -> None:
        """Both the time of day and the seconds since boot."""
        self._now += by
        self._boot += by.total_seconds()

    def set(self, at: datetime) -> None:
        """The time of day alone jumps, as when an administrator sets a clock."""
        self._now = at
