"""The messages of the end: `otherwise` where it did not go well, `finally` whatever it was."""

from remediator.domain.runs import Run
from remediator.engine.acceptance import AcceptedRunbook, CompiledStep

DEFAULT_RECEIVER = "default"

Message = CompiledStep | None
"""None is the message that every end without a cure sends where the Runbook says nothing: to receiver `default`."""


def messages(run: Run, book: AcceptedRunbook | None) -> tuple[Message, ...]:
    """The messages that belong to the end which the run has come to, in order."""
    ending = run.status.ending
    if ending is None or not (ending.outcome.covers or ending.outcome.is_success):
        return ()
    otherwise: tuple[Message, ...] = ()
    if ending.outcome.escalates:
        otherwise = book.otherwise if book is not None else ()
        if all(one is None or one.question is not None for one in otherwise):
            otherwise = (None, *otherwise)  # what people have to do tells nobody by itself
    return (*otherwise, *(book.finally_ if book is not None else ()))
