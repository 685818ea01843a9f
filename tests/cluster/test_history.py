"""
Hundreds of ended runs on a real API server: swept by two at once, and asked again for every alert.

What sweeps and what takes the alerts in runs in this process, as the operator's account: its rights and
what admission lets it delete are those of the install.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from histories import Known, a_policy, an_alert, ended
from localcluster import Cluster, CommandFailed
from localcluster.operator import ACCOUNT, NAMESPACE, install
from localcluster.processes import moments
from remediator.adapters.clock import SystemClock
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.kube import KubeApi, from_kubeconfig
from remediator.adapters.locks import LeaseLocks
from remediator.domain.json import Object
from remediator.domain.objects import BUILT_IN, RUN, ObjectRef
from remediator.domain.receipts import Receipt
from remediator.domain.runs import RunTarget
from remediator.engine.choose import listener
from remediator.handlers import retention as retention_module
from remediator.handlers.deleting import Deleter
from remediator.handlers.histories import Histories
from remediator.handlers.keeping import Batch, Keeper
from remediator.handlers.metrics import RetentionMetrics
from remediator.handlers.replies import Replies
from remediator.handlers.retention import Retention
from remediator.handlers.run_index import RunIndex
from remediator.handlers.stored import StoredRuns
from remediator.handlers.switch import Switch
from remediator.testing.fakes import FakeEvents

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TARGETS = 4
EPISODES = 40
ALERTS = 3
KEPT = 2
AT_ONCE = 20


class History:
    """Runs of one policy in a namespace, and two operators that have found them."""

    def __init__(self, api: KubeApi, namespace: str) -> None:
        self.clock = SystemClock()
        self.cluster = KubeCluster(api)
        self.namespace = namespace
        self.policy = a_policy(namespace=namespace, succeeded=KEPT)
        self.known = Known()
        self.known.put(self.policy)
        self.switch = Switch(self.cluster, NAMESPACE)
        self.switch.heard("SYNCED", {})
        self.index, self.stored = RunIndex(self.clock), StoredRuns()
        self.refs = [ObjectRef.of("Deployment", namespace, f"target-{n}") for n in range(TARGETS)]
        self.keeper = Keeper(
            self.cluster,
            self.index,
            self.clock,
            self.switch,
            operator_namespace=NAMESPACE,
            user=f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}",
        )

    def alerts(self, ref: ObjectRef, number: int) -> list[Any]:
        began = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
        return [an_alert(f"{ref.name}-{number}-{n}", began) for n in range(ALERTS)]

    async def happen(self) -> None:
        """All the episodes, long ago; the last of each target has captured something."""
        places = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._run(ref, n, places) for ref in self.refs for n in range(1, EPISODES + 1)))

    async def _run(self, ref: ObjectRef, number: int, places: asyncio.Semaphore) -> None:
        at = self.clock.now() - timedelta(days=2, minutes=EPISODES - number)
        made = ended(number, at, target=ref, alerts=self.alerts(ref, number), home=self.namespace)
        async with places:
            stored = await self.cluster.create(RUN, made)
            if number == EPISODES:
                made["status"]["attempts"] = [{"number": 1, "evidence": await self._capture(stored)}]
            operations: list[Object] = [{"op": "add", "path": "/status", "value": made["status"]}]
            await self.cluster.patch(ObjectRef.to(stored, RUN), operations, sub="status")

    async def _capture(self, run: Any) -> str:
        meta = run["metadata"]
        name = f"{meta['name']}-crash"
        owner = {"apiVersion": RUN.api_version, "kind": RUN.kind, "name": meta["name"], "uid": meta["uid"]}
        place = {"namespace": self.namespace, "name": name, "ownerReferences": [owner]}
        await self.cluster.create(BUILT_IN["ConfigMap"], {"metadata": place})
        return str(name)

    async def saw(self, what: str, obj: Object) -> None:
        self.stored.changed(what, obj)
        await self.index.changed(what, obj)

    def sweeper(self, metrics: RetentionMetrics) -> Retention:
        locks = LeaseLocks(self.cluster, NAMESPACE)
        replies = Replies()
        replies.changed("SYNCED", {})
        return Retention(
            self.stored,
            Histories(self.known, self.clock),
            Deleter(self.cluster, locks, replies, self.clock, metrics),
            self.cluster,
            self.switch,
            FakeEvents(),
            self.clock,
            operator_namespace=NAMESPACE,
            most=0,
        )

    async def send(self, ref: ObjectRef, *alerts: Any) -> Counter[Receipt]:
        """The group is sent once more."""
        batch = Batch(listener(self.policy.obj, None), RunTarget.of(ref), alerts)
        return Counter((await self.keeper.keep(batch)).receipts.values())

    async def numbers(self) -> dict[str, list[int]]:
        """The episodes of each target that the API server stores."""
        found: dict[str, list[int]] = {}
        for obj in (await self.cluster.list(RUN, self.namespace)).items:
            spec: Any = obj["spec"]
            found.setdefault(spec["target"]["name"], []).append(spec["episode"]["number"])
        return {name: sorted(numbers) for name, numbers in sorted(found.items())}


@pytest.fixture
async def history(cluster: Cluster, namespace: str) -> AsyncIterator[History]:
    for _ in moments(60, 1):
        try:
            install(cluster)
            break
        except CommandFailed:
            continue  # the API server does not serve yet what the same call brought
    token = cluster.service_account_token(NAMESPACE, ACCOUNT, seconds=3600)
    credentials = from_kubeconfig(str(cluster.kubeconfig_for_token("history", token)))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.sleep, 0.5)  # what was cut off in the middle of an answer is closed by then
        yield History(await stack.enter_async_context(KubeApi(credentials, SystemClock())), namespace)


async def test_the_whole_group_sent_again_after_a_sweep_of_hundreds_starts_nothing(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "PAUSE_SECONDS", 0.0)
    await history.happen()
    metrics = RetentionMetrics(CollectorRegistry())
    one, other = history.sweeper(metrics), history.sweeper(metrics)
    watching = asyncio.create_task(history.cluster.watch(RUN, history.namespace, history.saw))
    try:
        for _ in range(200):
            await asyncio.gather(one.sweep(), other.sweep())
            if len(history.stored) == TARGETS + KEPT:
                break
            one, other = history.sweeper(metrics), history.sweeper(metrics)
            await asyncio.sleep(0.2)  # the watch brings what was deleted

        kept = await history.numbers()
        sent = [
            await history.send(ref, *(alert for n in range(1, EPISODES + 1) for alert in history.alerts(ref, n)))
            for ref in history.refs
        ]
        after = await history.numbers()
        fresh = await history.send(history.refs[0], an_alert("nobody has seen it"))
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    assert sum(len(numbers) for numbers in kept.values()) == TARGETS + KEPT
    assert all(numbers[-1] == EPISODES for numbers in kept.values()), "KEEPNEW"
    assert sent == [Counter({Receipt.COVERED: EPISODES * ALERTS})] * TARGETS, "FOLD"
    assert after == kept
    assert fresh == Counter({Receipt.OPENED: 1})
    assert (await history.numbers())["target-0"][-1] == EPISODES + 1
    assert await captured(history) == (KEPT, TARGETS - KEPT), "evidence of those that only answer alerts is gone"


async def captured(history: History) -> tuple[int, int]:
    """How many ConfigMaps with evidence there are, and how many runs say that theirs has expired."""
    maps = (await history.cluster.list(BUILT_IN["ConfigMap"], history.namespace)).items
    runs: Any = (await history.cluster.list(RUN, history.namespace)).items
    return (
        sum(str(obj["metadata"]["name"]).endswith("-crash") for obj in maps if isinstance(obj["metadata"], dict)),
        sum("evidenceExpired" in run.get("status", {}) for run in runs),
    )
