"""What every implementation of the Evidence port promises."""

import pytest

from remediator.domain.errors import NotFound
from remediator.domain.json import Object
from remediator.ports import Evidence

RUN: Object = {"metadata": {"namespace": "shop", "name": "crash-1", "uid": "u-1"}}
OTHER: Object = {"metadata": {"namespace": "shop", "name": "crash-2", "uid": "u-2"}}


class EvidencePromises:
    """A subclass brings the fixture `evidence`."""

    async def test_what_was_kept_is_loaded_again(self, evidence: Evidence) -> None:
        name = await evidence.keep(RUN, "crash", {"log": "panic: é\n", "lines": 1, "more": [None, {"a": True}]})

        assert await evidence.load("shop", name) == {"log": "panic: é\n", "lines": 1, "more": [None, {"a": True}]}

    async def test_the_same_content_is_stored_once_and_other_content_apart(self, evidence: Evidence) -> None:
        first = await evidence.keep(RUN, "crash", {"log": "a"})

        assert await evidence.keep(RUN, "crash", {"log": "a"}) == first
        assert await evidence.keep(RUN, "crash", {"log": "b"}) != first
        assert await evidence.keep(RUN, "events", {"log": "a"}) != first
        assert await evidence.keep(OTHER, "crash", {"log": "a"}) != first

    async def test_what_has_expired_is_not_found(self, evidence: Evidence) -> None:
        with pytest.raises(NotFound):
            await evidence.load("shop", "crash-1-crash-gone")
