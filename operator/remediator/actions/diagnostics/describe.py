"""One object as a person looks at it: conditions, the short facts of its status, its events."""

from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, model_validator

from remediator.actions.base import Reader, Template
from remediator.actions.eventviews import EventView, event_view, events_about, last_seen
from remediator.actions.objectviews import Condition, conditions_of
from remediator.actions.pods import as_meant
from remediator.domain.actions import ActionClass, ActionInfo, Output, Parameters, Permission, Reading
from remediator.domain.bounded import shorten
from remediator.domain.errors import NotFound, Rejected
from remediator.domain.json import Object, dig_object
from remediator.domain.objects import Kind, ObjectRef

_EVIDENCE_BYTES: Final = 16_384


class DescribeParameters(Parameters):
    """Without any: the target."""

    kind: Annotated[str, Field(max_length=128)] | None = Field(
        default=None, description="The kind of another object in the target's namespace; Secrets are refused."
    )
    name: Template | None = Field(default=None, description="The name of that object; needed with `kind`.")
    max_events: int = Field(default=20, ge=0, le=100, description="Newest events that are kept; 0 reads none.")

    @model_validator(mode="after")
    def _both_or_none(self) -> "DescribeParameters":
        if (self.kind is None) != (self.name is None):
            raise ValueError("give both `kind` and `name`, or neither for the target")
        return self


class DescribeOutput(Output):
    """One object."""

    found: bool = Field(default=False, description="Whether the object is there.")
    conditions: dict[str, Condition] = Field(default_factory=dict, description="Its conditions by type.")
    facts: dict[str, Any] = Field(
        default_factory=dict, description="The plain values of its status: `phase`, `readyReplicas`, `reason`."
    )
    events: tuple[EventView, ...] = Field(default=(), description="Its events, newest first.")


class Describe:
    """Look at one object."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="describe",
        cls=ActionClass.READ,
        summary="Look at one object: its conditions, the short facts of its status, its events.",
        parameters=DescribeParameters,
        output=DescribeOutput,
        permissions=(
            Permission("", "events", ("list",)),
            Permission("", "nodes", ("get",)),
            Permission("", "pods", ("get",)),
            Permission("apps", "daemonsets", ("get",)),
            Permission("apps", "deployments", ("get",)),
            Permission("apps", "statefulsets", ("get",)),
        ),
    )

    async def read(self, params: DescribeParameters, reader: Reader) -> Reading:
        kind = await reader.cluster.kind(params.kind) if params.kind is not None else None
        try:
            ref, seen = await _look(params, kind, reader)
        except NotFound:
            return Reading(DescribeOutput())
        events: tuple[EventView, ...] = ()
        truncated = False
        if params.max_events:
            listed = await events_about(reader.cluster, ref.namespace or "default", [(ref.kind, seen)])
            newest = sorted(listed.items, key=last_seen, reverse=True)
            events = tuple(event_view(event) for event in newest[: params.max_events])
            truncated = listed.truncated or len(newest) > params.max_events
        output = DescribeOutput(
            found=True, conditions=conditions_of(seen), facts=_facts(seen), events=events, truncated=truncated
        )
        return Reading(output, _evidence(ref, output))


async def _look(params: DescribeParameters, kind: Kind | None, reader: Reader) -> tuple[ObjectRef, Object]:
    if kind is None or params.name is None:
        return reader.target.ref, await as_meant(reader.cluster, reader.target)
    if kind.kind == "Secret" and not kind.group:
        raise Rejected("Secrets are not read")
    namespace = (reader.target.ref.namespace or reader.namespace) if kind.namespaced else ""
    ref = ObjectRef(kind.group, kind.kind, namespace, params.name)
    return ref, await reader.cluster.read(ref)


def _facts(seen: Object) -> dict[str, Any]:
    return {key: value for key, value in dig_object(seen, "status").items() if isinstance(value, (str, int, float))}


def _evidence(ref: ObjectRef, output: DescribeOutput) -> str:
    lines = [str(ref), *(f"  {key}: {value}" for key, value in output.facts.items()), "conditions:"]
    lines += [
        f"  {kind}={found.status} {found.reason or ''} since {found.since or '?'}: {found.message or ''}".rstrip(": ")
        for kind, found in output.conditions.items()
    ]
    lines += ["events:"] + [f"  {e.last_at} {e.type} {e.reason} x{e.count}: {e.message}" for e in output.events]
    return shorten("\n".join(lines), _EVIDENCE_BYTES)
