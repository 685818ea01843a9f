"""
Attacks, tried on a real API server with the whole install in force.

Every person here has the rights to write our kinds in the namespace, so that what refuses is admission
and not RBAC. Each refusal must say `Forbidden`, and what to do.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster import Cluster, CommandFailed
from localcluster.api import MERGE_PATCH, Api
from localcluster.processes import moments
from remediator.generate.__main__ import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

OPERATOR = ("remediator-system", "remediator")
READ_AND_WRITE = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]
OUR_KINDS = {
    "apiGroups": ["remediator.dev"],
    "resources": ["runbooks", "alertpolicies", "runbookruns"],
    "verbs": READ_AND_WRITE,
}


def may(verb: str, resource: str, *names: str, group: str = "remediator.dev") -> dict[str, Any]:
    """A rule of RBAC."""
    return {"apiGroups": [group], "resources": [resource], "verbs": [verb], "resourceNames": list(names)}


RUN_IT = may("run", "runbooks", "crashlooping-pod")


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Cluster:
    """The cluster, with everything but the pod, and with admission in force."""
    for _ in moments(30, 1):
        try:
            # The first time, the API server may not yet serve what the same call brings.
            cluster.run_kubectl("apply", "-k", str(ROOT / "deploy/overlays/local"))
            break
        except CommandFailed:
            continue
    crds = ("runbooks", "alertpolicies", "runbookruns", "replies", "guardrails")
    cluster.run_kubectl("wait", "--for=condition=Established", *(f"crd/{one}.remediator.dev" for one in crds))
    refused: set[str] = set()
    canaries = {
        "creation": a_run("kube-system", requestedBy="nobody-that-exists"),
        "owners": a_run("kube-system", requestedBy="admin", owners=True),
        "replies": a_reply("kube-system", user="nobody-that-exists"),
        "permanence": a_reply("kube-system", owners=True),
    }
    for _ in moments(30, 0.2):
        for name, canary in canaries.items():
            try:
                cluster.run_kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(canary))
            except CommandFailed as refusal:
                if "ValidatingAdmissionPolicy" in refusal.stderr:
                    refused.add(name)
        if len(refused) == len(canaries):
            return cluster
    raise AssertionError(f"admission is not in force for {canaries.keys() - refused}")


@pytest.fixture
def operator(installed: Cluster) -> Path:
    """The operator's own kubeconfig, with the token of its account."""
    return installed.kubeconfig_for_token("operator", installed.service_account_token(*OPERATOR))


def person(cluster: Cluster, namespace: str, name: str, *rules: Mapping[str, Any]) -> Path:
    """A kubeconfig of somebody who has these rights in the namespace."""
    meta = {"name": name, "namespace": namespace}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": list(rules)}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
    }
    cluster.run_kubectl("apply", "-f", "-", input=yaml.safe_dump_all([role, binding]))
    kubeconfig = cluster.kubeconfig_for(name)
    for rule in rules:
        can_soon(cluster, kubeconfig, namespace, rule)
    return kubeconfig


def can_soon(cluster: Cluster, kubeconfig: Path, namespace: str, rule: Mapping[str, Any]) -> None:
    """The authorizer has heard of the rule: it follows a watch."""
    for _ in moments(10, 0.1):
        try:
            resource = f"{rule['resources'][0]}.{rule['apiGroups'][0]}".rstrip(".")
            names = rule.get("resourceNames") or []
            what = f"{resource}/{names[0]}" if names else resource
            cluster.run_kubectl("auth", "can-i", rule["verbs"][0], what, "-n", namespace, kubeconfig=kubeconfig)
            return
        except CommandFailed:
            continue
    raise AssertionError(f"{rule} is not in force")


def a_run(namespace: str, name: str = "by-hand", owners: bool = False, **spec: Any) -> dict[str, Any]:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"}
    return {
        "apiVersion": "remediator.dev/v1alpha1",
        "kind": "RunbookRun",
        "metadata": {"name": name, "namespace": namespace, **({"ownerReferences": [owner]} if owners else {})},
        "spec": {
            "runbookRef": {"name": "crashlooping-pod"},
            "target": {"kind": "Deployment", "namespace": namespace, "name": "checkout"},
            "requestedBy": "alice",
            **spec,
        },
    }


def a_policy(namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "remediator.dev/v1alpha1",
        "kind": "AlertPolicy",
        "metadata": {"name": "crashlooping", "namespace": namespace},
        "spec": {
            "matchers": ['alertname="KubePodCrashLooping"'],
            "runbookRef": {"name": "crashlooping-pod"},
            **spec,
        },
    }


def create(cluster: Cluster, who: Path | None, manifest: Mapping[str, Any]) -> None:
    cluster.run_kubectl("create", "-f", "-", input=json.dumps(manifest), kubeconfig=who)


def refused(cluster: Cluster, who: Path, *command: str, manifest: Mapping[str, Any] | None = None) -> str:
    """What the API server says to the attempt; it must be a refusal by admission that says Forbidden."""
    with pytest.raises(CommandFailed) as attempt:
        cluster.run_kubectl(*command, input=json.dumps(manifest) if manifest is not None else None, kubeconfig=who)
    said = attempt.value.stderr
    assert "ValidatingAdmissionPolicy" in said, said
    assert "(Forbidden)" in said, said
    return said


def refused_creation(cluster: Cluster, who: Path, manifest: Mapping[str, Any]) -> str:
    return refused(cluster, who, "create", "-f", "-", manifest=manifest)


def test_a_person_may_run_a_runbook_that_they_have_the_verb_for(installed: Cluster, namespace: str) -> None:
    alice = person(installed, namespace, "alice", OUR_KINDS, RUN_IT)

    create(installed, alice, a_run(namespace))


def test_nobody_asks_in_the_name_of_another(installed: Cluster, namespace: str) -> None:
    mallory = person(installed, namespace, "mallory", OUR_KINDS, RUN_IT)

    said = refused_creation(installed, mallory, a_run(namespace))

    assert "spec.requestedBy is alice, but the one who asks is mallory: write that" in said


@pytest.mark.parametrize(
    "claim",
    [
        {"policyRef": {"namespace": "shop", "name": "crashlooping"}},
        {"episode": {"key": "4f2a81c09be2d713", "number": 2, "alerts": {"count": 1}}},
    ],
    ids=lambda claim: next(iter(claim)),
)
def test_nobody_but_the_operator_says_that_an_alert_started_a_run(
    installed: Cluster, namespace: str, claim: dict[str, Any]
) -> None:
    alice = person(installed, namespace, "alice", OUR_KINDS, RUN_IT)

    said = refused_creation(installed, alice, a_run(namespace, **claim))

    assert "which only the operator may say: leave out both" in said


@pytest.mark.parametrize("rules", [(), (may("run", "runbooks", "another-one"),)], ids=["no verb", "another Runbook"])
def test_nobody_runs_what_they_may_not(installed: Cluster, namespace: str, rules: tuple[Any, ...]) -> None:
    alice = person(installed, namespace, "alice", OUR_KINDS, *rules)

    said = refused_creation(installed, alice, a_run(namespace))

    assert f"alice may not run Runbook {namespace}/crashlooping-pod: ask for the verb run on it" in said


def test_a_right_in_one_namespace_runs_no_runbook_of_another(installed: Cluster, namespace: str) -> None:
    alice = person(installed, namespace, "alice", OUR_KINDS, RUN_IT)
    elsewhere = {"name": "crashlooping-pod", "namespace": "remediator-system"}

    said = refused_creation(installed, alice, a_run(namespace, runbookRef=elsewhere))

    assert "alice may not run Runbook remediator-system/crashlooping-pod" in said


def test_a_shared_runbook_is_run_with_the_role_bound_where_it_lives(installed: Cluster, namespace: str) -> None:
    alice = person(installed, namespace, "alice", OUR_KINDS)
    installed.run_kubectl(
        "create", "rolebinding", f"alice-{namespace}", "-n", "remediator-system",
        "--clusterrole=remediator-run", "--user=alice",
    )  # fmt: skip
    elsewhere = {"name": "crashlooping-pod", "namespace": "remediator-system"}

    can_soon(installed, alice, "remediator-system", RUN_IT)
    create(installed, alice, a_run(namespace, runbookRef=elsewhere))

    installed.run_kubectl("delete", "rolebinding", f"alice-{namespace}", "-n", "remediator-system")


def test_nobody_runs_as_an_account_that_they_may_not_be(installed: Cluster, namespace: str) -> None:
    alice = person(installed, namespace, "alice", OUR_KINDS, RUN_IT)

    said = refused_creation(installed, alice, a_run(namespace, serviceAccountName="powerful"))

    assert f"alice may not act as ServiceAccount {namespace}/powerful: ask for the verb impersonate on it" in said


def test_whoever_may_be_an_account_may_run_as_it(installed: Cluster, namespace: str) -> None:
    rules = (OUR_KINDS, RUN_IT, may("impersonate", "serviceaccounts", "powerful", group=""))
    alice = person(installed, namespace, "alice", *rules)

    create(installed, alice, a_run(namespace, serviceAccountName="powerful"))


def test_no_policy_lends_an_account_to_its_author(installed: Cluster, namespace: str) -> None:
    alice = person(installed, namespace, "alice", OUR_KINDS)

    create(installed, alice, a_policy(namespace))
    said = refused(
        installed, alice, "patch", "alp", "crashlooping", "-n", namespace, "--type=merge",
        "-p", '{"spec": {"serviceAccountName": "powerful"}}',
    )  # fmt: skip

    assert f"alice may not act as ServiceAccount {namespace}/powerful" in said
    installed.run_kubectl("delete", "alp", "crashlooping", "-n", namespace)
    assert "may not act as" in refused_creation(installed, alice, a_policy(namespace, serviceAccountName="powerful"))


def test_a_policy_with_an_account_is_not_turned_to_other_ends(installed: Cluster, namespace: str) -> None:
    alice = person(installed, namespace, "alice", OUR_KINDS)
    create(installed, None, a_policy(namespace, serviceAccountName="powerful"))
    patch = ("patch", "alp", "crashlooping", "-n", namespace, "--type=merge", "-p")

    for change in ({"runbookRef": {"name": "another-one"}}, {"mode": "Automatic"}, {"parameters": {"a": 1}}):
        assert "may not act as" in refused(installed, alice, *patch, json.dumps({"spec": change}))

    installed.run_kubectl("label", "alp", "crashlooping", "-n", namespace, "team=shop", kubeconfig=alice)
    installed.run_kubectl(*patch, '{"spec": {"serviceAccountName": null, "mode": "Diagnose"}}', kubeconfig=alice)


def test_an_open_run_is_not_deleted_without_the_verb_forget(installed: Cluster, namespace: str) -> None:
    alice = person(installed, namespace, "alice", OUR_KINDS, RUN_IT)
    create(installed, alice, a_run(namespace))

    said = refused(installed, alice, "delete", "rbr", "by-hand", "-n", namespace)
    also = refused(installed, alice, "delete", "rbr", "--all", "-n", namespace)
    raw = f"/apis/remediator.dev/v1alpha1/namespaces/{namespace}/runbookruns"
    whole = refused(installed, alice, "delete", "--raw", raw)

    assert f"RunbookRun {namespace}/by-hand is open: wait for its end, or ask for the verb forget on it" in said
    assert "is open" in also
    assert "is open" in whole


def test_a_run_that_has_ended_is_deleted_by_whoever_may_delete(installed: Cluster, namespace: str) -> None:
    alice = person(installed, namespace, "alice", OUR_KINDS, RUN_IT)
    create(installed, alice, a_run(namespace))
    end(installed, namespace)

    installed.run_kubectl("delete", "rbr", "by-hand", "-n", namespace, kubeconfig=alice)


def test_an_ended_run_that_owes_is_not_deleted_without_the_verb_forget_and_one_that_has_paid_is(
    installed: Cluster, namespace: str
) -> None:
    alice = person(installed, namespace, "alice", OUR_KINDS, RUN_IT)
    create(installed, alice, a_run(namespace))
    end(installed, namespace)
    owe(installed, namespace, "Owed")

    said = refused(installed, alice, "delete", "rbr", "by-hand", "-n", namespace)
    owe(installed, namespace, "Paid")
    installed.run_kubectl("delete", "rbr", "by-hand", "-n", namespace, kubeconfig=alice)

    assert "owes: wait until it has taken back what it changed, or ask for the verb forget on it" in said


def test_the_operator_deletes_what_has_ended_and_owes_nothing(
    installed: Cluster, namespace: str, operator: Path
) -> None:
    create(installed, None, a_run(namespace, requestedBy=administrator(installed)))
    delete = ("delete", "rbr", "by-hand", "-n", namespace)

    assert "is open" in refused(installed, operator, *delete)
    end(installed, namespace)
    owe(installed, namespace, "Owed")
    assert "owes" in refused(installed, operator, *delete)
    owe(installed, namespace, "Paid")
    installed.run_kubectl(*delete, kubeconfig=operator)


def test_the_operator_deletes_evidence_and_no_other_configmap(
    installed: Cluster, namespace: str, operator: Path
) -> None:
    create(installed, None, a_run(namespace, requestedBy=administrator(installed)))
    uid = json.loads(installed.run_kubectl("get", "rbr", "by-hand", "-n", namespace, "-o", "json"))["metadata"]["uid"]
    owner = {"apiVersion": "remediator.dev/v1alpha1", "kind": "RunbookRun", "name": "by-hand", "uid": uid}
    for name, owners in (("crash", [owner]), ("settings", [])):
        meta = {"name": name, "namespace": namespace, "ownerReferences": owners}
        create(installed, None, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})

    said = refused(installed, operator, "delete", "configmap", "settings", "-n", namespace)
    installed.run_kubectl("delete", "configmap", "crash", "-n", namespace, kubeconfig=operator)

    assert f"ConfigMap {namespace}/settings must be a run's: the operator deletes no other" in said


def owe(cluster: Cluster, namespace: str, state: str) -> None:
    """The run has changed something for a limited time."""
    debt = {"token": "t", "step": "raise", "kind": "TTL", "state": state}
    patch = ("patch", "rbr", "by-hand", "-n", namespace, "--subresource=status", "--type=merge", "-p")
    cluster.run_kubectl(*patch, json.dumps({"status": {"debts": [debt]}}))


def test_whoever_may_forget_deletes_an_open_run(installed: Cluster, namespace: str) -> None:
    alice = person(installed, namespace, "alice", OUR_KINDS, RUN_IT, may("forget", "runbookruns", "by-hand"))
    create(installed, alice, a_run(namespace))

    installed.run_kubectl("delete", "rbr", "by-hand", "-n", namespace, kubeconfig=alice)


def test_a_namespace_goes_with_its_open_runs(installed: Cluster, namespace: str) -> None:
    if not installed.has_controllers:
        pytest.skip("nobody empties namespaces here: there is no controller-manager")
    create(installed, None, a_run(namespace, requestedBy=administrator(installed)))

    installed.run_kubectl("delete", "namespace", namespace, "--timeout=60s")


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "Automatic"},
        {"parameters": {"deep": {"inside": 2}}},
        {"parameters": None},
        {"serviceAccountName": "powerful"},
        {"target": {"name": "payments"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_request_is_never_changed_later(installed: Cluster, namespace: str, change: dict[str, object]) -> None:
    asked = a_run(namespace, requestedBy=administrator(installed), parameters={"deep": {"inside": 1}}, mode="DryRun")
    create(installed, None, asked)
    patch = ("patch", "rbr", "by-hand", "-n", namespace, "--type=merge", "-p")

    with pytest.raises(CommandFailed) as refused:
        installed.run_kubectl(*patch, json.dumps({"spec": change}))
    installed.run_kubectl(*patch, json.dumps({"metadata": {"labels": {"looked": "at"}}}))

    assert "the request of a run never changes" in refused.value.stderr


def test_nobody_hands_a_run_to_the_garbage_collector(installed: Cluster, namespace: str) -> None:
    alice = person(installed, namespace, "alice", OUR_KINDS, RUN_IT)

    said = refused_creation(installed, alice, a_run(namespace, owners=True))
    create(installed, alice, a_run(namespace))
    owned = a_run(namespace, owners=True)["metadata"]["ownerReferences"]
    later = refused(
        installed, alice, "patch", "rbr", "by-hand", "-n", namespace, "--type=merge",
        "-p", json.dumps({"metadata": {"ownerReferences": owned}}),
    )  # fmt: skip

    assert "leave out metadata.ownerReferences" in said
    assert "leave out metadata.ownerReferences" in later


def test_the_operator_makes_ends_and_deletes_runs_for_policies(
    installed: Cluster, namespace: str, operator: Path
) -> None:
    policy = {"namespace": namespace, "name": "crashlooping", "uid": "u", "generation": 1}
    episode = {
        "key": "4f2a81c09be2d713",
        "number": 1,
        "alerts": {
            "count": 1,
            "first": [{"fingerprint": "4f2a", "labels": {"a": "b"}, "startsAt": "2026-01-01T00:00:00.123Z"}],
        },
    }
    run = a_run(
        namespace, policyRef=policy, episode=episode, serviceAccountName="powerful", requestedBy="policy/crashlooping"
    )

    create(installed, operator, run)
    end(installed, namespace, operator)
    installed.run_kubectl("delete", "rbr", "by-hand", "-n", namespace, kubeconfig=operator)


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("patch", "deployments.apps"),
        ("delete", "pods"),
        ("create", "pods"),
        ("update", "configmaps"),
        ("update", "replies.remediator.dev"),
        ("get", "secrets"),
        ("list", "secrets"),
        ("impersonate", "serviceaccounts"),
        ("create", "alertpolicies.remediator.dev"),
        ("update", "guardrails.remediator.dev"),
        ("create", "rolebindings.rbac.authorization.k8s.io"),
    ],
)
def test_the_operator_as_itself_may_not(
    installed: Cluster, namespace: str, operator: Path, verb: str, resource: str
) -> None:
    with pytest.raises(CommandFailed) as answer:
        installed.run_kubectl("auth", "can-i", verb, resource, "-n", namespace, kubeconfig=operator)

    assert "no" in answer.value.stderr


def end(cluster: Cluster, namespace: str, who: Path | None = None) -> None:
    """The run has an outcome."""
    path = f"/apis/remediator.dev/v1alpha1/namespaces/{namespace}/runbookruns/by-hand/status"
    status = {"status": {"state": "Ended", "outcome": "NotNeeded"}}
    # kubectl reads what it patches, which the operator has no need to
    Api(who or cluster.admin_kubeconfig).call("PATCH", path, status, content_type=MERGE_PATCH)


def administrator(cluster: Cluster) -> str:
    return str(json.loads(cluster.run_kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"])


@pytest.fixture
def opened(installed: Cluster, namespace: str, tmp_path: Path) -> Iterator[str]:
    """The namespace, with the overlay that lets its runs change something, as its comment says to use it."""
    folder = tmp_path / "overlay"
    shutil.copytree(ROOT / "deploy/overlays/namespace-changes", folder)
    kustomization = folder / "kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace("namespace: shop", f"namespace: {namespace}"))
    installed.run_kubectl("apply", "-k", str(folder))
    yield namespace
    installed.run_kubectl("delete", "guardrail", namespace)


def acting_as(
    operator: Path,
    folder: Path,
    user: str,
    extra: Mapping[str, list[str]] | None = None,
    groups: list[str] | None = None,
) -> Path:
    """The operator's kubeconfig, with the headers by which it acts as somebody else."""
    config = yaml.safe_load(operator.read_text())
    config["users"][0]["user"] |= {"as": user, "as-user-extra": dict(extra or {}), "as-groups": groups or []}
    file = folder / "acting.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def whoami(cluster: Cluster, kubeconfig: Path) -> dict[str, Any]:
    """Once the authorizer has heard of the rights."""
    for _ in moments(10, 0.2):
        try:
            answer = cluster.run_kubectl("auth", "whoami", "-o", "json", kubeconfig=kubeconfig)
            return dict(json.loads(answer)["status"]["userInfo"])
        except CommandFailed as refusal:
            last = refusal
    raise last


def test_an_opened_namespace_lends_its_account_and_the_api_server_adds_its_groups(
    installed: Cluster, opened: str, operator: Path, tmp_path: Path
) -> None:
    account = f"system:serviceaccount:{opened}:remediator-runs"
    marks = {"remediator.dev/run": [f"{opened}/by-hand"]}

    seen = whoami(installed, acting_as(operator, tmp_path, account, marks))

    assert seen["username"] == account
    assert seen["extra"] == marks
    assert set(seen["groups"]) == {
        "system:serviceaccounts",
        f"system:serviceaccounts:{opened}",
        "system:authenticated",
    }


def test_the_lent_account_changes_workloads_in_its_namespace_alone(
    installed: Cluster, opened: str, operator: Path, tmp_path: Path
) -> None:
    lent = acting_as(operator, tmp_path, f"system:serviceaccount:{opened}:remediator-runs")
    whoami(installed, lent)

    def can(verb: str, what: str, namespace: str) -> bool:
        try:
            return "yes" in installed.run_kubectl("auth", "can-i", verb, what, "-n", namespace, kubeconfig=lent)
        except CommandFailed:
            return False

    assert can("patch", "deployments.apps", opened)
    assert can("get", "pods/log", opened)
    assert not can("patch", "deployments.apps", "kube-system")
    assert not can("get", "secrets", opened)


@pytest.mark.parametrize(
    ("user", "extra", "groups"),
    [
        ("system:serviceaccount:NAMESPACE:default", {}, []),
        ("system:serviceaccount:kube-system:remediator-runs", {}, []),
        ("admin", {}, []),
        ("system:serviceaccount:NAMESPACE:remediator-runs", {}, ["system:masters"]),
        ("system:serviceaccount:NAMESPACE:remediator-runs", {}, ["system:serviceaccounts"]),
        ("system:serviceaccount:NAMESPACE:remediator-runs", {"scopes": ["everything"]}, []),
    ],
    ids=["another account", "another namespace", "a user", "masters", "its own group by name", "another extra"],
)
def test_nothing_else_is_lent(
    installed: Cluster,
    opened: str,
    operator: Path,
    tmp_path: Path,
    user: str,
    extra: dict[str, list[str]],
    groups: list[str],
) -> None:
    whoami(installed, acting_as(operator, tmp_path, f"system:serviceaccount:{opened}:remediator-runs"))

    other = acting_as(operator, tmp_path, user.replace("NAMESPACE", opened), extra, groups)
    with pytest.raises(CommandFailed) as answer:
        installed.run_kubectl("get", "--raw", "/version", kubeconfig=other)

    assert "cannot impersonate" in answer.value.stderr


@pytest.mark.parametrize(
    ("role", "verb", "resource", "answer"),
    [
        ("view", "get", "runbookruns.remediator.dev", True),
        ("view", "create", "runbookruns.remediator.dev", False),
        ("edit", "create", "alertpolicies.remediator.dev", True),
        ("edit", "run", "runbooks.remediator.dev", True),
        ("edit", "create", "runbookruns.remediator.dev", True),
        ("edit", "patch", "runbookruns.remediator.dev", False),
        ("edit", "patch", "runbookruns.remediator.dev/status", False),
        ("edit", "forget", "runbookruns.remediator.dev", False),
        ("admin", "forget", "runbookruns.remediator.dev", False),
    ],
)
def test_the_roles_that_people_have_already_cover_our_kinds(
    installed: Cluster, namespace: str, role: str, verb: str, resource: str, answer: bool
) -> None:
    if not installed.has_controllers:
        pytest.skip("nobody aggregates roles here: there is no controller-manager")
    who = f"{role}-of-{namespace}"
    installed.run_kubectl("create", "rolebinding", who, "-n", namespace, f"--clusterrole={role}", f"--user={who}")
    kubeconfig = installed.kubeconfig_for(who)
    can_soon(installed, kubeconfig, namespace, {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]})
    base, _, sub = resource.partition("/")
    options = [f"--subresource={sub}"] if sub else []

    try:
        said = installed.run_kubectl("auth", "can-i", verb, base, *options, "-n", namespace, kubeconfig=kubeconfig)
    except CommandFailed:
        said = "no"

    assert said.startswith("yes") is answer


# --- what people say to runs ----------------------------------------------------------------------


SPEAK = {"apiGroups": ["remediator.dev"], "resources": ["replies"], "verbs": READ_AND_WRITE}


def a_reply(namespace: str, kind: str = "Stop", *, owners: bool = False, **spec: Any) -> dict[str, Any]:
    made = a_run(namespace, owners=owners)
    return {
        **made,
        "kind": "Reply",
        "metadata": {**made["metadata"], "name": "word"},
        "spec": {"runRef": {"name": "by-hand", "uid": "some-uid"}, "type": kind, "user": "alice", **spec},
    }


APPROVE = may("approve", "runbookruns", "by-hand")
PLAN = "9c1e5b0c7d2f4a689c1e5b0c7d2f4a68"


def test_whoever_has_the_verb_says_it(installed: Cluster, namespace: str) -> None:
    alice = person(installed, namespace, "alice", SPEAK, APPROVE)

    create(installed, alice, a_reply(namespace, "Approve", planHash=PLAN))


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Approve", {"planHash": PLAN}),
        ("Deny", {"planHash": PLAN}),
        ("Acknowledge", {}),
        ("Answer", {"step": "planned", "answer": "planned"}),
        ("Undo", {}),
        ("Stop", {}),
    ],
)
def test_nobody_says_what_they_have_no_verb_for(
    installed: Cluster, namespace: str, kind: str, spec: dict[str, Any]
) -> None:
    verbs = ["approve", "deny", "acknowledge", "answer", "undo", "stop"]
    others = [may(verb, "runbookruns") | {"resourceNames": []} for verb in verbs if verb != kind.lower()]
    alice = person(installed, namespace, "alice", SPEAK, *others)

    said = refused_creation(installed, alice, a_reply(namespace, kind, **spec))

    assert f"alice may not {kind.lower()} RunbookRun {namespace}/by-hand: ask for the verb {kind.lower()} on it" in said


def test_a_verb_on_one_run_says_nothing_to_another(installed: Cluster, namespace: str) -> None:
    alice = person(installed, namespace, "alice", SPEAK, may("stop", "runbookruns", "another"))

    assert "alice may not stop" in refused_creation(installed, alice, a_reply(namespace))


def test_nobody_speaks_in_the_name_of_another(installed: Cluster, namespace: str) -> None:
    mallory = person(installed, namespace, "mallory", SPEAK, APPROVE)

    said = refused_creation(installed, mallory, a_reply(namespace, "Approve", planHash=PLAN))

    assert "spec.user must be the one who speaks: it is alice, and the one who speaks is mallory" in said


def test_nobody_speaks_for_a_group_that_they_are_not_in(installed: Cluster, namespace: str) -> None:
    person(installed, namespace, "alice", SPEAK, APPROVE)
    in_dev = installed.kubeconfig_for("alice", ["dev"])

    said = refused_creation(installed, in_dev, a_reply(namespace, "Approve", planHash=PLAN, groups=["dev", "sre"]))
    create(installed, in_dev, a_reply(namespace, "Approve", planHash=PLAN, groups=["dev"]))

    assert "alice is not in the group sre: leave out what you are not in" in said


def test_nobody_changes_what_was_said(installed: Cluster, namespace: str) -> None:
    alice = person(installed, namespace, "alice", SPEAK, APPROVE)
    create(installed, alice, a_reply(namespace, "Approve", planHash=PLAN))
    patch = ("patch", "rpl", "word", "-n", namespace, "--type=merge", "-p")

    with pytest.raises(CommandFailed) as changed:
        installed.run_kubectl(*patch, '{"spec": {"planHash": "another"}}', kubeconfig=alice)
    owned = a_run(namespace, owners=True)["metadata"]["ownerReferences"]
    given_away = refused(installed, alice, *patch, json.dumps({"metadata": {"ownerReferences": owned}}))

    assert "what was said never changes" in changed.value.stderr or "as it was said" in changed.value.stderr
    assert "leave out metadata.ownerReferences" in given_away
    assert "leave out metadata.ownerReferences" in refused_creation(
        installed, alice, a_reply(namespace, "Approve", planHash=PLAN, owners=True)
    )


@pytest.mark.parametrize(
    ("role", "verbs"),
    [
        ("remediator-approve", {"approve", "deny"}),
        ("remediator-respond", {"acknowledge", "answer"}),
        ("remediator-stop", {"stop", "undo"}),
        ("admin", set()),
    ],
)
def test_each_role_says_its_own_words_and_no_others(
    installed: Cluster, namespace: str, role: str, verbs: set[str]
) -> None:
    who = f"{role}-of-{namespace}"
    installed.run_kubectl("create", "rolebinding", who, "-n", namespace, f"--clusterrole={role}", f"--user={who}")
    kubeconfig = installed.kubeconfig_for(who)
    can_soon(installed, kubeconfig, namespace, OUR_KINDS | {"resources": ["runbookruns"]})

    said = installed.run_kubectl("auth", "can-i", "--list", "-n", namespace, kubeconfig=kubeconfig)

    line = next(one for one in said.splitlines() if one.startswith("runbookruns.remediator.dev "))
    own = {"approve", "deny", "acknowledge", "answer", "stop", "undo"}
    assert {word for word in own if word in line} == verbs
