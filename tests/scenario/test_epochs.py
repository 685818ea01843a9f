"""What a leader may do with a run that another one has written, before or after it."""

from dataclasses import replace

import pytest

import flows
from flows import fired
from remediator.domain.errors import Rejected
from remediator.domain.json import Object
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import Run
from remediator.engine.election import epoch_object
from remediator.handlers.leading import Mandate
from remediator.testing import NOON
from remediator.testing.world import OPERATOR_NAMESPACE, World

BOOK = """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
"""


def ref_of(run: Run) -> ObjectRef:
    return ObjectRef(RUN.group, RUN.kind, run.namespace, run.name)


def written_by(made: World, run: Run, epoch: int) -> None:
    """A leader of this epoch has written to the run."""
    status: Object = {"leaderEpoch": epoch}
    made.cluster.change(ref_of(run), lambda obj: obj.update(status={**status}))


def leads(made: World, *, epoch: int, latest: int) -> None:
    """The process believes to lead with one epoch, and the API server knows of another."""

    async def asked() -> int:
        return latest

    mandate = Mandate(made.clock, asked)
    mandate.extend(float("inf"))
    mandate.epoch = epoch
    made.outside = replace(made.outside, leading=mandate)
    made.new_operator()


async def test_a_run_that_a_later_leader_has_written_is_left_to_it() -> None:
    made = flows.world(BOOK)
    run = await fired(made)
    written_by(made, run, 2)
    leads(made, epoch=1, latest=2)
    before = len(made.cluster.changes)

    again = await made.look(run)

    assert again is None
    assert made.cluster.changes[before:] == []
    assert not made.outside.leading.holds()


async def test_a_leader_that_the_api_server_knows_as_the_last_goes_on_with_whatever_stands_there() -> None:
    made = flows.world(BOOK)
    run = await fired(made)
    written_by(made, run, 7)
    leads(made, epoch=2, latest=2)

    await made.look(run)

    assert made.run(run).status.resolved is not None


@pytest.mark.parametrize(("epoch", "is_refused"), [(1, True), (2, False)])
async def test_an_intent_is_taken_back_by_the_last_leader_alone(epoch: int, is_refused: bool) -> None:
    made = flows.world(BOOK)
    run = await fired(made)

    def status(state: str, epoch: int) -> list[Object]:
        step: Object = {"name": "raise", "action": "setEnv", "token": "t", **({"state": state} if state else {})}
        value: Object = {"leaderEpoch": epoch, "attempts": [{"number": 1, "steps": [step]}]}
        return [{"op": "add", "path": "/status", "value": value}]

    made.cluster.add({"apiVersion": "v1", "kind": "ConfigMap", **epoch_object(OPERATOR_NAMESPACE, 1, "a", NOON)})
    await made.cluster.patch(ref_of(run), status("Intended", 1), sub="status")
    epochs = ObjectRef.of("ConfigMap", OPERATOR_NAMESPACE, "leader-epoch")
    made.cluster.change(epochs, lambda obj: obj.update(data={"epoch": "2"}))

    for state in ("Planned", ""):
        if is_refused:
            with pytest.raises(Rejected, match="takes an intent back"):
                await made.cluster.patch(ref_of(run), status(state, epoch), sub="status")
        else:
            await made.cluster.patch(ref_of(run), status(state, epoch), sub="status")
    await made.cluster.patch(ref_of(run), status("Voided", 1), sub="status")
