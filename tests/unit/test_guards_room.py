"""Whether there is room for what a change makes bigger, one promise a test."""

from dataclasses import replace
from typing import Any

import pytest

from remediator.domain.changes import ByKey, Change, Edit, FieldPath, Patch, change_as_json
from remediator.domain.json import Object
from remediator.domain.objects import Target
from remediator.domain.runs import RunTarget
from remediator.domain.verdicts import Allow, Deny, Reason, Verdict, Wait
from remediator.engine.facts import Seen, Surroundings
from remediator.engine.guards import Question
from remediator.engine.guards.room import quota_leaves_room
from worlds import CHECKOUT, UID, deployment, facts, raise_queue, run, step

TARGET = Target(CHECKOUT, UID)
RESOURCES: Object = {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}
APP = ("spec", "template", "spec", "containers", ByKey("name", "app"))


def workload(resources: Object | None = None, replicas: int = 2, **pod: Any) -> Object:
    made = deployment(resources=RESOURCES if resources is None else resources)
    made["spec"]["replicas"] = replicas
    made["spec"]["template"]["spec"].update(pod)
    return made


def scale(was: int, to: int) -> Patch:
    return Patch(TARGET, (Edit(FieldPath.of("spec", "replicas"), was, to),), f"scale to {to}")


def set_resource(side: str, name: str, was: str, to: str) -> Patch:
    edit = Edit(FieldPath.of(*APP, "resources", side, name), was, to)
    return Patch(TARGET, (edit,), f"set {side}.{name} to {to}", replaces_pods=True)


def quota(hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> Object:
    return {
        "metadata": {"name": "compute", "namespace": "shop"},
        "spec": {"hard": hard, **spec},
        "status": {"hard": hard, "used": used or dict.fromkeys(hard, "0")},
    }


def limit_range(**limits: Any) -> Object:
    return {"metadata": {"name": "bounds"}, "spec": {"limits": [{"type": "Container", **limits}]}}


def asked(change: Change, seen: Object, *quotas: Object, ranges: tuple[Object, ...] = ()) -> Question:
    saw = Seen(obj=seen)
    record = step(change=change_as_json(change), target=RunTarget.of(CHECKOUT, UID))
    around = Surroundings(quotas=quotas, limit_ranges=ranges)
    return Question(run(), record, facts(target=saw, step_target=saw, surroundings=around))


def denial(verdict: Verdict) -> str:
    assert isinstance(verdict, Deny), verdict
    assert verdict.reason is Reason.OUT_OF_BOUNDS
    return verdict.message


def test_more_pods_than_the_quota_has_room_for_are_refused() -> None:
    tight = quota({"requests.cpu": "1"}, {"requests.cpu": "500m"})

    message = denial(quota_leaves_room(asked(scale(2, 5), workload(), tight)))

    assert message == (
        "Deployment shop/checkout: ResourceQuota compute has 500m of requests.cpu left, and this step needs 750m more"
    )


def test_as_many_pods_as_the_quota_has_room_for_are_made() -> None:
    exact = quota({"requests.cpu": "1", "pods": "4"}, {"requests.cpu": "500m", "pods": "2"})

    assert quota_leaves_room(asked(scale(2, 4), workload(), exact)) == Allow()


@pytest.mark.parametrize(
    ("name", "most", "has_room"),
    [
        ("cpu", "500m", True),
        ("cpu", "499m", False),
        ("memory", "512Mi", True),
        ("memory", "511Mi", False),
        ("limits.memory", "1Gi", True),
        ("limits.memory", "1023Mi", False),
        ("pods", "2", True),
        ("pods", "1", False),
        ("count/pods", "1", False),
        ("services", "0", True),
    ],
)
def test_a_quota_counts_what_each_pod_asks_for(name: str, most: str, has_room: bool) -> None:
    assert isinstance(
        quota_leaves_room(asked(scale(2, 4), workload(), quota({name: most}))), Allow if has_room else Deny
    )


def test_a_pod_that_does_not_say_what_the_quota_counts_is_not_made() -> None:
    message = denial(quota_leaves_room(asked(scale(2, 4), workload(), quota({"limits.cpu": "100"}))))

    assert message.endswith("ResourceQuota compute limits limits.cpu, and the pods do not say how much of it they need")


def test_what_a_limit_range_adds_is_counted() -> None:
    by_default = limit_range(default={"cpu": "1"}, defaultRequest={"cpu": "1"})

    verdict = quota_leaves_room(asked(scale(2, 4), workload(), quota({"limits.cpu": "1"}), ranges=(by_default,)))

    assert "1 of limits.cpu left, and this step needs 2 more" in denial(verdict)


def test_a_request_that_is_not_given_is_the_limit() -> None:
    only_limit = workload({"limits": {"cpu": "2"}})
    ranges = (limit_range(defaultRequest={"cpu": "100m"}),)

    verdict = quota_leaves_room(asked(scale(2, 3), only_limit, quota({"requests.cpu": "1"}), ranges=ranges))

    assert "needs 2 more" in denial(verdict)


def test_what_runs_before_the_containers_counts_if_it_asks_for_more() -> None:
    before = [{"name": "migrate", "resources": {"requests": {"cpu": "2"}}}]

    verdict = quota_leaves_room(asked(scale(2, 3), workload(initContainers=before), quota({"requests.cpu": "1"})))

    assert "needs 2 more" in denial(verdict)


def test_what_is_started_before_and_goes_on_counts_with_the_others() -> None:
    beside = [{"name": "proxy", "restartPolicy": "Always", "resources": {"requests": {"cpu": "2"}}}]

    verdict = quota_leaves_room(asked(scale(2, 3), workload(initContainers=beside), quota({"requests.cpu": "1"})))

    assert "needs 2250m more" in denial(verdict)


def test_the_overhead_of_a_runtime_counts() -> None:
    heavy = workload(overhead={"cpu": "1"})

    assert "needs 1250m more" in denial(quota_leaves_room(asked(scale(2, 3), heavy, quota({"requests.cpu": "1"}))))


def test_larger_requests_count_for_every_replica() -> None:
    more = set_resource("requests", "memory", "256Mi", "512Mi")
    tight = quota({"requests.memory": "2Gi"}, {"requests.memory": "1Gi"})

    assert quota_leaves_room(asked(more, workload(replicas=4), tight)) == Allow()
    assert "needs 1280Mi more" in denial(quota_leaves_room(asked(more, workload(replicas=5), tight)))


def test_larger_pods_that_are_made_before_the_old_ones_go_need_most_at_the_end() -> None:
    more = set_resource("requests", "memory", "256Mi", "512Mi")

    verdict = quota_leaves_room(
        asked(more, workload(), quota({"requests.memory": "1Gi"}, {"requests.memory": "512Mi"}))
    )

    assert "has 512Mi of requests.memory left, and this step needs 768Mi more" in denial(verdict)


def test_smaller_requests_need_no_room() -> None:
    less = set_resource("requests", "memory", "256Mi", "128Mi")
    full = quota({"requests.memory": "512Mi"}, {"requests.memory": "600Mi"})

    rolling = workload(replicas=4)  # its strategy takes out one

    assert quota_leaves_room(asked(less, rolling, full)) == Allow()


def test_a_rollout_that_begins_with_a_pod_more_needs_room_for_it() -> None:
    full = quota({"pods": "2"}, {"pods": "2"})

    message = denial(quota_leaves_room(asked(raise_queue(), workload(), full)))

    assert message.endswith("ResourceQuota compute has 0 of pods left, and this step needs 1 more")


def test_a_rollout_that_may_take_one_out_first_needs_none() -> None:
    full = quota({"pods": "4"}, {"pods": "4"})

    assert quota_leaves_room(asked(raise_queue(), workload(replicas=4), full)) == Allow()


@pytest.mark.parametrize(
    ("scope", "is_about"),
    [("BestEffort", False), ("NotBestEffort", True), ("Terminating", False), ("NotTerminating", True)],
)
def test_a_quota_is_about_the_pods_of_its_scope(scope: str, is_about: bool) -> None:
    verdict = quota_leaves_room(asked(scale(2, 4), workload(), quota({"pods": "1"}, scopes=[scope])))

    assert isinstance(verdict, Deny if is_about else Allow)


def test_a_scope_that_is_not_for_us_to_judge_is_unknown_only_where_it_matters() -> None:
    selector = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists"}]}
    tight, wide = (quota({"pods": most}, scopeSelector=selector) for most in ("1", "10"))

    held = quota_leaves_room(asked(scale(2, 4), workload(), tight))

    assert isinstance(held, Wait) and held.reason is Reason.FACT_UNKNOWN
    assert quota_leaves_room(asked(scale(2, 4), workload(), wide)) == Allow()


def test_a_quota_that_was_not_counted_yet_has_no_room_that_is_known() -> None:
    fresh = quota({"pods": "10"})
    fresh["status"] = {}

    assert "has not been counted yet" in denial(quota_leaves_room(asked(scale(2, 4), workload(), fresh)))


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"max": {"memory": "1Gi"}}, "limits.memory of 2Gi; the LimitRange allows at most 1Gi"),
        ({"min": {"memory": "512Mi"}}, "requests.memory of 256Mi; the LimitRange allows no less than 512Mi"),
        (
            {"maxLimitRequestRatio": {"memory": "4"}},
            "limits.memory of 2Gi for a request of 256Mi; the LimitRange allows 4 times as much",
        ),
    ],
    ids=["max", "min", "ratio"],
)
def test_what_a_limit_range_does_not_allow_is_refused(limits: Object, says: str) -> None:
    bigger = set_resource("limits", "memory", "512Mi", "2Gi")

    message = denial(quota_leaves_room(asked(bigger, workload(), ranges=(limit_range(**limits),))))

    assert message == f"Deployment shop/checkout: container app would have {says}"


def test_a_container_whose_resources_stay_is_not_measured_again() -> None:
    narrow = limit_range(max={"memory": "1Mi"})

    assert quota_leaves_room(asked(scale(2, 4), workload(), ranges=(narrow,))) == Allow()


@pytest.mark.parametrize("lost", ["quotas", "limit_ranges"])
def test_quotas_that_cannot_be_read_have_no_room(lost: str) -> None:
    asking = asked(scale(2, 4), workload(), quota({"pods": "10"}))
    around = asking.facts.surroundings
    assert around is not None
    blind = replace(asking.facts, surroundings=replace(around, **{lost: None}))

    verdict = quota_leaves_room(replace(asking, facts=blind))

    assert isinstance(verdict, Wait) and verdict.reason is Reason.FACT_UNKNOWN


def test_scaling_down_needs_no_room() -> None:
    full = quota({"pods": "2"}, {"pods": "9"})

    assert quota_leaves_room(asked(scale(4, 2), workload(replicas=4), full)) == Allow()
