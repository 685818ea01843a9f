"""Changes taken back on a real API server: random ones, and one whose time is over after a restart and the run's end."""

import asyncio
import copy
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from cluster.installed import Installation, Object, Shop, ending, eventually
from localcluster import Cluster as LocalCluster
from remediator.actions import effects
from remediator.adapters.clock import SystemClock
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.kube import KubeApi, from_kubeconfig
from remediator.domain.changes import Patch, change_as_json, change_from_json
from remediator.domain.errors import Conflict
from remediator.domain.objects import BUILT_IN, ObjectRef, Target
from remediator.domain.workloads import uid_of
from undoing import Meddling, Step, content, joined, meddlings, planned, steps, workloads

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

DEPLOYMENT = BUILT_IN["Deployment"]
NUMBERS = count()

LIMITED = """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    ttl: 12s
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  ifNotHelped: Undo
verify:
- rollout: {within: 2m}
- alertResolved: {quietFor: 1s, within: 2m}
"""


@pytest.mark.timeout(120)
def test_random_changes_of_random_workloads_are_taken_back_and_nothing_of_anybody_else_is_lost(
    cluster: LocalCluster, namespace: str
) -> None:
    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(workloads(valid=True), steps(), meddlings())
    def case(workload: Object, wanted: list[Step], theirs: Meddling) -> None:
        asyncio.run(_told(cluster, namespace, workload, wanted, theirs))

    case()


async def _told(cluster: LocalCluster, namespace: str, workload: Object, wanted: list[Step], theirs: Meddling) -> None:
    async with KubeApi(from_kubeconfig(str(cluster.admin_kubeconfig)), SystemClock()) as api:
        port = KubeCluster(api)
        for meddles in (False, True):
            ref = ObjectRef.of("Deployment", namespace, f"checkout-{next(NUMBERS)}")
            made = copy.deepcopy(workload)
            made["metadata"].update(name=ref.name, namespace=namespace)  # type: ignore[union-attr]
            seen = await port.create(DEPLOYMENT, made)
            await _one(port, Target(ref, uid_of(seen)), seen, wanted, theirs if meddles else None)
            await port.delete(ref)


async def _one(port: KubeCluster, target: Target, seen: Object, wanted: list[Step], theirs: Meddling | None) -> None:
    expected = copy.deepcopy(seen)
    change = joined(await planned(wanted, target, seen, port))
    if change is None:
        return
    await _carried(port, change, "change")
    if theirs is not None:
        theirs.edit(expected)
        await _meddled(port, target.ref, theirs)
    present = content(await port.read(target.ref))
    kept = change_from_json(change_as_json(change))
    assert isinstance(kept, Patch)

    effect = await effects.carry_out(kept.reversed, port, run="shop/run", token="undo")

    after = content(await port.read(target.ref))
    if isinstance(effect, effects.Moved):
        assert theirs is not None and after == present, "a conflict writes nothing"
    else:
        assert isinstance(effect, effects.Carried), effect
        assert after == content(expected), f"{wanted} and then somebody {theirs}"


async def _carried(port: KubeCluster, change: Patch, token: str) -> None:
    """The controllers write beside us: what was contended is tried again, as the operator does."""
    effect: Any = None
    for _ in range(5):
        effect = await effects.carry_out(change, port, run="shop/run", token=token)
        if isinstance(effect, effects.Carried):
            return
    raise AssertionError(effect)


async def _meddled(port: KubeCluster, ref: ObjectRef, theirs: Meddling) -> None:
    while True:
        obj = await port.read(ref)
        theirs.edit(obj)
        try:
            await port.replace(DEPLOYMENT, obj)
        except Conflict:
            continue
        return


def test_a_limited_change_is_taken_back_after_the_runs_end_and_a_restart_of_the_operator(
    installation: Installation, shop: Shop
) -> None:
    shop.stock(LIMITED)
    shop.fire()
    run = shop.helps(QUEUE="500")
    assert ending(run) == ("Remediated", "Verified")
    (debt,) = run["status"]["debts"]
    assert (debt["kind"], debt["state"], shop.env()) == ("TTL", "Owed", {"QUEUE": "500"})
    assert installation.metric("remediator_debts_owed") >= 1

    installation.operator.stop()
    installation.operator.start()

    eventually(lambda: shop.env() == {"QUEUE": "200"}, "the change was not taken back")
    paid = shop.run(lambda status: status["debts"][0]["state"] == "Paid", "has not paid")
    assert paid["status"]["outcome"] == "Remediated"
    assert [entry["verb"] for entry in shop.changes()] == ["patch", "patch"]
