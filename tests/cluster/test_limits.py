"""
Two hundred runs at once on a real API server: at no moment do more act than they may.

The engine runs in this process, as the operator's account, so that it can look again a tenth of a
second later; what it may do at once is counted from the API server's own audit log.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from cluster.faults.audit import Audit
from crowds import Definitions, alert_about, deployment, fence, most_at_once
from localcluster import Cluster, CommandFailed
from localcluster.operator import ACCOUNT, NAMESPACE, TENANT_ACCOUNT, install, open_namespace
from localcluster.processes import moments
from remediator.adapters.clock import SystemClock
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.kube import KubeApi, from_kubeconfig
from remediator.adapters.locks import LeaseLocks
from remediator.domain.json import Object
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import Run, RunOutcome
from remediator.engine.acceptance import AcceptedPolicy
from remediator.handlers.accept import Books
from remediator.handlers.accounts import Accounts
from remediator.handlers.acting import Register
from remediator.handlers.announce import Announcer
from remediator.handlers.diagnose import Diagnostician
from remediator.handlers.gather import Gatherer
from remediator.handlers.perform import Performer
from remediator.handlers.queue import Key, Queue
from remediator.handlers.runs import Reconciler
from remediator.testing.fakes import FakeAlertSource
from remediator.testing.world import World, opened_run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

HURRY = 0.05
"""A look that is due in two seconds comes in a tenth of one; who waits for room is woken, or waits long."""

RUNS_BY_LIMIT = {1: 17, 2: 33, 3: 50}
"""So many that each limit keeps its runs waiting for about as long."""


class Engine:
    """The part of an operator that carries runs on."""

    def __init__(self, api: KubeApi, known: Definitions) -> None:
        self.clock = clock = SystemClock()
        self.cluster = KubeCluster(api)
        self.known = known
        self.alerts = FakeAlertSource()
        self.complete = False
        self.runs: dict[Key, Run] = {}
        self.acting = Register(clock, lambda: self.complete, lambda key, seconds: self.queue.add(key, seconds))
        outside = replace(
            World(known).outside,
            cluster=self.cluster,
            alerts=self.alerts,
            locks=LeaseLocks(self.cluster, NAMESPACE),
            clock=clock,
            accounts=Accounts(self.cluster, clock, operator_namespace=NAMESPACE),
            acting=self.acting,
        )
        diagnostician = Diagnostician(outside)
        gatherer = Gatherer(outside, diagnostician)
        performer = Performer(outside, diagnostician, gatherer)
        self._reconciler = Reconciler(outside, Books(outside), gatherer, performer, Announcer(outside), self._admitted)
        self.queue = Queue(self._look, 16)
        self._watching: asyncio.Task[None] | None = None
        self._awaited = 0, asyncio.Event()

    def begin(self) -> None:
        """It takes on what there is, and what comes."""
        self._watching = asyncio.create_task(self.cluster.watch(RUN, "", self._saw))

    async def end(self) -> None:
        await self.queue.stop()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def open(self, policy: AcceptedPolicy, refs: Iterable[ObjectRef]) -> None:
        """A run about each of them."""
        for ref in refs:
            alert = alert_about(ref)
            self.alerts.fire(alert)
            await self.cluster.create(RUN, opened_run(policy, ref, [alert], self.clock.now()))

    async def settled(self, count: int) -> list[Run]:
        """The runs when so many of them have ended."""
        self._awaited = count, asyncio.Event()
        self._count()
        await self._awaited[1].wait()
        return list(self.runs.values())

    def _count(self) -> None:
        count, reached = self._awaited
        if sum(run.is_ended for run in self.runs.values()) >= count:
            reached.set()

    async def _look(self, key: Key) -> float | None:
        again = await self._reconciler.reconcile(key)
        return again * HURRY if again is not None and again < 30 else again

    async def _saw(self, what: str, obj: Object) -> None:
        if what == "SYNCED":
            self.complete = True
            return
        run = Run.parse(obj)
        if run.policy_name not in self.known.policies:
            return  # of another test
        self.acting.saw(run)
        self.runs[run.namespace, run.name] = run
        self._count()
        if not run.is_ended:
            self.queue.add((run.namespace, run.name))

    async def _admitted(self, _: Run) -> None:
        return None


@pytest.fixture
def spaces(cluster: Cluster, namespace: str) -> list[str]:
    """Namespaces in which the operator may change Deployments."""
    for _ in moments(60, 1):
        try:
            install(cluster)
            break
        except CommandFailed:
            continue  # the API server does not serve yet what the same call brought
    made = [f"{namespace}-{n}" for n in range(4)]
    for one in made:
        cluster.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": one}})
        open_namespace(cluster, one, ["setEnv"])
    return made


@pytest.fixture
async def engine(cluster: Cluster, spaces: list[str]) -> AsyncIterator[Engine]:  # what `spaces` installs comes first
    token = cluster.service_account_token(NAMESPACE, ACCOUNT, seconds=3600)
    credentials = from_kubeconfig(str(cluster.kubeconfig_for_token("limits", token)))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.sleep, 0.5)  # what was cut off in the middle of an answer is closed by then
        made = Engine(await stack.enter_async_context(KubeApi(credentials, SystemClock())), Definitions())
        stack.push_async_callback(made.end)
        yield made


def workloads(cluster: Cluster, namespace: str, front: str, count: int) -> list[ObjectRef]:
    """So many Deployments; they have no pods, so that nobody waits for any."""
    refs = [ObjectRef.of("Deployment", namespace, f"{front}-{n}") for n in range(count)]
    items = [deployment(ref, replicas=0) for ref in refs]
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    cluster.run_kubectl("create", "-f", "-", input=content)
    return refs


def most_open(audit: Audit, runs: Iterable[Run]) -> dict[str, int]:
    """How many changes were open at once, at the most: from the write of the target to the end of its run."""
    by_name = {run.full_name: run for run in runs}
    writes = [write for space in {run.namespace for run in runs} for write in audit.writes(space)]
    begun: dict[str, datetime] = {}
    ended: dict[str, datetime] = {}
    for write in sorted(writes, key=lambda write: write.answered):
        if write.resource == "deployments" and write.account and not write.void:
            assert write.run not in begun, f"{write.run} has changed its target twice"
            begun[write.run] = write.answered
        elif write.resource == "runbookruns/status":
            ended[f"{write.namespace}/{write.name}"] = write.answered
    assert begun.keys() == by_name.keys()
    found: list[tuple[Any, int, str]] = []
    for name, run in by_name.items():
        for place in (f"policy {run.policy_name}", f"namespace {run.namespace}", "cluster"):
            found += [(begun[name], 1, place), (ended[name], -1, place)]
    return most_at_once(found)


def assert_remedied(cluster: Cluster, runs: Iterable[Run]) -> None:
    assert {run.status.outcome for run in runs} == {RunOutcome.REMEDIATED}
    for space in {run.namespace for run in runs}:
        for one in cluster.api.items(f"/apis/apps/v1/namespaces/{space}/deployments"):
            (container,) = one["spec"]["template"]["spec"]["containers"]
            assert container["env"] == [{"name": "QUEUE", "value": "500"}]


async def test_two_hundred_runs_at_once_are_held_by_policies_and_namespaces(
    cluster: Cluster, engine: Engine, spaces: list[str]
) -> None:
    audit = Audit(cluster)
    shared, *own = spaces
    limits: dict[str, int] = {}
    crowds: list[tuple[AcceptedPolicy, list[ObjectRef]]] = []
    for limit, count in RUNS_BY_LIMIT.items():
        narrow = engine.known.policy(shared, f"narrow-{limit}", limit, TENANT_ACCOUNT)
        wide = engine.known.policy(own[limit - 1], f"wide-{limit}", 1000, TENANT_ACCOUNT)
        engine.known.fences[wide.namespace] = fence(perNamespace=limit)
        crowds += [(one, workloads(cluster, one.namespace, one.name, count)) for one in (narrow, wide)]
        limits |= {f"policy {narrow.full_name}": limit, f"namespace {wide.namespace}": limit}
    await asyncio.gather(*(engine.open(policy, refs) for policy, refs in crowds))

    engine.begin()
    runs = await engine.settled(200)

    assert_remedied(cluster, runs)
    most = most_open(audit, runs)
    assert {place: most[place] for place in limits} == limits


async def test_runs_of_all_namespaces_are_held_by_the_limit_of_the_cluster(
    cluster: Cluster, engine: Engine, spaces: list[str]
) -> None:
    engine.begin()
    for limit in RUNS_BY_LIMIT:
        audit = Audit(cluster)
        engine.known.fences = {space: fence(cluster=limit) for space in spaces}
        policies = [engine.known.policy(space, f"all-{limit}", 1000, TENANT_ACCOUNT) for space in spaces]
        await asyncio.gather(*(engine.open(one, workloads(cluster, one.namespace, one.name, 2)) for one in policies))
        ended = await engine.settled(8 * limit)

        runs = [run for run in ended if run.policy_name.endswith(f"all-{limit}")]
        assert_remedied(cluster, runs)
        assert most_open(audit, runs)["cluster"] == limit
