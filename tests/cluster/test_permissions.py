"""
What accounts may do is what they need: too little shows on policies and runs, too much fails here.

The two tests about the operator's own account read what the audit log kept of all other tests.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import yaml

from cluster.installed import (
    Installation,
    Object,
    Shop,
    alert_policy,
    at_the_end,
    by_operator_itself,
    deployment,
    ending,
    eventually,
    runbook,
    side_by_side,
)
from localcluster.controlplane import OPERATOR
from localcluster.operator import NAMESPACE, REPOSITORY, TENANT_ACCOUNT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ROLES = REPOSITORY / "deploy" / "base" / "roles-operator.yaml"
WHOLE_TIER = {"test_operator", "test_permissions", "test_playbooks"}
Permission = tuple[str, str, str]
"""Verb, group, and resource with its subresource."""

WITHOUT_A_TEST: dict[Permission, str] = {
    ("delete", "remediator.dev", "runbookruns"): "ended runs past their history; admission is tried with it already",
    ("update", "", "configmaps"): "the alerts of a policy while everything is suspended: tests/cluster/test_switch.py",
    ("delete", "", "configmaps"): "the same when they have resolved or were picked up: tests/cluster/test_switch.py",
    ("delete", "remediator.dev", "replies"): "once an hour, of runs that are gone: tests/unit/test_remains.py",
    ("delete", "coordination.k8s.io", "leases"): "the same, a week after their last change",
    ("get", "", "namespaces"): "read only where a run cannot be created: is the namespace about to go?",
}
"""What the operator may do although no test of this tier makes it do so, with the reason."""


# --- the account of a namespace -------------------------------------------------------------------


def without(shop: Shop, verb: str, resource: str) -> None:
    """The account of the namespace's runs may do all that it should but this."""
    rules = shop.api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/remediator-change")["rules"]
    fewer: list[Object] = []
    for rule in rules:
        for one in rule["resources"]:
            verbs = [v for v in rule["verbs"] if (v, one) != (verb, resource)]
            fewer.append({"apiGroups": rule["apiGroups"], "resources": [one], "verbs": verbs})
    group = "rbac.authorization.k8s.io"
    meta = {"name": "fewer", "namespace": shop.name}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "fewer"},
        "subjects": [{"kind": "ServiceAccount", "name": TENANT_ACCOUNT, "namespace": shop.name}],
    }
    shop.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": fewer}, binding)
    shop.cluster.run_kubectl("delete", "rolebinding", "remediator-runs-change", "-n", shop.name)
    who = f"--as=system:serviceaccount:{shop.name}:{TENANT_ACCOUNT}"

    def is_in_force() -> bool:
        review = {"spec": {"resourceAttributes": {"namespace": shop.name, "verb": verb, "resource": resource}}}
        review["spec"]["resourceAttributes"]["group"] = "apps" if resource == "deployments" else ""
        review["spec"]["user"] = who.removeprefix("--as=")  # type: ignore[assignment]  # a text beside a map
        answer = shop.api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return not answer["status"]["allowed"]

    eventually(is_in_force, f"it may still {verb} {resource}")


@side_by_side
def test_an_account_that_may_not_change_the_target_is_told_so_before_and_when_it_tries(shop: Shop) -> None:
    shop.open("setEnv")
    without(shop, "patch", "deployments")
    shop.stock()

    ready = shop.ready()
    shop.fire()
    run = shop.ended()

    assert (ready["status"], ready["reason"]) == ("False", "NotPermitted")
    assert "patch" in ready["message"] and "deployments" in ready["message"]
    assert ending(run) == ("Refused", "NotPermitted")
    assert "patch" in run["status"]["message"] and "deployments" in run["status"]["message"]
    assert shop.env()["QUEUE"] == "200"


@side_by_side
def test_a_permission_that_was_missing_is_found_once_it_is_given(shop: Shop) -> None:
    shop.open("setEnv")
    without(shop, "patch", "deployments")
    shop.stock()
    assert shop.ready()["status"] == "False"

    shop.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "all-of-it"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "remediator-change"},
            "subjects": [{"kind": "ServiceAccount", "name": TENANT_ACCOUNT, "namespace": shop.name}],
        }
    )

    eventually(lambda: shop.ready()["status"] == "True", "the policy is not ready")


@side_by_side
def test_a_read_that_is_not_permitted_rules_no_remedy_out(shop: Shop) -> None:
    reads = """
targets: [Deployment]
diagnose:
- name: pods
  get: {kind: Pod, related: owned}
remedies:
- name: nothingRuns
  when: diagnosis.pods.items.size() == 0
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
- name: again
  steps:
  - name: roll
    restart: {}
"""
    shop.open("setEnv", "restart")
    shop.cluster.run_kubectl("delete", "rolebinding", "remediator-runs-read", "-n", shop.name)
    without(shop, "list", "pods")
    shop.apply(deployment(), runbook(reads), alert_policy())
    shop.wait_for_rollout()

    ready = shop.ready()
    shop.fire()
    run = shop.ended()

    assert ready["reason"] == "NotPermitted"
    assert "list" in ready["message"] and "pods" in ready["message"]
    assert ending(run) == ("NoRemedy", "FactUnknown")
    assert not shop.changes()


@side_by_side
def test_an_account_that_the_operator_may_not_act_as_does_nothing(shop: Shop) -> None:
    shop.open("setEnv")
    shop.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "somebody"}})
    shop.stock(serviceAccountName="somebody")

    ready = shop.ready()
    shop.fire()
    run = shop.ended()

    assert (ready["status"], ready["reason"]) == ("False", "NotPermitted")
    assert "the operator may not act as" in ready["message"]
    assert ending(run) == ("Refused", "NotPermitted")
    assert "impersonate" in run["status"]["message"]


# --- the operator's own account, after everything else --------------------------------------------


def granted() -> Iterator[Permission]:
    """What the roles of the operator's own account permit; what runs read without an account is the actions'."""
    for role in yaml.safe_load_all(ROLES.read_text()):
        for rule in role.get("rules", ()):
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    yield from ((verb, group, resource) for verb in rule["verbs"])


def used(entries: Iterable[Any]) -> set[Permission]:
    found = set()
    for entry in entries:
        about = entry.get("objectRef", {})
        subresource = f"/{about['subresource']}" if about.get("subresource") else ""
        found.add((entry["verb"], about.get("apiGroup", ""), about.get("resource", "") + subresource))
    return found


@at_the_end
def test_the_operator_was_never_refused_anything(installation: Installation) -> None:
    own = {*(shop.name for shop in installation.shops.values()), NAMESPACE, None}
    refused = [
        f"{entry['verb']} {entry['requestURI']}: {entry['responseStatus'].get('message')}"
        for entry in installation.audit(OPERATOR)
        if by_operator_itself(entry)
        and entry["responseStatus"]["code"] in (401, 403)
        and entry.get("objectRef", {}).get("namespace") in own
        # a policy that names an account which is not the operator's to act as is a test of its own
        and "cannot impersonate" not in entry["responseStatus"].get("message", "")
    ]

    assert refused == []


@at_the_end
def test_the_operator_may_do_nothing_that_it_never_does(
    installation: Installation, request: pytest.FixtureRequest
) -> None:
    modules = {item.path.stem for item in request.session.items}
    if not modules >= WHOLE_TIER:
        pytest.skip(f"only together with {', '.join(sorted(WHOLE_TIER))}")
    done = used(entry for entry in installation.audit(OPERATOR) if by_operator_itself(entry))

    superfluous = {*granted()} - done - WITHOUT_A_TEST.keys()

    assert superfluous == set()


@at_the_end
def test_the_operator_has_logged_no_mistake_of_its_own(installation: Installation) -> None:
    lines = installation.operator.log.read_text().splitlines()

    said = [json.loads(line) for line in lines if line.startswith("{")]
    assert [line for line in lines if not line.startswith("{")] == []
    assert [line for line in said if line["level"] in ("error", "critical")] == []
