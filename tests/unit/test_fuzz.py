"""A short walk of every fuzz target around its seeds; `make fuzz` goes further."""

from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzzing.targets import TARGETS

SEEDS: Final = Path(__file__).parents[1] / "data" / "fuzz"


def seeds(target: str) -> list[bytes]:
    return [file.read_bytes() for file in sorted((SEEDS / target).iterdir())]


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """A seed with some of it cut, doubled, or replaced by anything."""
    data = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 12)))
        inserted = draw(
            st.binary(max_size=4) | st.sampled_from([data[start:end] * 2, b"\\", b'"', b"{", b"\xed\xa0\x80"])
        )
        data = data[:start] + inserted + data[end:]
    return data


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_seed_holds(target: str) -> None:
    for data in seeds(target):
        TARGETS[target](data)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_whatever_comes_is_answered_or_refused(target: str) -> None:
    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(mutated(seeds(target)) | st.binary(max_size=40))
    def holds(data: bytes) -> None:
        TARGETS[target](data)

    holds()
