"""
Taking up, a few at a time, what was recorded while everything was suspended.

Somebody asks for it (`kubectl remediate resume --pick-up`); everything at once would be the flood that
the switch may have been pulled for. An alert that its source says still fires goes on as if it had
just been sent; of one that nobody can be asked about, the next notification counts.
"""

import logging
from typing import Final, Protocol

from remediator.domain.alerts import Alert
from remediator.domain.errors import Conflict, NotFound, RemediatorError
from remediator.domain.objects import POLICY, ObjectRef
from remediator.engine.suspension import PICK_UP, PolicyName, next_to_pick_up
from remediator.handlers.freshness import Policies
from remediator.handlers.suspended import CONFIG_MAP, SuspendedAlerts
from remediator.handlers.switch import Switch
from remediator.ports import AlertSource, Clock, Cluster

log = logging.getLogger(__name__)

AT_ONCE: Final = 5
EVERY_SECONDS: Final = 10.0


class TakesUp(Protocol):
    """Gives alerts of one policy to runs, as if they had just come."""

    async def take_up(self, policy: PolicyName, alerts: tuple[Alert, ...]) -> None: ...


class PickingUp:
    """Keeps what is recorded small: what was asked for is taken up, what belongs to no policy is removed."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        suspended: SuspendedAlerts,
        switch: Switch,
        policies: Policies,
        alerts: AlertSource,
        taker: TakesUp,
        clock: Clock,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._suspended = suspended
        self._switch = switch
        self._policies = policies
        self._alerts = alerts
        self._taker = taker
        self._clock = clock

    async def keep_on(self) -> None:
        """A round from time to time, for ever; it costs no call while nothing is recorded."""
        while True:
            await self._clock.sleep(EVERY_SECONDS)
            try:
                await self.round()
            except RemediatorError as error:
                log.warning("the suspended alerts were not taken up", extra={"error": str(error)})

    async def round(self) -> None:
        """Remove what belongs to no policy, and take the next few up if somebody has asked for that."""
        if self._switch.state is None or not self._suspended.synced or not self._policies.synced(POLICY):
            return
        known = {(one.namespace, one.name) for one in self._policies.audience()}
        for policy, starts in self._suspended.kept.items():
            if policy not in known or not starts:
                await self._suspended.forget_policy(policy)
        if not self._suspended.asked:
            return
        # the API server itself: the two watches come at their own pace, and what was asked is not to be lost
        if (await self._switch.look()).pulled or not self._suspended.kept:
            await self._answered()  # what was asked before a later suspension is asked no more
            return
        await self._take_up()

    async def _take_up(self) -> None:
        chosen = next_to_pick_up(self._suspended.kept, AT_ONCE)
        firing: dict[bytes, Alert] = {}
        if self._alerts.configured:
            answer = await self._alerts.firing({})
            if answer.alerts is None:
                log.warning("the suspended alerts wait for their source", extra={"error": answer.source})
                return
            firing = {alert.identity.digest: alert for alert in answer.alerts}
        for policy, identity in chosen:
            alert = firing.get(identity.digest)
            if alert is not None:
                await self._taker.take_up(policy, (alert,))
            # only now: until a run has it, it stays recorded
            await self._suspended.let_go(policy, identity)
        log.info("suspended alerts were taken up", extra={"count": len(chosen)})
        if not self._suspended.kept:
            await self._answered()

    async def _answered(self) -> None:
        ref = ObjectRef("", CONFIG_MAP.kind, self._namespace, PICK_UP)
        try:
            await self._cluster.delete(ref, uid=self._suspended.asked)
        except (NotFound, Conflict):
            return  # somebody has withdrawn it, or asked anew
