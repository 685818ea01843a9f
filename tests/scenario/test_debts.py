"""Changes that are made for a limited time are taken back, also after the run's end, and never over somebody's head."""

from datetime import timedelta

import pytest
import yaml

from flows import CHECKOUT, FIRING, carried_out, changes, env, fired, world
from interruptions import Calls, interrupted
from known import Given
from remediator.actions import registry
from remediator.domain.json import Object, dig_list
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.domain.runs import DebtKind, Run, RunOutcome, StepState
from remediator.engine.acceptance import accept_runbook
from remediator.testing.world import World, transcript


def book(limit: str, value: str = "500", *, if_not_helped: str = "Keep", quiet: str = "1m", within: str = "5m") -> str:
    return f"""
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    {limit}
    setEnv: {{container: app, vars: {{QUEUE: {{value: "{value}"}}}}}}
  ifNotHelped: {if_not_helped}
  verify:
  - rollout: {{within: 5m}}
  - alertResolved: {{quietFor: {quiet}, within: {within}}}
"""


TTL = book("ttl: 10m")
ANEW = "targets: [Deployment]\nremedies: [{name: anew, steps: [{name: roll, restart: {}}]}]"
MORE = "targets: [Deployment]\nremedies: [{name: more, steps: [{name: grow, scale: {by: 1}}]}]"


def with_queue(value: str) -> Object:
    return {"name": "QUEUE", "value": value}


def given_queue(made: World, value: str, ref: ObjectRef = CHECKOUT) -> None:
    """Somebody gives the only container this variable."""

    def edit(obj: Object) -> None:
        container = dig_list(obj, "spec", "template", "spec", "containers")[0]
        container["env"] = [with_queue(value)]

    made.cluster.change(ref, edit)
    made.cluster.tick()


async def until_ended(made: World, run: Run, within: timedelta = timedelta(hours=1)) -> Run:
    """The run as it is when its end is written, before it has paid anything."""
    until = made.clock.now() + within
    while made.clock.now() < until:
        again = await made.look(run)
        made.cluster.tick()
        if made.run(run).is_ended:
            return made.run(run)
        made.clock.advance(timedelta(seconds=again or 0.2))
        for happen in made.meanwhile:
            happen()
    raise AssertionError(transcript(made.run(run)))


async def test_a_change_with_a_ttl_is_taken_back_after_the_run_has_ended() -> None:
    made = world(TTL)
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    run = await until_ended(made, await fired(made))
    assert (run.status.outcome, env(made, "QUEUE")) == (RunOutcome.REMEDIATED, "500")
    (debt,) = run.status.debts
    assert (debt.kind, debt.state, debt.step) == (DebtKind.TTL, "Owed", "raise")
    said = next(one for one in run.status.conditions if one.type == "Undone")
    assert (said.status, said.reason, said.message) == ("Unknown", "Owed", "raise: at 2026-06-01T12:10:00Z")
    started = run.status.attempts[0].steps[0].started_at
    assert debt.due is not None and started is not None and debt.due == started + timedelta(minutes=10)

    run = await made.settle(run)

    assert (run.status.outcome, env(made, "QUEUE")) == (RunOutcome.REMEDIATED, None), transcript(run)
    (debt,) = run.status.debts
    (payment,) = run.status.attempts[0].undo
    assert debt.state == "Paid" and not run.owes
    assert payment.started_at == debt.due
    assert (payment.undo_of, payment.state) == (debt.token, StepState.DONE)
    assert changes(made) == 2


async def test_three_values_that_are_raised_for_ten_minutes_are_taken_back_in_one_patch() -> None:
    made = world(
        """
targets: [Deployment]
remedies:
- name: moreTime
  steps:
  - name: raiseTimeouts
    ttl: 10m
    setEnv:
      container: app
      vars:
        TIMEOUT_MS: {value: "10000", from: "5000"}
        BREAKER_MS: {value: "60000", from: "30000"}
        RETRIES: {value: "5"}
  verify:
  - rollout: {within: 5m}
  - alertResolved: {quietFor: 2m, within: 8m}
"""
    )
    before = {"TIMEOUT_MS": "5000", "BREAKER_MS": "30000", "RETRIES": None}

    def edit(obj: Object) -> None:
        given = [{"name": name, "value": value} for name, value in before.items() if value is not None]
        dig_list(obj, "spec", "template", "spec", "containers")[0]["env"] = [*given]

    made.cluster.change(CHECKOUT, edit)
    made.cluster.tick()
    made.resolve_when(lambda: env(made, "TIMEOUT_MS") == "10000")

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert {name: env(made, name) for name in before} == before
    first, back = run.status.attempts[0].steps[0], run.status.attempts[0].undo[0]
    assert "of Deployment shop/checkout, stays for 10m0s" in transcript(run), "who approves a plan sees it"
    assert first.started_at is not None and back.started_at is not None
    assert (back.started_at - first.started_at, changes(made)) == (timedelta(minutes=10), 2)
    assert [
        line for line in transcript(run).splitlines() if "  owe " in line or "  due " in line or "  paid " in line
    ] == [
        "12:00:00  owe       raiseTimeouts stays for 10m0s",
        "12:10:00  due       raiseTimeouts: its time is over",
        f"12:10:02  paid      {back.message}",
    ]


async def test_the_debt_stands_on_the_record_before_the_change_is_made() -> None:
    made = world(TTL)

    await carried_out(made, within=timedelta(minutes=2))

    records = [w for w in made.cluster.changes if w.ref.kind == "RunbookRun"]
    change = next(n for n, w in enumerate(made.cluster.changes) if w.ref == CHECKOUT and w.identity.account)
    before = [w for w in records if made.cluster.changes.index(w) < change]
    assert before[-1].obj is not None
    assert Run.parse(before[-1].obj).status.debts[0].state == "Owed"


async def test_a_run_that_waits_for_its_debt_costs_no_call() -> None:
    made = world(TTL)
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    run = await until_ended(made, await fired(made))
    asked, calls = len(made.alerts.asked), Calls()
    made.outside = interrupted(made.outside, calls)
    made.new_operator()

    again = await made.look(run)

    assert again is not None and again > 400, "it is not looked at again before the debt is due"
    assert calls.names == [], "the watch has brought the record"
    assert len(made.alerts.asked) == asked


async def test_a_ttl_that_is_over_while_the_run_still_verifies_is_not_waited_for() -> None:
    made = world(book("ttl: 2m", quiet="5m", within="30m"))
    run = await fired(made)

    run = await made.settle(run, within=timedelta(minutes=4))

    assert not run.is_ended
    assert (env(made, "QUEUE"), run.status.debts[0].state) == (None, "Paid"), transcript(run)

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.FAILED, transcript(run)
    assert changes(made) == 2


async def test_what_was_undone_because_it_did_not_help_is_owed_no_longer() -> None:
    made = world(book("ttl: 1h", if_not_helped="Undo"))

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.UNDONE
    assert [debt.state for debt in run.status.debts] == ["Paid"]
    assert (env(made, "QUEUE"), changes(made)) == (None, 2)


async def test_a_change_until_the_alerts_resolve_is_taken_back_as_soon_as_they_have_and_the_run_has_ended() -> None:
    made = world(book("revertOnResolve: true"))
    made.resolve_when(lambda: env(made, "QUEUE") == "500")

    run = await carried_out(made)

    assert (run.status.outcome, env(made, "QUEUE")) == (RunOutcome.REMEDIATED, None), transcript(run)
    assert run.status.debts[0].kind is DebtKind.RESOLVED


async def test_an_alert_that_resolves_after_the_end_is_asked_for_once_a_minute() -> None:
    made = world(book("revertOnResolve: true"))
    run = await until_ended(made, await fired(made))
    assert run.status.outcome is RunOutcome.FAILED
    asked = len(made.alerts.asked)
    run = await made.settle(run, within=timedelta(minutes=30))
    assert env(made, "QUEUE") == "500"
    assert 28 <= len(made.alerts.asked) - asked <= 32
    made.alerts.resolve()

    run = await made.settle(run)

    assert (run.status.outcome, env(made, "QUEUE"), run.owes) == (RunOutcome.FAILED, None, False)


async def test_a_source_that_knows_of_no_alert_for_a_moment_does_not_take_a_change_back() -> None:
    made = world(book("revertOnResolve: true"))
    run = await until_ended(made, await fired(made))
    await made.settle(run, within=timedelta(minutes=2))
    alerts, made.alerts.alerts = made.alerts.alerts, []

    run = await made.settle(run, within=timedelta(seconds=30))
    assert run.status.debts[0].resolved_since is not None
    made.alerts.alerts = alerts
    run = await made.settle(run, within=timedelta(minutes=30))

    assert (env(made, "QUEUE"), run.status.debts[0].resolved_since) == ("500", None)


async def test_an_alert_of_which_nobody_can_tell_does_not_count_as_resolved() -> None:
    made = world(book("revertOnResolve: true"))
    run = await until_ended(made, await fired(made))
    made.alerts.unreachable = True
    made.alerts.resolve()

    run = await made.settle(run, within=timedelta(hours=2))

    assert (env(made, "QUEUE"), run.owes) == ("500", True)
    assert run.status.held is not None and run.status.held.reason == "FactUnknown"
    records = [w for w in made.cluster.changes if w.ref.kind == "RunbookRun"]
    assert len([w for w in records if "ended" not in w.operations]) < 30, "it is written once, not once a minute"


async def test_a_change_until_the_alerts_resolve_stays_no_longer_than_its_ttl() -> None:
    made = world(book("revertOnResolve: true\n    ttl: 20m"))

    run = await carried_out(made)

    assert env(made, "QUEUE") is None
    (payment,) = run.status.attempts[0].undo
    first = run.status.attempts[0].steps[0]
    assert payment.started_at is not None and first.started_at is not None
    assert payment.started_at - first.started_at == timedelta(minutes=20)


async def test_somebody_elses_value_is_not_overwritten_and_people_are_told() -> None:
    made = world(TTL)
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    run = await until_ended(made, await fired(made))
    given_queue(made, "700")
    sent = len(made.notifier.sent)

    run = await made.settle(run)

    assert (env(made, "QUEUE"), run.status.outcome) == ("700", RunOutcome.REMEDIATED)
    assert run.status.debts[0].state == "GivenUp"
    undone = next(one for one in run.status.conditions if one.type == "Undone")
    assert (undone.status, undone.reason) == ("False", "UndoConflict")
    (message,) = made.notifier.sent[sent:]
    assert message.receiver == "default" and "QUEUE" in message.body
    assert any(e.warning and e.reason == "UndoConflict" for e in made.events.recorded)


async def test_a_receiver_that_does_not_answer_leaves_the_debt_owed_until_people_were_told() -> None:
    made = world(TTL)
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    run = await until_ended(made, await fired(made))
    given_queue(made, "700")
    made.notifier.fail_next(2)
    made.clock.advance(timedelta(minutes=20))
    await made.look(run)
    assert made.run(run).owes

    run = await made.settle(run)

    assert not run.owes and len(made.notifier.sent) == 1


async def test_an_object_that_is_gone_owes_nothing() -> None:
    made = world(TTL)
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    run = await until_ended(made, await fired(made))
    made.cluster.store.remove(BUILT_IN["Deployment"], CHECKOUT.namespace, CHECKOUT.name)

    run = await made.settle(run)

    assert [debt.state for debt in run.status.debts] == ["Paid"]
    assert not made.notifier.sent


async def test_a_change_that_was_never_made_is_not_owed() -> None:
    made = world(TTL)
    given_queue(made, "500")

    run = await carried_out(made)

    assert run.status.debts == []


async def test_a_later_operator_pays_what_an_earlier_one_owed() -> None:
    made = world(TTL)
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    run = await until_ended(made, await fired(made))
    made.new_operator()
    made.clock.advance(timedelta(hours=3))

    run = await made.settle(run)

    assert (env(made, "QUEUE"), run.owes) == (None, False)


async def test_a_payment_waits_for_a_run_that_is_changing_its_object() -> None:
    made = world(book("ttl: 20m"), limits={"cooldown": "0s"})
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    first = await until_ended(made, await fired(made))
    made.meanwhile.clear()
    made.clock.advance(timedelta(minutes=10))  # it is no longer taken for the cause of what comes
    second = await second_run(made, ANEW)
    await made.settle(second, within=timedelta(minutes=2))
    made.clock.advance(timedelta(minutes=8))

    await made.settle(first, within=timedelta(minutes=3))
    held = made.run(first).status.held
    assert (env(made, "QUEUE"), held.reason if held else "") == ("500", "TargetBusy")
    await made.settle(second)
    first = await made.settle(first)

    assert (env(made, "QUEUE"), first.owes) == (None, False)


async def test_a_run_waits_for_one_that_has_ended_and_takes_its_change_back() -> None:
    made = world(TTL, limits={"cooldown": "0s"})
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    first = await until_ended(made, await fired(made))
    made.meanwhile.clear()
    made.clock.advance(timedelta(minutes=11))
    await made.look(first)
    assert made.run(first).status.attempts[0].undo[0].state is StepState.STARTED
    second = await second_run(made, MORE)

    await made.look(second)
    assert "is being changed by" in made.run(second).status.message
    await made.settle(first)
    second = await made.settle(second)

    assert second.status.attempts[0].steps[0].state is StepState.DONE


async def second_run(made: World, text: str) -> Run:
    """A further run of the same policy on the same target, for this Runbook."""
    known = made.outside.definitions
    assert isinstance(known, Given) and known.policy is not None
    known.book = accept_runbook("shop", "queue", "rb-uid", 2, yaml.safe_load(text), registry)
    return await made.open_run(known.policy, CHECKOUT, FIRING, number=2)


@pytest.mark.parametrize("later", ["ttl: 30m", "revertOnResolve: true"])
async def test_two_limited_changes_of_one_value_end_at_what_was_there_before_both(later: str) -> None:
    made = world(TTL, limits={"cooldown": "0s"})
    given_queue(made, "100")
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    first = await until_ended(made, await fired(made))
    made.meanwhile.clear()
    second = await until_ended(made, await second_run(made, book(later, value="900", within="2m")))
    assert (env(made, "QUEUE"), first.owes, second.owes) == ("900", True, True), transcript(second)
    made.clock.advance(timedelta(minutes=9))

    await made.settle(first, within=timedelta(minutes=1))
    assert (env(made, "QUEUE"), made.run(first).owes) == ("900", True), "the later run's value is no conflict"
    made.alerts.resolve()
    made.clock.advance(timedelta(minutes=40))
    second = await made.settle(second)
    first = await made.settle(first)

    assert (env(made, "QUEUE"), first.owes, second.owes) == ("100", False, False), transcript(first)
    assert {debt.state for run in (first, second) for debt in run.status.debts} == {"Paid"}
    assert not [sent for sent in made.notifier.sent if "not taken back" in sent.subject]


async def test_a_later_change_that_stays_is_a_conflict_for_the_earlier_limited_one() -> None:
    made = world(TTL, limits={"cooldown": "0s"})
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    first = await until_ended(made, await fired(made))
    made.meanwhile.clear()
    await until_ended(made, await second_run(made, book("timeout: 5m", value="900", within="2m")))

    first = await made.settle(first)

    assert (env(made, "QUEUE"), [debt.state for debt in first.status.debts]) == ("900", ["GivenUp"])


async def test_a_run_by_hand_without_alerts_does_not_wait_for_them_to_resolve() -> None:
    made = world(book("revertOnResolve: true"))
    spec: Object = {
        "runbookRef": {"namespace": "shop", "name": "queue"},
        "target": {"kind": "Deployment", "namespace": "shop", "name": "checkout"},
        "mode": "Automatic",
        "serviceAccountName": "fixer",
    }

    run = await made.settle(await made.create_run("shop", "by-hand", spec))

    assert run.status.outcome is RunOutcome.REFUSED
    assert run.status.ending is not None and "give a ttl" in run.status.ending.message
