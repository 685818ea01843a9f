"""A run of one namespace reaches nothing else, whatever its actions ask for."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from flows import FIRING, FIXER, carried_out, deployment, env, fired, steps, world
from known import Given
from remediator.actions import registry
from remediator.domain.errors import Forbidden, InvalidManifest, NotFound, Rejected
from remediator.domain.json import Object
from remediator.domain.objects import BUILT_IN, Kind, ObjectRef
from remediator.engine.acceptance import AcceptedPolicy, accept_policy, accept_runbook
from remediator.handlers.confined import ConfinedAlerts, ConfinedCluster, ConfinedMetrics
from remediator.ports import Identity
from remediator.testing import NOON, FakeCluster, FakeMetrics
from remediator.testing.fakes import FakeAlertSource

POD, NODE = BUILT_IN["Pod"], BUILT_IN["Node"]
ISSUER = Kind("cert-manager.io", "v1", "ClusterIssuer", "clusterissuers", namespaced=False)
THEIRS = ObjectRef.of("Deployment", "blue", "checkout")
SECRETS = ObjectRef("", "Secret", "red", "password")


def cluster() -> FakeCluster:
    made = FakeCluster()
    made.serve(ISSUER)
    for namespace in ("red", "blue"):
        one = deployment()
        made.add({**one, "metadata": {"name": "checkout", "namespace": namespace}})
    made.add({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}})
    made.add({"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": "checkout"}})
    return made


def patch(value: str) -> list[Object]:
    return [{"op": "add", "path": "/metadata/labels", "value": {"by": value}}]


Try = Callable[[ConfinedCluster], Awaitable[Any]]
ATTEMPTS: dict[str, Try] = {
    "reading an object of another namespace": lambda c: c.read(THEIRS),
    "reading a node": lambda c: c.read(ObjectRef.of("Node", "", "node-1")),
    "reading a node with its own namespace beside it": lambda c: c.read(ObjectRef("", "Node", "red", "node-1")),
    "reading an object of a kind that is in no namespace": lambda c: c.read(
        ObjectRef.of("clusterissuer.cert-manager.io", "red", "checkout")
    ),
    "listing another namespace": lambda c: c.list(POD, "blue"),
    "listing all namespaces": lambda c: c.list(POD, ""),
    "listing nodes": lambda c: c.list(NODE),
    "listing a kind that is in no namespace": lambda c: c.list(ISSUER, "red"),
    "reading the log of another's pod": lambda c: c.logs(ObjectRef.of("Pod", "blue", "p"), container="app"),
    "creating in another namespace": lambda c: c.create(POD, {"metadata": {"namespace": "blue", "name": "p"}}),
    "creating in no namespace": lambda c: c.create(NODE, {"metadata": {"name": "p"}}),
    "changing another's object": lambda c: c.patch(THEIRS, patch("red")),
    "rehearsing a change of another's object": lambda c: c.patch(THEIRS, patch("red"), dry_run=True),
    "replacing another's object": lambda c: c.replace(BUILT_IN["Deployment"], deployment()),
    "deleting another's object": lambda c: c.delete(THEIRS),
    "evicting another's pod": lambda c: c.evict(ObjectRef.of("Pod", "blue", "p")),
    "deleting a namespace": lambda c: c.delete(ObjectRef.of("Namespace", "", "blue")),
    "watching another namespace": lambda c: c.watch(POD, "blue", _nobody),
    "becoming somebody else first": lambda c: c.acting_as(Identity(FIXER)).read(THEIRS),
}


async def _nobody(what: str, obj: Object) -> None:
    raise AssertionError("nothing is seen")


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
async def test_nothing_outside_of_the_namespace_is_reached(attempt: Try) -> None:
    inner = cluster()
    before = len(inner.calls)

    with pytest.raises(Forbidden, match="a run of namespace red reaches nothing outside of it"):
        await attempt(ConfinedCluster(inner, "red"))

    assert inner.calls[before:] == []


async def test_its_own_namespace_is_reached() -> None:
    own = ConfinedCluster(cluster(), "red")

    await own.patch(ObjectRef.of("Deployment", "red", "checkout"), patch("red"))

    assert (await own.read(ObjectRef.of("Deployment", "red", "checkout")))["metadata"]["labels"] == {"by": "red"}
    assert len((await own.list(BUILT_IN["Deployment"], "red")).items) == 1


async def test_an_object_that_is_gone_is_still_an_answer() -> None:
    with pytest.raises(NotFound):
        await ConfinedCluster(cluster(), "red").read(ObjectRef.of("Deployment", "red", "nothing"))


async def test_prometheus_is_asked_for_one_namespace_alone() -> None:
    inner = FakeMetrics()
    inner.answer('up{namespace="red"}', 1.0)

    (sample,) = await ConfinedMetrics(inner, "red").query("prometheus", "up", NOON)

    assert sample.value == 1.0
    assert [query for _, query, _ in inner.asked] == ['up{namespace="red"}']


async def test_a_query_that_cannot_be_confined_is_not_asked() -> None:
    inner = FakeMetrics()

    with pytest.raises(Rejected, match="cannot be confined to namespace red: up"):
        await ConfinedMetrics(inner, "red").query("prometheus", 'up{namespace="blue"}', NOON)

    assert inner.asked == []


async def test_alerts_of_other_namespaces_are_not_seen() -> None:
    own = replace(FIRING, labels={**FIRING.labels, "namespace": "red"})
    nobodys = replace(FIRING, fingerprint="n", labels={"alertname": "QueueFull"})
    inner = FakeAlertSource(own, replace(own, fingerprint="b", labels={**own.labels, "namespace": "blue"}), nobodys)
    seen = ConfinedAlerts(inner, "red")

    found = await seen.firing({"alertname": "QueueFull"})

    assert found.alerts == (own,)
    assert inner.asked == [{"alertname": "QueueFull", "namespace": "red"}]
    assert (await seen.firing({"namespace": "blue"})).alerts == ()


async def test_a_source_that_does_not_answer_stays_unknown() -> None:
    inner = FakeAlertSource()
    inner.unreachable = True

    assert (await ConfinedAlerts(inner, "red").firing({})).alerts is None


# --- the same in a whole run ----------------------------------------------------------------------

ASKS = """
targets: [Deployment]
parameters:
- {name: query, type: string, default: up}
diagnose:
- name: health
  promql: {query: '${params.query}'}
remedies:
- name: bigger
  when: diagnosis.health.value > 0.0
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
verify:
- promql: {query: '${params.query}', above: "0", within: 1m}
"""


async def test_a_run_asks_prometheus_about_its_own_namespace_and_the_alerts_too() -> None:
    made = world(ASKS)
    made.alerts.fire(FIRING)
    made.metrics.answer('up{namespace="shop"}', 1.0)

    run = await carried_out(made)

    assert str(run.status.outcome) == "Remediated"
    assert {query for _, query, _ in made.metrics.asked} == {'up{namespace="shop"}'}
    assert made.alerts.asked and all(asked["namespace"] == "shop" for asked in made.alerts.asked)


async def test_a_rendered_query_about_others_is_unknown_and_nothing_is_changed() -> None:
    made = world(ASKS, parameters={"query": 'up{namespace="blue"}'})
    made.alerts.fire(FIRING)

    run = await carried_out(made)

    assert (str(run.status.outcome), run.status.ending and run.status.ending.reason) == ("NoRemedy", "FactUnknown")
    said = run.status.attempts[0].diagnosis[0]
    assert not said.known
    assert "cannot be confined to namespace shop" in said.summary
    assert made.metrics.asked == []
    assert env(made, "QUEUE") is None


async def test_a_check_about_others_says_why_it_knows_nothing() -> None:
    made = world(ASKS.replace("when: diagnosis.health.value > 0.0", "when: 'true'"), parameters={"query": "info(up)"})
    made.alerts.fire(FIRING)

    run = await carried_out(made)

    assert steps(run) == {"raise": "Done"}
    (check,) = run.status.attempts[0].checks
    assert str(check.verdict) == "Inconclusive"
    assert "cannot be confined to namespace shop" in check.message


READS = """
targets: [Deployment]
diagnose:
- name: seen
  get: {GET}
remedies: []
"""


@pytest.mark.parametrize(
    "get",
    ["kind: Node", "kind: Node, name: node-1", "kind: Pod, related: onNode", "kind: clusterissuer.cert-manager.io"],
)
async def test_a_diagnostic_sees_nothing_that_is_in_no_namespace(get: str) -> None:
    made = world(READS.replace("{GET}", "{" + get + "}"))
    made.cluster.serve(ISSUER)
    made.cluster.add({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}})
    made.alerts.fire(FIRING)

    run = await made.settle(await fired(made))

    said = run.status.attempts[0].diagnosis[0]
    assert not said.known
    assert "a run of namespace shop reaches nothing outside of it" in said.summary


# --- what can be told before it runs --------------------------------------------------------------

STATIC = """
targets: [Deployment]
diagnose:
- name: health
  promql: {query: 'up{namespace="blue"}'}
remedies:
- name: nothing
  conclude: NotNeeded
verify:
- promql: {query: 'info(up)', above: "0", within: 1m}
"""


def accepted(namespace: str) -> AcceptedPolicy:
    spec = {"matchers": ['alertname="A"'], "runbookRef": {"name": "queue"}, "serviceAccountName": "fixer"}
    book = accept_runbook(namespace, "queue", "u", 1, yaml.safe_load(STATIC), registry)
    return accept_policy(namespace, "p", "u", 1, spec, book, operator_namespace="remediator-system", can_ask=True)


def test_a_policy_whose_runbook_asks_about_others_is_not_accepted() -> None:
    with pytest.raises(InvalidManifest) as refusal:
        accepted("red")

    said = [(problem.path, problem.message) for problem in refusal.value.problems]
    assert [path for path, _ in said] == ["spec.runbookRef", "spec.runbookRef"]
    assert 'Runbook red/queue asks Prometheus "up{namespace=\\"blue\\"}", which cannot be confined to' in said[0][1]
    assert "it uses info()" in said[1][1]


def test_a_policy_of_the_operators_namespace_may_ask_about_everybody() -> None:
    assert accepted("remediator-system").runbook.name == "queue"


async def test_a_run_by_hand_of_such_a_runbook_is_refused() -> None:
    made = world(STATIC.replace('up{namespace="blue"}', "up").replace("info(up)", "up"))
    known = made.outside.definitions
    assert isinstance(known, Given)
    known.book = accept_runbook("shop", "queue", "u", 2, yaml.safe_load(STATIC), registry)
    made.metrics.answer('up{namespace="shop"}', 1.0)

    run = await carried_out(made)

    assert str(run.status.outcome) == "Refused"
    assert "cannot be confined to namespace shop" in run.status.message


BY_HAND = """
targets: [Deployment, Node, clusterissuer.cert-manager.io]
remedies:
- name: nothing
  conclude: NotNeeded
"""


@pytest.mark.parametrize(
    "target",
    [
        {"kind": "Deployment", "namespace": "blue", "name": "checkout"},
        {"kind": "Node", "name": "node-1"},
        {"kind": "clusterissuer.cert-manager.io", "namespace": "shop", "name": "checkout"},
    ],
    ids=lambda target: target["kind"],
)
async def test_a_run_by_hand_is_about_its_own_namespace(target: Object) -> None:
    made = world(BY_HAND)
    made.cluster.serve(ISSUER)
    made.cluster.add(
        *cluster().objects("Node"), {**deployment(), "metadata": {"name": "checkout", "namespace": "blue"}}
    )
    spec: Object = {"runbookRef": {"name": "queue"}, "target": target, "serviceAccountName": "fixer"}

    run = await made.settle(await made.create_run("shop", "by-hand", spec))

    assert str(run.status.outcome) == "Refused"
    assert "a run of namespace shop reaches nothing outside of it" in run.status.message
