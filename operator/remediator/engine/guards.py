"""
The checks that a change must pass, immediately before it is made.

A guard is a pure function of the step and the facts. It reads no clock, opens no connection and
writes no log, so that a table of inputs is a complete test of it. A guard that cannot know does
not allow.

The chain asks every guard: a denial outweighs a wait, and among equals the earliest is what a
person reads, so cheap and certain guards come first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from remediator.domain.alerts import Alert, Identities
from remediator.domain.changes import Patch, change_from_json, differences
from remediator.domain.durations import human
from remediator.domain.expressions import Truth
from remediator.domain.json import dig_text
from remediator.domain.policies import Limits, Mode
from remediator.domain.runs import Run, StepRecord, rfc3339
from remediator.domain.verdicts import Allow, Deny, Reason, Verdict, Wait
from remediator.engine.alertsets import all_within, starts
from remediator.engine.facts import Facts, template_hash
from remediator.engine.record import current

RETRY_UNKNOWN: Final = timedelta(seconds=15)
"""Long enough for an API server or an Alertmanager to restart between two looks."""


@dataclass(frozen=True, slots=True)
class Question:
    """May this step change something now?"""

    run: Run
    step: StepRecord
    facts: Facts

    @property
    def is_first_change(self) -> bool:
        """Whether the remedy has changed nothing yet; from then on it is one unit."""
        return not any(step.has_changed_something for step in current(self.run).steps)


Guard = Callable[[Question], Verdict]


def policy_is_ready(question: Question) -> Verdict:
    """Refuse where the policy that started the run is gone or no longer ready."""
    if question.run.spec.policy_ref is None or question.facts.policy is not None:
        return Allow()
    why = question.facts.policy_problem or "it cannot be read"
    return Deny(Reason.POLICY_NOT_READY, f"AlertPolicy {question.run.policy_name} is not ready: {why}")


def mode_permits(question: Question) -> Verdict:
    """Refuse where the mode of today, the lowest of run and Guardrails, is not Automatic."""
    resolved, fence = question.run.status.resolved, question.facts.fence
    if resolved is None or fence is None:
        return _unknown(question, "cannot tell which Guardrails govern the namespace")
    mode, lowered_by = fence.mode(resolved.mode)
    if mode is Mode.AUTOMATIC:
        return Allow()
    return Deny(
        Reason.NOT_PERMITTED, f"the mode is {mode}: {lowered_by or resolved.lowered_by or 'the run asks for it'}"
    )


def fence_allows(question: Question) -> Verdict:
    """Refuse what no Guardrail allows, or any of them leaves out."""
    fence = question.facts.fence
    if fence is None:
        return _unknown(question, "cannot tell which Guardrails govern the namespace")
    for action in question.step.actions:
        objection = fence.objection(action)
        if objection:
            reason = Reason.NOT_PERMITTED if fence.guardrails else Reason.NAMESPACE_NOT_PERMITTED
            return Deny(reason, objection)
    return Allow()


def account_is_named(question: Question) -> Verdict:
    """Refuse a change for which no account is named: the operator itself changes nothing."""
    resolved = question.run.status.resolved
    if resolved is not None and resolved.account:
        return Allow()
    return Deny(Reason.NOT_PERMITTED, "no serviceAccountName is given, and the operator itself changes nothing")


def target_is_the_same(question: Question) -> Verdict:
    """Refuse where the object that is to be changed is gone, or is another of the same name."""
    seen, step = question.facts.step_target, question.step
    if step.target is None:
        return Deny(Reason.TARGET_UNKNOWN, "the step has no target")
    if seen.gone:
        return Deny(Reason.TARGET_GONE, f"{step.target.ref} is gone")
    if seen.obj is None:
        return _unknown(question, f"{step.target.ref} cannot be read: {seen.error}")
    if dig_text(seen.obj, "metadata", "deletionTimestamp"):
        return Deny(Reason.TARGET_GONE, f"{step.target.ref} is being deleted")
    if dig_text(seen.obj, "metadata", "uid") != step.target.uid:
        return Deny(Reason.TARGET_CHANGED, f"{step.target.ref} is another object than the one that was diagnosed")
    return Allow()


def target_is_as_diagnosed(question: Question) -> Verdict:
    """Refuse where the pod template is not the one that was diagnosed; our own changes do not count."""
    seen, attempt = question.facts.target, current(question.run)
    if not question.is_first_change:
        return Allow()
    if not attempt.target_template:
        if seen.obj is None or not template_hash(seen.obj):
            return Allow()  # there is none to compare
        return _unknown(question, f"{question.run.target} could not be read when it was diagnosed")
    if seen.obj is None:
        return _unknown(question, f"{question.run.target} cannot be read: {seen.error or 'it is gone'}")
    if template_hash(seen.obj) != attempt.target_template:
        return Deny(Reason.TARGET_CHANGED, f"the pod template of {question.run.target} was changed since the diagnosis")
    return Allow()


def change_still_fits(question: Question) -> Verdict:
    """Refuse where the change would now do something else than what was planned."""
    seen = question.facts.step_target.obj
    if question.step.change is None:
        return Deny(Reason.FACT_UNKNOWN, "the step has no rendered change")
    change = change_from_json(question.step.change)
    if seen is None or not isinstance(change, Patch):
        return Allow()  # target_is_the_same speaks for the one; a list of pods by UID fits or finds nothing
    wrong = differences(change, seen)
    if wrong:
        return Deny(Reason.TARGET_CHANGED, f"{change.target}: {', '.join(wrong)} was changed since the plan was made")
    return Allow()


def alert_still_fires(question: Question) -> Verdict:
    """Refuse to act on an alert that is over; wait where nobody can say."""
    if not question.is_first_change:
        return Allow()
    truth, why = still_fires(question.run, question.facts)
    if truth is Truth.TRUE:
        return Allow()
    if truth is Truth.FALSE:
        return Deny(Reason.STALE_ALERT, why)
    return Wait(Reason.STALE_ALERT, why, question.facts.now + RETRY_UNKNOWN)


def grace_is_over(question: Question) -> Verdict:
    """Wait until the policy's grace has passed since the run was made."""
    policy = question.facts.policy
    if policy is None or not question.is_first_change:
        return Allow()
    until = question.run.created_at + policy.spec.grace
    if question.facts.now >= until:
        return Allow()
    return Wait(
        Reason.IN_GRACE, f"waiting {human(policy.spec.grace)} to see whether the alert resolves by itself", until
    )


def target_has_rested(question: Question) -> Verdict:
    """
    Wait until the cooldown has passed since this remedy last changed the target, by whatever policy.

    The cooldown counts from the end of the earlier change where that is known, else from its
    beginning: a slow rollout would otherwise use up its own rest.
    """
    if not question.is_first_change:
        return Allow()
    lock = question.facts.lock
    if lock is None:
        return _unknown(question, f"cannot tell when {question.run.target} was last changed")
    cooldown = _cooldown(question)
    runbook, remedy = _runbook(question.run), current(question.run).remedy
    times = [
        past.ended or past.at
        for past in lock.changes
        if (past.runbook, past.remedy) == (runbook, remedy) and past.run_uid != question.run.uid
    ]
    if not times or max(times) + cooldown <= question.facts.now:
        return Allow()
    until = max(times) + cooldown
    return Wait(
        Reason.COOLING_DOWN,
        f"{remedy} last changed {question.run.target} at {rfc3339(max(times))} and rests {human(cooldown)}",
        until,
    )


BEFORE_CHANGE: Final[tuple[Guard, ...]] = (
    policy_is_ready,  # nobody acts for a policy that is gone
    account_is_named,  # the operator itself changes nothing
    mode_permits,  # what people asked for
    fence_allows,  # what the platform allows
    target_is_the_same,  # the object, not its name
    target_is_as_diagnosed,  # the state that the decision was made on
    change_still_fits,  # the very values that are replaced
    alert_still_fires,  # nothing on old news
    grace_is_over,
    target_has_rested,
)

BEFORE_UNDO: Final[tuple[Guard, ...]] = (
    account_is_named,
    fence_allows,
    target_is_the_same,
    change_still_fits,
)
"""Budgets, cooldowns and the alert do not hold back what takes a change back."""


def first_objection(chain: Sequence[Guard], question: Question) -> Verdict:
    """The verdict of the whole chain: a denial before a wait, the earliest among equals."""
    verdicts = [guard(question) for guard in chain]
    for kind in (Deny, Wait):
        for verdict in verdicts:
            if isinstance(verdict, kind):
                return verdict
    return Allow()


def still_fires(run: Run, facts: Facts) -> tuple[Truth, str]:
    """
    Whether any alert of the episode still fires, and the sentence that says so.

    Resolved by notification is resolved; else the source that can be asked decides. Where nothing
    can be asked, the newest notification counts as long as the policy says (`freshFor`).
    """
    alerts = run.alerts
    if not alerts.count:
        return Truth.TRUE, "the run has no alert"
    if all_resolved(run):
        return Truth.FALSE, "every alert of the episode is resolved"
    if facts.can_ask:
        return _asked(run, facts)
    fresh_for = facts.policy.spec.fresh_for if facts.policy is not None else None
    if fresh_for is None or alerts.last_received is None:
        return Truth.UNKNOWN, "neither Alertmanager nor Prometheus can be asked whether the alert still fires"
    if facts.now - alerts.last_received <= fresh_for:
        return Truth.TRUE, f"the last notification came at {rfc3339(alerts.last_received)}"
    return Truth.UNKNOWN, f"the last notification is older than {human(fresh_for)}"


def _asked(run: Run, facts: Facts) -> tuple[Truth, str]:
    if facts.firing is None:
        why = facts.firing_source or "its source did not answer"
        return Truth.UNKNOWN, f"cannot tell whether the alert still fires: {why}"
    recorded = starts(Identities.decode(run.alerts.identities))
    if any(is_recorded(recorded, alert) for alert in facts.firing):
        return Truth.TRUE, f"{facts.firing_source} says that the alert still fires"
    return Truth.FALSE, f"{facts.firing_source} says that the alert no longer fires"


def is_recorded(recorded: Mapping[bytes, int], alert: Alert) -> bool:
    """
    Whether this firing alert is one of the episode's, whichever startsAt its source gives it.

    Two Alertmanagers and Prometheus differ in startsAt; the fingerprint is the labels' own.
    """
    return alert.identity.digest in recorded


def all_resolved(run: Run) -> bool:
    """Whether every attached alert has been notified as resolved; of those kept beside the run nobody can say."""
    alerts = run.alerts
    recorded, resolved = Identities.decode(alerts.identities), Identities.decode(alerts.resolved)
    return bool(len(recorded)) and alerts.count <= len(recorded) and all_within(recorded, resolved)


def _cooldown(question: Question) -> timedelta:
    policy = question.facts.policy
    return policy.spec.limits.cooldown if policy is not None else Limits().cooldown


def _runbook(run: Run) -> str:
    resolved = run.status.resolved
    return f"{resolved.runbook.namespace}/{resolved.runbook.name}" if resolved is not None else ""


def _unknown(question: Question, message: str) -> Wait:
    return Wait(Reason.FACT_UNKNOWN, message, question.facts.now + RETRY_UNKNOWN)
