"""Whether an alert fires that the policy says to wait for: its runs would only cure a symptom."""

from datetime import timedelta
from typing import Final

from remediator.domain.alerts import Alert, Identities
from remediator.domain.expressions import Truth, Values
from remediator.domain.matching import all_match
from remediator.domain.runs import AlertRecord, rfc3339
from remediator.domain.verdicts import Allow, Reason, Verdict, Wait
from remediator.engine.acceptance import CompiledInhibition
from remediator.engine.alertsets import starts
from remediator.engine.guards.freshness import is_recorded
from remediator.engine.guards.question import AboutRun, unknown
from remediator.engine.values import alert_json, values_of

AGAIN: Final = timedelta(minutes=1)
"""How often it is asked whether an inhibiting alert still fires."""


def nothing_inhibits(question: AboutRun) -> Verdict:
    """Wait while an alert of the policy's `inhibitedBy` fires that goes with one of the run's."""
    policy, facts = question.facts.policy, question.facts
    if policy is None or not policy.inhibitions:
        return Allow()  # a policy that is gone is policy_is_ready's to refuse
    if facts.inhibitors is None or len(facts.inhibitors) != len(policy.inhibitions):
        return unknown(question, "nobody was asked for the alerts that would hold the run")
    values = values_of(question.run, facts)
    held: Verdict = Allow()
    for inhibition, alerts in zip(policy.inhibitions, facts.inhibitors, strict=True):
        if alerts is None:
            held = unknown(question, f"cannot tell whether an alert fires that matches {_matched(inhibition)}")
            continue
        for alert in alerts:
            truth = _inhibits(question, inhibition, alert, values)
            if truth is Truth.TRUE:
                message = (
                    f"{alert.name} fires since {rfc3339(alert.starts_at)}, and {policy.full_name} waits for its end"
                )
                return Wait(Reason.INHIBITED, message, facts.now + AGAIN)
            if truth is Truth.UNKNOWN:
                assert inhibition.when is not None, "only a condition can be Unknown"
                held = unknown(
                    question, f"cannot tell whether {alert.name} holds the run: {inhibition.when.text} is Unknown"
                )
    return held


def _matched(inhibition: CompiledInhibition) -> str:
    return ", ".join(str(matcher) for matcher in inhibition.matchers)


def _inhibits(question: AboutRun, inhibition: CompiledInhibition, alert: Alert, values: Values) -> Truth:
    """Whether this alert holds the run; one of the run's own never does, as in Alertmanager."""
    if not all_match(inhibition.matchers, alert.labels):
        return Truth.FALSE
    if is_recorded(starts(Identities.decode(question.run.alerts.identities)), alert):
        return Truth.FALSE
    if not any(_goes_with(inhibition, alert, own) for own in question.run.alerts.first):
        return Truth.FALSE
    if inhibition.when is None:
        return Truth.TRUE
    inhibitor = alert_json(AlertRecord.of(alert, question.facts.now))
    return inhibition.when.truth(values.but(inhibitor=inhibitor))[0]


def _goes_with(inhibition: CompiledInhibition, alert: Alert, own: AlertRecord) -> bool:
    said = inhibition.inhibition
    if any(alert.labels.get(label, "") != own.labels.get(label, "") for label in said.equal):
        return False
    return said.within is None or abs(alert.starts_at - own.starts_at) <= said.within
