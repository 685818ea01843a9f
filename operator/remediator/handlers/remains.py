"""
What runs leave behind when they are gone: words to them, the Runbooks that they were made from, and Leases.

None of it belongs to a run alone or can be owned by one: people write the words, many runs share one
Runbook's content, and a Lease outlives runs so that deleting them deletes no limit. It is looked at
once an hour.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from remediator.domain.errors import Conflict, NotFound, RemediatorError
from remediator.domain.json import dig_text
from remediator.domain.objects import BUILT_IN, REPLY, ObjectRef
from remediator.domain.replies import Reply
from remediator.handlers.accept import FROZEN, Books
from remediator.handlers.histories import Histories
from remediator.handlers.metrics import RetentionMetrics
from remediator.handlers.replies import Replies
from remediator.handlers.stored import StoredRuns
from remediator.handlers.switch import Switch
from remediator.ports import Clock, Cluster, Locks

log = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 3600.0
PAUSE_SECONDS: Final = 0.25
UNNAMED_FOR: Final = timedelta(hours=1)
"""How long nothing may have named what goes: who has just made it is about to write down that it has."""

LEDGERS_FOR: Final = timedelta(days=7)
"""
How long a Lease is kept after its last change. Limits look back a day at most, and cooldowns as far as a
policy says: so much longer a Lease is kept than they need it.
"""

CONFIG_MAP: Final = BUILT_IN["ConfigMap"]
PAGE: Final = 50


class Remains:
    """Deletes what no run needs."""

    def __init__(
        self,
        stored: StoredRuns,
        histories: Histories,
        replies: Replies,
        books: Books,
        locks: Locks,
        cluster: Cluster,
        switch: Switch,
        clock: Clock,
        metrics: RetentionMetrics,
        *,
        operator_namespace: str,
    ) -> None:
        self._stored = stored
        self._histories = histories
        self._replies = replies
        self._books = books
        self._locks = locks
        self._cluster = cluster
        self._switch = switch
        self._clock = clock
        self._metrics = metrics
        self._namespace = operator_namespace
        self._unnamed_since: dict[str, float] = {}

    async def keep(self) -> None:
        """Sweep, for ever; only the leader does."""
        while True:
            await self._clock.sleep(SWEEP_SECONDS / 2 + self._clock.jitter(SWEEP_SECONDS))
            for sweep in (self.words, self.contents, self.leases):
                await self._tried(sweep)

    async def words(self) -> None:
        """Words to runs that are not there any more are deleted."""
        for word in self._replies.all():
            is_orphan = not self._stored.has((word.namespace, word.spec.run_ref.name), word.spec.run_ref.uid)
            if is_orphan and self._is_old(word.created_at) and self._may():
                await self._forget(word)

    async def contents(self) -> None:
        """Frozen Runbooks that no run names any more are deleted."""
        now, unnamed = self._clock.boot_seconds(), dict[str, float]()
        async for page in self._cluster.pages(CONFIG_MAP, self._namespace, labels=f"{FROZEN}=true", size=PAGE):
            for obj in page:
                name = dig_text(obj, "metadata", "name")
                if self._stored.names_content(name):
                    continue
                unnamed[name] = self._unnamed_since.get(name, now)
                created = datetime.fromisoformat(dig_text(obj, "metadata", "creationTimestamp"))
                is_over = now - unnamed[name] >= UNNAMED_FOR.total_seconds() and self._is_old(created)
                if is_over and self._may() and await self._books.let_go(name, dig_text(obj, "metadata", "uid")):
                    await self._deleted(CONFIG_MAP.kind)
        self._unnamed_since = unnamed

    async def leases(self) -> None:
        """Leases that nobody holds and of which no limit could read anything are deleted."""
        cooldown = self._histories.longest_cooldown()
        if cooldown is None or not self._may():
            return
        before = self._clock.now() - max(LEDGERS_FOR, 2 * cooldown)
        await self._locks.forget_idle(before, lambda: self._deleted("Lease"))

    async def _tried(self, sweep: Callable[[], Awaitable[None]]) -> None:
        try:
            if self._may():
                await sweep()
        except RemediatorError as error:
            log.warning("what runs left behind was not swept", extra={"error": str(error)})

    async def _forget(self, word: Reply) -> None:
        try:
            await self._cluster.delete(ObjectRef(REPLY.group, REPLY.kind, word.namespace, word.name), uid=word.uid)
        except (NotFound, Conflict):
            return
        await self._deleted(REPLY.kind)

    async def _deleted(self, kind: str) -> None:
        self._metrics.remains.labels(kind=kind).inc()
        await self._clock.sleep(PAUSE_SECONDS / 2 + self._clock.jitter(PAUSE_SECONDS))

    def _is_old(self, created_at: datetime) -> bool:
        return self._clock.now() - created_at >= UNNAMED_FOR

    def _may(self) -> bool:
        is_known = self._stored.synced and self._histories.is_known
        return is_known and self._switch.state is not None and not self._switch.pulled
