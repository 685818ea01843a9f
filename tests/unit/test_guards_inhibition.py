"""When an alert holds the runs of a policy, one promise a test."""

from datetime import timedelta
from typing import Any

import pytest

from remediator.domain.alerts import Alert
from remediator.domain.verdicts import Allow, Reason, Verdict, Wait
from remediator.engine.facts import Facts, Wants
from remediator.engine.guards import Question
from remediator.engine.guards.inhibition import nothing_inhibits
from remediator.engine.wants import wants
from worlds import FIRING, NOON, alert, alert_set, facts, policy, run, runbook, step

DOWN = ['alertname="DatabaseDown"']


def asked(*fires: Alert | None, by: dict[str, Any] | None = None, **world: Any) -> Question:
    """The question where these alerts fire (None: nobody answered) for a policy that one inhibition holds."""
    held = policy(runbook(), inhibitedBy=[{"matchers": DOWN, **(by or {})}])
    found = None if None in fires else fires
    return Question(run(), step(), facts(**{"policy": held, "inhibitors": (found,), **world}))


def held(verdict: Verdict, reason: Reason = Reason.INHIBITED) -> str:
    assert isinstance(verdict, Wait), verdict
    assert verdict.reason is reason
    return verdict.message


def test_an_inhibiting_alert_holds_the_run_while_it_fires() -> None:
    verdict = nothing_inhibits(asked(alert("DatabaseDown", 10)))

    assert held(verdict) == "DatabaseDown fires since 2026-11-21T11:50:00Z, and shop/queue waits for its end"
    assert isinstance(verdict, Wait) and verdict.until == NOON + timedelta(minutes=1)


def test_without_such_an_alert_the_run_goes_on() -> None:
    assert nothing_inhibits(asked()) == Allow()


def test_a_source_may_answer_with_more_than_was_asked_for() -> None:
    assert nothing_inhibits(asked(alert("Another"))) == Allow()


@pytest.mark.parametrize("world", [{"inhibitors": None}, {"inhibitors": ()}, {"inhibitors": (None,)}])
def test_no_answer_is_not_no(world: dict[str, Any]) -> None:
    held(nothing_inhibits(asked(**world)), Reason.FACT_UNKNOWN)


def test_labels_that_must_be_equal_tell_which_runs_are_held() -> None:
    same, other = alert("DatabaseDown", zone="a"), alert("DatabaseDown", deployment="basket")
    by = {"equal": ["namespace", "deployment"]}

    held(nothing_inhibits(asked(same, by=by)))
    assert nothing_inhibits(asked(other, by=by)) == Allow()


def test_a_label_that_both_lack_is_equal_and_one_that_one_lacks_is_not() -> None:
    by = {"equal": ["service"]}

    held(nothing_inhibits(asked(alert("DatabaseDown"), by=by)))
    assert nothing_inhibits(asked(alert("DatabaseDown", service="shop"), by=by)) == Allow()


@pytest.mark.parametrize(("minutes_ago", "holds"), [(5, True), (15, True), (16, False), (0, True)])
def test_two_alerts_that_began_too_far_apart_have_nothing_to_do_with_each_other(minutes_ago: int, holds: bool) -> None:
    verdict = nothing_inhibits(asked(alert("DatabaseDown", minutes_ago), by={"within": "10m"}))

    assert isinstance(verdict, Wait if holds else Allow)


def test_an_alert_of_the_run_itself_does_not_hold_it() -> None:
    own = policy(runbook(), inhibitedBy=[{"matchers": ['namespace="shop"']}])

    assert nothing_inhibits(Question(run(), step(), facts(policy=own, inhibitors=((FIRING,),)))) == Allow()


def test_any_alert_of_the_episode_may_go_with_the_inhibiting_one() -> None:
    asking = asked(alert("DatabaseDown", zone="b"), by={"equal": ["zone"]})
    two = run(alerts=alert_set(FIRING, alert("QueueFull", zone="b")))

    held(nothing_inhibits(Question(two, step(), asking.facts)))


def test_a_condition_joins_what_no_label_carries() -> None:
    down = alert("DatabaseDown", node="n1")

    held(nothing_inhibits(asked(down, by={"when": 'inhibitor.labels.node == "n1"'})))
    assert nothing_inhibits(asked(down, by={"when": 'inhibitor.labels.node == "n2"'})) == Allow()


def test_a_condition_that_cannot_be_told_is_not_no() -> None:
    by = {"when": "latest.history.revisions.size() > 1"}

    message = held(nothing_inhibits(asked(alert("DatabaseDown"), by=by)), Reason.FACT_UNKNOWN)

    assert message == ("cannot tell whether DatabaseDown holds the run: latest.history.revisions.size() > 1 is Unknown")


def test_what_holds_for_certain_outweighs_what_is_unknown() -> None:
    two = policy(runbook(), inhibitedBy=[{"matchers": DOWN}, {"matchers": ['alertname="NodeDown"']}])
    world = facts(policy=two, inhibitors=(None, (alert("NodeDown"),)))

    held(nothing_inhibits(Question(run(), step(), world)))


def test_a_run_without_a_policy_is_held_by_nothing() -> None:
    assert nothing_inhibits(Question(run(), step(), Facts(now=NOON))) == Allow()


# what is read for it


BEFORE: dict[str, Any] = {"attempts": [{"number": 1}]}


def test_a_policy_without_inhibitions_asks_for_nothing() -> None:
    assert wants(run(status=BEFORE), runbook(), policy(runbook())) == Wants()
    assert not wants(run(), runbook(), policy(runbook())).inhibitors


def test_inhibiting_alerts_are_asked_for_before_the_run_and_before_the_change() -> None:
    watched = policy(runbook(), inhibitedBy=[{"matchers": DOWN, "when": "latest.history.known"}])

    for wanted in (wants(run(status=BEFORE), runbook(), watched), wants(run(), runbook(), watched)):
        assert wanted.inhibitors and wanted.target
        assert wanted.latest == {"history"}


def test_nobody_is_asked_while_a_change_is_under_way() -> None:
    watched = policy(runbook(), inhibitedBy=[{"matchers": DOWN}])
    begun = run().status.attempts[0].model_copy(update={"steps": [step(state="Started", started_at=NOON)]})

    assert not wants(run(status={"attempts": [begun.as_json()]}), runbook(), watched).inhibitors


@pytest.mark.parametrize(
    ("matchers", "question"),
    [
        (DOWN, {"alertname": "DatabaseDown"}),
        (['alertname=~"Database.*"', "severity=critical"], {"severity": "critical"}),
        (['alertname="DatabaseDown"', 'zone=""'], {"alertname": "DatabaseDown"}),
        (['alertname=~"Database.*"'], {}),
    ],
)
def test_a_source_is_asked_by_what_the_alert_has_for_certain(matchers: list[str], question: dict[str, str]) -> None:
    watched = policy(runbook(), inhibitedBy=[{"matchers": matchers}])

    assert dict(watched.inhibitions[0].question) == question
