"""Episodes: what opens a run, joins one, or is answered already; and whom the leader takes on."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from remediator.domain.alerts import MAX_IDENTITIES, Alert, Identities
from remediator.domain.objects import ObjectRef
from remediator.domain.receipts import Receipt
from remediator.domain.runs import AlertSet, RunOutcome
from remediator.engine.alertsets import all_within, joined, merged, opening
from remediator.engine.begin import (
    FIRES_AGAIN_AFTER,
    Admit,
    Attach,
    CoveredBy,
    Decision,
    Key,
    KnownRun,
    Open,
    PolicyVersion,
    Supersede,
    admitted,
    decide,
)

NOON: Final = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
KEY: Final = Key("shop", "crashlooping", ObjectRef("apps", "Deployment", "shop", "checkout"))
POLICY: Final = PolicyVersion("p-uid", 3)
OPEN: Final = None


def an_alert(fingerprint: str = "a", at: int = 0, *, ended: int | None = None) -> Alert:
    """Firing since `at` seconds after eleven; over at `ended`, if given."""
    start = NOON - timedelta(hours=1)
    return Alert(
        fingerprint=fingerprint,
        status="firing" if ended is None else "resolved",
        labels={"alertname": "KubePodCrashLooping", "pod": fingerprint},
        annotations={"summary": "it crashes"},
        starts_at=start + timedelta(seconds=at),
        ends_at=None if ended is None else start + timedelta(seconds=ended),
    )


def a_run(
    number: int = 1,
    outcome: RunOutcome | None = OPEN,
    alerts: tuple[Alert, ...] = (),
    *,
    policy: PolicyVersion = POLICY,
    at: datetime = NOON,
) -> KnownRun:
    recorded, _ = opening(alerts, at)
    return KnownRun(
        namespace="shop",
        name=f"crashlooping-{KEY.hash}-{number}",
        uid=f"uid-{number}",
        key=KEY,
        number=number,
        created_at=at,
        policy=policy,
        outcome=outcome,
        admitted=True,
        recorded=Identities.decode(recorded.identities),
        alerts=recorded if outcome is None else None,
    )


def decided(alerts: list[Alert], *runs: KnownRun, now: datetime = NOON, policy: PolicyVersion = POLICY) -> Decision:
    return decide(alerts, runs, policy, now)


def receipts(decision: Decision) -> list[Receipt]:
    return [receipt for _, receipt in decision.receipts]


def attached(decision: Decision) -> AlertSet:
    assert isinstance(decision.write, Attach)
    return decision.write.alerts


def still_firing(alerts: AlertSet) -> Identities:
    return Identities.decode(alerts.identities).without(Identities.decode(alerts.resolved))


# Opening


def test_the_first_alert_of_a_key_opens_its_first_episode() -> None:
    decision = decided([an_alert()])

    assert isinstance(decision.write, Open)
    assert decision.write.number == 1
    assert decision.write.alerts.count == 1
    assert decision.write.alerts.names == {"KubePodCrashLooping": 1}
    assert decision.write.alerts.last_received == decision.write.alerts.last_opened == NOON


def test_many_alerts_of_one_key_open_one_run() -> None:
    decision = decided([an_alert(str(i)) for i in range(500)])

    assert isinstance(decision.write, Open)
    assert decision.write.alerts.count == 500
    assert [record.fingerprint for record in decision.write.alerts.first] == [str(i) for i in range(10)]
    assert len(Identities.decode(decision.write.alerts.identities)) == 500


def test_the_next_episode_takes_the_number_after_the_highest_known() -> None:
    decision = decided([an_alert("b")], a_run(7, RunOutcome.REMEDIATED), a_run(2, RunOutcome.FAILED))

    assert isinstance(decision.write, Open)
    assert decision.write.number == 8


def test_a_straggler_of_another_fingerprint_opens_the_next_episode_however_old_it_is() -> None:
    ended = a_run(1, RunOutcome.REMEDIATED, (an_alert("a", 600),))

    decision = decided([an_alert("b", -3600)], ended)

    assert receipts(decision) == [Receipt.OPENED]


def test_what_is_stored_of_an_alert_holds_no_secret() -> None:
    leaking = replace(an_alert(), annotations={"log": "Authorization: Bearer abcdefghijklmnop0123456789"})

    decision = decided([leaking])

    assert isinstance(decision.write, Open)
    assert "abcdefghijklmnop0123456789" not in str(decision.write.alerts.as_json())


# IDENT


@pytest.mark.parametrize(
    ("recorded_at", "notified_at", "receipt"),
    [
        (0, 0, Receipt.COVERED),
        (10, 0, Receipt.COVERED),
        (0, 10, Receipt.OPENED),
    ],
)
def test_an_ended_run_answers_the_same_fingerprint_with_the_same_or_an_earlier_start(
    recorded_at: int, notified_at: int, receipt: Receipt
) -> None:
    ended = a_run(1, RunOutcome.REMEDIATED, (an_alert("a", recorded_at),))

    assert receipts(decided([an_alert("a", notified_at)], ended)) == [receipt]


@pytest.mark.parametrize("hours", [-48, 48])
def test_no_clock_of_ours_has_a_say_in_what_is_covered(hours: int) -> None:
    ended = a_run(1, RunOutcome.REMEDIATED, (an_alert("a"),), at=NOON + timedelta(hours=hours))

    assert receipts(decided([an_alert("a")], ended)) == [Receipt.COVERED]
    assert receipts(decided([an_alert("b")], ended)) == [Receipt.OPENED]


@pytest.mark.parametrize("outcome", list(RunOutcome))
def test_each_outcome_covers_or_releases_what_it_recorded(outcome: RunOutcome) -> None:
    releasing = {"Covered", "Superseded", "TargetGone", "TargetChanged", "PolicyNotReady"}

    said = receipts(decided([an_alert()], a_run(1, outcome, (an_alert(),))))

    assert said == [Receipt.OPENED if outcome.value in releasing else Receipt.COVERED]


@pytest.mark.parametrize("outcome", [RunOutcome.DRY_RUN, RunOutcome.DIAGNOSED])
@pytest.mark.parametrize(
    ("policy", "receipt"),
    [
        (PolicyVersion("p-uid", 3), Receipt.COVERED),
        (PolicyVersion("p-uid", 4), Receipt.OPENED),
        (PolicyVersion("p-uid", 2), Receipt.COVERED),  # a cache that lags behind is no change
        (PolicyVersion("made-anew", 1), Receipt.OPENED),
    ],
)
def test_a_run_that_changed_nothing_covers_until_its_policy_changes(
    outcome: RunOutcome, policy: PolicyVersion, receipt: Receipt
) -> None:
    ended = a_run(1, outcome, (an_alert(),))

    assert receipts(decided([an_alert()], ended, policy=policy)) == [receipt]


def test_a_changed_policy_does_not_repeat_what_was_remedied() -> None:
    ended = a_run(1, RunOutcome.REMEDIATED, (an_alert(),))

    assert receipts(decided([an_alert()], ended, policy=PolicyVersion("p-uid", 9))) == [Receipt.COVERED]


def test_what_retention_folded_into_the_newest_run_stays_covered() -> None:
    newest = replace(a_run(2, RunOutcome.TARGET_GONE, (an_alert("b"),)), folded=Identities.of([an_alert("a")]))

    assert receipts(decided([an_alert("a"), an_alert("b")], newest)) == [Receipt.COVERED, Receipt.OPENED]


def test_a_run_that_somebody_deletes_answers_nothing_and_is_not_attached_to() -> None:
    deleting = replace(a_run(1, RunOutcome.REMEDIATED, (an_alert("a"),)), deleting=True)
    open_and_deleting = replace(a_run(2, OPEN, (an_alert("b"),)), deleting=True)

    decision = decided([an_alert("a"), an_alert("b")], deleting, open_and_deleting)

    assert isinstance(decision.write, Open)
    assert decision.write.number == 3
    assert receipts(decision) == [Receipt.OPENED, Receipt.OPENED]


# Attaching


def test_an_alert_of_an_open_episode_attaches_to_it() -> None:
    decision = decided([an_alert("b")], a_run(1, OPEN, (an_alert("a"),)), now=NOON + timedelta(minutes=1))

    after = attached(decision)
    assert receipts(decision) == [Receipt.ATTACHED]
    assert after.count == 2
    assert [record.fingerprint for record in after.first] == ["a", "b"]
    assert after.last_opened == NOON + timedelta(minutes=1)


def test_a_notification_that_says_nothing_new_writes_nothing() -> None:
    decision = decided([an_alert("a"), an_alert("b")], a_run(1, OPEN, (an_alert("a"), an_alert("b"))))

    assert decision.write is None
    assert receipts(decision) == [Receipt.RECORDED, Receipt.RECORDED]


def test_a_later_start_of_a_known_alert_is_news_and_no_further_alert() -> None:
    decision = decided([an_alert("a", 300)], a_run(1, OPEN, (an_alert("a", 0),)), now=NOON + timedelta(minutes=1))

    after = attached(decision)
    assert after.count == 1
    assert after.names == {"KubePodCrashLooping": 1}
    assert after.first[0].starts_at == an_alert("a", 300).starts_at
    assert after.last_opened == NOON + timedelta(minutes=1)


def test_what_an_ended_run_covers_does_not_join_the_open_one() -> None:
    decision = decided(
        [an_alert("a")], a_run(1, RunOutcome.REMEDIATED, (an_alert("a"),)), a_run(2, OPEN, (an_alert("b"),))
    )

    assert decision.write is None
    assert receipts(decision) == [Receipt.COVERED]


def test_what_a_run_released_joins_the_open_one() -> None:
    decision = decided(
        [an_alert("a")], a_run(1, RunOutcome.TARGET_GONE, (an_alert("a"),)), a_run(2, OPEN, (an_alert("b"),))
    )

    assert receipts(decision) == [Receipt.ATTACHED]


def test_of_two_open_runs_the_one_that_was_taken_on_is_attached_to() -> None:
    newcomer = replace(a_run(1, OPEN, (an_alert("a"),), at=NOON - timedelta(minutes=1)), admitted=False)
    running = a_run(2, OPEN, (an_alert("b"),))

    decision = decided([an_alert("c")], newcomer, running)

    assert isinstance(decision.write, Attach)
    assert decision.write.run == running


def test_only_the_first_ten_alerts_are_kept_in_full_and_all_identities() -> None:
    before = a_run(1, OPEN, tuple(an_alert(str(i)) for i in range(8)))

    after = attached(decided([an_alert(str(i)) for i in range(8, 40)], before))

    assert len(after.first) == 10
    assert after.count == len(Identities.decode(after.identities)) == 40


def test_no_more_than_a_thousand_identities_stand_on_the_run_and_the_rest_is_handed_back() -> None:
    decision = decided([an_alert(str(i)) for i in range(MAX_IDENTITIES + 5)])

    assert isinstance(decision.write, Open)
    assert decision.write.alerts.count == MAX_IDENTITIES + 5
    assert len(Identities.decode(decision.write.alerts.identities)) == MAX_IDENTITIES
    assert len(decision.write.beyond) == 5


def test_what_is_kept_beside_a_run_is_known_and_not_handed_back_again() -> None:
    many = tuple(an_alert(str(i)) for i in range(MAX_IDENTITIES + 5))
    first, beyond = opening(many, NOON)
    run = replace(a_run(1), alerts=first, recorded=Identities.decode(first.identities).merge(beyond))

    assert decided(list(many), run).write is None
    decision = decided([*many, an_alert("x")], run)

    assert isinstance(decision.write, Attach)
    assert decision.write.beyond == Identities.of([an_alert("x")])
    assert decision.write.alerts.count == MAX_IDENTITIES + 6


# Resolved


def test_a_resolved_alert_is_marked_on_the_open_run_that_recorded_it() -> None:
    decision = decided([an_alert("a", 0, ended=60)], a_run(1, OPEN, (an_alert("a"), an_alert("b"))))

    after = attached(decision)
    assert receipts(decision) == [Receipt.RESOLVED]
    assert still_firing(after) == Identities.of([an_alert("b")])
    assert [record.status for record in after.first] == ["resolved", "firing"]
    assert after.count == 2


def test_a_resolved_alert_that_nobody_knows_starts_nothing_and_writes_nothing() -> None:
    for runs in ((), (a_run(1, OPEN, (an_alert("b"),)),), (a_run(1, RunOutcome.FAILED, (an_alert("a"),)),)):
        decision = decided([an_alert("a", 0, ended=60)], *runs)

        assert decision.write is None
        assert receipts(decision) == [Receipt.RESOLVED]


def test_the_end_of_an_earlier_instance_does_not_end_a_later_one() -> None:
    decision = decided([an_alert("a", 0, ended=60)], a_run(1, OPEN, (an_alert("a", 300),)))

    assert decision.write is None


def test_an_alert_whose_start_the_sender_moved_back_still_ends() -> None:
    decision = decided([an_alert("a", 0, ended=600)], a_run(1, OPEN, (an_alert("a", 3),)))

    assert len(still_firing(attached(decision))) == 0


def test_the_same_resolved_twice_writes_once() -> None:
    run = a_run(1, OPEN, (an_alert("a"),))
    after = attached(decided([an_alert("a", 0, ended=60)], run))

    assert decided([an_alert("a", 0, ended=60)], replace(run, alerts=after)).write is None


def test_a_firing_that_comes_just_after_its_resolved_counts_only_when_repeated_later() -> None:
    run = a_run(1, OPEN, (an_alert("a"),))
    resolved = replace(run, alerts=attached(decided([an_alert("a", 0, ended=60)], run)))

    soon = decided([an_alert("a")], resolved, now=NOON + FIRES_AGAIN_AFTER - timedelta(seconds=1))
    later = decided([an_alert("a")], resolved, now=NOON + FIRES_AGAIN_AFTER)

    assert soon.write is None
    assert receipts(soon) == receipts(later) == [Receipt.RECORDED]
    assert still_firing(attached(later)) == Identities.of([an_alert("a")])
    assert attached(later).first[0].status == "firing"
    assert attached(later).last_opened == NOON


def test_a_later_start_after_a_resolved_fires_at_once() -> None:
    run = a_run(1, OPEN, (an_alert("a"),))
    resolved = replace(run, alerts=attached(decided([an_alert("a", 0, ended=60)], run)))

    assert still_firing(attached(decided([an_alert("a", 90)], resolved))) == Identities.of([an_alert("a", 90)])


# What is fresh by notification


@pytest.mark.parametrize(("minutes", "writes"), [(2, False), (3, True)])
def test_a_repeated_notification_is_noted_when_half_of_fresh_for_has_passed(minutes: int, writes: bool) -> None:
    run = a_run(1, OPEN, (an_alert("a"),))

    now = NOON + timedelta(minutes=minutes)
    decision = decide([an_alert("a")], [run], POLICY, now, fresh_for=timedelta(minutes=5))

    assert (decision.write is not None) is writes
    if writes:
        assert attached(decision).last_received == now
        assert attached(decision).last_opened == NOON


# ADMIT


def newcomer(number: int, *alerts: Alert, at: datetime = NOON) -> KnownRun:
    return replace(a_run(number, OPEN, alerts, at=at), admitted=False)


def test_the_leader_takes_on_a_run_that_brings_something() -> None:
    assert admitted(newcomer(1, an_alert("a")), []) == Admit()
    assert admitted(newcomer(2, an_alert("b")), [a_run(1, RunOutcome.REMEDIATED, (an_alert("a"),))]) == Admit()


def test_a_run_is_superseded_by_an_older_open_one_of_its_key() -> None:
    older, younger = newcomer(1, an_alert("a")), newcomer(2, an_alert("b"), at=NOON + timedelta(seconds=1))

    assert admitted(younger, [older, younger]) == Supersede(older)
    assert admitted(older, [older, younger]) == Admit()


def test_a_run_that_was_taken_on_is_not_superseded_by_one_with_an_earlier_number() -> None:
    running, late = a_run(3, OPEN, (an_alert("a"),)), newcomer(2, an_alert("b"))

    assert admitted(late, [running, late]) == Supersede(running)
    assert admitted(running, [running, late]) == Admit()


def test_a_run_that_brings_only_what_was_answered_ends_as_covered() -> None:
    answered = a_run(1, RunOutcome.REMEDIATED, (an_alert("a"),))
    folded = replace(a_run(2, RunOutcome.TARGET_GONE), folded=Identities.of([an_alert("b")]))

    assert admitted(newcomer(3, an_alert("a")), [answered]) == CoveredBy(answered)
    assert admitted(newcomer(3, an_alert("a"), an_alert("b")), [answered, folded]) == CoveredBy(folded)
    assert admitted(newcomer(3, an_alert("a"), an_alert("c")), [answered, folded]) == Admit()


def test_a_run_that_brings_what_was_released_is_taken_on() -> None:
    released = a_run(1, RunOutcome.TARGET_CHANGED, (an_alert("a"),))

    assert admitted(newcomer(2, an_alert("a")), [released]) == Admit()


def test_a_run_with_identities_kept_beside_it_is_not_taken_for_covered() -> None:
    answered = a_run(1, RunOutcome.REMEDIATED, (an_alert("a"),))

    assert admitted(replace(newcomer(2, an_alert("a")), has_more=True), [answered]) == Admit()


# Superseded alerts move


def test_a_superseded_run_hands_over_its_alerts_and_the_newer_word_on_each() -> None:
    older, _ = joined(
        *opening([an_alert("a"), an_alert("b")], NOON), joining=[], ended=[an_alert("a", 0, ended=9)], now=NOON
    )
    newer, _ = opening([an_alert("a", 20), an_alert("c")], NOON + timedelta(minutes=1))

    both, beyond = merged(older, newer)

    assert both.count == 3
    assert still_firing(both) == Identities.of([an_alert("a", 20), an_alert("b"), an_alert("c")])
    assert both.last_received == NOON + timedelta(minutes=1)
    assert not len(beyond)


def test_all_within_compares_starts_of_the_same_fingerprint() -> None:
    within: Callable[[list[Alert], list[Alert]], bool] = lambda these, those: all_within(  # noqa: E731
        Identities.of(these), Identities.of(those)
    )

    assert within([an_alert("a", 1)], [an_alert("a", 2), an_alert("b")])
    assert not within([an_alert("a", 3)], [an_alert("a", 2)])
    assert not within([an_alert("c")], [an_alert("a")])
