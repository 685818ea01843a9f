"""What a run owes, as people read it: what will be put back, where, when, and why."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from remediator.cli.story import changed_values
from remediator.cli.text import Cell, Row, Section, Tone, age, clock_time, row
from remediator.domain.json import Object
from remediator.domain.runs import DebtKind, DebtRecord, Run, StepRecord, rfc3339
from remediator.engine.debts import patch_of, step_of, taken_back

TONES: Final = {"Owed": Tone.OPEN, "Paid": Tone.GOOD, "GivenUp": Tone.BAD}


def debts_of(run: Run, now: datetime) -> list[Section]:
    """The section of a run's story; none where it never owed anything."""
    rows = tuple(
        one
        for debt in run.status.debts
        for one in (
            row(Cell(debt.state, TONES[debt.state]), debt.step, _when(debt, now)),
            *([row(debt.message, depth=2)] if debt.message else []),
        )
    )
    return [Section("Debts", rows)] if rows else []


def owed_by(run: Run, now: datetime) -> Section:
    """What the run still owes, with the values that will be put back."""
    rows: list[Row] = []
    for debt, back in _owed(run):
        target = str(back.target.ref) if back.target is not None else ""
        rows.append(row(Cell(debt.step, Tone.OPEN), target, _when(debt, now)))
        rows += [row(line, depth=2) for line in changed_values(back)]
        rows += [row(debt.message, depth=2)] if debt.message else []
    return Section(f"{run.name} in namespace {run.namespace}", tuple(rows), str(run.status.outcome or "open"))


def documents(run: Run) -> Iterator[Object]:
    """The same for other programs."""
    for debt, back in _owed(run):
        yield {
            "namespace": run.namespace,
            "run": run.name,
            "step": debt.step,
            "kind": str(debt.kind),
            "due": rfc3339(debt.due) if debt.due is not None else None,
            "target": {"kind": back.target.kind, "namespace": back.target.namespace, "name": back.target.name}
            if back.target is not None
            else None,
            "restores": [*changed_values(back, whole=True)],
            "message": debt.message,
        }


def is_owing(run: Run) -> bool:
    """Whether anything of it must still be taken back."""
    return next(_owed(run), None) is not None


def _owed(run: Run) -> Iterator[tuple[DebtRecord, StepRecord]]:
    """Each debt whose change was made, with the step that takes it back."""
    for debt in run.status.debts:
        step = step_of(run, debt) if debt.state == "Owed" else None
        patch = patch_of(step) if step is not None else None
        if step is not None and patch is not None:
            yield debt, taken_back(step, patch)


def _when(debt: DebtRecord, now: datetime) -> str:
    if debt.state != "Owed":
        return f"{clock_time(debt.settled_at)}"
    until = ""
    if debt.due is not None:
        until = f"in {age(debt.due - now)}, at {clock_time(debt.due)}" if debt.due > now else "now"
    if debt.kind is not DebtKind.RESOLVED:
        return until or "when its change is made"
    return "when the alerts are resolved" + (f"; at the latest {until}" if until else "")
