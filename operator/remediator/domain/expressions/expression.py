"""
One compiled expression, and how its answer is read.

The evaluator never raises for what the data hold: it hands back an error as a value, and all errors
become `Missing` here, with a sentence that names what was missing.
"""

import base64
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from cel_expr_python import cel
from cel_expr_python.ext import ext_encoders, ext_math, ext_optional, ext_strings

from remediator.domain.durations import format_duration
from remediator.domain.expressions.functions import FOR_EVALUATION
from remediator.domain.expressions.lookup import Gap, Lookup
from remediator.domain.expressions.rewriting import HAS, SEEN, WHOLE
from remediator.domain.expressions.shapes import is_finite, marked_unknown, rfc3339
from remediator.domain.expressions.values import Known, Missing, Truth, Values
from remediator.domain.json import JSON


class Result(enum.StrEnum):
    """What the place of an expression asks it to be; the value is how messages call it."""

    BOOL = "true or false"
    LIST = "a list"
    STRING = "a text"
    NUMBER = "a number"
    ANY = "any value"


_PYTHON: Final[Mapping[Result, tuple[type, ...]]] = {
    Result.BOOL: (bool,),
    Result.LIST: (list,),
    Result.STRING: (str,),
    Result.NUMBER: (int, float),
    Result.ANY: (object,),
}

# errors of the binding itself: a value that Python cannot hold, or memory that it did not get
_BINDING_ERRORS: Final = (RuntimeError, TypeError, ValueError, SystemError, AssertionError, MemoryError, OverflowError)


def extensions() -> list[Any]:
    """CEL's libraries for texts, numbers, optional values and base64."""
    return [
        ext_strings.ExtStrings(),
        ext_math.ExtMath(),
        ext_optional.ExtOptional(),
        ext_encoders.ExtEncoders(),
    ]


RUNTIME: Final = cel.NewEnv(extensions=extensions(), functions=FOR_EVALUATION)
"""Where all expressions of all scopes are evaluated; it knows no types and declares no variables."""


@dataclass(frozen=True, eq=False)
class Expression:
    """
    A compiled expression.

    `names` are the roots it uses, through variables too: `diagnosis.pods`, `params.dependency`,
    `alert`. `untyped` says that the compiler could not see all of its types, so that a misspelt name
    shows only when it is evaluated.
    """

    text: str
    names: frozenset[str]
    untyped: bool
    result: Result
    growth: float
    type: Any
    _lookup: Lookup = field(repr=False)
    _program: Any = field(repr=False)
    _questions: tuple[str, ...] = field(repr=False)
    _paths: Mapping[str, str] = field(repr=False)
    _marked: frozenset[str] = field(repr=False)  # fields of messages, which may be unread as well as absent

    def evaluate(self, values: Values) -> Known | Missing:
        """The value as JSON: times are RFC 3339 strings, durations Go's, bytes base64."""
        value = self.raw(values)
        if isinstance(value, Missing):
            return value
        unread = marked_unknown(value)
        if unread is not None:
            return Missing((unread,), f"{unread} could not be read")
        is_bool_as_number = self.result is Result.NUMBER and isinstance(value, bool)
        if not isinstance(value, _PYTHON[self.result]) or is_bool_as_number:
            return self._missing(f"the result is not {self.result}")
        try:
            return Known(_json(value))
        except ValueError as error:
            return self._missing(str(error))

    def truth(self, values: Values) -> tuple[Truth, Missing | None]:
        """The answer of a condition, and what was missing where it is Unknown."""
        value = self.raw(values)
        if value is True:
            return Truth.TRUE, None
        if value is False:
            return Truth.FALSE, None
        if isinstance(value, Missing):
            return Truth.UNKNOWN, value
        return Truth.UNKNOWN, self._missing(f"the result is not {Result.BOOL}")

    def raw(self, values: Values) -> Any | Missing:
        """The value as the evaluator gives it, in which single fields may still be marked as unknown."""
        activation, gaps = self._prepared(values)
        try:
            answer = self._program.eval(activation)
            kind = answer.type().name()
            if kind != "ERROR":
                value = answer.plain_value()
                if isinstance(value, float) and not is_finite(value):
                    return self._missing("the result is not a finite number")
                return value
            return self._explained(str(answer.value()), gaps)
        except _BINDING_ERRORS as error:
            return self._explained(str(error).partition("\n")[0], gaps)

    def _prepared(self, values: Values) -> tuple[Any, Mapping[str, Gap]]:
        key = (self._lookup, self._questions)
        found = values.prepared.get(key)
        if found is None:
            answers = {question: self._lookup.answer(values, question) for question in self._questions}
            gaps = {question: answer for question, answer in answers.items() if isinstance(answer, Gap)}
            known = {question: answer for question, answer in answers.items() if question not in gaps}
            found = values.prepared[key] = (RUNTIME.Activation(known), gaps)
        return found

    def _explained(self, error: str, gaps: Mapping[str, Gap]) -> Missing:
        """The error of an evaluation, in the words of the person who wrote the expression."""
        unset = _UNSET.search(error)
        if unset is not None and unset[1] in gaps:
            gap = gaps[unset[1]]
            return Missing(gap.names, gap.message)
        absent = _NO_KEY.search(error)
        if absent is not None:
            path = self._paths.get(absent[1], absent[1])
            return Missing((path,), f"{path} is not there" if absent[1] not in self._marked else f"{path} has no value")
        unread = _UNREAD.search(error)
        if unread is not None:
            path = self._paths.get(unread[1], unread[1])
            return Missing((path,), f"{path} could not be read")
        if "budget exceeded" in error:
            return self._missing("it looks at more than 10,000 elements")
        for internal, plain in _PLAIN.items():
            error = error.replace(internal, plain)
        return self._missing(_CODE.sub("", error))

    def _missing(self, why: str) -> Missing:
        return Missing(tuple(sorted(self.names)), f"{_short(self.text)} has no value: {why}")


_UNSET: Final = re.compile(r'No value with name "([^"]+)" found')
_NO_KEY: Final = re.compile(r'Key not found in map ?: ?"?([^"]*)"?')
_UNREAD: Final = re.compile(r"(?:^|: )(\S+) could not be read$")
_CODE: Final = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
_PLAIN: Final = {
    HAS: "",
    SEEN: "",
    WHOLE: "",
    "math.@max argument": "max() of a list that",
    "math.@min argument": "min() of a list that",
}
_SHORT: Final = 80


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHORT else line[: _SHORT - 1] + "…"


def _json(value: Any) -> JSON:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not is_finite(value):
            raise ValueError("a number in it is not finite")
        return value
    if isinstance(value, list):
        return [_json(element) for element in value]
    if isinstance(value, dict):
        return {str(key): _json(element) for key, element in value.items()}
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    raise ValueError("the result is a type, not a value")
