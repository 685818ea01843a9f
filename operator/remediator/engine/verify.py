"""
Did it help? Each check of a remedy looks at the facts and says yes, no, or not yet.

A check holds, does not hold, or is not known to. It is `Verified` once it has held for as long as
it must; at its deadline it is `Disproved` if it was seen not to hold, else `Inconclusive`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from pydantic.alias_generators import to_camel

from remediator.domain.expressions import Truth, Values
from remediator.domain.json import dig_int
from remediator.domain.runbooks import AlertResolvedCheck, PromqlCheck
from remediator.domain.runs import CheckRecord, Run, Verdict
from remediator.domain.workloads import is_rolled_out, rollout_progress
from remediator.engine.acceptance import CompiledCheck
from remediator.engine.facts import Facts, Seen
from remediator.engine.guards import still_fires
from remediator.engine.record import current, in_short


def look_again(
    run: Run, checks: Sequence[CompiledCheck], facts: Facts, values: Values
) -> tuple[list[CheckRecord], datetime]:
    """The checks' records after this look, and when the next look is due."""
    attempt = current(run)
    assert attempt.verifying_since is not None, "verification has begun"
    records = list(attempt.checks) or [CheckRecord(kind=to_camel(check.check.kind)) for check in checks]
    due = facts.now + timedelta(minutes=5)
    for index, (check, record) in enumerate(zip(checks, records, strict=True)):
        if record.verdict is not None:
            continue
        truth, message = _holds(run, check, index, facts, values)
        records[index] = _judged(check, record, truth, message, attempt.verifying_since, facts.now)
        if records[index].verdict is None:
            due = min(due, facts.now + _every(check), _settled_at(check, records[index], attempt.verifying_since))
    return records, max(due, facts.now + timedelta(seconds=1))


def verdict_of(records: Sequence[CheckRecord]) -> Verdict | None:
    """
    The verdict of all checks together; None while one is open that could still decide.

    One disproved check disproves the remedy at once; verified needs them all.
    """
    verdicts = [record.verdict for record in records]
    if Verdict.DISPROVED in verdicts:
        return Verdict.DISPROVED
    if None in verdicts:
        return None
    return Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else Verdict.VERIFIED


def _judged(
    check: CompiledCheck, record: CheckRecord, truth: Truth, message: str, since: datetime, now: datetime
) -> CheckRecord:
    holds_since = (record.holds_since or now) if truth is Truth.TRUE else None
    failing = record.seen_failing or truth is Truth.FALSE
    verdict = None
    if holds_since is not None and now - holds_since >= _lasting(check):
        verdict = Verdict.VERIFIED
    elif now - since >= _within(check):
        verdict = Verdict.DISPROVED if failing else Verdict.INCONCLUSIVE
    return record.model_copy(
        update={"holds_since": holds_since, "seen_failing": failing, "message": in_short(message), "verdict": verdict}
    )


def _holds(run: Run, check: CompiledCheck, index: int, facts: Facts, values: Values) -> tuple[Truth, str]:
    if check.check.rollout is not None:
        return _rolled_out(facts.rollouts)
    if check.check.alert_resolved is not None:
        return _resolved(run, facts)
    if check.check.promql is not None:
        return _within_bound(check.check.promql, facts.values.get(index), facts.unanswered.get(index, ""))
    assert check.that is not None, "a check is one of four"
    truth, missing = check.that.truth(values)
    return truth, missing.message if missing is not None else f"{check.that.text} is {truth}"


def _rolled_out(workloads: Sequence[Seen] | None) -> tuple[Truth, str]:
    if workloads is None:
        return Truth.UNKNOWN, "the workloads that were changed were not read"
    for seen in workloads:
        if seen.gone:
            return Truth.FALSE, "a workload that was changed is gone"
        if seen.obj is None:
            return Truth.UNKNOWN, f"a workload that was changed cannot be read: {seen.error}"
        if not is_rolled_out(seen.obj):
            return Truth.FALSE, rollout_progress(seen.obj)
    ready = sum(dig_int(seen.obj, "status", "readyReplicas") for seen in workloads)
    return Truth.TRUE, f"rolled out, {ready} replicas ready"


def _resolved(run: Run, facts: Facts) -> tuple[Truth, str]:
    truth, why = still_fires(run, facts)
    opposite = {Truth.TRUE: Truth.FALSE, Truth.FALSE: Truth.TRUE, Truth.UNKNOWN: Truth.UNKNOWN}
    return opposite[truth], why


def _within_bound(check: PromqlCheck, value: float | None, unanswered: str) -> tuple[Truth, str]:
    if value is None:
        return Truth.UNKNOWN, unanswered or "the query has no single finite value"
    if check.below is not None:
        return _truth(Decimal(value) < Decimal(check.below)), f"{value:g}, to be below {check.below}"
    assert check.above is not None, "a query has one bound"
    return _truth(Decimal(value) > Decimal(check.above)), f"{value:g}, to be above {check.above}"


def _truth(value: bool) -> Truth:
    return Truth.TRUE if value else Truth.FALSE


def _timed(check: CompiledCheck) -> tuple[timedelta, timedelta, timedelta]:
    """How long it must hold, how long it may take, how often it is looked at."""
    one = check.check
    if one.rollout is not None:
        return timedelta(0), one.rollout.within, timedelta(seconds=2)
    if one.alert_resolved is not None:
        return one.alert_resolved.quiet_for, one.alert_resolved.within, _pace(one.alert_resolved)
    timed = one.promql or one.check
    assert timed is not None, "a check is one of four"
    return timed.lasting, timed.within, timed.every


def _pace(check: AlertResolvedCheck) -> timedelta:
    return min(max(check.quiet_for / 4, timedelta(seconds=1)), timedelta(seconds=15))


def _lasting(check: CompiledCheck) -> timedelta:
    return _timed(check)[0]


def _within(check: CompiledCheck) -> timedelta:
    return _timed(check)[1]


def _every(check: CompiledCheck) -> timedelta:
    return _timed(check)[2]


def _settled_at(check: CompiledCheck, record: CheckRecord, since: datetime) -> datetime:
    """When the check can next become something by time alone."""
    deadline = since + _within(check)
    return deadline if record.holds_since is None else min(deadline, record.holds_since + _lasting(check))
