"""
Who acts at this moment, in memory: fed by the watch of runs, and by what this process is about to do.

Asking whether there is room and taking it are one thing, because nothing is awaited between the two:
a run is counted from the moment in which it is told that it may take its locks. Until the watch shows
it, the reservation counts. Until the watch has brought every run once, nobody knows who acts.

Whoever waits for room is remembered here, and woken in order as soon as there is some: as many as
there is room for, and no more. A place that was promised so is kept for the one that was woken.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from remediator.domain.runs import Run
from remediator.domain.verdicts import Reason
from remediator.engine.acting import Actor, Bounds, actor_of, acts, has_room, urgency
from remediator.handlers.queue import Key
from remediator.handlers.run_index import is_older
from remediator.ports import Clock

FOR_ROOM: Final = frozenset({Reason.BUDGET_SPENT, Reason.BLAST_RADIUS, Reason.TARGET_BUSY})
"""What a run waits for that another run's end may bring."""

SPREAD_SECONDS: Final = 0.2
"""Those that are woken together come back within so long a time, not all at once."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A run that acts, as its record says."""

    uid: str
    version: str
    actor: Actor


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A run that waits for room, and what would be room for it."""

    actor: Actor
    bounds: Bounds
    urgency: tuple[int, datetime, str]


def _complete() -> bool:
    return True


def _nobody(key: Key, seconds: float) -> None:
    """Nobody is woken."""


@dataclass(slots=True)
class Register:
    """The runs that act, and those that wait until they may."""

    clock: Clock
    is_complete: Callable[[], bool] = _complete
    """Whether every run was seen once."""
    wake: Callable[[Key, float], None] = _nobody
    """Look at the run after so many seconds."""
    _acting: dict[Key, _Seen] = field(default_factory=dict)
    _reserved: dict[Key, Actor] = field(default_factory=dict)
    _waiting: dict[Key, _Waiting] = field(default_factory=dict)
    _promised: dict[Key, Actor] = field(default_factory=dict)

    def saw(self, run: Run) -> None:
        """The run as the watch brought it, which may be behind what this process has written."""
        key = _key(run)
        known = self._acting.get(key)
        if known is not None and known.uid == run.uid and is_older(run.resource_version, known.version):
            return
        if run.is_ended:
            self.forget(key)
        elif acts(run):
            self._acts(key, run)
        elif known is not None:
            del self._acting[key]
            self._make_room()

    def note(self, run: Run) -> None:
        """The run as this process has just read or written it: what was reserved for it is used, or given up."""
        key = _key(run)
        if acts(run):
            self._acts(key, run)
            return
        before = self._acting.pop(key, None), self._reserved.pop(key, None)
        if run.is_ended:
            self.forget(key)
        elif any(one is not None for one in before):
            self._make_room()

    def forget(self, key: Key) -> None:
        """The run has ended, or is no more."""
        for known in (self._acting, self._reserved, self._waiting, self._promised):
            known.pop(key, None)
        self._make_room()

    def others(self, run: Run) -> tuple[Actor, ...] | None:
        """The runs beside this one that act, or were promised that they may; None while not all runs are known."""
        if not self.is_complete():
            return None
        key = _key(run)
        return tuple(actor for other, actor in self._all().items() if other != key)

    def reserve(self, run: Run) -> None:
        """From here on the run acts: it is about to take its locks."""
        key = _key(run)
        self._waiting.pop(key, None)
        self._promised.pop(key, None)
        self._reserved[key] = actor_of(run)

    def waits(self, run: Run, bounds: Bounds | None) -> None:
        """
        The run stands still; if it is for want of room, it is woken when there is some.

        Called before anything is awaited after the guards have said so, or the room might come in between.
        """
        key, held, others = _key(run), run.status.held, self.others(run)
        self._waiting.pop(key, None)
        if held is None or held.reason not in FOR_ROOM or bounds is None or others is None:
            return
        waiting = _Waiting(actor_of(run), bounds, urgency(run))
        if not has_room(waiting.actor, others, bounds, self.clock.now()):
            self._waiting[key] = waiting

    def looked(self, key: Key) -> None:
        """The run was looked at: what was promised to it, and is not used, others may have."""
        if self._promised.pop(key, None) is not None:
            self._make_room()

    @property
    def count(self) -> int:
        """How many runs act."""
        return len(self._acting.keys() | self._reserved.keys())

    @property
    def waiting(self) -> int:
        """How many runs wait for room."""
        return len(self._waiting)

    def _acts(self, key: Key, run: Run) -> None:
        self._reserved.pop(key, None)
        self._waiting.pop(key, None)
        self._promised.pop(key, None)
        self._acting[key] = _Seen(run.uid, run.resource_version, actor_of(run))

    def _all(self) -> dict[Key, Actor]:
        seen = {key: one.actor for key, one in self._acting.items()}
        return {**self._promised, **seen, **self._reserved}

    def _make_room(self) -> None:
        """Those that have waited for room, and have it now, are woken: the most urgent first."""
        if not self._waiting:
            return
        now = self.clock.now()
        taken = list(self._all().values())
        for key, waiting in sorted(self._waiting.items(), key=lambda one: one[1].urgency):
            if key not in self._promised and has_room(waiting.actor, taken, waiting.bounds, now):
                self._promised[key] = waiting.actor
                taken.append(waiting.actor)
                self.wake(key, self.clock.jitter(SPREAD_SECONDS))


def _key(run: Run) -> Key:
    return run.namespace, run.name
