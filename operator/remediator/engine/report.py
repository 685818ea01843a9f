"""
What a person sees of a run: its state, one sentence, its conditions.

All of it is derived from the record and read back by nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from remediator.domain.bounded import shorten
from remediator.domain.conditions import Status, from_json, to_json, with_condition
from remediator.domain.redaction import redact
from remediator.domain.runbooks import WAIT
from remediator.domain.runs import ConditionRecord, Run, RunOutcome, State, StepState, Verdict
from remediator.domain.verdicts import Reason
from remediator.engine import debts, recurrence
from remediator.engine.approvals import sentence_of as who_must_approve
from remediator.engine.budget import within_budget
from remediator.engine.record import with_status

_VERDICTS: Final[Mapping[Verdict, Status]] = {
    Verdict.VERIFIED: "True",
    Verdict.DISPROVED: "False",
    Verdict.INCONCLUSIVE: "Unknown",
}

_APPROVALS: Final[Mapping[str, Status]] = {
    "Waiting": "Unknown",
    "Approved": "True",
    "Denied": "False",
    "Expired": "False",
}

_HELD: Final[Mapping[str, State]] = {
    Reason.AWAITING_APPROVAL: State.AWAITING_APPROVAL,
    Reason.AWAITING_HUMAN: State.AWAITING_HUMAN,
}

Said = tuple[Status, str, str]
"""Status, reason and sentence of a condition."""


def reported(run: Run, now: datetime) -> Run:
    """The run as it is stored: with everything that people read brought up to date."""
    names = run.alerts.names
    shown = with_status(
        run,
        state=state_of(run),
        message=shorten(redact(sentence_of(run)), 512),
        alert=", ".join(sorted(names))[:253],
        conditions=_conditions(run, now),
        target=f"{run.spec.target.kind}/{run.spec.target.name}"[:253],
        observed_generation=run.generation,
    )
    return within_budget(shown)


def state_of(run: Run) -> State:
    """Where a run stands, in one word."""
    status, attempt = run.status, run.status.attempt
    if status.outcome is not None:
        return State.ENDED
    if attempt is None or (attempt.diagnosed_at is None and status.held is None):
        return State.DIAGNOSING
    if attempt.undo and status.ending is None:
        return State.UNDOING
    if status.held is not None:
        return _HELD.get(status.held.reason, State.WAITING)
    if attempt.verifying_since is not None:
        return State.VERIFYING
    waiting = any(step.action == WAIT and step.state is StepState.STARTED for step in attempt.steps)
    if waiting:
        return State.WAITING
    return State.ACTING if attempt.chosen_at is not None else State.DIAGNOSING


def sentence_of(run: Run) -> str:
    """Where a run stands, in one sentence."""
    status = run.status
    if status.ending is not None:
        return status.ending.message
    if status.held is not None:
        return f"{status.held.reason}: {status.held.message}"
    return status.timeline[-1].message if status.timeline else "accepted"


def _conditions(run: Run, now: datetime) -> list[ConditionRecord]:
    said = {
        "Succeeded": _succeeded(run),
        "Approved": _approved(run),
        "Verified": _verified(run),
        "Undone": _undone(run),
        "Stalled": _stalled(run),
    }
    kept = from_json(one.as_json() for one in run.status.conditions if said.get(one.type) is not None)
    for kind, one in said.items():
        if one is not None:
            status, reason, message = one
            kept = with_condition(kept, kind, status, reason, redact(message), now, run.generation)
    return [ConditionRecord.model_validate(one) for one in to_json(kept)]


def _succeeded(run: Run) -> Said:
    outcome, ending = run.status.outcome, run.status.ending
    message = ending.message if ending is not None else sentence_of(run)
    if outcome is None:
        return "Unknown", "Running" if run.status.held is None else run.status.held.reason, message
    if outcome in (RunOutcome.DRY_RUN, RunOutcome.DIAGNOSED):
        return "True", str(outcome), f"{message}; nothing was changed"
    refused_by = ending.reason if ending is not None and ending.reason in list(Reason) else ""
    if outcome is RunOutcome.REFUSED and refused_by:
        return "False", refused_by, message
    return ("True" if outcome.is_success else "False"), str(outcome), message


def _approved(run: Run) -> Said | None:
    asked = [record for attempt in run.status.attempts for record in attempt.approvals]
    if not asked:
        return None
    record = asked[-1]
    given = ", ".join(reply.user for reply in record.given)
    if given:
        message = f"{given} approved plan {record.plan_hash[:8]}"
    elif record.state == "Waiting":
        message = who_must_approve(record, record.needs)
    else:
        message = f"the question about plan {record.plan_hash[:8]} was {record.state.lower()}"
    return _APPROVALS[record.state], record.state, message


def _verified(run: Run) -> Said | None:
    attempt = run.status.attempt
    if run.status.recurred is not None:
        return "False", "Recurred", recurrence.sentence_of(run)
    if attempt is None or attempt.verifying_since is None:
        return None
    message = "; ".join(f"{check.kind}: {check.message}" for check in attempt.checks)
    if attempt.verdict is None:
        return "Unknown", "Verifying", message
    return _VERDICTS[attempt.verdict], str(attempt.verdict), message


def _undone(run: Run) -> Said | None:
    steps = [step for attempt in run.status.attempts for step in attempt.undo]
    owed = [debt for debt in run.status.debts if debt.state == "Owed"]
    if not steps and owed and run.is_ended:
        return "Unknown", "Owed", "; ".join(f"{debt.step}: {debts.told(debt)}" for debt in owed)
    if not steps:
        return None
    message = "; ".join(f"{step.label}: {step.message or step.state}" for step in steps)
    if any(not step.state.is_over for step in steps):
        return "Unknown", "Undoing", message
    if all(step.state is StepState.DONE for step in steps):
        return "True", "Undone", message
    return "False", next((step.reason for step in steps if step.reason), "UndoFailed"), message


def _stalled(run: Run) -> Said | None:
    held = run.status.held
    if held is None or held.reason not in ("FactUnknown", "StaleAlert"):
        return None
    return "True", held.reason, held.message
