from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from remediator.domain.guardrails import Fence, Guardrail, GuardrailSpec
from remediator.domain.replies import Reply
from remediator.domain.runs import Run, RunOutcome, StepState, rfc3339
from remediator.domain.verdicts import Allow, Deny, Reason, Wait
from remediator.engine.facts import Facts
from remediator.engine.flow import next_move
from remediator.engine.guards import BEFORE_CHANGE, BEFORE_RUN, BEFORE_UNDO, Question, RunQuestion, first_objection
from remediator.engine.moves import Diagnose, Hold
from worlds import NOON, facts, fence, run, step

BEGAN, ENDS = NOON - timedelta(hours=2), NOON + timedelta(hours=3)
FIRST_CHANGE_MADE = {
    "attempts": [
        run()
        .status.attempts[0]
        .model_copy(update={"steps": [step(name="first", state=StepState.DONE, started_at=NOON), step()]})
        .as_json()
    ]
}


def freeze(*groups: str, begin: datetime = BEGAN, until: datetime = ENDS, reason: str = "") -> dict[str, Any]:
    once: dict[str, Any] = {"from": rfc3339(begin), "until": rfc3339(until), "reason": reason}
    return {**once, "except": {"groups": list(groups)}} if groups else once


def frozen(*freezes: dict[str, Any]) -> Fence:
    return fence("setEnv", freeze=list(freezes))


def said(kind: str = "Approve", *, at: datetime = NOON - timedelta(minutes=1), **changes: Any) -> Reply:
    spec = {
        "runRef": {"name": "queue-1", "uid": "run-uid"},
        "type": kind,
        "planHash": "abc",
        "user": "carol",
        "groups": ["sre-lead"],
        "reason": "customers cannot pay",
        **changes,
    }
    obj = {"metadata": {"namespace": "shop", "name": "r", "creationTimestamp": rfc3339(at)}, "spec": spec}
    return Reply.parse(obj)


def ask(world: Facts, made: Run | None = None) -> Any:
    return first_objection(BEFORE_CHANGE, Question(made or run(), step(), world))


# freezes


def test_a_frozen_change_waits_for_the_end_of_the_freeze_and_says_whose_it_is() -> None:
    verdict = ask(facts(fence=frozen(freeze(reason="the year is closed"))))

    assert verdict == Wait(
        Reason.FROZEN,
        "Guardrail production freezes every change until 2026-11-21T15:00:00Z: the year is closed",
        ENDS,
    )


def test_a_freeze_holds_a_later_change_too() -> None:
    verdict = ask(facts(fence=frozen(freeze())), run(status=FIRST_CHANGE_MADE))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.FROZEN


def test_a_freeze_that_is_over_or_has_not_begun_holds_nothing() -> None:
    over, coming = freeze(until=NOON), freeze(begin=NOON + timedelta(seconds=1))

    assert ask(facts(fence=frozen(over, coming))) == Allow()


def test_a_freeze_does_not_hold_back_what_takes_a_change_back() -> None:
    question = Question(run(), step(), facts(fence=frozen(freeze())))

    assert first_objection(BEFORE_UNDO, question) == Allow()


def test_a_freeze_is_lifted_by_an_approval_with_a_reason_from_a_group_that_it_excepts() -> None:
    world = facts(fence=frozen(freeze("sre-lead")), replies=(said(),))

    assert ask(world) == Allow()
    assert ask(world, run(status=FIRST_CHANGE_MADE)) == Allow()


NO_EXCEPTION: dict[str, tuple[Reply, ...] | None] = {
    "nobody has said anything": (),
    "nobody knows what was said": None,
    "another group": (said(groups=["dev"]),),
    "no reason": (said(reason="  "),),
    "another plan": (said(planHash="another"),),
    "another run of that name": (said(runRef={"name": "queue-1", "uid": "older"}),),
    "before the freeze began": (said(at=BEGAN - timedelta(seconds=1)),),
    "not an approval": (said("Acknowledge"),),
    "somebody denied the plan": (said(), said("Deny", user="dave", groups=["dev"])),
}


@pytest.mark.parametrize("promise", NO_EXCEPTION)
def test_a_freeze_is_not_lifted_by_anything_else(promise: str) -> None:
    verdict = ask(facts(fence=frozen(freeze("sre-lead")), replies=NO_EXCEPTION[promise]))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.FROZEN
    assert verdict.message.endswith("; an approval with a reason by sre-lead lifts it")


def test_who_asked_for_the_run_does_not_lift_the_freeze_for_it_himself() -> None:
    verdict = ask(facts(fence=frozen(freeze("sre-lead")), replies=(said(),)), run(requestedBy="carol"))

    assert isinstance(verdict, Wait)


def test_two_freezes_are_lifted_only_by_approvals_that_lift_both() -> None:
    both = frozen(freeze("sre-lead"), freeze("shop-lead", "owners"))
    lead, shop = said(), said(user="dora", groups=["owners"])

    assert isinstance(ask(facts(fence=both, replies=(lead,))), Wait)
    assert ask(facts(fence=both, replies=(lead, shop))) == Allow()


# suspension

SUSPENDED = fence("setEnv", suspend=True)


@pytest.mark.parametrize("made", [run(), run(status=FIRST_CHANGE_MADE)], ids=["the first change", "a later change"])
def test_a_suspended_guardrail_holds_every_change(made: Run) -> None:
    verdict = ask(facts(fence=SUSPENDED), made)

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.SUSPENDED
    assert "Guardrail production suspends everything here" in verdict.message
    assert verdict.until == NOON + timedelta(minutes=5)


def test_a_suspended_guardrail_holds_back_what_takes_a_change_back() -> None:
    verdict = first_objection(BEFORE_UNDO, Question(run(), step(), facts(fence=SUSPENDED)))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.SUSPENDED


def test_one_of_several_guardrails_is_enough_to_suspend() -> None:
    two = Fence(
        (
            Guardrail("a", GuardrailSpec.model_validate({"allow": ["setEnv"]})),
            Guardrail("b", GuardrailSpec.model_validate({"suspend": True})),
        )
    )

    verdict = ask(facts(fence=two))

    assert isinstance(verdict, Wait)
    assert "Guardrail b" in verdict.message


# before a run looks at anything

NEW_ROUND = run(status={"attempts": [{"number": 1}]})


def test_a_run_in_a_suspended_namespace_looks_at_nothing_and_says_why() -> None:
    stood, move = next_move(NEW_ROUND, facts(fence=SUSPENDED))

    assert move == Hold(NOON + timedelta(minutes=5))
    assert stood.status.held is not None
    assert stood.status.held.reason == Reason.SUSPENDED


def test_a_run_goes_on_as_soon_as_nothing_suspends_it_any_more() -> None:
    stood, _ = next_move(NEW_ROUND, facts(fence=SUSPENDED))

    goes_on, move = next_move(stood, facts(now=NOON + timedelta(minutes=5)))

    assert move == Diagnose()
    assert goes_on.status.held is None


def test_a_run_is_held_that_was_suspended_between_its_diagnosis_and_its_choice() -> None:
    diagnosed = run(status={"attempts": [{"number": 1, "diagnosedAt": "2026-11-21T11:59:00Z", "outputs": {}}]})

    stood, move = next_move(diagnosed, facts(fence=SUSPENDED))

    assert isinstance(move, Hold)
    assert stood.status.attempts[0].chosen_at is None


def test_what_governs_a_run_and_stays_unknown_ends_it_and_does_not_let_it_look() -> None:
    unknown = facts(fence=None)
    assert isinstance(first_objection(BEFORE_RUN, RunQuestion(NEW_ROUND, unknown)), Wait)

    stood, move = next_move(NEW_ROUND, unknown)
    later, _ = next_move(stood, replace(unknown, now=NOON + timedelta(minutes=16)))

    assert isinstance(move, Hold)
    assert later.status.ending is not None
    assert (later.status.ending.outcome, later.status.ending.reason) == (RunOutcome.REFUSED, "FactUnknown")


def test_a_frozen_run_still_looks_and_decides() -> None:
    assert first_objection(BEFORE_RUN, RunQuestion(NEW_ROUND, facts(fence=frozen(freeze())))) == Allow()
    assert not isinstance(ask(facts(fence=frozen(freeze()))), Deny)


def test_a_run_about_nothing_in_the_cluster_is_told_of_although_nobody_knows_its_namespace() -> None:
    unresolved = run(
        target={"kind": "unresolved", "namespace": "invented", "name": "x"}, status={"attempts": [{"number": 1}]}
    )

    assert next_move(unresolved, facts(fence=None, storms=None))[1] == Diagnose()
    assert isinstance(next_move(unresolved, facts(fence=SUSPENDED))[1], Hold)
