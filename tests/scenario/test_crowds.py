"""
Many runs at once, their calls interleaved at random: at no moment do more act than they may.

What is counted are the writes that the API server has stored: a target's change is open from its patch
to the end of its run.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

import crowds
import flows
from crowds import Definitions, alert_about, deployment, most_at_once
from interruptions import Calls, How, interrupted
from remediator.domain.json import dig_text
from remediator.domain.objects import ObjectRef
from remediator.domain.runs import Run, RunOutcome
from remediator.handlers.acting import Register
from remediator.testing.cluster import Write
from remediator.testing.world import World, transcript


class Shuffled(Calls):
    """Every call takes its time, and others are made meanwhile."""

    def __init__(self, seed: int) -> None:
        super().__init__(how=How.CUT)
        self._chance = random.Random(seed)

    async def pass_on(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)
        answer = await call()
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)
        return answer


@dataclass(frozen=True)
class Crowd:
    """How many runs, and the limit that they are held by."""

    policies: int = 1
    namespaces: int = 1
    per_policy: int = 2
    concurrent: int = 1000
    per_namespace: int | None = None
    cluster: int | None = None

    @property
    def limits(self) -> dict[str, int | None]:
        """The most that may be open at once, of each policy, in each namespace and in all."""
        return {"policy": self.concurrent, "namespace": self.per_namespace, "cluster": self.cluster}


class Many:
    """A world with a Deployment for each of its runs."""

    def __init__(self, crowd: Crowd, seed: int) -> None:
        known = Definitions()
        spaces = [f"shop{n}" for n in range(crowd.namespaces)]
        known.fences = {one: crowds.fence(perNamespace=crowd.per_namespace, cluster=crowd.cluster) for one in spaces}
        self.policies = [
            known.policy(spaces[n % crowd.namespaces], f"queue{n}", crowd.concurrent) for n in range(crowd.policies)
        ]
        self.world = World(known)
        self.seed = seed
        self.restart()

    def restart(self) -> None:
        """The operator begins anew, with nothing but what its watch brings."""
        self.world.outside = interrupted(self.world.outside, Shuffled(self.seed))
        self.world.new_operator()

    @property
    def writes(self) -> Iterable[Write]:
        return self.world.cluster.changes

    async def open(self, per_policy: int) -> list[Run]:
        runs = []
        for number, policy in enumerate(self.policies):
            for n in range(per_policy):
                ref = ObjectRef.of("Deployment", policy.namespace, f"app-{number}-{n}")
                self.world.cluster.add(deployment(ref, replicas=1))
                runs.append(await self.world.open_run(policy, ref, alert_about(ref)))
        self.world.cluster.tick()
        return runs


def most_open(writes: Iterable[Write], runs: Iterable[Run]) -> dict[str, int]:
    """How many changes were open at once at the most, as they were stored."""
    by_name = {run.full_name: run for run in runs}
    moments: list[tuple[int, int, str]] = []
    opened: set[str] = set()
    for number, write in enumerate(writes):
        name = f"{write.ref.namespace}/{write.ref.name}"
        if write.ref.kind == "RunbookRun" and name in opened and dig_text(write.obj, "status", "outcome"):
            opened.remove(name)
            moments += [(number, -1, place) for place in places(by_name[name])]
        if write.ref.kind == "Deployment" and write.identity.account:
            name = dig_text(write.obj, "metadata", "annotations", "remediator.dev/run")
            assert name not in opened, f"{name} has changed its target twice"
            opened.add(name)
            moments += [(number, 1, place) for place in places(by_name[name])]
    return most_at_once(moments)


def places(run: Run) -> tuple[str, ...]:
    return f"policy {run.policy_name}", f"namespace {run.namespace}", "cluster"


def assert_all_done_once(many: Many, runs: Iterable[Run]) -> None:
    for run in runs:
        assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
        assert flows.changes(many.world, run.target.ref) == 1


CROWDS = [
    Crowd(per_policy=6, concurrent=1),
    Crowd(per_policy=6, concurrent=2),
    Crowd(per_policy=6, concurrent=3),
    Crowd(policies=4, namespaces=2, per_policy=3, per_namespace=1),
    Crowd(policies=4, namespaces=2, per_policy=3, per_namespace=2),
    Crowd(policies=4, namespaces=4, per_policy=3, cluster=1),
    Crowd(policies=4, namespaces=4, per_policy=3, cluster=3),
    Crowd(policies=4, namespaces=2, per_policy=3, concurrent=2, per_namespace=3, cluster=5),
]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("crowd", CROWDS, ids=str)
async def test_at_no_moment_more_changes_are_open_than_the_limits_allow(crowd: Crowd, seed: int) -> None:
    many = Many(crowd, seed)

    runs = await many.world.settle_all(await many.open(crowd.per_policy))

    assert_all_done_once(many, runs)
    limits = {place: limit for place, limit in crowd.limits.items() if limit is not None}
    most = [(limits.get(place.split()[0], 1000), count) for place, count in most_open(many.writes, runs).items()]
    assert all(count <= limit for limit, count in most)
    assert any(count == limit for limit, count in most), "the room that there was has been used"


@pytest.mark.parametrize("seed", range(2))
async def test_an_operator_that_is_restarted_counts_who_acts_already(seed: int) -> None:
    crowd = Crowd(per_policy=6, concurrent=2)
    many = Many(crowd, seed)
    runs = await many.open(crowd.per_policy)

    for _ in range(20):
        await many.world.settle_all(runs, within=timedelta(seconds=1))
        many.restart()
    ended = await many.world.settle_all(runs)

    assert_all_done_once(many, ended)
    assert most_open(many.writes, ended)["policy shop0/queue0"] == 2


async def test_runs_that_wait_for_one_place_cost_few_calls() -> None:
    crowd = Crowd(per_policy=20, concurrent=1)
    many = Many(crowd, seed=1)
    runs = await many.open(crowd.per_policy)
    alone = Many(Crowd(per_policy=1), seed=1)
    (one,) = await alone.world.settle_all(await alone.open(1))

    ended = await many.world.settle_all(runs)

    assert_all_done_once(many, [*ended])
    assert one.is_ended
    each = len(many.world.cluster.calls) / crowd.per_policy
    assert each < 3 * len(alone.world.cluster.calls), "a waiting run is woken when there is room, and hardly before"


async def test_a_mutant_that_forgets_reservations_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without counting what is about to act, too many do: the search above can fail."""
    monkeypatch.setattr(Register, "reserve", lambda *_: None)
    most = 0

    for seed in range(6):
        many = Many(Crowd(concurrent=1), seed)
        runs = await many.world.settle_all(await many.open(3))
        most = max(most, most_open(many.writes, runs)["policy shop0/queue0"])

    assert most > 1
