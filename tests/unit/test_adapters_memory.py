"""What is held for good is passed over by the collector, and garbage is gone before."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from remediator.adapters import memory
from remediator.adapters.memory import collect_in_lulls, keep_for_good
from remediator.testing.clock import StoppedClock


class Held:
    """Something that garbage refers to."""

    other: "Held"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    rounds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*rounds)


def test_what_is_left_is_not_looked_through_again() -> None:
    kept = Held()

    keep_for_good()

    assert gc.get_freeze_count() > 10_000
    assert not any(one is kept for one in gc.get_objects())


def test_garbage_is_not_kept_for_good() -> None:
    one, two = Held(), Held()
    one.other, two.other = two, one
    gone = weakref.ref(one)

    del one, two
    keep_for_good()

    assert gone() is None


def test_a_burst_of_objects_that_stay_is_not_gone_through_as_a_whole() -> None:
    keep_for_good()
    before = [generation["collections"] for generation in gc.get_stats()[1:]]

    burst = [[n] for n in range(500_000)]

    assert len(burst) == 500_000
    assert [generation["collections"] for generation in gc.get_stats()[1:]] == before


class Lulls:
    """Moments that a test lets come, one at a time."""

    def __init__(self) -> None:
        self.asked = asyncio.Semaphore(0)
        self.come = asyncio.Semaphore(0)

    async def __call__(self, within_seconds: float) -> None:
        self.asked.release()
        await self.come.acquire()


async def test_a_full_round_waits_for_a_lull() -> None:
    gc.set_threshold(*memory.ROUNDS)
    lulls = Lulls()
    keeps = asyncio.create_task(collect_in_lulls(StoppedClock(), lulls))
    one, two = Held(), Held()
    one.other, two.other = two, one
    gone = weakref.ref(one)
    del one, two

    await lulls.asked.acquire()
    assert gone() is not None
    lulls.come.release()
    await lulls.asked.acquire()
    keeps.cancel()

    assert gone() is None


async def test_many_that_are_left_are_passed_over_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_for_good()
    monkeypatch.setattr(memory, "MANY", 1_000)
    burst = [[n] for n in range(2_000)]
    before = gc.get_freeze_count()
    lulls = Lulls()

    keeps = asyncio.create_task(collect_in_lulls(StoppedClock(), lulls))
    await lulls.asked.acquire()
    lulls.come.release()
    await lulls.asked.acquire()
    keeps.cancel()

    assert gc.get_freeze_count() >= before + len(burst)
