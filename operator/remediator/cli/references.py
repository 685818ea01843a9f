"""
What a condition was decided on: the names in its text, and the values that they had.

Read from the text rather than compiled, so that a Runbook which this version would no longer accept
still explains itself. What stands inside of a macro (`c.ready`) belongs to the list before it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from remediator.domain.json import JSON, Object

ROOTS: Final = (
    "diagnosis",
    "params",
    "alert",
    "alerts",
    "target",
    "namespaceObject",
    "variables",
    "run",
    "steps",
    "latest",
)
NOT_KEPT: Final = frozenset({"latest", "namespaceObject", "steps"})
LONGEST_VALUE: Final = 160
MOST_ITEMS: Final = 3

_NAME: Final = re.compile(
    r'"(?:[^"\\]|\\.)*"'
    r"|'(?:[^'\\]|\\.)*'"
    rf"|(?<![\w.])(?P<path>(?:{'|'.join(ROOTS)})\b"
    r"(?:\.\??[A-Za-z_]\w*(?![\w(])"
    r"|\[\??(?:\"[^\"\\]*\"|'[^'\\]*'|\d+)\])*)"
)
_PART: Final = re.compile(r"\.\??(\w+)|\[\??(?:\"([^\"]*)\"|'([^']*)'|(\d+))\]")


class NotThere:
    """The type of `NOT_THERE` and `NOT_KNOWN`: a value that is absent, and one that nobody could read."""

    def __init__(self, text: str) -> None:
        self.text = text


NOT_THERE: Final = NotThere("absent")
NOT_KNOWN: Final = NotThere("unknown: it was not read")
FORGOTTEN: Final = NotThere("read at that moment, and not kept")


@dataclass(frozen=True, slots=True)
class Reference:
    """A name in an expression, and what it stood for, in words."""

    name: str
    value: str


def names_in(expression: str) -> tuple[str, ...]:
    """The paths that an expression names, each once, as they are written."""
    found = (match.group("path") for match in _NAME.finditer(expression))
    return tuple(dict.fromkeys(path for path in found if path))


def variables_in(expression: str, variables: Mapping[str, str]) -> tuple[str, ...]:
    """The variables that the expression uses, and those that they use, in the order in which they are met."""
    found: dict[str, None] = {}

    def collect(text: str) -> None:
        for path in names_in(text):
            parts = _parts(path)
            name = str(parts[1]) if parts[0] == "variables" and len(parts) > 1 else ""
            if name in variables and name not in found:
                found[name] = None
                collect(variables[name])

    collect(expression)
    return tuple(found)


def references(expression: str, variables: Mapping[str, str], values: Object) -> tuple[Reference, ...]:
    """Everything that the expression and its variables were decided on."""
    texts = [expression, *(variables[name] for name in variables_in(expression, variables))]
    paths = dict.fromkeys(path for text in texts for path in names_in(text))
    return tuple(Reference(path, in_words(found(path, values))) for path in paths if not path.startswith("variables"))


def found(path: str, values: Object) -> JSON | NotThere:
    """
    What stands at the path.

    An output that was never kept is unknown; a field that a kept output does not have is absent.
    """
    parts = _parts(path)
    if parts[0] in NOT_KEPT:
        return FORGOTTEN
    value: JSON = values
    for depth, part in enumerate(parts):
        if isinstance(value, dict) and str(part) in value:
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return NOT_KNOWN if depth == 0 or (depth == 1 and parts[0] == "diagnosis") else NOT_THERE
        if isinstance(value, dict) and value.get("known") is False:
            why = value.get("error")
            return NotThere(f"unknown: {why}" if why else "unknown")
    return value


def in_words(value: JSON | NotThere) -> str:
    """The value as a person reads it; of a list its length and its first items."""
    if isinstance(value, NotThere):
        return value.text
    if isinstance(value, list):
        if not value:
            return "an empty list"
        items = ", ".join(_json(item) for item in value[:MOST_ITEMS])
        return _cut(f"{len(value)} {'item' if len(value) == 1 else 'items'}: {items}")
    return _cut(_json(value))


def _json(value: JSON) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _parts(path: str) -> tuple[str | int, ...]:
    root = re.match(r"\w+", path)
    assert root is not None, "a path begins with a name"
    return (root.group(), *_below(path[root.end() :]))


def _below(rest: str) -> Iterator[str | int]:
    for match in _PART.finditer(rest):
        name, double, single, index = match.groups()
        yield int(index) if index is not None else next(one for one in (name, double, single) if one is not None)
