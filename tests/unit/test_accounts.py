"""Before a change it is known, and said, what its account may not do."""

from datetime import timedelta

from flows import CHECKOUT, FIRING, FIXER, env, fired, steps, world
from remediator.domain.actions import Permission
from remediator.domain.verdicts import Deny, Reason, Wait
from remediator.engine.acceptance import ActionUse
from remediator.engine.guards import Question
from remediator.engine.guards.authority import account_may
from remediator.handlers.accounts import ALLOWED_SECONDS, REFUSED_SECONDS, Accounts
from remediator.testing.clock import StoppedClock
from worlds import facts, run, runbook, step

BOOK = """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
verify:
- alertResolved: {quietFor: 1s, within: 1m}
"""
PATCH = "system:serviceaccount:shop:fixer may not patch deployments.apps in namespace shop"


def test_a_permission_that_is_missing_is_refused_by_its_name() -> None:
    verdict = account_may(Question(run(), step(), facts(missing_permissions=(PATCH,))))

    assert verdict == Deny(Reason.NOT_PERMITTED, PATCH)


def test_what_nobody_answered_allows_nothing() -> None:
    verdict = account_may(Question(run(), step(), facts(missing_permissions=None)))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.FACT_UNKNOWN


class Asking:
    """Accounts over an authorizer that keeps what it was asked."""

    def __init__(self) -> None:
        self.clock = StoppedClock()
        self.permitted = True
        self.asked: list[tuple[Permission, str]] = []
        self.accounts = Accounts(self, self.clock, operator_namespace="remediator-system")  # type: ignore[arg-type]  # it is asked for nothing else

    def acting_as(self, identity: object) -> "Asking":
        return self

    async def allowed(self, permission: Permission, namespace: str, name: str = "") -> tuple[bool, str]:
        self.asked.append((permission, namespace))
        return self.permitted or "patch" not in permission.verbs, "refused"

    async def refused(self, namespace: str = "shop") -> tuple[str, ...]:
        use = runbook().remedies[0].steps[0].use
        assert isinstance(use, ActionUse)
        return await self.accounts.refused(FIXER, [use], namespace)


async def test_a_second_change_within_five_minutes_asks_nothing() -> None:
    asking = Asking()
    assert await asking.refused() == ()
    first = len(asking.asked)

    asking.clock.advance(timedelta(seconds=ALLOWED_SECONDS - 1))
    assert await asking.refused() == ()

    assert first > 0
    assert len(asking.asked) == first


async def test_a_refusal_counts_for_a_minute_only() -> None:
    asking = Asking()
    asking.permitted = False
    (said,) = await asking.refused()
    asking.permitted = True

    asking.clock.advance(timedelta(seconds=REFUSED_SECONDS - 1))
    assert await asking.refused() == (said,)
    asking.clock.advance(timedelta(seconds=2))
    assert await asking.refused() == ()

    assert said == PATCH


async def test_an_account_that_loses_a_permission_changes_nothing_and_the_run_names_it() -> None:
    made = world(BOOK)
    made.alerts.fire(FIRING)
    made.cluster.forbid(FIXER, "patch", "deployments")

    ended = await made.settle(await fired(made))

    assert (str(ended.status.outcome), ended.status.ending and ended.status.ending.reason) == (
        "Refused",
        "NotPermitted",
    )
    assert "may not patch deployments.apps in namespace shop" in ended.status.message
    assert steps(ended) == {"raise": "Refused"}
    assert not [write for write in made.cluster.changes if write.identity.account]
    assert env(made, "QUEUE", CHECKOUT) is None
