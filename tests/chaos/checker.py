"""
Whether what happened is what was promised: nothing lost, nothing twice, nothing on old news, nothing stuck.

The checker reads evidence that others than the operator have written, and names every crime that it
finds. Each kind of crime has a test that commits it.
"""

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Final

from chaos.evidence import EDITED, STEP, VOID, Delivery, Evidence, RunHistory, RunState, Write, digest_of, histories

RELEASING: Final = ("Covered", "Superseded", "TargetGone", "TargetChanged", "PolicyNotReady")
"""Outcomes after which an alert that was recorded opens a run again."""

FACTS_SECONDS: Final = 5.0
"""How old what was read may be when a change is sent."""

LOOK_SECONDS: Final = 2.0
"""How long a look may take beyond that: its answers come one after the other."""

ADMISSION_SECONDS: Final = 1.0
"""How long the API server may take to enforce an epoch that it has stored."""

WAITS: Final = frozenset(
    {
        "AwaitingApproval",
        "AwaitingHuman",
        "CoolingDown",
        "BudgetSpent",
        "RepeatedFailure",
        "SelfInflicted",
        "Suspended",
        "Frozen",
    }
)
"""Why a run may stand still for longer than any fault lasts."""


class Crime(enum.StrEnum):
    """What must never happen."""

    LOST = "an accepted alert is on no run"
    SAME_ALERTS_TWICE = "a run was carried out for alerts that an earlier one had answered"
    TWO_AT_ONCE = "two runs of one policy and target were carried on side by side"
    REPEATED = "one step was carried out twice"
    BEYOND_THE_PLAN = "a run changed more than its plan holds"
    NOT_INTENDED = "a change was made that no record had announced"
    OLD_NEWS = "a change was made although no source had just said that the alert fires"
    KNOWN_TO_BE_OVER = "a change was intended by a record that says that its alerts are over"
    SIDE_BY_SIDE = "two runs changed one object side by side"
    UNKNOWN = "a change was made although nobody had given the number that it depends on"
    WRONG_OBJECT = "another object was changed than the one that was diagnosed"
    AFTER_THE_END = "a change was made after its run had ended"
    AFTER_THE_VOID = "a change was made after it had been given up"
    AFTER_THE_SUCCESSOR = "a process changed something after its successor had gone on with the run"
    DEPOSED = "a process that no longer led intended a change"
    OUTCOME_CHANGED = "an outcome was written a second time"
    STUCK = "a run neither ended nor says what it waits for"
    DEBT_LEFT = "what was owed was not paid back, and nobody was told"


@dataclass(frozen=True)
class Finding:
    """One crime, and what it was committed on."""

    crime: Crime
    about: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.crime}: {self.about}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True)
class Change:
    """A write to a target in a run's name."""

    write: Write
    token: str
    run: RunHistory | None

    @property
    def about(self) -> str:
        return f"{self.write.resource}/{self.write.namespace}/{self.write.name} at revision {self.write.revision}"


class Case:
    """The evidence, sorted by what the checks ask for."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.runs = histories(evidence.writes)
        self._by_name: dict[str, list[RunHistory]] = {}
        for run in self.runs:
            self._by_name.setdefault(run.name, []).append(run)
        self.changes = self._changes()
        self.voids = [(write, write.annotation(VOID)) for write in evidence.writes if write.is_void]

    def run_named(self, name: str, revision: int) -> RunHistory | None:
        """The run that bore the name at that moment: names are used again after a deletion."""
        found = [run for run in self._by_name.get(name, []) if run.states[0].revision < revision]
        return found[-1] if found else None

    def was_over(self, delivery: Delivery) -> bool:
        """Whether the operator had been sent the alert's end, too, before it answered: it may have taken in both at once."""
        return any(
            (one.is_firing, one.fingerprint) == (False, delivery.fingerprint)
            and one.starts_at >= delivery.starts_at
            and one.sent <= delivery.answered
            for one in self.evidence.deliveries
        )

    def changes_of(self, run: RunHistory) -> list[Change]:
        return [change for change in self.changes if change.run is run]

    def _changes(self) -> list[Change]:
        found: list[Change] = []
        before: dict[tuple[str, str, str], Write] = {}
        for write in self.evidence.writes:
            if write.resource.startswith("runbookruns"):
                continue
            last = before.get(write.object_key)
            before[write.object_key] = write
            if last is not None and last.revision == write.revision:
                continue  # it found everything as it would have made it
            if (write.run and not write.is_void) or (not write.is_logged and _is_a_change(last, write)):
                run = self.run_named(write.run or write.annotation("remediator.dev/run"), write.revision)
                found.append(Change(write, write.annotation(STEP), run))
        return found


def _is_a_change(before: Write | None, write: Write) -> bool:
    """Whether a write that nobody wrote down bears a run's stamp and altered more than metadata and status."""
    is_somebodys = before is not None and before.annotation(EDITED) != write.annotation(EDITED)
    return bool(write.annotation(STEP)) and write.altered_spec and not is_somebodys


def findings(evidence: Evidence) -> list[Finding]:
    """Every crime that the evidence proves; none, if everything was kept."""
    case = Case(evidence)
    return [finding for check in CHECKS for finding in check(case)]


def nothing_is_lost(case: Case) -> Iterator[Finding]:
    """Every alert that was accepted and that a policy wants is on a run that stands for it, or was over by then."""
    for delivery in case.evidence.deliveries:
        if not (delivery.is_accepted and delivery.is_firing) or case.was_over(delivery):
            continue
        digest = digest_of(delivery.fingerprint)
        for policy in delivery.wanted_by:
            runs = [run for run in case.runs if run.policy == policy and run.may_stand_for(delivery.target)]
            if not any(run.is_admitted and run.recorded.get(digest, -1) >= delivery.starts_at for run in runs):
                names = ", ".join(f"{run.name} {run.last.outcome}" for run in runs) or "none"
                detail = f"runs: {names}; answer: {delivery.answer}"
                yield Finding(Crime.LOST, f"{delivery}, wanted by {policy}", detail)


def no_alerts_are_answered_twice(case: Case) -> Iterator[Finding]:
    """A run that is carried out brings an alert that no run before it had answered."""
    for earlier, later in _of_one_key(case.runs):
        ended = earlier.ended
        if ended is None or ended.outcome in RELEASING or later.taken_on is None or not later.is_admitted:
            continue
        answered, brought = earlier.recorded, later.recorded
        if brought and all(answered.get(digest, -1) >= at for digest, at in brought.items()):
            yield Finding(Crime.SAME_ALERTS_TWICE, later.name, f"answered by {earlier.name}: {ended.outcome}")


def one_run_at_a_time(case: Case) -> Iterator[Finding]:
    """Of one policy and target no run is taken on before the one before it has ended."""
    for earlier, later in _of_one_key(case.runs):
        begins, ends = later.taken_on, earlier.ended
        if begins is not None and earlier.taken_on is not None and (ends is None or begins.revision < ends.revision):
            yield Finding(Crime.TWO_AT_ONCE, f"{earlier.name} and {later.name}")


def no_step_is_repeated(case: Case) -> Iterator[Finding]:
    """Of each token at most one change was carried out."""
    times = Counter((change.write.object_key, change.token) for change in case.changes)
    for (key, token), count in times.items():
        if count > 1:
            yield Finding(Crime.REPEATED, f"{'/'.join(key)}, step {token}", f"{count} times")


def no_run_exceeds_its_plan(case: Case) -> Iterator[Finding]:
    """A run makes no more changes than its Runbook can ask for."""
    for run in case.runs:
        most, made = case.evidence.changes_of_a_run.get(run.policy), len(case.changes_of(run))
        if most is not None and made > most:
            yield Finding(Crime.BEYOND_THE_PLAN, run.name, f"{made} changes, at most {most} are in its plan")


def every_change_was_intended(case: Case) -> Iterator[Finding]:
    """The record of the run had the change as intended before it was made."""
    for change in case.changes:
        intent = change.run.intent(change.token) if change.run is not None else None
        if intent is None or intent.revision > change.write.revision:
            yield Finding(Crime.NOT_INTENDED, change.about, f"step {change.token or 'without a stamp'}")


def every_change_rests_on_fresh_news(case: Case) -> Iterator[Finding]:
    """
    Just before the first change of a run a source said that one of its alerts fires.

    Later changes and those that take something back do not depend on the alert. A write without a
    line in the audit log has no time, and is left out.
    """
    oldest = timedelta(seconds=FACTS_SECONDS + LOOK_SECONDS)
    for run in case.runs:
        first = next((c for c in case.changes_of(run) if c.token not in run.undo_tokens), None)
        if first is None or first.write.received is None:
            continue
        begins, ends = first.write.received - oldest, first.write.received
        said = [saying for saying in case.evidence.sayings if begins <= saying.at <= ends]
        own = set(run.recorded)
        if not any(digest_of(fingerprint) in own for saying in said for fingerprint in saying.firing):
            yield Finding(Crime.OLD_NEWS, first.about, f"run {run.name}; {len(said)} answers in the time before")


def nothing_is_intended_that_is_known_to_be_over(case: Case) -> Iterator[Finding]:
    """The record that announces a run's first change does not itself say that all its alerts are over."""
    for run in case.runs:
        tokens = {step["token"] for state in run.states for step in state.steps if step.get("token")}
        intents = [state for token in tokens if (state := run.intent(token)) is not None]
        if not intents:
            continue
        first = min(intents, key=lambda state: state.revision)
        recorded, resolved = first.recorded, first.resolved
        if recorded and all(resolved.get(digest, -1) >= at for digest, at in recorded.items()):
            yield Finding(Crime.KNOWN_TO_BE_OVER, run.name, f"revision {first.revision}")


def unknown_allows_nothing(case: Case) -> Iterator[Finding]:
    """A run that depends on a number was given one between its creation and its first change."""
    for run in case.runs:
        first = next(iter(case.changes_of(run)), None)
        created = run.states[0].at
        if run.policy not in case.evidence.measured or first is None or first.write.received is None or created is None:
            continue
        given = [n for n in case.evidence.numbers if created <= n.at <= first.write.received and n.is_known]
        if not given:
            yield Finding(Crime.UNKNOWN, first.about, f"run {run.name}")


def only_the_diagnosed_object_is_changed(case: Case) -> Iterator[Finding]:
    """The object that was changed is the one that the run was accepted for."""
    for change in case.changes:
        run = change.run
        if run is not None and run.target_uid and change.write.uid != run.target_uid:
            yield Finding(Crime.WRONG_OBJECT, change.about, f"run {run.name}")


def one_run_changes_an_object_at_a_time(case: Case) -> Iterator[Finding]:
    """Between the first change of an object by a run and the run's end no other run changes the object."""
    by_object: dict[tuple[tuple[str, str, str], str], list[Change]] = {}
    for change in case.changes:
        by_object.setdefault((change.write.object_key, change.write.uid), []).append(change)
    for changes in by_object.values():
        for i, first in enumerate(changes):
            ended = first.run.ended if first.run is not None else None
            if first.run is None or (ended is not None and ended.revision < first.write.revision):
                continue  # it pays what it owes: that is one write, and needs no quiet after it
            for other in changes[i + 1 :]:
                is_over = ended is not None and ended.revision < other.write.revision
                if other.run is not None and other.run is not first.run and not is_over:
                    yield Finding(Crime.SIDE_BY_SIDE, other.about, f"runs {first.run.name} and {other.run.name}")


def nothing_is_changed_after_the_end(case: Case) -> Iterator[Finding]:
    """After a run's end only what it owes is changed: what takes a change of it back."""
    for change in case.changes:
        run = change.run
        ended = run.ended if run is not None else None
        if run is None or ended is None or change.token in run.undo_tokens:
            continue
        if change.write.revision > ended.revision:
            yield Finding(Crime.AFTER_THE_END, change.about, f"run {run.name} had ended as {ended.outcome}")


def nothing_is_changed_after_its_void(case: Case) -> Iterator[Finding]:
    """A step that was given up, on the target or on the record, is not carried out any more."""
    for change in case.changes:
        voided = [write.revision for write, token in case.voids if token == change.token]
        if change.run is not None:
            voided += [s.revision for s in change.run.states if s.intended.get(change.token) == "Voided"]
        if any(revision < change.write.revision for revision in voided):
            yield Finding(Crime.AFTER_THE_VOID, change.about, f"step {change.token}")


def no_process_acts_after_its_successor(case: Case) -> Iterator[Finding]:
    """Once another process has gone on with a run, the one before it changes nothing in the run's name."""
    for change in case.changes:
        run, writer = change.run, change.write.writer
        if run is None or not writer:
            continue
        own = [revision for revision, who in _carried_on(run) if who == writer and revision < change.write.revision]
        since = max(own, default=0)
        others = [
            revision
            for revision, who in _carried_on(run)
            if who not in (writer, "") and since < revision < change.write.revision
        ]
        if own and others:
            yield Finding(Crime.AFTER_THE_SUCCESSOR, change.about, f"run {run.name} was gone on with at {others[0]}")


def no_deposed_process_intends(case: Case) -> Iterator[Finding]:
    """An intent bears the newest epoch that had been raised some time before it, or there are none."""
    lag = timedelta(seconds=ADMISSION_SECONDS)
    for run in case.runs:
        for before, after in pairwise(run.states):
            if not _fresh_intents(before, after) or after.at is None:
                continue
            raised = [e.value for e in case.evidence.epochs if e.at is not None and e.at < after.at - lag]
            if raised and after.epoch < max(raised):
                yield Finding(Crime.DEPOSED, run.name, f"epoch {after.epoch} after {max(raised)} was raised")


def outcomes_are_final(case: Case) -> Iterator[Finding]:
    """An outcome is written once."""
    for run in case.runs:
        said = list(dict.fromkeys(state.outcome for state in run.states if state.outcome))
        if len(said) > 1 or (said and not run.last.outcome):
            yield Finding(Crime.OUTCOME_CHANGED, run.name, " then ".join([*said, run.last.outcome or "open"]))


def no_run_is_stuck(case: Case) -> Iterator[Finding]:
    """Every run has ended, or says that it waits for a person or for a limit of the policy."""
    for run in case.runs:
        held = run.last.status.get("held") or {}
        if run.ended is None and not _is_gone(case, run) and held.get("reason") not in WAITS:
            state = run.last.status.get("state", "not looked at")
            yield Finding(Crime.STUCK, run.name, f"{state}; held: {held.get('reason', 'no')} {held.get('message', '')}")


def every_debt_is_paid(case: Case) -> Iterator[Finding]:
    """What was owed is paid, or was given up after somebody had been told."""
    for run in case.runs:
        owed = [debt for debt in run.last.status.get("debts", []) if debt.get("state", "Owed") == "Owed"]
        if owed and not _is_gone(case, run):
            yield Finding(Crime.DEBT_LEFT, run.name, ", ".join(debt["step"] for debt in owed))


CHECKS: Final[Sequence[Callable[[Case], Iterable[Finding]]]] = (
    nothing_is_lost,
    no_alerts_are_answered_twice,
    one_run_at_a_time,
    no_step_is_repeated,
    no_run_exceeds_its_plan,
    every_change_was_intended,
    every_change_rests_on_fresh_news,
    nothing_is_intended_that_is_known_to_be_over,
    unknown_allows_nothing,
    only_the_diagnosed_object_is_changed,
    one_run_changes_an_object_at_a_time,
    nothing_is_changed_after_the_end,
    nothing_is_changed_after_its_void,
    no_process_acts_after_its_successor,
    no_deposed_process_intends,
    outcomes_are_final,
    no_run_is_stuck,
    every_debt_is_paid,
)


def _is_gone(case: Case, run: RunHistory) -> bool:
    return run.last.obj["metadata"]["namespace"] in case.evidence.gone


def _of_one_key(runs: Iterable[RunHistory]) -> Iterator[tuple[RunHistory, RunHistory]]:
    """Every two runs of one policy and target, the one that was taken on first before the other."""
    by_key: dict[tuple[str, str], list[RunHistory]] = {}
    for run in runs:
        if run.policy:
            by_key.setdefault((run.policy, run.target), []).append(run)
    for found in by_key.values():
        begun = sorted(found, key=lambda run: (run.taken_on or run.last).revision)
        yield from ((earlier, later) for i, earlier in enumerate(begun) for later in begun[i + 1 :])


def _carried_on(run: RunHistory) -> list[tuple[int, str]]:
    """When somebody went on with the run, and who: an alert that was only attached is no going on."""
    return [
        (after.revision, after.writer)
        for before, after in pairwise(run.states)
        if before.status.get("attempts") != after.status.get("attempts") or before.outcome != after.outcome
    ]


def _fresh_intents(before: RunState, after: RunState) -> set[str]:
    return {token for token, state in after.intended.items() if state == "Intended" and token not in before.intended}
