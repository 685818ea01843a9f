"""
The machine's clock, and chance.

Nothing else in the project reads either: decisions take the time as an argument, so that a test
can say what time it is.
"""

import asyncio
import random  # noqa: TID251 - this file is where the ban sends everybody else
import time
from datetime import UTC, datetime


class SystemClock:
    """`ports.Clock` over the operating system."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - this file is where the ban sends everybody else

    def boot_seconds(self) -> float:
        # CLOCK_MONOTONIC stands still while a machine is suspended, so facts would seem fresh after it.
        # macOS, where the kubectl plugin runs, has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC counts on.
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def jitter(self, seconds: float) -> float:
        return random.uniform(0, seconds)  # noqa: S311 - spreads load, protects nothing
