"""The AlertPolicy kind: which alerts start which Runbook, in which mode and within which limits."""

import enum
from datetime import timedelta
from typing import Final

from pydantic import Field

from remediator.domain.approvals import Approval
from remediator.domain.durations import GoDuration
from remediator.domain.fields import AnyObject, ApiModel, Expression, NamespaceName, ObjectName, Text

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


def lowest(modes: list[Mode]) -> Mode:
    """The most careful of them."""
    return min(modes, key=lambda mode: mode.rank)


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
    per_hour: int | None = Field(default=None, ge=1, le=1000, description="Changes per target and hour.")
    concurrent: int | None = Field(default=None, ge=1, le=1000, description="Runs of this policy that act at once.")
    max_unavailable: Text | None = Field(
        default=None, description="Share or number of a workload's pods that may be out of service."
    )


class Inhibition(ApiModel):
    """An alert that holds this policy's runs while it fires."""

    matchers: list[Text] = Field(min_length=1, max_length=16, description="Alertmanager's matcher syntax.")
    equal: list[Text] = Field(
        default_factory=list, max_length=16, description="Labels that must be the same on both alerts."
    )
    within: GoDuration | None = Field(default=None, description="How far apart the two may have started.")
    when: Expression | None = Field(default=None, description="CEL over `inhibitor`, for joins that no label carries.")


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
    inhibited_by: list[Inhibition] = Field(
        default_factory=list, max_length=16, description="Alerts that hold this policy's runs."
    )
