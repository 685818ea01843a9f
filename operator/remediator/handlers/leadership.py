"""
Standing for the Lease, keeping it, and what begins and ends with it.

All replicas run this. The one that wins raises the epoch, leads, and renews beside that; when the Lease
is lost, or given back, what it leads with is brought to an end before it stands again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from remediator.domain.errors import AlreadyExists, Conflict, Deposed, NotFound, RemediatorError
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.engine.election import LEASE_NAME, Lease, Sighting, Timing, lease_object, lease_of
from remediator.handlers.epochs import Epochs
from remediator.handlers.leading import Mandate
from remediator.ports import Clock, Cluster

log = logging.getLogger(__name__)

LEASE: Final = BUILT_IN["Lease"]
TRIES_TO_RELEASE: Final = 2

Lead = Callable[[Mandate], Awaitable[None]]
"""Lead until cancelled; what was begun has ended when it returns."""

Runs = Callable[[], Awaitable[None]]
"""Returns when all runs have been seen that there were at the moment of the call."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a process knows of who leads; empty where it has not looked yet."""

    process: str
    """The process itself, as it stands on the Lease while it leads."""
    leads: bool
    holder: str
    epoch: int
    since: datetime | None
    transitions: int


class Leadership:
    """One process's part in the election."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        identity: str,
        clock: Clock,
        timing: Timing,
        epochs: Epochs,
        runs: Runs,
        lead: Lead,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self.identity = identity
        self._clock = clock
        self._timing = timing
        self._epochs = epochs
        self._runs = runs
        self._lead = lead
        self._seen: Sighting | None = None
        self._mandate: Mandate | None = None
        self._answered_at = clock.boot_seconds()
        epochs.tell(self._epoch_moved)

    def standing(self) -> Standing:
        """As it is now, without asking anybody."""
        lease = self._seen.lease if self._seen is not None else Lease()
        leads = self._mandate is not None and self._mandate.holds()
        epoch = self._mandate.epoch if leads and self._mandate is not None else self._epochs.highest
        return Standing(self.identity, leads, lease.holder, epoch, lease.acquired_at, lease.transitions)

    def silence(self) -> float:
        """How many seconds ago the API server has last answered a look at the Lease, or a renewal of it."""
        return self._clock.boot_seconds() - self._answered_at

    async def keep(self) -> None:
        """Stand and lead, for ever. When it is cancelled, the Lease is given back."""
        try:
            while True:
                await self._led(await self._won())
        finally:
            await self._released()

    # standing for it

    async def _won(self) -> Mandate:
        """The mandate that comes with the Lease, once that is this process's."""
        while True:
            mandate = Mandate(self._clock, self._epochs.latest)
            try:
                if await self._taken(mandate):
                    return mandate
            except Conflict:
                log.info("another process was faster")
            except RemediatorError as error:
                log.warning("the Lease could not be looked at", extra={"error": str(error)})
            await self._clock.sleep(self._timing.retry_seconds)

    async def _taken(self, mandate: Mandate) -> bool:
        """Whether the Lease was free, and is this process's now."""
        lease = await self._read()
        now = self._clock.boot_seconds()
        self._seen = self._seen.followed_by(lease, now) if self._seen is not None else Sighting(lease, now)
        if not self._seen.is_free_for(self.identity, now, self._timing):
            return False
        await self._write(lease.taken(self.identity, self._clock.now(), self._timing), mandate)
        return True

    # keeping it

    async def _led(self, mandate: Mandate) -> None:
        """It was led until the Lease was lost; nothing of it goes on."""
        log.info("this process leads", extra={"identity": self.identity})
        self._mandate = mandate
        parts = [
            asyncio.ensure_future(part)
            for part in (self._renewed(mandate), self._reigned(mandate), mandate.wait_for_its_end())
        ]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                with suppress(Deposed):
                    part.result()
        finally:
            # what is under way may come to its next record while the Lease lasts, which is renewed no more
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            mandate.end()
            self._mandate = None
            log.warning("this process leads no longer", extra={"identity": self.identity, "epoch": mandate.epoch})

    async def _renewed(self, mandate: Mandate) -> None:
        """The Lease is renewed until it is lost."""
        pause = self._timing.renew_seconds
        while True:
            await self._clock.sleep(min(pause, mandate.seconds_left))
            if not mandate.is_running():
                return
            try:
                async with asyncio.timeout(self._timing.renew_seconds):
                    await self._renew(mandate)
            except (Conflict, NotFound) as lost:
                log.warning("the Lease was lost", extra={"error": str(lost)})
                mandate.end()
                return
            except (RemediatorError, TimeoutError) as error:
                log.warning("the Lease could not be renewed", extra={"error": str(error)})
                pause = self._timing.retry_seconds
                continue
            pause = self._timing.renew_seconds

    async def _renew(self, mandate: Mandate) -> None:
        """Raises Conflict where another has the Lease, NotFound where it is gone."""
        assert self._seen is not None, "it was taken"
        try:
            await self._write(self._seen.lease.renewed(self._clock.now(), self._timing), mandate)
        except Conflict:
            lease = await self._read()
            if lease.holder != self.identity:
                raise
            # its own renewal, whose answer was lost
            await self._write(lease.renewed(self._clock.now(), self._timing), mandate)

    async def _reigned(self, mandate: Mandate) -> None:
        """Led, with a new epoch, until cancelled."""
        mandate.epoch = await self._raised(mandate)
        log.info("the epoch is raised", extra={"epoch": mandate.epoch})
        await self._lead(mandate)

    async def _raised(self, mandate: Mandate) -> int:
        """The epoch of this leader, stored before anything else is written. Raises Deposed without the Lease."""
        while mandate.is_running():
            try:
                return await self._epochs.raised(self.identity, self._runs)
            except RemediatorError as error:
                log.warning("the epoch could not be raised", extra={"error": str(error)})
                await self._clock.sleep(self._timing.retry_seconds)
        raise Deposed("the Lease was over before the epoch was raised")

    async def _epoch_moved(self, epoch: int) -> None:
        """What the ConfigMap says: one that is higher ends the mandate, one that is lower is put right."""
        mandate = self._mandate
        if mandate is None or not mandate.holds():
            return
        if epoch > mandate.epoch:
            log.warning("a later leader has raised the epoch", extra={"epoch": epoch, "own": mandate.epoch})
            mandate.end()
        elif epoch < mandate.epoch:
            try:
                await self._epochs.put_back(mandate.epoch, self.identity)
            except RemediatorError as error:
                log.error("the epoch could not be put back", extra={"error": str(error)})
                mandate.end()  # to lead anew is to raise it

    # giving it back

    async def _released(self) -> None:
        """The Lease is free for the next one, if it was this process's."""
        lease = self._seen.lease if self._seen is not None else Lease()
        try:
            for _ in range(TRIES_TO_RELEASE):
                if lease.holder != self.identity:
                    return
                with suppress(Conflict):  # perhaps with its own renewal, whose answer was not waited for
                    await self._write(lease.released(self._clock.now()))
                    return
                lease = await self._read()
        except RemediatorError as error:
            log.warning("the Lease was not given back, and runs out", extra={"error": str(error)})

    async def _read(self) -> Lease:
        try:
            found = lease_of(await self._cluster.read(ObjectRef(LEASE.group, LEASE.kind, self._namespace, LEASE_NAME)))
        except NotFound:
            found = Lease()
        self._answered_at = self._clock.boot_seconds()
        return found

    async def _write(self, lease: Lease, mandate: Mandate | None = None) -> None:
        """The Lease says this, under the version that it was read in; the mandate lasts from before it was sent."""
        before = self._clock.boot_seconds()
        obj = lease_object(lease, self._namespace)
        try:
            stored = await (self._cluster.replace if lease.resource_version else self._cluster.create)(LEASE, obj)
        except AlreadyExists as taken:
            raise Conflict(str(taken)) from taken
        self._answered_at = self._clock.boot_seconds()
        self._seen = Sighting(lease_of(stored), self._answered_at)
        if mandate is not None:
            mandate.extend(before + self._timing.held_seconds)
