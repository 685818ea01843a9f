"""
Everything outside the process that carrying out a run needs, in one value.

Built once in `main` and handed on; nothing in it decides anything.
"""

from dataclasses import dataclass, field
from typing import Protocol

from remediator.domain.guardrails import Fence
from remediator.domain.json import Object
from remediator.domain.replies import Reply
from remediator.domain.runs import Run
from remediator.domain.storms import Storm
from remediator.engine.acceptance import AcceptedPolicy, AcceptedRunbook
from remediator.handlers.accounts import Accounts
from remediator.handlers.acting import Register
from remediator.handlers.confined import ConfinedAlerts, ConfinedCluster, ConfinedMetrics
from remediator.handlers.later import Later
from remediator.handlers.leading import Alone, Leading
from remediator.handlers.mirror import Mirror
from remediator.handlers.owed import Owed
from remediator.handlers.switch import Switch
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
    Web,
)


class Known(Protocol):
    """What the operator knows of its own kinds, at this moment."""

    @property
    def is_complete(self) -> bool:
        """Whether everything was read once; before that, what is missing is unknown and not absent."""
        ...

    def policy_of(self, run: Run) -> tuple[AcceptedPolicy | None, str]:
        """The policy that started the run, or why it cannot be used; None and no reason for a run by hand."""
        ...

    def runbook_for(self, namespace: str, name: str, asking: str) -> tuple[AcceptedRunbook | None, str]:
        """The Runbook, if it is accepted and shared with the namespace that asks, or why it cannot be used."""
        ...

    def fence(self, namespace: str) -> Fence | None:
        """What the Guardrails say of a namespace (empty: of cluster-scoped objects); None while that is not known."""
        ...

    def namespace(self, name: str) -> Object:
        """The Namespace's metadata; empty where it is not known."""
        ...


class Said(Protocol):
    """What people have said, as far as it was brought here."""

    def of(self, run: Run) -> tuple[Reply, ...] | None:
        """Everything that was said to a run of this name, oldest first; None while that is not known."""
        ...


class KnownStorms(Protocol):
    """What the operator knows of storms, at this moment."""

    @property
    def is_known(self) -> bool:
        """Whether all runs were seen that there were at the start."""
        ...

    def over(self, namespace: str) -> tuple[Storm, ...] | None:
        """The storms that hold what begins in the namespace; None while that is not known."""
        ...


@dataclass(frozen=True, slots=True)
class Outside:
    """The ports, and what the operator knows of its own kinds."""

    cluster: Cluster
    """The API server as the operator itself."""
    metrics: Metrics
    web: Web
    alerts: AlertSource
    locks: Locks
    notifier: Notifier
    events: KubernetesEvents
    evidence: Evidence
    clock: Clock
    accounts: Accounts
    definitions: Known
    said: Said
    storms: KnownStorms
    switch: Switch
    """Whether everything is suspended."""
    namespace: str
    """The operator's own."""
    acting: Register
    """Which runs act at this moment."""
    later: Later
    """What may be done when there is time."""
    owed: Owed = field(default_factory=Owed)
    mirror: Mirror = field(default_factory=Mirror)
    """What the guards ask about everywhere."""
    leading: Leading = field(default_factory=Alone)
    """Whether this process leads, so that it may go on."""

    def web_for(self, run: Run) -> Web:
        """Places outside the cluster, as far as the Guardrails of the run's target let it go; unknown is nowhere."""
        fence = self.definitions.fence(run.target.ref.namespace)
        return self.web.within(fence.hosts().names if fence is not None else ())

    def acting_for(self, run: Run, *, void: bool = False) -> Cluster:
        """
        The API server as the account that the run reads and changes with.

        A run without an account reads as the operator, which may change nothing. Outside of the operator's
        namespace a run reaches its own namespace alone.
        """
        account = run.status.resolved.account if run.status.resolved is not None else ""
        return self.acting_as(run, account, void=void)

    def acting_as(self, run: Run, account: str, *, void: bool = False) -> Cluster:
        """The same for a run that is not accepted yet, so that its account stands nowhere."""
        cluster = self.cluster.acting_as(Identity(account, run.full_name, void)) if account else self.cluster
        return cluster if run.home == self.namespace else ConfinedCluster(cluster, run.home)

    def metrics_for(self, run: Run) -> Metrics:
        """Prometheus, as far as the run may see it."""
        return self.metrics if run.home == self.namespace else ConfinedMetrics(self.metrics, run.home)

    def alerts_for(self, run: Run) -> AlertSource:
        """The alerts that the run may ask for."""
        return self.alerts if run.home == self.namespace else ConfinedAlerts(self.alerts, run.home)
