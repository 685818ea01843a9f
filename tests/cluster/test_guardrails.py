"""Guardrails on a real API server: what the plugin grants suffices, and it is not a right too many."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import yaml

from localcluster import Cluster
from localcluster.api import ApiError
from localcluster.controlplane import OPERATOR
from localcluster.operator import REPOSITORY, install
from localcluster.processes import moments
from remediator.actions import registry
from remediator.adapters.clock import SystemClock
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.kube import KubeApi, from_kubeconfig
from remediator.domain.actions import ActionClass, Permission
from remediator.ports import Identity

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

GUARDRAILS = "/apis/remediator.dev/v1alpha1/guardrails"
POLICIES = "/apis/remediator.dev/v1alpha1/namespaces/{}/alertpolicies"
GRANTED = "restart"
READING = {"get", "list", "watch"}
IMPERSONATE = Permission("", "serviceaccounts", ("impersonate",))


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Cluster:
    install(cluster)
    return cluster


@pytest.fixture
async def real(installed: Cluster) -> AsyncIterator[KubeCluster]:
    async with KubeApi(from_kubeconfig(str(installed.admin_kubeconfig)), SystemClock()) as opened:
        yield KubeCluster(opened)


@pytest.fixture
def place(installed: Cluster, namespace: str) -> Iterator[str]:
    """A namespace whose Guardrail is gone with it."""
    yield namespace
    for name in (namespace, f"frozen-{namespace}"):
        try:
            installed.api.call("DELETE", f"{GUARDRAILS}/{name}")
        except ApiError:
            continue


def plugin(cluster: Cluster, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.admin_kubeconfig),
        "PYTHONPATH": str(REPOSITORY / "operator"),
    }
    command = [sys.executable, "-m", "remediator.cli.main", *args]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def pairs(*actions: str) -> set[Permission]:
    """What the actions declare, one verb each."""
    return {
        Permission(one.group, one.resource, (verb,))
        for action in actions
        for one in registry.info(action).permissions
        for verb in one.verbs
    }


async def test_after_a_grant_the_account_can_do_exactly_that_and_the_operator_can_act_as_it(
    installed: Cluster, real: KubeCluster, place: str
) -> None:
    done = plugin(installed, "grant", "-n", place, "--allow", GRANTED, "--mode", "Approve", "--apply", "--yes")
    assert done.returncode == 0, done.stderr
    account = real.acting_as(Identity(f"system:serviceaccount:{place}:remediator-runs"))
    granted = pairs(GRANTED)
    everything = pairs(*registry.names(ActionClass.CHANGE))

    async def may(permission: Permission) -> bool:
        return (await account.allowed(permission, place))[0]

    for _ in moments(20, 0.2):
        if all([await may(permission) for permission in granted]):
            break
    changing = {one for one in everything if one.verbs[0] not in READING}
    assert {one for one in granted if not await may(one)} == set()
    assert {one for one in changing if await may(one)} == {one for one in granted if one in changing}
    assert not (await account.allowed(next(iter(granted & changing)), "default"))[0]

    operator = real.acting_as(Identity(OPERATOR))
    assert (await operator.allowed(IMPERSONATE, place, "remediator-runs"))[0]
    assert not (await operator.allowed(IMPERSONATE, place, "default"))[0]
    assert (
        await operator.allowed(
            Permission("authentication.k8s.io", "userextras/remediator.dev/run", ("impersonate",)), ""
        )
    )[0]

    again = plugin(installed, "grant", "-n", place, "--allow", GRANTED, "--mode", "Approve", "--apply", "--yes")
    assert again.stdout.splitlines()[-1] == "Nothing has to be changed."


def test_what_grant_prints_is_what_kubectl_takes(installed: Cluster, place: str) -> None:
    printed = plugin(installed, "grant", "-n", place, "--allow", "restart,rollback")

    assert printed.returncode == 0, printed.stderr
    installed.run_kubectl("apply", "--dry-run=server", "-f", "-", input=printed.stdout)
    assert {one["kind"] for one in yaml.safe_load_all(printed.stdout)} >= {"Guardrail", "Role", "ServiceAccount"}


def test_whatcan_and_guardrails_say_what_is_so(installed: Cluster, place: str) -> None:
    freeze = {"from": "2020-01-01T00:00:00Z", "until": "2120-01-01T00:00:00Z", "reason": "for ever"}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": place}}
    spec: dict[str, Any] = {"namespaceSelector": selector, "allow": ["restart"], "freeze": [freeze]}
    meta = {"name": f"frozen-{place}"}
    installed.api.call("POST", GUARDRAILS, {**_typed("Guardrail"), "metadata": meta, "spec": spec})
    policy = {"matchers": ['alertname="X"'], "runbookRef": {"name": "x"}, "serviceAccountName": "default"}
    installed.api.call(
        "POST", POLICIES.format(place), {**_typed("AlertPolicy"), "metadata": {"name": "down"}, "spec": policy}
    )

    possible = json.loads(plugin(installed, "whatcan", "-n", place, "-o", "json").stdout)
    merged = plugin(installed, "guardrails", "-n", place)

    actions = {one["name"]: one for one in possible["actions"]}
    assert actions["restart"]["allowed"]
    assert actions["restart"]["lacks"]["default"]
    assert not actions["rollback"]["allowed"]
    assert possible["accounts"] == [{"name": "default", "policies": ["down"], "operatorMayActAsIt": False}]
    assert possible["holds"] == [f"Guardrail frozen-{place} freezes every change until 2120-01-01T00:00:00Z: for ever"]
    assert f"until 2120-01-01T00:00:00Z (frozen-{place}): for ever" in merged.stdout


def _typed(kind: str) -> dict[str, str]:
    return {"apiVersion": "remediator.dev/v1alpha1", "kind": kind}
