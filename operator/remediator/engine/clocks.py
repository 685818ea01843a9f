"""What has happened does not lie ahead: where a record says so, whoever wrote it had a wrong clock."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, TypeVar

from remediator.domain.runs import (
    ApprovalRecord,
    Attempt,
    CheckRecord,
    DebtKind,
    DebtRecord,
    QuestionRecord,
    Record,
    Run,
    StepRecord,
)
from remediator.engine.debts import step_of
from remediator.engine.record import with_status

APART: Final = timedelta(seconds=5)
"""By so much the clocks of two machines may differ that are both kept right."""

R = TypeVar("R", bound=Record)


def put_right(run: Run, now: datetime) -> Run:
    """
    The run with everything that is said to have happened later than now moved to now.

    What was to follow it moves along: the end of a question, the moment in which a limited change is taken
    back. Without this a verification that began under a clock an hour ahead would take an hour longer. Where
    even the run itself was made later than now, by the API server's clock, it is ours that is wrong.
    """
    if now + APART < run.created_at or all(moment <= now + APART for moment in _happened(run)):
        return run
    debts = [_debt(run, one, now) for one in run.status.debts]
    attempts = [_attempt(one, now) for one in run.status.attempts]
    run = with_status(run, debts=debts, attempts=attempts)
    if run.alerts.count:
        run = with_status(run, alerts=_at_most(run.alerts, now, "last_received", "last_opened"))
    return run


def _happened(run: Run) -> Iterator[datetime]:
    for attempt in run.status.attempts:
        for step in (*attempt.steps, *attempt.undo):
            yield from _known(step.intended_at, step.started_at, step.ended_at)
        yield from _known(attempt.verifying_since, *(check.holds_since for check in attempt.checks))
        yield from (approval.asked_at for approval in attempt.approvals)
        yield from (question.asked_at for question in attempt.questions)
    for debt in run.status.debts:
        yield from _known(debt.begun_at, debt.resolved_since)
    yield from _known(run.alerts.last_received)


def _known(*moments: datetime | None) -> Iterator[datetime]:
    return (moment for moment in moments if moment is not None)


def _attempt(attempt: Attempt, now: datetime) -> Attempt:
    attempt = _at_most(attempt, now, "diagnosed_at", "chosen_at", "locked_at", "verifying_since")
    return attempt.model_copy(
        update={
            "steps": [_step(one, now) for one in attempt.steps],
            "undo": [_step(one, now) for one in attempt.undo],
            "checks": [_check(one, now) for one in attempt.checks],
            "approvals": [_asked(one, now) for one in attempt.approvals],
            "questions": [_asked(one, now) for one in attempt.questions],
        }
    )


def _step(step: StepRecord, now: datetime) -> StepRecord:
    return _at_most(step, now, "intended_at", "started_at", "ended_at")


def _check(check: CheckRecord, now: datetime) -> CheckRecord:
    return _at_most(check, now, "holds_since")


Q = TypeVar("Q", ApprovalRecord, QuestionRecord)


def _asked(question: Q, now: datetime) -> Q:
    """It can be answered for as long as before."""
    ahead = max(question.asked_at - now, timedelta(0))
    return question.model_copy(update={"asked_at": question.asked_at - ahead, "deadline": question.deadline - ahead})


def _debt(run: Run, debt: DebtRecord, now: datetime) -> DebtRecord:
    """It is due as long after the change as before; what was to be taken back at once still is."""
    due, step = debt.due, step_of(run, debt)
    if due is not None and debt.kind is DebtKind.UNDO:
        due = min(due, now)
    elif due is not None and step is not None and step.started_at is not None:
        due -= max(step.started_at - now, timedelta(0))
    return _at_most(debt.model_copy(update={"due": due}), now, "begun_at", "resolved_since")


def _at_most(record: R, now: datetime, *names: str) -> R:
    ahead = [name for name in names if (moment := getattr(record, name)) is not None and moment > now]
    return record.model_copy(update=dict.fromkeys(ahead, now)) if ahead else record
