"""The local cluster is what the other tests of this tier take it for."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any, TypeVar

import pytest
import yaml

from localcluster import (
    Cluster,
    CommandFailed,
    pods_job,
    query,
    start_alertmanager,
    start_exporter,
    start_prometheus,
)
from localcluster.controlplane import OPERATOR
from localcluster.monitoring import answer
from localcluster.processes import moments

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

T = TypeVar("T")
WORKLOAD = "local.remediator.dev/workload:1"


def eventually(look: Callable[[], T], seconds: float = 30) -> T:
    """The first true answer; the last one when none came in time."""
    found = look()
    for _ in moments(seconds, 0.2):
        if found:
            return found
        found = look()
    return found


def create_pod(
    cluster: Cluster,
    namespace: str,
    *,
    tier: str,
    annotations: dict[str, str] | None = None,
    env: dict[str, str] | None = None,
    memory: str | None = None,
    restart: str = "Always",
) -> None:
    """A pod `one` with a container `main` on a node of the tier."""
    container: dict[str, Any] = {
        "name": "main",
        "image": WORKLOAD,
        "env": [{"name": name, "value": value} for name, value in (env or {}).items()],
    }
    if memory:
        container["resources"] = {"limits": {"memory": memory}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one", "annotations": annotations or {}},
        "spec": {
            "nodeSelector": {"local.remediator.dev/tier": tier},
            "restartPolicy": restart,
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
        },
    }
    cluster.api.call("POST", f"/api/v1/namespaces/{namespace}/pods", pod)


def status_of(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """The pod's container's status; empty while there is none."""
    pod = cluster.api.get(f"/api/v1/namespaces/{namespace}/pods/one")
    found: list[dict[str, Any]] = pod.get("status", {}).get("containerStatuses", [])
    return found[0] if found else {}


def is_ready(cluster: Cluster, namespace: str) -> bool:
    return bool(status_of(cluster, namespace).get("ready"))


def waits_for(cluster: Cluster, namespace: str) -> str:
    return str(status_of(cluster, namespace).get("state", {}).get("waiting", {}).get("reason", ""))


@pytest.fixture(autouse=True)
def _a_cluster_built_here(cluster: Cluster) -> None:
    if cluster.facts.source != "go":
        pytest.skip(f"only a cluster built here promises this, and this one's source is {cluster.facts.source}")


def test_the_api_server_is_the_pinned_kubernetes(cluster: Cluster) -> None:
    assert cluster.api.get("/version")["gitVersion"] == "v1.36.1"


def test_a_user_may_do_what_a_role_allows_and_nothing_else(cluster: Cluster, namespace: str) -> None:
    reader = cluster.kubeconfig_for("reader@example.com", ["readers"])
    binding = ["create", "rolebinding", "readers", "--clusterrole=view", "--group=readers"]
    cluster.run_kubectl("--namespace", namespace, *binding)
    reads = ["--namespace", namespace, "get", "pods"]

    allowed = eventually(lambda: can(cluster, reader, *reads), 5)

    assert allowed
    assert not can(cluster, reader, "--namespace", namespace, "create", "configmap", "mine")
    assert not can(cluster, cluster.kubeconfig_for("stranger"), *reads)


def can(cluster: Cluster, kubeconfig: Any, *call: str) -> bool:
    """True when the call succeeds; false when RBAC forbids it."""
    try:
        cluster.run_kubectl(*call, kubeconfig=kubeconfig)
    except CommandFailed as refusal:
        assert "forbidden" in refusal.stderr
        return False
    return True


def test_a_service_accounts_token_is_the_service_account(cluster: Cluster, namespace: str) -> None:
    token = cluster.service_account_token(namespace, "default")

    who = cluster.run_kubectl(
        "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}",
        kubeconfig=cluster.kubeconfig_for_token(namespace, token),
    )  # fmt: skip

    assert who == f"system:serviceaccount:{namespace}:default"


def test_the_audit_log_says_who_impersonated_whom(cluster: Cluster, namespace: str) -> None:
    cluster.run_kubectl(
        "--as", "system:serviceaccount:ops:runner", "--as-uid", "42", "--as-group", "system:masters",
        "--as-user-extra", "remediator.dev/run=crashlooping-1",
        "--namespace", namespace, "create", "configmap", "marker",
    )  # fmt: skip

    entries = [json.loads(line) for line in cluster.audit_log.read_text().splitlines()]
    mine = [entry for entry in entries if entry.get("objectRef", {}).get("namespace") == namespace]
    created = next(entry for entry in mine if entry["objectRef"].get("name") == "marker")

    assert created["user"]["username"] == "admin"
    assert created["impersonatedUser"]["username"] == "system:serviceaccount:ops:runner"
    assert created["impersonatedUser"]["extra"] == {"remediator.dev/run": ["crashlooping-1"]}
    assert created["responseStatus"]["code"] == 201
    others = [entry for entry in entries if entry["user"]["username"] != OPERATOR]
    assert not [entry for entry in others if entry["verb"] in ("get", "list", "watch")]


def test_an_api_server_that_was_stopped_comes_back_with_what_was_written(cluster: Cluster, namespace: str) -> None:
    cluster.stop_apiserver()
    try:
        silent = not cluster.api.is_ready()
    finally:
        cluster.start_apiserver()

    assert silent
    assert cluster.api.get(f"/api/v1/namespaces/{namespace}")["metadata"]["name"] == namespace


def test_a_simulated_pod_becomes_ready(cluster: Cluster, namespace: str) -> None:
    create_pod(cluster, namespace, tier="simulated")

    assert eventually(lambda: is_ready(cluster, namespace))


@pytest.mark.parametrize(
    ("behave", "waiting", "ended"),
    [
        ("crashloop", "CrashLoopBackOff", ("Error", 2)),
        ("oom", "CrashLoopBackOff", ("OOMKilled", 137)),
        ("imagepull", "ImagePullBackOff", None),
    ],
)
def test_a_simulated_pod_fails_as_its_annotation_says(
    cluster: Cluster, namespace: str, behave: str, waiting: str, ended: tuple[str, int] | None
) -> None:
    create_pod(cluster, namespace, tier="simulated", annotations={"local.remediator.dev/behave": behave})

    assert eventually(lambda: waits_for(cluster, namespace) == waiting)
    last = status_of(cluster, namespace).get("lastState", {}).get("terminated")
    assert (last and (last["reason"], last["exitCode"])) == ended


def test_a_simulated_pod_has_the_logs_that_it_names(cluster: Cluster, namespace: str) -> None:
    cluster.write_simulated_log("broken", current="trying again", previous="panic: no such table\nexit 2")
    create_pod(
        cluster,
        namespace,
        tier="simulated",
        annotations={"local.remediator.dev/behave": "crashloop", "local.remediator.dev/logs": "broken"},
    )
    logs = ["--namespace", namespace, "logs", "one"]

    assert eventually(lambda: waits_for(cluster, namespace))
    assert eventually(lambda: "trying again" in cluster.run_kubectl(*logs))
    assert cluster.run_kubectl(*logs, "--previous").splitlines() == ["panic: no such table", "exit 2"]


@pytest.mark.real_node
def test_a_real_pod_logs_and_gives_the_exit_code_of_a_command(cluster: Cluster, namespace: str) -> None:
    create_pod(cluster, namespace, tier="real")
    assert eventually(lambda: is_ready(cluster, namespace))

    with pytest.raises(CommandFailed) as ended:
        cluster.run_kubectl("--namespace", namespace, "exec", "one", "--", "/workload", "exit", "3")

    assert ended.value.code == 3
    assert "started version=1" in cluster.run_kubectl("--namespace", namespace, "logs", "one")


@pytest.mark.real_node
def test_a_real_container_that_crashed_shows_its_last_words(cluster: Cluster, namespace: str) -> None:
    create_pod(cluster, namespace, tier="real", env={"FAIL": "panic"})

    # Earlier, the kubelet may answer with a sentence of its own in place of the log.
    assert eventually(lambda: waits_for(cluster, namespace) == "CrashLoopBackOff", 60)
    assert "panic: runtime error: invalid memory address" in cluster.run_kubectl(
        "--namespace", namespace, "logs", "one", "--previous"
    )


@pytest.mark.real_node
def test_a_real_container_above_its_limit_is_killed(cluster: Cluster, namespace: str) -> None:
    create_pod(cluster, namespace, tier="real", env={"FAIL": "oom"}, memory="48Mi", restart="Never")

    ended = eventually(lambda: status_of(cluster, namespace).get("state", {}).get("terminated"), 60)

    assert ended is not None
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


@pytest.mark.real_node
@pytest.mark.parametrize("tier", ["real", "simulated"])
def test_top_answers_for_pods_of_both_kinds_of_node(cluster: Cluster, namespace: str, tier: str) -> None:
    create_pod(cluster, namespace, tier=tier, annotations={"local.remediator.dev/memory": "77Mi"})
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"

    assert eventually(lambda: cluster.api.items(path), 90)

    line = cluster.run_kubectl("--namespace", namespace, "top", "pods", "--no-headers")
    assert line.split()[0] == "one"
    assert tier == "real" or line.split()[2] == "77Mi"


@pytest.fixture
def calls() -> Iterator[tuple[str, Queue[Any]]]:
    """A receiver of webhooks: its URL, and the bodies that it was sent."""
    received: Queue[Any] = Queue()

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Nothing is printed between the tests' dots."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", received
        server.shutdown()
        thread.join()


def test_a_rule_on_the_exporters_metrics_reaches_a_webhook(
    cluster: Cluster, namespace: str, calls: tuple[str, Queue[Any]]
) -> None:
    url, received = calls
    deployment = ["create", "deployment", "web", f"--image={WORKLOAD}", "--replicas=0"]
    cluster.run_kubectl("--namespace", namespace, *deployment)
    selector = f'{{namespace="{namespace}",deployment="web"}}'
    rule = {"alert": "ScaledToZero", "expr": f"kube_deployment_spec_replicas{selector} == 0"}
    routing = {
        "route": {"receiver": "test", "group_wait": "0s", "group_interval": "1s"},
        "receivers": [{"name": "test", "webhook_configs": [{"url": url}]}],
    }

    exporter = start_exporter(cluster)
    alertmanager = start_alertmanager(cluster, yaml.safe_dump(routing))
    prometheus = start_prometheus(
        cluster,
        yaml.safe_dump({"groups": [{"name": "test", "rules": [rule]}]}),
        [{"job_name": "state", "static_configs": [{"targets": [exporter.url.removeprefix("http://")]}]}],
        alertmanager.url,
        "1s",
    )
    try:
        served = (answer(f"{exporter.url}/metrics") or "").splitlines()
        firing = received.get(timeout=60)
        cluster.run_kubectl("--namespace", namespace, "scale", "deployment", "web", "--replicas=1")
        resolved = received.get(timeout=60)
    finally:
        for server in (prometheus, alertmanager, exporter):
            server.stop()

    assert f'kube_deployment_spec_replicas{{namespace="{namespace}",deployment="web"}} 0' in served
    assert firing["status"] == "firing"
    assert firing["alerts"][0]["labels"]["alertname"] == "ScaledToZero"
    assert resolved["status"] == "resolved"


@pytest.mark.real_node
def test_a_workloads_metric_follows_its_environment(cluster: Cluster, namespace: str) -> None:
    container = {
        "name": "main",
        "image": WORKLOAD,
        "env": [
            {"name": "PORT", "value": "8080"},
            {"name": "METRICS", "value": "queue_fill_ratio = 460 / MAX_QUEUE_SIZE:500"},
        ],
    }
    template = {
        "metadata": {"labels": {"app": "tunnel"}, "annotations": {"prometheus.io/port": "8080"}},
        "spec": {
            "nodeSelector": {"local.remediator.dev/tier": "real"},
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
        },
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "tunnel"},
        "spec": {"selector": {"matchLabels": {"app": "tunnel"}}, "template": template},
    }
    cluster.api.call("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment)
    exporter = start_exporter(cluster)
    prometheus = start_prometheus(cluster, {"groups": []}, [pods_job(exporter)])
    full = f'max(queue_fill_ratio{{namespace="{namespace}"}}) > 0.9'
    roomy = f'max(queue_fill_ratio{{namespace="{namespace}"}}) < 0.5'

    try:
        before = eventually(lambda: query(prometheus, full), 60)
        cluster.run_kubectl("--namespace", namespace, "set", "env", "deployment/tunnel", "MAX_QUEUE_SIZE=1000")
        after = eventually(lambda: query(prometheus, roomy), 60)
    finally:
        prometheus.stop()
        exporter.stop()

    assert before[0]["value"][1] == "0.92"
    assert after[0]["value"][1] == "0.46"
