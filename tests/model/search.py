"""
Every order of events within bounds: processes, faults, other people, and the properties that must hold.

The search is breadth first, so what it finds first is a shortest counter-example. A state is what stands
in the API server, how far each process is, what is left of each bound, and what an observer has to
remember to judge the next step.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from model.histories import Histories, Program, Surroundings
from model.server import Answer, Applied, Place, Server, Slots
from remediator.domain.alerts import Alert
from remediator.domain.errors import Unavailable
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import ObjectRef

IDLE: Final = -1
ALL_QUIET: Final = Surroundings()
LOST: Final = Answer(error=Unavailable("the connection was reset"))


class Process(NamedTuple):
    """How far a process is: idle, or somewhere in a history; and what its watch has not brought yet."""

    history: int
    memory: int
    work: int
    begun: tuple[int, ...]
    """How often it has begun each piece of work."""
    coming: tuple[int, ...] = ()


class State(NamedTuple):
    """Everything that decides what can happen next."""

    slots: Slots
    processes: tuple[Process, ...]
    around: Surroundings
    faults: tuple[int, int]
    """How many crashes and lost or cut calls are left."""
    happened: tuple[int, ...]
    observed: Hashable


class Step(NamedTuple):
    """One thing that happened, as an observer sees it."""

    process: int
    """Which process, -1 for somebody else."""
    what: str
    request: int
    applied: Applied | None
    before: State
    ended: int = IDLE
    """The history that has come to its end by this, if one has."""
    fresh: bool = False
    """Whether a piece of work has begun by this."""
    work: Any = None


class Observer(Protocol):
    """Remembers as little as it needs, and says which property a step has broken."""

    def initial(self, search: "Search") -> Hashable: ...

    def saw(self, search: "Search", step: Step, slots: Slots, around: Surroundings) -> tuple[Hashable, str]:
        """What it remembers from here on, and the broken property; empty where all hold."""
        ...

    def at_rest(self, search: "Search", state: State) -> str:
        """The property that a state breaks in which nothing is left to happen; empty where all hold."""
        ...


@dataclass(frozen=True)
class Actor:
    """A process: its program, what it can be asked to do, and how often it may begin each."""

    name: str
    program: Program
    work: tuple[Any, ...]
    hears: frozenset[str] = frozenset()
    """The kinds that it watches."""
    times: tuple[int, ...] | None = None
    """None: as often as it likes."""
    behind: bool = False
    """Whether it has listed everything before anything was there, and is still to hear of it."""
    works_when: Callable[["Search", State, Any], bool] = lambda *_: True


@dataclass(frozen=True)
class Happening:
    """Something that no process of ours does, at most so many times."""

    name: str
    happens: Callable[["Search", State], Iterator[tuple[Slots, Surroundings]]]
    times: int = 1


@dataclass(frozen=True)
class Configuration:
    """What there is at the beginning, who acts, what can go wrong, and what must hold."""

    names: tuple[ObjectRef, ...]
    stored: Mapping[str, Object]
    """The objects that stand there at the beginning, by name."""
    actors: tuple[Actor, ...]
    observer: Observer
    around: Surroundings = ALL_QUIET
    alerts: Mapping[str, Alert] = field(default_factory=dict)
    crashes: int = 0
    lost: int = 0
    happenings: tuple[Happening, ...] = ()
    admission: tuple[str, ...] = ()
    """The names of the objects that admission policies ask about."""
    rules: Callable[[Server], None] = lambda _: None
    """Adds the admission policies."""
    settle: Callable[[Object], None] = lambda _: None
    """What controllers do at once with what was stored."""
    must_rest: bool = True
    """Whether from every state there must be a way to one in which nothing is left to do."""
    rests: Callable[["Search", State], bool] = lambda *_: True


@dataclass
class Found:
    """What a search has come to."""

    states: int = 0
    transitions: int = 0
    depth: int = 0
    exhausted: bool = False
    seconds: float = 0.0
    histories: int = 0
    runs_of_processes: int = 0
    violation: str = ""
    found_at: int = 0
    trace: tuple[str, ...] = ()

    @property
    def property(self) -> str:
        return self.violation.partition(" ")[0]

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "trace"} | {
            "property": self.property,
            "trace": list(self.trace),
        }


@dataclass
class Search:
    """One configuration, searched."""

    configuration: Configuration
    server: Server = field(init=False)
    histories: Histories = field(init=False)

    def __post_init__(self) -> None:
        it = self.configuration
        self.server = Server(it.names, it.settle, it.admission)
        it.rules(self.server)
        self.server.alerts.update(it.alerts)
        self.histories = Histories(self.server, [actor.program for actor in it.actors])
        self._lost = self.server.answer(LOST)
        self._nothing = self.histories.memory(())
        self.kept: dict[Any, Any] = {}
        """What observers have read out of objects, by their number."""

    def look(self, place: int, read: Callable[[Object], Any]) -> Any:
        """What a function reads out of the object that stands there; None where none does."""
        key = (place, read)
        if key not in self.kept:
            obj = self.server.object(place)
            self.kept[key] = None if obj is None else read(obj)
        return self.kept[key]

    def initial(self) -> State:
        it = self.configuration
        slots = []
        for ref in it.names:
            obj = it.stored.get(ref.name)
            if obj is not None:
                it.settle(obj)
            slots.append(self.server.empty() if obj is None else self.server.stored(obj))
        processes = []
        for i, actor in enumerate(it.actors):
            process = Process(IDLE, self._nothing, IDLE, () if actor.times is None else (0,) * len(actor.work))
            if actor.behind:
                processes.append(process._replace(coming=self._arrivals(actor, tuple(slots))))
            else:
                processes.append(self._listed(tuple(slots), it.around, i, process))
        return State(
            tuple(slots),
            tuple(processes),
            it.around,
            (it.crashes, it.lost),
            (0,) * len(it.happenings),
            it.observer.initial(self),
        )

    # the search

    def run(self, *, states: int = 10_000_000, seconds: float = float("inf"), depth: int = 1_000_000) -> Found:
        """The shortest violation within these bounds, or how much was searched without one."""
        began = time.process_time()
        first = self.initial()
        numbers: dict[State, int] = {first: 0}
        order: list[State] = [first]
        parents: list[tuple[int, tuple[Any, ...]]] = [(-1, ())]
        depths: list[int] = [0]
        backward: list[list[int]] = [[]]
        resting: list[int] = []
        found = Found()
        at, last = 0, 0
        final: tuple[Any, ...] = ()
        queue = deque([0])
        while queue:
            at = queue.popleft()
            if len(order) >= states or depths[at] >= depth or time.process_time() - began > seconds:
                break
            state, moved = order[at], False
            for label, after, violation in self.successors(state):
                found.transitions += 1
                number = numbers.get(after)
                if number is None:
                    number = numbers[after] = len(order)
                    order.append(after)
                    parents.append((at, label))
                    depths.append(depths[at] + 1)
                    backward.append([])
                    queue.append(number)
                moved = moved or number != at
                backward[number].append(at)
                if violation:
                    found.violation, last, final = violation, at, label
                    break
            if found.violation:
                break
            if not moved or self.configuration.rests(self, state):
                resting.append(at)
            if not moved:
                broken = self.configuration.observer.at_rest(self, state)
                if broken:
                    found.violation, last = broken, at
                    break
        else:
            found.exhausted = True
            if self.configuration.must_rest:
                stuck = _first_without_way_to(resting, backward)
                if stuck is not None:
                    found.violation, last = "P6 never comes to rest: from here no state of rest can be reached", stuck
        found.states, found.depth = len(order), depths[max(at, last)]
        found.histories, found.runs_of_processes = len(self.histories.kept), self.histories.sessions
        if found.violation:
            labels = [self._told(order[last], final)] if final else []
            number = last
            while number > 0:
                number, label = parents[number]
                labels.append(self._told(order[number], label))
            found.trace, found.found_at = tuple(reversed(labels)), len(labels)
        found.seconds = round(time.process_time() - began, 2)
        return found

    def successors(self, state: State) -> Iterator[tuple[tuple[Any, ...], State, str]]:
        """Every next state, what leads to it, and the property that the step breaks."""
        for i, process in enumerate(state.processes):
            actor = self.configuration.actors[i]
            if process.history == IDLE:
                yield from self._begins(state, i, process, actor)
            else:
                yield from self._goes_on(state, i, process)
            if process.coming:
                yield self._hears(state, i, process)
        for i, happening in enumerate(self.configuration.happenings):
            if state.happened[i] < happening.times:
                happened = (*state.happened[:i], state.happened[i] + 1, *state.happened[i + 1 :])
                for slots, around in happening.happens(self, state):
                    step = Step(-1, happening.name, -1, None, state)
                    after = self._published(state._replace(happened=happened, around=around), slots)
                    yield self._seen(("happening", i), step, after)

    def _begins(
        self, state: State, i: int, process: Process, actor: Actor
    ) -> Iterator[tuple[tuple[Any, ...], State, str]]:
        for w, work in enumerate(actor.work):
            if actor.times is not None and process.begun[w] >= actor.times[w]:
                continue
            if not actor.works_when(self, state, work):
                continue
            history = self.histories.begun(i, work, process.memory, state.around)
            begun = process.begun and (*process.begun[:w], process.begun[w] + 1, *process.begun[w + 1 :])
            started = process._replace(history=history, work=w, begun=begun)
            if self.histories.kept[history].request < 0:
                step = Step(i, "does", -1, None, state, history, True, work)
                yield self._seen(("does", i, w), step, self._with(state, i, self._rested(started)))
                continue
            yield self._answered(self._with(state, i, started), i, started, "begins", state)

    def _goes_on(self, state: State, i: int, process: Process) -> Iterator[tuple[tuple[Any, ...], State, str]]:
        yield self._answered(state, i, process, "calls", state)
        crashes, lost = state.faults
        if crashes:
            dead = Process(IDLE, self._nothing, IDLE, process.begun)
            dead = self._listed(state.slots, state.around, i, dead)
            step = Step(i, "dies", -1, None, state)
            after = self._with(state, i, dead)._replace(faults=(crashes - 1, lost))
            yield self._seen(("dies", i), step, after)
        if lost:
            fewer = state._replace(faults=(crashes, lost - 1))
            request = self.histories.kept[process.history].request
            yield self._answered(fewer, i, process, "cut", state, cut=True)
            if self.server.requests[request].writes:
                yield self._answered(fewer, i, process, "lost", state, lost=True)

    def _answered(
        self,
        state: State,
        i: int,
        process: Process,
        what: str,
        before: State,
        *,
        lost: bool = False,
        cut: bool = False,
    ) -> tuple[tuple[Any, ...], State, str]:
        number = self.histories.kept[process.history].request
        applied = None if cut else self.server.apply(state.slots, number, state.around.tick)
        answer = self._lost if applied is None or lost else applied.answer
        history = self.histories.answered(process.history, answer, state.around)
        moved = process._replace(history=history)
        ended = IDLE
        if self.histories.kept[history].request < 0:
            ended, moved = history, self._rested(moved)
        after = self._with(state, i, moved)
        if applied is not None:
            after = self._published(after, applied.slots)
        work = self.configuration.actors[i].work[process.work]
        step = Step(i, what, number, applied, before, ended, what == "begins", work)
        return self._seen((what, i, process.work, number, answer), step, after)

    def _hears(self, state: State, i: int, process: Process) -> tuple[tuple[Any, ...], State, str]:
        event, rest = process.coming[0], process.coming[1:]
        if process.history == IDLE:
            memory = self.histories.heard(i, process.memory, event, state.around)
            heard = process._replace(memory=memory, coming=rest)
        else:
            history = self.histories.told(process.history, event, state.around)
            heard = process._replace(history=history, coming=rest)
            assert self.histories.kept[history].request >= 0, "hearing of something ends no work"
        step = Step(i, "hears", -1, None, state)
        return self._seen(("hears", i, event), step, self._with(state, i, heard))

    def _rested(self, process: Process) -> Process:
        return process._replace(history=IDLE, work=IDLE, memory=self.histories.kept[process.history].memory)

    def _listed(self, slots: Slots, around: Surroundings, i: int, process: Process) -> Process:
        """A process that starts lists everything that it watches first."""
        hears, memory = self.configuration.actors[i].hears, process.memory
        if not hears:
            return process
        for ref, at in zip(self.server.names, slots, strict=True):
            body = self.server.places[at].body
            if body is not None and ref.kind in hears:
                memory = self.histories.heard(i, memory, self.server.event("ADDED", body), around)
        memory = self.histories.heard(i, memory, self.server.event("SYNCED"), around)
        return process._replace(memory=memory, coming=())

    def _arrivals(self, actor: Actor, slots: Slots) -> tuple[int, ...]:
        """What a process that was there before everything else hears of."""
        there = ((ref, self.server.places[at].body) for ref, at in zip(self.server.names, slots, strict=True))
        return tuple(
            self.server.event("ADDED", body) for ref, body in there if body is not None and ref.kind in actor.hears
        )

    def _with(self, state: State, i: int, process: Process) -> State:
        if self._is_done(i, process):
            process = process._replace(memory=self._nothing, coming=())
        return state._replace(processes=(*state.processes[:i], process, *state.processes[i + 1 :]))

    def _published(self, state: State, slots: Slots) -> State:
        """The state with these places, and with the news on its way to everybody who watches."""
        news: dict[str, tuple[int, ...]] = {}
        for ref, before, after in zip(self.server.names, state.slots, slots, strict=True):
            if before != after:
                event = self._news(self.server.places[before], self.server.places[after])
                news[ref.kind] = (*news.get(ref.kind, ()), event)
        if not news:
            return state
        processes = tuple(
            process
            if self._is_done(i, process)
            else process._replace(coming=process.coming + tuple(e for k in news if k in actor.hears for e in news[k]))
            for i, (process, actor) in enumerate(zip(state.processes, self.configuration.actors, strict=True))
        )
        return state._replace(slots=slots, processes=processes)

    def _is_done(self, i: int, process: Process) -> bool:
        """Whether it has nothing to do any more, so that what it knows makes no difference."""
        times = self.configuration.actors[i].times
        return process.history == IDLE and times is not None and process.begun == times

    def _news(self, before: Place, after: Place) -> int:
        if after.body is None:
            return self.server.event("DELETED", before.body or "{}")
        return self.server.event("MODIFIED" if before.body is not None else "ADDED", after.body)

    def _seen(self, label: tuple[Any, ...], step: Step, after: State) -> tuple[tuple[Any, ...], State, str]:
        observed, violation = self.configuration.observer.saw(self, step, after.slots, after.around)
        return label, after._replace(observed=observed), violation

    # what a person reads

    def _told(self, state: State, label: tuple[Any, ...]) -> str:
        """One step, in words."""
        what = label[0]
        if what == "happening":
            return f"{'':10}{self.configuration.happenings[label[1]].name}"
        name = self.configuration.actors[label[1]].name
        if what == "dies":
            return f"{name:10}dies and is started again"
        if what == "hears":
            kind, body = self.server.events[label[2]]
            return f"{name:10}hears of {kind} {dig_text(json.loads(body), 'metadata', 'name')}"
        work = self.configuration.actors[label[1]].work[label[2]]
        if what == "does":
            return f"{name:10}does {work}, without a call"
        request, answer = self.server.requests[label[3]], self.server.answers[label[4]]
        said = {"cut": "is not carried out", "lost": "is carried out, and the answer is lost"}.get(what, str(answer))
        begins = f"begins {work}: " if what == "begins" else ""
        return f"{name:10}{begins}{request} -> {said}"


def _first_without_way_to(resting: Sequence[int], backward: Sequence[Sequence[int]]) -> int | None:
    """The first state from which none of the resting ones can be reached."""
    reaches = bytearray(len(backward))
    stack = list(resting)
    for number in stack:
        reaches[number] = 1
    while stack:
        for before in backward[stack.pop()]:
            if not reaches[before]:
                reaches[before] = 1
                stack.append(before)
    return next((number for number, reached in enumerate(reaches) if not reached), None)
