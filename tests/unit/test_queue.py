import asyncio

import pytest

from remediator.handlers.queue import APPOINTMENTS_IN_A_LULL, Key, Places, Queue, Work
from replicas import settled

A, B, NEWS = ("shop", "a"), ("shop", "b"), ("shop", "news")


def held(seen: list[Key], go: asyncio.Event) -> Work:
    """Work that is seen to begin, and ends when it may."""

    async def work(key: Key) -> float | None:
        seen.append(key)
        await go.wait()
        return None

    return work


async def test_a_key_that_is_added_ten_times_is_worked_on_once() -> None:
    seen: list[Key] = []

    async def work(key: Key) -> float | None:
        seen.append(key)
        return None

    queue = Queue(work)
    for _ in range(10):
        queue.add(A)
    await settled()

    assert seen == [A]


async def test_a_key_that_is_added_while_it_is_worked_on_is_worked_on_once_more_afterwards() -> None:
    seen: list[Key] = []
    go = asyncio.Event()

    queue = Queue(held(seen, go))
    queue.add(A)
    await settled()
    queue.add(A)
    queue.add(A)
    assert seen == [A]
    go.set()
    await settled()

    assert seen == [A, A]


async def test_an_appointment_that_is_made_while_a_key_is_worked_on_is_kept() -> None:
    seen: list[Key] = []
    go = asyncio.Event()

    queue = Queue(held(seen, go))
    queue.add(A)
    await settled()
    queue.add(A, 0.05)
    queue.add(A, 60)
    go.set()
    await settled()
    assert seen == [A]
    await asyncio.sleep(0.1)

    assert seen == [A, A]
    assert queue.depth == 0


async def test_one_key_is_never_worked_on_twice_at_a_time() -> None:
    working: set[Key] = set()
    overlaps = []

    async def work(key: Key) -> float | None:
        overlaps.append(key in working)
        working.add(key)
        await asyncio.sleep(0)
        working.discard(key)
        return None

    queue = Queue(work)
    for _ in range(20):
        queue.add(A)
        queue.add(B)
        await asyncio.sleep(0)
    await settled()

    assert not any(overlaps)


async def test_an_appointment_is_kept_and_an_earlier_one_stands() -> None:
    seen: list[Key] = []

    async def work(key: Key) -> float | None:
        seen.append(key)
        return None

    queue = Queue(work)
    queue.add(A, 3600)
    queue.add(A, 0.01)
    queue.add(A, 3600)
    await asyncio.sleep(0.05)

    assert seen == [A]
    assert queue.depth == 0


async def test_a_worker_that_fails_is_asked_again_and_stops_nobody_else() -> None:
    seen: list[Key] = []

    async def work(key: Key) -> float | None:
        seen.append(key)
        if key == A:
            raise RuntimeError("surprise")
        return None

    queue = Queue(work)
    queue.add(A)
    queue.add(B)
    await settled()

    assert seen == [A, B]
    assert queue.depth == 1  # A has another appointment
    await queue.stop()


async def test_no_more_keys_are_worked_on_at_once_than_there_are_places() -> None:
    busy = 0
    most = 0

    async def work(key: Key) -> float | None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        busy -= 1
        return None

    queue = Queue(work, workers=3)
    for number in range(30):
        queue.add(("shop", str(number)))
    await asyncio.sleep(0.05)

    assert most == 3


async def test_a_stopped_queue_begins_nothing() -> None:
    seen: list[Key] = []

    async def work(key: Key) -> float | None:
        seen.append(key)
        return None

    queue = Queue(work)
    queue.add(A, 0.01)
    await queue.stop()
    queue.add(B)
    await asyncio.sleep(0.03)

    assert seen == []


async def test_news_comes_before_appointments_where_there_are_too_few_places() -> None:
    seen: list[Key] = []
    go = asyncio.Event()

    queue = Queue(held(seen, go), workers=1)
    queue.add(("shop", "working"))
    await settled()
    queue.add(A, 0.001)
    await asyncio.sleep(0.02)
    queue.add(B)
    await settled()
    go.set()
    await settled()

    assert seen == [("shop", "working"), B, A]


def with_appointments_beside_news(seen: list[Key], go: asyncio.Event) -> Queue:
    """A queue that works on news until it may go on, while A and then B are due."""
    queue = Queue(held(seen, go))
    queue.add(NEWS)
    queue.add(A, 0.001)
    queue.add(B, 0.002)
    return queue


async def test_beside_news_one_appointment_is_kept_at_a_time_although_there_are_places() -> None:
    seen: list[Key] = []
    go = asyncio.Event()
    queue = with_appointments_beside_news(seen, go)
    await asyncio.sleep(0.02)
    assert seen == [NEWS, A]
    assert not queue.is_working_on(B)
    go.set()
    await settled()

    assert seen == [NEWS, A, B]


async def test_what_waits_for_a_lull_and_is_news_now_waits_no_longer() -> None:
    seen: list[Key] = []
    go = asyncio.Event()
    queue = with_appointments_beside_news(seen, go)
    await asyncio.sleep(0.02)
    queue.add(B)
    await settled()

    assert seen == [NEWS, A, B]
    go.set()
    await settled()
    assert seen == [NEWS, A, B], "the look that waited is the one that was asked for"


@pytest.mark.parametrize("before", [True, False], ids=["just-before", "just-after"])
async def test_an_appointment_that_comes_in_the_turn_in_which_it_is_news_waits_no_longer(before: bool) -> None:
    seen: list[Key] = []
    go = asyncio.Event()
    loop = asyncio.get_running_loop()

    queue = Queue(held(seen, go))
    queue.add(NEWS)
    queue.add(A, 0.001)
    await asyncio.sleep(0.02)
    if before:
        loop.call_later(0.001, queue.add, B)
    queue.add(B, 0.001)
    if not before:
        loop.call_later(0.001, queue.add, B)
    await asyncio.sleep(0.02)

    assert seen == [NEWS, A, B]
    go.set()
    await settled()


async def test_an_appointment_waits_for_no_lull_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remediator.handlers.queue.APPOINTMENTS_WAIT_SECONDS", 0.02)
    seen: list[Key] = []
    go = asyncio.Event()
    with_appointments_beside_news(seen, go)
    await asyncio.sleep(0.1)

    assert seen == [NEWS, A, B]
    go.set()
    await settled()


async def test_few_appointments_begin_in_a_lull() -> None:
    seen: list[Key] = []
    go = asyncio.Event()

    queue = Queue(held(seen, go))
    for number in range(10):
        queue.add(("shop", str(number)), 0.001)
    await asyncio.sleep(0.05)

    assert len(seen) == APPOINTMENTS_IN_A_LULL
    go.set()
    await settled()
    assert len(seen) == 10


async def test_a_lull_begins_a_while_after_the_last_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remediator.handlers.queue.LULL_SECONDS", 0.05)
    seen: list[Key] = []
    go = asyncio.Event()

    queue = Queue(held(seen, go))
    await queue.lull()
    queue.add(A)
    await settled()
    waits = asyncio.create_task(queue.lull())
    await settled()
    assert not waits.done()
    go.set()
    await settled()
    assert seen == [A]
    assert not waits.done()
    queue.add(B)
    await waits

    assert seen == [A, B]
    assert queue.depth == 0
    await asyncio.wait_for(queue.lull(), 0.01)


async def test_who_is_let_in_last_is_not_left_out() -> None:
    places = Places(1)
    seen: list[str] = []

    async def take(name: str, rank: float) -> None:
        async with places.taken(rank, name):
            seen.append(name)
            await asyncio.sleep(0)

    waits = [
        asyncio.create_task(take(name, rank)) for name, rank in (("c", 9.0), ("gone", 2.0), ("a", 1.0), ("b", 5.0))
    ]
    async with places.taken(0.0, "first"):
        await asyncio.sleep(0)
        waits[1].cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    async with places.taken(0.0, "first"):
        seen.append("last")

    assert seen == ["a", "b", "c", "last"]


async def test_a_place_that_was_given_to_one_who_is_cancelled_goes_to_the_next() -> None:
    places = Places(1)
    seen: list[str] = []

    async def take(name: str) -> None:
        async with places.taken(0.0, name):
            seen.append(name)

    async with places.taken(0.0, "first"):
        one, two = asyncio.create_task(take("one")), asyncio.create_task(take("two"))
        await asyncio.sleep(0)
    one.cancel()
    await asyncio.gather(one, two, return_exceptions=True)

    assert seen == ["two"]
