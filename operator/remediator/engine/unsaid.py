"""
What need not be on the record at once: that a change was made, that it is through, how its verification begins.

All of it is found again from the object and the facts by whoever reads the record without it: a change that
carries our stamp happened (GEN). Most remedies that end well do so within seconds. So writes are saved where
many are at work, and a record that is behind is so for some seconds at most.
"""

from datetime import datetime, timedelta
from typing import Final

from remediator.domain.changes import Patch, change_from_json
from remediator.domain.runs import Attempt, Run, StepRecord, StepState

SAID_WITHIN: Final = timedelta(seconds=10)
"""
After a change was made, and after its verification has begun; whoever looks at runs sees them so far behind.

The longer, the more often a crash meets an object that somebody has replaced meanwhile, stamp and all; nobody
can tell then whether the change was made, and a person is asked.
"""

SAID_AFTER: Final = timedelta(minutes=1)
"""After a change's intent it is said at once: an operator that is ended again and again gets on nevertheless."""


def unsaid_until(run: Run, stored: Run, now: datetime) -> datetime | None:
    """
    Until when the record may stay as it is stored; None where the run has to be stored now.

    `stored` is the run as the API server has it, and `run` is how far it was carried on from there.
    """
    attempts, before = run.status.attempts, stored.status.attempts
    if len(attempts) != len(before) or not attempts or attempts[:-1] != before[:-1]:
        return None
    same = {"attempts": before, "timeline": stored.status.timeline}
    if run.status.model_copy(update=same) != stored.status or not _only_gets_on(attempts[-1], before[-1]):
        return None
    attempt = attempts[-1]
    changed = max((step.intended_at for step in attempt.steps if step.intended_at is not None), default=now)
    is_said = all(step.state is not StepState.INTENDED for step in before[-1].steps)
    if is_said and attempt.verifying_since is None:
        return None
    until = min((attempt.verifying_since or changed) + SAID_WITHIN, changed + SAID_AFTER)
    return until if now < until else None


def _only_gets_on(attempt: Attempt, before: Attempt) -> bool:
    later = {"steps": before.steps, "verifying_since": before.verifying_since, "checks": before.checks}
    if attempt.model_copy(update=later) != before:
        return False
    return all(_gets_on(step, was) for step, was in zip(attempt.steps, before.steps, strict=True))


def _gets_on(step: StepRecord, was: StepRecord) -> bool:
    """Whether the step's change, which leaves a stamp, was made since, or is through; or nothing is new of the step."""
    if was.state is StepState.INTENDED:
        is_made = step.token == was.token and step.state in (StepState.STARTED, StepState.DONE)
        return is_made and step.change is not None and isinstance(change_from_json(step.change), Patch)
    is_through = step.change is not None and was.state is StepState.STARTED and step.state is StepState.DONE
    return is_through or step == was
