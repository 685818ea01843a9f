"""
Which ended runs are deleted, and which give up what their diagnosis captured.

KEEPNEW: the newest run of a policy and target stays, because it answers the alerts that are sent again
and its number is the one that the next run counts from. It goes when its target is gone and its alerts
were silent for long; what `folding` says is done before any other goes.

Nothing here reads or writes. Who deletes looks at the run again first, and deletes what he has looked at.
"""

import enum
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from sys import intern
from typing import Final

from remediator.domain.json import Object, dig_int, dig_list, dig_object, dig_text
from remediator.domain.policies import History
from remediator.domain.runs import QuestionRecord, Run, RunOutcome, StepState
from remediator.engine.begin import Key, key_of
from remediator.engine.folding import is_silent
from remediator.engine.recurrence import has_to_be_told

RESTS: Final = timedelta(hours=1)
"""So long nothing becomes of a run after its end: its messages go out and its locks are given back meanwhile."""


class Why(enum.StrEnum):
    """Why a run is deleted; the value is the metric's `reason` label."""

    COUNT = "Count"
    """Its policy keeps fewer."""
    AGE = "Age"
    """Its policy keeps runs for a shorter time."""
    TOTAL = "Total"
    """More runs are stored than the operator's setting `max_runs` allows."""
    FORGOTTEN = "Forgotten"
    """It was the newest of its target, which is gone, and its alerts were silent for long."""


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run as far as retention goes by it; an open one too, because it may be the newest of its target."""

    namespace: str
    name: str
    uid: str
    key: Key | None
    """None for a run by hand, which answers no alert."""
    number: int
    ended_at: datetime | None
    is_success: bool
    heard_at: datetime
    """When any alert that it answers was last sent, as far as that is recorded; not before its end."""
    has_evidence: bool
    content: str
    """The frozen Runbook that it names."""

    @property
    def place(self) -> tuple[str, str]:
        return self.namespace, self.name

    @property
    def group(self) -> tuple[str, str]:
        """Whose `history` it counts for: a policy's, or, of a run by hand, its namespace's."""
        return (self.key.policy_namespace, self.key.policy_name) if self.key is not None else (self.namespace, "")

    def has_rested(self, now: datetime) -> bool:
        """Whether it ended long enough ago to be looked at here."""
        return self.ended_at is not None and now - self.ended_at >= RESTS


@dataclass(frozen=True, slots=True)
class Surplus:
    """A run that goes."""

    run: PastRun
    why: Why


def past_run(obj: Object) -> PastRun:
    """
    What retention reads of a run.

    It is read field by field: a run that this version cannot read as a whole still is the newest of its
    target, and names the Runbook that it was made from.
    """
    policy, number = dig_object(obj, "spec", "policyRef"), dig_int(obj, "spec", "episode", "number")
    target = [dig_text(obj, "spec", "target", part) for part in ("kind", "namespace", "name")]
    key = key_of(dig_text(policy, "namespace"), dig_text(policy, "name"), *target) if policy and number else None
    outcome, ended_at = dig_text(obj, "status", "outcome"), _time(dig_text(obj, "status", "endedAt"))
    created_at = _time(dig_text(obj, "metadata", "creationTimestamp")) or _NEVER
    heard = (
        dig_text(obj, "status", "alerts", "lastReceived"),
        dig_text(obj, "status", "stillFiring"),
        *(dig_text(one, "heardAt") for one in dig_list(obj, "status", "covered")),
    )
    rounds = dig_list(obj, "status", "attempts")
    return PastRun(
        namespace=intern(dig_text(obj, "metadata", "namespace")),
        name=dig_text(obj, "metadata", "name"),
        uid=dig_text(obj, "metadata", "uid"),
        key=key,
        number=number,
        ended_at=(ended_at or created_at) if outcome else None,
        is_success=outcome in _SUCCESSES,
        heard_at=max(created_at, *(moment for text in heard if (moment := _time(text))), ended_at or _NEVER),
        has_evidence=not dig_text(obj, "status", "evidenceExpired")
        and any(dig_text(one, "evidence") for one in rounds),
        content=intern(dig_text(obj, "status", "resolved", "runbook", "content")),
    )


def surplus(runs: Collection[PastRun], history: History, now: datetime) -> tuple[Surplus, ...]:
    """Of the runs of one policy those that go, the oldest first; never the newest of a target."""
    newest = _newest(runs)
    older = (run for run in runs if not _is_newest(run, newest))
    return tuple(Surplus(run, why) for run, why in _beyond(older, history, now))


def over_limit(runs: Collection[PastRun], most: int, stay: Collection[str], now: datetime) -> tuple[Surplus, ...]:
    """
    Of all runs those that go because more than `most` have ended, the oldest first; 0 allows any number.

    The newest of each target stays here too, and so do those whose UIDs are among `stay`.
    """
    ended = [run for run in runs if run.ended_at is not None]
    excess = len(ended) - most
    if most == 0 or excess <= 0:
        return ()
    newest = _newest(runs)
    free = [run for run in ended if run.has_rested(now) and run.uid not in stay and not _is_newest(run, newest)]
    return tuple(Surplus(run, Why.TOTAL) for run in sorted(free, key=_age)[:excess])


def silent_for_long(runs: Collection[PastRun], silence: timedelta | None, now: datetime) -> tuple[PastRun, ...]:
    """
    Of one policy's runs the newest of their targets that may go as soon as their target is gone.

    Its older ones go first. Without `silence` no alert is known to be silent.
    """
    of_key = Counter(run.key for run in runs)
    newest = _newest(runs).values()
    return tuple(
        run for run in newest if run.has_rested(now) and of_key[run.key] == 1 and is_silent(run.heard_at, silence, now)
    )


def idle_evidence(runs: Collection[PastRun], history: History, now: datetime) -> tuple[PastRun, ...]:
    """
    Runs that are kept for the alerts that they answer alone, and still have what their diagnosis captured.

    They would be surplus by age, or by count among their like, were they not the newest of their targets.
    """
    newest = [run for run in _newest(runs).values() if run.has_rested(now)]
    return tuple(run for run, _ in _beyond(newest, history, now) if run.has_evidence)


def needs(run: Run, now: datetime) -> str:
    """Why the run has to stay, in a few words; empty if it may go."""
    if not run.is_ended:
        return "it is open"
    if run.owes:
        return "it has to take a change back"
    if has_to_be_told(run):
        return "nobody was told yet that its alert is sent on"
    if any(
        step.state is StepState.INTENDED
        for attempt in run.status.attempts
        for step in (*attempt.steps, *attempt.undo)
        if step.change is not None
    ):
        return "what became of a change is not known"
    if any(one.answered_at is None and one.deadline > now for one in _questions(run)):
        return "somebody is asked"
    return ""


def _questions(run: Run) -> Iterator[QuestionRecord]:
    return (question for attempt in run.status.attempts for question in attempt.questions)


def _beyond(runs: Iterable[PastRun], history: History, now: datetime) -> list[tuple[PastRun, Why]]:
    """Those that are too many or too old, the oldest first."""
    most = {True: history.succeeded, False: history.failed}
    kept: Counter[bool] = Counter()
    found = []
    for run in sorted((run for run in runs if run.has_rested(now)), key=_age, reverse=True):
        assert run.ended_at is not None, "it has rested since its end"
        if history.keep_for and now - run.ended_at > history.keep_for:
            found.append((run, Why.AGE))
        elif kept[run.is_success] >= most[run.is_success]:
            found.append((run, Why.COUNT))
        else:
            kept[run.is_success] += 1
    return found[::-1]


def _newest(runs: Iterable[PastRun]) -> dict[Key, PastRun]:
    """Of each policy and target the run with the highest number."""
    newest: dict[Key, PastRun] = {}
    for run in runs:
        if run.key is not None and (run.key not in newest or run.number > newest[run.key].number):
            newest[run.key] = run
    return newest


def _is_newest(run: PastRun, newest: dict[Key, PastRun]) -> bool:
    return run.key is not None and newest[run.key].uid == run.uid


def _age(run: PastRun) -> tuple[datetime, str, str]:
    return run.ended_at or run.heard_at, run.namespace, run.name


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


_NEVER: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")
_SUCCESSES: Final = frozenset(str(outcome) for outcome in RunOutcome if outcome.is_success)
