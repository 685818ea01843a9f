"""
What comes next: from a run's record and one reading of the world to one move.

`next_move` does to the record what needs no look at the world, or names the one thing that the
shell does in it. It is safe to ask at any time: what was done stands on the record or on the
target, and the answer to the same record and facts is the same.

Accept → Diagnose → (choose) → Render → Lock → Intend → Start → Poll → (verify) → Tell → Finish
"""

from datetime import datetime, timedelta

from remediator.domain.changes import change_from_json, is_stamped, is_voided
from remediator.domain.durations import human
from remediator.domain.expressions import Truth, Values
from remediator.domain.json import dig
from remediator.domain.policies import Mode
from remediator.domain.runbooks import STEP_TIMEOUT, WAIT
from remediator.domain.runs import Attempt, Run, RunOutcome, StepRecord, StepState
from remediator.domain.verdicts import Deny, Reason, Wait
from remediator.engine import closing, endings, verify
from remediator.engine.acceptance import AcceptedRunbook, CompiledRemedy, CompiledStep
from remediator.engine.facts import Facts
from remediator.engine.guards import (
    BEFORE_CHANGE,
    BEFORE_UNDO,
    RETRY_UNKNOWN,
    Question,
    all_resolved,
    first_objection,
)
from remediator.engine.moves import (
    Accept,
    Diagnose,
    Finish,
    Hold,
    Intend,
    Lock,
    Look,
    Move,
    Poll,
    Read,
    Rehearse,
    Render,
    Start,
    Tell,
    Void,
)
from remediator.engine.record import (
    current,
    going_on,
    held,
    with_attempt,
    with_entry,
    with_new_attempt,
    with_step,
)
from remediator.engine.remedies import choose
from remediator.engine.values import values_of

UNKNOWN_PATIENCE = timedelta(minutes=15)
"""How long a change waits for a fact that cannot be read before it is refused and somebody is told."""


def next_move(run: Run, facts: Facts) -> tuple[Run, Move]:
    """
    The run with one thing more on its record if that needs no look at the world, and the next move.

    `Look` asks for the facts that the record now wants: what was read for one step says nothing
    about the next.
    """
    progress = _look(run, facts)
    return progress if isinstance(progress, tuple) else (progress, Look())


def _look(run: Run, facts: Facts) -> Run | tuple[Run, Move]:
    status = run.status
    if run.is_ended:
        return run, Hold(None)
    if status.ending is not None:
        return _close(run, facts)
    if status.resolved is None:
        return run, Accept()
    if facts.runbook is None:
        return _wait(run, facts, Reason.FACT_UNKNOWN, f"the Runbook's content cannot be read: {facts.runbook_problem}")
    if not status.attempts:
        return with_new_attempt(run)
    over = _over_before_a_change(run, facts)
    if over is not None:
        return over
    attempt = current(run)
    if attempt.diagnosed_at is None:
        return run, Diagnose()
    if attempt.chosen_at is None:
        return choose(run, facts.runbook, facts, values_of(run, facts))
    remedy = remedy_of(facts.runbook, attempt)
    if not attempt.plan_hash:
        return run, Render(attempt.remedy)
    if status.resolved.mode is not Mode.AUTOMATIC:
        return _rehearse(run, facts)
    if attempt.undo:
        return _undo(run, facts, remedy)
    if attempt.verifying_since is None:
        return _act(run, facts, remedy)
    return _verify(run, facts, remedy)


def remedy_of(book: AcceptedRunbook, attempt: Attempt) -> CompiledRemedy:
    """The remedy that the round has chosen; the frozen content holds it for as long as the run lives."""
    remedy = book.remedy(attempt.remedy)
    assert remedy is not None, "a chosen remedy stands in the content that it was chosen from"
    return remedy


def _over_before_a_change(run: Run, facts: Facts) -> Run | tuple[Run, Move] | None:
    """A resolved alert ends the run as long as nothing was changed; an intent is given up first."""
    steps = [step for attempt in run.status.attempts for step in attempt.steps]
    if any(step.has_changed_something for step in steps) or not all_resolved(run):
        return None
    message = "every alert of the episode resolved before anything was changed"
    for index, step in enumerate(current(run).steps):
        if step.state is StepState.INTENDED and step.change:
            return _unless_done(run, facts, index, Reason.STALE_ALERT, message)
    return endings.conclude(run, facts.now, RunOutcome.NOT_NEEDED, str(Reason.STALE_ALERT), message)


def _unless_done(run: Run, facts: Facts, index: int, reason: Reason, message: str) -> Run | tuple[Run, Move]:
    """Give an intended change up, unless its object says that it has happened."""
    step = current(run).steps[index]
    if facts.step_target.obj is not None and is_stamped(facts.step_target.obj, step.token):
        return _adopted(run, facts, index, undoing=False)
    if facts.step_target.obj is None and not facts.step_target.gone:
        return _wait(run, facts, Reason.FACT_UNKNOWN, f"the target cannot be read: {facts.step_target.error}")
    return run, Void(index, undoing=False, reason=reason, message=message)


def _rehearse(run: Run, facts: Facts) -> Run | tuple[Run, Move]:
    attempt = current(run)
    if any(step.change and step.state is StepState.PLANNED and not step.diff for step in attempt.steps):
        return run, Rehearse()
    return endings.conclude(
        run, facts.now, RunOutcome.DRY_RUN, "DryRun", f"{attempt.remedy} was rehearsed and nothing was changed"
    )


# --- the steps of a remedy ------------------------------------------------------------------------


def _act(run: Run, facts: Facts, remedy: CompiledRemedy) -> Run | tuple[Run, Move]:
    attempt = current(run)
    if remedy.remedy.gone_is == "Success" and facts.target.gone and endings.has_changed(run):
        done = with_attempt(run, verifying_since=facts.now)
        return endings.judged(done, facts.now, "the target is gone, as was wanted")
    for index, step in enumerate(attempt.steps):
        if step.state.is_over:
            if step.state not in (StepState.DONE, StepState.SKIPPED):
                return endings.after_broken_step(run, facts.now, remedy, step)
            continue
        return _continue(run, facts, remedy, index, step)
    return with_entry(with_attempt(run, verifying_since=facts.now), facts.now, "verify", "every step is done")


def _continue(run: Run, facts: Facts, remedy: CompiledRemedy, index: int, step: StepRecord) -> Run | tuple[Run, Move]:
    compiled = compiled_step(remedy, step)
    if step.state is StepState.PLANNED:
        begun = min((one.intended_at or one.started_at or facts.now for one in current(run).steps), default=facts.now)
        if facts.now - begun > remedy.remedy.timeout:
            return _over(
                run, facts, index, StepState.FAILED, f"the remedy is not finished within {human(remedy.remedy.timeout)}"
            )
        skipped = _condition(run, facts, compiled, index, step)
        if skipped is not None:
            return skipped
    if step.action == WAIT:
        return _await(run, facts, compiled, index, step)
    if compiled.info is not None and compiled.info.reads:
        return going_on(run), Read(index)
    if step.change is None:
        return going_on(run), Tell(index)
    return _change(run, facts, index, step, compiled.step.timeout or STEP_TIMEOUT)


def compiled_step(remedy: CompiledRemedy, step: StepRecord) -> CompiledStep:
    """The step of the Runbook that a record is about; of joined ones, the first."""
    return next(one for one in remedy.steps if one.step.name == step.name)


def _condition(
    run: Run, facts: Facts, compiled: CompiledStep, index: int, step: StepRecord
) -> Run | tuple[Run, Move] | None:
    if compiled.when is None:
        return None
    values = _with_item(values_of(run, facts), step)
    truth, missing = compiled.when.truth(values)
    if truth is Truth.FALSE:
        return _over(run, facts, index, StepState.SKIPPED, "its condition is False")
    if truth is Truth.UNKNOWN:
        why = missing.message if missing is not None else "a value is missing"
        return _over(run, facts, index, StepState.FAILED, f"its condition is Unknown: {why}", Reason.FACT_UNKNOWN)
    return None


def _with_item(values: Values, step: StepRecord) -> Values:
    return values if step.item is None else values.but(item=step.item_value)


def _await(run: Run, facts: Facts, compiled: CompiledStep, index: int, step: StepRecord) -> Run | tuple[Run, Move]:
    wait = compiled.wait
    assert wait is not None, "a wait was parsed as one"
    if step.started_at is None:
        return with_step(run, index, state=StepState.STARTED, started_at=facts.now)
    if wait.lasting is not None:
        if facts.now >= step.started_at + wait.lasting:
            return _over(run, facts, index, StepState.DONE, "the time has passed")
        return run, Hold(step.started_at + wait.lasting)
    assert compiled.until is not None and wait.within is not None, "a wait has `for`, or `until` and `within`"
    truth, missing = compiled.until.truth(_with_item(values_of(run, facts), step))
    if truth is Truth.TRUE:
        return _over(run, facts, index, StepState.DONE, f"{compiled.until.text} is True")
    if facts.now < step.started_at + wait.within:
        return run, Hold(min(facts.now + timedelta(seconds=5), step.started_at + wait.within))
    message = f"{compiled.until.text} was {truth} for {human(wait.within)}" + (
        f": {missing.message}" if missing else ""
    )
    if wait.on_timeout == "Continue":
        run = with_step(run, index, output={"ok": False})
        return _over(run, facts, index, StepState.DONE, message)
    return _over(run, facts, index, StepState.FAILED, message)


def _change(run: Run, facts: Facts, index: int, step: StepRecord, timeout: timedelta) -> Run | tuple[Run, Move]:
    assert step.change is not None, "a change was rendered"
    if step.state is StepState.STARTED:
        return _poll(run, facts, index, step, timeout, undoing=False)
    if step.state is StepState.INTENDED:
        found = _found(run, facts, index, step, undoing=False)
        if found is not None:
            return found
    elif change_from_json(step.change).is_empty:
        return _over(run, facts, index, StepState.DONE, "nothing has to be changed")
    verdict = first_objection(BEFORE_CHANGE, Question(run, step, facts))
    if isinstance(verdict, Wait):
        return _held(run, facts, index, step, verdict)
    if isinstance(verdict, Deny):
        if step.state is StepState.INTENDED:
            return run, Void(index, undoing=False, reason=verdict.reason, message=verdict.message)
        return _over(run, facts, index, StepState.REFUSED, verdict.message, verdict.reason)
    return _intend(run, index, step, undoing=False)


def _intend(run: Run, index: int, step: StepRecord, *, undoing: bool) -> tuple[Run, Move]:
    run = going_on(run)
    if step.state is StepState.INTENDED:
        return run, Start(index, undoing)
    return run, Intend(index, undoing) if run.status.locks else Lock()


def is_out_of_patience(run: Run, now: datetime, reason: Reason = Reason.FACT_UNKNOWN) -> bool:
    """Whether the run has waited long enough for what could not be read."""
    before = run.status.held
    return before is not None and before.reason == reason and now - before.since > UNKNOWN_PATIENCE


def _held(run: Run, facts: Facts, index: int, step: StepRecord, verdict: Wait) -> Run | tuple[Run, Move]:
    unknown = verdict.reason in (Reason.FACT_UNKNOWN, Reason.STALE_ALERT)
    stuck = is_out_of_patience(run, facts.now, verdict.reason)
    if unknown and stuck and step.state is StepState.PLANNED:
        # not StaleAlert, which would end the run as if the alert were known to be over
        return _over(run, facts, index, StepState.REFUSED, verdict.message, Reason.FACT_UNKNOWN)
    return held(run, facts.now, verdict.reason, verdict.message, verdict.until), Hold(verdict.until)


def _found(run: Run, facts: Facts, index: int, step: StepRecord, *, undoing: bool) -> Run | tuple[Run, Move] | None:
    """
    What an intent found in the record came to; None if it has certainly not happened and may go on.

    STAMP, VOID, GEN: our stamp says that it happened, a void that it was given up, and a generation
    that moved without our stamp says nothing: then it is never repeated.
    """
    seen = facts.step_target
    if step.change is not None and "pods" in step.change:
        return None  # a list of pods by UID: finishing it is the same as beginning it
    if seen.gone:
        return _over(run, facts, index, StepState.FAILED, "its object is gone", Reason.TARGET_GONE, undoing=undoing)
    if seen.obj is None:
        return _wait(run, facts, Reason.FACT_UNKNOWN, f"the target cannot be read: {seen.error}")
    if is_stamped(seen.obj, step.token):
        return _adopted(run, facts, index, undoing=undoing)
    if is_voided(seen.obj, step.token):
        return _over(run, facts, index, StepState.VOIDED, "it was given up", undoing=undoing)
    if dig(seen.obj, "metadata", "generation") == step.generation:
        return None
    message = "the object was changed by somebody since the intent, and does not say whether our change happened"
    return run, Void(index, undoing=undoing, reason=Reason.FACT_UNKNOWN, message=message)


def _adopted(run: Run, facts: Facts, index: int, *, undoing: bool) -> Run:
    generation = dig(facts.step_target.obj, "metadata", "generation")
    return with_step(
        run, index, undoing=undoing, state=StepState.STARTED, started_at=facts.now, generation_after=generation
    )


def _poll(
    run: Run, facts: Facts, index: int, step: StepRecord, timeout: timedelta, *, undoing: bool
) -> Run | tuple[Run, Move]:
    if step.started_at is not None and facts.now > step.started_at + timeout:
        message = f"not finished within {human(timeout)}" + (f": {step.message}" if step.message else "")
        return _over(run, facts, index, StepState.FAILED, message, undoing=undoing)
    return going_on(run), Poll(index, undoing)


def _over(
    run: Run,
    facts: Facts,
    index: int,
    state: StepState,
    message: str,
    reason: Reason | None = None,
    *,
    undoing: bool = False,
) -> Run:
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


def _wait(run: Run, facts: Facts, reason: Reason, message: str) -> tuple[Run, Move]:
    until = facts.now + RETRY_UNKNOWN
    return held(run, facts.now, reason, message, until), Hold(until)


# --- verification, undo, the end ------------------------------------------------------------------


def _verify(run: Run, facts: Facts, remedy: CompiledRemedy) -> Run | tuple[Run, Move]:
    attempt = current(run)
    if attempt.verdict is not None:
        return endings.after_verdict(run, facts.now, remedy)
    checks = endings.checks_of(run, remedy)
    if not checks:
        return endings.without_checks(run, facts.now, remedy)
    if remedy.remedy.gone_is == "Success" and facts.target.gone:
        return endings.judged(run, facts.now, "the target is gone, as was wanted")
    records, due = verify.look_again(run, checks, facts, values_of(run, facts))
    run = with_attempt(run, checks=records)
    verdict = verify.verdict_of(records)
    if verdict is None:
        return run, Hold(due)
    message = "; ".join(f"{record.kind}: {record.message}" for record in records)
    return with_entry(with_attempt(run, verdict=verdict), facts.now, str(verdict).lower(), message)


def _undo(run: Run, facts: Facts, remedy: CompiledRemedy) -> Run | tuple[Run, Move]:
    for index, step in enumerate(current(run).undo):
        if step.state.is_over:
            continue
        if step.state is StepState.STARTED:
            return _poll(run, facts, index, step, STEP_TIMEOUT, undoing=True)
        if step.state is StepState.INTENDED:
            found = _found(run, facts, index, step, undoing=True)
            if found is not None:
                return found
        verdict = first_objection(BEFORE_UNDO, Question(run, step, facts))
        if isinstance(verdict, Wait):
            return _held(run, facts, index, step, verdict)
        if isinstance(verdict, Deny):
            reason = Reason.UNDO_CONFLICT if verdict.reason is Reason.TARGET_CHANGED else verdict.reason
            if step.state is StepState.INTENDED:
                return run, Void(index, undoing=True, reason=reason, message=verdict.message)
            return _over(run, facts, index, StepState.REFUSED, verdict.message, reason, undoing=True)
        return _intend(run, index, step, undoing=True)
    return endings.after_undo(run, facts.now, remedy)


def _close(run: Run, facts: Facts) -> Run | tuple[Run, Move]:
    ending = run.status.ending
    assert ending is not None, "the end is decided"
    if len(ending.told) < len(closing.messages(run, facts.runbook)):
        return run, Tell(len(ending.told), closing=True)
    return run, Finish(ending.outcome)
