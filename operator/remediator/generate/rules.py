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

from remediator.domain import durations, fields
from remediator.domain.approvals import Approval
from remediator.domain.expressions.places import RESERVED
from remediator.domain.guardrails import GuardrailSpec, SelectorRequirement
from remediator.domain.objects import BUILT_IN
from remediator.domain.policies import AlertPolicySpec, Inhibition
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
_USABLE_NAME: Final = Rule(
    f"!(self.name in {_listed(RESERVED)})",
    "this name is a word of the expression language; choose another",
    field=".name",
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
    Check: (Rule(exactly_one(_CHECKS), f"a check is exactly one of {', '.join(_CHECKS)}"),),
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
    RunbookRunSpec: (
        Rule("self == oldSelf", "the request of a run never changes: delete the run and create another one"),
        _names_a_kind("self.target.kind", field=".target.kind", also=UNRESOLVED),
        Rule("self.target.name.size() > 0", "name the object that the run is about", field=".target.name"),
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
    (AlertPolicySpec, "matchers"): (),
    (Inhibition, "matchers"): (),
    (Inhibition, "equal"): (),
    (GuardrailSpec, "allow"): (),
    (GuardrailSpec, "hosts"): (),
    (GuardrailSpec, "images"): (),
    (SelectorRequirement, "values"): (),
    (RunbookRunStatus, "conditions"): ("type",),
    (RunbookStatus, "conditions"): ("type",),
    (AlertPolicyStatus, "conditions"): ("type",),
    (GuardrailStatus, "conditions"): ("type",),
}
"""Lists whose members are unique: by the named fields, or, where none is named, as they are."""
