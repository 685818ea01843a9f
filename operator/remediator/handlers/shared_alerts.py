"""
One question to the sources of alerts for everybody who asks the same at a time.

The runs of one notification ask about the same labels. Where thousands of alerts carry these, each answer
is megabytes, and ten runs that ask together would read all of them ten times.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from remediator.ports import AlertSource, Clock, Firing

Question = frozenset[tuple[str, str]]


class SharedAlerts:
    """`ports.AlertSource`; an answer says since when it was waited for, which may be before it was asked for here."""

    def __init__(self, inner: AlertSource, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self._asked: dict[Question, asyncio.Task[Firing]] = {}

    @property
    def configured(self) -> bool:
        return self._inner.configured

    async def firing(self, matching: Mapping[str, str]) -> Firing:
        question = frozenset(matching.items())
        asked = self._asked.get(question)
        if asked is None:
            asked = asyncio.create_task(self._ask(question, matching, self._clock.boot_seconds()))
            self._asked[question] = asked
        return await asyncio.shield(asked)

    async def _ask(self, question: Question, matching: Mapping[str, str], at: float) -> Firing:
        try:
            return replace(await self._inner.firing(matching), asked_at=at)
        finally:
            del self._asked[question]
