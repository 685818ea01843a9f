"""
The image on a kind cluster: it starts with the rights that the manifests give it, and records a run.

Untried where it was written: it needs a Docker engine.
"""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
IMAGE = "ghcr.io/remediator/remediator:kind"
NAMESPACE = "remediator-system"

pytestmark = pytest.mark.kind


@pytest.fixture(scope="module")
def installed(kind_cluster: Any) -> Any:
    """The cluster with the image of this checkout installed as the README says."""
    subprocess.run(["docker", "build", "-t", IMAGE, "-f", "deploy/Dockerfile", "."], cwd=ROOT, check=True)
    kind_cluster.load_docker_image(IMAGE)
    kind_cluster.kubectl("apply", "-k", str(ROOT / "deploy/overlays/observe"))
    kind_cluster.kubectl(
        "-n", NAMESPACE, "create", "secret", "generic", "remediator-intake", "--from-literal=token=kind"
    )
    kind_cluster.kubectl("-n", NAMESPACE, "set", "image", "deployment/remediator", f"*={IMAGE}")
    kind_cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/remediator", "--timeout=180s")
    return kind_cluster


def test_the_pod_runs_restricted_and_is_ready(installed: Any) -> None:
    (pod,) = json.loads(installed.kubectl("-n", NAMESPACE, "get", "pods", "-o", "json"))["items"]

    assert pod["status"]["containerStatuses"][0]["ready"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"]


def test_a_run_by_hand_is_carried_out_as_a_dry_run(installed: Any) -> None:
    installed.kubectl("apply", "-f", str(ROOT / "playbooks/rollback-on-demand/runbook.yaml"))
    user = json.loads(installed.kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    run = {
        "apiVersion": "remediator.dev/v1alpha1",
        "kind": "RunbookRun",
        "metadata": {"name": "try", "namespace": NAMESPACE},
        "spec": {
            "runbookRef": {"name": "rollback-on-demand", "namespace": NAMESPACE},
            "target": {"kind": "Deployment", "namespace": NAMESPACE, "name": "remediator"},
            "requestedBy": user,
        },
    }
    manifest = Path(installed.kubeconfig_path).with_name("run.json")
    manifest.write_text(json.dumps(run))
    installed.kubectl("create", "-f", str(manifest))

    deadline = time.monotonic() + 60
    outcome = ""
    while not outcome and time.monotonic() < deadline:
        stored = json.loads(installed.kubectl("-n", NAMESPACE, "get", "runbookrun", "try", "-o", "json"))
        outcome = stored.get("status", {}).get("outcome", "")
        time.sleep(1)
    assert outcome in ("DryRun", "Refused", "NoRemedy")
