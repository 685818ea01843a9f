"""The objects of the benchmark: a Deployment whose queue is full, its alert, and the Runbook that cures it."""

import hashlib
from collections.abc import Iterable
from typing import Any

from localcluster.operator import TENANT_ACCOUNT

Object = dict[str, Any]

FIRES = "bench.remediator.dev/fires"
"""On a Deployment: the name of the alert that fires about it until it is cured."""

PODS = "bench.remediator.dev/pods"
"""Beside it: of how many of its pods, each with an alert of its own; absent, there is one of the Deployment."""

ALERT = "QueueFull"
RUNBOOK = "bigger-queue"
VARIABLE, CURED = "QUEUE", "500"
BEGAN = "2026-06-01T11:00:00Z"
NEVER = "0001-01-01T00:00:00Z"


def deployment(namespace: str, name: str, *, fires: str = ALERT, pods: int = 0) -> Object:
    """One of ordinary size: a probe, resources and some variables, as people's Deployments have them."""
    annotations = {FIRES: fires, **({PODS: str(pods)} if pods else {})}
    container = {
        "name": "app",
        "image": "registry.example.com/shop/queue:1.14.2",
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [{"name": f"SETTING_{i}", "value": f"value-{i}"} for i in range(4)],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
    }
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "bench"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": namespace, "name": name, "labels": labels, "annotations": annotations},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def pod_names(name: str, count: int) -> list[str]:
    """Of as many pods of a Deployment."""
    return [f"{name}-{number:05d}" for number in range(count)]


def replica_set(owner: Object) -> Object:
    """Of the Deployment's present template; no controller is there to make it."""
    meta, spec = owner["metadata"], owner["spec"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"namespace": meta["namespace"], "name": f"{meta['name']}-1", **_owned("Deployment", owner)},
        "spec": {"replicas": spec["replicas"], "selector": spec["selector"], "template": spec["template"]},
    }


def pod(owner: Object, name: str) -> Object:
    """One of a ReplicaSet's; it is on no node."""
    template = owner["spec"]["template"]
    meta = {"namespace": owner["metadata"]["namespace"], "name": name, "labels": template["metadata"]["labels"]}
    container = {"name": "app", "image": "registry.example.com/shop/queue:1.14.2"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**meta, **_owned("ReplicaSet", owner)},
        "spec": {"containers": [container], "automountServiceAccountToken": False},
    }


def account(namespace: str) -> Object:
    """Without controllers nobody else makes it, and pods are refused without it."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": "default"}}


def _owned(kind: str, owner: Object) -> Object:
    meta = owner["metadata"]
    reference = {"apiVersion": "apps/v1", "kind": kind, "name": meta["name"], "uid": meta["uid"], "controller": True}
    return {"ownerReferences": [reference]}


def is_cured(obj: Object) -> bool:
    """Whether the Deployment has its larger queue."""
    containers = obj["spec"]["template"]["spec"]["containers"]
    return any(one["name"] == VARIABLE for container in containers for one in container.get("env", []))


def alerts_about(obj: Object) -> list[Object]:
    """Those that fire about the Deployment."""
    meta = obj["metadata"]
    namespace, name, annotations = meta["namespace"], meta["name"], meta.get("annotations", {})
    if is_cured(obj) or FIRES not in annotations:
        return []
    if PODS not in annotations:
        return [alert_of(namespace, name, alertname=annotations[FIRES])]
    pods = pod_names(name, int(annotations[PODS]))
    return [alert_of(namespace, name, alertname=annotations[FIRES], pod=pod) for pod in pods]


def alert_of(namespace: str, name: str, *, alertname: str = ALERT, status: str = "firing", **labels: str) -> Object:
    """As a rule of kube-prometheus would fire it: some ten labels, two annotations."""
    about = labels or {"deployment": name}
    whole = {
        "alertname": alertname,
        "namespace": namespace,
        **about,
        "severity": "warning",
        "cluster": "bench",
        "container": "app",
        "job": "kube-state-metrics",
        "prometheus": "monitoring/k8s",
        "team": "shop",
    }
    return {
        "status": status,
        "labels": whole,
        "annotations": {
            "summary": f"The queue of {name} is full.",
            "description": f"The queue of {name} in {namespace} has held more than 90 percent of its places for 5m.",
        },
        "startsAt": BEGAN,
        "endsAt": NEVER,
        "generatorURL": "http://prometheus.example.com/graph?g0.expr=queue_length+%2F+queue_size+%3E+0.9",
        "fingerprint": hashlib.sha256(repr(sorted(whole.items())).encode()).hexdigest()[:16],
    }


def notification(alerts: Iterable[Object]) -> Object:
    """What Alertmanager posts for one group."""
    told = list(alerts)
    return {
        "version": "4",
        "groupKey": f"{{}}:{{group={told[0]['fingerprint']!r}}}",
        "status": "firing",
        "receiver": "remediator",
        "groupLabels": {"alertname": told[0]["labels"]["alertname"]},
        "commonLabels": {"cluster": "bench"},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example.com",
        "truncatedAlerts": 0,
        "alerts": told,
    }


def runbook(namespace: str) -> Object:
    """One step, which is verified by its rollout and by the alert's end."""
    step = {"name": "raise", "setEnv": {"container": "app", "vars": {VARIABLE: {"value": CURED}}}}
    return {
        "apiVersion": "remediator.dev/v1alpha1",
        "kind": "Runbook",
        "metadata": {"namespace": namespace, "name": RUNBOOK},
        "spec": {
            "description": "The queue is full; makes it larger.",
            "targets": ["Deployment"],
            "remedies": [{"name": "bigger", "steps": [step]}],
            "verify": [{"rollout": {"within": "2m"}}, {"alertResolved": {"quietFor": "1s", "within": "2m"}}],
        },
    }


def policy(namespace: str, name: str = "queues", *, alertname: str = ALERT) -> Object:
    """Acts at once, on as many at a time as may be."""
    return {
        "apiVersion": "remediator.dev/v1alpha1",
        "kind": "AlertPolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "matchers": [f'alertname="{alertname}"'],
            "runbookRef": {"name": RUNBOOK},
            "mode": "Automatic",
            "serviceAccountName": TENANT_ACCOUNT,
            "grace": "0s",
            "limits": {"concurrent": 1000, "maxUnavailable": "100%"},
        },
    }
