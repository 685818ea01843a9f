"""
Putting alerts onto runs: one create or one attach for each key, in the API server before it is answered.

Every write is conditional, so a decision from a stale cache does no harm: a name that exists is read
and compared, an attach says what it expects to find (RVATTACH), and on any conflict the run is read
live and everything decided again.
"""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from remediator.domain.alerts import Alert
from remediator.domain.bounded import shorten
from remediator.domain.errors import AlreadyExists, Conflict, Forbidden, NotFound, Rejected, Unavailable
from remediator.domain.json import JSON, Object, dig_text
from remediator.domain.names import EPISODE_LIMIT, label_value, run_name
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.receipts import Receipt
from remediator.domain.redaction import redact
from remediator.domain.runs import AlertSet, Episode, PolicyRef, RunbookRunSpec, RunTarget
from remediator.engine.begin import Attach, Key, KnownRun, Open, decide
from remediator.engine.choose import Listener
from remediator.handlers.beside import Beside
from remediator.handlers.lanes import Lanes, Worked
from remediator.handlers.repeats import Repeats
from remediator.handlers.run_index import RunIndex, known_run
from remediator.handlers.switch import Switch
from remediator.ports import Clock, Cluster

log = logging.getLogger(__name__)

TRIES: Final = 8
MERGED_SECONDS: Final = 0.2
"""So that a burst does not write a run so often that its leader never gets through."""

KEYS_AT_ONCE: Final = 16

FEW_ALERTS: Final = 50
"""Of a key with more, which take milliseconds to compare, one is decided in a turn of the loop."""

_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Batch:
    """The alerts of one key in one notification, and what a run for them would be made from."""

    listener: Listener
    target: RunTarget
    alerts: tuple[Alert, ...]
    reason: str = ""

    @property
    def key(self) -> Key:
        return Key(self.listener.namespace, self.listener.name, self.target.ref)


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a batch: the run that has its alerts, if one has, and each alert's receipt by fingerprint."""

    run: str
    receipts: Mapping[str, Receipt]


@dataclass(slots=True)
class _Known:
    """What is known of a key while it is worked on: the cache, and what was read since."""

    live: dict[str, KnownRun | None] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)

    def over(self, cached: Sequence[KnownRun]) -> list[KnownRun]:
        found = {run.full_name: run for run in cached}
        for name, run in self.live.items():
            if run is None:
                found.pop(name, None)
            else:
                found[name] = run
        return list(found.values())


class Suspended(Unavailable):
    """The API server takes no run, because everything is suspended."""


class Keeper:
    """Keeps alerts on runs."""

    def __init__(
        self,
        cluster: Cluster,
        index: RunIndex,
        clock: Clock,
        switch: Switch,
        *,
        operator_namespace: str,
        user: str,
        repeats: Repeats | None = None,
        merged_seconds: float = MERGED_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._index = index
        self._clock = clock
        self._switch = switch
        self._beside = Beside(cluster)
        self._repeats = repeats or Repeats(cluster, clock)
        self._operator_namespace = operator_namespace
        self._user = user
        self._long_ones = asyncio.Lock()
        self._lanes: Lanes[Key, Batch, Kept] = Lanes(
            self._keep, clock, rest_seconds=merged_seconds, at_once=KEYS_AT_ONCE
        )

    async def keep(self, batch: Batch) -> Kept:
        """
        Every alert of the batch is on a run in the API server, or was answered by one.

        Raises Unavailable where that could not be reached: nothing was promised, and to send the
        same again does no harm.
        """
        return await self._lanes.put(batch.key, batch)

    async def finish(self) -> None:
        """What was begun is done."""
        await self._lanes.finish()

    async def _keep(self, key: Key, batches: Sequence[Batch]) -> Worked[Kept]:
        latest = batches[-1]
        alerts = [alert for batch in batches for alert in batch.alerts]
        known, wrote, run = _Known(), False, None
        fresh_for = latest.listener.accepted.spec.fresh_for if latest.listener.accepted is not None else None
        if len(alerts) > FEW_ALERTS:
            async with self._long_ones:
                await asyncio.sleep(0)
        for _ in range(TRIES):
            runs = [await self._whole(one) for one in known.over(self._index.of(key))]
            now = self._clock.now()
            decision = decide(alerts, runs, latest.listener.version, now, fresh_for=fresh_for, taken=known.taken)
            run = decision.run
            if decision.write is not None:
                wrote = True
                run = await self._written(decision.write, latest, known)
                if run is None:
                    continue
                if len(decision.write.beyond):
                    await self._beside.add(run, decision.write.beyond)
            said = {alert.fingerprint: receipt for alert, receipt in decision.receipts}
            covered = [alert for alert, receipt in decision.receipts if receipt is Receipt.COVERED]
            self._repeats.note(covered, runs, latest.listener.version)
            name = run.full_name if run is not None else ""
            return Worked([Kept(name, said) for _ in batches], wrote)
        raise Unavailable(f"{key}: somebody else wrote first {TRIES} times")

    async def _written(self, write: Open | Attach, batch: Batch, known: _Known) -> KnownRun | None:
        """The run after the write, or None if it has to be decided again."""
        try:
            if isinstance(write, Open):
                return await self._created(write, batch, known)
            return await self._attached(write, known)
        except (Forbidden, Rejected) as refused:
            if isinstance(write, Open) and await self._is_suspended():
                raise Suspended(f"{batch.key}: {refused}") from refused
            # a permission or a quota; somebody may put it right, and nothing was promised
            raise Unavailable(f"{batch.key}: {refused}") from refused

    async def _is_suspended(self) -> bool:
        """Whether the switch is pulled, which the API server may know before our watch has brought it."""
        return self._switch.pulled or (await self._switch.look()).pulled

    async def _created(self, write: Open, batch: Batch, known: _Known) -> KnownRun | None:
        if write.number > EPISODE_LIMIT:
            raise Unavailable(f"{batch.key}: there is no number left for a further episode")
        place = batch.target.namespace or batch.listener.namespace
        if not _NAMESPACE.fullmatch(place):
            return await self._create_in(self._operator_namespace, write, batch, known, f"{place!r} is no namespace")
        try:
            return await self._create_in(place, write, batch, known, "")
        except (NotFound, Rejected):
            why = await self._why_it_holds_nothing(place)
            if not why or place == self._operator_namespace:
                raise
            return await self._create_in(self._operator_namespace, write, batch, known, why)

    async def _create_in(self, place: str, write: Open, batch: Batch, known: _Known, why: str) -> KnownRun | None:
        obj = run_object(place, write, batch, self._user, why)
        try:
            stored = await self._cluster.create(RUN, obj)
        except AlreadyExists:
            name = dig_text(obj, "metadata", "name")
            run = await self._live(place, name, known)
            if run is not None and (run.key != batch.key or run.number != write.number):
                log.warning("a run's name is taken", extra={"run": f"{place}/{name}", "key": str(batch.key)})
                known.live.pop(f"{place}/{name}", None)
                run = None
            if run is None:
                known.taken.add(write.number)
            return None
        self._index.put(stored)
        return known_run(stored)

    async def _why_it_holds_nothing(self, namespace: str) -> str:
        """Why the namespace can never hold a run again; empty if it can."""
        try:
            found = await self._cluster.read(ObjectRef("", "Namespace", "", namespace))
        except NotFound:
            return f"namespace {namespace} is not there"
        if dig_text(found, "metadata", "deletionTimestamp") or dig_text(found, "status", "phase") == "Terminating":
            return f"namespace {namespace} is being deleted"
        return ""

    async def _attached(self, write: Attach, known: _Known) -> KnownRun | None:
        run = write.run
        ref = ObjectRef(RUN.group, RUN.kind, run.namespace, run.name)
        try:
            stored = await self._cluster.patch(ref, attach_operations(run, write.alerts), sub="status")
        except (Conflict, NotFound):
            await self._live(run.namespace, run.name, known)
            return None
        self._index.put(stored)
        return known_run(stored)

    async def _live(self, namespace: str, name: str, known: _Known) -> KnownRun | None:
        """The run as the API server has it, which counts more than the cache from here on."""
        full_name = f"{namespace}/{name}"
        try:
            stored = await self._cluster.read(ObjectRef(RUN.group, RUN.kind, namespace, name))
        except NotFound:
            known.live[full_name] = None
            return None
        self._index.put(stored)
        run = known_run(stored)
        known.live[full_name] = run
        return run

    async def _whole(self, run: KnownRun) -> KnownRun:
        if not run.has_more:
            return run
        return replace(run, recorded=run.recorded.merge(await self._beside.load(run)))


def run_object(place: str, write: Open, batch: Batch, user: str, why: str) -> Object:
    """The run to create; `why` says why it is not where its target is."""
    listener, target = batch.listener, batch.target
    accepted = listener.accepted
    reason = "; ".join(part for part in (batch.reason, why) if part)
    spec = RunbookRunSpec(
        runbook_ref=listener.runbook.model_copy(update={"namespace": listener.runbook.namespace or listener.namespace}),
        policy_ref=PolicyRef(
            namespace=listener.namespace,
            name=listener.name,
            uid=listener.version.uid,
            generation=listener.version.generation,
        ),
        target=target,
        parameters=dict(accepted.spec.parameters) if accepted is not None else {},
        mode=listener.mode,
        service_account_name=listener.account_name or None,
        requested_by=user,
        reason=shorten(redact(reason), 1024),
        episode=Episode(key=batch.key.hash, number=write.number, alerts=write.alerts),
    )
    return {
        "metadata": {
            "namespace": place,
            "name": run_name(listener.namespace, listener.name, target.ref, write.number),
            "labels": {
                "remediator.dev/policy": label_value(listener.name),
                "remediator.dev/target-kind": label_value(target.kind),
                "remediator.dev/target-name": label_value(target.name),
            },
        },
        "spec": spec.as_json(),
    }


def attach_operations(run: KnownRun, alerts: AlertSet) -> list[Object]:
    """
    The patch that gives the open run its alerts, and fails if it is not as it was seen (RVATTACH).

    The tests are about what an attach depends on and nothing else: the leader's other writes do not
    hold it up. For a test null and absent are the same.
    """
    before = run.alerts.as_json() if run.alerts is not None else {}

    def test(path: str, value: JSON) -> Object:
        return {"op": "test", "path": path, "value": value}

    same_run = test("/metadata/uid", run.uid)
    if not run.has_status:
        return [
            same_run,
            test("/status", None),
            {"op": "add", "path": "/status", "value": {"alerts": alerts.as_json()}},
        ]
    ending = test("/status/ending/outcome", str(run.ending)) if run.ending is not None else test("/status/ending", None)
    known = (
        [
            test(f"/status/alerts/{name}", before.get(name))
            for name in ("identities", "resolved", "count", "lastReceived")
        ]
        if run.has_recorded
        else [test("/status/alerts", None)]
    )
    write: Object = {"op": "add", "path": "/status/alerts", "value": alerts.as_json()}
    return [same_run, test("/status/outcome", None), ending, *known, write]
