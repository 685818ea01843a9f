from typing import Any

from remediator.actions.base import observe
from remediator.actions.diagnostics.top import Top, TopParameters
from remediator.domain.json import Object
from remediator.domain.objects import BUILT_IN
from remediator.testing import FakeCluster
from unit.actions.world import CHECKOUT, NODE, pods, reader, shop


def measure(cluster: FakeCluster, pod: Object, cpu: str, memory: str) -> None:
    usage: dict[str, Any] = {"cpu": cpu, "memory": memory}
    metadata = {key: pod["metadata"][key] for key in ("name", "namespace", "labels")}
    cluster.add(
        {
            "apiVersion": "metrics.k8s.io/v1beta1",
            "kind": "PodMetrics",
            "metadata": metadata,
            "containers": [{"name": "app", "usage": usage}],
        }
    )


def measure_node(cluster: FakeCluster, name: str, cpu: str) -> None:
    allocatable = {"cpu": "2", "memory": "4Gi"}
    cluster.add(
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"allocatable": allocatable}},
        {
            "apiVersion": "metrics.k8s.io/v1beta1",
            "kind": "NodeMetrics",
            "metadata": {"name": name},
            "usage": {"cpu": cpu, "memory": "1Gi"},
        },
    )


async def test_use_stands_beside_the_limits() -> None:
    cluster = shop(replicas=1)
    measure(cluster, pods(cluster)[0], "190m", "128Mi")

    seen = (await observe(Top(), TopParameters(), reader(cluster))).output

    (item,) = seen.items
    assert (item.cpu_millicores, item.memory_bytes) == (190, 128 << 20)
    assert (item.cpu, item.memory) == ("190m", "128Mi")
    assert (item.cpu_share, item.memory_share) == (0.95, 0.5)
    assert seen.containers[0].name == "app"


async def test_a_pod_without_a_measurement_is_missing_and_not_idle() -> None:
    cluster = shop(replicas=2)
    measure(cluster, pods(cluster)[0], "1m", "1Mi")

    seen = (await observe(Top(), TopParameters(), reader(cluster))).output

    assert len(seen.items) == 1
    assert seen.missing == 1
    assert seen.truncated


async def test_without_a_limit_there_is_no_share() -> None:
    cluster = shop(replicas=1)
    spec = {"containers": [{"name": "app", "image": "x"}]}
    cluster.change(CHECKOUT, lambda obj: obj["spec"]["template"].update(spec=spec))
    cluster.tick()
    measure(cluster, pods(cluster)[0], "5m", "1Mi")

    seen = (await observe(Top(), TopParameters(), reader(cluster))).output.as_json()

    assert "cpuShare" not in seen["items"][0]


async def test_all_nodes_can_be_asked_for() -> None:
    cluster = shop()
    cluster.store.remove(BUILT_IN["Node"], "", "node-1")
    measure_node(cluster, "node-1", "1900m")
    measure_node(cluster, "node-2", "500m")

    seen = (await observe(Top(), TopParameters.model_validate({"kind": "Node"}), reader(cluster))).output
    of_target = (await observe(Top(), TopParameters(), reader(cluster, NODE))).output

    assert [(item.name, item.cpu_share) for item in seen.items] == [("node-1", 0.95), ("node-2", 0.25)]
    assert [item.name for item in of_target.items] == ["node-1"]


async def test_no_permission_for_metrics_is_not_an_answer() -> None:
    cluster = shop()
    cluster.forbid("", "list", "pods.metrics.k8s.io")

    assert not (await observe(Top(), TopParameters(), reader(cluster))).output.known


async def test_a_cluster_without_metrics_server_is_not_an_answer() -> None:
    cluster = shop()
    cluster.store.kinds[:] = [kind for kind in cluster.store.kinds if kind.group != "metrics.k8s.io"]

    seen = (await observe(Top(), TopParameters(), reader(cluster))).output

    assert not seen.known
    assert "metrics.k8s.io" in seen.error
