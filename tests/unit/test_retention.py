"""Which runs go and which stay, whatever else is true."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import by_hand, ended, with_uid
from remediator.domain.objects import ObjectRef
from remediator.domain.policies import History
from remediator.domain.runs import Run
from remediator.engine.begin import Key
from remediator.engine.retention import (
    RESTS,
    PastRun,
    Why,
    idle_evidence,
    needs,
    over_limit,
    past_run,
    silent_for_long,
    surplus,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
WEEK = timedelta(days=7)


def past(
    number: int, *, days: float = 2, target: str = "checkout", outcome: str | None = "Remediated", **more: Any
) -> PastRun:
    ref = ObjectRef.of("Deployment", "shop", target)
    return past_run(with_uid(ended(number, NOW - timedelta(days=days), target=ref, outcome=outcome, **more)))


def gone(runs: list[PastRun], **history: Any) -> list[tuple[int, Why]]:
    return [(one.run.number, one.why) for one in surplus(runs, History(**history), NOW)]


def test_of_more_runs_than_are_kept_the_oldest_go_first() -> None:
    runs = [past(n, days=30 - n) for n in range(1, 8)]

    assert gone(runs, succeeded=3) == [(1, Why.COUNT), (2, Why.COUNT), (3, Why.COUNT)]


def test_the_newest_of_a_target_counts_for_no_number_and_never_goes() -> None:
    runs = [past(1, target=f"target-{n}", days=n + 1) for n in range(5_000 // 50)]

    assert surplus(runs, History(succeeded=0, failed=0, keep_for=timedelta(hours=2)), NOW) == ()


def test_a_run_that_is_older_than_runs_are_kept_goes_although_there_are_few() -> None:
    runs = [past(1, days=31), past(2, days=29), past(3, days=28)]

    assert gone(runs) == [(1, Why.AGE)]
    assert gone(runs, keep_for=timedelta(0)) == []


def test_successes_and_failures_are_counted_apart() -> None:
    runs = [past(n, days=20 - n, outcome="Failed" if n % 2 else "Remediated") for n in range(1, 10)]

    assert gone(runs, succeeded=0) == [(2, Why.COUNT), (4, Why.COUNT), (6, Why.COUNT), (8, Why.COUNT)]
    assert gone(runs, failed=1) == [(1, Why.COUNT), (3, Why.COUNT), (5, Why.COUNT)]


def test_an_open_run_is_the_newest_and_is_never_counted() -> None:
    runs = [past(1), past(2, outcome=None)]

    assert gone(runs, succeeded=0) == [(1, Why.COUNT)]


def test_what_has_just_ended_rests() -> None:
    young = past_run(with_uid(ended(1, NOW - RESTS + timedelta(seconds=1))))

    assert gone([young, past(2)], succeeded=0) == []


def test_the_number_says_which_is_the_newest_not_the_end() -> None:
    runs = [past(1, days=1), past(2, days=9)]

    assert gone(runs, succeeded=0) == [(1, Why.COUNT)]


def test_runs_by_hand_answer_nothing_and_go_by_count_and_age() -> None:
    runs = [past_run(with_uid(by_hand(f"by-hand-{n}", NOW - timedelta(days=n + 1)))) for n in range(4)]

    assert [one.run.name for one in surplus(runs, History(succeeded=2), NOW)] == ["by-hand-3", "by-hand-2"]
    assert {run.group for run in runs} == {("shop", "")}


def test_more_runs_than_the_cluster_may_hold_go_but_no_newest() -> None:
    runs = [past(n, days=20 - n, target=t) for t in ("a", "b") for n in range(1, 4)]

    going = over_limit(runs, 3, (), NOW)

    assert [(one.run.number, one.why) for one in going] == [(1, Why.TOTAL), (1, Why.TOTAL), (2, Why.TOTAL)]
    assert len(over_limit(runs, 1, (), NOW)) == 4
    assert over_limit(runs, 0, (), NOW) == ()
    assert {one.run.uid for one in over_limit(runs, 3, {runs[0].uid}, NOW)}.isdisjoint({runs[0].uid})


def test_a_newest_run_may_go_only_alone_silent_and_long_after_its_end() -> None:
    old, young = past(1, days=9), past(1, days=6, target="b")
    busy = past(1, days=9, target="c", status={"stillFiring": "2026-05-31T00:00:00Z"})
    pair = [past(1, days=9, target="d"), past(2, days=8, target="d")]

    found = silent_for_long([old, young, busy, *pair], WEEK, NOW)

    assert found == (old,)
    assert silent_for_long([old], None, NOW) == ()


def test_a_run_that_answers_for_others_is_silent_when_they_are() -> None:
    heard = [{"heardAt": "2026-05-30T00:00:00Z", "identities": ""}]

    assert silent_for_long([past(1, days=9, status={"covered": heard})], WEEK, NOW) == ()


def test_what_is_kept_only_for_its_alerts_loses_its_evidence() -> None:
    kept = {"attempts": [{"number": 1, "evidence": "crash-1"}]}
    runs = [past(1, days=n, target=f"t-{n}", status=kept) for n in range(1, 4)]

    assert idle_evidence(runs, History(), NOW) == ()
    assert idle_evidence(runs, History(succeeded=2), NOW) == (runs[2],)
    assert idle_evidence(runs, History(keep_for=timedelta(days=1.5)), NOW) == (runs[2], runs[1])
    expired = past(1, days=9, status={**kept, "evidenceExpired": "2026-05-30T00:00:00Z"})
    assert idle_evidence([expired], History(succeeded=0), NOW) == ()


OWED = {"token": "t", "step": "raise", "kind": "TTL", "state": "Owed"}
INTENDED = {"name": "raise", "action": "setEnv", "change": {"kind": "patch"}, "state": "Intended"}
ASKED = {"name": "look", "question": "done?", "askedAt": "2026-06-01T00:00:00Z", "blocking": False}


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({}, ""),
        ({"outcome": None}, "it is open"),
        ({"debts": [OWED]}, "it has to take a change back"),
        ({"debts": [{**OWED, "state": "Paid"}]}, ""),
        ({"attempts": [{"number": 1, "steps": [INTENDED]}]}, "what became of a change is not known"),
        ({"attempts": [{"number": 1, "undo": [INTENDED]}]}, "what became of a change is not known"),
        ({"attempts": [{"number": 1, "steps": [{**INTENDED, "state": "Done"}]}]}, ""),
        (
            {"attempts": [{"number": 1, "questions": [{**ASKED, "deadline": "2026-06-02T00:00:00Z"}]}]},
            "somebody is asked",
        ),
        ({"attempts": [{"number": 1, "questions": [{**ASKED, "deadline": "2026-06-01T01:00:00Z"}]}]}, ""),
    ],
)
def test_what_is_needed_stays(status: dict[str, Any], why: str) -> None:
    run = Run.parse(with_uid(ended(1, NOW - timedelta(days=60), status=status)))

    assert needs(run, NOW) == why


def test_a_run_with_a_later_versions_words_is_still_the_newest() -> None:
    odd = with_uid(ended(3, NOW - timedelta(days=9), outcome="Transcended", status={"attempts": "none"}))

    run = past_run(odd)

    assert (run.number, run.is_success) == (3, False)
    assert gone([past(1), run], succeeded=0) == [(1, Why.COUNT)]


def made_of(target: str, number: int, days: float, outcome: str | None) -> PastRun:
    at = NOW - timedelta(days=days)
    return PastRun(
        namespace="shop",
        name=f"{target}-{number}",
        uid=f"uid-{target}-{number}",
        key=Key("shop", "queue", ObjectRef.of("Deployment", "shop", target)),
        number=number,
        ended_at=at if outcome else None,
        is_success=outcome == "Remediated",
        heard_at=at,
        has_evidence=False,
        content="",
    )


RUNS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(1, 30),
        st.floats(0, 60),
        st.sampled_from(["Remediated", "Failed", "Covered", None]),
    ),
    max_size=30,
    unique_by=lambda one: one[:2],
)


@settings(max_examples=50, deadline=None)
@given(RUNS, st.integers(0, 5), st.integers(0, 5), st.integers(0, 40), st.integers(0, 12))
def test_whatever_is_stored_the_newest_of_each_target_and_what_is_open_stay(
    made: list[tuple[int, int, float, str | None]], succeeded: int, failed: int, days: int, most: int
) -> None:
    runs = [made_of(f"t-{target}", number, age, outcome) for target, number, age, outcome in made]
    history = History(succeeded=succeeded, failed=failed, keep_for=timedelta(days=days))

    going = surplus(runs, history, NOW)
    also = over_limit(runs, most, (), NOW)

    newest = {(max(n for t, n, *_ in made if t == target), f"t-{target}") for target, *_ in made}
    for run in (one.run for one in (*going, *also)):
        assert run.ended_at is not None
        assert run.key is not None
        assert (run.number, run.key.target.name) not in newest
    assert len(also) <= max(0, len(runs) - most)
    left = [run for run in runs if run not in {one.run for one in going}]
    assert surplus(left, history, NOW) == ()
