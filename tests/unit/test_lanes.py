"""One at a time for each key, and together what came meanwhile."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from remediator.handlers.lanes import Lanes, Worked
from remediator.testing.clock import StoppedClock


class Held(StoppedClock):
    """Whoever sleeps sleeps until the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.go_on.wait()
        self.advance(timedelta(seconds=seconds))


class Desk:
    """Work that can be held, and remembers what it was given."""

    def __init__(self, *, wrote: bool = True) -> None:
        self.taken: list[tuple[str, list[int]]] = []
        self.go_on = asyncio.Event()
        self.at_once = self.most_at_once = 0
        self._wrote = wrote

    async def work(self, key: str, items: Sequence[int]) -> Worked[int]:
        self.taken.append((key, list(items)))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.go_on.wait()
        finally:
            self.at_once -= 1
        if -1 in items:
            raise ValueError("minus one")
        return Worked([item * 10 for item in items], self._wrote)


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_comes_while_a_key_is_worked_on_is_taken_together_afterwards() -> None:
    desk = Desk(wrote=False)
    lanes: Lanes[str, int, int] = Lanes(desk.work, StoppedClock(), rest_seconds=0.2, at_once=4)

    waiting = [asyncio.create_task(lanes.put("a", i)) for i in range(5)]
    await turns()
    desk.go_on.set()

    assert await asyncio.gather(*waiting) == [0, 10, 20, 30, 40]
    assert desk.taken in ([("a", [0]), ("a", [1, 2, 3, 4])], [("a", [0, 1, 2, 3, 4])])


async def test_after_a_write_a_key_rests_and_others_do_not() -> None:
    clock, desk = Held(), Desk()
    desk.go_on.set()
    lanes: Lanes[str, int, int] = Lanes(desk.work, clock, rest_seconds=0.2, at_once=4)
    await lanes.put("a", 1)

    waiting = [asyncio.create_task(lanes.put("a", i)) for i in (2, 3)]
    assert await lanes.put("b", 4) == 40
    await turns()
    assert [task.done() for task in waiting] == [False, False]

    clock.go_on.set()
    assert await asyncio.gather(*waiting) == [20, 30]
    assert desk.taken == [("a", [1]), ("b", [4]), ("a", [2, 3])]
    assert clock.slept == [pytest.approx(0.2)]


async def test_without_a_write_a_key_does_not_rest() -> None:
    clock, desk = Held(), Desk(wrote=False)
    desk.go_on.set()
    lanes: Lanes[str, int, int] = Lanes(desk.work, clock, rest_seconds=0.2, at_once=4)

    assert [await lanes.put("a", i) for i in (1, 2)] == [10, 20]
    assert clock.slept == []


async def test_no_more_keys_than_allowed_are_worked_on_at_once() -> None:
    desk = Desk(wrote=False)
    lanes: Lanes[str, int, int] = Lanes(desk.work, StoppedClock(), rest_seconds=0, at_once=3)

    waiting = [asyncio.create_task(lanes.put(str(i), i)) for i in range(10)]
    await turns()
    assert desk.at_once == 3
    desk.go_on.set()
    await asyncio.gather(*waiting)

    assert desk.most_at_once == 3


async def test_who_gives_up_leaves_the_work_and_the_others_alone() -> None:
    desk = Desk(wrote=False)
    lanes: Lanes[str, int, int] = Lanes(desk.work, StoppedClock(), rest_seconds=0, at_once=3)
    impatient, patient = (asyncio.create_task(lanes.put("a", i)) for i in (1, 2))
    await turns()

    impatient.cancel()
    await turns()
    desk.go_on.set()

    assert await patient == 20
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_a_failure_reaches_everybody_who_waits_for_it_and_nobody_else() -> None:
    desk = Desk(wrote=False)
    lanes: Lanes[str, int, int] = Lanes(desk.work, StoppedClock(), rest_seconds=0, at_once=3)
    other = asyncio.create_task(lanes.put("b", 5))
    failing = [asyncio.create_task(lanes.put("a", i)) for i in (-1, -1)]
    await turns()
    desk.go_on.set()

    results = await asyncio.gather(*failing, other, return_exceptions=True)

    assert [type(result) for result in results] == [ValueError, ValueError, int]
    assert await lanes.put("a", 1) == 10


async def test_to_finish_waits_for_what_was_put_in() -> None:
    desk = Desk(wrote=False)
    lanes: Lanes[str, int, int] = Lanes(desk.work, StoppedClock(), rest_seconds=0, at_once=3)
    waiting = asyncio.create_task(lanes.put("a", 1))
    await turns()
    finishing = asyncio.create_task(lanes.finish())
    await turns()
    assert not finishing.done()

    desk.go_on.set()
    await finishing

    assert await waiting == 10
