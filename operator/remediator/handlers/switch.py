"""
The kill switch as the operator knows it: a watch on one ConfigMap of its own namespace.

The API server enforces the switch whether or not the operator has heard of it; hearing of it is how
what is open ends, and says why.
"""

import logging
from collections.abc import Callable
from typing import Final

from remediator.domain.errors import NotFound
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.engine.facts import NOT_SUSPENDED, Suspension
from remediator.engine.suspension import NAME, suspension
from remediator.ports import Cluster

log = logging.getLogger(__name__)

CONFIG_MAP: Final = BUILT_IN["ConfigMap"]


class Switch:
    """Whether everything is suspended; `moved` is told whenever that changes."""

    def __init__(self, cluster: Cluster, namespace: str, moved: Callable[[], None] = lambda: None) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._moved = moved
        self._watched = ""  # UID of the ConfigMap that the watch has brought
        self.state: Suspension | None = None
        """None until it is known."""

    @property
    def pulled(self) -> bool:
        """Whether it is known to be pulled."""
        return self.state is not None and self.state.pulled

    async def watch(self) -> None:
        """Follow the ConfigMap, for ever."""
        await self._cluster.watch(CONFIG_MAP, self._namespace, self.saw, fields=f"metadata.name={NAME}")

    async def saw(self, what: str, obj: Object) -> None:
        self.heard(what, obj)

    def heard(self, what: str, obj: Object) -> None:
        """What the watch tells."""
        uid = dig_text(obj, "metadata", "uid")
        if what in ("ADDED", "MODIFIED"):
            self._watched = uid
            self._become(suspension(obj))
        elif what == "DELETED" and self._watched == uid:
            self._watched = ""
            self._become(NOT_SUSPENDED)
        elif what == "SYNCED" and not self._watched:
            self._become(NOT_SUSPENDED)  # what `look` found meanwhile is not in the list any more

    async def look(self) -> Suspension:
        """
        The switch as the API server has it now.

        Raises what the read raises: unknown is not released.
        """
        try:
            obj = await self._cluster.read(ObjectRef("", CONFIG_MAP.kind, self._namespace, NAME))
        except NotFound:
            return self._become(NOT_SUSPENDED)
        return self._become(suspension(obj))

    def _become(self, state: Suspension) -> Suspension:
        before, self.state = self.state, state
        if before is None or before.pulled != state.pulled:
            extra = {"by": state.by, "reason": state.reason}
            log.warning("everything is suspended", extra=extra) if state.pulled else log.info("nothing is suspended")
            self._moved()
        return state
