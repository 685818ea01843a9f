"""
Delete one pod that its controller makes again.

The pod is pinned by its UID: whatever takes its name later is not deleted by this step.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Final

from pydantic import Field

from remediator.actions.base import Template
from remediator.actions.pods import POD, as_meant, owned_pods, workload_of
from remediator.domain.actions import ActionClass, ActionInfo, Parameters, Permission
from remediator.domain.changes import Change, DeletePods
from remediator.domain.errors import NotFound
from remediator.domain.json import Object, dig_object, dig_text
from remediator.domain.objects import ObjectRef, Target
from remediator.domain.outcomes import Failed, Outcome, Running, Succeeded
from remediator.domain.pods import pod_is_ready
from remediator.domain.verdicts import Reason, Refusal
from remediator.domain.workloads import desired_replicas, is_ending, time_of, uid_of
from remediator.ports import Cluster, Objects

_COUNTED: Final = ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")
_MIRROR: Final = "kubernetes.io/config.mirror"


class DeletePodParameters(Parameters):
    """Which pod."""

    name: Template | None = Field(
        default=None, description="A pod of the target; leave it out where the target is the pod itself."
    )


class DeletePod:
    """Delete one pod that its controller makes again."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="deletePod",
        cls=ActionClass.CHANGE,
        summary="Delete one pod, pinned by its UID, that its controller makes again.",
        parameters=DeletePodParameters,
        permissions=(
            Permission("", "pods", ("delete", "get", "list", "patch")),  # patch: a void is written to the pod
            Permission("apps", "daemonsets", ("get",)),
            Permission("apps", "deployments", ("get",)),
            Permission("apps", "replicasets", ("get", "list")),
            Permission("apps", "statefulsets", ("get",)),
        ),
        targets=("Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"),
        replaces_pods=True,
    )

    @classmethod
    def permissions_for(cls, params: DeletePodParameters, targets: Sequence[str]) -> tuple[Permission, ...]:  # noqa: ARG003
        """All of them: which kind of controller stands behind a pod shows only when it is deleted."""
        return cls.info.permissions

    async def plan(
        self,
        params: DeletePodParameters,
        target: Target,
        seen: Object,
        cluster: Cluster,
        *,
        now: datetime,  # noqa: ARG002
    ) -> Change:
        pod = await _meant(params, target, seen, cluster)
        name = dig_text(pod, "metadata", "name")
        if _MIRROR in dig_object(pod, "metadata", "annotations"):
            raise Refusal(Reason.OUT_OF_BOUNDS, f"Pod {name} is a static pod: its kubelet owns it, not the API server")
        workload = await workload_of(cluster, pod)
        if workload is None:
            raise Refusal(Reason.OUT_OF_BOUNDS, f"Pod {name} has no controller: nobody would make it again")
        pinned = Target(ObjectRef.to(pod, POD), uid_of(pod))
        return DeletePods(
            workload, () if is_ending(pod) else (pinned,), f"delete {pinned}, which {workload} makes again"
        )

    async def poll(
        self,
        change: Change,
        cluster: Objects,
        *,
        token: str,  # noqa: ARG002 - the plan is final
        started: datetime,
        now: datetime,  # noqa: ARG002 - the step's own timeout ends it
    ) -> Outcome:
        assert isinstance(change, DeletePods)
        left = [pod for pod in change.pods if await _is_there(pod, cluster)]
        if left:
            return Running(f"{left[0]} is ending")
        if change.target.ref.kind not in _COUNTED:
            return Succeeded(f"{_named(change)} ended")
        try:
            workload = await as_meant(cluster, change.target)
        except NotFound:
            return Failed(f"{change.target} is gone: nobody makes the pod again")
        pods = await owned_pods(cluster, workload, change.target)
        present = [pod for pod in pods.items if not is_ending(pod)]
        ready = [pod for pod in present if pod_is_ready(pod)]
        replaced = [pod for pod in ready if _is_younger(pod, started)]
        enough = len(present) >= desired_replicas(workload)
        if enough and (len(ready) == len(present) or len(replaced) >= len(change.pods)):
            return Succeeded(f"{_named(change)} was replaced: {len(ready)} of {len(present)} pods ready")
        return Running(f"{change.target}: {len(ready)} of {desired_replicas(workload)} pods ready")


async def _meant(params: DeletePodParameters, target: Target, seen: Object, cluster: Cluster) -> Object:
    if target.ref.kind == POD.kind:
        if params.name not in (None, target.ref.name):
            raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} is not the pod {params.name}")
        return seen
    if params.name is None:
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} has many pods: name one")
    pods = await owned_pods(cluster, seen, target)
    found = [pod for pod in pods.items if dig_text(pod, "metadata", "name") == params.name]
    if not found:
        raise Refusal(Reason.TARGET_GONE, f"{target} has no pod {params.name}")
    return found[0]


async def _is_there(pod: Target, cluster: Objects) -> bool:
    try:
        return uid_of(await cluster.read(pod.ref)) == pod.uid
    except NotFound:
        return False


def _is_younger(pod: Object, started: datetime) -> bool:
    """Whether the pod was made since; the API server writes whole seconds."""
    created = time_of(pod, "metadata", "creationTimestamp")
    return created is not None and created >= started - timedelta(seconds=1)


def _named(change: DeletePods) -> str:
    return ", ".join(str(pod) for pod in change.pods) or "the pod"
