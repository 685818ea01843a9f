"""
Noting on ended runs that alerts which they have answered are sent again, so that retention knows them to fire.

It is done beside the answer to the sender and not before it, one run after the other: what was answered
stays answered without it. What is lost with the process is noted with the next notification.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from remediator.domain.alerts import Alert, Identities
from remediator.domain.errors import Conflict, NotFound, RemediatorError
from remediator.domain.json import Object
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import Run, rfc3339
from remediator.engine import recurrence
from remediator.engine.begin import KnownRun, PolicyVersion, answering
from remediator.engine.folding import heard_again
from remediator.ports import Clock, Cluster

log = logging.getLogger(__name__)

REST_SECONDS: Final = 3600.0
"""How long a run is not looked at again, unless what is sent shows something sooner; it is written less often still."""

PAUSE_SECONDS: Final = 0.1
IDLE_SECONDS: Final = 5.0
WAITING: Final = 10_000
"""So many runs may wait to be written; of more the first are left out until their alerts come again."""


class Repeats:
    """The alerts that were sent again, by the run that has answered them."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._waiting: OrderedDict[ObjectRef, tuple[str, Identities]] = OrderedDict()
        self._rests: dict[str, float] = {}
        """Until when, in seconds since boot, a run is not looked at again, by its UID."""

    def note(self, alerts: Sequence[Alert], runs: Iterable[KnownRun], policy: PolicyVersion) -> None:
        """These alerts, which fire, were answered by some of these runs."""
        if not alerts:
            return
        now = self._clock.boot_seconds()
        for run in answering(runs, alerts, policy):
            if run.outcome is None or now < self._rests.get(run.uid, now):
                continue
            ref = ObjectRef(RUN.group, RUN.kind, run.namespace, run.name)
            uid, heard = self._waiting.get(ref, ("", Identities()))
            coming = Identities.of(alerts)
            self._waiting[ref] = run.uid, heard.merge(coming) if uid == run.uid else coming
            if len(self._waiting) > WAITING:
                self._waiting.popitem(last=False)

    async def keep(self) -> None:
        """Write what was noted, for ever."""
        while True:
            await self._clock.sleep(PAUSE_SECONDS if self._waiting else IDLE_SECONDS)
            await self.write_next()

    async def write_next(self) -> None:
        """One run says that its alerts were sent again, if it has not said so lately."""
        if not self._waiting:
            self._forget_old()
            return
        ref, (uid, heard) = self._waiting.popitem(last=False)
        self._rests[uid] = self._clock.boot_seconds() + REST_SECONDS
        try:
            await self._write(ref, uid, heard)
        except (Conflict, NotFound):
            return  # it moved, or is gone: the next notification finds out
        except RemediatorError as error:
            log.warning("a repeated alert was not noted", extra={"run": ref.name, "error": str(error)})

    async def _write(self, ref: ObjectRef, uid: str, heard: Identities) -> None:
        try:
            run = Run.parse(await self._cluster.read(ref))
            noted = heard_again(run, heard, self._clock.now()) if run.uid == uid else None
        except ValueError as damaged:
            log.error("a run cannot be read", extra={"run": ref.name, "error": str(damaged)[:500]})
            return
        if noted is None:
            self._rests[uid] -= self._sooner(run)
            return
        operations: list[Object] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": run.resource_version},
        ]
        if noted.status.still_firing is not None:
            at = rfc3339(noted.status.still_firing)
            operations.append({"op": "add", "path": "/status/stillFiring", "value": at})
        if noted.status.covered:
            covered: Object = {"op": "add", "path": "/status/covered"}
            covered["value"] = [one.as_json() for one in noted.status.covered]
            operations.append(covered)
        await self._cluster.patch(ref, operations, sub="status")

    def _sooner(self, run: Run) -> float:
        """By how many seconds it rests shorter, because a notification will soon show that it has not helped."""
        shows = recurrence.shows_after(run, self._clock.now())
        return REST_SECONDS - shows.total_seconds() if shows is not None and shows.total_seconds() > 0 else 0.0

    def _forget_old(self) -> None:
        now = self._clock.boot_seconds()
        self._rests = {uid: until for uid, until in self._rests.items() if now < until}
