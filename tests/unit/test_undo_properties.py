"""Whatever the workload and the change: taken back it is as it was, and what somebody else wrote stays."""

import asyncio
import copy

from hypothesis import HealthCheck, given, settings

from remediator.actions import effects
from remediator.domain.changes import Patch, change_as_json, change_from_json
from remediator.domain.json import Object
from remediator.domain.objects import ObjectRef, Target
from remediator.domain.workloads import uid_of
from remediator.testing.clock import StoppedClock
from remediator.testing.cluster import FakeCluster
from undoing import Meddling, Step, content, joined, meddlings, planned, steps, workloads

CHECKOUT = ObjectRef.of("Deployment", "shop", "checkout")
MANY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def stored(workload: Object) -> tuple[FakeCluster, Target]:
    cluster = FakeCluster(StoppedClock())
    cluster.add_namespace("shop")
    cluster.add(copy.deepcopy(workload))
    return cluster, Target(CHECKOUT, uid_of(cluster.get(CHECKOUT)))


async def changed(cluster: FakeCluster, target: Target, wanted: list[Step], *, as_one: bool) -> tuple[Patch, ...]:
    """The writes of the remedy, carried out; as a record keeps them, and reads them again."""
    patches = await planned(wanted, target, cluster.get(CHECKOUT), cluster)
    one = joined(patches) if as_one else None
    patches = (one,) if one is not None else patches
    for number, patch in enumerate(patches):
        effect = await effects.carry_out(patch, cluster, run="shop/run", token=f"change-{number}")
        assert isinstance(effect, effects.Carried), effect
    kept = tuple(change_from_json(change_as_json(patch)) for patch in patches)
    return tuple(patch for patch in kept if isinstance(patch, Patch))


async def undone(cluster: FakeCluster, patch: Patch, number: int) -> effects.Effect:
    return await effects.carry_out(patch.reversed, cluster, run="shop/run", token=f"undo-{number}")


@MANY
@given(workloads(), steps())
def test_a_change_taken_back_leaves_the_object_as_it_was(workload: Object, wanted: list[Step]) -> None:
    async def story() -> None:
        for as_one in (True, False):
            cluster, target = stored(workload)
            before = content(cluster.get(CHECKOUT))

            patches = await changed(cluster, target, wanted, as_one=as_one)
            for number, patch in enumerate(reversed(patches)):
                assert isinstance(await undone(cluster, patch, number), effects.Carried)

            assert content(cluster.get(CHECKOUT)) == before

    asyncio.run(story())


@MANY
@given(workloads(), steps(), meddlings())
def test_what_somebody_wrote_in_between_is_either_a_conflict_or_survives(
    workload: Object, wanted: list[Step], theirs: Meddling
) -> None:
    async def story() -> None:
        cluster, target = stored(workload)
        expected = cluster.get(CHECKOUT)
        theirs.edit(expected)
        patches = await changed(cluster, target, wanted, as_one=True)
        cluster.change(CHECKOUT, theirs.edit)
        present = content(cluster.get(CHECKOUT))

        for patch in patches:
            effect = await undone(cluster, patch, 0)
            if isinstance(effect, effects.Moved):
                assert content(cluster.get(CHECKOUT)) == present, "a conflict writes nothing"
                return
            assert isinstance(effect, effects.Carried)

        assert content(cluster.get(CHECKOUT)) == content(expected)

    asyncio.run(story())


@MANY
@given(workloads(), steps())
def test_a_change_that_is_taken_back_twice_under_one_token_is_taken_back_once(
    workload: Object, wanted: list[Step]
) -> None:
    async def story() -> None:
        cluster, target = stored(workload)
        for patch in await changed(cluster, target, wanted, as_one=True):
            await undone(cluster, patch, 0)
            writes = len(cluster.writes)

            again = await undone(cluster, patch, 0)

            assert (
                again == effects.Carried(again.generation, before=True) if isinstance(again, effects.Carried) else False
            )
            assert len(cluster.writes) == writes

    asyncio.run(story())
