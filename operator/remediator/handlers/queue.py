"""
The work queue: one key, one worker at a time, now or later.

What has just happened comes before what was only to be looked at again by now: an alert is not kept waiting
by the rollouts of others, few of which are looked at meanwhile. A key that is asked for while it is worked on
is worked on once more afterwards, at once or when it was asked for; asked for ten times, it is still worked on
once. Nothing is kept here that the API server does not have.
"""

import asyncio
import heapq
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Final

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace and name of a run."""

Work = Callable[[Key], Awaitable[float | None]]
"""Do what there is to do; the answer is after how many seconds to look again, None for when it changes."""

AFTER_A_SURPRISE_SECONDS: Final = 5.0
APPOINTMENTS_WAIT_SECONDS: Final = 5.0
"""How long an appointment gives way to news, and no longer: none waits for ever."""

APPOINTMENTS_BESIDE_NEWS: Final = 1
APPOINTMENTS_IN_A_LULL: Final = 4
"""
So many at once before their patience is over: the next news may come at any moment.

Without one beside the news they pile up where lulls are short, and are all due together after their patience.
"""


LULL_SECONDS: Final = 0.25
"""While alerts come more often than that, what nobody waits for is not begun between two of them."""


class Places:
    """
    So many at once; who waits is let in by rank, the lowest first.

    A rank is a time of the loop's clock. Until it has come, who has it lets all others go first, those too that
    come later, and has few of the places.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._inside: Counter[bool] = Counter()
        """How many are in, by whether their time had come."""
        self._waiting: list[tuple[float, int, asyncio.Future[bool]]] = []
        self._turns: dict[Hashable, asyncio.Future[bool]] = {}
        self._numbers = itertools.count()

    @asynccontextmanager
    async def taken(self, rank: float, who: Hashable) -> AsyncIterator[None]:
        """One of the places, as soon as it is this one's turn; nobody else of that name waits."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._turns[who] = turn
        self.hasten(who, rank)
        timer = loop.call_at(rank, self._let_in) if not turn.done() and rank > loop.time() else None
        try:
            is_pressing = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(turn.result())
            raise
        finally:
            del self._turns[who]
            if timer is not None:
                timer.cancel()
        try:
            yield
        finally:
            self._leave(is_pressing)

    def hasten(self, who: Hashable, rank: float) -> None:
        """Who waits is let in by this rank, where it is the lower one."""
        if who in self._turns:
            heapq.heappush(self._waiting, (rank, next(self._numbers), self._turns[who]))
            self._let_in()

    def _let_in(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._waiting and self._inside.total() < self._count:
            rank, _, turn = self._waiting[0]
            is_pressing = rank <= now
            if not (is_pressing or turn.done() or self._has_room_for_patient()):
                return
            heapq.heappop(self._waiting)
            if turn.done():
                continue
            self._inside[is_pressing] += 1
            turn.set_result(is_pressing)

    def _has_room_for_patient(self) -> bool:
        return self._inside[False] < (APPOINTMENTS_BESIDE_NEWS if self._inside[True] else APPOINTMENTS_IN_A_LULL)

    def _leave(self, is_pressing: bool) -> None:
        self._inside[is_pressing] -= 1
        self._let_in()


class Queue:
    """Hands keys to workers, each key to one at a time."""

    def __init__(self, work: Work, workers: int = 16) -> None:
        self._work = work
        self._places = Places(workers)
        self._waiting: dict[Key, asyncio.TimerHandle] = {}
        self._working: dict[Key, asyncio.Task[None]] = {}
        """Those too that wait for a worker."""
        self._ranks: dict[Key, float] = {}
        """Of those that wait for a worker."""
        self._again: dict[Key, float] = {}
        """When to look again at what is being worked on, by the loop's clock."""
        self._stopped = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._idle_since = float("-inf")

    def add(self, key: Key, after_seconds: float = 0.0) -> None:
        """Look at the key after that time; an earlier appointment of the same key stands."""
        if self._stopped:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + max(after_seconds, 0.0)
        rank = due + (APPOINTMENTS_WAIT_SECONDS if after_seconds > 0 else 0.0)
        if key in self._working:
            if after_seconds <= 0 and key in self._ranks:
                self._ranks[key] = min(rank, self._ranks[key])
                self._places.hasten(key, rank)
            else:
                self._again[key] = min(due, self._again.get(key, due))
            return
        before = self._waiting.get(key)
        if before is not None:
            if before.when() <= due and after_seconds > 0:
                return
            before.cancel()
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

    async def lull(self) -> None:
        """For a while no key was worked on, or waited for a worker, and none is or does."""
        loop = asyncio.get_running_loop()
        await self._idle.wait()
        while (rest := self._idle_since + LULL_SECONDS - loop.time()) > 0:
            await asyncio.sleep(rest)
            await self._idle.wait()

    def is_working_on(self, key: Key) -> bool:
        """Whether the key is being worked on, and does not only wait for a worker."""
        return key in self._working and key not in self._ranks

    def _begin(self, key: Key, rank: float) -> None:
        self._waiting.pop(key, None)
        self._ranks[key] = rank
        task = asyncio.get_running_loop().create_task(self._attend(key), name=f"run {key[0]}/{key[1]}")
        self._working[key] = task
        self._idle.clear()

    async def _attend(self, key: Key) -> None:
        after: float | None = None
        try:
            async with self._places.taken(self._ranks[key], key):
                del self._ranks[key]
                after = await self._work(key)
        except asyncio.CancelledError:
            self._again.pop(key, None)
            raise
        except Exception:  # a stranger's mistake must not stop the queue: it is told, and looked at again
            log.exception("run could not be looked at", extra={"run": f"{key[0]}/{key[1]}"})
            after = AFTER_A_SURPRISE_SECONDS
        finally:
            self._ranks.pop(key, None)
            self._working.pop(key, None)
            if not self._working:
                self._idle.set()
                self._idle_since = asyncio.get_running_loop().time()
        again = self._again.pop(key, None)
        if again is not None:
            self.add(key, again - asyncio.get_running_loop().time())
        if after is not None:
            self.add(key, after)
