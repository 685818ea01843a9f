"""Leases and the fake keep the promises of the Locks port."""

import asyncio
import json

import pytest

from contract.ports.lock_promises import NOON, LockPromises, change, taken
from remediator.adapters.locks import CHANGES, LeaseLocks
from remediator.domain.errors import Conflict, Unavailable
from remediator.domain.locks import Busy, Held, LockState
from remediator.domain.objects import ObjectRef
from remediator.ports import Locks
from remediator.testing import FakeCluster, FakeLocks

LEASE = ObjectRef.of("Lease", "remediator-system", "target-1")


@pytest.fixture
def cluster() -> FakeCluster:
    found = FakeCluster()
    found.add_namespace("remediator-system")
    return found


async def turns() -> None:
    """What is under way in memory is through."""
    for _ in range(50):
        await asyncio.sleep(0)


class TestFakeLocks(LockPromises):
    @pytest.fixture
    def locks(self) -> Locks:
        return FakeLocks()


class TestLeaseLocks(LockPromises):
    @pytest.fixture
    def locks(self, cluster: FakeCluster) -> Locks:
        return LeaseLocks(cluster, "remediator-system")


async def test_of_many_who_ask_at_once_one_holds_the_lock(cluster: FakeCluster) -> None:
    locks = LeaseLocks(cluster, "remediator-system")

    results = await asyncio.gather(*(taken(locks, f"run-{number}") for number in range(8)))

    assert sum(isinstance(result, Held) for result in results) == 1
    assert sum(isinstance(result, Busy) for result in results) == 7


async def test_taking_a_lock_that_was_read_is_one_call(cluster: FakeCluster) -> None:
    locks = LeaseLocks(cluster, "remediator-system")
    seen = await locks.read("target-1")
    before = len(cluster.calls)

    await taken(locks, seen=seen)

    assert len(cluster.calls) == before + 1


async def test_what_the_watch_has_brought_is_known_without_a_call(cluster: FakeCluster) -> None:
    locks = LeaseLocks(cluster, "remediator-system")
    assert locks.known("target-1") is None
    watch = asyncio.ensure_future(locks.watch())
    await turns()
    assert locks.known("target-1") == LockState("target-1")
    held = await taken(locks)
    before = len(cluster.calls)
    await turns()
    watch.cancel()

    assert isinstance(held, Held)
    assert locks.known("target-1") == held.state
    assert len(cluster.calls) == before


async def test_giving_back_what_one_has_taken_is_one_call(cluster: FakeCluster) -> None:
    locks = LeaseLocks(cluster, "remediator-system")
    held = await taken(locks)
    assert isinstance(held, Held)
    before = len(cluster.calls)

    await locks.release("target-1", holder_uid="uid-run-1", seen=held.state)

    assert len(cluster.calls) == before + 1


async def test_a_lease_tells_people_whose_it_is_and_since_when(cluster: FakeCluster) -> None:
    locks = LeaseLocks(cluster, "remediator-system")

    await taken(locks, note=change())
    lease = cluster.get(LEASE)

    assert lease["spec"] == {"holderIdentity": "shop/run-1", "acquireTime": "2026-06-01T12:00:00.000000Z"}
    assert lease["metadata"]["annotations"]["remediator.dev/target"] == "Deployment shop/checkout"
    assert lease["metadata"]["labels"] == {
        "remediator.dev/lock": "target",
        "remediator.dev/target-kind": "Deployment",
        "remediator.dev/target-namespace": "shop",
        "remediator.dev/target-name": "checkout",
    }


async def test_a_ledger_of_an_earlier_version_counts_one_change_for_each_entry(cluster: FakeCluster) -> None:
    locks = LeaseLocks(cluster, "remediator-system")
    await taken(locks)
    old = {"runbook": "ops/crash", "remedy": "restart", "run": "shop/run-1", "runUid": "u1", "at": NOON.isoformat()}

    def write(lease: dict[str, object]) -> None:
        lease["metadata"]["annotations"][CHANGES] = json.dumps([{**old, "step": "roll"}])  # type: ignore[index]  # plain JSON

    cluster.change(LEASE, write)

    assert (await locks.read("target-1")).changes == (change(),)


async def test_a_lease_of_which_the_answer_was_lost_is_the_holders_at_the_next_try(cluster: FakeCluster) -> None:
    locks = LeaseLocks(cluster, "remediator-system")
    cluster.fail_next(1, Unavailable("the connection broke"), verb="create", done=True)

    with pytest.raises(Unavailable):
        await taken(locks)

    result = await taken(locks)
    assert isinstance(result, Held)
    assert result.state.since == NOON


async def test_a_damaged_ledger_allows_nothing(cluster: FakeCluster) -> None:
    locks = LeaseLocks(cluster, "remediator-system")
    await taken(locks)

    def damage(lease: dict[str, object]) -> None:
        lease["metadata"]["annotations"][CHANGES] = "[{]"  # type: ignore[index]  # plain JSON

    cluster.change(LEASE, damage)

    with pytest.raises(Conflict, match="cannot be read"):
        await locks.read("target-1")
