"""
What lets a process act, and the ports that stop acting when it no longer does.

Every write of the leader passes here, so that none can be forgotten. This bounds how much is done twice
when the Lease is lost; it is no fence, because a process may be frozen between the look and the write.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol

from remediator.domain.actions import Permission
from remediator.domain.errors import Deposed
from remediator.domain.json import Object
from remediator.domain.objects import Kind, ObjectRef
from remediator.ports import Clock, Cluster, Identity, Listing, LogText, Notifier


class Leading(Protocol):
    """Whether this process leads, as far as it can tell without asking anybody."""

    @property
    def epoch(self) -> int:
        """Stands on every record that is written; 0 where nobody counts."""
        ...

    def holds(self) -> bool:
        """Whether the next effect may be begun."""
        ...

    async def confirm(self) -> None:
        """The API server knows of no later leader. Raises Deposed where it does, and what the read raises."""
        ...


class Alone:
    """The only process there is, as in a scenario."""

    epoch = 0

    def holds(self) -> bool:
        return True

    async def confirm(self) -> None:
        return


class Mandate:
    """
    One process's time as the leader: it holds until the Lease's time is over, and then never again.

    Whoever leads once more has another one, with a higher epoch.
    """

    def __init__(self, clock: Clock, latest: Callable[[], Awaitable[int]]) -> None:
        self._clock = clock
        self._latest = latest
        self._until = 0.0
        self._over = asyncio.Event()
        self.epoch = 0
        """0 until it is raised; before that the mandate does not hold."""

    def extend(self, until: float) -> None:
        """The Lease lasts until then, in seconds since boot; what is over stays over."""
        if self.is_running():
            self._until = until

    def is_running(self) -> bool:
        """Whether the Lease still lasts."""
        if self._until and self._clock.boot_seconds() >= self._until:
            self._over.set()
        return not self._over.is_set()

    def holds(self) -> bool:
        return self.epoch > 0 and self.is_running()

    def end(self) -> None:
        """It is over."""
        self._over.set()

    async def wait_for_its_end(self) -> None:
        """Returns when somebody has said that it is over."""
        await self._over.wait()

    @property
    def seconds_left(self) -> float:
        return max(self._until - self._clock.boot_seconds(), 0.0)

    async def confirm(self) -> None:
        if await self._latest() > self.epoch:
            self.end()
        if not self.holds():
            raise Deposed("a later leader has raised the epoch")


class LedCluster:
    """`ports.Cluster` that writes only while this process leads; it reads as ever."""

    def __init__(self, cluster: Cluster, leading: Leading) -> None:
        self._cluster = cluster
        self._leading = leading

    def _still(self) -> Cluster:
        """The cluster to write to. Raises Deposed."""
        if not self._leading.holds():
            raise Deposed("this process leads no longer")
        return self._cluster

    def acting_as(self, identity: Identity) -> "LedCluster":
        return LedCluster(self._cluster.acting_as(identity), self._leading)

    async def create(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object:
        return await self._still().create(kind, obj, dry_run=dry_run)

    async def patch(
        self, ref: ObjectRef, operations: Sequence[Object], *, dry_run: bool = False, sub: str = ""
    ) -> Object:
        return await self._still().patch(ref, operations, dry_run=dry_run, sub=sub)

    async def replace(self, kind: Kind, obj: Object, *, sub: str = "") -> Object:
        return await self._still().replace(kind, obj, sub=sub)

    async def delete(self, ref: ObjectRef, *, uid: str = "", resource_version: str = "", dry_run: bool = False) -> None:
        await self._still().delete(ref, uid=uid, resource_version=resource_version, dry_run=dry_run)

    async def evict(
        self,
        pod: ObjectRef,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> bool:
        return await self._still().evict(
            pod, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds, dry_run=dry_run
        )

    async def read(self, ref: ObjectRef) -> Object:
        return await self._cluster.read(ref)

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = 500
    ) -> Listing:
        return await self._cluster.list(kind, namespace, labels=labels, fields=fields, limit=limit)

    def pages(
        self, kind: Kind, namespace: str = "", *, labels: str = "", size: int = 500
    ) -> AsyncIterator[tuple[Object, ...]]:
        return self._cluster.pages(kind, namespace, labels=labels, size=size)

    async def logs(
        self,
        pod: ObjectRef,
        *,
        container: str,
        previous: bool = False,
        tail_lines: int = 200,
        since: timedelta | None = None,
        limit_bytes: int = 1_048_576,
    ) -> LogText:
        return await self._cluster.logs(
            pod,
            container=container,
            previous=previous,
            tail_lines=tail_lines,
            since=since,
            limit_bytes=limit_bytes,
        )

    async def allowed(self, permission: Permission, namespace: str, name: str = "") -> tuple[bool, str]:
        return await self._cluster.allowed(permission, namespace, name)

    async def kind(self, text: str) -> Kind:
        return await self._cluster.kind(text)

    async def watch(
        self,
        kind: Kind,
        namespace: str,
        changed: Callable[[str, Object], Awaitable[None]],
        *,
        labels: str = "",
        fields: str = "",
    ) -> None:
        await self._cluster.watch(kind, namespace, changed, labels=labels, fields=fields)


class LedNotifier:
    """`ports.Notifier` that sends only while this process leads."""

    def __init__(self, notifier: Notifier, leading: Leading) -> None:
        self._notifier = notifier
        self._leading = leading

    async def send(self, namespace: str, receiver: str, subject: str, body: str, *, key: str) -> None:
        if not self._leading.holds():
            raise Deposed("this process leads no longer")
        await self._notifier.send(namespace, receiver, subject, body, key=key)

    async def known(self, namespace: str, receiver: str) -> bool:
        return await self._notifier.known(namespace, receiver)
