"""What is done when there is time, in order, and by when in any case."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from remediator.domain.objects import ObjectRef
from remediator.handlers import later
from remediator.handlers.later import EventsLater, Later
from remediator.testing.clock import StoppedClock
from remediator.testing.fakes import FakeEvents
from replicas import settled


def noting(seen: list[str], what: str) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        seen.append(what)

    return work


class Lulls:
    """Moments that a test lets come."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked: list[float] = []

    async def __call__(self, within_seconds: float) -> None:
        self.asked.append(within_seconds)
        await self.go.wait()


async def test_it_waits_for_a_lull_before_each() -> None:
    clock, lulls = StoppedClock(), Lulls()
    seen: list[str] = []
    waiting = Later(clock)
    keeps = asyncio.create_task(waiting.keep(lulls))

    waiting.put(noting(seen, "a"))
    clock.advance(timedelta(seconds=20))
    waiting.put(noting(seen, "b"))
    await settled()
    assert seen == []

    lulls.go.set()
    await settled()
    waiting.put(noting(seen, "c"))
    await settled()
    keeps.cancel()

    assert seen == ["a", "b", "c"]
    # the patience of each counts from when it was put
    assert lulls.asked == [later.PATIENCE_SECONDS - 20, later.PATIENCE_SECONDS, later.PATIENCE_SECONDS]


async def test_of_too_much_the_oldest_is_left_undone() -> None:
    seen: list[str] = []
    waiting = Later(StoppedClock())

    for number in range(later.MOST + 1):
        waiting.put(noting(seen, str(number)))
    await waiting.finish()

    assert len(seen) == later.MOST
    assert seen[0] == "1"


async def test_an_event_is_written_when_there_is_time() -> None:
    told = FakeEvents()
    waiting = Later(StoppedClock())
    about = ObjectRef.of("Deployment", "shop", "checkout")

    await EventsLater(told, waiting).record(about, "u-1", reason="Held", message="waits", warning=True)
    assert told.recorded == []
    await waiting.finish()

    (event,) = told.recorded
    assert (event.about, event.reason, event.warning) == (about, "Held", True)
