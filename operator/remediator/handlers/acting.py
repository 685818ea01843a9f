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
from remediator.engine.acting import Actor, Bounds, Occupied, Others, actor_of, acts, is_free, is_within, urgency
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
    _counted: dict[Key, Actor] = field(default_factory=dict)
    """Each that takes a place, as it is counted in `_occupied`."""
    _occupied: Occupied = field(default_factory=Occupied)

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
            self._count(key)
            self._make_room()

    def note(self, run: Run) -> None:
        """The run as this process has just read or written it: what was reserved for it is used, or given up."""
        key = _key(run)
        if acts(run):
            self._acts(key, run)
            return
        if run.is_ended:
            self.forget(key)
            return
        before = self._acting.pop(key, None), self._reserved.pop(key, None)
        if any(one is not None for one in before):
            self._count(key)
            self._make_room()

    def forget(self, key: Key) -> None:
        """The run has ended, or is no more."""
        for known in (self._acting, self._reserved, self._promised):
            known.pop(key, None)
        self._waiting.drop(key)
        self._count(key)
        self._make_room()

    def others(self, run: Run) -> Others | None:
        """
        The runs beside this one that act, or were promised that they may; None while not all runs are known.

        It is of use until something is awaited: then others may have come or gone.
        """
        return self._occupied.but(self._counted.get(_key(run))) if self.is_complete() else None

    def reserve(self, run: Run) -> None:
        """From here on the run acts: it is about to take its locks."""
        key = _key(run)
        self._waiting.drop(key)
        self._promised.pop(key, None)
        self._reserved[key] = actor_of(run)
        self._count(key)

    def waits(self, run: Run, bounds: Bounds | None) -> None:
        """
        The run stands still; if it is for want of room, it is woken when there is some.

        Called before anything is awaited after the guards have said so, or the room might come in between.
        """
        key, held, others = _key(run), run.status.held, self.others(run)
        self._waiting.drop(key)
        if held is None or held.reason not in FOR_ROOM or bounds is None or others is None:
            return
        waiting = Waiting(actor_of(run), bounds, urgency(run))
        if not (is_free(waiting.actor, others) and is_within(waiting.actor, others, bounds, self.clock.now())):
            self._waiting.put(key, waiting)

    def looked(self, key: Key) -> None:
        """The run was looked at: what was promised to it, and is not used, others may have."""
        if self._promised.pop(key, None) is not None:
            self._count(key)
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
        self._count(key)

    def _count(self, key: Key) -> None:
        """The run takes the place that it has reserved, or has, or was promised; or none any more."""
        seen = self._acting.get(key)
        now = self._reserved.get(key) or (seen.actor if seen is not None else self._promised.get(key))
        before = self._counted.pop(key, None)
        if before is not None:
            self._occupied.remove(before)
        if now is not None:
            self._counted[key] = now
            self._occupied.add(now)

    def _make_room(self) -> None:
        """Those that have waited for room, and have it now, are woken: the most urgent first."""
        if not self._waiting:
            return
        for key, actor in self._waiting.let_in(self._occupied, self._promised, self.clock.now()):
            self._promised[key] = actor
            self._count(key)
            self.wake(key, self.clock.jitter(SPREAD_SECONDS))


def _key(run: Run) -> Key:
    return run.namespace, run.name
