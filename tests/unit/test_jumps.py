"""When the time of day is set anew, everything that waits for a moment is looked at again."""

from datetime import timedelta

import pytest

from remediator.handlers.jumps import ClockJumps
from remediator.testing.clock import StoppedClock


def watched() -> tuple[ClockJumps, StoppedClock, list[str]]:
    clock, told = StoppedClock(), list[str]()
    return ClockJumps(clock, lambda: told.append("jumped")), clock, told


@pytest.mark.parametrize("by", [timedelta(hours=1), timedelta(hours=-1), timedelta(seconds=2)])
async def test_a_jump_is_told_once(by: timedelta) -> None:
    jumps, clock, told = watched()
    clock.set(clock.now() + by)

    for _ in range(3):
        await jumps.compare()

    assert told == ["jumped"]


async def test_there_and_back_are_two_jumps() -> None:
    jumps, clock, told = watched()
    for by in (timedelta(hours=-1), timedelta(hours=1)):
        clock.set(clock.now() + by)
        await jumps.compare()

    assert told == ["jumped", "jumped"]


async def test_a_look_in_a_moment_of_wrong_time_is_told_of_both_jumps() -> None:
    jumps, clock, told = watched()

    async def looks(_: object) -> float | None:
        clock.set(clock.now() - timedelta(hours=1))
        return 3600.0

    assert await jumps.after(looks)(("shop", "a")) == 3600.0
    assert told == ["jumped"]
    clock.set(clock.now() + timedelta(hours=1))
    await jumps.compare()

    assert told == ["jumped", "jumped"]


async def test_time_that_passes_is_no_jump() -> None:
    jumps, clock, told = watched()
    clock.advance(timedelta(hours=3))  # as after a machine's sleep: both clocks have moved

    await jumps.compare()

    assert told == []


async def test_a_clock_that_drifts_is_no_jump() -> None:
    jumps, clock, told = watched()
    for _ in range(10):
        clock.set(clock.now() + timedelta(milliseconds=400))
        await jumps.compare()

    assert told == []
