import asyncio

from remediator.domain.errors import Unavailable
from remediator.handlers.readings import COUNTS_SECONDS, Readings
from remediator.testing.clock import StoppedClock
from remediator.testing.cluster import FakeCluster


class Question:
    """Counts how often it is asked."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.asked = 0
        self._failure = failure

    async def __call__(self) -> int:
        self.asked += 1
        if self._failure is not None:
            raise self._failure
        return self.asked


def readings(clock: StoppedClock) -> Readings:
    return Readings(FakeCluster(clock), clock)


async def test_what_is_asked_ahead_is_asked_once_and_is_as_old_as_that() -> None:
    clock, question = StoppedClock(), Question()
    made = readings(clock)
    began = clock.boot_seconds()

    made.ahead("firing", question)
    await clock.sleep(COUNTS_SECONDS / 2)

    assert await made.once("firing", question) == 1
    assert made.since == began


async def test_what_was_asked_ahead_too_long_ago_is_asked_again() -> None:
    clock, question = StoppedClock(), Question()
    made = readings(clock)

    made.ahead("firing", question)
    await clock.sleep(COUNTS_SECONDS * 2)

    assert await made.once("firing", question) == 2


async def test_an_error_ahead_is_for_whoever_asks_and_for_nobody_else() -> None:
    surprises: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: surprises.append(context))
    clock, question = StoppedClock(), Question(Unavailable("away"))
    made = readings(clock)

    made.ahead("firing", question)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert str(await failure_of(made, question)) == "away"
    del made
    await asyncio.sleep(0)

    assert (question.asked, surprises) == (1, [])


async def failure_of(made: Readings, question: Question) -> Unavailable:
    try:
        await made.once("firing", question)
    except Unavailable as error:
        return error
    raise AssertionError("it was answered")
