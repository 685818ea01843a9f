"""
Strings that contain expressions: `'${…}'`.

A part ends at the brace that closes it, counted as CEL counts: braces inside string literals do not
count. Nothing that a value contains is read as a template again.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

import re2

from remediator.domain.expressions.values import Known, Missing, Values
from remediator.domain.json import JSON

OPENING: Final = "${"
ESCAPED: Final = "$${"
MISSING_TEXT: Final = "?"
MAX_RENDERED: Final = 1 << 18

# a string literal as a whole, longest form first, or one character
_LEXEME: Final = re2.compile(
    r'(?s)(?:[rR]?"""(?:[^"\\]|\\.|"[^"]|""[^"])*"""'
    r"|[rR]?'''(?:[^'\\]|\\.|'[^']|''[^'])*'''"
    r'|[rR]"[^"\n]*"|[rR]\'[^\'\n]*\'|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|//[^\n]*|.)'
)


class Part(Protocol):
    """What a template needs of an expression."""

    @property
    def names(self) -> frozenset[str]: ...

    @property
    def untyped(self) -> bool: ...

    def evaluate(self, values: Values) -> Known | Missing: ...


class Unbalanced(ValueError):
    """A `${` that nothing closes; carries its offset."""

    def __init__(self, offset: int) -> None:
        super().__init__("unbalanced")
        self.offset = offset


def split(text: str) -> Iterator[tuple[str, int, bool]]:
    """
    The parts of a template in order: text, offset, and whether it is an expression.

    Raises:
        Unbalanced: where a part is not closed.
    """
    position, literal, start = 0, "", 0
    while position < len(text):
        if text.startswith(ESCAPED, position):
            literal, position = literal + OPENING, position + len(ESCAPED)
        elif text.startswith(OPENING, position):
            if literal:
                yield literal, start, False
            end = _end_of_part(text, position)
            yield text[position + len(OPENING) : end], position + len(OPENING), True
            literal, position = "", end + 1
            start = position
        else:
            literal, position = literal + text[position], position + 1
    if literal:
        yield literal, start, False


def _end_of_part(text: str, opening: int) -> int:
    depth = 0
    # one pass: each further match from the start would read all of the text again
    for found in _LEXEME.finditer(text, opening + len(OPENING)):
        lexeme = found.group()
        if lexeme == "}" and depth == 0:
            return int(found.start())
        depth += {"{": 1, "}": -1}.get(lexeme, 0)
    raise Unbalanced(opening)


@dataclass(frozen=True)
class Template:
    """A string with expressions in it, compiled."""

    source: str
    parts: tuple[str | Part, ...]

    @cached_property
    def names(self) -> frozenset[str]:
        """The roots that its expressions use."""
        return frozenset().union(*(part.names for part in self.parts if not isinstance(part, str)))

    @cached_property
    def untyped(self) -> bool:
        """Whether the compiler could not see the types of all that it uses."""
        return any(part.untyped for part in self.parts if not isinstance(part, str))

    def evaluate(self, values: Values) -> Known | Missing:
        """The rendered string; the value itself, with its type, where the template is one expression alone."""
        if len(self.parts) == 1 and not isinstance(self.parts[0], str):
            return self.parts[0].evaluate(values)
        found = [Known(part) if isinstance(part, str) else part.evaluate(values) for part in self.parts]
        missing = [value for value in found if isinstance(value, Missing)]
        if missing:
            return _all_missing(missing)
        texts = []
        for value in found:
            if isinstance(value, Known):
                if isinstance(value.value, (list, dict)):
                    return Missing((self.source,), f"{self.source}: a list or map cannot stand inside a text")
                texts.append(_text(value.value))
        rendered = "".join(texts)
        if len(rendered) > MAX_RENDERED:
            return Missing((self.source,), f"{self.source}: the text has more than {MAX_RENDERED:,} characters")
        return Known(rendered)

    def text(self, values: Values) -> str:
        """For messages: a value that is missing becomes `?`, a list or map its JSON."""
        texts = []
        for part in self.parts:
            value = Known(part) if isinstance(part, str) else part.evaluate(values)
            texts.append(_text(value.value) if isinstance(value, Known) else MISSING_TEXT)
        return "".join(texts)[:MAX_RENDERED]


@dataclass(frozen=True)
class Rendering:
    """A tree of parameters with templates in it, compiled; keys are never templates."""

    tree: "JSON | Template | list[Rendering] | dict[str, Rendering]"

    @cached_property
    def names(self) -> frozenset[str]:
        """The roots that its expressions use."""
        return frozenset().union(*(template.names for template in self.templates()))

    @cached_property
    def untyped(self) -> bool:
        """Whether the compiler could not see the types of all that it uses."""
        return any(template.untyped for template in self.templates())

    def templates(self) -> Iterator[Template]:
        """All templates of the tree, in order."""
        if isinstance(self.tree, Template):
            yield self.tree
        elif isinstance(self.tree, (list, dict)):
            for below in self.tree.values() if isinstance(self.tree, dict) else self.tree:
                if isinstance(below, Rendering):
                    yield from below.templates()

    def evaluate(self, values: Values) -> Known | Missing:
        """The whole tree rendered; missing if any part of it is."""
        missing: list[Missing] = []

        def value_of(template: Template) -> JSON:
            found = template.evaluate(values)
            if isinstance(found, Missing):
                missing.append(found)
                return None
            return found.value

        rendered = self._rendered(value_of)
        return _all_missing(missing) if missing else Known(rendered)

    def text(self, values: Values) -> JSON:
        """For messages: the same tree with every template as a text, `?` for what is missing."""
        return self._rendered(lambda template: template.text(values))

    def _rendered(self, value_of: Callable[[Template], JSON]) -> JSON:
        tree = self.tree
        if isinstance(tree, Template):
            return value_of(tree)
        if isinstance(tree, list):
            return [below._rendered(value_of) if isinstance(below, Rendering) else below for below in tree]
        if isinstance(tree, Mapping):
            return {
                key: below._rendered(value_of) if isinstance(below, Rendering) else below for key, below in tree.items()
            }
        return tree


def _all_missing(missing: list[Missing]) -> Missing:
    names = dict.fromkeys(name for one in missing for name in one.names)
    messages = dict.fromkeys(one.message for one in missing)
    return Missing(tuple(names), "; ".join(messages))


def _text(value: JSON) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format(value, ".15g")
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return "null" if value is None else str(value)
