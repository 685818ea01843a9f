"""
What the pulled switch means for a run: nothing is begun any more, and nothing is left in the dark.

An intended change is given up first, so that it cannot happen later; then the run ends as Stopped.
What it has changed stays as it is: a stopped run resumes nothing by itself. What it was taking back is
a debt, and is paid after the release.
"""

from remediator.domain.runs import Run, RunOutcome
from remediator.domain.verdicts import Reason
from remediator.engine.facts import Facts
from remediator.engine.moves import Move
from remediator.engine.record import with_ending
from remediator.engine.steps import giving_up


def stopped(run: Run, facts: Facts) -> Run | tuple[Run, Move] | None:
    """SWITCH: the end of an open run while everything is suspended; None while it is not known to be."""
    if facts.suspended is None or not facts.suspended.pulled:
        return None
    message = facts.suspended.sentence
    given_up = giving_up(run, Reason.SUSPENDED, message, undo=False)
    if given_up is not None:
        return run, given_up
    if run.has_changed_something:
        message += "; what was changed is not verified, and stays unless it is owed"
    return with_ending(run, facts.now, RunOutcome.STOPPED, str(Reason.SUSPENDED), message)
