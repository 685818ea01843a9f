"""Whether the people who must agree have agreed, to exactly what would be done."""

from remediator.domain.verdicts import Allow, Deny, Reason, Verdict, Wait
from remediator.engine import approvals
from remediator.engine.guards.question import Question, unknown
from remediator.engine.record import current


def is_approved(question: Question) -> Verdict:
    """
    Hold the change until everybody who must agree to this plan has, and refuse it after the deadline.

    The deadline also ends what was agreed to and has not begun.
    """
    run, facts = question.run, question.facts
    if facts.fence is None:
        return unknown(question, "cannot tell which Guardrails govern the namespace, and who must approve")
    asked = approvals.asked_for(run, question.step, facts)
    if asked is None:
        return Allow()
    record = approvals.record_of(current(run), asked.step)
    if record is None:
        whom = ", ".join(dict.fromkeys(need.by for need in asked.needs))
        return Wait(Reason.AWAITING_APPROVAL, f"it must be approved ({whom})", facts.now + asked.expires)
    if facts.now >= record.deadline:
        return Deny(Reason.EXPIRED, approvals.too_late(record))
    if record.given:
        return Allow()
    if facts.replies is None:
        return unknown(question, "cannot tell who has approved")
    judged = approvals.judged(run, record, asked.needs, facts.replies)
    if judged.denied is not None:
        return Deny(Reason.DENIED, approvals.denial(judged.denied))
    if judged.missing:
        return Wait(Reason.AWAITING_APPROVAL, approvals.sentence_of(record, judged.missing), record.deadline)
    return Allow()
