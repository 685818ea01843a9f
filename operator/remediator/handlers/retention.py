"""
History that stays small: runs that are old enough are deleted, a few a second, as long as there are any.

The leader does it alone, and two that do it at once do no harm: every write is conditional. Whoever
stops in the middle leaves a run that is folded and still there, which the next one deletes.

While everything is suspended nothing is deleted, and nothing before every policy and run was seen.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from remediator.domain.errors import Conflict, Forbidden, NotFound, Rejected, RemediatorError
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.domain.runs import OUTSIDE
from remediator.engine.begin import Key
from remediator.engine.folding import HEARD_EVERY
from remediator.engine.retention import PastRun, Surplus, Why, idle_evidence, over_limit, silent_for_long, surplus
from remediator.handlers.deleting import Deleter
from remediator.handlers.histories import Histories, Rule
from remediator.handlers.stored import Group, StoredRuns
from remediator.handlers.switch import Switch
from remediator.ports import Clock, Cluster, KubernetesEvents

log = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 0.25
"""Between two runs: the same API server stores the alerts that come."""

TOGETHER: Final = 10
"""So many runs of one target are folded with one write."""

MOST_IN_A_SWEEP: Final = 500
"""After so many everything is counted anew."""

ALIVE_SECONDS: Final = 24 * 3600.0
"""How long a target that was seen is taken for being there."""

STAYS_SECONDS: Final = 3600.0
"""How long a run is left alone that was looked at and has to stay, so that it holds up no other."""

TOLD_SECONDS: Final = 3600.0


class Retention:
    """Keeps the runs within what their policies, and the operator's setting `max_runs`, say."""

    def __init__(
        self,
        stored: StoredRuns,
        histories: Histories,
        deleter: Deleter,
        cluster: Cluster,
        switch: Switch,
        events: KubernetesEvents,
        clock: Clock,
        *,
        operator_namespace: str,
        most: int,
    ) -> None:
        self._stored = stored
        self._histories = histories
        self._deleter = deleter
        self._cluster = cluster
        self._switch = switch
        self._events = events
        self._clock = clock
        self._operator_namespace = operator_namespace
        self._most = most
        self._began = clock.boot_seconds()
        self._alive: dict[Key, float] = {}
        self._stays: dict[str, float] = {}
        self._told = -TOLD_SECONDS

    async def keep(self) -> None:
        """Sweep, for ever; only the leader does."""
        self._began = self._clock.boot_seconds()
        while True:
            await self._clock.sleep(SWEEP_SECONDS / 2 + self._clock.jitter(SWEEP_SECONDS))
            try:
                await self.sweep()
            except RemediatorError as error:
                log.warning("the runs were not swept", extra={"error": str(error)})

    async def sweep(self) -> int:
        """Look at all runs once; how many were deleted."""
        if not self._may():
            return 0
        groups = self._stored.groups()
        self._histories.forget_others(groups)
        at = self._clock.boot_seconds()
        self._alive = {key: since for key, since in self._alive.items() if at - since < ALIVE_SECONDS}
        self._stays = {uid: since for uid, since in self._stays.items() if at - since < STAYS_SECONDS}
        deleted = 0
        for group in groups:
            deleted += await self._sweep_group(group, MOST_IN_A_SWEEP - deleted)
            await self._clock.sleep(0)  # ten thousand runs are sorted in between
            if deleted >= MOST_IN_A_SWEEP or not self._may():
                return deleted
        return deleted + await self._sweep_all(MOST_IN_A_SWEEP - deleted)

    def _may(self) -> bool:
        is_known = self._stored.synced and self._histories.is_known
        return is_known and self._switch.state is not None and not self._switch.pulled

    async def _sweep_group(self, group: Group, most: int) -> int:
        """Of the runs of one policy, or by hand of one namespace, at most so many are deleted."""
        rule = self._histories.of(group)
        if rule is None:
            return 0
        runs, now = self._stored.of(group), self._clock.now()
        deleted = await self._delete(surplus(runs, rule.history, now), rule, runs, most)
        await self._clock.sleep(0)  # each of the three goes through thousands of runs
        for run in idle_evidence(runs, rule.history, now):
            if run.uid not in self._stays and self._may():
                await self._expire_evidence(run)
        await self._clock.sleep(0)
        for run in silent_for_long(runs, self._silence(rule), now):
            if run.uid not in self._stays and self._may() and (rule.is_gone or await self._is_gone(run)):
                deleted += await self._delete([Surplus(run, Why.FORGOTTEN)], rule, runs, most - deleted)
        return deleted

    async def _sweep_all(self, most: int) -> int:
        """Of all runs those that are too many, whatever their policies say."""
        found = over_limit(tuple(self._stored), self._most, self._stays, self._clock.now())
        if self._most and self._stored.ended > self._most:
            await self._tell(self._stored.ended, len(found))
        deleted = 0
        for group, going in _by_group(found).items():
            rule = self._histories.of(group)
            if rule is not None:
                deleted += await self._delete(going, rule, self._stored.of(group), most - deleted)
        return deleted

    async def _delete(self, found: Sequence[Surplus], rule: Rule, runs: Iterable[PastRun], most: int) -> int:
        """At most so many of those that were found are deleted; the others stay for now."""
        newest = {run.key: run for run in sorted(runs, key=lambda run: run.number) if run.key is not None}
        going = [one for one in found if one.run.uid not in self._stays][:most]
        deleted = 0
        for key, ones in _by_key(going).items():
            heir = newest[key] if key is not None else None
            for begin in range(0, len(ones), TOGETHER):
                if self._may():
                    deleted += await self._delete_together(ones[begin : begin + TOGETHER], heir, rule)
        return deleted

    async def _delete_together(self, ones: Sequence[Surplus], heir: PastRun | None, rule: Rule) -> int:
        gone: tuple[str, ...] = ()
        try:
            gone = await self._deleter.delete(ones, heir, rule.policy, self._silence(rule))
        except Conflict:
            return 0  # somebody else has written: the next sweep sees it
        except (Forbidden, Rejected) as error:
            log.warning("runs were not deleted", extra={"run": "/".join(ones[0].run.place), "error": str(error)})
        self._stays |= {one.run.uid: self._clock.boot_seconds() for one in ones if one.run.uid not in gone}
        await self._pause(len(ones))
        return len(gone)

    async def _expire_evidence(self, run: PastRun) -> None:
        try:
            if not await self._deleter.expire_evidence(run):
                self._stays[run.uid] = self._clock.boot_seconds()
        except (Conflict, Forbidden, Rejected) as error:
            log.warning("evidence was not deleted", extra={"run": "/".join(run.place), "error": str(error)})
            self._stays[run.uid] = self._clock.boot_seconds()
        await self._pause()

    def _silence(self, rule: Rule) -> timedelta | None:
        """
        How long an alert has to be silent to be forgotten; None where nobody can tell that it is.

        An operator that has just begun has not heard of what was sent while it was away.
        """
        listens = self._clock.boot_seconds() - self._began >= HEARD_EVERY.total_seconds()
        return rule.history.forget_after if listens and rule.history.forget_after else None

    async def _is_gone(self, run: PastRun) -> bool:
        """Whether the run's target is known not to be there; one that was there is looked at once a day."""
        assert run.key is not None, "a run by hand is nobody's newest"
        target = run.key.target
        if target.kind_text in OUTSIDE:
            return True
        if run.key in self._alive:
            return False
        await self._pause()
        try:
            await self._cluster.read(target)
        except NotFound:
            return True
        except (Forbidden, Rejected):
            pass  # it may be there, and that is not asked again before tomorrow
        except RemediatorError:
            return False
        self._alive[run.key] = self._clock.boot_seconds()
        return False

    async def _pause(self, times: int = 1) -> None:
        seconds = PAUSE_SECONDS * times
        await self._clock.sleep(seconds / 2 + self._clock.jitter(seconds))

    async def _tell(self, ended: int, going: int) -> None:
        """That more runs are stored than should be, once an hour."""
        now = self._clock.boot_seconds()
        if now - self._told < TOLD_SECONDS:
            return
        self._told = now
        rest = "all others are the newest of their targets" if going < ended - self._most else "the oldest go"
        message = f"{ended:,} runs that have ended are stored, and max_runs is {self._most:,}: {rest}"
        log.warning("more runs are stored than max_runs", extra={"ended": ended, "max_runs": self._most})
        about = ObjectRef("", BUILT_IN["Namespace"].kind, "", self._operator_namespace)
        await self._events.record(about, "", reason="RunsOverLimit", message=message, warning=True)


def _by_key(going: Iterable[Surplus]) -> dict[Key | None, list[Surplus]]:
    found: defaultdict[Key | None, list[Surplus]] = defaultdict(list)
    for one in going:
        found[one.run.key].append(one)
    return dict(found)


def _by_group(going: Iterable[Surplus]) -> dict[Group, list[Surplus]]:
    found: defaultdict[Group, list[Surplus]] = defaultdict(list)
    for one in going:
        found[one.run.group].append(one)
    return dict(found)
