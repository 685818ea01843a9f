"""What an approval asks for, wherever it is asked for: in a policy, a Guardrail, a remedy or a step."""

from datetime import timedelta

from pydantic import Field

from remediator.domain.durations import GoDuration
from remediator.domain.fields import ApiModel, Text


class Approval(ApiModel):
    """Who must agree before a change is made."""

    count: int = Field(default=1, ge=1, le=10, description="How many distinct people must approve.")
    groups: list[Text] = Field(
        default_factory=list,
        max_length=16,
        description="The groups an approver must be in; empty means anybody who may approve.",
    )
    expires: GoDuration = Field(
        default=timedelta(minutes=30),
        description="How long the question stays open; after that the run goes to `otherwise`.",
    )
