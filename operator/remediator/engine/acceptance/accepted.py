"""
Definitions that may be used: everything parsed, every expression compiled.

They are immutable and know nothing of the cluster. A Runbook is accepted again from the content
that a run has frozen, so nothing in here may depend on when it was read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from remediator.domain.actions import ActionClass, ActionInfo, Output, Parameters
from remediator.domain.expressions import Expression, Known, Missing, Rendering, Scope, Template, Unknown, Values
from remediator.domain.json import Object
from remediator.domain.matching import Matcher, Operator
from remediator.domain.names import is_object_name
from remediator.domain.objects import ObjectRef
from remediator.domain.policies import AlertPolicySpec, Inhibition
from remediator.domain.questions import Question
from remediator.domain.runbooks import Check, IfNotHelped, Remedy, RunbookSpec, Step, Wait
from remediator.domain.runs import RunTarget
from remediator.engine.kinds import EXTERNAL, kind_objection


class Actions(Protocol):
    """What acceptance asks of the registry of actions."""

    def info(self, name: str) -> ActionInfo:
        """Raises KeyError for a name that is no action."""
        ...

    def names(self, cls: ActionClass) -> tuple[str, ...]: ...

    def output_model(
        self, name: str, parameters: Parameters | None = None, targets: Sequence[str] = ()
    ) -> type[Output] | None:
        """The output of one use; `targets` are the kinds that the target may have, empty for any."""
        ...


@dataclass(frozen=True, slots=True)
class ActionUse:
    """One use of an action, for whoever asks what it needs; `targets` are kinds, empty for any."""

    action: str
    parameters: Parameters
    targets: tuple[str, ...]


@dataclass(frozen=True)
class CompiledTarget:
    """Where a step's object is named: by kind, name and namespace, or by a parameter."""

    kind: Template | None = None
    name: Template | None = None
    namespace: Template | None = None
    parameter: str | None = None

    def render(self, values: Values, namespace: str) -> RunTarget | Missing:
        """
        The object that is meant; `namespace` is taken where none is said.

        What was rendered becomes part of a URL, so a text that names no object is Missing too.
        """
        found = self._from_parameter(values) if self.parameter is not None else self._rendered(values)
        if isinstance(found, Missing):
            return found
        kind, name, said = found
        objection = kind_objection(kind)
        if objection:
            return Missing((kind,), f"the target's kind: {objection}")
        if kind == EXTERNAL:
            return RunTarget(kind=kind, name=name)
        place = said or namespace
        for text in (name, place) if place else (name,):
            if not is_object_name(text):
                return Missing((text,), f"the target's name or namespace, {text[:80]!r}, is no object's name")
        return RunTarget.of(ObjectRef.of(kind, place, name))

    @property
    def names(self) -> frozenset[str]:
        """The roots that its expressions use."""
        templates = [one for one in (self.kind, self.name, self.namespace) if one is not None]
        own = frozenset({f"params.{self.parameter}"}) if self.parameter is not None else frozenset()
        return own.union(*(one.names for one in templates))

    def _from_parameter(self, values: Values) -> tuple[str, str, str] | Missing:
        path = f"params.{self.parameter}"
        known = {} if isinstance(values.params, Unknown) else values.params
        value = known.get(self.parameter or "")
        if not isinstance(value, dict):
            return Missing((path,), f"{path}, which names the target, is not given")
        return str(value.get("kind", "")), str(value.get("name", "")), str(value.get("namespace") or "")

    def _rendered(self, values: Values) -> tuple[str, str, str] | Missing:
        texts = []
        for template in (self.kind, self.name, self.namespace):
            if template is None:
                texts.append("")
                continue
            found = template.evaluate(values)
            if isinstance(found, Missing):
                return found
            if not isinstance(found, Known) or not isinstance(found.value, str):
                return Missing((template.source,), f"{template.source} is not a string")
            texts.append(found.value)
        return texts[0], texts[1], texts[2]


@dataclass(frozen=True)
class CompiledStep:
    """One use of an action, a wait or a question to people; `info` is None for the last two."""

    step: Step
    path: str
    info: ActionInfo | None = None
    parameters: Rendering = field(default_factory=lambda: Rendering({}))
    targets: tuple[str, ...] = ()
    """The kinds that its target may have; empty where that is known only when it is rendered."""
    use: ActionUse | None = None
    when: Expression | None = None
    for_each: Expression | None = None
    target: CompiledTarget | None = None
    wait: Wait | None = None
    until: Expression | None = None
    question: Question | None = None

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def reads(self) -> frozenset[str]:
        """The diagnostics that its conditions want to have read again."""
        return read_again(self.when, self.until)

    @property
    def names(self) -> frozenset[str]:
        """The roots that all of its expressions use."""
        parts = (self.when, self.for_each, self.target, self.until, self.parameters)
        return frozenset().union(*(part.names for part in parts if part is not None))


def read_again(*expressions: Expression | None) -> frozenset[str]:
    """The diagnostics that the expressions name as `latest`."""
    names = (name for one in expressions if one is not None for name in one.names)
    return frozenset(name.removeprefix("latest.") for name in names if name.startswith("latest."))


@dataclass(frozen=True)
class CompiledCheck:
    """One thing that must hold for a remedy to have helped."""

    check: Check
    that: Expression | None = None
    query: Template | None = None

    @property
    def reads(self) -> frozenset[str]:
        """The diagnostics that it wants to have read again."""
        return read_again(self.that)


@dataclass(frozen=True)
class CompiledRemedy:
    """A remedy with what its silence means: how it is verified, and what follows if it did not help."""

    remedy: Remedy
    when: Expression | None
    steps: tuple[CompiledStep, ...]
    checks: tuple[CompiledCheck, ...]
    checks_are_default: bool
    undoable: bool
    """Whether every change in it can be taken back."""
    if_not_helped: IfNotHelped

    @property
    def name(self) -> str:
        return self.remedy.name

    @property
    def changes(self) -> bool:
        """Whether any step of it changes something."""
        return any(step.info is not None and step.info.changes for step in self.steps)


@dataclass(frozen=True)
class AcceptedRunbook:
    """A Runbook that may be carried out."""

    namespace: str
    name: str
    uid: str
    generation: int
    spec: RunbookSpec
    content: Object
    """The spec as it was stored: what a run freezes, and what can be accepted again."""
    waves: tuple[tuple[CompiledStep, ...], ...]
    """The diagnostics: those of one wave are read side by side, after those whose output they name."""
    remedies: tuple[CompiledRemedy, ...]
    otherwise: tuple[CompiledStep, ...]
    finally_: tuple[CompiledStep, ...]
    scope: Scope = field(default_factory=Scope)
    """What its expressions can name; those of a policy's inhibitions as well."""
    warnings: tuple[str, ...] = ()
    """What could not be checked and will show only when it runs."""

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def diagnose(self) -> tuple[CompiledStep, ...]:
        """The diagnostics in the order in which they may be read."""
        return tuple(step for wave in self.waves for step in wave)

    def diagnostic(self, name: str) -> CompiledStep | None:
        return next((step for step in self.diagnose if step.name == name), None)

    def remedy(self, name: str) -> CompiledRemedy | None:
        return next((remedy for remedy in self.remedies if remedy.name == name), None)

    def steps(self) -> Iterator[CompiledStep]:
        """Every step there is, diagnostics and messages included."""
        yield from self.diagnose
        for remedy in self.remedies:
            yield from remedy.steps
        yield from self.otherwise
        yield from self.finally_

    @property
    def uses(self) -> tuple[ActionUse, ...]:
        """Every use of an action, for asking what an account must be allowed."""
        return tuple(step.use for step in self.steps() if step.use is not None)

    @property
    def receivers(self) -> tuple[str, ...]:
        """The receivers that its messages name."""
        messages = (step.use for step in self.steps() if step.info and step.info.cls is ActionClass.MESSAGE)
        named = (getattr(use.parameters, "to", None) for use in messages if use is not None)
        return tuple(sorted({name for name in named if isinstance(name, str)}))


@dataclass(frozen=True)
class CompiledInhibition:
    """Alerts that hold a policy's runs while they fire."""

    inhibition: Inhibition
    matchers: tuple[Matcher, ...]
    when: Expression | None = None

    @property
    def question(self) -> Mapping[str, str]:
        """The labels that an inhibiting alert has for certain, by which its source is asked for it."""
        return {one.name: one.value for one in self.matchers if one.operator is Operator.EQUAL and one.value}

    @property
    def reads(self) -> frozenset[str]:
        """The diagnostics that its condition wants to have read again."""
        return read_again(self.when)


@dataclass(frozen=True)
class AcceptedPolicy:
    """An AlertPolicy that may start runs."""

    namespace: str
    name: str
    uid: str
    generation: int
    spec: AlertPolicySpec
    matchers: tuple[Matcher, ...]
    runbook: AcceptedRunbook
    parameters: Object
    """The values of all parameters, the Runbook's defaults included."""
    when: Expression | None = None
    target: CompiledTarget | None = None
    inhibitions: tuple[CompiledInhibition, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def account(self) -> str:
        """The account that its runs read and change as; empty: the operator, which only reads."""
        name = self.spec.service_account_name
        return f"system:serviceaccount:{self.namespace}:{name}" if name is not None else ""
