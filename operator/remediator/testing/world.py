"""
The operator on fakes, with a clock that only moves when there is nothing left to do.

A `World` holds everything that a cluster would: definitions, workloads with controllers, alerts,
metrics, receivers. `settle` lets the operator work until every run has ended or waits for longer
than asked; what happened is then on the runs, in the writes and in the messages.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from remediator.domain.alerts import Alert, Identities
from remediator.domain.json import JSON, Object, dig_text
from remediator.domain.names import key_hash, run_name
from remediator.domain.objects import BUILT_IN, REPLY, RUN, ObjectRef
from remediator.domain.replies import Reply, ReplyType
from remediator.domain.runs import AlertRecord, AlertSet, Run
from remediator.engine.acceptance import AcceptedPolicy
from remediator.engine.suspension import NAME, switch_object
from remediator.handlers.accept import Books
from remediator.handlers.accounts import Accounts
from remediator.handlers.acting import Register
from remediator.handlers.announce import Announcer
from remediator.handlers.diagnose import Diagnostician
from remediator.handlers.gather import Gatherer
from remediator.handlers.later import Later
from remediator.handlers.latest import Latest
from remediator.handlers.outside import Known, Outside
from remediator.handlers.owed import Owed
from remediator.handlers.perform import Performer
from remediator.handlers.queue import Key
from remediator.handlers.replies import Replies
from remediator.handlers.runs import Reconciler
from remediator.handlers.suspended import SuspendedAlerts
from remediator.handlers.switch import Switch
from remediator.testing.admission import LeaderPolicies, SwitchPolicies
from remediator.testing.clock import StoppedClock
from remediator.testing.cluster import FakeCluster
from remediator.testing.fakes import (
    FakeAlertSource,
    FakeEvents,
    FakeEvidence,
    FakeLocks,
    FakeMetrics,
    FakeNotifier,
    FakeStorms,
    FakeWeb,
)

OPERATOR_NAMESPACE = "remediator-system"


class World:
    """A cluster, its alerts and its operator, in memory."""

    def __init__(self, known: Known, *, clock: StoppedClock | None = None) -> None:
        self.clock = clock or StoppedClock()
        self.cluster = FakeCluster(self.clock)
        self.metrics = FakeMetrics()
        self.web = FakeWeb()
        self.alerts = FakeAlertSource()
        self.locks = FakeLocks()
        self.notifier = FakeNotifier("default", "on-call")
        self.events = FakeEvents()
        self.storms = FakeStorms()
        self.evidence = FakeEvidence()
        self.replies = Replies()
        self.replies.changed("SYNCED", {})
        self.cluster.add_namespace(OPERATOR_NAMESPACE)
        self.switch = Switch(self.cluster, OPERATOR_NAMESPACE)
        self.suspended = SuspendedAlerts(self.cluster, self.switch, self.clock, OPERATOR_NAMESPACE, merged_seconds=0.0)
        self.suspended.synced = True
        self.outside = Outside(
            cluster=self.cluster,
            metrics=self.metrics,
            web=self.web,
            alerts=self.alerts,
            locks=self.locks,
            notifier=self.notifier,
            events=self.events,
            evidence=self.evidence,
            clock=self.clock,
            accounts=Accounts(self.cluster, self.clock, operator_namespace=OPERATOR_NAMESPACE),
            definitions=known,
            said=self.replies,
            storms=self.storms,
            switch=self.switch,
            namespace=OPERATOR_NAMESPACE,
            acting=Register(self.clock),
            later=Later(self.clock),
        )
        self.cluster.refuse_when(SwitchPolicies(self.cluster, OPERATOR_NAMESPACE).objection)
        self.cluster.refuse_when(LeaderPolicies(self.cluster, OPERATOR_NAMESPACE).objection)
        self.switch.heard("SYNCED", {})
        self._said = 0
        self._due: dict[Key, datetime] = {}
        self.reconciler = self.new_operator()
        self.meanwhile: list[Callable[[], None]] = []
        """Called whenever time has moved: what the world does by itself."""
        self.longest_wait = timedelta.max
        """Time moves no further than this at once: for what the world does while a run waits for it."""

    def new_operator(self) -> Reconciler:
        """The operator as it is after a restart: it remembers nothing but what its watch brings."""
        self.outside = dataclasses.replace(self.outside, owed=Owed(), acting=Register(self.clock, wake=self._look_at))
        for obj in self.cluster.objects(RUN):
            run = Run.parse(obj)
            self.outside.owed.note(run)
            self.outside.acting.saw(run)
        diagnostician = Diagnostician(self.outside)
        gatherer = Gatherer(self.outside, diagnostician)
        performer = Performer(self.outside, diagnostician, gatherer)
        self.latest = Latest()
        self.reconciler = Reconciler(
            self.outside,
            Books(self.outside),
            gatherer,
            performer,
            Announcer(self.outside),
            self._admitted,
            self.latest,
            self.latest.note,
        )
        return self.reconciler

    def suspend(self, reason: str = "the network is being changed", *, unheard: bool = False) -> None:
        """The switch is pulled; `unheard` is for an operator whose watch has not brought it yet."""
        made = self.cluster.add(
            {"apiVersion": "v1", "kind": "ConfigMap", **switch_object(OPERATOR_NAMESPACE, reason, "alice")}
        )
        if not unheard:
            self.switch.heard("ADDED", made)

    def release(self) -> None:
        """The switch is released, and the operator has heard of it."""
        ref = ObjectRef.of("ConfigMap", OPERATOR_NAMESPACE, NAME)
        gone = self.cluster.get(ref)
        self.switch.heard("ADDED", gone)
        self.cluster.store.remove(BUILT_IN["ConfigMap"], OPERATOR_NAMESPACE, NAME)
        self.switch.heard("DELETED", gone)

    async def open_run(self, policy: AcceptedPolicy, target: ObjectRef, *alerts: Alert, number: int = 1) -> Run:
        """A run as intake makes it: the alerts that open the episode stand in its spec."""
        for alert in alerts:
            self.alerts.fire(alert)
        return Run.parse(await self.cluster.create(RUN, opened_run(policy, target, alerts, self.clock.now(), number)))

    async def create_run(self, namespace: str, name: str, spec: Object) -> Run:
        """A run that a person asked for."""
        return Run.parse(
            await self.cluster.create(
                RUN,
                {"metadata": {"namespace": namespace, "name": name}, "spec": {"requestedBy": "alice", **spec}},
            )
        )

    async def say(self, run: Run, what: ReplyType, user: str, *groups: str, **spec: JSON) -> Reply:
        """A person's word to the run, as admission would let it in; the operator hears of it."""
        spec = {"runRef": {"name": run.name, "uid": run.uid}, "type": str(what), "user": user, **spec}
        if groups:
            spec["groups"] = list(groups)
        self._said += 1
        metadata: Object = {"namespace": run.namespace, "name": f"{what.verb}-{self._said}"}
        stored = await self.cluster.create(REPLY, {"metadata": metadata, "spec": spec})
        self.replies.changed("ADDED", stored)
        return Reply.parse(stored)

    def run(self, run: Run) -> Run:
        """The run as it stands now."""
        return Run.parse(self.cluster.get(ObjectRef(RUN.group, RUN.kind, run.namespace, run.name)))

    async def look(self, run: Run) -> float | None:
        """One look of the operator at the run."""
        again = await self._looked((run.namespace, run.name))
        await self.outside.later.finish()
        return again

    async def _looked(self, key: Key) -> float | None:
        """A look, when the watch has brought what others have written."""
        ref = ObjectRef(RUN.group, RUN.kind, *key)
        if not self.cluster.has(ref):
            self.latest.forget(key)
        elif not self.latest.is_known(obj := self.cluster.get(ref)):
            self.latest.note(Run.parse(obj))
        return await self.reconciler.reconcile(key)

    async def settle(self, run: Run, *, within: timedelta = timedelta(hours=4)) -> Run:
        """
        The run at its end, or as it stands after that time; waiting costs no time.

        Between two looks the controllers do their work and the world does what it does.
        """
        until = self.clock.now() + within
        while self.clock.now() < until:
            self.cluster.tick()
            again = await self.look(run)
            if again is None:
                return self.run(run)
            left = min(until - self.clock.now(), self.longest_wait)
            self.clock.advance(min(timedelta(seconds=again), left))
            for happen in self.meanwhile:
                happen()
        return self.run(run)

    async def settle_all(
        self, runs: Sequence[Run], *, at_once: int = 16, within: timedelta = timedelta(hours=24)
    ) -> tuple[Run, ...]:
        """All of them at their end, or as they stand after that time; as many are looked at once as the queue allows."""
        until = self.clock.now() + within
        self._due = {(run.namespace, run.name): self.clock.now() for run in runs}
        looks: dict[Key, asyncio.Task[float | None]] = {}
        while looks or (self._due and min(self._due.values()) <= until):
            now = self.clock.now()
            ready = [key for key, due in self._due.items() if due <= now and key not in looks]
            for key in ready[: at_once - len(looks)]:
                del self._due[key]
                looks[key] = asyncio.create_task(self._looked(key))
            if looks:
                done, _ = await asyncio.wait(looks.values(), return_when=asyncio.FIRST_COMPLETED)
                for key in [key for key, look in looks.items() if look in done]:
                    again = looks.pop(key).result()
                    if again is not None:
                        self._look_at(key, again)
                await self.outside.later.finish()
                continue
            self.clock.advance(min(self._due.values()) - now)
            self.cluster.tick()
            for happen in self.meanwhile:
                happen()
        return tuple(self.run(run) for run in runs)

    def _look_at(self, key: Key, seconds: float) -> None:
        due = self.clock.now() + timedelta(seconds=seconds)
        self._due[key] = min(self._due.get(key, due), due)

    def resolve_when(self, holds: Callable[[], bool]) -> None:
        """Alerts resolve as soon as this holds."""

        def happen() -> None:
            if self.alerts.alerts and holds():
                self.alerts.resolve()

        self.meanwhile.append(happen)

    async def _admitted(self, run: Run) -> None:  # noqa: ARG002 - the port's signature
        return None


def opened_run(
    policy: AcceptedPolicy, target: ObjectRef, alerts: Sequence[Alert], now: datetime, number: int = 1
) -> Object:
    """A run as intake makes it: the alerts that open the episode stand in its spec."""
    opened = AlertSet(
        count=len(alerts),
        identities=Identities.of(alerts).encode(),
        names={alert.name: sum(one.name == alert.name for one in alerts) for alert in alerts},
        first=[AlertRecord.of(alert, now) for alert in alerts[:10]],
        last_received=now,
        last_opened=now,
    )
    spec: Object = {
        "runbookRef": {"namespace": policy.runbook.namespace, "name": policy.runbook.name},
        "policyRef": {
            "namespace": policy.namespace,
            "name": policy.name,
            "uid": policy.uid,
            "generation": policy.generation,
        },
        "target": {"kind": target.kind_text, "namespace": target.namespace, "name": target.name},
        "mode": str(policy.spec.mode),
        "requestedBy": f"system:serviceaccount:{OPERATOR_NAMESPACE}:remediator",
        "episode": {
            "key": key_hash(policy.namespace, policy.name, target),
            "number": number,
            "alerts": opened.as_json(),
        },
    }
    if policy.spec.service_account_name:
        spec["serviceAccountName"] = policy.spec.service_account_name
    name = run_name(policy.namespace, policy.name, target, number)
    return {"metadata": {"namespace": target.namespace or policy.namespace, "name": name}, "spec": spec}


def transcript(run: Run) -> str:
    """The story of a run, one line for each entry, as a person reviews it in a diff."""
    lines = [f"{entry.at:%H:%M:%S}  {entry.what:<10}{entry.message}".rstrip() for entry in run.status.timeline]
    return "\n".join(lines) + "\n"


def token_of(obj: Object) -> str:
    """The token of the change of ours that the object was last stamped with."""
    return dig_text(obj, "metadata", "annotations", "remediator.dev/step")
