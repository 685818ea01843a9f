"""
Why a run did what it did: the choice, the mode, the guards, the wait, the end.

Pure: facts first (`Explanation`, which is also what JSON and YAML show), words for people from them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from remediator.cli.references import Reference, references, variables_in
from remediator.cli.story import WHEN_TONES, headline, mode_of, people
from remediator.cli.text import Cell, Row, Section, Story, Tone, age, ago, clock_time, row
from remediator.domain.json import JSON, Object, dig_list, dig_object, dig_text
from remediator.domain.policies import Mode
from remediator.domain.runs import Attempt, Run, RunOutcome, StepRecord, StepState, rfc3339
from remediator.domain.verdicts import Reason

if TYPE_CHECKING:
    from remediator.engine.guards import Guard

NOT_LOOKED_AT: Final = "NotLookedAt"
ALWAYS: Final = "(none: it always fits)"

RELEASES: Final[dict[str, str]] = {
    Reason.SUSPENDED: "somebody resumes what was suspended",
    Reason.FROZEN: "the freeze ends, or somebody takes it off the Guardrail",
    Reason.NOT_PERMITTED: "somebody allows it: the policy's mode and account, or the Guardrail that refuses",
    Reason.NAMESPACE_NOT_PERMITTED: "a Guardrail that selects the namespace lists the action under `allow`",
    Reason.INHIBITED: "the inhibiting alert resolves",
    Reason.SELF_INFLICTED: "ten minutes pass after our last change; if the alert resolves by then, nothing is done",
    Reason.STALE_ALERT: "Alertmanager or Prometheus says that the alert still fires; if it does not, the run ends",
    Reason.TARGET_UNKNOWN: "the target can be told from the policy or from the alert's labels",
    Reason.TARGET_CHANGED: "nothing: the next notification begins anew with the target as it is",
    Reason.TARGET_GONE: "nothing: the next notification begins anew if the target comes back",
    Reason.TARGET_BUSY: "the other run ends and gives the target's lock back",
    Reason.ROLLOUT_IN_PROGRESS: "the rollout that is under way ends",
    Reason.COOLING_DOWN: "the time passes, or the policy's `limits.cooldown` becomes shorter",
    Reason.BUDGET_SPENT: "the hour passes or another run ends, or the policy's `limits.perHour` or `limits.concurrent` becomes larger",
    Reason.BLAST_RADIUS: "more of the workload's pods, or of the nodes, serve again, another run ends, or the limit becomes larger",
    Reason.STORM: "the burst of episodes calms down",
    Reason.REPEATED_FAILURE: "the rest passes; it is longer after each run that did not help",
    Reason.DID_NOT_HELP: "a person looks: the Runbook did not help here, several times in a row",
    Reason.MANAGED_ELSEWHERE: "the change is made where the object is managed, or the policy's managedTargets says Change",
    Reason.UNDO_CONFLICT: "a person decides: somebody else changed what was to be taken back",
    Reason.POLICY_NOT_READY: "the policy is ready; `kubectl describe alertpolicy` says what is wrong",
    Reason.OUT_OF_BOUNDS: "the Runbook's bounds, the parameters or the namespace's quota allow it",
    Reason.DISRUPTION_BUDGET: "the PodDisruptionBudget allows it",
    Reason.IN_GRACE: "the policy's `grace` passes; then the alert must still fire",
    Reason.AWAITING_APPROVAL: "enough of those who are asked approve it, or one denies it",
    Reason.AWAITING_HUMAN: "somebody answers, or says that it is done",
    Reason.DENIED: "nothing: somebody has said no to this plan",
    Reason.EXPIRED: "nothing: the question about this plan has expired",
    Reason.STOPPED: "nothing: somebody has stopped the run",
    Reason.FACT_UNKNOWN: "what could not be read can be read again: see the message, and RBAC of the account",
    "NotSent": "the receiver answers, or ten minutes pass",
}
"""What ends a wait for this reason."""

MEANINGS: Final[dict[RunOutcome, str]] = {
    RunOutcome.REMEDIATED: "the remedy was carried out, and every check says that it helped",
    RunOutcome.NOT_NEEDED: "nothing had to be changed",
    RunOutcome.DONE: "everything was done, and there was nothing to verify it by",
    RunOutcome.DRY_RUN: "the mode allows a rehearsal and no change: the plan shows what would have been done",
    RunOutcome.DIAGNOSED: "the mode allows a diagnosis and nothing else",
    RunOutcome.NO_REMEDY: "no remedy's condition was True, or one could not be decided; nothing was changed",
    RunOutcome.REFUSED: "a guard, a Guardrail or the API server refused what the remedy wanted",
    RunOutcome.DENIED: "a person denied it",
    RunOutcome.EXPIRED: "nobody answered the question in time",
    RunOutcome.UNDONE: "the remedy did not help, and what it changed was taken back",
    RunOutcome.FAILED: "the remedy did not help, or could not be taken back: a person has to look",
    RunOutcome.INCONCLUSIVE: "nobody can tell whether it happened or helped: a person has to look",
    RunOutcome.HANDED_OVER: "people were told, and it is theirs from here on",
    RunOutcome.STOPPED: "it was told to stop",
    RunOutcome.COVERED: "an older run answers these alerts already",
    RunOutcome.SUPERSEDED: "a newer run took these alerts over",
    RunOutcome.TARGET_GONE: "the object it was about is gone",
    RunOutcome.TARGET_CHANGED: "the object was changed by somebody while the run was looking at it",
    RunOutcome.POLICY_NOT_READY: "the policy or its Runbook cannot be used as it is",
}
"""What a person should take from an outcome."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A remedy's condition, what it said, and what it was decided on."""

    remedy: str
    verdict: str
    """True, False, Unknown or NotLookedAt."""
    taken: bool
    expression: str
    variables: tuple[Reference, ...]
    values: tuple[Reference, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One round: all conditions in the Runbook's order."""

    round: int
    remedy: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the guards said of one change."""

    step: str
    verdict: str
    """`Allow`, a reason of the closed set, or that nothing has been asked."""
    message: str
    at: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Why the run stands still."""

    reason: str
    message: str
    since: str
    until: str
    released_by: str


@dataclass(frozen=True, slots=True)
class End:
    """How it ended, what that means, and what becomes of its alerts."""

    outcome: str
    reason: str
    message: str
    meaning: str
    alerts_stay_answered: bool
    coverage: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that `explain` says."""

    run: str
    mode: str
    mode_asked_for: str
    lowered_by: str
    runbook_content: str
    """Where it was read, or why it could not be."""
    choices: tuple[Choice, ...]
    guards: tuple[Asked, ...]
    earlier_waits: tuple[str, ...]
    held: Wait | None
    end: End | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def explanation_of(run: Run, content: Object | None, problem: str, outputs: dict[int, Object]) -> Explanation:
    """
    Why the run did what it did.

    `content` is the Runbook as it was frozen, None where it cannot be read (`problem` says why);
    `outputs` are those of the rounds whose diagnosis was too large for the record.
    """
    resolved = run.status.resolved
    where = resolved.runbook.content if resolved is not None else ""
    return Explanation(
        run=run.full_name,
        mode=str(resolved.mode) if resolved is not None else "",
        mode_asked_for=str(run.spec.mode),
        lowered_by=resolved.lowered_by if resolved is not None else "",
        runbook_content=problem or where,
        choices=tuple(
            _choice(run, attempt, content, outputs.get(attempt.number))
            for attempt in run.status.attempts
            if attempt.chosen_at is not None
        ),
        guards=tuple(_asked(run)),
        earlier_waits=tuple(
            f"{clock_time(entry.at)} {entry.message}" for entry in run.status.timeline if entry.what == "hold"
        ),
        held=_wait(run),
        end=_end(run),
    )


def _choice(run: Run, attempt: Attempt, content: Object | None, outputs: Object | None) -> Choice:
    variables = {dig_text(one, "name"): dig_text(one, "expression") for one in dig_list(content, "variables")}
    whens = {dig_text(one, "name"): dig_text(one, "when") for one in dig_list(content, "remedies")}
    values = _values(run, attempt, outputs)
    conditions = []
    for one in attempt.considered:
        text = whens.get(one.remedy, "")
        conditions.append(
            Condition(
                remedy=one.remedy,
                verdict=one.when,
                taken=one.remedy == attempt.remedy,
                expression=text or (ALWAYS if one.remedy in whens else ""),
                variables=tuple(Reference(name, variables[name]) for name in variables_in(text, variables)),
                values=references(text, variables, values),
                message=one.message,
            )
        )
    looked_at = {one.remedy for one in attempt.considered}
    order = {name: place for place, name in enumerate(whens)}
    conditions += [
        Condition(name, NOT_LOOKED_AT, False, text or ALWAYS, (), (), _why_not(run, attempt, name, order))
        for name, text in whens.items()
        if name not in looked_at
    ]
    conditions.sort(key=lambda one: order.get(one.remedy, -1))
    return Choice(attempt.number, attempt.remedy, tuple(conditions))


def _why_not(run: Run, attempt: Attempt, remedy: str, order: Mapping[str, int]) -> str:
    tried = [one.remedy for one in run.status.attempts if one.number < attempt.number and one.remedy]
    if remedy in tried:
        return "it was tried before"
    last = max(tried, key=lambda name: order.get(name, -1), default="")
    if last and order[remedy] < order.get(last, -1):
        return f"it stands before {last}, which was tried already, and a later round only goes down"
    if attempt.considered and attempt.considered[-1].when == "Unknown":
        return f"{attempt.considered[-1].remedy} before it is Unknown, which stops the choice"
    return f"{attempt.remedy} was taken before it" if attempt.remedy else "the choice did not come to it"


def _values(run: Run, attempt: Attempt, outputs: Object | None) -> Object:
    """The record under the names that expressions use, as far as it was kept."""
    resolved, ref = run.status.resolved, run.target.ref
    diagnosis: dict[str, JSON] = dict(outputs if outputs is not None else attempt.outputs or {})
    for one in attempt.diagnosis:
        if not one.known:
            diagnosis[one.name] = {"known": False, "error": one.summary}
    first = run.alerts.first
    return {
        "diagnosis": diagnosis,
        "params": dict(resolved.parameters) if resolved is not None else {},
        "alert": first[0].as_json() if first else None,
        "alerts": [alert.as_json() for alert in first],
        "target": {"kind": ref.kind_text, "name": ref.name, "namespace": ref.namespace, "uid": run.target.uid},
        "run": {"remedy": attempt.remedy, "tried": [one.remedy for one in run.status.attempts if one.remedy]},
    }


def _asked(run: Run) -> Iterator[Asked]:
    for attempt in run.status.attempts:
        for step in attempt.steps:
            if step.change is not None:
                yield _answer(run, step, "", is_next=step is _next_of(run))
        for step in attempt.undo:
            yield _answer(run, step, "undo of ", is_next=step is _next_of(run))


def _next_of(run: Run) -> StepRecord | None:
    """The step that the run has come to: what holds the run holds this one."""
    attempt = run.status.attempt
    steps = [] if attempt is None else attempt.undo or attempt.steps
    return next((step for step in steps if not step.state.is_over), None)


def _answer(run: Run, step: StepRecord, front: str, *, is_next: bool) -> Asked:
    name, held = f"{front}{step.label}", run.status.held
    if step.state in (StepState.REFUSED, StepState.VOIDED, StepState.UNCLEAR):
        return Asked(name, step.reason or str(step.state), step.message, _moment(step.ended_at))
    if step.intended_at is not None:
        return Asked(name, "Allow", "every guard that was asked allowed it", _moment(step.intended_at))
    if held is not None and is_next:
        return Asked(name, held.reason, held.message, _moment(held.since))
    resolved = run.status.resolved
    if resolved is not None and resolved.mode.rank < Mode.APPROVE.rank:
        return Asked(name, "NotAsked", f"in mode {resolved.mode} nothing is changed", "")
    if step.ended_at is not None:
        return Asked(name, "NotAsked", step.message or str(step.state), _moment(step.ended_at))
    return Asked(name, "NotAsked", "its turn has not come" if not run.is_ended else "its turn did not come", "")


def _wait(run: Run) -> Wait | None:
    held = run.status.held
    if held is None:
        return None
    return Wait(
        reason=held.reason,
        message=held.message,
        since=rfc3339(held.since),
        until=_moment(held.until),
        released_by=RELEASES.get(held.reason, "the operator finds it changed when it looks again"),
    )


def _end(run: Run) -> End | None:
    ending = run.status.ending
    outcome = run.status.outcome or (ending.outcome if ending is not None else None)
    if outcome is None:
        return None
    return End(
        outcome=str(outcome),
        reason=ending.reason if ending is not None else "",
        message=ending.message if ending is not None else run.status.message,
        meaning=MEANINGS[outcome],
        alerts_stay_answered=outcome.covers and bool(run.alerts.count),
        coverage=coverage_of(run, outcome),
    )


def coverage_of(run: Run, outcome: RunOutcome) -> str:
    """What becomes of the alerts that the run recorded."""
    count = run.alerts.count
    if not count:
        return "it has no alert, so none is answered by it"
    its = "its alert" if count == 1 else f"its {count} alerts"
    stay, release = ("stays", "is") if count == 1 else ("stay", "are")
    if not outcome.covers:
        return f"{its} {release} released: the next notification begins the next run"
    if outcome.covers_until_policy_changes and run.spec.policy_ref is not None:
        return (
            f"{its} {stay} answered by this run until AlertPolicy {run.policy_name} is changed "
            f"(generation {run.spec.policy_ref.generation} started it); then the next notification begins the next run"
        )
    return f"{its} {stay} answered by this run: a repeated notification starts nothing, an alert that fires anew does"


def _moment(moment: datetime | None) -> str:
    return rfc3339(moment) if moment is not None else ""


# --- in words -------------------------------------------------------------------------------------


def told(explanation: Explanation, run: Run, now: datetime) -> Story:
    """The explanation as a person reads it."""
    sections = [_choice_in_words(choice, len(explanation.choices) > 1) for choice in explanation.choices]
    if not sections:
        sections = [Section("Why this remedy", (row(_before_the_choice(run)),))]
    if run.status.resolved is not None and not _was_read(explanation, run):
        sections.append(Section("The Runbook as it was", (row(Cell(explanation.runbook_content, Tone.BAD)),)))
    sections.append(Section("Mode", tuple(_mode_in_words(run))))
    for attempt in run.status.attempts:
        sections += people(attempt, f"Round {attempt.number}: " if len(run.status.attempts) > 1 else "")
    if explanation.guards:
        sections.append(Section("Guards", tuple(_guards_in_words(explanation, run))))
    if explanation.held is not None:
        sections.append(Section("Held", tuple(_wait_in_words(explanation.held, run, now))))
    if explanation.end is not None:
        sections.append(Section("The end", tuple(_end_in_words(explanation.end, run))))
    return Story(tuple(headline(run, now)), tuple(sections), airy=True)


def _was_read(explanation: Explanation, run: Run) -> bool:
    resolved = run.status.resolved
    return resolved is not None and explanation.runbook_content == resolved.runbook.content


def _before_the_choice(run: Run) -> str:
    if run.status.resolved is None and run.is_ended:
        return "none was looked for: the request was turned away before the Runbook was opened"
    if run.status.ending is not None:
        return "none was looked for: it was over before the choice"
    return "none is chosen yet: the diagnosis is not finished"


def _choice_in_words(choice: Choice, several: bool) -> Section:
    title = (
        f"Round {choice.round}: why {choice.remedy or 'no remedy'}"
        if several
        else f"Why {choice.remedy or 'no remedy'}"
    )
    rows: list[Row] = []
    if not choice.conditions:
        rows.append(row("the Runbook has no remedies: it only informs"))
    for one in choice.conditions:
        said = _verdict_in_words(one, choice)
        if one.verdict == NOT_LOOKED_AT:
            rows.append(row(Cell("-", Tone.QUIET), Cell(one.remedy, Tone.TITLE), f"not looked at: {one.message}"))
            continue
        rows.append(row(Cell(one.verdict, WHEN_TONES.get(one.verdict, Tone.QUIET)), Cell(one.remedy, Tone.TITLE), said))
        rows += [row(Cell("when", Tone.QUIET), _one_line(one.expression), depth=2)] if one.expression else []
        rows += [
            row(Cell(f"variables.{each.name}", Tone.QUIET), _one_line(each.value), depth=3) for each in one.variables
        ]
        rows += [row(Cell(each.name, Tone.QUIET), f"= {each.value}", depth=3) for each in one.values]
    return Section(title, tuple(rows))


def _verdict_in_words(one: Condition, choice: Choice) -> str:
    before = [other for other in choice.conditions[: choice.conditions.index(one)] if other.verdict != NOT_LOOKED_AT]
    if one.taken:
        passed = " or was passed over" if any(other.verdict == "Unknown" for other in before) else ""
        return f"taken: the first that is True; what stands before it is False{passed}" if before else "taken"
    if one.verdict == "Unknown":
        what = "passed over (whenUnknown: Skip)" if choice.remedy else "could not be decided"
        return f"{what}: {one.message}" if one.message else what
    return one.message


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _mode_in_words(run: Run) -> Iterator[Row]:
    resolved = run.status.resolved
    lowered = resolved is not None and (resolved.lowered_by or resolved.mode is not run.spec.mode)
    yield row(mode_of(run) if lowered or resolved is None else f"{resolved.mode}, as it was asked for")
    if resolved is not None and not resolved.account:
        yield row("no account acts for it, so it can change nothing")


def _guards_in_words(explanation: Explanation, run: Run) -> Iterator[Row]:
    for one in explanation.guards:
        tone = Tone.GOOD if one.verdict == "Allow" else Tone.QUIET if one.verdict == "NotAsked" else Tone.BAD
        at = one.at[11:] if one.at else "-"
        yield row(Cell(one.verdict, tone), one.step, at, one.message)
    now = explanation.held.message if explanation.held is not None else None
    waits = [one for one in explanation.earlier_waits if now is None or not one.endswith(now)]
    if waits:
        yield row(Cell("it waited before:", Tone.QUIET))
        yield from (row(one, depth=1) for one in waits)
    if any(one.verdict != "NotAsked" for one in explanation.guards):
        # the guards bring the expressions' compiler with them, a third of a second
        from remediator.engine.guards import BEFORE_CHANGE, BEFORE_UNDO

        yield row(Cell("asked before each change", Tone.QUIET), names_of(BEFORE_CHANGE))
        if any(attempt.undo for attempt in run.status.attempts):
            yield row(Cell("asked before each undo", Tone.QUIET), names_of(BEFORE_UNDO))


def names_of(chain: Sequence["Guard"]) -> str:
    """The guards of a chain, in the order in which they are asked."""
    return ", ".join(str(getattr(guard, "__name__", guard)).replace("_", " ") for guard in chain)


def _wait_in_words(held: Wait, run: Run, now: datetime) -> Iterator[Row]:
    status = run.status.held
    assert status is not None, "what is held stands on the record"
    yield row(Cell("why", Tone.QUIET), f"{held.reason}: {held.message}")
    yield row(Cell("since", Tone.QUIET), f"{clock_time(status.since)}, {ago(now - status.since)} ago")
    if status.until is not None:
        left = status.until - now
        ahead = f"in {age(left)}" if left >= timedelta() else f"{age(-left)} ago: the operator is late, or stands still"
        yield row(Cell("until", Tone.QUIET), f"{clock_time(status.until)}, {ahead}; then it looks again")
    yield row(Cell("released", Tone.QUIET), f"when {held.released_by}")


def _end_in_words(end: End, run: Run) -> Iterator[Row]:
    ended = run.status.ended_at
    at = f" at {clock_time(ended)}" if ended is not None else ""
    reason = f" ({end.reason})" if end.reason and end.reason != end.outcome else ""
    yield row(Cell("outcome", Tone.QUIET), f"{end.outcome}{reason}{at}: {end.message}")
    yield row(Cell("means", Tone.QUIET), end.meaning)
    yield row(Cell("alerts", Tone.QUIET), end.coverage)


def frozen(config_map: Object) -> Object:
    """The Runbook's content in the ConfigMap that froze it; empty where it is none."""
    try:
        content = json.loads(dig_text(config_map, "data", "spec.json") or "{}")
    except ValueError:
        return {}
    return dig_object({"content": content}, "content")
