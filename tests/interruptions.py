"""Outsides whose calls are counted, and one of them interrupted: by a lost connection, or by the process's death."""

import enum
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from remediator.adapters.evidence import ConfigMapEvidence
from remediator.adapters.locks import LeaseLocks
from remediator.domain.errors import Unavailable
from remediator.domain.objects import ObjectRef
from remediator.handlers.outside import Outside
from remediator.testing.world import OPERATOR_NAMESPACE


class How(enum.StrEnum):
    """What happens at one call."""

    CUT = "the call fails and was not carried out"
    LOST = "the call was carried out and its answer is lost"
    KILLED_BEFORE = "the process dies before the call"
    KILLED_AFTER = "the process dies when the call is carried out"

    @property
    def kills(self) -> bool:
        return self in (How.KILLED_BEFORE, How.KILLED_AFTER)

    @property
    def is_carried_out(self) -> bool:
        return self in (How.LOST, How.KILLED_AFTER)


class Died(BaseException):
    """The process is no more; nothing of ours may catch this."""


@dataclass
class Calls:
    """Counts what the operator asks of the outside, and interrupts one of the calls."""

    at: int = 0
    how: How = How.CUT
    count: int = 0
    dead: bool = False
    names: list[str] = field(default_factory=list)

    async def pass_on(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if self.dead:
            raise Died
        self.count += 1
        self.names.append(name)
        if self.count != self.at:
            return await call()
        if self.how.is_carried_out:
            await call()
        if self.how.kills:
            self.dead = True
            raise Died
        raise Unavailable("the connection was reset")


class Interrupted:
    """A port whose calls are counted, and one of them interrupted."""

    def __init__(self, port: Any, calls: Calls) -> None:
        self._port, self._calls = port, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name == "acting_as":
            return lambda identity: Interrupted(found(identity), self._calls)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **named: Any) -> Any:
            about = str(args[0]) if args and isinstance(args[0], ObjectRef) else ""
            return await self._calls.pass_on(f"{name} {about}".strip(), lambda: found(*args, **named))

        return call


def interrupted(outside: Outside, calls: Calls) -> Outside:
    """The outside with every call of the cluster, and every message, counted; locks and evidence lie in the cluster."""
    cluster: Any = Interrupted(outside.cluster, calls)
    notifier: Any = Interrupted(outside.notifier, calls)
    return replace(
        outside,
        cluster=cluster,
        notifier=notifier,
        locks=LeaseLocks(cluster, OPERATOR_NAMESPACE),
        evidence=ConfigMapEvidence(cluster),
    )
