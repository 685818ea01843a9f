"""
Twenty seeds in which every fault happens at least once, and always to something.

The alerts are the seed's; the faults are given, so that none is missing. `make chaos` plays as many
seeds as it is asked for, and lets them choose.
"""

import json
import os
from collections.abc import Iterator

import pytest

from chaos.checker import Crime
from chaos.evidence import RUN
from chaos.play import Hit, play, story_of
from chaos.schedule import FIXED, Fault
from chaos.world import World, started
from localcluster import NotAvailable
from localcluster.operator import TENANT_ACCOUNT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    try:
        with started(f"chaos-{os.getpid()}", replicas=2) as made:
            yield made
    except NotAvailable as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def hits() -> list[Hit]:
    """What has happened in the seeds so far."""
    return []


@pytest.mark.parametrize(
    ("seed", "faults"),
    [pytest.param(seed, faults, id="-and-".join(fault.name for fault in faults)) for seed, faults in FIXED.items()],
)
def test_nothing_is_lost_or_done_twice(world: World, hits: list[Hit], seed: int, faults: tuple[Fault, ...]) -> None:
    result = play(world, seed, only=faults)

    hits += result.hits
    assert result.findings == (), story_of(world)
    assert result.accepted > 0
    assert result.runs > 0


def test_the_checker_sees_what_is_done_in_a_runs_name(world: World) -> None:
    """Somebody who may impersonate the account repeats the change of a run that has ended."""

    def repeat(world: World) -> None:
        said = ((run, run["status"]) for run in world.runs)  # whose change is for a time takes it back after its end
        run = next(run for run, status in said if status.get("outcome") == "Remediated" and not status.get("debts"))
        namespace, target = run["metadata"]["namespace"], run["spec"]["target"]["name"]
        env = {"containers": [{"name": "app", "env": [{"name": "QUEUE", "value": "501"}]}]}
        world.cluster.run_kubectl(
            f"--as=system:serviceaccount:{namespace}:{TENANT_ACCOUNT}",
            f"--as-user-extra={RUN}={namespace}/{run['metadata']['name']}",
            *("patch", "deployment", target, "-n", namespace, "-p"),
            json.dumps({"spec": {"template": {"spec": env}}}),
        )

    result = play(world, 21, only=[Fault.WATCHES_CUT], afterwards=repeat)

    said = {finding.partition(":")[0] for finding in result.findings}
    assert {Crime.REPEATED, Crime.AFTER_THE_END} <= said, result.findings


def test_every_fault_has_met_something_in_flight(hits: list[Hit]) -> None:
    assert {hit.fault for hit in hits if hit.in_flight} == set(Fault)
