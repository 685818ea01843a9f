"""What the actions on nodes have in common."""

from typing import Final

from remediator.actions.pods import as_meant
from remediator.domain.changes import Change
from remediator.domain.errors import NotFound
from remediator.domain.objects import BUILT_IN, Target
from remediator.domain.outcomes import Failed
from remediator.domain.verdicts import Reason, Refusal
from remediator.ports import Objects

NODE: Final = BUILT_IN["Node"]
CORDONED: Final = "true"


def refuse_unless_node(target: Target) -> None:
    """Raise Refusal for what is no node."""
    if (target.ref.group, target.ref.kind) != (NODE.group, NODE.kind):
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} is no node")


async def node_is_gone(change: Change, cluster: Objects) -> Failed | None:
    """The end of a step whose node is gone; None while it is there."""
    try:
        await as_meant(cluster, change.target)
    except NotFound:
        return Failed(f"{change.target} is gone")
    return None
