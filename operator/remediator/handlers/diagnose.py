"""
Carrying out the diagnostics of a Runbook: side by side, in waves, each through the account's eyes.

What they bring is redacted before anything sees it, expressions too: what a restart reads back
from the record must lead to the same decision.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from remediator.actions import registry
from remediator.actions.base import Reader, observe
from remediator.domain.actions import Output
from remediator.domain.expressions import UNKNOWN, Missing, Truth, Values
from remediator.domain.json import JSON, Object
from remediator.domain.objects import ObjectRef, Target
from remediator.domain.questions import Answered
from remediator.domain.redaction import redact, redact_json
from remediator.domain.runbooks import DIAGNOSTIC_TIMEOUT, MAX_ITEMS
from remediator.domain.runs import DiagnosticRecord, Run, rfc3339
from remediator.engine import questions
from remediator.engine.acceptance import AcceptedRunbook, CompiledStep
from remediator.engine.record import in_short
from remediator.handlers.outside import Outside

SIDE_BY_SIDE: Final = 8


@dataclass(slots=True)
class Diagnosis:
    """What the diagnostics brought: outputs for expressions, texts for people, one line each."""

    outputs: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    records: list[DiagnosticRecord] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(json.dumps(self.outputs))


class Diagnostician:
    """Reads what a Runbook asks for."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._places = asyncio.Semaphore(SIDE_BY_SIDE)

    async def diagnose(
        self, run: Run, book: AcceptedRunbook, values: Values, only: frozenset[str] | None = None
    ) -> Diagnosis:
        """
        Every diagnostic once, or those in `only`; none raises, an unread one says why it is not known.

        `values` holds what is known already; with `only`, a diagnostic sees the others as they were
        when the decision was made.
        """
        found = Diagnosis()
        for wave in book.waves:
            chosen = [step for step in wave if only is None or step.step.name in only]
            seen = values if only is not None else values.but(diagnosis=dict(found.outputs))
            brought = await asyncio.gather(*(self._one(run, step, seen) for step in chosen))
            for step, (output, text, record) in zip(chosen, brought, strict=True):
                found.outputs[step.step.name] = output
                found.records.append(record)
                if text:
                    found.texts[step.step.name] = text
        return found

    async def _one(self, run: Run, step: CompiledStep, values: Values) -> tuple[Any, str, DiagnosticRecord]:
        name, action = step.step.name, step.step.action
        if step.when is not None:
            truth, missing = step.when.truth(values)
            if truth is Truth.FALSE:
                return (
                    None,
                    "",
                    DiagnosticRecord(name=name, action=action, skipped=True, summary="its condition is False"),
                )
            if missing is not None:
                return (
                    UNKNOWN,
                    "",
                    DiagnosticRecord(name=name, action=action, known=False, summary=in_short(missing.message)),
                )
        if step.question is not None:
            return self._answered(run, step, values)
        if step.for_each is None:
            return await self.observed(run, step, values)
        items = step.for_each.evaluate(values)
        if isinstance(items, Missing) or not isinstance(items.value, list):
            why = items.message if isinstance(items, Missing) else "forEach did not yield a list"
            return UNKNOWN, "", DiagnosticRecord(name=name, action=action, known=False, summary=in_short(why))
        if len(items.value) > (step.step.max_items or MAX_ITEMS):
            why = f"forEach has {len(items.value)} elements, more than maxItems"
            return UNKNOWN, "", DiagnosticRecord(name=name, action=action, known=False, summary=why)
        brought = [await self.observed(run, step, values.but(item=item)) for item in items.value]
        known = all(record.known for _, _, record in brought)
        summary = (
            f"{len(brought)} read" if known else in_short("; ".join(r.summary for _, _, r in brought if not r.known))
        )
        texts = "\n".join(text for _, text, _ in brought if text)
        record = DiagnosticRecord(name=name, action=action, known=known, summary=summary)
        return [output for output, _, _ in brought], texts, record

    def _answered(self, run: Run, step: CompiledStep, values: Values) -> tuple[Any, str, DiagnosticRecord]:
        """What a person answered; a dry run asks nobody, and what nobody was asked is not known."""
        name, action = step.step.name, step.step.action
        record = questions.record_of(run, name)
        now = rfc3339(self._outside.clock.now())
        if record is None or not record.answer:
            why = in_short(f"would ask: {questions.wording(step, values)}")
            output = Answered(known=False, observed_at=now, error=why)
            return output.as_json(), "", DiagnosticRecord(name=name, action=action, known=False, summary=why)
        output = Answered(answer=record.answer, observed_at=now)
        summary = in_short(questions.outcome_of(record))
        return output.as_json(), "", DiagnosticRecord(name=name, action=action, summary=summary)

    async def observed(self, run: Run, step: CompiledStep, values: Values) -> tuple[Any, str, DiagnosticRecord]:
        name, action = step.step.name, step.step.action
        prepared = await self._prepared(run, step, values)
        if isinstance(prepared, str):
            summary = in_short(prepared)
            output: Any = Output(known=False, observed_at=rfc3339(self._outside.clock.now()), error=summary).as_json()
            return output, "", DiagnosticRecord(name=name, action=action, known=False, summary=summary)
        parameters, target = prepared
        reader = Reader(
            cluster=self._outside.acting_for(run),
            metrics=self._outside.metrics_for(run),
            web=self._outside.web_for(run),
            target=target,
            now=self._outside.clock.now(),
            namespace=target.ref.namespace or run.namespace,
        )
        async with self._places:
            reading = await observe(
                registry.diagnostic(action), parameters, reader, within=step.step.timeout or DIAGNOSTIC_TIMEOUT
            )
        output = redact_json(reading.output.as_json())
        record = DiagnosticRecord(
            name=name, action=action, known=reading.output.known, summary=summary_of(output, reading.notes)
        )
        return output, redact(reading.evidence), record

    async def _prepared(self, run: Run, step: CompiledStep, values: Values) -> tuple[Any, Target] | str:
        """The parameters and the target of one reading, or why they cannot be said."""
        rendered = step.parameters.evaluate(values)
        if isinstance(rendered, Missing):
            return rendered.message
        try:
            parameters = registry.parameters(step.step.action).model_validate(rendered.value)
        except ValidationError as error:
            return f"parameters: {error.errors()[0]['msg']}"
        if step.target is None:
            return parameters, run.target
        place = step.target.render(values, run.target.ref.namespace)
        if isinstance(place, Missing):
            return place.message
        objection = reaches_outside(run, place.ref, self._outside.namespace)
        return objection or (parameters, Target(place.ref, ""))


def reaches_outside(run: Run, ref: ObjectRef, operator_namespace: str) -> str:
    """Why a run of one namespace may not look at this object or change it; empty where it may."""
    if run.home == operator_namespace or ref.namespace == run.home:
        return ""
    return f"{ref} is outside namespace {run.home}, and a run of that namespace reaches nothing else"


def summary_of(output: JSON, notes: Iterable[str] = ()) -> str:
    """One line about an output, for the record: its plain values and the sizes of its lists."""
    if not isinstance(output, Mapping):
        return ""
    if not output.get("known"):
        return in_short(str(output.get("error", "not known")))
    parts = [*notes]
    for key, value in output.items():
        if key in ("known", "truncated", "observedAt", "error"):
            continue
        if isinstance(value, list):
            parts.append(f"{key} {len(value)}")
        elif isinstance(value, Mapping):
            plain = [f"{name} {one}" for name, one in value.items() if isinstance(one, int | float | str)]
            parts.append(f"{key} {{{', '.join(plain[:6])}}}" if plain else key)
        elif value not in ("", None):
            parts.append(f"{key} {value}")
    return in_short("; ".join(parts) + (" (cut)" if output.get("truncated") else ""))


def kept(diagnosis: Diagnosis) -> tuple[Object, Object]:
    """What stands in the record, and what in the evidence: UNKNOWN cannot be stored and is left out."""
    outputs: Object = {name: output for name, output in diagnosis.outputs.items() if output is not UNKNOWN}
    texts: Object = dict(diagnosis.texts)
    return outputs, texts
