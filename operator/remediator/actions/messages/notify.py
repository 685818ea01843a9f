"""Say something to somebody."""

from typing import ClassVar

from pydantic import Field

from remediator.actions.base import Template
from remediator.actions.sending import send
from remediator.domain.actions import ActionClass, ActionInfo, Parameters
from remediator.domain.fields import ReceiverName
from remediator.domain.outcomes import Outcome
from remediator.ports import Notifier


class NotifyParameters(Parameters):
    """A message and its receiver."""

    to: ReceiverName = Field(description="A name in the Secret `remediator-receivers`; an unknown one is not Ready.")
    subject: Template | None = Field(default=None, description="One line; default: the run and its outcome.")
    message: Template = Field(description="What is said; a missing value is printed as `?`.")


class Notify:
    """Say something to somebody."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="notify",
        cls=ActionClass.MESSAGE,
        summary="Say something to somebody.",
        parameters=NotifyParameters,
    )

    async def tell(
        self,
        params: NotifyParameters,
        notifier: Notifier,
        *,
        namespace: str,
        key: str,
        subject: str = "",
        body: str = "",  # noqa: ARG002 - a notification always brings its own text
    ) -> Outcome:
        subject = params.subject or subject or params.message.partition("\n")[0]
        return await send(notifier, namespace, params.to, subject, params.message, key=key)
