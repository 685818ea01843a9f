"""
The installed operator from the alert in Alertmanager to the end of the run, on a real API server.

Most of these tests run beside one another; those that stop the operator come last and run alone.
"""

import base64
import gzip
import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster.installed import (
    GROUP,
    OURS,
    Installation,
    Object,
    Shop,
    alert_policy,
    at_the_end,
    attempts,
    by_operator_itself,
    changed_book,
    deployment,
    ending,
    eventually,
    runbook,
    side_by_side,
)
from localcluster import CommandFailed, StartFailed
from localcluster.controlplane import OPERATOR
from localcluster.operator import NAMESPACE, TENANT_ACCOUNT, Operator

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

IMPATIENT = ("quietFor: 1s, within: 2m", "quietFor: 1s, within: 2s")
"""The alert counts as not resolved after two seconds."""

NEVER = "1h"


def two_remedies(if_not_helped: str) -> str:
    """The first does not help; the second restarts."""
    return f"""
targets: [Deployment]
diagnose:
- name: workload
  get: {{}}
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {{container: app, vars: {{QUEUE: {{value: "500"}}}}}}
  ifNotHelped: {if_not_helped}
  verify:
  - alertResolved: {{quietFor: 1s, within: 2s}}
- name: again
  steps:
  - name: roll
    restart: {{}}
  verify:
  - rollout: {{within: 2m}}
  - alertResolved: {{quietFor: 1s, within: 2m}}
"""


# --- how runs end ---------------------------------------------------------------------------------


@side_by_side
def test_a_remedy_that_helps_is_one_patch_by_the_account_of_the_policy(shop: Shop) -> None:
    shop.stock()

    shop.fire()
    run = shop.helps(QUEUE="500")

    assert ending(run) == ("Remediated", "Verified")
    (change,) = shop.changes()
    assert change["verb"] == "patch"
    assert change["impersonatedUser"]["username"] == f"system:serviceaccount:{shop.name}:{TENANT_ACCOUNT}"
    assert change["impersonatedUser"]["extra"] == {"remediator.dev/run": [f"{shop.name}/{run['metadata']['name']}"]}
    stamps = shop.deployment()["metadata"]["annotations"]
    assert stamps["remediator.dev/run"] == f"{shop.name}/{run['metadata']['name']}"
    assert stamps["remediator.dev/step"] == attempts(run)[0]["steps"][0]["token"]


@side_by_side
def test_target_and_policy_tell_what_happened(shop: Shop) -> None:
    shop.stock()

    shop.fire()
    run = shop.helps(QUEUE="500")

    assert eventually(lambda: "RunRemediated" in shop.events("Deployment"), "no Event on the target")
    path = f"{OURS}/namespaces/{shop.name}/alertpolicies/queue"
    status = eventually(
        lambda: s if (s := shop.api.get(path)["status"]).get("runs", {}).get("succeeded") else {}, "no counter"
    )
    assert [(recent["name"], recent["outcome"]) for recent in status["recent"]] == [
        (run["metadata"]["name"], "Remediated")
    ]
    assert status["lastAlertAt"]
    head, line = shop.cluster.run_kubectl("get", "runbookruns", "-n", shop.name).splitlines()
    assert head.split() == ["NAME", "ALERT", "TARGET", "REMEDY", "STATE", "OUTCOME", "AGE"]
    assert line.split()[:6] == [
        run["metadata"]["name"], "QueueFull", "Deployment/checkout", "bigger", "Ended", "Remediated",
    ]  # fmt: skip


@side_by_side
def test_a_remedy_that_does_not_help_is_taken_back_and_somebody_is_told(shop: Shop) -> None:
    shop.stock(changed_book(*IMPATIENT))

    shop.fire()
    run = shop.ended()

    assert ending(run) == ("Undone", "DidNotHelp")
    assert shop.env()["QUEUE"] == "200"
    assert len(shop.changes()) == 2
    (message,) = shop.installation.inbox.to("default", shop.name)
    assert "Undone" in message["title"]


@side_by_side
def test_somebody_is_told_of_an_alert_that_is_sent_on_after_its_remedy_has_helped(shop: Shop) -> None:
    shop.stock(changed_book("- alertResolved: {quietFor: 1s, within: 2m}\n", ""))
    shop.fire()
    run = shop.ended()
    assert ending(run) == ("Remediated", "Verified")
    an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = json.dumps({"status": {"endedAt": an_hour_ago}})
    name = run["metadata"]["name"]
    patch = ("patch", "rbr", name, "-n", shop.name, "--subresource=status", "--type=merge", "-p", body)
    shop.cluster.run_kubectl(*patch)

    shop.nudge()

    (message,) = eventually(lambda: shop.installation.inbox.to("default", shop.name), "nobody was told")
    assert "fires again" in message["title"]
    told = shop.run(lambda status: status.get("recurred"), "that it recurred is on the record")
    assert ending(told) == ("Remediated", "Verified")
    assert len(shop.changes()) == 1


@side_by_side
def test_what_a_remedy_that_keeps_has_changed_stays(shop: Shop) -> None:
    shop.stock(changed_book(*IMPATIENT, "ifNotHelped: Undo", "ifNotHelped: Keep"))

    shop.fire()
    run = shop.ended()

    assert ending(run) == ("Failed", "DidNotHelp")
    assert shop.env()["QUEUE"] == "500"


@side_by_side
def test_the_next_remedy_is_tried_after_the_first_was_taken_back(shop: Shop) -> None:
    shop.stock(two_remedies("TryNext"))

    shop.fire()
    shop.run(lambda status: status.get("remedy") == "again" and status["attempts"][-1].get("verifyingSince"), "again")
    shop.resolve()
    run = shop.ended()

    assert ending(run) == ("Remediated", "Verified")
    assert [attempt["remedy"] for attempt in attempts(run)] == ["bigger", "again"]
    assert shop.env()["QUEUE"] == "200"
    assert len(shop.changes()) == 3


@side_by_side
def test_the_next_remedy_is_tried_on_top_of_one_that_is_kept(shop: Shop) -> None:
    shop.stock(two_remedies("KeepAndTryNext"))

    shop.fire()
    shop.run(lambda status: status.get("remedy") == "again" and status["attempts"][-1].get("verifyingSince"), "again")
    shop.resolve()
    run = shop.ended()

    assert ending(run) == ("Remediated", "Verified")
    assert shop.env()["QUEUE"] == "500"
    assert len(shop.changes()) == 2


@side_by_side
def test_a_dry_run_shows_what_the_server_would_store_and_changes_nothing(shop: Shop) -> None:
    shop.stock(mode="DryRun")
    before = shop.deployment()

    shop.fire()
    run = shop.ended()

    assert ending(run) == ("DryRun", "DryRun")
    diff = attempts(run)[0]["steps"][0]["diff"]
    assert "200" in diff and "500" in diff, diff
    assert shop.deployment()["metadata"]["generation"] == before["metadata"]["generation"]
    assert not shop.changes()


@side_by_side
def test_a_diagnosis_names_the_remedy_and_plans_nothing(shop: Shop) -> None:
    shop.stock(mode="Diagnose")

    shop.fire()
    run = shop.ended()

    assert ending(run) == ("Diagnosed", "Diagnosed")
    assert run["status"]["remedy"] == "bigger"
    assert not attempts(run)[0].get("steps")
    assert not shop.changes()


# --- what is refused ------------------------------------------------------------------------------


@side_by_side
def test_nothing_is_changed_where_no_guardrail_governs(shop: Shop) -> None:
    shop.open(guarded=False)
    shop.stock()
    me = json.loads(shop.cluster.run_kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]

    # not by an alert: all these tests together are a storm, and no Guardrail says here that they are none
    shop.cluster.run_kubectl("create", "-f", "-", input=json.dumps(by_hand(shop, me)))
    run = ended_by_hand(shop)

    assert ending(run) == ("Refused", "NamespaceNotPermitted")
    assert not shop.changes()


@side_by_side
def test_an_action_that_the_guardrail_does_not_list_is_refused(shop: Shop) -> None:
    shop.stock(allow=["restart"])

    shop.fire()
    run = shop.ended()

    assert ending(run) == ("Refused", "NotPermitted")
    assert f"Guardrail {shop.name} does not allow setEnv" in run["status"]["message"]
    assert not shop.changes()


@side_by_side
def test_a_guardrail_lowers_the_mode(shop: Shop) -> None:
    shop.open("setEnv")
    fence = {"apiVersion": GROUP, "kind": "Guardrail", "metadata": {"name": f"{shop.name}-mode"}}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": shop.name}}
    shop.apply({**fence, "spec": {"namespaceSelector": selector, "maxMode": "DryRun"}})
    shop.stock()

    shop.fire()
    run = shop.ended()

    assert ending(run) == ("DryRun", "DryRun")
    assert run["status"]["resolved"]["loweredBy"] == f"Guardrail {shop.name}-mode allows at most DryRun"
    assert not shop.changes()


@side_by_side
def test_a_policy_of_the_operator_without_an_account_shows_and_sends_nothing(shop: Shop) -> None:
    shop.open("setEnv")
    book, policy = runbook(), alert_policy(shop.name, mode="DryRun", serviceAccountName=None)
    book["metadata"] = {"name": shop.name, "namespace": NAMESPACE}
    policy["metadata"]["namespace"] = NAMESPACE
    policy["spec"] |= {
        "runbookRef": {"name": shop.name},
        "matchers": ['alertname="QueueFull"', f'namespace="{shop.name}"'],
    }
    shop.apply(deployment(), book, policy)
    shop.wait_for_rollout()

    shop.fire()
    run = shop.ended(policy=shop.name)

    assert ending(run) == ("DryRun", "DryRun")
    assert "NotSent" in attempts(run)[0]["steps"][0]["diff"]
    assert not [entry for entry in shop.installation.audit(shop.name) if "impersonatedUser" in entry]


@side_by_side
def test_an_automatic_policy_without_an_account_is_not_ready_and_its_runs_say_so(shop: Shop) -> None:
    shop.stock(serviceAccountName=None)

    shop.fire()
    run = shop.ended()

    assert ending(run) == ("PolicyNotReady", "PolicyNotReady")
    assert "serviceAccountName" in run["status"]["message"]
    assert shop.ready()["status"] == "False"


# --- when the world moves -------------------------------------------------------------------------


@side_by_side
def test_an_alert_that_resolves_in_grace_is_not_acted_on(shop: Shop) -> None:
    shop.stock(grace=NEVER)

    shop.fire()
    shop.held("InGrace")
    shop.resolve()
    run = shop.ended()

    assert ending(run) == ("NotNeeded", "StaleAlert")
    assert not shop.changes()


@side_by_side
def test_the_next_episode_rests_as_long_as_the_cooldown_and_says_until_when(shop: Shop) -> None:
    shop.stock(limits={"cooldown": NEVER})
    shop.fire()
    shop.helps(QUEUE="500")
    shop.set_env("QUEUE", "200")
    shop.wait_for_rollout()

    shop.fire()
    run = shop.held("CoolingDown", episode=2)

    held = run["status"]["held"]
    assert held["until"]
    assert "rests 1h" in held["message"]
    shop.resolve()
    assert ending(shop.ended(episode=2)) == ("NotNeeded", "StaleAlert")
    assert len(shop.changes()) == 1


@side_by_side
def test_a_template_that_somebody_changed_since_the_diagnosis_is_not_touched(shop: Shop) -> None:
    shop.stock(grace="20s")
    shop.fire()
    shop.held("InGrace")

    shop.set_env("OTHER", "1")
    run = shop.ended()

    assert ending(run) == ("TargetChanged", "TargetChanged")
    assert shop.env() == {"QUEUE": "200", "OTHER": "1"}
    assert not shop.changes()


@side_by_side
def test_a_value_that_somebody_wrote_after_us_is_not_taken_back(shop: Shop) -> None:
    shop.stock(changed_book("quietFor: 1s, within: 2m", "quietFor: 1s, within: 15s"))
    shop.fire()
    shop.run(lambda status: status.get("attempts", [{}])[-1].get("verifyingSince"), "does not verify")

    shop.set_env("QUEUE", "300")
    run = shop.ended()

    assert ending(run) == ("Failed", "UndoConflict")
    assert shop.env()["QUEUE"] == "300"
    assert len(shop.changes()) == 1


@side_by_side
def test_a_target_that_was_made_anew_releases_its_alert_for_another_run(shop: Shop) -> None:
    shop.stock(grace="20s")
    shop.fire()
    shop.held("InGrace")

    shop.cluster.run_kubectl("delete", "deployment", "checkout", "-n", shop.name)
    shop.apply(deployment())
    run = shop.ended()

    assert ending(run) == ("TargetChanged", "TargetChanged")
    shop.nudge()
    again = shop.run(lambda status: status.get("resolved"), "is not accepted", episode=2)
    assert again["status"]["resolved"]["targetUid"] == shop.deployment()["metadata"]["uid"]


@side_by_side
def test_two_policies_on_one_target_act_one_after_the_other(shop: Shop) -> None:
    patient = """
targets: [Deployment]
remedies:
- name: again
  steps:
  - name: roll
    restart: {}
verify:
- rollout: {within: 2m}
- alertResolved: {quietFor: 1s, within: 2m}
"""
    shop.stock()
    other = alert_policy("other", matchers=['alertname="Slow"'], runbookRef={"name": "again"})
    shop.apply(runbook(patient, "again"), other)
    shop.fire()
    shop.run(lambda status: status.get("attempts", [{}])[-1].get("verifyingSince"), "does not verify")
    shop.set_env("OTHER", "1")  # or the next alert would be taken for what our own change has caused

    shop.fire("Slow")
    waiting = shop.held("TargetBusy", policy="other")

    first = shop.runs()[0]
    assert f"{shop.name}/{first['metadata']['name']}" in waiting["status"]["held"]["message"]
    assert len(shop.changes()) == 1
    shop.resolve()
    assert ending(shop.ended()) == ("Remediated", "Verified")
    eventually(lambda: len(shop.changes()) == 2, "the second does not go on")
    shop.resolve("Slow")
    assert ending(shop.ended(policy="other")) == ("Remediated", "Verified")


# --- what alerts are about ------------------------------------------------------------------------


@side_by_side
def test_an_alert_about_a_pod_is_about_its_deployment(shop: Shop) -> None:
    shop.stock()
    pod = shop.items("/api/v1", "pods")[0]["metadata"]["name"]

    shop.fire(pod=pod)
    run = shop.run(lambda status: status.get("resolved"), "is not accepted")

    assert run["spec"]["target"]["kind"] == "Deployment"
    assert run["spec"]["target"]["name"] == "checkout"
    eventually(lambda: shop.env()["QUEUE"] == "500", "nothing was changed")
    shop.resolve(pod=pod)
    assert ending(shop.ended()) == ("Remediated", "Verified")


@side_by_side
def test_the_exporter_that_an_alert_comes_from_is_not_what_it_is_about(shop: Shop) -> None:
    shop.stock()
    pod = eventually(
        lambda: next((one for one in shop.items("/api/v1", "pods") if one["status"].get("podIP")), None), "no pod's IP"
    )
    assert pod is not None

    shop.fire(pod=pod["metadata"]["name"], instance=f"{pod['status']['podIP']}:8080")
    run = shop.ended()

    assert run["spec"]["target"]["kind"] == "unresolved"
    assert run["status"]["outcome"] != "Remediated"
    assert "not what they are about" in run["spec"]["reason"]
    assert not shop.changes()


# --- by hand --------------------------------------------------------------------------------------


def by_hand(shop: Shop, user: str) -> Object:
    return {
        "apiVersion": GROUP,
        "kind": "RunbookRun",
        "metadata": {"name": "by-hand", "namespace": shop.name},
        "spec": {
            "runbookRef": {"name": "queue"},
            "target": {"kind": "Deployment", "namespace": shop.name, "name": "checkout"},
            "mode": "Automatic",
            "serviceAccountName": TENANT_ACCOUNT,
            "requestedBy": user,
            "reason": "the queue is about to be full",
        },
    }


def ended_by_hand(shop: Shop) -> Object:
    """The run that somebody asked for, at its end."""
    path = f"{OURS}/namespaces/{shop.name}/runbookruns/by-hand"
    run = eventually(lambda: r if (r := shop.api.get(path)).get("status", {}).get("outcome") else None, "has not ended")
    assert run is not None
    return run


def bind(shop: Shop, user: str, *rules: Object) -> Path:
    """A kubeconfig of a user who has these rights in the namespace."""
    meta = {"name": user, "namespace": shop.name}
    rbac = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": [*rules]}
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": user},
        "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}],
    }
    shop.apply(role, binding)
    return shop.cluster.kubeconfig_for(user)


MAY_CREATE = {"apiGroups": ["remediator.dev"], "resources": ["runbookruns"], "verbs": ["create"]}
MAY_RUN = {"apiGroups": ["remediator.dev"], "resources": ["runbooks"], "verbs": ["run"]}
MAY_ACT = {
    "apiGroups": [""],
    "resources": ["serviceaccounts"],
    "resourceNames": [TENANT_ACCOUNT],
    "verbs": ["impersonate"],
}


@side_by_side
def test_whoever_may_run_a_runbook_runs_it_by_hand(shop: Shop) -> None:
    shop.stock()
    alice = bind(shop, f"alice-{shop.name}", MAY_CREATE, MAY_RUN, MAY_ACT)

    def created() -> bool:
        try:
            manifest = json.dumps(by_hand(shop, f"alice-{shop.name}"))
            shop.cluster.run_kubectl("create", "-f", "-", input=manifest, kubeconfig=alice)
        except CommandFailed as refusal:  # the authorizer follows a watch
            assert "orbidden" in refusal.stderr
            return False
        return True

    eventually(created, "alice may not run it")
    run = ended_by_hand(shop)

    assert ending(run) == ("Remediated", "Verified")
    assert shop.env()["QUEUE"] == "500"


@side_by_side
def test_whoever_may_not_run_a_runbook_cannot_ask_for_it(shop: Shop) -> None:
    shop.stock()
    bob = bind(shop, f"bob-{shop.name}", MAY_CREATE, MAY_ACT)

    def refusal() -> str:
        with pytest.raises(CommandFailed) as attempt:
            manifest = json.dumps(by_hand(shop, f"bob-{shop.name}"))
            shop.cluster.run_kubectl("create", "-f", "-", input=manifest, kubeconfig=bob)
        return attempt.value.stderr if "ask for the verb run" in attempt.value.stderr else ""

    assert eventually(refusal, "it is not the verb run that is missing")
    assert not shop.items(OURS, "runbookruns")


# --- what is written ------------------------------------------------------------------------------


PLANTED = ("hunter2-of-the-log", "hunter2-of-the-env", "hunter2-of-the-label", "hunter2-of-the-event")


@side_by_side
def test_no_secret_that_is_seen_is_written_down(shop: Shop) -> None:
    shop.cluster.write_simulated_log(
        shop.name,
        current=f"connecting with password={PLANTED[0]}\nAuthorization: Bearer {PLANTED[0]}\nwaiting for orders\n",
    )
    workload = deployment(
        metadata={"annotations": {"local.remediator.dev/logs": shop.name}, "labels": {"app": "checkout"}}
    )
    container = workload["spec"]["template"]["spec"]["containers"][0]
    container["env"].append({"name": "DATABASE_URL", "value": f"postgres://shop:{PLANTED[1]}@db/shop"})
    container["env"].append({"name": "DATABASE_PASSWORD", "value": PLANTED[1]})
    reads = """
targets: [Deployment]
diagnose:
- name: workload
  get: {}
- name: pods
  get: {kind: Pod, related: owned}
- name: log
  logs: {from: all, tailLines: 50}
- name: described
  describe: {}
- name: happened
  events: {}
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
verify:
- alertResolved: {quietFor: 1s, within: 2s}
"""
    shop.open("setEnv")
    shop.apply(workload, runbook(reads), alert_policy())
    shop.wait_for_rollout()
    uid = shop.deployment()["metadata"]["uid"]
    shop.apply(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "planted"},
            "involvedObject": {
                "apiVersion": "apps/v1", "kind": "Deployment", "namespace": shop.name, "name": "checkout", "uid": uid,
            },
            "reason": "Failed",
            "message": f"the database was asked with password={PLANTED[3]}",
            "type": "Warning",
            "source": {"component": "app"},
        }
    )  # fmt: skip

    shop.fire(password=PLANTED[2])
    run = shop.ended()

    evidence = attempts(run)[0]["evidence"]
    stored = shop.api.get(f"/api/v1/namespaces/{shop.name}/configmaps/{evidence}")
    assert stored["metadata"]["ownerReferences"][0]["uid"] == run["metadata"]["uid"]
    texts = written_down(shop)
    seen = ("waiting for orders", "the database was asked", "DATABASE_PASSWORD", "password")
    assert [word for word in seen if word not in texts] == [], "what is beside the secrets was read and kept"
    assert [secret for secret in PLANTED if secret in texts] == []


def written_down(shop: Shop) -> str:
    """Everything that the operator wrote about a namespace, anywhere."""
    found = [shop.installation.operator.log.read_text(), json.dumps(shop.installation.inbox.messages)]
    found += [json.dumps(one) for one in shop.items(OURS, "runbookruns")]
    found += [json.dumps(one) for one in shop.api.items(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases")]
    found += [json.dumps(e) for e in shop.items("/api/v1", "events") if e["source"].get("component") == "remediator"]
    for one in shop.items("/api/v1", "configmaps") + shop.api.items(f"/api/v1/namespaces/{NAMESPACE}/configmaps"):
        found.append(json.dumps(one))
        found += [gzip.decompress(base64.b64decode(data)).decode() for data in one.get("binaryData", {}).values()]
    return "\n".join(found)


@side_by_side
def test_evidence_goes_with_its_run(shop: Shop) -> None:
    shop.stock(changed_book("get: {}", "describe: {}"), mode="DryRun")
    shop.fire()
    run = shop.ended()
    path = f"/api/v1/namespaces/{shop.name}/configmaps/{attempts(run)[0]['evidence']}"
    shop.api.get(path)

    shop.api.call("DELETE", f"{OURS}/namespaces/{shop.name}/runbookruns/{run['metadata']['name']}")

    eventually(
        lambda: not [one for one in shop.items("/api/v1", "configmaps") if path.endswith(one["metadata"]["name"])],
        "the evidence is still there",
    )


# --- alone: what the tests before have left, and stops --------------------------------------------


@at_the_end
def test_every_change_was_made_as_an_account_of_a_policy_and_names_its_run(installation: Installation) -> None:
    own = {"runbookruns", "runbooks", "alertpolicies", "guardrails", "configmaps", "events", "leases"}
    asks = {"selfsubjectaccessreviews"}
    writes = [
        entry
        for entry in installation.audit(OPERATOR)
        if entry["user"]["username"] == OPERATOR and entry["verb"] not in ("get", "list", "watch")
    ]

    itself = {entry["objectRef"]["resource"] for entry in writes if by_operator_itself(entry)}
    others = [entry for entry in writes if "impersonatedUser" in entry and entry["objectRef"]["resource"] not in asks]

    assert itself <= own | asks
    assert {entry["objectRef"]["resource"] for entry in others} <= {"deployments", "statefulsets", "daemonsets", "pods"}
    for entry in others:
        (run,) = entry["impersonatedUser"]["extra"]["remediator.dev/run"]
        assert run.partition("/")[0] == entry["objectRef"]["namespace"]


def test_an_operator_that_was_stopped_during_a_run_goes_on_with_it(shop: Shop) -> None:
    operator = shop.installation.operator
    shop.stock()
    shop.fire()
    shop.run(lambda status: status.get("attempts", [{}])[-1].get("verifyingSince"), "does not verify")

    code = operator.stop()
    shop.resolve()
    operator.start()
    run = shop.ended()

    assert code == 0
    assert ending(run) == ("Remediated", "Verified")
    assert len(shop.changes()) == 1


def test_an_alert_that_was_answered_before_a_restart_is_covered_after_it(shop: Shop) -> None:
    operator = shop.installation.operator
    shop.stock(mode="DryRun")
    shop.fire()
    run = shop.ended()

    operator.stop()
    operator.start()
    before = shop.installation.metric("remediator_alerts_total", receipt="Covered")
    shop.nudge()

    eventually(
        lambda: shop.installation.metric("remediator_alerts_total", receipt="Covered") > before, "it is not covered"
    )
    runs = [one["metadata"]["name"] for one in shop.runs()]
    assert run["metadata"]["name"] in runs


def test_a_process_that_cannot_listen_ends_at_once_and_says_why(installation: Installation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        another = Operator(installation.cluster, name="another")
        another.intake_port = taken.getsockname()[1]

        with pytest.raises(StartFailed, match="the operator ended with 1"):
            another.start()

    assert "address already in use" in another.log.read_text()
