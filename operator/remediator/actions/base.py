"""
What an action is, in code.

A diagnostic reads and returns a `Reading`. A change renders what it would write (`plan`) and says
later whether that has finished (`poll`); carrying it out and taking it back is the same for all
changes and is not theirs. A message is sent.

An action sees the world through the ports it is handed, never through a client of its own.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Protocol, TypeVar

from pydantic import Field, WithJsonSchema

from remediator.domain.actions import ActionInfo, Parameters, Reading
from remediator.domain.alerts import Alert
from remediator.domain.changes import Change
from remediator.domain.json import Object
from remediator.domain.objects import Target
from remediator.domain.outcomes import Outcome
from remediator.ports import Cluster, Metrics, Notifier

P = TypeVar("P", bound=Parameters, contravariant=True)

Template = Annotated[str, Field(max_length=2048)]
"""A string that may hold `${…}`."""

IntOrTemplate = Annotated[
    int | Annotated[str, Field(max_length=2048, pattern=r"^\$\{")],
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 2048}],
        }
    ),
]
"""A number, or a lone `${…}` that yields one; after rendering it is always an int."""


@dataclass(frozen=True, slots=True)
class Reader:
    """
    Through whose eyes a diagnostic looks, and at what.

    `cluster` already acts as the policy's account. `alert` is None for a run without one.
    """

    cluster: Cluster
    metrics: Metrics
    target: Target
    now: datetime
    namespace: str
    alert: Alert | None = None


class Diagnostic(Protocol[P]):
    """Reads, within its bounds, and changes nothing."""

    info: ClassVar[ActionInfo]

    async def read(self, params: P, reader: Reader) -> Reading:
        """
        What was seen.

        Errors of the ports may be raised: the caller turns Forbidden and Unavailable into an
        output with `known` False. NotFound is an answer, and each diagnostic says which.
        """
        ...


class ChangeAction(Protocol[P]):
    """Alters something, by one recorded change."""

    info: ClassVar[ActionInfo]

    async def plan(self, params: P, target: Target, seen: Object, cluster: Cluster) -> Change:
        """
        What would be written, and the values it replaces; touches nothing.

        Raises Refusal where it must not be done, with the reason that a person reads.
        """
        ...

    async def poll(self, change: Change, cluster: Cluster, *, token: str, started: datetime, now: datetime) -> Outcome:
        """Whether the controllers have carried the change through."""
        ...


class MessageAction(Protocol[P]):
    """Tells somebody."""

    info: ClassVar[ActionInfo]

    async def tell(self, params: P, notifier: Notifier, *, namespace: str, key: str) -> Outcome: ...


AnyAction = Diagnostic[Any] | ChangeAction[Any] | MessageAction[Any]
