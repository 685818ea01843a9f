"""
What a run notes in the ledger on a target's Lease: what it may change, and what it has changed.

The Lease of the run's own target lists all changes of its plan, that of another object those of that
object. They are noted with the lock, before anything is changed, and corrected when the run has
ended; a run that changed nothing is then taken off.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from remediator.domain.changes import change_from_json
from remediator.domain.locks import LockState, PastChange
from remediator.domain.objects import ObjectRef
from remediator.domain.runs import Attempt, Run, StepRecord
from remediator.engine.record import current


def runbook_of(run: Run) -> str:
    """The Runbook as the ledger names it; empty for a run that was never accepted."""
    resolved = run.status.resolved
    return f"{resolved.runbook.namespace}/{resolved.runbook.name}" if resolved is not None else ""


def to_lock(run: Run) -> tuple[ObjectRef, ...]:
    """
    The run's target and every object that it changes, in the order in which all runs lock.

    A run that has ended locks only what it takes back.
    """
    undo = {step.target.ref for step in _taking_back(current(run)) if step.target is not None}
    if run.is_ended:
        return tuple(sorted(undo))
    planned = {step.target.ref for step in current(run).steps if step.target is not None and step.change}
    return tuple(sorted({run.target.ref, *planned, *undo}))


def ever_locked(run: Run) -> tuple[ObjectRef, ...]:
    """Every object of which the run has held the lock in any of its rounds."""
    rounds = (attempt for attempt in run.status.attempts if attempt.locked_at is not None)
    refs = {step.target.ref for attempt in rounds for step in attempt.steps if step.target is not None and step.change}
    return tuple(sorted({run.target.ref, *refs})) if refs else ()


def planned(run: Run, ref: ObjectRef, now: datetime) -> PastChange | None:
    """
    What the present round may change, as it is noted with the lock of the object.

    What takes a change back is not noted: it begins no rest.
    """
    if _taking_back(current(run)):
        return None
    return replace(_entry(run, current(run), now), made=(now,) * len(changes_of(run, ref)))


def changes_of(run: Run, ref: ObjectRef) -> tuple[StepRecord, ...]:
    """The changes of the present round that count on the Lease of this object."""
    return tuple(step for step in _counted(run, current(run), ref) if not change_from_json(step.change or {}).is_empty)


def made(run: Run, ref: ObjectRef, now: datetime) -> tuple[PastChange, ...]:
    """What each round of the run has changed, for good: a round that changed nothing has none."""
    return tuple(_made(run, ref, now))


def completed(state: LockState, run: Run | None, now: datetime) -> LockState:
    """
    The lock without its holder, which has ended, and with what that holder has changed.

    Of one that was deleted before it noted its outcome everything stays noted that it might have changed.
    """
    if run is None or state.target is None:
        return state.freed
    return state.noted(*made(run, state.target, now)).freed


def _made(run: Run, ref: ObjectRef, now: datetime) -> Iterator[PastChange]:
    for attempt in run.status.attempts:
        if not attempt.remedy:
            continue
        changed = [step for step in _counted(run, attempt, ref) if step.has_changed_something]
        times = tuple(step.started_at or step.intended_at or now for step in changed)
        yield replace(
            _entry(run, attempt, min(times, default=now)),
            made=times,
            ended=run.status.ended_at or now,
            outcome=str(run.status.outcome or ""),
        )


def _taking_back(attempt: Attempt) -> tuple[StepRecord, ...]:
    return tuple(step for step in attempt.undo if not step.state.is_over)


def _counted(run: Run, attempt: Attempt, ref: ObjectRef) -> Iterator[StepRecord]:
    for step in attempt.steps:
        if step.change and step.target is not None and ref in (run.target.ref, step.target.ref):
            yield step


def _entry(run: Run, attempt: Attempt, at: datetime) -> PastChange:
    return PastChange(runbook=runbook_of(run), remedy=attempt.remedy, run=run.full_name, run_uid=run.uid, at=at)
