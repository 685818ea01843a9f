"""
Who may change a target now, and what was changed on it before.

One lock a target, held by a run and not by a process; with it lies the ledger that limits read.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from remediator.domain.objects import ObjectRef

MAX_PAST_CHANGES: Final = 40
"""What one Lease holds of a target's history: some 12 KB."""
NEWEST_CHANGES: Final = 20
"""How many of them are the newest, whoever made them: so many changes an hour can be counted."""
KEPT_OF_A_REMEDY: Final = 3
"""How many of each remedy outlast the others': so many in a row can be seen not to have helped."""


@dataclass(frozen=True, slots=True)
class PastChange:
    """
    What one remedy of one run changed on a target, as cooldowns, budgets and "did not help" count it.

    `run_uid` and `remedy` name it: noting it again replaces what was noted before, and noting it
    with nothing made takes it off.
    """

    runbook: str
    """`NAMESPACE/NAME`."""
    remedy: str
    run: str
    """`NAMESPACE/NAME`."""
    run_uid: str
    at: datetime
    """When it was begun."""
    made: tuple[datetime, ...] = ()
    """When each of its changes was made; until the run has ended, all that it may make, as of the beginning."""
    ended: datetime | None = None
    outcome: str = ""
    """How the run ended; empty while it is open, and for ever where it was deleted before it said so."""


@dataclass(frozen=True, slots=True)
class LockState:
    """
    A target's lock as it was read; an empty `holder_uid` is free.

    `changes` are the target's last ones, oldest first. They outlive runs and policies.
    """

    name: str
    target: ObjectRef | None = None
    """What it is the lock of; None where nobody has ever locked it."""
    holder: str = ""
    """`NAMESPACE/NAME` of the run."""
    holder_uid: str = ""
    since: datetime | None = None
    changes: tuple[PastChange, ...] = ()
    resource_version: str = ""
    """Empty where nobody has ever locked the target."""

    def noted(self, *changes: PastChange) -> "LockState":
        """
        The state with these changes in its ledger, and without those that came to nothing.

        Where the ledger is full the oldest go first, but the last few of each Runbook's remedy stay
        longest: cooldowns read them, and one busy Runbook must not make another forget.
        """
        about = {_use(change) for change in changes}
        others = [past for past in self.changes if _use(past) not in about]
        ordered = sorted([*others, *(one for one in changes if one.made)], key=lambda past: past.at)
        return replace(self, changes=tuple(sorted(_worth_keeping(ordered), key=lambda past: past.at)))

    def is_idle(self, since: datetime) -> bool:
        """Whether nobody holds it, and nothing was changed since that moment."""
        times = (moment for past in self.changes for moment in (past.at, past.ended, *past.made) if moment is not None)
        return not self.holder_uid and all(moment < since for moment in times)

    @property
    def freed(self) -> "LockState":
        """The state that nobody holds; what was changed stays noted."""
        return replace(self, holder="", holder_uid="", since=None)


@dataclass(frozen=True, slots=True)
class Held:
    """
    The lock is the asking run's; what was read before must be read again.

    Unless nobody held it in `was`, and that was known before the reading.
    """

    state: LockState
    was: LockState
    """As it stood until it was taken."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Another run holds the lock."""

    holder: str
    holder_uid: str
    since: datetime | None


def _use(past: PastChange) -> tuple[str, str]:
    return past.run_uid, past.remedy


def _worth_keeping(oldest_first: Sequence[PastChange]) -> Sequence[PastChange]:
    newer: Counter[tuple[str, str]] = Counter()
    worth: list[tuple[bool, int, int]] = []
    for place, past in enumerate(reversed(oldest_first)):
        rank = min(newer[past.runbook, past.remedy], KEPT_OF_A_REMEDY)
        newer[past.runbook, past.remedy] += 1
        worth.append((place >= NEWEST_CHANGES, rank, place))
    return [oldest_first[-1 - place] for _, _, place in sorted(worth)[:MAX_PAST_CHANGES]]
