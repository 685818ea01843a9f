"""
The Runbook kind: diagnostics, remedies, and what to do otherwise.

A step is known here as the name of its action, its parameters and the fields that all steps
share; what the parameters may be is the action's business, and the CRD's schema is put together
from both.
"""

import enum
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, model_validator

from remediator.domain.approvals import Approval
from remediator.domain.durations import GoDuration
from remediator.domain.fields import (
    AnyValue,
    ApiModel,
    Expression,
    Identifier,
    KindText,
    ReceiverName,
    Text,
)

DIAGNOSTIC_TIMEOUT: Final = timedelta(seconds=10)
STEP_TIMEOUT: Final = timedelta(minutes=5)
REMEDY_TIMEOUT: Final = timedelta(minutes=30)
MAX_ITEMS: Final = 10
"""How many elements a `forEach` without `maxItems` may have."""

WAIT: Final = "wait"
"""The one step that is no action: it lets time pass."""


class ParameterType(enum.StrEnum):
    """What a parameter's value may be; the value of the type `reference` is `{kind, name, namespace}`."""

    STRING = "string"
    INT = "int"
    NUMBER = "number"
    BOOL = "bool"
    DURATION = "duration"
    QUANTITY = "quantity"
    ENUM = "enum"
    LIST = "list"
    REFERENCE = "reference"
    SECRET_REF = "secretRef"  # noqa: S105 - the name of a type


class Parameter(ApiModel):
    """A value that a policy or a run may give; the run's beats the policy's, the policy's the default."""

    name: Identifier = Field(description="How expressions name it: `params.NAME`.")
    type: ParameterType = Field(description="What its value may be.")
    description: Text = Field(default="", description="What a person who sets it should know.")
    default: AnyValue = Field(default=None, description="Taken where neither policy nor run gives a value.")
    required: bool = Field(default=False, description="Without a value the run ends before it reads anything.")
    pattern: Text | None = Field(default=None, description="RE2 that the whole string must match.")
    minimum: Text | None = Field(default=None, description="Smallest value of an int, number, duration or quantity.")
    maximum: Text | None = Field(default=None, description="Largest value of an int, number, duration or quantity.")
    values: list[Text] = Field(default_factory=list, max_length=32, description="The values of an enum.")


class StepTarget(ApiModel):
    """The object a step is about, where it is not the run's own target."""

    kind: Text | None = Field(default=None, description="kubectl's spelling; may hold `${…}`.")
    name: Text | None = Field(default=None, description="Name of the object; may hold `${…}`.")
    namespace: Text | None = Field(default=None, description="Default: the run's target's namespace.")
    parameter: Identifier | None = Field(
        default=None, description="A parameter of type reference instead of the three."
    )

    @model_validator(mode="after")
    def _one_way(self) -> "StepTarget":
        if (self.parameter is None) == (self.name is None):
            raise ValueError("give either `parameter` or `kind` and `name`")
        if self.parameter is not None and (self.kind or self.namespace):
            raise ValueError("`parameter` stands alone: its value names kind and namespace")
        return self


class Step(ApiModel):
    """
    One use of an action.

    In YAML the action is a key of its own beside the common fields: `{name: x, restart: {}}`.
    """

    COMMON: ClassVar[frozenset[str]] = frozenset(
        {"name", "when", "timeout", "target", "forEach", "maxItems", "approval", "ttl", "revertOnResolve"}
    )

    name: Identifier = Field(description="Unique in the Runbook; how expressions and the record name the step.")
    when: Expression | None = Field(default=None, description="CEL; False skips the step, Unknown fails its remedy.")
    timeout: GoDuration | None = Field(
        default=None, description="How long it may take; default 5m, 10s for a diagnostic."
    )
    target: StepTarget | None = Field(default=None, description="The object it is about; default: the run's target.")
    for_each: Expression | None = Field(
        default=None, description="CEL list; the step is done once per element, `item`, one after the other."
    )
    max_items: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="A longer list is refused (OutOfBounds), never cut; default 10.",
    )
    approval: Approval | None = Field(default=None, description="People who must agree before this step.")
    ttl: GoDuration | None = Field(
        default=None,
        description="How long the change may stay, from when it was made: then what it replaced is put back, whether the "
        "run is open or has ended. At least 1s. Default: it stays.",
    )
    revert_on_resolve: bool = Field(
        default=False,
        description="What the change replaced is put back when the run has ended and all alerts of its episode are "
        "resolved; with `ttl`, after that time at the latest. Default: it stays.",
    )
    action: Annotated[str, Field(exclude=True)] = ""
    parameters: Annotated[dict[str, Any], Field(exclude=True)] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _find_action(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "action" in value:
            return value
        common = {key: item for key, item in value.items() if key in cls.COMMON}
        actions = {key: item for key, item in value.items() if key not in cls.COMMON}
        if len(actions) != 1:
            found = ", ".join(f"`{key}`" for key in actions) or "none"
            raise ValueError(f"a step has exactly one action, this one has {found}")
        ((action, parameters),) = actions.items()
        if parameters is not None and not isinstance(parameters, Mapping):
            raise ValueError(f"`{action}` takes a map of parameters, e.g. `{action}: {{}}`")
        return {**common, "action": action, "parameters": dict(parameters or {})}


class Wait(ApiModel):
    """Let time pass until something holds, or for a fixed time."""

    until: Expression | None = Field(default=None, description="CEL over `latest`; looked at again every few seconds.")
    within: GoDuration | None = Field(default=None, description="How long `until` may take; needed with `until`.")
    on_timeout: Literal["Fail", "Continue"] = Field(
        default="Fail", description="Fail fails the remedy; Continue goes on with `steps.NAME.ok` false."
    )
    lasting: GoDuration | None = Field(default=None, alias="for", description="A fixed time instead of `until`.")

    @model_validator(mode="after")
    def _one_way(self) -> "Wait":
        if (self.until is None) == (self.lasting is None):
            raise ValueError("give either `until` and `within`, or `for`")
        if self.until is not None and self.within is None:
            raise ValueError("`until` needs `within`: nothing waits for ever")
        return self


class Variable(ApiModel):
    """A named expression."""

    name: Identifier = Field(description="How expressions name it: `variables.NAME`.")
    expression: Expression = Field(description="CEL over what stands before it.")


class RolloutCheck(ApiModel):
    within: GoDuration = Field(default=timedelta(minutes=5), description="How long the rollout may take.")


class AlertResolvedCheck(ApiModel):
    quiet_for: GoDuration = Field(
        default=timedelta(minutes=5),
        description="How long no alert of this policy on this target may fire after the last change.",
    )
    within: GoDuration = Field(
        default=timedelta(minutes=30),
        description="After this the verdict is Disproved if it was seen firing, else Inconclusive.",
    )


class PromqlCheck(ApiModel):
    query: Text = Field(description="PromQL with one series or a scalar as its answer; may hold `${…}`.")
    endpoint: ReceiverName = Field(default="prometheus", description="A name in ConfigMap remediator-endpoints.")
    below: Text | None = Field(default=None, description="Holds while the value is smaller than this number.")
    above: Text | None = Field(default=None, description="Holds while the value is larger than this number.")
    every: GoDuration = Field(default=timedelta(seconds=15), description="How often it is asked.")
    lasting: GoDuration = Field(
        default=timedelta(0),
        alias="for",
        description="How long it must hold without a break; 0s: once is enough.",
    )
    within: GoDuration = Field(
        default=timedelta(minutes=5),
        description="After this the verdict is Disproved, or Inconclusive if nothing was known.",
    )

    @model_validator(mode="after")
    def _one_bound(self) -> "PromqlCheck":
        if (self.below is None) == (self.above is None):
            raise ValueError("give either `below` or `above`")
        return self


class ExpressionCheck(ApiModel):
    that: Expression = Field(description="CEL over `latest`; holds when True.")
    every: GoDuration = Field(default=timedelta(seconds=15), description="How often it is looked at.")
    lasting: GoDuration = Field(
        default=timedelta(0),
        alias="for",
        description="How long it must hold without a break; 0s: once is enough.",
    )
    within: GoDuration = Field(
        default=timedelta(minutes=5),
        description="After this the verdict is Disproved, or Inconclusive if it was never known.",
    )


class Check(ApiModel):
    """One thing that must hold for a remedy to have helped; exactly one of its fields is set."""

    rollout: RolloutCheck | None = Field(default=None, description="The target's pods are replaced and available.")
    alert_resolved: AlertResolvedCheck | None = Field(
        default=None, description="All alerts of the episode are resolved, and stay so."
    )
    promql: PromqlCheck | None = Field(default=None, description="A query's value stays below or above a number.")
    check: ExpressionCheck | None = Field(
        default=None, description="An expression over diagnostics that are read again."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "Check":
        given = [key for key in ("rollout", "alert_resolved", "promql", "check") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of `rollout`, `alertResolved`, `promql`, `check`")
        return self

    @property
    def kind(self) -> str:
        return next(k for k in ("rollout", "alert_resolved", "promql", "check") if getattr(self, k) is not None)


class IfNotHelped(enum.StrEnum):
    """What follows a remedy that did not help."""

    UNDO = "Undo"
    KEEP = "Keep"
    TRY_NEXT = "TryNext"
    KEEP_AND_TRY_NEXT = "KeepAndTryNext"


class Remedy(ApiModel):
    """A named branch: a condition, the steps, how to verify, and what to do if it did not help."""

    name: Identifier = Field(description="Unique in the Runbook; stands in the column REMEDY.")
    when: Expression | None = Field(
        default=None, description="CEL; the first True is taken if all before it are False. Absent: always."
    )
    when_unknown: Literal["Stop", "Skip"] = Field(
        default="Stop",
        description="Stop: an Unknown `when` ends the choice without a change. Skip: it is passed over.",
    )
    conclude: Literal["NotNeeded"] | None = Field(default=None, description="Instead of steps: nothing has to be done.")
    approval: Approval | None = Field(default=None, description="People who must agree before the first change.")
    steps: list[Step] = Field(
        default_factory=list, max_length=20, description="Done in order; a failed one ends the remedy."
    )
    verify: list[Check] | None = Field(default=None, max_length=8, description="Instead of the Runbook's `verify`.")
    if_not_helped: IfNotHelped | None = Field(
        default=None, description="Default Undo if every change can be undone, else Keep."
    )
    gone_is: Literal["Success"] | None = Field(default=None, description="A vanished target is what was wanted.")
    timeout: GoDuration = Field(default=REMEDY_TIMEOUT, description="How long all steps together may take.")

    @model_validator(mode="after")
    def _concludes_or_acts(self) -> "Remedy":
        if self.conclude is not None and self.steps:
            raise ValueError("a remedy that concludes has no steps")
        if self.conclude is None and not self.steps:
            raise ValueError("give `steps`, or `conclude: NotNeeded`")
        return self


class RunbookSpec(ApiModel):
    """What a Runbook says."""

    description: Text = Field(default="", description="One sentence for people.")
    shared_with: list[Text] = Field(
        default_factory=list,
        max_length=64,
        description="Namespaces whose policies may use it: names, or prefixes ending in `*`. Default: its own only.",
    )
    targets: list[KindText] = Field(
        min_length=1,
        max_length=16,
        description="Kinds it can be about: Deployment, or certificate.cert-manager.io for others.",
    )
    parameters: list[Parameter] = Field(
        default_factory=list, max_length=32, description="Values that policies and runs may give."
    )
    diagnose: list[Step] = Field(
        default_factory=list,
        max_length=32,
        description="What is read before anything is decided, side by side.",
    )
    variables: list[Variable] = Field(
        default_factory=list, max_length=32, description="Named expressions over the diagnosis."
    )
    remedies: list[Remedy] = Field(
        default_factory=list,
        max_length=16,
        description="In order; the first whose `when` is True, if all before it are False. Empty: information only.",
    )
    verify: list[Check] = Field(
        default_factory=list,
        max_length=8,
        description="For every remedy that has none of its own. Default: rollout where pods were replaced, and alertResolved.",
    )
    otherwise: list[Step] = Field(
        default_factory=list,
        max_length=8,
        description="Messages when no remedy fitted, helped or was allowed. Default: receiver `default`.",
    )
    finally_: list[Step] = Field(
        default_factory=list,
        alias="finally",
        max_length=8,
        description="Messages at the end, whatever it was.",
    )

    def remedy(self, name: str) -> Remedy | None:
        return next((remedy for remedy in self.remedies if remedy.name == name), None)

    def diagnostic(self, name: str) -> Step | None:
        return next((step for step in self.diagnose if step.name == name), None)
