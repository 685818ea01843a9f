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
from remediator.domain.guardrails import Fence
from remediator.domain.json import Object, dig
from remediator.domain.locks import LockState
from remediator.engine.acceptance import AcceptedPolicy, AcceptedRunbook


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it was just read: there, gone, or not to be read."""

    obj: Object | None = None
    gone: bool = False
    error: str = ""

    @property
    def known(self) -> bool:
        return self.obj is not None or self.gone


NOT_READ: Final = Seen(error="it was not read")


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
    diagnosis: Mapping[str, Object] = field(default_factory=dict)
    latest: Mapping[str, Object] = field(default_factory=dict)
    can_ask: bool = False
    """Whether an Alertmanager or a Prometheus is configured."""
    firing: tuple[Alert, ...] | None = None
    firing_source: str = ""
    lock: LockState | None = None
    values: Mapping[int, float | None] = field(default_factory=dict)
    """What the queries of checks brought, by index; missing where it could not be had."""
    rollouts: tuple[Seen, ...] | None = None
    """The workloads that the round has changed."""


def template_hash(obj: Object) -> str:
    """A hash of the object's pod template, by which a later look knows it again; empty where it has none."""
    template = dig(obj, "spec", "template")
    if template is None:
        return ""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]
