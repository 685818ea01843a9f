"""
What a Runbook asks of people: something to know (`ask`), or something to do (`manual`).

Neither is an action: like a wait, they are steps that only time passes in, until somebody answers.
"""

from datetime import timedelta
from typing import Final

from pydantic import Field, model_validator

from remediator.domain.actions import Output
from remediator.domain.durations import GoDuration
from remediator.domain.fields import ApiModel, Text
from remediator.domain.matching import Matcher, Operator

ASK: Final = "ask"
MANUAL: Final = "manual"

PATIENCE: Final = timedelta(hours=1)


class _Question(ApiModel):
    """What both have."""

    answers: list[Text] = Field(
        default_factory=list, max_length=16, description="The answers there are. Empty: any text."
    )
    default: Text | None = Field(
        default=None,
        description="Taken when nobody has answered in time. Absent: the run then ends as HandedOver.",
    )
    within: GoDuration = Field(
        default=PATIENCE, description="How long it can be answered; the end of the alert ends it too."
    )

    @model_validator(mode="after")
    def _default_is_an_answer(self) -> "_Question":
        if self.default is not None and objection(self.default, self.answers, self.mask):
            raise ValueError(f"`default`: {objection(self.default, self.answers, self.mask)}")
        return self

    @property
    def text(self) -> str:
        """What is put to people; may hold templates."""
        raise NotImplementedError

    @property
    def mask(self) -> str:
        """RE2 that the whole answer must match; empty: any."""
        return ""

    @property
    def is_blocking(self) -> bool:
        """Whether the run waits for the answer."""
        return True


class Ask(_Question):
    """Ask people something that no system can tell; the answer is `diagnosis.NAME.answer` or `steps.NAME.answer`."""

    question: Text = Field(min_length=1, description="What is asked; may hold `${…}`.")
    pattern: Text | None = Field(
        default=None, description="Instead of `answers`: RE2 that the whole answer must match."
    )

    @model_validator(mode="after")
    def _one_way(self) -> "Ask":
        if self.answers and self.pattern is not None:
            raise ValueError("give either `answers` or `pattern`")
        if self.pattern is not None:
            Matcher("answer", Operator.MATCHES, self.pattern)
        return self

    @property
    def text(self) -> str:
        return self.question

    @property
    def mask(self) -> str:
        return self.pattern or ""


class Manual(_Question):
    """Have people do what cannot or must not be automated, and say that it is done, as `steps.NAME.answer`."""

    do: Text = Field(min_length=1, description="Exactly what has to be done; may hold `${…}`.")
    blocking: bool = Field(
        default=True,
        description="Whether the run waits for it. false: it is listed for people to follow up, and the run goes on.",
    )

    @property
    def text(self) -> str:
        return self.do

    @property
    def is_blocking(self) -> bool:
        return self.blocking


Question = Ask | Manual


class Answered(Output):
    """What a person answered."""

    answer: str | None = Field(default=None, description="The answer, or the default where nobody answered in time.")


def objection(answer: str, answers: list[str], mask: str) -> str:
    """Why the text is no answer; empty where it is one."""
    if not answer:
        return "an answer is not empty"
    if answers and answer not in answers:
        return f"must be one of {', '.join(answers)}, is {answer[:80]}"
    if mask and not Matcher("answer", Operator.MATCHES, mask).matches({"answer": answer}):
        return f"must match {mask} as a whole, is {answer[:80]}"
    return ""
