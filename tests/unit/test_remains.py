"""What runs left behind: deleted when nothing needs it, and not a moment earlier."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from histories import CHECKOUT, NAMESPACE, Archive, a_policy, ended
from remediator.domain.errors import Unavailable
from remediator.domain.locks import PastChange
from remediator.domain.names import frozen_runbook_name, lease_name
from remediator.domain.objects import REPLY, RUN, ObjectRef
from remediator.engine.suspension import switch_object
from remediator.handlers.accept import GIVEN_SECONDS
from remediator.handlers.remains import SWEEP_SECONDS
from worlds import runbook

BOOK = runbook()
CONTENT = ObjectRef.of("ConfigMap", NAMESPACE, frozen_runbook_name(BOOK.content))
LATER = timedelta(seconds=GIVEN_SECONDS)


@pytest.fixture
def archive() -> Archive:
    return Archive()


def a_word(archive: Archive, to: str, name: str = "stop-1") -> None:
    spec = {"runRef": {"name": archive.run(1)["metadata"]["name"], "uid": to}, "type": "Stop", "user": "alice"}
    meta = {"namespace": "shop", "name": name}
    stored = archive.cluster.add({"apiVersion": REPLY.api_version, "kind": REPLY.kind, "metadata": meta, "spec": spec})
    archive.replies.changed("ADDED", stored)


def words(archive: Archive) -> list[Any]:
    found: Any = archive.cluster.objects(REPLY)
    return [obj["metadata"]["name"] for obj in found]


async def test_a_word_to_a_run_that_is_gone_goes_after_a_while(archive: Archive) -> None:
    archive.cluster.add(ended(1, archive.ago(days=1)))
    a_word(archive, archive.run(1)["metadata"]["uid"], "to-it")
    a_word(archive, "an-earlier-run-of-that-name", "to-its-predecessor")
    archive.look()

    await archive.remains.words()
    assert words(archive) == ["to-it", "to-its-predecessor"], "the watch of runs may be behind"
    archive.clock.advance(LATER)
    await archive.remains.words()

    assert words(archive) == ["to-it"]


async def test_words_to_a_run_that_somebody_deleted_are_found_without_a_list(archive: Archive) -> None:
    archive.cluster.add(ended(1, archive.ago(days=1)))
    a_word(archive, archive.run(1)["metadata"]["uid"])
    archive.cluster.store.remove(RUN, "shop", archive.run(1)["metadata"]["name"])
    archive.look()
    archive.clock.advance(LATER)

    await archive.remains.words()

    assert words(archive) == []
    assert [call.verb for call in archive.cluster.calls] == ["delete"]


async def test_a_content_that_no_run_names_goes_when_nobody_has_named_it_for_an_hour(archive: Archive) -> None:
    await archive.books.freeze(BOOK)
    archive.look()

    await archive.remains.contents()
    archive.clock.advance(LATER)
    assert archive.cluster.has(CONTENT), "who froze it may still be about to write down that it has"
    await archive.remains.contents()

    assert not archive.cluster.has(CONTENT)


async def test_a_content_that_a_run_names_stays(archive: Archive) -> None:
    content = {"resolved": {"runbook": {"content": await archive.books.freeze(BOOK)}}}
    archive.cluster.add(ended(1, archive.ago(days=1), status=content))
    archive.look()

    for _ in range(3):
        await archive.remains.contents()
        archive.clock.advance(LATER)
    assert archive.cluster.has(CONTENT)
    archive.cluster.store.remove(RUN, "shop", archive.run(1)["metadata"]["name"])
    archive.look()
    await archive.remains.contents()
    assert archive.cluster.has(CONTENT)
    archive.clock.advance(LATER)
    await archive.remains.contents()

    assert not archive.cluster.has(CONTENT)


async def test_a_content_that_was_given_again_meanwhile_stays(archive: Archive) -> None:
    await archive.books.freeze(BOOK)
    archive.look()
    await archive.remains.contents()
    archive.clock.advance(LATER)

    await archive.books.freeze(BOOK)
    await archive.remains.contents()

    assert archive.cluster.has(CONTENT)


async def test_a_content_is_not_given_while_it_is_deleted_and_stored_anew_afterwards(archive: Archive) -> None:
    await archive.books.freeze(BOOK)
    archive.clock.advance(LATER)
    given: list[Exception] = []

    def meanwhile(write: Any, _: Any) -> str:
        if write.verb == "delete":
            try:
                archive.books.freeze(BOOK).send(None)
            except Unavailable as refused:
                given.append(refused)
        return ""

    archive.cluster.refuse_when(meanwhile)
    assert await archive.books.let_go(CONTENT.name, archive.cluster.get(CONTENT)["metadata"]["uid"])
    assert not archive.cluster.has(CONTENT)
    await archive.books.freeze(BOOK)

    assert len(given) == 1
    assert archive.cluster.has(CONTENT)


async def a_lease(archive: Archive, days: float, *, held: bool = False) -> None:
    at = archive.ago(days=days)
    note = PastChange("shop/queue", "bigger", "shop/one", "uid", at, made=(at,), ended=at, outcome="Remediated")
    name = lease_name(CHECKOUT)
    await archive.locks.acquire(name, holder="shop/one", holder_uid="uid", target=CHECKOUT, now=at, note=note)
    if not held:
        await archive.locks.release(name, holder_uid="uid")


@pytest.mark.parametrize(("days", "held", "stays"), [(6, False, True), (8, True, True), (8, False, False)])
async def test_a_lease_goes_when_no_limit_could_read_it(archive: Archive, days: float, held: bool, stays: bool) -> None:
    await a_lease(archive, days, held=held)
    archive.look()

    await archive.remains.leases()

    assert (lease_name(CHECKOUT) in archive.locks.states) is stays


@pytest.mark.parametrize(("limits", "stays"), [({"cooldown": "240h"}, True), ({"cooldown": "long"}, True), ({}, False)])
async def test_a_long_cooldown_is_read_as_long_as_it_lasts(archive: Archive, limits: Any, stays: bool) -> None:
    await a_lease(archive, 9)
    archive.known.put(a_policy("patient", limits=limits))
    archive.look()

    await archive.remains.leases()

    assert (lease_name(CHECKOUT) in archive.locks.states) is stays


@pytest.mark.parametrize(
    "held",
    [
        lambda archive: setattr(archive.known, "is_complete", False),
        lambda archive: archive.switch.heard("ADDED", switch_object(NAMESPACE, "why", "alice")),
        lambda archive: setattr(archive.stored, "synced", False),
    ],
    ids=["not all policies are read", "everything is suspended", "not all runs were seen"],
)
async def test_nothing_goes_that_is_not_known_to_be_over(archive: Archive, held: Callable[[Archive], None]) -> None:
    archive.cluster.add(ended(1, archive.ago(days=1)))
    a_word(archive, "nobody")
    await archive.books.freeze(BOOK)
    await a_lease(archive, 30)
    archive.look()
    archive.clock.advance(2 * LATER)
    held(archive)

    await rounds(archive, 3)

    assert words(archive) == ["stop-1"]
    assert archive.cluster.has(CONTENT)
    assert lease_name(CHECKOUT) in archive.locks.states


async def test_in_two_rounds_everything_is_gone_although_one_sweep_fails(archive: Archive) -> None:
    archive.cluster.add(ended(1, archive.ago(days=1)))
    a_word(archive, "nobody")
    await archive.books.freeze(BOOK)
    await a_lease(archive, 30)
    archive.look()
    archive.clock.advance(2 * LATER)
    archive.cluster.fail_next(1, Unavailable("away"), verb="list")

    await rounds(archive, 4)

    assert words(archive) == []
    assert not archive.cluster.has(CONTENT)
    assert archive.locks.states == {}
    assert [archive.metrics.remains.labels(kind=kind)._value.get() for kind in ("Reply", "ConfigMap", "Lease")] == [
        1
    ] * 3


class Enough(Exception):
    """The test has seen enough."""


async def rounds(archive: Archive, count: int) -> None:
    """So many rounds of the loop."""
    sleep: Callable[[float], Awaitable[None]] = archive.clock.sleep
    left = count

    async def counted(seconds: float) -> None:
        nonlocal left
        if seconds >= SWEEP_SECONDS / 2:
            left -= 1
        if left < 0:
            raise Enough
        await sleep(seconds)

    archive.clock.sleep = counted
    with pytest.raises(Enough):
        await archive.remains.keep()
    archive.clock.sleep = sleep
