"""
What people are asked by a run, and what becomes of it: an answer, the default, or nothing in time.

A question stands on the round in which it was asked; names are unique in a Runbook, so it is found by
its name, and what was answered once is not asked again in a later round.
"""

from datetime import datetime, timedelta

from remediator.domain.expressions import Values
from remediator.domain.json import dig_text
from remediator.domain.questions import objection
from remediator.domain.replies import Reply
from remediator.domain.runs import QuestionRecord, Run, rfc3339
from remediator.engine.acceptance import CompiledStep
from remediator.engine.record import current, in_short, with_attempt, with_entry, with_status


def record_of(run: Run, name: str) -> QuestionRecord | None:
    """The question of that step or diagnostic, if it was asked."""
    records = (one for attempt in reversed(run.status.attempts) for one in attempt.questions if one.name == name)
    return next(records, None)


def with_question(run: Run, now: datetime, step: CompiledStep, values: Values) -> Run:
    """The run with the question on its record, if it is not there yet; a value that is missing in it becomes `?`."""
    question = step.question
    assert question is not None, "only questions are asked"
    if record_of(run, step.name) is not None:
        return run
    record = QuestionRecord(
        name=step.name,
        question=wording(step, values),
        answers=list(question.answers),
        pattern=question.mask,
        default=question.default or "",
        asked_at=now,
        deadline=now + question.within,
        blocking=question.is_blocking,
    )
    run = with_attempt(run, questions=[*current(run).questions, record])
    return with_entry(run, now, "ask", sentence_of(record))


def wording(step: CompiledStep, values: Values) -> str:
    """What is put to people."""
    return in_short(dig_text(step.parameters.text(values), "text"))


def with_answer(run: Run, name: str, answer: str, by: str, at: datetime) -> Run:
    """The run with the question answered."""
    changes = {"answer": in_short(answer), "answered_by": by, "answered_at": at}
    return _with_record(run, name, changes)


def with_time_over(run: Run, now: datetime, record: QuestionRecord) -> Run:
    """The run with the default taken, or with no answer at all."""
    return _with_record(run, record.name, {"answer": record.default, "answered_at": now})


def _with_record(run: Run, name: str, changes: dict[str, object]) -> Run:
    attempts = [
        attempt.model_copy(
            update={
                "questions": [one.model_copy(update=changes) if one.name == name else one for one in attempt.questions]
            }
        )
        for attempt in run.status.attempts
    ]
    return with_status(run, attempts=attempts)


def sentence_of(record: QuestionRecord) -> str:
    """What is asked, which answers there are, and until when."""
    choice = f" ({' or '.join(record.answers)})" if record.answers else ""
    return f"{record.name}: {record.question}{choice}, by {rfc3339(record.deadline)}"


def outcome_of(record: QuestionRecord) -> str:
    """What came of it, in one sentence."""
    if not record.answer:
        return f"nobody answered {record.name} by {rfc3339(record.deadline)}"
    by = record.answered_by or "nobody in time, so the default is taken"
    return f"{record.answer} ({by})"


def answer_objection(run: Run, reply: Reply) -> str:
    """Why an Answer does not count; empty where it does."""
    record = record_of(run, reply.spec.step or "")
    if record is None:
        return f"nothing was asked under the name {reply.spec.step}"
    if record.answered_at is not None:
        return f"{record.name} was answered already: {outcome_of(record)}"
    if reply.created_at < record.asked_at.replace(microsecond=0):
        return f"it was said before the question was asked, at {rfc3339(record.asked_at)}"
    if reply.created_at >= record.deadline:
        return f"it was said after the time for it, which ended at {rfc3339(record.deadline)}"
    return objection(reply.spec.answer, record.answers, record.pattern)


def time_of_people(run: Run, now: datetime) -> timedelta:
    """How long the round has waited for answers: a remedy's `timeout` is about what the operator does."""
    waits = (
        (one.answered_at or min(now, one.deadline)) - one.asked_at for one in current(run).questions if one.blocking
    )
    return sum(waits, timedelta(0))
