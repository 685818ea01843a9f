"""
What is pure is computed once.

A process that is run again from its beginning asks the engine the same questions in the same order; it is
given the answers of the first time. Redaction depends on a text alone. Neither changes what is searched.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any, Final
from unittest.mock import patch

from remediator.domain import redaction
from remediator.handlers import runs as shell

ASKED: Final = ("next_move", "reported", "wants")


class Answers:
    """The answers that the engine has given to one process since its last call came back."""

    current: "Answers | None" = None

    def __init__(self, kept: tuple[Any, ...] | None = None) -> None:
        self.kept = list(kept or ())
        self._known = len(self.kept)
        self._next = 0

    def answer(self, ask: Callable[[], Any]) -> Any:
        self._next += 1
        if self._next <= self._known:
            return self.kept[self._next - 1]
        self.kept.append(ask())
        return self.kept[-1]


@contextmanager
def computed_once() -> Iterator[None]:
    """For as long as a search lasts; mutants are put in place before it."""

    def once(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def asked(*args: Any) -> Any:
            answers = Answers.current
            return function(*args) if answers is None else answers.answer(lambda: function(*args))

        return asked

    redacted = lru_cache(maxsize=100_000)(redaction.Redactor._pass)
    asked = {name: once(getattr(shell, name)) for name in ASKED}
    with (
        patch.object(redaction.Redactor, "_pass", lambda self, data, depth=0: redacted(self, data, depth)),
        patch.multiple(shell, **asked),
    ):
        yield
