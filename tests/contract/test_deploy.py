"""What an installation may do, read from the manifests as kustomize builds them."""

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from remediator.generate.__main__ import ROOT
from remediator.generate.catalogue import declared
from remediator.settings import Settings

OVERLAYS = ("base", "overlays/observe", "overlays/local")
READING = {"get", "list", "watch"}
OPERATOR = f"system:serviceaccount:{Settings().namespace}:{Settings().account}"

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")


@cache
def built(folder: str) -> tuple[dict[str, Any], ...]:
    text = subprocess.run(
        ["kubectl", "kustomize", ROOT / "deploy" / folder], capture_output=True, text=True, check=True
    ).stdout
    return tuple(yaml.safe_load_all(text))


def of_kind(kind: str, folder: str = "base") -> Iterator[dict[str, Any]]:
    return (one for one in built(folder) if one["kind"] == kind)


def named(kind: str, name: str, folder: str = "base") -> dict[str, Any]:
    return next(one for one in of_kind(kind, folder) if one["metadata"]["name"] == name)


def rules_of_the_operator() -> Iterator[dict[str, Any]]:
    """What base binds to the operator's account, anywhere."""
    for binding in (*of_kind("ClusterRoleBinding"), *of_kind("RoleBinding")):
        if any(subject["name"] == "remediator" for subject in binding["subjects"]):
            yield from named(binding["roleRef"]["kind"], binding["roleRef"]["name"])["rules"]


@needs_kubectl
@pytest.mark.parametrize("folder", OVERLAYS)
def test_an_overlay_holds_all_that_the_operator_needs(folder: str) -> None:
    kinds = {one["kind"] for one in built(folder)}

    assert {
        "CustomResourceDefinition",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "Namespace",
        "ServiceAccount",
        "ClusterRole",
        "Deployment",
        "Service",
        "NetworkPolicy",
    } <= kinds


@needs_kubectl
@pytest.mark.parametrize("folder", OVERLAYS)
def test_one_apply_is_enough_because_nothing_needs_a_kind_that_it_brings(folder: str) -> None:
    assert [one["kind"] for one in built(folder) if one["apiVersion"].startswith("remediator.dev/")] == []


@needs_kubectl
def test_base_lets_nobody_impersonate() -> None:
    everywhere = [*of_kind("ClusterRole"), *of_kind("Role")]

    assert [role["metadata"]["name"] for role in everywhere if "impersonate" in str(role["rules"])] == []


@needs_kubectl
def test_the_operator_itself_writes_nothing_but_its_records() -> None:
    written = {
        (group, resource)
        for rule in rules_of_the_operator()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if set(rule["verbs"]) - READING
    }

    assert written == {
        ("", "configmaps"),
        ("", "events"),
        ("coordination.k8s.io", "leases"),
        ("remediator.dev", "runbooks/status"),
        ("remediator.dev", "alertpolicies/status"),
        ("remediator.dev", "guardrails/status"),
        ("remediator.dev", "runbookruns"),
        ("remediator.dev", "runbookruns/status"),
    }


@needs_kubectl
def test_the_one_secret_that_is_read_is_named() -> None:
    secret = [rule for role in of_kind("ClusterRole") for rule in role["rules"] if "secrets" in rule["resources"]]

    assert [(rule["resourceNames"], rule["verbs"]) for rule in secret] == [(["remediator-receivers"], ["get"])]


@needs_kubectl
def test_no_role_has_a_wildcard() -> None:
    assert [role["metadata"]["name"] for role in of_kind("ClusterRole") if "*" in str(role["rules"])] == []


@needs_kubectl
@pytest.mark.parametrize("action", declared(), ids=lambda info: info.name)
def test_the_roles_permit_what_an_action_declares(action: Any) -> None:
    role = named("ClusterRole", "remediator-change" if action.changes else "remediator-read")
    permitted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }

    needed = {(need.group, need.resource, verb) for need in action.permissions for verb in need.verbs}
    assert needed <= permitted


@needs_kubectl
def test_reading_changes_nothing() -> None:
    assert {verb for rule in named("ClusterRole", "remediator-read")["rules"] for verb in rule["verbs"]} <= READING


@needs_kubectl
def test_changing_is_bound_to_nobody() -> None:
    bound = [one["roleRef"]["name"] for one in (*of_kind("ClusterRoleBinding"), *of_kind("RoleBinding"))]

    assert "remediator-change" not in bound


@needs_kubectl
def test_an_editor_runs_runbooks_and_neither_forgets_nor_edits_runs() -> None:
    joined = [
        rule
        for role in of_kind("ClusterRole")
        if role["metadata"]["labels"].get("rbac.authorization.k8s.io/aggregate-to-edit")
        for rule in role["rules"]
    ]

    on_runs = {verb for rule in joined if "runbookruns" in rule["resources"] for verb in rule["verbs"]}
    assert on_runs == READING | {"create", "delete", "deletecollection"}
    assert "run" in {verb for rule in joined if "runbooks" in rule["resources"] for verb in rule["verbs"]}
    assert not any("guardrails" in rule["resources"] and set(rule["verbs"]) - READING for rule in joined)
    assert not any("status" in resource for rule in joined for resource in rule["resources"])


@needs_kubectl
def test_admission_is_about_our_own_kinds_only() -> None:
    for policy in of_kind("ValidatingAdmissionPolicy"):
        rules = policy["spec"]["matchConstraints"]["resourceRules"]

        assert {group for rule in rules for group in rule["apiGroups"]} == {"remediator.dev"}
        assert "paramKind" not in policy["spec"]


@needs_kubectl
def test_every_refusal_is_in_force_says_forbidden_and_what_to_do() -> None:
    in_force = {one["spec"]["policyName"]: one["spec"] for one in of_kind("ValidatingAdmissionPolicyBinding")}

    for policy in of_kind("ValidatingAdmissionPolicy"):
        assert in_force[policy["metadata"]["name"]]["validationActions"] == ["Deny"]
        assert policy["spec"]["failurePolicy"] == "Fail"
        for validation in policy["spec"]["validations"]:
            assert validation["reason"] == "Forbidden"
            assert any(word in validation["message"] for word in ("ask for", "leave out", "must be")), validation


@needs_kubectl
def test_admission_knows_the_operator_by_the_name_it_has() -> None:
    account = named("ServiceAccount", "remediator")["metadata"]

    assert f"system:serviceaccount:{account['namespace']}:{account['name']}" == OPERATOR
    exempt = [one for one in of_kind("ValidatingAdmissionPolicy") if OPERATOR in str(one["spec"])]
    assert {one["metadata"]["name"].partition(".")[0] for one in exempt} == {
        "runbookrun-creation",
        "runbookrun-deletion",
        "runbookrun-owners",
    }


@needs_kubectl
def test_the_pod_is_restricted() -> None:
    pod = named("Deployment", "remediator")["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    labels = named("Namespace", Settings().namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@needs_kubectl
def test_the_pod_offers_what_the_settings_say() -> None:
    deployment = named("Deployment", "remediator")["spec"]
    (container,) = deployment["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}

    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert ports == {"intake": Settings().intake_port, "health": Settings().health_port}
    assert mounts["intake"] == Settings().intake_token_path
    assert {container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe", "startupProbe")} == {
        "/healthz"
    }


@needs_kubectl
def test_no_secret_is_shipped() -> None:
    assert list(of_kind("Secret")) == []


@needs_kubectl
def test_the_local_overlay_starts_no_pod() -> None:
    assert named("Deployment", "remediator", "overlays/local")["spec"]["replicas"] == 0


@needs_kubectl
def test_a_namespace_is_opened_by_name_and_for_its_own_account() -> None:
    folder = "overlays/namespace-changes"
    (account,) = of_kind("ServiceAccount", folder)
    (guardrail,) = of_kind("Guardrail", folder)
    (role,) = of_kind("Role", folder)
    (marks,) = of_kind("ClusterRole", folder)

    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["serviceaccounts"],
            "resourceNames": [account["metadata"]["name"]],
            "verbs": ["impersonate"],
        }
    ]
    assert {resource for rule in marks["rules"] for resource in rule["resources"]} == {
        "userextras/remediator.dev/run",
        "userextras/remediator.dev/void",
    }
    selected = guardrail["spec"]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert selected == account["metadata"]["namespace"] == role["metadata"]["namespace"]
    bound = {one["roleRef"]["name"]: one["subjects"][0] for one in of_kind("RoleBinding", folder)}
    assert bound["remediator-change"]["name"] == account["metadata"]["name"]
    assert bound["remediator-impersonates"]["namespace"] == Settings().namespace


def test_alertmanager_takes_the_example() -> None:
    amtool = shutil.which("amtool")
    if amtool is None:
        pytest.skip("amtool is not on PATH")

    said = subprocess.run(
        [amtool, "check-config", ROOT / "deploy/alertmanager/alertmanager.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 0, said.stderr


def test_alertmanager_sends_where_the_service_listens() -> None:
    config = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yaml").read_text())
    (webhook,) = next(one for one in config["receivers"] if one["name"] == "remediator")["webhook_configs"]

    assert webhook["url"] == f"http://remediator.{Settings().namespace}.svc:{Settings().intake_port}/v1/alerts"
    assert webhook["send_resolved"] is True
    assert webhook["max_alerts"] == 0
    assert config["route"]["routes"][0] == {**config["route"]["routes"][0], "receiver": "remediator", "continue": True}


def test_the_image_runs_as_nobody_and_installs_only_what_was_reviewed() -> None:
    lines = (ROOT / "deploy/Dockerfile").read_text().splitlines()

    assert any(line.startswith("USER 65532") for line in lines)
    assert any("--require-hashes" in line and "runtime.lock" in line for line in lines)
