"""Freezes, suspension and storms over the whole flow: what is held, what goes on, and what becomes of it."""

from datetime import timedelta
from typing import Any

from flows import ALLOWED, changes, env, fired
from flows import world as whole_world
from known import Given
from remediator.domain.replies import ReplyType
from remediator.domain.runs import Run, RunOutcome, rfc3339
from remediator.domain.storms import DEFAULT_RULE, Storm
from remediator.testing import NOON
from remediator.testing.world import World
from worlds import fence

BOOK = """
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
  - alertResolved: {quietFor: 1m, within: 5m}
  ifNotHelped: Undo
"""
FREEZE = {
    "from": rfc3339(NOON - timedelta(hours=1)),
    "until": rfc3339(NOON + timedelta(hours=3)),
    "except": {"groups": ["sre-lead"]},
}


def world(**guardrail: Any) -> World:
    made = whole_world(BOOK)
    surround(made, **guardrail)
    return made


def surround(made: World, **guardrail: Any) -> None:
    known = made.outside.definitions
    assert isinstance(known, Given)
    known.allowed = fence(*ALLOWED, **guardrail)


async def held(made: World, run: Run) -> str:
    """Why the run stands still after a look."""
    await made.look(run)
    standing = made.run(run).status.held
    return standing.reason if standing is not None else ""


async def test_a_frozen_run_decides_and_then_waits_for_the_end_of_the_freeze() -> None:
    made = world(freeze=[FREEZE])
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    run = await fired(made)

    assert await held(made, run) == "Frozen"
    assert made.run(run).status.remedy == "bigger"
    assert changes(made) == 0

    ended = await made.settle(run)
    assert ended.status.outcome is RunOutcome.REMEDIATED
    assert ended.status.attempts[0].steps[0].started_at == NOON + timedelta(hours=3)


async def test_an_approval_by_an_excepted_group_is_taken_and_lifts_the_freeze_for_this_run() -> None:
    made = world(freeze=[FREEZE])
    run = await fired(made)
    await held(made, run)
    plan = made.run(run).status.attempts[0].plan_hash

    await made.say(run, ReplyType.APPROVE, "dave", "dev", planHash=plan, reason="please")
    assert await held(made, run) == "Frozen"
    await made.say(run, ReplyType.APPROVE, "carol", "sre-lead", planHash=plan, reason="customers cannot pay")
    await made.look(run)

    assert env(made, "QUEUE") == "500"
    said = {one.user: one.taken for one in made.run(run).status.replies}
    assert said == {"dave": False, "carol": True}


async def test_what_did_not_help_is_taken_back_in_a_freeze_that_began_meanwhile() -> None:
    made = world()
    run = await fired(made)
    await made.look(run)
    assert env(made, "QUEUE") == "500"

    surround(made, freeze=[FREEZE])
    ended = await made.settle(run)

    assert ended.status.outcome is RunOutcome.UNDONE
    assert env(made, "QUEUE") is None


async def test_a_suspended_guardrail_holds_back_even_that_until_it_is_released() -> None:
    made = world()
    run = await fired(made)
    await made.look(run)
    surround(made, suspend=True)

    await made.settle(run, within=timedelta(minutes=30))
    assert await held(made, run) == "Suspended"
    assert env(made, "QUEUE") == "500"

    surround(made)
    ended = await made.settle(run)
    assert ended.status.outcome is RunOutcome.UNDONE


async def test_a_run_in_a_storm_reads_nothing_posts_nothing_and_goes_on_when_it_is_over() -> None:
    made = world()
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    made.storms.active = (Storm("", DEFAULT_RULE, NOON, NOON + timedelta(minutes=10)),)
    run = await fired(made)

    assert await held(made, run) == "Storm"
    before = len(made.cluster.calls)
    assert await held(made, run) == "Storm"
    assert made.cluster.calls[before:] == [], "the watch has brought the record"
    assert made.events.recorded == []
    assert made.run(run).status.attempts[0].diagnosed_at is None

    made.storms.active = ()
    made.clock.advance(timedelta(minutes=10))
    ended = await made.settle(run)
    assert ended.status.outcome is RunOutcome.REMEDIATED


async def test_a_run_whose_alerts_resolve_in_the_storm_ends_as_not_needed() -> None:
    made = world()
    made.storms.active = (Storm("", DEFAULT_RULE, NOON, NOON + timedelta(minutes=10)),)
    run = await fired(made)
    await held(made, run)

    made.storms.active = ()
    made.alerts.resolve()
    ended = await made.settle(run)

    assert ended.status.outcome is RunOutcome.NOT_NEEDED
    assert changes(made) == 0
