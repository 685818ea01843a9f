"""
Let a node take new pods again.

Only a cordon of ours is taken back, unless the step says otherwise: whoever set another had a reason.
"""

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from remediator.actions.nodes import NODE, node_is_gone, refuse_unless_node
from remediator.domain.actions import ActionClass, ActionInfo, Parameters, Permission
from remediator.domain.changes import ABSENT, Change, Edit, Patch
from remediator.domain.json import Object
from remediator.domain.nodes import CORDON_MARK, UNSCHEDULABLE, is_cordoned, is_cordoned_by_us
from remediator.domain.objects import Target
from remediator.domain.outcomes import Outcome, Succeeded
from remediator.domain.verdicts import Reason, Refusal
from remediator.ports import Cluster, Objects


class UncordonParameters(Parameters):
    """Whose cordon."""

    also_others: bool = Field(
        default=False,
        description="Whether a cordon that somebody else set is taken back too; false refuses it. Default: false.",
    )


class Uncordon:
    """Let a node take new pods again."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="uncordon",
        cls=ActionClass.CHANGE,
        summary="Let a node take new pods again, as `kubectl uncordon` does; only a cordon of ours, unless asked.",
        parameters=UncordonParameters,
        permissions=(Permission("", "nodes", ("get", "patch")),),
        targets=(NODE.kind,),
        undoable=True,
    )

    async def plan(
        self,
        params: UncordonParameters,
        target: Target,
        seen: Object,
        cluster: Cluster,  # noqa: ARG002 - the object says it all
        *,
        now: datetime,  # noqa: ARG002
    ) -> Change:
        refuse_unless_node(target)
        if not is_cordoned(seen):
            return Patch(target, (), f"uncordon {target}")
        if not params.also_others and not is_cordoned_by_us(seen):
            raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} was cordoned by somebody else, who meant it to stay so")
        edits = (
            Edit(UNSCHEDULABLE, UNSCHEDULABLE.value_in(seen), ABSENT),
            Edit(CORDON_MARK, CORDON_MARK.value_in(seen), ABSENT),
        )
        return Patch(target, tuple(edit for edit in edits if not edit.is_empty), f"uncordon {target}")

    async def poll(
        self,
        change: Change,
        cluster: Objects,
        *,
        token: str,  # noqa: ARG002 - the plan is final
        started: datetime,  # noqa: ARG002 - it is done as soon as it is written
        now: datetime,  # noqa: ARG002
    ) -> Outcome:
        return await node_is_gone(change, cluster) or Succeeded(f"{change.target} takes new pods")
