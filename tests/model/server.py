"""
The API server of the model: the objects that processes contend for, and what a call makes of them.

Each call is carried out by the API server in memory whose contract the real one is held to as well. Its
answer follows from the object alone, so each is computed once and looked up from then on. Versions count
up for each object by itself, and UIDs follow from the name, so that two orders of independent writes lead
to the same state.
"""

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from remediator.domain.alerts import Alert
from remediator.domain.errors import NotFound, RemediatorError
from remediator.domain.json import Object, dig_object, dig_text
from remediator.domain.objects import Kind, ObjectRef
from remediator.ports import Identity
from remediator.testing.clock import StoppedClock
from remediator.testing.cluster import Admission, FakeCluster
from worlds import NOON

OPERATOR_NAMESPACE: Final = "remediator-system"
TICK: Final = timedelta(hours=2)
"""How far the clock goes when it goes on at all: longer than every grace and quiet time here."""

Slots = tuple[int, ...]
"""For each contended name the number of what stands there."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call about a contended object."""

    verb: str
    kind: Kind
    ref: ObjectRef
    identity: Identity
    sub: str = ""
    body: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False

    @property
    def writes(self) -> bool:
        return self.verb != "get"

    def __str__(self) -> str:
        sub = f"/{self.sub}" if self.sub else ""
        account = f" as {self.identity.account.rpartition(':')[2]}" if self.identity.account else ""
        return f"{self.verb} {self.ref.kind} {self.ref.name}{sub}{account}{' (void)' if self.identity.void else ''}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call came to: the object as JSON, or an error."""

    body: str = ""
    error: RemediatorError | None = None

    def __str__(self) -> str:
        return "ok" if self.error is None else f"{type(self.error).__name__}: {self.error}"


@dataclass(frozen=True, slots=True)
class Place:
    """What stands under a name: the object, or nothing; what went before is not forgotten."""

    body: str | None
    version: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class Applied:
    """What a call has done: the places after it, its answer's number, and which place moved (-1: none)."""

    slots: Slots
    answer: int
    moved: int


def canonical(obj: object) -> str:
    return json.dumps(obj, sort_keys=True, separators=(",", ":"))


class Server:
    """Objects by number, and the memory of what each call makes of them."""

    def __init__(self, names: Sequence[ObjectRef], settle: Callable[[Object], None], admission: Sequence[str]) -> None:
        self.names = tuple(names)
        self.index = {(ref.group, ref.kind, ref.namespace, ref.name): i for i, ref in enumerate(names)}
        self._settle = settle
        self._asked = tuple(i for i, ref in enumerate(names) if ref.name in admission)
        self.requests: list[Request] = []
        self.answers: list[Answer] = []
        self.places: list[Place] = []
        self.events: list[tuple[str, str]] = []
        self.alerts: dict[str, Alert] = {}
        self._event_numbers: dict[tuple[str, str], int] = {}
        self._request_numbers: dict[Request, int] = {}
        self._answer_numbers: dict[tuple[str, str, str], int] = {}
        self._place_numbers: dict[Place, int] = {}
        self._known: dict[tuple[Any, ...], tuple[int, int]] = {}
        self._clock = StoppedClock()
        self._cluster = FakeCluster(self._clock)
        for namespace in ("shop", OPERATOR_NAMESPACE):
            self._cluster.add_namespace(namespace)

    @property
    def cluster(self) -> FakeCluster:
        """Where what nobody contends for is read, and where admission policies are added."""
        return self._cluster

    def refuse_when(self, rule: Admission) -> None:
        self._cluster.refuse_when(rule)

    # numbers

    def request(self, request: Request) -> int:
        return _number(self._request_numbers, self.requests, request, request)

    def answer(self, answer: Answer) -> int:
        error = answer.error
        key = (answer.body, type(error).__name__ if error else "", str(error or ""))
        return _number(self._answer_numbers, self.answers, key, answer)

    def place(self, place: Place) -> int:
        return _number(self._place_numbers, self.places, place, place)

    def event(self, what: str, body: str = "{}") -> int:
        """What a watch brings: ADDED, MODIFIED, DELETED or SYNCED, and the object."""
        return _number(self._event_numbers, self.events, (what, body), (what, body))

    def empty(self) -> int:
        return self.place(Place(None, 0, 0))

    def stored(self, obj: Object, version: int = 1, incarnation: int = 1) -> int:
        """An object that is there at the beginning, or that somebody has put there."""
        metadata = dig_object(obj, "metadata")
        metadata["resourceVersion"] = str(version)
        return self.place(Place(canonical(obj), version, incarnation))

    def object(self, place: int) -> Object | None:
        body = self.places[place].body
        return None if body is None else json.loads(body)

    # calls

    def apply(self, slots: Slots, number: int, tick: int) -> Applied:
        """What the call does to these places."""
        request = self.requests[number]
        ref = request.ref
        at = self.index[ref.group, ref.kind, ref.namespace, ref.name]
        others = tuple(slots[i] for i in self._asked) if request.writes else ()
        key = (number, slots[at], others, tick if request.writes else 0)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._carried_out(slots, request, at, tick)
        after, answer = known
        if after == slots[at]:
            return Applied(slots, answer, -1)
        return Applied((*slots[:at], after, *slots[at + 1 :]), answer, at)

    def edited(self, slots: Slots, at: int, obj: Object | None) -> Slots:
        """Somebody else has written this there; None deletes."""
        before = self.places[slots[at]]
        if obj is None:
            after = self.place(Place(None, before.version + 1, before.incarnation))
        else:
            fresh = before.body is None or dig_text(obj, "metadata", "uid") != dig_text(
                json.loads(before.body), "metadata", "uid"
            )
            self._settle(obj)
            after = self.stored(obj, before.version + 1, before.incarnation + fresh)
        return (*slots[:at], after, *slots[at + 1 :])

    def _carried_out(self, slots: Slots, request: Request, at: int, tick: int) -> tuple[int, int]:
        before = self.places[slots[at]]
        if request.verb == "get":
            if before.body is None:
                return slots[at], self.answer(
                    Answer(error=NotFound(f'{request.ref.kind} "{request.ref.name}" not found'))
                )
            return slots[at], self.answer(Answer(before.body))
        store = self._cluster.store
        for i, ref in enumerate(self.names):
            store.objects.pop(store.key_of(ref), None)
            body = self.places[slots[i]].body
            if body is not None and (i == at or i in self._asked):
                store.objects[store.key_of(ref)] = json.loads(body)
        # of its own for each object: the server in memory counts for all of them together
        store._version, store._serial = before.version, at * 1_000 + before.incarnation * 10
        self._clock.set(NOON + tick * TICK)
        self._cluster.calls.clear()
        self._cluster.writes.clear()
        try:
            answered = at_once(self._call(request))
        except RemediatorError as error:
            return slots[at], self.answer(Answer(error=error))
        finally:
            stored = store.objects.pop(store.key_of(request.ref), None)
        if request.dry_run:
            return slots[at], self.answer(Answer(canonical(answered)))
        if stored is None:
            return self.place(Place(None, before.version + 1, before.incarnation)), self.answer(Answer())
        self._settle(stored)
        version = int(dig_text(stored, "metadata", "resourceVersion"))
        incarnation = before.incarnation + (before.body is None)
        body = canonical(stored)
        return self.place(Place(body, version, incarnation)), self.answer(Answer(body))

    async def _call(self, request: Request) -> Object | None:
        cluster = self._cluster.acting_as(request.identity)
        match request.verb:
            case "create":
                return await cluster.create(request.kind, json.loads(request.body), dry_run=request.dry_run)
            case "patch":
                operations = json.loads(request.body)
                return await cluster.patch(request.ref, operations, dry_run=request.dry_run, sub=request.sub)
            case "replace":
                return await cluster.replace(request.kind, json.loads(request.body), sub=request.sub)
            case "delete":
                await cluster.delete(
                    request.ref, uid=request.uid, resource_version=request.resource_version, dry_run=request.dry_run
                )
                return None
        raise AssertionError(f"{request.verb} is no call of the model")


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")


def _number(numbers: dict[Any, int], kept: list[Any], key: Any, value: Any) -> int:
    found = numbers.get(key)
    if found is None:
        found = numbers[key] = len(kept)
        kept.append(value)
    return found
