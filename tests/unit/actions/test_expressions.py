"""What runbooks decide by can be said over the outputs of the reads, and is refused where it is misspelt."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from remediator.actions import registry
from remediator.actions.base import observe
from remediator.domain.errors import InvalidExpression
from remediator.domain.expressions import Checker, Place, Result, Scope, Truth, Values
from remediator.testing import NOON, FakeCluster, FakeMetrics
from unit.actions.world import CHECKOUT, NODE, crash, event, pod_ref, pods, reader, shop, target, with_image

READS: dict[str, tuple[str, dict[str, Any]]] = {
    "pods": ("get", {"kind": "Pod", "related": "owned"}),
    "deploy": ("get", {}),
    "scalers": ("get", {"kind": "HorizontalPodAutoscaler"}),
    "nodes": ("get", {"kind": "Node"}),
    "crash": (
        "logs",
        {"from": "crashing", "previous": True, "count": {"panic": "(?i)(panic:|runtime error)", "denied": "denied"}},
    ),
    "logs": ("logs", {"count": {"refused": "connection refused"}, "extract": {"ip": "ip=([0-9.]+)"}}),
    "events": ("events", {}),
    "history": ("rolloutHistory", {}),
    "errors": ("promql", {"query": "errors"}),
    "nothing": ("promql", {"query": "nothing"}),
    "top": ("top", {}),
    "topNodes": ("top", {"kind": "Node"}),
    "described": ("describe", {}),
}
MODELS = {name: registry.output_model(action, given, ("Deployment",)) for name, (action, given) in READS.items()}
CHECKER = Checker(Scope(diagnostics=MODELS))

TRUE = [
    'diagnosis.pods.containers.exists(c, c.?lastTerminated.?reason.orValue("") == "OOMKilled")',
    'diagnosis.pods.containers.exists(c, c.?waiting.?reason.orValue("") == "CrashLoopBackOff")',
    '!diagnosis.pods.containers.exists(c, c.?waiting.?reason.orValue("") in ["ErrImagePull", "ImagePullBackOff"])',
    "diagnosis.pods.items.exists(p, p.restarts >= 3) && diagnosis.pods.maxRestarts >= 3",
    "diagnosis.pods.items.filter(p, p.crashLooping).size() == 1",
    "!diagnosis.pods.items.all(p, p.ready)",
    "diagnosis.crash.count.panic > 0",
    "diagnosis.crash.count.denied == 0",
    "diagnosis.logs.count.refused > 0",
    'diagnosis.logs.extract.ip[0] == "10.0.0.9"',
    'diagnosis.events.items.exists(e, e.reason in ["FailedMount", "FailedAttachVolume"])',
    'diagnosis.events.items.exists(e, e.message.contains("exceeded quota"))',
    'timestamp(diagnosis.history.newest.createdAt) > now - duration("2h")',
    "diagnosis.history.revisions.size() >= 2 && diagnosis.history.previous.images != diagnosis.history.current.images",
    "diagnosis.history.status.updatedReplicas == diagnosis.history.status.replicas",
    "diagnosis.errors.value > 0.10",
    "diagnosis.nothing.samples.size() == 0 && !has(diagnosis.nothing.value)",
    "diagnosis.top.containers.exists(c, has(c.cpuShare) && c.cpuShare > 0.9)",
    "diagnosis.topNodes.items.filter(n, n.cpuShare > 0.8).size() == diagnosis.topNodes.items.size()",
    'diagnosis.deploy.items[0].env.app.QUEUE == "200"',
    "!has(diagnosis.deploy.items[0].env.app.MAX_RETRIES)",
    "5 > diagnosis.deploy.items[0].replicas",
    'diagnosis.scalers.items.exists(h, h.spec.scaleTargetRef.name == "checkout")',
    'diagnosis.nodes.items.exists(n, n.conditions.?DiskPressure.?status.orValue("") == "True")',
    'diagnosis.described.found && diagnosis.described.conditions.Available.status == "True"',
]

MISSPELT = [
    "diagnosis.crash.count.pnaic > 0",
    "diagnosis.pods.items.all(p, p.redy)",
    "diagnosis.deploy.items[0].phase == 'Running'",
    "diagnosis.history.newst.createdAt == ''",
    "diagnosis.errors.value == 'high'",
]


def compiled(text: str):
    return CHECKER.expression(text, place=Place.REMEDY_WHEN, path="when", result=Result.BOOL)


async def values(cluster: FakeCluster, **more: Any) -> Values:
    metrics = FakeMetrics()
    metrics.answer("errors", 0.25)
    metrics.series("nothing")
    found = {}
    for name, (action, given) in READS.items():
        parameters = registry.parameters(action).model_validate(given)
        seen = await observe(registry.diagnostic(action), parameters, reader(cluster, target(cluster), metrics))
        found[name] = seen.output.as_json()
    return Values(diagnosis=found, now=NOON, **more)


def broken_shop() -> FakeCluster:
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "busy", "namespace": "shop"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "checkout"}},
    }
    cluster = shop(scaler)
    cluster.change(
        NODE,
        lambda obj: obj.update(
            status={"allocatable": {"cpu": "2"}, "conditions": [{"type": "DiskPressure", "status": "True"}]}
        ),
    )
    with_image(cluster, "shop:2")
    first, second = pods(cluster)
    crash(cluster, first, "PANIC: nil map\n", reason="OOMKilled", code=137)
    for pod in (first, second):
        measured = {key: pod["metadata"][key] for key in ("name", "namespace", "labels")}
        usage = [{"name": "app", "usage": {"cpu": "195m", "memory": "10Mi"}}]
        cluster.add(
            {"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics", "metadata": measured, "containers": usage}
        )
        cluster.put_log(pod_ref(pod), "app", "connection refused ip=10.0.0.9\n")
    node_use = {"apiVersion": "metrics.k8s.io/v1beta1", "kind": "NodeMetrics", "metadata": {"name": "node-1"}}
    cluster.add({**node_use, "usage": {"cpu": "1900m", "memory": "1Gi"}})
    cluster.add(
        event("a", first, "Pod", "FailedMount", "no such volume"),
        event("b", cluster.get(CHECKOUT), "Deployment", "FailedCreate", "exceeded quota: small"),
    )
    return cluster


@pytest.mark.parametrize("text", TRUE)
async def test_it_can_be_said_and_is_true(text: str) -> None:
    truth, missing = compiled(text).truth(await values(broken_shop()))

    assert truth is Truth.TRUE, missing


@pytest.mark.parametrize("text", MISSPELT)
def test_a_misspelt_name_is_refused_before_anything_runs(text: str) -> None:
    with pytest.raises(InvalidExpression):
        compiled(text)


@pytest.mark.parametrize(
    "text",
    [
        "diagnosis.crash.count.panic == 0",
        "has(diagnosis.crash.count.panic)",
    ],
)
async def test_a_count_over_a_log_that_could_not_be_had_is_unknown(text: str) -> None:
    cluster = shop()
    crash(cluster, pods(cluster)[0])
    cluster.lose_log(pod_ref(pods(cluster)[0]), "app", previous=True)

    truth, _ = compiled(text).truth(await values(cluster))

    assert truth is Truth.UNKNOWN


async def test_a_zero_over_a_part_of_the_logs_is_unknown_and_a_find_is_not() -> None:
    cluster = shop()
    first, second = pods(cluster)
    crash(cluster, first, "panic: x\n")
    crash(cluster, second)
    cluster.lose_log(pod_ref(second), "app", previous=True)
    seen = await values(cluster)

    assert compiled("diagnosis.crash.count.panic > 0").truth(seen)[0] is Truth.TRUE
    assert compiled("diagnosis.crash.count.denied == 0").truth(seen)[0] is Truth.UNKNOWN


async def test_without_a_crashing_pod_there_is_no_count_and_that_can_be_asked() -> None:
    seen = await values(shop())

    assert compiled("has(diagnosis.crash.count)").truth(seen)[0] is Truth.FALSE
    assert compiled("diagnosis.crash.count.panic > 0").truth(seen)[0] is Truth.UNKNOWN
    assert compiled("diagnosis.crash.pods > 0 && diagnosis.crash.count.panic > 0").truth(seen)[0] is Truth.FALSE


def test_ages_can_be_compared_with_the_alert() -> None:
    started = datetime.fromisoformat("2026-06-01T12:00:00Z") - timedelta(minutes=10)
    text = "timestamp(diagnosis.history.newest.createdAt) <= timestamp(alert.startsAt)"
    history = {"known": True, "truncated": False, "newest": {"createdAt": "2026-06-01T11:45:00Z"}}
    seen = Values(diagnosis={"history": history}, alert={"startsAt": started.isoformat()}, now=NOON)

    assert compiled(text).truth(seen)[0] is Truth.TRUE
