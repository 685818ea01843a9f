"""
The alerts that come while everything is suspended: recorded, so that they start nothing by themselves.

Of each policy one ConfigMap in the operator's namespace holds the identities, ten bytes each. They
stay there after the release until the alert resolves or somebody has them picked up; every other
alert opens an episode as usual. A policy's writes are merged, so a burst costs a few.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from remediator.domain.alerts import Alert, Identity
from remediator.domain.errors import AlreadyExists, Conflict, Forbidden, NotFound, Rejected, Unavailable
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.domain.receipts import Receipt
from remediator.engine.alertsets import recorded_in
from remediator.engine.begin import latest_of_each
from remediator.engine.choose import Wanted
from remediator.engine.suspension import (
    LABEL,
    MOST_RECORDED,
    PICK_UP,
    Note,
    PolicyName,
    is_within,
    policy_of,
    recorded,
    recorded_name,
    recorded_object,
    with_notes,
)
from remediator.handlers.lanes import Lanes, Worked
from remediator.handlers.switch import Switch
from remediator.ports import Clock, Cluster

log = logging.getLogger(__name__)

CONFIG_MAP: Final = BUILT_IN["ConfigMap"]
TRIES: Final = 8
MERGED_SECONDS: Final = 0.2
POLICIES_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is recorded of one policy, and the ConfigMap's metadata."""

    starts: Mapping[bytes, int] = field(default_factory=dict)
    obj: Object = field(default_factory=dict)


NOTHING: Final = _Kept()


class SuspendedAlerts:
    """What is recorded, as the watch and our own writes brought it."""

    def __init__(
        self,
        cluster: Cluster,
        switch: Switch,
        clock: Clock,
        namespace: str,
        *,
        merged_seconds: float = MERGED_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._switch = switch
        self._namespace = namespace
        self._kept: dict[PolicyName, _Kept] = {}
        self._lanes: Lanes[PolicyName, Note, bool] = Lanes(
            self._write, clock, rest_seconds=merged_seconds, at_once=POLICIES_AT_ONCE
        )
        self.synced = False
        self.asked = ""
        """UID of the ConfigMap by which somebody has asked for what is recorded; empty if nobody has."""

    # how it is known

    async def watch(self) -> None:
        """Follow the ConfigMaps, for ever."""
        await self._cluster.watch(CONFIG_MAP, self._namespace, self.saw, labels=LABEL)

    async def saw(self, what: str, obj: Object) -> None:
        """What the watch tells."""
        if what == "SYNCED":
            self.synced = True
        elif dig_text(obj, "metadata", "name") == PICK_UP:
            self.asked = "" if what == "DELETED" else dig_text(obj, "metadata", "uid")
        elif what == "DELETED":
            self._forget(obj)
        else:
            self._keep(obj)

    @property
    def kept(self) -> Mapping[PolicyName, Mapping[bytes, int]]:
        """What is recorded, by policy."""
        return {policy: kept.starts for policy, kept in self._kept.items()}

    # what intake asks

    async def sort_out(self, wanted: Sequence[Wanted]) -> tuple[list[Wanted], Counter[Receipt]]:
        """
        Those that go on to runs, and how many are answered because everything is, or was, suspended.

        What is answered so is recorded in the API server. A resolved alert goes on, for the runs that know it.
        Raises Unavailable where nothing could be promised.
        """
        if self._switch.state is None or not self.synced:
            raise Unavailable("it is not known yet whether everything is suspended")
        if not self._switch.pulled and not self._kept:
            return list(wanted), Counter()
        grouped: dict[PolicyName, list[Wanted]] = {}
        for one in wanted:
            grouped.setdefault((one.listener.namespace, one.listener.name), []).append(one)
        go_on: list[Wanted] = []
        for policy, group in grouped.items():
            go_on += await self._sorted(policy, group)
        return go_on, +Counter({Receipt.SUSPENDED: len(wanted) - len(go_on)})

    async def record(self, policy: PolicyName, alerts: Iterable[Alert]) -> bool:
        """Whether these are recorded; false where nothing is suspended any more."""
        return await self._lanes.put(policy, Note(firing=tuple(alert for alert in alerts if alert.is_firing)))

    async def let_go(self, policy: PolicyName, *identities: Identity) -> None:
        """These are recorded no longer: a run has them, or they start as usual when they are sent again."""
        await self._lanes.put(policy, Note(let_go=frozenset(identities)))

    async def forget_policy(self, policy: PolicyName) -> None:
        """The policy is gone, and nobody will ask for its alerts any more."""
        await self.let_go(policy, *(Identity(*one) for one in self._of(policy).starts.items()))

    async def finish(self) -> None:
        """What was begun is done."""
        await self._lanes.finish()

    async def _sorted(self, policy: PolicyName, group: Sequence[Wanted]) -> list[Wanted]:
        """Those of one policy's that go on."""
        known = self._of(policy).starts
        latest = latest_of_each(one.alert for one in group)
        over = tuple(alert for alert in latest if not alert.is_firing and recorded_in(alert, known) is not None)
        fresh = tuple(
            alert for alert in latest if self._switch.pulled and alert.is_firing and not is_within(alert, known)
        )
        is_recorded = not fresh
        if fresh or over:
            is_recorded = await self._lanes.put(policy, Note(firing=fresh, over=over))
        aside = {alert.fingerprint for alert in latest if alert.is_firing and is_within(alert, known)}
        if is_recorded:
            aside |= {alert.fingerprint for alert in fresh}
        return [one for one in group if not one.alert.is_firing or one.alert.fingerprint not in aside]

    # how it is written

    async def _write(self, policy: PolicyName, notes: Sequence[Note]) -> Worked[bool]:
        """
        The notes of one policy in one write, under the resourceVersion of what they were added to.

        What fires is recorded only if the API server itself says that everything is suspended: a
        watch that lags must not silence alerts for good.
        """
        suspended = not any(note.firing for note in notes) or (await self._switch.look()).pulled
        try:
            wrote = await self._written(policy, notes, suspended=suspended)
        except (Forbidden, Rejected) as refused:
            raise Unavailable(f"the suspended alerts of {'/'.join(policy)} cannot be recorded: {refused}") from refused
        return Worked([suspended or not note.firing for note in notes], wrote)

    async def _written(self, policy: PolicyName, notes: Sequence[Note], *, suspended: bool) -> bool:
        taken = [note if suspended else replace(note, firing=()) for note in notes]
        for _ in range(TRIES):
            before = self._of(policy)
            after = with_notes(before.starts, taken)
            if after == before.starts and (after or not before.obj):
                return False  # but a record that holds nothing is removed
            if len(after) > MOST_RECORDED:
                raise Unavailable(f"no more than {MOST_RECORDED:,} alerts of {'/'.join(policy)} are recorded")
            try:
                await self._replaced(policy, before.obj, after)
            except (AlreadyExists, Conflict, NotFound):
                await self._read(policy)
                continue
            return True
        raise Unavailable(f"the suspended alerts of {'/'.join(policy)}: somebody else wrote first {TRIES} times")

    async def _replaced(self, policy: PolicyName, before: Object, after: Mapping[bytes, int]) -> None:
        version = dig_text(before, "metadata", "resourceVersion")
        if not after:
            ref = ObjectRef.to(before, CONFIG_MAP)
            await self._cluster.delete(ref, uid=dig_text(before, "metadata", "uid"), resource_version=version)
            self._kept.pop(policy, None)
            return
        obj = recorded_object(self._namespace, policy, after, version)
        write = self._cluster.replace if version else self._cluster.create
        self._keep(await write(CONFIG_MAP, obj))

    async def _read(self, policy: PolicyName) -> None:
        self._kept.pop(policy, None)
        try:
            self._keep(await self._cluster.read(ObjectRef("", CONFIG_MAP.kind, self._namespace, recorded_name(policy))))
        except NotFound:
            return

    def _of(self, policy: PolicyName) -> _Kept:
        return self._kept.get(policy, NOTHING)

    def _keep(self, obj: Object) -> None:
        policy, name = policy_of(obj), dig_text(obj, "metadata", "name")
        if name != recorded_name(policy):
            log.warning("a ConfigMap of suspended alerts is not ours", extra={"config_map": name})
            return
        version = dig_text(obj, "metadata", "resourceVersion")
        before = dig_text(self._of(policy).obj, "metadata", "resourceVersion")
        if version.isdigit() and before.isdigit() and int(version) < int(before):
            return  # the watch brings what our own writes have overtaken
        self._kept[policy] = _Kept(recorded(obj), {"metadata": obj["metadata"]})

    def _forget(self, obj: Object) -> None:
        uid = dig_text(obj, "metadata", "uid")
        for policy, kept in list(self._kept.items()):
            if dig_text(kept.obj, "metadata", "uid") == uid:
                del self._kept[policy]
