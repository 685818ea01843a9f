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

from remediator.domain.bounded import shorten
from remediator.domain.redaction import redact
from remediator.domain.runs import (
    MAX_TIMELINE,
    Attempt,
    Ending,
    Held,
    Run,
    RunOutcome,
    StepRecord,
    StepState,
    TimelineEntry,
)

MESSAGE_BYTES: Final = 1_024
KEPT_FROM_THE_START: Final = 20
"""How many of the first lines of a story stay when its middle is dropped."""


def in_short(text: str, size: int = MESSAGE_BYTES) -> str:
    """What may stand in a record: without secrets, in at most a kilobyte, a cut made visible."""
    return shorten(redact(text), size)


def with_status(run: Run, **changes: Any) -> Run:
    """The run with these fields of its status replaced."""
    return replace(run, status=run.status.model_copy(update=changes))


def with_entry(run: Run, now: datetime, what: str, message: str = "", *, mark: str = "") -> Run:
    """
    The run with one more line in its story; the same line twice in a row is told once.

    `mark` ends the line: words of ours that hold no secret, although they may look like one. The story is
    bounded: of a long one the beginning and the end are kept.
    """
    entry = TimelineEntry(at=now, what=what, message=in_short(message, MESSAGE_BYTES - len(mark)) + mark)
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

    The locks of the round before are kept; what the next one changes may be other objects, so it
    takes its own.
    """
    attempts = run.status.attempts
    return with_status(run, attempts=[*attempts, Attempt(number=attempts[-1].number + 1 if attempts else 1)])


def with_round_begun_again(run: Run) -> Run:
    """
    The run with its round thrown away before anything came of it, and begun anew.

    Its number is not used again, because evidence and tokens are named after it. What people have
    answered is kept: they are not asked twice.
    """
    before = current(run)
    fresh = Attempt(number=before.number + 1, questions=before.questions)
    return with_status(run, attempts=[*run.status.attempts[:-1], fresh], remedy="", held=None)


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
    ended = with_status(run, ending=Ending(outcome=outcome, reason=reason, message=in_short(message)), held=None)
    return with_entry(ended, now, "decide", f"{outcome}: {message}" if message else str(outcome))


def held(run: Run, now: datetime, reason: str, message: str, until: datetime | None) -> Run:
    """The run standing still for this reason; since when it stands so is kept."""
    before = run.status.held
    since = before.since if before is not None and before.reason == reason else now
    state = Held(reason=reason, message=in_short(message), until=until, since=since)
    standing = with_status(run, held=state)
    return standing if since != now else with_entry(standing, now, "hold", f"{reason}: {message}")


def standing(run: Run, now: datetime, reason: str, message: str) -> Run:
    """
    A run that has ended and cannot pay yet, for this reason.

    It may stand so for days: the same reason is written once, and no lock is held meanwhile unless a
    change is under way.
    """
    attempt = current(run)
    if all(step.state.is_over or step.state is StepState.PLANNED for step in attempt.undo):
        run = with_status(run, locks=[])
    before = run.status.held
    if before is not None and (before.reason, before.message) == (reason, in_short(message)):
        return run
    return held(run, now, reason, message, None)


def going_on(run: Run) -> Run:
    """The run standing still no longer."""
    return run if run.status.held is None else with_status(run, held=None)


def current(run: Run) -> Attempt:
    """The round that is going on; there is one as soon as the run was accepted."""
    attempt = run.status.attempt
    assert attempt is not None, "a run that was accepted has a round"
    return attempt
