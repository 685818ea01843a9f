"""Intake on a real API server, as the operator's own account: real creates, conflicts, outages, and Alertmanager."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from localcluster import Cluster as LocalCluster
from localcluster import CommandFailed
from localcluster.monitoring import start_alertmanager
from localcluster.processes import moments
from remediator.adapters.clock import SystemClock
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.kube import KubeApi, from_kubeconfig
from remediator.adapters.reviews import KubeReviews
from remediator.domain.alerts import Identities
from remediator.domain.errors import Conflict
from remediator.domain.json import Object, dig, dig_text
from remediator.domain.objects import POLICY, RUN, RUNBOOK, ObjectRef
from remediator.domain.runs import Run
from remediator.generate.__main__ import ROOT
from remediator.handlers.bearer import Tokens
from remediator.handlers.definitions import KINDS, Definitions
from remediator.handlers.freshness import Freshness, Heard
from remediator.handlers.intake import Intake
from remediator.handlers.keeping import Keeper
from remediator.handlers.metrics import IntakeMetrics
from remediator.handlers.resolving import Resolver
from remediator.handlers.reviewed import ReviewedTokens
from remediator.handlers.run_index import RunIndex
from remediator.handlers.senders import Senders
from remediator.handlers.serving import Server
from remediator.handlers.suspended import SuspendedAlerts
from remediator.handlers.switch import Switch
from remediator.handlers.taking import Taker

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

OPERATOR = ("remediator-system", "remediator")
USER = f"system:serviceaccount:{OPERATOR[0]}:{OPERATOR[1]}"
TOKEN = "t0ken-of-the-test"
AUDIENCE = "remediator"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
WHO_API = "authentication.k8s.io/v1"
WHO_AT = ("status", "userInfo", "username")


@pytest.fixture(scope="module")
def installed(cluster: LocalCluster) -> LocalCluster:
    """The cluster, with everything of the operator but its pod."""
    for _ in moments(30, 1):
        try:
            cluster.run_kubectl("apply", "-k", str(ROOT / "deploy/overlays/local"))
            break
        except CommandFailed:
            continue  # the API server does not serve yet what the same call brought
    crds = ("runbooks", "alertpolicies", "runbookruns", "replies", "guardrails")
    cluster.run_kubectl("wait", "--for=condition=Established", *(f"crd/{one}.remediator.dev" for one in crds))
    return cluster


@pytest.fixture
def shop(installed: LocalCluster, namespace: str) -> Iterator[str]:
    """A namespace with three Deployments that nobody runs, a Runbook and a policy."""
    manifests: list[Any] = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{"name": "main", "image": "example.com/shop:1"}]},
                },
            },
        }
        for name in ("cart", "checkout", "search")
    ]
    manifests += [
        {
            "apiVersion": RUNBOOK.api_version,
            "kind": "Runbook",
            "metadata": {"namespace": namespace, "name": "book"},
            "spec": {"targets": ["Deployment"]},
        },
        {
            "apiVersion": POLICY.api_version,
            "kind": "AlertPolicy",
            "metadata": {"namespace": namespace, "name": "crash"},
            "spec": {
                "matchers": ['alertname="Crash"'],
                "runbookRef": {"name": "book"},
                "serviceAccountName": "default",
            },
        },
    ]
    installed.run_kubectl("apply", "-f", "-", input="\n---\n".join(json.dumps(one) for one in manifests))
    yield namespace


class Replica:
    """One process that takes alerts in, over the real adapters and the operator's own rights."""

    def __init__(self, api: KubeApi, tokens: Path) -> None:
        self.clock = SystemClock()
        self.cluster = KubeCluster(api)
        self.index = RunIndex(self.clock)
        self.known = Definitions(self.clock, operator_namespace=OPERATOR[0], can_ask=True)
        heard = Heard(self.clock)
        for kind in KINDS:
            heard.follow(kind, partial(self.known.last_event, kind), partial(self.known.synced, kind))
        freshness = Freshness(self.cluster, self.known, self.index, heard)
        self.switch = Switch(self.cluster, OPERATOR[0])
        self.suspended = SuspendedAlerts(self.cluster, self.switch, self.clock, OPERATOR[0])
        self.keeper = Keeper(
            self.cluster, self.index, self.clock, self.switch, operator_namespace=OPERATOR[0], user=USER
        )
        resolver = Resolver(self.cluster, self.clock)
        self.taker = taker = Taker(
            self.known, freshness, resolver, self.keeper, self.suspended, self.clock, OPERATOR[0]
        )
        self.metrics = IntakeMetrics(CollectorRegistry())
        reviewed = ReviewedTokens(KubeReviews(api), self.clock, audience=AUDIENCE)
        intake = Intake(taker, Senders(Tokens(str(tokens), self.clock), reviewed), self.metrics, self.clock)
        self.server = Server(intake.application(), "127.0.0.1", 0)
        self._watches: list[asyncio.Task[None]] = []

    def watch(self) -> None:
        self._watches = [
            asyncio.create_task(self.cluster.watch(RUN, "", self.index.changed)),
            asyncio.create_task(self.switch.watch()),
            asyncio.create_task(self.suspended.watch()),
            *(asyncio.create_task(self.cluster.watch(kind, "", partial(self.known.saw, kind))) for kind in KINDS),
        ]

    async def stop_watching(self) -> None:
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)

    @property
    def is_synced(self) -> bool:
        whole = self.index.synced and self.suspended.synced and self.switch.state is not None
        return whole and all(self.known.synced(kind) for kind in KINDS)

    async def send(self, *alerts: Object) -> tuple[int, Any]:
        body = json.dumps({"version": "4", "groupKey": "{}", "alerts": alerts})
        url = f"http://127.0.0.1:{self.server.port}/v1/alerts"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
            return answer.status, await answer.json()


Start = Callable[[], Awaitable[Replica]]


@pytest.fixture
async def start(installed: LocalCluster, shop: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts replicas; each has read everything, the policy of the test among it."""
    (tmp_path / "token").write_text(TOKEN)
    token = installed.service_account_token(*OPERATOR)
    kubeconfig = installed.kubeconfig_for_token("operator", token)
    running: list[tuple[KubeApi, Replica]] = []

    async def started() -> Replica:
        api = KubeApi(from_kubeconfig(str(kubeconfig)), SystemClock(), request_seconds=5)
        replica = Replica(api, tmp_path / "token")
        running.append((api, replica))
        replica.watch()
        await replica.server.start()

        def is_ready() -> bool:
            policies = {(one.namespace, one.accepted is not None) for one in replica.known.audience()}
            return replica.is_synced and (shop, True) in policies

        await eventually(is_ready)
        return replica

    yield started
    for api, replica in running:
        await replica.server.stop()
        await replica.stop_watching()
        await api.close()


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.02)


def an_alert(namespace: str, name: str, deployment: str = "checkout", *, ended: bool = False) -> Object:
    start = datetime(2026, 6, 1, 11, 0, tzinfo=UTC)
    return {
        "status": "resolved" if ended else "firing",
        "labels": {"alertname": "Crash", "namespace": namespace, "deployment": deployment, "pod": name},
        "annotations": {},
        "startsAt": start.isoformat(),
        "endsAt": (start + timedelta(minutes=5)).isoformat() if ended else "0001-01-01T00:00:00Z",
        "fingerprint": name.encode().hex().rjust(16, "0"),
    }


def runs_in(cluster: LocalCluster, namespace: str) -> list[Run]:
    items = cluster.api.items(f"/apis/remediator.dev/v1alpha1/namespaces/{namespace}/runbookruns")
    return [Run.parse(item) for item in items]


def recorded(runs: list[Run]) -> Identities:
    return Identities().merge(*(Identities.decode(run.alerts.identities) for run in runs))


def ref_of(run: Run) -> ObjectRef:
    return ObjectRef(RUN.group, RUN.kind, run.namespace, run.name)


async def test_a_notification_is_stored_when_it_is_answered_and_again_is_a_no_op(
    installed: LocalCluster, shop: str, start: Start
) -> None:
    replica = await start()
    alerts = [an_alert(shop, f"{name}-{i}", name) for name in ("cart", "checkout", "search") for i in range(40)]

    status, content = await replica.send(*alerts)

    runs = runs_in(installed, shop)
    assert (status, content["alerts"]) == (200, {"Opened": 120})
    assert sorted(run.full_name for run in runs) == content["runs"]
    assert sorted(run.spec.target.name for run in runs) == ["cart", "checkout", "search"]
    assert all(run.spec.target.uid and run.spec.requested_by == USER for run in runs)
    versions = {run.name: run.resource_version for run in runs}

    assert (await replica.send(*alerts))[1]["alerts"] == {"Recorded": 120}
    assert {run.name: run.resource_version for run in runs_in(installed, shop)} == versions


async def test_two_replicas_that_get_the_same_at_once_make_one_run_of_each_target(
    installed: LocalCluster, shop: str, start: Start
) -> None:
    one, two = await start(), await start()
    first = [an_alert(shop, f"{name}-{i}", name) for name in ("cart", "checkout", "search") for i in range(10)]
    second = [an_alert(shop, f"{name}-{i}", name) for name in ("cart", "checkout", "search") for i in range(5, 15)]

    answers = await asyncio.gather(one.send(*first), two.send(*second), one.send(*second), two.send(*first))

    runs = runs_in(installed, shop)
    assert {status for status, _ in answers} == {200}
    assert len(runs) == 3
    assert len(recorded(runs)) == 45
    assert {run.alerts.count for run in runs} == {15}


async def test_a_replica_whose_watches_have_died_loses_nothing(
    installed: LocalCluster, shop: str, start: Start
) -> None:
    frozen, awake = await start(), await start()
    await frozen.stop_watching()
    await awake.send(an_alert(shop, "a"))

    status, content = await frozen.send(an_alert(shop, "b"))

    assert (status, content["alerts"]) == (200, {"Attached": 1})
    (run,) = runs_in(installed, shop)
    assert run.alerts.count == 2

    stored = await awake.cluster.read(ref_of(run))
    status_now = {**(dig(stored, "status") or {}), "outcome": "Remediated"}  # type: ignore[dict-item]
    await awake.cluster.replace(RUN, {**stored, "status": status_now}, sub="status")
    status, content = await frozen.send(an_alert(shop, "c"))

    assert (status, content["alerts"]) == (200, {"Opened": 1})
    assert sorted(run.spec.episode.number for run in runs_in(installed, shop) if run.spec.episode) == [1, 2]


async def test_attaches_and_the_leaders_writes_do_not_undo_each_other(
    installed: LocalCluster, shop: str, start: Start
) -> None:
    one, two = await start(), await start()
    await one.send(an_alert(shop, "first"))
    (run,) = runs_in(installed, shop)
    writes, stop = 0, asyncio.Event()

    async def leader() -> None:
        nonlocal writes
        while not stop.is_set():
            stored = await one.cluster.read(ref_of(run))
            status: Any = dig(stored, "status") or {}
            with suppress(Conflict):
                await one.cluster.replace(RUN, {**stored, "status": {**status, "message": str(writes)}}, sub="status")
                writes += 1

    leading = asyncio.create_task(leader())
    answers = await asyncio.gather(
        *(replica.send(an_alert(shop, f"{n}-{i}")) for i in range(10) for n, replica in enumerate((one, two)))
    )
    stop.set()
    await leading

    (after,) = runs_in(installed, shop)
    assert {status for status, _ in answers} == {200}
    assert len(recorded([after])) == after.alerts.count == 21
    assert after.status.message == str(writes - 1)
    assert writes > 3


async def test_an_api_server_that_is_away_is_answered_503_and_sending_again_stores_it(
    installed: LocalCluster, shop: str, start: Start
) -> None:
    replica = await start()
    await replica.send(an_alert(shop, "a"))
    installed.stop_apiserver()
    try:
        answers = [await replica.send(an_alert(shop, "b"), an_alert(shop, "c", "cart")) for _ in range(2)]
    finally:
        installed.start_apiserver()
    assert [status for status, _ in answers] == [503, 503]

    answer: tuple[int, Any] = (503, {})
    for _ in range(100):
        if answer[0] == 200:
            break
        await asyncio.sleep(0.2)
        answer = await replica.send(an_alert(shop, "b"), an_alert(shop, "c", "cart"))

    runs = runs_in(installed, shop)
    assert sum(answer[1]["alerts"].values()) == 2
    assert len(runs) == 2
    assert len(recorded(runs)) == 3


async def test_a_run_of_a_namespace_that_is_going_is_stored_in_the_operators(
    installed: LocalCluster, shop: str, start: Start
) -> None:
    replica = await start()
    holding = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "holding", "finalizers": ["test/hold"]}}
    installed.api.call("POST", f"/api/v1/namespaces/{shop}/configmaps", holding)
    installed.run_kubectl("delete", "namespace", shop, "--wait=false")

    try:
        status, content = await replica.send(an_alert(shop, "a"), an_alert(shop, "b", "cart"))
        again = await replica.send(an_alert(shop, "a"), an_alert(shop, "b", "cart"))
    finally:
        patch = '[{"op": "remove", "path": "/metadata/finalizers"}]'
        installed.run_kubectl("patch", "configmap", "holding", "-n", shop, "--type=json", "-p", patch)

    assert (status, content["alerts"]) == (200, {"Opened": 2})
    assert {name.partition("/")[0] for name in content["runs"]} == {OPERATOR[0]}
    assert (again[0], again[1]["alerts"]) == (200, {"Recorded": 2})
    for name in content["runs"]:
        installed.run_kubectl("delete", "runbookrun", "-n", *name.split("/"))


async def test_a_name_that_a_person_took_is_passed_over(installed: LocalCluster, shop: str, start: Start) -> None:
    replica = await start()
    await replica.send(an_alert(shop, "a"))
    (run,) = runs_in(installed, shop)
    squatter = {
        "apiVersion": RUN.api_version,
        "kind": "RunbookRun",
        "metadata": {"name": run.name.removesuffix("-1") + "-2"},
        "spec": {
            "runbookRef": {"name": "book"},
            "target": {"kind": "Deployment", "namespace": shop, "name": "search"},
            "requestedBy": dig_text(
                installed.api.call("POST", WHO, {"apiVersion": WHO_API, "kind": "SelfSubjectReview"}), *WHO_AT
            ),
        },
    }
    installed.api.call("POST", f"/apis/remediator.dev/v1alpha1/namespaces/{shop}/runbookruns", squatter)
    stored = await replica.cluster.read(ref_of(run))
    await replica.cluster.replace(RUN, {**stored, "status": {"outcome": "Remediated"}}, sub="status")
    await eventually(lambda: all(known.outcome is not None for known in replica.index if known.namespace == shop))

    status, content = await replica.send(an_alert(shop, "b"))

    assert (status, content["alerts"]) == (200, {"Opened": 1})
    assert content["runs"] == [f"{shop}/{run.name.removesuffix('-1')}-3"]


async def test_a_real_alertmanager_delivers_repeats_and_resolves(
    installed: LocalCluster, shop: str, start: Start
) -> None:
    replica = await start()
    alertmanager = await asyncio.to_thread(
        start_alertmanager,
        installed,
        {
            "route": {
                "receiver": "remediator",
                "group_by": ["alertname"],
                "group_wait": "100ms",
                "group_interval": "1s",
                "repeat_interval": "2s",
            },
            "receivers": [
                {
                    "name": "remediator",
                    "webhook_configs": [
                        {
                            "url": f"http://127.0.0.1:{replica.server.port}/v1/alerts",
                            "http_config": {"authorization": {"credentials": TOKEN}},
                        }
                    ],
                }
            ],
        },
    )
    labels = {"alertname": "Crash", "namespace": shop, "deployment": "checkout"}
    begun = datetime.now(UTC) - timedelta(minutes=5)
    try:
        async with tell(alertmanager.url) as say:
            await say([{"labels": {**labels, "pod": pod}, "startsAt": begun.isoformat()} for pod in ("a", "b")])
            await eventually(lambda: sum(run.alerts.count for run in runs_in(installed, shop)) == 2)
            (run,) = runs_in(installed, shop)
            assert {record.labels["pod"] for record in run.alerts.first} == {"a", "b"}

            def receipts(receipt: str) -> float:
                return replica.metrics.registry.get_sample_value("remediator_alerts_total", {"receipt": receipt}) or 0

            await eventually(lambda: receipts("Recorded") >= 2)  # the repetition
            ended = datetime.now(UTC)
            await say(
                [
                    {"labels": {**labels, "pod": pod}, "startsAt": begun.isoformat(), "endsAt": ended.isoformat()}
                    for pod in ("a", "b")
                ]
            )
            await eventually(lambda: len(Identities.decode(runs_in(installed, shop)[0].alerts.resolved)) == 2)
    finally:
        alertmanager.stop()

    assert len(runs_in(installed, shop)) == 1


@asynccontextmanager
async def tell(url: str) -> AsyncIterator[Callable[[list[Any]], Awaitable[None]]]:
    """Alertmanager's own API, as Prometheus uses it."""
    async with aiohttp.ClientSession() as session:

        async def say(alerts: list[Any]) -> None:
            async with session.post(f"{url}/api/v2/alerts", json=alerts) as answer:
                assert answer.status == 200, await answer.text()

        yield say


async def test_alerts_that_name_no_object_are_stored_on_a_run_that_changes_nothing(
    installed: LocalCluster, shop: str, start: Start
) -> None:
    replica = await start()

    status, content = await replica.send(an_alert(shop, "gone-1", ""), an_alert(shop, "gone-2", ""))

    assert (status, content["alerts"]) == (200, {"Opened": 2})
    (run,) = runs_in(installed, shop)
    assert run.spec.target.is_outside
