"""
Locks on targets as Leases in the operator's namespace, where tenants cannot delete them.

A Lease's own expiry is not used: a run that was stopped in the middle of a change still owns its
target, and only its end gives it back. The ledger of past changes lies on the same object, so that
taking the lock and noting what it is taken for are one write under one resourceVersion.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from remediator.domain.errors import AlreadyExists, Conflict, NotFound
from remediator.domain.json import JSON, Object, dig_object, dig_text
from remediator.domain.locks import Busy, Held, LockState, PastChange
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.ports import Cluster

LEASE: Final = BUILT_IN["Lease"]
HOLDER_UID: Final = "remediator.dev/holder-uid"
TARGET: Final = "remediator.dev/target"
CHANGES: Final = "remediator.dev/changes"
LABEL: Final = "remediator.dev/lock"
ATTEMPTS: Final = 5


class LeaseLocks:
    """`ports.Locks` over the operator's own identity."""

    def __init__(self, cluster: Cluster, operator_namespace: str) -> None:
        self._cluster = cluster
        self._namespace = operator_namespace

    async def read(self, name: str) -> LockState:
        return (await self._read(name))[0]

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
        has_ended: Callable[[str, str], Awaitable[bool]] | None = None,
    ) -> Held | Busy:
        for _ in range(ATTEMPTS):
            state = seen if seen is not None else await self.read(name)
            seen = None
            if state.holder_uid not in ("", holder_uid) and not (
                has_ended is not None and await has_ended(state.holder, state.holder_uid)
            ):
                return Busy(state.holder, state.holder_uid, state.since)
            since = state.since if state.holder_uid == holder_uid else now
            taken = replace(state, holder=holder, holder_uid=holder_uid, since=since)
            try:
                return Held(await self._write(taken.noted(note) if note else taken, str(target)))
            except (Conflict, NotFound):
                # moved since it was read, by a holder, a release or a deletion: look again
                continue
        raise Conflict(f"Lease {self._namespace}/{name} kept changing")

    async def record(self, name: str, *, holder_uid: str, note: PastChange) -> LockState:
        for _ in range(ATTEMPTS):
            state, target = await self._read(name)
            if state.holder_uid != holder_uid:
                raise Conflict(f"Lease {self._namespace}/{name} is not held by this run")
            try:
                return await self._write(state.noted(note), target)
            except (Conflict, NotFound):
                continue
        raise Conflict(f"Lease {self._namespace}/{name} kept changing")

    async def release(self, name: str, *, holder_uid: str, note: PastChange | None = None) -> None:
        for _ in range(ATTEMPTS):
            state, target = await self._read(name)
            if state.holder_uid != holder_uid:
                return
            freed = replace(state, holder="", holder_uid="", since=None)
            try:
                await self._write(freed.noted(note) if note else freed, target)
            except (Conflict, NotFound):
                continue
            return
        raise Conflict(f"Lease {self._namespace}/{name} kept changing")

    async def _read(self, name: str) -> tuple[LockState, str]:
        try:
            lease = await self._cluster.read(ObjectRef(LEASE.group, LEASE.kind, self._namespace, name))
        except NotFound:
            return LockState(name), ""
        return state_of(lease), dig_text(lease, "metadata", "annotations", TARGET)

    async def _write(self, state: LockState, target: str) -> LockState:
        lease = lease_of(state, self._namespace, target)
        if state.resource_version:
            return state_of(await self._cluster.replace(LEASE, lease))
        try:
            return state_of(await self._cluster.create(LEASE, lease))
        except AlreadyExists as taken:
            raise Conflict(str(taken)) from taken


def lease_of(state: LockState, namespace: str, target: str) -> Object:
    """The Lease that says this. A free one has no holder, as the API has no empty one."""
    annotations: Object = {TARGET: target}
    if state.holder_uid:
        annotations[HOLDER_UID] = state.holder_uid
    if state.changes:
        annotations[CHANGES] = json.dumps([_change_as_json(change) for change in state.changes], separators=(",", ":"))
    metadata: Object = {
        "namespace": namespace,
        "name": state.name,
        "labels": {LABEL: "target"},
        "annotations": annotations,
    }
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
        holder=dig_text(lease, "spec", "holderIdentity"),
        holder_uid=dig_text(annotations, HOLDER_UID),
        since=_time(since) if since else None,
        changes=changes,
        resource_version=dig_text(lease, "metadata", "resourceVersion"),
    )


def _change_as_json(change: PastChange) -> Object:
    found: Object = {
        "runbook": change.runbook,
        "remedy": change.remedy,
        "run": change.run,
        "runUid": change.run_uid,
        "at": change.at.astimezone(UTC).isoformat(),
    }
    for key, value in (("step", change.step), ("outcome", change.outcome)):
        if value:
            found[key] = value
    if change.ended is not None:
        found["ended"] = change.ended.astimezone(UTC).isoformat()
    return found


def _change_from_json(stored: JSON) -> PastChange:
    ended = dig_text(stored, "ended")
    return PastChange(
        runbook=dig_text(stored, "runbook"),
        remedy=dig_text(stored, "remedy"),
        run=dig_text(stored, "run"),
        run_uid=dig_text(stored, "runUid"),
        at=_time(dig_text(stored, "at")),
        step=dig_text(stored, "step"),
        ended=_time(ended) if ended else None,
        outcome=dig_text(stored, "outcome"),
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _micro_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
