"""
Durations as Go writes them: `720h`, `1h30m`, `250ms`, `0s`.

Manifests, the Kubernetes API and Prometheus' tools all speak this form, and ISO 8601 nowhere. The
finest step is a microsecond, because a `timedelta` has no finer one; what would be rounded is refused.
"""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

LONGEST: Final = timedelta(microseconds=(2**63 - 1) // 1_000)
"""What Go's own type holds, in nanoseconds in 64 bits: about 292 years."""

MAX_LENGTH: Final = 64

_NANOSECONDS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, the micro sign
    "μs": 1_000,  # U+03BC, the Greek letter
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3_600 * 1_000_000_000,
}
_UNIT: Final = "(ns|us|µs|μs|ms|s|m|h)"
_NUMBER: Final = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)"
_TERM: Final = re.compile(_NUMBER + _UNIT)

PATTERN: Final = f"^(0|({_NUMBER}{_UNIT})+)$"
"""What the API server accepts before we see it: no sign, because no setting means a negative time."""

_HELP: Final = 'write a number with a unit of h, m, s, ms or us, such as "90s" or "1h30m"'


def parse_duration(text: str) -> timedelta:
    """
    Read a duration that Go's `time.ParseDuration` would accept.

    Raises:
        ValueError: with a sentence that says what is wrong and what to write.

    Source: https://pkg.go.dev/time#ParseDuration
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a duration has at most {MAX_LENGTH} characters, this one has {len(text)}: {_HELP}")
    sign, unsigned = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if unsigned == "0":
        return timedelta()
    nanoseconds, position = 0, 0
    while position < len(unsigned) or position == 0:
        term = _TERM.match(unsigned, position)
        if term is None:
            raise ValueError(f"{text!r} is not a duration: {_HELP}")
        whole, _, fraction = term[1].partition(".")
        scaled = int((whole or "0") + fraction) * _NANOSECONDS[term[3]]
        amount, rest = divmod(scaled, 10 ** len(fraction))
        if rest:
            raise ValueError(f"{text!r} is finer than a microsecond")
        nanoseconds += amount
        position = term.end()
    microseconds, rest = divmod(nanoseconds, 1_000)
    if rest:
        raise ValueError(f"{text!r} is finer than a microsecond")
    if microseconds > LONGEST // timedelta(microseconds=1):
        raise ValueError(f"{text!r} is longer than Go can hold, which is about 292 years")
    return timedelta(microseconds=sign * microseconds)


def human(duration: timedelta) -> str:
    """The duration as Go prints it: `10m0s`, `1h0m0s`, `1.5s`, `250ms`, `0s`."""
    sign, hours, minutes, microseconds = _parts(duration)
    if hours:
        return f"{sign}{hours}h{minutes}m{_seconds(microseconds)}"
    if minutes:
        return f"{sign}{minutes}m{_seconds(microseconds)}"
    if 0 < microseconds < 1_000_000:
        return sign + _below_a_second(microseconds)
    return sign + _seconds(microseconds)


def format_duration(duration: timedelta) -> str:
    """The duration as people write it in manifests, without the parts that are zero: `10m`, `1h30m`."""
    sign, hours, minutes, microseconds = _parts(duration)
    text = (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")
    if not text and 0 < microseconds < 1_000_000:
        return sign + _below_a_second(microseconds)
    if microseconds or not text:
        text += _seconds(microseconds)
    return sign + text


def _parts(duration: timedelta) -> tuple[str, int, int, int]:
    total = duration // timedelta(microseconds=1)
    minutes, microseconds = divmod(abs(total), 60 * 1_000_000)
    hours, minutes = divmod(minutes, 60)
    return "-" if total < 0 else "", hours, minutes, microseconds


def _seconds(microseconds: int) -> str:
    return _decimal(microseconds, 6) + "s"


def _below_a_second(microseconds: int) -> str:
    return f"{microseconds}µs" if microseconds < 1_000 else _decimal(microseconds, 3) + "ms"


def _decimal(value: int, places: int) -> str:
    whole, fraction = divmod(value, 10**places)
    return f"{whole}.{fraction:0{places}d}".rstrip("0").rstrip(".")


def _from_manifest(value: object) -> timedelta:
    if isinstance(value, timedelta):
        duration = value
    elif isinstance(value, str):
        duration = parse_duration(value)
    else:
        raise ValueError(f"a duration is a string, this is {type(value).__name__}: {_HELP}")
    if duration < timedelta():
        raise ValueError(f"{format_duration(duration)} is negative: {_HELP}")
    return duration


GoDuration = Annotated[
    timedelta,
    PlainValidator(_from_manifest),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "maxLength": MAX_LENGTH}),
]
"""
A field of a manifest that holds a duration: a Go string outside, a `timedelta` inside, never negative.

Its `default` appears as a Go string only in a JSON schema of mode "serialization".
"""
