"""
Fakes that hold the contracts of the ports, and a clock that only a test moves.

They are public: whoever writes an action, a playbook or an adapter tests it with them. The port
contract tests run against them and against a real API server alike.
"""

from remediator.testing.clock import NOON, StoppedClock
from remediator.testing.cluster import Call, FakeCluster, Write
from remediator.testing.fakes import (
    FakeAlertSource,
    FakeEvents,
    FakeEvidence,
    FakeLocks,
    FakeMetrics,
    FakeNotifier,
    FakeWeb,
    Recorded,
    Sent,
)

__all__ = [
    "NOON",
    "Call",
    "FakeAlertSource",
    "FakeCluster",
    "FakeEvents",
    "FakeEvidence",
    "FakeLocks",
    "FakeMetrics",
    "FakeNotifier",
    "FakeWeb",
    "Recorded",
    "Sent",
    "StoppedClock",
    "Write",
]
