"""What an installation may do, read from the manifests as kustomize builds them."""

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from remediator.actions import registry
from remediator.domain.replies import ReplyType
from remediator.engine.acceptance import accept_guardrail
from remediator.engine.election import EPOCH_NAME, LEASE_NAME
from remediator.generate.__main__ import ROOT
from remediator.generate.catalogue import declared
from remediator.handlers.reviewed import PATH
from remediator.handlers.serving import STOPS_WITHIN_SECONDS
from remediator.handlers.term import PATIENCE_SECONDS
from remediator.settings import Settings

OVERLAYS = ("base", "overlays/observe", "overlays/local")
READING = {"get", "list", "watch"}
NAMESPACE = Settings().namespace
OPERATOR = f"system:serviceaccount:{Settings().namespace}:{Settings().account}"
DELEGATOR = "system:auth-delegator"
"""Kubernetes' own role: it creates reviews of others' tokens and rights, which nobody stores."""

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
        is_ours = any(subject["name"] == "remediator" for subject in binding["subjects"])
        if is_ours and binding["roleRef"]["name"] != DELEGATOR:
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
        ("remediator.dev", "replies"),
    }


@needs_kubectl
def test_the_operator_neither_edits_what_people_said_nor_what_others_keep() -> None:
    verbs = {
        resource: set(rule["verbs"])
        for rule in named("ClusterRole", "remediator")["rules"]
        for resource in rule["resources"]
    }

    assert verbs["replies"] == {"delete", "list", "watch"}
    assert verbs["configmaps"] == {"create", "delete"}
    only = named("ValidatingAdmissionPolicy", "evidence-deletion.remediator.dev")["spec"]
    assert "owner.kind == 'RunbookRun'" in only["validations"][0]["expression"]


@needs_kubectl
def test_the_one_secret_that_is_read_is_named() -> None:
    secret = [rule for role in of_kind("ClusterRole") for rule in role["rules"] if "secrets" in str(rule)]

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
def test_the_operator_asks_about_senders_and_a_sender_may_do_nothing_else() -> None:
    asking = [one for one in of_kind("ClusterRoleBinding") if one["roleRef"]["name"] == DELEGATOR]

    assert [(one["kind"], one["name"]) for one in asking[0]["subjects"]] == [("ServiceAccount", Settings().account)]
    assert named("ClusterRole", "remediator-alert-sender")["rules"] == [{"nonResourceURLs": [PATH], "verbs": ["post"]}]
    assert not [one for one in of_kind("ClusterRoleBinding") if one["roleRef"]["name"] == "remediator-alert-sender"]


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
def test_nobody_speaks_to_a_run_by_being_an_editor() -> None:
    on_replies = {
        verb
        for role in of_kind("ClusterRole")
        if any("aggregate-to" in label for label in role["metadata"]["labels"])
        for rule in role["rules"]
        if "replies" in rule.get("resources", ())
        for verb in rule["verbs"]
    }

    assert on_replies == READING


@needs_kubectl
@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("remediator-approve", {ReplyType.APPROVE, ReplyType.DENY}),
        ("remediator-respond", {ReplyType.ACKNOWLEDGE, ReplyType.ANSWER}),
        ("remediator-stop", {ReplyType.STOP, ReplyType.UNDO}),
    ],
)
def test_each_word_to_a_run_has_its_role(role: str, words: set[ReplyType]) -> None:
    on_runs, on_replies = named("ClusterRole", role)["rules"]

    assert on_runs["resources"] == ["runbookruns"]
    assert set(on_runs["verbs"]) - READING == {word.verb for word in words}
    assert on_replies == {"apiGroups": ["remediator.dev"], "resources": ["replies"], "verbs": ["create", "get", "list"]}


@needs_kubectl
def test_who_may_pull_the_switch_may_change_nothing_else_in_the_operators_namespace() -> None:
    role = named("Role", "remediator-suspend")

    writing = {(verb, *rule.get("resourceNames", ["*"])) for rule in role["rules"] for verb in rule["verbs"]} - {
        (verb, *names) for verb in READING for names in (["*"], [LEASE_NAME])
    }
    assert role["metadata"]["namespace"] == NAMESPACE
    assert writing == {("create", "*"), ("delete", "suspended", "pick-up")}
    only = named("ValidatingAdmissionPolicy", "switch-creation.remediator.dev")
    assert "variables.isOurs" in only["spec"]["validations"][0]["expression"]


@needs_kubectl
def test_admission_is_about_our_own_kinds_or_about_what_the_operator_sends() -> None:
    for policy in of_kind("ValidatingAdmissionPolicy"):
        constraints = policy["spec"]["matchConstraints"]
        groups = {group for rule in constraints["resourceRules"] for group in rule["apiGroups"]}
        marked = [
            one["expression"] for one in policy["spec"].get("matchConditions", []) if "extra" in one["expression"]
        ]

        if "namespaceSelector" in constraints:
            assert constraints["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": NAMESPACE}
        elif by_the_operator(policy):
            continue
        elif groups != {"remediator.dev"}:
            assert [one.startswith("has(request.userInfo.extra) && ") for one in marked] == [True]


def by_the_operator(policy: dict[str, Any]) -> bool:
    """Whether it looks at nothing but what the operator itself sends."""
    conditions = policy["spec"].get("matchConditions", [])
    return any(one["expression"] == f"request.userInfo.username == '{OPERATOR}'" for one in conditions)


@needs_kubectl
def test_no_outage_of_what_admission_reads_refuses_what_somebody_else_writes() -> None:
    bound = {one["spec"]["policyName"]: one["spec"] for one in of_kind("ValidatingAdmissionPolicyBinding")}
    reading = [one for one in of_kind("ValidatingAdmissionPolicy") if "paramKind" in one["spec"]]

    for policy in reading:
        assert policy["spec"]["paramKind"] == {"apiVersion": "v1", "kind": "ConfigMap"}
        is_fence = policy["metadata"]["name"] == "deposed-leaders.remediator.dev"
        assert bound[policy["metadata"]["name"]]["paramRef"] == {
            "name": "leader-epoch" if is_fence else "suspended",
            "namespace": NAMESPACE,
            "parameterNotFoundAction": "Allow",
        }
        (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
        own = rule["apiGroups"] == ["remediator.dev"]
        assert policy["spec"]["failurePolicy"] == ("Fail" if own else "Ignore")
    assert len(reading) == 5


@needs_kubectl
def test_what_matches_every_write_in_the_cluster_is_evaluated_only_while_everything_is_suspended() -> None:
    everywhere = [
        policy["spec"]
        for policy in of_kind("ValidatingAdmissionPolicy")
        if any("*" in rule["apiGroups"] for rule in policy["spec"]["matchConstraints"]["resourceRules"])
    ]

    assert len(everywhere) == 2
    assert all("paramKind" in spec for spec in everywhere)


@needs_kubectl
def test_every_refusal_is_in_force_says_forbidden_and_what_to_do() -> None:
    in_force = {one["spec"]["policyName"]: one["spec"] for one in of_kind("ValidatingAdmissionPolicyBinding")}

    for policy in of_kind("ValidatingAdmissionPolicy"):
        assert in_force[policy["metadata"]["name"]]["validationActions"] == ["Deny"]
        assert policy["spec"]["failurePolicy"] == "Fail" or "paramKind" in policy["spec"]
        for validation in policy["spec"]["validations"]:
            assert validation["reason"] == "Forbidden"
            assert any(word in validation["message"] for word in ("ask for", "leave out", "must be")), validation


@needs_kubectl
def test_admission_knows_the_operator_by_the_name_it_has() -> None:
    account = named("ServiceAccount", "remediator")["metadata"]

    assert f"system:serviceaccount:{account['namespace']}:{account['name']}" == OPERATOR
    known = [one for one in of_kind("ValidatingAdmissionPolicy") if OPERATOR in str(one["spec"])]
    assert {one["metadata"]["name"].partition(".")[0] for one in known if not by_the_operator(one)} == {
        "runbookrun-creation",
        "runbookrun-owners",
        "switch-creation",
    }
    assert [one["metadata"]["name"] for one in known if by_the_operator(one)] == ["evidence-deletion.remediator.dev"]


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

    assert ports == {"intake": Settings().intake_port, "health": Settings().health_port}
    assert mounts["intake"] == Settings().intake_token_path
    paths = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("liveness", "readiness", "startup")}
    assert paths == {"liveness": "/healthz", "readiness": "/readyz", "startup": "/healthz"}
    environment = {one["name"] for one in container["env"]}
    assert {name.removeprefix("REMEDIATOR_").lower() for name in environment} <= Settings.model_fields.keys()


@needs_kubectl
@pytest.mark.parametrize("folder", ["base", "overlays/observe"])
def test_alerts_are_taken_by_one_replica_at_least_whatever_is_replaced_or_drained(folder: str) -> None:
    deployment = named("Deployment", "remediator", folder)["spec"]
    pod = deployment["template"]["spec"]
    (budget,) = of_kind("PodDisruptionBudget", folder)
    (spread,) = pod["topologySpreadConstraints"]
    (container,) = pod["containers"]

    assert deployment["replicas"] == 2
    assert deployment["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }
    own = deployment["selector"]["matchLabels"]
    assert budget["spec"] == {"minAvailable": 1, "selector": {"matchLabels": own}}
    assert (spread["whenUnsatisfiable"], spread["labelSelector"]["matchLabels"]) == ("ScheduleAnyway", own)
    # what comes while the Service still sends here is answered, and so is what is in flight
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause + PATIENCE_SECONDS + STOPS_WITHIN_SECONDS < pod["terminationGracePeriodSeconds"]


@needs_kubectl
def test_who_may_pull_the_switch_may_see_who_leads() -> None:
    leases = [rule for rule in named("Role", "remediator-suspend")["rules"] if "leases" in rule["resources"]]

    assert leases == [
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": [LEASE_NAME],
            "verbs": ["get"],
        }
    ]
    assert named("ValidatingAdmissionPolicyBinding", "deposed-leaders.remediator.dev")["spec"]["paramRef"]["name"] == (
        EPOCH_NAME
    )


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


@needs_kubectl
def test_the_whole_cluster_is_opened_by_approval_alone_for_one_account_and_out_loud() -> None:
    folder = "overlays/cluster-wide"
    (account,) = of_kind("ServiceAccount", folder)
    (guardrail,) = of_kind("Guardrail", folder)
    (role,) = of_kind("Role", folder)
    bound = {one["roleRef"]["name"]: one["subjects"] for one in of_kind("ClusterRoleBinding", folder)}
    runs = [{"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": Settings().namespace}]

    assert account["metadata"]["namespace"] == Settings().namespace
    assert bound["remediator-change"] == bound["remediator-read"] == runs
    assert [(rule["resourceNames"], rule["verbs"]) for rule in role["rules"]] == [
        ([account["metadata"]["name"]], ["impersonate"])
    ]
    assert (guardrail["spec"]["maxMode"], guardrail["spec"]["allow"]) == ("Approve", ["restart"])
    assert accept_guardrail("cluster-wide", guardrail["spec"], registry)[1] == ()
    assert (ROOT / "deploy" / folder / "kustomization.yaml").read_text().startswith("# !!! EVERY NAMESPACE")
