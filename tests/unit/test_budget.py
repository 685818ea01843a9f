"""A record stays small whatever happens to a run, and keeps what undo, restart and limits go by."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from remediator.adapters.locks import lease_of
from remediator.domain.alerts import Alert
from remediator.domain.locks import LockState, PastChange
from remediator.domain.objects import ObjectRef
from remediator.domain.runs import (
    MAX_TIMELINE,
    AlertSet,
    Attempt,
    DebtKind,
    DebtRecord,
    DiagnosticRecord,
    Run,
    RunbookRunStatus,
    RunTarget,
    StepRecord,
    StepState,
    TimelineEntry,
)
from remediator.engine.alertsets import RECORDS_BYTES, opening
from remediator.engine.budget import STATUS_BYTES, has_room_for, size_of, within_budget
from remediator.engine.record import MESSAGE_BYTES, with_entry
from remediator.engine.report import reported
from remediator.testing import NOON

LONG = "ü" * 100_000
EMPTY = Run.parse(
    {
        "metadata": {"namespace": "shop", "name": "queue-1", "creationTimestamp": "2026-06-01T12:00:00Z"},
        "spec": {
            "runbookRef": {"name": "queue"},
            "target": {"kind": "Deployment", "namespace": "shop", "name": "checkout"},
            "requestedBy": "ada",
        },
    }
)


def change(n: int) -> dict[str, Any]:
    value = {"op": "replace", "path": "/spec/replicas", "value": n}
    return {"kind": "Patch", "summary": f"change {n}", "operations": [value], "before": [n - 1]}


def step(n: int, *, made: bool = False) -> StepRecord:
    return StepRecord(
        name=f"step{n}",
        action="setEnv",
        target=RunTarget(kind="Deployment", namespace="shop", name="checkout"),
        change=change(n),
        state=StepState.DONE if made else StepState.PLANNED,
        token=f"token-{n}" if made else "",
        started_at=NOON if made else None,
        diff="x" * 8_192,
        output={"text": "y" * 1_000} if made else None,
    )


def attempt(number: int, steps: int) -> Attempt:
    return Attempt(
        number=number,
        outputs={"pods": ["z" * 100] * 50},
        diagnosis=[DiagnosticRecord(name=f"d{n}", action="get", summary="s" * 1_000) for n in range(20)],
        steps=[step(number * 100 + n, made=n < 1) for n in range(steps)],
    )


def overgrown() -> Run:
    """Sixteen rounds of 64 steps with their diffs, a full story, a thousand alerts, and two debts."""
    alerts = [an_alert(n, summary="s" * 4_000, **{f"label{i}": "v" * 4_000 for i in range(20)}) for n in range(1_000)]
    kept, _ = opening(alerts, NOON)
    status = RunbookRunStatus(
        attempts=[attempt(number, 64) for number in range(1, 17)],
        alerts=kept,
        timeline=[TimelineEntry(at=NOON, what="known", message="m" * 1_000 + str(n)) for n in range(MAX_TIMELINE)],
        debts=[
            DebtRecord(token="token-100", step="step100", kind=DebtKind.TTL),
            DebtRecord(token="token-101", step="s", kind=DebtKind.UNDO),
        ],
    )
    return replace(EMPTY, status=status)


def an_alert(n: int, name: str = "QueueFull", *, summary: str = "", **labels: str) -> Alert:
    return Alert(
        fingerprint=f"{n:016x}",
        status="firing",
        labels={"alertname": name, "namespace": "shop", **labels},
        annotations={"summary": summary},
        starts_at=NOON + timedelta(seconds=n % 60),
        ends_at=None,
        generator_url="",
    )


def test_an_overgrown_record_fits_and_says_what_was_left_out() -> None:
    run = overgrown()
    assert size_of(run) > 10 * STATUS_BYTES

    kept = within_budget(run)

    assert size_of(kept) <= STATUS_BYTES
    assert kept.status.left_out[0] == "what the steps of earlier rounds would have changed"


def test_tokens_made_changes_debts_and_identities_are_never_left_out() -> None:
    run = overgrown()

    kept = within_budget(run)

    def made(one: Run) -> list[tuple[str, Any]]:
        return [(s.token, s.change) for a in one.status.attempts for s in a.steps if s.has_changed_something]

    assert made(kept) == made(run)
    assert kept.status.debts == run.status.debts
    assert kept.status.alerts is not None
    assert run.status.alerts is not None
    assert kept.status.alerts.identities == run.status.alerts.identities
    assert kept.status.alerts.count == 1_000


def test_the_round_that_goes_on_keeps_its_plan_and_its_diagnosis() -> None:
    run = overgrown()

    last, before = within_budget(run).status.attempts[-1], run.status.attempts[-1]

    assert [s.model_copy(update={"diff": ""}) for s in last.steps] == [
        s.model_copy(update={"diff": ""}) for s in before.steps
    ]
    assert last.outputs == before.outputs


def test_a_record_that_fits_is_left_alone() -> None:
    run = replace(EMPTY, status=RunbookRunStatus(attempts=[attempt(1, 2)]))

    assert within_budget(run) is run


def test_what_was_cut_once_is_not_cut_again() -> None:
    kept = within_budget(overgrown())

    assert within_budget(kept) is kept


def test_every_record_that_is_stored_was_brought_into_its_budget() -> None:
    assert size_of(reported(overgrown(), NOON)) <= STATUS_BYTES


def test_a_plan_that_the_record_could_not_hold_is_told_before_it_begins() -> None:
    run = replace(EMPTY, status=RunbookRunStatus(attempts=[Attempt(number=1)]))
    large = step(1).model_copy(update={"change": {**change(1), "before": ["x" * 30_000]}})

    assert has_room_for(run, [step(n) for n in range(20)])
    assert not has_room_for(run, [large])


def test_a_message_of_a_megabyte_is_cut_and_says_so() -> None:
    run = with_entry(EMPTY, NOON, "known", LONG)

    message = run.status.timeline[-1].message
    assert len(message.encode()) <= MESSAGE_BYTES
    assert message.endswith("bytes more)")


@pytest.mark.parametrize("count", [1, 10, 10_000])
def test_alerts_of_a_megabyte_are_kept_in_a_few_kilobytes_and_say_what_was_cut(count: int) -> None:
    labels = {f"label{i}": "v" * 4_000 for i in range(100)}
    alerts = [an_alert(n, f"Alert{n % 100}{'x' * 200}", summary="s" * 4_000, **labels) for n in range(count)]

    kept, beyond = opening(alerts, NOON)

    records = json.dumps([record.as_json() for record in kept.first])
    assert len(records.encode()) <= RECORDS_BYTES + 100
    assert "bytes more)" in records
    assert kept.count == count
    assert len(list(kept.names)) <= 64
    assert len(json.dumps(kept.as_json()).encode()) <= 48 * 1024
    assert (len(beyond.packed) > 0) is (count == 10_000)


def test_ordinary_alerts_are_kept_as_they_are() -> None:
    alerts = [an_alert(n, summary="the queue is full", pod=f"checkout-{n}") for n in range(10)]

    kept, _ = opening(alerts, NOON)

    assert [record.annotations["summary"] for record in kept.first] == ["the queue is full"] * 10
    assert [record.labels["pod"] for record in kept.first] == [f"checkout-{n}" for n in range(10)]


def test_an_alert_set_without_alerts_is_small() -> None:
    assert AlertSet().as_json() == {}


def test_the_ledger_of_a_lease_stays_small_however_long_the_names_are() -> None:
    state = LockState("target-1", target=ObjectRef("apps", "Deployment", "shop", "checkout"))
    for n in range(1_000):
        name = f"{n:04}{'n' * 249}"
        at = NOON + timedelta(seconds=n)
        state = state.noted(
            PastChange(runbook=name, remedy="r" * 40, run=name, run_uid="u" * 36, at=at, made=(at,) * 4)
        )

    lease = lease_of(state, "remediator-system")

    assert len(json.dumps(lease).encode()) <= 24 * 1024
