"""
`/healthz`, `/readyz` and `/metrics`.

`/healthz` says no only to what a restart heals: a loop that is stuck or a task that died. An API server
that does not answer is no reason to restart; it makes the process not ready, as nothing could be
stored. Both say what they found, healthy or not.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from remediator.domain.errors import RemediatorError
from remediator.domain.json import JSON, Object
from remediator.domain.redaction import redact
from remediator.domain.runs import rfc3339
from remediator.handlers.freshness import Freshness, Heard
from remediator.handlers.leadership import Standing
from remediator.handlers.metrics import IntakeMetrics
from remediator.handlers.run_index import RunIndex
from remediator.ports import Clock

MEASURED_EVERY_SECONDS: Final = 0.5
TOO_LATE_SECONDS: Final = 5.0
NOT_MEASURED_SECONDS: Final = 30.0
READY_WITHIN_SECONDS: Final = 4.0
REMEMBERED_MINUTES: Final = 5

Sign = Callable[[], str]
"""Asked for what is wrong with one part of the process; empty if nothing is."""


class LoopLag:
    """How late the event loop is: everything else in the process is at least as late."""

    def __init__(self, clock: Clock, metrics: IntakeMetrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._measured_at = clock.boot_seconds()
        self.last_seconds = 0.0

    async def measure(self) -> None:
        """Measure, for ever."""
        while True:
            await self.measure_once()

    async def measure_once(self) -> None:
        began = self._clock.boot_seconds()
        await self._clock.sleep(MEASURED_EVERY_SECONDS)
        self._measured_at = self._clock.boot_seconds()
        self.last_seconds = max(0.0, self._measured_at - began - MEASURED_EVERY_SECONDS)
        self._metrics.lag.observe(self.last_seconds)

    def problem(self) -> str:
        """A sign for `Health`."""
        if self.last_seconds > TOO_LATE_SECONDS:
            return f"the event loop was {self.last_seconds:.1f}s late; at most {TOO_LATE_SECONDS:g}s are healthy"
        silent = self._clock.boot_seconds() - self._measured_at
        return f"the event loop was not measured for {silent:.0f}s" if silent > NOT_MEASURED_SECONDS else ""


class Stalls:
    """The long turns of the event loop: how many, how long, and the longest of the last few minutes."""

    def __init__(self, clock: Clock, metrics: IntakeMetrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._longest: dict[int, float] = {}
        """By the minutes since boot, of this minute and of those before it that still count."""
        metrics.watch(
            "remediator_loop_longest_stall_seconds",
            "The longest turn of the event loop in the last five minutes.",
            self.longest_seconds,
        )

    def note(self, seconds: float, worked: float) -> None:
        """A turn took so long, in which the process itself has worked for so long."""
        self._metrics.stalls.observe(seconds)
        self._metrics.worked.observe(worked)
        minute = self._minute()
        self._longest[minute] = max(seconds, self._longest.get(minute, 0.0))
        if len(self._longest) > REMEMBERED_MINUTES:
            self._longest = {at: longest for at, longest in self._longest.items() if at > minute - REMEMBERED_MINUTES}

    def longest_seconds(self) -> float:
        """0 where no turn was long."""
        since = self._minute() - REMEMBERED_MINUTES
        return max((longest for at, longest in self._longest.items() if at > since), default=0.0)

    def _minute(self) -> int:
        return int(self._clock.boot_seconds() // 60)


def watch_caches(metrics: IntakeMetrics, heard: Heard, index: RunIndex) -> None:
    """Gauges of what is known and how old it is; call it after every kind is followed."""
    metrics.watch("remediator_runs_known", "Runs of episodes in memory.", lambda: len(index))
    metrics.watch("remediator_runs_open", "Those that have not ended.", lambda: sum(run.is_open for run in index))
    metrics.watch_each(
        "remediator_seconds_since_heard",
        "How long ago the API server said something about a kind; NaN before the first word.",
        "kind",
        {kind: partial(_age, heard, kind) for kind in heard.ages()},
    )


def watch_leadership(metrics: IntakeMetrics, standing: Callable[[], Standing]) -> None:
    """Gauges of who leads."""
    metrics.watch("remediator_leading", "1 in the replica that leads.", lambda: standing().leads)
    metrics.watch("remediator_leader_epoch", "The last leader's number.", lambda: standing().epoch)
    metrics.watch(
        "remediator_leader_transitions",
        "How often the Lease has gone from one process to another.",
        lambda: standing().transitions,
    )


def _age(heard: Heard, kind: str) -> float:
    age = heard.seconds_since(kind)
    return math.nan if age is None else age


class Health:
    """What the process says of itself."""

    def __init__(
        self,
        lag: LoopLag,
        heard: Heard,
        freshness: Freshness,
        metrics: IntakeMetrics,
        standing: Callable[[], Standing],
        signs: Mapping[str, Sign] | None = None,
    ) -> None:
        self._standing = standing
        self._stopping = False
        self._lag = lag
        self._heard = heard
        self._freshness = freshness
        self._metrics = metrics
        self._signs: dict[str, Sign] = {"loop": lag.problem, **(signs or {})}

    def stops(self) -> None:
        """From here on it is not ready: whoever sends alerts shall send them elsewhere."""
        self._stopping = True

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/healthz", self.healthz)
        application.router.add_get("/readyz", self.readyz)
        application.router.add_get("/metrics", make_aiohttp_handler(self._metrics.registry))
        return application

    async def healthz(self, _: web.Request) -> web.Response:
        """Whether the process works."""
        problems = {name: problem for name, sign in sorted(self._signs.items()) if (problem := sign())}
        return self._answer(problems)

    async def readyz(self, _: web.Request) -> web.Response:
        """Whether an alert could be taken in now."""
        if self._stopping:
            return self._answer({"process": "it is being stopped"})
        try:
            async with asyncio.timeout(READY_WITHIN_SECONDS):
                await self._freshness.confirm()
        except TimeoutError:
            return self._answer({"caches": f"the API server did not answer within {READY_WITHIN_SECONDS:g}s"})
        except RemediatorError as failure:
            return self._answer({"caches": redact(str(failure))})
        return self._answer({})

    def _answer(self, problems: Mapping[str, str]) -> web.Response:
        ages: dict[str, JSON] = {
            kind: None if age is None else round(age, 1) for kind, age in self._heard.ages().items()
        }
        content: Object = {
            "ok": not problems,
            "problems": dict(problems),
            "loopLagSeconds": round(self._lag.last_seconds, 4),
            "notSynced": [*self._heard.unsynced],
            "secondsSinceHeard": ages,
            "leader": self._leader(),
        }
        return web.json_response(content, status=503 if problems else 200)

    def _leader(self) -> Object:
        standing = self._standing()
        return {
            "self": standing.process,
            "leads": standing.leads,
            "holder": standing.holder or None,
            "epoch": standing.epoch,
            "since": rfc3339(standing.since) if standing.since is not None else None,
            "transitions": standing.transitions,
        }
