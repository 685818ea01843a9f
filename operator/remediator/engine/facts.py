"""
One reading of the world, as the guards and the engine see it.

What could not be read is None (or `unknown` for the target): no guard takes it for a yes. The
facts are gathered in one place, by the shell, for one look of the engine, and are never kept.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from remediator.domain.alerts import Alert
from remediator.domain.changes import Patch
from remediator.domain.guardrails import Fence
from remediator.domain.json import Object, dig
from remediator.domain.locks import LockState
from remediator.domain.replies import Reply
from remediator.domain.storms import Storm
from remediator.engine.acceptance import AcceptedPolicy, AcceptedRunbook
from remediator.engine.acting import Acting


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it was just read: there, gone, or not to be read."""

    obj: Object | None = None
    gone: bool = False
    error: str = ""

    @property
    def known(self) -> bool:
        return self.obj is not None or self.gone


FRESH_SECONDS: Final = 5.0
"""How old facts may be when an effect is sent: a process that was frozen in between looks again."""

NOT_READ: Final = Seen(error="it was not read")


@dataclass(frozen=True, slots=True)
class Suspension:
    """The kill switch as it was last seen."""

    pulled: bool
    by: str = ""
    reason: str = ""
    since: datetime | None = None

    @property
    def sentence(self) -> str:
        """What it holds, for people."""
        whom = f" by {self.by}" if self.by else ""
        return f"everything is suspended{whom}: {self.reason or 'no reason is given'}"


NOT_SUSPENDED: Final = Suspension(pulled=False)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    What a change could harm, as the operator itself sees it.

    Only what the change at hand needs is read; what was not, and what could not be, is None.
    """

    pods: tuple[Seen, ...] | None = None
    """The pods that the change deletes, in its order."""
    workload: Seen = NOT_READ
    """The workload whose pods they are."""
    budgets: tuple[Object, ...] | None = None
    """Every PodDisruptionBudget of the namespace."""
    scalers: tuple[Object, ...] | None = None
    """Every HorizontalPodAutoscaler of the namespace."""
    quotas: tuple[Object, ...] | None = None
    limit_ranges: tuple[Object, ...] | None = None
    nodes: tuple[Object, ...] | None = None
    """Every node of the cluster."""


@dataclass(frozen=True, slots=True)
class Owing:
    """A change that its run will take back, as it stands on the object until then."""

    run: str
    """`NAMESPACE/NAME`."""
    patch: Patch
    due: datetime | None
    """When; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Wants:
    """
    What the engine needs to see before it can say what comes next.

    The shell reads this and nothing more, so that a run that only waits costs no call.
    """

    definitions: bool = False
    target: bool = False
    firing: bool = False
    lock: bool = False
    step_target: int | None = None
    """The index of the plan's step (or, with `undoing`, of the undo) whose object must be read."""
    undoing: bool = False
    latest: frozenset[str] = frozenset()
    queries: tuple[int, ...] = ()
    """The indices of the remedy's checks whose PromQL must be asked."""
    rollouts: bool = False
    """Whether the workloads that were changed must be read."""
    replies: bool = False
    """Whether people's words must be read from the API server itself, and not from what the watch brought."""
    permissions: bool = False
    """Whether it must be asked what the account may not do of what the step needs."""
    surroundings: bool = False
    """Whether what a change could harm must be read: its pods, disruption budgets, quotas."""
    inhibitors: bool = False
    """Whether the alerts must be asked for that hold the policy's runs."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One reading of the world; see `Wants` for what is in it."""

    now: datetime
    boot_seconds: float = 0.0
    runbook: AcceptedRunbook | None = None
    runbook_problem: str = ""
    policy: AcceptedPolicy | None = None
    policy_problem: str = ""
    fence: Fence | None = None
    target: Seen = NOT_READ
    step_target: Seen = NOT_READ
    namespace: Object = field(default_factory=dict)
    namespace_is_gone: bool = False
    """Whether the API server said that the target's namespace is not there; it is asked where its `fence` is unknown."""
    diagnosis: Mapping[str, Object] = field(default_factory=dict)
    latest: Mapping[str, Object] = field(default_factory=dict)
    can_ask: bool = False
    """Whether an Alertmanager or a Prometheus is configured."""
    firing: tuple[Alert, ...] | None = None
    firing_source: str = ""
    lock: LockState | None = None
    acting: Acting | None = None
    """The other runs that act at this very moment; None where that is not known."""
    values: Mapping[int, float | None] = field(default_factory=dict)
    """What the queries of checks brought, by index; missing where it could not be had."""
    unanswered: Mapping[int, str] = field(default_factory=dict)
    """Why a query brought nothing, by index."""
    rollouts: tuple[Seen, ...] | None = None
    """The workloads that the round has changed."""
    replies: tuple[Reply, ...] | None = None
    """Everything that people have said to the run; None where that is not known."""
    missing_permissions: tuple[str, ...] | None = None
    """What the account may not do of what the step needs; None where that is not known."""
    surroundings: Surroundings | None = None
    """What the next change could harm; None where that was not read."""
    owing: tuple[Owing, ...] | None = None
    """What other runs have changed on the object of an undo and will take back; None where that is not known."""
    storms: tuple[Storm, ...] | None = None
    """The storms that hold what begins in the namespace; None where it is not known whether there are any."""
    inhibitors: tuple[tuple[Alert, ...] | None, ...] | None = None
    """For each of the policy's inhibitions the alerts that may be meant; None where nobody answered."""
    suspended: Suspension | None = None
    """The switch that holds everything; None where it is not known whether it is pulled."""

    def are_old(self, boot_seconds: float) -> bool:
        """Whether an effect must not rest on them any more."""
        return boot_seconds - self.boot_seconds > FRESH_SECONDS


def template_hash(obj: Object) -> str:
    """A hash of the object's pod template, by which a later look knows it again; empty where it has none."""
    template = dig(obj, "spec", "template")
    if template is None:
        return ""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]
