"""
Several processes over one cluster in memory, which may be frozen and killed, and a time that a test moves.

A frozen process goes nowhere: no call of it is made and no sleep of it ends. Its seconds since boot go on, as
CLOCK_BOOTTIME does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from remediator.adapters.evidence import ConfigMapEvidence
from remediator.adapters.locks import LeaseLocks
from remediator.engine.election import Timing
from remediator.handlers.accept import Books
from remediator.handlers.admission import Admission
from remediator.handlers.announce import Announcer
from remediator.handlers.diagnose import Diagnostician
from remediator.handlers.epochs import Epochs
from remediator.handlers.gather import Gatherer
from remediator.handlers.leadership import Leadership
from remediator.handlers.leading import LedCluster, LedNotifier, Mandate
from remediator.handlers.perform import Performer
from remediator.handlers.run_index import RunIndex
from remediator.handlers.run_watch import RunWatch
from remediator.handlers.runs import Reconciler
from remediator.handlers.tally import Noted
from remediator.handlers.term import Term
from remediator.ports import Clock, Cluster, Identity
from remediator.testing.clock import NOON, StoppedClock
from remediator.testing.cluster import FakeCluster
from remediator.testing.world import OPERATOR_NAMESPACE, World

TURNS = 20
"""So many turns of the loop are enough for everything that waits for nothing."""

LEASE_SECONDS = 15
WRITING = ("create", "patch", "replace", "delete", "evict")

Wrote = tuple[str, str, tuple[Any, ...]]
"""Which process has written, by which method of the port, and with what."""


async def settled() -> None:
    """Everything has happened that does not wait for time."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


@dataclass
class Time:
    """Seconds that pass when a test says so; whoever sleeps is woken in order."""

    seconds: float = 0.0
    sleepers: list[tuple[float, "ProcessClock", "asyncio.Future[None]"]] = field(default_factory=list)
    follows: list[StoppedClock] = field(default_factory=list)
    """Clocks that go with it."""
    ticks: Callable[[], None] = lambda: None
    """What the world does whenever time has moved."""

    async def passes(self, seconds: float) -> None:
        until = self.seconds + seconds
        while await self._wakes_the_next(until):
            pass
        self._moves_to(until)
        await settled()

    async def until(self, holds: Callable[[], bool], seconds: float = 600.0) -> float:
        """How many seconds it took, which is looked at whenever somebody has woken."""
        began = self.seconds
        await settled()
        while not holds():
            assert await self._wakes_the_next(began + seconds), f"not within {seconds:g}s"
            await settled()
        return self.seconds - began

    async def _wakes_the_next(self, until: float) -> bool:
        """Whether somebody was asleep who is awake now."""
        await settled()
        self.sleepers = [one for one in self.sleepers if not one[2].done()]
        awake = [one for one in self.sleepers if not one[1].frozen and one[0] <= until]
        if not awake:
            return False
        first = min(awake, key=lambda one: one[0])
        self.sleepers.remove(first)
        self._moves_to(max(first[0], self.seconds))
        first[2].set_result(None)
        return True

    def _moves_to(self, seconds: float) -> None:
        by = timedelta(seconds=seconds - self.seconds)
        self.seconds = seconds
        if not by:
            return
        for clock in self.follows:
            clock.advance(by)
        self.ticks()


class ProcessClock:
    """`ports.Clock` of one process; its time of day may be wrong, and its boot was at some time of its own."""

    def __init__(self, time: Time, *, booted: float = 0.0, wrong_by: timedelta = timedelta()) -> None:
        self._time = time
        self._booted = booted
        self._wrong_by = wrong_by
        self.frozen = False
        self.thawed = asyncio.Event()
        self.thawed.set()

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self._time.seconds) + self._wrong_by

    def boot_seconds(self) -> float:
        return self._time.seconds + self._booted

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._time.sleepers.append((self._time.seconds + seconds, self, woken))
        await woken
        await self.thawed.wait()

    def jitter(self, seconds: float) -> float:
        return seconds / 2


class Gate:
    """A cluster as one process reaches it: not at all while that is frozen, or where a test holds a call."""

    def __init__(self, cluster: Any, process: "Replica") -> None:
        self._cluster, self._process = cluster, process

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cluster, name)
        if name == "acting_as":
            return lambda identity: Gate(found(identity), self._process)
        if name == "watch":
            return self._watch

        async def call(*args: Any, **named: Any) -> Any:
            await self._process.may_call(name, args, self._cluster.identity)
            answer = await found(*args, **named)
            if name in WRITING:
                self._process.wrote.append((self._process.name, name, args))
            await self._process.clock.thawed.wait()
            return answer

        return call

    async def _watch(self, kind: Any, namespace: str, changed: Callable[..., Awaitable[None]], **more: Any) -> None:
        async def told(what: str, obj: Any) -> None:
            await self._process.clock.thawed.wait()
            await changed(what, obj)

        await self._cluster.watch(kind, namespace, told, **more)


class Uncounted:
    """Nobody counts the runs of definitions."""

    def begin_anew(self) -> None: ...

    def note_run(self, run: Noted) -> None: ...

    def forget_run(self, namespace: str, name: str) -> None: ...


class Replica:
    """One process of the operator, as far as leading is concerned; with a world it carries runs on."""

    def __init__(
        self,
        name: str,
        time: Time,
        cluster: FakeCluster,
        *,
        world: World | None = None,
        wrote: list[Wrote] | None = None,
        booted: float = 0.0,
        wrong_by: timedelta = timedelta(),
    ) -> None:
        self.name = name
        self.clock = ProcessClock(time, booted=booted, wrong_by=wrong_by)
        self.held: Callable[[str, tuple[Any, ...], Identity], bool] | None = None
        """The first call of which this is true is held until `goes_on` is set."""
        self.reached = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.world = world
        self.wrote: list[Wrote] = [] if wrote is None else wrote
        gate: Any = Gate(cluster, self)
        self.cluster: Cluster = gate
        self.index = RunIndex(self.clock)
        self.epochs = Epochs(self.cluster, OPERATOR_NAMESPACE, self.clock)
        self.runs = RunWatch(self.cluster, self._saw_run)
        self.mandates: list[Mandate] = []
        self.term: Term | None = None
        self.leadership = Leadership(
            self.cluster,
            OPERATOR_NAMESPACE,
            name,
            self.clock,
            Timing(LEASE_SECONDS),
            self.epochs,
            self.runs.caught_up,
            self._lead,
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def leads(self) -> bool:
        return self.leadership.standing().leads

    @property
    def epoch(self) -> int:
        return self.leadership.standing().epoch

    def start(self) -> "Replica":
        self._tasks = [
            asyncio.create_task(work)
            for work in (self.leadership.keep(), self.epochs.watch(), self.runs.keep())
        ]  # fmt: skip
        return self

    async def stop(self) -> None:
        """As on SIGTERM: it comes to an end by itself."""
        for task in self._tasks:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def kill(self) -> None:
        """As on SIGKILL: nothing is called any more. Its tasks are ended with the test."""
        self.freeze()

    def freeze(self) -> None:
        self.clock.frozen = True
        self.clock.thawed.clear()

    def thaw(self) -> None:
        self.clock.frozen = False
        self.clock.thawed.set()

    async def may_call(self, name: str, args: tuple[Any, ...], identity: Identity) -> None:
        await self.clock.thawed.wait()
        if self.held is not None and not self.reached.is_set() and self.held(name, args, identity):
            self.reached.set()
            await self.goes_on.wait()

    async def _lead(self, mandate: Mandate) -> None:
        self.mandates.append(mandate)
        self.index.forget_admissions()
        self.term = term = Term(self.clock, 4, Uncounted())
        try:
            await term.lead(self._work(term, mandate), self.runs.caught_up, ())
        finally:
            self.term = None

    def _work(self, term: Term, mandate: Mandate) -> Any:
        if self.world is None:
            return _nothing
        clock: Clock = self.clock
        cluster = LedCluster(self.cluster, mandate)
        outside = replace(
            self.world.outside,
            cluster=cluster,
            locks=LeaseLocks(cluster, OPERATOR_NAMESPACE),
            evidence=ConfigMapEvidence(cluster),
            notifier=LedNotifier(self.world.notifier, mandate),
            clock=clock,
            owed=term.owed,
            acting=term.acting,
            leading=mandate,
        )
        diagnostician = Diagnostician(outside)
        gatherer = Gatherer(outside, diagnostician)
        return Reconciler(
            outside,
            Books(outside),
            gatherer,
            Performer(outside, diagnostician, gatherer),
            Announcer(outside),
            Admission(cluster, self.index),
            term.latest,
            term.wrote,
        ).reconcile

    async def _saw_run(self, what: str, obj: Any) -> None:
        await self.index.changed(what, obj)
        self.epochs.saw_run(obj)
        if self.term is not None:
            self.term.saw_run(what, obj)

    def looks(self) -> None:
        """The queue's own appointments are by the machine's clock; by this time everything is due."""
        if self.term is not None and not self.clock.frozen:
            self.term.look_at_all()


async def _nothing(key: Any) -> float | None:
    return None
