"""What a run still owes, paid when it is due: while the run is open, and after its end."""

from remediator.domain.expressions import Truth
from remediator.domain.runs import Run, StepState
from remediator.domain.verdicts import Reason
from remediator.engine import debts, due
from remediator.engine.changing import take_back
from remediator.engine.facts import Facts
from remediator.engine.guards import RETRY_UNKNOWN, still_fires
from remediator.engine.moves import GiveUp, Hold, Move, TellOfRecurrence
from remediator.engine.record import current, going_on, standing
from remediator.engine.recurrence import has_to_be_told


def owing(run: Run, facts: Facts) -> Run | tuple[Run, Move]:
    """A run that has ended: it only pays what it owes, and says once that it has not helped; its outcome stays."""
    if debts.in_payment(run) is None:
        run = due.watching(run, facts)
    paying = pay(run, facts)
    if paying is not None:
        return paying
    if has_to_be_told(run):
        return run, TellOfRecurrence()
    truth, why = still_fires(run, facts) if due.waits_for_alerts(run) else (Truth.TRUE, "")
    if truth is Truth.UNKNOWN:
        return standing(run, facts.now, Reason.FACT_UNKNOWN, why), Hold(None)
    return going_on(run), Hold(None)


def pay(run: Run, facts: Facts) -> Run | tuple[Run, Move] | None:
    """The next thing to do for what must be taken back now; None where nothing must."""
    index = debts.in_payment(run)
    if index is None:
        first = due.most_pressing(run, facts)
        return None if first is None else debts.paying(run, first.debt, first.why, facts.now)
    step = current(run).undo[index]
    if step.state.is_over:
        after = debts.after_payment(run, step, facts.now)
        return after if isinstance(after, Run) else (run, GiveUp(step.undo_of, after))
    if step.state is StepState.PLANNED and facts.step_target.obj is not None:
        if facts.owing is None:
            return _stand(run, facts, Reason.FACT_UNKNOWN, "cannot tell what other runs still owe on the object")
        above = due.stacked(step, facts.step_target.obj, facts.owing)
        if above:
            return debts.put_off(run, step, above, facts.now)
    return take_back(run, facts, index, step)


def _stand(run: Run, facts: Facts, reason: Reason, message: str) -> tuple[Run, Move]:
    return standing(run, facts.now, reason, message), Hold(facts.now + RETRY_UNKNOWN)
