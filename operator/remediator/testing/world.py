"""
The operator on fakes, with a clock that only moves when there is nothing left to do.

A `World` holds everything that a cluster would: definitions, workloads with controllers, alerts,
metrics, receivers. `settle` lets the operator work until every run has ended or waits for longer
than asked; what happened is then on the runs, in the writes and in the messages.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from remediator.domain.alerts import Alert, Identities
from remediator.domain.json import Object, dig_text
from remediator.domain.names import key_hash, run_name
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import AlertRecord, AlertSet, Run
from remediator.handlers.accept import Books
from remediator.handlers.announce import Announcer
from remediator.handlers.diagnose import Diagnostician
from remediator.handlers.gather import Gatherer
from remediator.handlers.outside import Known, Outside
from remediator.handlers.perform import Performer
from remediator.handlers.runs import Reconciler
from remediator.testing.clock import StoppedClock
from remediator.testing.cluster import FakeCluster
from remediator.testing.fakes import (
    FakeAlertSource,
    FakeEvents,
    FakeEvidence,
    FakeLocks,
    FakeMetrics,
    FakeNotifier,
)

OPERATOR_NAMESPACE = "remediator-system"


class World:
    """A cluster, its alerts and its operator, in memory."""

    def __init__(self, known: Known, *, clock: StoppedClock | None = None) -> None:
        self.clock = clock or StoppedClock()
        self.cluster = FakeCluster(self.clock)
        self.metrics = FakeMetrics()
        self.alerts = FakeAlertSource()
        self.locks = FakeLocks()
        self.notifier = FakeNotifier("default", "on-call")
        self.events = FakeEvents()
        self.evidence = FakeEvidence()
        self.cluster.add_namespace(OPERATOR_NAMESPACE)
        self.outside = Outside(
            cluster=self.cluster,
            metrics=self.metrics,
            alerts=self.alerts,
            locks=self.locks,
            notifier=self.notifier,
            events=self.events,
            evidence=self.evidence,
            clock=self.clock,
            definitions=known,
            namespace=OPERATOR_NAMESPACE,
        )
        self.reconciler = self.new_operator()
        self.meanwhile: list[Callable[[], None]] = []
        """Called whenever time has moved: what the world does by itself."""

    def new_operator(self) -> Reconciler:
        """The operator as it is after a restart: it remembers nothing."""
        diagnostician = Diagnostician(self.outside)
        gatherer = Gatherer(self.outside, diagnostician)
        performer = Performer(self.outside, diagnostician, gatherer)
        self.reconciler = Reconciler(
            self.outside, Books(self.outside), gatherer, performer, Announcer(self.outside), self._admitted
        )
        return self.reconciler

    async def open_run(self, policy: Any, target: ObjectRef, *alerts: Alert, number: int = 1) -> Run:
        """A run as intake makes it: the alerts that open the episode stand in its spec."""
        for alert in alerts:
            self.alerts.fire(alert)
        namespace = target.namespace or policy.namespace
        opened = AlertSet(
            count=len(alerts),
            identities=Identities.of(alerts).encode(),
            names={alert.name: sum(one.name == alert.name for one in alerts) for alert in alerts},
            first=[AlertRecord.of(alert, self.clock.now()) for alert in alerts[:10]],
            last_received=self.clock.now(),
            last_opened=self.clock.now(),
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
        return Run.parse(
            await self.cluster.create(RUN, {"metadata": {"namespace": namespace, "name": name}, "spec": spec})
        )

    async def create_run(self, namespace: str, name: str, spec: Object) -> Run:
        """A run that a person asked for."""
        return Run.parse(
            await self.cluster.create(
                RUN,
                {"metadata": {"namespace": namespace, "name": name}, "spec": {"requestedBy": "alice", **spec}},
            )
        )

    def run(self, run: Run) -> Run:
        """The run as it stands now."""
        return Run.parse(self.cluster.get(ObjectRef(RUN.group, RUN.kind, run.namespace, run.name)))

    async def look(self, run: Run) -> float | None:
        """One look of the operator at the run."""
        return await self.reconciler.reconcile((run.namespace, run.name))

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
            self.clock.advance(timedelta(seconds=min(again, (until - self.clock.now()).total_seconds())))
            for happen in self.meanwhile:
                happen()
        return self.run(run)

    def resolve_when(self, holds: Callable[[], bool]) -> None:
        """Alerts resolve as soon as this holds."""

        def happen() -> None:
            if self.alerts.alerts and holds():
                self.alerts.resolve()

        self.meanwhile.append(happen)

    async def _admitted(self, run: Run) -> None:  # noqa: ARG002 - the port's signature
        return None


def transcript(run: Run) -> str:
    """The story of a run, one line for each entry, as a person reviews it in a diff."""
    lines = [f"{entry.at:%H:%M:%S}  {entry.what:<10}{entry.message}".rstrip() for entry in run.status.timeline]
    return "\n".join(lines) + "\n"


def token_of(obj: Object) -> str:
    """The token of the change of ours that the object was last stamped with."""
    return dig_text(obj, "metadata", "annotations", "remediator.dev/step")
