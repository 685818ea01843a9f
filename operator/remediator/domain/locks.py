"""
Who may change a target now, and what was changed on it before.

One lock a target, held by a run and not by a process; with it lies the ledger that limits read.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

MAX_PAST_CHANGES: Final = 20
"""What one Lease holds of a target's history: some 6 KB."""


@dataclass(frozen=True, slots=True)
class PastChange:
    """
    One change of a target, as cooldowns, budgets and "did not help" count it.

    `run_uid`, `remedy` and `step` name it: noting it again replaces what was noted before.
    """

    runbook: str
    """`NAMESPACE/NAME`."""
    remedy: str
    run: str
    """`NAMESPACE/NAME`."""
    run_uid: str
    at: datetime
    """When it was begun."""
    step: str = ""
    ended: datetime | None = None
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class LockState:
    """
    A target's lock as it was read; an empty `holder_uid` is free.

    `changes` are the target's last ones, oldest first. They outlive runs and policies.
    """

    name: str
    holder: str = ""
    """`NAMESPACE/NAME` of the run."""
    holder_uid: str = ""
    since: datetime | None = None
    changes: tuple[PastChange, ...] = ()
    resource_version: str = ""
    """Empty where nobody has ever locked the target."""

    def noted(self, change: PastChange) -> "LockState":
        """
        The state with the change in its ledger.

        Where the ledger is full the oldest go first, but the newest of each Runbook's remedy stays
        longest: a cooldown reads it, and one busy Runbook must not make another forget.
        """
        others = [past for past in self.changes if _use(past) != _use(change)]
        ordered = sorted([*others, change], key=lambda past: past.at)
        newest = {(past.runbook, past.remedy): past for past in ordered}
        by_worth = sorted(ordered, key=lambda past: (past in newest.values(), past.at), reverse=True)
        kept = by_worth[:MAX_PAST_CHANGES]
        return replace(self, changes=tuple(past for past in ordered if past in kept))


@dataclass(frozen=True, slots=True)
class Held:
    """The lock is the asking run's; what was read before must be read again."""

    state: LockState


@dataclass(frozen=True, slots=True)
class Busy:
    """Another run holds the lock."""

    holder: str
    holder_uid: str
    since: datetime | None


def _use(past: PastChange) -> tuple[str, str, str]:
    return past.run_uid, past.remedy, past.step
