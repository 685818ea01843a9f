from remediator.actions.base import observe
from remediator.actions.diagnostics.events import Events, EventsParameters
from remediator.domain.objects import BUILT_IN
from remediator.testing import FakeCluster
from unit.actions.world import CHECKOUT, event, pods, reader, shop, target, workload


def busy_shop() -> FakeCluster:
    cluster = shop(workload("Deployment", "mail"))
    replica_set = next(s for s in cluster.objects("ReplicaSet", "shop") if s["metadata"]["labels"]["app"] == "checkout")
    mine, theirs = pods(cluster)[0], pods(cluster, "mail")[0]
    cluster.add(
        event("a", cluster.get(CHECKOUT), "Deployment", "ScalingReplicaSet", "scaled", type="Normal"),
        event("b", replica_set, "ReplicaSet", "FailedCreate", 'pods is forbidden: exceeded quota: "small"'),
        event("c", mine, "Pod", "BackOff", "back-off", count=7, lastTimestamp="2026-06-01T11:59:00Z"),
        event("d", theirs, "Pod", "BackOff", "not ours"),
        event("e", mine, "Pod", "Unhealthy", "long ago", lastTimestamp="2026-06-01T09:00:00Z"),
    )
    return cluster


async def read(cluster: FakeCluster, **given: object):
    return await observe(Events(), EventsParameters.model_validate(given), reader(cluster))


async def test_events_of_the_target_its_pods_and_what_is_between_come_newest_first() -> None:
    seen = await read(busy_shop())

    assert [item.reason for item in seen.output.items] == ["BackOff", "ScalingReplicaSet", "FailedCreate", "Unhealthy"]
    assert seen.output.items[0].count == 7
    assert "back-off" in seen.evidence


async def test_they_can_be_narrowed_by_reason_and_age() -> None:
    cluster = busy_shop()

    assert [i.reason for i in (await read(cluster, reasons=["FailedCreate"])).output.items] == ["FailedCreate"]
    assert [i.reason for i in (await read(cluster, since="90s")).output.items] == ["BackOff"]


async def test_more_than_asked_for_says_that_it_was_cut() -> None:
    seen = await read(busy_shop(), limit=1)

    assert len(seen.output.items) == 1
    assert seen.output.truncated


async def test_in_a_noisy_namespace_the_objects_are_asked_one_by_one() -> None:
    cluster = busy_shop()
    other = pods(cluster, "mail")[0]
    cluster.add(*(event(f"a-{number}", other, "Pod", "BackOff", "noise") for number in range(1001)))

    seen = await read(cluster)

    assert [item.reason for item in seen.output.items] == ["BackOff", "ScalingReplicaSet", "FailedCreate", "Unhealthy"]
    assert not seen.output.truncated


async def test_a_target_that_is_gone_is_an_answer() -> None:
    cluster = shop()
    gone = target(cluster)
    cluster.store.remove(BUILT_IN["Deployment"], "shop", "checkout")

    seen = await observe(Events(), EventsParameters(), reader(cluster, gone))

    assert seen.output.known
    assert seen.output.items == ()


async def test_no_permission_is_not_an_answer() -> None:
    cluster = busy_shop()
    cluster.forbid("", "list", "events")

    assert not (await read(cluster)).output.known
