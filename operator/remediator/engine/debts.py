"""
Debts: changes that must still be taken back.

A debt is recorded with the intent of its change, so that nothing limited is ever changed without it,
and with the first step of an undo. It outlives the run's end: a run that owes is looked at again when
the debt is due, and pays by the same machine that carries changes out. Cooldowns, budgets and freezes
do not hold a payment back; what would overwrite somebody else's value is given up, and people are told.

Nothing here looks at the world.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from remediator.domain.changes import Patch, change_as_json, change_from_json
from remediator.domain.durations import human
from remediator.domain.replies import ReplyType
from remediator.domain.runs import Attempt, DebtKind, DebtRecord, Run, StepRecord, StepState, rfc3339
from remediator.domain.verdicts import Reason
from remediator.engine.facts import Owing
from remediator.engine.record import in_short, with_attempt, with_entry, with_status

STACKED_AGAIN: Final = timedelta(minutes=1)
STACKED_UNTIL_RESOLVED: Final = timedelta(minutes=5)
"""How long a payment waits for the payment of a later run, where that is due already, or nobody knows when it is."""

MAX_DEBTS: Final = 64  # as many as a status holds

INTERRUPTIONS: Final = (Reason.STOPPED, Reason.SUSPENDED)
"""Why a payment that was begun is given up without anything standing against it."""


# --- what is owed -----------------------------------------------------------------------------------


def recorded(run: Run, step: StepRecord, now: datetime) -> Run:
    """The run owing what the step, which has its token, will change for a limited time."""
    if not limit_of(step):
        return run
    due = now + step.ttl if step.ttl is not None else None
    kind = DebtKind.RESOLVED if step.revert_on_resolve else DebtKind.TTL
    debt = DebtRecord(token=step.token, step=step.label, kind=kind, due=due)
    run = with_debts(run, [*(one for one in run.status.debts if one.token != step.token), debt])
    return with_entry(run, now, "owe", f"{step.label} {limit_of(step)}")


def limit_of(step: StepRecord) -> str:
    """How long the step's change stays, for people; empty where that is not limited."""
    if step.ttl is None and not step.revert_on_resolve:
        return ""
    longest = human(step.ttl) if step.ttl is not None else ""
    if not step.revert_on_resolve:
        return f"stays for {longest}"
    return "stays until the alerts are resolved" + (f", for {longest} at most" if longest else "")


def counting_from(run: Run, step: StepRecord, now: datetime) -> Run:
    """The run whose limited change has just been made: its time counts from here."""
    if step.ttl is None:
        return run
    return with_debt(run, step.token, due=now + step.ttl)


def of_undo(run: Run, undo: Sequence[StepRecord], now: datetime) -> Run:
    """The run owing every step of an undo that begins: whatever ends the run, it is not dropped."""
    known = {debt.token for debt in run.status.debts}
    fresh = [
        DebtRecord(token=step.undo_of, step=step.label, kind=DebtKind.UNDO, due=now)
        for step in undo
        if step.undo_of not in known
    ]
    return with_debts(run, [*run.status.debts, *fresh])


def with_debts(run: Run, debts: Iterable[DebtRecord]) -> Run:
    """The run with these debts; of very many, what is settled is forgotten first."""
    kept = list(debts)
    while len(kept) > MAX_DEBTS and any(debt.state != "Owed" for debt in kept):
        kept.remove(next(debt for debt in kept if debt.state != "Owed"))
    return with_status(run, debts=kept)


def taken_back(step: StepRecord, change: Patch) -> StepRecord:
    """The step that takes back what this one has changed, planned."""
    return StepRecord(
        name=step.name,
        names=step.names,
        item=step.item,
        action=step.action,
        joined_actions=step.joined_actions,
        target=step.target,
        change=change_as_json(change.reversed),
        undo_of=step.token,
    )


def step_of(run: Run, debt: DebtRecord) -> StepRecord | None:
    """The step whose change is owed, if that change was made or may have been."""
    for attempt in run.status.attempts:
        for step in attempt.steps:
            if step.token == debt.token and debt.token:
                return step if step.has_changed_something else None
    return None


def patch_of(step: StepRecord) -> Patch | None:
    """What the step has changed, if it can be taken back."""
    change = change_from_json(step.change) if step.change is not None else None
    return change if isinstance(change, Patch) and change.undoable else None


def of_round(run: Run, attempt: Attempt) -> list[tuple[int, StepRecord]]:
    """The steps that take the round back because it did not help; what a debt takes back is not among them."""
    begun = {debt.token for debt in run.status.debts if debt.begun_at is not None}
    return [(index, step) for index, step in enumerate(attempt.undo) if step.undo_of not in begun]


def is_settled(run: Run, token: str) -> bool:
    """Whether the change was taken back before its round was, or could not be."""
    return any(debt.token == token and (debt.state != "Owed" or debt.begun_at) for debt in run.status.debts)


def owing(run: Run) -> tuple[Owing, ...]:
    """The changes that the run will take back, as other runs must know them; the newest first."""
    found = []
    for debt in reversed(owed(run)):
        step = step_of(run, debt)
        patch = patch_of(step) if step is not None else None
        if patch is not None:
            found.append(Owing(run.full_name, patch, debt.due))
    return tuple(found)


# --- what people ask for ------------------------------------------------------------------------------


def objection_to_undo(run: Run) -> str:
    """Why nothing of a run that has ended is taken back because somebody asks; empty where something is."""
    if any(debt.begun_at is not None for debt in owed(run)):
        return "it was being taken back already"
    if _kept(run):
        return ""
    back = any(step.state is StepState.DONE for attempt in run.status.attempts for step in attempt.undo)
    return "it was taken back already" if back else "nothing of it can be taken back"


def asked_for(run: Run, now: datetime) -> Run:
    """The run that has ended owing, at once, everything of all its rounds that can still be taken back."""
    known = {debt.token for debt in run.status.debts}
    steps = _kept(run)
    for step in steps:
        if step.token in known:
            run = with_debt(run, step.token, state="Owed", due=now, begun_at=None, settled_at=None, message="")
    fresh = [
        DebtRecord(token=step.token, step=step.label, kind=DebtKind.UNDO, due=now)
        for step in steps
        if step.token not in known
    ]
    return with_debts(run, [*run.status.debts, *fresh])


def _kept(run: Run) -> list[StepRecord]:
    """The steps whose changes were made, can be taken back, and were not; as many as the record has room for."""
    rounds = run.status.attempts
    back = {step.undo_of for one in rounds for step in one.undo if step.state is StepState.DONE}
    back |= {debt.token for debt in run.status.debts if debt.state == "Paid"}
    changed = [step for one in rounds for step in one.steps if step.has_changed_something and step.token not in back]
    room = MAX_DEBTS - len(rounds[-1].undo) if rounds else 0
    return [step for step in changed if patch_of(step) is not None][-room:] if room > 0 else []


def _unheard_of(run: Run, now: datetime) -> Run:
    """The run whose last word to take it back has come to nothing, because somebody else has changed it since."""
    asked = run.status.taken(ReplyType.UNDO)
    paid = any(debt.settled_at is not None and asked is not None and debt.settled_at >= asked.at for debt in _paid(run))
    if asked is None or not run.is_ended or paid:
        return run
    why = "somebody else has changed it since"
    replies = [
        one.model_copy(update={"taken": False, "reason": why}) if one.uid == asked.uid else one
        for one in run.status.replies
    ]
    return with_entry(with_status(run, replies=replies), now, "ignore", f"{asked.type} by {asked.user}: {why}")


def _paid(run: Run) -> list[DebtRecord]:
    return [debt for debt in run.status.debts if debt.state == "Paid"]


def owed(run: Run) -> list[DebtRecord]:
    """The debts whose changes were made, or may have been; the oldest first."""
    return [debt for debt in run.status.debts if debt.state == "Owed" and step_of(run, debt) is not None]


def in_payment(run: Run) -> int | None:
    """The index of the undo's step by which a debt is being paid; None while none is."""
    attempt = run.status.attempt
    if attempt is None:
        return None
    begun = {debt.token: debt.begun_at is not None for debt in owed(run)}
    places = [
        index
        for index, step in enumerate(attempt.undo)
        if begun.get(step.undo_of) or (step.undo_of in begun and run.is_ended and not step.state.is_over)
    ]
    return places[-1] if places else None


def debt_of(run: Run, step: StepRecord) -> DebtRecord:
    """The debt that the step pays."""
    return next(debt for debt in run.status.debts if debt.token == step.undo_of)


# --- payment ----------------------------------------------------------------------------------------


def paying(run: Run, debt: DebtRecord, why: str, now: datetime) -> Run:
    """The run with the payment planned, as the last of what its round takes back."""
    step, attempt = step_of(run, debt), run.status.attempt
    patch = patch_of(step) if step is not None else None
    assert step is not None and attempt is not None, "what is owed was changed in a round"
    if patch is None:
        return settled(run, debt, "Paid", "nothing of it can be taken back", now)
    run = with_attempt(run, undo=[*attempt.undo, taken_back(step, patch)])
    run = with_debt(run, debt.token, begun_at=debt.begun_at or now)
    return with_entry(run, now, "due", f"{step.label}: {why}")


def put_off(run: Run, step: StepRecord, above: Sequence[Owing], now: datetime) -> Run:
    """The run whose payment waits for those of later runs: it is planned anew when they are due."""
    attempt, debt = run.status.attempt, debt_of(run, step)
    assert attempt is not None, "a payment belongs to a round"
    dates = [other.due for other in above]
    known = [date for date in dates if date is not None]
    until = max([*known, now + STACKED_AGAIN])
    if len(known) < len(dates):
        until = max(until, now + STACKED_UNTIL_RESOLVED)
    message = f"waits for {', '.join(dict.fromkeys(other.run for other in above))}, which changed it since"
    run = with_attempt(run, undo=[one for one in attempt.undo if one is not step])
    run = with_debt(run, debt.token, due=until, begun_at=None, message=message)
    return with_entry(run, now, "stacked", f"{step.label}: {message}")


def after_payment(run: Run, step: StepRecord, now: datetime) -> Run | str:
    """
    The run with the debt paid; or why it cannot be, in a sentence: then people have to be told first.

    An object that is gone owes nothing any more. What was stopped in between is begun anew.
    """
    debt = debt_of(run, step)
    if step.state is StepState.VOIDED and step.reason in INTERRUPTIONS:
        return with_debt(run, debt.token, begun_at=None)
    if step.state is StepState.DONE:
        return settled(run, debt, "Paid", step.message, now)
    if step.reason == Reason.TARGET_GONE:
        return settled(run, debt, "Paid", f"{step.message}: nothing is left to take back", now)
    return f"{step.reason or step.state}: {step.label} could not be taken back: {step.message}"


def given_up(run: Run, token: str, message: str, now: datetime) -> Run:
    """The run whose debt is left to people, who were told."""
    debt = next(one for one in run.status.debts if one.token == token)
    run = settled(run, debt, "GivenUp", message, now)
    return _unheard_of(run, now) if message.startswith(str(Reason.UNDO_CONFLICT)) else run


def settled(run: Run, debt: DebtRecord, state: str, message: str, now: datetime) -> Run:
    """The run with one debt less; a run that has ended holds no lock for it any longer."""
    run = with_debt(run, debt.token, state=state, settled_at=now, message=in_short(message))
    if run.is_ended:
        run = with_status(run, locks=[], held=None)
    return with_entry(run, now, "paid" if state == "Paid" else "unpaid", message)


def after_undo(run: Run, now: datetime) -> Run:
    """The run whose round was taken back: what it owed for that is settled, whichever way it went."""
    attempt = run.status.attempt
    for _, step in of_round(run, attempt) if attempt is not None else ():
        debt = next((one for one in owed(run) if one.token == step.undo_of), None)
        if debt is not None and step.state.is_over and step.reason not in INTERRUPTIONS:
            is_paid = step.state is StepState.DONE or step.reason == Reason.TARGET_GONE
            state = "Paid" if is_paid else "GivenUp"
            run = with_debt(run, debt.token, state=state, settled_at=now, message=step.message)
    return run


def at_the_end(run: Run, now: datetime) -> Run:
    """The run at its end, owing only for changes that were made; its locks are free until it pays."""
    kept = [debt for debt in run.status.debts if debt.state != "Owed" or step_of(run, debt) is not None]
    run = after_undo(with_debts(run, kept), now)
    ending = run.status.ending
    if ending is not None and ending.reason == Reason.STOPPED:
        run = _stopped(run, now, ending.message)
    return with_status(run, locks=[]) if run.owes else run


def _stopped(run: Run, now: datetime, why: str) -> Run:
    """The run that a person has stopped in the middle of an undo: what is not yet taken back, stays."""
    attempt = run.status.attempt
    going = {step.undo_of for step in (attempt.undo if attempt is not None else ()) if step.state is StepState.STARTED}
    for debt in owed(run):
        if debt.kind is DebtKind.UNDO and debt.token not in going:
            run = with_debt(run, debt.token, state="GivenUp", settled_at=now, message=why)
    return run


def told(debt: DebtRecord) -> str:
    """When the debt is paid, for people."""
    if debt.kind is DebtKind.RESOLVED:
        return "when the alerts are resolved" + (f", at {rfc3339(debt.due)} at the latest" if debt.due else "")
    return f"at {rfc3339(debt.due)}" if debt.due is not None else "when its change is made"


def with_debt(run: Run, token: str, **changes: object) -> Run:
    """The run with these fields of one debt replaced."""
    return with_debts(
        run, [debt.model_copy(update=changes) if debt.token == token else debt for debt in run.status.debts]
    )
