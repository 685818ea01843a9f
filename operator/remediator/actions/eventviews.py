"""Kubernetes' events as expressions see them, and where to find those about an object."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from pydantic import Field

from remediator.domain.actions import OutputPart
from remediator.domain.bounded import shorten
from remediator.domain.json import Object, dig_int, dig_text
from remediator.domain.objects import BUILT_IN
from remediator.domain.workloads import time_of, uid_of
from remediator.ports import Cluster, Listing

EVENT: Final = BUILT_IN["Event"]
_MESSAGE_BYTES: Final = 1_024
_IN_ONE_LIST: Final = 1_000
_ONE_BY_ONE: Final = 20
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class EventView(OutputPart):
    """One event; repeated ones are counted, not listed again."""

    type: str = Field(description="Normal or Warning.")
    reason: str = Field(description="One word: `FailedScheduling`, `BackOff`, `Unhealthy`.")
    message: str = Field(description="The sentence.")
    count: int = Field(description="How often it happened.")
    kind: str = Field(description="The kind of the object it is about.")
    name: str = Field(description="The name of the object it is about.")
    first_at: str | None = Field(default=None, description="RFC 3339.")
    last_at: str | None = Field(default=None, description="RFC 3339.")


def event_view(event: Object) -> EventView:
    last = last_seen(event)
    return EventView(
        type=dig_text(event, "type") or "Normal",
        reason=dig_text(event, "reason"),
        message=shorten(dig_text(event, "message"), _MESSAGE_BYTES),
        count=max(1, dig_int(event, "count"), dig_int(event, "series", "count")),
        kind=dig_text(event, "involvedObject", "kind"),
        name=dig_text(event, "involvedObject", "name"),
        first_at=dig_text(event, "firstTimestamp") or dig_text(event, "eventTime") or None,
        last_at=last.strftime("%Y-%m-%dT%H:%M:%SZ") if last != _LONG_AGO else None,
    )


def last_seen(event: Object) -> datetime:
    """When it last happened, whichever of the API's four fields says so."""
    fields = (("series", "lastObservedTime"), ("lastTimestamp",), ("eventTime",), ("metadata", "creationTimestamp"))
    times = (time_of(event, *keys) for keys in fields)
    return next((found for found in times if found is not None), _LONG_AGO)


async def events_about(cluster: Cluster, namespace: str, objects: Sequence[tuple[str, Object]]) -> Listing:
    """
    The events about these objects, given with their kinds; newest last, as the API server has them.

    One list of the namespace is cheaper than one for each object. In a namespace with too many events
    for it the objects are asked for one by one, the first twenty.
    """
    listed = await cluster.list(EVENT, namespace, limit=_IN_ONE_LIST)
    if not listed.truncated:
        return Listing(tuple(event for event in listed.items if _is_about(event, objects)))
    found: list[Object] = []
    truncated = len(objects) > _ONE_BY_ONE
    for kind, obj in objects[:_ONE_BY_ONE]:
        fields = f"involvedObject.kind={kind},involvedObject.name={dig_text(obj, 'metadata', 'name')}"
        some = await cluster.list(EVENT, namespace, fields=fields, limit=_IN_ONE_LIST)
        found.extend(event for event in some.items if _is_about(event, [(kind, obj)]))
        truncated = truncated or some.truncated
    return Listing(tuple(found), truncated)


def _is_about(event: Object, objects: Sequence[tuple[str, Object]]) -> bool:
    """By UID; the kubelet writes a node's name where its UID should stand, so nodes go by name."""
    uid, kind = dig_text(event, "involvedObject", "uid"), dig_text(event, "involvedObject", "kind")
    name = dig_text(event, "involvedObject", "name")
    return any(
        uid == uid_of(obj) or (kind == "Node" == of and name == dig_text(obj, "metadata", "name"))
        for of, obj in objects
    )
