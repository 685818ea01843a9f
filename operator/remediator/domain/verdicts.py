"""
What a guard answers, and why something may not happen.

A verdict is `Allow`, `Wait` or `Deny`. The reasons are a closed set: the same word stands in the
condition, in the Kubernetes event and on the metric's label.
"""

import enum
from dataclasses import dataclass
from datetime import datetime

from remediator.domain.errors import RemediatorError


class Reason(enum.StrEnum):
    """Why something may not happen now; the value is what a person reads."""

    SUSPENDED = "Suspended"
    FROZEN = "Frozen"
    NOT_PERMITTED = "NotPermitted"
    NAMESPACE_NOT_PERMITTED = "NamespaceNotPermitted"
    INHIBITED = "Inhibited"
    SELF_INFLICTED = "SelfInflicted"
    STALE_ALERT = "StaleAlert"
    TARGET_UNKNOWN = "TargetUnknown"
    TARGET_CHANGED = "TargetChanged"
    TARGET_GONE = "TargetGone"
    TARGET_BUSY = "TargetBusy"
    ROLLOUT_IN_PROGRESS = "RolloutInProgress"
    COOLING_DOWN = "CoolingDown"
    BUDGET_SPENT = "BudgetSpent"
    BLAST_RADIUS = "BlastRadius"
    STORM = "Storm"
    REPEATED_FAILURE = "RepeatedFailure"
    DID_NOT_HELP = "DidNotHelp"
    MANAGED_ELSEWHERE = "ManagedElsewhere"
    UNDO_CONFLICT = "UndoConflict"
    POLICY_NOT_READY = "PolicyNotReady"
    OUT_OF_BOUNDS = "OutOfBounds"
    DISRUPTION_BUDGET = "DisruptionBudget"
    IN_GRACE = "InGrace"
    AWAITING_APPROVAL = "AwaitingApproval"
    AWAITING_HUMAN = "AwaitingHuman"
    DENIED = "Denied"
    EXPIRED = "Expired"
    STOPPED = "Stopped"
    FACT_UNKNOWN = "FactUnknown"


@dataclass(frozen=True, slots=True)
class Allow:
    """Nothing stands against it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """It may happen later without anyone changing anything."""

    reason: Reason
    message: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Deny:
    """It may not happen unless a person or a policy changes something."""

    reason: Reason
    message: str


Verdict = Allow | Wait | Deny


class Refusal(RemediatorError):
    """
    An action must not do what was asked, whoever asks.

    Raised while a change is rendered; the run records it like a guard's denial.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason = reason
        self.message = message
        super().__init__(message)
