"""The compiler of one definition's expressions: it goes on after a mistake, so that all are told at once."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from remediator.domain.errors import InvalidExpression, Problem
from remediator.domain.expressions import Checker, Expression, Place, Rendering, Result, Template
from remediator.domain.json import JSON

SHORTEST_PACE: Final = timedelta(seconds=1)
MAX_WARNINGS: Final = 10

_TEXT: Final = ("STRING", "DYN")
_WHOLE: Final = ("INT", "UINT", "DYN")
_SPOKEN: Final = {"INT": "a whole number", "UINT": "a whole number", "DOUBLE": "a number", "BOOL": "true or false"}


@dataclass(frozen=True)
class Writing:
    """
    What was found wrong so far, and the checker of the place that is looked at.

    Every method returns None (or an empty tree) where it has noted a problem.
    """

    checker: Checker
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def within(self, for_each: Expression) -> "Writing":
        """The same, where `item` is an element of this list."""
        return replace(self, checker=self.checker.within(for_each))

    def problem(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))

    def expression(
        self,
        text: str | None,
        place: Place,
        path: str,
        *,
        result: Result = Result.BOOL,
        earlier: Collection[str] | None = None,
    ) -> Expression | None:
        if text is None:
            return None
        try:
            made = self.checker.expression(text, place=place, path=path, result=result, earlier=earlier)
        except InvalidExpression as error:
            self.problems.extend(error.problems)
            return None
        self._warn(made.untyped, path)
        return made

    def text(
        self, text: str | None, place: Place, path: str, *, earlier: Collection[str] | None = None
    ) -> Template | None:
        """A template that must become a string."""
        if text is None:
            return None
        try:
            made = self.checker.template(text, place=place, path=path, earlier=earlier)
        except InvalidExpression as error:
            self.problems.extend(error.problems)
            return None
        self._warn(made.untyped, path)
        self.refuse_other_type(made, path, number=False)
        return made

    def tree(self, tree: JSON, place: Place, path: str, *, earlier: Collection[str] | None = None) -> Rendering:
        """The parameters of an action."""
        try:
            made = self.checker.render(tree, place=place, path=path, earlier=earlier)
        except InvalidExpression as error:
            self.problems.extend(error.problems)
            return Rendering({})
        self._warn(made.untyped, path)
        return made

    def refuse_other_type(self, template: Template, path: str, *, number: bool) -> None:
        """Note a lone `${…}` whose type does not fit a field for strings, or one for whole numbers."""
        alone = template.parts[0] if len(template.parts) == 1 else ""
        if not isinstance(alone, Expression):
            if number:
                self.problem(path, "must be a whole number, or a lone `${…}` that is one")
            return
        kind: Any = alone.type.name()
        if number and kind not in _WHOLE:
            self.problem(path, f"must be a whole number; {template.source} is {_spoken(kind)}")
        elif not number and kind not in _TEXT:
            hint = "; write string(…) around it" if kind in _SPOKEN else ""
            self.problem(path, f"must be a string; {template.source} is {_spoken(kind)}{hint}")

    def positive(self, duration: timedelta | None, path: str, *, least: timedelta = timedelta(microseconds=1)) -> None:
        """Note a duration that is too short to mean anything."""
        if duration is not None and duration < least:
            self.problem(path, "must be longer than 0s" if least < SHORTEST_PACE else "must be at least 1s")

    def _warn(self, untyped: bool, path: str) -> None:
        if untyped:
            self.warnings.append(f"{path}: not every type is known, so a misspelt name shows only when it runs")


def told(warnings: Iterable[str]) -> tuple[str, ...]:
    """The warnings, each once, the first few of many."""
    unique = list(dict.fromkeys(warnings))
    if len(unique) <= MAX_WARNINGS:
        return tuple(unique)
    return (*unique[:MAX_WARNINGS], f"and {len(unique) - MAX_WARNINGS} more like these")


def _spoken(kind: str) -> str:
    if kind in _SPOKEN:
        return _SPOKEN[kind]
    if kind.startswith("LIST"):
        return "a list"
    return "a map" if kind.startswith(("MAP", "remediator.")) else kind.lower()
