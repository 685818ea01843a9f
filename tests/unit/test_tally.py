"""The runs of one definition in a few words: the counts and the newest follow whatever comes and goes."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from remediator.domain.runs import Run, RunOutcome
from remediator.handlers.tally import Brief, Tally, noted, noted_of_ended
from remediator.testing.clock import NOON

RECORDS = sorted((Path(__file__).parents[1] / "data" / "runs").glob("*.yaml"))
ENDED = (RunOutcome.REMEDIATED, RunOutcome.FAILED, RunOutcome.NOT_NEEDED)


def brief(number: int, outcome: RunOutcome | None, minute: int = 0) -> Brief:
    began = NOON + timedelta(minutes=minute)
    return Brief(("shop", f"run-{number}"), "Deployment/web", "", None, outcome, began, None)


def stored(file: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(file.read_text()) if one.get("kind") == "RunbookRun"]


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([None, *ENDED, "gone"]), st.integers(0, 9)),
        max_size=40,
    )
)
def test_the_counts_are_those_of_the_runs_that_are_there(events: list[tuple[int, Any, int]]) -> None:
    tally, there = Tally(), {}
    for number, what, minute in events:
        if what == "gone":
            assert tally.forget(("shop", f"run-{number}")) == (there.pop(number, None) is not None)
        else:
            seen = brief(number, what, minute)
            assert tally.note(seen) == (there.get(number) != seen)
            there[number] = seen

    counted = Counter(one.counts_as for one in there.values())
    counts = tally.counts()
    assert (counts.open, counts.succeeded, counts.failed) == (
        counted["open"],
        counted["succeeded"],
        counted["failed"],
    )
    newest = sorted(there.values(), key=lambda one: one.age, reverse=True)[:3]
    assert [one.name for one in tally.newest(3)] == [one.place[1] for one in newest]


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.stem)
def test_a_run_that_has_ended_tells_the_same_without_being_read_as_a_whole(file: Path) -> None:
    for obj in stored(file):
        run = Run.parse(obj)
        short = noted_of_ended(obj)
        assert short == (noted(run) if run.is_ended and not run.owes else None)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"outcome": "Enlightened"}, "a later version's outcome"),
        ({"state": "Elsewhere"}, "a later version's state"),
        ({"startedAt": "once"}, "no time"),
        ({"debts": [{"state": "Owed"}]}, "it owes"),
        ({"debts": [{}]}, "it may owe"),
        ({"outcome": ""}, "it is open"),
        ({"stillFiring": "2026-06-01T18:00:00Z"}, "people may have to be told"),
    ],
)
def test_what_is_not_as_usual_is_read_as_a_whole(change: dict[str, Any], why: str) -> None:
    [obj] = stored(next(file for file in RECORDS if file.stem == "remediated"))
    assert noted_of_ended(obj) is not None

    assert noted_of_ended({**obj, "status": {**obj["status"], **change}}) is None, why
