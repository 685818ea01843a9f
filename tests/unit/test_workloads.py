from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from remediator.domain.json import Object
from remediator.domain.pods import container_crash_loops, pod_is_ready
from remediator.domain.workloads import is_rolled_out, is_rolling, rollout_progress, selector_text, why_pods_stay

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
DONE = {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3, "readyReplicas": 3}


def deployment(reason: str | None = "NewReplicaSetAvailable", *, seen: int = 5, **status: Any) -> Object:
    conditions = [{"type": "Progressing", "status": "True", "reason": reason}] if reason else []
    return {
        "kind": "Deployment",
        "metadata": {"generation": 5},
        "spec": {"replicas": 3, "strategy": {}},
        "status": {"observedGeneration": seen, **DONE, "conditions": conditions, **status},
    }


def stateful_set(*, partition: int = 0, revision: str = "b", **status: Any) -> Object:
    return {
        "kind": "StatefulSet",
        "metadata": {"generation": 5},
        "spec": {"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}},
        "status": {
            "observedGeneration": 5,
            **DONE,
            "currentRevision": revision,
            "updateRevision": "b",
            **status,
        },
    }


def daemon_set(*, seen: int = 5, **status: Any) -> Object:
    counts = {
        "desiredNumberScheduled": 3,
        "currentNumberScheduled": 3,
        "updatedNumberScheduled": 3,
        "numberAvailable": 3,
    }
    return {
        "kind": "DaemonSet",
        "metadata": {"generation": 5},
        "spec": {"updateStrategy": {"type": "RollingUpdate"}},
        "status": {"observedGeneration": seen, **counts, **status},
    }


@pytest.mark.parametrize(
    ("workload", "rolled_out", "rolling"),
    [
        pytest.param(deployment(), True, False, id="all new and available"),
        pytest.param(deployment(seen=4), False, True, id="not seen by its controller"),
        pytest.param(deployment("ReplicaSetUpdated", updatedReplicas=1), False, True, id="one of three updated"),
        pytest.param(deployment(replicas=4), False, True, id="an old pod is left"),
        pytest.param(
            deployment("ReplicaSetUpdated", availableReplicas=1), False, True, id="new pods not available yet"
        ),
        pytest.param(deployment(availableReplicas=0), False, False, id="crashed after its rollout"),
        pytest.param(
            deployment(updatedReplicas=2, replicas=2, availableReplicas=2), False, False, id="being scaled up"
        ),
        pytest.param(
            deployment("ProgressDeadlineExceeded", replicas=4, updatedReplicas=1), False, True, id="stuck half-way"
        ),
        pytest.param(
            deployment("ProgressDeadlineExceeded", availableReplicas=0), False, False, id="stuck with new pods alone"
        ),
        pytest.param(deployment(None, availableReplicas=0), False, False, id="without a progress deadline"),
        pytest.param(stateful_set(), True, False, id="StatefulSet: done"),
        pytest.param(stateful_set(revision="a", updatedReplicas=1), False, True, id="StatefulSet: one of three"),
        pytest.param(
            stateful_set(revision="a", partition=2, updatedReplicas=1), True, False, id="StatefulSet: partition"
        ),
        pytest.param(stateful_set(availableReplicas=1), False, False, id="StatefulSet: crashed after its rollout"),
        pytest.param(daemon_set(), True, False, id="DaemonSet: done"),
        pytest.param(daemon_set(updatedNumberScheduled=1), False, True, id="DaemonSet: one of three"),
        pytest.param(daemon_set(numberAvailable=1), False, False, id="DaemonSet: crashed after its rollout"),
        pytest.param(daemon_set(seen=4), False, True, id="DaemonSet: not seen by its controller"),
    ],
)
def test_a_rollout_is_done_under_way_or_neither(workload: Object, rolled_out: bool, rolling: bool) -> None:
    assert is_rolled_out(workload) is rolled_out
    assert is_rolling(workload) is rolling


def test_progress_is_a_sentence() -> None:
    assert (
        rollout_progress(deployment(updatedReplicas=2, availableReplicas=1)) == "2 of 3 replicas updated, 1 available"
    )
    assert rollout_progress(deployment(replicas=5)) == "2 old replicas still to end"
    assert "not seen" in rollout_progress(deployment(seen=4))


@pytest.mark.parametrize(
    ("spec", "why"),
    [({"paused": True}, "paused"), ({"updateStrategy": {"type": "OnDelete"}}, "OnDelete"), ({}, "")],
)
def test_why_a_new_template_reaches_no_pod(spec: Object, why: str) -> None:
    assert (why in why_pods_stay({"spec": spec})) if why else why_pods_stay({"spec": spec}) == ""


def status(**fields: Any) -> Object:
    return {"name": "app", "ready": False, "restartCount": 4, "state": {"running": {}}, **fields}


def died(minutes_ago: int, code: int = 1) -> Object:
    at = (NOON - timedelta(minutes=minutes_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"terminated": {"exitCode": code, "finishedAt": at}}


@pytest.mark.parametrize(
    ("found", "loops"),
    [
        pytest.param(status(state={"waiting": {"reason": "CrashLoopBackOff"}}), True, id="waits after a crash"),
        pytest.param(status(state={"waiting": {"reason": "ImagePullBackOff"}}), False, id="has no image"),
        pytest.param(status(state=died(0)), True, id="has just died again"),
        pytest.param(status(state=died(0, code=0)), False, id="has ended well"),
        pytest.param(status(state=died(0), restartCount=0), False, id="has died once"),
        pytest.param(status(lastState=died(2)), True, id="runs unready two minutes after a crash"),
        pytest.param(status(lastState=died(90)), False, id="runs unready, but died long ago"),
        pytest.param(status(lastState=died(2), ready=True), False, id="runs ready two minutes after a crash"),
    ],
)
def test_which_container_crashes_again_and_again(found: Object, loops: bool) -> None:
    assert container_crash_loops(found, NOON) is loops


def test_a_pod_that_was_asked_to_end_is_not_ready() -> None:
    ready: Object = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}

    assert pod_is_ready(ready)
    assert not pod_is_ready({**ready, "metadata": {"deletionTimestamp": "2026-06-01T12:00:00Z"}})
    assert not pod_is_ready({})


def test_a_selector_is_written_as_the_api_wants_it() -> None:
    selector: Object = {
        "matchLabels": {"b": "2", "a": "1"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["web", "api"]},
            {"key": "old", "operator": "DoesNotExist"},
            {"key": "zone", "operator": "NotIn", "values": ["x"]},
            {"key": "any", "operator": "Exists"},
        ],
    }

    assert selector_text(selector) == "a=1,b=2,tier in (api,web),!old,zone notin (x),any"
