"""
The text of an expression and where it stands, so that every refusal can say the position.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from remediator.domain.errors import InvalidExpression, Problem
from remediator.domain.expressions.refusals import problems
from remediator.domain.expressions.shapes import Message
from remediator.domain.expressions.syntax import Node

MAX_TEXT_BYTES: Final = 2_048


@dataclass(frozen=True)
class Source:
    """The text of an expression and where it stands: in a field, or in a template of one."""

    text: str
    path: str
    whole: str = ""
    start: int = 0

    def refuse_unreadable(self) -> None:
        if not self.text.strip():
            raise self.refused(0, "an expression is missing")
        try:
            size = len(self.text.encode())
        except UnicodeEncodeError:
            raise self.refused(0, "the text is not valid Unicode") from None
        if size > MAX_TEXT_BYTES:
            raise self.refused(0, f"an expression has at most {MAX_TEXT_BYTES:,} bytes, this one has {size:,}")

    def problem(self, offset: int, message: str) -> Problem:
        before = (self.whole or self.text)[: self.start + offset]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return Problem(self.path, f"{line}:{column}: {message}")

    def refused(self, offset: int, message: str) -> InvalidExpression:
        return InvalidExpression([self.problem(offset, message)])

    def offset_of(self, tree: Node, node_id: int) -> int:
        return next((entry.offset for entry in tree.source_info.positions if entry.id == node_id), 0)

    def offset_at(self, line: int, column: int) -> int:
        """The offset of a position that the compiler counted in this text alone."""
        lines = self.text.split("\n")[: line - 1]
        return min(sum(len(each) + 1 for each in lines) + column - 1, len(self.text))

    @contextmanager
    def translating(self, messages: Mapping[str, Message]) -> Iterator[None]:
        """
        Say in the author's words what the compiler raises inside the block.

        Raises:
            InvalidExpression: for everything that the compiler refuses, a tree too deep to read included.
        """
        try:
            yield
        except (DecodeError, RecursionError):
            raise self.refused(0, "nested too deeply; give a part of it a name under variables") from None
        except RuntimeError as error:
            raise InvalidExpression(
                self.problem(self.offset_at(line, column), message)
                for line, column, message in problems(str(error), messages)
            ) from None
