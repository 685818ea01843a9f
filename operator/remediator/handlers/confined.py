"""
The world as a run of one namespace may see it: that namespace, and nothing else.

Targets and queries are looked at before, where a person can be told best. Here, at the last place before
a request leaves, the same holds for whatever an action asks for: a name from a template, a kind that turns
out to be in no namespace, a list of all namespaces. The account's own permissions hold besides.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta

from remediator.domain.actions import Permission
from remediator.domain.errors import Forbidden, Rejected
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import BUILT_IN, Kind, ObjectRef
from remediator.domain.promql import confined
from remediator.ports import AlertSource, Cluster, Firing, Identity, Listing, LogText, Metrics, Sample


class ConfinedCluster:
    """`ports.Cluster` that raises Forbidden for everything outside of its namespace."""

    def __init__(self, inner: Cluster, namespace: str) -> None:
        self._inner = inner
        self._namespace = namespace

    def acting_as(self, identity: Identity) -> "ConfinedCluster":
        return ConfinedCluster(self._inner.acting_as(identity), self._namespace)

    async def read(self, ref: ObjectRef) -> Object:
        await self._holds(ref)
        return await self._inner.read(ref)

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = 500
    ) -> Listing:
        self._is_within(kind, namespace, f"the {kind.plural} of {namespace or 'all namespaces'}")
        return await self._inner.list(kind, namespace, labels=labels, fields=fields, limit=limit)

    def pages(
        self, kind: Kind, namespace: str = "", *, labels: str = "", size: int = 500
    ) -> AsyncIterator[tuple[Object, ...]]:
        self._is_within(kind, namespace, f"the {kind.plural} of {namespace or 'all namespaces'}")
        return self._inner.pages(kind, namespace, labels=labels, size=size)

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
        await self._holds(pod)
        return await self._inner.logs(
            pod, container=container, previous=previous, tail_lines=tail_lines, since=since, limit_bytes=limit_bytes
        )

    async def create(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object:
        self._is_within(kind, dig_text(obj, "metadata", "namespace"), str(ObjectRef.to(obj, kind)))
        return await self._inner.create(kind, obj, dry_run=dry_run)

    async def patch(
        self, ref: ObjectRef, operations: Sequence[Object], *, dry_run: bool = False, sub: str = ""
    ) -> Object:
        await self._holds(ref)
        return await self._inner.patch(ref, operations, dry_run=dry_run, sub=sub)

    async def replace(self, kind: Kind, obj: Object, *, sub: str = "") -> Object:
        self._is_within(kind, dig_text(obj, "metadata", "namespace"), str(ObjectRef.to(obj, kind)))
        return await self._inner.replace(kind, obj, sub=sub)

    async def delete(self, ref: ObjectRef, *, uid: str = "", resource_version: str = "", dry_run: bool = False) -> None:
        await self._holds(ref)
        await self._inner.delete(ref, uid=uid, resource_version=resource_version, dry_run=dry_run)

    async def evict(
        self,
        pod: ObjectRef,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> bool:
        await self._holds(pod)
        return await self._inner.evict(
            pod, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds, dry_run=dry_run
        )

    async def allowed(self, permission: Permission, namespace: str, name: str = "") -> tuple[bool, str]:
        return await self._inner.allowed(permission, namespace, name)

    async def kind(self, text: str) -> Kind:
        return await self._inner.kind(text)

    async def watch(
        self,
        kind: Kind,
        namespace: str,
        changed: Callable[[str, Object], Awaitable[None]],
        *,
        labels: str = "",
        fields: str = "",
    ) -> None:
        self._is_within(kind, namespace, f"the {kind.plural} of {namespace or 'all namespaces'}")
        await self._inner.watch(kind, namespace, changed, labels=labels, fields=fields)

    async def _holds(self, ref: ObjectRef) -> None:
        known = BUILT_IN.get(ref.kind)
        if known is None or known.group != ref.group:
            # a namespace in the reference says nothing: the kind may be in none
            known = await self._inner.kind(f"{ref.kind}.{ref.group}" if ref.group else ref.kind)
        self._is_within(known, ref.namespace, str(ref))

    def _is_within(self, kind: Kind, namespace: str, what: str) -> None:
        if not kind.namespaced or namespace != self._namespace:
            raise Forbidden(f"{what}: a run of namespace {self._namespace} reaches nothing outside of it")


class ConfinedMetrics:
    """`ports.Metrics` that answers from the series of one namespace; what cannot be confined is Rejected."""

    def __init__(self, inner: Metrics, namespace: str) -> None:
        self._inner = inner
        self._namespace = namespace

    async def query(self, endpoint: str, promql: str, at: datetime) -> tuple[Sample, ...]:
        try:
            fenced = confined(promql, self._namespace)
        except ValueError as wrong:
            raise Rejected(f"the query cannot be confined to namespace {self._namespace}: {wrong}") from None
        return await self._inner.query(endpoint, fenced, at)


class ConfinedAlerts:
    """`ports.AlertSource` of the alerts that carry one namespace's label."""

    def __init__(self, inner: AlertSource, namespace: str) -> None:
        self._inner = inner
        self._namespace = namespace

    @property
    def configured(self) -> bool:
        return self._inner.configured

    async def firing(self, matching: Mapping[str, str]) -> Firing:
        if matching.get("namespace", self._namespace) != self._namespace:
            return Firing((), f"alerts of namespace {self._namespace} alone")
        found = await self._inner.firing({**matching, "namespace": self._namespace})
        if found.alerts is None:
            return found
        own = tuple(alert for alert in found.alerts if alert.labels.get("namespace") == self._namespace)
        return Firing(own, found.source, found.asked_at)
