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
from typing import Final

from remediator.domain.runs import Run
from remediator.domain.verdicts import Reason
from remediator.engine.acting import Actor, Bounds, Occupied, actor_of, acts, is_free, is_within, urgency
from remediator.handlers.queue import Key
from remediator.handlers.run_index import is_older
from remediator.handlers.waiting_room import Waiting, WaitingRoom
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
    _waiting: WaitingRoom = field(default_factory=WaitingRoom)
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
        for known in (self._acting, self._reserved, self._promised):
            known.pop(key, None)
        self._waiting.drop(key)
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
        self._waiting.drop(key)
        self._promised.pop(key, None)
        self._reserved[key] = actor_of(run)

    def waits(self, run: Run, bounds: Bounds | None) -> None:
        """
        The run stands still; if it is for want of room, it is woken when there is some.

        Called before anything is awaited after the guards have said so, or the room might come in between.
        """
        key, held, others = _key(run), run.status.held, self.others(run)
        self._waiting.drop(key)
        if held is None or held.reason not in FOR_ROOM or bounds is None or others is None:
            return
        waiting, occupied = Waiting(actor_of(run), bounds, urgency(run)), Occupied(others)
        if not (is_free(waiting.actor, occupied) and is_within(waiting.actor, occupied, bounds, self.clock.now())):
            self._waiting.put(key, waiting)

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
        self._waiting.drop(key)
        self._promised.pop(key, None)
        self._acting[key] = _Seen(run.uid, run.resource_version, actor_of(run))

    def _all(self) -> dict[Key, Actor]:
        seen = {key: one.actor for key, one in self._acting.items()}
        return {**self._promised, **seen, **self._reserved}

    def _make_room(self) -> None:
        """Those that have waited for room, and have it now, are woken: the most urgent first."""
        if not self._waiting:
            return
        occupied = Occupied(self._all().values())
        for key, actor in self._waiting.let_in(occupied, self._promised, self.clock.now()):
            self._promised[key] = actor
            self.wake(key, self.clock.jitter(SPREAD_SECONDS))


def _key(run: Run) -> Key:
    return run.namespace, run.name
