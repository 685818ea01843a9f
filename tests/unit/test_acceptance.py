"""What is refused when a Runbook, an AlertPolicy or a Guardrail is accepted, and what it says."""

import copy
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from remediator.domain.actions import ActionClass, ActionInfo, Output, OutputPart, Parameters
from remediator.domain.errors import InvalidManifest, Problem
from remediator.domain.expressions import Missing, Truth, Values
from remediator.domain.objects import WORKLOADS
from remediator.domain.policies import Mode
from remediator.domain.runbooks import IfNotHelped
from remediator.domain.runs import RunTarget
from remediator.engine.acceptance import (
    AcceptedPolicy,
    AcceptedRunbook,
    CompiledTarget,
    accept_guardrail,
    accept_policy,
    accept_runbook,
    is_shared,
)

IntOrTemplate = int | Annotated[str, Field(pattern=r"^\$\{")]


class PodPart(OutputPart):
    name: str = ""
    ready: bool = True
    restarts: int = 0


class PodsOutput(Output):
    items: tuple[PodPart, ...] = ()


class GetParameters(Parameters):
    kind: str = "Pod"
    limit: int = 200
    selector: str | None = None


class NoParameters(Parameters):
    pass


class ScaleParameters(Parameters):
    replicas: IntOrTemplate = Field(description="How many.")
    floor: int = Field(default=0, ge=0)


class Bound(Parameters):
    factor: float = 1.0
    max: str | None = None


class SetParameters(Parameters):
    limits: dict[str, str | Bound] = Field(default_factory=dict)
    values: list[str] = Field(default_factory=list)


class TellParameters(Parameters):
    to: Annotated[str, Field(pattern=r"^[a-z-]+$")]
    message: str | None = None


class Shelf:
    """A few actions, one of every sort."""

    def __init__(self) -> None:
        infos = (
            ActionInfo("get", ActionClass.READ, "Read.", GetParameters, output=PodsOutput),
            ActionInfo("restart", ActionClass.CHANGE, "Roll.", NoParameters, targets=WORKLOADS, replaces_pods=True),
            ActionInfo("scale", ActionClass.CHANGE, "Scale.", ScaleParameters, targets=WORKLOADS, undoable=True),
            ActionInfo("setLimits", ActionClass.CHANGE, "Set.", SetParameters, undoable=True, replaces_pods=True),
            ActionInfo("cordon", ActionClass.CHANGE, "Cordon.", NoParameters, targets=("Node",), undoable=True),
            ActionInfo("notify", ActionClass.MESSAGE, "Tell.", TellParameters),
        )
        self._infos = {info.name: info for info in infos}

    def info(self, name: str) -> ActionInfo:
        return self._infos[name]

    def names(self, cls: ActionClass) -> tuple[str, ...]:
        return tuple(name for name, info in self._infos.items() if info.cls is cls)

    def output_model(
        self, name: str, parameters: Parameters | None = None, targets: Sequence[str] = ()
    ) -> type[Output] | None:
        return self._infos[name].output


SHELF = Shelf()

RUNBOOK: dict[str, Any] = {
    "description": "Pods are not ready.",
    "sharedWith": ["shop", "team-*"],
    "targets": ["Deployment"],
    "parameters": [
        {"name": "least", "type": "int", "default": 2, "minimum": "1"},
        {"name": "other", "type": "reference"},
        {"name": "zone", "type": "string", "required": True},
    ],
    "diagnose": [{"name": "pods", "get": {"kind": "Pod"}}],
    "variables": [{"name": "broken", "expression": "diagnosis.pods.items.filter(p, !p.ready)"}],
    "remedies": [
        {
            "name": "more",
            "when": "variables.broken.size() > 0",
            "steps": [{"name": "grow", "scale": {"replicas": "${params.least + 1}"}}],
        },
        {
            "name": "again",
            "when": 'run.remedy == "more"',
            "steps": [
                {"name": "roll", "restart": {}},
                {"name": "settle", "wait": {"until": "latest.pods.items.all(p, p.ready)", "within": "5m"}},
                {
                    "name": "say",
                    "when": "steps.settle.ok",
                    "notify": {"to": "team", "message": "rolled ${target.name}"},
                },
            ],
        },
    ],
    "otherwise": [{"name": "page", "notify": {"to": "on-call"}}],
    "finally": [{"name": "log", "when": "steps.grow.ran", "notify": {"to": "team", "message": "${run.outcome}"}}],
}

POLICY: dict[str, Any] = {
    "matchers": ['alertname="KubePodNotReady"', 'severity=~"critical|warning"'],
    "when": 'alert.labels[?"container"].orValue("") != "debug"',
    "runbookRef": {"name": "not-ready", "namespace": "platform"},
    "parameters": {"zone": "a"},
    "mode": "Automatic",
    "serviceAccountName": "shop-remediator",
}


def changed(base: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """
    A copy with other values at these paths: `remedies__0__steps__0__scale` is a path.

    A value that is `...` takes the field away.
    """
    made = copy.deepcopy(dict(base))
    for path, value in changes.items():
        *front, last = [int(key) if key.isdigit() else key.removesuffix("_") for key in path.split("__")]
        holder: Any = made
        for key in front:
            holder = holder[key]
        if value is ...:
            del holder[last]
        elif isinstance(holder, list) and last == len(holder):
            holder.append(value)
        else:
            holder[last] = value
    return made


def runbook(**changes: Any) -> AcceptedRunbook:
    return accept_runbook("platform", "not-ready", "uid-1", 3, changed(RUNBOOK, **changes), SHELF)


def runbook_problems(**changes: Any) -> tuple[Problem, ...]:
    with pytest.raises(InvalidManifest) as refused:
        runbook(**changes)
    return refused.value.problems


def policy(
    name: str = "not-ready",
    namespace: str = "shop",
    book: AcceptedRunbook | None = None,
    can_ask: bool = True,
    **changes: Any,
) -> AcceptedPolicy:
    return accept_policy(
        namespace, name, "uid-2", 1, changed(POLICY, **changes), book or runbook(), "remediator-system", can_ask=can_ask
    )


def policy_problems(**changes: Any) -> tuple[Problem, ...]:
    with pytest.raises(InvalidManifest) as refused:
        policy(**changes)
    return refused.value.problems


def step(name: str = "extra", **fields: Any) -> dict[str, Any]:
    return {"name": name, **fields}


def one_remedy(*steps: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    return [{"name": "only", "steps": list(steps), **fields}]


def without_history(**changes: Any) -> dict[str, Any]:
    """A Runbook whose `finally` names no step, for cases that take the steps away."""
    return {"finally_": [], **changes}


RUNBOOK_REFUSALS: dict[str, tuple[dict[str, Any], str, str]] = {
    # the shape
    "an unknown field, with the nearest one": (
        {"diagnos": []},
        "spec.diagnos",
        "there is no such field; did you mean diagnose?",
    ),
    "a missing field": ({"targets": ...}, "spec.targets", "is required"),
    "a list that must not be empty": ({"targets": []}, "spec.targets", "needs at least 1 entry"),
    "a string where a list stands": ({"targets": "Deployment"}, "spec.targets", 'must be a list, is "Deployment"'),
    "a boolean that YAML made of `on`": (
        {"description": True},
        "spec.description",
        "must be a string, is true: write it in quotes, because YAML reads yes, no, on and off as true and false",
    ),
    "a key that YAML made of `on`": (
        {"diagnose__0": {"name": "pods", "get": {"true": 1}}},
        "spec.diagnose[0].get.true",
        "write the key in quotes",
    ),
    "a number in quotes": (
        {"diagnose__0__maxItems": "3"},
        "spec.diagnose[0].maxItems",
        'must be a whole number, is "3": write it without quotes',
    ),
    "a number that is no duration": (
        {"diagnose__0__timeout": 10},
        "spec.diagnose[0].timeout",
        'such as "90s"',
    ),
    "a duration that is a template": (
        {"diagnose__0__timeout": "${params.least}"},
        "spec.diagnose[0].timeout",
        "is a template: `${…}` stands only in strings; write the value itself",
    ),
    "an enum in the wrong case": (
        {"remedies__0__ifNotHelped": "undo"},
        "spec.remedies[0].ifNotHelped",
        'must be Undo, Keep, TryNext or KeepAndTryNext, is "undo"; did you mean Undo?',
    ),
    "a name that is no identifier": (
        {"remedies__0__name": "more-pods"},
        "spec.remedies[0].name",
        "a name begins with a small letter and has letters and digits only",
    ),
    "a step without an action": (
        {"diagnose__1": {"name": "nothing"}},
        "spec.diagnose[1]",
        "a step has exactly one action, this one has none",
    ),
    "a step with two actions": (
        {"diagnose__1": {"name": "both", "get": {}, "restart": {}}},
        "spec.diagnose[1]",
        "this one has `get`, `restart`",
    ),
    "an action written as a value": (
        {"diagnose__1": {"name": "roll", "action": "restart"}},
        "spec.diagnose[1]",
        "an action is a key of its own beside the name, such as `restart: {}`",
    ),
    "a remedy that does nothing": (
        {"remedies__1": {"name": "nothing"}},
        "spec.remedies[1]",
        "give `steps`, or `conclude: NotNeeded`",
    ),
    # actions
    "an unknown action, with the nearest one": (
        {"remedies__1__steps__0": step("roll", restrat={})},
        "spec.remedies[1].steps[0].restrat",
        "there is no action restrat; did you mean restart?",
    ),
    "an unknown action that is like none": (
        {"diagnose__1": step(xyzzy={})},
        "spec.diagnose[1].xyzzy",
        "there is no action xyzzy; there are ask, get",
    ),
    "a change among the diagnostics": (
        {"diagnose__1": step(restart={})},
        "spec.diagnose[1].restart",
        "restart changes something, and diagnostics only read: move it to the `steps` of a remedy",
    ),
    "a message among the diagnostics": (
        {"diagnose__1": step(notify={"to": "team"})},
        "spec.diagnose[1].notify",
        "notify is a message, and diagnostics only read",
    ),
    "a wait among the diagnostics": (
        {"diagnose__1": step(wait={"for": "1m"})},
        "spec.diagnose[1].wait",
        "a wait stands only among the steps of a remedy",
    ),
    "a read in otherwise": (
        {"otherwise__1": step(get={})},
        "spec.otherwise[1].get",
        "get only reads, and `otherwise` holds messages and `manual` only: move it to `diagnose`",
    ),
    "a change in finally": (
        {"finally__1": step(restart={})},
        "spec.finally[1].restart",
        "restart changes something, and `finally` holds messages and `manual` only",
    ),
    "a wait in finally": ({"finally__1": step(wait={"for": "1m"})}, "spec.finally[1].wait", "remove it from `finally`"),
    # parameters of actions
    "an unknown parameter of an action": (
        {"remedies__0__steps__0__scale": {"replica": 3}},
        "spec.remedies[0].steps[0].scale.replica",
        "there is no such field; did you mean replicas?",
    ),
    "a missing parameter of an action": (
        {"remedies__0__steps__0__scale": {}},
        "spec.remedies[0].steps[0].scale.replicas",
        "is required",
    ),
    "a parameter out of its bounds": (
        {"remedies__0__steps__0__scale": {"replicas": 1, "floor": -1}},
        "spec.remedies[0].steps[0].scale.floor",
        "must be at least 0, is -1",
    ),
    "a template where the schema has a number": (
        {"remedies__0__steps__0__scale": {"replicas": 1, "floor": "${params.least}"}},
        "spec.remedies[0].steps[0].scale.floor",
        "must be a whole number, is a template",
    ),
    "a text around a template that must be a number": (
        {"remedies__0__steps__0__scale": {"replicas": "${params.least}0"}},
        "spec.remedies[0].steps[0].scale.replicas",
        "must be a whole number, or a lone `${…}` that is one",
    ),
    "a template of another type than a number": (
        {"remedies__0__steps__0__scale": {"replicas": "${params.zone}"}},
        "spec.remedies[0].steps[0].scale.replicas",
        "must be a whole number; ${params.zone} is string",
    ),
    "a template of another type than a string": (
        {"diagnose__0__get": {"selector": "${params.least}"}},
        "spec.diagnose[0].get.selector",
        "must be a string; ${params.least} is a whole number; write string(…) around it",
    ),
    "a part of a nested parameter": (
        {"remedies__0__steps__0": step("grow", setLimits={"limits": {"memory": {"factr": 2}}})},
        "spec.remedies[0].steps[0].setLimits.limits.memory.factr",
        "there is no such field; did you mean factor?",
    ),
    "a nested parameter that fits no type": (
        {"remedies__0__steps__0": step("grow", setLimits={"limits": {"memory": True}})},
        "spec.remedies[0].steps[0].setLimits.limits.memory",
        "must be a string or a map, is true: write it in quotes",
    ),
    "a snake_case parameter": (
        {"remedies__1__steps__1": step("settle", wait={"until": "true", "within": "5m", "on_timeout": "Fail"})},
        "spec.remedies[1].steps[1].wait.on_timeout",
        "there is no such field; did you mean onTimeout?",
    ),
    "a wait without an end": (
        {"remedies__1__steps__1": step("settle", wait={"until": "true"})},
        "spec.remedies[1].steps[1].wait",
        "`until` needs `within`: nothing waits for ever",
    ),
    "a wait with a target": (
        {"remedies__1__steps__1__target": {"kind": "Deployment", "name": "x"}},
        "spec.remedies[1].steps[1].target",
        "a wait is about no object",
    ),
    "a wait with a timeout": (
        {"remedies__1__steps__1__timeout": "5m"},
        "spec.remedies[1].steps[1].timeout",
        "a wait ends after its own `within` or `for`",
    ),
    "a timeout of nothing": ({"diagnose__0__timeout": "0s"}, "spec.diagnose[0].timeout", "must be longer than 0s"),
    # expressions
    "a misspelt field in an expression": (
        {"remedies__0__when": "diagnosis.pods.itms.size() > 0"},
        "spec.remedies[0].when",
        "1:15: undefined field 'itms'; did you mean 'items'?",
    ),
    "a misspelt diagnostic in an expression": (
        {"remedies__0__when": "diagnosis.pod.items.size() > 0"},
        "spec.remedies[0].when",
        "there is no diagnostic 'pod'; did you mean 'pods'?",
    ),
    "an expression that is no condition": (
        {"remedies__0__when": "variables.broken.size()"},
        "spec.remedies[0].when",
        "must be true or false, is int",
    ),
    "an expression that does not parse": ({"remedies__0__when": "1 +"}, "spec.remedies[0].when", "1:"),
    "a second reading where the remedy is chosen": (
        {"remedies__0__when": "latest.pods.items.size() > 0"},
        "spec.remedies[0].when",
        "'latest' may not be used in a remedy's when",
    ),
    "the clock in the plan": (
        {"remedies__0__steps__0__scale": {"replicas": '${now > timestamp("2026-01-01T00:00:00Z") ? 1 : 2}'}},
        "spec.remedies[0].steps[0].scale.replicas",
        "'now' may not be used in the plan",
    ),
    "the result of a step in the plan": (
        {"remedies__1__steps__1": step("more2", scale={"replicas": "${steps.roll.ok ? 1 : 2}"})},
        "spec.remedies[1].steps[1].scale.replicas",
        "'steps' may not be used in the plan",
    ),
    "a later step in a condition": (
        {"remedies__1__steps__0__when": "steps.settle.ok"},
        "spec.remedies[1].steps[0].when",
        "steps.settle does not come before this",
    ),
    "a step of another remedy in a condition": (
        {"remedies__1__steps__0__when": "steps.grow.ok"},
        "spec.remedies[1].steps[0].when",
        "steps.grow does not come before this",
    ),
    "a wrong variable, at its place": (
        {"variables__0__expression": "diagnosis.pods.itms"},
        "spec.variables[0].expression",
        "undefined field 'itms'",
    ),
    "an expression in a message's text": (
        {"otherwise__0__notify": {"to": "on-call", "message": "${run.outcom}"}},
        "spec.otherwise[0].notify.message",
        "undefined field 'outcom'; did you mean 'outcome'?",
    ),
    "an item without forEach": (
        {"remedies__0__steps__0__target": {"kind": "Deployment", "name": "${item.name}"}},
        "spec.remedies[0].steps[0].target.name",
        "'item' may be used only where forEach stands",
    ),
    "a forEach over no list": (
        {"remedies__0__steps__0__forEach": "params.least"},
        "spec.remedies[0].steps[0].forEach",
        "must be a list, is int",
    ),
    "a misspelt field of an element": (
        {
            "remedies__0__steps__0__forEach": "diagnosis.pods.items",
            "remedies__0__steps__0__target": {"kind": "Deployment", "name": "${item.nme}"},
        },
        "spec.remedies[0].steps[0].target.name",
        "undefined field 'nme'; did you mean 'name'?",
    ),
    "a diagnostic that names itself": (
        {"diagnose__0__when": "diagnosis.pods.items.size() > 0"},
        "spec.diagnose[0]",
        "pods names its own output",
    ),
    "diagnostics that wait for one another": (
        {
            "diagnose": [
                step("pods", get={"selector": "x=${diagnosis.b.error}"}),
                step("b", when="variables.seen", get={}),
            ],
            "variables": [{"name": "seen", "expression": "diagnosis.pods.items.size() > 0"}],
            "remedies": [],
            "finally_": [],
        },
        "spec.diagnose[0]",
        "diagnostics wait for one another: pods names b, b names pods",
    ),
    # names
    "a name that two diagnostics bear": (
        {"diagnose__1": step("pods", get={})},
        "spec.diagnose[1].name",
        "pods is already the name of spec.diagnose[0]; choose another name",
    ),
    "a name that a diagnostic and a step bear": (
        {"remedies__0__steps__0__name": "pods"},
        "spec.remedies[0].steps[0].name",
        "pods is already the name of spec.diagnose[0]",
    ),
    "a name that a variable and a message bear": (
        {"otherwise__0__name": "broken"},
        "spec.otherwise[0].name",
        "broken is already the name of spec.variables[0]",
    ),
    "a name that two remedies bear": (
        {"remedies__1__name": "more"},
        "spec.remedies[1].name",
        "more is already the name of spec.remedies[0]",
    ),
    "a diagnostic that is called as a keyword": (
        {"diagnose__1": step("in", get={})},
        "spec.diagnose[1].name",
        "in is a word of CEL; choose another name",
    ),
    "a parameter that is called as a macro": (
        {"parameters__3": {"name": "map", "type": "string"}},
        "spec.parameters[3].name",
        "map is a word of CEL",
    ),
    # targets
    "a kind in small letters": ({"targets": ["deployment"]}, "spec.targets[0]", "a kind is spelled as in Deployment"),
    "a kind in the plural": ({"targets": ["Deployments"]}, "spec.targets[0]", '"Deployments" is spelled Deployment'),
    "a misspelt kind": (
        {"targets": ["Deploymnet"]},
        "spec.targets[0]",
        'there is no built-in kind "Deploymnet"; did you mean Deployment?',
    ),
    "a built-in kind with its group": (
        {"targets": ["deployment.apps"]},
        "spec.targets[0]",
        '"deployment.apps" is spelled Deployment',
    ),
    "a Secret as a target": ({"targets": ["Secret"]}, "spec.targets[0]", "Secrets are not read"),
    "an action on another kind than its own": (
        {"remedies__0__steps__0": step("grow", cordon={})},
        "spec.remedies[0].steps[0].cordon",
        "cordon is for Node, and the Runbook is about Deployment: give the step a `target`",
    ),
    "an action on a named object of another kind": (
        {"remedies__0__steps__0__target": {"kind": "Node", "name": "a"}},
        "spec.remedies[0].steps[0].target.kind",
        "scale is for Deployment, StatefulSet or DaemonSet, not for Node",
    ),
    "a misspelt kind of a step's target": (
        {"remedies__0__steps__0__target": {"kind": "deployments", "name": "a"}},
        "spec.remedies[0].steps[0].target.kind",
        '"deployments" is spelled Deployment',
    ),
    "a target without a kind": (
        {"remedies__0__steps__0__target": {"name": "a"}},
        "spec.remedies[0].steps[0].target.kind",
        "is required beside `name`",
    ),
    "a target from a parameter that is not declared": (
        {"remedies__0__steps__0__target": {"parameter": "othr"}},
        "spec.remedies[0].steps[0].target.parameter",
        "there is no parameter othr; did you mean other?",
    ),
    "a target from a parameter that is no reference": (
        {"remedies__0__steps__0__target": {"parameter": "zone"}},
        "spec.remedies[0].steps[0].target.parameter",
        "the parameter zone is a string; a target needs a reference",
    ),
    # forEach, approval, undo
    "a forEach in otherwise": (
        {"otherwise__0__forEach": "alerts"},
        "spec.otherwise[0].forEach",
        "forEach cannot stand in `otherwise`",
    ),
    "a forEach in finally": (
        {"finally__0__forEach": "alerts"},
        "spec.finally[0].forEach",
        "forEach cannot stand in `finally`",
    ),
    "a maxItems without forEach": (
        {"remedies__0__steps__0__maxItems": 3},
        "spec.remedies[0].steps[0].maxItems",
        "maxItems bounds forEach, which is missing",
    ),
    "an approval for a remedy that changes nothing": (
        {"remedies__0": {"name": "nothing", "conclude": "NotNeeded", "approval": {"count": 1}}},
        "spec.remedies[0].approval",
        "a remedy that concludes changes nothing, so there is nothing to approve",
    ),
    "an approval for a message": (
        {"otherwise__0__approval": {"groups": ["sre"]}},
        "spec.otherwise[0].approval",
        "changes nothing, so there is nothing to approve",
    ),
    "a question that nobody could answer in time": (
        {"remedies__0__approval": {"expires": "0s"}},
        "spec.remedies[0].approval.expires",
        "must be longer than 0s",
    ),
    "a question about a step that nobody could answer in time": (
        {"remedies__1__steps__0__approval": {"expires": "0s"}},
        "spec.remedies[1].steps[0].approval.expires",
        "must be longer than 0s",
    ),
    "an undo where a change has none": (
        {"remedies__1__ifNotHelped": "Undo"},
        "spec.remedies[1].ifNotHelped",
        "restart cannot be taken back: write Keep, TryNext or KeepAndTryNext",
    ),
    # questions to people
    "a question in otherwise": (
        {"otherwise__0": {"name": "why", "ask": {"question": "Why?"}}},
        "spec.otherwise[0].ask",
        "ask stands in diagnose or steps, not in `otherwise`",
    ),
    "something to do among the diagnostics": (
        {"diagnose__1": step(manual={"do": "Look."})},
        "spec.diagnose[1].manual",
        "manual stands in steps, otherwise or finally, not in `diagnose`",
    ),
    "a question with answers and a pattern": (
        {"diagnose__1": step(ask={"question": "Why?", "answers": ["a"], "pattern": "b"})},
        "spec.diagnose[1].ask",
        "give either `answers` or `pattern`",
    ),
    "a default that is no answer": (
        {"diagnose__1": step(ask={"question": "Why?", "answers": ["a"], "default": "b"})},
        "spec.diagnose[1].ask",
        "`default`: must be one of a, is b",
    ),
    "a default that does not match": (
        {"diagnose__1": step(ask={"question": "How many?", "pattern": "[0-9]+", "default": "3 or 4"})},
        "spec.diagnose[1].ask",
        "`default`: must match [0-9]+ as a whole, is 3 or 4",
    ),
    "an answer's pattern that is none": (
        {"diagnose__1": step(ask={"question": "Why?", "pattern": "("})},
        "spec.diagnose[1].ask",
        "is not a regular expression of RE2",
    ),
    "a question that nobody has time for": (
        {"diagnose__1": step(ask={"question": "Why?", "within": "0s"})},
        "spec.diagnose[1].ask.within",
        "must be longer than 0s",
    ),
    "a question about what is not read yet": (
        {"diagnose__1": step(ask={"question": "Why ${string(diagnosis.pods.known)}?"})},
        "spec.diagnose[1].ask",
        "people are asked before anything is read, so diagnosis.pods is not known",
    ),
    "a misspelt answer": (
        {
            "diagnose__1": {"name": "planned", "ask": {"question": "Is it?"}},
            "remedies__0__when": 'diagnosis.planned.anser == "x"',
        },
        "spec.remedies[0].when",
        "did you mean 'answer'?",
    ),
    "an answer that is taken for a number": (
        {
            "diagnose__1": {"name": "planned", "ask": {"question": "How many?"}},
            "remedies__0__when": "diagnosis.planned.answer > 3",
        },
        "spec.remedies[0].when",
        "'>' cannot be applied to (string, int)",
    ),
    "a question for each of a list": (
        {"diagnose__1": {**step(ask={"question": "Why?"}), "forEach": "alerts"}},
        "spec.diagnose[1].forEach",
        "people are asked once",
    ),
    # checks
    "a check that must hold longer than it may take": (
        {"verify": [{"alertResolved": {"quietFor": "1h", "within": "30m"}}]},
        "spec.verify[0].alertResolved.quietFor",
        "is longer than `within`, so that it could never hold",
    ),
    "a check of a Runbook without remedies": (
        {"remedies": [], "finally_": [], "verify": [{"rollout": {"within": "0s"}}]},
        "spec.verify[0].rollout.within",
        "must be longer than 0s",
    ),
    "a check that may take no time": (
        {"remedies__0__verify": [{"rollout": {"within": "0s"}}]},
        "spec.remedies[0].verify[0].rollout.within",
        "must be longer than 0s",
    ),
    "a check that is made too often": (
        {"verify": [{"check": {"that": "true", "every": "10ms"}}]},
        "spec.verify[0].check.every",
        "must be at least 1s",
    ),
    "a bound that is no number": (
        {"verify": [{"promql": {"query": "up", "below": "much"}}]},
        "spec.verify[0].promql.below",
        'must be a number in quotes, such as "0.95", is "much"',
    ),
    "a step in a check": (
        {"verify": [{"check": {"that": "steps.roll.ok"}}]},
        "spec.verify[0].check.that",
        "'steps' may not be used in verify",
    ),
    "a misspelt template in a query": (
        {"verify": [{"promql": {"query": "up{pod='${target.nam}'}", "below": "1"}}]},
        "spec.verify[0].promql.query",
        "undefined field 'nam'; did you mean 'name'?",
    ),
    # sharing
    "a star in the middle": (
        {"sharedWith": ["*-prod"]},
        "spec.sharedWith[0]",
        '"*-prod" is neither a namespace nor the beginning of one: write shop, team-* or "*"',
    ),
}


@pytest.mark.parametrize("promise", RUNBOOK_REFUSALS)
def test_a_runbook_is_refused_with_path_and_sentence(promise: str) -> None:
    changes, path, sentence = RUNBOOK_REFUSALS[promise]

    problems = runbook_problems(**changes)

    said = {problem.path: problem.message for problem in problems}
    assert path in said, said
    assert sentence in said[path]


POLICY_REFUSALS: dict[str, tuple[dict[str, Any], str, str]] = {
    "a name that is too long for its runs": (
        {"name": "a" * 41},
        "metadata.name",
        "has at most 40 characters, this one has 41",
    ),
    "a matcher without an operator": (
        {"matchers": ["KubePodNotReady"]},
        "spec.matchers[0]",
        'write NAME="value" with one of the operators',
    ),
    "a matcher whose expression is none": ({"matchers": ['a=~"("']}, "spec.matchers[0]", "is not a regular expression"),
    "no matcher at all": ({"matchers": []}, "spec.matchers", "needs at least 1 entry"),
    "Approve without an account": (
        {"mode": "Approve", "serviceAccountName": ...},
        "spec.serviceAccountName",
        "Approve needs the account that reads and changes: name it, or write `mode: DryRun`",
    ),
    "Approve where nobody can be asked": (
        {"mode": "Approve", "can_ask": False},
        "spec.freshFor",
        "neither Alertmanager nor Prometheus is configured",
    ),
    "a mode that YAML made of `on`": ({"mode": True}, "spec.mode", "write it in quotes"),
    "a mode in the wrong case": ({"mode": "automatic"}, "spec.mode", "did you mean Automatic?"),
    "Automatic without an account": (
        {"serviceAccountName": ...},
        "spec.serviceAccountName",
        "Automatic needs the account that reads and changes: name it, or write `mode: DryRun`",
    ),
    "no account outside of the operator's namespace": (
        {"serviceAccountName": ..., "mode": "DryRun"},
        "spec.serviceAccountName",
        "outside of the operator's namespace an account is needed even to read",
    ),
    "Automatic where nobody can be asked": (
        {"can_ask": False},
        "spec.freshFor",
        "neither Alertmanager nor Prometheus is configured",
    ),
    "an approval that expires at once": (
        {"approval": {"expires": "0s"}},
        "spec.approval.expires",
        "must be longer than 0s",
    ),
    "a share of pods in words": (
        {"limits": {"maxUnavailable": "quarter"}},
        "spec.limits.maxUnavailable",
        "a number of pods such as 1, or a share such as 25%",
    ),
    "an inhibition where nobody can be asked": (
        {"inhibitedBy": [{"matchers": ['a="b"']}], "can_ask": False},
        "spec.inhibitedBy",
        "neither Alertmanager nor Prometheus is configured",
    ),
    "an inhibition without an operator": (
        {"inhibitedBy": [{"matchers": ["a"]}]},
        "spec.inhibitedBy[0].matchers[0]",
        "write NAME=",
    ),
    "an inhibition by every alert": (
        {"inhibitedBy": [{"matchers": ['severity!="critical"']}]},
        "spec.inhibitedBy[0].matchers",
        "every alert would hold the policy's runs",
    ),
    "an inhibition on the frozen diagnosis": (
        {"inhibitedBy": [{"matchers": ["a=b"], "when": "diagnosis.pods.known"}]},
        "spec.inhibitedBy[0].when",
        "'diagnosis' may not be used in inhibitedBy[].when",
    ),
    "an inhibition on what the Runbook does not read": (
        {"inhibitedBy": [{"matchers": ["a=b"], "when": "latest.nodes.known"}]},
        "spec.inhibitedBy[0].when",
        "nodes",
    ),
    "a namespace that the Runbook is not shared with": (
        {"namespace": "finance"},
        "spec.runbookRef",
        "Runbook platform/not-ready is not shared with the namespace finance",
    ),
    "even the operator's namespace, where it is not shared": (
        {"namespace": "remediator-system"},
        "spec.runbookRef",
        "its `sharedWith` has to name it",
    ),
    "a parameter that is not declared": (
        {"parameters": {"zone": "a", "leest": 3}},
        "spec.parameters.leest",
        "the Runbook has no such parameter; did you mean least?",
    ),
    "a parameter of the wrong type": (
        {"parameters": {"zone": "a", "least": "3"}},
        "spec.parameters.least",
        'must be a whole number, is "3": write it without quotes',
    ),
    "a required parameter that is missing": ({"parameters": {}}, "spec.parameters.zone", "is required"),
    "a template in a parameter": (
        {"parameters": {"zone": "${alert.labels.zone}"}},
        "spec.parameters.zone",
        "`${…}` is not read in a parameter's value",
    ),
    "a condition over the diagnosis": (
        {"when": "diagnosis.pods.known"},
        "spec.when",
        "'diagnosis' may not be used in a policy's when",
    ),
    "a condition over a parameter that is not declared": (
        {"when": 'params.zne == "a"'},
        "spec.when",
        "there is no parameter 'zne'; did you mean 'zone'?",
    ),
    "a target that is found from more than the alert": (
        {"target": {"kind": "Deployment", "name": "${params.zone}"}},
        "spec.target.name",
        "params.zone may not be used in a policy's target, which is found from the alert alone",
    ),
    "a target from the target": (
        {"target": {"kind": "Deployment", "name": "${target.name}"}},
        "spec.target.name",
        "'target' may not be used in a policy's target",
    ),
    "a target of a kind that the Runbook is not about": (
        {"target": {"kind": "StatefulSet", "name": "x"}},
        "spec.target.kind",
        "the Runbook is about Deployment, not about StatefulSet",
    ),
    "a target in another namespace": (
        {"target": {"kind": "Deployment", "name": "x", "namespace": "bank"}},
        "spec.target.namespace",
        "a policy of the namespace shop is about its own namespace only",
    ),
    "a target without a namespace of its own": (
        {"target": {"kind": "Node", "name": "x"}},
        "spec.target.kind",
        "only policies in the operator's namespace may be about one",
    ),
    "a misspelt limit": ({"limits": {"per_hour": 3}}, "spec.limits.per_hour", "did you mean perHour?"),
}


@pytest.mark.parametrize("promise", POLICY_REFUSALS)
def test_a_policy_is_refused_with_path_and_sentence(promise: str) -> None:
    changes, path, sentence = POLICY_REFUSALS[promise]

    problems = policy_problems(**changes)

    said: dict[str, str] = {}
    for problem in problems:
        said[problem.path] = f"{said.get(problem.path, '')} {problem.message}"
    assert path in said, said
    assert sentence in said[path]


def test_the_example_is_accepted_without_a_warning() -> None:
    book = runbook()

    assert book.warnings == ()
    assert (book.namespace, book.name, book.uid, book.generation) == ("platform", "not-ready", "uid-1", 3)
    assert book.content == RUNBOOK


def test_the_frozen_content_is_accepted_again_as_it_was() -> None:
    book = runbook()

    again = accept_runbook(book.namespace, book.name, book.uid, book.generation, book.content, SHELF)

    assert again.spec == book.spec


@pytest.mark.parametrize(
    "step",
    [
        {"exec": {"argv": ["redis-cli", "FLUSHDB"]}},
        {"job": {"args": ["redis-cli", "FLUSHALL"]}},
        {"shell": {"command": "redis-cli FLUSHDB"}},
        {"deleteNamespace": {}},
    ],
    ids=["exec", "job", "shell", "deleteNamespace"],
)
def test_nothing_that_is_forbidden_whoever_asks_can_even_be_written(step: dict[str, Any]) -> None:
    problems = runbook_problems(remedies=one_remedy({"name": "flush", **step}))

    assert any("there is no action" in problem.message for problem in problems)


def test_every_problem_of_a_round_is_told_at_once() -> None:
    problems = runbook_problems(
        remedies__0__when="diagnosis.pods.itms.size() > 0",
        remedies__1__when="latest.pods.known",
        remedies__0__steps__0__scale={"replica": 1},
        sharedWith=["*x"],
    )

    assert [problem.path for problem in problems] == [
        "spec.sharedWith[0]",
        "spec.remedies[0].steps[0].scale.replicas",
        "spec.remedies[0].steps[0].scale.replica",
        "spec.remedies[0].when",
        "spec.remedies[1].when",
    ]


def test_diagnostics_are_read_after_those_they_name_even_through_a_variable() -> None:
    book = runbook(
        diagnose=[
            step("late", when="variables.broken.size() > 0", get={}),
            step("pods", get={}),
            step("other", get={}),
            step("last", get={"selector": "x=${diagnosis.late.error}"}),
        ]
    )

    assert [[one.name for one in wave] for wave in book.waves] == [["pods", "other"], ["late"], ["last"]]


def test_a_step_says_what_it_wants_to_have_read_again() -> None:
    _, settle, say = runbook().remedies[1].steps

    assert settle.reads == {"pods"}
    assert say.reads == frozenset()


def test_a_condition_sees_through_a_variable_what_is_read_again() -> None:
    book = runbook(
        variables__1={"name": "healed", "expression": "latest.pods.items.all(p, p.ready)"},
        remedies__1__steps__1__wait={"until": "variables.healed", "within": "1m"},
    )

    assert book.remedies[1].steps[1].reads == {"pods"}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([step(scale={"replicas": 1})], IfNotHelped.UNDO),
        ([step(scale={"replicas": 1}), step("two", restart={})], IfNotHelped.KEEP),
        ([step(notify={"to": "team"})], IfNotHelped.UNDO),
    ],
)
def test_without_a_word_it_is_undone_if_every_change_can_be(steps: list[dict[str, Any]], expected: IfNotHelped) -> None:
    book = runbook(remedies=one_remedy(*steps), finally_=[])

    assert book.remedies[0].if_not_helped is expected
    assert book.remedies[0].undoable is (expected is IfNotHelped.UNDO)


def test_without_a_word_a_rollout_is_verified_where_pods_are_replaced() -> None:
    scaled, rolled = runbook().remedies

    assert [check.check.kind for check in scaled.checks] == ["alert_resolved"]
    assert [check.check.kind for check in rolled.checks] == ["rollout", "alert_resolved"]
    assert scaled.checks_are_default


def test_a_remedys_own_checks_beat_the_runbooks_and_none_is_none() -> None:
    book = runbook(
        verify=[{"rollout": {}}],
        remedies__0__verify=[],
        remedies__1__verify=[{"check": {"that": "latest.pods.items.all(p, p.ready)"}}],
    )

    assert book.remedies[0].checks == ()
    assert [check.reads for check in book.remedies[1].checks] == [{"pods"}]


def test_what_cannot_be_typed_is_told_as_a_warning() -> None:
    book = runbook(remedies__0__when="target.status.readyReplicas == 0")

    assert book.warnings == (
        "spec.remedies[0].when: not every type is known, so a misspelt name shows only when it runs",
    )


def test_remedies_that_nothing_can_reach_are_told_as_a_warning() -> None:
    book = runbook(remedies__0__when=...)

    assert book.warnings == ("spec.remedies[0]: it has no `when`, so the remedies below it are never looked at",)


def test_a_runbook_that_only_informs_is_accepted() -> None:
    assert runbook(remedies=[], finally_=[]).remedies == ()


def test_a_remedy_may_conclude_that_nothing_has_to_be_done() -> None:
    book = runbook(
        remedies__0={"name": "fine", "when": "variables.broken.size() == 0", "conclude": "NotNeeded"}, finally_=[]
    )

    assert book.remedies[0].steps == ()


def test_every_use_of_an_action_is_listed_with_the_kinds_it_may_meet() -> None:
    book = runbook(remedies__0__steps__0__target={"parameter": "other"})

    assert [(use.action, use.targets) for use in book.uses][:3] == [
        ("get", ("Deployment",)),
        ("scale", ()),
        ("restart", ("Deployment",)),
    ]
    assert book.receivers == ("on-call", "team")


def test_expressions_over_an_unknown_world_are_unknown_and_do_not_raise() -> None:
    remedy = runbook().remedies[0]

    assert remedy.when is not None
    truth, missing = remedy.when.truth(Values())
    assert truth is Truth.UNKNOWN
    assert missing is not None
    assert isinstance(remedy.steps[0].parameters.evaluate(Values()), Missing)


# targets


def rendered(values: Values, **target: Any) -> RunTarget | Missing:
    book = runbook(remedies__0__steps__0=step("grow", setLimits={}, target=target), finally_=[])
    compiled = book.remedies[0].steps[0].target
    assert isinstance(compiled, CompiledTarget)
    return compiled.render(values, "shop")


def test_a_target_is_in_the_runs_namespace_unless_it_says_another() -> None:
    values = Values(params={"zone": "web"})

    assert rendered(values, kind="Deployment", name="${params.zone}") == RunTarget(
        kind="Deployment", namespace="shop", name="web"
    )
    assert rendered(values, kind="Deployment", name="a", namespace="bank") == RunTarget(
        kind="Deployment", namespace="bank", name="a"
    )
    assert rendered(values, kind="Node", name="a") == RunTarget(kind="Node", name="a")


def test_a_target_from_a_parameter_takes_all_of_it() -> None:
    values = Values(params={"other": {"kind": "StatefulSet", "name": "db", "namespace": "data"}})

    assert rendered(values, parameter="other") == RunTarget(kind="StatefulSet", namespace="data", name="db")


@pytest.mark.parametrize("name", ["../secrets/x", "", "a/b", "Upper", "a" * 254])
def test_a_rendered_text_that_names_no_object_is_missing(name: str) -> None:
    found = rendered(Values(params={"zone": name}), kind="Deployment", name="${params.zone}")

    assert isinstance(found, Missing)
    assert "is no object's name" in found.message


def test_a_rendered_kind_that_may_not_be_touched_is_missing() -> None:
    found = rendered(Values(params={"zone": "Secret"}), kind="${params.zone}", name="a")

    assert isinstance(found, Missing)
    assert "Secrets are not read" in found.message


def test_a_target_that_is_not_known_is_missing() -> None:
    assert isinstance(rendered(Values(), parameter="other"), Missing)
    assert isinstance(rendered(Values(params={}), parameter="other"), Missing)
    assert isinstance(rendered(Values(), kind="Deployment", name="${params.zone}"), Missing)


# policies


def test_a_policy_is_accepted_with_its_matchers_parameters_and_account() -> None:
    accepted = policy()

    assert [str(matcher) for matcher in accepted.matchers] == POLICY["matchers"]
    assert accepted.parameters == {"zone": "a", "least": 2}
    assert accepted.account == "system:serviceaccount:shop:shop-remediator"
    assert accepted.runbook.full_name == "platform/not-ready"
    assert accepted.warnings == ()


def test_a_policy_in_the_operators_namespace_may_read_without_an_account() -> None:
    book = runbook(sharedWith=["remediator-system"])
    accepted = policy(namespace="remediator-system", book=book, mode="DryRun", serviceAccountName=...)

    assert accepted.account == ""
    assert accepted.spec.mode is Mode.DRY_RUN


@pytest.mark.parametrize("limits", [{"cooldown": "1h"}, {"perHour": 20}, {"concurrent": 7}], ids=str)
def test_a_limit_is_honoured(limits: dict[str, Any]) -> None:
    assert policy(limits=limits).warnings == ()


def test_a_policy_that_says_how_fresh_an_alert_must_be_needs_nobody_to_ask() -> None:
    assert policy(can_ask=False, freshFor="5m").spec.fresh_for is not None
    assert policy(can_ask=False, mode="DryRun").spec.fresh_for is None


def test_a_policys_target_is_rendered_from_the_alert() -> None:
    accepted = policy(target={"kind": "Deployment", "name": "${alert.labels.app}"})
    assert accepted.target is not None

    found = accepted.target.render(Values(alert={"labels": {"app": "web"}}), "shop")

    assert found == RunTarget(kind="Deployment", namespace="shop", name="web")


def test_a_policy_without_its_runbook_says_why() -> None:
    with pytest.raises(InvalidManifest) as absent:
        accept_policy("shop", "p", "", 1, POLICY, None, "remediator-system", can_ask=True)
    with pytest.raises(InvalidManifest) as refused:
        accept_policy(
            "shop", "p", "", 1, POLICY, None, "remediator-system", can_ask=True, runbook_problem="it is broken"
        )

    assert [str(problem) for problem in absent.value.problems] == [
        "spec.runbookRef: there is no Runbook platform/not-ready"
    ]
    assert [str(problem) for problem in refused.value.problems] == ["spec.runbookRef: it is broken"]


@pytest.mark.parametrize(
    ("shared_with", "namespace", "expected"),
    [
        ([], "platform", True),
        ([], "shop", False),
        (["shop"], "shop", True),
        (["shop"], "shopping", False),
        (["team-*"], "team-a", True),
        (["team-*"], "team", False),
        (["team-*"], "my-team-a", False),
        (["*"], "anything", True),
        (["a", "b"], "b", True),
        ([], "remediator-system", False),
    ],
)
def test_a_runbook_is_used_by_its_own_namespace_and_by_whom_it_is_shared_with(
    shared_with: list[str], namespace: str, expected: bool
) -> None:
    assert is_shared("platform", shared_with, namespace) is expected


# Guardrails

GUARDRAIL_PROBLEMS: dict[str, tuple[dict[str, Any], str, str]] = {
    "an action that is none": ({"allow": ["restrat"]}, "spec.allow[0]", "did you mean restart?"),
    "an action that only reads": ({"allow": ["get"]}, "spec.allow[0]", "get changes nothing and needs no permission"),
    "an approval that expires at once": (
        {"approval": {"expires": "0s"}},
        "spec.approval.expires",
        "must be longer than 0s",
    ),
    "a freeze without a length": ({"freeze": [{"cron": "0 16 * * FRI"}]}, "spec.freeze[0]", "give both; until then"),
    "a freeze in no zone": (
        {"freeze": [{"cron": "0 16 * * FRI", "for": "64h", "timeZone": "Berlin"}]},
        "spec.freeze[0].timeZone",
        "there is no time zone 'Berlin': write an IANA name",
    ),
    "a storm in no time": ({"storm": {"within": "0s"}}, "spec.storm.within", "in no time there is no storm"),
}


@pytest.mark.parametrize("promise", GUARDRAIL_PROBLEMS)
def test_a_guardrail_says_what_it_cannot_do_and_still_stands(promise: str) -> None:
    spec, path, sentence = GUARDRAIL_PROBLEMS[promise]

    guardrail, problems = accept_guardrail("production", spec, SHELF)

    assert guardrail.spec is not None
    assert [problem.path for problem in problems] == [path]
    assert sentence in problems[0].message


@pytest.mark.parametrize(
    "spec",
    [
        {"allow": "restart"},
        {"alow": ["restart"]},
        {"maxMode": "off"},
        {"namespaceSelector": {"matchExpressions": [{"key": "env", "operator": "In"}]}},
        {"namespaceSelector": {"matchExpressions": [{"key": "env", "operator": "NotIn", "values": []}]}},
        {"namespaceSelector": {"matchExpressions": [{"key": "env", "operator": "Exists", "values": ["a"]}]}},
        {"namespaceSelector": {"matchExpressions": [{"key": "env", "operator": "in", "values": ["a"]}]}},
    ],
)
def test_a_guardrail_that_cannot_be_read_has_no_spec_and_so_allows_nothing(spec: dict[str, Any]) -> None:
    guardrail, problems = accept_guardrail("production", spec, SHELF)

    assert guardrail.spec is None
    assert problems


def test_a_plain_guardrail_has_no_problems() -> None:
    spec: Any = {"namespaceSelector": {"matchLabels": {"env": "prod"}}, "allow": ["restart"], "maxMode": "Automatic"}

    assert accept_guardrail("production", spec, SHELF)[1] == ()


# whatever people write

JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**70,
    float("nan"),
    "",
    "${",
    "${diagnosis}",
    "$${x",
    "\x00",
    "\ud800",
    "(" * 50,
    "[" * 3_000,
    "in",
    "5m",
    "999999999h",
    [],
    [[]],
    {},
    {"": 1},
    {"true": {}},
    {"name": "x"},
    ["x"] * 300,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a manifest, as the keys that lead to it."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, inner in below for place in places(inner, (*at, key)))]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_written_is_accepted_or_told_where_it_is_wrong(data: st.DataObject) -> None:
    made: Any = {"spec": copy.deepcopy(RUNBOOK)}
    *front, last = data.draw(st.sampled_from(places(made)[1:]))
    holder = made
    for key in front:
        holder = holder[key]
    holder[last] = data.draw(st.sampled_from(JUNK))

    try:
        accept_runbook("platform", "not-ready", "uid-1", 3, made["spec"], SHELF)
    except InvalidManifest as refused:
        assert refused.problems
        assert all(problem.path.startswith("spec") for problem in refused.problems)


def test_when_a_date_of_yaml_stands_where_a_string_is_meant_it_is_read_as_kubectl_does() -> None:
    book = runbook(description=datetime(2026, 1, 1, tzinfo=UTC))

    assert book.spec.description.startswith("2026-01-01")
