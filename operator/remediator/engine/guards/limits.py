"""
How much and how often: what was changed before, and what is being changed beside it.

All of it is asked before the first change of a remedy, which from then on is one unit. What was
changed before stands in the ledger on the target's Lease, which outlives runs and policies, so that
deleting them deletes no limit.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby, takewhile
from typing import Final

from remediator.domain.changes import FIELD_MANAGER, RUN_STAMP
from remediator.domain.durations import human
from remediator.domain.json import Object, dig_list, dig_text
from remediator.domain.locks import LockState, PastChange
from remediator.domain.policies import Limits, Mode
from remediator.domain.runs import Run, RunOutcome, StepState, rfc3339
from remediator.domain.verdicts import Allow, Deny, Reason, Verdict, Wait
from remediator.engine.acting import LOOK_AGAIN, actor_of, fence_has_room, policy_has_room
from remediator.engine.guards.question import AboutRun, Question, unknown
from remediator.engine.ledger import changes_of, runbook_of
from remediator.engine.record import current

HOUR: Final = timedelta(hours=1)

FIRST_REST: Final = timedelta(minutes=1)
LONGEST_REST: Final = timedelta(hours=1)
"""How long a target rests after a run that did not help: doubled after each further one, up to this."""

HOPELESS_AFTER: Final = 3
HOPELESS_WITHIN: Final = timedelta(hours=24)
"""So many runs of a Runbook in a row that did not help its target, in so long a time, are enough: a person looks."""

OWN_ECHO: Final = timedelta(minutes=10)
"""How long an alert that comes after a change of ours is taken for what that change has caused."""

BUSY: Final = timedelta(seconds=30)
"""A run that waits for another is woken by its end; this is for an end that was not seen."""

_HELPED: Final = frozenset(str(outcome) for outcome in RunOutcome if outcome.is_success)


def nobody_else_is_at_it(question: AboutRun) -> Verdict:
    """
    Wait while another run works on the target: what would be seen now is that one's doing, and not the trouble.

    A run that will change nothing looks all the same.
    """
    run, acting = question.run, question.facts.acting
    resolved = run.status.resolved
    if resolved is not None and resolved.mode.rank <= Mode.DRY_RUN.rank:
        return Allow()
    if acting is None:
        return unknown(question, "cannot tell which other runs act")
    other = acting.worker_on(run.target.ref)
    if other is None:
        return Allow()
    message = f"{run.target} is being changed by {other.run}"
    return Wait(Reason.TARGET_BUSY, message, question.facts.now + LOOK_AGAIN)


def target_is_free(question: Question) -> Verdict:
    """Wait while another run holds the target's lock."""
    lock = _ledger(question)
    if lock is None:
        return _unknown(question)
    if lock.holder_uid in ("", question.run.uid):
        return Allow()
    message = f"{question.run.target} is being changed by {lock.holder}"
    return Wait(Reason.TARGET_BUSY, message, question.facts.now + BUSY)


def is_not_our_own_doing(question: Question) -> Verdict:
    """
    Wait where the alert came right after another run of ours changed the target: it may be its echo.

    A run that a person asked for is nobody's echo.
    """
    lock, seen, run = _ledger(question), question.facts.target.obj, question.run
    if lock is None:
        return _unknown(question)
    if run.spec.policy_ref is None or seen is None:
        return Allow()  # other guards speak for a target that cannot be read
    stamp = dig_text(seen, "metadata", "annotations", RUN_STAMP)
    before = [made for past in _others(lock, run) if past.run == stamp for made in past.made if made <= run.created_at]
    if not before or max(before) + OWN_ECHO <= question.facts.now or _was_changed_by_others(seen, max(before)):
        return Allow()
    message = f"{stamp} changed {run.target} at {rfc3339(max(before))}, before this alert came: it may be the cause"
    return Wait(Reason.SELF_INFLICTED, message, max(before) + OWN_ECHO)


def target_has_rested(question: Question) -> Verdict:
    """
    Wait until the cooldown has passed since this remedy last changed the target, by whatever policy.

    The cooldown counts from the end of the earlier run where that is known, else from its
    beginning: a slow rollout would otherwise use up its own rest.
    """
    lock = _ledger(question)
    if lock is None:
        return _unknown(question)
    cooldown = _limits(question).cooldown
    remedy = current(question.run).remedy
    times = [_end(past) for past in _of_runbook(lock, question.run) if past.remedy == remedy]
    if not times or max(times) + cooldown <= question.facts.now:
        return Allow()
    until = max(times) + cooldown
    return Wait(
        Reason.COOLING_DOWN,
        f"{remedy} was done with {question.run.target} at {rfc3339(max(times))}, and that rests {human(cooldown)}",
        until,
    )


def budget_is_left(question: Question) -> Verdict:
    """Wait until all changes of the plan fit into what the target may be changed in an hour."""
    lock = _ledger(question)
    if lock is None:
        return _unknown(question)
    run, now, most = question.run, question.facts.now, _limits(question).per_hour
    planned = len(changes_of(run, run.target.ref))
    if planned > most:
        message = f"the plan has {planned} changes, and {run.target} may be changed {most} times an hour"
        return Deny(Reason.BUDGET_SPENT, message)
    own = (run.uid, current(run).remedy)
    others = (past for past in lock.changes if (past.run_uid, past.remedy) != own)
    spent = sorted(made for past in others for made in past.made if made > now - HOUR)
    over = len(spent) + planned - most
    if over <= 0:
        return Allow()
    message = (
        f"{run.target} was changed {len(spent)} times in the last hour; {planned} more would be over the {most} allowed"
    )
    return Wait(Reason.BUDGET_SPENT, message, spent[over - 1] + HOUR)


def has_not_failed_again(question: Question) -> Verdict:
    """Wait after runs of this Runbook that did not help the target: a minute, and twice as long after each further."""
    lock = _ledger(question)
    if lock is None:
        return _unknown(question)
    failed = _failures(lock, question.run)
    if not failed:
        return Allow()
    rest = min(FIRST_REST * 2 ** (len(failed) - 1), LONGEST_REST)
    if failed[0] + rest <= question.facts.now:
        return Allow()
    message = (
        f"{runbook_of(question.run)} did not help {question.run.target} {_times(len(failed))}, "
        f"last at {rfc3339(failed[0])}: it rests {human(rest)}"
    )
    return Wait(Reason.REPEATED_FAILURE, message, failed[0] + rest)


def has_helped_before(question: Question) -> Verdict:
    """
    Refuse a Runbook that has not helped the target several times in a row: it will not help now.

    A person who asks for it knows better.
    """
    lock = _ledger(question)
    if lock is None:
        return _unknown(question)
    if question.run.spec.policy_ref is None:
        return Allow()
    since = question.facts.now - HOPELESS_WITHIN
    failed = [end for end in _failures(lock, question.run) if end > since]
    if len(failed) < HOPELESS_AFTER:
        return Allow()
    return Deny(
        Reason.DID_NOT_HELP,
        f"{runbook_of(question.run)} did not help {question.run.target} {_times(len(failed))} in a row "
        f"within {HOPELESS_WITHIN // HOUR}h",
    )


def policy_is_not_busy(question: Question) -> Verdict:
    """Wait while as many other runs of the policy act as its `limits.concurrent` allows."""
    run, acting = question.run, question.facts.acting
    if _has_its_place(question):
        return Allow()
    if acting is None:
        return unknown(question, "cannot tell which other runs act")
    return policy_has_room(actor_of(run), acting, _limits(question).concurrent, question.facts.now)


def few_targets_at_once(question: Question) -> Verdict:
    """Wait while other runs work on as many objects as the Guardrails allow: in the namespace, in all, and nodes."""
    fence, acting = question.facts.fence, question.facts.acting
    if _has_its_place(question):
        return Allow()
    if fence is None or acting is None:
        return unknown(question, "cannot tell which other objects are worked on, and how many may be")
    return fence_has_room(actor_of(question.run), acting, fence.limits, question.facts.now)


def _was_changed_by_others(seen: Object, since: datetime) -> bool:
    """Whether somebody else wrote the object after that moment; status, and what scales it, are nobody's change."""
    writers = (entry for entry in dig_list(seen, "metadata", "managedFields") if not entry.get("subresource"))
    times = [dig_text(entry, "time") for entry in writers if entry.get("manager") != FIELD_MANAGER]
    return any(datetime.fromisoformat(time) > since for time in times if time)


def _has_its_place(question: Question) -> bool:
    """Whether the run counts as one that acts, by what it has changed or intends: two of those never wait for each other."""
    return question.step.state is StepState.INTENDED or not question.is_first_change


# --- what the ledger says -------------------------------------------------------------------------


def _ledger(question: Question) -> LockState | None:
    """The target's ledger; an empty one after the first change, when limits have had their say."""
    return question.facts.lock if question.is_first_change else LockState("")


def _unknown(question: Question) -> Verdict:
    return unknown(question, f"cannot tell when {question.run.target} was last changed")


def _limits(question: Question) -> Limits:
    policy = question.facts.policy
    return policy.spec.limits if policy is not None else Limits()


def _others(lock: LockState, run: Run) -> Iterator[PastChange]:
    return (past for past in lock.changes if past.run_uid != run.uid)


def _of_runbook(lock: LockState, run: Run) -> Iterator[PastChange]:
    return (past for past in _others(lock, run) if past.runbook == runbook_of(run))


def _end(past: PastChange) -> datetime:
    return past.ended or past.at


def _failures(lock: LockState, run: Run) -> Sequence[datetime]:
    """When the last runs of this Runbook ended that did not help, newest first, back to one that did."""
    over = (past for past in _of_runbook(lock, run) if past.run_uid != lock.holder_uid)
    newest_first = sorted(over, key=lambda past: (_end(past), past.run_uid), reverse=True)
    runs = [next(rounds) for _, rounds in groupby(newest_first, key=lambda past: past.run_uid)]
    judged = [past for past in runs if past.outcome != RunOutcome.STOPPED]
    return [_end(past) for past in takewhile(lambda past: not _helped(past), judged)]


def _helped(past: PastChange) -> bool:
    """A run that was deleted before it said how it ended has not: else deleting runs would delete limits."""
    return past.outcome in _HELPED


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
