"""Page somebody who has to act."""

from typing import ClassVar

from pydantic import Field

from remediator.actions.base import Template
from remediator.actions.sending import send
from remediator.domain.actions import ActionClass, ActionInfo, Parameters
from remediator.domain.fields import ReceiverName
from remediator.domain.outcomes import Outcome
from remediator.ports import Notifier


class EscalateParameters(Parameters):
    """Who is paged."""

    to: ReceiverName = Field(description="A name in the Secret `remediator-receivers`; an unknown one is not Ready.")
    message: Template | None = Field(
        default=None, description="What is said before the run's own report; default: the report alone."
    )


class Escalate:
    """Page somebody who has to act."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="escalate",
        cls=ActionClass.MESSAGE,
        summary="Page somebody who has to act.",
        parameters=EscalateParameters,
    )

    async def tell(
        self,
        params: EscalateParameters,
        notifier: Notifier,
        *,
        namespace: str,
        key: str,
        subject: str = "",
        body: str = "",
    ) -> Outcome:
        text = "\n\n".join(part for part in (params.message, body) if part)
        subject = subject or text.partition("\n")[0] or "a run needs a person"
        return await send(notifier, namespace, params.to, subject, text or subject, key=key)
