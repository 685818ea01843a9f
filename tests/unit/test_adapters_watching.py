"""Watches through broken streams: nothing is missed, and nothing is told twice as new."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from contract.ports.cluster_promises import Told, until
from contract.ports.http_server import Server
from remediator.adapters import watching
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.kube import KubeApi, access_with_token
from remediator.domain.errors import Forbidden, NotFound
from remediator.domain.objects import BUILT_IN
from remediator.testing import StoppedClock

POD = BUILT_IN["Pod"]


def pod(name: str, version: int, uid: str = "") -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    }


def event(what: str, obj: dict[str, Any]) -> str:
    return json.dumps({"type": what, "object": obj}) + "\n"


def gone() -> str:
    return event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})


class Watched(Server):
    """Lists and streams in turn; streams stay open at their end once there is none left."""

    def __init__(self) -> None:
        super().__init__()
        self.lists: list[Any] = []
        self.streams: list[str | int] = []
        self.from_versions: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if "watch" not in request.query:
            answer = self.lists.pop(0)
            if isinstance(answer, int):
                return web.json_response({"message": 'pods is forbidden: User "u" cannot list'}, status=answer)
            version, *items = answer
            return web.json_response({"metadata": {"resourceVersion": str(version)}, "items": items})
        self.from_versions.append(request.query["resourceVersion"])
        text = self.streams.pop(0) if self.streams else ""
        if isinstance(text, int):
            return web.json_response({"code": text}, status=text)
        response = web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(text), 7):  # lines arrive in pieces
            await response.write(text[start : start + 7].encode())
        if not self.streams:
            await asyncio.sleep(30)
        return response


@pytest.fixture
async def watched() -> Watched:
    return Watched()


@pytest.fixture
async def cluster(watched: Watched) -> AsyncIterator[KubeCluster]:
    async with (
        watched.running() as address,
        KubeApi(access_with_token(address, "t"), StoppedClock(), request_seconds=2) as api,
    ):
        yield KubeCluster(api)


async def told_until(cluster: KubeCluster, last: str, count: int = 1, also: Callable[[], bool] = lambda: True) -> Told:
    told = Told()
    task = asyncio.create_task(cluster.watch(POD, "shop", told))
    try:
        await until(lambda: task.done() or (told.lines.count(last) >= count and also()), 5)
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled() and task.exception():
        raise task.exception()  # type: ignore[misc]  # just seen to be there
    return told


async def test_a_stream_that_ends_goes_on_where_it_stopped(watched: Watched, cluster: KubeCluster) -> None:
    watched.lists = [(10, pod("a", 5))]
    watched.streams = [event("MODIFIED", pod("a", 11)), event("ADDED", pod("b", 12))]

    told = await told_until(cluster, "ADDED b")

    assert told.lines == ["ADDED a", "SYNCED", "MODIFIED a", "ADDED b"]
    assert watched.from_versions[:2] == ["10", "11"]


async def test_bookmarks_move_the_place_and_are_not_told(watched: Watched, cluster: KubeCluster) -> None:
    watched.lists = [(10,)]
    watched.streams = [event("BOOKMARK", {"metadata": {"resourceVersion": "99"}}), event("ADDED", pod("b", 100))]

    told = await told_until(cluster, "ADDED b")

    assert told.lines == ["SYNCED", "ADDED b"]
    assert watched.from_versions[:2] == ["10", "99"]


@pytest.mark.parametrize("forgotten", [gone(), 410])
async def test_a_place_that_is_forgotten_is_listed_and_compared(
    watched: Watched, cluster: KubeCluster, forgotten: str | int
) -> None:
    watched.lists = [
        (10, pod("a", 5), pod("b", 6), pod("c", 7), pod("d", 8)),
        (50, pod("a", 5), pod("b", 40), pod("c", 41, uid="another"), pod("e", 42)),
    ]
    watched.streams = [forgotten, ""]

    told = await told_until(cluster, "SYNCED", 2, also=lambda: len(watched.from_versions) > 1)

    assert told.lines[5:] == ["MODIFIED b", "DELETED c", "ADDED c", "ADDED e", "DELETED d", "SYNCED"]
    assert told.events[-2][1]["metadata"] == pod("d", 8)["metadata"]
    assert watched.from_versions[1] == "50"


@pytest.mark.parametrize("failure", ["no json\n", event("ERROR", {"code": 500}), 500, 429, 403])
async def test_any_other_failure_after_the_first_list_is_waited_out(
    watched: Watched, cluster: KubeCluster, failure: str | int
) -> None:
    watched.lists = [(10,)]
    watched.streams = [failure, event("ADDED", pod("b", 12))]

    told = await told_until(cluster, "ADDED b")

    assert told.lines == ["SYNCED", "ADDED b"]
    assert watched.from_versions[:2] == ["10", "10"]


async def test_a_stream_that_has_fallen_silent_is_opened_again(
    watched: Watched, cluster: KubeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SILENCE_SECONDS", 0.1)
    watched.lists = [(10,)]

    told = Told()
    task = asyncio.create_task(cluster.watch(POD, "shop", told))
    await until(lambda: len(watched.from_versions) >= 3, 5)
    task.cancel()
    await asyncio.wait([task])

    assert told.lines == ["SYNCED"]


async def test_a_first_list_that_is_forbidden_is_said(watched: Watched, cluster: KubeCluster) -> None:
    watched.lists = [403]

    with pytest.raises(Forbidden):
        await told_until(cluster, "SYNCED")


async def test_a_list_that_fails_in_the_middle_is_not_told_twice(watched: Watched, cluster: KubeCluster) -> None:
    watched.lists = [(10, pod("a", 5)), (20, pod("a", 5), pod("b", 15))]
    watched.streams = [gone()]

    told = await told_until(cluster, "SYNCED", 2)

    assert told.lines == ["ADDED a", "SYNCED", "ADDED b", "SYNCED"]


async def test_the_callers_own_not_found_ends_the_watch(watched: Watched, cluster: KubeCluster) -> None:
    watched.lists = [(10, pod("a", 5))]

    async def failing(_: str, __: object) -> None:
        raise NotFound("the caller's")

    with pytest.raises(NotFound, match="the caller's"):
        await cluster.watch(POD, "shop", failing)


async def test_pauses_between_tries_grow_and_are_bounded(watched: Watched) -> None:
    clock = StoppedClock()
    watched.lists = [(10,)]
    watched.streams = [*(["no json\n"] * 12), event("ADDED", pod("b", 12))]
    async with (
        watched.running() as address,
        KubeApi(access_with_token(address, "t"), clock, request_seconds=2) as api,
    ):
        await told_until(KubeCluster(api), "ADDED b")

    assert clock.slept == sorted(clock.slept)
    assert clock.slept[0] < 1
    assert clock.slept[-1] <= 30
