"""
What the API server checks beyond the shape of a field, with the sentence that a person gets.

A bare pattern is a poor answer ("should match '^[a-z]…'"), so patterns are CEL rules with words. All
of these hold in the models too; they stand here so that `kubectl apply` refuses at once what
the operator could only complain about afterwards.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from remediator.actions.diagnostics.probe import ProbeParameters
from remediator.domain import durations, fields
from remediator.domain.approvals import Approval
from remediator.domain.expressions.places import RESERVED
from remediator.domain.fields import SHARE_PATTERN
from remediator.domain.freezes import Freeze
from remediator.domain.guardrails import GuardrailSpec, SelectorRequirement
from remediator.domain.objects import BUILT_IN
from remediator.domain.policies import AlertPolicySpec, Inhibition
from remediator.domain.questions import Ask, Manual
from remediator.domain.replies import ReplySpec
from remediator.domain.runbooks import (
    Check,
    Parameter,
    PromqlCheck,
    Remedy,
    RunbookSpec,
    Step,
    StepTarget,
    Variable,
    Wait,
)
from remediator.domain.runs import RunbookRunSpec, RunbookRunStatus
from remediator.domain.statuses import AlertPolicyStatus, GuardrailStatus, RunbookStatus


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One CEL rule; `message` says what to write instead.

    `expression` yields a message with the value in it. `field` is the path below `self` that is
    wrong, where the rule stands higher than it.
    """

    rule: str
    message: str
    expression: str = ""
    field: str = ""

    def as_json(self) -> dict[str, Any]:
        """As it stands in a CRD."""
        found = {"rule": self.rule, "message": self.message}
        if self.expression:
            found["messageExpression"] = self.expression
        if self.field:
            found["fieldPath"] = self.field
        return found


def quoted(text: str) -> str:
    """The text as a CEL string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _matches(pattern: str, message: str) -> Rule:
    return Rule(f"self.matches({quoted(pattern)})", message)


def _listed(names: Iterable[str]) -> str:
    return "[" + ", ".join(quoted(name) for name in sorted(names)) + "]"


UNRESOLVED: Final = "unresolved"
"""The kind of a run's target where the alert's labels name no object; a Runbook cannot ask for it."""

_METRICS: Final = "metrics.k8s.io"
TARGET_KINDS: Final = sorted(name for name, kind in BUILT_IN.items() if kind.group != _METRICS and name != "Event")
"""The kinds without a group that a Runbook may be about."""

_KIND_PATTERN: Final = r"^([A-Z][A-Za-z]*|[a-z][a-z0-9]*(\.[a-z0-9-]+)+|external)$"
_OTHER_KIND: Final = r"^([a-z][a-z0-9]*(\.[a-z0-9-]+)+|external)$"


def _names_a_kind(subject: str, field: str = "", also: str = "") -> Rule:
    other = f" || {subject} == {quoted(also)}" if also else ""
    return Rule(
        f"{subject} in {_listed(TARGET_KINDS)} || {subject}.matches({quoted(_OTHER_KIND)}){other}",
        f"write one of {', '.join(TARGET_KINDS)}; another kind in small letters with its group, such as "
        "certificate.cert-manager.io; or external",
        field=field,
    )


PATTERNS: Final[Mapping[str, Rule]] = {
    durations.PATTERN: _matches(
        durations.PATTERN, 'a duration is a number with a unit of h, m, s or ms, such as "90s" or "1h30m"'
    ),
    fields.IDENTIFIER_PATTERN: _matches(
        fields.IDENTIFIER_PATTERN,
        "a name that expressions use is camelCase: a small letter, then letters and digits, at most 40",
    ),
    fields.NAME_PATTERN: _matches(
        fields.NAME_PATTERN, "a namespace's name has small letters, digits and dashes, and begins with a letter"
    ),
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$": _matches(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "an object's name has small letters, digits, dashes and dots"
    ),
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": _matches(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "the name of a receiver or endpoint has small letters, digits and dashes"
    ),
    _KIND_PATTERN: _names_a_kind("self"),
    SHARE_PATTERN: _matches(SHARE_PATTERN, "a number of pods such as 1, or a share such as 25%"),
}
"""Patterns of the models, and the rule that takes their place."""


_ESCAPED: Final = frozenset(
    {
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
    }
)


def has(name: str) -> str:
    """
    CEL: the field is set.

    Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
    """
    return f"has(self.__{name}__)" if name in _ESCAPED else f"has(self.{name})"


def exactly_one(names: Iterable[str]) -> str:
    """CEL: one of the fields is set and no other."""
    return f"[{', '.join(has(name) for name in names)}].exists_one(given, given)"


def _only_with(field: str, types: list[str]) -> Rule:
    return Rule(
        f"!has(self.{field}) || self.type in {_listed(types)}",
        f"`{field}` is for parameters of type {', '.join(types)}",
        field=f".{field}",
    )


_CHECKS: Final = ["rollout", "alertResolved", "promql", "check"]
_PROBES: Final = ["tcp", "dns", "tls"]
_USABLE_NAME: Final = Rule(
    f"!(self.name in {_listed(RESERVED)})",
    "this name is a word of the expression language; choose another",
    field=".name",
)
_DEFAULT_IS_AN_ANSWER: Final = Rule(
    "!has(self.default) || !has(self.answers) || self.answers.size() == 0 || self.default in self.answers",
    "`default` is one of the `answers`",
)
_EITHER_BOUND: Final = "give either `below` or `above`"

RULES: Final[Mapping[type[BaseModel], tuple[Rule, ...]]] = {
    Step: (
        _USABLE_NAME,
        Rule(
            "!has(self.maxItems) || has(self.forEach)",
            "`maxItems` limits the list of `forEach`, which is not given",
            field=".maxItems",
        ),
    ),
    Variable: (_USABLE_NAME,),
    Parameter: (
        _USABLE_NAME,
        Rule(
            "self.type != 'enum' || (has(self.values) && self.values.size() > 0)",
            "a parameter of type enum needs `values`",
        ),
        _only_with("values", ["enum"]),
        _only_with("pattern", ["string"]),
        _only_with("minimum", ["int", "number", "duration", "quantity"]),
        _only_with("maximum", ["int", "number", "duration", "quantity"]),
    ),
    StepTarget: (
        Rule("has(self.parameter) != has(self.name)", "give either `parameter`, or `name` with `kind`"),
        Rule(
            f"!has(self.parameter) || !(has(self.kind) || {has('namespace')})",
            "`parameter` stands alone: its value names kind and namespace",
        ),
    ),
    Wait: (
        Rule(f"has(self.until) != {has('for')}", "give either `until` and `within`, or `for`"),
        Rule("!has(self.until) || has(self.within)", "`until` needs `within`: nothing waits for ever"),
    ),
    Ask: (
        Rule(
            "!(has(self.answers) && self.answers.size() > 0 && has(self.pattern))",
            "give either `answers` or `pattern`",
        ),
        _DEFAULT_IS_AN_ANSWER,
    ),
    Manual: (_DEFAULT_IS_AN_ANSWER,),
    Check: (Rule(exactly_one(_CHECKS), f"a check is exactly one of {', '.join(_CHECKS)}"),),
    ProbeParameters: (Rule(exactly_one(_PROBES), f"a probe is exactly one of {', '.join(_PROBES)}"),),
    PromqlCheck: (Rule("has(self.below) != has(self.above)", _EITHER_BOUND),),
    Remedy: (
        Rule(
            "has(self.conclude) != (has(self.steps) && self.steps.size() > 0)",
            "a remedy has either `steps` or `conclude: NotNeeded`",
        ),
    ),
    SelectorRequirement: (
        Rule(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
            "In and NotIn need `values`; Exists and DoesNotExist have none",
        ),
    ),
    Freeze: (
        Rule(
            f"has(self.cron) || {has('for')} ? !has(self.from) && !has(self.until) : has(self.from) || has(self.until)",
            "a freeze has either `cron` and `for`, or `from` and `until`",
        ),
        Rule(f"has(self.cron) == {has('for')}", "`cron` says when it begins and `for` how long it lasts: give both"),
        Rule("has(self.from) == has(self.until)", "`from` says when it begins and `until` when it ends: give both"),
        Rule(
            "!has(self.from) || !has(self.until) || self.from < self.until",
            "it ends before it begins: `until` has to be later than `from`",
            field=".until",
        ),
        Rule(
            r"!has(self.cron) || self.cron.matches('^\\s*(\\S+\\s+){4}\\S+\\s*$')",
            "write the five fields of cron: minute, hour, day, month, day of the week, such as `0 16 * * FRI`",
            field=".cron",
        ),
    ),
    # that it never changes is an admission policy's: a rule here is asked at each write of the status too
    RunbookRunSpec: (
        _names_a_kind("self.target.kind", field=".target.kind", also=UNRESOLVED),
        Rule("self.target.name.size() > 0", "name the object that the run is about", field=".target.name"),
    ),
    ReplySpec: (
        Rule("self == oldSelf", "what was said never changes: create another Reply"),
        Rule(
            "!(self.type in ['Approve', 'Deny']) || (has(self.planHash) && self.planHash.size() > 0)",
            "to approve or deny is to say so of one plan: give its `planHash`, as the run's status shows it",
            field=".planHash",
        ),
        Rule(
            "self.type != 'Answer' || (has(self.step) && has(self.answer) && self.answer.size() > 0)",
            "an Answer needs the `answer`, and the `step` that asked for it",
        ),
    ),
}
"""By model, what holds between its fields."""

IMPORTANT_LISTS: Final[Mapping[tuple[type[BaseModel], str], tuple[str, ...]]] = {
    (RunbookSpec, "sharedWith"): (),
    (RunbookSpec, "targets"): (),
    (RunbookSpec, "parameters"): ("name",),
    (RunbookSpec, "diagnose"): ("name",),
    (RunbookSpec, "variables"): ("name",),
    (RunbookSpec, "remedies"): ("name",),
    (RunbookSpec, "otherwise"): ("name",),
    (RunbookSpec, "finally"): ("name",),
    (Remedy, "steps"): ("name",),
    (Parameter, "values"): (),
    (Approval, "groups"): (),
    (Ask, "answers"): (),
    (Manual, "answers"): (),
    (AlertPolicySpec, "matchers"): (),
    (Inhibition, "matchers"): (),
    (Inhibition, "equal"): (),
    (GuardrailSpec, "allow"): (),
    (GuardrailSpec, "hosts"): (),
    (GuardrailSpec, "images"): (),
    (SelectorRequirement, "values"): (),
    (ReplySpec, "groups"): (),
    (RunbookRunStatus, "conditions"): ("type",),
    (RunbookStatus, "conditions"): ("type",),
    (AlertPolicyStatus, "conditions"): ("type",),
    (GuardrailStatus, "conditions"): ("type",),
}
"""Lists whose members are unique: by the named fields, or, where none is named, as they are."""
