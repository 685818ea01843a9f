"""The kill switch: what it stops, how the operator hears of it, and what it leaves owed."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from remediator.domain.errors import Unavailable
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.domain.runs import Run, RunOutcome, StepState
from remediator.domain.verdicts import Allow, Deny, Reason, Wait
from remediator.engine.facts import NOT_SUSPENDED, Suspension
from remediator.engine.flow import next_move
from remediator.engine.guards import BEFORE_CHANGE, BEFORE_UNDO, Question, first_objection
from remediator.engine.guards.stopping import is_not_stopped
from remediator.engine.moves import Accept, Hold, Look, Tell, Void
from remediator.engine.suspension import NAME, suspension, switch_object
from remediator.handlers.queue import Key, Queue
from remediator.handlers.switch import Switch
from remediator.handlers.unfinished import Unfinished
from remediator.testing.cluster import FakeCluster
from worlds import NOON, facts, run, step

PULLED = Suspension(pulled=True, by="alice", reason="the network is being changed", since=NOON)
OPERATORS = "remediator-system"
CONFIG_MAP = BUILT_IN["ConfigMap"]


def with_steps(**attempt: Any) -> Run:
    made = run()
    return replace(
        made, status=made.status.model_copy(update={"attempts": [made.status.attempts[0].model_copy(update=attempt)]})
    )


def stopped(made: Run) -> Run:
    """The run after one look while everything is suspended, which must have decided its end."""
    after, move = next_move(made, facts(suspended=PULLED))
    assert isinstance(move, Look)
    assert after.status.ending is not None
    assert after.status.ending.outcome is RunOutcome.STOPPED
    return after


# the guard


@pytest.mark.parametrize("chain", [BEFORE_CHANGE, BEFORE_UNDO], ids=["before a change", "before an undo"])
def test_nothing_begins_while_everything_is_suspended(chain: Any) -> None:
    verdict = first_objection(chain, Question(run(), step(), facts(suspended=PULLED)))

    assert verdict == Deny(Reason.SUSPENDED, "everything is suspended by alice: the network is being changed")


def test_a_switch_that_is_not_known_never_allows() -> None:
    verdict = is_not_stopped(Question(run(), step(), facts(suspended=None)))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.FACT_UNKNOWN


def test_a_switch_that_is_not_pulled_allows() -> None:
    assert is_not_stopped(Question(run(), step(), facts(suspended=NOT_SUSPENDED))) == Allow()


def test_what_an_ended_run_owes_is_held_and_not_refused() -> None:
    ended = run(status={"outcome": "Remediated"})

    verdict = is_not_stopped(Question(ended, step(), facts(suspended=PULLED)))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.SUSPENDED


# what becomes of a run


def test_a_run_that_has_changed_nothing_ends_as_stopped() -> None:
    made = stopped(run())

    assert made.status.ending is not None
    assert made.status.ending.message == "everything is suspended by alice: the network is being changed"
    assert made.status.ending.reason == "Suspended"


def test_a_run_that_was_not_accepted_yet_is_not_accepted_any_more() -> None:
    made = run()
    fresh = replace(made, status=made.status.model_copy(update={"resolved": None, "attempts": []}))
    assert isinstance(next_move(fresh, facts())[1], Accept)

    stopped(fresh)


def test_a_run_whose_runbook_cannot_be_read_is_stopped_too() -> None:
    after, _ = next_move(run(), facts(suspended=PULLED, runbook=None))

    assert after.status.ending is not None


def test_an_intent_is_given_up_before_the_run_ends() -> None:
    intended = with_steps(steps=[step(state=StepState.INTENDED, token="t", generation=3)])

    after, move = next_move(intended, facts(suspended=PULLED))

    assert move == Void(0, False, Reason.SUSPENDED, PULLED.sentence)
    assert after.status.ending is None


def test_a_run_that_verifies_ends_as_stopped_and_says_what_stays() -> None:
    verifying = with_steps(steps=[step(state=StepState.DONE, token="t", started_at=NOON)], verifying_since=NOON)

    made = stopped(verifying)

    assert made.status.ending is not None
    assert "what was changed is not verified, and stays unless it is owed" in made.status.ending.message


def test_a_run_that_is_ending_may_finish_its_messages() -> None:
    ending = run(status={"ending": {"outcome": "Failed"}})

    after, move = next_move(ending, facts(suspended=PULLED))

    assert move == Tell(0, closing=True)
    assert after.status.ending is not None
    assert after.status.ending.outcome is RunOutcome.FAILED


def test_a_switch_that_is_not_known_stops_nothing_and_lets_nothing_begin() -> None:
    made = with_steps(diagnosed_at=None, chosen_at=None, plan_hash="", steps=[])

    after, move = next_move(made, facts(suspended=None))

    assert isinstance(move, Hold)
    assert after.status.ending is None


# the switch itself


def test_whatever_the_config_map_says_the_switch_is_pulled() -> None:
    assert suspension({"metadata": {}}) == Suspension(pulled=True)
    assert suspension({"metadata": {}}).sentence == "everything is suspended: no reason is given"


def test_the_switch_says_who_pulled_it_when_and_why() -> None:
    cluster = FakeCluster()
    made = cluster.add({"apiVersion": "v1", "kind": "ConfigMap", **switch_object(OPERATORS, "two\nlines", "alice")})

    found = suspension(made)

    assert (found.by, found.reason) == ("alice", "two lines")
    assert found.since is not None


def pulled_in(cluster: FakeCluster) -> None:
    cluster.add({"apiVersion": "v1", "kind": "ConfigMap", **switch_object(OPERATORS, "why", "alice")})


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_switch_is_unknown_until_it_has_been_listed_and_followed_from_there() -> None:
    cluster, moves = FakeCluster(), list[bool]()
    switch = Switch(cluster, OPERATORS, lambda: moves.append(switch.state is not None and switch.state.pulled))
    assert switch.state is None

    watching = asyncio.create_task(switch.watch())
    await turns()
    assert switch.state == NOT_SUSPENDED
    pulled_in(cluster)
    await turns()
    assert switch.state is not None
    assert switch.state.pulled
    cluster.store.remove(CONFIG_MAP, OPERATORS, NAME)
    await turns()
    watching.cancel()

    assert moves == [False, True, False]


async def test_another_config_map_pulls_no_switch() -> None:
    cluster = FakeCluster()
    cluster.add({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": OPERATORS, "name": "other"}})
    cluster.add({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": NAME}})
    switch = Switch(cluster, OPERATORS)

    watching = asyncio.create_task(switch.watch())
    await turns()
    watching.cancel()

    assert switch.state == NOT_SUSPENDED


async def test_a_switch_that_was_released_while_the_watch_was_broken_is_released() -> None:
    cluster = FakeCluster()
    switch = Switch(cluster, OPERATORS)
    switch.heard("SYNCED", {})
    pulled_in(cluster)
    assert (await switch.look()).pulled
    cluster.store.remove(CONFIG_MAP, OPERATORS, NAME)

    switch.heard("SYNCED", {})

    assert switch.state == NOT_SUSPENDED


async def test_the_end_of_an_earlier_suspension_does_not_release_a_later_one() -> None:
    cluster = FakeCluster()
    switch = Switch(cluster, OPERATORS)
    pulled_in(cluster)
    ref = ObjectRef.of("ConfigMap", OPERATORS, NAME)
    switch.heard("ADDED", cluster.get(ref))

    switch.heard("DELETED", {"metadata": {"name": NAME, "uid": "an-earlier-one"}})

    assert switch.state is not None
    assert switch.state.pulled


async def test_a_switch_that_cannot_be_read_is_not_taken_for_released() -> None:
    cluster = FakeCluster()
    switch = Switch(cluster, OPERATORS)
    cluster.fail_next(1, Unavailable("away"))

    with pytest.raises(Unavailable):
        await switch.look()

    assert switch.state is None


# the order after it


async def test_what_is_owed_is_queued_before_all_others() -> None:
    unfinished = Unfinished()
    opened = [replace(run(), name=f"open-{n}") for n in range(3)]
    owing = replace(
        run(status={"outcome": "Remediated", "debts": [{"token": "t", "step": "raise", "kind": "TTL"}]}), name="owing"
    )
    paid = replace(run(status={"outcome": "Remediated"}), name="paid")
    assert [unfinished.note(one) for one in (*opened, owing, paid)] == [True, True, True, True, False]
    worked: list[str] = []

    async def work(key: Key) -> float | None:
        worked.append(key[1])
        return None

    queue = Queue(work, workers=1)
    for key in unfinished.debts_first:
        queue.add(key)
    await turns()
    await asyncio.sleep(0)
    await turns()

    assert worked == ["owing", "open-0", "open-1", "open-2"]


def test_a_run_that_is_deleted_is_not_unfinished() -> None:
    unfinished = Unfinished()
    unfinished.note(run())

    unfinished.forget(("shop", "queue-1"))

    assert unfinished.debts_first == ()


def test_what_was_stopped_stays_answered_and_somebody_is_told() -> None:
    assert RunOutcome.STOPPED.covers
    assert RunOutcome.STOPPED.escalates
