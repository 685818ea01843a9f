"""
The Reply kind: a person's word to a run.

A Reply is created once and never changes. Admission lets it in only if `user` and `groups` are the
caller's own and the caller has the verb of its type on that run, so what stands here may be believed.
What it does is decided by the engine, which records it as taken or as ignored, with the reason.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from remediator.domain.fields import ApiModel, Identifier, ObjectName, Text

MAX_GROUPS = 64


class ReplyType(enum.StrEnum):
    """What the person says; the verb that he needs on the run is the same word in small letters."""

    APPROVE = "Approve"
    DENY = "Deny"
    ACKNOWLEDGE = "Acknowledge"
    ANSWER = "Answer"
    UNDO = "Undo"
    STOP = "Stop"

    @property
    def verb(self) -> str:
        """The RBAC verb on `runbookruns/NAME`."""
        return self.value.lower()


class RunRef(ApiModel):
    """The run that is meant: a run that was made again under the same name is another one."""

    name: ObjectName = Field(description="Name of the run, in the Reply's own namespace.")
    uid: Text = Field(
        min_length=1, description="UID of the run: a run of the same name that was made later is not meant."
    )


class ReplySpec(ApiModel):
    """What a person says, and who he is."""

    run_ref: RunRef = Field(description="The run that it is said to.")
    type: ReplyType = Field(description="What is said.")
    plan_hash: Text = Field(
        default="",
        description="For Approve and Deny: the plan that is meant, as `status.attempts[].approvals[].planHash` shows it; "
        "for no other plan it counts.",
    )
    step: Identifier | None = Field(
        default=None,
        description="For Answer: the step or diagnostic that asked. For Approve and Deny: the step, where the step itself "
        "asks; absent: the whole remedy.",
    )
    answer: Text = Field(default="", description="For Answer: the answer, one of those that are asked for.")
    user: Text = Field(min_length=1, description="The caller's own name; admission compares it.")
    groups: Annotated[list[Text], Field(max_length=MAX_GROUPS)] = Field(
        default_factory=list, description="Groups of the caller's that shall count; admission lets in no other."
    )
    reason: Text = Field(default="", description="Why, for those who read it later; needed to act in a freeze.")


@dataclass(frozen=True, slots=True)
class Reply:
    """A Reply as it was read."""

    namespace: str
    name: str
    uid: str
    created_at: datetime
    """By the API server's clock."""
    spec: ReplySpec

    @classmethod
    def parse(cls, obj: Mapping[str, Any]) -> "Reply":
        """
        Raises:
            ValueError: pydantic's, when it is not of this form.
        """
        meta = obj["metadata"]
        return cls(
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta.get("uid", ""),
            created_at=datetime.fromisoformat(meta["creationTimestamp"]),
            spec=ReplySpec.model_validate(obj.get("spec", {})),
        )
