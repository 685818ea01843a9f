"""What is held for good is passed over by the collector, and garbage is gone before."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from remediator.adapters.memory import keep_for_good


class Held:
    """Something that garbage refers to."""

    other: "Held"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    rounds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*rounds)


def test_what_is_left_is_not_looked_through_again() -> None:
    kept = Held()

    keep_for_good()

    assert gc.get_freeze_count() > 10_000
    assert not any(one is kept for one in gc.get_objects())


def test_garbage_is_not_kept_for_good() -> None:
    one, two = Held(), Held()
    one.other, two.other = two, one
    gone = weakref.ref(one)

    del one, two
    keep_for_good()

    assert gone() is None


def test_a_burst_of_objects_that_stay_is_not_gone_through_as_a_whole() -> None:
    keep_for_good()
    before = gc.get_stats()[2]["collections"]

    burst = [[n] for n in range(500_000)]

    assert len(burst) == 500_000
    assert gc.get_stats()[2]["collections"] == before
