"""
Two processes, one of which leads and then does not: whatever the first was doing, it is done once.

The first is stopped at each of its writes in turn: as if it had died there, until its successor has carried the
run to its end; and then it wakes, and what it was about to send goes on its way.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import flows
from flows import CHECKOUT, changes, env, fired
from remediator.domain.errors import Rejected
from remediator.domain.json import dig, dig_text
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import Run, RunOutcome, StepState
from remediator.engine.election import EPOCH_NAME, LEASE_NAME, epoch_of
from remediator.ports import Identity
from remediator.testing.world import OPERATOR_NAMESPACE, World, transcript
from replicas import WRITING, Replica, Time, Wrote, settled

EPOCH = ObjectRef.of("ConfigMap", OPERATOR_NAMESPACE, EPOCH_NAME)
BOOK = """
targets: [Deployment]
diagnose:
- name: history
  rolloutHistory: {}
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  verify:
  - rollout: {within: 5m}
  - alertResolved: {quietFor: 5s, within: 5m}
"""
Call = Callable[[str, tuple[Any, ...], Identity], bool]


class Stage:
    """A world with two processes, the first of which leads, and a run."""

    def __init__(self, made: World, run: Run) -> None:
        self.world, self.run = made, run
        self.time = Time()
        self.time.follows.append(made.clock)
        self.time.ticks = self._ticks
        self.wrote: list[Wrote] = []
        self.first, self.second = (Replica(n, self.time, made.cluster, world=made, wrote=self.wrote) for n in "ab")

    def now(self) -> Run:
        return self.world.run(self.run)

    async def ends(self) -> Run:
        await self.time.until(lambda: self.now().is_ended, 7200)
        return self.now()

    def written_after_the_successor(self) -> list[Wrote]:
        """What the first one wrote when the second had already written to the run."""
        own = [n for n, (who, _, args) in enumerate(self.wrote) if who == "b" and is_run(args)]
        return [one for one in self.wrote[own[0] :] if one[0] == "a"] if own else []

    def _ticks(self) -> None:
        self.world.cluster.tick()
        for happen in self.world.meanwhile:
            happen()
        for one in (self.first, self.second):
            one.looks()


def is_run(args: tuple[Any, ...]) -> bool:
    """Whether a call is about the run's record."""
    return args[0] == RUN or (isinstance(args[0], ObjectRef) and args[0].kind == RUN.kind)


def is_the_change(name: str, args: tuple[Any, ...], identity: Identity) -> bool:
    return name == "patch" and args[0] == CHECKOUT and not identity.void


def writes_to_the_run(name: str, args: tuple[Any, ...], identity: Identity) -> bool:
    return name == "replace" and args[0] == RUN


def intends(name: str, args: tuple[Any, ...], identity: Identity) -> bool:
    steps = dig(args[1], "status", "attempts", 0, "steps") if writes_to_the_run(name, args, identity) else None
    return isinstance(steps, list) and any(dig_text(one, "state") == "Intended" for one in steps)


@asynccontextmanager
async def stage(held: Call | None = None) -> AsyncIterator[Stage]:
    """The first process leads; `held` is the call of it that does not go on."""
    world = flows.world(BOOK)
    world.resolve_when(lambda: env(world, "QUEUE") == "500")
    made = Stage(world, await fired(world))
    made.first.held = held
    made.first.start()
    await settled()
    made.second.start()
    try:
        yield made
    finally:
        for one in (made.first, made.second):
            one.thaw()
            one.goes_on.set()
            await one.stop()


class Nth:
    """The n-th write of the first process after it has come to lead."""

    def __init__(self, n: int) -> None:
        self.n, self.count = n, 0

    def __call__(self, name: str, args: tuple[Any, ...], identity: Identity) -> bool:
        if name not in WRITING or LEASE_NAME in str(args[1:]) or EPOCH_NAME in str(args[1:]):
            return False
        self.count += 1
        return self.count == self.n


def assert_remediated(made: Stage, run: Run) -> None:
    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert [step.state for step in run.status.attempts[0].steps] == [StepState.DONE]
    assert changes(made.world) == 1, [str(one) for one in made.world.cluster.changes]


async def test_one_process_carries_a_run_out_while_the_other_stands_by() -> None:
    async with stage() as made:
        run = await made.ends()

        assert_remediated(made, run)
        assert {who for who, _, _ in made.wrote} == {"a"}
        assert run.status.leader_epoch == 1


async def calls_of_a_run() -> int:
    counted = Nth(0)
    async with stage(counted) as made:
        await made.ends()
    return counted.count


async def test_a_leader_that_ends_at_any_write_is_succeeded_and_does_nothing_when_it_wakes() -> None:
    wrong: list[str] = []
    count = await calls_of_a_run()
    assert count >= 5
    for n in range(1, count + 1):
        async with stage(Nth(n)) as made:
            await made.time.until(made.first.reached.is_set, 7200)
            made.first.freeze()
            try:
                assert_remediated(made, await made.ends())
                await made.time.until(lambda: made.second.leads)
                ended = made.now().status

                made.first.goes_on.set()
                made.first.thaw()
                await made.time.passes(20)

                assert made.now().status == ended
                assert changes(made.world) == 1
                assert made.written_after_the_successor() == []
                assert not made.first.leads
            except AssertionError as error:
                wrong.append(f"write {n}: {error}")
    assert not wrong, "\n".join(wrong)


async def test_a_change_that_is_about_to_leave_does_not_land_after_the_successor_has_given_it_up() -> None:
    async with stage(is_the_change) as made:
        await made.time.until(made.first.reached.is_set)
        made.first.freeze()
        made.world.alerts.resolve()
        run = await made.ends()
        assert run.status.outcome is RunOutcome.NOT_NEEDED, transcript(run)
        assert run.status.attempts[0].steps[0].state is StepState.VOIDED

        made.first.goes_on.set()
        made.first.thaw()
        await made.time.passes(60)

        assert env(made.world, "QUEUE") is None
        assert made.written_after_the_successor() == []
        assert made.now().status == run.status


async def test_an_intent_that_is_about_to_leave_is_refused_once_the_epoch_is_raised() -> None:
    """Before the successor has written to the run: its resourceVersion still fits, and the epoch alone refuses it."""
    async with stage(intends) as made:
        await made.time.until(made.first.reached.is_set)
        made.first.freeze()
        made.second.held = writes_to_the_run
        await made.time.until(lambda: made.second.leads)
        assert epoch_of(made.world.cluster.get(EPOCH)) == 2

        made.first.goes_on.set()
        made.first.thaw()
        await settled()

        steps = [step for attempt in made.now().status.attempts for step in attempt.steps]
        assert [step for step in steps if step.state is StepState.INTENDED] == []
        assert not made.first.leads
        assert made.now().status.outcome is None
        made.second.goes_on.set()
        assert_remediated(made, await made.ends())


async def test_a_leader_that_is_stopped_hands_a_run_over_in_the_middle() -> None:
    async with stage() as made:
        await made.time.until(lambda: changes(made.world) == 1)

        await made.first.stop()
        run = await made.ends()

        assert_remediated(made, run)
        assert run.status.leader_epoch == 2


async def test_taking_over_writes_to_no_run_that_waits() -> None:
    async with stage() as made:
        await made.time.until(lambda: changes(made.world) == 1)
        await made.time.passes(1)
        before = made.now().resource_version

        await made.first.stop()
        await made.time.until(lambda: made.second.leads)

        assert made.now().resource_version == before


async def test_an_attach_of_intake_is_refused_to_nobody() -> None:
    async with stage() as made:
        await made.time.until(lambda: changes(made.world) == 1)
        await made.first.stop()
        await made.time.until(lambda: made.second.leads)
        ref = ObjectRef(RUN.group, RUN.kind, made.run.namespace, made.run.name)
        alerts = made.now().alerts.as_json()

        await made.world.cluster.patch(ref, [{"op": "add", "path": "/status/alerts", "value": alerts}], sub="status")


async def test_nobody_counts_the_epoch_down() -> None:
    async with stage() as made:
        await made.time.until(lambda: made.first.leads)
        obj = made.world.cluster.get(EPOCH)
        obj["data"] = {"epoch": "0"}

        with pytest.raises(Rejected, match="never down"):
            await made.world.cluster.replace(made.world.cluster.store.kind_of("", "ConfigMap"), obj)
        with pytest.raises(Rejected):
            await made.world.cluster.delete(EPOCH)
