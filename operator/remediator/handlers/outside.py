"""
Everything outside the process that carrying out a run needs, in one value.

Built once in `main` and handed on; nothing in it decides anything.
"""

from dataclasses import dataclass
from typing import Protocol

from remediator.domain.guardrails import Fence
from remediator.domain.json import Object
from remediator.domain.runs import Run
from remediator.engine.acceptance import AcceptedPolicy, AcceptedRunbook
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
    definitions: Known
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
        return self.cluster.acting_as(Identity(account, run.full_name, void))
