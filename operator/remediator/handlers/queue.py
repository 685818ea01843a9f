"""
The work queue: one key, one worker at a time, now or later.

Where more keys are due than there are workers, what has just happened comes before what was only to be
looked at again by now: an alert is not kept waiting by the rollouts of others. A key that is asked for
while it is worked on is worked on once more afterwards, at once or when it was asked for; asked for ten
times, it is still worked on once. Nothing is kept here that the API server does not have.
"""

import asyncio
import heapq
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace and name of a run."""

Work = Callable[[Key], Awaitable[float | None]]
"""Do what there is to do; the answer is after how many seconds to look again, None for when it changes."""

AFTER_A_SURPRISE_SECONDS: Final = 5.0
APPOINTMENTS_WAIT_SECONDS: Final = 5.0
"""So much longer than news an appointment waits for a worker, and no longer: none waits for ever."""


class Places:
    """So many at once; who waits is let in by rank, the lowest first."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def taken(self, rank: float) -> AsyncIterator[None]:
        """One of the places, as soon as it is this one's turn."""
        if self._free:
            self._free -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (rank, next(self._numbers), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._give_on()
                raise
        try:
            yield
        finally:
            self._give_on()

    def _give_on(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Queue:
    """Hands keys to workers, each key to one at a time."""

    def __init__(self, work: Work, workers: int = 16) -> None:
        self._work = work
        self._places = Places(workers)
        self._waiting: dict[Key, asyncio.TimerHandle] = {}
        self._working: dict[Key, asyncio.Task[None]] = {}
        self._again: dict[Key, float] = {}
        """When to look again at what is being worked on, by the loop's clock."""
        self._stopped = False

    def add(self, key: Key, after_seconds: float = 0.0) -> None:
        """Look at the key after that time; an earlier appointment of the same key stands."""
        if self._stopped:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + max(after_seconds, 0.0)
        if key in self._working:
            self._again[key] = min(due, self._again.get(key, due))
            return
        before = self._waiting.get(key)
        if before is not None:
            if before.when() <= due:
                return
            before.cancel()
        rank = due + (APPOINTMENTS_WAIT_SECONDS if after_seconds > 0 else 0.0)
        self._waiting[key] = loop.call_at(due, self._begin, key, rank)

    def forget(self, key: Key) -> None:
        """The key needs no further look."""
        timer = self._waiting.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def stop(self, *, patience_seconds: float = 0.0) -> None:
        """Nothing new is begun; what is being worked on has ended, by itself within so many seconds, or cut short."""
        self._stopped = True
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        tasks = list(self._working.values())
        if tasks and patience_seconds > 0:
            await asyncio.wait(tasks, timeout=patience_seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def depth(self) -> int:
        """How many keys wait or are worked on."""
        return len(self._waiting) + len(self._working)

    @property
    def is_busy(self) -> bool:
        """Whether any key is being worked on."""
        return bool(self._working)

    def is_working_on(self, key: Key) -> bool:
        """Whether the key is being worked on, or waits for a worker."""
        return key in self._working

    def _begin(self, key: Key, rank: float) -> None:
        self._waiting.pop(key, None)
        task = asyncio.get_running_loop().create_task(self._attend(key, rank), name=f"run {key[0]}/{key[1]}")
        self._working[key] = task

    async def _attend(self, key: Key, rank: float) -> None:
        after: float | None = None
        try:
            async with self._places.taken(rank):
                after = await self._work(key)
        except asyncio.CancelledError:
            self._again.pop(key, None)
            raise
        except Exception:  # a stranger's mistake must not stop the queue: it is told, and looked at again
            log.exception("run could not be looked at", extra={"run": f"{key[0]}/{key[1]}"})
            after = AFTER_A_SURPRISE_SECONDS
        finally:
            self._working.pop(key, None)
        again = self._again.pop(key, None)
        if again is not None:
            self.add(key, again - asyncio.get_running_loop().time())
        if after is not None:
            self.add(key, after)
