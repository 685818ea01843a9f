"""
What people are asked: questions before and between the steps and at the end, and whether they agree to a plan.

What they answer is judged by `questions` and `approvals`; here stands what the run does meanwhile.
"""

from remediator.domain.expressions import Truth
from remediator.domain.policies import Mode
from remediator.domain.runs import ApprovalRecord, Attempt, QuestionRecord, Run, RunOutcome, StepRecord, StepState
from remediator.domain.verdicts import Reason
from remediator.engine import approvals, endings, questions
from remediator.engine.acceptance import AcceptedRunbook, CompiledStep
from remediator.engine.facts import Facts
from remediator.engine.guards import RETRY_UNKNOWN, all_resolved
from remediator.engine.moves import Diagnose, Hold, Move, Rehearse
from remediator.engine.record import current, going_on, held, in_short, with_entry, with_step, with_told
from remediator.engine.steps import over
from remediator.engine.values import values_of


def before_diagnosis(run: Run, facts: Facts, book: AcceptedRunbook) -> Run | tuple[Run, Move]:
    """People are asked first, all questions at once, so that the diagnosis holds their answers; a dry run asks nobody."""
    resolved = run.status.resolved
    if resolved is None or resolved.mode is Mode.DRY_RUN:
        return going_on(run), Diagnose()
    asking = [step for step in book.diagnose if step.question is not None and _is_wanted(run, facts, step)]
    for step in asking:
        run = questions.with_question(run, facts.now, step, values_of(run, facts))
    found = [questions.record_of(run, step.name) for step in asking]
    records = [one for one in found if one is not None and one.answered_at is None]
    for record in records:
        if facts.now >= record.deadline:
            return _unanswered(run, facts, record)
    if not records:
        return going_on(run), Diagnose()
    return _waiting_for_people(run, facts, records)


def _is_wanted(run: Run, facts: Facts, step: CompiledStep) -> bool:
    return step.when is None or step.when.truth(values_of(run, facts))[0] is Truth.TRUE


def _waiting_for_people(run: Run, facts: Facts, records: list[QuestionRecord]) -> tuple[Run, Move]:
    until = min(record.deadline for record in records)
    message = "; ".join(questions.sentence_of(record) for record in records)
    return held(run, facts.now, Reason.AWAITING_HUMAN, message, until), Hold(until)


def _unanswered(run: Run, facts: Facts, record: QuestionRecord) -> Run:
    """The default taken, or the run handed over to whoever did not answer."""
    run = going_on(questions.with_time_over(run, facts.now, record))
    if record.default:
        return with_entry(run, facts.now, "answer", f"{record.name}: {record.default} (nobody in time)")
    message = questions.outcome_of(record)
    if run.has_changed_something:
        message += "; what was changed is kept"
    return endings.conclude(run, facts.now, RunOutcome.HANDED_OVER, str(Reason.AWAITING_HUMAN), message)


def put_question(
    run: Run, facts: Facts, compiled: CompiledStep, index: int, step: StepRecord
) -> Run | tuple[Run, Move]:
    """A question among the steps: put, waited for, and answered by people or by its default."""
    if step.state is StepState.PLANNED:
        run = questions.with_question(run, facts.now, compiled, values_of(run, facts))
        run = with_step(run, index, state=StepState.STARTED, started_at=facts.now)
    record = questions.record_of(run, step.name)
    assert record is not None, "it was asked when the step began"
    if not record.blocking:
        return over(run, facts, index, StepState.DONE, f"left to people: {record.question}")
    if record.answered_at is not None:
        run = with_step(run, index, output={"answer": record.answer})
        return over(run, facts, index, StepState.DONE, questions.outcome_of(record))
    if all_resolved(run):
        return over(run, facts, index, StepState.SKIPPED, "every alert resolved before anybody answered")
    if facts.now >= record.deadline:
        return _unanswered(run, facts, record)
    return _waiting_for_people(run, facts, [record])


def at_the_end(run: Run, facts: Facts, message: CompiledStep) -> Run | tuple[Run, Move]:
    """What people have to do belongs to the end; that nobody did it does not change how the run ended."""
    record = questions.record_of(run, message.name)
    resolved = run.status.resolved
    if message.when is not None and record is None and message.when.truth(values_of(run, facts))[0] is Truth.FALSE:
        return _handed_on(run, facts, message, StepState.SKIPPED, "its condition is False")
    if resolved is not None and resolved.mode is Mode.DRY_RUN:
        text = questions.wording(message, values_of(run, facts))
        return _handed_on(run, facts, message, StepState.DONE, f"shown, not asked: {text}")
    run = questions.with_question(run, facts.now, message, values_of(run, facts))
    record = questions.record_of(run, message.name)
    assert record is not None, "it was just asked"
    if not record.blocking:
        return _handed_on(run, facts, message, StepState.DONE, f"left to people: {record.question}")
    if record.answered_at is not None:
        state = StepState.DONE if record.answer else StepState.FAILED
        return _handed_on(run, facts, message, state, questions.outcome_of(record))
    if all_resolved(run):
        return _handed_on(run, facts, message, StepState.SKIPPED, "every alert resolved before anybody answered")
    if facts.now >= record.deadline:
        return questions.with_time_over(run, facts.now, record)
    return _waiting_for_people(run, facts, [record])


def _handed_on(run: Run, facts: Facts, message: CompiledStep, state: StepState, said: str) -> Run:
    ending = run.status.ending
    assert ending is not None, "it belongs to an ending"
    record = StepRecord(
        name=message.name, action=message.step.action, state=state, message=in_short(said), ended_at=facts.now
    )
    return with_entry(with_told(going_on(run), [*ending.told, record]), facts.now, "tell", f"{message.name}: {said}")


def ask(run: Run, facts: Facts, step: StepRecord) -> tuple[Run, Move]:
    """The question put to people, about a plan of which the API server has said what it would change."""
    if is_unrehearsed(current(run)):
        return run, Rehearse()
    asked = approvals.asked_for(run, step, facts)
    assert asked is not None, "a guard has asked for it"
    run = approvals.with_question(run, facts.now, asked)
    record = approvals.record_of(current(run), asked.step)
    assert record is not None, "it was just asked"
    message = approvals.sentence_of(record, record.needs)
    return held(run, facts.now, Reason.AWAITING_APPROVAL, message, record.deadline), Hold(record.deadline)


def is_unrehearsed(attempt: Attempt) -> bool:
    """Whether the API server has yet to say what a change of the plan would alter."""
    return any(step.change and step.state is StepState.PLANNED and not step.diff for step in attempt.steps)


def answered(run: Run, facts: Facts, index: int, record: ApprovalRecord) -> Run | tuple[Run, Move]:
    """What people have said to the question so far: an end, or another look at everything, or more waiting."""
    if facts.now >= record.deadline:
        run = approvals.with_answer(run, record, "Expired")
        return over(run, facts, index, StepState.REFUSED, approvals.too_late(record), Reason.EXPIRED)
    if facts.replies is None:
        until = min(facts.now + RETRY_UNKNOWN, record.deadline)
        return held(run, facts.now, Reason.AWAITING_APPROVAL, "cannot tell who has approved", until), Hold(until)
    judged = approvals.judged(run, record, record.needs, facts.replies)
    if judged.denied is not None:
        run = approvals.with_answer(run, record, "Denied")
        return over(run, facts, index, StepState.REFUSED, approvals.denial(judged.denied), Reason.DENIED)
    if judged.missing:
        message = approvals.sentence_of(record, judged.missing)
        return held(run, facts.now, Reason.AWAITING_APPROVAL, message, record.deadline), Hold(record.deadline)
    who = ", ".join(reply.spec.user for reply in judged.counted)
    run = going_on(approvals.with_answer(run, record, "Approved"))
    return with_entry(run, facts.now, "approved", f"{who} for plan {record.plan_hash[:8]}")
