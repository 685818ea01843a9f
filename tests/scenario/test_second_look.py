"""A run that had to wait for long looks at everything again before it acts."""

from datetime import timedelta

from flows import CHECKOUT, carried_out, changes, fired, world
from remediator.domain.json import Object
from remediator.domain.runs import Run, RunOutcome

BOOK = """
targets: [Deployment]
diagnose:
- name: workload
  get: {}
remedies:
- name: bigger
  when: '!("hands-off" in diagnosis.workload.items[0].labels)'
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  verify:
  - rollout: {within: 5m}
"""


def whats(run: Run) -> list[str]:
    return [entry.what for entry in run.status.timeline]


def hands_off(obj: Object) -> None:
    obj["metadata"]["labels"] = {"hands-off": "true"}  # type: ignore[index,call-overload]


async def test_a_diagnosis_that_has_grown_old_is_made_again_before_the_change() -> None:
    made = world(BOOK, grace="20m")

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.REMEDIATED
    assert whats(run).count("again") == 1
    assert whats(run).count("choose") == 2
    assert [attempt.number for attempt in run.status.attempts] == [2]
    assert changes(made) == 1


async def test_a_short_wait_needs_no_second_diagnosis() -> None:
    run = await carried_out(world(BOOK, grace="10m"))

    assert "again" not in whats(run)


async def test_what_no_longer_fits_after_the_wait_is_not_done() -> None:
    made = world(BOOK, grace="20m")
    run = await fired(made)

    def somebody_speaks_up() -> None:
        if made.clock.now() > run.created_at + timedelta(minutes=5):
            made.cluster.change(CHECKOUT, hands_off)

    made.meanwhile.append(somebody_speaks_up)

    ended = await made.settle(run)

    assert ended.status.outcome is RunOutcome.NO_REMEDY
    assert changes(made) == 0
