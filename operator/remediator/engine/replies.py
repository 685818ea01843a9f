"""
Taking notice of what people say to a run: each word is recorded once, as taken or as ignored, with the reason.

What a word sets in motion is decided by the flow, from the record; nothing is done here.
"""

from collections.abc import Sequence

from remediator.domain.redaction import redact
from remediator.domain.replies import Reply, ReplyType
from remediator.domain.runs import Acknowledgement, ApprovalRecord, ReplyRecord, Run
from remediator.engine import approvals, debts, endings, questions
from remediator.engine.facts import Facts
from remediator.engine.guards.authority import helps_to_lift
from remediator.engine.record import current, with_entry, with_status

MAX_RECORDED = 32


def heard(run: Run, facts: Facts) -> Run:
    """The run with every word on its record that was not there yet; an Undo of a run that has ended becomes a debt."""
    for reply in facts.replies or ():
        if not _is_recorded(run, reply):
            run = _taken_notice_of(run, reply, facts)
    return run


def is_spoken_to(run: Run, replies: Sequence[Reply] | None) -> bool:
    """Whether anything was said that does not stand on its record yet."""
    return any(not _is_recorded(run, reply) for reply in replies or ())


def _is_recorded(run: Run, reply: Reply) -> bool:
    """Of a long list the oldest words have dropped out: then only what was said since is new."""
    records = run.status.replies
    if any(one.uid == reply.uid for one in records):
        return True
    return len(records) >= MAX_RECORDED and (reply.created_at, reply.name) <= max((one.at, one.name) for one in records)


def _taken_notice_of(run: Run, reply: Reply, facts: Facts) -> Run:
    said = reply.spec
    objection = "" if helps_to_lift(run, facts, reply) else _objection(run, reply)
    record = ReplyRecord(
        name=reply.name,
        uid=reply.uid,
        type=said.type,
        user=said.user,
        at=reply.created_at,
        taken=not objection,
        reason=redact(objection or said.reason)[:1024],
    )
    run = with_status(run, replies=_bounded([*run.status.replies, record]))
    why = f": {said.reason}" if said.reason else ""
    if objection:
        return with_entry(run, facts.now, "ignore", f"{said.type} by {said.user}: {objection}")
    if said.type is ReplyType.ANSWER:
        run = questions.with_answer(run, said.step or "", said.answer, said.user, reply.created_at)
        return with_entry(run, facts.now, "answer", f"{said.step}: {said.answer} ({said.user})")
    if said.type is ReplyType.UNDO and run.is_ended:
        run = debts.asked_for(run, facts.now)
    if said.type is ReplyType.ACKNOWLEDGE:
        run = with_status(run, acknowledged=Acknowledgement(by=said.user, at=reply.created_at))
    return with_entry(run, facts.now, said.type.verb, f"{said.user}{why}")


def _bounded(records: list[ReplyRecord]) -> list[ReplyRecord]:
    """The newest; what was ignored is dropped before what was taken."""
    while len(records) > MAX_RECORDED:
        ignored = (index for index, one in enumerate(records) if not one.taken)
        del records[next(ignored, 0)]
    return records


def _objection(run: Run, reply: Reply) -> str:
    """Why the word does not count; empty where it does."""
    if reply.spec.run_ref.uid != run.uid:
        return "it is meant for another run of that name"
    match reply.spec.type:
        case ReplyType.ACKNOWLEDGE:
            return ""
        case ReplyType.APPROVE | ReplyType.DENY:
            return _of_decision(run, reply)
        case ReplyType.STOP:
            return _is_ending(run)
        case ReplyType.UNDO if run.is_ended:
            return debts.objection_to_undo(run)
        case ReplyType.UNDO:
            return _is_ending(run) or _of_undo(run)
        case ReplyType.ANSWER:
            return questions.answer_objection(run, reply)


def _is_ending(run: Run) -> str:
    ending = run.status.ending
    if ending is None:
        return ""
    return f"the run {'had ended' if run.is_ended else 'was ending'} already, as {ending.outcome}"


def _of_undo(run: Run) -> str:
    if run.status.attempt is None or not current(run).has_changed_something:
        return "nothing has been changed: Stop ends the run"
    if debts.of_round(run, current(run)):
        return "it was being taken back already"
    return "" if endings.undo_of(run) else "nothing of what was changed can be taken back"


def _of_decision(run: Run, reply: Reply) -> str:
    ending = _is_ending(run)
    if ending:
        return ending
    attempt = run.status.attempt
    asked = attempt.approvals if attempt is not None else []
    if not asked:
        return "nothing was asked"
    record = _meant(asked, reply)
    objection = approvals.objection(run, record, record.needs, reply)
    if objection:
        return objection
    if record.given:
        return "it came too late: the change had begun"
    if record.state in ("Denied", "Expired"):
        return f"it came too late: the question was {record.state.lower()}"
    said_before = any(
        one.taken
        and one.type is reply.spec.type
        and one.user == reply.spec.user
        and one.at >= record.asked_at.replace(microsecond=0)
        for one in run.status.replies
    )
    return f"{reply.spec.user} had said so already" if said_before else ""


def _meant(asked: list[ApprovalRecord], reply: Reply) -> ApprovalRecord:
    """The question that fits best: the same plan and step, else the newest."""
    same = [one for one in asked if one.plan_hash == reply.spec.plan_hash]
    exact = [one for one in same if one.step == (reply.spec.step or approvals.THE_PLAN)]
    return (exact or same or asked)[-1]
