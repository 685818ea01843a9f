"""
The epoch: which leader is the last one, as a ConfigMap of the operator's namespace that only grows.

A new leader raises it before anything else, and the API server refuses from then on what any earlier
leader would begin. The operator follows it too: a leader that hears of a higher one steps down, and one
that hears that somebody has removed it puts it back.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from remediator.domain.errors import AlreadyExists, Conflict, NotFound
from remediator.domain.json import Object, dig_int, dig_text
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.engine.election import EPOCH_NAME, epoch_object, epoch_of
from remediator.ports import Clock, Cluster

log = logging.getLogger(__name__)

CONFIG_MAP: Final = BUILT_IN["ConfigMap"]
TRIES: Final = 8


class Epochs:
    """The epoch as this process knows it; `highest` counts what stands on runs too."""

    def __init__(self, cluster: Cluster, namespace: str, clock: Clock) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._clock = clock
        self._moved: Callable[[int], Awaitable[None]] = _nobody
        self.highest = 0

    def tell(self, moved: Callable[[int], Awaitable[None]]) -> None:
        """From here on this is told whenever the ConfigMap says something: its epoch, 0 if it is gone."""
        self._moved = moved

    def saw_run(self, run: Object) -> None:
        """A run as it stands in the API server: some leader has written it."""
        self._saw(dig_int(run, "status", "leaderEpoch"))

    async def watch(self) -> None:
        """Follow the ConfigMap, for ever."""
        await self._cluster.watch(CONFIG_MAP, self._namespace, self.saw, fields=f"metadata.name={EPOCH_NAME}")

    async def saw(self, what: str, obj: Object) -> None:
        """What the watch tells."""
        if what == "SYNCED":
            return
        epoch = 0 if what == "DELETED" else epoch_of(obj)
        self._saw(epoch)
        await self._moved(epoch)

    async def latest(self) -> int:
        """The epoch as the API server has it now; 0 if it has none. Raises what the read raises."""
        obj = await self._read()
        epoch = epoch_of(obj) if obj is not None else 0
        self._saw(epoch)
        return epoch

    async def raised(self, leader: str, runs: Callable[[], Awaitable[None]]) -> int:
        """
        A higher epoch than any leader had, stored.

        Where the ConfigMap is gone, or says nothing, the runs say how high it was: `runs` returns when all of
        them have been seen. Raises Conflict where others keep raising it.
        """
        for _ in range(TRIES):
            obj = await self._read()
            if obj is None or not epoch_of(obj):
                await runs()
            else:
                self._saw(epoch_of(obj))
            epoch = self.highest + 1
            try:
                await self._write(epoch, leader, obj)
            except (AlreadyExists, Conflict, NotFound):
                continue
            self._saw(epoch)
            return epoch
        raise Conflict(f"ConfigMap {self._namespace}/{EPOCH_NAME} kept changing")

    async def put_back(self, epoch: int, leader: str) -> None:
        """The ConfigMap says this epoch, or a higher one that somebody has written meanwhile."""
        obj = await self._read()
        if obj is not None and epoch_of(obj) >= epoch:
            return
        try:
            await self._write(epoch, leader, obj)
        except (AlreadyExists, Conflict, NotFound):
            return  # and the watch tells what it says
        log.warning("the epoch was put back", extra={"epoch": epoch})

    async def _read(self) -> Object | None:
        try:
            return await self._cluster.read(ObjectRef("", CONFIG_MAP.kind, self._namespace, EPOCH_NAME))
        except NotFound:
            return None

    async def _write(self, epoch: int, leader: str, before: Object | None) -> None:
        version = dig_text(before, "metadata", "resourceVersion") if before is not None else ""
        obj = epoch_object(self._namespace, epoch, leader, self._clock.now(), version)
        await (self._cluster.replace if version else self._cluster.create)(CONFIG_MAP, obj)

    def _saw(self, epoch: int) -> None:
        self.highest = max(self.highest, epoch)


async def _nobody(epoch: int) -> None:
    """Nobody is told."""
