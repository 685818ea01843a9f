"""Whether enough nodes go on serving, one promise a test."""

from typing import Any

import pytest

from remediator.domain.changes import ABSENT, Change, DeletePods, Edit, Patch, change_as_json
from remediator.domain.guardrails import Fence, Guardrail, GuardrailSpec
from remediator.domain.json import Object
from remediator.domain.nodes import UNSCHEDULABLE
from remediator.domain.objects import ObjectRef, Target
from remediator.domain.runs import RunTarget
from remediator.domain.verdicts import Allow, Deny, Reason, Verdict, Wait
from remediator.engine.facts import Seen, Surroundings
from remediator.engine.guards import Question
from remediator.engine.guards.nodes import enough_nodes_serve
from worlds import facts, run, step

NODE = Target(ObjectRef.of("Node", "", "n1"), "uid-n1")
CORDON = Patch(NODE, (Edit(UNSCHEDULABLE, ABSENT, True),), "cordon Node n1")
UNCORDON = Patch(NODE, (Edit(UNSCHEDULABLE, True, ABSENT),), "uncordon Node n1")
DRAIN = DeletePods(NODE, (Target(ObjectRef.of("Pod", "shop", "a"), "a"),), "evict 1 pods", False, evict=True)


def node(name: str, *, ready: bool = True, cordoned: bool = False) -> Object:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}"},
        "spec": {"unschedulable": True} if cordoned else {},
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}]},
    }


def nodes(count: int, *, lost: int = 0, cordoned: int = 0) -> tuple[Object, ...]:
    """So many nodes, the last of them lost, those before cordoned; n1 serves."""
    states = [{}] * (count - lost - cordoned) + [{"cordoned": True}] * cordoned + [{"ready": False}] * lost
    return tuple(node(f"n{number}", **state) for number, state in enumerate(states, start=1))


def limited(nodes: int) -> Fence:
    spec = GuardrailSpec.model_validate({"allow": ["cordon", "drain"], "limits": {"nodes": nodes}})
    return Fence((Guardrail("platform", spec),))


def asked(change: Change, present: tuple[Object, ...] | None, **world: Any) -> Question:
    record = step(change=change_as_json(change), target=RunTarget.of(NODE.ref, NODE.uid))
    seen = Seen(obj=node("n1", cordoned=change is DRAIN))
    return Question(run(), record, facts(step_target=seen, surroundings=Surroundings(nodes=present), **world))


def denial(verdict: Verdict, reason: Reason = Reason.BLAST_RADIUS) -> str:
    assert isinstance(verdict, Deny), verdict
    assert verdict.reason is reason
    return verdict.message


@pytest.mark.parametrize("change", [CORDON, DRAIN], ids=["cordon", "drain"])
def test_while_more_than_a_third_of_the_nodes_is_not_ready_none_is_taken_out(change: Change) -> None:
    message = denial(enough_nodes_serve(asked(change, nodes(10, lost=4))))

    assert message == "4 of 10 nodes are not ready: while more than a third is, none is taken out of service"


@pytest.mark.parametrize(("count", "lost"), [(1, 0), (3, 1), (9, 3), (10, 3)])
def test_up_to_a_third_is_no_disaster(count: int, lost: int) -> None:
    assert enough_nodes_serve(asked(CORDON, nodes(count, lost=lost))) == Allow()


def test_a_guardrail_limits_how_many_nodes_are_out_whoever_took_them_out() -> None:
    present = nodes(10, lost=1, cordoned=1)

    message = denial(enough_nodes_serve(asked(CORDON, present, fence=limited(2))))

    assert message == ("3 of 10 nodes would be out of service with Node n1; 2 may be, says Guardrail platform")
    assert enough_nodes_serve(asked(CORDON, present, fence=limited(3))) == Allow()


def test_a_node_that_is_out_already_counts_once() -> None:
    present = (node("n1", cordoned=True), *nodes(10)[1:])

    assert enough_nodes_serve(asked(DRAIN, present, fence=limited(1))) == Allow()


def test_a_node_that_still_takes_pods_is_not_drained() -> None:
    asking = asked(DRAIN, nodes(3))
    open_node = Question(
        asking.run, asking.step, facts(step_target=Seen(obj=node("n1")), surroundings=asking.facts.surroundings)
    )

    assert (
        denial(enough_nodes_serve(open_node), Reason.OUT_OF_BOUNDS) == "Node n1 still takes new pods: cordon it first"
    )


def test_what_brings_a_node_back_is_always_allowed() -> None:
    assert enough_nodes_serve(asked(UNCORDON, nodes(10, lost=9))) == Allow()


@pytest.mark.parametrize("world", [{"fence": None}, {}])
def test_nodes_that_cannot_be_counted_stay(world: dict[str, Any]) -> None:
    verdict = enough_nodes_serve(asked(CORDON, nodes(3) if world else None, **world))

    assert isinstance(verdict, Wait) and verdict.reason is Reason.FACT_UNKNOWN
