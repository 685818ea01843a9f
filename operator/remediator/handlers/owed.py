"""
What runs owe, in memory: fed by the watch of runs, and by every record that this process writes.

Two changes of one value that are both limited stand on top of each other; the earlier one must know
of the later, which is another run's. Asked of the API server, that would be a list of all runs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from remediator.domain.objects import ObjectRef
from remediator.domain.runs import Run
from remediator.engine.debts import owing
from remediator.engine.facts import Owing
from remediator.handlers.run_index import is_older


def _complete() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class _Debtor:
    """A run that owes, at one version of its record."""

    uid: str
    version: str
    count: int
    changes: tuple[Owing, ...]


@dataclass(frozen=True, slots=True)
class Owed:
    """The runs that owe, and what."""

    is_complete: Callable[[], bool] = _complete
    """Whether every run was seen once; before that, nobody knows what is owed."""
    _runs: dict[tuple[str, str], _Debtor] = field(default_factory=dict)
    _paying: set[str] = field(default_factory=set)

    def note(self, run: Run) -> None:
        """The run as it was stored; what the watch brings may be older than what this process wrote."""
        count = sum(debt.state == "Owed" for debt in run.status.debts)
        before = self._runs.get((run.namespace, run.name))
        if before is not None and before.uid == run.uid and is_older(run.resource_version, before.version):
            return
        if count:
            self._runs[run.namespace, run.name] = _Debtor(run.uid, run.resource_version, count, owing(run))
        else:
            self.forget(run.namespace, run.name)

    def forget(self, namespace: str, name: str) -> None:
        """The run owes nothing, or is no more."""
        gone = self._runs.pop((namespace, name), None)
        if gone is not None:
            self._paying.discard(gone.uid)

    def on(self, ref: ObjectRef, *, but: str) -> tuple[Owing, ...] | None:
        """What all runs but the one of that UID owe on the object, the newest of a run first; None if not known."""
        if not self.is_complete():
            return None
        others = (one.changes for one in self._runs.values() if one.uid != but)
        return tuple(change for changes in others for change in changes if change.patch.target.ref == ref)

    @property
    def count(self) -> int:
        """How many changes must still be taken back."""
        return sum(one.count for one in self._runs.values())

    def pays(self, run: Run) -> None:
        """The run has taken the lock of what it takes back; its record says so with the next intent."""
        self._paying.add(run.uid)

    def rests(self, run: Run) -> None:
        """The run waits, and holds no lock while it does."""
        if not run.status.locks:
            self._paying.discard(run.uid)

    def is_paying(self, uid: str) -> bool:
        """Whether a run that has ended needs its lock still."""
        return uid in self._paying
