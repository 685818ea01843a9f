"""
How one attempt at a step ended, as a value.

Running         started, not finished: look again later
Succeeded       finished as meant
Failed          finished otherwise, and known to be so
Inconclusive    nobody can tell whether it happened: a person decides
"""

from dataclasses import dataclass, field
from datetime import timedelta

from remediator.domain.json import Object


@dataclass(frozen=True, slots=True)
class Running:
    """The step has begun and is not finished; look again after `poll_after`."""

    message: str
    poll_after: timedelta = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The step is finished as meant; `output` is what later expressions see under `steps.NAME`."""

    message: str
    output: Object = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """The step is finished, and known not to have done what was meant."""

    message: str


@dataclass(frozen=True, slots=True)
class Inconclusive:
    """Whether the step happened cannot be told; it is never started again."""

    message: str


Outcome = Running | Succeeded | Failed | Inconclusive
