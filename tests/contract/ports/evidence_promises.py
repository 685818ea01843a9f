"""What every implementation of the Evidence port promises."""

import pytest

from remediator.domain.errors import NotFound
from remediator.domain.json import Object
from remediator.ports import Evidence


def run_in(namespace: str, number: int = 1) -> Object:
    return {"metadata": {"namespace": namespace, "name": f"crash-{number}", "uid": f"u-{number}"}}


class EvidencePromises:
    """A subclass brings the fixture `evidence`, and `place`, a namespace that is there."""

    @pytest.fixture
    def place(self) -> str:
        return "shop"

    async def test_what_was_kept_is_loaded_again(self, evidence: Evidence, place: str) -> None:
        name = await evidence.keep(
            run_in(place), "crash", {"log": "panic: é\n", "lines": 1, "more": [None, {"a": True}]}
        )

        assert await evidence.load(place, name) == {"log": "panic: é\n", "lines": 1, "more": [None, {"a": True}]}

    async def test_the_same_content_is_stored_once_and_other_content_apart(
        self, evidence: Evidence, place: str
    ) -> None:
        first = await evidence.keep(run_in(place), "crash", {"log": "a"})

        assert await evidence.keep(run_in(place), "crash", {"log": "a"}) == first
        assert await evidence.keep(run_in(place), "crash", {"log": "b"}) != first
        assert await evidence.keep(run_in(place), "events", {"log": "a"}) != first
        assert await evidence.keep(run_in(place, 2), "crash", {"log": "a"}) != first

    async def test_what_has_expired_is_not_found(self, evidence: Evidence, place: str) -> None:
        with pytest.raises(NotFound):
            await evidence.load(place, "crash-1-crash-gone")
