"""The actions on a real API server, with real controllers and containers that really crash."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from localcluster import Cluster as LocalCluster
from remediator.actions import effects, registry
from remediator.actions.base import Reader, observe
from remediator.actions.effects import Carried, carry_out, dry_run
from remediator.adapters.clock import SystemClock
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.kube import KubeApi, from_kubeconfig
from remediator.domain.actions import Output
from remediator.domain.changes import Change, Patch, change_as_json, change_from_json
from remediator.domain.json import Object, dig, dig_text
from remediator.domain.objects import BUILT_IN, ObjectRef, Target
from remediator.domain.outcomes import Outcome, Succeeded
from remediator.domain.workloads import is_rolled_out
from remediator.testing import FakeMetrics, FakeWeb

pytestmark = [pytest.mark.cluster, pytest.mark.real_node, pytest.mark.timeout(240)]

CLOCK = SystemClock()
IMAGE = "local.remediator.dev/workload:1"
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")


class Shop:
    """One workload in a namespace of its own."""

    def __init__(self, cluster: KubeCluster, namespace: str, kind: str) -> None:
        self.cluster = cluster
        self.ref = ObjectRef("apps", kind, namespace, "checkout")
        self.steps = 0

    async def open(self) -> None:
        """The first release runs."""
        container = {
            "name": "app",
            "image": IMAGE,
            "env": [{"name": "QUEUE", "value": "200"}, {"name": "PORT", "value": "8080"}],
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
        }
        labels = {"app": "checkout"}
        spec: Object = {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [container],
                    "terminationGracePeriodSeconds": 1,
                    "nodeSelector": {"local.remediator.dev/tier": "real"},
                },
            },
        }
        if self.ref.kind != "DaemonSet":
            spec["replicas"] = 2
        if self.ref.kind == "StatefulSet":
            spec["serviceName"] = "checkout"
        metadata: Object = {"name": "checkout", "namespace": self.ref.namespace}
        await self.cluster.create(BUILT_IN[self.ref.kind], {"metadata": metadata, "spec": spec})
        await self.until(self.is_rolled_out)

    async def release(self, **variables: str) -> None:
        """Somebody releases a template with more variables."""
        path = "/spec/template/spec/containers/0/env/-"
        added = [{"op": "add", "path": path, "value": {"name": k, "value": v}} for k, v in variables.items()]
        await self.cluster.patch(self.ref, added)

    async def seen(self) -> Object:
        return await self.cluster.read(self.ref)

    async def is_rolled_out(self) -> bool:
        return is_rolled_out(await self.seen())

    async def target(self, ref: ObjectRef | None = None) -> Target:
        obj = await self.cluster.read(ref or self.ref)
        return Target(ref or self.ref, dig_text(obj, "metadata", "uid"))

    async def look(self, action: str, **given: Any) -> Output:
        reader = Reader(self.cluster, FakeMetrics(), FakeWeb(), await self.target(), CLOCK.now(), self.ref.namespace)
        parameters = registry.parameters(action).model_validate(given)
        return (await observe(registry.diagnostic(action), parameters, reader)).output

    async def plan(self, action: str, ref: ObjectRef | None = None, **given: Any) -> Change:
        parameters = registry.parameters(action).model_validate(given)
        target = await self.target(ref)
        seen = await self.cluster.read(target.ref)
        change = await registry.change(action).plan(parameters, target, seen, self.cluster, now=CLOCK.now())
        return change_from_json(change_as_json(change))

    async def do(self, action: str, ref: ObjectRef | None = None, **given: Any) -> Change:
        """Planned, tried, carried out twice, and waited for until it is done."""
        change = await self.plan(action, ref, **given)
        started, self.steps = CLOCK.now(), self.steps + 1
        token = f"t{self.steps}"
        assert await dry_run(change, self.cluster, run="shop/r")

        first = await carry_out(change, self.cluster, run="shop/r", token=token)
        again = await carry_out(change, self.cluster, run="shop/r", token=token)

        assert isinstance(first, Carried)
        assert isinstance(again, Carried)
        assert not first.before
        assert again.before

        async def poll() -> Outcome | None:
            outcome = await registry.change(action).poll(
                change, self.cluster, token=token, started=started, now=CLOCK.now()
            )
            return outcome if isinstance(outcome, Succeeded) else None

        await self.until(poll)
        return change

    async def until(self, look: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(90):
            while not (found := await look()):
                await CLOCK.sleep(0.2)
        return found

    def env(self, seen: Object) -> dict[str, str]:
        variables = dig(seen, "spec", "template", "spec", "containers", 0, "env")
        assert isinstance(variables, list)
        return {dig_text(variable, "name"): dig_text(variable, "value") for variable in variables}


@pytest.fixture
async def cluster_port(cluster: LocalCluster) -> AsyncIterator[KubeCluster]:
    async with KubeApi(from_kubeconfig(str(cluster.admin_kubeconfig)), SystemClock()) as opened:
        yield KubeCluster(opened)


@pytest.fixture(params=WORKLOADS)
async def shop(cluster_port: KubeCluster, namespace: str, request: pytest.FixtureRequest) -> Shop:
    opened = Shop(cluster_port, namespace, request.param)
    await opened.open()
    return opened


async def test_a_release_that_panics_is_recognised_and_rolled_back(shop: Shop) -> None:
    before = await shop.seen()
    await shop.release(FAIL="panic", FAIL_AFTER="0.2")

    async def panics() -> Any:
        logs = await shop.look("logs", **{"from": "crashing", "previous": True, "count": {"panic": "(?i)panic"}})
        return (logs.as_json().get("count") or {}).get("panic")

    async def crash_loop() -> Any:  # between two starts a pod is none for a moment
        pods = (await shop.look("get", kind="Pod", related="owned")).as_json()
        return pods if any(pod["crashLooping"] for pod in pods["items"]) else None

    assert await shop.until(panics)
    pods = await shop.until(crash_loop)
    assert any(container.get("lastTerminated", {}).get("exitCode") for container in pods["containers"])
    history = (await shop.look("rolloutHistory")).as_json()
    assert (history["newest"]["revision"], history["previous"]["revision"]) == (2, 1)
    assert history["current"] == history["newest"]

    async def backed_off() -> Any:
        return (await shop.look("events", reasons=["BackOff"])).as_json().get("items")

    assert await shop.until(backed_off)

    change = await shop.do("rollback", to="previous")

    assert isinstance(change, Patch)
    assert [str(edit.path).rpartition("/")[2] for edit in change.edits] == ["[name=FAIL]", "[name=FAIL_AFTER]"]
    if shop.ref.kind == "StatefulSet":  # it waits for pods of the broken release until they are deleted

        async def is_cured() -> bool:
            for pod in (await shop.look("get", kind="Pod", related="owned")).as_json()["items"]:
                if pod["crashLooping"]:
                    await shop.cluster.delete(ObjectRef("", "Pod", shop.ref.namespace, pod["name"]), uid=pod["uid"])
            return await shop.is_rolled_out()

        await shop.until(is_cured)
    after = await shop.seen()
    assert dig(after, "spec", "template") == dig(before, "spec", "template")
    assert (await shop.look("rolloutHistory")).as_json()["current"]["revision"] == 3
    if shop.ref.kind == "Deployment":
        sets = await shop.cluster.list(BUILT_IN["ReplicaSet"], shop.ref.namespace)
        assert len(sets.items) == 2


async def test_variables_are_set_and_put_back(shop: Shop) -> None:
    before = await shop.seen()

    change = await shop.do("setEnv", vars={"QUEUE": {"value": "500", "from": "200"}, "ADDED": "1"})
    assert shop.env(await shop.seen()) == {"QUEUE": "500", "PORT": "8080", "ADDED": "1"}
    assert isinstance(change, Patch)
    await carry_out(change.reversed, shop.cluster, run="shop/r", token="undo")

    assert dig(await shop.seen(), "spec", "template") == dig(before, "spec", "template")


async def test_a_restart_replaces_every_pod(shop: Shop) -> None:
    async def uids() -> set[str]:
        pods = await shop.look("get", kind="Pod", related="owned")
        return {pod["uid"] for pod in pods.as_json()["items"] if not pod["ending"]}

    before = await uids()

    await shop.do("restart")

    after = await uids()
    assert before
    assert not before & after


async def test_a_deleted_pod_is_replaced(shop: Shop) -> None:
    pods = (await shop.look("get", kind="Pod", related="owned")).as_json()["items"]
    doomed = ObjectRef("", "Pod", shop.ref.namespace, pods[0]["name"])

    change = await shop.do("deletePod", doomed)

    assert change.target == await shop.target()
    left = (await shop.look("get", kind="Pod", related="owned")).as_json()["items"]
    assert pods[0]["uid"] not in [pod["uid"] for pod in left if not pod["ending"]]


@pytest.mark.parametrize("shop", ["Deployment", "StatefulSet"], indirect=True)
async def test_replicas_are_raised(shop: Shop) -> None:
    await shop.do("scale", by=1, max=3)

    assert dig(await shop.seen(), "status", "availableReplicas") == 3


@pytest.mark.parametrize("shop", ["Deployment"], indirect=True)
async def test_what_was_voided_never_happens(shop: Shop) -> None:
    change = await shop.plan("restart")

    assert await effects.void(change, shop.cluster, token="t1") == effects.Voided()

    assert await carry_out(change, shop.cluster, run="shop/r", token="t1") == effects.Voided()
    assert await carry_out(change, shop.cluster, run="shop/r", token="t2") == Carried(
        generation=dig(await shop.seen(), "metadata", "generation")
    )
