"""
The reference pages: every field of our kinds, every action, every reason.

They are made from the CRDs and the registry and hold nothing of their own but one sentence for each
reason and outcome, which a test holds to be complete.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from remediator.actions.registry import output_models
from remediator.domain import durations
from remediator.domain.actions import ActionClass, ActionInfo
from remediator.domain.runs import RunOutcome
from remediator.domain.verdicts import Reason
from remediator.generate.crds import NO_ACTIONS, step
from remediator.generate.kinds import KINDS
from remediator.generate.schemas import Schema, structural

HEADER: Final = "<!-- Generated from the code by `make generate`; what is edited here is lost. -->\n"

REASONS: Final[Mapping[Reason, str]] = {
    Reason.SUSPENDED: "A Guardrail's `suspend`, or the switch for everything, holds it.",
    Reason.FROZEN: "A Guardrail's `freeze` is in force; it goes on when that ends.",
    Reason.NOT_PERMITTED: "The account, the mode or a Guardrail does not permit the action.",
    Reason.NAMESPACE_NOT_PERMITTED: "The target lies in a namespace that the run may not touch.",
    Reason.INHIBITED: "An alert of the policy's `inhibitedBy` fires.",
    Reason.SELF_INFLICTED: "The newest change of the object is our own, just made; the alert may be its echo.",
    Reason.STALE_ALERT: "It is not known, or no longer true, that the alert fires.",
    Reason.TARGET_UNKNOWN: "The alert does not say which object it is about, or that object was not found.",
    Reason.TARGET_CHANGED: "The target is not the object, or not in the state, that was diagnosed.",
    Reason.TARGET_GONE: "The target is not there any more.",
    Reason.TARGET_BUSY: "Another run holds the target's lock.",
    Reason.ROLLOUT_IN_PROGRESS: "The workload is being rolled out; it is left alone until that is over.",
    Reason.COOLING_DOWN: "The target rests after its last change, for the policy's `limits.cooldown`.",
    Reason.BUDGET_SPENT: "The target was changed as often as `limits.perHour` allows, or as many runs act as `limits.concurrent` allows.",
    Reason.BLAST_RADIUS: "Too many pods of the workload, or nodes, are out of service or would be; or too many objects are worked on at once.",
    Reason.STORM: "So many episodes began at once that everything new is held.",
    Reason.REPEATED_FAILURE: "The Runbook did not help this target the last time; it rests, longer each time.",
    Reason.DID_NOT_HELP: "The Runbook was carried out here three times in a row within a day, and did not help.",
    Reason.MANAGED_ELSEWHERE: "A delivery tool or an autoscaler decides about the target, and would put its own values back.",
    Reason.UNDO_CONFLICT: "Somebody else has written the field since; their value is not overwritten.",
    Reason.POLICY_NOT_READY: "The policy or its Runbook cannot be used; its condition `Ready` says why.",
    Reason.OUT_OF_BOUNDS: "More than the step, a quota or a LimitRange allows, or too long a list; nothing is cut to fit.",
    Reason.DISRUPTION_BUDGET: "A PodDisruptionBudget does not allow another pod to go.",
    Reason.IN_GRACE: "The policy's `grace` has not passed.",
    Reason.AWAITING_APPROVAL: "People must agree first.",
    Reason.AWAITING_HUMAN: "A person must answer or do something first.",
    Reason.DENIED: "Somebody who may deny the plan has denied it.",
    Reason.EXPIRED: "Not enough people agreed in time, or the change had not begun by then.",
    Reason.STOPPED: "Somebody has stopped the run.",
    Reason.FACT_UNKNOWN: "Something that must be known could not be read. Unknown is not yes, and not no.",
}

OUTCOMES: Final[Mapping[RunOutcome, str]] = {
    RunOutcome.REMEDIATED: "A remedy was carried out, and was seen to help.",
    RunOutcome.NOT_NEEDED: "The alert resolved before the first change, or the Runbook found nothing to do.",
    RunOutcome.DONE: "A remedy was carried out; there was no alert and no `verify` to tell whether it helped.",
    RunOutcome.DRY_RUN: "Nothing was changed; the record shows what would have been.",
    RunOutcome.DIAGNOSED: "Nothing was changed, as only a diagnosis was asked for.",
    RunOutcome.NO_REMEDY: "No remedy fitted.",
    RunOutcome.REFUSED: "A guard refused the change.",
    RunOutcome.DENIED: "Somebody said no.",
    RunOutcome.EXPIRED: "Nobody answered in time.",
    RunOutcome.UNDONE: "The remedy did not help and was taken back.",
    RunOutcome.FAILED: "The remedy failed, or did not help and was kept.",
    RunOutcome.INCONCLUSIVE: "Whether it happened, or helped, cannot be told: a person decides.",
    RunOutcome.HANDED_OVER: "A person has to go on.",
    RunOutcome.STOPPED: "It was stopped by a person or a switch.",
    RunOutcome.COVERED: "It brought nothing that an earlier run had not recorded.",
    RunOutcome.SUPERSEDED: "Another run of the same episode was open.",
    RunOutcome.TARGET_GONE: "The target vanished.",
    RunOutcome.TARGET_CHANGED: "The target was replaced or altered by somebody else.",
    RunOutcome.POLICY_NOT_READY: "The policy or its Runbook could not be used.",
}

_CLASSES: Final[Mapping[ActionClass, str]] = {
    ActionClass.READ: "Reads. Stands in `diagnose`, and in the steps of a remedy.",
    ActionClass.CHANGE: "Changes something. Stands in the steps of a remedy.",
    ActionClass.MESSAGE: "Tells somebody. Stands in the steps of a remedy, in `otherwise` and in `finally`.",
}


def actions_page(actions: Iterable[ActionInfo]) -> str:
    """One section per action."""
    known = sorted(actions, key=lambda info: info.name)
    common = step((), NO_ACTIONS)
    lines = [
        HEADER,
        "# Actions\n",
        "## Steps\n",
        "A step has a name, one action, and any of the fields below it. Where a value is text, it may hold `${…}`; a",
        "field that *is* an expression holds bare CEL.\n",
        *_table(_fields({"properties": common["properties"]}, "", skip=NO_ACTIONS), ("Field", "Type", "What it does")),
        "## All actions\n",
        "| Action | Class | What it does |\n|---|---|---|",
        *(f"| [{info.name}](#{info.name.lower()}) | {info.cls} | {info.summary} |" for info in known),
        *(f"| [{name}](#{name}) | – | {_first(common, name)} |" for name in NO_ACTIONS),
        "",
    ]
    for info in known:
        lines += _action(info)
    for name in NO_ACTIONS:
        lines += [f"## {name}\n", f"{common['properties'][name]['description']}\n"]
        lines += _table(_fields(common["properties"][name], ""), ("Field", "Type", "What it does"))
    return _page(lines)


def _first(common: Schema, name: str) -> str:
    return str(common["properties"][name]["description"]).partition("\n")[0]


def _action(info: ActionInfo) -> Iterator[str]:
    yield f"## {info.name}\n"
    yield f"{info.summary} {_CLASSES[info.cls]}\n"
    if info.targets:
        yield f"- Targets: {', '.join(info.targets)}"
    if info.changes:
        yield f"- Undo: {'puts back what it replaced' if info.undoable else 'none'}"
        yield f"- Pods: {'are replaced' if info.replaces_pods else 'stay'}"
        yield f"- After a crash: {_AFTER_CRASH[info.recognisable]}"
    for permission in sorted(info.permissions):
        resource = f"{permission.resource}.{permission.group}" if permission.group else permission.resource
        yield f"- Needs: {', '.join(permission.verbs)} on {resource}"
    yield ""
    fields = list(_fields(structural(info.parameters), ""))
    if fields:
        yield from _table(fields, ("Parameter", "Type", "What it does"))
    else:
        yield f"It has no parameters: `{info.name}: {{}}`\n"
    outputs = output_models(info.name)
    for output in outputs:
        what = inspect.cleandoc(output.__doc__ or "").partition("\n")[0]
        yield "What expressions see:\n" if len(outputs) == 1 else f"What expressions see, where it is this: {what}\n"
        yield from _table(_fields(structural(output, record=True), ""), ("Output", "Type", "What it is"))


_AFTER_CRASH: Final = {
    True: "it is told from the object whether it happened",
    False: "whether it happened cannot be told, so it is not repeated and a person decides",
}


def kinds_page(crds: Mapping[str, Mapping[str, Any]]) -> str:
    """One section per kind, then what the words in their records mean."""
    lines = [
        HEADER,
        "# Kinds\n",
        "`kubectl explain` shows the same. A field that is required is marked with `*`; a duration is Go's, such as `1h30m`.\n",
    ]
    for served in KINDS:
        crd = crds[served.kind.plural]
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        scope = "in a namespace" if served.kind.namespaced else "cluster-wide"
        lines += [
            f"## {served.kind.kind}\n",
            f"{served.description}\n",
            f"Short name `{served.short}`; lives {scope}.\n",
        ]
        for part in ("spec", "status") if served.status is not None else ("spec",):
            lines += [f"### {served.kind.kind} {part}\n"]
            lines += _table(_fields(schema["properties"][part], part), ("Field", "Type", "What it does"))
    lines += ["## Reasons\n", "Why something does not happen now: in conditions, events and metrics alike.\n"]
    lines += ["| Reason | Means |\n|---|---|", *(f"| {reason} | {REASONS[reason]} |" for reason in Reason), ""]
    lines += ["## Outcomes\n", "How a run ended, and whether the alerts that it recorded stay answered by it.\n"]
    lines += ["| Outcome | Means | Succeeded | Its alerts |\n|---|---|---|---|"]
    lines += [
        f"| {one} | {OUTCOMES[one]} | {'yes' if one.is_success else 'no'} | {_coverage(one)} |" for one in RunOutcome
    ]
    return _page(lines)


def _coverage(outcome: RunOutcome) -> str:
    if outcome.covers_until_policy_changes:
        return "stay answered until the policy changes"
    return "stay answered" if outcome.covers else "start again"


def _fields(schema: Schema, path: str, skip: Iterable[str] = ()) -> Iterator[tuple[str, str, str]]:
    uses = "a step has exactly one action" in str(schema.get("x-kubernetes-validations", ""))
    if uses:
        names = [f"[{name}](actions.md#{name.lower()})" for name in schema["properties"] if name not in _COMMON]
        yield f"`{path}.ACTION`*", "object", f"Exactly one of {', '.join(names)}."
        yield f"`{path}.…`", "", "The other fields of a step: [steps](actions.md#steps)."
        return
    for name, field in schema.get("properties", {}).items():
        if name in skip:
            continue
        here = f"{path}.{name}" if path else name
        star = "*" if name in schema.get("required", ()) else ""
        yield f"`{here}`{star}", _type(field), _said(field)
        inner = field.get("items", field)
        yield from _fields(inner, f"{here}[]" if "items" in field else here)
        if isinstance(values := field.get("additionalProperties"), Mapping):
            yield from _fields(dict(values), f"{here}.NAME")


_COMMON: Final = frozenset(step(())["properties"])


def _type(field: Schema) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "integer or text"
    if "enum" in field:
        return " \\| ".join(f"`{one}`" for one in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if isinstance(values := field.get("additionalProperties"), Mapping):
        return f"map of {_type(dict(values))}"
    if "type" not in field:
        return "any"
    if field["type"] == "string":
        rules = field.get("x-kubernetes-validations", ())
        is_duration = field.get("pattern") == durations.PATTERN or any(
            "a duration is" in rule["message"] for rule in rules
        )
        return "duration" if is_duration else "time" if field.get("format") == "date-time" else "text"
    return str(field["type"])


def _said(field: Schema) -> str:
    limits = [
        words.format(field[key])
        for key, words in (
            ("minimum", "at least {}"),
            ("maximum", "at most {}"),
            ("minItems", "at least {} items"),
            ("maxItems", "at most {} items"),
            ("maxProperties", "at most {} entries"),
        )
        if key in field
    ]
    said = str(field.get("description", "")).replace("|", "\\|")
    return f"{said} ({', '.join(limits)})" if limits else said


def _table(rows: Iterable[tuple[str, str, str]], heads: tuple[str, str, str]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |\n|---|---|---|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _page(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"
