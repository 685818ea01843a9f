"""What has to be read around the object of a change before anybody can say what it harms, and nothing more."""

import enum

from remediator.domain.changes import Absent, Change, DeletePods, Edit, FieldPath, Patch
from remediator.domain.disruption import needs_room_for_one_more
from remediator.domain.json import Object
from remediator.domain.nodes import UNSCHEDULABLE
from remediator.domain.objects import WORKLOADS

REPLICAS = FieldPath.of("spec", "replicas")


class Part(enum.StrEnum):
    """One part of the surroundings; its value is the name of the field that holds it."""

    PODS = "pods"
    WORKLOAD = "workload"
    BUDGETS = "budgets"
    SCALERS = "scalers"
    QUOTAS = "quotas"
    LIMIT_RANGES = "limit_ranges"
    NODES = "nodes"


def parts_around(change: Change, seen: Object | None) -> frozenset[Part]:
    """
    What must be known about the surroundings of the change's object.

    `seen` is the object where it was read already; it decides only whether there must be room for a
    pod beside the old ones.
    """
    if takes_out_a_node(change):
        return frozenset({Part.NODES})
    if isinstance(change, DeletePods):
        return frozenset({Part.PODS, Part.WORKLOAD, Part.BUDGETS})
    if change.target.ref.kind not in WORKLOADS:
        return frozenset()
    parts: set[Part] = set()
    if change.replaces_pods:
        parts.add(Part.BUDGETS)
    if replicas_edit(change) is not None:
        parts.add(Part.SCALERS)
    if changes_resources(change):
        parts |= {Part.QUOTAS, Part.LIMIT_RANGES}
    elif adds_replicas(change) or (change.replaces_pods and _begins_with_one_more(seen)):
        parts.add(Part.QUOTAS)  # what LimitRanges add to a pod counts only where there is a quota
    return frozenset(parts)


def may_need_room(change: Change) -> bool:
    """Whether the object itself decides if there must be room for a pod more."""
    return isinstance(change, Patch) and change.replaces_pods and change.target.ref.kind in WORKLOADS


def takes_out_a_node(change: Change) -> bool:
    """Whether a node no longer takes pods, or loses those it has."""
    if change.target.ref.kind != "Node":
        return False
    return isinstance(change, DeletePods) or any(
        edit.path == UNSCHEDULABLE and edit.to is True for edit in change.edits
    )


def replicas_edit(patch: Patch) -> Edit | None:
    """What the patch does to the number of replicas; None where it leaves it alone."""
    return next((edit for edit in patch.edits if edit.path == REPLICAS and not edit.is_empty), None)


def replicas_of(value: object) -> int:
    """The number of replicas that a value of the field means; an absent one means 1."""
    return value if isinstance(value, int) and not isinstance(value, Absent) else 1


def adds_replicas(patch: Patch) -> bool:
    """Whether there shall be more replicas than now."""
    edit = replicas_edit(patch)
    return edit is not None and replicas_of(edit.to) > replicas_of(edit.was)


def changes_resources(patch: Patch) -> bool:
    """Whether the requests or limits of a container become others."""
    return any("resources" in edit.path.parts for edit in patch.edits if not edit.is_empty)


def _begins_with_one_more(seen: Object | None) -> bool:
    return seen is not None and needs_room_for_one_more(seen)
