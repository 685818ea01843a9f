"""
Read objects: the target, what it owns, or what a name or selector finds.

Not there is an answer: the list is empty, and known.
"""

import enum
from collections.abc import Sequence
from typing import Annotated, ClassVar, Final

from pydantic import Field, field_validator, model_validator

from remediator.actions.base import Reader, Template
from remediator.actions.objectviews import ObjectsOutput, WorkloadsOutput, objects_output, workloads_output
from remediator.actions.pods import POD, as_meant, owned_pods
from remediator.actions.podviews import PodsOutput, pods_output
from remediator.domain.actions import ActionClass, ActionInfo, Output, Parameters, Permission, Reading
from remediator.domain.errors import NotFound, Rejected
from remediator.domain.objects import BUILT_IN, Kind, ObjectRef
from remediator.domain.workloads import is_owned_by, uid_of
from remediator.ports import Listing

_WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
_MAX_ITEMS: Final = 500


class Related(enum.StrEnum):
    """What an object has to do with the target."""

    OWNED = "owned"
    ON_NODE = "onNode"


class GetParameters(Parameters):
    """Without any: the target itself."""

    kind: Annotated[str, Field(max_length=128)] | None = Field(
        default=None,
        description="kubectl's spelling, `certificate.cert-manager.io` for others; default: the target's own kind. "
        "Secrets are refused.",
    )
    related: Related | None = Field(
        default=None,
        description="`owned`: only what the target owns; of a workload, the pods that it made. "
        "`onNode`: the pods that were put on the target, a Node, in all namespaces. "
        "Default: whatever name and selectors find in the target's namespace.",
    )
    name: Template | None = Field(default=None, description="Only the object of this name.")
    selector: Template | None = Field(default=None, description="Only objects with these labels: `app=web,tier!=db`.")
    field_selector: Template | None = Field(
        default=None, description="Only objects with these fields, as the API supports them: `status.phase=Failed`."
    )
    limit: int = Field(
        default=200,
        ge=1,
        le=_MAX_ITEMS,
        description="At most so many objects; of more the rest is left out, and the output says `truncated`.",
    )

    @field_validator("kind")
    @classmethod
    def _not_a_secret(cls, kind: str | None) -> str | None:
        if kind is not None and kind.partition(".")[0].lower() in ("secret", "secrets"):
            raise ValueError("Secrets are not read: name the ConfigMap or the workload instead")
        return kind

    @model_validator(mode="after")
    def _one_way(self) -> "GetParameters":
        if self.name is not None and (self.related or self.selector or self.field_selector):
            raise ValueError("`name` stands alone: it finds one object")
        if self.related and self.kind is None:
            raise ValueError("`related` needs `kind`: what it owns can be of several kinds")
        return self


class Get:
    """Read objects."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="get",
        cls=ActionClass.READ,
        summary="Read objects: the target, what it owns, or what a name or selector finds.",
        parameters=GetParameters,
        output=ObjectsOutput,
        permissions=(
            Permission("", "pods", ("get", "list")),
            Permission("", "nodes", ("get",)),
            Permission("apps", "daemonsets", ("get",)),
            Permission("apps", "deployments", ("get",)),
            Permission("apps", "replicasets", ("list",)),
            Permission("apps", "statefulsets", ("get",)),
        ),
    )

    shapes: ClassVar[tuple[type[Output], ...]] = (PodsOutput, WorkloadsOutput, ObjectsOutput)

    @classmethod
    def output_for(cls, params: GetParameters, targets: Sequence[str]) -> type[Output]:
        kinds = {params.kind} if params.kind is not None else set(targets)
        if kinds == {"Pod"}:
            return PodsOutput
        if kinds and kinds <= set(_WORKLOADS):
            return WorkloadsOutput
        return ObjectsOutput

    @classmethod
    def permissions_for(cls, params: GetParameters, targets: Sequence[str]) -> tuple[Permission, ...]:
        """What this use reads; a kind of somebody else's is known to the API server alone and left out."""
        found = [_may(kind, "get") for kind in targets if params.kind is None or params.related is Related.OWNED]
        if params.kind is not None:
            found.append(_may(params.kind, "get" if params.name is not None else "list"))
        if params.kind == "Pod" and params.related is Related.OWNED:
            found += [_may(between, "list") for of, between in _BETWEEN.items() if of in targets]
        return tuple(permission for permission in found if permission is not None)

    async def read(self, params: GetParameters, reader: Reader) -> Reading:
        kind = await reader.cluster.kind(params.kind) if params.kind is not None else None
        try:
            found = await _find(params, kind, reader)
        except NotFound:
            found = Listing(())
        shown = kind.kind if kind is not None else reader.target.ref.kind
        return Reading(_output(shown, found, reader))


_BETWEEN: Final = {"Deployment": "ReplicaSet", "CronJob": "Job"}


def _may(kind: str, verb: str) -> Permission | None:
    known = BUILT_IN.get(kind)
    return Permission(known.group, known.plural, (verb,)) if known is not None else None


async def _find(params: GetParameters, kind: Kind | None, reader: Reader) -> Listing:
    cluster, target = reader.cluster, reader.target
    if kind is None:
        return Listing((await as_meant(cluster, target),))
    if kind.kind == "Secret" and not kind.group:
        raise Rejected("Secrets are not read")
    namespace = (target.ref.namespace or reader.namespace) if kind.namespaced else ""
    if params.name is not None:
        ref = ObjectRef(kind.group, kind.kind, namespace, params.name)
        return Listing((await cluster.read(ref),))
    if params.related is Related.ON_NODE:
        fields = ",".join(filter(None, [params.field_selector, f"spec.nodeName={target.ref.name}"]))
        return await cluster.list(kind, "", labels=params.selector or "", fields=fields, limit=params.limit)
    if params.related is Related.OWNED:
        return await _owned(params, kind, namespace, reader)
    return await cluster.list(
        kind, namespace, labels=params.selector or "", fields=params.field_selector or "", limit=params.limit
    )


async def _owned(params: GetParameters, kind: Kind, namespace: str, reader: Reader) -> Listing:
    owner = await as_meant(reader.cluster, reader.target)
    narrowed = bool(params.selector or params.field_selector)
    if kind == POD and not narrowed:
        return await owned_pods(reader.cluster, owner, reader.target, limit=params.limit)
    uids = {uid_of(owner)}
    if kind == POD:
        mine = await owned_pods(reader.cluster, owner, reader.target)
        uids = {uid_of(pod) for pod in mine.items}
    listed = await reader.cluster.list(
        kind, namespace, labels=params.selector or "", fields=params.field_selector or "", limit=_MAX_ITEMS
    )
    found = tuple(item for item in listed.items if (uid_of(item) in uids if kind == POD else is_owned_by(item, uids)))
    return Listing(found[: params.limit], listed.truncated or len(found) > params.limit)


def _output(kind: str, found: Listing, reader: Reader) -> Output:
    if kind == "Pod":
        return pods_output(found.items, now=reader.now, truncated=found.truncated)
    if kind in _WORKLOADS:
        return workloads_output(found.items, kind=kind, truncated=found.truncated)
    return objects_output(found.items, kind=kind, truncated=found.truncated)
