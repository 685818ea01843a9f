"""The plugin on a real API server, the way a person starts it: `kubectl remediate …`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from interruptible import hear_ctrl_c
from localcluster import Cluster, CommandFailed
from localcluster.processes import moments
from remediator.generate.__main__ import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

BIN = Path(sys.executable).parent
DATA = ROOT / "tests" / "data" / "runs"
RUNS = "/apis/remediator.dev/v1alpha1/namespaces/{}/runbookruns"
CONTENT = "runbook-9c1e5b0c7d2f4a68"


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Cluster:
    if not (BIN / "kubectl-remediate").exists():
        pytest.skip("the plugin is not installed beside this Python: run `make install`")
    for _ in moments(30, 1):
        try:
            cluster.run_kubectl("apply", "-k", str(ROOT / "crds"))
            break
        except CommandFailed:
            continue  # the API server does not serve yet what the same call brought
    cluster.run_kubectl("wait", "--for=condition=Established", "crd/runbookruns.remediator.dev")
    return cluster


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Iterator[str]:
    """A namespace with two runs by hand, their status as the operator writes it, and the frozen Runbook."""
    me = json.loads(installed.run_kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    for name, state in (("try-it-1", "dry_run"), ("try-it-2", "held")):
        create_run(installed, namespace, name, state, requested_by=me)
    content = json.dumps(yaml.safe_load((DATA / "runbook.yaml").read_text()))
    frozen = {"metadata": {"name": CONTENT}, "data": {"spec.json": content}}
    installed.api.call("POST", f"/api/v1/namespaces/{namespace}/configmaps", frozen)
    yield namespace
    # an open run holds nothing back here: no operator looks after it
    installed.api.call("DELETE", RUNS.format(namespace))


def create_run(cluster: Cluster, namespace: str, name: str, state: str, *, requested_by: str) -> None:
    """A run by hand with the status of a stored one."""
    stored = yaml.safe_load((DATA / f"{state}.yaml").read_text())
    spec: Mapping[str, Any] = yaml.safe_load((DATA / "dry_run.yaml").read_text())["spec"]
    made = cluster.api.call(
        "POST",
        RUNS.format(namespace),
        {
            "apiVersion": stored["apiVersion"],
            "kind": stored["kind"],
            "metadata": {"name": name},
            "spec": {**spec, "requestedBy": requested_by},
        },
    )
    cluster.api.call("PUT", f"{RUNS.format(namespace)}/{name}/status", {**made, "status": stored["status"]})


def plugin(
    cluster: Cluster, *args: str, kubeconfig: Path | None = None, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """What `kubectl remediate` says; kubectl finds the plugin on PATH."""
    found = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "KUBECONFIG": str(kubeconfig or cluster.admin_kubeconfig),
        **environment,
    }
    return subprocess.run(
        [str(cluster.kubectl), "remediate", *args], capture_output=True, text=True, env=found, timeout=60, check=False
    )


def test_runs_are_listed_newest_first(installed: Cluster, shop: str) -> None:
    done = plugin(installed, "list", "-n", shop)

    assert done.returncode == 0, done.stderr
    title, *rows = (line.split() for line in done.stdout.splitlines())
    assert title == ["NAME", "ALERT", "TARGET", "REMEDY", "STATE", "OUTCOME", "AGE"]
    assert {row[0] for row in rows} == {"try-it-1", "try-it-2"}


def test_the_same_run_is_told_and_explained(installed: Cluster, shop: str) -> None:
    shown = plugin(installed, "show", "it-1", "-n", shop, COLUMNS="100")
    explained = plugin(installed, "explain", "it-1", "-n", shop, "--operator-namespace", shop, COLUMNS="100")

    assert (shown.returncode, explained.returncode) == (0, 0), shown.stderr + explained.stderr
    assert shown.stdout.startswith(f"try-it-1 in namespace {shop}\nDryRun: biggerQueue was rehearsed")
    assert 'env[QUEUE].value: "50" -> "500"' in shown.stdout
    assert "when  diagnosis.backlog.value > 100.0 && !has(params.dependency)" in explained.stdout


def test_json_keeps_everything_that_the_api_server_keeps(installed: Cluster, shop: str) -> None:
    done = plugin(installed, "show", "try-it-2", "-n", shop, "-o", "json")

    stored = installed.api.get(f"{RUNS.format(shop)}/try-it-2")
    assert json.loads(done.stdout)["status"] == stored["status"]


def test_the_contexts_namespace_is_used(installed: Cluster, shop: str, tmp_path: Path) -> None:
    config = yaml.safe_load(installed.admin_kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = shop
    own = tmp_path / "config"
    own.write_text(yaml.safe_dump(config))

    done = plugin(installed, "list", "-o", "name", "--kubeconfig", str(own))

    assert "runbookrun.remediator.dev/try-it-1" in done.stdout.splitlines()


def test_who_may_not_read_gets_one_sentence_and_exit_code_1(installed: Cluster, shop: str) -> None:
    stranger = installed.kubeconfig_for("stranger@example.com")

    for args in (("list", "-n", shop), ("list", "-A"), ("list", "-n", shop, "-w"), ("show", "try-it-1", "-n", shop)):
        done = plugin(installed, *args, kubeconfig=stranger)

        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: stranger@example.com may not ")
        assert "runbookruns.remediator.dev" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_viewer_of_the_namespace_gets_the_explanation_without_the_conditions(installed: Cluster, shop: str) -> None:
    viewer = installed.kubeconfig_for("viewer@example.com")
    role = ["create", "role", "runs", "--verb=get,list,watch", "--resource=runbookruns.remediator.dev", "-n", shop]
    installed.run_kubectl(*role)
    installed.run_kubectl("create", "rolebinding", "runs", "--role=runs", "--user=viewer@example.com", "-n", shop)
    done = plugin(installed, "explain", "try-it-1", "-n", shop, kubeconfig=viewer)
    for _ in moments(10, 0.2):
        if done.returncode == 0:
            break
        done = plugin(installed, "explain", "try-it-1", "-n", shop, kubeconfig=viewer)

    assert done.returncode == 0, done.stderr
    assert "you may not read ConfigMap remediator-system/" in done.stdout
    assert "so conditions are shown without their text" in done.stdout


def test_a_run_is_followed_until_ctrl_c(installed: Cluster, shop: str) -> None:
    environment = {**os.environ, "KUBECONFIG": str(installed.admin_kubeconfig), "PYTHONUNBUFFERED": "1"}
    following = subprocess.Popen(
        [str(BIN / "kubectl-remediate"), "list", "-n", shop, "-w"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=hear_ctrl_c,
    )
    try:
        assert following.stdout is not None and following.stderr is not None
        first = [following.stdout.readline() for _ in range(3)]
        run = installed.api.get(f"{RUNS.format(shop)}/try-it-2")
        run["status"].update(state="Acting", message="raising the queue")
        run["status"]["timeline"].append(
            {"at": "2026-11-21T12:45:36Z", "what": "start", "message": "raiseQueue: Deployment shop/checkout"}
        )
        installed.api.call("PUT", f"{RUNS.format(shop)}/try-it-2/status", run)
        told = following.stdout.readline()
        following.send_signal(signal.SIGINT)
        rest, complaints = following.communicate(timeout=20)
    finally:
        following.kill()
        following.communicate()

    assert first[0].startswith("NAME")
    assert told.rstrip().endswith("try-it-2  Acting biggerQueue  start: raiseQueue: Deployment shop/checkout")
    assert (following.returncode, rest, complaints.strip()) == (130, "", "")


def test_without_the_crds_the_plugin_says_what_is_missing(installed: Cluster, tmp_path: Path) -> None:
    """Asked of a path that serves no such kind, which is what a cluster without Remediator answers."""
    config = yaml.safe_load(installed.admin_kubeconfig.read_text())
    for one in config["clusters"]:
        one["cluster"]["server"] += "/apis/nothing"
    own = tmp_path / "config"
    own.write_text(yaml.safe_dump(config))

    done = plugin(installed, "list", kubeconfig=own)

    assert done.returncode == 1
    assert "this cluster has no Remediator" in done.stderr
