"""What a run has read before it took its lock counts under it, where nobody else can have held it meanwhile."""

import dataclasses
from typing import Any

from flows import CHECKOUT, carried_out, changes, env, world
from remediator.domain.json import Object
from remediator.domain.locks import LockState
from remediator.domain.names import lease_name
from remediator.domain.runs import RunOutcome
from remediator.testing.fakes import FakeLocks
from remediator.testing.world import World

BOOK = """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  verify:
  - rollout: {within: 5m}
"""
NAME = lease_name(CHECKOUT)


def reads_before_the_change(made: World) -> int:
    calls = [call for call in made.cluster.calls if call.resource == "deployments"]
    changed = next(i for i, call in enumerate(calls) if call.verb == "patch")
    return sum(call.verb == "get" for call in calls[:changed])


class Somebody(FakeLocks):
    """Locks of which one is another's for a moment, between the reading and the taking."""

    async def acquire(self, name: str, **asked: Any) -> Any:
        held = await super().acquire(
            name, **{**asked, "holder": "shop/other", "holder_uid": "other-uid", "note": None, "seen": None}
        )
        await self.release(name, holder_uid=held.state.holder_uid)
        return await super().acquire(name, **asked)


class Unknown(FakeLocks):
    """Locks that have to be asked for."""

    def known(self, name: str) -> LockState | None:
        return None


async def reads(locks: FakeLocks) -> int:
    made = world(BOOK)
    made.outside = dataclasses.replace(made.outside, locks=locks)
    made.new_operator()
    run = await carried_out(made)
    assert run.status.outcome is RunOutcome.REMEDIATED
    assert changes(made) == 1
    return reads_before_the_change(made)


async def test_one_reading_serves_until_the_change() -> None:
    assert await reads(FakeLocks()) == 1


async def test_it_is_read_again_where_somebody_has_held_the_lock_meanwhile() -> None:
    assert await reads(Somebody()) == 2


async def test_it_is_read_again_where_the_lock_had_to_be_asked_for() -> None:
    assert await reads(Unknown()) == 2


async def test_it_is_read_again_where_the_lock_is_taken_from_a_run_that_has_ended() -> None:
    locks = FakeLocks()
    locks.states[NAME] = LockState(NAME, CHECKOUT, "shop/gone", "gone-uid", resource_version="1")

    assert await reads(locks) == 2


async def test_a_value_that_somebody_has_set_since_the_reading_stays() -> None:
    made = world(BOOK)
    before = made.locks.acquire

    async def acquire(name: str, **asked: Any) -> Any:
        made.cluster.change(CHECKOUT, raised)
        return await before(name, **asked)

    def raised(obj: Object) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "QUEUE", "value": "700"}]  # type: ignore[index,call-overload]

    made.locks.acquire = acquire  # type: ignore[method-assign]

    ended = await carried_out(made)

    assert ended.status.outcome is not RunOutcome.REMEDIATED
    assert env(made, "QUEUE") == "700"
    assert changes(made) == 0
