"""
The condition `Ready` of definitions, and the rest of what their status says.

Ready is True only where everything was looked at: the text is accepted, the account may do what the
Runbook needs, the receivers are configured. What could not be asked is Unknown. Statuses are written
together, a moment after something changed, and only where they say something else than before.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from pydantic import ValidationError

from remediator.domain.conditions import from_json, to_json, with_condition
from remediator.domain.errors import Conflict, Forbidden, NotFound, Rejected, RemediatorError, Unavailable
from remediator.domain.json import Object, dig_list, dig_object, dig_text
from remediator.domain.objects import GUARDRAIL, POLICY, RUNBOOK, Kind, ObjectRef
from remediator.domain.redaction import redact
from remediator.domain.statuses import (
    RECENT_RUNS,
    AlertPolicyStatus,
    DefinitionStatus,
    GuardrailStatus,
    RunbookStatus,
    StormRecord,
)
from remediator.engine.acceptance import AcceptedPolicy
from remediator.handlers.accounts import ALLOWED_SECONDS, REFUSED_SECONDS, Accounts
from remediator.handlers.definition import Definition, Name
from remediator.handlers.definitions import KINDS, Definitions
from remediator.handlers.tally import Noted, Tally
from remediator.ports import Clock, Cluster, Notifier

log = logging.getLogger(__name__)

COALESCE_SECONDS: Final = 1.0
COUNTERS_SECONDS: Final = 10.0
"""A run that moves is no news about its policy; ten of them are one write."""

RETRY_SECONDS: Final = 10.0
WRITES_AT_ONCE: Final = 8

Key = tuple[Kind, Name]


@dataclass(frozen=True, slots=True)
class Ready:
    """What the condition says."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


@dataclass
class _Told:
    """What runs and alerts tell about one definition."""

    runs: Tally = field(default_factory=Tally)
    last_alert_at: datetime | None = None
    unreadable: int = 0
    storm: StormRecord | None = None


class Readiness:
    """Computes and writes the statuses of definitions."""

    def __init__(
        self, definitions: Definitions, cluster: Cluster, notifier: Notifier, clock: Clock, accounts: Accounts
    ) -> None:
        self._definitions = definitions
        self._cluster = cluster
        self._notifier = notifier
        self._clock = clock
        self._accounts = accounts
        self._due: dict[Key, float] = {}
        """When, in seconds since boot, a definition is looked at again."""
        self._told: defaultdict[Key, _Told] = defaultdict(_Told)

    def begin_anew(self) -> None:
        """Every definition is looked at, and its runs are counted from those that are told of from here on."""
        now = self._clock.boot_seconds()
        for told in self._told.values():
            told.runs.clear()
        for kind in KINDS:
            for known in self._definitions.all(kind):
                self._due[kind, known.name] = now

    async def keep(self, cluster: Cluster) -> None:
        """Write statuses, for ever; only the leader does, through the cluster that lets it."""
        self._cluster = cluster
        while True:
            await self.write_due()
            await self._clock.sleep(COALESCE_SECONDS)

    async def write_due(self) -> None:
        """Look at every definition whose time has come, and write what there is to say."""
        if not all(self._definitions.synced(kind) for kind in KINDS):
            return  # half of them read, a policy would seem to lack its Runbook
        now = self._clock.boot_seconds()
        self._accounts.forget_old_answers()
        for key in self._definitions.take_changed():
            self._due[key] = now
        due = [key for key, at in self._due.items() if at <= now]
        for begin in range(0, len(due), WRITES_AT_ONCE):
            await asyncio.gather(*(self._look(key) for key in due[begin : begin + WRITES_AT_ONCE]))

    def note_run(self, run: Noted) -> None:
        """A run as it was last seen: it counts for its policy and its Runbook, and is one of the last ten."""
        for key in _counted_by(run):
            if self._told[key].runs.note(run.brief):
                self._soon(key)
        if run.policy is not None and run.last_alert_at is not None:
            # another replica may have taken the alert in; the run has its time
            told = self._told[POLICY, run.policy]
            told.last_alert_at = max(told.last_alert_at or run.last_alert_at, run.last_alert_at)

    def forget_run(self, namespace: str, name: str) -> None:
        """The run was deleted."""
        for key, told in self._told.items():
            if told.runs.forget((namespace, name)):
                self._soon(key)

    def note_alert(self, namespace: str, policy: str, at: datetime, *, unreadable: bool = False) -> None:
        """An alert matched the policy, or its `when` could not be evaluated for one."""
        key = (POLICY, (namespace, policy))
        told = self._told[key]
        told.unreadable += unreadable
        if not unreadable:
            told.last_alert_at = at
        self._soon(key)

    def note_storm(self, guardrail: str, storm: StormRecord | None) -> None:
        """The storm that goes on by the Guardrail's rule, or that none does."""
        key = (GUARDRAIL, ("", guardrail))
        if self._told[key].storm != storm:
            self._told[key].storm = storm
            self._soon(key)

    def _soon(self, key: Key) -> None:
        soon = self._clock.boot_seconds() + COUNTERS_SECONDS
        self._due[key] = min(self._due.get(key, soon), soon)

    async def _look(self, key: Key) -> None:
        """One definition: its Ready, its status, and when to look again."""
        known = self._definitions.get(*key)
        if known is None:
            self._due.pop(key, None)
            self._told.pop(key, None)
            return
        ready = await self.ready(known)
        again = ALLOWED_SECONDS if ready.status == "True" else REFUSED_SECONDS
        try:
            await self._write(known, ready)
        except NotFound:
            self._due.pop(key, None)
            return
        except (Conflict, Unavailable):
            again = RETRY_SECONDS  # after a conflict the event with the newer version usually comes first
        except (Forbidden, Rejected) as error:
            log.warning("status not written", extra={"kind": key[0].kind, "definition": key[1], "error": str(error)})
        self._due[key] = self._clock.boot_seconds() + again

    async def _write(self, known: Definition, ready: Ready) -> None:
        before = dig_object(known.obj, "status")
        conditions = with_condition(
            from_json(dig_list(before, "conditions")),
            "Ready",
            ready.status,
            ready.reason,
            redact(ready.message),
            self._clock.now(),
            known.version[1],
        )
        status = self._status(known)
        wanted: Object = {**status.as_json(), "conditions": to_json(conditions)}
        if _says(status, before) == _says(status, wanted):
            return
        namespace, name = known.name
        operations: list[Object] = [
            {
                "op": "test",
                "path": "/metadata/resourceVersion",
                "value": dig_text(known.obj, "metadata", "resourceVersion"),
            },
            {"op": "add", "path": "/status", "value": wanted},
        ]
        ref = ObjectRef(known.kind.group, known.kind.kind, namespace, name)
        written = await self._cluster.patch(ref, operations, sub="status")
        self._definitions.wrote(known.kind, written)

    def _status(self, known: Definition) -> DefinitionStatus:
        told, generation = self._told[(known.kind, known.name)], known.version[1]
        if known.kind == RUNBOOK:
            users = len(self._definitions.users_of(known.name))
            return RunbookStatus(observed_generation=generation, policies=users, runs=told.runs.counts())
        if known.kind == POLICY:
            return AlertPolicyStatus(
                observed_generation=generation,
                runs=told.runs.counts(),
                recent=told.runs.newest(RECENT_RUNS),
                last_alert_at=told.last_alert_at,
                unreadable_alerts=told.unreadable,
            )
        governed = self._definitions.governed_by(known.guardrail) if known.guardrail is not None else 0
        return GuardrailStatus(observed_generation=generation, namespaces=governed, storm=told.storm)

    async def ready(self, known: Definition) -> Ready:
        """Whether the definition can be used, as far as that can be told at this moment."""
        if known.problems:
            return Ready("False", "Invalid", "; ".join(str(problem) for problem in known.problems))
        if known.policy is not None:
            objection = await self._objection(known.policy)
            if objection is not None:
                return objection
        warnings = "; ".join(known.warnings)
        return Ready("True", "Accepted", f"accepted; {warnings}" if warnings else "accepted")

    async def _objection(self, policy: AcceptedPolicy) -> Ready | None:
        """What stands against the policy in the cluster; None if everything was asked and nothing does."""
        try:
            unknown = [
                receiver
                for receiver in policy.runbook.receivers
                if not await self._notifier.known(policy.namespace, receiver)
            ]
            if unknown:
                return Ready("False", "ReceiverUnknown", _unknown_receivers(policy, unknown))
            missing = await self._accounts.missing(policy)
        except Forbidden as error:
            who = policy.account or "the operator"
            return Ready(
                "False", "NotPermitted", f"spec.serviceAccountName: the operator may not act as {who}: {error}"
            )
        except RemediatorError as error:
            return Ready("Unknown", "NotAsked", f"what its account may do could not be asked: {error}")
        if not missing.message:
            return None
        if not missing.certain:
            hint = "in every namespace; whether it may where its alerts come from shows when they do"
            return Ready("Unknown", "NotPermittedEverywhere", f"{missing.message}, {hint}")
        return Ready("False", "NotPermitted", missing.message)


def _says(kind: DefinitionStatus, status: Object) -> Object | None:
    """The status without what the API server adds to it; None where it is not of our making."""
    try:
        return type(kind).model_validate(status).as_json()
    except ValidationError:
        return None


def _unknown_receivers(policy: AcceptedPolicy, unknown: list[str]) -> str:
    return (
        f"spec.runbookRef: Runbook {policy.runbook.full_name} tells {', '.join(unknown)}, which is no key of the Secret "
        f"remediator-receivers, neither in {policy.namespace} nor in the operator's namespace"
    )


def _counted_by(run: Noted) -> Iterable[Key]:
    if run.policy is not None:
        yield POLICY, run.policy
    yield RUNBOOK, run.runbook
