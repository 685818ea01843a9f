"""
Each playbook as it is shipped, on a real API server, with its waits a tenth as long.

Where a playbook lives on logs, probes or metrics, its pods are real ones. Only what a user would write is changed:
the namespace, the mode Automatic, and documented parameters.
"""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.installed import OURS, Object, Shop, attempts, deployment, ending, eventually, side_by_side
from localcluster import query
from localcluster.operator import NAMESPACE, REPOSITORY
from remediator.testing.scenario import with_durations

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

FACTOR = 0.1
WORKLOAD = "local.remediator.dev/workload:1"


def manifest(playbook: str, file: str) -> Object:
    text = (REPOSITORY / "playbooks" / playbook / file).read_text(encoding="utf-8")
    found: Object = yaml.safe_load(text)
    return found


def shortened(playbook: str, file: str) -> Object:
    made: Any = with_durations(manifest(playbook, file), FACTOR)
    return dict(made)


def install(shop: Shop, playbook: str, **parameters: Any) -> None:
    """The playbook is in force in the namespace, and may act."""
    book = shortened(playbook, "runbook.yaml")
    policy = shortened(playbook, "policy.yaml")
    policy["metadata"]["namespace"] = shop.name
    policy["spec"]["mode"] = shop.mode
    policy["spec"]["parameters"] = {**policy["spec"].get("parameters", {}), **parameters}
    shop.apply(book, policy)
    name = policy["metadata"]["name"]
    eventually(lambda: shop.ready(name)["status"] == "True", f"{name} is not ready: {shop.ready(name)}")


def real(name: str, env: dict[str, str], **pod: Any) -> Object:
    """A workload of one real pod."""
    made = deployment(name)
    made["spec"]["replicas"] = 1
    template = made["spec"]["template"]
    template["metadata"]["annotations"] = {"prometheus.io/port": "8080"} if "PORT" in env else {}
    template["spec"] |= {
        "nodeSelector": {"local.remediator.dev/tier": "real"},
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": name,
                "image": WORKLOAD,
                "env": [{"name": key, "value": value} for key, value in env.items()],
                **pod,
            }
        ],
    }
    return made


def pods(shop: Shop, app: str) -> list[Object]:
    found = shop.items("/api/v1", "pods?labelSelector=app%3D" + app)
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def containers(shop: Shop, app: str) -> list[Object]:
    return [one for pod in pods(shop, app) for one in pod["status"].get("containerStatuses", [])]


def told(shop: Shop, receiver: str) -> list[str]:
    """The subjects of the messages about this namespace."""
    return [str(message["title"]) for message in shop.installation.inbox.to(receiver, shop.name)]


@side_by_side
@pytest.mark.real_node
def test_a_release_that_panics_is_rolled_back(shop: Shop) -> None:
    shop.open("restart", "deletePod", "rollback")
    shop.apply(real("checkout", {"RELEASE": "1"}), deployment("redis"))
    shop.wait_for_rollout()
    install(shop, "pod-crash-loop")
    shop.cluster.run_kubectl("set", "env", "-n", shop.name, "deployment/checkout", "RELEASE=2", "FAIL=panic")

    def crashes() -> bool:
        return any(
            one["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff" for one in containers(shop, "checkout")
        )

    eventually(crashes, "the release does not crash")
    shop.fire("PodCrashLoopBackOff", severity="critical", deployment="checkout", container="checkout")
    eventually(lambda: shop.env() == {"RELEASE": "1"}, "it is not rolled back")
    shop.wait_for_rollout()
    shop.resolve("PodCrashLoopBackOff", severity="critical", deployment="checkout", container="checkout")
    run = shop.ended("pod-crash-loop")

    assert ending(run) == ("Remediated", "Verified")
    assert run["status"]["remedy"] == "previousRelease"
    assert len(shop.changes()) == 1
    words = json.dumps(attempts(run)[0]["diagnosis"])
    assert "panic" in words


@side_by_side
@pytest.mark.real_node
def test_a_queue_that_is_nearly_full_is_made_larger(shop: Shop) -> None:
    metrics = (
        "tunnel_queue_size = 95; tunnel_queue_capacity = MAX_QUEUE_SIZE:100; "
        "tunnel_requests_a_second = 50; tunnel_successes_a_second = 49.5"
    )
    shop.open("setEnv")
    install(
        shop,
        "tunnel-queue-nearly-full",
        requestQuery="sum(tunnel_requests_a_second)",
        successQuery="sum(tunnel_successes_a_second)",
    )

    shop.apply(real("streaming-proxy", {"PORT": "8080", "METRICS": metrics}))
    run = shop.ended("tunnel-queue-nearly-full")

    assert ending(run) == ("Remediated", "Verified")
    assert run["status"]["remedy"] == "largerQueue"
    assert shop.env("streaming-proxy")["MAX_QUEUE_SIZE"] == "500"
    assert len(shop.changes()) == 1
    firing = f'ALERTS{{alertname="TunnelQueueNearlyFull", namespace="{shop.name}"}}'
    assert not query(shop.installation.prometheus, firing)
    assert "MAX_QUEUE_SIZE of streaming-proxy raised to 500" in told(shop, "on-call")


@side_by_side
@pytest.mark.real_node
def test_three_timeouts_are_raised_by_one_patch(shop: Shop) -> None:
    before = {"TIMEOUT_THRESHOLD_MS": "5000", "CIRCUIT_BREAKER_TIMEOUT": "30000", "MAX_RETRIES": "3"}
    shop.cluster.write_simulated_log(shop.name, current="started\nrequest 7 timed out after 5000 ms\n")
    orders = deployment("orders", metadata={"annotations": {"local.remediator.dev/logs": shop.name}})
    container = orders["spec"]["template"]["spec"]["containers"][0]
    container |= {
        "name": "orders",
        "env": [{"name": name, "value": value} for name, value in before.items()],
        "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}},
    }
    shop.open("scale", "setEnv")
    shop.apply(orders)
    shop.wait_for_rollout("orders")
    install(shop, "service-timeout", latencyQuery="vector(1.7)")
    eventually(lambda: len(shop.items("/apis/metrics.k8s.io/v1beta1", "pods")) == 2, "nobody knows what the pods use")
    generation = shop.deployment("orders")["metadata"]["generation"]

    shop.fire("ServiceTimeout", service="orders", deployment="orders")
    eventually(lambda: shop.env("orders") != before, "nothing was changed")
    shop.cluster.write_simulated_log(shop.name, current="started\nrequest 8 answered\n")
    shop.resolve("ServiceTimeout", service="orders", deployment="orders")
    run = shop.ended("orders-timeout")

    assert ending(run) == ("Remediated", "Verified")
    assert run["status"]["remedy"] == "moreTime"
    after = {"TIMEOUT_THRESHOLD_MS": "10000", "CIRCUIT_BREAKER_TIMEOUT": "60000", "MAX_RETRIES": "5"}
    assert shop.env("orders") == after
    assert shop.deployment("orders")["metadata"]["generation"] == generation + 1
    assert [change["verb"] for change in shop.changes()] == ["patch"]
    assert "orders was given more time" in told(shop, "on-call")


@side_by_side
def test_a_person_rolls_back_to_the_release_that_he_names(shop: Shop) -> None:
    shop.open("rollback")
    shop.apply(deployment("api"))
    shop.wait_for_rollout("api")
    for release in ("2", "3"):
        shop.cluster.run_kubectl("set", "env", "-n", shop.name, "deployment/api", f"RELEASE={release}")
        shop.wait_for_rollout("api")
    shop.apply(shortened("rollback-on-demand", "runbook.yaml"))

    asked = manifest("rollback-on-demand", "run.yaml")
    asked["metadata"]["namespace"] = asked["spec"]["target"]["namespace"] = shop.name
    asked["spec"] |= {"mode": shop.mode, "requestedBy": "admin", "parameters": {"revision": 2}}
    made = json.loads(shop.cluster.run_kubectl("create", "-f", "-", "-o", "json", input=json.dumps(asked)))
    path = f"{OURS}/namespaces/{shop.name}/runbookruns/{made['metadata']['name']}"
    run = eventually(lambda: r if (r := shop.api.get(path)).get("status", {}).get("outcome") else None, "has not ended")

    assert run is not None
    assert ending(run) == ("Remediated", "Verified")
    assert run["status"]["remedy"] == "namedRelease"
    assert shop.env("api")["RELEASE"] == "2"
    assert len(shop.changes()) == 1
    assert "api was rolled back" in told(shop, "default")


@side_by_side
@pytest.mark.real_node
def test_a_gateway_that_hangs_is_restarted(shop: Shop) -> None:
    probe = {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1}
    shop.open("restart")
    shop.apply(real("redis-gateway", {"PORT": "8080"}, readinessProbe=probe))
    shop.wait_for_rollout("redis-gateway")
    up = f'up{{job="redis-gateway", namespace="{shop.name}"}}'
    eventually(lambda: query(shop.installation.prometheus, f"{up} == 1"), "nobody scrapes it")
    install(shop, "redis-gateway-down")

    (pod,) = pods(shop, "redis-gateway")
    hang(pod["metadata"]["name"])
    run = shop.ended("redis-gateway-down")

    assert ending(run) == ("Remediated", "Verified")
    assert run["status"]["remedy"] == "freshGateway"
    (fresh,) = pods(shop, "redis-gateway")
    assert fresh["metadata"]["uid"] != pod["metadata"]["uid"]
    assert len(shop.changes()) == 1
    eventually(lambda: query(shop.installation.prometheus, f"{up} == 1"), "it is not scraped again")


def hang(pod: str) -> None:
    """The program of a real pod does not answer any more, and does not end either."""
    for process in of_workloads(lambda environment: f"HOSTNAME={pod}" in environment):
        os.kill(process, signal.SIGSTOP)


def of_workloads(wanted: Callable[[list[str]], bool]) -> list[int]:
    """The processes of this machine that are a real node's workload and have such an environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            program = (folder / "cmdline").read_bytes().split(b"\0")[0]
            environment = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended while it was looked at
        if program == b"/workload" and wanted(environment):
            found.append(int(folder.name))
    assert found, "there is no such process"
    return found


def test_every_playbook_has_a_test_here() -> None:
    tried = {
        "pod-crash-loop",
        "tunnel-queue-nearly-full",
        "service-timeout",
        "rollback-on-demand",
        "redis-gateway-down",
    }

    assert {file.parent.name for file in (REPOSITORY / "playbooks").glob("*/runbook.yaml")} == tried
    assert {manifest(name, "runbook.yaml")["metadata"]["namespace"] for name in tried} == {NAMESPACE}
