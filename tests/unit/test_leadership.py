"""Standing for the Lease, keeping it and losing it: several processes, and a time that the test moves."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from remediator.domain.errors import Unavailable
from remediator.domain.json import dig_text
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.engine.election import EPOCH_NAME, LEASE_NAME, epoch_object, epoch_of, lease_of
from remediator.testing.clock import NOON, StoppedClock
from remediator.testing.cluster import FakeCluster
from remediator.testing.world import OPERATOR_NAMESPACE
from replicas import LEASE_SECONDS, Replica, Time, settled

LEASE = ObjectRef.of("Lease", OPERATOR_NAMESPACE, LEASE_NAME)
EPOCH = ObjectRef.of("ConfigMap", OPERATOR_NAMESPACE, EPOCH_NAME)
HELD_SECONDS = LEASE_SECONDS * 4 / 5


class Stage:
    """A cluster, and the processes that were started on it."""

    def __init__(self) -> None:
        self.time = Time()
        clock = StoppedClock()
        self.time.follows.append(clock)
        self.cluster = FakeCluster(clock)
        self.cluster.add_namespace(OPERATOR_NAMESPACE)
        self.all: list[Replica] = []

    def replica(self, name: str, **more: Any) -> Replica:
        self.all.append(Replica(name, self.time, self.cluster, **more).start())
        return self.all[-1]

    @property
    def leaders(self) -> list[str]:
        return [one.name for one in self.all if one.leads]

    @property
    def epoch(self) -> int:
        return epoch_of(self.cluster.get(EPOCH))

    def lease(self) -> Any:
        return lease_of(self.cluster.get(LEASE))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    for one in made.all:
        one.thaw()
        one.goes_on.set()
        await one.stop()


async def test_a_process_that_is_alone_leads_at_once(stage: Stage) -> None:
    one = stage.replica("one")

    assert await stage.time.until(lambda: one.leads) == 0
    assert (stage.epoch, stage.lease().holder) == (1, "one")


async def test_one_of_many_leads_and_goes_on_leading(stage: Stage) -> None:
    for name in ("one", "two", "three"):
        stage.replica(name)

    for _ in range(40):
        await stage.time.passes(5)
        assert stage.leaders == ["one"]

    assert stage.epoch == 1
    assert stage.lease().transitions == 0
    assert stage.lease().renewed_at >= NOON + timedelta(seconds=195)


async def test_a_process_that_is_stopped_hands_over_with_the_next_look(stage: Stage) -> None:
    one, two = stage.replica("one"), stage.replica("two")
    await stage.time.passes(20)

    await one.stop()

    assert stage.lease().holder == ""
    assert await stage.time.until(lambda: two.leads) < 2.2
    assert (stage.epoch, stage.lease().transitions) == (2, 1)


async def test_after_a_process_that_died_another_waits_its_whole_lease_out(stage: Stage) -> None:
    one, two = stage.replica("one"), stage.replica("two")
    await stage.time.passes(21)
    renewed = stage.lease().renewed_at
    one.kill()

    await stage.time.until(lambda: two.leads)

    assert stage.lease().acquired_at - renewed >= timedelta(seconds=LEASE_SECONDS)
    assert stage.leaders == ["two"]


async def test_its_own_successor_in_the_same_pod_waits_too(stage: Stage) -> None:
    one = stage.replica("pod_1")
    await settled()
    one.kill()
    again = stage.replica("pod_2")

    assert await stage.time.until(lambda: again.leads) >= LEASE_SECONDS


@pytest.mark.parametrize("wrong_by", [timedelta(days=-400), timedelta(days=400)], ids=["behind", "ahead"])
async def test_no_clock_on_the_wall_decides(stage: Stage, wrong_by: timedelta) -> None:
    one = stage.replica("one")
    await settled()
    two = stage.replica("two", wrong_by=wrong_by, booted=5_000_000)

    for _ in range(20):
        await stage.time.passes(7)
        assert stage.leaders == ["one"]

    one.kill()
    assert await stage.time.until(lambda: two.leads) >= HELD_SECONDS - 5


async def test_a_frozen_process_knows_when_it_wakes_that_its_lease_is_over(stage: Stage) -> None:
    one, two = stage.replica("one"), stage.replica("two")
    await stage.time.passes(20)
    (mandate,) = one.mandates
    one.freeze()
    await stage.time.until(lambda: two.leads)

    assert not mandate.holds(), "before anything of the process has run"
    one.thaw()
    await stage.time.passes(60)

    assert stage.leaders == ["two"]
    assert (two.epoch, stage.epoch) == (2, 2)


async def test_at_no_moment_do_two_hold_the_lease(stage: Stage) -> None:
    """Whoever is frozen, for however long: the times in which they believe to lead do not overlap."""
    for name in ("one", "two", "three"):
        stage.replica(name)
    await stage.time.passes(3)

    for turn in range(60):
        leader = next((one for one in stage.all if one.leads), None)
        if leader is not None and turn % 3 == 0:
            leader.freeze()
        if turn % 7 == 6:
            for one in stage.all:
                one.thaw()
        for _ in range(10):
            await stage.time.passes(0.7)
            assert len(stage.leaders) <= 1

    assert stage.epoch >= 5


async def test_an_api_server_that_is_away_for_less_than_the_lease_changes_nothing(stage: Stage) -> None:
    one = stage.replica("one")
    await stage.time.passes(1)
    stage.cluster.fail_next(3, Unavailable("away"), verb="update")

    await stage.time.passes(60)

    assert (stage.leaders, len(one.mandates), stage.epoch) == (["one"], 1, 1)


async def test_one_that_is_away_for_longer_ends_the_mandate_in_time(stage: Stage) -> None:
    one = stage.replica("one")
    await stage.time.passes(0.1)
    stage.cluster.fail_next(20, Unavailable("away"), verb="update")

    took = await stage.time.until(lambda: not one.leads)

    assert took <= HELD_SECONDS
    assert not one.mandates[0].holds()
    await stage.time.until(lambda: one.leads)
    assert (len(one.mandates), stage.epoch) == (2, 2)


async def test_how_long_the_api_server_is_silent_is_known_to_leader_and_candidate(stage: Stage) -> None:
    both = [stage.replica("one"), stage.replica("two")]
    await stage.time.passes(60)
    assert all(one.leadership.silence() <= LEASE_SECONDS / 3 for one in both)

    stage.cluster.fail_next(100, Unavailable("away"))
    await stage.time.passes(10)

    assert all(10 <= one.leadership.silence() <= 10 + LEASE_SECONDS / 3 for one in both)


async def test_a_renewal_whose_answer_is_lost_is_found_again(stage: Stage) -> None:
    one = stage.replica("one")
    await stage.time.passes(1)
    stage.cluster.fail_next(1, Unavailable("the connection broke"), verb="update", done=True)

    await stage.time.passes(60)

    assert (stage.leaders, len(one.mandates), stage.epoch) == (["one"], 1, 1)


async def test_a_lease_that_somebody_deletes_ends_the_mandate(stage: Stage) -> None:
    one = stage.replica("one")
    await stage.time.passes(1)
    stage.cluster.store.remove(BUILT_IN["Lease"], OPERATOR_NAMESPACE, LEASE_NAME)

    await stage.time.until(lambda: len(one.mandates) == 2)

    assert not one.mandates[0].holds()
    assert stage.epoch == 2


async def test_a_lease_in_anothers_name_ends_the_mandate_at_the_next_renewal(stage: Stage) -> None:
    one = stage.replica("one")
    await stage.time.passes(1)
    stage.cluster.change(LEASE, lambda obj: obj["spec"].update(holderIdentity="somebody"))  # type: ignore[union-attr]

    assert await stage.time.until(lambda: not one.leads) <= 5


# the epoch


async def test_a_leader_that_hears_of_a_higher_epoch_steps_down_and_raises_it_again(stage: Stage) -> None:
    one = stage.replica("one")
    await stage.time.passes(1)
    stage.cluster.change(EPOCH, lambda obj: obj["data"].update(epoch="41"))  # type: ignore[union-attr]

    await settled()

    assert not one.mandates[0].holds()
    await stage.time.until(lambda: one.leads)
    assert (one.epoch, stage.epoch) == (42, 42)


@pytest.mark.parametrize("epoch", ["0", "seven", ""])
async def test_an_epoch_that_was_counted_down_or_damaged_is_put_right(stage: Stage, epoch: str) -> None:
    one = stage.replica("one")
    await stage.time.passes(1)
    stage.cluster.change(EPOCH, lambda obj: obj["data"].update(epoch=epoch))  # type: ignore[union-attr]

    await settled()

    assert (one.leads, stage.epoch, len(one.mandates)) == (True, 1, 1)


async def test_an_epoch_that_was_deleted_is_put_back(stage: Stage) -> None:
    stage.replica("one")
    await stage.time.passes(1)
    stage.cluster.store.remove(BUILT_IN["ConfigMap"], OPERATOR_NAMESPACE, EPOCH_NAME)

    await settled()

    assert stage.epoch == 1


async def test_without_the_config_map_the_runs_say_how_high_it_was(stage: Stage) -> None:
    stage.cluster.add(a_run(leader_epoch=17), {**a_run(leader_epoch=5), "metadata": {"namespace": "a", "name": "b"}})

    one = stage.replica("one")
    await stage.time.until(lambda: one.leads)

    assert stage.epoch == 18


async def test_the_epoch_is_raised_before_anything_is_looked_at(stage: Stage) -> None:
    stage.cluster.add({"apiVersion": "v1", "kind": "ConfigMap", **epoch_object(OPERATOR_NAMESPACE, 6, "", NOON)})
    one = stage.replica("one")
    one.held = lambda name, args, _: name == "replace" and dig_text(args[1], "metadata", "name") == EPOCH_NAME
    await stage.time.passes(1)
    assert one.reached.is_set()

    assert (one.leads, one.term) == (False, None)
    one.goes_on.set()
    await settled()
    assert (one.leads, one.epoch) == (True, 7)


async def test_a_lease_that_is_over_before_the_epoch_is_raised_leads_nobody(stage: Stage) -> None:
    one = stage.replica("one")
    one.held = lambda name, args, _: name == "create" and dig_text(args[1], "metadata", "name") == EPOCH_NAME
    await settled()
    assert one.reached.is_set()
    one.freeze()
    two = stage.replica("two")
    await stage.time.until(lambda: two.leads)

    one.thaw()
    one.goes_on.set()
    await stage.time.passes(30)

    assert stage.leaders == ["two"]


def a_run(leader_epoch: int) -> Any:
    return {
        "apiVersion": "remediator.dev/v1alpha1",
        "kind": "RunbookRun",
        "metadata": {"namespace": "shop", "name": "by-hand"},
        "spec": {
            "runbookRef": {"name": "x"},
            "target": {"kind": "Deployment", "namespace": "shop", "name": "checkout"},
            "requestedBy": "alice",
        },
        "status": {"leaderEpoch": leader_epoch, "outcome": "Done"},
    }
