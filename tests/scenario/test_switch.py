"""The kill switch in the whole flow: wherever a run stands, it stops before its next effect."""

from collections.abc import Iterator
from datetime import timedelta

import flows
from flows import CHECKOUT, changes, env, fired
from remediator.domain.changes import VOID_STAMP
from remediator.domain.errors import Unavailable
from remediator.domain.json import Object, dig_list, dig_text
from remediator.domain.runs import Run, RunOutcome, StepState
from remediator.testing.cluster import Write
from remediator.testing.world import World, transcript
from scenario.test_flow import BIGGER

QUICK = timedelta(minutes=5)


def world() -> World:
    return flows.world(BIGGER)


def stopped(made: World, run: Run) -> Run:
    """The run at its end, which must be that it was stopped and that somebody was told."""
    now = made.run(run)
    assert now.status.outcome is RunOutcome.STOPPED, transcript(now)
    assert [sent.receiver for sent in made.notifier.sent] == ["default"]
    return now


async def test_a_run_that_was_just_made_changes_nothing() -> None:
    made = world()
    run = await fired(made)
    made.suspend()

    await made.settle(run, within=QUICK)

    ended = stopped(made, run)
    assert changes(made) == 0
    assert "everything is suspended by alice: the network is being changed" in transcript(ended)


async def test_an_intent_that_the_api_server_refuses_stops_the_run() -> None:
    made = world()
    run = await fired(made)
    made.suspend(unheard=True)

    await made.settle(run, within=QUICK)

    ended = stopped(made, run)
    assert changes(made) == 0
    assert flows.steps(ended) == {"raise": "Planned"}


async def test_a_change_that_the_api_server_refuses_is_given_up_and_the_object_untouched_but_for_the_void() -> None:
    made = world()

    def pulled_at_the_intent(write: Write, before: Object | None) -> str:
        if write.ref.kind == "Deployment" and write.identity.run and not write.identity.void:
            made.suspend(unheard=True)
            return "everything is suspended: the change is refused"
        return ""

    made.cluster.refuse_when(pulled_at_the_intent)
    run = await fired(made)
    before = made.cluster.get(CHECKOUT)

    await made.settle(run, within=QUICK)

    ended = stopped(made, run)
    assert flows.steps(ended) == {"raise": "Voided"}
    after = made.cluster.get(CHECKOUT)
    token = ended.status.attempts[0].steps[0].token
    assert dig_text(after, "metadata", "annotations", VOID_STAMP) == token
    assert after["spec"] == before["spec"]
    assert [write.identity.void for write in made.cluster.changes if write.ref == CHECKOUT] == [True]


async def test_a_change_whose_answer_was_lost_is_not_voided_but_found() -> None:
    made = world()
    run = await fired(made)
    while made.run(run).status.attempts == [] or made.run(run).status.attempts[0].steps[0].state is StepState.PLANNED:
        made.cluster.fail_next(1, Unavailable("lost"), verb="patch", done=True)
        await made.look(run)
    assert env(made, "QUEUE") == "500"
    made.suspend()

    await made.settle(run, within=QUICK)

    ended = stopped(made, run)
    assert flows.steps(ended) == {"raise": "Started"}
    assert ended.status.ending is not None
    assert "what was changed is not verified, and stays unless it is owed" in ended.status.ending.message
    assert changes(made) == 1


async def test_a_run_that_verifies_stops_and_takes_nothing_back() -> None:
    made = world()
    run = await fired(made)
    await made.settle(run, within=timedelta(minutes=1))
    assert env(made, "QUEUE") == "500"
    made.suspend()

    await made.settle(run, within=QUICK)

    stopped(made, run)
    assert env(made, "QUEUE") == "500"
    assert changes(made) == 1


LIMITED = """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
    ttl: 10m
verify:
- alertResolved: {quietFor: 2m, within: 20m}
"""


async def test_what_a_stopped_run_owes_is_held_while_it_lasts_and_paid_after_the_release() -> None:
    made = flows.world(LIMITED)
    run = await fired(made)
    await made.settle(run, within=timedelta(minutes=1))
    made.suspend()
    await made.settle(run, within=timedelta(hours=1))
    held = stopped(made, run)
    assert held.owes
    assert env(made, "QUEUE") == "500"
    assert held.status.held is not None
    assert held.status.held.reason == "Suspended"

    made.release()
    await made.settle(run, within=timedelta(minutes=5))

    paid = made.run(run)
    assert env(made, "QUEUE") is None, transcript(paid)
    assert [debt.state for debt in paid.status.debts] == ["Paid"]
    assert paid.status.outcome is RunOutcome.STOPPED


async def test_an_undo_that_is_refused_at_its_intent_or_at_its_write_is_finished_after_the_release() -> None:
    for at_the_write in (False, True):
        made = world()  # nothing helps, so it is taken back
        run, once = await fired(made), iter((True,))

        def pull(
            write: Write,
            before: Object | None,
            made: World = made,
            at_the_write: bool = at_the_write,
            once: Iterator[bool] = once,
        ) -> str:
            undoing = any(
                step for attempt in dig_list(write.obj, "status", "attempts") for step in dig_list(attempt, "undo")
            )
            is_it = write.ref == CHECKOUT and env(made, "QUEUE") == "500" if at_the_write else undoing
            if is_it and next(once, False):
                made.suspend(unheard=True)
                return "everything is suspended"
            return ""

        made.cluster.refuse_when(pull)
        await made.settle(run, within=timedelta(hours=1))
        held = stopped(made, run)
        assert held.owes, transcript(held)
        assert env(made, "QUEUE") == "500"

        made.release()
        await made.settle(run, within=timedelta(minutes=5))

        paid = made.run(run)
        assert env(made, "QUEUE") is None, transcript(paid)
        assert not paid.owes
        assert paid.status.outcome is RunOutcome.STOPPED


async def test_a_run_that_was_stopped_resumes_nothing_by_itself() -> None:
    made = world()
    run = await fired(made)
    made.suspend()
    await made.settle(run, within=QUICK)
    made.release()

    again = await made.look(run)

    assert again is None
    stopped(made, run)
    assert changes(made) == 0


async def test_a_void_that_is_refused_holds_the_run_and_is_tried_again() -> None:
    made = world()
    refused = True

    def pulled_at_the_intent(write: Write, before: Object | None) -> str:
        if write.ref.kind == "Deployment" and write.identity.account and not write.dry_run:
            if not write.identity.void:
                made.suspend(unheard=True)
            return "a webhook refuses it" if refused or not write.identity.void else ""
        return ""

    made.cluster.refuse_when(pulled_at_the_intent)
    run = await fired(made)
    held = await made.settle(run, within=timedelta(minutes=2))
    assert held.status.outcome is None
    assert held.status.held is not None
    assert "a webhook refuses it" in held.status.held.message
    assert made.notifier.sent == []

    refused = False
    await made.settle(run, within=QUICK)

    stopped(made, run)


async def test_a_refusal_that_has_nothing_to_do_with_the_switch_stops_nothing() -> None:
    made = world()
    once = iter(("a webhook refuses it",))

    def at_the_intent(write: Write, before: Object | None) -> str:
        intends = any(
            step["state"] == "Intended"
            for attempt in (write.obj.get("status") or {}).get("attempts", [])  # type: ignore[union-attr, call-overload, attr-defined]
            for step in attempt.get("steps", [])
            if "state" in step
        )
        return next(once, "") if write.ref.kind == "RunbookRun" and intends else ""

    made.cluster.refuse_when(at_the_intent)
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)


async def test_the_operator_waits_until_it_knows_the_switch() -> None:
    made = world()
    run = await fired(made)
    made.switch.state = None
    calls = len(made.cluster.calls)

    again = await made.look(run)

    assert again is not None
    assert again < 1
    assert len(made.cluster.calls) == calls
