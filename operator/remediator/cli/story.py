"""
The whole story of a run, from its record to what a person reads.

Pure: a run and the time go in, a `Story` comes out. Nothing is said that does not stand on the
record, and what stands there is said in the order in which it happened.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from remediator.actions.difference import difference
from remediator.cli.text import Cell, Fit, Row, Section, Story, Tone, ago, clock_time, date_time, row
from remediator.domain.changes import Absent, ByKey, DeletePods, Edit, FieldPath, change_from_json
from remediator.domain.json import JSON, Object
from remediator.domain.objects import BUILT_IN
from remediator.domain.policies import Mode
from remediator.domain.runs import (
    ApprovalRecord,
    Attempt,
    QuestionRecord,
    Run,
    StepRecord,
    StepState,
    TimelineEntry,
    Verdict,
)
from remediator.engine.debts import limit_of

VALUES_SHOWN: Final = 8
"""How many values of one change are shown before the rest is counted."""

TIMELINE_START: Final = 2
TIMELINE_END: Final = 6
"""How much of a long timeline is shown: how it began, and how it went on last."""

SAID_ABOVE: Final = frozenset(
    {"known", "unknown", "choose", "plan", "verify", "tell", "end", "ask", "approve", "deny", "answer", "ignore"}
)
"""Lines of the timeline that repeat what other sections say with their times."""

ABSENT_TEXT: Final = "(absent)"

STEP_TONES: Final = {
    StepState.DONE: Tone.GOOD,
    StepState.FAILED: Tone.BAD,
    StepState.REFUSED: Tone.BAD,
    StepState.UNCLEAR: Tone.BAD,
    StepState.VOIDED: Tone.BAD,
    StepState.INTENDED: Tone.OPEN,
    StepState.STARTED: Tone.OPEN,
}
NOT_MADE: Final = frozenset({StepState.REFUSED, StepState.VOIDED, StepState.SKIPPED})
VERDICT_TONES: Final = {
    Verdict.VERIFIED: Tone.GOOD,
    Verdict.DISPROVED: Tone.BAD,
    Verdict.INCONCLUSIVE: Tone.BAD,
}
APPROVAL_TONES: Final = {
    "Waiting": Tone.OPEN,
    "Approved": Tone.GOOD,
    "Denied": Tone.BAD,
    "Expired": Tone.BAD,
}
WHEN_TONES: Final = {"True": Tone.GOOD, "Unknown": Tone.BAD}


def story_of(run: Run, now: datetime, *, operator_namespace: str, whole: bool = False) -> Story:
    """The story on one screen; `whole` leaves nothing out."""
    several = len(run.status.attempts) > 1
    sections: list[Section] = []
    for attempt in run.status.attempts:
        sections += _round(run, attempt, f"Round {attempt.number}: " if several else "", whole=whole)
    sections += _messages(run)
    sections += _replies(run)
    sections += _timeline(run.status.timeline, run.status.left_out, whole=whole)
    sections.append(Section("Look further", tuple(_further(run, operator_namespace, whole=whole))))
    return Story(tuple(headline(run, now)), (Section("", tuple(_header(run, now, whole=whole))), *sections))


def question_of(run: Run, now: datetime) -> Story:
    """What a person decides about: the plan, what it would change, and who is asked."""
    attempt = run.status.attempt
    sections: list[Section] = []
    if attempt is not None and attempt.steps:
        title, aside = _plan_title(run, attempt)
        sections.append(Section(title, tuple(_steps(attempt.steps, whole=True)), aside))
    if attempt is not None:
        sections += people(attempt, "")
    return Story(tuple(headline(run, now)), tuple(sections))


def headline(run: Run, now: datetime) -> Iterator[Cell]:
    """Which run it is, and where it stands, in two lines."""
    status = run.status
    yield Cell(f"{run.name} in namespace {run.namespace}", Tone.TITLE)
    if status.ending is not None and status.outcome is None:
        yield Cell(f"Ending as {status.ending.outcome}: {status.ending.message}", Tone.OPEN)
    elif status.outcome is not None:
        message = status.ending.message if status.ending is not None else status.message
        yield Cell(f"{status.outcome}: {message}", outcome_tone(run))
    elif status.held is not None:
        until = f" (until {clock_time(status.held.until)})" if status.held.until is not None else ""
        waited = ago(now - status.held.since)
        reason = "" if status.held.reason == status.state else f"{status.held.reason}: "
        yield Cell(f"{status.state} for {waited}{until}: {reason}{status.held.message}", Tone.OPEN)
    elif status.resolved is None:
        yield Cell(f"Pending for {ago(now - run.created_at)}: the operator has not looked at it yet", Tone.OPEN)
    else:
        yield Cell(f"{status.state}: {status.message}" if status.message else str(status.state), Tone.OPEN)


def outcome_tone(run: Run) -> Tone:
    if run.status.outcome is None:
        return Tone.OPEN
    return Tone.GOOD if run.status.outcome.is_success else Tone.BAD


def _header(run: Run, now: datetime, *, whole: bool) -> Iterator[Row]:
    resolved = run.status.resolved
    yield _fact("Alert", _alert(run))
    yield _fact("Target", str(run.spec.target.ref))
    if run.spec.policy_ref is not None:
        yield _fact("Policy", f"{run.policy_name} (generation {run.spec.policy_ref.generation})")
    else:
        reason = f": {run.spec.reason}" if run.spec.reason else ""
        yield _fact("Asked for", f"by {run.spec.requested_by}{reason}")
    if resolved is not None:
        book = resolved.runbook
        yield _fact("Runbook", f"{book.namespace}/{book.name} (generation {book.generation})")
    else:
        yield _fact("Runbook", f"{run.spec.runbook_ref.namespace or run.namespace}/{run.spec.runbook_ref.name}")
    yield _fact("Mode", mode_of(run))
    yield _fact("Account", resolved.account or "none: only the operator reads" if resolved is not None else _asked(run))
    if whole and resolved is not None and resolved.parameters:
        yield _fact("Parameters", ", ".join(f"{name}={compact(value)}" for name, value in resolved.parameters.items()))
    if run.status.acknowledged is not None:
        yield _fact("Looked after", f"by {run.status.acknowledged.by} since {clock_time(run.status.acknowledged.at)}")
    if run.status.still_firing is not None:
        yield _fact("Sent again", f"its alerts were, last at about {date_time(run.status.still_firing)}")
    if run.status.recurred is not None:
        yield _fact("Recurred", f"people were told so at {date_time(run.status.recurred)}")
    if run.status.evidence_expired is not None:
        yield _fact("Evidence", f"what was captured was deleted at {date_time(run.status.evidence_expired)}")
    yield _fact("Time", _time(run, now))


def _fact(name: str, text: str) -> Row:
    return row(Cell(f"{name}", Tone.QUIET), text)


def _alert(run: Run) -> str:
    alerts = run.alerts
    if not alerts.count:
        return "none; the run was asked for by hand"
    names = ", ".join(name if count == 1 else f"{name} x{count}" for name, count in sorted(alerts.names.items()))
    since = min((alert.starts_at for alert in alerts.first), default=None)
    return f"{names}, began {date_time(since)}" if since is not None else names


def _asked(run: Run) -> str:
    name = run.spec.service_account_name
    return f"{name} (asked for)" if name else "none"


def mode_of(run: Run) -> str:
    """The effective mode, and who lowered it."""
    resolved = run.status.resolved
    if resolved is None:
        return f"{run.spec.mode} (asked for)"
    if resolved.mode is run.spec.mode and not resolved.lowered_by:
        return str(resolved.mode)
    return f"{resolved.mode}, lowered from {run.spec.mode}: {resolved.lowered_by or 'by whom is not recorded'}"


def _time(run: Run, now: datetime) -> str:
    status = run.status
    begun = status.started_at or run.created_at
    if status.ended_at is None:
        return f"{date_time(begun)}, running for {ago(now - begun)}"
    took = f", took {status.duration}" if status.duration else ""
    end = clock_time(status.ended_at) if status.ended_at.date() == begun.date() else date_time(status.ended_at)
    return f"{date_time(begun)} to {end}{took}; {ago(now - status.ended_at)} ago"


def _round(run: Run, attempt: Attempt, prefix: str, *, whole: bool) -> list[Section]:
    sections = []
    if attempt.diagnosis:
        rows = tuple(
            row(Cell(*_knowledge(one.known, one.skipped)), one.name, one.action, one.summary)
            for one in attempt.diagnosis
            if whole or not one.skipped
        )
        sections.append(Section(f"{prefix}Diagnosis", rows, clock_time(attempt.diagnosed_at)))
    if attempt.chosen_at is not None:
        sections.append(Section(f"{prefix}Remedy", tuple(_choice(attempt)), clock_time(attempt.chosen_at)))
    if attempt.steps:
        title, aside = _plan_title(run, attempt)
        sections.append(Section(f"{prefix}{title}", tuple(_steps(attempt.steps, whole=whole)), aside))
    sections += people(attempt, prefix)
    if attempt.checks:
        aside = str(attempt.verdict or "open")
        if attempt.verifying_since is not None:
            aside += f", since {clock_time(attempt.verifying_since)}"
        sections.append(Section(f"{prefix}Verification", tuple(_checks(attempt)), aside))
    if attempt.undo:
        sections.append(Section(f"{prefix}Undo", tuple(_steps(attempt.undo, whole=whole))))
    return sections


def people(attempt: Attempt, prefix: str) -> list[Section]:
    """What people had to agree to, and what they were asked."""
    sections = []
    if attempt.approvals:
        sections.append(Section(f"{prefix}Approval", tuple(_approvals(attempt.approvals))))
    if attempt.questions:
        sections.append(Section(f"{prefix}Questions", tuple(_questions(attempt.questions))))
    return sections


def _approvals(records: Sequence[ApprovalRecord]) -> Iterator[Row]:
    for one in records:
        about = f"step {one.step}" if one.step else "the remedy"
        yield row(
            Cell(one.state, APPROVAL_TONES[one.state]),
            about,
            f"plan {one.plan_hash[:8]}",
            f"asked at {clock_time(one.asked_at)}, until {clock_time(one.deadline)}",
        )
        for need in one.needs:
            groups = f" of {' or '.join(need.groups)}" if need.groups else ""
            yield row(f"{need.by} asks for {need.count}{groups}", depth=2)
        for given in one.given:
            yield row(f"{given.user} approved at {clock_time(given.at)}{_why(given.reason)}", depth=2)


def _questions(records: Sequence[QuestionRecord]) -> Iterator[Row]:
    for one in records:
        if one.answered_at is None:
            state = Cell("open", Tone.OPEN) if one.blocking else Cell("listed", Tone.QUIET)
            yield row(state, one.name, f"until {clock_time(one.deadline)}", one.question)
        else:
            who = one.answered_by or "nobody in time"
            state = Cell("answered", Tone.GOOD) if one.answer else Cell("unanswered", Tone.BAD)
            yield row(state, one.name, clock_time(one.answered_at), one.question)
            yield row(f"{one.answer} ({who})" if one.answer else who, depth=2)
        if one.answers and one.answered_at is None:
            yield row(f"answers: {', '.join(one.answers)}", depth=2)


def _replies(run: Run) -> list[Section]:
    """What people said, and why it did not count where it did not."""
    rows = [
        row(
            Cell("taken", Tone.GOOD) if one.taken else Cell("ignored", Tone.BAD),
            str(one.type),
            one.user,
            f"{clock_time(one.at)}{_why(one.reason)}",
        )
        for one in run.status.replies
    ]
    return [Section("Replies", tuple(rows))] if rows else []


def _why(reason: str) -> str:
    return f": {reason}" if reason else ""


def _knowledge(known: bool, skipped: bool) -> tuple[str, Tone]:
    if skipped:
        return "skipped", Tone.QUIET
    return ("known", Tone.GOOD) if known else ("unknown", Tone.BAD)


def _choice(attempt: Attempt) -> Iterator[Row]:
    """The remedy, and in one line why it and no other; `explain` says more."""
    before = [one for one in attempt.considered if one.remedy != attempt.remedy]
    others = ", ".join(f"{one.remedy} {one.when}" for one in before)
    if attempt.remedy:
        why = f"its condition is True ({others})" if others else "its condition is True, and it is the first"
        yield row(Cell(attempt.remedy, Tone.GOOD), why)
        return
    yield row(Cell("none", Tone.BAD), others or "the Runbook has none that could be tried")
    yield from (row(f"{one.remedy}: {one.message}", depth=1) for one in before if one.when == "Unknown")


def _plan_title(run: Run, attempt: Attempt) -> tuple[str, str]:
    resolved = run.status.resolved
    plan = f"plan {attempt.plan_hash[:8]}" if attempt.plan_hash else ""
    if resolved is None or resolved.mode.rank >= Mode.APPROVE.rank:
        return "Steps", plan
    return "Plan", ", ".join(part for part in (plan, f"mode {resolved.mode}: nothing is changed") if part)


def _steps(steps: Sequence[StepRecord], *, whole: bool) -> Iterator[Row]:
    for step in steps:
        state = Cell(str(step.state), STEP_TONES.get(step.state, Tone.QUIET))
        about = " ".join(part for part in ("+".join(step.actions), _target_of(step)) if part)
        yield row(state, step.label, about, _times(step))
        said = ": ".join(part for part in (step.reason, step.message) if part)
        if said:
            yield row(said, depth=2)
        if limit := limit_of(step):
            yield row(f"what is changed {limit}", depth=2)
        not_made = "not made: " if step.state in NOT_MADE and not step.has_changed_something else ""
        for line in changed_values(step, whole=whole):
            yield row(Cell(f"{not_made}{line}", Tone.QUIET if not_made else Tone.PLAIN), depth=2)


def _target_of(step: StepRecord) -> str:
    return str(step.target.ref) if step.target is not None else ""


def _times(step: StepRecord) -> str:
    begun = step.started_at or step.intended_at
    if begun is None:
        return clock_time(step.ended_at) if step.ended_at is not None else ""
    if step.ended_at is None:
        return f"since {clock_time(begun)}"
    return f"{clock_time(begun)} to {clock_time(step.ended_at)}"


def changed_values(step: StepRecord, *, whole: bool = False) -> list[str]:
    """What the step replaces by what, one line a value; by the API server's own word where it was asked."""
    if step.diff:
        lines = _paired(step.diff.splitlines())
    elif step.change is not None:
        lines = _edited(step.change)
    else:
        lines = []
    if whole or len(lines) <= VALUES_SHOWN + 1:
        return lines
    return [*lines[:VALUES_SHOWN], f"… and {len(lines) - VALUES_SHOWN} more values; -o wide shows them"]


def _edited(stored: Object) -> list[str]:
    change = change_from_json(stored)
    if isinstance(change, DeletePods):
        return [f"- {pod}" for pod in change.pods]
    lines: list[str] = []
    for edit in change.edits:
        path = path_text(edit.path)
        lines += _paired(difference(_side(path, edit, edit.was), _side(path, edit, edit.to)).splitlines())
    return lines


def _side(path: str, edit: Edit, value: JSON | Absent) -> Object:
    if isinstance(value, Absent):
        return {}
    last = edit.path.parts[-1] if edit.path.parts else ""
    if isinstance(value, dict) and isinstance(last, ByKey):
        value = {key: item for key, item in value.items() if key != last.key}  # the path says it already
    return {path: value}


def path_text(path: FieldPath) -> str:
    """A path as people read it: `spec.template.spec.containers[app].env[QUEUE]`."""
    text = ""
    for part in path.parts:
        text += f"[{part.value}]" if isinstance(part, ByKey) else f".{part}" if text else part
    return text


def _paired(lines: Sequence[str]) -> list[str]:
    """Lines `- path: old` and `+ path: new` as one line `path: old -> new`; others stay as they are."""
    old = {path: value for sign, path, value in map(_parts, lines) if sign == "-"}
    new = {path: value for sign, path, value in map(_parts, lines) if sign == "+"}
    found: list[str] = []
    for line in lines:
        sign, path, value = _parts(line)
        if not sign:
            found.append(line)
        elif sign == "-":
            found.append(f"{path}: {value} -> {new.get(path, ABSENT_TEXT)}")
        elif path not in old:
            found.append(f"{path}: {ABSENT_TEXT} -> {value}")
    return found


def _parts(line: str) -> tuple[str, str, str]:
    sign, rest = line[:1], line[2:]
    path, colon, value = rest.partition(": ")
    return (sign, path, value) if sign in ("-", "+") and line[1:2] == " " and colon else ("", "", "")


def _checks(attempt: Attempt) -> Iterator[Row]:
    for check in attempt.checks:
        verdict = Cell(str(check.verdict), VERDICT_TONES[check.verdict]) if check.verdict else Cell("open", Tone.OPEN)
        held = f" (holds since {clock_time(check.holds_since)})" if check.holds_since is not None else ""
        yield row(verdict, check_name(check.kind), f"{check.message}{held}")


def check_name(kind: str) -> str:
    """The check as Runbooks spell it."""
    return {"alert_resolved": "alertResolved"}.get(kind, kind)


def _messages(run: Run) -> list[Section]:
    ending = run.status.ending
    if ending is None or not ending.told:
        return []
    rows = (
        row(
            Cell(str(one.state), STEP_TONES.get(one.state, Tone.QUIET)),
            one.name,
            one.action,
            f"{clock_time(one.ended_at)} {one.message.partition(chr(10))[0]}",
        )
        for one in ending.told
    )
    return [Section("Messages", tuple(rows))]


def _timeline(entries: Sequence[TimelineEntry], left_out_of_record: Sequence[str], *, whole: bool) -> list[Section]:
    """Of a long story the beginning and the end; what the sections above say already is left out first."""
    if not entries:
        return []
    kept = [one for one in entries if whole or one.what not in SAID_ABOVE]
    if not whole and len(kept) > TIMELINE_START + TIMELINE_END:
        kept = [*kept[:TIMELINE_START], *kept[-TIMELINE_END:]]
    left_out = len(entries) - len(kept)
    asides = [f"{left_out} more lines with -o wide"] if left_out else []
    if left_out_of_record:
        asides.append(f"to keep the record small it lacks {', '.join(left_out_of_record)}")
    aside = "; ".join(asides)
    return [Section("Timeline", tuple(_entry(one, cut=not whole) for one in kept), aside)]


def _entry(entry: TimelineEntry, *, cut: bool) -> Row:
    cells = (Cell(clock_time(entry.at), Tone.QUIET), Cell(entry.what), Cell(entry.message.partition("\n")[0]))
    return Row(cells, fit=Fit.CUT if cut else Fit.WRAPPED)


def _further(run: Run, operator_namespace: str, *, whole: bool) -> Iterator[Row]:
    place, resolved = f"{run.name} -n {run.namespace}", run.status.resolved
    yield _command("why so", f"remediate explain {place}")
    if run.status.evidence_expired is None and any(attempt.evidence for attempt in run.status.attempts):
        yield _command("what it saw", f"remediate show {place} --evidence")
    if not run.spec.target.is_outside:
        yield _command("the target", _describe(run))
    if whole and resolved is not None and resolved.runbook.content:
        content = f"configmap {resolved.runbook.content} -n {operator_namespace}"
        yield _command("the Runbook as it was", f"get {content} -o yaml")


def _command(what: str, command: str) -> Row:
    return Row((Cell(what, Tone.QUIET), Cell(f"kubectl {command}")), fit=Fit.WHOLE)


def _describe(run: Run) -> str:
    ref = run.spec.target.ref
    known = BUILT_IN.get(ref.kind_text)
    kind = ref.kind.lower() if known is not None else ref.kind_text
    return f"describe {kind} {ref.name}" + (f" -n {ref.namespace}" if ref.namespace else "")


def evidence_of(attempt: Attempt, content: Iterable[tuple[str, JSON]]) -> Section:
    """What one diagnosis captured, name by name."""
    rows: list[Row] = []
    for name, text in content:
        rows.append(row(Cell(name, Tone.TITLE)))
        rows += [row(line, depth=1) for line in str(text).splitlines()]
    return Section(
        f"Evidence of round {attempt.number}", tuple(rows) or (row("there is no text in it"),), attempt.evidence
    )


def compact(value: JSON, limit: int = 80) -> str:
    """A value on one line; of a long one the beginning."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"
