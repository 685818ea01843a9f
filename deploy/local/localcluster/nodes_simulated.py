"""
Nodes without a kubelet: kwok writes what a kubelet would report.

They cost nothing, so thousands of pods fit on this machine. Their pods run no process: what they log is a
file, what they use is an annotation, and how they fail is said in `stages`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from localcluster.api import Api, ApiError
from localcluster.certs import Authority
from localcluster.errors import StartFailed
from localcluster.network import Network
from localcluster.processes import free_ports, moments, must_run, start
from localcluster.stages import all_stages
from localcluster.state import Facts, State

START_SECONDS = 30
KINDS = "apis/kwok.x-k8s.io/v1alpha1"
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

    process = start(
        state.processes,
        "kwok",
        [
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
        ],
        log=state.logs / "kwok.log",
    )
    for number in range(1, facts.simulated + 1):
        name = f"simulated-{number}"
        api.apply(f"/api/v1/nodes/{name}", node(name))
    for _ in moments(START_SECONDS):
        must_run(process)
        if all(is_ready(api.get(f"/api/v1/nodes/simulated-{n}")) for n in range(1, facts.simulated + 1)):
            return
    raise StartFailed(f"the simulated nodes are not Ready after {START_SECONDS}s; see {process.log}")


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
