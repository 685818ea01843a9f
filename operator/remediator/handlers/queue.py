"""
The work queue: one key, one worker at a time, now or later.

A key that is asked for while it is worked on is worked on once more afterwards; asked for ten
times, it is still worked on once. Nothing is kept here that the API server does not have.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace and name of a run."""

Work = Callable[[Key], Awaitable[float | None]]
"""Do what there is to do; the answer is after how many seconds to look again, None for when it changes."""

AFTER_A_SURPRISE_SECONDS: Final = 5.0


class Queue:
    """Hands keys to workers, each key to one at a time."""

    def __init__(self, work: Work, workers: int = 16) -> None:
        self._work = work
        self._places = asyncio.Semaphore(workers)
        self._waiting: dict[Key, asyncio.TimerHandle] = {}
        self._working: dict[Key, asyncio.Task[None]] = {}
        self._again: set[Key] = set()
        self._stopped = False

    def add(self, key: Key, after_seconds: float = 0.0) -> None:
        """Look at the key after that time; an earlier appointment of the same key stands."""
        if self._stopped:
            return
        if key in self._working:
            if after_seconds <= 0:
                self._again.add(key)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + max(after_seconds, 0.0)
        before = self._waiting.get(key)
        if before is not None:
            if before.when() <= due:
                return
            before.cancel()
        self._waiting[key] = loop.call_at(due, self._begin, key)

    def forget(self, key: Key) -> None:
        """The key needs no further look."""
        timer = self._waiting.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def stop(self) -> None:
        """Nothing new is begun; what is being worked on may finish its present step."""
        self._stopped = True
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        tasks = list(self._working.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def depth(self) -> int:
        """How many keys wait or are worked on."""
        return len(self._waiting) + len(self._working)

    def _begin(self, key: Key) -> None:
        self._waiting.pop(key, None)
        task = asyncio.get_running_loop().create_task(self._attend(key), name=f"run {key[0]}/{key[1]}")
        self._working[key] = task

    async def _attend(self, key: Key) -> None:
        after: float | None = None
        try:
            async with self._places:
                after = await self._work(key)
        except asyncio.CancelledError:
            self._again.discard(key)
            raise
        except Exception:  # a stranger's mistake must not stop the queue: it is told, and looked at again
            log.exception("run could not be looked at", extra={"run": f"{key[0]}/{key[1]}"})
            after = AFTER_A_SURPRISE_SECONDS
        finally:
            self._working.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        elif after is not None:
            self.add(key, after)
