"""
Asking for alerts where nobody sends them: each answer is taken in as a webhook's call would be.

Every round takes in all that fires; what is recorded already costs no write. What is over is found out
by its absence (`engine.sightings`) and told as resolved. The leader polls, and keeps what it has seen
in a ConfigMap: the next one could otherwise not tell what has gone from what it never saw.
"""

import logging
from typing import Final

from remediator.domain.errors import RemediatorError
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.engine.sightings import Sighting, after_poll, over
from remediator.handlers.metrics import PollMetrics
from remediator.handlers.sighted import SightedAlerts
from remediator.handlers.taking import Taker
from remediator.ports import ALL, AlertList, Clock, KubernetesEvents, Polled

log = logging.getLogger(__name__)

TELLS_AFTER_ROUNDS: Final = 3
SLOWEST_SECONDS: Final = 300.0
ENDPOINTS: Final = "remediator-endpoints"


class Poller:
    """Polls, for as long as it leads."""

    def __init__(
        self,
        sources: AlertList,
        taker: Taker,
        memory: SightedAlerts,
        clock: Clock,
        metrics: PollMetrics,
        events: KubernetesEvents,
        *,
        namespace: str,
        every_seconds: float,
        missing_for_seconds: float,
    ) -> None:
        self._sources = sources
        self._taker = taker
        self._memory = memory
        self._clock = clock
        self._metrics = metrics
        self._events = events
        self._endpoints = ObjectRef("", BUILT_IN["ConfigMap"].kind, namespace, ENDPOINTS)
        self._every_seconds = every_seconds
        self._missing_for_seconds = missing_for_seconds
        self._seen: dict[str, Sighting] | None = None
        self._failed: dict[str, int] = dict.fromkeys((*sources.names, ALL), 0)

    async def keep(self) -> None:
        """A round from time to time, for ever; rarer while nothing comes of them."""
        in_vain = 0
        while True:
            try:
                in_vain = 0 if await self.round() else in_vain + 1
            except RemediatorError as error:  # the same alerts are listed the next time
                in_vain += 1
                self._metrics.rounds.labels(result="NotTaken").inc()
                log.warning("polled alerts were not taken in", extra={"error": str(error)})
            except Exception:  # a mistake of ours about what somebody listed: the leader has other work too
                in_vain += 1
                self._metrics.rounds.labels(result="Mistake").inc()
                log.exception("polled alerts could not be taken in")
            pause = min(self._every_seconds * 2.0 ** min(in_vain, 8), max(SLOWEST_SECONDS, self._every_seconds))
            await self._clock.sleep(pause)

    async def round(self) -> bool:
        """
        What fires is on runs, and what is over is marked there; whether any source answered.

        Raises Unavailable where that could not be brought about: the next round tries again.
        """
        if self._seen is None:
            self._seen = {alert.fingerprint: Sighting(alert) for alert in await self._memory.load()}
        polled = await self._sources.poll()
        await self._tell(polled)
        if len(polled.failures) >= len(self._sources.names) and not polled.firing:
            self._seen = after_poll(self._seen, (), (), whole=False, seconds=0.0)
            self._metrics.rounds.labels(result="NoAnswer").inc()
            return False
        seconds = self._clock.boot_seconds()
        seen = after_poll(self._seen, polled.firing, polled.present, whole=not polled.failures, seconds=seconds)
        self._seen = seen
        ended = over(seen, seconds=seconds, missing_for=self._missing_for_seconds, now=self._clock.now())
        # before they are taken in: whoever goes on from here knows what there is to miss
        await self._memory.keep([one.alert for one in seen.values()])
        await self._taker.take([*polled.firing, *ended])
        for alert in ended:
            del seen[alert.fingerprint]
        self._metrics.rounds.labels(result="Taken").inc()
        return True

    async def _tell(self, polled: Polled) -> None:
        """Metrics of every round; an Event where a source fails again and again, and where it answers after that."""
        self._metrics.firing.set(len(polled.firing))
        for name, failed in self._failed.items():
            problem = polled.failures.get(name, "")
            self._failed[name] = failed + 1 if problem else 0
            if not problem and name != ALL:
                self._metrics.last_success.labels(source=name).set(self._clock.now().timestamp())
            if problem and failed + 1 == TELLS_AFTER_ROUNDS:
                log.warning("a source of alerts does not answer", extra={"source": name, "error": problem})
                await self._events.record(
                    self._endpoints, "", reason="PollFailed", message=f"{name}: {problem}", warning=True
                )
            if not problem and failed >= TELLS_AFTER_ROUNDS:
                await self._events.record(self._endpoints, "", reason="Polled", message=f"{name} answers again")
