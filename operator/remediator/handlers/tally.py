"""
The runs of one definition in a few words each: how many there are, by how they ended, and the newest.

There may be thousands, so each is a tuple, and the counts are kept and not made when they are asked for.
"""

import heapq
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from sys import intern
from typing import Any, Final, NamedTuple

from remediator.domain.json import Object, dig, dig_list, dig_object, dig_text
from remediator.domain.runs import Run, RunOutcome, State
from remediator.domain.statuses import RecentRun, RunCounts
from remediator.engine.recurrence import BELIEVED

Name = tuple[str, str]

OPEN: Final = "open"
OWED: Final = ("", "Owed")
"""What a debt says that is not paid; the first of a record that does not say."""


class Brief(NamedTuple):
    """One run; the run itself holds the story."""

    place: Name
    target: str
    remedy: str
    state: State | None
    outcome: RunOutcome | None
    started_at: datetime
    ended_at: datetime | None

    @property
    def counts_as(self) -> str:
        """`open`, `succeeded` or `failed`."""
        if self.outcome is None:
            return OPEN
        return "succeeded" if self.outcome.is_success else "failed"

    @property
    def age(self) -> tuple[datetime, str]:
        return self.started_at, self.place[1]

    def as_recent(self) -> RecentRun:
        namespace, name = self.place
        told = {field: value for field, value in self._asdict().items() if field != "place"}
        return RecentRun(namespace=namespace, name=name, **told)


class Noted(NamedTuple):
    """What a run tells about its policy and its Runbook."""

    brief: Brief
    policy: Name | None
    runbook: Name
    last_alert_at: datetime | None


def noted(run: Run) -> Noted:
    """What this run tells."""
    policy, book = run.spec.policy_ref, run.spec.runbook_ref
    home = policy.namespace if policy is not None else run.namespace
    return Noted(
        Brief(
            place=(intern(run.namespace), run.name),
            target=f"{run.spec.target.kind}/{run.spec.target.name}",
            remedy=intern(run.status.remedy),
            state=run.status.state,
            outcome=run.status.outcome,
            started_at=run.status.started_at or run.created_at,
            ended_at=run.status.ended_at,
        ),
        (policy.namespace, policy.name) if policy is not None else None,
        (book.namespace or home, book.name),
        run.alerts.last_received,
    )


def noted_of_ended(obj: Object) -> Noted | None:
    """
    The same for a run that has ended and owes nothing, without reading all of it: most runs are such.

    None for every other, and for one that does not look as usual.
    """
    status = dig_object(obj, "status")
    if not dig_text(status, "outcome") or any(dig_text(d, "state") in OWED for d in dig_list(status, "debts")):
        return None
    if dig_text(status, "outcome") in BELIEVED and dig_text(status, "stillFiring") and not dig_text(status, "recurred"):
        return None
    namespace, policy = dig_text(obj, "metadata", "namespace"), dig_object(obj, "spec", "policyRef")
    home = dig_text(policy, "namespace") or namespace
    alerts = dig_object(status, "alerts") or dig_object(obj, "spec", "episode", "alerts")
    try:
        brief = Brief(
            place=(intern(namespace), dig_text(obj, "metadata", "name")),
            target=f"{dig_text(obj, 'spec', 'target', 'kind')}/{dig_text(obj, 'spec', 'target', 'name')}",
            remedy=intern(dig_text(status, "remedy")),
            state=State(dig_text(status, "state")),
            outcome=RunOutcome(dig_text(status, "outcome")),
            started_at=_time(dig_text(status, "startedAt") or dig(obj, "metadata", "creationTimestamp")),
            ended_at=_time(dig_text(status, "endedAt")),
        )
        heard = dig_text(alerts, "lastReceived")
        last_alert_at = _time(heard) if heard else None
    except ValueError:
        return None
    book = dig_object(obj, "spec", "runbookRef")
    return Noted(
        brief,
        (dig_text(policy, "namespace"), dig_text(policy, "name")) if policy else None,
        (dig_text(book, "namespace") or home, dig_text(book, "name")),
        last_alert_at,
    )


def _time(text: Any) -> datetime:
    moment = datetime.fromisoformat(str(text))
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


class Tally:
    """The runs of one definition."""

    def __init__(self) -> None:
        self._runs: dict[Name, Brief] = {}
        self._counts: Counter[str] = Counter()

    def note(self, run: Brief) -> bool:
        """The run as it was last seen; whether that is news."""
        before = self._runs.get(run.place)
        if before == run:
            return False
        if before is not None:
            self._counts[before.counts_as] -= 1
        self._runs[run.place] = run
        self._counts[run.counts_as] += 1
        return True

    def forget(self, name: Name) -> bool:
        """The run was deleted; whether it was one of these."""
        gone = self._runs.pop(name, None)
        if gone is None:
            return False
        self._counts[gone.counts_as] -= 1
        return True

    def clear(self) -> None:
        self._runs.clear()
        self._counts.clear()

    def counts(self) -> RunCounts:
        return RunCounts(open=self._counts[OPEN], succeeded=self._counts["succeeded"], failed=self._counts["failed"])

    def newest(self, count: int) -> list[RecentRun]:
        """The runs that began last, the latest first."""
        return [one.as_recent() for one in heapq.nlargest(count, self, key=lambda run: run.age)]

    def __iter__(self) -> Iterator[Brief]:
        return iter(self._runs.values())
