"""
The Guardrail kind: the cluster-wide fence, and what several of them say together.

A change is allowed if at least one Guardrail that selects the namespace lists its action and none
that has an `allow` list leaves it out. Where no Guardrail selects a namespace nothing is changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from remediator.domain.approvals import Approval
from remediator.domain.fields import AnyObject, ApiModel, Identifier, Text
from remediator.domain.policies import Mode

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]


class SelectorRequirement(ApiModel):
    key: LabelKey = Field(description="Label that is looked at.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="As in every label selector.")
    values: list[LabelValue] = Field(default_factory=list, max_length=32, description="For In and NotIn.")


class LabelSelector(ApiModel):
    """Kubernetes' own label selector; empty selects everything."""

    match_labels: dict[str, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Labels that must be equal."
    )
    match_expressions: list[SelectorRequirement] = Field(
        default_factory=list, max_length=16, description="Conditions that must all hold."
    )

    @property
    def selects_everything(self) -> bool:
        return not self.match_labels and not self.match_expressions

    def selects(self, labels: Mapping[str, str]) -> bool:
        equal = all(labels.get(key) == value for key, value in self.match_labels.items())
        return equal and all(_holds(requirement, labels) for requirement in self.match_expressions)


def _holds(requirement: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    present = requirement.key in labels
    match requirement.operator:
        case "Exists":
            return present
        case "DoesNotExist":
            return not present
        case "In":
            return present and labels[requirement.key] in requirement.values
        case "NotIn":
            return not present or labels[requirement.key] not in requirement.values


class GuardrailSpec(ApiModel):
    """What a Guardrail says; an absent field says nothing."""

    namespace_selector: LabelSelector = Field(
        default_factory=LabelSelector, description="Namespaces it governs; empty: every one."
    )
    allow: list[Identifier] | None = Field(
        default=None,
        max_length=64,
        description="Actions that may change something there. Absent: says nothing; empty: none.",
    )
    max_mode: Mode | None = Field(default=None, description="The highest mode there.")
    approval: Approval | None = Field(default=None, description="Who must agree before any change there.")
    freeze: list[AnyObject] = Field(
        default_factory=list, max_length=32, description="Times in which nothing is changed."
    )
    limits: AnyObject = Field(default_factory=dict, description="How much may be done at once.")
    storm: AnyObject = Field(default_factory=dict, description="A burst of episodes that holds everything new.")
    hosts: list[Text] = Field(default_factory=list, max_length=64, description="Where outgoing HTTP may go.")
    images: list[Text] = Field(default_factory=list, max_length=64, description="Images that a job may run.")
    suspend: bool = Field(default=False, description="True holds everything there.")

    @property
    def not_yet_honoured(self) -> tuple[str, ...]:
        """The fields that ask for more caution than this version can give."""
        asked = (
            ("approval", self.approval),
            ("freeze", self.freeze),
            ("limits", self.limits),
            ("storm", self.storm),
            ("suspend", self.suspend),
        )
        return tuple(name for name, value in asked if value)


@dataclass(frozen=True, slots=True)
class Guardrail:
    """One Guardrail as it was read; `spec` is None where it could not be parsed, and then nothing is allowed."""

    name: str
    spec: GuardrailSpec | None


@dataclass(frozen=True, slots=True)
class Fence:
    """What all Guardrails that select one namespace say together, and which of them said it."""

    guardrails: tuple[Guardrail, ...]

    @classmethod
    def around(cls, namespace_labels: Mapping[str, str] | None, guardrails: Iterable[Guardrail]) -> "Fence":
        """
        The fence of a namespace; None as labels means a cluster-scoped target, which only Guardrails
        that select everything govern. A Guardrail that cannot be read governs everything.
        """
        return cls(
            tuple(
                guardrail
                for guardrail in sorted(guardrails, key=lambda one: one.name)
                if guardrail.spec is None
                or guardrail.spec.namespace_selector.selects_everything
                or (namespace_labels is not None and guardrail.spec.namespace_selector.selects(namespace_labels))
            )
        )

    def mode(self, asked: Mode) -> tuple[Mode, str]:
        """The effective mode, and the sentence that says who lowered it; empty where nobody did."""
        result, why = asked, ""
        for guardrail in self.guardrails:
            ceiling = Mode.DIAGNOSE if guardrail.spec is None else guardrail.spec.max_mode
            if ceiling is not None and ceiling.rank < result.rank:
                result, why = ceiling, f"Guardrail {guardrail.name} allows at most {ceiling}"
        return result, why

    def objection(self, action: str) -> str:
        """Why the action may not change anything here; empty where it may."""
        if not self.guardrails:
            return "no Guardrail selects this namespace, so nothing may be changed in it"
        allowed_by = ""
        for guardrail in self.guardrails:
            if guardrail.spec is None:
                return f"Guardrail {guardrail.name} cannot be read, so nothing may be changed"
            if guardrail.spec.not_yet_honoured:
                asked = ", ".join(guardrail.spec.not_yet_honoured)
                return f"Guardrail {guardrail.name} asks for {asked}, which this version cannot honour"
            if guardrail.spec.allow is None:
                continue
            if action not in guardrail.spec.allow:
                return f"Guardrail {guardrail.name} does not allow {action}"
            allowed_by = guardrail.name
        return "" if allowed_by else f"no Guardrail that selects this namespace allows {action}"
