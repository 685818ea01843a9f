"""Disruption budgets on a real API server: they hold what serves, and nothing else."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from cluster.installed import Object, Shop, alert_policy, deployment, ending, eventually, runbook, side_by_side
from localcluster import Cluster as LocalCluster
from localcluster.api import ApiError
from localcluster.nodes_simulated import node as simulated
from remediator.actions import effects, registry
from remediator.adapters.clock import SystemClock
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.kube import KubeApi, from_kubeconfig
from remediator.domain.changes import DeletePods, change_as_json, change_from_json
from remediator.domain.json import dig, dig_int, dig_text
from remediator.domain.nodes import is_cordoned, is_cordoned_by_us
from remediator.domain.objects import BUILT_IN, ObjectRef, Target
from remediator.domain.outcomes import Outcome, Running, Succeeded
from remediator.domain.pods import pod_is_ready

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

CLOCK = SystemClock()
DELETE = """
targets: [Deployment]
diagnose:
- {name: pods, get: {kind: Pod, related: owned}}
remedies:
- name: again
  when: "true"
  steps:
  - name: delete
    deletePod: {name: '${diagnosis.pods.items[0].name}'}
    timeout: 20s
verify:
- alertResolved: {quietFor: 1s, within: 1m}
"""


def budget(least: int) -> Object:
    selector = {"matchLabels": {"app": "checkout"}}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "checkout"},
        "spec": {"minAvailable": least, "selector": selector},
    }


def pods(shop: Shop) -> set[str]:
    """The UIDs of the pods that nobody has asked to end."""
    found = shop.items("/api/v1", "pods?labelSelector=app%3Dcheckout")
    return {pod["metadata"]["uid"] for pod in found if "deletionTimestamp" not in pod["metadata"]}


def is_counted(shop: Shop) -> bool:
    (found,) = shop.items("/apis/policy/v1", "poddisruptionbudgets")
    return bool(found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"])


@side_by_side
def test_a_budget_holds_a_pod_that_serves_until_it_lets_go(shop: Shop) -> None:
    shop.open("deletePod")
    shop.apply(budget(2))
    shop.stock(DELETE)
    eventually(lambda: is_counted(shop), "the budget is not counted")
    before = pods(shop)

    shop.fire()
    held = shop.held("DisruptionBudget")

    assert "PodDisruptionBudget checkout lets 0 of its pods go now" in held["status"]["held"]["message"]
    assert pods(shop) == before
    shop.apply(budget(1))
    eventually(lambda: len(pods(shop) - before) == 1, "no pod is replaced")
    shop.resolve()
    assert ending(shop.ended()) == ("Remediated", "Verified")
    (change,) = shop.changes("pods")
    assert change["verb"] == "delete"


@side_by_side
def test_a_budget_does_not_hold_a_pod_that_does_not_serve(shop: Shop) -> None:
    shop.open("deletePod")
    nowhere = deployment(nodeSelector={"local.remediator.dev/tier": "nowhere"})
    shop.apply(nowhere, budget(2))
    shop.apply(runbook(DELETE), alert_policy())
    eventually(lambda: len(pods(shop)) == 2 and is_counted(shop), "the pods are not made")
    before = pods(shop)

    shop.fire()

    eventually(lambda: len(pods(shop) - before) == 1, "the pod that waits for a node is not replaced")
    assert len(shop.changes("pods")) == 1


# a node of the test's own


class Nodes:
    """Two simulated nodes that only the test's own pods may come to."""

    def __init__(self, local: LocalCluster, cluster: KubeCluster, namespace: str) -> None:
        self.local, self.cluster, self.namespace = local, cluster, namespace
        self.mark = f"harm-{secrets.token_hex(4)}"
        self.first, self.second = f"{self.mark}-1", f"{self.mark}-2"

    def make(self) -> None:
        for name in (self.first, self.second):
            made = simulated(name)
            made["metadata"]["labels"] = {"kubernetes.io/hostname": name, "harm": self.mark}
            made["spec"] = {"taints": [{"key": "harm", "value": self.mark, "effect": "NoSchedule"}]}
            self.local.api.call("POST", "/api/v1/nodes", made)

    def remove(self) -> None:
        for name in (self.first, self.second):
            with suppress(ApiError, OSError):
                self.local.api.call("DELETE", f"/api/v1/nodes/{name}")

    async def target(self) -> Target:
        ref = ObjectRef.of("Node", "", self.first)
        return Target(ref, dig_text(await self.cluster.read(ref), "metadata", "uid"))

    async def plan(self, action: str) -> Any:
        target = await self.target()
        parameters = registry.parameters(action)()
        seen = await self.cluster.read(target.ref)
        change = await registry.change(action).plan(parameters, target, seen, self.cluster, now=CLOCK.now())
        return change_from_json(change_as_json(change))

    async def carry_out(self, change: Any, token: str) -> effects.Effect:
        return await effects.carry_out(change, self.cluster, run="shop/r", token=token)

    async def seen(self) -> Object:
        return await self.cluster.read(ObjectRef.of("Node", "", self.first))

    async def places(self) -> list[str]:
        """The nodes of the pods that serve."""
        found = await self.cluster.list(BUILT_IN["Pod"], self.namespace, labels="app=checkout")
        return sorted(dig_text(pod, "spec", "nodeName") for pod in found.items if pod_is_ready(pod))

    async def until(self, look: Callable[[], Awaitable[Any]]) -> Any:
        for _ in range(300):
            if found := await look():
                return found
            await CLOCK.sleep(0.1)
        raise AssertionError("it does not come about")


@pytest.fixture
async def nodes(cluster: LocalCluster, namespace: str) -> AsyncIterator[Nodes]:
    if not cluster.has_controllers:
        pytest.skip("pods need nodes and controllers")
    async with KubeApi(from_kubeconfig(str(cluster.admin_kubeconfig)), CLOCK) as opened:
        made = Nodes(cluster, KubeCluster(opened), namespace)
        made.make()
        yield made
        made.remove()


async def test_a_drain_waits_for_a_budget_and_finishes_when_it_allows(nodes: Nodes) -> None:
    cluster, namespace = nodes.cluster, nodes.namespace
    home = deployment(
        nodeSelector={"harm": nodes.mark},
        tolerations=[{"key": "harm", "operator": "Exists"}],
        terminationGracePeriodSeconds=1,
    )
    other = ObjectRef.of("Node", "", nodes.second)
    await cluster.patch(other, [{"op": "add", "path": "/spec/unschedulable", "value": True}])
    home["metadata"]["namespace"] = namespace
    await cluster.create(BUILT_IN["Deployment"], home)
    await nodes.until(lambda: _are(nodes, [nodes.first] * 2))
    await cluster.patch(other, [{"op": "replace", "path": "/spec/unschedulable", "value": False}])
    limit = ObjectRef.of("PodDisruptionBudget", namespace, "checkout")
    protection = budget(2)
    protection["metadata"]["namespace"] = namespace
    await cluster.create(BUILT_IN["PodDisruptionBudget"], protection)
    await nodes.until(lambda: _allows(nodes, limit, 0))

    cordon = await nodes.plan("cordon")
    assert isinstance(await nodes.carry_out(cordon, "t1"), effects.Carried)
    assert is_cordoned_by_us(await nodes.seen())
    drain = await nodes.plan("drain")
    assert isinstance(drain, DeletePods)
    first = await nodes.carry_out(drain, "t2")

    assert isinstance(first, effects.Protected)
    assert "PodDisruptionBudgets hold 2 of 2 pods" in first.message
    assert await nodes.places() == [nodes.first] * 2
    await cluster.patch(limit, [{"op": "replace", "path": "/spec/minAvailable", "value": 1}])
    await nodes.until(lambda: _allows(nodes, limit, 1))

    async def finished() -> bool:
        effect = await nodes.carry_out(drain, "t2")
        assert await nodes.places(), "no pod serves any more"
        return isinstance(effect, effects.Carried)

    await nodes.until(finished)
    started = CLOCK.now()

    async def left() -> Outcome | None:
        outcome = await registry.change("drain").poll(drain, cluster, token="t2", started=started, now=CLOCK.now())
        return None if isinstance(outcome, Running) else outcome

    assert await nodes.until(left) == Succeeded(f"2 pods have left Node {nodes.first}")
    await nodes.until(lambda: _are(nodes, [nodes.second] * 2))
    assert isinstance(await nodes.carry_out(await nodes.plan("uncordon"), "t3"), effects.Carried)
    assert not is_cordoned(await nodes.seen())


async def test_a_cordon_that_a_person_set_anew_is_not_ours(nodes: Nodes, cluster: LocalCluster) -> None:
    assert isinstance(await nodes.carry_out(await nodes.plan("cordon"), "t1"), effects.Carried)
    cluster.run_kubectl("uncordon", nodes.first)
    cluster.run_kubectl("cordon", nodes.first)

    assert is_cordoned(await nodes.seen())
    assert not is_cordoned_by_us(await nodes.seen())


async def _are(nodes: Nodes, places: list[str]) -> bool:
    return await nodes.places() == places


async def _allows(nodes: Nodes, ref: ObjectRef, most: int) -> bool:
    seen = await nodes.cluster.read(ref)
    is_current = dig_int(seen, "status", "observedGeneration") == dig_int(seen, "metadata", "generation")
    healthy = dig_int(seen, "status", "currentHealthy")
    return is_current and healthy == 2 and dig(seen, "status", "disruptionsAllowed") == most
