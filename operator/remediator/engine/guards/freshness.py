"""Nothing on old news: the object is the one that was diagnosed, in that state, and the alert still fires."""

from collections.abc import Mapping

from remediator.domain.alerts import Alert, Identities
from remediator.domain.changes import Patch, change_from_json, differences
from remediator.domain.durations import human
from remediator.domain.expressions import Truth
from remediator.domain.json import dig_text
from remediator.domain.runs import Run, rfc3339
from remediator.domain.verdicts import Allow, Deny, Reason, Verdict, Wait
from remediator.engine.alertsets import all_within, starts
from remediator.engine.facts import Facts, template_hash
from remediator.engine.guards.question import RETRY_UNKNOWN, Question, unknown
from remediator.engine.record import current


def target_is_the_same(question: Question) -> Verdict:
    """Refuse where the object that is to be changed is gone, or is another of the same name."""
    seen, step = question.facts.step_target, question.step
    if step.target is None:
        return Deny(Reason.TARGET_UNKNOWN, "the step has no target")
    if seen.gone:
        return Deny(Reason.TARGET_GONE, f"{step.target.ref} is gone")
    if seen.obj is None:
        return unknown(question, f"{step.target.ref} cannot be read: {seen.error}")
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
        return unknown(question, f"{question.run.target} could not be read when it was diagnosed")
    if seen.obj is None:
        return unknown(question, f"{question.run.target} cannot be read: {seen.error or 'it is gone'}")
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
    # the API server's time, unless our own clock is behind it: that would make the grace longer by as much
    since = min(question.run.created_at, question.run.status.started_at or question.facts.now)
    until = since + policy.spec.grace
    if question.facts.now >= until:
        return Allow()
    return Wait(
        Reason.IN_GRACE, f"waiting {human(policy.spec.grace)} to see whether the alert resolves by itself", until
    )


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
        return _as_the_source_says(run, facts)
    fresh_for = facts.policy.spec.fresh_for if facts.policy is not None else None
    if fresh_for is None or alerts.last_received is None:
        return Truth.UNKNOWN, "neither Alertmanager nor Prometheus can be asked whether the alert still fires"
    if facts.now - alerts.last_received <= fresh_for:
        return Truth.TRUE, f"the last notification came at {rfc3339(alerts.last_received)}"
    return Truth.UNKNOWN, f"the last notification is older than {human(fresh_for)}"


def _as_the_source_says(run: Run, facts: Facts) -> tuple[Truth, str]:
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
