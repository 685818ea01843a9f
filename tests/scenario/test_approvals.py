"""What people are asked before a change, what counts as their answer, and what follows from it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import flows
from flows import changes, env, fired
from known import Given
from remediator.domain.guardrails import Fence, Guardrail, GuardrailSpec
from remediator.domain.json import dig_list
from remediator.domain.objects import REPLY, ObjectRef
from remediator.domain.replies import ReplyType
from remediator.domain.runs import ApprovalRecord, Run, RunOutcome, State
from remediator.testing.world import World, transcript

SRE = {"count": 1, "groups": ["sre"], "expires": "30m"}

BIGGER = """
targets: [Deployment]
diagnose:
- name: history
  rolloutHistory: {}
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  verify:
  - rollout: {within: 5m}
  - alertResolved: {quietFor: 2m, within: 20m}
"""

TWO_STEPS = """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  - name: wider
    approval: {count: 1, groups: [lead], expires: 10m}
    scale: {replicas: 3}
  ifNotHelped: Undo
"""

TRY_NEXT = """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  ifNotHelped: TryNext
- name: biggest
  steps:
  - name: raiseMore
    setEnv: {container: app, vars: {QUEUE: {value: "900"}}}
verify:
- alertResolved: {quietFor: 1m, within: 5m}
"""


def world(book: str = BIGGER, **policy: Any) -> World:
    return flows.world(book, **{"mode": "Approve", "approval": SRE, **policy})


def queue(made: World) -> str | None:
    return env(made, "QUEUE")


def question(run: Run) -> ApprovalRecord:
    return run.status.attempts[-1].approvals[-1]


def condition(run: Run) -> tuple[str, str]:
    """Status and reason of the condition Approved."""
    (found,) = [one for one in run.status.conditions if one.type == "Approved"]
    return found.status, found.reason


async def asked(made: World) -> Run:
    """The run, waiting for people."""
    run = await fired(made)
    await made.look(run)
    return made.run(run)


async def approve(made: World, run: Run, user: str, *groups: str, **spec: Any) -> None:
    await made.say(run, ReplyType.APPROVE, user, *groups, **{"planHash": question(run).plan_hash, **spec})


def ignored(run: Run) -> dict[str, str]:
    return {one.user: one.reason for one in run.status.replies if not one.taken}


async def test_a_plan_is_shown_and_nothing_is_changed_before_it_is_approved() -> None:
    made = world()

    run = await asked(made)

    assert run.status.state is State.AWAITING_APPROVAL
    assert question(run).state == "Waiting"
    assert [(need.by, need.count, need.groups) for need in question(run).needs] == [
        ("AlertPolicy shop/queue", 1, ["sre"])
    ]
    assert "QUEUE" in run.status.attempts[0].steps[0].diff
    assert condition(run) == ("Unknown", "Waiting")
    assert changes(made) == 0
    assert not made.locks.states


async def test_what_was_approved_is_carried_out_and_says_by_whom() -> None:
    made = world()
    made.resolve_when(lambda: queue(made) == "500")
    run = await asked(made)
    await approve(made, run, "alice", "sre", reason="looks right")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert question(run).state == "Approved"
    assert condition(run) == ("True", "Approved")
    assert [(one.user, one.reason) for one in question(run).given] == [("alice", "looks right")]
    assert all(one.uid for one in question(run).given)
    assert [(one.user, one.taken) for one in run.status.replies] == [("alice", True)]
    assert {"AwaitingApproval", "PlanApproved"} <= set(made.events.reasons)


async def test_the_approvals_stand_in_the_same_write_as_the_first_intent() -> None:
    made = world()
    run = await asked(made)
    await approve(made, run, "alice", "sre")

    await made.look(run)

    writes = [w.obj for w in made.cluster.changes if w.ref.kind == "RunbookRun"]
    rounds = [dig_list(obj, "status", "attempts")[-1] for obj in writes if dig_list(obj, "status", "attempts")]
    intended = [one for one in rounds if any(s.get("state") == "Intended" for s in dig_list(one, "steps"))]
    given = [[r.get("user") for r in dig_list(dig_list(one, "approvals")[0], "given")] for one in intended]
    assert given == [["alice"]]
    before = rounds[: rounds.index(intended[0])]
    assert any(dig_list(one, "approvals") for one in before), "the question is stored before anything counts"
    assert not any(dig_list(record, "given") for one in before for record in dig_list(one, "approvals"))


async def test_an_approval_costs_one_list_and_a_run_that_waits_costs_nothing() -> None:
    made = world()
    run = await asked(made)
    before = len(made.cluster.calls)
    await made.look(run)
    waiting = made.cluster.calls[before:]
    await approve(made, run, "alice", "sre")
    before = len(made.cluster.calls)

    await made.look(run)

    lists = [call for call in made.cluster.calls[before:] if (call.verb, call.resource) == ("list", REPLY.plural)]
    assert waiting == [], "the watch has brought the record"
    assert len(lists) == 1


async def test_a_question_that_nobody_answers_expires_and_somebody_is_told() -> None:
    made = world()

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.EXPIRED, transcript(run)
    assert question(run).state == "Expired"
    assert condition(run) == ("False", "Expired")
    assert changes(made) == 0
    assert [sent.receiver for sent in made.notifier.sent] == ["default"]
    assert run.status.ended_at is not None
    assert question(run).deadline <= run.status.ended_at < question(run).deadline + timedelta(minutes=1)


async def test_one_who_may_deny_outweighs_all_who_approve() -> None:
    made = world(approval={"count": 2, "groups": ["sre"]})
    run = await asked(made)
    await approve(made, run, "alice", "sre")
    await made.say(run, ReplyType.DENY, "bob", planHash=question(run).plan_hash, reason="release in progress")
    await approve(made, run, "carol", "sre")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.DENIED, transcript(run)
    assert run.status.ending is not None
    assert "bob denied it: release in progress" in run.status.ending.message
    assert condition(run) == ("False", "Denied")
    assert changes(made) == 0
    assert [sent.receiver for sent in made.notifier.sent] == ["default"]


async def test_what_is_denied_leads_to_no_further_remedy() -> None:
    made = world(TRY_NEXT)
    run = await asked(made)
    await made.say(run, ReplyType.DENY, "bob", planHash=question(run).plan_hash)

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.DENIED
    assert len(run.status.attempts) == 1


async def test_an_approval_given_before_the_question_was_asked_does_not_count() -> None:
    made = world(grace="5m")
    run = await fired(made)
    await made.look(run)
    run = made.run(run)
    await made.say(run, ReplyType.APPROVE, "alice", "sre", planHash=run.status.attempts[0].plan_hash)

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.EXPIRED
    assert ignored(run) == {"alice": "nothing was asked"}


async def test_an_approval_of_another_plan_does_not_count() -> None:
    made = world()
    run = await asked(made)
    await approve(made, run, "alice", "sre", planHash="0123456789abcdef")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.EXPIRED
    assert ignored(run)["alice"].startswith("it is for plan 01234567, and plan")


async def test_an_approval_of_an_earlier_run_of_the_name_does_not_count() -> None:
    made = world()
    run = await asked(made)
    await approve(made, run, "alice", "sre", runRef={"name": run.name, "uid": "an-earlier-one"})

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.EXPIRED
    assert ignored(run) == {"alice": "it is meant for another run of that name"}


async def test_an_approval_by_nobody_that_is_asked_does_not_count() -> None:
    made = world()
    run = await asked(made)
    await approve(made, run, "alice", "dev")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.EXPIRED
    assert ignored(run) == {"alice": "it names none of the groups that are asked: sre"}


async def test_one_person_counts_once() -> None:
    made = world(approval={"count": 2, "groups": ["sre"]})
    run = await asked(made)
    await approve(made, run, "alice", "sre")
    made.clock.advance(timedelta(seconds=5))
    await approve(made, run, "alice", "sre")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.EXPIRED
    assert ignored(run) == {"alice": "alice had said so already"}


async def test_whoever_asks_for_a_run_does_not_approve_it() -> None:
    made = world()
    run = await by_hand(made)
    await approve(made, run, "alice", "sre")
    await made.look(run)
    assert ignored(made.run(run)) == {"alice": "whoever asks for a run does not approve it"}
    await approve(made, run, "bob")

    run = await made.settle(run)

    assert [one.user for one in question(run).given] == ["bob"]
    assert queue(made) == "500"


async def by_hand(made: World) -> Run:
    """A run that alice asks for, waiting for people."""
    run = await made.create_run(
        "shop",
        "by-hand",
        {
            "runbookRef": {"name": "queue"},
            "target": {"kind": "Deployment", "namespace": "shop", "name": "checkout"},
            "mode": "Approve",
            "serviceAccountName": "fixer",
        },
    )
    await made.look(run)
    return made.run(run)


async def test_a_withdrawal_before_the_change_counts_though_the_watch_is_behind() -> None:
    made = world()
    run = await asked(made)
    await approve(made, run, "alice", "sre")
    await made.cluster.delete(ObjectRef(REPLY.group, REPLY.kind, "shop", "approve-1"))  # the watch has not told

    await made.look(run)

    assert changes(made) == 0
    assert made.run(run).status.state is State.AWAITING_APPROVAL


async def test_a_denial_after_the_change_began_is_recorded_as_too_late() -> None:
    made = world()
    made.resolve_when(lambda: queue(made) == "500")
    run = await asked(made)
    await approve(made, run, "alice", "sre")
    await made.look(run)
    await made.say(run, ReplyType.DENY, "bob", planHash=question(run).plan_hash)

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert ignored(run) == {"bob": "it came too late: the change had begun"}


async def test_everything_is_looked_at_again_after_an_approval() -> None:
    made = world()
    run = await asked(made)
    made.cluster.change(
        flows.CHECKOUT,
        lambda obj: dig_list(obj, "spec", "template", "spec", "containers")[0].update(image="shop:2"),
    )
    await approve(made, run, "alice", "sre")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.TARGET_CHANGED, transcript(run)
    assert changes(made) == 0


async def test_an_alert_that_is_over_ends_the_waiting() -> None:
    made = world()
    run = await asked(made)
    made.alerts.resolve()
    await approve(made, run, "alice", "sre")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.NOT_NEEDED, transcript(run)
    assert changes(made) == 0


async def test_what_is_approved_but_not_begun_in_time_is_not_begun_at_all() -> None:
    made = world()
    run = await asked(made)
    made.alerts.unreachable = True
    await approve(made, run, "alice", "sre")
    await made.look(run)
    assert made.run(run).status.state is State.WAITING
    until = question(run).deadline - made.clock.now()

    made.clock.advance(until)
    made.alerts.unreachable = False
    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.EXPIRED, transcript(run)
    assert changes(made) == 0


async def test_another_remedy_is_another_question() -> None:
    made = world(TRY_NEXT)
    run = await asked(made)
    await approve(made, run, "alice", "sre")
    run = await until(made, run, lambda one: len(one.status.attempts) == 2 and bool(one.status.attempts[1].approvals))

    assert question(run).plan_hash != run.status.attempts[0].approvals[0].plan_hash
    assert question(run).state == "Waiting"
    assert queue(made) is None


async def until(made: World, run: Run, holds: Callable[[Run], bool]) -> Run:
    """The run as soon as this holds of it."""
    for _ in range(200):
        made.cluster.tick()
        again = await made.look(run)
        if holds(made.run(run)):
            return made.run(run)
        made.clock.advance(timedelta(seconds=min(again or 1, 30)))
    raise AssertionError(transcript(made.run(run)))


async def test_a_step_asks_for_itself_when_its_turn_comes() -> None:
    made = world(TWO_STEPS, mode="Automatic", approval=None)
    made.resolve_when(lambda: flows.steps(made.run(run)).get("wider") == "Done")
    run = await fired(made)
    run = await until(made, run, lambda one: bool(one.status.attempts and one.status.attempts[0].approvals))

    assert question(run).step == "wider"
    assert queue(made) == "500"
    await approve(made, run, "erin", "lead", step="wider")
    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)


async def test_a_denied_later_step_takes_back_what_was_changed_before() -> None:
    made = world(TWO_STEPS, mode="Automatic", approval=None)
    run = await fired(made)
    run = await until(made, run, lambda one: bool(one.status.attempts and one.status.attempts[0].approvals))
    await made.say(run, ReplyType.DENY, "erin", planHash=question(run).plan_hash, step="wider")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.DENIED, transcript(run)
    assert queue(made) is None
    assert "what was changed before is taken back" in run.status.message


async def test_an_automatic_run_asks_where_a_guardrail_does() -> None:
    made = world(mode="Automatic", approval=None)
    guard(made, approval={"count": 2})
    run = await asked(made)
    assert question(run).needs[0].by == "Guardrail production"
    await approve(made, run, "alice")
    await made.look(run)
    assert "1 person (Guardrail production) must approve" in made.run(run).status.message
    await approve(made, run, "bob")
    made.resolve_when(lambda: queue(made) == "500")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert [one.user for one in question(run).given] == ["alice", "bob"]


async def test_a_guardrail_that_asks_for_more_meanwhile_is_heard() -> None:
    made = world()
    run = await asked(made)
    guard(made, approval={"count": 2})
    await approve(made, run, "alice", "sre")

    await made.look(run)

    run = made.run(run)
    assert changes(made) == 0
    assert [need.by for need in question(run).needs] == ["AlertPolicy shop/queue", "Guardrail production"]
    await approve(made, run, "bob")
    await made.look(run)
    assert changes(made) == 1


async def test_a_guardrail_that_lowers_the_mode_to_approve_makes_the_run_ask() -> None:
    made = world(mode="Automatic", approval=None)
    guard(made, maxMode="Approve")

    run = await asked(made)

    assert [(need.by, need.count) for need in question(run).needs] == [("mode Approve", 1)]


def guard(made: World, **spec: Any) -> None:
    known = made.outside.definitions
    assert isinstance(known, Given)
    whole = GuardrailSpec.model_validate({"allow": [*flows.ALLOWED], **spec})
    known.allowed = Fence((Guardrail("production", whole),))


async def test_a_crash_while_people_are_asked_asks_nothing_twice() -> None:
    made = world()
    run = await asked(made)
    before = question(run)

    made.new_operator()
    made.clock.advance(timedelta(minutes=3))
    await made.look(run)

    assert question(made.run(run)) == before


async def test_replies_that_are_not_known_let_nothing_happen() -> None:
    made = world()
    run = await asked(made)
    made.replies.synced = False
    await approve(made, run, "alice", "sre")

    again = await made.look(run)

    assert changes(made) == 0
    assert again is not None
    assert again <= 15


async def test_somebody_who_looks_after_a_run_stands_on_it() -> None:
    made = world()
    run = await asked(made)
    await made.say(run, ReplyType.ACKNOWLEDGE, "alice")

    await made.look(run)

    acknowledged = made.run(run).status.acknowledged
    assert acknowledged is not None
    assert acknowledged.by == "alice"


async def test_a_run_that_is_stopped_before_its_change_changes_nothing() -> None:
    made = world()
    run = await asked(made)
    await made.say(run, ReplyType.STOP, "alice", reason="I do it by hand")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.STOPPED, transcript(run)
    assert run.status.message == "stopped by alice: I do it by hand"
    assert changes(made) == 0
    assert [sent.receiver for sent in made.notifier.sent] == ["default"]


async def test_a_run_that_is_stopped_after_its_change_keeps_it_and_says_so() -> None:
    made = world(mode="Automatic", approval=None)
    run = await fired(made)
    run = await until(made, run, lambda one: queue(made) == "500")
    await made.say(run, ReplyType.STOP, "alice")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.STOPPED
    assert "what was changed is kept" in run.status.message
    assert queue(made) == "500"


async def test_a_change_is_taken_back_when_somebody_asks() -> None:
    made = world(TRY_NEXT, mode="Automatic", approval=None)
    run = await fired(made)
    run = await until(made, run, lambda one: queue(made) == "500")
    await made.say(run, ReplyType.UNDO, "alice")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.UNDONE, transcript(run)
    assert run.status.message == "bigger is taken back, as alice asked"
    assert queue(made) is None
    assert len(run.status.attempts) == 1


async def test_there_is_nothing_to_take_back_before_a_change() -> None:
    made = world()
    run = await asked(made)
    await made.say(run, ReplyType.UNDO, "alice")

    await made.look(run)

    assert ignored(made.run(run)) == {"alice": "nothing has been changed: Stop ends the run"}
    assert made.run(run).status.state is State.AWAITING_APPROVAL


async def test_a_word_after_the_end_is_recorded_as_too_late() -> None:
    made = world()
    run = await made.settle(await fired(made))
    await approve(made, run, "alice", "sre")
    await made.say(run, ReplyType.STOP, "bob")

    await made.look(run)

    after = made.run(run)
    assert after.status.outcome is RunOutcome.EXPIRED
    assert ignored(after) == {
        "alice": "the run had ended already, as Expired",
        "bob": "the run had ended already, as Expired",
    }
    writes = len(made.cluster.changes)
    await made.look(run)
    assert len(made.cluster.changes) == writes
