"""A watch of runs that is begun anew tells of everything once more, and of what vanished meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from remediator.domain.errors import Forbidden
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import RUN, ObjectRef
from remediator.handlers.run_watch import RunWatch
from remediator.testing.cluster import FakeCluster
from replicas import settled


class Heard:
    """What was told, and a watch that tells it."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.said: list[tuple[str, str]] = []
        self.watch = RunWatch(self.cluster, self._told)
        self.keeping = asyncio.ensure_future(self.watch.keep())

    async def _told(self, what: str, obj: Object) -> None:
        self.said.append((what, dig_text(obj, "metadata", "name")))

    def fresh(self) -> list[tuple[str, str]]:
        said, self.said = self.said, []
        return said

    def add(self, name: str) -> None:
        self.cluster.add(a_run(name))

    def remove(self, name: str) -> None:
        self.cluster.store.remove(RUN, "shop", name)


def a_run(name: str) -> Any:
    return {
        "apiVersion": RUN.api_version,
        "kind": RUN.kind,
        "metadata": {"namespace": "shop", "name": name},
        "spec": {},
        "status": {"state": "Waiting"},
    }


@pytest.fixture
async def heard() -> AsyncIterator[Heard]:
    made = Heard()
    made.add("a")
    made.add("b")
    await settled()
    assert made.fresh() == [("ADDED", "a"), ("ADDED", "b"), ("SYNCED", "")]
    yield made
    made.keeping.cancel()
    await asyncio.gather(made.keeping, return_exceptions=True)


async def test_everything_is_told_once_more_before_it_has_caught_up(heard: Heard) -> None:
    await heard.watch.caught_up()

    assert heard.fresh() == [("ADDED", "a"), ("ADDED", "b"), ("SYNCED", "")]


async def test_it_goes_on_following_afterwards(heard: Heard) -> None:
    await heard.watch.caught_up()
    heard.fresh()

    heard.add("c")
    heard.remove("a")
    await settled()

    assert heard.fresh() == [("ADDED", "c"), ("DELETED", "a")]


async def test_what_vanished_while_nobody_watched_is_told_as_deleted(heard: Heard) -> None:
    caught_up = asyncio.ensure_future(heard.watch.caught_up())
    heard.cluster.store.watchers.clear()  # the watch hears nothing any more
    heard.remove("a")
    old = heard.cluster.get(ObjectRef(RUN.group, RUN.kind, "shop", "b"))
    heard.remove("b")
    heard.add("b")
    assert heard.cluster.get(ObjectRef(RUN.group, RUN.kind, "shop", "b"))["metadata"] != old["metadata"]

    await caught_up

    assert heard.fresh() == [("DELETED", "b"), ("ADDED", "b"), ("DELETED", "a"), ("SYNCED", "")]


async def test_who_asks_during_a_first_list_waits_for_the_next(heard: Heard) -> None:
    first, second = asyncio.ensure_future(heard.watch.caught_up()), asyncio.ensure_future(heard.watch.caught_up())

    await asyncio.gather(first, second)

    assert heard.fresh().count(("SYNCED", "")) >= 1


async def test_a_watch_that_may_not_be_ends() -> None:
    cluster = FakeCluster()
    cluster.forbid("", "list", "*")

    async def told(what: str, obj: Object) -> None: ...

    with pytest.raises(Forbidden):
        await RunWatch(cluster, told).keep()
