"""The kinds as a real API server serves them: what it takes, what it refuses, and with which words."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from localcluster import Cluster, CommandFailed
from localcluster.processes import moments
from remediator.generate.__main__ import ROOT
from remediator.generate.kinds import KINDS

pytestmark = pytest.mark.cluster

INVALID = Path(__file__).resolve().parents[1] / "data" / "invalid"
RUNBOOK = """
apiVersion: remediator.dev/v1alpha1
kind: Runbook
metadata: {name: crashlooping-pod}
spec:
  description: A workload's pods crash again and again.
  targets: [Deployment, StatefulSet]
  parameters:
    - {name: patience, type: duration, default: 5m, description: How long a rollout may take.}
  diagnose:
    - name: crash
      logs: {from: crashing, previous: true, tailLines: 200, count: {panic: 'panic:'}}
    - name: history
      rolloutHistory: {}
  variables:
    - {name: panics, expression: diagnosis.crash.count.panic > 0}
  remedies:
    - name: previousRelease
      when: variables.panics
      steps:
        - {name: goBack, rollback: {}}
        - {name: settle, wait: {for: 30s}}
      ifNotHelped: Keep
    - name: again
      steps:
        - {name: restartIt, restart: {}}
  verify:
    - rollout: {within: 5m}
    - alertResolved: {}
  otherwise:
    - {name: handOver, escalate: {to: on-call}}
"""
RUN = """
apiVersion: remediator.dev/v1alpha1
kind: RunbookRun
metadata: {name: by-hand}
spec:
  runbookRef: {name: crashlooping-pod}
  target: {kind: Deployment, namespace: shop, name: checkout}
  parameters: {patience: 5m, deep: {inside: 1}}
  requestedBy: WHO
"""


@dataclass(frozen=True)
class Mistake:
    """A manifest that somebody gets wrong, and the answer it must have."""

    file: Path
    refused_by: str
    path: str
    says: str

    @classmethod
    def read(cls, file: Path) -> "Mistake":
        head = dict(
            line.removeprefix("# ").partition(": ")[::2]
            for line in file.read_text(encoding="utf-8").splitlines()
            if line.startswith("# ")
        )
        return cls(file, head["refused-by"], head.get("path", ""), head.get("says", ""))


MISTAKES = [Mistake.read(file) for file in sorted(INVALID.glob("*.yaml"))]
BY_THE_SERVER = [one for one in MISTAKES if one.refused_by == "apiserver"]
BY_THE_OPERATOR = [one for one in MISTAKES if one.refused_by == "operator"]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*/*.yaml"))


@pytest.fixture(scope="module")
def served(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, with our kinds, as a plain apply leaves them."""
    for kind in KINDS:
        cluster.run_kubectl("apply", "-f", str(ROOT / "crds" / f"{kind.kind.plural}.yaml"))
    names = [f"crd/{kind.kind.plural}.{kind.kind.group}" for kind in KINDS]
    cluster.run_kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    yield cluster


def applied(cluster: Cluster, namespace: str, manifest: str, *options: str) -> str:
    return cluster.run_kubectl("apply", "-n", namespace, *options, "-f", "-", input=manifest)


def refusal(cluster: Cluster, namespace: str, manifest: str) -> str:
    """What the API server says, while nothing is stored."""
    with pytest.raises(CommandFailed) as refused:
        cluster.run_kubectl(
            "create", "-n", namespace, "--dry-run=server", "--validate=strict", "-f", "-", input=manifest
        )
    return refused.value.stderr


@pytest.mark.parametrize("plural", [kind.kind.plural for kind in KINDS])
def test_a_plain_apply_establishes_a_kind_with_a_structural_schema(served: Cluster, plural: str) -> None:
    crd = json.loads(served.run_kubectl("get", "crd", f"{plural}.remediator.dev", "-o", "json"))

    conditions = {one["type"]: one["status"] for one in crd["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert "NonStructuralSchema" not in conditions
    annotation = crd["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert len(annotation) < 200_000


@pytest.mark.parametrize("plural", [kind.kind.plural for kind in KINDS])
def test_applying_again_changes_nothing(served: Cluster, plural: str) -> None:
    said = served.run_kubectl("apply", "-f", str(ROOT / "crds" / f"{plural}.yaml"))

    assert said.strip().endswith("unchanged")


def test_a_runbook_as_people_write_it_is_taken(served: Cluster, namespace: str) -> None:
    applied(served, namespace, RUNBOOK, "--validate=strict")

    stored = json.loads(served.run_kubectl("get", "rb", "-n", namespace, "crashlooping-pod", "-o", "json"))
    assert stored["spec"]["remedies"][0]["whenUnknown"] == "Stop"
    assert stored["spec"]["verify"][1]["alertResolved"] == {"quietFor": "5m", "within": "30m"}
    assert "status" not in stored


@pytest.mark.parametrize("mistake", BY_THE_SERVER, ids=lambda one: one.file.stem)
def test_a_mistake_is_refused_where_it_is_and_says_what_to_write(
    served: Cluster, namespace: str, mistake: Mistake
) -> None:
    said = refusal(served, namespace, mistake.file.read_text(encoding="utf-8"))

    assert mistake.path in said
    assert mistake.says in said


def test_enough_mistakes_are_tried() -> None:
    assert len(BY_THE_SERVER) >= 20


@pytest.mark.parametrize("mistake", BY_THE_OPERATOR, ids=lambda one: one.file.stem)
def test_what_only_the_operator_can_know_is_stored(served: Cluster, namespace: str, mistake: Mistake) -> None:
    manifests = [one for one in yaml.safe_load_all(mistake.file.read_text(encoding="utf-8")) if one]
    for manifest in manifests:
        manifest["metadata"].pop("namespace", None)

    served.run_kubectl(
        "create",
        "-n",
        namespace,
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
        input=yaml.safe_dump_all(manifests),
    )


@pytest.mark.parametrize("file", PLAYBOOKS, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_playbook_is_taken(served: Cluster, namespace: str, file: Path) -> None:
    ours = [
        one
        for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))
        if isinstance(one, dict) and str(one.get("apiVersion", "")).startswith("remediator.dev/")
    ]
    for manifest in ours:
        manifest["metadata"].pop("namespace", None)
        if manifest["kind"] == "RunbookRun":  # admission compares it with the caller, where it is installed
            caller = json.loads(served.run_kubectl("auth", "whoami", "-o", "json"))
            manifest["spec"]["requestedBy"] = caller["status"]["userInfo"]["username"]

    for manifest in ours:
        served.run_kubectl(
            "create",
            "-n",
            namespace,
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
            input=yaml.safe_dump(manifest),
        )


def test_explain_knows_every_parameter_of_an_action(served: Cluster) -> None:
    said = ""
    for _ in moments(30, 1):
        said = served.run_kubectl("explain", "runbooks.spec.remedies.steps.restart")
        if "DESCRIPTION" in said:
            break
    assert "Roll every pod of a workload once" in said

    logs = served.run_kubectl("explain", "runbooks.spec.diagnose.logs.tailLines")

    assert "<integer>" in logs
    assert "default 200" in logs


def test_short_names_and_the_category_lead_to_our_kinds(served: Cluster) -> None:
    said = served.run_kubectl("api-resources", "--api-group=remediator.dev", "--categories=remediator", "--no-headers")

    found = {tuple(line.split()[:2]) for line in said.splitlines()}
    assert found == {(kind.kind.plural, kind.short) for kind in KINDS}


def test_the_columns_tell_the_story_of_a_run(served: Cluster, namespace: str) -> None:
    applied(served, namespace, RUN.replace("WHO", served_user(served)))
    status = {
        "alert": "KubePodCrashLooping",
        "target": "Deployment/checkout",
        "remedy": "previousRelease",
        "state": "Ended",
        "outcome": "Remediated",
        "duration": "12m4s",
    }
    record(served, namespace, status)

    plain = served.run_kubectl("get", "runbookruns", "-n", namespace).splitlines()
    wide = served.run_kubectl("get", "rbr", "-n", namespace, "-o", "wide").splitlines()

    assert plain[0].split() == ["NAME", "ALERT", "TARGET", "REMEDY", "STATE", "OUTCOME", "AGE"]
    assert plain[1].split()[:6] == ["by-hand", *list(status.values())[:5]]
    assert wide[0].split()[7:] == ["POLICY", "RUNBOOK", "MODE", "DURATION"]
    assert "crashlooping-pod" in wide[1]
    assert wide[1].split()[-1] == "12m4s"


def test_a_run_that_has_a_status_has_a_state(served: Cluster, namespace: str) -> None:
    applied(served, namespace, RUN.replace("WHO", served_user(served)))

    record(served, namespace, {"startedAt": "2026-01-01T00:00:00Z"})

    stored = json.loads(served.run_kubectl("get", "rbr", "-n", namespace, "by-hand", "-o", "json"))
    assert stored["status"] == {"startedAt": "2026-01-01T00:00:00Z", "state": "Diagnosing"}
    assert stored["spec"]["mode"] == "DryRun"


def test_runs_are_found_by_what_they_are_about(served: Cluster, namespace: str) -> None:
    applied(served, namespace, RUN.replace("WHO", served_user(served)))
    record(served, namespace, {"outcome": "Remediated"})

    def found(selector: str) -> str:
        return served.run_kubectl("get", "rbr", "-n", namespace, "--field-selector", selector, "-o", "name").strip()

    assert found("spec.target.kind=Deployment,spec.target.name=checkout")
    assert found("spec.runbookRef.name=crashlooping-pod,status.outcome=Remediated")
    assert not found("status.outcome=Failed")
    assert not found("spec.policyRef.name=somebody-elses")


def test_a_status_cannot_be_given_with_the_request(served: Cluster, namespace: str) -> None:
    forged = yaml.safe_load(RUN.replace("WHO", served_user(served))) | {"status": {"outcome": "Remediated"}}

    served.run_kubectl("create", "-n", namespace, "-f", "-", input=yaml.safe_dump(forged))

    stored = json.loads(served.run_kubectl("get", "rbr", "-n", namespace, "by-hand", "-o", "json"))
    assert "status" not in stored


def served_user(cluster: Cluster) -> str:
    """The administrator's name on this cluster."""
    return json.loads(cluster.run_kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]


def record(cluster: Cluster, namespace: str, status: dict[str, object]) -> None:
    """What the operator would write."""
    body = json.dumps({"status": status})
    cluster.run_kubectl("patch", "rbr", "-n", namespace, "by-hand", "--subresource=status", "--type=merge", "-p", body)
