"""
Secrets wherever a run can come across one, and none of them anywhere the operator writes.

The corpus of `tests/data/secrets.yaml` is planted in logs, variables, annotations, a ConfigMap, Events,
the refusal of an admission policy, and the labels and annotations of the alert; the run reads all of it,
has its change refused, and tells somebody.
"""

import base64
import gzip
import json
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.installed import OURS, Object, Shop, deployment, ending, eventually, side_by_side
from localcluster import CommandFailed
from localcluster.operator import NAMESPACE, TENANT_ACCOUNT
from remediator.generate.__main__ import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

CORPUS: list[Object] = yaml.safe_load((ROOT / "tests" / "data" / "secrets.yaml").read_text())
GONE = sorted({secret for one in CORPUS for secret in one["gone"]})
TEXT = "\n".join(one["text"] for one in CORPUS)
LINES = [" ".join(one["text"].splitlines()) for one in CORPUS if len(one["text"]) < 200 and '"' not in one["text"]]
LINES.sort(key=lambda line: "Authorization" in line or "ookie" in line)  # the rest of a header's line goes with it
PLUGIN = Path(sys.executable).parent / "kubectl-remediate"

BOOK = """
targets: [Deployment]
diagnose:
- name: workload
  get: {}
- name: settings
  get: {kind: ConfigMap, name: settings}
- name: said
  events: {limit: 200}
- name: lines
  logs: {from: all, tailLines: 1000, count: {passwords: password}, extract: {dsn: 'dial error: (\\S+)'}}
- name: unready
  httpGet: {url: 'https://web.invalid/${alert.labels.dsn}'}
remedies:
- name: bigger
  when: diagnosis.workload.known
  steps:
  - name: say
    notify:
      to: on-call
      subject: '${alert.annotations.summary}'
      message: '${alert.labels.dsn} ${alert.annotations.summary} ${diagnosis.settings.items[0].data.text}'
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
otherwise:
- name: handOver
  escalate: {to: on-call, message: '${alert.annotations.description} ${run.reason} ${diagnosis.lines.extract.dsn[0]} ${target.namespace}'}
"""


def planted(shop: Shop) -> None:
    """The Deployment, its pods' logs, a ConfigMap, Events and the admission policy, each full of secrets."""
    name = f"secrets-{secrets.token_hex(4)}"
    shop.cluster.write_simulated_log(name, current=TEXT, previous=TEXT)
    env = [{"name": "QUEUE", "value": "200"}]
    env += [{"name": f"SETTING_{n}", "value": one["text"]} for n, one in enumerate(CORPUS)]
    env += [{"name": "DB_PASSWORD", "value": "pQ7zR2mX"}, {"name": "API_TOKEN", "value": "zzR2mXq"}]
    container = {"name": "app", "image": "registry.test/shop:1", "env": env, "args": ["--db-password", "pQ7zR2mX"]}
    annotations = {f"example.com/note-{n}": one["text"] for n, one in enumerate(CORPUS)}
    workload = deployment(
        containers=[container], metadata={"annotations": {"local.remediator.dev/logs": name, **annotations}}
    )
    workload["metadata"]["annotations"] = annotations
    shop.apply(
        workload, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"text": TEXT}}
    )
    shop.wait_for_rollout()
    uid = shop.deployment()["metadata"]["uid"]
    for n, one in enumerate(CORPUS):
        about = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout", "namespace": shop.name, "uid": uid}
        event = {
            "metadata": {"name": f"checkout.{n}"},
            "involvedObject": about,
            "reason": "Failed",
            "message": one["text"][:1000],
            "type": "Warning",
            "source": {"component": "kubelet"},
            "firstTimestamp": "2026-06-01T12:00:00Z",
            "lastTimestamp": "2026-06-01T12:00:00Z",
            "count": 1,
        }
        shop.api.call("POST", f"/api/v1/namespaces/{shop.name}/events", event)


def refused_with_secrets(shop: Shop) -> None:
    """The API server refuses the policy's account every change of the Deployment, with secrets in its words."""
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": shop.name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": shop.name}},
                "resourceRules": [
                    {
                        "apiGroups": ["apps"],
                        "apiVersions": ["*"],
                        "resources": ["deployments"],
                        "operations": ["UPDATE"],
                    }
                ],
            },
            "validations": [
                {
                    "expression": f"!request.userInfo.username.startsWith('system:serviceaccount:{shop.name}:')",
                    "message": "; ".join(LINES)[:3000],
                    "reason": "Forbidden",
                }
            ],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": shop.name},
        "spec": {"policyName": shop.name, "validationActions": ["Deny"]},
    }
    shop.cluster.run_kubectl(
        "apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [policy, binding]})
    )
    rehearsal = ["-n", shop.name, "annotate", "deployment/checkout", "tried=1", "--dry-run=server"]

    def refused() -> bool:  # the API server takes a new policy up after a while
        try:
            shop.cluster.run_kubectl(*rehearsal, "--as", f"system:serviceaccount:{shop.name}:{TENANT_ACCOUNT}")
        except CommandFailed as failed:
            return "denied request" in str(failed)
        return False

    eventually(refused, "the admission policy refuses nothing yet")


def written(shop: Shop) -> Iterator[tuple[str, str]]:
    """Everything that the operator wrote about this namespace, and all that it said, by the place."""
    for place in (shop.name, NAMESPACE):
        for group, plural in ((OURS, "runbookruns"), (OURS, "alertpolicies"), (OURS, "runbooks")):
            for one in shop.api.items(f"{group}/namespaces/{place}/{plural}"):
                yield (
                    f"{plural} {one['metadata']['name']}",
                    json.dumps(one if plural == "runbookruns" else one.get("status")),
                )
        for one in shop.api.items(f"/api/v1/namespaces/{place}/configmaps"):
            if one["metadata"]["name"] != "settings":
                yield f"configmap {one['metadata']['name']}", json.dumps(one) + "".join(unpacked(one))
        for one in shop.api.items(f"/api/v1/namespaces/{place}/events"):
            if one["source"].get("component") == "remediator":
                yield f"event {one['reason']}", json.dumps(one)
        for one in shop.api.items(f"/apis/coordination.k8s.io/v1/namespaces/{place}/leases"):
            yield f"lease {one['metadata']['name']}", json.dumps(one)
    yield "the operator's log", shop.installation.operator.log.read_text()
    yield "the inbox", json.dumps(shop.installation.inbox.messages)
    with urllib.request.urlopen(f"{shop.installation.operator.health_url}/metrics", timeout=20) as answer:
        yield "the metrics", answer.read().decode()
    (run,) = shop.runs()
    for arguments in (
        *(["show", run["metadata"]["name"], "--evidence", "-o", form] for form in ("text", "wide", "json", "yaml")),
        ["explain", run["metadata"]["name"]],
        *(["list", "-o", form] for form in ("table", "wide", "json", "yaml")),
    ):
        yield f"kubectl remediate {' '.join(arguments)}", told(shop, *arguments)


def unpacked(config_map: Object) -> Iterator[str]:
    for content in config_map.get("binaryData", {}).values():
        yield gzip.decompress(base64.b64decode(content)).decode()


def told(shop: Shop, *arguments: str) -> str:
    command = [str(PLUGIN), *arguments, "-n", shop.name, "--kubeconfig", str(shop.cluster.admin_kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@side_by_side
def test_no_planted_secret_is_found_in_anything_that_the_operator_wrote(shop: Shop) -> None:
    shop.stock(BOOK, allow=("setEnv",))
    assert shop.ready()["status"] == "True", shop.ready()
    planted(shop)
    refused_with_secrets(shop)
    labels = {f"text_{n}": one["text"] for n, one in enumerate(CORPUS)}

    shop.fire(dsn="postgres://shop:pQ7zR2mX@db.shop.svc:5432/orders", db_password="zzR2mXq", **labels)
    run = shop.ended()

    assert ending(run)[0] not in ("Remediated", "NotNeeded")
    eventually(lambda: shop.installation.inbox.to("on-call", shop.name), "nobody was told")
    places = dict(written(shop))
    found = [
        f"{secret!r} in {place}: …{text[max(0, at - 80) : at + 40]}…"
        for place, text in places.items()
        for secret in GONE
        if (at := text.find(secret)) >= 0
    ]
    assert not found, "\n".join(found[:40])
    for kind in (
        "configmap",
        "runbookruns",
        "event",
        "the inbox",
        "kubectl remediate show",
        "kubectl remediate explain",
    ):
        text = "".join(text for place, text in places.items() if place.startswith(kind))
        assert "[redacted]" in text, f"nothing that was planted ever came to {kind}"
    evidence = "".join(text for place, text in places.items() if place.startswith("configmap"))
    assert "db.shop.svc:5432/orders?sslmode=require" in evidence, "what stands around a secret was lost"
