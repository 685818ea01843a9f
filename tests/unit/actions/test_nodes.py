"""cordon, uncordon and drain."""

from typing import Any

import pytest
from pydantic import ValidationError

from remediator.actions import effects
from remediator.actions.remediation.cordon import Cordon, CordonParameters
from remediator.actions.remediation.drain import Drain, DrainParameters
from remediator.actions.remediation.uncordon import Uncordon, UncordonParameters
from remediator.domain.changes import DeletePods, Patch
from remediator.domain.errors import Rejected
from remediator.domain.json import Object, dig, dig_text
from remediator.domain.nodes import is_cordoned, is_cordoned_by_us
from remediator.domain.objects import ObjectRef, Target
from remediator.domain.outcomes import Failed, Running, Succeeded
from remediator.domain.verdicts import Reason, Refusal
from remediator.testing import NOON, FakeCluster
from unit.actions.world import NODE, pods, shop, target, workload

OTHER: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-2"}}


async def cordon(cluster: FakeCluster) -> Patch:
    change = await Cordon().plan(CordonParameters(), target(cluster, NODE), cluster.get(NODE), cluster, now=NOON)
    assert isinstance(change, Patch)
    return change


async def uncordon(cluster: FakeCluster, **given: bool) -> Patch:
    parameters = UncordonParameters.model_validate(given)
    change = await Uncordon().plan(parameters, target(cluster, NODE), cluster.get(NODE), cluster, now=NOON)
    assert isinstance(change, Patch)
    return change


async def drain(cluster: FakeCluster, **given: Any) -> DeletePods:
    parameters = DrainParameters.model_validate(given)
    change = await Drain().plan(parameters, target(cluster, NODE), cluster.get(NODE), cluster, now=NOON)
    assert isinstance(change, DeletePods)
    return change


async def carry_out(cluster: FakeCluster, change: Any, token: str = "t1") -> effects.Effect:
    return await effects.carry_out(change, cluster, run="shop/r", token=token)


async def poll(cluster: FakeCluster, change: Any) -> object:
    return await Drain().poll(change, cluster, token="t1", started=NOON, now=NOON)


def budget(**spec: Any) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"app": "checkout"}}, **spec},
    }


# cordon and uncordon


async def test_a_cordon_is_taken_back_as_if_it_had_never_been() -> None:
    cluster = shop()
    change = await cordon(cluster)

    await carry_out(cluster, change)
    assert is_cordoned_by_us(cluster.get(NODE))
    await carry_out(cluster, change.reversed, "t2")

    node = cluster.get(NODE)
    assert not is_cordoned(node)
    assert dig(node, "spec", "unschedulable") is None
    assert "remediator.dev/cordoned" not in node["metadata"]["annotations"]


async def test_a_node_that_is_cordoned_already_is_left_as_it_is() -> None:
    cluster = shop()
    cluster.change(NODE, lambda node: node.update(spec={"unschedulable": True}))

    assert (await cordon(cluster)).is_empty


async def test_our_own_cordon_is_taken_back() -> None:
    cluster = shop()
    await carry_out(cluster, await cordon(cluster))

    await carry_out(cluster, await uncordon(cluster), "t2")

    assert not is_cordoned(cluster.get(NODE))


async def test_somebody_elses_cordon_stays_unless_asked() -> None:
    cluster = shop()
    cluster.change(NODE, lambda node: node.update(spec={"unschedulable": True}))

    with pytest.raises(Refusal) as refused:
        await uncordon(cluster)
    assert refused.value.reason is Reason.OUT_OF_BOUNDS
    assert "Node node-1 was cordoned by somebody else" in refused.value.message

    await carry_out(cluster, await uncordon(cluster, alsoOthers=True))
    assert not is_cordoned(cluster.get(NODE))


def managed(*managers: str) -> Object:
    return {
        "metadata": {
            "annotations": {"remediator.dev/cordoned": "true"},
            "managedFields": [{"manager": name, "fieldsV1": {"f:spec": {"f:unschedulable": {}}}} for name in managers],
        },
        "spec": {"unschedulable": True},
    }


def test_a_cordon_that_a_person_set_anew_is_not_ours_though_our_mark_stands_there() -> None:
    assert is_cordoned_by_us(managed("remediator"))
    assert not is_cordoned_by_us(managed("kubectl-cordon"))


async def test_a_node_that_takes_pods_needs_no_uncordon() -> None:
    assert (await uncordon(shop())).is_empty


# drain


async def test_every_pod_of_the_node_leaves_whatever_its_namespace() -> None:
    cluster = shop(workload("StatefulSet", "ledger"), OTHER)
    cluster.add(workload("Deployment", "mail") | {"metadata": {"name": "mail", "namespace": "post"}})
    cluster.tick()
    await carry_out(cluster, await cordon(cluster))

    change = await drain(cluster)
    effect = await carry_out(cluster, change)
    cluster.tick()

    assert isinstance(effect, effects.Carried)
    assert {pod.ref.namespace for pod in change.pods} == {"shop", "post"}
    assert len(change.pods) == 6
    assert await poll(cluster, change) == Succeeded("6 pods have left Node node-1")
    assert {dig_text(pod, "spec", "nodeName") for pod in cluster.objects("Pod")} == {"node-2"}


async def test_pods_of_daemon_sets_static_ones_and_finished_ones_stay() -> None:
    cluster = shop(workload("DaemonSet", "agent"))
    first, second = pods(cluster)
    mirror = {"kubernetes.io/config.mirror": "x"}
    cluster.change(
        ObjectRef.of("Pod", "shop", first["metadata"]["name"]), lambda pod: pod["metadata"].update(annotations=mirror)
    )
    cluster.change(
        ObjectRef.of("Pod", "shop", second["metadata"]["name"]), lambda pod: pod["status"].update(phase="Succeeded")
    )

    assert (await drain(cluster)).is_empty


async def test_a_pod_that_nobody_would_make_again_keeps_the_node() -> None:
    cluster = shop()
    bare = {
        "metadata": {"name": "bare", "namespace": "shop"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "a", "image": "x"}]},
    }
    cluster.add({"apiVersion": "v1", "kind": "Pod", **bare})

    with pytest.raises(Refusal, match="Pod shop/bare has no controller"):
        await drain(cluster)


async def test_data_of_an_empty_dir_is_lost_only_where_the_step_says_so() -> None:
    scratch = workload("Deployment", "scratch")
    scratch["spec"]["template"]["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    cluster = shop(scratch)

    with pytest.raises(Refusal, match="has an emptyDir, whose data would go with it"):
        await drain(cluster)
    assert len((await drain(cluster, deleteEmptyDirData=True)).pods) == 4


async def test_what_a_budget_protects_is_asked_for_again_and_the_rest_has_gone() -> None:
    cluster = shop(workload("Deployment", "mail"), budget(minAvailable=2), OTHER)
    await carry_out(cluster, await cordon(cluster))
    change = await drain(cluster)

    first = await carry_out(cluster, change)

    assert isinstance(first, effects.Protected)
    assert first.message.startswith("PodDisruptionBudgets hold 2 of 4 pods: Pod shop/checkout-")
    cluster.tick()
    assert {dig_text(pod, "spec", "nodeName") for pod in pods(cluster, "mail")} == {"node-2"}
    assert await poll(cluster, change) == Running("2 of 4 pods on Node node-1 are still ending")
    cluster.change(
        ObjectRef.of("PodDisruptionBudget", "shop", "checkout"), lambda obj: obj["spec"].update(minAvailable=1)
    )
    cluster.tick()

    second = await carry_out(cluster, change)
    cluster.tick()
    third = await carry_out(cluster, change)

    assert isinstance(second, effects.Protected) and "hold 1 of 4 pods" in second.message
    assert isinstance(third, effects.Carried)


async def test_a_pod_that_came_later_is_not_evicted_by_the_step() -> None:
    cluster = shop()
    change = await drain(cluster)
    await carry_out(cluster, change)
    cluster.tick()  # the node is open, so the new ones are put on it again

    again = await carry_out(cluster, change)

    assert isinstance(again, effects.Carried) and again.before
    assert len(pods(cluster)) == 2


async def test_a_list_that_was_given_up_is_not_finished() -> None:
    cluster = shop(budget(minAvailable=2))
    change = await drain(cluster)
    assert isinstance(await carry_out(cluster, change), effects.Protected)

    assert isinstance(await effects.void(change, cluster, token="t1"), effects.Voided)

    assert isinstance(await carry_out(cluster, change), effects.Voided)
    assert len(pods(cluster)) == 2


async def test_a_list_that_is_given_up_half_way_says_so() -> None:
    cluster = shop(workload("Deployment", "mail"), budget(minAvailable=2))
    change = await drain(cluster)
    assert isinstance(await carry_out(cluster, change), effects.Protected)

    assert await effects.void(change, cluster, token="t1") == effects.Voided(partly=True)


async def test_a_refusal_in_the_middle_of_the_list_does_not_hide_what_has_happened() -> None:
    cluster = shop(workload("Deployment", "mail"))
    change = await drain(cluster)
    last = change.pods[-1].ref
    cluster.refuse_when(lambda write, _: "the webhook says no" if write.ref == last else "")

    effect = await carry_out(cluster, change)

    assert isinstance(effect, effects.Protected) and "the webhook says no" in effect.message
    assert not any(cluster.has(pod.ref) for pod in change.pods[:-1])
    with pytest.raises(Rejected, match="the webhook says no"):
        await carry_out(cluster, change)  # nothing else is left to do


async def test_a_rehearsal_says_which_pods_a_budget_holds() -> None:
    cluster = shop(budget(minAvailable=2))

    said = await effects.dry_run(await drain(cluster), cluster, run="shop/r")

    assert said.count("(a PodDisruptionBudget does not let it go now)") == 2
    assert len(pods(cluster)) == 2 and not cluster.changes


async def test_the_time_that_pods_have_to_end_is_handed_on() -> None:
    assert (await drain(shop(), gracePeriod="90s")).grace_seconds == 90
    assert (await drain(shop())).grace_seconds is None


@pytest.mark.parametrize("grace", ["2h", "-1s"])
def test_the_time_that_pods_have_to_end_is_bounded(grace: str) -> None:
    with pytest.raises(ValidationError):
        DrainParameters.model_validate({"gracePeriod": grace})


@pytest.mark.parametrize("action", [Cordon(), Uncordon(), Drain()], ids=["cordon", "uncordon", "drain"])
async def test_what_is_no_node_is_refused(action: Any) -> None:
    cluster = shop()

    with pytest.raises(Refusal, match="is no node"):
        await action.plan(
            action.info.parameters(), target(cluster), cluster.get(target(cluster).ref), cluster, now=NOON
        )


async def test_a_node_that_is_gone_ends_a_cordon() -> None:
    cluster = shop()
    change = await cordon(cluster)
    gone = Patch(Target(NODE, "another"), change.edits, change.summary)

    assert isinstance(await Cordon().poll(gone, cluster, token="t", started=NOON, now=NOON), Failed)
