"""
Two tenants of one cluster, each of whom tries to reach the other, on a real API server with the shipped roles.

Both may do in their namespaces what Kubernetes' role `edit` gives, and the operator acts there as the overlay
lets it; somebody has bound the accounts of their runs in all namespaces, so that what holds is the operator's own
fence. Everything is written by the tenants themselves and tried at once; each case then looks at what came of
its own attempt: a refusal by the API server, a policy that is not Ready, a run that was refused, or nothing seen.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.installed import (
    GROUP,
    OURS,
    Installation,
    Object,
    Shop,
    alert_policy,
    deployment,
    ending,
    eventually,
    runbook,
)
from localcluster import CommandFailed, query
from localcluster.controlplane import OPERATOR
from localcluster.operator import NAMESPACE, TENANT_ACCOUNT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ACTS = """
targets: [Deployment]
sharedWith: ["nobody-*"]
parameters:
- {name: other, type: reference, default: {kind: Deployment, name: checkout}}
- {name: query, type: string, default: 'count by (namespace) ({__name__=~".+"})'}
diagnose:
- name: seen
  target: {parameter: other}
  get: {}
- name: series
  promql: {query: '${params.query}'}
remedies:
- name: bigger
  steps:
  - name: raise
    target: {parameter: other}
    setEnv: {container: app, vars: {QUEUE: {value: "666"}}}
  verify: []
"""
READS = """
targets: [Deployment]
parameters:
- {name: place, type: string, default: none}
diagnose:
- {name: nodes, get: {kind: Node}}
- {name: onNode, get: {kind: Pod, related: onNode}}
- {name: namespaces, get: {kind: Namespace, name: '${params.place}'}}
- {name: above, get: {kind: Pod, name: '..'}}
- {name: below, get: {kind: Pod, name: '../../${params.place}/pods'}}
- {name: wide, get: {kind: Deployment, selector: 'app in (checkout)'}}
- name: logs
  target: {kind: Deployment, name: checkout, namespace: '${params.place}'}
  logs: {}
- name: events
  target: {kind: Deployment, name: checkout, namespace: '${params.place}'}
  events: {}
- name: each
  forEach: '[params.place]'
  target: {kind: Deployment, name: checkout, namespace: '${item}'}
  get: {}
remedies: []
"""
TELLS = """
targets: [Deployment]
remedies: []
otherwise:
- name: tell
  notify: {to: of-the-other, message: hello}
"""
ASKS = """
targets: [Deployment]
diagnose:
- name: series
  promql: {query: 'up{namespace="OTHER"}'}
remedies: []
"""
RESTS = """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  verify: []
"""


class Tenant:
    """A person with the role `edit` in a namespace, and what he does there."""

    def __init__(self, installation: Installation, name: str) -> None:
        self.shop: Shop = installation.shop(f"tenant-{name}")
        self.shop.open("setEnv")
        self.user = f"tenant-{self.shop.name}"
        self.kubeconfig: Path = installation.cluster.kubeconfig_for(self.user)
        self.other: Tenant = self
        installation.cluster.run_kubectl(
            "create", "rolebinding", "tenant", "-n", self.name, "--clusterrole=edit", f"--user={self.user}"
        )
        for role in ("read", "change"):
            installation.cluster.run_kubectl(
                "create", "clusterrolebinding", f"{self.name}-{role}", f"--clusterrole=remediator-{role}",
                f"--serviceaccount={self.name}:{TENANT_ACCOUNT}",
            )  # fmt: skip
        eventually(lambda: self.may("create", "alertpolicies.remediator.dev", self.name), "the role is not in force")

    @property
    def name(self) -> str:
        return self.shop.name

    def kubectl(self, *command: str, manifest: Object | None = None) -> str:
        text = json.dumps(manifest) if manifest is not None else None
        return self.shop.cluster.run_kubectl(*command, kubeconfig=self.kubeconfig, input=text)

    def refused(self, *command: str, manifest: Object | None = None) -> str:
        """What the API server says to the attempt."""
        with pytest.raises(CommandFailed) as attempt:
            self.kubectl(*command, manifest=manifest)
        return attempt.value.stderr

    def may(self, verb: str, resource: str, namespace: str) -> bool:
        try:
            self.kubectl("auth", "can-i", verb, resource, "-n", namespace)
        except CommandFailed:
            return False
        return True

    def writes(self, *manifests: Object) -> None:
        for one in manifests:
            one["metadata"]["namespace"] = self.name
        self.kubectl("apply", "-f", "-", manifest={"apiVersion": "v1", "kind": "List", "items": [*manifests]})

    def policy(self, name: str, alertname: str, **spec: Any) -> Object:
        """A policy of his that acts at once on alerts of this name."""
        return alert_policy(name, **{"matchers": [f'alertname="{alertname}"'], **spec})

    def run(self, name: str, **spec: Any) -> Object:
        target = {"kind": "Deployment", "namespace": self.name, "name": "checkout"}
        asked: Object = {
            "runbookRef": {"name": "acts"},
            "target": target,
            "mode": "Automatic",
            "serviceAccountName": TENANT_ACCOUNT,
            "requestedBy": self.user,
            **spec,
        }
        return {"apiVersion": GROUP, "kind": "RunbookRun", "metadata": {"name": name}, "spec": asked}

    def ended(self, name: str) -> Object:
        """His run by hand at its end."""
        path = f"{OURS}/namespaces/{self.name}/runbookruns/{name}"
        found = eventually(
            lambda: run if (run := self.shop.api.get(path)).get("status", {}).get("outcome") else None,
            f"{name} is open",
        )
        assert found is not None
        return found

    def not_ready(self, policy: str) -> tuple[str, str]:
        """Why a policy of his is not Ready."""
        found = eventually(lambda: self.shop.ready(policy), f"{policy} was not looked at")
        assert found["status"] == "False", found
        return found["reason"], found["message"]


def begin(tenant: Tenant) -> None:
    """Everything that he tries, written at once; what is refused at once is tried by its test."""
    other, shop = tenant.other.name, tenant.shop
    elsewhere = {"kind": "Deployment", "name": "checkout", "namespace": other}
    workload = deployment(metadata={"annotations": {"prometheus.io/port": "9"}})  # nobody answers, and so `up` is 0
    workload["metadata"]["labels"] = {"app": "checkout"}
    tenant.writes(
        workload,
        runbook(ACTS, "acts"),
        runbook(READS, "reads"),
        runbook(TELLS, "tells"),
        runbook(ASKS.replace("OTHER", other), "asks"),
        runbook(RESTS, "rests"),
        tenant.policy("own", "Theirs", runbookRef={"name": "reads"}, mode="Diagnose"),
        tenant.policy("matchers", "Theirs", matchers=[f'namespace="{other}"'], runbookRef={"name": "acts"}),
        tenant.policy("target", "A", target=elsewhere, runbookRef={"name": "acts"}),
        tenant.policy(
            "template",
            "Template",
            target={**elsewhere, "namespace": "${alert.labels.place}"},
            runbookRef={"name": "acts"},
        ),
        tenant.policy(
            "label",
            "Label",
            target={"kind": "Deployment", "name": "${alert.labels.object}"},
            runbookRef={"name": "acts"},
        ),
        tenant.policy("found", "Found", runbookRef={"name": "acts"}),
        tenant.policy("runbook", "A", runbookRef={"name": "acts", "namespace": other}),
        tenant.policy("receiver", "A", runbookRef={"name": "tells"}),
        tenant.policy("query", "A", runbookRef={"name": "asks"}),
        tenant.policy("account", "A", runbookRef={"name": "acts"}, serviceAccountName="default"),
        tenant.policy("rests", "Rests", runbookRef={"name": "rests"}, limits={"cooldown": "1h"}),
        tenant.run("target", target=elsewhere),
        tenant.run("parameter", parameters={"other": elsewhere}),
        tenant.run("reads", runbookRef={"name": "reads"}, parameters={"place": other}, mode="Diagnose"),
        tenant.run("query", parameters={"query": f'up{{namespace="{other}"}}'}, mode="Diagnose"),
    )
    names = ["own", "matchers", "template", "label", "found", "rests"]
    shop._wait_for("AlertPolicy", names, tenant.name)
    for name in names:
        eventually(
            lambda name=name: shop.ready(name).get("status") == "True", f"{name} is not ready: {shop.ready(name)}"
        )


def fire(tenant: Tenant) -> None:
    other, shop = tenant.other.name, tenant.shop
    shop.fire("Theirs")
    shop.fire("Template", place=other)
    shop.fire("Label", object=f"../../{other}/deployments/checkout")
    shop.fire("Label", object=f"..%2F..%2F{other}%2Fdeployments%2Fcheckout")
    shop.fire("Found", exported_namespace=other, deployment="checkout")


@pytest.fixture(scope="module")
def tenants(installation: Installation) -> Iterator[tuple[Tenant, Tenant]]:
    """Red and blue, who have tried everything."""
    red, blue = Tenant(installation, "red"), Tenant(installation, "blue")
    red.other, blue.other = blue, red
    for tenant in (red, blue):
        receivers = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "remediator-receivers"}}
        key = "of-red" if tenant is red else "of-the-other"
        tenant.writes({**receivers, "stringData": {key: "json://127.0.0.1:9/"}})
        begin(tenant)
    for tenant in (red, blue):
        fire(tenant)
    yield red, blue
    for tenant in (red, blue):
        bindings = [f"{tenant.name}-{role}" for role in ("read", "change")]
        installation.cluster.run_kubectl("delete", "clusterrolebinding", *bindings)


@pytest.fixture
def red(tenants: tuple[Tenant, Tenant]) -> Tenant:
    """Who attacks; blue has tried the same at the same time."""
    return tenants[0]


def both(tenants: tuple[Tenant, Tenant], look: Callable[[Tenant], Any]) -> list[Any]:
    return [look(tenant) for tenant in tenants]


# --- by the words of a policy ---------------------------------------------------------------------


def test_matchers_bring_no_alert_of_the_other(tenants: tuple[Tenant, Tenant]) -> None:
    for tenant in tenants:
        tenant.shop.ended("own")  # the alert was there, and went to the policy of its own namespace

        assert tenant.other.shop.runs("matchers") == []
        assert tenant.shop.runs("matchers") == []


def test_a_policy_about_the_others_object_is_not_ready(tenants: tuple[Tenant, Tenant]) -> None:
    for tenant in tenants:
        reason, message = tenant.not_ready("target")

        assert reason == "Invalid"
        assert f"a policy of the namespace {tenant.name} is about its own namespace only" in message


@pytest.mark.parametrize("policy", ["template", "label", "found"])
def test_an_alerts_label_leads_to_no_object_of_the_other(tenants: tuple[Tenant, Tenant], policy: str) -> None:
    for tenant in tenants:
        run = tenant.shop.ended(policy)

        assert run["spec"]["target"]["kind"] == "unresolved"
        assert run["spec"]["target"]["namespace"] == tenant.name
        assert ending(run)[0] != "Remediated"


def test_a_runbook_that_is_not_shared_is_nobody_elses(tenants: tuple[Tenant, Tenant]) -> None:
    for tenant in tenants:
        reason, message = tenant.not_ready("runbook")

        assert reason == "Invalid"
        assert f"Runbook {tenant.other.name}/acts is not shared with the namespace {tenant.name}" in message


def test_a_receiver_of_the_other_is_unknown(red: Tenant) -> None:
    reason, message = red.not_ready("receiver")

    assert reason == "ReceiverUnknown"
    assert "of-the-other" in message


def test_a_query_about_the_other_is_said_before_it_runs(tenants: tuple[Tenant, Tenant]) -> None:
    for tenant in tenants:
        reason, message = tenant.not_ready("query")

        assert reason == "Invalid"
        assert f"which cannot be confined to namespace {tenant.name}" in message


def test_an_account_that_the_overlay_does_not_name_is_nobodys_to_act_as(tenants: tuple[Tenant, Tenant]) -> None:
    for tenant in tenants:
        reason, message = tenant.not_ready("account")

        assert reason == "NotPermitted"
        assert "the operator may not act as" in message


@pytest.mark.parametrize("account", ["../OTHER/remediator-runs", "system:serviceaccount:OTHER:remediator-runs"])
def test_an_account_of_the_other_has_no_name_here(red: Tenant, account: str) -> None:
    policy = red.policy("thief", "A", serviceAccountName=account.replace("OTHER", red.other.name))
    policy["metadata"]["namespace"] = red.name

    assert "serviceAccountName" in red.refused("create", "-f", "-", manifest=policy)


# --- by a run by hand -----------------------------------------------------------------------------


def test_a_run_about_the_others_object_is_refused(tenants: tuple[Tenant, Tenant]) -> None:
    for tenant in tenants:
        run = tenant.ended("target")

        assert ending(run) == ("Refused", "NotPermitted")
        assert f"a run of namespace {tenant.name} reaches nothing outside of it" in run["status"]["message"]


def test_a_parameter_that_names_the_others_object_neither_reads_nor_changes_it(
    tenants: tuple[Tenant, Tenant],
) -> None:
    for tenant in tenants:
        run = tenant.ended("parameter")
        (seen, _) = run["status"]["attempts"][0]["diagnosis"]

        assert "known" not in seen or not seen["known"]
        assert f"Deployment {tenant.other.name}/checkout is outside namespace {tenant.name}" in seen["summary"]
        assert ending(run) == ("Refused", "NotPermitted")
        assert "is outside namespace" in run["status"]["message"]


def test_no_diagnostic_sees_anything_of_the_other(tenants: tuple[Tenant, Tenant]) -> None:
    for tenant in tenants:
        run = tenant.ended("reads")
        found = {one["name"]: one for one in run["status"]["attempts"][0]["diagnosis"]}
        known = {name for name, one in found.items() if one.get("known", True)}

        assert known <= {"wide", "below"}, found
        assert "items 1" in found["wide"]["summary"]
        assert tenant.other.name not in json.dumps(run["status"]["attempts"][0].get("outputs", {}).get("wide"))


def test_prometheus_answers_with_series_of_the_own_namespace_alone(
    tenants: tuple[Tenant, Tenant], installation: Installation
) -> None:
    names = {tenant.name for tenant in tenants}

    def seen() -> bool:
        found = query(installation.prometheus, "up")
        return {one["metric"].get("namespace") for one in found} >= names

    eventually(seen, "Prometheus does not scrape both")
    for tenant in tenants:
        run = {**tenant.run("series", mode="Diagnose")}
        run["metadata"]["namespace"] = tenant.name
        tenant.kubectl("create", "-f", "-", manifest=run)

    for tenant in tenants:
        series = tenant.ended("series")["status"]["attempts"][0]["outputs"]["series"]

        assert series["known"], series
        assert {one["labels"].get("namespace") for one in series["samples"]} == {tenant.name}


def test_a_rendered_query_about_the_other_is_not_answered(tenants: tuple[Tenant, Tenant]) -> None:
    for tenant in tenants:
        (_, series) = tenant.ended("query")["status"]["attempts"][0]["diagnosis"]

        assert f"the query cannot be confined to namespace {tenant.name}" in series["summary"]


def test_the_others_runbook_is_not_run_by_hand(red: Tenant) -> None:
    run = red.run("thief", runbookRef={"name": "acts", "namespace": red.other.name})
    run["metadata"]["namespace"] = red.name

    said = red.refused("create", "-f", "-", manifest=run)

    assert f"{red.user} may not run Runbook {red.other.name}/acts" in said


# --- by the API itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["policy", "run", "runbook"])
def test_nothing_is_put_into_the_others_namespace(red: Tenant, kind: str) -> None:
    made = {"policy": red.policy("thief", "A"), "run": red.run("thief"), "runbook": runbook(RESTS, "thief")}[kind]
    made["metadata"]["namespace"] = red.other.name

    assert "Forbidden" in red.refused("create", "-f", "-", manifest=made)


def test_no_word_of_his_reaches_a_run_of_the_other(red: Tenant) -> None:
    run = red.other.shop.ended("own")
    spec = {
        "runRef": {"name": run["metadata"]["name"], "uid": run["metadata"]["uid"]},
        "type": "Stop",
        "user": red.user,
    }
    word: Object = {"apiVersion": GROUP, "kind": "Reply", "metadata": {"name": "thief"}, "spec": spec}

    for namespace in (red.other.name, red.name):
        word["metadata"]["namespace"] = namespace
        assert "Forbidden" in red.refused("create", "-f", "-", manifest=word)


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("get", "configmaps"),  # evidence
        ("get", "runbookruns.remediator.dev"),
        ("get", "secrets"),  # receivers
        ("get", "runbooks.remediator.dev"),
        ("impersonate", "serviceaccounts"),
    ],
)
def test_what_the_other_has_is_not_read(red: Tenant, verb: str, resource: str) -> None:
    assert not red.may(verb, resource, red.other.name)


@pytest.mark.parametrize("verb", ["create", "update", "patch", "delete"])
@pytest.mark.parametrize("resource", ["leases.coordination.k8s.io", "configmaps", "secrets", "runbooks.remediator.dev"])
def test_the_ledger_and_the_configuration_are_nobodys_to_write(red: Tenant, verb: str, resource: str) -> None:
    assert not red.may(verb, resource, NAMESPACE)


@pytest.mark.parametrize("verb", ["update", "patch"])
def test_nobody_writes_what_a_run_says_of_itself(red: Tenant, verb: str) -> None:
    assert not red.may(verb, "runbookruns.remediator.dev/status", red.name)


def test_a_guardrail_is_not_a_tenants_to_change(red: Tenant) -> None:
    for verb in ("create", "update", "patch", "delete"):
        assert not red.may(verb, "guardrails.remediator.dev", red.name)


# --- what is left of it all -----------------------------------------------------------------------


def test_deleting_runs_deletes_no_cooldown(red: Tenant) -> None:
    shop = red.shop
    shop.fire("Rests")
    first = shop.ended("rests")
    assert first["status"]["outcome"] in ("Done", "Remediated")

    shop.resolve("Rests")
    red.kubectl("delete", "runbookrun", first["metadata"]["name"], "-n", red.name)
    shop.set_env("QUEUE", "200")
    shop.fire("Rests", again="yes")
    held = eventually(
        lambda: [run for run in shop.runs("rests") if run.get("status", {}).get("held", {}).get("reason")],
        "the second run is not held",
    )

    assert held[0]["status"]["held"]["reason"] == "CoolingDown"
    assert held[0]["metadata"]["uid"] != first["metadata"]["uid"]


def test_nothing_of_either_was_touched_as_the_other(tenants: tuple[Tenant, Tenant], installation: Installation) -> None:
    for tenant in tenants:
        account = f"system:serviceaccount:{tenant.name}:{TENANT_ACCOUNT}"
        as_him = [
            one for one in installation.audit(account) if one.get("impersonatedUser", {}).get("username") == account
        ]
        reached = {
            (one["verb"], one["requestURI"]) for one in as_him if one["objectRef"].get("namespace") != tenant.name
        }
        reviews = {(verb, uri) for verb, uri in reached if "selfsubjectaccessreviews" in uri}

        assert as_him, "he has done something"
        assert reached - reviews == set()
        assert {one["user"]["username"] for one in as_him} == {OPERATOR}
        assert tenant.other.shop.env()["QUEUE"] in ("200", "500")
