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
    yield
    gc.unfreeze()


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
