"""
Reading workloads: whether a rollout is done or under way, who made whom, what a selector selects.

Every function takes objects as the API server returned them and answers about that moment alone.
Where the API leaves a field out, the default that the API server documents is meant.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from remediator.domain.json import Object, dig, dig_int, dig_list, dig_object, dig_text

REVISION: Final = "deployment.kubernetes.io/revision"
CHANGE_CAUSE: Final = "kubernetes.io/change-cause"
TEMPLATE_HASH: Final = "pod-template-hash"

PROGRESS_DEADLINE: Final = timedelta(seconds=600)
NO_DEADLINE: Final = 2**31 - 1
REVISION_HASH: Final = "controller-revision-hash"
_SETTLED: Final = ("NewReplicaSetAvailable", "ProgressDeadlineExceeded")


@dataclass(frozen=True, slots=True)
class RolloutCounts:
    """How far a rollout is; `expected` is how many shall be updated, which a partition lowers."""

    desired: int
    expected: int
    total: int
    updated: int
    available: int
    observed: bool

    @property
    def all_updated(self) -> bool:
        return self.observed and self.updated >= self.expected

    @property
    def none_left_over(self) -> bool:
        """Whether no pod of an earlier template is left."""
        return self.expected < self.desired or self.total <= max(self.updated, self.desired)

    @property
    def all_available(self) -> bool:
        return self.available >= self.desired


def workload_kind(workload: Object) -> str:
    """The kind, from the object itself or, for an item of a list, from its shape."""
    kind = dig_text(workload, "kind")
    if kind:
        return kind
    if "updateStrategy" not in dig_object(workload, "spec"):
        return "Deployment" if "strategy" in dig_object(workload, "spec") else "ReplicaSet"
    return "StatefulSet" if "replicas" in dig_object(workload, "spec") else "DaemonSet"


def rollout_counts(workload: Object) -> RolloutCounts:
    """The numbers that a rollout is judged by, under one name for all kinds."""
    status = dig_object(workload, "status")
    observed = dig_int(status, "observedGeneration") >= dig_int(workload, "metadata", "generation")
    if workload_kind(workload) == "DaemonSet":
        desired = dig_int(status, "desiredNumberScheduled")
        return RolloutCounts(
            desired=desired,
            expected=desired,
            total=dig_int(status, "currentNumberScheduled"),
            updated=dig_int(status, "updatedNumberScheduled"),
            available=dig_int(status, "numberAvailable"),
            observed=observed,
        )
    desired = desired_replicas(workload)
    partition = dig_int(workload, "spec", "updateStrategy", "rollingUpdate", "partition")
    return RolloutCounts(
        desired=desired,
        expected=max(0, desired - partition),
        total=dig_int(status, "replicas"),
        updated=dig_int(status, "updatedReplicas"),
        available=dig_int(status, "availableReplicas"),
        observed=observed,
    )


def desired_replicas(workload: Object) -> int:
    """How many replicas are asked for; of a DaemonSet, on how many nodes it belongs."""
    if workload_kind(workload) == "DaemonSet":
        return dig_int(workload, "status", "desiredNumberScheduled")
    return dig_int(workload, "spec", "replicas", default=1)


def ready_replicas(workload: Object) -> int:
    """How many replicas are ready; an absent count is none, as the API defines it."""
    field = "numberReady" if workload_kind(workload) == "DaemonSet" else "readyReplicas"
    return dig_int(workload, "status", field)


def is_rolled_out(workload: Object) -> bool:
    """
    Whether every replica has the present template and is available, by the rules of `kubectl rollout status`.

    The controller must have seen the object as it is: `observedGeneration` counts, not time.
    """
    counts = rollout_counts(workload)
    if not (counts.all_updated and counts.none_left_over and counts.all_available):
        return False
    status = dig_object(workload, "status")
    if workload_kind(workload) == "Deployment":
        return counts.total <= counts.updated
    if workload_kind(workload) == "StatefulSet" and counts.expected == counts.desired:
        return counts.updated >= counts.desired or status.get("updateRevision") == status.get("currentRevision")
    return True


def is_rolling(workload: Object) -> bool:
    """
    Whether pods are still being replaced.

    Pods that became unavailable after the rollout had ended do not make it one: a workload that
    crashes for hours is not in the middle of a rollout. One that is stuck half-way is.
    """
    counts = rollout_counts(workload)
    if not counts.observed:
        return True
    if workload_kind(workload) == "Deployment":
        if counts.total > counts.updated:
            return True
        reason = _progressing(workload).get("reason")
        if reason is None:  # a Deployment without a progress deadline carries no such condition
            return counts.updated < counts.desired
        return reason not in _SETTLED and not (counts.all_updated and counts.all_available)
    if not _rolls_by_itself(workload):
        return False
    if workload_kind(workload) == "StatefulSet":
        status = dig_object(workload, "status")
        return status.get("updateRevision") != status.get("currentRevision") and not counts.all_updated
    return not counts.all_updated


def is_stuck(workload: Object) -> bool:
    """Whether the Deployment controller has given up waiting for progress."""
    return _progressing(workload).get("reason") == "ProgressDeadlineExceeded"


def progress_deadline(workload: Object) -> timedelta | None:
    """After how long without progress a Deployment counts as stuck; None where it never does."""
    if workload_kind(workload) != "Deployment":
        return None
    seconds = dig_int(workload, "spec", "progressDeadlineSeconds", default=int(PROGRESS_DEADLINE.total_seconds()))
    return None if seconds >= NO_DEADLINE else timedelta(seconds=seconds)


def why_pods_stay(workload: Object) -> str:
    """Why a new template would not replace the pods; empty where it would."""
    if dig(workload, "spec", "paused") is True:
        return "its rollout is paused"
    if not _rolls_by_itself(workload):
        return "its update strategy is OnDelete: pods are replaced only when somebody deletes them"
    return ""


def rollout_progress(workload: Object) -> str:
    """How far it is, for people: `2 of 3 replicas updated, 1 available`."""
    counts = rollout_counts(workload)
    if not counts.observed:
        return "the controller has not seen the change yet"
    if counts.total > counts.updated and counts.all_updated:
        return f"{counts.total - counts.updated} old replicas still to end"
    return f"{counts.updated} of {counts.expected} replicas updated, {counts.available} available"


def _rolls_by_itself(workload: Object) -> bool:
    return dig_text(workload, "spec", "updateStrategy", "type") != "OnDelete"


def _progressing(workload: Object) -> Object:
    return condition(workload, "Progressing")


def condition(obj: Object, kind: str) -> Object:
    """The condition of that type; empty where there is none."""
    found = [item for item in dig_list(obj, "status", "conditions") if item.get("type") == kind]
    return found[0] if found else {}


def template_containers(workload: Object) -> list[Object]:
    """The containers of the pod template, without init containers."""
    return dig_list(workload, "spec", "template", "spec", "containers")


def images(template: Object) -> list[str]:
    """The images of a pod template's containers, in their order."""
    return [dig_text(item, "image") for item in dig_list(template, "spec", "containers")]


def controller_of(obj: Object) -> Object:
    """The owner reference of the controller that made the object; empty where nobody would make it again."""
    owners = [owner for owner in dig_list(obj, "metadata", "ownerReferences") if owner.get("controller") is True]
    return owners[0] if owners else {}


def is_owned_by(obj: Object, uids: Iterable[str]) -> bool:
    """Whether one of these UIDs stands in the object's owner references, as controller or not."""
    known = set(uids)
    return any(dig_text(owner, "uid") in known for owner in dig_list(obj, "metadata", "ownerReferences"))


def uid_of(obj: Object) -> str:
    return dig_text(obj, "metadata", "uid")


def selector_text(selector: Object) -> str:
    """A label selector as the API's `labelSelector` wants it; empty for one that selects nothing."""
    terms = [f"{key}={value}" for key, value in sorted(dig_object(selector, "matchLabels").items())]
    for expression in dig_list(selector, "matchExpressions"):
        key, operator = dig_text(expression, "key"), dig_text(expression, "operator")
        values = dig(expression, "values")
        listed = ",".join(sorted(str(value) for value in values)) if isinstance(values, list) else ""
        terms.append(
            {
                "In": f"{key} in ({listed})",
                "NotIn": f"{key} notin ({listed})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }.get(operator, "")
        )
    return ",".join(term for term in terms if term)


def is_ending(obj: Object) -> bool:
    return bool(dig_text(obj, "metadata", "deletionTimestamp"))


def waits_for_every_pod(workload: Object) -> bool:
    """
    Whether one failing pod stops a rollout, even of the template that would mend it.

    A StatefulSet replaces no pod before all are ready, unless its pods are managed in parallel.

    Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
    """
    policy = dig_text(workload, "spec", "podManagementPolicy")
    return workload_kind(workload) == "StatefulSet" and policy != "Parallel"


def time_of(obj: Object, *keys: str | int) -> datetime | None:
    """The RFC 3339 time at the path; None where there is none."""
    text = dig_text(obj, *keys)
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def created_at(obj: Object) -> str:
    return dig_text(obj, "metadata", "creationTimestamp")
