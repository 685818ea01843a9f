"""Objects other than pods as expressions see them: workloads with their numbers, others as they are."""

from typing import Any, Final

from pydantic import Field

from remediator.actions.secrecy import is_hidden
from remediator.domain.actions import Output, OutputPart
from remediator.domain.bounded import shorten
from remediator.domain.json import Object, dig, dig_int, dig_list, dig_object, dig_text
from remediator.domain.workloads import (
    created_at,
    desired_replicas,
    images,
    is_rolled_out,
    ready_replicas,
    rollout_counts,
    template_containers,
    uid_of,
)

_HIDDEN: Final = ("kubectl.kubernetes.io/last-applied-configuration",)
"""A copy of the whole object, often with what somebody did not want to be seen."""

_MESSAGE_BYTES: Final = 512


class Condition(OutputPart):
    """One condition of an object, under its type."""

    status: str = Field(description="True, False or Unknown, as a string.")
    reason: str | None = Field(default=None, description="One word.")
    message: str | None = Field(default=None, description="The sentence.")
    since: str | None = Field(default=None, description="When it last changed, RFC 3339.")


class AnyItem(OutputPart):
    """One object of any kind."""

    name: str = Field(description="The object's name.")
    uid: str = Field(description="What tells it from a later object of the same name.")
    namespace: str | None = Field(default=None, description="Absent for cluster-scoped objects.")
    labels: dict[str, str] = Field(description="Its labels.")
    annotations: dict[str, str] = Field(description="Its annotations, without kubectl's copy of the object.")
    created_at: str = Field(description="RFC 3339.")
    conditions: dict[str, Condition] = Field(description="Its conditions by type.")
    spec: dict[str, Any] = Field(description="As the API has it; empty for kinds without one.")
    status: dict[str, Any] = Field(description="As the API has it; empty for kinds without one.")
    data: dict[str, str] | None = Field(
        default=None, description="A ConfigMap's text, without keys that look secret; absent for other kinds."
    )


class WorkloadItem(AnyItem):
    """One Deployment, StatefulSet, DaemonSet or ReplicaSet."""

    replicas: int = Field(description="How many are asked for; of a DaemonSet, on how many nodes it belongs.")
    ready_replicas: int = Field(description="How many are Ready.")
    updated_replicas: int = Field(description="How many have the present template.")
    available_replicas: int = Field(description="How many have been Ready for long enough.")
    unavailable_replicas: int = Field(description="How many of those asked for are not available.")
    rolled_out: bool = Field(description="Whether all have the present template and are available.")
    paused: bool = Field(description="Whether its rollout is paused.")
    images: tuple[str, ...] = Field(description="The images of the pod template's containers.")
    env: dict[str, dict[str, str]] = Field(
        description="Container, then name: literal values of variables. Absent: values from elsewhere, secret names."
    )


class ObjectsOutput(Output):
    """Objects of one kind."""

    items: tuple[AnyItem, ...] = Field(default=(), description="The objects; empty where there is none.")


class WorkloadsOutput(Output):
    """Workloads."""

    items: tuple[WorkloadItem, ...] = Field(default=(), description="The workloads; empty where there is none.")


def objects_output(objects: tuple[Object, ...], *, kind: str, truncated: bool = False) -> ObjectsOutput:
    items = tuple(AnyItem(**_common(obj), data=_data(obj) if kind == "ConfigMap" else None) for obj in objects)
    return ObjectsOutput(items=items, truncated=truncated)


def workloads_output(workloads: tuple[Object, ...], *, kind: str, truncated: bool = False) -> WorkloadsOutput:
    items = tuple(_workload({"kind": kind, **workload}) for workload in workloads)
    return WorkloadsOutput(items=items, truncated=truncated)


def conditions_of(obj: Object) -> dict[str, Condition]:
    """The object's conditions by type, whatever extra fields a kind gives them."""
    return {
        dig_text(found, "type"): Condition(
            status=dig_text(found, "status"),
            reason=dig_text(found, "reason") or None,
            message=shorten(dig_text(found, "message"), _MESSAGE_BYTES) or None,
            since=dig_text(found, "lastTransitionTime") or None,
        )
        for found in dig_list(obj, "status", "conditions")
        if dig_text(found, "type")
    }


def literal_env(container: Object) -> dict[str, str]:
    """A container's variables whose values stand in the template and may be shown."""
    literals = {
        dig_text(variable, "name"): dig_text(variable, "value")
        for variable in dig_list(container, "env")
        if "valueFrom" not in variable
    }
    return {name: value for name, value in literals.items() if name and not is_hidden(name, value)}


def _common(obj: Object) -> dict[str, Any]:
    return {
        "name": dig_text(obj, "metadata", "name"),
        "uid": uid_of(obj),
        "namespace": dig_text(obj, "metadata", "namespace") or None,
        "labels": _texts(obj, "labels"),
        "annotations": _texts(obj, "annotations"),
        "created_at": created_at(obj),
        "conditions": conditions_of(obj),
        "spec": dig_object(obj, "spec"),
        "status": dig_object(obj, "status"),
    }


def _workload(workload: Object) -> WorkloadItem:
    counts = rollout_counts(workload)
    desired = desired_replicas(workload)
    available = counts.available or dig_int(workload, "status", "availableReplicas")
    return WorkloadItem(
        **_common(workload),
        replicas=desired,
        ready_replicas=ready_replicas(workload),
        updated_replicas=counts.updated,
        available_replicas=available,
        unavailable_replicas=max(0, desired - available),
        rolled_out=is_rolled_out(workload),
        paused=dig(workload, "spec", "paused") is True,
        images=tuple(images(dig_object(workload, "spec", "template"))),
        env={dig_text(container, "name"): literal_env(container) for container in template_containers(workload)},
    )


def _texts(obj: Object, field: str) -> dict[str, str]:
    found = dig_object(obj, "metadata", field)
    return {key: str(value) for key, value in found.items() if key not in _HIDDEN}


def _data(config_map: Object) -> dict[str, str]:
    data = {key: str(value) for key, value in dig_object(config_map, "data").items()}
    return {key: value for key, value in data.items() if not is_hidden(key, value)}
