"""Many things of one kind, a few of them at a time."""

import asyncio

import pytest

from remediator.domain.errors import Conflict, Unavailable
from remediator.handlers.at_once import all_of, in_turns


class Work:
    """Things to do that are held until the test says so."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.go_on = asyncio.Event()

    async def one(self, number: int) -> int:
        self.begun.append(number)
        await self.go_on.wait()
        if number % 10 == 7:
            raise Conflict(f"number {number}")
        return 10 * number


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_more_are_begun_than_may_go_on_at_once() -> None:
    work = Work()

    doing = asyncio.create_task(all_of((work.one(i) for i in range(6)), 2))
    await turns()
    assert work.begun == [0, 1]

    work.go_on.set()
    assert await doing == [0, 10, 20, 30, 40, 50]


async def test_one_that_fails_holds_no_other_up() -> None:
    work = Work()
    work.go_on.set()

    with pytest.raises(Unavailable, match="number 7"):
        await all_of((work.one(i) for i in range(20)), 3)

    assert sorted(work.begun) == list(range(20))


async def test_a_mistake_of_ours_is_not_the_clusters() -> None:
    async def mistaken() -> int:
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        await all_of((mistaken() for _ in range(2)), 2)


async def test_what_was_not_begun_when_nobody_waits_any_more_is_not_begun() -> None:
    work = Work()
    doing = asyncio.create_task(all_of((work.one(i) for i in range(100)), 4))
    await turns()

    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing

    assert work.begun == [0, 1, 2, 3]


async def test_others_have_their_turn_where_nothing_waits() -> None:
    turns_of_others = 0

    async def known() -> int:
        return 1

    async def other() -> None:
        nonlocal turns_of_others
        while True:
            turns_of_others += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    assert sum(await all_of((known() for _ in range(1_000)), 4)) == 1_000
    beside.cancel()

    assert turns_of_others >= 10


async def test_one_thing_alone_ends_as_one_of_many_would() -> None:
    work = Work()
    work.go_on.set()

    assert await all_of((work.one(i) for i in range(1)), 4) == [0]
    assert await all_of((work.one(i) for i in range(0)), 4) == []
    with pytest.raises(Unavailable, match="number 7"):
        await all_of((work.one(i) for i in range(7, 8)), 4)


async def test_others_use_the_loop_between_two_turns() -> None:
    seen: list[int | str] = []

    async def beside() -> None:
        seen.append("another")

    going_on = asyncio.create_task(beside())
    async for one in in_turns(range(4), 3):
        seen += [one]
    await going_on

    assert seen == [0, 1, "another", 2, 3]
