"""Limits as they hold over several runs: the ledger on the Lease, locks that are given back, our own echo."""

from datetime import timedelta
from typing import Any

import flows
from flows import CHECKOUT, FIRING, changes, env, fired
from known import Given
from remediator.domain.alerts import Alert
from remediator.domain.errors import Unavailable
from remediator.domain.json import dig_list
from remediator.domain.locks import LockState
from remediator.domain.names import lease_name
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import Run, RunOutcome
from remediator.testing.world import World, transcript

REMEDY = """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  verify:
  - rollout: {within: 5m}
  - alertResolved: {quietFor: 1m, within: 3m}
"""
RESTART = """
targets: [Deployment]
remedies:
- name: again
  steps:
  - name: roll
    restart: {}
  verify:
  - rollout: {within: 5m}
  - alertResolved: {quietFor: 1m, within: 3m}
"""
NO_REST = {"cooldown": "0s"}


def world(book: str = REMEDY, **given: Any) -> World:
    made = flows.world(book, **given)
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    return made


async def another(made: World, number: int = 2, *alerts: Alert) -> Run:
    known = made.outside.definitions
    assert isinstance(known, Given)
    return await made.open_run(known.policy, CHECKOUT, *(alerts or (FIRING,)), number=number)


def lease(made: World) -> LockState:
    return made.locks.states[lease_name(CHECKOUT)]


def ledger(made: World) -> list[tuple[str, str, int]]:
    """Of each run on the target's Lease: its name, how it ended, and how many changes it made."""
    return [(past.run, past.outcome, len(past.made)) for past in lease(made).changes]


def withdraw(made: World) -> None:
    """Somebody takes the new value out again, so that there is something to be done once more."""

    def edit(obj: Any) -> None:
        dig_list(obj, "spec", "template", "spec", "containers")[0].pop("env", None)

    made.cluster.change(CHECKOUT, edit)


# --- the ledger ------------------------------------------------------------------------------------


async def test_the_end_of_a_run_frees_the_lock_and_says_what_became_of_it() -> None:
    made = world()

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert (lease(made).holder, lease(made).target) == ("", CHECKOUT)
    assert ledger(made) == [(run.full_name, "Remediated", 1)]
    (past,) = lease(made).changes
    assert past.made == (run.status.attempts[0].steps[0].started_at,)
    assert past.ended == run.status.ended_at


async def test_a_run_that_was_refused_before_it_changed_anything_has_not_changed_anything() -> None:
    made = world()
    take = made.locks.acquire

    async def taken_and_then_changed_by_somebody(*args: Any, **named: Any) -> Any:
        answer = await take(*args, **named)
        template = {"annotations": {"by": "hand"}, "labels": {"app": "checkout"}}
        made.cluster.change(CHECKOUT, lambda obj: obj["spec"]["template"].update(metadata=template))  # type: ignore[index,union-attr,call-overload]  # plain JSON
        return answer

    made.locks.acquire = taken_and_then_changed_by_somebody  # type: ignore[method-assign]

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.TARGET_CHANGED, transcript(run)
    assert changes(made) == 0
    assert ledger(made) == []
    assert lease(made).holder == ""


async def test_what_a_run_could_not_note_at_its_end_is_noted_by_the_next_one() -> None:
    made = world(RESTART, limits=NO_REST)
    release = made.locks.release

    async def unreachable(*_: Any, **__: Any) -> None:
        raise Unavailable("the connection was reset")

    made.locks.release = unreachable  # type: ignore[method-assign]
    first = await made.settle(await fired(made))
    assert first.status.outcome is RunOutcome.FAILED, transcript(first)
    assert (lease(made).holder, ledger(made)) == (first.full_name, [(first.full_name, "", 1)])
    made.locks.release = release  # type: ignore[method-assign]
    made.clock.advance(timedelta(minutes=30))

    second = await made.settle(await another(made))

    assert ledger(made) == [(first.full_name, "Failed", 1), (second.full_name, "Failed", 1)]


async def test_deleting_runs_deletes_no_limits() -> None:
    made = world(RESTART, limits=NO_REST)
    for number in (1, 2, 3):
        run = await made.settle(await another(made, number))
        assert run.status.outcome is RunOutcome.FAILED, transcript(run)
        await made.cluster.delete(ObjectRef(RUN.group, RUN.kind, run.namespace, run.name))

    run = await made.settle(await another(made, 4))

    assert run.status.outcome is RunOutcome.REFUSED, transcript(run)
    assert run.status.ending is not None
    assert run.status.ending.reason == "DidNotHelp"
    assert changes(made) == 3


async def test_a_target_is_changed_no_more_often_than_its_budget_allows() -> None:
    made = world(limits={**NO_REST, "perHour": 2})
    when = []
    for number in (1, 2, 3):
        withdraw(made)
        made.clock.advance(timedelta(minutes=11))
        run = await made.settle(await another(made, number))
        assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
        when.append(run.status.attempts[0].steps[0].started_at)

    assert when[2] is not None and when[0] is not None
    assert when[2] - when[0] >= timedelta(hours=1)
    assert "BudgetSpent: Deployment shop/checkout was changed 2 times in the last hour" in transcript(run)


# --- locks -----------------------------------------------------------------------------------------


async def test_a_run_that_only_waits_gives_its_lock_back_and_takes_it_again() -> None:
    made = world()
    take = made.locks.acquire

    async def taken_and_then_nobody_can_be_asked(*args: Any, **named: Any) -> Any:
        made.alerts.unreachable = True
        return await take(*args, **named)

    made.locks.acquire = taken_and_then_nobody_can_be_asked  # type: ignore[method-assign]
    made.locks.known = lambda name: None  # type: ignore[method-assign]  # so that all is asked again under the lock
    run = await fired(made)

    await made.look(run)

    waiting = made.run(run)
    assert waiting.status.held is not None, transcript(waiting)
    assert waiting.status.held.reason == "StaleAlert"
    assert (waiting.status.locks, lease(made).holder, ledger(made)) == ([], "", [])

    made.locks.acquire = take  # type: ignore[method-assign]
    made.alerts.unreachable = False
    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert changes(made) == 1


async def test_a_run_that_has_changed_something_keeps_its_lock_until_it_has_ended() -> None:
    made = world(RESTART)
    run, other = await fired(made), await another(made)
    made.clock.advance(timedelta(minutes=1))

    run = await made.settle(run, within=timedelta(minutes=2))
    await made.look(other)

    assert not run.is_ended
    assert lease(made).holder == run.full_name
    held = made.run(other).status.held
    assert held is not None
    assert (held.reason, held.message) == (
        "TargetBusy",
        f"Deployment shop/checkout is being changed by {run.full_name}",
    )


async def test_a_lock_costs_one_call_at_the_end_of_a_run_that_held_one() -> None:
    made = world()
    calls: list[str] = []
    read, release = made.locks.read, made.locks.release

    async def reading(name: str) -> LockState:
        calls.append("read")
        return await read(name)

    async def releasing(*args: Any, **named: Any) -> None:
        assert named["seen"] is not None, "what the taking brought saves the read"
        calls.append("release")
        made.locks.read = read  # type: ignore[method-assign]  # the fake looks at its own state
        await release(*args, **named)

    run = await fired(made)
    await made.look(run)
    made.locks.read, made.locks.release = reading, releasing  # type: ignore[method-assign]

    run = await made.settle(run)

    assert run.is_ended
    assert calls == ["release"]


def held(made: World, run: Run) -> tuple[str, str]:
    """Why the run stands still now."""
    standing = made.run(run).status.held
    return (standing.reason, standing.message) if standing is not None else ("", "")


# --- our own echo ----------------------------------------------------------------------------------

ECHO = Alert(
    fingerprint="00000000000000aa",
    status="firing",
    labels={"alertname": "PodsNotReady", "namespace": "shop", "deployment": "checkout"},
    annotations={},
    starts_at=FIRING.starts_at + timedelta(minutes=8),
    ends_at=None,
    generator_url="",
)


async def test_an_alert_that_our_own_restart_causes_starts_nothing() -> None:
    made = world(RESTART, limits=NO_REST)
    first = await fired(made)
    await made.look(first)
    assert changes(made) == 1
    made.clock.advance(timedelta(seconds=10))  # its pods are being replaced
    echo = await another(made, 2, ECHO)

    await made.look(echo)
    assert held(made, echo) == ("TargetBusy", f"Deployment shop/checkout is being changed by {first.full_name}")
    assert made.run(echo).status.attempts[0].diagnosed_at is None

    made.alerts.resolve(FIRING.fingerprint)
    first = await made.settle(first)
    assert first.status.outcome is RunOutcome.REMEDIATED, transcript(first)
    await made.look(echo)
    reason, message = held(made, echo)
    assert reason == "SelfInflicted"
    assert first.full_name in message

    made.alerts.resolve()  # as our change has settled
    echo = await made.settle(echo)

    assert echo.status.outcome is RunOutcome.NOT_NEEDED, transcript(echo)
    assert changes(made) == 1
    assert made.notifier.sent == []


async def test_an_alert_that_goes_on_after_our_own_change_has_settled_is_acted_on() -> None:
    made = world(RESTART, limits=NO_REST)
    first = await fired(made)
    await made.look(first)
    made.alerts.resolve()
    made.clock.advance(timedelta(seconds=30))
    echo = await another(made, 2, ECHO)
    first = await made.settle(first)
    assert first.status.outcome is RunOutcome.REMEDIATED, transcript(first)

    await made.settle(echo, within=timedelta(minutes=20))

    assert changes(made) == 2
