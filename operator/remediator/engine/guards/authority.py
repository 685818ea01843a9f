"""Whether those who may decide have permitted it: the policy, the account, the mode, the Guardrails."""

from datetime import timedelta
from typing import Final

from remediator.domain.freezes import Frozen
from remediator.domain.policies import Mode
from remediator.domain.replies import Reply, ReplyType
from remediator.domain.runs import Run, rfc3339
from remediator.domain.verdicts import Allow, Deny, Reason, Verdict, Wait
from remediator.engine.facts import Facts
from remediator.engine.guards.question import AboutRun, Question, unknown

SUSPENDED_LOOK: Final = timedelta(minutes=5)
"""How often a run is looked at that a Guardrail suspends."""

_UNKNOWN_FENCE: Final = "cannot tell which Guardrails govern the namespace"


def policy_is_ready(question: Question) -> Verdict:
    """Refuse where the policy that started the run is gone or no longer ready."""
    if question.run.spec.policy_ref is None or question.facts.policy is not None:
        return Allow()
    why = question.facts.policy_problem or "it cannot be read"
    return Deny(Reason.POLICY_NOT_READY, f"AlertPolicy {question.run.policy_name} is not ready: {why}")


def namespace_is_there(question: AboutRun) -> Verdict:
    """Refuse at once where the target's namespace is gone: no Guardrails will ever be known to govern it."""
    if question.facts.namespace_is_gone:
        return Deny(Reason.TARGET_GONE, f"the namespace {question.run.target.ref.namespace} is gone")
    return Allow()


def is_not_suspended(question: AboutRun) -> Verdict:
    """Hold everything while a Guardrail that selects the namespace suspends it, what is taken back too."""
    fence = question.facts.fence
    if fence is None and question.run.spec.target.is_outside:
        return Allow()  # it can only be told of, and its namespace may be a label's invention
    if fence is None:
        return unknown(question, _UNKNOWN_FENCE)
    guardrail = fence.suspended_by()
    if not guardrail:
        return Allow()
    return Wait(
        Reason.SUSPENDED,
        f"Guardrail {guardrail} suspends everything here, until somebody sets its `suspend` to false",
        question.facts.now + SUSPENDED_LOOK,
    )


def account_is_named(question: Question) -> Verdict:
    """Refuse a change for which no account is named: the operator itself changes nothing."""
    resolved = question.run.status.resolved
    if resolved is not None and resolved.account:
        return Allow()
    return Deny(Reason.NOT_PERMITTED, "no serviceAccountName is given, and the operator itself changes nothing")


def account_may(question: Question) -> Verdict:
    """Refuse what the account is not permitted, with the permission that is missing."""
    missing = question.facts.missing_permissions
    if missing is None:
        return unknown(question, "cannot tell what the account may do")
    return Deny(Reason.NOT_PERMITTED, "; ".join(missing)) if missing else Allow()


def mode_permits(question: Question) -> Verdict:
    """Refuse where the mode of today, the lowest of run and Guardrails, lets nothing be changed."""
    resolved, fence = question.run.status.resolved, question.facts.fence
    if resolved is None or fence is None:
        return unknown(question, _UNKNOWN_FENCE)
    mode, lowered_by = fence.mode(resolved.mode)
    if mode.rank >= Mode.APPROVE.rank:
        return Allow()
    return Deny(
        Reason.NOT_PERMITTED, f"the mode is {mode}: {lowered_by or resolved.lowered_by or 'the run asks for it'}"
    )


def fence_allows(question: Question) -> Verdict:
    """Refuse what no Guardrail allows, or any of them leaves out."""
    fence = question.facts.fence
    if fence is None:
        return unknown(question, _UNKNOWN_FENCE)
    for action in question.step.actions:
        objection = fence.objection(action)
        if objection:
            reason = Reason.NOT_PERMITTED if fence.guardrails else Reason.NAMESPACE_NOT_PERMITTED
            return Deny(reason, objection)
    return Allow()


def no_freeze(question: Question) -> Verdict:
    """
    Wait for the end of a freeze, unless somebody who may lift it has agreed to this very plan in it.

    What he agreed to before the freeze began he did not agree to in spite of it.
    """
    fence = question.facts.fence
    if fence is None:
        return unknown(question, _UNKNOWN_FENCE)
    frozen = fence.freeze_at(question.facts.now)
    if frozen is None or _is_lifted(question.run, question.facts, frozen):
        return Allow()
    why = f": {frozen.reason}" if frozen.reason else ""
    return Wait(
        Reason.FROZEN,
        f"Guardrail {frozen.guardrail} freezes every change until {rfc3339(frozen.until)}{why}{_who_lifts(frozen)}",
        frozen.until,
    )


def helps_to_lift(run: Run, facts: Facts, reply: Reply) -> bool:
    """Whether the reply is an approval that an active freeze, or one of several, is lifted by."""
    frozen = facts.fence.freeze_at(facts.now) if facts.fence is not None else None
    return frozen is not None and _is_said_in_spite_of(run, frozen, reply) and frozen.excepts(reply.spec.groups)


def _is_lifted(run: Run, facts: Facts, frozen: Frozen) -> bool:
    replies = facts.replies or ()
    if any(reply.spec.type is ReplyType.DENY and _is_about_the_plan(run, frozen, reply) for reply in replies):
        return False
    return frozen.is_lifted_by(reply.spec.groups for reply in replies if _is_said_in_spite_of(run, frozen, reply))


def _is_said_in_spite_of(run: Run, frozen: Frozen, reply: Reply) -> bool:
    """An approval of this round's plan since the freeze began, with a reason, by somebody who did not ask for the run."""
    said = reply.spec
    return (
        said.type is ReplyType.APPROVE
        and bool(said.reason.strip())
        and said.user != run.spec.requested_by
        and _is_about_the_plan(run, frozen, reply)
    )


def _is_about_the_plan(run: Run, frozen: Frozen, reply: Reply) -> bool:
    attempt = run.status.attempt
    plan = attempt.plan_hash if attempt is not None else ""
    meant = (reply.spec.run_ref.uid, reply.spec.plan_hash) == (run.uid, plan)
    return bool(plan) and meant and frozen.since <= reply.created_at < frozen.until


def _who_lifts(frozen: Frozen) -> str:
    if not frozen.can_be_lifted:
        return ""
    each = (" or ".join(sorted(groups)) for groups in frozen.exceptions)
    return f"; an approval with a reason by {', and one by '.join(each)} lifts it"
