"""
What came of a move, onto the record.

The counterpart of `moves`: each function takes the run, the move's result and the time, and
returns the run that is to be stored.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from remediator.domain.changes import Change, change_as_json
from remediator.domain.durations import human
from remediator.domain.json import Object, dig_int, dig_text
from remediator.domain.names import lease_name, token
from remediator.domain.objects import ObjectRef
from remediator.domain.outcomes import Failed, Inconclusive, Outcome, Running, Succeeded
from remediator.domain.redaction import redact
from remediator.domain.runs import (
    Attempt,
    DiagnosticRecord,
    Resolved,
    Run,
    RunOutcome,
    StepRecord,
    StepState,
    rfc3339,
)
from remediator.domain.verdicts import Reason
from remediator.engine import debts
from remediator.engine.endings import conclude
from remediator.engine.ledger import to_lock
from remediator.engine.moves import Void
from remediator.engine.record import (
    current,
    held,
    in_short,
    standing,
    with_attempt,
    with_entry,
    with_status,
    with_step,
    with_told,
)


def accepted(run: Run, resolved: Resolved, now: datetime) -> Run:
    """The run with its request made out, at the beginning of its first round."""
    message = f"{resolved.runbook.namespace}/{resolved.runbook.name} on {run.spec.target.ref}, mode {resolved.mode}"
    if resolved.lowered_by:
        message += f" ({resolved.lowered_by})"
    run = with_status(
        run,
        resolved=resolved,
        started_at=now,
        observed_generation=run.generation,
        attempts=[Attempt(number=1)],
        held=None,
    )
    return with_entry(run, now, "begin", message)


def turned_away(run: Run, outcome: RunOutcome, reason: str, message: str, now: datetime) -> Run:
    """The run ended before it was accepted."""
    run = with_status(run, started_at=run.status.started_at or now, observed_generation=run.generation)
    return conclude(run, now, outcome, reason, message)


def diagnosed(
    run: Run,
    records: Sequence[DiagnosticRecord],
    outputs: Mapping[str, Any],
    now: datetime,
    *,
    evidence: str,
    keep_outputs: bool,
    template: str,
) -> Run:
    """The run with its diagnosis frozen: in the record where it is small, in the evidence otherwise."""
    run = with_attempt(
        run,
        diagnosed_at=now,
        diagnosis=list(records),
        outputs=dict(outputs) if keep_outputs else None,
        evidence=evidence,
        target_template=template,
    )
    for record in records:
        run = with_entry(run, now, "known" if record.known else "unknown", f"{record.name}: {record.summary}")
    return run


def rendered(run: Run, steps: Sequence[StepRecord], now: datetime) -> Run:
    """The run with its plan, and the hash that an approval would be bound to."""
    run = with_attempt(run, steps=list(steps), plan_hash=plan_hash(run, steps))
    changes = [", ".join(filter(None, (dig_text(s.change, "summary"), debts.limit_of(s)))) for s in steps if s.change]
    return with_entry(run, now, "plan", "; ".join(changes) or "no change")


def refused(run: Run, reason: Reason, message: str, now: datetime) -> Run:
    """The run whose remedy cannot even be planned."""
    outcome = {Reason.TARGET_GONE: RunOutcome.TARGET_GONE}.get(reason, RunOutcome.REFUSED)
    return conclude(run, now, outcome, str(reason), message)


def plan_hash(run: Run, steps: Sequence[StepRecord]) -> str:
    """
    A hash of what would be changed, and of nothing that moves by itself.

    In it: the run, the remedy, and of each step its action, object, UID and values, and the
    account. Not in it: versions, times, states, tokens, alerts and evidence.
    """
    attempt, resolved = current(run), run.status.resolved
    content = {
        "run": run.uid,
        "remedy": attempt.remedy,
        "account": resolved.account if resolved is not None else "",
        "template": attempt.target_template,
        "steps": [[step.label, list(step.actions), step.change, step.parameters, *_limits(step)] for step in steps],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _limits(step: StepRecord) -> list[object]:
    """How long the change may stay, where that is limited."""
    return [str(step.ttl), step.revert_on_resolve] if step.ttl is not None or step.revert_on_resolve else []


def rehearsed(run: Run, diffs: Mapping[int, str], now: datetime) -> Run:
    """The run with what each change would alter."""
    for index, diff in diffs.items():
        run = with_step(run, index, diff=redact(diff)[:8192])
    return with_entry(
        run, now, "rehearse", "1 change rehearsed" if len(diffs) == 1 else f"{len(diffs)} changes rehearsed"
    )


def locked(run: Run, now: datetime) -> Run:
    """The run that holds the locks of all that it will change."""
    refs = to_lock(run)
    leases = dict.fromkeys([*run.status.locks, *(lease_name(ref) for ref in refs)])
    run = with_attempt(with_status(run, locks=list(leases), held=None), locked_at=now)
    return with_entry(run, now, "lock", ", ".join(str(ref) for ref in refs))


def unlocked(run: Run) -> Run:
    """The run that has given its locks back, because it only waits."""
    return with_attempt(with_status(run, locks=[]), locked_at=None)


def busy(run: Run, ref: ObjectRef, holder: str, now: datetime, until: datetime) -> Run:
    """The run waiting for another that holds one of the locks."""
    message = f"{ref} is being changed by {holder}"
    if run.is_ended:
        return standing(run, now, str(Reason.TARGET_BUSY), message)
    return held(run, now, str(Reason.TARGET_BUSY), message, until)


def intended(run: Run, index: int, seen: Object, now: datetime, *, undoing: bool) -> Run:
    """
    The run with the step written as intended.

    GEN: the intent keeps the object's generation, by which a restart can tell that nothing has
    happened. The token comes from the run's UID, so that no other run can ever have the same.
    """
    attempt = current(run)
    step = (attempt.undo if undoing else attempt.steps)[index]
    if undoing:
        earlier = [one for past in run.status.attempts[:-1] for one in past.undo] + attempt.undo[:index]
        tries = sum(one.undo_of == step.undo_of for one in earlier)
        made = token(run.uid, f"undo/{step.undo_of}", step.label, step.item, tries)
    else:
        made = token(run.uid, attempt.remedy, step.label, step.item, attempt.number)
        run = debts.recorded(run, step.model_copy(update={"token": made}), now)
    run = with_step(
        run,
        index,
        undoing=undoing,
        state=StepState.INTENDED,
        token=made,
        generation=dig_int(seen, "metadata", "generation") or None,
        resource_version=dig_text(seen, "metadata", "resourceVersion"),
        intended_at=step.intended_at or now,
    )
    said = f"{step.label}: {dig_text(step.change, 'summary')}"
    return with_entry(run, now, "intend", said, mark=f" (token {made[:8]})")


def started(run: Run, index: int, after: Object | None, now: datetime, *, undoing: bool, before: bool = False) -> Run:
    """The run whose change has been made, by this attempt or by one `before`."""
    generation = dig_int(after, "metadata", "generation") if after is not None else 0
    run = with_step(
        run,
        index,
        undoing=undoing,
        state=StepState.STARTED,
        started_at=now,
        generation_after=generation or None,
    )
    if not undoing and not before:
        run = debts.counting_from(run, current(run).steps[index], now)
    step = (current(run).undo if undoing else current(run).steps)[index]
    return with_entry(run, now, "start", f"{step.label}: {step.target.ref if step.target else ''}")


def begun(run: Run, index: int, message: str, now: datetime, until: datetime) -> Run:
    """
    The run with a list of pods that is not finished: it stays intended, and is finished by the next start.

    The guards are asked again before that, and a step that has begun counts as one that changed something.
    """
    step = current(run).steps[index]
    if step.started_at is None:
        run = with_entry(with_step(run, index, started_at=now), now, "begin", f"{step.label}: {message}")
    return held(run, now, str(Reason.DISRUPTION_BUDGET), message, until)


def put_back(run: Run, index: int, *, undoing: bool) -> Run:
    """The run whose intended change certainly did not happen, because its preconditions no longer held."""
    return with_step(run, index, undoing=undoing, state=StepState.PLANNED, generation=None, resource_version="")


def voided(run: Run, move: Void, now: datetime, *, partly: bool = False) -> Run:
    """
    The run whose intended change was given up.

    A reason that could not be known leaves the step unclear: it may have happened before the void. Of a
    list that was begun (`partly`) the step counts as one that changed something.
    """
    if partly:
        run = with_step(run, move.index, undoing=move.undoing, started_at=now)
    unclear = move.reason is Reason.FACT_UNKNOWN
    run = with_step(
        run,
        move.index,
        undoing=move.undoing,
        state=StepState.UNCLEAR if unclear else StepState.VOIDED,
        reason=str(move.reason),
        message=move.message,
        ended_at=now,
    )
    return with_entry(run, now, "void", move.message)


def attempted(run: Run, index: int, outcome: Outcome, now: datetime, *, undoing: bool = False) -> Run:
    """The run with what an attempt at a step came to; a step that is still running stays as it is."""
    step = (current(run).undo if undoing else current(run).steps)[index]
    match outcome:
        case Running(message=message):
            return with_step(run, index, undoing=undoing, message=in_short(message))
        case Succeeded(message=message, output=output):
            state, what = StepState.DONE, "done"
        case Failed(message=message):
            state, what, output = StepState.FAILED, "failed", {}
        case Inconclusive(message=message):
            state, what, output = StepState.UNCLEAR, "unclear", {}
    run = with_step(
        run, index, undoing=undoing, state=state, message=in_short(message), output=output or None, ended_at=now
    )
    return with_entry(run, now, what, f"{step.label}: {message}")


def told(run: Run, name: str, action: str, outcome: Outcome | None, now: datetime) -> Run:
    """The run with one more message of its end behind it; None is one whose condition was False."""
    ending = run.status.ending
    assert ending is not None, "messages of the end belong to an ending"
    state = (
        StepState.SKIPPED if outcome is None else StepState.DONE if isinstance(outcome, Succeeded) else StepState.FAILED
    )
    message = "its condition is False" if outcome is None else outcome.message
    record = StepRecord(name=name, action=action, state=state, message=in_short(message), ended_at=now)
    run = with_told(run, [*ending.told, record])
    return run if outcome is None else with_entry(run, now, "tell", f"{name}: {message}")


def finished(run: Run, outcome: RunOutcome, now: datetime) -> Run:
    """The run at its end. The outcome is written once; the lock is free by it. What it owes, it owes still."""
    begun = run.status.started_at or run.created_at
    run = with_status(
        debts.at_the_end(run, now),
        outcome=outcome,
        ended_at=now,
        held=None,
        duration=human(timedelta(seconds=round((now - begun).total_seconds()))),
    )
    return with_entry(run, now, "end", f"{outcome} at {rfc3339(now)}")


def stored_change(change: Change) -> dict[str, Any]:
    """The form of a change that a plan keeps."""
    return change_as_json(change)
