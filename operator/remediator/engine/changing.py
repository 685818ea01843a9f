"""One change, made and taken back by the same machine: looked up, asked about, locked, intended, started."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from remediator.domain.changes import change_from_json
from remediator.domain.durations import human
from remediator.domain.names import lease_name
from remediator.domain.runbooks import STEP_TIMEOUT
from remediator.domain.runs import Run, StepRecord, StepState, rfc3339
from remediator.domain.verdicts import Deny, Reason, Wait
from remediator.engine import approvals
from remediator.engine.asking import ask
from remediator.engine.facts import Facts
from remediator.engine.guards import BEFORE_CHANGE, BEFORE_UNDO, Question, first_objection
from remediator.engine.moves import Intend, Lock, Move, Start, Void
from remediator.engine.record import current, going_on, with_entry, with_round_begun_again
from remediator.engine.steps import as_found, has_stood, held_up, over, poll

DIAGNOSIS_LASTS: Final = timedelta(minutes=15)
"""After so long a round that has changed nothing looks at everything again before it does."""

PASSING: Final = (Reason.ROLLOUT_IN_PROGRESS, Reason.DISRUPTION_BUDGET)
"""What passes by itself if it passes at all; a step waits for it no longer than it may take itself."""


def change(run: Run, facts: Facts, index: int, step: StepRecord, timeout: timedelta) -> Run | tuple[Run, Move]:
    """The next thing to do for one change of the plan: every guard is asked on fresh facts before it is begun."""
    assert step.change is not None, "a change was rendered"
    if step.state is StepState.STARTED:
        return poll(run, facts, index, step, timeout, undoing=False)
    if step.state is StepState.INTENDED:
        found = as_found(run, facts, index, step, undoing=False)
        if found is not None:
            return found
        if step.started_at is not None and facts.now > step.started_at + timeout:
            message = f"not finished within {human(timeout)}: {run.status.held.message if run.status.held else ''}"
            return run, Void(index, undoing=False, reason=Reason.DISRUPTION_BUDGET, message=message)
    elif change_from_json(step.change).is_empty:
        return over(run, facts, index, StepState.DONE, "nothing has to be changed")
    verdict = first_objection(BEFORE_CHANGE, Question(run, step, facts))
    if isinstance(verdict, Wait) and verdict.reason in PASSING and has_stood(run, facts.now, verdict.reason, timeout):
        verdict = Deny(verdict.reason, f"{verdict.message}; nothing changed within {human(timeout)}")
    if isinstance(verdict, Wait):
        if verdict.reason is Reason.AWAITING_APPROVAL:
            return ask(run, facts, step)
        return held_up(run, facts, index, step, _within_the_question(run, verdict))
    if isinstance(verdict, Deny):
        run = _with_refusal(run, verdict.reason)
        if step.state is StepState.INTENDED:
            return run, Void(index, undoing=False, reason=verdict.reason, message=verdict.message)
        return over(run, facts, index, StepState.REFUSED, verdict.message, verdict.reason)
    if _is_old_news(run, facts):
        told = f"the diagnosis of {rfc3339(current(run).diagnosed_at or facts.now)} is old by now"
        return with_entry(with_round_begun_again(run), facts.now, "again", told)
    run, move = _intend(run, facts, index, step, undoing=False)
    return approvals.used_up(run, step, facts.replies or ()) if isinstance(move, Intend) else run, move


def _is_old_news(run: Run, facts: Facts) -> bool:
    """
    Whether the diagnosis is too old to act on: whatever held the run, the world has gone on meanwhile.

    A plan that people were asked about stays: they have seen it, and it is bound to its values.
    """
    attempt = current(run)
    begun = any(step.state is not StepState.PLANNED for step in attempt.steps)
    if begun or attempt.approvals or run.status.locks or attempt.diagnosed_at is None:
        return False
    return facts.now - attempt.diagnosed_at > DIAGNOSIS_LASTS


def _within_the_question(run: Run, verdict: Wait) -> Wait:
    """What was agreed to must begin before its deadline, whatever else it waits for."""
    record = approvals.unused(current(run))
    return replace(verdict, until=min(verdict.until, record.deadline)) if record is not None else verdict


def _with_refusal(run: Run, reason: Reason) -> Run:
    record = approvals.unused(current(run))
    if record is None or reason not in (Reason.DENIED, Reason.EXPIRED):
        return run
    return approvals.with_answer(run, record, "Denied" if reason is Reason.DENIED else "Expired")


def _intend(run: Run, facts: Facts, index: int, step: StepRecord, *, undoing: bool) -> tuple[Run, Move]:
    run = going_on(run)
    if step.state is StepState.INTENDED:
        return run, Start(index, undoing)
    is_locked = step.target is not None and lease_name(step.target.ref) in run.status.locks
    if not undoing:
        was_taken_away = facts.lock is not None and facts.lock.holder_uid != run.uid
        is_locked = is_locked and current(run).locked_at is not None and not was_taken_away
    return run, Intend(index, undoing) if is_locked else Lock()


def take_back(run: Run, facts: Facts, index: int, step: StepRecord) -> Run | tuple[Run, Move]:
    """One change taken back, by the same machine that made it."""
    if step.state is StepState.STARTED:
        return poll(run, facts, index, step, STEP_TIMEOUT, undoing=True)
    if step.state is StepState.INTENDED:
        found = as_found(run, facts, index, step, undoing=True)
        if found is not None:
            return found
    verdict = first_objection(BEFORE_UNDO, Question(run, step, facts))
    if isinstance(verdict, Wait):
        return held_up(run, facts, index, step, verdict, undoing=True)
    if isinstance(verdict, Deny):
        reason = Reason.UNDO_CONFLICT if verdict.reason is Reason.TARGET_CHANGED else verdict.reason
        if step.state is StepState.INTENDED:
            return run, Void(index, undoing=True, reason=reason, message=verdict.message)
        return over(run, facts, index, StepState.REFUSED, verdict.message, reason, undoing=True)
    return _intend(run, facts, index, step, undoing=True)
