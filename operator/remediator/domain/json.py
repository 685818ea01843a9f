"""The shape of everything that the API server, a payload or an expression hands over."""

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar, cast

# quoted as a whole, an annotation such as `JSON | Absent` would fail when its module is imported
JSON: TypeAlias = str | int | float | bool | list["JSON"] | dict[str, "JSON"] | None
Object: TypeAlias = dict[str, JSON]

T = TypeVar("T")


def parsed_in_turns(text: str) -> JSON:
    """
    JSON as `json.loads` reads it, for threads: with a line of Python for each object, at which others get their turn.

    The parser itself gives way to nobody, which takes tens of milliseconds for each megabyte.
    """
    found: JSON = json.loads(text, object_hook=_as_it_is)
    return found


def _as_it_is(value: Object) -> Object:
    return value


def dig(value: JSON, *keys: str | int) -> JSON:
    """What stands at the path, or None where any part of it is absent or of another shape."""
    for key in keys:
        if value.__class__ is dict:  # nearly always; the checks below take several times as long
            value = value.get(key)  # type: ignore[arg-type]  # JSON's keys are text
        elif isinstance(value, Mapping) and isinstance(key, str):
            value = value.get(key)
        elif isinstance(value, Sequence) and not isinstance(value, str) and isinstance(key, int):
            value = value[key] if -len(value) <= key < len(value) else None
        else:
            return None
    return value


def dig_object(value: JSON, *keys: str | int) -> Object:
    """The object at the path; empty where there is none."""
    found = dig(value, *keys)
    return found if isinstance(found, dict) else {}


def dig_list(value: JSON, *keys: str | int) -> list[Object]:
    """The objects of the list at the path; empty where there is none."""
    found = dig(value, *keys)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def dig_text(value: JSON, *keys: str | int) -> str:
    """The string at the path; empty where there is none."""
    found = dig(value, *keys)
    return found if isinstance(found, str) else ""


def dig_int(value: JSON, *keys: str | int, default: int = 0) -> int:
    """The integer at the path; `default` where there is none."""
    found = dig(value, *keys)
    return found if isinstance(found, int) and not isinstance(found, bool) else default


def copied(value: T) -> T:
    """A copy that shares nothing that can be altered; of JSON alone, and several times as fast as the general one."""
    if isinstance(value, dict):
        return cast(T, {key: copied(one) for key, one in value.items()})
    if isinstance(value, list):
        return cast(T, [copied(one) for one in value])
    return value
