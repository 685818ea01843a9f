from hypothesis import given
from hypothesis import strategies as st

from remediator.domain.bounded import shorten


def test_a_text_that_fits_is_left_alone() -> None:
    assert shorten("2 replicas", 10) == "2 replicas"


def test_a_cut_text_says_how_many_bytes_are_missing() -> None:
    assert shorten("a" * 100, 40) == "a" * 20 + "… (80 bytes more)"


def test_a_character_is_never_cut_in_two() -> None:
    assert shorten("é" * 50, 41) == "é" * 10 + "… (80 bytes more)"


def test_a_limit_too_small_for_the_mark_cuts_without_it() -> None:
    assert shorten("abcdefgh", 3) == "abc"


@given(st.text(), st.integers(0, 80))
def test_the_limit_holds_for_every_text(text: str, limit: int) -> None:
    assert len(shorten(text, limit).encode()) <= limit


@given(st.text(), st.integers(0, 80))
def test_shortening_twice_changes_nothing(text: str, limit: int) -> None:
    once = shorten(text, limit)

    assert shorten(once, limit) == once
