import pytest
from pydantic import ValidationError

from remediator.actions import registry
from remediator.actions.base import observe
from remediator.actions.diagnostics.get import Get, GetParameters
from remediator.actions.objectviews import ObjectsOutput, WorkloadsOutput
from remediator.actions.podviews import PodsOutput
from remediator.domain.errors import Unavailable
from remediator.domain.objects import BUILT_IN, ObjectRef, Target
from unit.actions.world import CHECKOUT, NODE, crash, names, pods, reader, shop, target, workload

OWNED = GetParameters(kind="Pod", related="owned")


async def test_without_parameters_the_target_itself_is_read() -> None:
    cluster = shop()

    seen = await observe(Get(), GetParameters(), reader(cluster))

    assert isinstance(seen.output, WorkloadsOutput)
    (item,) = seen.output.items
    assert (item.name, item.replicas, item.ready_replicas, item.rolled_out) == ("checkout", 2, 2, True)
    assert item.env == {"app": {"QUEUE": "200"}}
    assert seen.output.observed_at == "2026-06-01T12:00:00Z"


async def test_variables_that_are_secret_or_come_from_elsewhere_are_left_out() -> None:
    cluster = shop(env={"QUEUE": "200", "DB_PASSWORD": "hunter22", "DSN": "postgres://u:verysecret@db/x"})
    cluster.change(
        CHECKOUT,
        lambda obj: obj["spec"]["template"]["spec"]["containers"][0]["env"].append(
            {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}
        ),
    )

    seen = await observe(Get(), GetParameters(), reader(cluster))

    assert seen.output.as_json()["items"][0]["env"] == {"app": {"QUEUE": "200"}}


async def test_pods_of_a_deployment_are_found_by_owner_and_not_by_label_alone() -> None:
    stranger = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stray", "namespace": "shop", "labels": {"app": "checkout"}},
        "spec": {"containers": [{"name": "app", "image": "x"}]},
    }
    cluster = shop(stranger)

    seen = await observe(Get(), OWNED, reader(cluster))

    assert isinstance(seen.output, PodsOutput)
    assert len(seen.output.items) == 2
    assert "stray" not in [pod.name for pod in seen.output.items]


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_pods_of_every_workload_are_found(kind: str) -> None:
    cluster = shop(workload(kind, "ledger"))

    seen = await observe(Get(), OWNED, reader(cluster, ObjectRef("apps", kind, "shop", "ledger")))

    assert [pod.owner_kind for pod in seen.output.items] == [kind] * len(pods(cluster, "ledger"))
    assert seen.output.items


async def test_a_crashing_container_shows_why_it_waits_and_how_it_died() -> None:
    cluster = shop()
    crash(cluster, pods(cluster)[0], reason="OOMKilled", code=137)

    seen = (await observe(Get(), OWNED, reader(cluster))).output.as_json()

    container = next(c for c in seen["containers"] if c["restarts"])
    assert container["waiting"]["reason"] == "CrashLoopBackOff"
    assert container["lastTerminated"] == {
        "reason": "OOMKilled",
        "exitCode": 137,
        "finishedAt": "2026-06-01T11:59:00Z",
    }
    assert [pod["crashLooping"] for pod in seen["items"]].count(True) == 1
    assert seen["maxRestarts"] == 3


async def test_what_is_not_there_is_absent_and_not_empty() -> None:
    cluster = shop()

    seen = (await observe(Get(), OWNED, reader(cluster))).output.as_json()

    assert "lastTerminated" not in seen["containers"][0]
    assert "waiting" not in seen["containers"][0]


async def test_a_target_that_is_gone_is_an_answer() -> None:
    cluster = shop()
    gone = target(cluster)
    cluster.store.remove(BUILT_IN["Deployment"], "shop", "checkout")

    seen = await observe(Get(), GetParameters(), reader(cluster, gone))

    assert seen.output.known
    assert seen.output.items == ()


async def test_another_object_of_the_same_name_is_not_the_target() -> None:
    cluster = shop()

    seen = await observe(Get(), GetParameters(), reader(cluster, Target(CHECKOUT, "another-uid")))

    assert seen.output.known
    assert seen.output.items == ()


async def test_no_permission_is_not_an_answer() -> None:
    cluster = shop()
    cluster.forbid("", "list", "pods")

    seen = await observe(Get(), OWNED, reader(cluster))

    assert not seen.output.known
    assert "forbidden" in seen.output.error
    assert set(seen.output.as_json()) == {"known", "truncated", "observedAt", "error"}


async def test_a_silent_api_server_is_not_an_answer() -> None:
    cluster = shop()
    cluster.fail_next(1, Unavailable("the API server did not answer within 5s"))

    seen = await observe(Get(), GetParameters(), reader(cluster))

    assert not seen.output.known
    assert "did not answer" in seen.output.error


async def test_a_cut_list_says_so() -> None:
    cluster = shop(replicas=5)

    seen = await observe(Get(), GetParameters(kind="Pod", related="owned", limit=2), reader(cluster))

    assert seen.output.truncated
    assert len(seen.output.items) == 2


async def test_pods_on_a_node_come_from_all_namespaces() -> None:
    elsewhere = workload("Deployment", "mail", metadata={"namespace": "post"})
    cluster = shop(elsewhere)

    seen = await observe(Get(), GetParameters(kind="Pod", related="onNode"), reader(cluster, NODE))

    assert {pod.namespace for pod in seen.output.items} == {"shop", "post"}


async def test_a_config_map_brings_its_text_without_what_looks_secret() -> None:
    data = {"queue.size": "5", "api_key": "q9w8e7r6t5z4u3i2"}
    cluster = shop(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}, "data": data}
    )

    seen = await observe(Get(), GetParameters(kind="ConfigMap", name="c"), reader(cluster))

    assert isinstance(seen.output, ObjectsOutput)
    assert seen.output.items[0].data == {"queue.size": "5"}


async def test_owned_objects_of_other_kinds_are_found_by_owner_reference() -> None:
    cluster = shop(workload("Deployment", "mail"))

    seen = await observe(Get(), GetParameters(kind="ReplicaSet", related="owned"), reader(cluster))

    assert len(seen.output.items) == 1
    assert seen.output.items[0].name in names(cluster.objects("ReplicaSet", "shop"))


@pytest.mark.parametrize("kind", ["Secret", "secrets", "Secret.v1"])
def test_secrets_are_refused_when_the_runbook_is_accepted(kind: str) -> None:
    with pytest.raises(ValidationError, match="Secrets are not read"):
        GetParameters(kind=kind)


def test_the_shape_of_the_output_follows_from_the_parameters() -> None:
    assert registry.output_model("get", {"kind": "Pod", "related": "owned"}) is PodsOutput
    assert registry.output_model("get", {}, ("Deployment", "DaemonSet")) is WorkloadsOutput
    assert registry.output_model("get", {}, ("Deployment", "Node")) is ObjectsOutput
    assert registry.output_model("get", {"kind": "certificate.cert-manager.io", "name": "x"}) is ObjectsOutput
    assert registry.output_model("get", {}) is ObjectsOutput
