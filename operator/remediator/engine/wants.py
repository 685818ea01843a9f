"""What must be looked at before the engine can say what comes next, and nothing more."""

from collections.abc import Iterable

from remediator.domain.expressions import Expression
from remediator.domain.policies import Mode
from remediator.domain.runbooks import WAIT
from remediator.domain.runs import Attempt, Run, StepState
from remediator.engine.acceptance import AcceptedRunbook, CompiledRemedy, CompiledStep
from remediator.engine.endings import checks_of
from remediator.engine.facts import Wants
from remediator.engine.flow import compiled_step

NOTHING = Wants()


def wants(run: Run, book: AcceptedRunbook | None) -> Wants:
    """The facts that the next look needs; without the Runbook's content none can be named."""
    attempt = run.status.attempt
    if run.is_ended or run.status.resolved is None or attempt is None or book is None:
        return NOTHING
    if run.status.ending is not None or attempt.diagnosed_at is None:
        return Wants(target=run.status.ending is not None)
    if attempt.chosen_at is None or not attempt.plan_hash:
        return Wants(target=True)
    remedy = book.remedy(attempt.remedy)
    if remedy is None or run.status.resolved.mode is not Mode.AUTOMATIC:
        return NOTHING
    if attempt.undo:
        return _of_undo(attempt)
    if attempt.verifying_since is None:
        return _of_steps(attempt, remedy)
    return _of_checks(run, attempt, remedy)


def _of_undo(attempt: Attempt) -> Wants:
    for index, step in enumerate(attempt.undo):
        if not step.state.is_over:
            return Wants(definitions=True, step_target=index, undoing=True)
    return NOTHING


def _of_steps(attempt: Attempt, remedy: CompiledRemedy) -> Wants:
    for index, step in enumerate(attempt.steps):
        if step.state.is_over:
            continue
        compiled = compiled_step(remedy, step)
        latest = _latest(_expressions(compiled, waiting=step.action == WAIT))
        if step.change is None:
            return Wants(target=True, latest=latest)
        if step.state is StepState.STARTED:
            return Wants(target=remedy.remedy.gone_is is not None)
        first = not any(one.has_changed_something for one in attempt.steps)
        return Wants(definitions=True, target=True, step_target=index, firing=first, lock=first, latest=latest)
    return NOTHING


def _of_checks(run: Run, attempt: Attempt, remedy: CompiledRemedy) -> Wants:
    checks = checks_of(run, remedy)
    undecided = [
        (index, check)
        for index, check in enumerate(checks)
        if len(attempt.checks) <= index or attempt.checks[index].verdict is None
    ]
    return Wants(
        target=remedy.remedy.gone_is is not None,
        firing=any(check.check.alert_resolved is not None for _, check in undecided),
        rollouts=any(check.check.rollout is not None for _, check in undecided),
        queries=tuple(index for index, check in undecided if check.query is not None),
        latest=_latest(check.that for _, check in undecided),
    )


def _expressions(step: CompiledStep, *, waiting: bool) -> tuple[Expression | None, ...]:
    return (step.when, step.until) if waiting else (step.when,)


def _latest(expressions: Iterable[Expression | None]) -> frozenset[str]:
    names = (name for one in expressions if one is not None for name in one.names)
    return frozenset(name.removeprefix("latest.") for name in names if name.startswith("latest."))
