"""
When a debt is due, and what stands in the way of paying it.

A limit that is over, alerts that are resolved, a person's word: what is due is paid newest first. What
a later run has put on top of a value, and will take back itself, is waited for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from remediator.domain.changes import Patch, applied, change_from_json, differences
from remediator.domain.expressions import Truth
from remediator.domain.json import Object
from remediator.domain.runs import Attempt, DebtKind, DebtRecord, Run, StepRecord, StepState, Verdict
from remediator.engine.debts import owed, patch_of, step_of, with_debt
from remediator.engine.facts import Facts, Owing
from remediator.engine.guards import still_fires

ASKED_EVERY: Final = timedelta(minutes=1)
"""How often it is asked whether the alerts are resolved that a change waits for."""

IN_FLIGHT: Final = (StepState.INTENDED, StepState.STARTED)


@dataclass(frozen=True, slots=True)
class Due:
    """A debt that is to be paid now, and why."""

    debt: DebtRecord
    why: str


def most_pressing(run: Run, facts: Facts) -> Due | None:
    """
    The debt that is to be paid first; None where none is due.

    The newest goes first: of two changes of one value only the later one stands there to be taken
    back. While a run is open its round is taken back by the round itself, and nothing is paid while
    a change is under way.
    """
    attempt = run.status.attempt
    if attempt is None or (not run.is_ended and _is_under_way(attempt)):
        return None
    found = owed(run)
    for place in range(len(found) - 1, -1, -1):
        due = _due(run, found[place], facts)
        if due is not None and not _overlaps(run, found[place], found[place + 1 :]):
            return due
    return None


def next_look(run: Run, facts: Facts) -> datetime | None:
    """When a run that has nothing else to do has to be looked at for what it owes."""
    found = owed(run)
    dates = [debt.due for debt in found if debt.due is not None]
    if run.is_ended and any(debt.kind is DebtKind.RESOLVED for debt in found):
        dates.append(facts.now + ASKED_EVERY)
    later = [date for date in dates if date > facts.now]
    return min(later) if later else None


def waits_for_alerts(run: Run) -> bool:
    """Whether somebody has to be asked which alerts still fire before the run can pay."""
    return run.is_ended and any(debt.kind is DebtKind.RESOLVED for debt in owed(run))


def watching(run: Run, facts: Facts) -> Run:
    """
    The run that has ended, with what this look says of the alerts that its debts wait for.

    They count as resolved when two looks in a row find none of them firing: a source that has just
    been restarted knows of no alert. What the verification has watched already needs no second look.
    """
    if not waits_for_alerts(run):
        return run
    is_over = still_fires(run, facts)[0] is Truth.FALSE
    attempt = run.status.attempt
    was_watched = attempt is not None and any(
        check.kind == "alertResolved" and check.verdict is Verdict.VERIFIED for check in attempt.checks
    )
    for debt in [one for one in owed(run) if one.kind is DebtKind.RESOLVED]:
        first = debt.resolved_since or (facts.now - ASKED_EVERY if was_watched else facts.now)
        since = first if is_over else None
        if since != debt.resolved_since:
            run = with_debt(run, debt.token, resolved_since=since)
    return run


def stacked(step: StepRecord, seen: Object, others: Sequence[Owing]) -> tuple[Owing, ...]:
    """
    The changes of later runs that stand on top of the one that is to be taken back; empty if none does.

    They are no conflict: each will be taken back itself, and then the value is ours again. If taking
    them all back would not bring it to that, somebody else has written it.
    """
    change = change_from_json(step.change) if step.change is not None else None
    if not isinstance(change, Patch) or not differences(change, seen):
        return ()
    found: list[Owing] = []
    below = seen
    rest = [other for other in others if other.patch.target == change.target]
    while top := next((other for other in rest if _stands_in(other.patch, below)), None):
        rest.remove(top)
        found.append(top)
        below = applied(top.patch.reversed, below)
    return tuple(found) if not differences(change, below) else ()


def _stands_in(patch: Patch, seen: Object) -> bool:
    return not patch.is_empty and all(edit.path.value_in(seen) == edit.to for edit in patch.edits)


def _is_under_way(attempt: Attempt) -> bool:
    changing = [step for step in (*attempt.steps, *attempt.undo) if step.change is not None]
    return any(step.state in IN_FLIGHT for step in changing)


def _overlaps(run: Run, debt: DebtRecord, later: Sequence[DebtRecord]) -> bool:
    """Whether a later change of this very run, still owed, stands on top of it."""
    mine = _patch(run, debt)
    above = [patch for patch in (_patch(run, one) for one in later) if patch is not None]
    return mine is not None and any(patch.overlaps(mine) for patch in above)


def _patch(run: Run, debt: DebtRecord) -> Patch | None:
    step = step_of(run, debt)
    return patch_of(step) if step is not None else None


def _due(run: Run, debt: DebtRecord, facts: Facts) -> Due | None:
    if debt.kind is DebtKind.UNDO and not run.is_ended:
        return None
    if debt.due is not None and debt.due <= facts.now:
        return Due(debt, "its time is over" if debt.kind is not DebtKind.UNDO else "it is to be taken back")
    if debt.resolved_since is not None and facts.now - debt.resolved_since >= ASKED_EVERY:
        return Due(debt, "the alerts are resolved")
    return None
