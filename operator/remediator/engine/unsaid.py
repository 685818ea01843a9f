"""
What need not be on the record at once: that a change is through, and how its verification begins.

All of it is found again from the object and the facts by whoever reads the record without it, and
most verifications that end well do so within seconds. So a write is saved, and a record that is
behind is so for some seconds at most.
"""

from datetime import datetime, timedelta
from typing import Final

from remediator.domain.runs import Attempt, Run, StepRecord, StepState

SAID_WITHIN: Final = timedelta(seconds=10)
"""After a verification has begun; whoever looks at runs sees them act for so much longer than they do."""

SAID_AFTER: Final = timedelta(minutes=1)
"""After a change it is said at once: an operator that is ended again and again gets on nevertheless."""


def unsaid_until(run: Run, stored: Run, now: datetime) -> datetime | None:
    """
    Until when the record may stay as it is stored; None where the run has to be stored now.

    `stored` is the run as the API server has it, and `run` is how far it was carried on from there.
    """
    attempts, before = run.status.attempts, stored.status.attempts
    if len(attempts) != len(before) or not attempts or attempts[:-1] != before[:-1]:
        return None
    same = {"attempts": before, "timeline": stored.status.timeline}
    if run.status.model_copy(update=same) != stored.status or not _only_verifies(attempts[-1], before[-1]):
        return None
    changed = max((step.started_at for step in attempts[-1].steps if step.started_at is not None), default=now)
    until = min((attempts[-1].verifying_since or now) + SAID_WITHIN, changed + SAID_AFTER)
    return until if now < until else None


def _only_verifies(attempt: Attempt, before: Attempt) -> bool:
    later = {"steps": before.steps, "verifying_since": before.verifying_since, "checks": before.checks}
    if attempt.verifying_since is None or attempt.model_copy(update=later) != before:
        return False
    return all(step == was or _is_through(step, was) for step, was in zip(attempt.steps, before.steps, strict=True))


def _is_through(step: StepRecord, was: StepRecord) -> bool:
    return step.change is not None and was.state is StepState.STARTED and step.state is StepState.DONE
