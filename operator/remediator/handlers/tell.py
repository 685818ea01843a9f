"""Messages: rendered at the moment they are sent, with `?` for what is missing."""

from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from remediator.actions import registry
from remediator.domain.expressions import Values
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.outcomes import Failed, Outcome, Succeeded
from remediator.domain.policies import Mode
from remediator.domain.redaction import redact, redact_json
from remediator.domain.runs import Run
from remediator.engine.acceptance import CompiledStep
from remediator.engine.closing import DEFAULT_RECEIVER
from remediator.handlers.outside import Outside

PATIENCE: Final = timedelta(minutes=10)
"""How long the end of a run waits for a receiver that does not answer; then a Warning event stands for it."""


async def send(outside: Outside, run: Run, compiled: CompiledStep, values: Values, key: str) -> Outcome:
    """
    The message of a step, sent at least once under `key`.

    In a dry run it is shown and not sent. What cannot be told leaves a Warning event, because
    somebody had to be told.
    """
    step = compiled.step
    rendered: Any = redact_json(compiled.parameters.text(values))
    try:
        parameters = registry.parameters(step.action).model_validate(rendered)
    except ValidationError as error:
        return await not_sent(outside, run, f"{step.name}: {error.errors()[0]['msg']}")
    resolved = run.status.resolved
    if resolved is not None and resolved.mode is Mode.DRY_RUN:
        return Succeeded(f"shown, not sent: {step.action} {rendered}")
    return await _say(outside, run, step.action, parameters, key)


async def send_default(outside: Outside, run: Run, key: str) -> Outcome:
    """
    The message of an end without a cure where the Runbook names nobody.

    It goes to the receiver `default`; without that receiver a Warning event stands for it.
    """
    resolved = run.status.resolved
    if resolved is not None and resolved.mode is Mode.DRY_RUN:
        return Succeeded(f"shown, not sent: {body_of(run)}")
    parameters = registry.parameters("escalate").model_validate({"to": DEFAULT_RECEIVER})
    return await _say(outside, run, "escalate", parameters, key)


async def default_receiver(outside: Outside, run: Run, what: str, message: str, key: str) -> Outcome:
    """
    What came of a run after its end, told to the receiver `default`; `what` begins the subject.

    Without that receiver a Warning event stands for it.
    """
    body = f"{message}\nkubectl remediate show {run.name} -n {run.namespace}"
    parameters = registry.parameters("escalate").model_validate({"to": DEFAULT_RECEIVER})
    outcome = await registry.message("escalate").tell(
        parameters,
        outside.notifier,
        namespace=run.namespace,
        key=key,
        subject=redact(f"[{what}] {run.spec.target.ref}"),
        body=redact(body),
    )
    return outcome if not isinstance(outcome, Failed) else await not_sent(outside, run, outcome.message)


async def _say(outside: Outside, run: Run, action: str, parameters: Any, key: str) -> Outcome:
    outcome = await registry.message(action).tell(
        parameters, outside.notifier, namespace=run.namespace, key=key, subject=subject_of(run), body=body_of(run)
    )
    return outcome if not isinstance(outcome, Failed) else await not_sent(outside, run, outcome.message)


def is_out_of_patience(run: Run, now: datetime) -> bool:
    """Whether the end has waited long enough for its messages."""
    held = run.status.held
    return held is not None and held.reason == "NotSent" and now - held.since > PATIENCE


async def not_sent(outside: Outside, run: Run, why: str) -> Outcome:
    """The message given up; a Warning event stands for it."""
    message = f"{sentence(run)}; nobody was told: {why}"
    await outside.events.record(run_ref(run), run.uid, reason="NotSent", message=redact(message), warning=True)
    return Failed(why)


def run_ref(run: Run) -> ObjectRef:
    """The run as Kubernetes events refer to it."""
    return ObjectRef(RUN.group, RUN.kind, run.namespace, run.name)


def subject_of(run: Run) -> str:
    """One line: what it is about, and how it stands."""
    ending = run.status.ending
    state = str(ending.outcome) if ending is not None else "open"
    names = ", ".join(sorted(run.alerts.names)) or "run by hand"
    return redact(f"[{state}] {names}: {run.spec.target.ref}")


def body_of(run: Run) -> str:
    """What happened, in a few lines, and how to see the rest."""
    attempt = run.status.attempt
    lines = [sentence(run)]
    if attempt is not None and attempt.remedy:
        lines.append(f"remedy: {attempt.remedy}")
    lines += [f"{entry.at:%H:%M:%SZ} {entry.what}: {entry.message}" for entry in run.status.timeline[-12:]]
    lines.append(f"kubectl remediate show {run.name} -n {run.namespace}")
    return redact("\n".join(lines))


def sentence(run: Run) -> str:
    """How it ended and why, in one sentence."""
    ending = run.status.ending
    return f"{ending.outcome}: {ending.message}" if ending is not None else str(run.spec.target.ref)
