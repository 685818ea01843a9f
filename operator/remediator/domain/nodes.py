"""Reading nodes: whether one serves, whether it takes pods, and who keeps it from that."""

from typing import Final

from remediator.domain.changes import FieldPath
from remediator.domain.json import Object, dig, dig_list, dig_text
from remediator.domain.workloads import condition

UNSCHEDULABLE: Final = FieldPath.of("spec", "unschedulable")
CORDONED_BY_US: Final = "remediator.dev/cordoned"
CORDON_MARK: Final = FieldPath.of("metadata", "annotations", CORDONED_BY_US)
"""Stands on a node that we cordoned."""

_OURS: Final = "remediator"
"""The field manager of every write of ours."""


def node_is_ready(node: Object) -> bool:
    """Whether the node serves; one whose kubelet is silent is Unknown, which is not ready."""
    return condition(node, "Ready").get("status") == "True"


def is_cordoned(node: Object) -> bool:
    """Whether no new pod is put on the node."""
    return dig(node, "spec", "unschedulable") is True


def is_cordoned_by_us(node: Object) -> bool:
    """
    Whether the cordon that stands on the node is ours.

    The mark stays where a person takes our cordon back, so of a cordon that was set anew the API
    server's own record tells whose it is.
    """
    if not is_cordoned(node) or not dig_text(node, "metadata", "annotations", CORDONED_BY_US):
        return False
    managers = dig_list(node, "metadata", "managedFields")
    return not managers or any(
        dig_text(one, "manager") == _OURS and dig(one, "fieldsV1", "f:spec", "f:unschedulable") is not None
        for one in managers
    )
