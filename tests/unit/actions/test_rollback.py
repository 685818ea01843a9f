from datetime import timedelta

import pytest
from pydantic import ValidationError

from remediator.actions import effects
from remediator.actions.remediation.rollback import Rollback, RollbackParameters
from remediator.domain.changes import Patch
from remediator.domain.json import dig
from remediator.domain.objects import ObjectRef
from remediator.domain.outcomes import Failed, Running, Succeeded
from remediator.domain.verdicts import Reason, Refusal
from remediator.testing import NOON, FakeCluster
from unit.actions.world import CHECKOUT, LEDGER, crash, pod_ref, pods, shop, target, with_image, workload

OLD = {"controller-revision-hash": "ledger-old"}


async def plan(cluster: FakeCluster, ref: ObjectRef = CHECKOUT, now=NOON, **given: object) -> Patch:
    parameters = RollbackParameters.model_validate(given)
    return await Rollback().plan(parameters, target(cluster, ref), cluster.get(ref), cluster, now=now)


async def carry(cluster: FakeCluster, change: Patch) -> None:
    assert isinstance(await effects.carry_out(change, cluster, run="shop/r", token="t1"), effects.Carried)
    cluster.tick()


async def poll(cluster: FakeCluster, change: Patch):
    return await Rollback().poll(change, cluster, token="t1", started=NOON, now=NOON)


def image(cluster: FakeCluster, ref: ObjectRef = CHECKOUT) -> object:
    return dig(cluster.get(ref), "spec", "template", "spec", "containers", 0, "image")


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
async def test_the_release_before_the_present_one_comes_back(kind: str) -> None:
    cluster = shop(workload(kind, "ledger", "ledger:1"))
    ref = ObjectRef("apps", kind, "shop", "ledger")
    with_image(cluster, "ledger:2", ref)

    change = await plan(cluster, ref)
    await carry(cluster, change)

    assert image(cluster, ref) == "ledger:1"
    assert isinstance(await poll(cluster, change), Succeeded)


async def test_the_old_replica_set_is_used_again() -> None:
    cluster = shop(env={"QUEUE": "200", "A": "1"})
    cluster.change(
        CHECKOUT, lambda obj: obj["spec"]["template"]["spec"]["containers"][0].update(env=[], image="shop:2")
    )
    cluster.tick()

    await carry(cluster, await plan(cluster))

    assert len(cluster.objects("ReplicaSet", "shop")) == 2


async def test_only_what_differs_is_written_and_recorded() -> None:
    cluster = shop(env={"DB_PASSWORD": "hunter22"})
    with_image(cluster, "shop:2")

    change = await plan(cluster)

    assert [(str(e.path), e.was, e.to) for e in change.edits] == [
        ("/spec/template/spec/containers/[name=app]/image", "shop:2", "shop:1")
    ]
    assert not change.undoable


async def test_a_revision_can_be_named() -> None:
    cluster = shop()
    with_image(cluster, "shop:2")
    with_image(cluster, "shop:3")

    await carry(cluster, await plan(cluster, to=1))

    assert image(cluster) == "shop:1"


async def test_our_stamps_are_not_copied_back_from_the_replica_set() -> None:
    cluster = shop()
    with_image(cluster, "shop:2")
    cluster.change(CHECKOUT, lambda obj: obj["metadata"]["annotations"].update({"remediator.dev/step": "older"}))
    cluster.tick()
    with_image(cluster, "shop:3")

    change = await plan(cluster)

    assert not [edit for edit in change.edits if "remediator.dev" in str(edit.path)]


async def test_the_change_cause_goes_with_the_template() -> None:
    cluster = shop(metadata={"annotations": {"kubernetes.io/change-cause": "one"}})
    cluster.change(CHECKOUT, lambda obj: obj["metadata"]["annotations"].update({"kubernetes.io/change-cause": "two"}))
    with_image(cluster, "shop:2")

    await carry(cluster, await plan(cluster))

    assert cluster.get(CHECKOUT)["metadata"]["annotations"]["kubernetes.io/change-cause"] == "one"


async def test_with_one_release_there_is_nothing_to_go_back_to() -> None:
    with pytest.raises(Refusal, match="no recorded revision before"):
        await plan(shop())


async def test_a_revision_that_is_not_recorded_is_refused_with_those_that_are() -> None:
    cluster = shop()
    with_image(cluster, "shop:2")

    with pytest.raises(Refusal, match="no revision 9; recorded are: 2, 1"):
        await plan(cluster, to=9)


async def test_the_present_revision_is_refused() -> None:
    cluster = shop()
    with_image(cluster, "shop:2")

    with pytest.raises(Refusal, match="at revision 2 already"):
        await plan(cluster, to=2)


async def test_a_release_older_than_max_age_is_left_alone() -> None:
    cluster = shop()
    with_image(cluster, "shop:2")

    with pytest.raises(Refusal, match="3h0m0s old") as refused:
        await plan(cluster, now=NOON + timedelta(hours=3), maxAge="2h")

    assert refused.value.reason is Reason.OUT_OF_BOUNDS


async def test_a_paused_deployment_is_refused() -> None:
    cluster = shop()
    with_image(cluster, "shop:2")
    cluster.change(CHECKOUT, lambda obj: obj["spec"].update(paused=True))

    with pytest.raises(Refusal, match="paused"):
        await plan(cluster)


async def test_a_stuck_rollout_can_be_rolled_back() -> None:
    cluster = shop()
    cluster.controllers.never_ready = lambda template: template["spec"]["containers"][0]["image"] == "shop:2"
    with_image(cluster, "shop:2")

    change = await plan(cluster)
    await carry(cluster, change)

    assert isinstance(await poll(cluster, change), Succeeded)


async def test_of_a_stateful_set_the_failing_pods_are_named_that_must_be_deleted_for_it() -> None:
    cluster = shop(workload("StatefulSet", "ledger", "ledger:1"))
    with_image(cluster, "ledger:2", LEDGER)
    change = await plan(cluster, LEDGER)
    crash(cluster, pods(cluster, "ledger")[1])
    await carry(cluster, change)
    crash(cluster, pods(cluster, "ledger")[1])  # the real controller does not replace it
    cluster.change(pod_ref(pods(cluster, "ledger")[1]), lambda obj: obj["metadata"]["labels"].update(OLD))
    cluster.change(LEDGER, lambda obj: obj["status"].update(availableReplicas=1, updatedReplicas=0))

    outcome = await poll(cluster, change)

    assert isinstance(outcome, Succeeded)
    assert "must be deleted" in outcome.message
    assert outcome.message.endswith("ledger-1")


async def test_a_rollback_that_somebody_reverts_has_failed() -> None:
    cluster = shop()
    with_image(cluster, "shop:2")
    change = await plan(cluster)
    await carry(cluster, change)
    with_image(cluster, "shop:2")

    outcome = await poll(cluster, change)

    assert isinstance(outcome, Failed)
    assert "put back" in outcome.message


async def test_a_rollback_is_under_way_until_the_controller_has_seen_it() -> None:
    cluster = shop()
    with_image(cluster, "shop:2")
    change = await plan(cluster)
    cluster.controllers.stopped = True
    await carry(cluster, change)

    assert isinstance(await poll(cluster, change), Running)


@pytest.mark.parametrize("to", ["latest", 0, -1])
def test_other_words_for_a_revision_are_refused(to: object) -> None:
    with pytest.raises(ValidationError):
        RollbackParameters.model_validate({"to": to})
