"""
Locks on targets as Leases in the operator's namespace, where tenants cannot delete them.

A Lease's own expiry is not used: a run that was stopped in the middle of a change still owns its
target, and only its end gives it back. The ledger of past changes lies on the same object, so that
taking the lock and noting what it is taken for are one write under one resourceVersion.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from remediator.domain.errors import AlreadyExists, Conflict, NotFound
from remediator.domain.json import JSON, Object, dig, dig_object, dig_text
from remediator.domain.locks import Busy, Held, LockState, PastChange
from remediator.domain.names import label_value
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.ports import Cluster

LEASE: Final = BUILT_IN["Lease"]
HOLDER_UID: Final = "remediator.dev/holder-uid"
TARGET: Final = "remediator.dev/target"
CHANGES: Final = "remediator.dev/changes"
LABEL: Final = "remediator.dev/lock"
TARGETS: Final = "target"
TARGET_KIND: Final = "remediator.dev/target-kind"
TARGET_NAMESPACE: Final = "remediator.dev/target-namespace"
TARGET_NAME: Final = "remediator.dev/target-name"
ATTEMPTS: Final = 5
PAGE: Final = 100  # of some 12 KB at most


class LeaseLocks:
    """`ports.Locks` over the operator's own identity."""

    def __init__(self, cluster: Cluster, operator_namespace: str) -> None:
        self._cluster = cluster
        self._namespace = operator_namespace
        self._known: dict[str, LockState | None] = {}
        self._synced = False

    async def watch(self) -> None:
        """
        Follow the Leases, for ever, so that to read one costs no call.

        What is brought may be a moment old. It decides whether to try for a lock; to take it is a write
        under the resourceVersion of what was read, and fails where the Lease has moved.
        """
        await self._cluster.watch(LEASE, self._namespace, self._changed, labels=f"{LABEL}={TARGETS}")

    async def read(self, name: str) -> LockState:
        return self.known(name) or await self._live(name)

    def known(self, name: str) -> LockState | None:
        return self._known.get(name, LockState(name)) if self._synced else None

    async def _changed(self, what: str, lease: Object) -> None:
        name = dig_text(lease, "metadata", "name")
        if what == "SYNCED":
            self._synced = True
        elif what == "DELETED":
            self._known.pop(name, None)
        else:
            try:
                self._known[name] = state_of(lease)
            except Conflict:
                self._known[name] = None  # whoever reads it is told why it cannot be read

    async def _live(self, name: str) -> LockState:
        try:
            return state_of(await self._cluster.read(ObjectRef(LEASE.group, LEASE.kind, self._namespace, name)))
        except NotFound:
            return LockState(name)

    async def acquire(
        self,
        name: str,
        *,
        holder: str,
        holder_uid: str,
        target: ObjectRef,
        now: datetime,
        seen: LockState | None = None,
        note: PastChange | None = None,
        freed: Callable[[LockState], Awaitable[LockState | None]] | None = None,
    ) -> Held | Busy:
        for _ in range(ATTEMPTS):
            state, seen = seen or await self._live(name), None
            was = state
            if state.holder_uid not in ("", holder_uid):
                without = await freed(state) if freed is not None else None
                if without is None:
                    return Busy(state.holder, state.holder_uid, state.since)
                state = without
            since = state.since if state.holder_uid == holder_uid else now
            taken = replace(state, target=target, holder=holder, holder_uid=holder_uid, since=since)
            try:
                return Held(await self._write(taken.noted(note) if note else taken), was)
            except (Conflict, NotFound):
                # moved since it was read, by a holder, a release or a deletion: look again
                continue
        raise Conflict(f"Lease {self._namespace}/{name} kept changing")

    async def release(
        self, name: str, *, holder_uid: str, notes: Sequence[PastChange] = (), seen: LockState | None = None
    ) -> None:
        for _ in range(ATTEMPTS):
            state, seen = seen or await self._live(name), None
            if state.holder_uid != holder_uid:
                return
            try:
                await self._write(state.noted(*notes).freed)
            except (Conflict, NotFound):
                continue
            return
        raise Conflict(f"Lease {self._namespace}/{name} kept changing")

    async def forget_idle(self, before: datetime, forgotten: Callable[[], Awaitable[None]]) -> None:
        async for page in self._cluster.pages(LEASE, self._namespace, labels=f"{LABEL}={TARGETS}", size=PAGE):
            for lease in page:
                if _is_idle(lease, before) and await self._delete(lease):
                    await forgotten()

    async def _delete(self, lease: Object) -> bool:
        version = dig_text(lease, "metadata", "resourceVersion")
        try:
            await self._cluster.delete(
                ObjectRef.to(lease, LEASE), uid=dig_text(lease, "metadata", "uid"), resource_version=version
            )
        except (Conflict, NotFound):
            return False  # somebody has taken it
        return True

    async def _write(self, state: LockState) -> LockState:
        lease = lease_of(state, self._namespace)
        if state.resource_version:
            return state_of(await self._cluster.replace(LEASE, lease))
        try:
            return state_of(await self._cluster.create(LEASE, lease))
        except AlreadyExists as taken:
            raise Conflict(str(taken)) from taken


def lease_of(state: LockState, namespace: str) -> Object:
    """The Lease that says this. A free one has no holder, as the API has no empty one."""
    labels: Object = {LABEL: TARGETS}
    annotations: Object = {}
    if state.target is not None:
        ref = state.target
        annotations[TARGET] = str(ref)
        labels |= {TARGET_KIND: label_value(ref.kind), TARGET_NAME: label_value(ref.name)}
        if ref.namespace:
            labels[TARGET_NAMESPACE] = label_value(ref.namespace)
    if state.holder_uid:
        annotations[HOLDER_UID] = state.holder_uid
    if state.changes:
        annotations[CHANGES] = json.dumps([_change_as_json(change) for change in state.changes], separators=(",", ":"))
    metadata: Object = {"namespace": namespace, "name": state.name, "labels": labels, "annotations": annotations}
    if state.resource_version:
        metadata["resourceVersion"] = state.resource_version
    spec: Object = {}
    if state.holder:
        spec["holderIdentity"] = state.holder
    if state.since is not None:
        spec["acquireTime"] = _micro_time(state.since)
    return {"metadata": metadata, "spec": spec}


def state_of(lease: Object) -> LockState:
    """
    What a Lease says.

    A ledger that somebody has damaged raises Conflict: an empty one would allow what a cooldown forbids.
    """
    annotations = dig_object(lease, "metadata", "annotations")
    name = dig_text(lease, "metadata", "name")
    since = dig_text(lease, "spec", "acquireTime")
    try:
        raw = json.loads(dig_text(annotations, CHANGES) or "[]")
        changes = tuple(_change_from_json(change) for change in raw)
    except (ValueError, TypeError, AttributeError) as wrong:
        raise Conflict(f"Lease {name}: annotation {CHANGES} cannot be read; delete the Lease to forget it") from wrong
    return LockState(
        name,
        target=_target(dig_text(annotations, TARGET)),
        holder=dig_text(lease, "spec", "holderIdentity"),
        holder_uid=dig_text(annotations, HOLDER_UID),
        since=_time(since) if since else None,
        changes=changes,
        resource_version=dig_text(lease, "metadata", "resourceVersion"),
    )


def _is_idle(lease: Object, since: datetime) -> bool:
    """Whether nobody needs it; one that cannot be read may be needed."""
    try:
        return state_of(lease).is_idle(since) and _time(dig_text(lease, "metadata", "creationTimestamp")) < since
    except (Conflict, ValueError):
        return False


def _change_as_json(change: PastChange) -> Object:
    found: Object = {
        "runbook": change.runbook,
        "remedy": change.remedy,
        "run": change.run,
        "runUid": change.run_uid,
        "at": _text(change.at),
        "made": [_text(made) for made in change.made],
    }
    if change.outcome:
        found["outcome"] = change.outcome
    if change.ended is not None:
        found["ended"] = _text(change.ended)
    return found


def _change_from_json(stored: JSON) -> PastChange:
    ended, at = dig_text(stored, "ended"), _time(dig_text(stored, "at"))
    return PastChange(
        runbook=dig_text(stored, "runbook"),
        remedy=dig_text(stored, "remedy"),
        run=dig_text(stored, "run"),
        run_uid=dig_text(stored, "runUid"),
        at=at,
        made=_times(dig(stored, "made")) or (at,),  # an earlier version noted one change and no more
        ended=_time(ended) if ended else None,
        outcome=dig_text(stored, "outcome"),
    )


def _target(text: str) -> ObjectRef | None:
    """What `str` made of a reference."""
    kind, _, place = text.partition(" ")
    namespace, separator, name = place.rpartition("/")
    return ObjectRef.of(kind, namespace if separator else "", name) if name else None


def _times(stored: JSON) -> tuple[datetime, ...]:
    return tuple(_time(str(made)) for made in stored) if isinstance(stored, list) else ()


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _micro_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
