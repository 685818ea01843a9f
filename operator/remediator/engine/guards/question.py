"""What every guard is asked, and the words that guards share."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from remediator.domain.runs import Run, StepRecord
from remediator.domain.verdicts import Reason, Verdict, Wait
from remediator.engine.facts import Facts
from remediator.engine.record import current

RETRY_UNKNOWN: Final = timedelta(seconds=15)
"""Long enough for an API server or an Alertmanager to restart between two looks."""


class AboutRun(Protocol):
    """What a guard is asked that needs no step: a run, and the world."""

    @property
    def run(self) -> Run: ...

    @property
    def facts(self) -> Facts: ...


@dataclass(frozen=True, slots=True)
class RunQuestion:
    """May this run look, and decide what it would do?"""

    run: Run
    facts: Facts


@dataclass(frozen=True, slots=True)
class Question:
    """May this step change something now?"""

    run: Run
    step: StepRecord
    facts: Facts

    @property
    def is_first_change(self) -> bool:
        """Whether the remedy has changed nothing yet; from then on it is one unit."""
        return not current(self.run).has_changed_something


Guard = Callable[[Question], Verdict]
RunGuard = Callable[[RunQuestion], Verdict]


def unknown(question: AboutRun, message: str) -> Wait:
    """The verdict of a guard that cannot know: it does not allow, and looks again soon."""
    return Wait(Reason.FACT_UNKNOWN, message, question.facts.now + RETRY_UNKNOWN)
