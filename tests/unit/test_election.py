"""When a process may take the Lease, and what it then says: a table, by clocks that are never compared."""

from dataclasses import replace
from datetime import timedelta

import pytest

from remediator.engine.election import (
    LONGEST_SECONDS,
    Lease,
    Sighting,
    Timing,
    epoch_object,
    epoch_of,
    lease_object,
    lease_of,
)
from remediator.testing.clock import NOON

TIMING = Timing(15)
HELD = Lease("other_1", NOON, NOON, 15, 4, "100")


@pytest.mark.parametrize(
    ("lease", "seen_for", "free"),
    [
        (Lease(), 0.0, True),
        (HELD.released(NOON), 0.0, True),
        (replace(HELD, holder="one_1"), 0.0, True),
        (HELD, 0.0, False),
        (HELD, 14.9, False),
        (HELD, 15.0, True),
        (replace(HELD, duration_seconds=60), 30.0, False),
        (replace(HELD, duration_seconds=60), 60.0, True),
        (replace(HELD, duration_seconds=0), 14.9, False),
        (replace(HELD, duration_seconds=0), 15.0, True),
        (replace(HELD, duration_seconds=10**9), LONGEST_SECONDS, True),
        (replace(HELD, renewed_at=NOON - timedelta(days=1)), 0.0, False),
        (replace(HELD, renewed_at=NOON + timedelta(days=1)), 15.0, True),
    ],
    ids=[
        "it is not there",
        "it was given back",
        "it was one's own",
        "it was only just seen",
        "it has not stood still for its whole time",
        "it has stood still for its whole time",
        "its holder had a longer one",
        "its holder had a longer one, and that is over",
        "it does not say how long it lasts",
        "it does not say how long it lasts, and the usual time is over",
        "it says that it lasts for years",
        "its time of day is long over",
        "its time of day has not come",
    ],
)
def test_a_lease_is_free_or_it_is_not(lease: Lease, seen_for: float, free: bool) -> None:
    assert Sighting(lease, since=1_000.0).is_free_for("one_1", 1_000.0 + seen_for, TIMING) is free


def test_a_renewal_that_is_seen_begins_the_time_anew() -> None:
    seen = Sighting(HELD, since=0.0)

    same = seen.followed_by(HELD, 10.0)
    renewed = same.followed_by(replace(HELD, resource_version="101"), 14.0)

    assert (same.since, renewed.since) == (0.0, 14.0)


@pytest.mark.parametrize("seconds", [3, 15, 300])
def test_a_holder_gives_up_before_anybody_else_may_begin(seconds: int) -> None:
    timing = Timing(seconds)

    assert timing.held_seconds < timing.duration_seconds
    assert timing.renew_seconds + 2 * timing.retry_seconds < timing.held_seconds


def test_a_lease_says_who_has_it_since_when_and_how_often_it_moved() -> None:
    now = NOON + timedelta(minutes=1)

    taken = HELD.released(NOON).taken("one_1", now, TIMING)
    renewed = taken.renewed(now + timedelta(seconds=5), TIMING)

    assert (taken.holder, taken.acquired_at, taken.renewed_at, taken.transitions) == ("one_1", now, now, 5)
    assert (renewed.acquired_at, renewed.renewed_at, renewed.transitions) == (now, now + timedelta(seconds=5), 5)


def test_a_first_holder_and_one_that_comes_back_are_no_transition() -> None:
    assert Lease().taken("one_1", NOON, TIMING).transitions == 0
    assert replace(HELD, holder="one_1").taken("one_1", NOON, TIMING).transitions == 4


@pytest.mark.parametrize("lease", [HELD, HELD.released(NOON)], ids=["held", "free"])
def test_what_is_written_is_what_is_read(lease: Lease) -> None:
    obj = lease_object(lease, "remediator-system")

    assert lease_of(obj) == lease
    assert ("holderIdentity" in obj["spec"]) is bool(lease.holder)  # type: ignore[operator]


def test_a_lease_that_somebody_has_damaged_is_read_as_far_as_it_goes() -> None:
    damaged = {
        "metadata": {"resourceVersion": "7"},
        "spec": {"holderIdentity": "x", "renewTime": "noon", "leaseDurationSeconds": -1, "leaseTransitions": -2},
    }

    assert lease_of(damaged) == Lease(holder="x", resource_version="7")


@pytest.mark.parametrize(
    ("text", "epoch"),
    [("7", 7), ("0", 0), ("", 0), ("-3", 0), ("seven", 0), ("٧", 0), ("9" * 16, 0), ("1.5", 0)],
)
def test_an_epoch_is_a_number_or_nothing(text: str, epoch: int) -> None:
    assert epoch_of({"data": {"epoch": text}}) == epoch


def test_the_epoch_stands_in_a_config_map_with_its_leader() -> None:
    obj = epoch_object("remediator-system", 7, "one_1", NOON)

    assert obj["data"] == {"epoch": "7", "leader": "one_1", "since": "2026-06-01T12:00:00Z"}
    assert epoch_of(obj) == 7
