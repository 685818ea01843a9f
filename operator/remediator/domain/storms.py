"""
The storm breaker: when so many episodes begin at once that it is better to wait than to act on each.

A storm is made out from when runs were created and from nothing else, so that a restart forgets none
and one that is over ends by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import Field

from remediator.domain.durations import GoDuration, human
from remediator.domain.fields import ApiModel


class StormRule(ApiModel):
    """A burst of episodes that holds everything new."""

    episodes: int = Field(
        default=50,
        ge=1,
        le=100_000,
        description="So many runs begun by alerts, counted over all namespaces that the Guardrail selects …",
    )
    within: GoDuration = Field(
        default=timedelta(minutes=5), description="… in so long a time are a storm; more than 0s."
    )
    calm: GoDuration = Field(
        default=timedelta(minutes=10),
        description="How long after the last burst it is over, and what it holds goes on; 0s: nothing is held.",
    )


DEFAULT_RULE: Final = StormRule()
"""Holds where no Guardrail that selects the namespace has a rule of its own; it counts in the whole cluster."""


@dataclass(frozen=True, slots=True)
class Storm:
    """A storm that goes on: what it holds does not look at anything before it is over."""

    guardrail: str
    """Whose rule it is; empty: the default rule's."""
    rule: StormRule
    since: datetime
    """When the first of its bursts was full."""
    until: datetime
    """When it is over, if there is no further burst."""

    @property
    def sentence(self) -> str:
        """What happened and what follows, in words that stay the same while it lasts."""
        where, whose = (
            ("", f"Guardrail {self.guardrail}") if self.guardrail else (" in the cluster", "the default rule")
        )
        return (
            f"{self.rule.episodes} runs or more began within {human(self.rule.within)}{where}: {whose} holds what "
            f"alerts began until there was no such burst for {human(self.rule.calm)}"
        )


def storm_of(guardrail: str, rule: StormRule, begun: Sequence[datetime], now: datetime) -> Storm | None:
    """
    The storm that goes on now, from the times, in order, at which episodes began; None if there is none.

    A burst is full with the episode that makes it one; a storm lasts from its first full burst until
    `calm` after its last.
    """
    since: datetime | None = None
    until = now
    for last in range(len(begun) - 1, rule.episodes - 2, -1):
        full = begun[last] - begun[last - rule.episodes + 1] <= rule.within
        if since is None and begun[last] + rule.calm <= now:
            return None
        if since is not None and begun[last] + rule.calm < since:
            break
        if full:
            until = until if since is not None else begun[last] + rule.calm
            since = begun[last]
    return Storm(guardrail, rule, since, until) if since is not None else None
