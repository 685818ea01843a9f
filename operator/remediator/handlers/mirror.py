"""
Small kinds that the guards ask about before every change, as the operator's own watches bring them.

Each would otherwise be a list for each look. What is here may be some milliseconds behind the API
server, and at most as long as a watch may be silent before it is taken for dead; until a watch has
brought everything once, and where it may not watch, the API server is asked.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final

from remediator.domain.errors import Forbidden, NotFound, Rejected
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import BUILT_IN, Kind
from remediator.ports import Cluster, Listing

log = logging.getLogger(__name__)

MIRRORED: Final = tuple(BUILT_IN[kind] for kind in ("PodDisruptionBudget", "ResourceQuota", "LimitRange"))


class Mirror:
    """Objects by kind and namespace."""

    def __init__(self) -> None:
        self._objects: defaultdict[tuple[Kind, str], dict[str, Object]] = defaultdict(dict)
        self._synced: set[Kind] = set()

    async def watch(self, cluster: Cluster) -> None:
        """Follow all kinds, for ever; of one that may not be followed nothing is known."""
        await asyncio.gather(*(self._watch(cluster, kind) for kind in MIRRORED))

    def listed(self, kind: Kind, namespace: str, *, limit: int) -> Listing | None:
        """All objects of the kind in the namespace; None where that is not known here."""
        if kind not in self._synced or not namespace:
            return None
        found = tuple(self._objects.get((kind, namespace), {}).values())
        return Listing(found[:limit], truncated=len(found) > limit)

    async def _watch(self, cluster: Cluster, kind: Kind) -> None:
        try:
            await cluster.watch(kind, "", self._changed(kind))
        except (Forbidden, NotFound, Rejected) as wrong:
            self._synced.discard(kind)
            log.warning(
                "a kind is not followed, and is listed for each look", extra={"kind": str(kind), "error": str(wrong)}
            )

    def _changed(self, kind: Kind) -> Callable[[str, Object], Awaitable[None]]:
        async def changed(what: str, obj: Object) -> None:
            if what == "SYNCED":
                self._synced.add(kind)
                return
            objects = self._objects[kind, dig_text(obj, "metadata", "namespace")]
            name = dig_text(obj, "metadata", "name")
            if what == "DELETED":
                objects.pop(name, None)
            else:
                objects[name] = slim(obj)

        return changed


def slim(obj: Object) -> Object:
    """The object without what only the API server needs."""
    metadata = obj.get("metadata")
    assert isinstance(metadata, dict), "every object has metadata"
    kept = {name: value for name, value in metadata.items() if name not in ("managedFields", "annotations")}
    return {**obj, "metadata": kept}
