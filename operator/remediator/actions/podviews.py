"""Pods and their containers as expressions see them."""

from datetime import datetime
from typing import Final

from pydantic import Field

from remediator.domain.actions import Output, OutputPart
from remediator.domain.bounded import shorten
from remediator.domain.json import Object, dig, dig_int, dig_list, dig_object, dig_text
from remediator.domain.pods import container_statuses, is_crash_looping, pod_is_ready
from remediator.domain.workloads import controller_of, created_at, is_ending, uid_of

_MESSAGE_BYTES: Final = 512


class Waiting(OutputPart):
    """Why a container has not started."""

    reason: str = Field(description="One word: `CrashLoopBackOff`, `ImagePullBackOff`, `CreateContainerConfigError`.")
    message: str | None = Field(default=None, description="The kubelet's sentence.")


class Terminated(OutputPart):
    """How a container last ended."""

    reason: str | None = Field(default=None, description="One word: `OOMKilled`, `Error`, `Completed`.")
    exit_code: int = Field(description="0 is success; 137 is killed, 143 asked to end.")
    finished_at: str | None = Field(default=None, description="RFC 3339.")


class Container(OutputPart):
    """One container of one pod."""

    pod: str = Field(description="The pod's name.")
    name: str = Field(description="The container's name.")
    image: str = Field(description="The image as the pod asks for it.")
    init: bool = Field(description="Whether it is an init container.")
    ready: bool = Field(description="Whether the kubelet calls it ready.")
    restarts: int = Field(description="How often it was restarted in this pod.")
    waiting: Waiting | None = Field(default=None, description="Absent where it does not wait.")
    last_terminated: Terminated | None = Field(default=None, description="Absent where it never ended.")


class Pod(OutputPart):
    """One pod."""

    name: str = Field(description="The pod's name.")
    uid: str = Field(description="What tells it from a later pod of the same name.")
    namespace: str = Field(description="Its namespace.")
    node: str | None = Field(default=None, description="The node it was put on; absent while it has none.")
    node_name: str | None = Field(default=None, description="The same as `node`, under the API's own name.")
    phase: str = Field(description="Pending, Running, Succeeded, Failed or Unknown.")
    reason: str | None = Field(default=None, description="Why it is in this phase: `Evicted`, `NodeLost`.")
    ready: bool = Field(description="Whether it is Ready and has not been asked to end.")
    ending: bool = Field(description="Whether it has been asked to end.")
    crash_looping: bool = Field(description="Whether a container crashes again and again.")
    restarts: int = Field(description="Restarts of all its containers.")
    created_at: str = Field(description="RFC 3339.")
    owner_kind: str | None = Field(default=None, description="The kind that would make it again; absent if none.")
    owner_name: str | None = Field(default=None, description="The name of what would make it again.")
    containers: tuple[Container, ...] = Field(description="Its containers, init containers last.")


class PodsOutput(Output):
    """Pods, and all their containers in one list."""

    items: tuple[Pod, ...] = Field(default=(), description="The pods, in the order of the API server.")
    containers: tuple[Container, ...] = Field(default=(), description="The containers of all pods.")
    max_restarts: int | None = Field(
        default=None, description="Most restarts of one container; absent without containers."
    )


def pods_output(pods: tuple[Object, ...], *, now: datetime, truncated: bool = False) -> PodsOutput:
    items = tuple(_pod(pod, now) for pod in pods)
    containers = tuple(container for item in items for container in item.containers)
    return PodsOutput(
        items=items,
        containers=containers,
        max_restarts=max((container.restarts for container in containers), default=None),
        truncated=truncated,
    )


def _pod(pod: Object, now: datetime) -> Pod:
    owner, node = controller_of(pod), dig_text(pod, "spec", "nodeName") or None
    containers = _containers(pod)
    return Pod(
        name=dig_text(pod, "metadata", "name"),
        uid=uid_of(pod),
        namespace=dig_text(pod, "metadata", "namespace"),
        node=node,
        node_name=node,
        phase=dig_text(pod, "status", "phase") or "Unknown",
        reason=dig_text(pod, "status", "reason") or None,
        ready=pod_is_ready(pod),
        ending=is_ending(pod),
        crash_looping=is_crash_looping(pod, now),
        restarts=sum(container.restarts for container in containers),
        created_at=created_at(pod),
        owner_kind=dig_text(owner, "kind") or None,
        owner_name=dig_text(owner, "name") or None,
        containers=containers,
    )


def _containers(pod: Object) -> tuple[Container, ...]:
    """Every container of the spec, whether or not the kubelet has said anything about it yet."""
    statuses = {dig_text(status, "name"): status for status in container_statuses(pod)}
    name = dig_text(pod, "metadata", "name")
    found = [(spec, False) for spec in dig_list(pod, "spec", "containers")]
    found += [(spec, True) for spec in dig_list(pod, "spec", "initContainers")]
    return tuple(_container(name, spec, statuses.get(dig_text(spec, "name"), {}), init) for spec, init in found)


def _container(pod: str, spec: Object, status: Object, init: bool) -> Container:
    return Container(
        pod=pod,
        name=dig_text(spec, "name"),
        image=dig_text(spec, "image"),
        init=init,
        ready=status.get("ready") is True,
        restarts=dig_int(status, "restartCount"),
        waiting=_waiting(dig_object(status, "state", "waiting")),
        last_terminated=_terminated(status),
    )


def _waiting(state: Object) -> Waiting | None:
    if not state:
        return None
    message = shorten(dig_text(state, "message"), _MESSAGE_BYTES) or None
    return Waiting(reason=dig_text(state, "reason"), message=message)


def _terminated(status: Object) -> Terminated | None:
    """The last end: the present state where the container lies dead, else the one before this run."""
    ended = dig_object(status, "state", "terminated") or dig_object(status, "lastState", "terminated")
    if dig(ended, "exitCode") is None:
        return None
    return Terminated(
        reason=dig_text(ended, "reason") or None,
        exit_code=dig_int(ended, "exitCode"),
        finished_at=dig_text(ended, "finishedAt") or None,
    )
