"""What follows from a verdict, a broken step or an undo: the next round, or how the run ends."""

from datetime import datetime

from remediator.domain.replies import ReplyType
from remediator.domain.runbooks import IfNotHelped
from remediator.domain.runs import CheckRecord, Run, RunOutcome, StepRecord, StepState, Verdict
from remediator.domain.verdicts import Reason
from remediator.engine import debts
from remediator.engine.acceptance import CompiledCheck, CompiledRemedy
from remediator.engine.record import current, with_attempt, with_ending, with_entry, with_new_attempt

_DECIDED: dict[str, RunOutcome] = {Reason.DENIED: RunOutcome.DENIED, Reason.EXPIRED: RunOutcome.EXPIRED}
"""What people's refusal of a later step ends a run as."""

_OUTCOMES: dict[str, RunOutcome] = {
    Reason.STALE_ALERT: RunOutcome.NOT_NEEDED,
    Reason.TARGET_GONE: RunOutcome.TARGET_GONE,
    Reason.TARGET_CHANGED: RunOutcome.TARGET_CHANGED,
    Reason.POLICY_NOT_READY: RunOutcome.POLICY_NOT_READY,
    **_DECIDED,
}
"""Every other one is `Refused`."""


def refused_as(reason: str) -> RunOutcome:
    """What a refusal before the first change ends a run as."""
    return _OUTCOMES.get(reason, RunOutcome.REFUSED)


def conclude(run: Run, now: datetime, outcome: RunOutcome, reason: str, message: str) -> Run:
    """The run with its end decided; see `with_ending`."""
    return with_ending(run, now, outcome, reason, message)


def checks_of(run: Run, remedy: CompiledRemedy) -> tuple[CompiledCheck, ...]:
    """The checks that can be made: without an alert none can be resolved, without a change nothing rolls."""
    kept = remedy.checks
    if not run.alerts.count:
        kept = tuple(check for check in kept if check.check.alert_resolved is None)
    if not any(step.change for step in current(run).steps):
        kept = tuple(check for check in kept if check.check.rollout is None)
    return kept


def judged(run: Run, now: datetime, message: str) -> Run:
    """The run verified for a reason that no check gives."""
    record = CheckRecord(kind="goneIs", verdict=Verdict.VERIFIED, message=message)
    return with_entry(with_attempt(run, checks=[record], verdict=Verdict.VERIFIED), now, "verified", message)


def without_checks(run: Run, now: datetime, remedy: CompiledRemedy) -> Run:
    """The end of a remedy that nothing can verify."""
    if not any(step.info is not None and step.info.changes for step in remedy.steps):
        return with_ending(
            run, now, RunOutcome.HANDED_OVER, "HandedOver", "the remedy tells people; it changes nothing"
        )
    return with_ending(run, now, RunOutcome.DONE, "Done", "every step is done; there is nothing to verify it by")


def after_verdict(run: Run, now: datetime, remedy: CompiledRemedy) -> Run:
    """What follows from whether it helped."""
    attempt = current(run)
    changes = any(step.info is not None and step.info.changes for step in remedy.steps)
    if attempt.verdict is Verdict.VERIFIED:
        if not changes:
            return with_ending(
                run, now, RunOutcome.HANDED_OVER, "HandedOver", "it is better, but not by a change of this run"
            )
        if not current(run).has_changed_something:
            return with_ending(
                run, now, RunOutcome.NOT_NEEDED, "NothingToChange", "it is better, and nothing had to be changed"
            )
        return with_ending(run, now, RunOutcome.REMEDIATED, "Verified", f"{attempt.remedy} helped")
    if attempt.verdict is Verdict.INCONCLUSIVE:
        return with_ending(
            run,
            now,
            RunOutcome.INCONCLUSIVE,
            "Inconclusive",
            "nobody can tell whether it helped; nothing was taken back",
        )
    return _not_helped(run, now, remedy)


def after_broken_step(run: Run, now: datetime, remedy: CompiledRemedy, step: StepRecord) -> Run:
    """
    What follows from a step that did not end well.

    One that failed disproves the remedy. One that was refused after an earlier one changed
    something ends it: what can be undone is undone as `ifNotHelped` says. One of which nobody can
    tell whether it happened ends the run, and nothing is taken back.
    """
    if step.state is StepState.UNCLEAR:
        return with_ending(run, now, RunOutcome.INCONCLUSIVE, step.reason or "Unclear", f"{step.label}: {step.message}")
    if remedy.remedy.gone_is == "Success" and step.reason == Reason.TARGET_GONE:
        return with_ending(run, now, RunOutcome.REMEDIATED, "TargetGone", "the target is gone, as was wanted")
    if step.state is StepState.FAILED and (current(run).has_changed_something or not step.change):
        message = f"{step.label} failed: {step.message}"
        return with_entry(with_attempt(run, verdict=Verdict.DISPROVED, verifying_since=now), now, "disproved", message)
    if current(run).has_changed_something:
        if remedy.if_not_helped in (IfNotHelped.UNDO, IfNotHelped.TRY_NEXT):
            undoing = taken_back(run, now)
            if undoing is not None:
                return undoing
        outcome = _DECIDED.get(step.reason, RunOutcome.REFUSED)
        return with_ending(run, now, outcome, step.reason or "Refused", f"{step.label}: {step.message}")
    outcome = refused_as(step.reason)
    return with_ending(run, now, outcome, step.reason or "Refused", f"{step.label}: {step.message}")


def after_undo(run: Run, now: datetime, remedy: CompiledRemedy) -> Run:
    """What follows when everything that could be taken back is, or has been refused."""
    run = debts.after_undo(run, now)
    attempt = current(run)
    conflicts = [step for _, step in debts.of_round(run, attempt) if step.state is not StepState.DONE]
    if conflicts:
        first = conflicts[0]
        message = f"{first.label} could not be taken back: {first.message}"
        return with_ending(run, now, RunOutcome.FAILED, first.reason or "UndoFailed", message)
    asked = run.status.taken(ReplyType.UNDO)
    if asked is not None:
        return with_ending(
            run, now, RunOutcome.UNDONE, "Undone", f"{attempt.remedy} is taken back, as {asked.user} asked"
        )
    broken = next((s for s in attempt.steps if s.state in (StepState.REFUSED, StepState.VOIDED)), None)
    if broken is not None:
        message = f"{broken.label}: {broken.message}; what was changed before is taken back"
        outcome = _DECIDED.get(broken.reason, RunOutcome.REFUSED)
        return with_ending(run, now, outcome, broken.reason or "Refused", message)
    if remedy.if_not_helped is IfNotHelped.TRY_NEXT:
        return with_entry(with_new_attempt(run), now, "next", f"{attempt.remedy} did not help and is taken back")
    return with_ending(run, now, RunOutcome.UNDONE, "DidNotHelp", f"{attempt.remedy} did not help and is taken back")


def _not_helped(run: Run, now: datetime, remedy: CompiledRemedy) -> Run:
    attempt = current(run)
    if remedy.if_not_helped in (IfNotHelped.UNDO, IfNotHelped.TRY_NEXT):
        undoing = taken_back(run, now)
        if undoing is not None:
            return undoing
    if remedy.if_not_helped in (IfNotHelped.TRY_NEXT, IfNotHelped.KEEP_AND_TRY_NEXT):
        return with_entry(with_new_attempt(run), now, "next", f"{attempt.remedy} did not help")
    return with_ending(
        run, now, RunOutcome.FAILED, "DidNotHelp", f"{attempt.remedy} did not help; what it changed is kept"
    )


def taken_back(run: Run, now: datetime) -> Run | None:
    """The run with its undo planned, the last change first; None where nothing can be taken back."""
    planned = undo_of(run)
    if not planned:
        return None
    undoing = with_attempt(debts.of_undo(run, planned, now), undo=[*current(run).undo, *planned])
    return with_entry(undoing, now, "undo", f"taking back {len(planned)} of the changes")


def undo_of(run: Run) -> list[StepRecord]:
    """What takes back the changes of the current round, the last one first; without those that nothing takes back."""
    planned = []
    for step in reversed(current(run).steps):
        patch = debts.patch_of(step)
        if patch is not None and step.has_changed_something and not debts.is_settled(run, step.token):
            planned.append(debts.taken_back(step, patch))
    return planned
