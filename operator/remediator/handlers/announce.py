"""Telling `kubectl describe` and `/metrics` what a run did, from what was put onto its record."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from remediator.domain.objects import POLICY, RUN, ObjectRef
from remediator.domain.redaction import redact
from remediator.domain.runs import Run, StepRecord, TimelineEntry
from remediator.domain.verdicts import Reason
from remediator.handlers.metrics import RunMetrics
from remediator.handlers.outside import Outside

SAID_ON_THE_TARGET: Final = {
    "approved": "PlanApproved",
    "start": "RemedyStarted",
    "disproved": "RemedyDisproved",
    "inconclusive": "RemedyInconclusive",
    "undo": "RemedyUndone",
    "due": "ChangeTakenBack",
    "unpaid": "NotTakenBack",
    "recurred": "AlertRecurred",
}
WARNINGS: Final = frozenset({"disproved", "inconclusive", "undo", "unpaid", "recurred"})
REASONS: Final = frozenset(str(reason) for reason in Reason)

GOOD_NEWS: Final = frozenset({str(Reason.STALE_ALERT)})
"""A change that is not made because the alert is over worries nobody."""


@dataclass(frozen=True, slots=True)
class Objection:
    """What stands against a run, in the words of the record; `is_final` where it will not go away by itself."""

    reason: str
    message: str
    is_final: bool


class Announcer:
    """Posts Kubernetes events; what cannot be posted is counted by the port and never holds a run back."""

    def __init__(self, outside: Outside, metrics: RunMetrics | None = None) -> None:
        self._outside = outside
        self._metrics = metrics

    async def progressed(self, before: Run, after: Run) -> None:
        """Say on the target what the record says since it was last stored; a good end says the start as well."""
        outcome = after.status.outcome
        ends_well = outcome is not None and outcome.is_success
        for entry in fresh(before, after):
            reason = SAID_ON_THE_TARGET.get(entry.what)
            if reason is None or (entry.what == "start" and ends_well):
                continue
            await self._say(after, reason, entry.message, warning=entry.what in WARNINGS)
        for one in objections(before, after):
            if self._metrics is not None:
                self._metrics.objected(one.reason, is_final=one.is_final)
            if one.reason == Reason.STORM:
                continue  # one event for the storm itself, and not one for each of the runs that it holds
            await self._say(after, one.reason, one.message, warning=one.is_final and one.reason not in GOOD_NEWS)

    async def ended(self, run: Run) -> None:
        """Say on the target how the run ended, and on the policy if it did not end well."""
        ending = run.status.ending
        if ending is None:
            return
        if self._metrics is not None:
            self._metrics.ended.labels(outcome=str(ending.outcome)).inc()
        message = redact(f"{ending.outcome}: {ending.message} (run {run.full_name})")
        told = (self._subject(run), *(self._policy(run) if not ending.outcome.is_success else ()))
        for ref, uid in told:
            await self._outside.events.record(
                ref, uid, reason=f"Run{ending.outcome}", message=message, warning=not ending.outcome.is_success
            )

    async def _say(self, run: Run, reason: str, message: str, *, warning: bool) -> None:
        told = redact(f"{message} (run {run.full_name})")
        ref, uid = self._subject(run)
        await self._outside.events.record(ref, uid, reason=reason, message=told, warning=warning)

    def _subject(self, run: Run) -> tuple[ObjectRef, str]:
        """The target, where people look who know nothing of runs; the run itself only where there is no target."""
        if run.target.uid:
            return run.target.ref, run.target.uid
        return ObjectRef(RUN.group, RUN.kind, run.namespace, run.name), run.uid

    def _policy(self, run: Run) -> tuple[tuple[ObjectRef, str], ...]:
        ref = run.spec.policy_ref
        return ((ObjectRef(POLICY.group, POLICY.kind, ref.namespace, ref.name), ref.uid),) if ref is not None else ()


def fresh(before: Run, after: Run) -> tuple[TimelineEntry, ...]:
    """The lines of the story that the stored record did not have."""
    known = {(entry.at, entry.what, entry.message) for entry in before.status.timeline}
    return tuple(e for e in after.status.timeline if (e.at, e.what, e.message) not in known)


def objections(before: Run, after: Run) -> tuple[Objection, ...]:
    """
    What the guards have newly said against the run: the same reason for the event and for the metric.

    A run that goes on standing still for one reason is told once.
    """
    known = set(_refusals(before))
    fresh_ones = [one for one in _refusals(after) if one not in known]
    held = after.status.held
    if held is not None and (before.status.held is None or before.status.held.reason != held.reason):
        fresh_ones.append(Objection(held.reason, held.message, is_final=False))
    return tuple(fresh_ones)


def _refusals(run: Run) -> Iterator[Objection]:
    """Every refusal on the record: of steps, and of a remedy that could not even be planned."""
    steps: list[StepRecord] = [s for attempt in run.status.attempts for s in (*attempt.steps, *attempt.undo)]
    refused = [step for step in steps if step.state.is_over and step.reason in REASONS]
    yield from (Objection(step.reason, f"{step.label}: {step.message}", is_final=True) for step in refused)
    ending = run.status.ending
    if ending is None or ending.outcome.is_success:
        return
    if ending.reason in REASONS - {step.reason for step in refused}:
        yield Objection(ending.reason, ending.message, is_final=True)
