"""
An event loop whose turns are timed.

A turn is everything between two waits for something to happen: what comes meanwhile waits for its end.
Whoever sleeps and looks how late it wakes sees a long turn only if it happens to end then; here every
one of them is seen, for the price of a few looks at clocks.
"""

import asyncio
import selectors
import sys
import time
from collections.abc import Callable
from typing import Final

LONG_SECONDS: Final = 0.01
"""Shorter turns are not told of: there are thousands of them in a second."""

GIVEN_UP_AFTER_SECONDS: Final = 0.0005
"""
How long a thread that computes keeps the interpreter when the loop wants it.

The loop lets go of it at each of its sends and receives. With Python's own 5 ms, a thread that parses a long
list makes a turn of twenty of them last for a tenth of a second.
"""

Told = Callable[[float, float], None]
"""Takes the seconds of a long turn, and how many of them the loop's thread has worked; it waited for a core else."""


def _nobody(seconds: float, worked: float) -> None:
    """Nobody wants to know."""


class Turns:
    """Tells of every long turn of the loops that it makes."""

    def __init__(self) -> None:
        self.told: Told = _nobody
        """Called at the end of a long turn."""

    def loop(self) -> asyncio.AbstractEventLoop:
        """A new event loop, for which the threads of the process make way."""
        sys.setswitchinterval(GIVEN_UP_AFTER_SECONDS)
        return asyncio.SelectorEventLoop(_TimedSelector(self))


class _TimedSelector(selectors.DefaultSelector):
    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns
        self._began, self._worked = time.perf_counter(), time.thread_time()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        took = time.perf_counter() - self._began
        if took > LONG_SECONDS:
            self._turns.told(took, time.thread_time() - self._worked)
        ready = super().select(timeout)
        self._began, self._worked = time.perf_counter(), time.thread_time()
        return ready
