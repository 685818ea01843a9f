"""FOLD: nothing that was answered is asked again because the run that answered it is gone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import an_alert, ended, with_uid
from remediator.domain.alerts import MAX_IDENTITIES, Alert, Identities
from remediator.domain.runs import CoveredRecord, Run
from remediator.engine.begin import PolicyVersion
from remediator.engine.folding import HEARD_EVERY, answers_of, folded, heard_again

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
PRESENT = PolicyVersion("policy-uid", 1)


def a_run(days: float = 2, *alerts: Alert, **more: Any) -> Run:
    return Run.parse(with_uid(ended(1, NOW - timedelta(days=days), alerts=alerts or (an_alert(),), **more)))


def record(days: float, *alerts: Alert, generation: int = 0) -> CoveredRecord:
    return CoveredRecord(
        heard_at=NOW - timedelta(days=days),
        identities=Identities.of(alerts).encode(),
        policy_uid="policy-uid" if generation else "",
        policy_generation=generation,
    )


def those(records: list[CoveredRecord] | tuple[CoveredRecord, ...] | None) -> Identities:
    assert records is not None
    return Identities().merge(*(Identities.decode(one.identities) for one in records))


def test_a_run_hands_on_what_it_recorded_and_what_it_took_over() -> None:
    run = a_run(2, an_alert("a"), status={"covered": [record(3, an_alert("z")).as_json()]})

    found = answers_of(run, Identities.of([an_alert("beside")]), WEEK, NOW)

    assert those(found) == Identities.of([an_alert("a"), an_alert("z"), an_alert("beside")])


@pytest.mark.parametrize("outcome", ["Superseded", "Covered", "TargetGone", "TargetChanged", "PolicyNotReady"])
def test_what_a_run_released_is_not_handed_on(outcome: str) -> None:
    assert answers_of(a_run(outcome=outcome), Identities(), WEEK, NOW) == ()


def test_what_was_silent_for_long_is_not_handed_on_unless_nobody_can_tell() -> None:
    run = a_run(8)

    assert answers_of(run, Identities(), WEEK, NOW) == ()
    assert those(answers_of(run, Identities(), None, NOW)) == Identities.of([an_alert()])
    assert answers_of(a_run(7), Identities(), WEEK, NOW) != (), "the record may be some hours behind"


def test_an_alert_that_was_sent_again_is_not_silent() -> None:
    run = a_run(30, status={"stillFiring": "2026-05-31T00:00:00Z"})

    (found,) = answers_of(run, Identities(), WEEK, NOW)

    assert found.heard_at == datetime(2026, 5, 31, tzinfo=UTC)


def test_what_is_answered_until_the_policy_changes_stays_so_when_it_is_handed_on() -> None:
    (handed_on,) = answers_of(a_run(outcome="DryRun"), Identities(), WEEK, NOW)

    assert (handed_on.policy_uid, handed_on.policy_generation) == ("policy-uid", 1)
    assert folded([], [handed_on], PRESENT, WEEK, NOW) != []
    assert folded([], [handed_on], PolicyVersion("policy-uid", 2), WEEK, NOW) == []
    assert folded([], [handed_on], PolicyVersion("another", 1), WEEK, NOW) == []
    assert folded([], [handed_on], None, WEEK, NOW) != []


def test_alerts_of_one_day_are_kept_together_with_the_last_of_their_times() -> None:
    found = folded(
        [record(0.3, an_alert("a"))], [record(0.1, an_alert("b")), record(3, an_alert("c"))], PRESENT, WEEK, NOW
    )

    assert found is not None
    assert [one.heard_at for one in found] == [NOW - timedelta(days=3), NOW - timedelta(days=0.1)]
    assert those(found) == Identities.of([an_alert("a"), an_alert("b"), an_alert("c")])


def test_of_one_alert_the_latest_start_and_the_latest_time_count() -> None:
    late = an_alert("a", NOW - timedelta(days=1))

    (found,) = folded([record(1, an_alert("a"))], [record(4, late)], PRESENT, WEEK, NOW) or []

    assert found.heard_at == NOW - timedelta(days=1)
    assert Identities.decode(found.identities) == Identities.of([late])


def test_what_does_not_fit_is_not_taken_over_in_part() -> None:
    many = [an_alert(str(n)) for n in range(MAX_IDENTITIES)]

    assert folded([record(1, *many)], [record(1, an_alert("one more"))], PRESENT, WEEK, NOW) is None
    assert folded([record(1, *many)], [record(1, many[0])], PRESENT, WEEK, NOW) is not None
    assert folded([record(8, *many)], [record(1, an_alert("one more"))], PRESENT, WEEK, NOW) is not None


def test_a_repeated_alert_is_noted_a_few_times_a_day() -> None:
    run = a_run(2)

    noted = heard_again(run, Identities.of([an_alert()]), NOW)

    assert noted is not None
    assert noted.status.still_firing == NOW
    assert heard_again(noted, Identities.of([an_alert()]), NOW + HEARD_EVERY - timedelta(seconds=1)) is None
    assert heard_again(noted, Identities.of([an_alert()]), NOW + HEARD_EVERY) is not None
    assert heard_again(run, Identities.of([an_alert("another")]), NOW) is None


def test_of_what_was_taken_over_only_the_repeated_one_is_young_again() -> None:
    run = a_run(9, status={"covered": [record(5, an_alert("x"), an_alert("y")).as_json()]})

    noted = heard_again(run, Identities.of([an_alert("x")]), NOW)

    assert noted is not None
    assert noted.status.still_firing is None
    old, young = noted.status.covered
    assert Identities.decode(old.identities) == Identities.of([an_alert("y")])
    assert (Identities.decode(young.identities), young.heard_at) == (Identities.of([an_alert("x")]), NOW)


def test_an_open_run_notes_its_alerts_itself() -> None:
    assert heard_again(a_run(9, outcome=None), Identities.of([an_alert()]), NOW) is None


RECORDS = st.lists(
    st.builds(
        lambda days, names, generation: record(days, *map(an_alert, names), generation=generation),
        st.floats(0, 6),
        st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4),
        st.sampled_from([0, 0, 1]),
    ),
    max_size=6,
)


@settings(max_examples=50, deadline=None)
@given(RECORDS, RECORDS)
def test_whatever_is_folded_nothing_is_lost_and_nothing_is_answered_for_longer(
    covered: list[CoveredRecord], coming: list[CoveredRecord]
) -> None:
    found = folded(covered, coming, PRESENT, WEEK, NOW)

    for generation in (0, 1):
        before = [one for one in (*covered, *coming) if one.policy_generation == generation]
        after = [one for one in found or [] if one.policy_generation == generation]
        assert those(after) == those(before)
        for one in before:
            assert max(other.heard_at for other in after) >= one.heard_at
    assert folded(found or [], [], PRESENT, WEEK, NOW) == found
