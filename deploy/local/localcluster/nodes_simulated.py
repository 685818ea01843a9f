"""
Nodes without a kubelet: kwok writes what a kubelet would report.

They cost nothing, so thousands of pods fit on this machine. Their pods run no process: what they log is a
file, what they use is an annotation, and how they fail is said in `stages`.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from localcluster.api import Api, ApiError
from localcluster.certs import Authority
from localcluster.errors import StartFailed
from localcluster.network import Network
from localcluster.processes import Process, free_ports, moments, must_run, start
from localcluster.stages import all_stages
from localcluster.state import Facts, State

START_SECONDS = 30
SETTLE_SECONDS = 1
KINDS = "apis/kwok.x-k8s.io/v1alpha1"
PODS = "/api/v1/namespaces/default/pods"
FIRST_POD = "first-of-the-simulated"
TTL = "node.alpha.kubernetes.io/ttl"
MARK = "kwok.x-k8s.io/node"
METRICS = "metrics.k8s.io/resource-metrics-path"

USAGE = {
    "apiVersion": "kwok.x-k8s.io/v1alpha1",
    "kind": "ClusterResourceUsage",
    "metadata": {"name": "said-by-annotation"},
    "spec": {
        "usages": [
            {
                "usage": {
                    resource: {
                        "expression": f'"{note}" in pod.metadata.annotations'
                        f' ? Quantity(pod.metadata.annotations["{note}"]) : Quantity("{otherwise}")'
                    }
                    for resource, note, otherwise in (
                        ("cpu", "local.remediator.dev/cpu", "10m"),
                        ("memory", "local.remediator.dev/memory", "32Mi"),
                    )
                }
            }
        ]
    },
}


def start_kwok(
    state: State, facts: Facts, program: Path, network: Network | None, authority: Authority, admin: Path
) -> None:
    """
    Simulated nodes come up as soon as they are created.

    Where there is no bridge, kwok listens on loopback: `kubectl logs` works, `kubectl top` does not.
    """
    api = Api(admin)
    kustomize = program.parent / "kustomize"
    for file in sorted((kustomize / "crd" / "bases").glob("*_*logs.yaml")):
        crd = yaml.safe_load(file.read_text())
        api.apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}", crd)
    wait_until_served(api, "clusterlogs", "logs")

    address = network.address if network else "127.0.0.1"
    facts.ports["kwok"] = free_ports(1, address)[0]
    state.write(facts)
    pair = authority.pair("kwok", user="kwok", hosts=[address])

    logs = logs_folder(state)
    logs.mkdir(parents=True, exist_ok=True)
    write_log(state, "default", current="started\nready\n", previous=None)
    api.apply(
        f"/{KINDS}/clusterlogs/default",
        {
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "ClusterLogs",
            "metadata": {"name": "default"},
            "spec": {
                "logs": [
                    {
                        "logsFile": str(logs / "default.log"),
                        "previousLogsFile": str(logs / "default.previous.log"),
                        "follow": False,
                    }
                ]
            },
        },
    )
    config = state.folder / "kwok.yaml"
    metric = kustomize / "metrics" / "resource" / "metrics-resource.yaml"
    objects = [*all_stages(str(logs)), USAGE]
    config.write_text(yaml.safe_dump_all(objects) + "---\n" + metric.read_text())

    command: list[str | Path] = [
        program,
        f"--kubeconfig={admin}",
        f"--config={config}",
        f"--manage-nodes-with-annotation-selector={MARK}=simulated",
        "--enable-crds=Logs,ClusterLogs",
        "--node-lease-duration-seconds=40",
        f"--node-ip={address}",
        f"--node-port={facts.ports['kwok']}",
        f"--server-address={address}:{facts.ports['kwok']}",
        f"--tls-cert-file={pair.certificate}",
        f"--tls-private-key-file={pair.key}",
        f"--cidr={network.simulated_pods if network else '10.90.0.0/21'}",
    ]
    # kwok prepares its stages when it sees the first object, and prepares them wrongly, or dies, when it sees
    # two at once. So the first node and the first pod each come alone, after the controllers have written to
    # the node what they write to every one; now and then one of them does not, and then nothing is lost.
    first = "simulated-1"
    api.apply(f"/api/v1/nodes/{first}", node(first))
    for _ in moments(SETTLE_SECONDS):
        if controllers_have_seen(api.get(f"/api/v1/nodes/{first}")):
            break
    process = start(state.processes, "kwok", command, log=state.logs / "kwok.log")
    wait(lambda: is_ready(api.get(f"/api/v1/nodes/{first}")), f"node {first} is not Ready", process)
    api.call("POST", PODS, first_pod(first))
    pod = f"{PODS}/{FIRST_POD}"
    wait(lambda: api.get(pod)["status"]["phase"] == "Running", "the first simulated pod does not run", process)
    api.call("DELETE", pod)

    names = [f"simulated-{number}" for number in range(2, facts.simulated + 1)]
    for name in names:
        api.apply(f"/api/v1/nodes/{name}", node(name))
    wait(
        lambda: all(is_ready(api.get(f"/api/v1/nodes/{name}")) for name in names),
        "the simulated nodes are not all Ready",
        process,
    )
    wait(lambda: not [one for one in api.items(PODS) if one["metadata"]["name"] == FIRST_POD], f"{pod} stays", process)


def wait(holds: Callable[[], bool], otherwise: str, process: Process | None = None) -> None:
    """
    It holds.

    Raises:
        StartFailed: when it does not in time, or when the process that is to bring it about has ended.
    """
    for _ in moments(START_SECONDS):
        if process is not None:
            must_run(process)
        if holds():
            return
    raise StartFailed(f"{otherwise} after {START_SECONDS}s")


def controllers_have_seen(found: Mapping[str, Any]) -> bool:
    """True when the controllers have written to a new node what they write to every one."""
    return bool(found["spec"].get("taints")) and TTL in found["metadata"].get("annotations", {})


def first_pod(name: str) -> dict[str, Any]:
    """A pod that is bound to the node from the start, so that nobody else writes to it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": FIRST_POD, "namespace": "default"},
        "spec": {
            "nodeName": name,
            "containers": [{"name": "main", "image": "none"}],
            "tolerations": [{"operator": "Exists"}],
        },
    }


def node(name: str) -> dict[str, Any]:
    """A node that kwok takes care of. It carries no taint: every pod without a selector may come to it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {MARK: "simulated", METRICS: f"/metrics/nodes/{name}/metrics/resource"},
            "labels": {
                "local.remediator.dev/tier": "simulated",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            },
        },
    }


def logs_folder(state: State) -> Path:
    """Where the logs of simulated pods are."""
    return state.folder / "simulated-logs"


def write_log(state: State, name: str, *, current: str, previous: str | None) -> None:
    """
    Pods with the annotation `local.remediator.dev/logs: NAME` have this log, line by line.

    The lines are dated one second apart, the last one at the time of the call. Without `previous`,
    `kubectl logs --previous` says that there is none.
    """
    for file, text in ((f"{name}.log", current), (f"{name}.previous.log", previous)):
        path = logs_folder(state) / file
        if text is None:
            path.unlink(missing_ok=True)
            continue
        lines = text.splitlines()
        now = datetime.now(UTC)
        dated = [
            f"{now - timedelta(seconds=len(lines) - 1 - place):%Y-%m-%dT%H:%M:%S.%fZ} stdout F {line}\n"
            for place, line in enumerate(lines)
        ]
        path.write_text("".join(dated))


def wait_until_served(api: Api, *plurals: str) -> None:
    """The API server answers calls for these kinds."""
    for _ in moments(START_SECONDS):
        try:
            served = {one["name"] for one in api.get(f"/{KINDS}")["resources"]}
        except ApiError:
            continue
        if set(plurals) <= served:
            return
    raise StartFailed(f"the API server does not serve {', '.join(plurals)} after {START_SECONDS}s")


def is_ready(found: Mapping[str, Any]) -> bool:
    """True when the node reports that it is Ready."""
    conditions = found.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
