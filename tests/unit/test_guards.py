from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from remediator.domain.guardrails import Fence
from remediator.domain.locks import LockState, PastChange
from remediator.domain.runs import StepState
from remediator.domain.verdicts import Allow, Deny, Reason, Wait
from remediator.engine.facts import Seen
from remediator.engine.guards import BEFORE_CHANGE, BEFORE_UNDO, Question, first_objection
from remediator.engine.guards.freshness import target_is_the_same
from worlds import (
    FIRING,
    NOON,
    alert,
    alert_set,
    deployment,
    facts,
    fence,
    policy,
    run,
    runbook,
    step,
)


def ask(question: Question, chain: Any = BEFORE_CHANGE) -> Any:
    return first_objection(chain, question)


def test_a_world_in_which_nothing_stands_against_it_allows_the_change() -> None:
    assert ask(Question(run(), step(), facts())) == Allow()


@pytest.mark.parametrize(
    ("world", "reason", "says"),
    [
        ({"policy": None, "policy_problem": "it was deleted"}, Reason.POLICY_NOT_READY, "it was deleted"),
        ({"fence": fence("setEnv", mode="DryRun")}, Reason.NOT_PERMITTED, "Guardrail production allows at most DryRun"),
        ({"fence": fence("restart")}, Reason.NOT_PERMITTED, "Guardrail production does not allow setEnv"),
        ({"fence": Fence(())}, Reason.NAMESPACE_NOT_PERMITTED, "no Guardrail selects this namespace"),
        ({"step_target": Seen(gone=True)}, Reason.TARGET_GONE, "Deployment shop/checkout is gone"),
        ({"firing": ()}, Reason.STALE_ALERT, "Alertmanager says that the alert no longer fires"),
        ({"firing": (alert("Another"),)}, Reason.STALE_ALERT, "no longer fires"),
    ],
)
def test_what_denies_says_why(world: dict[str, Any], reason: Reason, says: str) -> None:
    verdict = ask(Question(run(), step(), facts(**world)))

    assert isinstance(verdict, Deny)
    assert verdict.reason is reason
    assert says in verdict.message


def test_a_step_without_a_target_changes_nothing() -> None:
    verdict = ask(Question(run(), step(target=None), facts()), (target_is_the_same,))

    assert isinstance(verdict, Deny)
    assert verdict.reason is Reason.TARGET_UNKNOWN


def test_a_pod_template_that_was_not_read_when_it_was_diagnosed_is_not_taken_for_the_same() -> None:
    made = run()
    attempt = made.status.attempts[0].model_copy(update={"target_template": ""})
    made = replace(made, status=made.status.model_copy(update={"attempts": [attempt]}))

    verdict = ask(Question(made, step(), facts()))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.FACT_UNKNOWN


def test_another_object_of_the_same_name_is_not_changed() -> None:
    other = deployment()
    other["metadata"]["uid"] = "another"

    verdict = ask(Question(run(), step(), facts(step_target=Seen(obj=other))))

    assert isinstance(verdict, Deny)
    assert verdict.reason is Reason.TARGET_CHANGED


def test_an_object_that_is_being_deleted_is_gone() -> None:
    dying = deployment()
    dying["metadata"]["deletionTimestamp"] = "2026-11-21T11:00:00Z"

    verdict = ask(Question(run(), step(), facts(step_target=Seen(obj=dying))))

    assert isinstance(verdict, Deny)
    assert verdict.reason is Reason.TARGET_GONE


def test_a_pod_template_that_was_changed_since_the_diagnosis_is_left_alone() -> None:
    moved = Seen(obj=deployment(image="shop:2"))

    verdict = ask(Question(run(), step(), facts(target=moved, step_target=moved)))

    assert isinstance(verdict, Deny)
    assert verdict.reason is Reason.TARGET_CHANGED


def test_a_value_that_somebody_set_since_the_plan_is_not_overwritten() -> None:
    theirs = Seen(obj=deployment(env=[{"name": "QUEUE", "value": "300"}]))

    verdict = ask(Question(run(), step(), facts(step_target=theirs)))

    assert isinstance(verdict, Deny)
    assert verdict.reason is Reason.TARGET_CHANGED
    assert "QUEUE" in verdict.message


def test_no_change_is_made_without_an_account() -> None:
    nameless = run()
    resolved = nameless.status.resolved
    assert resolved is not None
    nameless = replace(
        nameless, status=nameless.status.model_copy(update={"resolved": resolved.model_copy(update={"account": ""})})
    )

    verdict = ask(Question(nameless, step(), facts()))

    assert isinstance(verdict, Deny)
    assert verdict.reason is Reason.NOT_PERMITTED


def test_an_alert_that_nobody_can_be_asked_about_waits() -> None:
    verdict = ask(Question(run(), step(), facts(firing=None)))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.STALE_ALERT


def test_a_resolved_notification_outweighs_a_source_that_still_says_firing() -> None:
    resolved = run(alerts=alert_set(FIRING, resolved=True))

    verdict = ask(Question(resolved, step(), facts()))

    assert isinstance(verdict, Deny)
    assert verdict.reason is Reason.STALE_ALERT


def test_where_nothing_can_be_asked_the_newest_notification_counts_as_long_as_the_policy_says() -> None:
    book = runbook()
    trusting = policy(book, freshFor="5m")
    young = run(alerts=alert_set(FIRING, received=NOON - timedelta(minutes=4)))
    old = run(alerts=alert_set(FIRING, received=NOON - timedelta(minutes=6)))
    world = facts(policy=trusting, can_ask=False, firing=None)

    assert ask(Question(young, step(), world)) == Allow()
    assert isinstance(ask(Question(old, step(), world)), Wait)


def test_grace_waits_from_the_making_of_the_run() -> None:
    patient = policy(runbook(), grace="5m")

    verdict = ask(Question(run(), step(), facts(policy=patient)))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.IN_GRACE
    assert verdict.until == NOON + timedelta(minutes=3)


def test_a_clock_behind_the_api_servers_does_not_lengthen_the_grace() -> None:
    from_the_future = replace(run(), created_at=NOON + timedelta(hours=1))
    begun = from_the_future.status.model_copy(update={"started_at": NOON - timedelta(minutes=6)})

    verdict = ask(Question(replace(from_the_future, status=begun), step(), facts(policy=policy(runbook(), grace="5m"))))

    assert verdict == Allow()


def touched(minutes_ago: int, **changes: Any) -> LockState:
    past = PastChange(
        runbook="shop/queue",
        remedy="bigger",
        run="shop/queue-0",
        run_uid="other",
        at=NOON - timedelta(minutes=minutes_ago),
        made=(NOON - timedelta(minutes=minutes_ago),),
        outcome="Remediated",
    )
    return LockState("lease", changes=(replace(past, **changes),))


def test_a_target_touched_inside_its_cooldown_waits_for_the_rest_of_it() -> None:
    verdict = ask(Question(run(), step(), facts(lock=touched(4))))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.COOLING_DOWN
    assert verdict.until == NOON + timedelta(minutes=11)


def test_the_cooldown_counts_from_the_end_of_the_earlier_change() -> None:
    verdict = ask(Question(run(), step(), facts(lock=touched(20, ended=NOON - timedelta(minutes=5)))))

    assert isinstance(verdict, Wait)
    assert verdict.until == NOON + timedelta(minutes=10)


@pytest.mark.parametrize(
    "lock",
    [touched(16), touched(4, remedy="another"), touched(4, runbook="shop/another"), touched(4, run_uid="run-uid")],
    ids=["rested", "another remedy", "another runbook", "this very run"],
)
def test_a_target_that_has_rested_is_changed(lock: LockState) -> None:
    assert ask(Question(run(), step(), facts(lock=lock))) == Allow()


def test_a_remedy_that_has_begun_is_one_unit() -> None:
    begun = step(name="first", state=StepState.DONE, started_at=NOON)
    both = run(status={"attempts": [run().status.attempts[0].model_copy(update={"steps": [begun, step()]}).as_json()]})

    verdict = ask(Question(both, step(), facts(firing=(), lock=None)))

    assert verdict == Allow()


def test_an_undo_is_not_held_back_by_the_alert_or_a_cooldown() -> None:
    assert ask(Question(run(), step(), facts(firing=(), lock=touched(1), policy=None)), BEFORE_UNDO) == Allow()
