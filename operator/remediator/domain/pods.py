"""
Reading pods: whether one serves, crashes again and again, or cannot start.

Like the functions over workloads, these answer about the moment at which the pod was read.
"""

from datetime import datetime, timedelta
from typing import Final

from remediator.domain.json import Object, dig, dig_int, dig_list, dig_text
from remediator.domain.workloads import condition, is_ending, time_of

RECENTLY: Final = timedelta(minutes=10)  # the kubelet's longest pause between two crashes is five
_CANNOT_START: Final = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)


def pod_is_ready(pod: Object) -> bool:
    """Whether the pod serves: Ready, and nobody has asked it to end."""
    return condition(pod, "Ready").get("status") == "True" and not is_ending(pod)


def container_statuses(pod: Object) -> list[Object]:
    """The statuses of the containers, then of the init containers."""
    return [*dig_list(pod, "status", "containerStatuses"), *dig_list(pod, "status", "initContainerStatuses")]


def is_crash_looping(pod: Object, now: datetime | None = None) -> bool:
    """Whether any container crashes again and again."""
    return any(container_crash_loops(status, now) for status in container_statuses(pod))


def is_failing(pod: Object, now: datetime | None = None) -> bool:
    """Whether the pod will hardly become ready as it is: it crashes, or a container cannot even be started."""
    reasons = {dig_text(status, "state", "waiting", "reason") for status in container_statuses(pod)}
    return is_crash_looping(pod, now) or not reasons.isdisjoint(_CANNOT_START)


def container_crash_loops(status: Object, now: datetime | None = None) -> bool:
    """
    Whether a container waits in CrashLoopBackOff, or is between two crashes.

    Between two crashes means: it has just died after a restart, or it runs without being ready
    and died in error a few minutes ago. Without `now` the last is not asked.
    """
    if dig_text(status, "state", "waiting", "reason") == "CrashLoopBackOff":
        return True
    restarts = dig_int(status, "restartCount")
    if dig(status, "state", "terminated") is not None:
        return restarts > 0 and dig_int(status, "state", "terminated", "exitCode") != 0
    if now is None or status.get("ready") is True or restarts == 0:
        return False
    ended = time_of(status, "lastState", "terminated", "finishedAt")
    failed = dig_int(status, "lastState", "terminated", "exitCode") != 0
    return failed and ended is not None and now - ended < RECENTLY
