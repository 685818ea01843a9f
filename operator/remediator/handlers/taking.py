"""
One notification, from its alerts to the runs that have them.

All or nothing: it is answered when every alert that a policy wants is on a run in the API server and
every other one is counted; if anything could not be reached, nothing was promised, and what is stored
already is recognised when it is sent again.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from remediator.domain.alerts import Alert
from remediator.domain.json import Object
from remediator.domain.objects import ObjectRef
from remediator.domain.receipts import Receipt
from remediator.engine.begin import Key
from remediator.engine.choose import Counted, Named, Wanted, choose
from remediator.engine.suspension import PolicyName
from remediator.handlers.at_once import all_of, in_turns
from remediator.handlers.freshness import Freshness, Policies
from remediator.handlers.keeping import Batch, Keeper, Kept, Suspended
from remediator.handlers.resolving import Resolved, Resolver
from remediator.handlers.suspended import SuspendedAlerts
from remediator.ports import Clock

LOOKED_UP_AT_ONCE: Final = 16
MESSAGES: Final = 3
KEPT_AT_ONCE: Final = 32
"""Of one notification, so that a small one does not stand in line behind the thousands of a large one."""

LOOKS_IN_A_ROW: Final = 1_000
"""How many pairs of an alert and a policy, or of an alert and its target, come before others may use the loop."""

AN_ALERT_IN_LOOKS: Final = 20
"""What an alert that is wanted costs beside."""


@dataclass(slots=True)
class Answer:
    """What became of a notification: how many alerts by receipt, and which runs have them."""

    receipts: Counter[Receipt] = field(default_factory=Counter)
    runs: set[str] = field(default_factory=set)

    def to_json(self) -> Object:
        return {
            "alerts": {str(receipt): count for receipt, count in sorted(self.receipts.items())},
            "runs": [*sorted(self.runs)],
        }


@dataclass(frozen=True, slots=True)
class PolicyNote:
    """What intake has to say about one policy since the process started."""

    unreadable_alerts: int = 0
    message: str = ""
    last_alert_at: datetime | None = None


class Noted(Protocol):
    """Told of every alert that matched a policy, or that it could not judge."""

    def __call__(self, namespace: str, policy: str, at: datetime, *, unreadable: bool = False) -> None: ...


class Taker:
    """Takes in notifications."""

    def __init__(
        self,
        policies: Policies,
        freshness: Freshness,
        resolver: Resolver,
        keeper: Keeper,
        suspended: SuspendedAlerts,
        clock: Clock,
        operator_namespace: str,
        noted: Noted | None = None,
    ) -> None:
        self._noted = noted
        self._policies = policies
        self._freshness = freshness
        self._resolver = resolver
        self._keeper = keeper
        self._suspended = suspended
        self._clock = clock
        self._operator_namespace = operator_namespace
        self._notes: dict[tuple[str, str], PolicyNote] = {}

    def note(self, namespace: str, name: str) -> PolicyNote:
        """What is said on the policy's status: alerts that could not be told, and when one last matched."""
        return self._notes.get((namespace, name), PolicyNote())

    async def take(self, alerts: Sequence[Alert]) -> Answer:
        """
        What became of each.

        Raises Unavailable where that could not be brought about: nothing was promised.
        """
        await self._freshness.confirm()
        wanted, counted = await self._chosen(alerts)
        go_on, aside = await self._suspended.sort_out(wanted)
        answer = Answer(Counter(choice.receipt for choice in counted) + aside)
        batches = await self._batches(go_on)
        outcomes = await all_of((self._kept(batch) for batch in batches), KEPT_AT_ONCE)
        async for batch, kept in in_turns(zip(batches, outcomes, strict=True), LOOKS_IN_A_ROW):
            _add(answer, batch, kept)
        self._take_note(wanted, counted)
        return answer

    async def take_up(self, policy: PolicyName, alerts: tuple[Alert, ...]) -> None:
        """
        These alerts go on to runs of this policy, although they are recorded as suspended.

        What it wants no more is left out. Raises Unavailable where that could not be brought about.
        """
        await self._freshness.confirm()
        wanted, _ = await self._chosen(alerts)
        own = [one for one in wanted if (one.listener.namespace, one.listener.name) == policy]
        await all_of((self._keeper.keep(batch) for batch in await self._batches(own)), KEPT_AT_ONCE)

    async def _kept(self, batch: Batch) -> Kept:
        """What became of a batch; where the API server takes no run because of the switch, it is recorded."""
        try:
            return await self._keeper.keep(batch)
        except Suspended:
            if not await self._suspended.record((batch.listener.namespace, batch.listener.name), batch.alerts):
                raise
            return Kept(
                "", {a.fingerprint: Receipt.SUSPENDED if a.is_firing else Receipt.RESOLVED for a in batch.alerts}
            )

    async def _chosen(self, alerts: Sequence[Alert]) -> tuple[list[Wanted], list[Counted]]:
        audience, now = self._policies.audience(), self._clock.now()
        wanted: list[Wanted] = []
        counted: list[Counted] = []
        looks = 0
        for alert in alerts:
            if looks >= LOOKS_IN_A_ROW:
                looks = 0
                await asyncio.sleep(0)
            listeners = audience.of(alert.labels, self._operator_namespace)
            looks += AN_ALERT_IN_LOOKS + len(listeners)
            for choice in choose(alert, listeners, self._operator_namespace, now):
                if isinstance(choice, Wanted):
                    wanted.append(choice)
                else:
                    counted.append(choice)
        return wanted, counted

    async def _batches(self, wanted: Sequence[Wanted]) -> list[Batch]:
        """The alerts by key: one create or one attach for each."""
        seen: dict[ObjectRef, Object | None] = {}

        async def placed(one: Wanted) -> Resolved:
            if isinstance(one.place, Named):
                return Resolved(one.place.target, one.place.message)
            return await self._resolver.resolve(one.place, one.alert.labels, seen)

        grouped: dict[Key, list[tuple[Wanted, Resolved]]] = {}
        places = await all_of((placed(one) for one in wanted), LOOKED_UP_AT_ONCE)
        async for one, resolved in in_turns(zip(wanted, places, strict=True), LOOKS_IN_A_ROW):
            key = Key(one.listener.namespace, one.listener.name, resolved.target.ref)
            grouped.setdefault(key, []).append((one, resolved))
        return [
            Batch(
                listener=group[0][0].listener,
                target=group[0][1].target,
                alerts=tuple(one.alert for one, _ in group),
                reason=_said([resolved.message for _, resolved in group]),
            )
            async for group in in_turns(grouped.values(), LOOKS_IN_A_ROW)
        ]

    def _take_note(self, wanted: Iterable[Wanted], counted: Iterable[Counted]) -> None:
        now = self._clock.now()
        for key in dict.fromkeys((one.listener.namespace, one.listener.name) for one in wanted):
            before = self.note(*key)
            self._notes[key] = PolicyNote(before.unreadable_alerts, before.message, now)
            if self._noted is not None:
                self._noted(*key, now)
        for said in counted:
            if said.listener is None:
                continue
            key = (said.listener.namespace, said.listener.name)
            before = self.note(*key)
            self._notes[key] = PolicyNote(before.unreadable_alerts + 1, said.message, before.last_alert_at)
            if self._noted is not None:
                self._noted(*key, now, unreadable=True)


def _said(messages: Iterable[str]) -> str:
    """Each message once, the first few of many."""
    told = list(dict.fromkeys(message for message in messages if message))
    more = [f"and {len(told) - MESSAGES} more"] if len(told) > MESSAGES else []
    return "; ".join(told[:MESSAGES] + more)


def _add(answer: Answer, batch: Batch, kept: Kept) -> None:
    answer.receipts.update(kept.receipts[alert.fingerprint] for alert in batch.alerts)
    if kept.run:
        answer.runs.add(kept.run)
