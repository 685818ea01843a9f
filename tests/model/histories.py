"""
What a process of the real operator does, as a tree: each branch is one history of answers.

The code under test is run, not described. A process is a coroutine of the operator's own shell whose calls
stop at the searcher. What it does next follows from what it was answered so far, so each history is run
once, however many orders of events of the whole system lead to it. A coroutine cannot be copied: where a
second branch leaves a history, its process is run again from the beginning with the recorded answers.
"""

import json
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from model.loop import StillLoop
from model.pure import Answers
from model.server import TICK, Answer, Request, Server, canonical
from remediator.domain.actions import Permission
from remediator.domain.errors import RemediatorError
from remediator.domain.json import Object
from remediator.domain.objects import Kind, ObjectRef
from remediator.ports import Cluster, Firing, Identity, Listing
from worlds import NOON


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a process sees besides objects: the time, in ticks, and the alerts that fire at the sources."""

    tick: int = 0
    firing: tuple[str, ...] = ()
    """By the names under which the server keeps them."""


class Program(Protocol):
    """One kind of process."""

    def build(self, session: "Session", memory: Hashable) -> Any:
        """Its parts, with what it knew after its last piece of work."""
        ...

    def work(self, session: "Session", work: Any) -> Coroutine[Any, Any, Any]:
        """What it does for one piece of work."""
        ...

    def hear(self, session: "Session", what: str, obj: Object) -> None:
        """Its watch has brought this: ADDED, MODIFIED, DELETED or SYNCED, and the object."""
        ...

    def memory(self, session: "Session") -> Hashable:
        """What it knows, and keeps when the piece of work is done."""
        ...


class Session:
    """One running process, and the calls that it waits for."""

    def __init__(
        self,
        server: Server,
        program: Program,
        around: Surroundings,
        work: Any,
        memory: Hashable,
        answers: Answers | None = None,
    ) -> None:
        self.server = server
        self._around = around
        self.asked_what_fires = False
        """Whether anything of what has happened since the last answer rests on the alerts that fire."""
        self.loop = StillLoop()
        self.waiting: list[tuple[Request, Any]] = []
        self._program = program
        self.parts: Any = program.build(self, memory)
        self._task = self.loop.create_task(_nothing() if work is None else program.work(self, work))
        self.answers = answers or Answers()
        self._go()

    @property
    def clock(self) -> "SessionClock":
        return SessionClock(self)

    @property
    def cluster(self) -> "ContendedCluster":
        return ContendedCluster(self)

    @property
    def alerts(self) -> "SessionAlerts":
        return SessionAlerts(self)

    @property
    def is_over(self) -> bool:
        return self._task.done()

    @property
    def tick(self) -> int:
        return self._around.tick

    @property
    def firing(self) -> tuple[str, ...]:
        self.asked_what_fires = True
        return self._around.firing

    def memory(self) -> Hashable:
        return self._program.memory(self)

    def result(self) -> Any:
        """What the work came to; an error of the domain is a result too."""
        assert not self.loop.failures, self.loop.failures
        try:
            return self._task.result()
        except RemediatorError as error:
            return error

    def answered(self, answer: Answer, around: Surroundings, answers: Answers) -> None:
        """The first of the calls that it waits for has come back."""
        self._around, self.asked_what_fires, self.answers = around, False, answers
        _, future = self.waiting.pop(0)
        if answer.error is not None:
            future.set_exception(type(answer.error)(str(answer.error)))
        else:
            future.set_result(answer.body)
        self._go()

    def told(self, event: int, around: Surroundings, answers: Answers) -> None:
        self._around, self.asked_what_fires, self.answers = around, False, answers
        what, body = self.server.events[event]
        self._program.hear(self, what, json.loads(body))
        self._go()

    def _go(self) -> None:
        Answers.current = self.answers
        try:
            self.loop.run_ready()
        finally:
            Answers.current = None

    async def ask(self, request: Request) -> Object:
        future = self.loop.create_future()
        self.waiting.append((request, future))
        body = await future
        return json.loads(body) if body else {}


class ContendedCluster:
    """`ports.Cluster`: calls about contended objects wait for the searcher, all others are answered at once."""

    def __init__(self, session: Session, identity: Identity | None = None) -> None:
        self._session = session
        self._identity = identity or Identity()
        self._rest = session.server.cluster.acting_as(self._identity)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rest, name)

    def acting_as(self, identity: Identity) -> Cluster:
        return ContendedCluster(self._session, identity)

    async def read(self, ref: ObjectRef) -> Object:
        if self._is_contended(ref):
            return await self._ask("get", ref)
        return await self._rest.read(ref)

    async def create(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object:
        ref = ObjectRef.to(obj, kind)
        if self._is_contended(ref):
            return await self._ask("create", ref, body=canonical(obj), dry_run=dry_run)
        return await self._rest.create(kind, obj, dry_run=dry_run)

    async def patch(
        self, ref: ObjectRef, operations: Sequence[Object], *, dry_run: bool = False, sub: str = ""
    ) -> Object:
        if self._is_contended(ref):
            return await self._ask("patch", ref, body=canonical(list(operations)), sub=sub, dry_run=dry_run)
        return await self._rest.patch(ref, operations, dry_run=dry_run, sub=sub)

    async def replace(self, kind: Kind, obj: Object, *, sub: str = "") -> Object:
        ref = ObjectRef.to(obj, kind)
        if self._is_contended(ref):
            return await self._ask("replace", ref, body=canonical(obj), sub=sub)
        return await self._rest.replace(kind, obj, sub=sub)

    async def delete(self, ref: ObjectRef, *, uid: str = "", resource_version: str = "", dry_run: bool = False) -> None:
        if self._is_contended(ref):
            await self._ask("delete", ref, uid=uid, resource_version=resource_version, dry_run=dry_run)
        else:
            await self._rest.delete(ref, uid=uid, resource_version=resource_version, dry_run=dry_run)

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = 500
    ) -> Listing:
        contended = {(ref.group, ref.kind) for ref in self._session.server.names}
        assert (kind.group, kind.kind) not in contended, f"lists of {kind.kind} are not modelled"
        return await self._rest.list(kind, namespace, labels=labels, fields=fields, limit=limit)

    async def allowed(self, permission: Permission, namespace: str, name: str = "") -> tuple[bool, str]:
        return True, ""

    def _is_contended(self, ref: ObjectRef) -> bool:
        return (ref.group, ref.kind, ref.namespace, ref.name) in self._session.server.index

    async def _ask(self, verb: str, ref: ObjectRef, **rest: Any) -> Object:
        kind = self._session.server.cluster.store.kind_of(ref.group, ref.kind)
        return await self._session.ask(Request(verb, kind, ref, self._identity, **rest))


class SessionClock:
    """`ports.Clock`: moves when the searcher lets it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def now(self) -> datetime:
        return NOON + self._session.tick * TICK

    def boot_seconds(self) -> float:
        return 1_000.0 + self._session.tick * TICK.total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Over at once."""

    def jitter(self, seconds: float) -> float:
        return seconds / 2


class SessionAlerts:
    """`ports.AlertSource`: what fires at this moment."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def configured(self) -> bool:
        return True

    async def firing(self, matching: Mapping[str, str]) -> Firing:
        alerts = (self._session.server.alerts[name] for name in self._session.firing)
        found = (a for a in alerts if all(a.labels.get(k) == v for k, v in matching.items()))
        return Firing(tuple(found), "Alertmanager")


@dataclass(slots=True)
class History:
    """One history: what its process waits for, or what it came to."""

    parent: int
    input: tuple[Any, ...]
    request: int = -1
    """The call that it waits for; -1 where the work is done."""
    result: Any = None
    memory: int = -1
    answers: tuple[Any, ...] = ()
    """What the engine has answered it since its last call came back."""
    live: Session | None = None


class Histories:
    """All histories met so far, by number."""

    def __init__(self, server: Server, programs: Sequence[Program]) -> None:
        self._server = server
        self._programs = tuple(programs)
        self.kept: list[History] = []
        self.memories: list[Hashable] = []
        self._memory_numbers: dict[Hashable, int] = {}
        self._branches: dict[tuple[Any, ...], int] = {}
        self._heard: dict[tuple[Any, ...], int] = {}
        self.sessions = 0
        """How often a process was run from its beginning."""

    def memory(self, memory: Hashable) -> int:
        found = self._memory_numbers.get(memory)
        if found is None:
            found = self._memory_numbers[memory] = len(self.memories)
            self.memories.append(memory)
        return found

    def begun(self, program: int, work: Any, memory: int, around: Surroundings) -> int:
        """The history of a process that has just begun this piece of work."""
        root = ("begin", (program, work, memory))
        found = self._known(-1, root, around)
        return self._grown(-1, root, around, lambda: self._started(root, around)) if found is None else found

    def answered(self, history: int, answer: int, around: Surroundings) -> int:
        """The history that goes on with this answer."""
        return self._branch(history, ("answer", answer), around)

    def told(self, history: int, event: int, around: Surroundings) -> int:
        """The history that goes on with what the watch has brought meanwhile."""
        return self._branch(history, ("event", event), around)

    def heard(self, program: int, memory: int, event: int, around: Surroundings) -> int:
        """What an idle process knows after its watch has brought this."""
        key = (program, memory, event, around)
        found = self._heard.get(key)
        if found is None:
            session = Session(self._server, self._programs[program], around, None, self.memories[memory])
            session.told(event, around, Answers())
            found = self._heard[key] = self.memory(session.memory())
        return found

    def _branch(self, history: int, what: tuple[Any, ...], around: Surroundings) -> int:
        found = self._known(history, what, around)
        return (
            self._grown(history, what, around, lambda: self._gone_on(history, what, around)) if found is None else found
        )

    def _known(self, history: int, what: tuple[Any, ...], around: Surroundings) -> int | None:
        """What is known already; where a branch does not rest on what fires, it is one for all that may fire."""
        found = self._branches.get((history, what, around.tick, None))
        return self._branches.get((history, what, around.tick, around.firing)) if found is None else found

    def _grown(self, history: int, what: tuple[Any, ...], around: Surroundings, run: Callable[[], Session]) -> int:
        session = run()
        firing = around.firing if session.asked_what_fires else None
        grown = self._keep(History(history, (*what, around)), session)
        self._branches[history, what, around.tick, firing] = grown
        return grown

    def _gone_on(self, history: int, what: tuple[Any, ...], around: Surroundings) -> Session:
        session = self.kept[history].live or self._run_again(history)
        self.kept[history].live = None
        self._go_on(session, what, around, Answers())
        return session

    def _run_again(self, history: int) -> Session:
        path: list[History] = []
        while history >= 0:
            path.append(self.kept[history])
            history = self.kept[history].parent
        first = path.pop()
        *root, around = first.input
        session = self._started(tuple(root), around, Answers(first.answers))
        while path:
            following = path.pop()
            *what, around = following.input
            self._go_on(session, tuple(what), around, Answers(following.answers))
        return session

    def _started(self, root: tuple[Any, ...], around: Surroundings, answers: Answers | None = None) -> Session:
        program, work, memory = root[1]
        self.sessions += 1
        return Session(self._server, self._programs[program], around, work, self.memories[memory], answers)

    def _go_on(self, session: Session, what: tuple[Any, ...], around: Surroundings, answers: Answers) -> None:
        kind, given = what
        if kind == "answer":
            session.answered(self._server.answers[given], around, answers)
        else:
            session.told(given, around, answers)

    def _keep(self, history: History, session: Session) -> int:
        history.answers = tuple(session.answers.kept)
        if session.is_over:
            history.result = session.result()
            history.memory = self.memory(session.memory())
        else:
            assert session.waiting, "the process waits for something that the model does not know"
            history.request = self._server.request(session.waiting[0][0])
            history.live = session
        self.kept.append(history)
        return len(self.kept) - 1


async def _nothing() -> None:
    """There is no work."""
