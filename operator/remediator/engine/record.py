"""
How a run's record moves.

Each function takes a run and returns the run with one thing more on its record; none of them
reads a clock or the world. The record is what the API server stores: what is not in here did not
happen.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from remediator.domain.redaction import redact
from remediator.domain.runs import (
    MAX_TIMELINE,
    Attempt,
    Ending,
    Held,
    Run,
    RunOutcome,
    StepRecord,
    TimelineEntry,
)

KEPT_FROM_THE_START: Final = 20
"""How many of the first lines of a story stay when its middle is dropped."""


def with_status(run: Run, **changes: Any) -> Run:
    """The run with these fields of its status replaced."""
    return replace(run, status=run.status.model_copy(update=changes))


def with_entry(run: Run, now: datetime, what: str, message: str = "") -> Run:
    """
    The run with one more line in its story; the same line twice in a row is told once.

    The story is bounded: of a long one the beginning and the end are kept.
    """
    entry = TimelineEntry(at=now, what=what, message=redact(message)[:1024])
    timeline = list(run.status.timeline)
    if timeline and (timeline[-1].what, timeline[-1].message) == (entry.what, entry.message):
        return run
    if len(timeline) >= MAX_TIMELINE:
        del timeline[KEPT_FROM_THE_START]
    return with_status(run, timeline=[*timeline, entry])


def with_attempt(run: Run, **changes: Any) -> Run:
    """The run with these fields of its current round replaced."""
    attempts = list(run.status.attempts)
    attempts[-1] = attempts[-1].model_copy(update=changes)
    return with_status(run, attempts=attempts)


def with_new_attempt(run: Run) -> Run:
    """
    The run at the beginning of its next round: nothing diagnosed, nothing chosen.

    What the next round changes may be other objects, so its locks are taken anew.
    """
    return with_status(run, attempts=[*run.status.attempts, Attempt(number=len(run.status.attempts) + 1)], locks=[])


def with_step(run: Run, index: int, *, undoing: bool = False, **changes: Any) -> Run:
    """The run with these fields of one step of the plan (or of the undo) replaced."""
    attempt = current(run)
    steps: list[StepRecord] = list(attempt.undo if undoing else attempt.steps)
    steps[index] = steps[index].model_copy(update=changes)
    return with_attempt(run, **{"undo" if undoing else "steps": steps})


def with_told(run: Run, told: Sequence[StepRecord]) -> Run:
    """The run with the messages of its end replaced."""
    ending = run.status.ending
    assert ending is not None, "messages of the end belong to an ending"
    return with_status(run, ending=ending.model_copy(update={"told": list(told)}))


def with_ending(run: Run, now: datetime, outcome: RunOutcome, reason: str, message: str) -> Run:
    """The run with its end decided; the messages that belong to it are still to be sent."""
    ended = with_status(run, ending=Ending(outcome=outcome, reason=reason, message=redact(message)[:1024]), held=None)
    return with_entry(ended, now, "decide", f"{outcome}: {message}" if message else str(outcome))


def held(run: Run, now: datetime, reason: str, message: str, until: datetime | None) -> Run:
    """The run standing still for this reason; since when it stands so is kept."""
    before = run.status.held
    since = before.since if before is not None and before.reason == reason else now
    state = Held(reason=reason, message=redact(message)[:1024], until=until, since=since)
    standing = with_status(run, held=state)
    return standing if since != now else with_entry(standing, now, "hold", f"{reason}: {message}")


def going_on(run: Run) -> Run:
    """The run standing still no longer."""
    return run if run.status.held is None else with_status(run, held=None)


def current(run: Run) -> Attempt:
    """The round that is going on; there is one as soon as the run was accepted."""
    attempt = run.status.attempt
    assert attempt is not None, "a run that was accepted has a round"
    return attempt
