from datetime import timedelta

import pytest

from remediator.actions.effects import carry_out
from remediator.actions.remediation.restart import Restart, RestartParameters
from remediator.domain.changes import Change
from remediator.domain.json import dig
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.domain.outcomes import Failed, Running, Succeeded
from remediator.domain.verdicts import Reason, Refusal
from remediator.testing import NOON, FakeCluster
from unit.actions.world import CHECKOUT, LEDGER, crash, names, pods, shop, target, with_image, workload


async def plan(cluster: FakeCluster, ref: ObjectRef = CHECKOUT) -> Change:
    return await Restart().plan(RestartParameters(), target(cluster, ref), cluster.get(ref), cluster, now=NOON)


async def poll(cluster: FakeCluster, change: Change, after: timedelta = timedelta()):
    return await Restart().poll(change, cluster, token="t1", started=NOON, now=NOON + after)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
async def test_every_pod_is_replaced_once(kind: str) -> None:
    cluster = shop(workload(kind, "ledger"))
    ref = ObjectRef("apps", kind, "shop", "ledger")
    before = {pod["metadata"]["uid"] for pod in pods(cluster, "ledger")}
    change = await plan(cluster, ref)

    await carry_out(change, cluster, run="shop/r", token="t1")
    cluster.tick()

    after = {pod["metadata"]["uid"] for pod in pods(cluster, "ledger")}
    assert before
    assert not before & after
    assert len(before) == len(after)
    assert isinstance(await poll(cluster, change), Succeeded)


async def test_the_annotation_carries_the_token_and_no_time() -> None:
    cluster = shop()

    await carry_out(await plan(cluster), cluster, run="shop/r", token="t1")

    written = dig(cluster.get(CHECKOUT), "spec", "template", "metadata", "annotations")
    assert written == {"remediator.dev/restarted-by": "t1"}


async def test_a_second_attempt_rolls_nothing() -> None:
    cluster = shop()
    change = await plan(cluster)
    await carry_out(change, cluster, run="shop/r", token="t1")
    cluster.tick()
    after_one = names(pods(cluster))

    await carry_out(change, cluster, run="shop/r", token="t1")
    cluster.tick()

    assert names(pods(cluster)) == after_one


async def test_a_workload_in_the_middle_of_a_rollout_is_left_alone() -> None:
    cluster = shop()
    cluster.controllers.never_ready = lambda template: template["spec"]["containers"][0]["image"] == "shop:2"
    with_image(cluster, "shop:2")

    with pytest.raises(Refusal) as refused:
        await plan(cluster)

    assert refused.value.reason is Reason.ROLLOUT_IN_PROGRESS


async def test_a_workload_that_crashes_after_its_rollout_can_be_restarted() -> None:
    cluster = shop()
    for pod in pods(cluster):
        crash(cluster, pod)
    cluster.tick()

    assert not (await plan(cluster)).is_empty


@pytest.mark.parametrize(
    ("spec", "why"),
    [({"paused": True}, "paused"), ({"replicas": 0}, "scaled to 0")],
)
async def test_where_no_pod_would_be_replaced_it_is_refused(spec: dict[str, object], why: str) -> None:
    cluster = shop()
    cluster.change(CHECKOUT, lambda obj: obj["spec"].update(spec))
    cluster.tick()

    with pytest.raises(Refusal, match=why):
        await plan(cluster)


async def test_a_stateful_set_that_would_wait_for_a_failing_pod_is_refused() -> None:
    cluster = shop(workload("StatefulSet", "ledger"))
    crash(cluster, pods(cluster, "ledger")[1])

    with pytest.raises(Refusal, match="delete those that fail: ledger-1"):
        await plan(cluster, LEDGER)


async def test_a_stateful_set_whose_pods_are_managed_in_parallel_is_restarted() -> None:
    cluster = shop(workload("StatefulSet", "ledger", spec={"podManagementPolicy": "Parallel"}))
    crash(cluster, pods(cluster, "ledger")[1])

    assert not (await plan(cluster, LEDGER)).is_empty


async def test_on_delete_is_refused() -> None:
    cluster = shop(workload("StatefulSet", "ledger", spec={"updateStrategy": {"type": "OnDelete"}}))

    with pytest.raises(Refusal, match="OnDelete"):
        await plan(cluster, LEDGER)


async def test_it_is_running_until_the_new_pods_are_available() -> None:
    cluster = shop()
    change = await plan(cluster)
    cluster.controllers.never_ready = lambda template: "annotations" in template["metadata"]
    await carry_out(change, cluster, run="shop/r", token="t1")
    cluster.tick()

    assert isinstance(await poll(cluster, change), Running)


async def test_it_has_failed_when_the_controller_has_given_up() -> None:
    cluster = shop()
    change = await plan(cluster)
    cluster.controllers.never_ready = lambda template: "annotations" in template["metadata"]
    await carry_out(change, cluster, run="shop/r", token="t1")
    cluster.tick()
    cluster.controllers.stopped = True
    stuck = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    cluster.change(CHECKOUT, lambda obj: obj["status"].update(conditions=stuck))

    assert isinstance(
        await poll(cluster, change, timedelta(minutes=9)), Running
    )  # an old verdict may still stand there
    assert isinstance(await poll(cluster, change, timedelta(minutes=10)), Failed)


async def test_a_target_that_is_gone_ends_it() -> None:
    cluster = shop()
    change = await plan(cluster)
    cluster.store.remove(BUILT_IN["Deployment"], "shop", "checkout")

    assert isinstance(await poll(cluster, change), Failed)
