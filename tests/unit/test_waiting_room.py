"""Who waits for room is let in as if each were asked in turn, without each being asked."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediator.domain.guardrails import MergedLimits, Said
from remediator.domain.objects import ObjectRef
from remediator.engine.acting import Acting, Actor, Bounds, Occupied, is_free, is_within
from remediator.handlers import waiting_room
from remediator.handlers.queue import Key
from remediator.handlers.waiting_room import Waiting, WaitingRoom

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)

refs = st.one_of(
    st.builds(lambda ns, n: ObjectRef.of("Deployment", ns, f"d{n}"), st.sampled_from("ab"), st.integers(0, 5)),
    st.builds(lambda n: ObjectRef.of("Node", "", f"n{n}"), st.integers(0, 3)),
)
actors = st.builds(Actor, st.sampled_from(["", "a/p", "b/q"]), st.frozensets(refs, min_size=1, max_size=3))
limits = st.none() | st.builds(Said, st.integers(1, 4), st.just("all"))
bounds = st.builds(Bounds, st.integers(1, 3), st.builds(MergedLimits, limits, limits, limits))
crowds = st.lists(st.tuples(actors, bounds, st.integers(0, 3)), max_size=12)


def a_crowd(waiting: Sequence[tuple[Actor, Bounds, int]]) -> dict[Key, Waiting]:
    return {
        ("ns", f"run-{n}"): Waiting(actor, bounds, (rank, NOON - timedelta(minutes=n % 3), f"uid-{n}"))
        for n, (actor, bounds, rank) in enumerate(waiting)
    }


def asked_in_turn(crowd: dict[Key, Waiting], acting: Sequence[Actor], but: set[Key]) -> list[Key]:
    taken, found = list(acting), []
    for key, one in sorted(crowd.items(), key=lambda item: item[1].urgency):
        occupied = Occupied(taken)
        if key not in but and is_free(one.actor, occupied) and is_within(one.actor, occupied, one.bounds, NOON):
            taken.append(one.actor)
            found.append(key)
    return found


def let_in(room: WaitingRoom, acting: Sequence[Actor], but: set[Key]) -> list[Key]:
    occupied, found = Occupied(acting), []
    for key, actor in room.let_in(occupied, but, NOON):
        occupied.add(actor)
        found.append(key)
    return found


def naming(actors: Sequence[Actor]) -> list[Actor]:
    return [replace(actor, run=f"ns/acting-{n}") for n, actor in enumerate(actors)]


def counts(of: Acting) -> list[object]:
    places = [ObjectRef.of("Deployment", ns, f"d{n}") for ns in "ab" for n in range(6)]
    places += [ObjectRef.of("Node", "", f"n{n}") for n in range(4)]
    workers = [of.worker_on(ref) is not None for ref in places]
    return [len(of), of.objects, of.nodes, *map(of.in_namespace, "ab"), *map(of.of_policy, ["", "a/p", "b/q"]), workers]


@given(st.lists(actors, min_size=1, max_size=6), st.data())
def test_what_is_occupied_without_one_is_what_the_others_occupy(acting: list[Actor], data: st.DataObject) -> None:
    named = naming(acting)
    own = data.draw(st.sampled_from(named))
    occupied, others = Occupied(named), Occupied([one for one in named if one is not own])

    assert counts(occupied.but(own)) == counts(others)
    assert counts(occupied.but(None)) == counts(occupied)
    occupied.remove(own)
    assert counts(occupied) == counts(others)


@given(crowds, st.lists(actors, max_size=4), st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)))
def test_as_many_are_let_in_as_if_each_were_asked(
    waiting: list[tuple[Actor, Bounds, int]], acting: list[Actor], promised: set[int], gone: set[int]
) -> None:
    crowd, room = a_crowd(waiting), WaitingRoom()
    for key, one in crowd.items():
        room.put(key, one)
    for n in gone:
        room.drop(("ns", f"run-{n}"))
        crowd.pop(("ns", f"run-{n}"), None)
    but = {("ns", f"run-{n}") for n in promised}

    assert let_in(room, acting, but) == asked_in_turn(crowd, acting, but)
    assert len(room) == len(crowd)


def test_who_waits_for_something_else_by_now_is_in_one_row_alone() -> None:
    room = WaitingRoom()
    actor = Actor("a/p", frozenset({ObjectRef.of("Deployment", "a", "d")}))
    for concurrent in (1, 2):
        room.put(("ns", "run"), Waiting(actor, Bounds(concurrent, MergedLimits()), (0, NOON, "uid")))

    assert let_in(room, [Actor("a/p", frozenset())], set()) == [("ns", "run")]
    room.drop(("ns", "run"))
    assert let_in(room, [], set()) == []
    assert len(room) == 0


def test_of_a_thousand_for_whom_there_is_no_room_one_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Actor] = []

    def counted(actor: Actor, *rest: Any) -> bool:
        asked.append(actor)
        return is_within(actor, *rest)

    room = WaitingRoom()
    for n in range(1_000):
        actor = Actor("a/p", frozenset({ObjectRef.of("Deployment", "a", f"d{n}")}))
        room.put(("ns", f"run-{n}"), Waiting(actor, Bounds(1, MergedLimits()), (0, NOON, f"uid-{n}")))
    monkeypatch.setattr(waiting_room, "is_within", counted)

    assert let_in(room, [Actor("a/p", frozenset())], set()) == []
    assert len(asked) == 1
