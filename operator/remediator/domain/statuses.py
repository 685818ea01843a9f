"""
What the operator says about a Runbook, an AlertPolicy and a Guardrail: whether it can be used, and what came of it.

None of it is read back to decide anything. A counter that is lost with its object is counted anew.
"""

from typing import Final

from pydantic import Field

from remediator.domain.fields import Text
from remediator.domain.runs import ConditionRecord, Record, RunOutcome, State, Time

RECENT_RUNS: Final = 10


class DefinitionCondition(ConditionRecord):
    """The condition `Ready` of what people write."""

    type: Text = Field(description="Ready: it is understood, and everything that it names was found.")


class DefinitionStatus(Record):
    """What all three say."""

    observed_generation: int = Field(default=0, description="Generation of the spec that this is about.")
    conditions: list[DefinitionCondition] = Field(
        default_factory=list,
        max_length=8,
        description="`Ready`: True if it can be used; else the message says what is wrong and where.",
    )


class RecentRun(Record):
    """One run in a few words; the run itself holds the story."""

    namespace: Text = Field(description="Namespace of the run.")
    name: Text = Field(description="Name of the run.")
    target: Text = Field(default="", description="What it is about: Deployment/checkout.")
    remedy: Text = Field(default="", description="The remedy that was carried out last.")
    state: State | None = Field(default=None, description="Where it stands.")
    outcome: RunOutcome | None = Field(default=None, description="How it ended; absent while it is open.")
    started_at: Time | None = Field(default=None, description="When it began.")
    ended_at: Time | None = Field(default=None, description="When it ended.")


class RunCounts(Record):
    """How many runs there are, by how they ended; those that were forgotten are not counted."""

    open: int = Field(default=0, ge=0, description="Runs that have not ended.")
    succeeded: int = Field(default=0, ge=0, description="Runs that ended with Succeeded True.")
    failed: int = Field(default=0, ge=0, description="All other runs that have ended.")


class RunbookStatus(DefinitionStatus):
    """What becomes of a Runbook."""

    policies: int = Field(default=0, ge=0, description="How many AlertPolicies start it.")
    runs: RunCounts = Field(default_factory=RunCounts, description="How many runs of it there are.")


class AlertPolicyStatus(DefinitionStatus):
    """What becomes of an AlertPolicy."""

    runs: RunCounts = Field(default_factory=RunCounts, description="How many runs it has started.")
    recent: list[RecentRun] = Field(
        default_factory=list, max_length=RECENT_RUNS, description="The last ten runs, newest first."
    )
    last_alert_at: Time | None = Field(default=None, description="When an alert last matched, by our clock.")
    unreadable_alerts: int = Field(
        default=0, ge=0, description="Alerts for which `when` could not be evaluated since the operator started."
    )


class StormRecord(Record):
    """A storm that goes on where the Guardrail's own rule holds."""

    since: Time = Field(description="When so many runs had begun that it was one.")
    until: Time = Field(description="When it is over, if there is no further burst; what it holds goes on then.")
    held: int = Field(default=0, ge=0, description="How many runs stand still because of a storm there.")


class GuardrailStatus(DefinitionStatus):
    """What a Guardrail governs."""

    namespaces: int = Field(default=0, ge=0, description="How many namespaces it selects.")
    storm: StormRecord | None = Field(default=None, description="The storm that goes on; absent if none does.")
