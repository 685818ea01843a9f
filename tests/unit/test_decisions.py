"""
The decisions that procedures written for people turn on, as expressions over the actions' outputs.

Fifty of them, D1 to D50, were collected from the runbooks that the playbooks must carry. Each stands
here as a table row: the expression, a world in which it is True, one in which it is False, and the
world in which nothing could be read, in which it must be Unknown. What no output can carry yet names
the action that it waits for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from remediator.actions.diagnostics.events import EventsOutput
from remediator.actions.diagnostics.get import Get, GetParameters
from remediator.actions.diagnostics.logs import Logs, LogsParameters
from remediator.actions.diagnostics.promql import PromqlOutput
from remediator.actions.diagnostics.rollout_history import RolloutHistoryOutput
from remediator.actions.diagnostics.top import TopOutput
from remediator.domain.actions import Output
from remediator.domain.expressions import UNKNOWN, Checker, Place, Scope, Truth, Values
from remediator.domain.json import JSON

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PATTERNS = {"refused": "refused", "panic": "panic:", "outOfMemory": "memory", "denied": "denied", "limited": "rate"}

LOGS = Logs.output_for(LogsParameters(count=PATTERNS), ())
PODS = Get.output_for(GetParameters(kind="Pod"), ())
WORKLOADS = Get.output_for(GetParameters(kind="Deployment"), ())
OBJECTS = Get.output_for(GetParameters(kind="Node"), ())

SCALARS = ("errorRate", "latency", "active", "most", "others", "requests", "seconds", "hitRate", "restarts")
DIAGNOSTICS: Mapping[str, type[Output]] = {
    "pods": PODS,
    "crash": LOGS,
    "events": EventsOutput,
    "history": RolloutHistoryOutput,
    "workload": WORKLOADS,
    "node": OBJECTS,
    "nodes": OBJECTS,
    "certificate": OBJECTS,
    "autoscalers": OBJECTS,
    "claim": OBJECTS,
    "classes": OBJECTS,
    "top": TopOutput,
    **dict.fromkeys(SCALARS, PromqlOutput),
}
CHECKER = Checker(Scope(parameters={"replicas": "int", "poolSize": "int"}, diagnostics=DIAGNOSTICS))

READ: dict[str, JSON] = {"known": True, "truncated": False, "observedAt": "2026-11-21T12:00:00Z"}
UNREAD: JSON = {"known": False, "truncated": False, "observedAt": "", "error": "forbidden"}


@dataclass(frozen=True)
class Case:
    """A decision, and what the diagnostics say where it is True and where it is False."""

    number: str
    expression: str
    true: Mapping[str, Any]
    false: Mapping[str, Any]
    place: Place = Place.REMEDY_WHEN
    others: Mapping[str, Any] = field(default_factory=dict)


def container(**fields: JSON) -> JSON:
    return {"pod": "web-0", "name": "app", "image": "web:1", "init": False, "ready": True, "restarts": 0, **fields}


def pods(*containers: JSON, **fields: JSON) -> dict[str, JSON]:
    pod: JSON = {
        "name": "web-0",
        "uid": "u",
        "namespace": "shop",
        "phase": "Running",
        "ready": True,
        "ending": False,
        "crashLooping": False,
        "restarts": 0,
        "createdAt": "2026-11-21T10:00:00Z",
        "containers": list(containers),
        **fields,
    }
    return {"pods": {"items": [pod], "containers": list(containers)}}


def counts(**numbers: int) -> dict[str, JSON]:
    return {"crash": {"count": {**dict.fromkeys(PATTERNS, 0), **numbers}, "lines": 10, "pods": 1, "matchingPods": 1}}


def event(reason: str, message: str = "") -> dict[str, JSON]:
    about: JSON = {"type": "Warning", "reason": reason, "message": message, "count": 1, "kind": "Pod", "name": "web-0"}
    return {"events": {"items": [about]}}


def scalars(**numbers: float) -> dict[str, JSON]:
    return {name: {"value": number, "samples": []} for name, number in numbers.items()}


def revision(number: int, created_at: str, *images: str) -> JSON:
    return {"revision": number, "createdAt": created_at, "images": list(images)}


def history(newest: str, *, previous: JSON = None, updated: int = 3) -> dict[str, JSON]:
    current = revision(7, newest, "web:2")
    return {
        "history": {
            "revisions": [current, *([previous] if previous else [])],
            "newest": current,
            "current": current,
            **({"previous": previous} if previous else {}),
            "status": {
                "replicas": 3,
                "updatedReplicas": updated,
                "availableReplicas": 3,
                "observedGeneration": 1,
                "complete": updated == 3,
                "inProgress": updated != 3,
                "stuck": False,
            },
        }
    }


def objects(name: str, *found: Mapping[str, JSON]) -> dict[str, JSON]:
    common: dict[str, JSON] = {
        "name": name,
        "uid": "u",
        "labels": {},
        "annotations": {},
        "createdAt": "",
        "conditions": {},
        "spec": {},
        "status": {},
    }
    items: list[JSON] = [{**common, **each} for each in found]
    return {name: {"items": items}}


def node(since: str = "2026-11-21T11:00:00Z", **statuses: str) -> Mapping[str, JSON]:
    return {"conditions": {name: {"status": status, "since": since} for name, status in statuses.items()}}


def workload(**variables: str) -> dict[str, JSON]:
    numbers = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas", "unavailableReplicas")
    item: dict[str, JSON] = {**dict.fromkeys(numbers, 3), "rolledOut": True, "paused": False, "images": []}
    return objects("workload", {**item, "env": {"app": dict(variables)}})


def usage(*shares: float) -> dict[str, JSON]:
    items: list[JSON] = [
        {
            "name": f"n{index}",
            "cpu": "1",
            "memory": "1Gi",
            "cpuMillicores": 1000,
            "memoryBytes": 2**30,
            "cpuShare": share,
        }
        for index, share in enumerate(shares)
    ]
    return {"top": {"items": items, "containers": [], "missing": 0}}


def waiting(reason: str) -> dict[str, JSON]:
    return pods(container(waiting={"reason": reason}))


def ended(reason: str) -> dict[str, JSON]:
    return pods(container(lastTerminated={"reason": reason, "exitCode": 137}))


WAITS = 'diagnosis.pods.containers.exists(c, c.?waiting.?reason.orValue("") {})'
OLD = revision(6, "2026-11-20T12:00:00Z", "web:1")
SAME = revision(6, "2026-11-20T12:00:00Z", "web:2")
RELEASED_BEFORE_THE_ALERT = (
    'timestamp(diagnosis.history.newest.createdAt) > timestamp(alert.startsAt) - duration("30m")'
    " && timestamp(diagnosis.history.newest.createdAt) <= timestamp(alert.startsAt)"
)
ROLLED_OUT = (
    "diagnosis.history.status.updatedReplicas == diagnosis.history.status.replicas"
    " && diagnosis.history.status.availableReplicas == diagnosis.history.status.replicas"
)
OTHER_IMAGE = (
    "diagnosis.history.revisions.size() >= 2 && diagnosis.history.previous.images != diagnosis.history.current.images"
)
NOT_READY = 'diagnosis.nodes.items.filter(n, n.conditions["Ready"].status != "True").size()'
SCALED_BY_ANOTHER = (
    "diagnosis.autoscalers.items.exists(h, h.spec.scaleTargetRef.kind == target.kind"
    " && h.spec.scaleTargetRef.name == target.name)"
)


def condition(name: str, status: str) -> str:
    return f'diagnosis.node.items[0].conditions["{name}"].status == "{status}"'


def scaled(name: str) -> Mapping[str, JSON]:
    return {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": name}}}


def restarted(times: int, in_the_last_hour: float) -> dict[str, JSON]:
    return pods(container(restarts=times)) | scalars(restarts=in_the_last_hour)


CASES = [
    Case(
        "D1",
        'diagnosis.pods.containers.exists(c, c.?lastTerminated.?reason.orValue("") == "OOMKilled")',
        ended("OOMKilled"),
        pods(container()),
    ),
    Case("D2", WAITS.format('== "CrashLoopBackOff"'), waiting("CrashLoopBackOff"), pods(container())),
    Case(
        "D3",
        WAITS.format('in ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"]'),
        waiting("ErrImagePull"),
        waiting("ContainerCreating"),
    ),
    Case(
        "D4",
        WAITS.format('== "CreateContainerConfigError"'),
        waiting("CreateContainerConfigError"),
        waiting("CrashLoopBackOff"),
    ),
    Case(
        "D5",
        "max(diagnosis.pods.containers.map(c, c.restarts)) > 3 && diagnosis.restarts.value > 3.0",
        restarted(5, 4.0),
        restarted(5, 1.0),
    ),
    Case("D6", "diagnosis.crash.count.refused > 0", counts(refused=2), counts(panic=1)),
    Case("D7", "diagnosis.crash.count.panic > 0", counts(panic=1), counts()),
    Case("D8", "diagnosis.crash.count.outOfMemory > 0", counts(outOfMemory=1), counts()),
    Case("D9", "diagnosis.crash.count.denied > 0", counts(denied=1), counts()),
    Case(
        "D10",
        'diagnosis.events.items.exists(e, e.reason in ["FailedMount", "FailedAttachVolume"])',
        event("FailedMount"),
        event("BackOff"),
    ),
    Case(
        "D11",
        'diagnosis.events.items.exists(e, e.reason == "FailedScheduling"'
        ' && e.message.matches("Insufficient (cpu|memory)"))',
        event("FailedScheduling", "0/3 nodes are available: 3 Insufficient cpu."),
        event("FailedScheduling", "untolerated taint"),
    ),
    Case(
        "D12",
        'diagnosis.events.items.exists(e, e.message.contains("exceeded quota"))',
        event("FailedCreate", "pods is forbidden: exceeded quota: shop"),
        event("FailedCreate", "no service account"),
    ),
    Case("D13", RELEASED_BEFORE_THE_ALERT, history("2026-11-21T11:40:00Z"), history("2026-11-21T11:10:00Z")),
    Case("D14", OTHER_IMAGE, history("", previous=OLD), history("", previous=SAME)),
    Case("D15", ROLLED_OUT, history(""), history("", updated=1)),
    Case(
        "D17",
        condition("DiskPressure", "True"),
        objects("node", node(DiskPressure="True")),
        objects("node", node(DiskPressure="False")),
    ),
    Case(
        "D18",
        condition("MemoryPressure", "True"),
        objects("node", node(MemoryPressure="True")),
        objects("node", node(MemoryPressure="False")),
    ),
    Case(
        "D19",
        condition("NetworkUnavailable", "True"),
        objects("node", node(NetworkUnavailable="True")),
        objects("node", node(NetworkUnavailable="False")),
    ),
    Case(
        "D20",
        condition("Ready", "Unknown"),
        objects("node", node(Ready="Unknown")),
        objects("node", node(Ready="False")),
    ),
    Case(
        "D21",
        f"share({NOT_READY}, diagnosis.nodes.items.size()) > 0.3",
        objects("nodes", node(Ready="False"), node(Ready="True")),
        objects("nodes", node(Ready="False"), *[node(Ready="True")] * 3),
    ),
    Case(
        "D22",
        'diagnosis.pods.items.filter(p, !(p.?ownerKind.orValue("") in ["DaemonSet", "Node"])).size() == 0',
        pods(ownerKind="DaemonSet"),
        pods(ownerKind="ReplicaSet"),
    ),
    Case(
        "D23",
        condition("Ready", "True")
        + ' && now - timestamp(diagnosis.node.items[0].conditions["Ready"].since) > duration("2m")',
        objects("node", node(Ready="True")),
        objects("node", node("2026-11-21T11:59:00Z", Ready="True")),
    ),
    Case("D24", "diagnosis.errorRate.value > 0.10", scalars(errorRate=0.2), scalars(errorRate=0)),
    Case(
        "D25",
        "diagnosis.latency.value > 1.0 && diagnosis.latency.value < 2.0",
        scalars(latency=1.5),
        scalars(latency=2),
    ),
    Case(
        "D26",
        "share(diagnosis.active.value, diagnosis.most.value) > 0.95",
        scalars(active=98, most=100),
        scalars(active=50, most=100),
    ),
    Case(
        "D27",
        "double(params.poolSize) < math.ceil(diagnosis.requests.value * diagnosis.seconds.value * 1.5)",
        scalars(requests=200, seconds=0.1),
        scalars(requests=100, seconds=0.1),
    ),
    Case(
        "D28",
        "double(params.poolSize * target.spec.replicas) + diagnosis.others.value < diagnosis.most.value * 0.9",
        scalars(others=10, most=100),
        scalars(others=60, most=100),
    ),
    Case("D31", "diagnosis.hitRate.value < 0.50", scalars(hitRate=0.4), scalars(hitRate=0.9)),
    Case("D37", "max(diagnosis.top.items.map(p, p.cpuShare)) > 0.9", usage(0.2, 0.95), usage(0.2, 0.3)),
    Case(
        "D38",
        "diagnosis.top.items.size() > 0 && diagnosis.top.items.all(n, n.cpuShare > 0.8)",
        usage(0.9, 0.95),
        usage(0.9, 0.3),
    ),
    Case(
        "D42",
        'timestamp(diagnosis.certificate.items[0].status.notAfter) - now < duration("168h")',
        objects("certificate", {"status": {"notAfter": "2026-11-24T00:00:00Z"}}),
        objects("certificate", {"status": {"notAfter": "2027-01-24T00:00:00Z"}}),
    ),
    Case("D43", "diagnosis.crash.count.limited > 0", counts(limited=1), counts()),
    Case("D44", "diagnosis.pods.items.all(p, p.ready)", pods(), pods(ready=False)),
    Case(
        "D46",
        "!diagnosis.classes.items.exists(s, s.name == diagnosis.claim.items[0].spec.storageClassName)",
        objects("claim", {"spec": {"storageClassName": "fast"}}) | objects("classes", {"name": "slow"}),
        objects("claim", {"spec": {"storageClassName": "fast"}}) | objects("classes", {"name": "fast"}),
    ),
    Case(
        "D48",
        'diagnosis.workload.items[0].env["app"]["MAX_RETRIES"] == "3"',
        workload(MAX_RETRIES="3"),
        workload(MAX_RETRIES="5"),
    ),
    Case("D49", SCALED_BY_ANOTHER, objects("autoscalers", scaled("web")), objects("autoscalers", scaled("api"))),
    Case(
        "D50",
        "latest.pods.items.all(p, p.node == inhibitor.labels.node)",
        pods(node="n1"),
        pods(node="n2"),
        place=Place.INHIBITED_WHEN,
        others={"inhibitor": {"labels": {"node": "n1"}}},
    ),
]

WAITING = {
    "D16": "the record of past changes on the target's Lease, which the guards read",
    "D29": "job",
    "D30": "job",
    "D32": "job",
    "D33": "job",
    "D34": "job",
    "D35": "job",
    "D36": "promqlRange",
    "D39": "logs with groupBy",
    "D40": "logs with groupBy",
    "D41": "httpGet",
    "D45": "probe",
    "D47": "job",
}
"""What cannot be said yet, and the action or the record that will say it."""


def values(seen: Mapping[str, Any], others: Mapping[str, Any]) -> Values:
    outputs = {name: {**READ, **seen[name]} if name in seen else UNREAD for name in DIAGNOSTICS}
    world = Values(
        alert={"labels": {}, "startsAt": "2026-11-21T12:00:00Z"},
        target={"kind": "Deployment", "name": "web", "namespace": "shop", "spec": {"replicas": 3}},
        params={"replicas": 5, "poolSize": 20},
        diagnosis=outputs,
        latest=outputs,
        now=NOON,
    )
    return world.but(**others)


def answer(case: Case, seen: Mapping[str, Any]) -> Truth:
    expression = CHECKER.expression(case.expression, place=case.place, path=case.number)
    return expression.truth(values(seen, case.others))[0]


BY_NUMBER = pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)


@BY_NUMBER
def test_a_decision_is_true_in_the_world_it_was_made_for(case: Case) -> None:
    assert answer(case, case.true) is Truth.TRUE


@BY_NUMBER
def test_a_decision_is_false_where_the_world_says_otherwise(case: Case) -> None:
    assert answer(case, case.false) is Truth.FALSE


@BY_NUMBER
def test_a_decision_is_unknown_where_nothing_could_be_read(case: Case) -> None:
    assert answer(case, {}) is Truth.UNKNOWN


@BY_NUMBER
def test_the_opposite_of_a_decision_is_not_true_either_where_nothing_could_be_read(case: Case) -> None:
    expression = CHECKER.expression(f"!({case.expression})", place=case.place, path=case.number)

    assert expression.truth(values({}, case.others))[0] is Truth.UNKNOWN


@BY_NUMBER
def test_the_worlds_have_the_shape_of_the_outputs_that_the_actions_declare(case: Case) -> None:
    for seen in (case.true, case.false):
        for name, output in seen.items():
            DIAGNOSTICS[name].model_validate({**READ, **output})


@pytest.mark.parametrize(("replicas", "expected"), [(5, Truth.TRUE), (3, Truth.FALSE), (UNKNOWN, Truth.UNKNOWN)])
def test_scaling_up_never_lowers(replicas: object, expected: Truth) -> None:
    expression = CHECKER.expression("params.replicas > target.spec.replicas", place=Place.REMEDY_WHEN, path="D49")

    assert expression.truth(values({}, {"params": {"replicas": replicas}}))[0] is expected


def test_an_answer_that_is_there_but_has_no_value_is_unknown() -> None:
    no_series = {"errorRate": {"samples": []}}
    case = next(case for case in CASES if case.number == "D24")

    assert answer(case, no_series) is Truth.UNKNOWN


@pytest.mark.parametrize("number", ["D1", "D2", "D3", "D4", "D10", "D11", "D12"])
def test_what_was_found_before_the_answer_was_cut_decides_and_what_was_not_found_does_not(number: str) -> None:
    case = next(case for case in CASES if case.number == number)
    cut = {"truncated": True}

    assert answer(case, {name: {**seen, **cut} for name, seen in case.true.items()}) is Truth.TRUE
    assert answer(case, {name: {**seen, **cut} for name, seen in case.false.items()}) is Truth.UNKNOWN


def test_every_decision_is_carried_or_says_what_it_waits_for() -> None:
    carried = {case.number for case in CASES}

    assert carried | set(WAITING) == {f"D{number}" for number in range(1, 51)}
    assert not carried & set(WAITING)
