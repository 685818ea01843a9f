"""
Kubernetes conditions as immutable values.

A set of conditions only moves by `with_condition`, which keeps the rules of the API: one entry for
each type, and a transition time that moves when the status does and at no other time.

Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#typical-status-properties
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal, TypeGuard

from remediator.domain.bounded import shorten
from remediator.domain.json import JSON, Object, dig_int, dig_text

Status = Literal["True", "False", "Unknown"]

MESSAGE_LIMIT_BYTES: Final = 1_024
ORDER: Final = ("Ready", "Succeeded", "Approved", "Verified", "Undone", "Stalled")
"""The order in which people read them; other types follow by name."""

_REASON: Final = re.compile(r"[A-Z][A-Za-z0-9]{0,127}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is said about an object, and since when its status has been what it is."""

    type: str
    status: Status
    reason: str
    message: str
    last_transition_time: datetime
    observed_generation: int


Conditions = tuple[Condition, ...]


def with_condition(
    conditions: Conditions,
    type: str,  # noqa: A002 - the API's own word
    status: Status,
    reason: str,
    message: str,
    now: datetime,
    generation: int,
) -> Conditions:
    """
    The conditions with this one set, in their fixed order.

    Times are cut to seconds, as the API stores them, so that what is read back equals what was
    written. A message is cut to 1,024 bytes.

    Raises:
        ValueError: if the reason is not one CamelCase word, or `now` has no time zone.
    """
    if not _REASON.fullmatch(reason):
        raise ValueError(f"{reason!r} is not a reason: write one CamelCase word, such as CoolingDown")
    if now.tzinfo is None:
        raise ValueError("a condition's time needs a time zone")
    since = now.astimezone(UTC).replace(microsecond=0)
    text = shorten(message, MESSAGE_LIMIT_BYTES)
    before = find(conditions, type)
    if before is None or before.status != status:
        after = Condition(type, status, reason, text, since, generation)
    else:
        after = replace(before, reason=reason, message=text, observed_generation=generation)
    return _ordered([*(c for c in conditions if c.type != type), after])


def find(conditions: Conditions, type: str) -> Condition | None:  # noqa: A002 - the API's own word
    """The condition of that type, or None if nothing is said."""
    return next((condition for condition in conditions if condition.type == type), None)


def is_true(conditions: Conditions, type: str) -> bool:  # noqa: A002 - the API's own word
    """Whether the condition is said to hold; Unknown and absent are not True."""
    condition = find(conditions, type)
    return condition is not None and condition.status == "True"


def is_false(conditions: Conditions, type: str) -> bool:  # noqa: A002 - the API's own word
    """Whether the condition is said not to hold; Unknown and absent are not False."""
    condition = find(conditions, type)
    return condition is not None and condition.status == "False"


def to_json(conditions: Conditions) -> list[JSON]:
    """The conditions as they stand in `status.conditions`."""
    return [
        {
            "type": condition.type,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "lastTransitionTime": condition.last_transition_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "observedGeneration": condition.observed_generation,
        }
        for condition in conditions
    ]


def from_json(stored: Iterable[Object]) -> Conditions:
    """
    The conditions of an object that was read.

    Entries without a type or with a status that is none are left out: the next write replaces them.
    """
    found: dict[str, Condition] = {}
    for entry in stored:
        type_, status = dig_text(entry, "type"), dig_text(entry, "status")
        if type_ and _is_status(status):
            found[type_] = Condition(
                type_,
                status,
                dig_text(entry, "reason"),
                dig_text(entry, "message"),
                _time(dig_text(entry, "lastTransitionTime")),
                dig_int(entry, "observedGeneration"),
            )
    return _ordered(found.values())


def _is_status(text: str) -> TypeGuard[Status]:
    return text in ("True", "False", "Unknown")


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return _EPOCH
    return time.astimezone(UTC) if time.tzinfo is not None else _EPOCH


def _ordered(conditions: Iterable[Condition]) -> Conditions:
    def place(condition: Condition) -> tuple[int, str]:
        return (ORDER.index(condition.type) if condition.type in ORDER else len(ORDER), condition.type)

    return tuple(sorted(conditions, key=place))
