"""
What `/metrics` says of intake and of the process. No label holds a name that a cluster can make many of.
"""

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from remediator.domain.receipts import Receipt

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
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
