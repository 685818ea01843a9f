"""
Whether people have agreed: who asks for it, who has answered, and what of it counts.

An approval is for one plan of one run, by the plan's hash, and counts only between the question and
its deadline. The question is stored before anything counts; with the first intent the approvals are
written down as used, so that they are good for no other effect and a later word is visibly too late.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from remediator.domain.approvals import Approval
from remediator.domain.policies import Mode
from remediator.domain.redaction import redact
from remediator.domain.replies import Reply, ReplyType
from remediator.domain.runs import (
    ApprovalNeed,
    ApprovalRecord,
    Attempt,
    ReplyRecord,
    Run,
    StepRecord,
    rfc3339,
)
from remediator.engine.facts import Facts
from remediator.engine.record import current, with_attempt, with_entry

THE_PLAN = ""
"""What a question is about where it is not about a single step."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What has to be agreed to before a step may change something."""

    step: str
    """The step that asks for itself, or `THE_PLAN`."""
    needs: tuple[ApprovalNeed, ...]
    expires: timedelta
    """The shortest of all that are asked for."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What people have said to a question so far."""

    denied: Reply | None
    counted: tuple[Reply, ...]
    """One of each person who agreed and was asked."""
    missing: tuple[ApprovalNeed, ...]
    """What is not met yet."""


# --- what is asked for ----------------------------------------------------------------------------


def asked_for(run: Run, step: StepRecord, facts: Facts) -> Asked | None:
    """
    What the step needs beyond what was agreed to already; None where it needs nothing.

    What policy, Guardrails and remedy ask for is asked once, before the first change, together with
    what that step asks for itself; another step is asked about when its turn comes. Without a fence
    nothing can be told: the caller looks at that first.
    """
    assert facts.fence is not None, "a guard that cannot know does not ask"
    own = tuple(_of_the_step(step, current(run), facts))
    general = () if is_begun(current(run), THE_PLAN) else tuple(_of_the_plan(run, facts))
    asked = (*general, *own)
    if not asked:
        return None
    needs = tuple(ApprovalNeed(by=by, count=said.count, groups=said.groups) for by, said in asked)
    return Asked(THE_PLAN if general else step.name, needs, min(said.expires for _, said in asked))


def _of_the_plan(run: Run, facts: Facts) -> Iterator[tuple[str, Approval]]:
    assert facts.fence is not None, "asked_for has looked"
    resolved = run.status.resolved
    if resolved is not None and facts.fence.mode(resolved.mode)[0] is Mode.APPROVE:
        said = facts.policy.spec.approval if facts.policy is not None else None
        yield (f"AlertPolicy {run.policy_name}" if said is not None else "mode Approve"), said or Approval()
    yield from facts.fence.approvals()
    remedy = facts.runbook.remedy(current(run).remedy) if facts.runbook is not None else None
    if remedy is not None and remedy.remedy.approval is not None:
        yield f"remedy {remedy.name}", remedy.remedy.approval


def _of_the_step(step: StepRecord, attempt: Attempt, facts: Facts) -> Iterator[tuple[str, Approval]]:
    remedy = facts.runbook.remedy(attempt.remedy) if facts.runbook is not None else None
    compiled = next((one for one in remedy.steps if one.name == step.name), None) if remedy is not None else None
    if compiled is None or compiled.step.approval is None:
        return
    by = f"step {step.name}"
    met = any(one.given and any(need.by == by for need in one.needs) for one in attempt.approvals)
    if not met or not is_begun(attempt, step.name):
        yield by, compiled.step.approval


def is_begun(attempt: Attempt, step: str) -> bool:
    """Whether what a question is about has changed something."""
    return any(one.has_changed_something for one in attempt.steps if step in (THE_PLAN, one.name))


# --- the question ---------------------------------------------------------------------------------


def record_of(attempt: Attempt, step: str) -> ApprovalRecord | None:
    """The question about the present plan (or that step of it), if it was asked."""
    found = (one for one in attempt.approvals if one.step == step and one.plan_hash == attempt.plan_hash)
    return next(found, None)


def waiting(attempt: Attempt) -> ApprovalRecord | None:
    """The question that people have not answered yet."""
    return next((one for one in attempt.approvals if one.state == "Waiting"), None)


def unused(attempt: Attempt) -> ApprovalRecord | None:
    """The question that was agreed to, and whose approvals no effect has used."""
    return next((one for one in attempt.approvals if one.state == "Approved" and not one.given), None)


def with_question(run: Run, now: datetime, asked: Asked) -> Run:
    """The run with the question on its record; one that was asked already keeps its time and its deadline."""
    attempt = current(run)
    before = record_of(attempt, asked.step)
    record = ApprovalRecord(
        step=asked.step,
        plan_hash=attempt.plan_hash,
        needs=list(asked.needs),
        asked_at=before.asked_at if before is not None else now,
        deadline=before.deadline if before is not None else now + asked.expires,
    )
    others = [one for one in attempt.approvals if one != before]
    run = with_attempt(run, approvals=[*others, record])
    return with_entry(run, now, "ask", sentence_of(record, asked.needs))


def with_answer(run: Run, record: ApprovalRecord, state: Literal["Waiting", "Approved", "Denied", "Expired"]) -> Run:
    """The run with the question standing so."""
    return _replaced(run, record, record.model_copy(update={"state": state}))


def used_up(run: Run, step: StepRecord, replies: Sequence[Reply]) -> Run:
    """The run with the approvals of this step's effect written down as used; the same write is its intent."""
    record = unused(current(run))
    if record is None or record.step not in (THE_PLAN, step.name):
        return run
    counted = judged(run, record, record.needs, replies).counted
    given = [
        ReplyRecord(
            name=one.name,
            uid=one.uid,
            type=one.spec.type,
            user=one.spec.user,
            at=one.created_at,
            taken=True,
            reason=redact(one.spec.reason)[:1024],
        )
        for one in counted
    ]
    return _replaced(run, record, record.model_copy(update={"given": given}))


def _replaced(run: Run, before: ApprovalRecord, after: ApprovalRecord) -> Run:
    return with_attempt(run, approvals=[after if one == before else one for one in current(run).approvals])


def sentence_of(record: ApprovalRecord, missing: Sequence[ApprovalNeed]) -> str:
    """Who still has to agree to what, and until when."""
    about = f"step {record.step} of plan" if record.step else "plan"
    people = ", and ".join(f"{_people(need)} ({need.by})" for need in missing)
    return f"{people} must approve {about} {record.plan_hash[:8]} by {rfc3339(record.deadline)}"


def _people(need: ApprovalNeed) -> str:
    count = "1 person" if need.count == 1 else f"{need.count} people"
    return f"{count} of {' or '.join(need.groups)}" if need.groups else count


# --- the answers ----------------------------------------------------------------------------------


def judged(run: Run, record: ApprovalRecord, needs: Sequence[ApprovalNeed], replies: Sequence[Reply]) -> Judgement:
    """
    What the replies come to: every need counts distinct people, and one person may meet several.

    A denial by anybody who may deny outweighs all approvals.
    """
    denied: Reply | None = None
    counted: dict[str, Reply] = {}
    for reply in replies:
        if objection(run, record, needs, reply):
            continue
        if reply.spec.type is ReplyType.DENY:
            denied = denied or reply
        else:
            counted.setdefault(reply.spec.user, reply)
    missing = []
    for need in needs:
        left = need.count - sum(_is_asked(reply, need) for reply in counted.values())
        if left > 0:
            missing.append(need.model_copy(update={"count": left}))
    return Judgement(denied, tuple(counted.values()), tuple(missing))


def objection(run: Run, record: ApprovalRecord, needs: Sequence[ApprovalNeed], reply: Reply) -> str:
    """Why an Approve or Deny does not count for this question; empty where it counts."""
    said = reply.spec
    if said.type not in (ReplyType.APPROVE, ReplyType.DENY):
        return "it neither approves nor denies"
    if said.run_ref.uid != run.uid:
        return "it is meant for another run of that name"
    if said.plan_hash != record.plan_hash:
        return f"it is for plan {said.plan_hash[:8]}, and plan {record.plan_hash[:8]} is asked about"
    if (said.step or THE_PLAN) != record.step:
        return f"it is for {_about(said.step or THE_PLAN)}, and {_about(record.step)} is asked about"
    # the API server tells its time in whole seconds
    if reply.created_at < record.asked_at.replace(microsecond=0):
        return f"it was said before the question was asked, at {rfc3339(record.asked_at)}"
    if reply.created_at >= record.deadline:
        return f"it was said after the question had expired, at {rfc3339(record.deadline)}"
    if said.type is ReplyType.DENY:
        return ""
    if said.user == run.spec.requested_by:
        return "whoever asks for a run does not approve it"
    if not any(_is_asked(reply, need) for need in needs):
        groups = sorted({group for need in needs for group in need.groups})
        return f"it names none of the groups that are asked: {', '.join(groups)}"
    return ""


def _is_asked(reply: Reply, need: ApprovalNeed) -> bool:
    return not need.groups or not set(need.groups).isdisjoint(reply.spec.groups)


def _about(step: str) -> str:
    return f"step {step}" if step else "the whole remedy"


def denial(reply: Reply) -> str:
    """Who said no, and why."""
    return redact(f"{reply.spec.user} denied it" + (f": {reply.spec.reason}" if reply.spec.reason else ""))


def too_late(record: ApprovalRecord) -> str:
    """What is said of a change whose time is over."""
    what = "nobody denied it, and not enough people approved" if record.state == "Waiting" else "it had not begun"
    return f"the question expired at {rfc3339(record.deadline)}: {what}"
