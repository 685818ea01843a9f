"""Whoever asks what is being asked already waits for that answer, and knows how old it is."""

import asyncio
from collections.abc import Mapping

import pytest

from remediator.domain.errors import Unavailable
from remediator.handlers.readings import Readings
from remediator.handlers.shared_alerts import SharedAlerts
from remediator.ports import Firing
from remediator.testing import StoppedClock
from remediator.testing.cluster import FakeCluster

CRASH = {"alertname": "Crash", "namespace": "shop"}


class Slow:
    """A source that answers when it is told to."""

    configured = True

    def __init__(self) -> None:
        self.asked: list[Mapping[str, str]] = []
        self.go = asyncio.Event()
        self.failure: Exception | None = None

    async def firing(self, matching: Mapping[str, str]) -> Firing:
        self.asked.append(matching)
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return Firing((), f"answer {len(self.asked)}")


async def asking(shared: SharedAlerts, **labels: str) -> "asyncio.Task[Firing]":
    task = asyncio.create_task(shared.firing(labels or CRASH))
    await asyncio.sleep(0)
    return task


async def test_who_asks_meanwhile_gets_the_same_answer_and_its_age() -> None:
    source, clock = Slow(), StoppedClock()
    shared = SharedAlerts(source, clock)
    began = clock.boot_seconds()
    first = await asking(shared)
    await clock.sleep(3)
    second = await asking(shared)
    other = await asking(shared, alertname="Other")
    source.go.set()

    assert (await first).asked_at == (await second).asked_at == began
    assert (await other).asked_at == began + 3
    assert [dict(one) for one in source.asked] == [CRASH, {"alertname": "Other"}]


async def test_who_asks_afterwards_asks_anew() -> None:
    source = Slow()
    shared = SharedAlerts(source, StoppedClock())
    source.go.set()

    assert [(await shared.firing(CRASH)).source for _ in range(2)] == ["answer 1", "answer 2"]


async def test_who_gives_up_leaves_the_others_their_answer() -> None:
    source = Slow()
    shared = SharedAlerts(source, StoppedClock())
    first, second = await asking(shared), await asking(shared)
    first.cancel()
    source.go.set()

    assert (await second).source == "answer 1"
    assert first.cancelled()


async def test_a_failure_is_everybodys_and_is_not_kept() -> None:
    source = Slow()
    shared = SharedAlerts(source, StoppedClock())
    source.failure = Unavailable("away")
    both = [await asking(shared), await asking(shared)]
    source.go.set()
    for one in both:
        with pytest.raises(Unavailable):
            await one

    source.failure = None
    assert (await shared.firing(CRASH)).source == "answer 2"


async def test_what_rests_on_a_shared_answer_is_as_old_as_the_question() -> None:
    clock = StoppedClock()
    readings = Readings(FakeCluster(clock), clock)
    readings.share(None)
    assert readings.since == clock.boot_seconds()

    readings.share(clock.boot_seconds() - 3)
    readings.share(clock.boot_seconds() - 1)

    assert readings.since == clock.boot_seconds() - 3
