"""Telling `kubectl describe` and `/metrics` what a run did, from what was put onto its record."""

from typing import Final

from remediator.domain.objects import POLICY, RUN, ObjectRef
from remediator.domain.redaction import redact
from remediator.domain.runs import Run, TimelineEntry
from remediator.handlers.outside import Outside

SAID_ON_THE_TARGET: Final = {
    "start": "RemedyStarted",
    "verified": "RemedyVerified",
    "disproved": "RemedyDisproved",
    "inconclusive": "RemedyInconclusive",
    "undo": "RemedyUndone",
    "hold": "RunHeld",
    "refused": "StepRefused",
}
WARNINGS: Final = frozenset({"disproved", "inconclusive", "undo", "refused"})


class Announcer:
    """Posts Kubernetes events; what cannot be posted is counted by the port and never holds a run back."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def progressed(self, before: Run, after: Run) -> None:
        """Say on the target what the record says since it was last stored."""
        for entry in fresh(before, after):
            reason = SAID_ON_THE_TARGET.get(entry.what)
            if reason is None:
                continue
            if entry.what == "hold":
                reason = entry.message.partition(":")[0] or reason
            message = redact(f"{entry.message} (run {after.full_name})")
            for ref, uid in self._subjects(after):
                await self._outside.events.record(
                    ref, uid, reason=reason, message=message, warning=entry.what in WARNINGS
                )

    async def ended(self, run: Run) -> None:
        """Say on the target and on the policy how the run ended."""
        ending = run.status.ending
        if ending is None:
            return
        message = redact(f"{ending.outcome}: {ending.message} (run {run.full_name})")
        for ref, uid in (*self._subjects(run), *self._policy(run)):
            await self._outside.events.record(
                ref, uid, reason=f"Run{ending.outcome}", message=message, warning=not ending.outcome.is_success
            )

    def _subjects(self, run: Run) -> tuple[tuple[ObjectRef, str], ...]:
        own = (ObjectRef(RUN.group, RUN.kind, run.namespace, run.name), run.uid)
        return (own, (run.target.ref, run.target.uid)) if run.target.uid else (own,)

    def _policy(self, run: Run) -> tuple[tuple[ObjectRef, str], ...]:
        ref = run.spec.policy_ref
        return ((ObjectRef(POLICY.group, POLICY.kind, ref.namespace, ref.name), ref.uid),) if ref is not None else ()


def fresh(before: Run, after: Run) -> tuple[TimelineEntry, ...]:
    """The lines of the story that the stored record did not have."""
    known = {(entry.at, entry.what, entry.message) for entry in before.status.timeline}
    return tuple(e for e in after.status.timeline if (e.at, e.what, e.message) not in known)
