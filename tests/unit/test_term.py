"""One term: nothing before every run is known, and nothing left of it afterwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from remediator.domain.errors import Deposed
from remediator.domain.runs import Run
from remediator.handlers.queue import Key
from remediator.handlers.term import Term
from remediator.testing.clock import StoppedClock
from replicas import Uncounted, settled
from worlds import run


class Work:
    """Notes what is worked on; a key of `busy` is worked on until it is let go."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.ended: list[str] = []
        self.busy = asyncio.Event()
        self.busy.set()

    async def __call__(self, key: Key) -> float | None:
        self.done.append(key[1])
        await self.busy.wait()
        self.ended.append(key[1])
        return None


def stored(name: str, **status: Any) -> Any:
    made: Run = run()
    return {
        "metadata": {
            "namespace": "shop",
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "7",
            "creationTimestamp": "2026-11-21T11:58:00Z",
        },
        "spec": made.spec.as_json(),
        "status": {**made.status.as_json(), **status},
    }


OWING = {"outcome": "Remediated", "debts": [{"token": "t", "step": "raise", "kind": "TTL"}]}


@asynccontextmanager
async def led(term: Term, work: Work, caught_up: asyncio.Event, *keeps: Any) -> AsyncIterator["asyncio.Task[None]"]:
    leading = asyncio.ensure_future(term.lead(work, caught_up.wait, keeps))  # type: ignore[arg-type]
    await settled()
    yield leading
    work.busy.set()
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)


async def test_nothing_is_worked_on_before_all_runs_are_known_and_then_debts_come_first() -> None:
    term, work, caught_up = Term(StoppedClock(), 1, Uncounted()), Work(), asyncio.Event()
    async with led(term, work, caught_up):
        for name, status in (("open", {}), ("ended", {"outcome": "Done"}), ("owing", OWING)):
            term.saw_run("ADDED", stored(name, **status))
        await settled()
        assert (work.done, term.has_begun, term.acting.others(run())) == ([], False, None)

        caught_up.set()
        await settled()

        assert work.done == ["owing", "open"]
        others = term.acting.others(run())
        assert others is not None and len(others) == 0


@pytest.mark.parametrize(
    ("status", "looks"),
    [
        ({"stillFiring": "2026-11-21T13:00:00Z"}, ["a"]),
        ({"stillFiring": "2026-11-21T13:00:00Z", "recurred": "2026-11-21T13:00:01Z"}, []),
        ({"stillFiring": "2026-11-21T13:00:00Z", "outcome": "Failed"}, []),
    ],
    ids=["nobody knows", "people were told", "people were told at its end"],
)
async def test_a_run_whose_alert_is_sent_on_is_worked_on_until_people_know(
    status: dict[str, Any], looks: list[str]
) -> None:
    term, work, caught_up = Term(StoppedClock(), 1, Uncounted()), Work(), asyncio.Event()
    caught_up.set()
    async with led(term, work, caught_up):
        whole = {"outcome": "Remediated", "state": "Ended", "endedAt": "2026-11-21T12:00:00Z", **status}
        term.saw_run("MODIFIED", stored("a", **whole))
        await settled()

        assert work.done == looks


async def test_what_comes_later_is_worked_on_at_once_and_what_is_deleted_no_more() -> None:
    term, work, caught_up = Term(StoppedClock(), 1, Uncounted()), Work(), asyncio.Event()
    caught_up.set()
    async with led(term, work, caught_up):
        term.saw_run("ADDED", stored("a"))
        term.saw_run("ADDED", stored("b"))
        term.saw_run("DELETED", stored("b"))
        await settled()

        assert work.done == ["a"]


def in_version(version: int, name: str = "a", **status: Any) -> Any:
    made = stored(name, **status)
    made["metadata"]["resourceVersion"] = str(version)
    return made


@pytest.mark.parametrize(
    ("brought", "looks"),
    [([9], 1), ([8, 9], 1), ([9, 10], 2), ([], 1)],
    ids=["its own", "both of its own", "somebody's after it", "nothing yet"],
)
async def test_what_comes_back_before_its_write_is_answered_is_no_news(brought: list[int], looks: int) -> None:
    term, work, caught_up = Term(StoppedClock(), 1, Uncounted()), Work(), asyncio.Event()
    caught_up.set()
    work.busy.clear()
    async with led(term, work, caught_up):
        term.saw_run("ADDED", in_version(7))
        await settled()
        for version in brought:
            term.saw_run("MODIFIED", in_version(version))
        for version in (8, 9):  # the answers to two writes
            term.wrote(Run.parse(in_version(version)))
        work.busy.set()
        await settled()

        assert work.done == ["a"] * looks


async def test_news_of_a_run_that_is_worked_on_is_looked_at_afterwards() -> None:
    term, work, caught_up = Term(StoppedClock(), 1, Uncounted()), Work(), asyncio.Event()
    caught_up.set()
    work.busy.clear()
    async with led(term, work, caught_up):
        term.saw_run("ADDED", in_version(7))
        await settled()
        term.saw_run("MODIFIED", in_version(8))
        work.busy.set()
        await settled()

        assert work.done == ["a", "a"]
        term.saw_run("MODIFIED", in_version(9))
        await settled()
        assert work.done == ["a", "a", "a"]


async def test_what_is_under_way_comes_to_its_end_before_the_term_does() -> None:
    term, work, caught_up = Term(StoppedClock(), 2, Uncounted()), Work(), asyncio.Event()
    caught_up.set()
    work.busy.clear()
    async with led(term, work, caught_up) as leading:
        term.saw_run("ADDED", stored("a"))
        await settled()
        leading.cancel()
        await settled()
        term.saw_run("ADDED", stored("late"))
        assert not leading.done()

        work.busy.set()
        await settled()

        assert leading.done()
        assert (work.done, work.ended) == (["a"], ["a"])


async def test_a_part_that_meets_a_later_leader_ends_the_term_and_nothing_else() -> None:
    async def deposed() -> None:
        raise Deposed("a later leader")

    caught_up = asyncio.Event()
    caught_up.set()
    async with led(Term(StoppedClock(), 1, Uncounted()), Work(), caught_up, deposed) as leading:
        await settled()

        assert leading.done()
        assert leading.exception() is None


async def test_a_part_that_fails_is_no_secret() -> None:
    async def broken() -> None:
        raise RuntimeError("surprise")

    caught_up = asyncio.Event()
    caught_up.set()
    async with led(Term(StoppedClock(), 1, Uncounted()), Work(), caught_up, broken) as leading:
        await settled()

        with pytest.raises(ExceptionGroup):
            await leading
