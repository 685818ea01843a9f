"""
How many pods a change takes out of service, and what a PodDisruptionBudget says about that.

Shares are rounded as Kubernetes rounds them: a PodDisruptionBudget's, a StatefulSet's and a
DaemonSet's up, a Deployment's down.
"""

from collections.abc import Mapping
from typing import Final

from remediator.domain.json import JSON, Object, dig, dig_int, dig_list, dig_object, dig_text
from remediator.domain.workloads import desired_replicas, ready_replicas, workload_kind

_DEPLOYMENT_SHARE: Final = "25%"
"""Of both fields of a Deployment's strategy where they are not given."""


def pods_in(value: JSON, whole: int, *, round_up: bool) -> int | None:
    """How many of so many pods a number (`1`) or a share (`25%`) is; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return max(0, value)
    text = value.strip() if isinstance(value, str) else ""
    if text.endswith("%") and text[:-1].isdecimal():
        hundredths = whole * int(text[:-1])
        return -(-hundredths // 100) if round_up else hundredths // 100
    return int(text) if text.isdecimal() else None


def out_of_service(workload: Object) -> int:
    """How many of the pods that the workload shall have are not ready."""
    return max(0, desired_replicas(workload) - ready_replicas(workload))


def taken_out_by_rollout(workload: Object) -> int:
    """
    How many ready pods a rollout takes out at once: never more than its strategy, less those that are out already.

    A Deployment that recreates its pods takes out all of them, a StatefulSet one if it does not say more.
    """
    ready = ready_replicas(workload)
    if is_recreated(workload):
        return ready
    return max(0, min(ready, _strategy(workload) - out_of_service(workload)))


def is_recreated(workload: Object) -> bool:
    """Whether all old pods end before the first new one is made."""
    return dig_text(workload, "spec", "strategy", "type") == "Recreate"


def needs_room_for_one_more(workload: Object) -> bool:
    """Whether a rollout begins with a pod beside the old ones, and hangs where there is no room for it."""
    if workload_kind(workload) == "Deployment":
        return not is_recreated(workload) and _strategy(workload) == 0
    if workload_kind(workload) == "DaemonSet":
        return _daemon_surge(workload) > 0
    return False


def _strategy(workload: Object) -> int:
    """
    The largest number of pods that the controller lets be unavailable at once.

    Source: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#max-unavailable
    """
    kind, whole = workload_kind(workload), desired_replicas(workload)
    if kind == "Deployment":
        rolling = dig_object(workload, "spec", "strategy", "rollingUpdate")
        down = pods_in(rolling.get("maxUnavailable", _DEPLOYMENT_SHARE), whole, round_up=False) or 0
        surge = pods_in(rolling.get("maxSurge", _DEPLOYMENT_SHARE), whole, round_up=True) or 0
        return down if down or surge else 1  # neither would never begin, so the controller takes one
    if kind == "DaemonSet" and _daemon_surge(workload):
        return 0
    said = dig(workload, "spec", "updateStrategy", "rollingUpdate", "maxUnavailable")
    return max(1, pods_in(said, whole, round_up=True) or 1)


def _daemon_surge(workload: Object) -> int:
    said = dig(workload, "spec", "updateStrategy", "rollingUpdate", "maxSurge")
    return pods_in(said, desired_replicas(workload), round_up=True) or 0


def covers(budget: Object, labels: Mapping[str, JSON]) -> bool:
    """
    Whether the PodDisruptionBudget is about pods with these labels.

    An empty selector is about every pod of the namespace, an absent one about none.
    """
    selector = dig(budget, "spec", "selector")
    if not isinstance(selector, dict):
        return False
    equal = all(labels.get(key) == value for key, value in dig_object(selector, "matchLabels").items())
    return equal and all(_holds(one, labels) for one in dig_list(selector, "matchExpressions"))


def _holds(requirement: Object, labels: Mapping[str, JSON]) -> bool:
    key, values = dig_text(requirement, "key"), dig(requirement, "values")
    listed = values if isinstance(values, list) else []
    match dig_text(requirement, "operator"):
        case "In":
            return key in labels and labels[key] in listed
        case "NotIn":
            return labels.get(key) not in listed
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return True  # an operator of later: a budget that may be about the pods is about them


def allowed_disruptions(budget: Object) -> int | None:
    """How many more of its pods may go now; None where its controller has not seen it as it is."""
    if dig_int(budget, "status", "observedGeneration") < dig_int(budget, "metadata", "generation"):
        return None
    return dig_int(budget, "status", "disruptionsAllowed")
