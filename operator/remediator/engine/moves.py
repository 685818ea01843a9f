"""
The next thing to do, as data.

A move says what the shell does in the world; what came of it goes onto the record by `settle`.
Everything that needs no look at the world is no move: the engine does it itself.
"""

from dataclasses import dataclass
from datetime import datetime

from remediator.domain.runs import RunOutcome
from remediator.domain.verdicts import Reason


@dataclass(frozen=True, slots=True)
class Look:
    """Gather what the record wants now, and ask again; nothing is done."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Find out what the request means now: Runbook, target's UID, parameters, mode, account."""


@dataclass(frozen=True, slots=True)
class Diagnose:
    """Carry out the Runbook's diagnostics and freeze what they bring."""


@dataclass(frozen=True, slots=True)
class Render:
    """Render every change of the chosen remedy, once; nothing is written to the cluster."""

    remedy: str


@dataclass(frozen=True, slots=True)
class Rehearse:
    """Send the rendered changes as a server-side dry run and keep the differences."""


@dataclass(frozen=True, slots=True)
class Lock:
    """Take the locks of the target and of all that will be changed, and note what for; all of them or none."""


@dataclass(frozen=True, slots=True)
class Unlock:
    """Give the locks back and wait until then: the run has changed nothing that is not verified."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class Intend:
    """Write the step as intended, with its token: from here on it is carried out or voided, never dropped."""

    index: int
    undoing: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Make the intended change, if it has not been made yet."""

    index: int
    undoing: bool = False


@dataclass(frozen=True, slots=True)
class Poll:
    """Look whether the controllers have carried the change through; after the last look they had no more time."""

    index: int
    undoing: bool = False
    too_late: str = ""
    """Set for the last look: why a change that is still not through has failed."""


@dataclass(frozen=True, slots=True)
class Void:
    """Make every later attempt at the intended change fail, by a write to its object."""

    index: int
    undoing: bool
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Tell people that a change cannot be taken back, and leave it to them."""

    token: str
    message: str


@dataclass(frozen=True, slots=True)
class TellOfRecurrence:
    """Tell people that an alert is sent on whose run is believed to have helped."""


@dataclass(frozen=True, slots=True)
class Read:
    """Carry out a step that only reads."""

    index: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Send a step's message. `index` counts in the plan, or with `closing` among the messages of the end."""

    index: int
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing to do until then, or until something changes."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class Finish:
    """Write the end, and give the lock back by it."""

    outcome: RunOutcome


Move = (
    Look
    | Accept
    | Diagnose
    | Render
    | Rehearse
    | Lock
    | Unlock
    | Intend
    | Start
    | Poll
    | Void
    | GiveUp
    | TellOfRecurrence
    | Read
    | Tell
    | Hold
    | Finish
)
