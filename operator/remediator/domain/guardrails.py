"""
The Guardrail kind: the cluster-wide fence, and what several of them say together.

A change is allowed if at least one Guardrail that selects the namespace lists its action and none
that has an `allow` list leaves it out. Where no Guardrail selects a namespace nothing is changed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field

from remediator.domain.approvals import Approval
from remediator.domain.fields import ApiModel, Identifier, Share, Text
from remediator.domain.freezes import (
    LOOK_AGAIN,
    Freeze,
    Frozen,
    Window,
    is_understood,
    mistakes,
    next_window,
    window_at,
)
from remediator.domain.policies import Mode
from remediator.domain.storms import StormRule

T = TypeVar("T")

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


class TargetLimits(ApiModel):
    """How many objects may be worked on at the same time."""

    per_namespace: int | None = Field(default=None, ge=1, le=10_000, description="In each of the namespaces.")
    cluster: int | None = Field(default=None, ge=1, le=10_000, description="In the whole cluster.")


class FenceLimits(ApiModel):
    """How much may be done at once."""

    targets: TargetLimits = Field(default_factory=TargetLimits, description="Objects that are worked on at once.")
    max_unavailable: Share | None = Field(
        default=None,
        description="Share (25%, rounded up) or number (1) of a workload's pods that may be out of service at once, "
        "those that fail already included: what would take out more is refused (BlastRadius). Pods that are not ready "
        "may always be replaced; a drain answers to PodDisruptionBudgets and `nodes` instead. Default: what the "
        'policy says. "0" lets no ready pod be taken out.',
    )
    nodes: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Nodes that may be out of service at once, not ready or cordoned, whoever took them out: what "
        "would take out one more is refused (BlastRadius). Default: no number; but none is taken out while more than "
        "a third of all nodes is not ready, whatever is written here.",
    )


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
    freeze: list[Freeze] = Field(default_factory=list, max_length=32, description="Times in which nothing is changed.")
    limits: FenceLimits | None = Field(default=None, description="How much may be done at once.")
    storm: StormRule | None = Field(default=None, description="A burst of episodes that holds everything new.")
    hosts: list[Text] | None = Field(
        default=None,
        max_length=64,
        description="What `httpGet` and `probe` may call: `host`, `*.suffix` for every name below it, or an address, "
        "each with `:port` or for every port. Where several Guardrails have a list, what stands in all of them. "
        "Addresses of the node itself, of its link and of the cloud's metadata are never called. "
        "Absent: says nothing; empty, or in no Guardrail: nowhere.",
    )
    images: list[Text] | None = Field(
        default=None, max_length=64, description="Images that a job may run. Absent: says nothing; empty: none."
    )
    suspend: bool = Field(default=False, description="True holds everything there.")


@dataclass(frozen=True, slots=True)
class Guardrail:
    """One Guardrail as it was read; `spec` is None where it could not be parsed, and then nothing is allowed."""

    name: str
    spec: GuardrailSpec | None


@dataclass(frozen=True, slots=True)
class Said(Generic[T]):
    """A value, and the Guardrail that said it."""

    value: T
    by: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What all lists of one sort name, and the Guardrails that have one; where nobody has, nothing is named."""

    names: tuple[str, ...]
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MergedLimits:
    """The limits of all Guardrails together: of numbers the smallest, None where nobody says one."""

    per_namespace: Said[int] | None = None
    cluster: Said[int] | None = None
    nodes: Said[int] | None = None
    max_unavailable: tuple[Said[str], ...] = ()
    """Shares and numbers as they were said: which is the strictest depends on the size of the workload."""


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
            if guardrail.spec.allow is None:
                continue
            if action not in guardrail.spec.allow:
                return f"Guardrail {guardrail.name} does not allow {action}"
            allowed_by = guardrail.name
        return "" if allowed_by else f"no Guardrail that selects this namespace allows {action}"

    def suspended_by(self) -> str:
        """The Guardrail that holds everything here; empty where none does."""
        return next((name for name, spec in self._specs() if spec.suspend), "")

    def approvals(self) -> tuple[tuple[str, Approval], ...]:
        """Who asks for an approval here, and for which; all of them have to be met."""
        return tuple((f"Guardrail {name}", spec.approval) for name, spec in self._specs() if spec.approval is not None)

    def freeze_at(self, now: datetime) -> Frozen | None:
        """What freezes this namespace now; None where nothing does."""
        active = list(self._active(now))
        if not active:
            return None
        name, last, _ = max(active, key=lambda one: one[1].end)
        return Frozen(
            guardrail=name,
            since=max(window.begin for _, window, _ in active),
            until=last.end,
            reason=next(freeze.reason for by, window, freeze in active if (by, window) == (name, last)),
            exceptions=tuple(freeze.groups for _, _, freeze in active),
        )

    def next_freeze(self, now: datetime) -> Said[Window] | None:
        """The freeze that begins next, whether or not one is active."""
        coming = [
            Said(window, name)
            for name, freeze in self._freezes()
            if is_understood(freeze) and (window := next_window(freeze, now)) is not None
        ]
        return min(coming, key=lambda one: one.value.begin, default=None)

    @property
    def limits(self) -> MergedLimits:
        """How much may be done at once here."""
        said = [(name, spec.limits) for name, spec in self._specs() if spec.limits is not None]
        return MergedLimits(
            per_namespace=_smallest(said, lambda limits: limits.targets.per_namespace),
            cluster=_smallest(said, lambda limits: limits.targets.cluster),
            nodes=_smallest(said, lambda limits: limits.nodes),
            max_unavailable=tuple(
                Said(limits.max_unavailable, name) for name, limits in said if limits.max_unavailable is not None
            ),
        )

    def storm_rules(self) -> tuple[Said[StormRule], ...]:
        """The rules of the Guardrails that have one; where there is none, the default holds over the whole cluster."""
        return tuple(Said(spec.storm, name) for name, spec in self._specs() if spec.storm is not None)

    def actions(self) -> Listed:
        """The actions that may change something here."""
        return self._listed(lambda spec: spec.allow)

    def hosts(self) -> Listed:
        """Where outgoing HTTP may go."""
        return self._listed(lambda spec: spec.hosts)

    def images(self) -> Listed:
        """What a job may run."""
        return self._listed(lambda spec: spec.images)

    def _specs(self) -> Iterator[tuple[str, GuardrailSpec]]:
        return ((one.name, one.spec) for one in self.guardrails if one.spec is not None)

    def _freezes(self) -> Iterator[tuple[str, Freeze]]:
        return ((name, freeze) for name, spec in self._specs() for freeze in spec.freeze)

    def _active(self, now: datetime) -> Iterator[tuple[str, Window, Freeze]]:
        for name, freeze in self._freezes():
            wrong = next(mistakes(freeze), None)
            if wrong is not None:
                yield name, Window(now, now + LOOK_AGAIN), Freeze(reason=f"it cannot be understood: {wrong.message}")
                continue
            window = window_at(freeze, now)
            if window is not None:
                yield name, window, freeze

    def _listed(self, names_of: Callable[[GuardrailSpec], list[str] | None]) -> Listed:
        lists = [(name, names) for name, spec in self._specs() if (names := names_of(spec)) is not None]
        if not lists or any(one.spec is None for one in self.guardrails):
            return Listed((), tuple(name for name, _ in lists))
        first, *others = (names for _, names in lists)
        common = tuple(name for name in first if all(name in names for names in others))
        return Listed(common, tuple(name for name, _ in lists))


def _smallest(
    said: Iterable[tuple[str, FenceLimits]], value_of: Callable[[FenceLimits], int | None]
) -> Said[int] | None:
    values = [Said(value, name) for name, limits in said if (value := value_of(limits)) is not None]
    return min(values, key=lambda one: one.value, default=None)
