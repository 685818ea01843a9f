"""
What an action is, in code.

A diagnostic reads and returns a `Reading`. A change renders what it would write (`plan`) and says
later whether that has finished (`poll`); carrying it out and taking it back is the same for all
changes and stands in `effects`. A message is sent.

An action sees the world through the ports it is handed, never through a client of its own.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Protocol, TypeVar, runtime_checkable

from pydantic import Field, WithJsonSchema

from remediator.domain.actions import ActionInfo, Output, Parameters, Permission, Reading
from remediator.domain.alerts import Alert
from remediator.domain.bounded import shorten
from remediator.domain.changes import Change
from remediator.domain.durations import human
from remediator.domain.errors import Forbidden, NotFound, Rejected, Unavailable
from remediator.domain.json import Object
from remediator.domain.objects import Target
from remediator.domain.outcomes import Outcome
from remediator.domain.verdicts import Reason, Refusal
from remediator.ports import Cluster, Metrics, Notifier, Objects, Web

P = TypeVar("P", bound=Parameters, contravariant=True)

WITHIN: Final = timedelta(seconds=10)
_ERROR_BYTES: Final = 512

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


def number(value: int | str) -> int:
    """
    The number that a rendered `IntOrTemplate` holds.

    Raises Refusal where a template yielded something else.
    """
    if isinstance(value, int):
        return value
    raise Refusal(Reason.OUT_OF_BOUNDS, f"{value!r} is not a whole number")


@dataclass(frozen=True, slots=True)
class Reader:
    """
    Through whose eyes a diagnostic looks, and at what.

    `cluster` already acts as the policy's account, and `web` reaches what the fence of the run's target
    allows. `alert` is None for a run without one.
    """

    cluster: Cluster
    metrics: Metrics
    web: Web
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

        Errors of the ports may be raised: `observe` turns them into an output with `known` False.
        NotFound is an answer, and each diagnostic says which.
        """
        ...


class ChangeAction(Protocol[P]):
    """Alters something, by one recorded change."""

    info: ClassVar[ActionInfo]

    async def plan(self, params: P, target: Target, seen: Object, cluster: Cluster, *, now: datetime) -> Change:
        """
        What would be written, and the values it replaces; touches nothing.

        `now` may decide a refusal ("too old to roll back"), never a value. Raises Refusal where it
        must not be done, with the reason that a person reads.
        """
        ...

    async def poll(self, change: Change, cluster: Objects, *, token: str, started: datetime, now: datetime) -> Outcome:
        """Whether the controllers have carried the change through; a target that is gone is `Failed`."""
        ...


class MessageAction(Protocol[P]):
    """Tells somebody."""

    info: ClassVar[ActionInfo]

    async def tell(
        self, params: P, notifier: Notifier, *, namespace: str, key: str, subject: str = "", body: str = ""
    ) -> Outcome:
        """
        Send it; `subject` and `body` are said where the step leaves them open.

        Running means that it did not go out: tell again, with the same key.
        """
        ...


AnyAction = Diagnostic[Any] | ChangeAction[Any] | MessageAction[Any]


@runtime_checkable
class Shaped(Protocol):
    """A diagnostic whose output depends on its parameters, and is known from them alone."""

    shapes: ClassVar[tuple[type[Output], ...]]
    """All outputs that it can have, for the reference; names that parameters give are left out."""

    @classmethod
    def output_for(cls, params: Any, targets: Sequence[str]) -> type[Output]:
        """
        The output of this use; `targets` are the kinds that the target may have, empty for any.

        Values may still be templates.
        """
        ...


@runtime_checkable
class Demanding(Protocol):
    """An action that needs other permissions for other parameters."""

    @classmethod
    def permissions_for(cls, params: Any, targets: Sequence[str]) -> tuple[Permission, ...]: ...


async def observe(diagnostic: Diagnostic[P], params: P, reader: Reader, *, within: timedelta = WITHIN) -> Reading:
    """
    What the diagnostic saw, or an output of its type that says why it is not known.

    No permission, a refused request, a silent system and our own timeout are not answers.
    """
    try:
        async with asyncio.timeout(within.total_seconds()):
            reading = await diagnostic.read(params, reader)
    except TimeoutError:
        reading = _unknown(diagnostic.info, f"{diagnostic.info.name} was not done within {human(within)}")
    except (Forbidden, NotFound, Rejected, Unavailable) as error:
        reading = _unknown(diagnostic.info, str(error))
    observed_at = reader.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return replace(reading, output=reading.output.model_copy(update={"observed_at": observed_at}))


def _unknown(info: ActionInfo, why: str) -> Reading:
    return Reading((info.output or Output)(known=False, error=shorten(why, _ERROR_BYTES)))
