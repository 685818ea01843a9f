"""
Evict the pods of a node, so that their controllers make them again elsewhere.

The plan lists the pods by UID, and nothing that comes later is evicted by this step: cordon the node
first. Pods go through the Eviction API, so that every PodDisruptionBudget has its say; what a budget
holds is asked for again until the step's time is over.
"""

from datetime import datetime, timedelta
from typing import ClassVar, Final

from pydantic import Field, field_validator

from remediator.actions.nodes import NODE, node_is_gone, refuse_unless_node
from remediator.actions.pods import MAX_PODS, POD
from remediator.domain.actions import ActionClass, ActionInfo, Parameters, Permission
from remediator.domain.changes import Change, DeletePods
from remediator.domain.durations import GoDuration
from remediator.domain.json import Object, dig_list, dig_object, dig_text
from remediator.domain.objects import ObjectRef, Target
from remediator.domain.outcomes import Outcome, Running, Succeeded
from remediator.domain.verdicts import Reason, Refusal
from remediator.domain.workloads import controller_of, is_ending, uid_of
from remediator.ports import Cluster, Listing, Objects

MOST: Final = 250
"""Pods that one plan lists: as many as a large node holds, and no more than a record has room for."""

LONGEST_GRACE: Final = timedelta(hours=1)
_MIRROR: Final = "kubernetes.io/config.mirror"
_FINISHED: Final = ("Succeeded", "Failed")


class DrainParameters(Parameters):
    """Which pods may go, and how much time they have."""

    delete_empty_dir_data: bool = Field(
        default=False,
        description="Whether pods with an emptyDir, whose data goes with them, may be evicted; false refuses the "
        "whole step where there is one. Default: false.",
    )
    grace_period: GoDuration | None = Field(
        default=None,
        description="How long a pod has to end before it is killed, at most 1h. Default: what each pod says itself. "
        '"0s" kills at once.',
    )

    @field_validator("grace_period")
    @classmethod
    def _is_bounded(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and not timedelta(0) <= value <= LONGEST_GRACE:
            raise ValueError("must be from 0s to 1h")
        return value


class Drain:
    """Evict the pods of a node."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="drain",
        cls=ActionClass.CHANGE,
        summary="Evict the pods of a cordoned node through the Eviction API, as `kubectl drain` does; those of "
        "DaemonSets and static ones stay.",
        parameters=DrainParameters,
        permissions=(
            Permission("", "nodes", ("get",)),
            Permission("", "pods", ("get", "list", "patch")),
            Permission("", "pods/eviction", ("create",)),
        ),
        targets=(NODE.kind,),
    )

    async def plan(
        self,
        params: DrainParameters,
        target: Target,
        seen: Object,  # noqa: ARG002 - whether it is cordoned counts when the step is taken
        cluster: Cluster,
        *,
        now: datetime,  # noqa: ARG002
    ) -> Change:
        refuse_unless_node(target)
        listed = await _pods_on(cluster, target)
        leaving = [pod for pod in listed.items if _must_leave(pod)]
        if listed.truncated or len(leaving) > MOST:
            raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} has more than {MOST} pods to evict")
        for pod in leaving:
            _refuse_if_something_is_lost(pod, params)
        pods = tuple(Target(ObjectRef.to(pod, POD), uid_of(pod)) for pod in leaving)
        grace = int(params.grace_period.total_seconds()) if params.grace_period is not None else None
        summary = f"evict {len(pods)} pods from {target}"
        return DeletePods(target, pods, summary, replaces_pods=False, evict=True, grace_seconds=grace)

    async def poll(
        self,
        change: Change,
        cluster: Objects,
        *,
        token: str,  # noqa: ARG002 - the plan is final
        started: datetime,  # noqa: ARG002 - the step's own timeout ends it
        now: datetime,  # noqa: ARG002
    ) -> Outcome:
        assert isinstance(change, DeletePods)
        gone = await node_is_gone(change, cluster)
        if gone is not None:
            return gone
        listed = await _pods_on(cluster, change.target)
        there = {uid_of(pod) for pod in listed.items}
        left = [pod for pod in change.pods if pod.uid in there]
        if left or listed.truncated:
            return Running(f"{len(left)} of {len(change.pods)} pods on {change.target} are still ending")
        return Succeeded(f"{len(change.pods)} pods have left {change.target}")


async def _pods_on(cluster: Objects, node: Target) -> Listing:
    return await cluster.list(POD, fields=f"spec.nodeName={node.ref.name}", limit=MAX_PODS)


def _must_leave(pod: Object) -> bool:
    """Whether a drained node must be without the pod: not for those that belong to the node, or are over."""
    if _MIRROR in dig_object(pod, "metadata", "annotations") or controller_of(pod).get("kind") == "DaemonSet":
        return False
    return dig_text(pod, "status", "phase") not in _FINISHED and not is_ending(pod)


def _refuse_if_something_is_lost(pod: Object, params: DrainParameters) -> None:
    name = ObjectRef.to(pod, POD)
    if not controller_of(pod):
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{name} has no controller: nobody would make it again")
    has_data = any("emptyDir" in volume for volume in dig_list(pod, "spec", "volumes"))
    if has_data and not params.delete_empty_dir_data:
        message = f"{name} has an emptyDir, whose data would go with it: `deleteEmptyDirData` lets it go"
        raise Refusal(Reason.OUT_OF_BOUNDS, message)
