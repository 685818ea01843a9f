"""What a change could harm, asked by the whole operator on fakes."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import yaml

from flows import CHECKOUT, FIRING, carried_out, changes, deployment, env, fired, steps, world
from known import Given
from remediator.actions import registry
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import ObjectRef
from remediator.domain.runs import RunOutcome
from remediator.engine.acceptance import AcceptedPolicy, accept_policy, accept_runbook
from remediator.testing.world import World, transcript
from worlds import fence

REDIS = ObjectRef.of("StatefulSet", "shop", "redis")

RAISE = """
targets: [Deployment]
remedies:
- name: bigger
  when: "true"
  steps:
  - {name: raise, setEnv: {container: app, vars: {QUEUE: {value: "500"}}}}
  verify: [{alertResolved: {quietFor: 1m, within: 10m}}]
otherwise:
- {name: handOver, escalate: {to: on-call}}
"""

DELETE = """
targets: [Deployment]
remedies:
- name: again
  when: "true"
  steps:
  - {name: delete, deletePod: {name: checkout-0}, target: {kind: StatefulSet, name: checkout}}
otherwise:
- {name: handOver, escalate: {to: on-call}}
"""

ONE_AT_A_TIME = """
targets: [Deployment]
diagnose:
- {name: pods, get: {kind: Pod, related: owned}, target: {kind: StatefulSet, name: redis}}
remedies:
- name: again
  when: diagnosis.pods.items.exists(p, !p.ready)
  steps:
  - name: delete
    forEach: diagnosis.pods.items.filter(p, !p.ready)
    maxItems: 3
    target: {kind: Pod, name: '${item.name}'}
    deletePod: {}
  verify: [{alertResolved: {quietFor: 1m, within: 10m}}]
"""


def stateful(name: str, replicas: int = 3) -> Object:
    made = deployment(name, replicas=replicas)
    made["kind"] = "StatefulSet"
    return {**made, "spec": {**made["spec"], "serviceName": name}}


def budget(**spec: Any) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"app": "checkout"}}, **spec},
    }


BUDGET = ObjectRef.of("PodDisruptionBudget", "shop", "checkout")


def replicate(made: World, replicas: int) -> None:
    made.cluster.change(CHECKOUT, lambda obj: obj["spec"].update(replicas=replicas))
    made.cluster.tick()


def let_go(made: World, least: int) -> None:
    """So many pods are enough for the budget from here on."""
    made.cluster.change(BUDGET, lambda obj: obj["spec"].update(minAvailable=least))


def break_pod(made: World, name: str) -> str:
    """The pod is not ready any more; its UID."""

    def edit(obj: Object) -> None:
        obj["status"]["conditions"] = [{"type": "Ready", "status": "False"}]

    ref = ObjectRef.of("Pod", "shop", name)
    made.cluster.change(ref, edit)
    return uid(made, name)


def uid(made: World, name: str) -> str:
    return dig_text(made.cluster.get(ObjectRef.of("Pod", "shop", name)), "metadata", "uid")


def is_ready(made: World, name: str) -> bool:
    ref = ObjectRef.of("Pod", "shop", name)
    if not made.cluster.has(ref):
        return False
    conditions: Any = made.cluster.get(ref)["status"]["conditions"]
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def calls(made: World, resource: str) -> list[str]:
    """Who asked for that resource, call by call."""
    return [call.identity.account or "operator" for call in made.cluster.calls if call.resource == resource]


async def test_s24_pods_are_deleted_one_at_a_time_each_ready_before_the_next_and_a_ready_one_is_not_touched() -> None:
    made = world(ONE_AT_A_TIME, objects=(stateful("redis"),))
    before = {name: uid(made, name) for name in ("redis-0", "redis-1", "redis-2")}
    break_pod(made, "redis-0")
    break_pod(made, "redis-2")
    made.cluster.tick()
    serving: list[int] = []
    made.cluster.refuse_when(
        lambda write, _: (
            serving.append(sum(is_ready(made, name) for name in before)) or ""
            if write.verb == "delete" and not write.dry_run
            else ""
        )
    )
    made.resolve_when(lambda: all(is_ready(made, name) for name in before))

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert serving == [1, 2]
    after = {name: uid(made, name) for name in before}
    assert [name for name in before if before[name] != after[name]] == ["redis-0", "redis-2"]


async def test_a_pod_that_serves_is_left_alone_where_others_are_out_already() -> None:
    made = world(DELETE, objects=(stateful("checkout"),))
    break_pod(made, "checkout-1")
    made.cluster.tick()
    kept = uid(made, "checkout-0")

    run = await carried_out(made)

    assert run.status.ending is not None
    assert (run.status.outcome, run.status.ending.reason) == (RunOutcome.REFUSED, "BlastRadius"), transcript(run)
    assert "1 of 3 replicas of StatefulSet shop/checkout is out of service" in run.status.ending.message
    assert uid(made, "checkout-0") == kept
    assert len(made.notifier.sent) == 1


async def test_a_spent_disruption_budget_holds_a_rollout_until_it_lets_go() -> None:
    made = world(RAISE, objects=(budget(minAvailable=4),))
    replicate(made, 4)
    made.resolve_when(lambda: env(made, "QUEUE") == "500")

    held = await made.settle(await fired(made), within=timedelta(minutes=2))

    assert held.status.held is not None and held.status.held.reason == "DisruptionBudget"
    assert env(made, "QUEUE") is None and not held.status.locks

    let_go(made, 3)
    run = await made.settle(held)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert env(made, "QUEUE") == "500"


async def test_a_budget_that_never_lets_go_ends_the_step_when_its_time_is_over() -> None:
    made = world(RAISE, objects=(budget(minAvailable=4),))
    replicate(made, 4)

    run = await carried_out(made)

    assert run.status.ending is not None
    assert (run.status.outcome, run.status.ending.reason) == (RunOutcome.REFUSED, "DisruptionBudget")
    assert run.status.ending.message.endswith("nothing changed within 5m0s"), run.status.ending.message
    assert changes(made) == 0
    assert len(made.notifier.sent) == 1


async def test_what_a_change_could_harm_is_read_by_the_operator_and_only_as_far_as_it_matters() -> None:
    made = world(RAISE)
    replicate(made, 4)
    made.resolve_when(lambda: env(made, "QUEUE") == "500")

    await carried_out(made)

    assert calls(made, "poddisruptionbudgets") == ["operator", "operator"]  # before the lock, and after it
    assert not calls(made, "resourcequotas") + calls(made, "limitranges") + calls(made, "horizontalpodautoscalers")


async def test_quotas_are_read_where_a_rollout_begins_with_a_pod_more() -> None:
    made = world(RAISE)  # two replicas: none may be missing, so one is made beside them
    made.resolve_when(lambda: env(made, "QUEUE") == "500")

    await carried_out(made)

    assert calls(made, "resourcequotas") == ["operator", "operator"]
    assert not calls(made, "limitranges")  # there is no quota that they would count for


async def test_a_rollout_that_could_not_begin_for_want_of_quota_is_not_begun() -> None:
    full: Object = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "pods", "namespace": "shop"},
        "spec": {"hard": {"pods": "2"}},
        "status": {"hard": {"pods": "2"}, "used": {"pods": "2"}},
    }
    made = world(RAISE, objects=(full,))

    run = await carried_out(made)

    assert run.status.ending is not None
    assert (run.status.outcome, run.status.ending.reason) == (RunOutcome.REFUSED, "OutOfBounds")
    assert "ResourceQuota pods has 0 of pods left" in run.status.ending.message
    assert changes(made) == 0


def managed() -> Object:
    made = deployment()
    return {**made, "metadata": {**made["metadata"], "labels": {"argocd.argoproj.io/instance": "shop"}}}


async def test_a_managed_object_is_changed_only_where_the_policy_says_so() -> None:
    careful, daring = world(RAISE), world(RAISE, managedTargets="Change")
    for made in (careful, daring):
        made.cluster.change(CHECKOUT, lambda obj: obj["metadata"].update(labels=managed()["metadata"]["labels"]))
    daring.resolve_when(lambda: env(daring, "QUEUE") == "500")

    refused, made_anyway = await carried_out(careful), await carried_out(daring)

    assert refused.status.ending is not None and refused.status.ending.reason == "ManagedElsewhere"
    assert env(careful, "QUEUE") is None
    assert made_anyway.status.outcome is RunOutcome.REMEDIATED, transcript(made_anyway)


async def test_a_restart_waits_out_a_rollout_that_began_after_its_plan() -> None:
    restarting = RAISE.replace('setEnv: {container: app, vars: {QUEUE: {value: "500"}}}', "restart: {}")
    made = world(restarting, grace="5m")
    held = await made.settle(await fired(made), within=timedelta(minutes=1))
    assert held.status.held is not None and held.status.held.reason == "InGrace"
    made.cluster.change(CHECKOUT, lambda obj: obj["status"].update(observedGeneration=0))
    made.cluster.controllers.stopped = True
    made.clock.advance(timedelta(minutes=5))

    held = await made.settle(held, within=timedelta(minutes=1))

    assert held.status.held is not None and held.status.held.reason == "RolloutInProgress", transcript(held)
    made.cluster.controllers.stopped = False
    made.resolve_when(lambda: changes(made) == 1)
    run = await made.settle(held)
    assert (run.status.outcome, steps(run)) == (RunOutcome.REMEDIATED, {"raise": "Done"}), transcript(run)


async def test_an_inhibiting_alert_holds_the_change_until_it_resolves() -> None:
    down = replace(FIRING, fingerprint="aaaaaaaaaaaaaaaa", labels={"alertname": "DatabaseDown", "namespace": "shop"})
    made = world(RAISE, inhibitedBy=[{"matchers": ['alertname="DatabaseDown"'], "equal": ["namespace"]}])
    made.alerts.fire(down)
    made.resolve_when(lambda: env(made, "QUEUE") == "500")

    held = await made.settle(await fired(made), within=timedelta(minutes=10))

    assert held.status.held is not None and held.status.held.reason == "Inhibited", transcript(held)
    assert env(made, "QUEUE") is None
    assert not held.status.attempts[-1].diagnosed_at  # nothing is looked at for a mere symptom
    assert made.alerts.asked.count({"alertname": "DatabaseDown"}) <= 15  # once a minute, and not more

    made.alerts.resolve(down.fingerprint)
    run = await made.settle(held)
    assert (run.status.outcome, env(made, "QUEUE")) == (RunOutcome.REMEDIATED, "500"), transcript(run)


async def test_a_condition_of_an_inhibition_reads_what_the_runbook_reads() -> None:
    book = RAISE.replace("remedies:", "diagnose: [{name: pods, get: {kind: Pod, related: owned}}]\nremedies:")
    when = "latest.pods.items.all(p, p.node == inhibitor.labels.node)"
    made = world(book, inhibitedBy=[{"matchers": ['alertname="NodeDown"'], "when": when}])
    labels = {"alertname": "NodeDown", "node": "node-1"}
    made.alerts.fire(replace(FIRING, fingerprint="aaaaaaaaaaaaaaaa", labels=labels))
    made.alerts.fire(replace(FIRING, fingerprint="bbbbbbbbbbbbbbbb", labels={**labels, "node": "node-2"}))
    made.resolve_when(lambda: env(made, "QUEUE") == "500")

    held = await made.settle(await fired(made), within=timedelta(minutes=5))

    assert held.status.held is not None and held.status.held.reason == "Inhibited", transcript(held)
    made.alerts.resolve("aaaaaaaaaaaaaaaa")
    run = await made.settle(held)
    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)


async def test_an_alert_that_begins_to_fire_after_the_diagnosis_still_holds_the_change() -> None:
    made = world(RAISE, grace="2m", inhibitedBy=[{"matchers": ['alertname="DatabaseDown"']}])
    held = await made.settle(await fired(made), within=timedelta(minutes=1))
    assert held.status.held is not None and held.status.held.reason == "InGrace"
    labels = {"alertname": "DatabaseDown", "namespace": "shop"}
    made.alerts.fire(replace(FIRING, fingerprint="aaaaaaaaaaaaaaaa", labels=labels))

    held = await made.settle(held, within=timedelta(minutes=5))

    assert held.status.held is not None and held.status.held.reason == "Inhibited", transcript(held)
    assert env(made, "QUEUE") is None


# nodes

DRAIN = """
targets: [Node]
remedies:
- name: empty
  when: "true"
  steps:
  - {name: close, cordon: {}}
  - {name: evict, timeout: 10m, drain: {}}
  verify: [{alertResolved: {quietFor: 1m, within: 10m}}]
otherwise:
- {name: handOver, escalate: {to: on-call}}
"""
NODE = ObjectRef.of("Node", "", "n1")
NODE_DOWN = replace(FIRING, labels={"alertname": "KubeNodeUnreachable", "node": "n1"})


def cluster_of(nodes: int, *objects: Object, lost: int = 0) -> tuple[World, AcceptedPolicy]:
    """A cluster of n1, n2 and so on, the last of them lost, and a policy of the operator's namespace."""
    book = accept_runbook("remediator-system", "nodes", "rb-uid", 1, yaml.safe_load(DRAIN), registry)
    spec = {
        "matchers": ['alertname="KubeNodeUnreachable"'],
        "runbookRef": {"name": "nodes"},
        "mode": "Automatic",
        "serviceAccountName": "fixer",
        "grace": "0s",
    }
    policy = accept_policy("remediator-system", "nodes", "p", 1, spec, book, "remediator-system", can_ask=True)
    made = World(Given(policy=policy, book=book, allowed=fence("cordon", "drain")))
    for number in range(1, nodes + 1):
        ready = "Unknown" if number > nodes - lost else "True"
        status: Object = {"conditions": [{"type": "Ready", "status": ready}]}
        made.cluster.add({"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"n{number}"}, "status": status})
    made.cluster.add(*objects)
    made.cluster.tick()
    return made, policy


def nodes_of(made: World, app: str) -> list[str]:
    pods = [pod for pod in made.cluster.objects("Pod") if dig_text(pod, "metadata", "labels", "app") == app]
    return sorted(dig_text(pod, "spec", "nodeName") for pod in pods)


async def test_s08_while_40_percent_of_the_nodes_are_not_ready_none_is_drained_and_people_are_told_once() -> None:
    made, policy = cluster_of(10, deployment(), lost=4)

    run = await made.settle(await made.open_run(policy, NODE, NODE_DOWN))

    assert run.status.ending is not None
    assert (run.status.outcome, run.status.ending.reason) == (RunOutcome.REFUSED, "BlastRadius"), transcript(run)
    assert "4 of 10 nodes are not ready" in run.status.ending.message
    assert nodes_of(made, "checkout") == ["n1", "n1"]
    assert not [write for write in made.cluster.changes if write.identity.account]
    assert [sent.receiver for sent in made.notifier.sent] == ["on-call"]


async def test_a_node_is_emptied_as_fast_as_a_budget_allows() -> None:
    made, policy = cluster_of(3, deployment(), deployment("mail"), budget(minAvailable=2))

    held = await made.settle(await made.open_run(policy, NODE, NODE_DOWN), within=timedelta(minutes=2))

    assert held.status.held is not None and held.status.held.reason == "DisruptionBudget", transcript(held)
    assert "PodDisruptionBudgets hold 2 of 4 pods" in held.status.held.message
    assert (nodes_of(made, "mail"), nodes_of(made, "checkout")) == (["n2", "n2"], ["n1", "n1"])

    made.new_operator()  # a restart in the middle of the list finishes it, and selects nothing anew
    let_go(made, 1)
    made.resolve_when(lambda: nodes_of(made, "checkout") == ["n2", "n2"])
    run = await made.settle(held)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert steps(run) == {"close": "Done", "evict": "Done"}
    assert nodes_of(made, "checkout") == ["n2", "n2"]
    evictions = [write.ref.name for write in made.cluster.changes if write.sub == "eviction"]
    assert len(evictions) == len(set(evictions)) == 4


async def test_a_drain_that_a_budget_never_lets_finish_ends_with_its_time_and_is_given_up() -> None:
    made, policy = cluster_of(3, deployment(), budget(minAvailable=2))

    run = await made.settle(await made.open_run(policy, NODE, NODE_DOWN))

    assert run.status.ending is not None
    assert (run.status.outcome, run.status.ending.reason) == (RunOutcome.REFUSED, "DisruptionBudget"), transcript(run)
    assert "not finished within 10m0s: PodDisruptionBudgets hold 2 of 2 pods" in run.status.ending.message
    assert nodes_of(made, "checkout") == ["n1", "n1"]
    assert len(made.notifier.sent) == 1


async def test_an_alert_that_resolves_in_the_middle_of_a_drain_does_not_leave_half_a_node() -> None:
    made, policy = cluster_of(3, deployment(), deployment("mail"), budget(minAvailable=2))
    held = await made.settle(await made.open_run(policy, NODE, NODE_DOWN), within=timedelta(minutes=1))
    made.alerts.resolve()

    let_go(made, 1)
    run = await made.settle(held)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert nodes_of(made, "checkout") == ["n2", "n2"]


@pytest.mark.parametrize(
    ("labels", "holds"), [({}, True), ({"namespace": "shop"}, True), ({"namespace": "other"}, False)]
)
async def test_a_policy_of_a_namespace_learns_nothing_of_another_ones_alerts(
    labels: dict[str, str], holds: bool
) -> None:
    made = world(RAISE, inhibitedBy=[{"matchers": ['alertname="NodeDown"']}])
    made.alerts.fire(replace(FIRING, fingerprint="aaaaaaaaaaaaaaaa", labels={"alertname": "NodeDown", **labels}))
    made.resolve_when(lambda: env(made, "QUEUE") == "500")

    run = await made.settle(await fired(made), within=timedelta(minutes=10))

    assert (env(made, "QUEUE") == "500") is not holds, transcript(run)
