"""Long answers are read like short ones, and hold nobody up."""

import asyncio
import json
import threading

import pytest

from remediator.adapters import parsing
from remediator.adapters.parsing import parsed

WHOLE = {"items": [{"name": f"pod-{number}", "ready": None, "text": "ä"} for number in range(50)]}


@pytest.mark.parametrize("long_bytes", [0, 1_000_000], ids=["long", "short"])
async def test_it_is_the_same_however_long(long_bytes: int) -> None:
    assert await parsed(json.dumps(WHOLE, ensure_ascii=False).encode(), long_bytes=long_bytes) == WHOLE


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xfd", b"{'a': 1}"])
@pytest.mark.parametrize("long_bytes", [0, 1_000_000], ids=["long", "short"])
async def test_what_is_no_json_is_said_the_same_way(content: bytes, long_bytes: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        await parsed(content, long_bytes=long_bytes)


async def test_a_long_one_is_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    going_on = threading.Event()

    def slowly(text: str) -> object:
        threads.append(threading.current_thread())
        assert going_on.wait(10), "the loop went on meanwhile"
        return json.loads(text)

    monkeypatch.setattr(parsing, "parsed_in_turns", slowly)
    reading = asyncio.create_task(parsed(b"[1, 2]", long_bytes=1))
    await asyncio.sleep(0.01)
    going_on.set()

    assert await reading == [1, 2]
    assert threads != [threading.current_thread()]
