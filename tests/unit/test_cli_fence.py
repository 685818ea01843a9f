"""What the plugin says of Guardrails, and what it grants."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from click.testing import Result

from plugins import Invoke, typed_by
from remediator.actions import registry
from remediator.cli.granting import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    ROLE,
    ROLE_BINDING,
    SERVICE_ACCOUNT,
    change_rules,
)
from remediator.domain.actions import ActionClass, Permission
from remediator.domain.objects import GUARDRAIL, POLICY, RUN, ObjectRef
from remediator.generate.__main__ import ROOT
from remediator.testing import FakeCluster, StoppedClock

NOW = datetime(2026, 12, 24, 12, 0, tzinfo=UTC)
FIXER = "system:serviceaccount:shop:fixer"
OPERATOR = "system:serviceaccount:remediator-system:remediator"


def guardrail(name: str, env: str = "prod", **spec: Any) -> Any:
    selector = {"namespaceSelector": {"matchLabels": {"env": env}}}
    return {
        "apiVersion": GUARDRAIL.api_version,
        "kind": "Guardrail",
        "metadata": {"name": name},
        "spec": {**selector, **spec},
    }


def policy(name: str, account: str = "") -> Any:
    spec = {"matchers": ['alertname="X"'], "runbookRef": {"name": "x"}}
    return {
        "apiVersion": POLICY.api_version,
        "kind": "AlertPolicy",
        "metadata": {"namespace": "shop", "name": name},
        "spec": {**spec, **({"serviceAccountName": account} if account else {})},
    }


def begun(number: int, at: datetime) -> Any:
    return {
        "apiVersion": RUN.api_version,
        "kind": "RunbookRun",
        "metadata": {"namespace": "shop", "name": f"x-{number}", "creationTimestamp": at.isoformat()},
        "spec": {"runbookRef": {"name": "x"}, "requestedBy": "operator", "episode": {"key": "k", "number": 1}},
    }


PRODUCTION = guardrail(
    "production",
    allow=["restart", "rollback"],
    maxMode="Approve",
    approval={"count": 2, "groups": ["sre"], "expires": "30m"},
    freeze=[
        {
            "from": "2026-12-24T00:00:00Z",
            "until": "2026-12-27T00:00:00Z",
            "reason": "holidays",
            "except": {"groups": ["lead"]},
        },
        {"cron": "0 16 * * FRI", "for": "64h"},
    ],
    storm={"episodes": 3, "within": "5m", "calm": "10m"},
    hosts=["prometheus.monitoring.svc"],
)
STRICT = guardrail("strict", allow=["restart"], suspend=True)


@pytest.fixture
def cluster() -> FakeCluster:
    fake = FakeCluster(StoppedClock(NOW))
    for kind in (SERVICE_ACCOUNT, ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING):
        fake.serve(kind)
    fake.add_namespace("shop", {"env": "prod"})
    fake.add_namespace("remediator-system")
    return fake


@pytest.fixture
def invoke(cluster: FakeCluster) -> Invoke:
    return typed_by("nobody", cluster, NOW)


# guardrails


def test_guardrails_names_the_one_who_said_each_effective_value(cluster: FakeCluster, invoke: Invoke) -> None:
    cluster.add(PRODUCTION, STRICT, guardrail("elsewhere", env="dev", allow=[]))

    found = json.loads(invoke("guardrails", "-n", "shop", "-o", "json").stdout)

    assert [one["name"] for one in found["guardrails"]] == ["production", "strict"]
    assert found["suspended"] == {"by": "strict"}
    assert found["mode"] == {"highest": "Approve", "by": "production"}
    assert found["actions"] == {"values": ["restart"], "by": ["production", "strict"]}
    assert found["approvals"] == [{"by": "Guardrail production", "count": 2, "groups": ["sre"], "expires": "30m0s"}]
    assert found["freeze"]["active"] == {
        "by": "production",
        "since": "2026-12-24T00:00:00Z",
        "until": "2026-12-27T00:00:00Z",
        "reason": "holidays",
        "liftedBy": [["lead"]],
    }
    assert found["freeze"]["next"]["from"] == "2026-12-25T16:00:00Z"
    assert found["hosts"] == {"values": ["prometheus.monitoring.svc"], "by": ["production"]}


def test_guardrails_tells_it_to_people(cluster: FakeCluster, invoke: Invoke) -> None:
    cluster.add(PRODUCTION, STRICT)

    text = invoke("guardrails", "-n", "shop").stdout

    assert "Namespace shop is governed by production, strict" in text
    assert "yes, by strict" in text
    assert "until 2026-12-27T00:00:00Z (production): holidays" in text
    assert "an approval with a reason by lead" in text
    assert "3 runs within 5m0s hold what is new, until 10m0s of calm (production)" in text


def test_guardrails_says_that_there_is_a_storm_since_when_and_until_when(cluster: FakeCluster, invoke: Invoke) -> None:
    storm = {"since": "2026-12-24T11:59:00Z", "until": "2026-12-24T12:09:00Z", "held": 7}
    cluster.add({**PRODUCTION, "status": {"storm": storm}})

    found = json.loads(invoke("guardrails", "-n", "shop", "-o", "json").stdout)

    assert found["storm"]["active"] == [
        {"by": "production", "since": "2026-12-24T11:59:00Z", "until": "2026-12-24T12:09:00Z"}
    ]


def test_guardrails_makes_a_storm_of_the_default_rule_out_from_the_runs(cluster: FakeCluster, invoke: Invoke) -> None:
    cluster.add(STRICT, *(begun(number, NOW - timedelta(seconds=number)) for number in range(50)))

    found = json.loads(invoke("guardrails", "-n", "shop", "-o", "json").stdout)

    assert found["storm"]["rules"] == [{"isDefault": True, "episodes": 50, "within": "5m0s", "calm": "10m0s"}]
    assert found["storm"]["active"] == [{"since": "2026-12-24T12:00:00Z", "until": "2026-12-24T12:10:00Z"}]


def test_guardrails_does_not_guess_about_a_storm_that_the_caller_may_not_see(
    cluster: FakeCluster, invoke: Invoke
) -> None:
    cluster.add(STRICT)
    cluster.forbid("*", "list", "runbookruns")

    result = invoke("guardrails", "-n", "shop")

    assert result.exit_code == 0
    assert "whether there is one cannot be told" in result.stdout


def test_guardrails_says_what_no_guardrail_means(invoke: Invoke) -> None:
    assert (
        "nothing may be changed where no Guardrail selects the namespace" in invoke("guardrails", "-n", "shop").stdout
    )
    assert "the operator's own namespace is never a target" in invoke("guardrails", "-n", "remediator-system").stdout


def test_guardrails_names_mistakes(cluster: FakeCluster, invoke: Invoke) -> None:
    cluster.add(guardrail("wrong", allow=["restrat"]))

    assert "there is no action restrat that changes something; did you mean restart?" in invoke("guardrails").stdout


def test_a_namespace_that_is_not_there_is_an_error(invoke: Invoke) -> None:
    result = invoke("guardrails", "-n", "shpo")

    assert result.exit_code == 1
    assert result.stderr == "Error: there is no namespace shpo: -n names another one\n"


# whatcan


def test_whatcan_says_for_each_action_whether_it_is_allowed_and_what_the_accounts_lack(
    cluster: FakeCluster, invoke: Invoke
) -> None:
    cluster.add(PRODUCTION, policy("down", "fixer"), policy("slow", "fixer"), policy("shown"))
    cluster.permit_only(FIXER, registry.info("restart").permissions)
    cluster.permit_only(OPERATOR, [])

    found = json.loads(invoke("whatcan", "-n", "shop", "-o", "json").stdout)

    actions = {one["name"]: one for one in found["actions"]}
    assert set(actions) == set(registry.names(ActionClass.CHANGE))
    assert actions["restart"] == {"name": "restart", "allowed": True, "lacks": {"fixer": []}}
    assert actions["deletePod"]["objection"] == "Guardrail production does not allow deletePod"
    assert any("pods" in one for one in actions["deletePod"]["lacks"]["fixer"])
    assert found["accounts"] == [{"name": "fixer", "policies": ["down", "slow"], "operatorMayActAsIt": False}]
    assert found["policiesWithoutAccount"] == ["shown"]
    assert found["highestMode"] == "Approve"
    assert found["holds"] == ["Guardrail production freezes every change until 2026-12-27T00:00:00Z: holidays"]


def test_whatcan_tells_it_to_people(cluster: FakeCluster, invoke: Invoke) -> None:
    cluster.add(PRODUCTION, STRICT, policy("down", "fixer"))
    cluster.permit_only(FIXER, [])
    cluster.permit_only(OPERATOR, [Permission("", "serviceaccounts", ("impersonate",))])

    text = invoke("whatcan", "-n", "shop").stdout

    assert "Guardrail strict suspends everything" in text
    assert "the operator may act as it" in text
    assert "fixer lacks" in text
    assert "Guardrail strict does not allow rollback" in text


def test_whatcan_says_where_the_caller_may_not_ask(cluster: FakeCluster, invoke: Invoke) -> None:
    cluster.add(PRODUCTION, policy("down", "fixer"))
    cluster.forbid("*", "create", "subjectaccessreviews")

    result = invoke("whatcan", "-n", "shop")

    assert result.exit_code == 0
    assert "fixer: what it may do, you may not ask" in result.stdout
    assert "whether the operator may act as it, you may not ask" in result.stdout


# grant


def objects_of(result: Result) -> dict[tuple[str, str], Any]:
    assert result.exit_code == 0, result.output
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(result.stdout)}


def test_grant_prints_all_that_is_needed_and_applies_nothing(cluster: FakeCluster, invoke: Invoke) -> None:
    before = len(cluster.writes)

    made = objects_of(invoke("grant", "-n", "shop", "--allow", "restart", "--mode", "approve"))

    assert list(made) == [
        ("ServiceAccount", "remediator-runs"),
        ("RoleBinding", "remediator-runs-read"),
        ("Role", "remediator-runs-granted"),
        ("RoleBinding", "remediator-runs-granted"),
        ("Role", "remediator-acts-as-remediator-runs"),
        ("RoleBinding", "remediator-acts-as-remediator-runs"),
        ("ClusterRole", "remediator-marks-runs"),
        ("ClusterRoleBinding", "remediator-marks-runs"),
        ("Guardrail", "shop"),
    ]
    assert made["Guardrail", "shop"]["spec"] == {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}},
        "allow": ["restart"],
        "maxMode": "Approve",
    }
    assert made["Role", "remediator-acts-as-remediator-runs"]["rules"][0]["resourceNames"] == ["remediator-runs"]
    assert len(cluster.writes) == before


def test_a_granted_role_holds_what_the_actions_declare_and_nothing_else() -> None:
    def allowed(*actions: str) -> set[tuple[str, str, str]]:
        return {
            (group, resource, verb)
            for rule in change_rules(actions)
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    def declared(*actions: str) -> set[tuple[str, str, str]]:
        needed = [permission for action in actions for permission in registry.info(action).permissions]
        return {(one.group, one.resource, verb) for one in needed for verb in one.verbs}

    assert allowed("restart") == declared("restart")
    assert allowed("restart", "deletePod") == declared("restart") | declared("deletePod")


def test_what_is_granted_is_what_the_overlay_grants_but_for_the_narrow_role(invoke: Invoke) -> None:
    granted = objects_of(invoke("grant", "-n", "shop", "--allow", "restart"))
    folder = ROOT / "deploy" / "overlays" / "namespace-changes"
    shipped = {
        (one["kind"], one["metadata"]["name"]): one
        for file in ("account.yaml", "impersonation.yaml")
        for one in yaml.safe_load_all((folder / file).read_text())
    }

    marks = ("ClusterRole", "remediator-marks-runs")
    assert granted[marks]["rules"] == shipped[marks]["rules"]
    ours, theirs = granted["Role", "remediator-acts-as-remediator-runs"], shipped["Role", "remediator-impersonates"]
    assert ours["rules"] == theirs["rules"]
    read = ("RoleBinding", "remediator-runs-read")
    assert granted[read]["roleRef"] == shipped[read]["roleRef"]


@pytest.mark.parametrize(
    ("allow", "says"),
    [
        ("restrat", "there is no action restrat that changes something; did you mean restart?"),
        ("restart,get", "get changes nothing and needs no grant"),
        (",", "name at least one action"),
    ],
)
def test_grant_refuses_what_is_no_action(invoke: Invoke, allow: str, says: str) -> None:
    result = invoke("grant", "-n", "shop", "--allow", allow)

    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())


def test_grant_refuses_a_mode_that_is_none_and_the_operators_own_namespace(invoke: Invoke) -> None:
    assert "Aprove is no mode" in invoke("grant", "--allow", "restart", "--mode", "Aprove").stderr
    assert "is never a target" in invoke("grant", "-n", "remediator-system", "--allow", "restart").stderr


def test_grant_applies_nothing_unasked_where_nobody_can_be_asked(cluster: FakeCluster, invoke: Invoke) -> None:
    before = len(cluster.writes)

    result = invoke("grant", "-n", "shop", "--allow", "restart", "--apply")

    assert result.exit_code == 2
    assert "give --yes" in result.stderr
    assert len(cluster.writes) == before


def test_grant_makes_it_so_once_and_the_fence_opens_last(cluster: FakeCluster, invoke: Invoke) -> None:
    first = invoke("grant", "-n", "shop", "--allow", "restart", "--apply", "--yes")
    written = [str(write.ref) for write in cluster.writes]
    again = invoke("grant", "-n", "shop", "--allow", "restart", "--apply", "--yes")

    assert first.exit_code == 0, first.output
    assert "new      ServiceAccount shop/remediator-runs" in first.stdout
    assert written[-1] == "guardrail.remediator.dev shop" or written[-1] == "Guardrail.remediator.dev shop"
    assert again.stdout.endswith("Nothing has to be changed.\n")
    assert len(cluster.writes) == len(written)


def test_grant_says_what_it_changes_and_keeps_what_else_the_guardrail_says(
    cluster: FakeCluster, invoke: Invoke
) -> None:
    invoke("grant", "-n", "shop", "--allow", "restart,scale", "--apply", "--yes")
    ref = ObjectRef(GUARDRAIL.group, GUARDRAIL.kind, "", "shop")
    cluster.change(ref, lambda obj: obj["spec"].update({"hosts": ["prometheus.monitoring.svc"]}))

    result = invoke("grant", "-n", "shop", "--allow", "restart,rollback", "--apply", "--yes")

    assert "changed  Guardrail.remediator.dev shop: allow: restart, scale → restart, rollback" in result.stdout
    spec: Any = cluster.get(ref)["spec"]
    assert (spec["allow"], spec["hosts"]) == (["restart", "rollback"], ["prometheus.monitoring.svc"])
    role = cluster.get(ObjectRef(ROLE.group, ROLE.kind, "shop", "remediator-runs-granted"))
    assert role["rules"] == change_rules(["restart", "rollback"])


def test_grant_leaves_a_guardrail_alone_that_is_about_something_else(cluster: FakeCluster, invoke: Invoke) -> None:
    cluster.add(guardrail("shop", allow=["scale"]))

    result = invoke("grant", "-n", "shop", "--allow", "restart", "--apply", "--yes")

    assert result.exit_code == 1
    assert "give a name that is free by --guardrail" in result.stderr


def test_grant_says_which_other_guardrail_still_stands_against_it(cluster: FakeCluster, invoke: Invoke) -> None:
    cluster.add(guardrail("production", allow=["scale"], maxMode="DryRun"))

    result = invoke("grant", "-n", "shop", "--allow", "restart", "--mode", "Automatic")

    assert "restart is still not allowed: Guardrail production does not allow restart" in result.stderr
    assert "the mode is still lower than Automatic: Guardrail production allows at most DryRun" in result.stderr


def test_grant_does_not_rebind_what_binds_another_role(cluster: FakeCluster, invoke: Invoke) -> None:
    invoke("grant", "-n", "shop", "--allow", "restart", "--apply", "--yes")
    ref = ObjectRef(ROLE_BINDING.group, ROLE_BINDING.kind, "shop", "remediator-runs-granted")
    cluster.change(ref, lambda obj: obj["roleRef"].update({"name": "admin"}))

    result = invoke("grant", "-n", "shop", "--allow", "restart", "--apply", "--yes")

    assert result.exit_code == 1
    assert "which cannot be changed: delete it, or give another --account" in result.stderr
