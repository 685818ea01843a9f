"""
What comes next: from a run's record and one reading of the world to one move.

`next_move` does to the record what needs no look at the world, or names the one thing that the
shell does in it. It is safe to ask at any time: what was done stands on the record or on the
target, and the answer to the same record and facts is the same.

Accept → Diagnose → (choose) → Render → Lock → Intend → Start → Poll → (verify) → Tell → Finish
"""

from datetime import datetime, timedelta

from remediator.domain.changes import is_stamped
from remediator.domain.durations import human
from remediator.domain.expressions import Truth
from remediator.domain.policies import Mode
from remediator.domain.replies import ReplyType
from remediator.domain.runbooks import STEP_TIMEOUT, WAIT
from remediator.domain.runs import ReplyRecord, Run, RunOutcome, StepRecord, StepState
from remediator.domain.verdicts import Deny, Reason, Wait
from remediator.engine import approvals, closing, debts, due, endings, questions, verify
from remediator.engine.acceptance import AcceptedRunbook, CompiledRemedy, CompiledStep
from remediator.engine.asking import answered, at_the_end, before_diagnosis, is_unrehearsed, put_question
from remediator.engine.changing import change, take_back
from remediator.engine.clocks import put_right
from remediator.engine.facts import Facts
from remediator.engine.guards import BEFORE_RUN, RunQuestion, all_resolved, first_objection
from remediator.engine.moves import Accept, Finish, Hold, Look, Move, Read, Rehearse, Render, Tell, Unlock, Void
from remediator.engine.paying import owing, pay
from remediator.engine.record import current, going_on, held, with_attempt, with_entry, with_new_attempt, with_step
from remediator.engine.remedies import choose
from remediator.engine.replies import heard
from remediator.engine.steps import (
    adopted,
    compiled_step,
    giving_up,
    is_out_of_patience,
    over,
    remedy_of,
    wait_and_see,
    with_item,
)
from remediator.engine.stopping import stopped
from remediator.engine.values import values_of


def next_move(run: Run, facts: Facts) -> tuple[Run, Move]:
    """
    The run with one thing more on its record if that needs no look at the world, and the next move.

    `Look` asks for the facts that the record now wants: what was read for one step says nothing
    about the next.
    """
    progress = _look(run, facts)
    if not isinstance(progress, tuple):
        return progress, Look()
    run, move = progress
    if not isinstance(move, Hold):
        return run, move
    move = _no_later(move, due.next_look(run, facts))
    return run, Unlock(move.until) if holds_for_nothing(run) else move


def _no_later(hold: Hold, owed: datetime | None) -> Hold:
    """The same wait, but not beyond what the run owes."""
    return hold if owed is None else Hold(owed if hold.until is None else min(hold.until, owed))


def holds_for_nothing(run: Run) -> bool:
    """Whether the run holds locks and has, in this round, nothing under way that they protect."""
    attempt = run.status.attempt
    if attempt is None or not run.status.locks or run.status.ending is not None:
        return False
    begun = any(step.has_changed_something or step.state is StepState.INTENDED for step in attempt.steps)
    return not begun and attempt.verifying_since is None and not attempt.undo


def _look(run: Run, facts: Facts) -> Run | tuple[Run, Move]:
    run = heard(put_right(run, facts.now), facts)
    if run.is_ended:
        return owing(run, facts)
    status = run.status
    if status.ending is not None:
        return _close(run, facts)
    halted = stopped(run, facts)
    if halted is not None:
        return halted
    stop = status.taken(ReplyType.STOP)
    if stop is not None:
        return _stopped(run, facts, stop)
    if status.resolved is None:
        return run, Accept()
    if facts.runbook is None:
        return wait_and_see(
            run, facts, Reason.FACT_UNKNOWN, f"the Runbook's content cannot be read: {facts.runbook_problem}"
        )
    if not status.attempts:
        return with_new_attempt(run)
    over = _over_before_a_change(run, facts)
    if over is not None:
        return over
    paying = pay(run, facts)
    if paying is not None:
        return paying
    attempt = current(run)
    if attempt.chosen_at is None:
        return _held_back(run, facts) or _look_and_choose(run, facts, facts.runbook)
    remedy = remedy_of(facts.runbook, attempt)
    if not attempt.plan_hash:
        return run, Render(attempt.remedy)
    if status.resolved.mode.rank < Mode.APPROVE.rank:
        return _rehearse(run, facts)
    if debts.of_round(run, attempt):
        return _undo(run, facts, remedy)
    undo = status.taken(ReplyType.UNDO)
    if undo is not None:
        return _taken_back(run, facts, remedy, undo)
    if attempt.verifying_since is None:
        return _act(run, facts, remedy)
    return _verify(run, facts, remedy)


def _held_back(run: Run, facts: Facts) -> Run | tuple[Run, Move] | None:
    """What keeps a round from looking at anything; None if nothing does."""
    verdict = first_objection(BEFORE_RUN, RunQuestion(run, facts))
    if isinstance(verdict, Deny) or (isinstance(verdict, Wait) and _nobody_can_tell(run, facts, verdict)):
        return endings.conclude(run, facts.now, endings.refused_as(verdict.reason), verdict.reason, verdict.message)
    if isinstance(verdict, Wait):
        return held(run, facts.now, verdict.reason, verdict.message, verdict.until), Hold(verdict.until)
    return None


def _nobody_can_tell(run: Run, facts: Facts, verdict: Wait) -> bool:
    return verdict.reason is Reason.FACT_UNKNOWN and is_out_of_patience(run, facts.now)


def _look_and_choose(run: Run, facts: Facts, book: AcceptedRunbook) -> Run | tuple[Run, Move]:
    if current(run).diagnosed_at is None:
        return before_diagnosis(run, facts, book)
    return choose(going_on(run), book, facts, values_of(run, facts))


def _over_before_a_change(run: Run, facts: Facts) -> Run | tuple[Run, Move] | None:
    """A resolved alert ends the run as long as nothing was changed; an intent is given up first."""
    if run.has_changed_something or not all_resolved(run):
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
        return adopted(run, facts, index, step, undoing=False)
    if facts.step_target.obj is None and not facts.step_target.gone:
        return wait_and_see(run, facts, Reason.FACT_UNKNOWN, f"the target cannot be read: {facts.step_target.error}")
    return run, Void(index, undoing=False, reason=reason, message=message)


def _stopped(run: Run, facts: Facts, stop: ReplyRecord) -> Run | tuple[Run, Move]:
    """Nothing further is begun: what was intended is given up first, and what was changed is kept."""
    message = f"stopped by {stop.user}" + (f": {stop.reason}" if stop.reason else "")
    given_up = giving_up(run, Reason.STOPPED, message)
    if given_up is not None:
        return run, given_up
    if run.has_changed_something:
        message += "; what was changed is kept, and nobody has verified it"
    return endings.conclude(run, facts.now, RunOutcome.STOPPED, str(Reason.STOPPED), message)


def _taken_back(run: Run, facts: Facts, remedy: CompiledRemedy, undo: ReplyRecord) -> Run | tuple[Run, Move]:
    """The round's changes are taken back because somebody asked, as if they had not helped."""
    message = f"{undo.user} asked for it to be taken back"
    given_up = giving_up(run, Reason.STOPPED, message)
    if given_up is not None:
        return run, given_up
    return endings.taken_back(run, facts.now) or endings.after_undo(run, facts.now, remedy)


def _rehearse(run: Run, facts: Facts) -> Run | tuple[Run, Move]:
    attempt = current(run)
    if is_unrehearsed(attempt):
        return run, Rehearse()
    return endings.conclude(
        run, facts.now, RunOutcome.DRY_RUN, "DryRun", f"{attempt.remedy} was rehearsed and nothing was changed"
    )


def _act(run: Run, facts: Facts, remedy: CompiledRemedy) -> Run | tuple[Run, Move]:
    attempt = current(run)
    if remedy.remedy.gone_is == "Success" and facts.target.gone and current(run).has_changed_something:
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
        question = approvals.waiting(current(run))
        if question is not None:
            return answered(run, facts, index, question)
        begun = min((one.intended_at or one.started_at or facts.now for one in current(run).steps), default=facts.now)
        if facts.now - begun - questions.time_of_people(run, facts.now) > remedy.remedy.timeout:
            return over(
                run, facts, index, StepState.FAILED, f"the remedy is not finished within {human(remedy.remedy.timeout)}"
            )
        skipped = _condition(run, facts, compiled, index, step)
        if skipped is not None:
            return skipped
    if step.action == WAIT:
        return _await(run, facts, compiled, index, step)
    if compiled.question is not None:
        return put_question(run, facts, compiled, index, step)
    if compiled.info is not None and compiled.info.reads:
        return going_on(run), Read(index)
    if step.change is None:
        return going_on(run), Tell(index)
    return change(run, facts, index, step, compiled.step.timeout or STEP_TIMEOUT)


def _condition(
    run: Run, facts: Facts, compiled: CompiledStep, index: int, step: StepRecord
) -> Run | tuple[Run, Move] | None:
    if compiled.when is None:
        return None
    values = with_item(values_of(run, facts), step)
    truth, missing = compiled.when.truth(values)
    if truth is Truth.FALSE:
        return over(run, facts, index, StepState.SKIPPED, "its condition is False")
    if truth is Truth.UNKNOWN:
        why = missing.message if missing is not None else "a value is missing"
        return over(run, facts, index, StepState.FAILED, f"its condition is Unknown: {why}", Reason.FACT_UNKNOWN)
    return None


def _await(run: Run, facts: Facts, compiled: CompiledStep, index: int, step: StepRecord) -> Run | tuple[Run, Move]:
    wait = compiled.wait
    assert wait is not None, "a wait was parsed as one"
    if step.started_at is None:
        return with_step(run, index, state=StepState.STARTED, started_at=facts.now)
    if wait.lasting is not None:
        if facts.now >= step.started_at + wait.lasting:
            return over(run, facts, index, StepState.DONE, "the time has passed")
        return run, Hold(step.started_at + wait.lasting)
    assert compiled.until is not None and wait.within is not None, "a wait has `for`, or `until` and `within`"
    truth, missing = compiled.until.truth(with_item(values_of(run, facts), step))
    if truth is Truth.TRUE:
        return over(run, facts, index, StepState.DONE, f"{compiled.until.text} is True")
    if facts.now < step.started_at + wait.within:
        return run, Hold(min(facts.now + timedelta(seconds=5), step.started_at + wait.within))
    message = f"{compiled.until.text} was {truth} for {human(wait.within)}" + (
        f": {missing.message}" if missing else ""
    )
    if wait.on_timeout == "Continue":
        run = with_step(run, index, output={"ok": False})
        return over(run, facts, index, StepState.DONE, message)
    return over(run, facts, index, StepState.FAILED, message)


def _verify(run: Run, facts: Facts, remedy: CompiledRemedy) -> Run | tuple[Run, Move]:
    attempt = current(run)
    if attempt.verdict is not None:
        return endings.after_verdict(run, facts.now, remedy)
    checks = endings.checks_of(run, remedy)
    if not checks:
        return endings.without_checks(run, facts.now, remedy)
    if remedy.remedy.gone_is == "Success" and facts.target.gone:
        return endings.judged(run, facts.now, "the target is gone, as was wanted")
    records, again = verify.look_again(run, checks, facts, values_of(run, facts))
    run = with_attempt(run, checks=records)
    verdict = verify.verdict_of(records)
    if verdict is None:
        return run, Hold(again)
    message = "; ".join(f"{record.kind}: {record.message}" for record in records)
    return with_entry(with_attempt(run, verdict=verdict), facts.now, str(verdict).lower(), message)


def _undo(run: Run, facts: Facts, remedy: CompiledRemedy) -> Run | tuple[Run, Move]:
    for index, step in debts.of_round(run, current(run)):
        if not step.state.is_over:
            return take_back(run, facts, index, step)
    return endings.after_undo(run, facts.now, remedy)


def _close(run: Run, facts: Facts) -> Run | tuple[Run, Move]:
    ending = run.status.ending
    assert ending is not None, "the end is decided"
    messages = closing.messages(run, facts.runbook)
    if len(ending.told) < len(messages):
        message = messages[len(ending.told)]
        if message is not None and message.question is not None:
            return at_the_end(run, facts, message)
        return run, Tell(len(ending.told), closing=True)
    return run, Finish(ending.outcome)
