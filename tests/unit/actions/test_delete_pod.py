from datetime import timedelta

import pytest

from remediator.actions.effects import carry_out
from remediator.actions.remediation.delete_pod import DeletePod, DeletePodParameters
from remediator.domain.changes import DeletePods
from remediator.domain.json import Object
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.domain.outcomes import Failed, Running, Succeeded
from remediator.domain.verdicts import Refusal
from remediator.testing import NOON, FakeCluster
from unit.actions.world import CHECKOUT, LEDGER, crash, names, pod_ref, pods, shop, target, workload

BARE: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "bare", "namespace": "shop"},
    "spec": {"containers": [{"name": "app", "image": "x"}]},
}


async def plan(cluster: FakeCluster, ref: ObjectRef, **given: object) -> DeletePods:
    parameters = DeletePodParameters.model_validate(given)
    return await DeletePod().plan(parameters, target(cluster, ref), cluster.get(ref), cluster, now=NOON)


async def poll(cluster: FakeCluster, change: DeletePods):
    return await DeletePod().poll(change, cluster, token="t1", started=NOON, now=NOON)


async def test_the_pod_goes_and_its_deployment_makes_another() -> None:
    cluster = shop()
    doomed = pods(cluster)[0]
    change = await plan(cluster, pod_ref(doomed))

    await carry_out(change, cluster, run="shop/r", token="t1")
    cluster.tick()

    assert change.target == target(cluster)
    assert doomed["metadata"]["name"] not in names(pods(cluster))
    assert isinstance(await poll(cluster, change), Succeeded)


async def test_of_a_workload_the_pod_is_named() -> None:
    cluster = shop(workload("StatefulSet", "ledger"))

    change = await plan(cluster, LEDGER, name="ledger-1")

    assert [str(pod) for pod in change.pods] == ["Pod shop/ledger-1"]


async def test_the_replacement_must_be_ready_and_others_need_not_be() -> None:
    cluster = shop(replicas=3)
    cluster.store.clock.advance(-timedelta(hours=1))
    first, second, _ = pods(cluster)
    crash(cluster, second)
    change = await plan(cluster, pod_ref(first))
    cluster.store.clock.advance(timedelta(hours=2))
    await carry_out(change, cluster, run="shop/r", token="t1")
    assert isinstance(await poll(cluster, change), Running)

    cluster.tick()

    outcome = await poll(cluster, change)
    assert isinstance(outcome, Succeeded)
    assert "2 of 3 pods ready" in outcome.message


async def test_a_replacement_that_is_not_ready_is_waited_for() -> None:
    cluster = shop(replicas=1)
    change = await plan(cluster, pod_ref(pods(cluster)[0]))
    cluster.controllers.never_ready = lambda template: True
    await carry_out(change, cluster, run="shop/r", token="t1")
    cluster.tick()

    assert isinstance(await poll(cluster, change), Running)


async def test_a_pod_without_a_controller_is_refused() -> None:
    cluster = shop(BARE)

    with pytest.raises(Refusal, match="nobody would make it again"):
        await plan(cluster, ObjectRef("", "Pod", "shop", "bare"))


async def test_a_static_pod_is_refused() -> None:
    annotations = {"kubernetes.io/config.mirror": "abc"}
    cluster = shop({**BARE, "metadata": {"name": "bare", "namespace": "shop", "annotations": annotations}})

    with pytest.raises(Refusal, match="static pod"):
        await plan(cluster, ObjectRef("", "Pod", "shop", "bare"))


async def test_a_pod_of_somebody_else_is_refused() -> None:
    cluster = shop(workload("StatefulSet", "ledger"))

    with pytest.raises(Refusal, match="has no pod ledger-0"):
        await plan(cluster, CHECKOUT, name="ledger-0")


async def test_a_workload_without_a_pods_name_is_refused() -> None:
    with pytest.raises(Refusal, match="name one"):
        await plan(shop(), CHECKOUT)


async def test_a_workload_that_is_gone_ends_it() -> None:
    cluster = shop()
    change = await plan(cluster, pod_ref(pods(cluster)[0]))
    await carry_out(change, cluster, run="shop/r", token="t1")
    cluster.store.remove(BUILT_IN["Deployment"], "shop", "checkout")

    assert isinstance(await poll(cluster, change), Failed)
