"""What expressions see: the record and the facts under the names that Runbooks use."""

from collections.abc import Mapping
from typing import Any

from remediator.domain.expressions import UNKNOWN, Values
from remediator.domain.json import JSON, Object, dig, dig_object
from remediator.domain.runs import AlertRecord, Run, StepRecord, StepState
from remediator.engine.facts import Facts, Seen


def values_of(run: Run, facts: Facts) -> Values:
    """Everything that expressions of this run may see at this look."""
    attempt = run.status.attempt
    resolved = run.status.resolved
    first = run.alerts.first
    return Values(
        alert=alert_json(first[0]) if first else None,
        alerts=[alert_json(alert) for alert in first],
        target=target_json(run, facts.target),
        namespaceObject=facts.namespace or UNKNOWN,
        params=dict(resolved.parameters) if resolved is not None else UNKNOWN,
        diagnosis=facts.diagnosis,
        latest=facts.latest,
        steps=steps_json(attempt.steps) if attempt is not None else {},
        run=run_json(run),
        now=facts.now,
    )


def alert_json(alert: AlertRecord) -> Object:
    """An alert as expressions see it."""
    found: Object = {
        "fingerprint": alert.fingerprint,
        "status": alert.status,
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": alert.starts_at.isoformat().replace("+00:00", "Z"),
        "generatorURL": alert.generator_url,
    }
    if alert.ends_at is not None:
        found["endsAt"] = alert.ends_at.isoformat().replace("+00:00", "Z")
    return found


def target_json(run: Run, seen: Seen) -> Any:
    """The run's target: its name is always known, its content only if it was read."""
    ref = run.target.ref
    known: dict[str, Any] = {"kind": ref.kind_text, "name": ref.name, "namespace": ref.namespace, "uid": run.target.uid}
    if seen.obj is None:
        absent = None if seen.gone else UNKNOWN
        return {**known, "labels": absent, "annotations": absent, "spec": absent, "status": absent}
    return {
        **known,
        "labels": dig_object(seen.obj, "metadata", "labels"),
        "annotations": dig_object(seen.obj, "metadata", "annotations"),
        "spec": dig(seen.obj, "spec"),
        "status": dig(seen.obj, "status"),
    }


def run_json(run: Run) -> Object:
    """What a run says of itself."""
    attempts, ending = run.status.attempts, run.status.ending
    tried: list[JSON] = [attempt.remedy for attempt in attempts if attempt.remedy]
    return {
        "remedy": attempts[-1].remedy if attempts else "",
        "reason": ending.reason if ending is not None else "",
        "tried": tried,
        "outcome": str(ending.outcome) if ending is not None else "",
    }


def steps_json(steps: list[StepRecord]) -> Mapping[str, Any]:
    """Every step that was reached: `ran` and `ok`, and its outputs if it ran."""
    found: dict[str, Any] = {}
    for step in steps:
        for name in step.names or [step.name]:
            ran = step.state not in (StepState.PLANNED, StepState.SKIPPED, StepState.REFUSED, StepState.VOIDED)
            before = found.get(name, {"ran": False, "ok": True})
            found[name] = {
                **(dict(step.output or {}) if ran else {}),
                "ran": bool(before["ran"]) or ran,
                "ok": bool(before["ok"]) and step.state is StepState.DONE and bool((step.output or {}).get("ok", True)),
            }
    return found
