"""
What an expression is evaluated over, and what it answers.

There are three states of a value, and they are never confused: it is there, it is absent (the system
that was asked says so; `has` is false), or it is unknown (nobody could say; `has` is unknown too).
In a `Values` an absent thing is None or left out, an unknown one is `UNKNOWN`.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeAlias

from remediator.domain.json import JSON


class Truth(enum.StrEnum):
    """The answer of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Unknown(enum.Enum):
    """The type of `UNKNOWN`, which stands where something could not be read."""

    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown.UNKNOWN
Seen: TypeAlias = "JSON | Unknown"
"""A JSON value, or UNKNOWN; UNKNOWN may also stand anywhere inside it."""


@dataclass(frozen=True, slots=True)
class Known:
    """The value of an expression; times and durations in it are strings."""

    value: JSON


@dataclass(frozen=True, slots=True)
class Missing:
    """An expression has no value: what was missing, and a sentence for people."""

    names: tuple[str, ...]
    message: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Values:
    """
    Everything that expressions of one run may see at one moment.

    What is not given is unknown. `diagnosis`, `latest` and `steps` hold one entry for each name: the
    JSON of an output, a list of them for a diagnostic with `forEach`, UNKNOWN, or None for one that
    was skipped because its `when` was False; a diagnostic without an entry is unknown, a step without
    one has not run. An entry of `steps` holds `ran` and `ok`, and its outputs if it ran. A parameter
    that is not given is left out.

    A `Values` remembers what was prepared from it, so evaluate over one as long as it holds, and
    make the next with `but`. The data given to it must not be changed afterwards.
    """

    alert: Seen = UNKNOWN
    alerts: Seen = UNKNOWN
    target: Seen = UNKNOWN
    namespaceObject: Seen = UNKNOWN  # noqa: N815 - the name that expressions use
    params: Mapping[str, Any] | Unknown = UNKNOWN
    diagnosis: Mapping[str, Any] = field(default_factory=dict)
    latest: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Any] = field(default_factory=dict)
    run: Seen = UNKNOWN
    now: datetime | Unknown = UNKNOWN
    item: Seen = UNKNOWN
    inhibitor: Seen = UNKNOWN
    prepared: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def but(self, **changes: Any) -> "Values":
        """The same values with some of them exchanged."""
        return replace(self, **changes)
