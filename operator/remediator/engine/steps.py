"""
How one step of a plan, or of an undo, stands: what its object says of it, what holds it, how it is over.

Each function takes the run and returns it with that on its record, or with the move that it leads to.
"""

from datetime import datetime, timedelta
from typing import Final

from remediator.domain.changes import is_stamped, is_voided
from remediator.domain.durations import human
from remediator.domain.expressions import Values
from remediator.domain.json import dig
from remediator.domain.runs import Attempt, Run, StepRecord, StepState
from remediator.domain.verdicts import Reason, Wait
from remediator.engine.acceptance import AcceptedRunbook, CompiledRemedy, CompiledStep
from remediator.engine.facts import Facts
from remediator.engine.guards import RETRY_UNKNOWN
from remediator.engine.moves import Hold, Move, Poll, Void
from remediator.engine.record import current, going_on, held, standing, with_entry, with_step

UNKNOWN_PATIENCE: Final = timedelta(minutes=15)
"""How long a change waits for a fact that cannot be read before it is refused and somebody is told."""


def remedy_of(book: AcceptedRunbook, attempt: Attempt) -> CompiledRemedy:
    """The remedy that the round has chosen; the frozen content holds it for as long as the run lives."""
    remedy = book.remedy(attempt.remedy)
    assert remedy is not None, "a chosen remedy stands in the content that it was chosen from"
    return remedy


def compiled_step(remedy: CompiledRemedy, step: StepRecord) -> CompiledStep:
    """The step of the Runbook that a record is about; of joined ones, the first."""
    return next(one for one in remedy.steps if one.step.name == step.name)


def with_item(values: Values, step: StepRecord) -> Values:
    """The values with the element of `forEach` that the step is for."""
    return values if step.item is None else values.but(item=step.item_value)


def over(
    run: Run,
    facts: Facts,
    index: int,
    state: StepState,
    message: str,
    reason: Reason | None = None,
    *,
    undoing: bool = False,
) -> Run:
    """The run with the step at its end, and with that in its story."""
    run = with_step(
        going_on(run),
        index,
        undoing=undoing,
        state=state,
        message=message,
        reason=str(reason or ""),
        ended_at=facts.now,
    )
    step = (current(run).undo if undoing else current(run).steps)[index]
    return with_entry(run, facts.now, str(state).lower(), f"{step.label}: {message}")


def wait_and_see(run: Run, facts: Facts, reason: Reason, message: str) -> tuple[Run, Move]:
    """The run standing still until what cannot be known now is asked again."""
    until = facts.now + RETRY_UNKNOWN
    return held(run, facts.now, reason, message, until), Hold(until)


def is_out_of_patience(run: Run, now: datetime, reason: Reason = Reason.FACT_UNKNOWN) -> bool:
    """Whether the run has waited long enough for what could not be read."""
    return has_stood(run, now, reason, UNKNOWN_PATIENCE)


def has_stood(run: Run, now: datetime, reason: Reason, patience: timedelta) -> bool:
    """Whether the run has stood still for this one reason for longer than that."""
    before = run.status.held
    return before is not None and before.reason == reason and now - before.since > patience


def held_up(
    run: Run, facts: Facts, index: int, step: StepRecord, verdict: Wait, *, undoing: bool = False
) -> Run | tuple[Run, Move]:
    """The run standing still for what a guard says; what cannot be known is refused once patience is over."""
    if run.is_ended:
        return standing(run, facts.now, verdict.reason, verdict.message), Hold(verdict.until)
    unknown = verdict.reason in (Reason.FACT_UNKNOWN, Reason.STALE_ALERT)
    stuck = is_out_of_patience(run, facts.now, verdict.reason)
    if unknown and stuck and step.state is StepState.PLANNED:
        # not StaleAlert, which would end the run as if the alert were known to be over
        return over(run, facts, index, StepState.REFUSED, verdict.message, Reason.FACT_UNKNOWN, undoing=undoing)
    return held(run, facts.now, verdict.reason, verdict.message, verdict.until), Hold(verdict.until)


def as_found(run: Run, facts: Facts, index: int, step: StepRecord, *, undoing: bool) -> Run | tuple[Run, Move] | None:
    """
    What an intent found in the record came to; None if it has certainly not happened and may go on.

    STAMP, VOID, GEN: our stamp says that it happened, a void that it was given up, and a generation
    that moved without our stamp says nothing: then it is never repeated.
    """
    seen = facts.step_target
    if step.change is not None and "pods" in step.change:
        return None  # a list of pods by UID: finishing it is the same as beginning it
    if seen.gone:
        return over(run, facts, index, StepState.FAILED, "its object is gone", Reason.TARGET_GONE, undoing=undoing)
    if seen.obj is None:
        return wait_and_see(run, facts, Reason.FACT_UNKNOWN, f"the target cannot be read: {seen.error}")
    if is_stamped(seen.obj, step.token):
        return adopted(run, facts, index, step, undoing=undoing)
    if is_voided(seen.obj, step.token):
        return over(run, facts, index, StepState.VOIDED, "it was given up", undoing=undoing)
    if dig(seen.obj, "metadata", "generation") == step.generation:
        return None
    message = "the object was changed by somebody since the intent, and does not say whether our change happened"
    return run, Void(index, undoing=undoing, reason=Reason.FACT_UNKNOWN, message=message)


def adopted(run: Run, facts: Facts, index: int, step: StepRecord, *, undoing: bool) -> Run:
    """The run whose change has happened, as its object says."""
    generation = dig(facts.step_target.obj, "metadata", "generation")
    run = with_step(
        run, index, undoing=undoing, state=StepState.STARTED, started_at=facts.now, generation_after=generation
    )
    where = step.target.ref if step.target is not None else run.target.ref
    return with_entry(run, facts.now, "start", f"{step.label}: {where} carries its stamp already")


def poll(
    run: Run, facts: Facts, index: int, step: StepRecord, timeout: timedelta, *, undoing: bool
) -> Run | tuple[Run, Move]:
    """
    Look how far the controllers are; once the time is over, for the last time.

    Whoever has not looked for so long, because it was not running, does not take back what is through.
    """
    is_over = step.started_at is not None and facts.now > step.started_at + timeout
    return run, Poll(index, undoing, f"not finished within {human(timeout)}" if is_over else "")


def giving_up(run: Run, reason: Reason, message: str, *, undo: bool = True) -> Void | None:
    """
    The void of the change that is intended and not begun; None where there is none.

    Without `undo`, what is being taken back goes on.
    """
    attempt = run.status.attempt
    if attempt is None:
        return None
    for undoing, steps in ((False, attempt.steps), (True, attempt.undo if undo else ())):
        for index, step in enumerate(steps):
            if step.state is StepState.INTENDED and step.change is not None:
                return Void(index, undoing, reason, message)
    return None
