"""
One at a time for each key, and together what came meanwhile.

What is put into a lane is worked on in a task of its own: a caller that gives up leaves the work, and
everybody else who waits for it, alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from remediator.ports import Clock

K = TypeVar("K", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")

IDLE_LANES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Worked(Generic[Result]):
    """One result for each item, in order, and whether anything was written."""

    results: Sequence[Result]
    wrote: bool


@dataclass(slots=True)
class _Lane(Generic[Item, Result]):
    waiting: "list[tuple[Item, asyncio.Future[Result]]]" = field(default_factory=list)
    rests_until: float = 0.0
    task: "asyncio.Task[None] | None" = None


class Lanes(Generic[K, Item, Result]):
    """
    Work by key: never two at once on one key, at most `at_once` on all of them.

    After a write a key rests for `rest_seconds`, and what comes in that time is taken together.
    """

    def __init__(
        self,
        work: Callable[[K, Sequence[Item]], Awaitable[Worked[Result]]],
        clock: Clock,
        *,
        rest_seconds: float,
        at_once: int,
    ) -> None:
        self._work = work
        self._clock = clock
        self._rest_seconds = rest_seconds
        self._places = asyncio.Semaphore(at_once)
        self._lanes: dict[K, _Lane[Item, Result]] = {}
        self._tidied_at = IDLE_LANES

    async def put(self, key: K, item: Item) -> Result:
        """The result of the work that this item went into; what the work raises is raised here."""
        if key not in self._lanes:
            self._tidy()
            self._lanes[key] = _Lane()
        lane = self._lanes[key]
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        lane.waiting.append((item, result))
        if lane.task is None:
            lane.task = asyncio.create_task(self._run(key, lane), name=f"intake of {key}")
        return await result

    async def finish(self) -> None:
        """Everything that was put in is worked on."""
        while tasks := [lane.task for lane in self._lanes.values() if lane.task is not None]:
            await asyncio.gather(*tasks)

    async def _run(self, key: K, lane: _Lane[Item, Result]) -> None:
        try:
            while lane.waiting:
                rest = lane.rests_until - self._clock.boot_seconds()
                if rest > 0:
                    await self._clock.sleep(rest)
                async with self._places:
                    await self._take(key, lane)
        finally:
            lane.task = None

    async def _take(self, key: K, lane: _Lane[Item, Result]) -> None:
        taken, lane.waiting = lane.waiting, []
        try:
            worked = await self._work(key, [item for item, _ in taken])
        except Exception as reason:  # noqa: BLE001 - handed on, whole, to everybody who waits for it
            for _, result in taken:
                if not result.done():
                    result.set_exception(reason)
            return
        if worked.wrote:
            lane.rests_until = self._clock.boot_seconds() + self._rest_seconds
        for (_, result), found in zip(taken, worked.results, strict=True):
            if not result.done():
                result.set_result(found)

    def _tidy(self) -> None:
        if len(self._lanes) < self._tidied_at:
            return
        now = self._clock.boot_seconds()
        idle = [k for k, lane in self._lanes.items() if lane.task is None and lane.rests_until <= now]
        for key in idle:
            del self._lanes[key]
        # in a burst none is idle, and looking at all of them for each that comes would take longer than the work
        self._tidied_at = max(IDLE_LANES, 2 * len(self._lanes))
