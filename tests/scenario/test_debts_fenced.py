"""What holds a debt back and what does not: suspension does, cooldowns, freezes and modes do not."""

from datetime import timedelta
from typing import Any

import pytest

from flows import ALLOWED, changes, env, fired, world
from known import Given
from remediator.domain.runs import Run
from remediator.testing.world import World, transcript
from worlds import fence

LIMITED = """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    ttl: 10m
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  verify:
  - alertResolved: {quietFor: 1m, within: 5m}
"""
FROZEN = [{"from": "2020-01-01T00:00:00Z", "until": "2040-01-01T00:00:00Z"}]


def fenced(made: World, *allow: str, **spec: Any) -> None:
    """The Guardrails say this from here on."""
    known = made.outside.definitions
    assert isinstance(known, Given)
    known.allowed = fence(*(allow or ALLOWED), **spec)


async def owing() -> tuple[World, Run]:
    """A run that has ended well, and owes for some minutes more."""
    made = world(LIMITED, limits={"cooldown": "24h"})
    made.resolve_when(lambda: env(made, "QUEUE") == "500")
    run = await made.settle(await fired(made), within=timedelta(minutes=5))
    assert run.is_ended and run.owes, transcript(run)
    return made, run


@pytest.mark.parametrize("spec", [{}, {"mode": "Diagnose"}, {"freeze": FROZEN}], ids=["cooldown", "mode", "freeze"])
async def test_what_holds_changes_back_does_not_hold_back_what_is_owed(spec: dict[str, Any]) -> None:
    made, run = await owing()
    fenced(made, **spec)

    run = await made.settle(run)

    assert (env(made, "QUEUE"), run.owes) == (None, False), transcript(run)


async def test_a_suspended_namespace_holds_what_is_owed_and_it_is_paid_when_that_ends() -> None:
    made, run = await owing()
    fenced(made, suspend=True)
    run = await made.settle(run, within=timedelta(hours=6))
    assert (env(made, "QUEUE"), run.owes) == ("500", True)
    assert run.status.held is not None and run.status.held.reason == "Suspended"
    assert run.status.locks == [], "nobody else is kept from the object meanwhile"
    records = [write for write in made.cluster.changes if write.ref.kind == "RunbookRun"]
    fenced(made)

    run = await made.settle(run)

    assert (env(made, "QUEUE"), run.owes) == (None, False)
    later = [write for write in made.cluster.changes if write.ref.kind == "RunbookRun"][len(records) :]
    assert len(later) <= 4, "held for hours, it was written once"


async def test_what_no_guardrail_allows_any_more_is_left_to_people_who_are_told() -> None:
    made, run = await owing()
    fenced(made, "restart")

    run = await made.settle(run)

    assert (env(made, "QUEUE"), [debt.state for debt in run.status.debts]) == ("500", ["GivenUp"])
    assert [sent.receiver for sent in made.notifier.sent if "not taken back" in sent.subject] == ["default"]
    assert changes(made) == 1
