"""An operator that dies between a rollback and its verification: the next one verifies, and rolls nothing back."""

from datetime import timedelta

import pytest

from flows import CHECKOUT, carried_out, changes, fired, world
from interruptions import Calls, Died, How, interrupted
from remediator.domain.json import dig_list, dig_text
from remediator.domain.runs import Run, RunOutcome, StepState
from remediator.testing.world import World, transcript

BACK = """
targets: [Deployment]
remedies:
- name: previousRelease
  steps:
  - name: undoRollout
    rollback: {to: previous}
  verify:
  - rollout: {within: 5m}
  - alertResolved: {quietFor: 2m, within: 10m}
"""


def image(made: World) -> str:
    return dig_text(dig_list(made.cluster.get(CHECKOUT), "spec", "template", "spec", "containers")[0], "image")


def released() -> World:
    """The second release is out, and its alert resolves once the first one runs again."""
    made = world(BACK)
    made.cluster.change(
        CHECKOUT, lambda obj: dig_list(obj, "spec", "template", "spec", "containers")[0].update(image="shop:2")
    )
    made.cluster.tick()
    made.resolve_when(lambda: image(made) == "shop:1")
    return made


async def killed(at: int, how: How) -> tuple[World, Run]:
    """The world after a run whose operator died at that call, and was started again."""
    made = released()
    run = await fired(made)
    outside, calls = made.outside, Calls(at, how)
    made.outside = interrupted(outside, calls)
    made.new_operator()
    with pytest.raises(Died):
        await made.settle(run)
    made.outside = interrupted(outside, Calls())
    made.new_operator()
    return made, await made.settle(run)


async def between_rollback_and_verification() -> range:
    """The calls after the one that makes the change, up to the one that stores that it was made and is being verified."""
    made, calls = released(), Calls()
    run = await fired(made)
    made.outside = interrupted(made.outside, calls)
    made.new_operator()
    while made.run(run).status.attempt is None or made.run(run).status.attempts[0].verifying_since is None:
        await made.settle(run, within=timedelta(milliseconds=500))
    change = max(n for n, call in enumerate(calls.names, 1) if call.startswith("patch Deployment"))
    return range(change + 1, calls.count + 1)


async def test_the_undisturbed_rollback_is_one_change() -> None:
    made = released()

    run = await carried_out(made)

    assert (run.status.outcome, image(made), changes(made)) == (RunOutcome.REMEDIATED, "shop:1", 1)


@pytest.mark.parametrize("how", [How.KILLED_BEFORE, How.KILLED_AFTER], ids=lambda how: how.name.lower())
async def test_an_operator_killed_between_rollback_and_verification_rolls_back_once_and_goes_on_verifying(
    how: How,
) -> None:
    calls = await between_rollback_and_verification()
    assert len(calls) >= 2, "the look that finds the change done, the record of that and of the verification"

    for at in calls:
        made, run = await killed(at, how)

        assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
        assert (image(made), changes(made)) == ("shop:1", 1), f"call {at}\n{transcript(run)}"
        (attempt,) = run.status.attempts
        assert [step.state for step in attempt.steps] == [StepState.DONE] and not attempt.undo
        said = [entry.what for entry in run.status.timeline]
        assert (said.count("start") <= 1, said.count("verify"), said.count("verified")) == (True, 1, 1)
