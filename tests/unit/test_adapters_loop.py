"""Every long turn of the event loop is told of, and nothing else."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from remediator.adapters import loop
from remediator.adapters.loop import Turns


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Something that takes so many seconds, by a clock that nothing else moves."""
    now = [100.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(loop.time, "thread_time", lambda: now[0] / 4)

    def took(seconds: float) -> None:
        now[0] += seconds

    yield took


def told_while(*seconds: float, work: Callable[[float], None]) -> list[tuple[float, float]]:
    """What is told of turns that take so long, of which the machine gives a quarter to the thread."""
    turns = Turns()
    told: list[tuple[float, float]] = []

    async def busy() -> None:
        turns.told = lambda took, worked: told.append((took, worked))
        for one in seconds:
            work(one)
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=turns.loop) as runner:
        runner.run(busy())
    return told


def test_a_long_turn_is_told_of_with_its_length_and_its_work(work: Callable[[float], None]) -> None:
    assert told_while(0.2, 0.03, work=work) == [pytest.approx((0.2, 0.05)), pytest.approx((0.03, 0.0075))]


def test_short_turns_are_not_told_of_however_many(work: Callable[[float], None]) -> None:
    assert told_while(*[0.005] * 50, work=work) == []


def test_two_callbacks_of_one_turn_are_one_wait(work: Callable[[float], None]) -> None:
    turns, told = Turns(), []

    async def busy() -> None:
        turns.told = lambda took, _: told.append(took)
        running = asyncio.get_running_loop()
        running.call_soon(work, 0.006)
        running.call_soon(work, 0.006)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=turns.loop) as runner:
        runner.run(busy())
    assert told == [pytest.approx(0.012)]
