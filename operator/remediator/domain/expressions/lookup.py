"""
What a path such as `diagnosis.pods.items` is in given values: a value, absent, or unknown and why.

An evaluation gets one variable for each question about a path (see `rewriting`); a question that has
no answer leaves its variable unset and a `Gap` behind, from which the message for people is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, Protocol

from remediator.domain.expressions.rewriting import HAS, SEEN, WHOLE
from remediator.domain.expressions.shapes import (
    ABSENT,
    ALWAYS,
    Catalogue,
    Field,
    Kind,
    ListOf,
    Message,
    Shape,
    field_of,
    prepared,
    rfc3339,
    seen_of,
)
from remediator.domain.expressions.values import UNKNOWN, Missing, Values


@dataclass(frozen=True, slots=True)
class Gap:
    """A question without an answer: what is missing, and why."""

    names: tuple[str, ...]
    message: str


class Variable(Protocol):
    """What a lookup needs of a named expression."""

    def raw(self, values: Values) -> Any | Missing: ...


@dataclass(eq=False)
class Lookup:
    """The shapes of everything that one scope can name."""

    outputs: Mapping[str, Shape]
    steps: Mapping[str, Message]
    single: Mapping[str, Shape]
    params: Message
    variables: dict[str, Variable] = field(default_factory=dict)

    def answer(self, values: Values, question: str) -> Any:
        """What the variable of this name is set to, or the Gap that it leaves."""
        key = (self, question)
        if key not in values.prepared:
            values.prepared[key] = self._answer(values, question)
        return values.prepared[key]

    def _answer(self, values: Values, question: str) -> Any:
        if question.startswith(WHOLE):
            return self._is_whole(values, question.removeprefix(WHOLE))
        path = question.removeprefix(HAS).removeprefix(SEEN)
        found = self._find(values, path, seen=question.startswith(SEEN))
        if isinstance(found, Gap):
            return found
        if question.startswith(HAS):
            return found is not ABSENT
        return self._absent(values, path) if found is ABSENT else found

    def _find(self, values: Values, path: str, *, seen: bool) -> Any:
        root, _, rest = path.partition(".")
        name, _, part = rest.partition(".")
        if root in ("diagnosis", "latest"):
            return self._output(getattr(values, root), path, name, part, seen=seen)
        if root == "steps":
            return self._step(values.steps.get(name, _NOT_RUN), path, name, part)
        if root == "params":
            return _part(self.params, values.params, path, name)
        if root == "variables":
            found = self.variables[name].raw(values)
            return Gap(found.names, found.message) if isinstance(found, Missing) else simplified(found)
        if root == "now":
            return rfc3339(values.now) if isinstance(values.now, datetime) else _unread("now")
        return _part(self.single[root], getattr(values, root), path, name)

    def _output(self, of: Mapping[str, Any], path: str, name: str, part: str, *, seen: bool) -> Any:
        output, shape = of.get(name, UNKNOWN), self.outputs[name]
        if not part or not isinstance(shape, Message) or not isinstance(output, Mapping):
            return _part(shape, output, path, part)
        found = seen_of(shape, output, part) if seen else field_of(shape, output, part)
        if found is not UNKNOWN:
            return found
        if output.get("known") is True and output.get("truncated") is not False and part not in ALWAYS:
            return Gap((path,), f"{path} is incomplete, because the answer was cut")
        error = output.get("error")
        return _unread(path, f": {error}" if isinstance(error, str) and error else "")

    def _step(self, step: Any, path: str, name: str, part: str) -> Any:
        if isinstance(step, Mapping) and part not in ("", "ran", "ok") and step.get("ran") is False:
            return ABSENT
        return _part(self.steps[name], step, path, part)

    def _is_whole(self, values: Values, path: str) -> Any:
        root, name, part = path.split(".")
        output, shape = getattr(values, root).get(name, UNKNOWN), self.outputs[name]
        if not isinstance(output, Mapping) or not isinstance(shape, Message):
            return _unread(path)
        if output.get("truncated") is False or shape.fields[part].uncut:
            return True
        return Gap((path,), f"{path} is incomplete, because the answer was cut")

    def _absent(self, values: Values, path: str) -> Gap:
        root, _, rest = path.partition(".")
        name = rest.partition(".")[0]
        if root == "params":
            return Gap((path,), f"{path} is not given")
        if root in ("diagnosis", "latest") and getattr(values, root).get(name) is None:
            return Gap((path,), f"{root}.{name} was not read, because its condition was False")
        if root == "steps" and not (values.steps.get(name) or {}).get("ran"):
            return Gap((path,), f"steps.{name} did not run")
        return Gap((path,), f"{path} is not there")


_NOT_RUN: Final = MappingProxyType({"ran": False, "ok": False})


def _part(shape: Shape, data: Any, path: str, part: str) -> Any:
    if data is None:
        return ABSENT
    if data is UNKNOWN:
        return _unread(path)
    if not part:
        found = prepared(shape, data)
    elif isinstance(shape, Message) and isinstance(data, Mapping):
        found = field_of(shape, data, part)
    else:
        found = UNKNOWN
    return _unread(path) if found is UNKNOWN else found


def _unread(path: str, why: str = "") -> Gap:
    return Gap((path,), f"{path} could not be read{why}")


def simplified(value: Any) -> Any:
    """A value on its way into another evaluation, where `rewriting.RESTORED` makes it whole again."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return f"{value // timedelta(microseconds=1)}us"
    return value


_STRING: Final = Field(Kind.STRING)


def alert_shape(catalogue: Catalogue, strings: Shape) -> Message:
    names = ("fingerprint", "status", "startsAt", "endsAt", "generatorURL")
    maps = dict.fromkeys(("labels", "annotations"), Field(strings))
    return catalogue.message("Alert", {**dict.fromkeys(names, _STRING), **maps})


def target_shape(catalogue: Catalogue, strings: Shape, anything: Shape) -> Message:
    names = dict.fromkeys(("kind", "name", "namespace", "uid"), _STRING)
    maps = dict.fromkeys(("labels", "annotations"), Field(strings))
    return catalogue.message("Target", {**names, **maps, **dict.fromkeys(("spec", "status"), Field(anything))})


def namespace_shape(catalogue: Catalogue, strings: Shape) -> Message:
    names = dict.fromkeys(("name", "uid", "creationTimestamp"), _STRING)
    return catalogue.message("Namespace", {**names, **dict.fromkeys(("labels", "annotations"), Field(strings))})


def run_shape(catalogue: Catalogue) -> Message:
    names = dict.fromkeys(("remedy", "reason", "outcome"), _STRING)
    return catalogue.message("Run", {**names, "tried": Field(ListOf(Kind.STRING))})
