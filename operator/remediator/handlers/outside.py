"""
Everything outside the process that carrying out a run needs, in one value.

Built once in `main` and handed on; nothing in it decides anything.
"""

from dataclasses import dataclass

from remediator.domain.runs import Run
from remediator.handlers.definitions import Definitions
from remediator.ports import (
    AlertSource,
    Clock,
    Cluster,
    Evidence,
    Identity,
    KubernetesEvents,
    Locks,
    Metrics,
    Notifier,
)


@dataclass(frozen=True, slots=True)
class Outside:
    """The ports, and what the operator knows of its own kinds."""

    cluster: Cluster
    """The API server as the operator itself."""
    metrics: Metrics
    alerts: AlertSource
    locks: Locks
    notifier: Notifier
    events: KubernetesEvents
    evidence: Evidence
    clock: Clock
    definitions: Definitions
    namespace: str
    """The operator's own."""

    def acting_for(self, run: Run, *, void: bool = False) -> Cluster:
        """
        The API server as the account that the run reads and changes with.

        A run without an account reads as the operator, which may change nothing.
        """
        account = run.status.resolved.account if run.status.resolved is not None else ""
        if not account:
            return self.cluster
        return self.cluster.acting_as(Identity(account, "" if void else run.full_name, void))
