"""
What pods or nodes use now, beside what they may use.

Usage comes from the metrics API, some tens of seconds old. A pod that has none yet is not shown as
idle: it is left out, and the lists are `truncated`.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Annotated, ClassVar, Final

from pydantic import Field

from remediator.actions.base import Reader
from remediator.actions.pods import MAX_PODS, as_meant, owned_pods
from remediator.domain.actions import ActionClass, ActionInfo, Output, OutputPart, Parameters, Permission, Reading
from remediator.domain.errors import NotFound, Unavailable
from remediator.domain.json import Object, dig, dig_list, dig_object, dig_text
from remediator.domain.objects import BUILT_IN
from remediator.domain.quantities import Quantity, parse_quantity, to_bytes, to_millicores
from remediator.domain.workloads import selector_text
from remediator.ports import Listing

_PODS: Final = BUILT_IN["PodMetrics"]
_NODES: Final = BUILT_IN["NodeMetrics"]


class TopKind(enum.StrEnum):
    """Whose use is read."""

    POD = "Pod"
    NODE = "Node"


class TopParameters(Parameters):
    """Without any: the target, if it is a Node, else its pods."""

    kind: TopKind | None = Field(
        default=None, description="`Pod`: the pods of the target; `Node`: all nodes. Default: by the target's kind."
    )
    selector: Annotated[str, Field(max_length=2048)] | None = Field(
        default=None, description="Only nodes with these labels; of pods the target decides."
    )


class Usage(OutputPart):
    """What is used, and the share of what may be used."""

    cpu: str = Field(description="Processor time, as Kubernetes writes it: `250m`.")
    memory: str = Field(description="Memory, as Kubernetes writes it: `120Mi`.")
    cpu_millicores: int = Field(description="Thousandths of a core.")
    memory_bytes: int = Field(description="Bytes.")
    cpu_share: float | None = Field(
        default=None, description="Part of its limit (of a node: of what pods may use), 1 is all; absent without limit."
    )
    memory_share: float | None = Field(default=None, description="The same for memory.")


class ContainerUsage(Usage):
    """One container."""

    pod: str = Field(description="The pod's name.")
    name: str = Field(description="The container's name.")


class ItemUsage(Usage):
    """One pod or node; a pod's shares are those of the container that is closest to its limit."""

    name: str = Field(description="Name of the pod or node.")


class TopOutput(Output):
    """Use of pods or nodes."""

    items: tuple[ItemUsage, ...] = Field(default=(), description="The pods or nodes.")
    containers: tuple[ContainerUsage, ...] = Field(default=(), description="The containers of all pods.")
    missing: int = Field(default=0, description="Running pods or nodes that have no measurement yet.")


@dataclass(frozen=True, slots=True)
class _Amounts:
    cpu: Quantity
    memory: Quantity

    @classmethod
    def of(cls, resources: Object) -> "_Amounts":
        return cls(_quantity(resources.get("cpu")), _quantity(resources.get("memory")))

    def __add__(self, other: "_Amounts") -> "_Amounts":
        return _Amounts(self.cpu + other.cpu, self.memory + other.memory)


class Top:
    """Read what pods or nodes use."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="top",
        cls=ActionClass.READ,
        summary="Read what the target's pods, or the nodes, use of what they may use.",
        parameters=TopParameters,
        output=TopOutput,
        permissions=(
            Permission("", "pods", ("get", "list")),
            Permission("apps", "daemonsets", ("get",)),
            Permission("apps", "deployments", ("get",)),
            Permission("apps", "replicasets", ("list",)),
            Permission("apps", "statefulsets", ("get",)),
            Permission("metrics.k8s.io", "pods", ("list",)),
        ),
    )

    @classmethod
    def permissions_for(cls, params: TopParameters, targets: Sequence[str]) -> tuple[Permission, ...]:
        if params.kind is TopKind.NODE or (params.kind is None and set(targets) == {"Node"}):
            return (Permission("", "nodes", ("list",)), Permission("metrics.k8s.io", "nodes", ("list",)))
        return cls.info.permissions

    async def read(self, params: TopParameters, reader: Reader) -> Reading:
        about_node = reader.target.ref.kind == "Node"
        if params.kind is TopKind.NODE or (params.kind is None and about_node):
            only = reader.target.ref.name if about_node and params.kind is None else ""
            return Reading(await _nodes(params, reader, only))
        return Reading(await _pods(reader))


async def _pods(reader: Reader) -> TopOutput:
    try:
        owner = await as_meant(reader.cluster, reader.target)
    except NotFound:
        return TopOutput()
    pods = await owned_pods(reader.cluster, owner, reader.target)
    labels = selector_text(dig_object(owner, "spec", "selector"))
    measured = await _measured(reader, labels)
    by_name = {dig_text(item, "metadata", "name"): item for item in measured.items}
    running = [pod for pod in pods.items if dig(pod, "status", "phase") == "Running"]
    shown = [(pod, by_name[name]) for pod in running if (name := dig_text(pod, "metadata", "name")) in by_name]
    containers = tuple(usage for pod, metrics in shown for usage in _containers(pod, metrics))
    missing = len(running) - len(shown)
    return TopOutput(
        items=tuple(_pod(pod, metrics) for pod, metrics in shown),
        containers=containers,
        missing=missing,
        truncated=missing > 0 or pods.truncated or measured.truncated,
    )


async def _measured(reader: Reader, labels: str) -> Listing:
    try:
        return await reader.cluster.list(_PODS, reader.target.ref.namespace, labels=labels, limit=2 * MAX_PODS)
    except NotFound as error:  # without metrics-server nobody measures, which is not an answer
        raise Unavailable("the metrics API is not served: metrics.k8s.io") from error


async def _nodes(params: TopParameters, reader: Reader, only: str) -> TopOutput:
    try:
        measured = await reader.cluster.list(_NODES, labels=params.selector or "", limit=MAX_PODS)
    except NotFound as error:
        raise Unavailable("the metrics API is not served: metrics.k8s.io") from error
    nodes = await reader.cluster.list(BUILT_IN["Node"], labels=params.selector or "", limit=MAX_PODS)
    usage = {dig_text(item, "metadata", "name"): dig_object(item, "usage") for item in measured.items}
    meant = [node for node in nodes.items if only in ("", dig_text(node, "metadata", "name"))]
    shown = [node for node in meant if dig_text(node, "metadata", "name") in usage]
    return TopOutput(
        items=tuple(_node(node, usage[dig_text(node, "metadata", "name")]) for node in shown),
        missing=len(meant) - len(shown),
        truncated=len(shown) < len(meant) or nodes.truncated or measured.truncated,
    )


def _containers(pod: Object, metrics: Object) -> list[ContainerUsage]:
    limits = {dig_text(c, "name"): dig_object(c, "resources", "limits") for c in dig_list(pod, "spec", "containers")}
    return [
        ContainerUsage(
            pod=dig_text(pod, "metadata", "name"),
            name=dig_text(item, "name"),
            **_usage(_Amounts.of(dig_object(item, "usage")), limits.get(dig_text(item, "name"), {})),
        )
        for item in dig_list(metrics, "containers")
    ]


def _pod(pod: Object, metrics: Object) -> ItemUsage:
    containers = _containers(pod, metrics)
    amounts = [_Amounts.of(dig_object(item, "usage")) for item in dig_list(metrics, "containers")]
    used = reduce(add, amounts) if amounts else _Amounts.of({})
    shares = {
        "cpu_share": max((c.cpu_share for c in containers if c.cpu_share is not None), default=None),
        "memory_share": max((c.memory_share for c in containers if c.memory_share is not None), default=None),
    }
    return ItemUsage(name=dig_text(pod, "metadata", "name"), **{**_usage(used, {}), **shares})


def _node(node: Object, usage: Object) -> ItemUsage:
    return ItemUsage(
        name=dig_text(node, "metadata", "name"),
        **_usage(_Amounts.of(usage), dig_object(node, "status", "allocatable")),
    )


def _usage(used: _Amounts, limits: Object) -> Mapping[str, str | int | float | None]:
    return {
        "cpu": str(used.cpu),
        "memory": str(used.memory),
        "cpu_millicores": to_millicores(used.cpu),
        "memory_bytes": to_bytes(used.memory),
        "cpu_share": _share(used.cpu, limits.get("cpu")),
        "memory_share": _share(used.memory, limits.get("memory")),
    }


def _share(used: Quantity, limit: object) -> float | None:
    whole = _quantity(limit)
    return round(used.nano / whole.nano, 4) if whole.nano > 0 else None


def _quantity(value: object) -> Quantity:
    """A quantity of the API server; absent is none at all."""
    return parse_quantity(value) if isinstance(value, (str, int, float)) else Quantity(0)
