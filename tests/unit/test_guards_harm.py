"""What a change could harm, one promise a test."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from remediator.domain.changes import (
    TOKEN_PLACEHOLDER,
    Change,
    DeletePods,
    Edit,
    FieldPath,
    Patch,
    change_as_json,
)
from remediator.domain.guardrails import Fence, Guardrail, GuardrailSpec
from remediator.domain.json import Object
from remediator.domain.objects import ObjectRef, Target
from remediator.domain.runs import RunTarget
from remediator.domain.verdicts import Allow, Deny, Reason, Verdict, Wait
from remediator.engine.facts import Seen, Surroundings
from remediator.engine.guards import Question
from remediator.engine.guards.harm import (
    disruption_budget_allows,
    little_is_out_of_service,
    no_rollout_is_in_progress,
    not_managed_elsewhere,
)
from worlds import CHECKOUT, NOON, UID, deployment, facts, policy, raise_queue, run, runbook, step

TARGET = Target(CHECKOUT, UID)


def workload(ready: int, desired: int = 4, kind: str = "Deployment", **spec: Any) -> Object:
    """A workload of so many pods, all of the present template."""
    if kind == "DaemonSet":
        status = {"desiredNumberScheduled": desired, "numberReady": ready, "updatedNumberScheduled": desired}
    else:
        status = {"replicas": desired, "updatedReplicas": desired, "readyReplicas": ready, "availableReplicas": ready}
    made = deployment()
    made["kind"] = kind
    made["spec"] = {"template": {"metadata": {"labels": {"app": "checkout"}}}, **spec}
    if kind != "DaemonSet":
        made["spec"]["replicas"] = desired
    made["status"] = {"observedGeneration": 3, **status}
    return made


def pod(name: str, *, ready: bool, **labels: str) -> Object:
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}", "labels": {"app": "checkout", **labels}},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def pod_target(name: str) -> Target:
    return Target(ObjectRef.of("Pod", "shop", name), f"uid-{name}")


def delete(*names: str, of: Target = TARGET) -> DeletePods:
    return DeletePods(of, tuple(pod_target(name) for name in names), f"delete {' and '.join(names)}")


def scale(was: int, to: int) -> Patch:
    return Patch(TARGET, (Edit(FieldPath.of("spec", "replicas"), was, to),), f"scale to {to}")


def budget(allowed: int, *, observed: int = 1, selector: Object | None = None) -> Object:
    return {
        "metadata": {"name": "checkout", "namespace": "shop", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "checkout"}} if selector is None else selector},
        "status": {"observedGeneration": observed, "disruptionsAllowed": allowed},
    }


def asked(change: Change, seen: Object, around: Surroundings | None = None, **world: Any) -> Question:
    record = step(change=change_as_json(change), target=RunTarget.of(change.target.ref, change.target.uid))
    saw = Seen(obj=seen)
    return Question(run(), record, facts(target=saw, step_target=saw, surroundings=around, **world))


def deleting(ready: Mapping[str, bool], owner: Object, *budgets: Object, **world: Any) -> Question:
    """The question whether these pods may be deleted, each with whether it is ready."""
    pods = tuple(Seen(obj=pod(name, ready=is_ready)) for name, is_ready in ready.items())
    around = Surroundings(pods=pods, workload=Seen(obj=owner), budgets=budgets)
    return asked(delete(*ready), owner, around, **world)


def guardrail(**limits: Any) -> Fence:
    spec = GuardrailSpec.model_validate({"allow": ["setEnv"], "limits": limits})
    return Fence((Guardrail("production", spec),))


def denial(verdict: Verdict, reason: Reason) -> str:
    assert isinstance(verdict, Deny), verdict
    assert verdict.reason is reason
    return verdict.message


def waiting(verdict: Verdict, reason: Reason) -> str:
    assert isinstance(verdict, Wait), verdict
    assert verdict.reason is reason
    return verdict.message


# blast radius: pods that are deleted


def test_a_pod_that_is_not_ready_may_always_be_deleted() -> None:
    assert little_is_out_of_service(deleting({"a": False}, workload(1))) == Allow()


def test_the_last_pods_that_serve_are_left_alone() -> None:
    message = denial(little_is_out_of_service(deleting({"a": True}, workload(2))), Reason.BLAST_RADIUS)

    assert message == (
        "2 of 4 replicas of Deployment shop/checkout are out of service and this step would take out 1 more; "
        "1 may be, says AlertPolicy shop/queue"
    )


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_default_lets_one_pod_of_a_small_workload_go(size: int) -> None:
    assert little_is_out_of_service(deleting({"a": True}, workload(size, size))) == Allow()


def test_a_share_is_rounded_up() -> None:
    both = deleting({"a": True, "b": True}, workload(5, 5))

    assert little_is_out_of_service(both) == Allow()  # 25 % of 5 is 1.25


def test_two_ready_pods_at_once_are_too_many_where_one_may_be_out() -> None:
    message = denial(little_is_out_of_service(deleting({"a": True, "b": True}, workload(4))), Reason.BLAST_RADIUS)

    assert message.startswith("0 of 4 replicas of Deployment shop/checkout are out of service and this step would take")


def test_the_policy_may_allow_more() -> None:
    trusting = policy(runbook(), limits={"maxUnavailable": "75%"})

    assert little_is_out_of_service(deleting({"a": True}, workload(2), policy=trusting)) == Allow()


def test_the_strictest_guardrail_outweighs_the_policy() -> None:
    trusting = policy(runbook(), limits={"maxUnavailable": "100%"})
    asking = deleting({"a": True}, workload(4), policy=trusting, fence=guardrail(maxUnavailable="0"))

    assert "0 may be, says Guardrail production" in denial(little_is_out_of_service(asking), Reason.BLAST_RADIUS)


def test_of_a_share_and_a_number_the_size_decides_which_is_stricter() -> None:
    fence = guardrail(maxUnavailable="2")
    trusting = policy(runbook(), limits={"maxUnavailable": "25%"})
    many = {"a": True, "b": True, "c": True}

    large = little_is_out_of_service(deleting(many, workload(40, 40), policy=trusting, fence=fence))
    small = little_is_out_of_service(deleting({"a": True, "b": True}, workload(4), policy=trusting, fence=fence))

    assert "2 may be, says Guardrail production" in denial(large, Reason.BLAST_RADIUS)
    assert "1 may be, says AlertPolicy shop/queue" in denial(small, Reason.BLAST_RADIUS)


def test_a_run_by_hand_has_the_default() -> None:
    message = denial(little_is_out_of_service(deleting({"a": True}, workload(2), policy=None)), Reason.BLAST_RADIUS)

    assert message.endswith("1 may be, says the default of runs without a policy")


def test_a_pod_that_took_the_name_of_a_planned_one_is_not_counted() -> None:
    asking = deleting({"a": True}, workload(2))
    around = asking.facts.surroundings
    assert around is not None
    other = pod("a", ready=True)
    other["metadata"] = {"name": "a", "namespace": "shop", "uid": "another"}
    around = replace(around, pods=(Seen(obj=other),))

    assert little_is_out_of_service(replace(asking, facts=replace(asking.facts, surroundings=around))) == Allow()


@pytest.mark.parametrize(
    "around",
    [
        None,
        Surroundings(workload=Seen(obj=workload(4))),
        Surroundings(pods=(Seen(error="timeout"),), workload=Seen(obj=workload(4))),
        Surroundings(pods=(Seen(obj=pod("a", ready=True)),)),
    ],
    ids=["nothing", "no pods", "a pod that cannot be read", "no workload"],
)
def test_what_cannot_be_counted_is_not_taken_out(around: Surroundings | None) -> None:
    waiting(little_is_out_of_service(asked(delete("a"), workload(4), around)), Reason.FACT_UNKNOWN)


def test_a_ready_pod_of_a_controller_that_does_not_say_how_many_it_has_is_left_alone() -> None:
    job = Target(ObjectRef.of("Job", "shop", "import"), "job")
    around = Surroundings(pods=(Seen(obj=pod("a", ready=True)),), workload=Seen(obj={"kind": "Job"}), budgets=())

    message = waiting(little_is_out_of_service(asked(delete("a", of=job), workload(4), around)), Reason.FACT_UNKNOWN)

    assert "how many pods Job shop/import has" in message


# blast radius: pods that a rollout replaces


@pytest.mark.parametrize("size", [1, 2, 3, 4, 10, 50])
def test_a_rollout_by_kubernetes_own_strategy_is_within_the_default(size: int) -> None:
    assert little_is_out_of_service(asked(raise_queue(), workload(size, size))) == Allow()


def test_a_rollout_whose_strategy_takes_out_too_many_is_refused() -> None:
    greedy = workload(4, strategy={"rollingUpdate": {"maxUnavailable": "50%"}})

    message = denial(little_is_out_of_service(asked(raise_queue(), greedy)), Reason.BLAST_RADIUS)

    assert "would take out 2; 1 may be" in message


def test_a_rollout_takes_out_none_that_serve_while_as_many_are_out_as_it_may_take() -> None:
    broken = workload(2, strategy={"rollingUpdate": {"maxUnavailable": 2}})

    assert little_is_out_of_service(asked(raise_queue(), broken)) == Allow()


def test_a_workload_of_which_nothing_serves_may_be_replaced_at_once() -> None:
    assert little_is_out_of_service(asked(raise_queue(), workload(0, strategy={"type": "Recreate"}))) == Allow()


def test_a_workload_that_recreates_its_pods_loses_all_of_them() -> None:
    two = little_is_out_of_service(asked(raise_queue(), workload(2, 2, strategy={"type": "Recreate"})))
    one = little_is_out_of_service(asked(raise_queue(), workload(1, 1, strategy={"type": "Recreate"})))

    assert "would take out 2; 1 may be" in denial(two, Reason.BLAST_RADIUS)
    assert one == Allow()


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_other_workloads_lose_one_at_a_time_unless_they_say_more(kind: str) -> None:
    some = {"rollingUpdate": {"maxUnavailable": "50%"}}

    assert little_is_out_of_service(asked(raise_queue(), workload(3, 3, kind))) == Allow()
    denial(
        little_is_out_of_service(asked(raise_queue(), workload(4, 4, kind, updateStrategy=some))), Reason.BLAST_RADIUS
    )


def test_a_daemon_set_that_surges_loses_none() -> None:
    surging = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    strict = guardrail(maxUnavailable="0")

    verdict = little_is_out_of_service(
        asked(raise_queue(), workload(4, 4, "DaemonSet", updateStrategy=surging), fence=strict)
    )

    assert verdict == Allow()


def test_scaling_down_takes_out_the_difference() -> None:
    down = little_is_out_of_service(asked(scale(4, 2), workload(4)))

    assert "would take out 2; 1 may be" in denial(down, Reason.BLAST_RADIUS)
    assert little_is_out_of_service(asked(scale(4, 3), workload(4))) == Allow()
    assert little_is_out_of_service(asked(scale(4, 8), workload(4))) == Allow()
    assert little_is_out_of_service(asked(scale(4, 1), workload(1))) == Allow()


# disruption budgets


def test_a_budget_that_is_spent_holds_the_deletion_of_a_ready_pod() -> None:
    verdict = disruption_budget_allows(deleting({"a": True}, workload(4), budget(0)))

    message = waiting(verdict, Reason.DISRUPTION_BUDGET)
    assert message == "PodDisruptionBudget checkout lets 0 of its pods go now, and delete a would take 1"
    assert isinstance(verdict, Wait) and verdict.until == NOON + timedelta(seconds=15)


def test_a_budget_does_not_hold_a_pod_that_is_not_ready() -> None:
    assert disruption_budget_allows(deleting({"a": False}, workload(3), budget(0))) == Allow()


def test_a_budget_lets_as_many_go_as_it_says() -> None:
    both = {"a": True, "b": True}

    assert disruption_budget_allows(deleting(both, workload(4), budget(2))) == Allow()
    waiting(disruption_budget_allows(deleting(both, workload(4), budget(1))), Reason.DISRUPTION_BUDGET)


@pytest.mark.parametrize(
    ("selector", "is_meant"),
    [
        ({}, True),
        ({"matchLabels": {"app": "other"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["checkout"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["checkout"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
    ],
)
def test_a_budget_is_about_the_pods_that_it_selects(selector: Object, is_meant: bool) -> None:
    verdict = disruption_budget_allows(deleting({"a": True}, workload(4), budget(0, selector=selector)))

    assert isinstance(verdict, Wait if is_meant else Allow)


def test_a_budget_without_a_selector_is_about_no_pod() -> None:
    nobody = budget(0)
    nobody["spec"] = {}

    assert disruption_budget_allows(deleting({"a": True}, workload(4), nobody)) == Allow()


def test_a_budget_that_its_controller_has_not_seen_says_nothing_yet() -> None:
    verdict = disruption_budget_allows(deleting({"a": True}, workload(4), budget(5, observed=0)))

    waiting(verdict, Reason.FACT_UNKNOWN)


def test_a_rollout_is_held_by_a_budget_that_lets_nothing_go() -> None:
    spent, left = Surroundings(budgets=(budget(0),)), Surroundings(budgets=(budget(1),))

    waiting(disruption_budget_allows(asked(raise_queue(), workload(4), spent)), Reason.DISRUPTION_BUDGET)
    assert disruption_budget_allows(asked(raise_queue(), workload(4), left)) == Allow()


def test_a_rollout_that_takes_out_nothing_is_held_by_no_budget() -> None:
    spent = Surroundings(budgets=(budget(0),))

    assert disruption_budget_allows(asked(raise_queue(), workload(2, 2), spent)) == Allow()  # it surges
    assert disruption_budget_allows(asked(raise_queue(), workload(3, 4), spent)) == Allow()  # one is out already


def test_budgets_that_cannot_be_read_allow_nothing() -> None:
    waiting(disruption_budget_allows(asked(raise_queue(), workload(4))), Reason.FACT_UNKNOWN)


# rollouts


RESTARTING = """
targets: [Deployment]
remedies:
- name: bigger
  when: "true"
  steps:
  - {name: raise, restart: {}}
"""


def rolling() -> Object:
    moving = workload(4)
    moving["status"] = {**moving["status"], "updatedReplicas": 1, "replicas": 5}
    return moving


def restart() -> Patch:
    path = FieldPath.parse("/spec/template/metadata/annotations/remediator.dev~1restarted-by")
    return Patch(TARGET, (Edit(path, None, TOKEN_PLACEHOLDER),), "restart", replaces_pods=True, undoable=False)


def test_a_restart_waits_for_the_end_of_a_rollout() -> None:
    verdict = no_rollout_is_in_progress(asked(restart(), rolling(), runbook=runbook(RESTARTING)))

    message = waiting(verdict, Reason.ROLLOUT_IN_PROGRESS)
    assert message == "Deployment shop/checkout is being rolled out: 1 of 4 replicas updated, 4 available"


def test_what_mends_a_bad_rollout_may_meet_it() -> None:
    assert no_rollout_is_in_progress(asked(raise_queue(), rolling())) == Allow()


def test_a_restart_of_a_workload_that_stands_still_is_made() -> None:
    assert no_rollout_is_in_progress(asked(restart(), workload(3), runbook=runbook(RESTARTING))) == Allow()


# ownership


def managed(seen: Object) -> Object:
    metadata = dict(seen["metadata"])
    return {**seen, "metadata": {**metadata, "labels": {"argocd.argoproj.io/instance": "shop"}}}


def test_an_object_that_a_delivery_tool_manages_is_left_alone() -> None:
    message = denial(not_managed_elsewhere(asked(raise_queue(), managed(workload(4)))), Reason.MANAGED_ELSEWHERE)

    assert message == ("Deployment shop/checkout is managed by Argo CD (shop): change it there, or it is changed back")


def test_the_policy_may_have_a_managed_object_changed() -> None:
    daring = policy(runbook(), managedTargets="Change")

    assert not_managed_elsewhere(asked(raise_queue(), managed(workload(4)), policy=daring)) == Allow()


def test_a_pod_of_a_managed_workload_may_be_deleted() -> None:
    assert not_managed_elsewhere(deleting({"a": True}, managed(workload(4)))) == Allow()


def scaler(name: str) -> Object:
    return {
        "metadata": {"name": "by-load"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}},
    }


def test_a_number_that_an_autoscaler_decides_is_not_written() -> None:
    daring = policy(runbook(), managedTargets="Change")
    around = Surroundings(scalers=(scaler("other"), scaler("checkout")))

    message = denial(
        not_managed_elsewhere(asked(scale(4, 8), workload(4), around, policy=daring)), Reason.MANAGED_ELSEWHERE
    )

    assert message.startswith("HorizontalPodAutoscaler by-load decides how many replicas Deployment shop/checkout has")


def test_an_autoscaler_of_another_workload_decides_nothing_here() -> None:
    assert not_managed_elsewhere(asked(scale(4, 8), workload(4), Surroundings(scalers=(scaler("other"),)))) == Allow()


def test_autoscalers_that_cannot_be_read_allow_no_scaling() -> None:
    waiting(not_managed_elsewhere(asked(scale(4, 8), workload(4))), Reason.FACT_UNKNOWN)
