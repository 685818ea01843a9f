"""
Keep new pods off a node.

The node is marked as cordoned by us, so that `uncordon` can tell our cordon from somebody else's. A
node that is cordoned already is left as it is, mark included: it is not ours to open again.
"""

from datetime import datetime
from typing import ClassVar

from remediator.actions.nodes import CORDONED, NODE, node_is_gone, refuse_unless_node
from remediator.domain.actions import ActionClass, ActionInfo, Parameters, Permission
from remediator.domain.changes import Change, Edit, Patch
from remediator.domain.json import Object
from remediator.domain.nodes import CORDON_MARK, UNSCHEDULABLE, is_cordoned
from remediator.domain.objects import Target
from remediator.domain.outcomes import Outcome, Succeeded
from remediator.ports import Cluster, Objects


class CordonParameters(Parameters):
    """None: the target says it all."""


class Cordon:
    """Keep new pods off a node."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="cordon",
        cls=ActionClass.CHANGE,
        summary="Keep new pods off a node, as `kubectl cordon` does; those that run stay.",
        parameters=CordonParameters,
        permissions=(Permission("", "nodes", ("get", "patch")),),
        targets=(NODE.kind,),
        undoable=True,
    )

    async def plan(
        self,
        params: CordonParameters,  # noqa: ARG002 - there are none
        target: Target,
        seen: Object,
        cluster: Cluster,  # noqa: ARG002 - the object says it all
        *,
        now: datetime,  # noqa: ARG002
    ) -> Change:
        refuse_unless_node(target)
        edits = (
            Edit(UNSCHEDULABLE, UNSCHEDULABLE.value_in(seen), True),
            Edit(CORDON_MARK, CORDON_MARK.value_in(seen), CORDONED),
        )
        return Patch(target, () if is_cordoned(seen) else edits, f"cordon {target}")

    async def poll(
        self,
        change: Change,
        cluster: Objects,
        *,
        token: str,  # noqa: ARG002 - the plan is final
        started: datetime,  # noqa: ARG002 - it is done as soon as it is written
        now: datetime,  # noqa: ARG002
    ) -> Outcome:
        return await node_is_gone(change, cluster) or Succeeded(f"{change.target} takes no new pods")
