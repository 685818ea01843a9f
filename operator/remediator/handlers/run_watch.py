"""
The watch of runs, which can be begun anew.

A new leader must know of everything that its predecessor has written. A watch says what has changed, in
order, but never that nothing else has: only a list that was begun afterwards does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from remediator.domain.json import Object, dig_text
from remediator.domain.objects import RUN
from remediator.ports import Cluster

Told = Callable[[str, Object], Awaitable[None]]
Place = tuple[str, str]


class RunWatch:
    """Tells of all runs, for ever; what vanished between two beginnings is told as DELETED."""

    def __init__(self, cluster: Cluster, told: Told) -> None:
        self._cluster = cluster
        self._told = told
        self._known: dict[Place, str] = {}
        self._begin_anew: Final = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    async def keep(self) -> None:
        """Watch, for ever. Raises what a watch raises before its first list has succeeded."""
        while True:
            self._begin_anew.clear()
            listing = _Listing(self._waiting, self._known, self._told)
            self._waiting = []
            watching = asyncio.ensure_future(self._cluster.watch(RUN, "", listing.saw))
            asked = asyncio.ensure_future(self._begin_anew.wait())
            try:
                await asyncio.wait((watching, asked), return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    watching.result()
            finally:
                for one in (watching, asked):
                    one.cancel()
                await asyncio.gather(watching, asked, return_exceptions=True)
                self._known = listing.known
            self._waiting += listing.waiting

    async def caught_up(self) -> None:
        """Returns when all that was stored at the moment of the call has been told, once more or for the first time."""
        seen: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(seen)
        self._begin_anew.set()
        await seen


class _Listing:
    """One beginning of the watch: those who wait for its first list, and the runs that it has told of."""

    def __init__(self, waiting: list["asyncio.Future[None]"], known: dict[Place, str], told: Told) -> None:
        self.waiting = waiting
        self._before = dict(known)
        self._now: dict[Place, str] = {}
        self._told = told

    @property
    def known(self) -> dict[Place, str]:
        """Every run that was told of and not taken back, by its UID."""
        return {**self._before, **self._now}

    async def saw(self, what: str, obj: Object) -> None:
        if what == "SYNCED":
            await self._tell_what_vanished()
            await self._told(what, obj)
            for one in self.waiting:
                if not one.done():
                    one.set_result(None)
            self.waiting = []
            return
        place, uid = _place(obj), dig_text(obj, "metadata", "uid")
        before = self._before.pop(place, None)
        if what == "DELETED":
            self._now.pop(place, None)
        else:
            if before not in (None, uid):
                await self._told("DELETED", _remains(place, str(before)))
            self._now[place] = uid
        await self._told(what, obj)

    async def _tell_what_vanished(self) -> None:
        for place, uid in list(self._before.items()):
            del self._before[place]
            await self._told("DELETED", _remains(place, uid))


def _place(obj: Object) -> Place:
    return dig_text(obj, "metadata", "namespace"), dig_text(obj, "metadata", "name")


def _remains(place: Place, uid: str) -> Object:
    namespace, name = place
    return {
        "apiVersion": RUN.api_version,
        "kind": RUN.kind,
        "metadata": {"namespace": namespace, "name": name, "uid": uid},
    }
