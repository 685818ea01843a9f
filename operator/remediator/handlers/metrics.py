"""
What `/metrics` says of intake and of the process. No label holds a name that a cluster can make many of.
"""

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from remediator.domain.receipts import Receipt
from remediator.domain.runs import RunOutcome
from remediator.domain.verdicts import Reason
from remediator.engine.retention import Why

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
STALL_SECONDS: Final = (0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
LAG_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class IntakeMetrics:
    """Counters of intake and the state of the process, in a registry of the caller's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry: Final = registry
        self.notifications: Final = Counter(
            "remediator_notifications", "Calls of the intake, by status code.", ["code"], registry=registry
        )
        self.alerts: Final = Counter(
            "remediator_alerts", "Alerts that were answered, by what became of them.", ["receipt"], registry=registry
        )
        self.refused: Final = Counter(
            "remediator_notifications_refused",
            "Calls that were not taken in, by reason; what was in a call that is too large is lost to us.",
            ["reason"],
            registry=registry,
        )
        self.senders: Final = Counter(
            "remediator_senders_admitted", "Calls that were let in, by what told who calls.", ["by"], registry=registry
        )
        self.seconds: Final = Histogram(
            "remediator_intake_seconds", "Time from a call to its answer.", buckets=SECONDS, registry=registry
        )
        self.in_flight: Final = Gauge(
            "remediator_intake_in_flight", "Calls that are being answered.", registry=registry
        )
        self.lag: Final = Histogram(
            "remediator_loop_lag_seconds",
            "How late the event loop is, looked at twice a second.",
            buckets=LAG_SECONDS,
            registry=registry,
        )
        self.stalls: Final = Histogram(
            "remediator_loop_stall_seconds",
            "Turns of the event loop that took more than 10 ms; whatever comes meanwhile waits.",
            buckets=STALL_SECONDS,
            registry=registry,
        )
        self.worked: Final = Histogram(
            "remediator_loop_stall_work_seconds",
            "CPU time of the event loop in these turns; the rest of each it waited for a core.",
            buckets=STALL_SECONDS,
            registry=registry,
        )
        for receipt in Receipt:
            self.alerts.labels(receipt=str(receipt))  # from the start, so that a rate has something to begin with

    def watch(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """A gauge whose value is asked for when somebody scrapes."""
        Gauge(name, help_text, registry=self.registry).set_function(value)

    def watch_each(self, name: str, help_text: str, label: str, values: Mapping[str, Callable[[], float]]) -> None:
        """The same for a few things that are told apart by a label."""
        gauge = Gauge(name, help_text, [label], registry=self.registry)
        for which, value in values.items():
            gauge.labels(**{label: which}).set_function(value)


class TlsMetrics:
    """What is said of the intake's certificate, in a registry of the caller's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.loaded: Final = Counter(
            "remediator_intake_certificate_exchanges",
            "Times that another certificate, key or client authority was taken into use.",
            registry=registry,
        )
        self.refused: Final = Gauge(
            "remediator_intake_certificate_refused",
            "1 while the files of the intake's certificate cannot be used and earlier ones are.",
            registry=registry,
        )


class PollMetrics:
    """What is said of polling, in a registry of the caller's; sources are few and configured."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rounds: Final = Counter(
            "remediator_poll_rounds", "Rounds of polling, by what came of them.", ["result"], registry=registry
        )
        self.firing: Final = Gauge(
            "remediator_poll_alerts_firing", "Alerts that the last round of polling brought.", registry=registry
        )
        self.last_success: Final = Gauge(
            "remediator_poll_last_success_timestamp_seconds",
            "When a source last answered wholly.",
            ["source"],
            registry=registry,
        )
        for result in ("Taken", "NotTaken", "NoAnswer", "Mistake"):
            self.rounds.labels(result=result)


class StormMetrics:
    """What is said of storms, by rule: a Guardrail's name, or the default's label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._storm: Final = Gauge(
            "remediator_storm", "1 while a storm goes on, 0 while none does.", ["guardrail"], registry=registry
        )
        self._held: Final = Gauge("remediator_storm_held", "Runs that a storm holds.", ["guardrail"], registry=registry)

    def show(self, guardrail: str, *, goes_on: bool, held: int) -> None:
        """The rule's storm as it is now."""
        self._storm.labels(guardrail=guardrail).set(goes_on)
        self._held.labels(guardrail=guardrail).set(held)

    def forget(self, guardrail: str) -> None:
        """The rule is gone."""
        self._storm.remove(guardrail)
        self._held.remove(guardrail)

    def forget_all(self) -> None:
        """Another replica tells of storms."""
        self._storm.clear()
        self._held.clear()


class RunMetrics:
    """Counters of what becomes of runs, in a registry of the caller's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.held: Final = Counter(
            "remediator_runs_held",
            "Times that a run came to stand still, by the guard's reason.",
            ["reason"],
            registry=registry,
        )
        self.refused: Final = Counter(
            "remediator_changes_refused",
            "Changes that were refused, by the guard's reason.",
            ["reason"],
            registry=registry,
        )
        self.ended: Final = Counter(
            "remediator_runs_ended", "Runs that have ended, by outcome.", ["outcome"], registry=registry
        )
        for reason in Reason:  # from the start, so that a rate has something to begin with
            self.held.labels(reason=str(reason))
            self.refused.labels(reason=str(reason))
        for outcome in RunOutcome:
            self.ended.labels(outcome=str(outcome))

    def objected(self, reason: str, *, is_final: bool) -> None:
        """A guard has spoken against a run."""
        (self.refused if is_final else self.held).labels(reason=reason).inc()


class RetentionMetrics:
    """Counters of what is deleted because it is old, in a registry of the caller's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.deleted: Final = Counter(
            "remediator_runs_deleted", "Runs that were deleted, by why.", ["reason"], registry=registry
        )
        self.evidence: Final = Counter(
            "remediator_evidence_expired", "Runs that stay without what was captured for them.", registry=registry
        )
        self.remains: Final = Counter(
            "remediator_remains_deleted", "Objects that no run needs any more, by kind.", ["kind"], registry=registry
        )
        for why in Why:
            self.deleted.labels(reason=str(why))
