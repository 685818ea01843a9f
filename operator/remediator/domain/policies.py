"""The AlertPolicy kind: which alerts start which Runbook, in which mode and within which limits."""

import enum
from datetime import timedelta
from typing import Final

from pydantic import Field

from remediator.domain.approvals import Approval
from remediator.domain.durations import GoDuration
from remediator.domain.fields import AnyObject, ApiModel, Expression, NamespaceName, ObjectName, Share, Text
from remediator.domain.locks import NEWEST_CHANGES

DEFAULT_UNAVAILABLE: Final = "25%"
MAX_POLICY_NAME: Final = 40
"""A run's name is the policy's, 16 hex digits and a number: together they must fit a label."""


class Mode(enum.StrEnum):
    """What a run may do at most, from least to most."""

    DIAGNOSE = "Diagnose"
    DRY_RUN = "DryRun"
    APPROVE = "Approve"
    AUTOMATIC = "Automatic"

    @property
    def rank(self) -> int:
        return list(Mode).index(self)


class ManagedTargets(enum.StrEnum):
    """What happens to an object that a delivery tool keeps as it is declared elsewhere."""

    REFUSE = "Refuse"
    CHANGE = "Change"


class RunbookRef(ApiModel):
    name: ObjectName = Field(description="Name of the Runbook.")
    namespace: NamespaceName | None = Field(default=None, description="Default: the own namespace.")


class TargetRule(ApiModel):
    """Where the target is said rather than found."""

    kind: Text = Field(description="kubectl's spelling; may hold `${alert…}`.")
    name: Text = Field(min_length=1, description="May hold `${alert…}`.")
    namespace: Text | None = Field(default=None, description="Default: the alert's namespace.")


class Limits(ApiModel):
    """How much may be done to one target or by one policy."""

    cooldown: GoDuration = Field(
        default=timedelta(minutes=15),
        description="How long a target rests after a change by the same remedy; 0s turns the rest off.",
    )
    per_hour: int = Field(
        default=4,
        ge=1,
        le=NEWEST_CHANGES,
        description=(
            "Changes per target and hour, by whatever policy; a remedy begins only if all of its steps still fit."
        ),
    )
    concurrent: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="Runs of this policy that act at once, from their first lock to their end; the others wait.",
    )
    max_unavailable: Share = Field(
        default=DEFAULT_UNAVAILABLE,
        description="Share (25%, rounded up) or number (1) of a workload's pods that may be out of service at once, "
        "those that fail already included: what would take out more is refused (BlastRadius). Pods that are not "
        'ready may always be replaced. A Guardrail may allow less, never more. Default: 25%. "0" lets no ready pod '
        "be taken out.",
    )


class History(ApiModel):
    """
    How long the record of what was done stays.

    A run that is open, owes something or is asked about stays in any case, and so does the newest run of
    each target: it answers the alerts that are sent again.
    """

    succeeded: int = Field(
        default=20,
        ge=0,
        le=10_000,
        description="Ended runs with Succeeded True that are kept of this policy, beside the newest run of each "
        "target; of more the oldest are deleted. 0 keeps none beside those.",
    )
    failed: int = Field(
        default=50,
        ge=0,
        le=10_000,
        description="The same for all other ended runs. 0 keeps none beside the newest run of each target.",
    )
    keep_for: GoDuration = Field(
        default=timedelta(hours=720),
        description="How long a run is kept at most, counted from its end, with what its diagnosis captured; the newest "
        "run of a target stays, and only what its diagnosis captured goes. 0s: no run goes because of its age.",
    )
    forget_after: GoDuration = Field(
        default=timedelta(hours=168),
        description="When the target is gone, or the policy, and none of the alerts that the newest run of the target "
        "has answered was sent for so long, that run goes too; the same alert would then start another one. Keep it "
        "longer than the repeat_interval of Alertmanager. 0s: never.",
    )


class Inhibition(ApiModel):
    """An alert that holds this policy's runs while it fires."""

    matchers: list[Text] = Field(
        min_length=1,
        max_length=16,
        description="Alertmanager's matcher syntax; all must match the inhibiting alert. Name its alertname by "
        "equality where you can: Alertmanager is then asked for those alerts alone.",
    )
    equal: list[Text] = Field(
        default_factory=list,
        max_length=16,
        description="Labels that must be the same on the inhibiting alert and on one of the run's; one that both lack "
        "is the same. Default: none, so that the inhibiting alert holds every run of the policy.",
    )
    within: GoDuration | None = Field(
        default=None,
        description="How far apart the two may have begun, whichever was first. Default: any time. "
        '"0s" wants the same second.',
    )
    when: Expression | None = Field(
        default=None,
        description="CEL over `inhibitor`, `alert`, `target`, `params` and `latest`, for joins that no label carries; "
        "False lets the run go on, Unknown holds it. Default: nothing more is asked.",
    )


class AlertPolicySpec(ApiModel):
    """What an AlertPolicy says."""

    matchers: list[Text] = Field(
        min_length=1,
        max_length=16,
        description='Alertmanager\'s matcher syntax: `alertname="X"`, `severity=~"a|b"`; all must match.',
    )
    when: Expression | None = Field(default=None, description="CEL over `alert`; only True lets the alert through.")
    target: TargetRule | None = Field(
        default=None, description="The target, said rather than found from the alert's labels."
    )
    runbook_ref: RunbookRef = Field(description="The Runbook that is started.")
    parameters: AnyObject = Field(default_factory=dict, description="Values for the Runbook's parameters.")
    mode: Mode = Field(default=Mode.DRY_RUN, description="What its runs may do at most; Guardrails may lower it.")
    approval: Approval | None = Field(default=None, description="Who must agree before a change.")
    grace: GoDuration = Field(
        default=timedelta(minutes=1),
        description="Waited before the first change; then the alert must still fire. 0s: no wait.",
    )
    limits: Limits = Field(default_factory=Limits, description="How much may be done.")
    fresh_for: GoDuration | None = Field(
        default=None,
        description="Where neither Alertmanager nor Prometheus can be asked: how old the last notification may be.",
    )
    service_account_name: ObjectName | None = Field(
        default=None,
        description="Account of the policy's namespace that reads and changes; unset: at most DryRun.",
    )
    managed_targets: ManagedTargets = Field(
        default=ManagedTargets.REFUSE,
        description="What becomes of a change of an object that Flux, Argo CD or Helm manages: `Refuse` refuses it "
        "(ManagedElsewhere); `Change` makes it, and the tool puts its own value back when it next writes the object. "
        "Deleting pods is no change of such an object. Default: Refuse.",
    )
    inhibited_by: list[Inhibition] = Field(
        default_factory=list,
        max_length=16,
        description="Alerts that hold this policy's runs while they fire: nothing is diagnosed, and nothing changed "
        "(Inhibited). Alertmanager or Prometheus is asked before a run begins and before each change; without an "
        "answer the run waits. Outside of the operator's namespace, alerts that carry the label of another namespace "
        "are passed over. Default: none.",
    )
    history: History = Field(
        default_factory=History, description="How many of its runs are kept after their end, and for how long."
    )
