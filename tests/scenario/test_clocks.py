"""A clock that was an hour ahead for a moment: what was recorded meanwhile makes nothing last an hour longer."""

from datetime import timedelta

import pytest

from flows import changes, env, fired, world
from remediator.domain.replies import ReplyType
from remediator.domain.runs import Run, RunOutcome
from remediator.testing.world import World, transcript

HOUR = timedelta(hours=1)


def book(
    *, ttl: str = "", if_not_helped: str = "Undo", verify: str = "alertResolved: {quietFor: 1m, within: 5m}"
) -> str:
    limit = f"ttl: {ttl}" if ttl else ""
    return f"""
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    {limit}
    setEnv: {{container: app, vars: {{QUEUE: {{value: "500"}}}}}}
  ifNotHelped: {if_not_helped}
  verify:
  - {verify}
"""


async def changed_while_ahead(made: World, *, verifying: bool = False) -> Run:
    """The run after its change, or as it verifies it, recorded by a clock that has been put right since."""
    run = await fired(made)
    made.clock.advance(HOUR)
    await made.look(run)
    for _ in range(10 if verifying else 0):
        made.cluster.tick()
        made.clock.advance(timedelta(seconds=2))
        await made.look(run)
    made.clock.advance(-HOUR)
    assert changes(made) == 1
    return made.run(run)


@pytest.mark.parametrize("verifying", [False, True], ids=["acting", "verifying"])
async def test_a_remedy_that_has_helped_is_found_to_in_its_time(*, verifying: bool) -> None:
    made = world(book())
    run = await changed_while_ahead(made, verifying=verifying)
    made.alerts.resolve()

    run = await made.settle(run, within=timedelta(minutes=6))

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)


@pytest.mark.parametrize("verifying", [False, True], ids=["acting", "verifying"])
async def test_what_does_not_help_is_taken_back_in_its_time(*, verifying: bool) -> None:
    made = world(book())
    run = await changed_while_ahead(made, verifying=verifying)

    run = await made.settle(run, within=timedelta(minutes=8))

    assert run.status.outcome is RunOutcome.UNDONE, transcript(run)
    assert env(made, "QUEUE") is None


@pytest.mark.parametrize("ended", [False, True], ids=["while it is open", "after its end"])
async def test_a_limited_change_is_taken_back_when_its_time_is_over(*, ended: bool) -> None:
    made = world(
        book(ttl="10m", verify="rollout: {within: 5m}" if ended else "alertResolved: {quietFor: 30m, within: 2h}")
    )
    run = await changed_while_ahead(made)
    run = await made.settle(run, within=timedelta(minutes=9))
    assert (run.is_ended, env(made, "QUEUE")) == (ended, "500")

    await made.settle(run, within=timedelta(minutes=2))

    assert env(made, "QUEUE") is None


async def test_a_question_that_was_asked_ahead_is_answered_and_expires_as_it_should() -> None:
    made = world(book(), mode="Approve", approval={"groups": ["sre"], "expires": "30m"})
    run = await fired(made)
    made.clock.advance(HOUR)
    await made.look(run)
    made.clock.advance(-HOUR)
    await made.look(run)
    made.clock.advance(timedelta(minutes=1))
    attempt = made.run(run).status.attempt
    assert attempt is not None
    (asked,) = attempt.approvals
    assert asked.deadline - asked.asked_at == timedelta(minutes=30)
    assert asked.deadline <= made.clock.now() + timedelta(minutes=30)

    await made.say(run, ReplyType.APPROVE, "carol", "sre", planHash=attempt.plan_hash)
    await made.look(run)

    assert changes(made) == 1


async def test_what_an_earlier_leader_with_a_slightly_faster_clock_wrote_stays_as_it_is() -> None:
    made = world(book())
    run = await fired(made)
    made.clock.advance(timedelta(seconds=4))
    await made.look(run)
    before = made.run(run)
    made.clock.advance(timedelta(seconds=-4))

    await made.look(run)

    after = made.run(run)
    assert after.status.attempts[0].steps[0].started_at == before.status.attempts[0].steps[0].started_at


async def test_a_clock_behind_moves_nothing() -> None:
    made = world(book(ttl="10m"))
    run = await fired(made)
    made.clock.advance(timedelta(seconds=2))
    await made.look(run)
    before = made.run(run)
    made.clock.advance(-HOUR)

    await made.look(run)

    after = made.run(run)
    assert after.status.debts == before.status.debts
    assert after.status.attempts[0].steps[0].started_at == before.status.attempts[0].steps[0].started_at
