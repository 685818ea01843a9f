"""
What the compiler's refusals become: a position, what is wrong, and what to write instead.
"""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from remediator.domain.expressions.places import ROOTS
from remediator.domain.expressions.shapes import PACKAGE, Message

MOST: Final = 5
_NAMES_SHOWN: Final = 12
_ERROR: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
_FIELD: Final = re.compile(r"undefined field '([^']*)' not found in struct '([^']*)'")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD: Final = re.compile(r"found no matching overload for '([^']*)' applied to '([^']*)'")
_OPERATOR: Final = re.compile(r"_?([^\w@?]+)_")
_OF_A_LIST: Final = frozenset({"max", "min", "sum"})
FUNCTIONS: Final = (
    frozenset({"share", "quantity", "size", "timestamp", "duration", "double", "string", "int", "has"}) | _OF_A_LIST
)


def problems(error: str, messages: Mapping[str, Message]) -> Iterator[tuple[int, int, str]]:
    """Line, column and sentence of each of the compiler's errors, the first few."""
    found = list(_ERROR.finditer(error))[:MOST]
    if not found:
        yield 1, 1, _plain(error)
    for one in found:
        yield max(int(one[1]), 1), max(int(one[2]), 1), _sentence(one[3], messages)


def _plain(error: str) -> str:
    if "recursion" in error.lower():
        return "nested too deeply; give a part of it a name under variables"
    return re.sub(r"^[A-Z_]+: | \[[A-Z_]+\]$", "", error.partition("\n")[0])


def _sentence(error: str, messages: Mapping[str, Message]) -> str:
    if "recursion" in error.lower():
        return _plain(error)
    if (field := _FIELD.search(error)) is not None:
        message = messages.get(field[2].removeprefix(f"{PACKAGE}."))
        return f"undefined field '{field[1]}'{instead(field[1], message.fields if message else ())}"
    if (undeclared := _UNDECLARED.search(error)) is not None:
        return _undeclared(undeclared[1])
    if (overload := _OVERLOAD.search(error)) is not None:
        return _no_overload(overload[1], overload[2].replace(f"{PACKAGE}.", ""))
    return error.partition(" expecting ")[0].replace(f"{PACKAGE}.", "").replace(" [INVALID_ARGUMENT]", "")


def _undeclared(name: str) -> str:
    root = name.partition(".")[0]
    if root in _OF_A_LIST:
        return f"a list has no {root}(); write {root}(list)"
    known = ROOTS | FUNCTIONS if difflib.get_close_matches(root, FUNCTIONS) else ROOTS
    return f"unknown name '{root}'{instead(root, known)}"


def _no_overload(function: str, types: str) -> str:
    operator = _OPERATOR.fullmatch(function)
    shown = operator[1] if operator else "in" if function == "@in" else function
    hint = ""
    if types in ("(int, double)", "(double, int)"):
        hint = "; write the whole number with a point (1.0), or double(…) around it"
    elif "string" in types and ("int" in types or "double" in types):
        hint = "; write string(…), int(…) or quantity(…) around one of them"
    return f"'{shown}' cannot be applied to {types}{hint}"


def instead(name: str, known: Collection[str]) -> str:
    """What to write instead of a name that does not exist."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    if not known:
        return "; there are none here"
    shown = sorted(known)[:_NAMES_SHOWN]
    return "; there are " + ", ".join(shown) + (", …" if len(known) > len(shown) else "")
