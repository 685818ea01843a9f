"""An alert that is sent on although its run is believed to have helped: nobody acts any more, so people are told."""

from datetime import datetime, timedelta
from typing import Final

from remediator.domain.runs import Run, RunOutcome, rfc3339
from remediator.engine.record import with_entry, with_status

RECURS_AFTER: Final = timedelta(minutes=30)
"""After the end; as long as the check `alertResolved` gives an alert to resolve, if nobody says otherwise."""

BELIEVED: Final = frozenset({RunOutcome.REMEDIATED, RunOutcome.NOT_NEEDED})
"""The ends of which nobody was told who would have to act, because nothing seemed to be left to do."""


def shows_after(run: Run, now: datetime) -> timedelta | None:
    """
    How long it takes until one of its alerts that is sent then shows that the run has not helped; not positive: now.

    None where none will show it, or one already has.
    """
    status = run.status
    if status.outcome not in BELIEVED or status.ended_at is None or status.still_firing is not None:
        return None
    return status.ended_at + RECURS_AFTER - now


def is_sent_on(run: Run, now: datetime) -> bool:
    """Whether one of its alerts, sent now, shows for the first time that the run has not helped."""
    remaining = shows_after(run, now)
    return remaining is not None and remaining <= timedelta(0)


def has_to_be_told(run: Run) -> bool:
    """Whether it is on the record that an alert of it was sent on, and not yet that people were told."""
    status = run.status
    if status.outcome not in BELIEVED or status.recurred is not None:
        return False
    if status.ended_at is None or status.still_firing is None:
        return False
    return status.still_firing - status.ended_at >= RECURS_AFTER


def has_something_left(run: Run) -> bool:
    """Whether a run that has ended is still worked on: it owes the taking back of a change, or a word to people."""
    return run.owes or has_to_be_told(run)


def sentence_of(run: Run) -> str:
    """What people are told: that it fires on, since when, and that nobody acts."""
    status = run.status
    assert status.ended_at is not None and status.still_firing is not None, "it has ended, and its alert was sent since"
    alert = status.alert or "its alert"
    return (
        f"{alert} was sent again at {rfc3339(status.still_firing)}, although the run ended as {status.outcome} at "
        f"{rfc3339(status.ended_at)}; nothing more is done about it until it resolves and fires anew"
    )


def with_recurrence(run: Run, now: datetime) -> Run:
    """The run whose people were told, once and for all."""
    run = with_entry(run, now, "recurred", sentence_of(run))
    return with_status(run, recurred=now, held=None)
