"""Whether enough nodes go on serving when one is taken out."""

from typing import Final

from remediator.domain.changes import DeletePods, change_from_json
from remediator.domain.json import Object, dig_text
from remediator.domain.nodes import is_cordoned, node_is_ready
from remediator.domain.objects import Target
from remediator.domain.verdicts import Allow, Deny, Reason, Verdict
from remediator.engine.guards.question import Question, unknown
from remediator.engine.surroundings import takes_out_a_node

MOST_LOST: Final = 3
"""
While more than one in so many nodes is not ready, none is taken out of service.

So many at once are no nodes' trouble: a network, a control plane or a cloud zone is. Evicting pods
then only moves the load to the few that are left.
"""


def enough_nodes_serve(question: Question) -> Verdict:
    """Refuse to take a node out of service while many are not ready, or more than a Guardrail permits are out."""
    change = change_from_json(question.step.change) if question.step.change is not None else None
    if change is None or change.is_empty or not takes_out_a_node(change):
        return Allow()
    around, fence = question.facts.surroundings, question.facts.fence
    if around is None or around.nodes is None:
        return unknown(question, "the nodes of the cluster cannot be read")
    if fence is None:
        return unknown(question, "cannot tell which Guardrails govern the nodes")
    lost = [node for node in around.nodes if not node_is_ready(node)]
    if MOST_LOST * len(lost) > len(around.nodes):
        message = f"{len(lost)} of {len(around.nodes)} nodes are not ready: while more than a third is, none is taken out of service"
        return Deny(Reason.BLAST_RADIUS, message)
    out = _out_with(change.target, around.nodes)
    limit = fence.limits.nodes
    if limit is not None and out > limit.value:
        message = f"{out} of {len(around.nodes)} nodes would be out of service with {change.target}; {limit.value} may be, says Guardrail {limit.by}"
        return Deny(Reason.BLAST_RADIUS, message)
    return _is_closed(question, change) if isinstance(change, DeletePods) else Allow()


def _out_with(target: Target, nodes: tuple[Object, ...]) -> int:
    """How many nodes are out of service once this one is, whoever took the others out."""
    out = {dig_text(node, "metadata", "name") for node in nodes if not node_is_ready(node) or is_cordoned(node)}
    return len(out | {target.ref.name})


def _is_closed(question: Question, change: DeletePods) -> Verdict:
    """A node that still takes pods would only get others for those that leave it."""
    seen = question.facts.step_target
    if seen.obj is None and not seen.gone:
        return unknown(question, f"{change.target} cannot be read: {seen.error}")
    if seen.obj is not None and not is_cordoned(seen.obj):
        return Deny(Reason.OUT_OF_BOUNDS, f"{change.target} still takes new pods: cordon it first")
    return Allow()
