"""
The part of kube-state-metrics that alerts of this project ask for.

kube-state-metrics is not to be had here as a program; its metrics' names and labels are kept, so that rules
written for it fire. Everything is read when it is scraped: what Prometheus stores is what was true then.
"""

import argparse
import contextlib
import http.server
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from localcluster.api import Api
from localcluster.errors import LocalClusterError

Object = Mapping[str, Any]
Sample = tuple[str, Mapping[str, str], float]

TEXT = "text/plain; version=0.0.4"
PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
ANSWERS = ("true", "false", "unknown")
COUNTERS = ("kube_pod_container_status_restarts_total",)


def samples(api: Api) -> Iterator[Sample]:
    """Every sample, as the API server's objects are at the moment."""
    for pod in api.items("/api/v1/pods"):
        yield from of_pod(pod)
    for node in api.items("/api/v1/nodes"):
        yield from of_node(node)
    for deployment in api.items("/apis/apps/v1/deployments"):
        yield from of_deployment(deployment)
    for replica_set in api.items("/apis/apps/v1/replicasets"):
        yield from of_replica_set(replica_set)
    for stateful_set in api.items("/apis/apps/v1/statefulsets"):
        yield from of_stateful_set(stateful_set)
    for daemon_set in api.items("/apis/apps/v1/daemonsets"):
        yield from of_daemon_set(daemon_set)
    for job in api.items("/apis/batch/v1/jobs"):
        yield from of_job(job)
    for scaler in api.items("/apis/autoscaling/v2/horizontalpodautoscalers"):
        yield from of_autoscaler(scaler)


def of_pod(pod: Object) -> Iterator[Sample]:
    """The samples of one pod and its containers."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
    labels = {"namespace": metadata["namespace"], "pod": metadata["name"], "uid": metadata["uid"]}
    owner = controller(metadata)
    yield (
        "kube_pod_info",
        labels
        | {
            "node": spec.get("nodeName", ""),
            "host_ip": status.get("hostIP", ""),
            "pod_ip": status.get("podIP", ""),
            "created_by_kind": owner.get("kind", ""),
            "created_by_name": owner.get("name", ""),
        },
        1,
    )
    yield "kube_pod_owner", labels | owner_labels(metadata), 1
    yield "kube_pod_created", labels, seconds(metadata["creationTimestamp"])
    for phase in PHASES:
        yield "kube_pod_status_phase", labels | {"phase": phase}, float(status.get("phase") == phase)
    ready = condition(status, "Ready")
    for answer in ANSWERS:
        yield "kube_pod_status_ready", labels | {"condition": answer}, float(ready == answer)
    if status.get("reason"):
        yield "kube_pod_status_reason", labels | {"reason": status["reason"]}, 1
    for container in spec["containers"]:
        own = labels | {"container": container["name"]}
        for limits, metric in (("requests", "requests"), ("limits", "limits")):
            for resource, amount in container.get("resources", {}).get(limits, {}).items():
                unit = {"cpu": "core", "memory": "byte"}.get(resource)
                if unit:
                    more = {"resource": resource, "unit": unit, "node": spec.get("nodeName", "")}
                    yield f"kube_pod_container_resource_{metric}", own | more, quantity(amount)
    for container in status.get("containerStatuses", []):
        yield from of_container(container, labels | {"container": container["name"]})


def of_container(container: Object, labels: Mapping[str, str]) -> Iterator[Sample]:
    """The samples of one container."""
    state, last = container.get("state", {}), container.get("lastState", {})
    image = {"image": container["image"], "image_id": container["imageID"]}
    yield "kube_pod_container_info", {**labels, **image, "image_spec": container["image"]}, 1
    yield "kube_pod_container_status_restarts_total", labels, container["restartCount"]
    yield "kube_pod_container_status_ready", labels, float(container["ready"])
    for name in ("running", "waiting", "terminated"):
        yield f"kube_pod_container_status_{name}", labels, float(name in state)
    if reason := state.get("waiting", {}).get("reason"):
        yield "kube_pod_container_status_waiting_reason", {**labels, "reason": reason}, 1
    if reason := state.get("terminated", {}).get("reason"):
        yield "kube_pod_container_status_terminated_reason", {**labels, "reason": reason}, 1
    if ended := last.get("terminated"):
        reason = {"reason": ended.get("reason", "")}
        yield "kube_pod_container_status_last_terminated_reason", {**labels, **reason}, 1
        yield "kube_pod_container_status_last_terminated_exitcode", labels, ended["exitCode"]


def of_node(node: Object) -> Iterator[Sample]:
    """The samples of one node."""
    labels = {"node": node["metadata"]["name"]}
    yield "kube_node_info", labels | {"kubelet_version": node["status"]["nodeInfo"]["kubeletVersion"]}, 1
    yield "kube_node_spec_unschedulable", labels, float(node["spec"].get("unschedulable", False))
    for one in node["status"].get("conditions", []):
        for answer in ANSWERS:
            more = {"condition": one["type"], "status": answer}
            yield "kube_node_status_condition", labels | more, float(one["status"].lower() == answer)


def of_deployment(deployment: Object) -> Iterator[Sample]:
    """The samples of one Deployment."""
    metadata, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status", {})
    labels = {"namespace": metadata["namespace"], "deployment": metadata["name"]}
    yield "kube_deployment_created", labels, seconds(metadata["creationTimestamp"])
    yield "kube_deployment_metadata_generation", labels, metadata["generation"]
    yield "kube_deployment_spec_replicas", labels, spec.get("replicas", 1)
    yield "kube_deployment_spec_paused", labels, float(spec.get("paused", False))
    yield "kube_deployment_status_observed_generation", labels, status.get("observedGeneration", 0)
    yield "kube_deployment_status_replicas", labels, status.get("replicas", 0)
    for name in ("ready", "available", "unavailable", "updated"):
        yield f"kube_deployment_status_replicas_{name}", labels, status.get(f"{name}Replicas", 0)
    for one in status.get("conditions", []):
        for answer in ANSWERS:
            more = {"condition": one["type"], "status": answer}
            yield "kube_deployment_status_condition", labels | more, float(one["status"].lower() == answer)


def of_replica_set(replica_set: Object) -> Iterator[Sample]:
    """The samples of one ReplicaSet."""
    metadata, status = replica_set["metadata"], replica_set.get("status", {})
    labels = {"namespace": metadata["namespace"], "replicaset": metadata["name"]}
    yield "kube_replicaset_owner", labels | owner_labels(metadata), 1
    yield "kube_replicaset_spec_replicas", labels, replica_set["spec"].get("replicas", 1)
    yield "kube_replicaset_status_ready_replicas", labels, status.get("readyReplicas", 0)


def of_stateful_set(stateful_set: Object) -> Iterator[Sample]:
    """The samples of one StatefulSet."""
    metadata, spec, status = stateful_set["metadata"], stateful_set["spec"], stateful_set.get("status", {})
    labels = {"namespace": metadata["namespace"], "statefulset": metadata["name"]}
    yield "kube_statefulset_created", labels, seconds(metadata["creationTimestamp"])
    yield "kube_statefulset_metadata_generation", labels, metadata["generation"]
    yield "kube_statefulset_replicas", labels, spec.get("replicas", 1)
    yield "kube_statefulset_status_observed_generation", labels, status.get("observedGeneration", 0)
    yield "kube_statefulset_status_replicas", labels, status.get("replicas", 0)
    for name in ("ready", "available", "current", "updated"):
        yield f"kube_statefulset_status_replicas_{name}", labels, status.get(f"{name}Replicas", 0)


def of_daemon_set(daemon_set: Object) -> Iterator[Sample]:
    """The samples of one DaemonSet."""
    metadata, status = daemon_set["metadata"], daemon_set.get("status", {})
    labels = {"namespace": metadata["namespace"], "daemonset": metadata["name"]}
    yield "kube_daemonset_metadata_generation", labels, metadata["generation"]
    for metric, field in (
        ("desired_number_scheduled", "desiredNumberScheduled"),
        ("current_number_scheduled", "currentNumberScheduled"),
        ("number_ready", "numberReady"),
        ("number_available", "numberAvailable"),
        ("number_unavailable", "numberUnavailable"),
        ("number_misscheduled", "numberMisscheduled"),
    ):
        yield f"kube_daemonset_status_{metric}", labels, status.get(field, 0)


def of_job(job: Object) -> Iterator[Sample]:
    """The samples of one Job."""
    metadata, status = job["metadata"], job.get("status", {})
    labels = {"namespace": metadata["namespace"], "job_name": metadata["name"]}
    for name in ("active", "succeeded", "failed"):
        yield f"kube_job_status_{name}", labels, status.get(name, 0)
    failed = condition(status, "Failed")
    for answer in ANSWERS:
        yield "kube_job_failed", labels | {"condition": answer}, float(failed == answer)


def of_autoscaler(scaler: Object) -> Iterator[Sample]:
    """The samples of one HorizontalPodAutoscaler."""
    metadata, spec, status = scaler["metadata"], scaler["spec"], scaler.get("status", {})
    labels = {"namespace": metadata["namespace"], "horizontalpodautoscaler": metadata["name"]}
    yield "kube_horizontalpodautoscaler_spec_max_replicas", labels, spec["maxReplicas"]
    yield "kube_horizontalpodautoscaler_spec_min_replicas", labels, spec.get("minReplicas", 1)
    yield "kube_horizontalpodautoscaler_status_current_replicas", labels, status.get("currentReplicas", 0)
    yield "kube_horizontalpodautoscaler_status_desired_replicas", labels, status.get("desiredReplicas", 0)


def controller(metadata: Object) -> Object:
    """The owner that controls the object; empty where it has none."""
    owners: Iterable[Object] = metadata.get("ownerReferences", [])
    return next((owner for owner in owners if owner.get("controller")), {})


def owner_labels(metadata: Object) -> dict[str, str]:
    """The labels that name an object's controller."""
    owner = controller(metadata)
    return {
        "owner_kind": owner.get("kind", ""),
        "owner_name": owner.get("name", ""),
        "owner_is_controller": "true" if owner else "",
    }


def condition(status: Object, kind: str) -> str:
    """`true`, `false` or `unknown`: what the status says of a condition; `false` where it says nothing."""
    found = (one["status"].lower() for one in status.get("conditions", []) if one["type"] == kind)
    return str(next(found, "false"))


def seconds(moment: str) -> float:
    """A time of the API in seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()


SUFFIXES = {
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "": 1.0,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}


def quantity(text: str) -> float:
    """The number that a quantity such as 250m or 64Mi stands for."""
    digits = text.rstrip("kKMGTim")
    return float(digits) * SUFFIXES[text[len(digits) :]]


def targets(api: Api) -> list[dict[str, Any]]:
    """The running pods that say on which port their metrics are, as Prometheus' HTTP discovery reads them."""
    found = []
    for pod in api.items("/api/v1/pods"):
        metadata, status = pod["metadata"], pod.get("status", {})
        port = metadata.get("annotations", {}).get("prometheus.io/port")
        if port and status.get("phase") == "Running" and "podIP" in status:
            labels = {"namespace": metadata["namespace"], "pod": metadata["name"]}
            found.append({"targets": [f"{status['podIP']}:{port}"], "labels": labels})
    return found


def text_of(found: Iterable[Sample]) -> str:
    """The samples as Prometheus reads them, metric by metric."""
    lines: dict[str, list[str]] = {}
    for name, labels, value in found:
        written = ",".join(f'{key}="{escaped(text)}"' for key, text in labels.items())
        lines.setdefault(name, []).append(f"{name}{{{written}}} {value:.15g}")
    parts = []
    for name, own in sorted(lines.items()):
        parts.append(f"# TYPE {name} {'counter' if name in COUNTERS else 'gauge'}")
        parts.extend(own)
    return "\n".join([*parts, ""])


def escaped(text: str) -> str:
    """A label's value with the three signs that the format reserves."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def answered(api: Api, path: str) -> tuple[int, str, str]:
    """The status, the content type and the body for a path."""
    match path:
        case "/metrics":
            return 200, TEXT, text_of(samples(api))
        case "/targets":
            return 200, "application/json", json.dumps(targets(api))
        case _:
            return 404, TEXT, "there are /metrics and /targets\n"


def main() -> None:
    """Serves /metrics and /targets until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    asked = parser.parse_args()
    api = Api(asked.kubeconfig)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                status, kind, body = answered(api, self.path)
            except (LocalClusterError, OSError) as failure:
                # Prometheus then sets `up` to 0: that nothing is known is a fact of its own.
                status, kind, body = 503, TEXT, f"{failure}\n"
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Scrapes are not logged."""

    with contextlib.suppress(KeyboardInterrupt):
        http.server.ThreadingHTTPServer(("127.0.0.1", asked.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
