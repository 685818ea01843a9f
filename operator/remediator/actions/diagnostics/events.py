"""The events about the target and what it made: its pods, and the ReplicaSets or Jobs between."""

from typing import Annotated, ClassVar

from pydantic import Field

from remediator.actions.base import Reader
from remediator.actions.eventviews import EventView, event_view, events_about, last_seen
from remediator.actions.pods import as_meant, owned_pods, those_between
from remediator.domain.actions import ActionClass, ActionInfo, Output, Parameters, Permission, Reading
from remediator.domain.durations import GoDuration
from remediator.domain.errors import NotFound
from remediator.domain.json import Object, dig_text

Word = Annotated[str, Field(min_length=1, max_length=128)]


class EventsParameters(Parameters):
    """Without any: all events that the API server still has."""

    reasons: list[Word] = Field(
        default_factory=list, max_length=20, description="Only events with one of these reasons; default: all."
    )
    since: GoDuration | None = Field(
        default=None, description="Only events that last happened within this time; default: as long as they are kept."
    )
    limit: int = Field(
        default=50, ge=1, le=500, description="The newest so many; where there are more, the output is `truncated`."
    )


class EventsOutput(Output):
    """Events, newest first."""

    items: tuple[EventView, ...] = Field(default=(), description="Newest first; empty where there are none.")


class Events:
    """Read the events about the target and its pods."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="events",
        cls=ActionClass.READ,
        summary="Read the events about the target, its pods, and what stands between them.",
        parameters=EventsParameters,
        output=EventsOutput,
        permissions=(
            Permission("", "events", ("list",)),
            Permission("", "pods", ("list",)),
            Permission("apps", "daemonsets", ("get",)),
            Permission("apps", "deployments", ("get",)),
            Permission("apps", "replicasets", ("list",)),
            Permission("apps", "statefulsets", ("get",)),
        ),
    )

    async def read(self, params: EventsParameters, reader: Reader) -> Reading:
        kind, namespace = reader.target.ref.kind, reader.target.ref.namespace or "default"
        try:
            target = await as_meant(reader.cluster, reader.target)
        except NotFound:
            return Reading(EventsOutput(), notes=(f"{reader.target} is gone",))
        about = [(kind, target)]
        if reader.target.ref.namespace and kind != "Pod":
            between = await those_between(reader.cluster, target, reader.target)
            about += [(dig_text(item, "kind") or "ReplicaSet", item) for item in between.items]
            pods = await owned_pods(reader.cluster, target, reader.target)
            about += [("Pod", pod) for pod in pods.items]
        found = await events_about(reader.cluster, namespace, about)
        meant = [event for event in found.items if _is_meant(event, params, reader)]
        newest = sorted(meant, key=last_seen, reverse=True)
        items = tuple(event_view(event) for event in newest[: params.limit])
        evidence = "\n".join(
            f"{i.last_at} {i.type} {i.reason} {i.kind}/{i.name} x{i.count}: {i.message}" for i in items
        )
        return Reading(EventsOutput(items=items, truncated=found.truncated or len(newest) > params.limit), evidence)


def _is_meant(event: Object, params: EventsParameters, reader: Reader) -> bool:
    if params.reasons and dig_text(event, "reason") not in params.reasons:
        return False
    return params.since is None or reader.now - last_seen(event) <= params.since
