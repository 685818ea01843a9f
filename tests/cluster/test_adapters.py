"""Locks, evidence and Events on a real API server; alerts and queries of a real Prometheus and Alertmanager."""

import asyncio
import base64
import functools
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contract.ports.evidence_promises import EvidencePromises, run_in
from contract.ports.lock_promises import TARGET, LockPromises, taken
from localcluster import Cluster as LocalCluster
from localcluster import NotAvailable, start_alertmanager, start_prometheus
from remediator.adapters.alertmanager import AlertSources
from remediator.adapters.clock import SystemClock
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.endpoints import Endpoint
from remediator.adapters.evidence import ConfigMapEvidence
from remediator.adapters.kube import KubeApi, from_kubeconfig
from remediator.adapters.kubernetes_events import ClusterEvents
from remediator.adapters.locks import LeaseLocks
from remediator.adapters.prometheus import PrometheusMetrics
from remediator.domain.errors import Rejected
from remediator.domain.json import JSON, Object, dig_int, dig_object, dig_text
from remediator.domain.locks import Busy, Held, LockState
from remediator.domain.objects import BUILT_IN, Kind, ObjectRef

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


@pytest.fixture
async def real(cluster: LocalCluster) -> AsyncIterator[KubeCluster]:
    async with KubeApi(from_kubeconfig(str(cluster.admin_kubeconfig)), SystemClock()) as opened:
        yield KubeCluster(opened)


class TestLeaseLocks(LockPromises):
    @pytest.fixture
    def locks(self, real: KubeCluster, namespace: str) -> LeaseLocks:
        return LeaseLocks(real, namespace)

    async def test_of_many_who_ask_at_once_one_holds_the_lock(self, locks: LeaseLocks) -> None:
        results = await asyncio.gather(*(taken(locks, f"run-{number}") for number in range(16)))

        assert sum(isinstance(result, Held) for result in results) == 1
        assert sum(isinstance(result, Busy) for result in results) == 15

    async def test_of_many_who_take_over_at_once_one_holds_the_lock(self, locks: LeaseLocks) -> None:
        await taken(locks, "run-0")

        async def of_the_first_only(state: LockState) -> LockState | None:
            return state.freed if state.holder == "shop/run-0" else None

        results = await asyncio.gather(
            *(taken(locks, f"run-{number}", freed=of_the_first_only) for number in range(1, 9))
        )

        assert sum(isinstance(result, Held) for result in results) == 1
        assert TARGET.kind == "Deployment"


class WithoutOwners(KubeCluster):
    """
    These tests' runs do not exist, and the garbage collector would take what they own.

    The owner is kept here instead, because evidence is believed only together with its run.
    """

    async def create(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object:
        metadata = dig_object(obj, "metadata")
        self.owners[dig_text(metadata, "name")] = metadata.pop("ownerReferences", None)
        return await super().create(kind, obj, dry_run=dry_run)

    async def read(self, ref: ObjectRef) -> Object:
        stored = await super().read(ref)
        dig_object(stored, "metadata")["ownerReferences"] = self.owners.get(ref.name)
        return stored

    @functools.cached_property
    def owners(self) -> dict[str, JSON]:
        return {}


class TestConfigMapEvidence(EvidencePromises):
    @pytest.fixture
    def place(self, namespace: str) -> str:
        return namespace

    @pytest.fixture
    async def evidence(self, cluster: LocalCluster) -> AsyncIterator[ConfigMapEvidence]:
        async with KubeApi(from_kubeconfig(str(cluster.admin_kubeconfig)), SystemClock()) as opened:
            yield ConfigMapEvidence(WithoutOwners(opened))

    async def test_what_does_not_fit_is_cut_until_the_api_server_takes_it(
        self, evidence: ConfigMapEvidence, place: str
    ) -> None:
        noise = base64.b64encode(hashlib.shake_128(b"noise").digest(3_000_000)).decode()

        name = await evidence.keep(run_in(place), "crash", {"log": noise})

        kept = dig_text(dict(await evidence.load(place, name)), "log")
        assert noise.endswith(kept.removeprefix("[the beginning was cut]\n"))
        assert len(kept) > 500_000


async def test_events_are_what_kubectl_describe_shows(cluster: LocalCluster, real: KubeCluster, namespace: str) -> None:
    made = await real.create(BUILT_IN["ConfigMap"], {"metadata": {"namespace": namespace, "name": "one"}})
    ref = ObjectRef.to(made, BUILT_IN["ConfigMap"])
    events = ClusterEvents(real, SystemClock())

    for _ in range(2):
        await events.record(ref, dig_text(made, "metadata", "uid"), reason="Held", message="waits", warning=True)

    assert events.failed == 0
    described = cluster.run_kubectl("describe", "configmap", "one", "-n", namespace)
    assert "Warning  Held" in described
    assert "remediator" in described
    found = await real.list(BUILT_IN["Event"], namespace, fields="involvedObject.name=one")
    assert [dig_int(event, "count") for event in found.items] == [2]


@pytest.fixture(scope="module")
def monitoring(cluster: LocalCluster) -> Any:
    """A Prometheus with one rule that always fires, and the Alertmanager that it tells."""
    rules = {
        "groups": [
            {
                "name": "ports",
                "rules": [
                    {"alert": "Always", "expr": "vector(1)", "labels": {"namespace": "shop", "pod": "checkout-1"}},
                    {"alert": "Never", "expr": "vector(1) > 2", "labels": {"namespace": "shop"}},
                ],
            }
        ]
    }
    config = {"route": {"receiver": "none", "group_wait": "1s"}, "receivers": [{"name": "none"}]}
    try:
        alertmanager = start_alertmanager(cluster, config)
        prometheus = start_prometheus(cluster, rules, [], alertmanager_url=alertmanager.url)
    except NotAvailable as missing:
        pytest.skip(str(missing))
    yield prometheus.url, alertmanager.url
    prometheus.stop()
    alertmanager.stop()


async def test_a_real_prometheus_answers_queries(monitoring: Any) -> None:
    metrics = PrometheusMetrics({"prometheus": Endpoint(monitoring[0])}, SystemClock())
    now = SystemClock().now()

    assert [sample.value for sample in await metrics.query("prometheus", "vector(1.5)", now)] == [1.5]
    assert [sample.value for sample in await metrics.query("prometheus", "2", now)] == [2.0]
    assert [sample.value for sample in await metrics.query("prometheus", "vector(0) / 0", now)] == [None]
    assert await metrics.query("prometheus", "nothing_of_this_name", now) == ()
    with pytest.raises(Rejected, match="parse error"):
        await metrics.query("prometheus", "up{", now)
    with pytest.raises(Rejected, match="matrix"):
        await metrics.query("prometheus", "ALERTS[5m]", now)
    metrics.close()


async def firing(source: AlertSources, matching: dict[str, str]) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(60):
        while not found:
            answer = await source.firing(matching)
            found = [alert.fingerprint for alert in answer.alerts or ()]
            await asyncio.sleep(0.2)
    return found


async def test_a_real_alertmanager_and_prometheus_agree_on_what_fires(monitoring: Any) -> None:
    of_alertmanager = AlertSources([Endpoint(monitoring[1])])
    of_prometheus = AlertSources((), Endpoint(monitoring[0]))
    matching = {"alertname": "Always", "namespace": "shop"}

    first = await firing(of_alertmanager, matching)
    second = await firing(of_prometheus, matching)
    never = await of_alertmanager.firing({"alertname": "Never"})

    await of_alertmanager.close()
    await of_prometheus.close()
    assert first == second
    assert never.alerts == ()
