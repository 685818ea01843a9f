"""
What each policy says of its history, also of policies that are not Ready, and of those that are gone.

Of a policy whose text cannot be read nothing is concluded: its runs stay.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from pydantic import ValidationError

from remediator.domain.json import dig_object
from remediator.domain.objects import POLICY, Kind
from remediator.domain.policies import History, Limits
from remediator.engine.begin import PolicyVersion
from remediator.handlers.definition import Definition, Name
from remediator.handlers.stored import Group
from remediator.ports import Clock

ABSENT_SECONDS: Final = 3600.0
"""How long a policy has to be away before it is gone: who deploys it anew may delete it first."""


class Definitions(Protocol):
    """What is asked of the cache of definitions."""

    @property
    def is_complete(self) -> bool: ...

    def all(self, kind: Kind) -> tuple[Definition, ...]: ...

    def get(self, kind: Kind, name: Name) -> Definition | None: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for the runs of one policy, or for those by hand of one namespace."""

    history: History
    policy: PolicyVersion | None = None
    """The policy's present text; None where there is none."""
    is_gone: bool = False
    """Whether the policy is there no longer, and has not been for a while."""


class Histories:
    """The rules, by policy."""

    def __init__(self, definitions: Definitions, clock: Clock) -> None:
        self._definitions = definitions
        self._clock = clock
        self._absent_since: dict[Group, float] = {}

    @property
    def is_known(self) -> bool:
        """Whether every policy was read once."""
        return self._definitions.is_complete

    def of(self, group: Group) -> Rule | None:
        """The rule for these runs; None where it cannot be read."""
        if not group[1]:
            return Rule(History())
        known = self._definitions.get(POLICY, group)
        if known is None:
            since = self._absent_since.setdefault(group, self._clock.boot_seconds())
            return Rule(History(), is_gone=self._clock.boot_seconds() - since >= ABSENT_SECONDS)
        self._absent_since.pop(group, None)
        try:
            return Rule(History.model_validate(dig_object(known.obj, "spec", "history")), PolicyVersion(*known.version))
        except ValidationError:
            return None

    def forget_others(self, groups: tuple[Group, ...]) -> None:
        """Only of these there are runs."""
        self._absent_since = {group: since for group, since in self._absent_since.items() if group in groups}

    def longest_cooldown(self) -> timedelta | None:
        """How far back any policy's cooldown looks; None where one cannot be read."""
        try:
            return max(
                (
                    Limits.model_validate(dig_object(known.obj, "spec", "limits")).cooldown
                    for known in self._definitions.all(POLICY)
                ),
                default=Limits().cooldown,
            )
        except ValidationError:
            return None
