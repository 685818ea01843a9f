"""What the fake cluster offers to tests beside the port."""

import asyncio

import pytest

from contract.ports.cluster_promises import CONFIG_MAP, DEPLOYMENT, POD, Told, deployment, named, op, until
from remediator.domain.actions import Permission
from remediator.domain.errors import Conflict, Forbidden, NotFound, Rejected, Unavailable
from remediator.domain.json import Object, dig_int, dig_list, dig_object, dig_text
from remediator.domain.objects import ObjectRef
from remediator.ports import Identity
from remediator.testing import FakeCluster, Write

SHOP = ObjectRef.of("Deployment", "shop", "shop")
ONE = ObjectRef.of("ConfigMap", "shop", "one")
ACCOUNT = Identity("system:serviceaccount:shop:fixer", run="shop/run-1")


@pytest.fixture
def cluster() -> FakeCluster:
    found = FakeCluster()
    found.add_namespace("shop")
    return found


def stored(kind: str, api_version: str, obj: Object) -> Object:
    return {"apiVersion": api_version, "kind": kind, **obj}


def shop(**rest: int) -> Object:
    return stored("Deployment", "apps/v1", deployment("shop", "shop", **rest))


async def test_every_write_is_kept_with_who_made_it(cluster: FakeCluster) -> None:
    made = await cluster.acting_as(ACCOUNT).create(CONFIG_MAP, named("one", "shop", data={"a": "1"}))
    await cluster.patch(ONE, [op("replace", "/data/a", "2")], dry_run=True)
    with pytest.raises(Conflict):
        await cluster.patch(ONE, [op("test", "/data/a", "x")])
    await cluster.delete(ONE, uid=dig_text(made, "metadata", "uid"))

    assert [str(write) for write in cluster.writes] == [
        "CREATE ConfigMap shop/one",
        "PATCH ConfigMap shop/one (dry run)",
        "DELETE ConfigMap shop/one",
    ]
    assert cluster.writes[0].identity == ACCOUNT
    assert len(cluster.changes) == 2


async def test_what_a_test_arranges_leaves_no_trace(cluster: FakeCluster) -> None:
    cluster.add(shop())
    cluster.tick()
    cluster.get(SHOP)

    assert cluster.writes == []
    assert cluster.calls == []


async def test_an_error_can_come_before_a_write_or_instead_of_its_answer(cluster: FakeCluster) -> None:
    cluster.fail_next(1, Unavailable("lost"), verb="create", done=True)
    with pytest.raises(Unavailable):
        await cluster.create(CONFIG_MAP, named("one", "shop"))
    cluster.fail_next(1, Unavailable("lost"), verb="create")
    with pytest.raises(Unavailable):
        await cluster.create(CONFIG_MAP, named("two", "shop"))

    assert cluster.has(ONE)
    assert not cluster.has(ObjectRef.of("ConfigMap", "shop", "two"))


async def test_rights_can_be_taken_and_limited(cluster: FakeCluster) -> None:
    await cluster.create(CONFIG_MAP, named("one", "shop"))
    cluster.forbid(ACCOUNT.account, "get", "configmaps", "shop")
    as_account = cluster.acting_as(ACCOUNT)

    with pytest.raises(Forbidden, match="cannot get"):
        await as_account.read(ONE)
    assert not (await as_account.allowed(Permission("", "configmaps", ("get",)), "shop"))[0]
    cluster.permit_only("", [Permission("apps", "deployments", ("get",))])
    with pytest.raises(Forbidden):
        await cluster.read(ONE)


async def test_admission_sees_the_write_and_what_was_there(cluster: FakeCluster) -> None:
    await cluster.create(CONFIG_MAP, named("one", "shop", data={"a": "1"}))

    def nothing_but_a(write: Write, before: Object | None) -> str:
        return "" if before is None or set(dig_object(write.obj, "data")) <= {"a"} else "only a may be there"

    cluster.refuse_when(nothing_but_a)

    assert await cluster.patch(ONE, [op("replace", "/data/a", "2")])
    with pytest.raises(Rejected, match="only a"):
        await cluster.patch(ONE, [op("add", "/data/b", "2")])


async def test_logs_are_what_the_test_put_there(cluster: FakeCluster) -> None:
    cluster.add(shop(replicas=1))
    cluster.tick()
    pod = ObjectRef.to(cluster.objects("Pod", "shop")[0], POD)
    cluster.put_log(pod, "main", "".join(f"line {n}\n" for n in range(10)))

    assert (await cluster.logs(pod, container="main", tail_lines=2)).text == "line 8\nline 9\n"
    cut = await cluster.logs(pod, container="main", limit_bytes=10)
    assert (cut.text, cut.truncated) == ("line 9\n", True)
    with pytest.raises(NotFound, match="previous"):
        await cluster.logs(pod, container="main", previous=True)
    cluster.lose_log(pod, "main")
    assert not (await cluster.logs(pod, container="main")).available


def test_a_template_that_never_gets_ready_holds_the_rollout_up(cluster: FakeCluster) -> None:
    cluster.add(shop(replicas=4))
    cluster.tick()
    cluster.controllers.never_ready = lambda template: (
        dig_text(template, "spec", "containers", 0, "image") == "example.com/shop:2"
    )

    def broken(obj: Object) -> None:
        dig_list(obj, "spec", "template", "spec", "containers")[0]["image"] = "example.com/shop:2"

    cluster.change(SHOP, broken)
    cluster.tick()

    status = dig_object(cluster.get(SHOP), "status")
    assert dig_int(status, "availableReplicas") == 3
    assert dig_int(status, "updatedReplicas") == 2
    assert dig_int(status, "replicas") == 5
    assert dig_int(status, "observedGeneration") == dig_int(cluster.get(SHOP), "metadata", "generation")


def test_between_a_write_and_the_controllers_the_status_is_old(cluster: FakeCluster) -> None:
    cluster.add(shop())
    cluster.tick()
    cluster.change(SHOP, lambda obj: dig_object(obj, "spec").update(replicas=5))

    before = cluster.get(SHOP)
    assert dig_int(before, "status", "observedGeneration") < dig_int(before, "metadata", "generation")
    cluster.tick()
    assert dig_int(cluster.get(SHOP), "status", "availableReplicas") == 5


def test_ticking_again_changes_nothing(cluster: FakeCluster) -> None:
    cluster.add(shop())
    cluster.tick()
    before = cluster.store.version

    cluster.tick()

    assert cluster.store.version == before


def test_a_pod_keeps_the_status_that_a_test_gave_it(cluster: FakeCluster) -> None:
    cluster.add(shop(replicas=1))
    cluster.tick()
    ref = ObjectRef.to(cluster.objects("Pod", "shop")[0], POD)

    cluster.change(ref, lambda pod: pod.update(status={"phase": "Failed", "conditions": []}))
    cluster.tick()

    assert dig_text(cluster.get(ref), "status", "phase") == "Failed"
    assert dig_int(cluster.get(SHOP), "status", "readyReplicas") == 0


def test_a_deleted_deployment_takes_its_pods_along(cluster: FakeCluster) -> None:
    cluster.add(shop())
    cluster.tick()

    cluster.store.delete(SHOP, uid="", resource_version="", dry_run=False)

    assert cluster.objects("ReplicaSet", "shop") == []
    assert cluster.objects("Pod", "shop") == []


async def test_an_expired_watch_tells_what_vanished(cluster: FakeCluster) -> None:
    for name in ("a", "b"):
        await cluster.create(CONFIG_MAP, named(name, "shop"))
    told = Told()
    watching = asyncio.create_task(cluster.watch(CONFIG_MAP, "shop", told))
    await until(lambda: "SYNCED" in told.lines)

    cluster.store.remove(CONFIG_MAP, "shop", "a")
    cluster.store.insert(CONFIG_MAP, named("c", "shop"), keep_status=False)
    cluster.expire_watches()
    await until(lambda: told.lines.count("SYNCED") == 2)
    watching.cancel()

    assert told.lines == ["ADDED a", "ADDED b", "SYNCED", "DELETED a", "ADDED c", "SYNCED"]


def test_objects_keep_the_uids_that_a_test_gives_them(cluster: FakeCluster) -> None:
    cluster.add({**shop(), "metadata": {"name": "shop", "namespace": "new-place", "uid": "mine"}})

    assert dig_text(cluster.get(ObjectRef.of("Deployment", "new-place", "shop")), "metadata", "uid") == "mine"
    assert DEPLOYMENT.kind == "Deployment"
