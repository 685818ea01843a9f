"""What must be looked at before the engine can say what comes next, and nothing more."""

from collections.abc import Iterable
from dataclasses import replace

from remediator.domain.expressions import Expression
from remediator.domain.policies import Mode
from remediator.domain.runbooks import WAIT
from remediator.domain.runs import Attempt, Run, StepState
from remediator.domain.verdicts import Reason
from remediator.engine import approvals, closing, debts, due, questions
from remediator.engine.acceptance import AcceptedPolicy, AcceptedRunbook, CompiledRemedy, CompiledStep
from remediator.engine.endings import checks_of
from remediator.engine.facts import Wants
from remediator.engine.steps import compiled_step

NOTHING = Wants()


def wants(run: Run, book: AcceptedRunbook | None, policy: AcceptedPolicy | None = None) -> Wants:
    """The facts that the next look needs; without the Runbook's content none can be named."""
    wanted = _of_run(run, book)
    return wanted if policy is None or book is None else _with_inhibitors(run, wanted, policy)


def _with_inhibitors(run: Run, wanted: Wants, policy: AcceptedPolicy) -> Wants:
    """The same, with the alerts that hold the policy's runs where the run may begin, or change something, now."""
    attempt = run.status.attempt
    if not policy.inhibitions or run.is_ended or run.status.ending is not None or attempt is None:
        return wanted
    if attempt.chosen_at is not None and not wanted.surroundings:
        return wanted
    reads = frozenset[str]().union(*(one.reads for one in policy.inhibitions))
    return replace(wanted, inhibitors=True, target=wanted.target or bool(reads), latest=wanted.latest | reads)


def _of_run(run: Run, book: AcceptedRunbook | None) -> Wants:
    attempt = run.status.attempt
    if run.is_ended:
        return _of_debts(run)
    if run.status.resolved is None or attempt is None or book is None:
        return NOTHING
    if run.status.ending is not None:
        tells = len(run.status.ending.told) < len(closing.messages(run, book))
        return Wants(target=tells and not _waits_at_the_end(run))
    if debts.in_payment(run) is not None:
        return _of_debts(run)
    if attempt.diagnosed_at is None:
        return Wants(target=any(one.question and questions.record_of(run, one.name) is None for one in book.diagnose))
    if attempt.chosen_at is None or not attempt.plan_hash:
        return Wants(target=True)
    remedy = book.remedy(attempt.remedy)
    if remedy is None or run.status.resolved.mode.rank < Mode.APPROVE.rank:
        return NOTHING
    if debts.of_round(run, attempt):
        return _of_undo(run, attempt)
    if attempt.verifying_since is None:
        return _of_steps(attempt, remedy)
    return _of_checks(run, attempt, remedy)


def _waits_at_the_end(run: Run) -> bool:
    return run.status.held is not None and run.status.held.reason == Reason.AWAITING_HUMAN


def _of_debts(run: Run) -> Wants:
    """A run that only owes, and pays nothing yet, needs to know at most whether its alerts still fire."""
    index = debts.in_payment(run)
    if index is None:
        return Wants(firing=True) if due.waits_for_alerts(run) else NOTHING
    return Wants(definitions=True, step_target=index, undoing=True)


def _of_undo(run: Run, attempt: Attempt) -> Wants:
    for index, step in debts.of_round(run, attempt):
        if not step.state.is_over:
            return Wants(definitions=True, step_target=index, undoing=True)
    return NOTHING


def _of_steps(attempt: Attempt, remedy: CompiledRemedy) -> Wants:
    if approvals.waiting(attempt) is not None:
        return NOTHING  # what people say is brought by a watch, and once they agree everything is looked at
    for index, step in enumerate(attempt.steps):
        if step.state.is_over:
            continue
        compiled = compiled_step(remedy, step)
        latest = _latest(_expressions(compiled, waiting=step.action == WAIT))
        if compiled.question is not None and step.state is StepState.STARTED:
            return NOTHING
        if step.change is None:
            return Wants(target=True, latest=latest)
        if step.state is StepState.STARTED:
            return Wants(target=remedy.remedy.gone_is is not None)
        first = not attempt.has_changed_something
        # with the lock held, the last look before the intent: no watch stands between it and what people said
        replies = attempt.locked_at is not None and approvals.unused(attempt) is not None
        return Wants(
            definitions=True,
            target=True,
            step_target=index,
            firing=first,
            lock=first,
            latest=latest,
            permissions=True,
            surroundings=True,
            replies=replies,
        )
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
