"""Alerts while everything is suspended: answered, recorded, silent afterwards, and picked up a few at a time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from remediator.domain.alerts import Alert, Identities, read_alert
from remediator.domain.errors import Conflict, RemediatorError, Unavailable
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import BUILT_IN, POLICY, ObjectRef
from remediator.domain.receipts import Receipt
from remediator.engine.alertsets import packed, starts
from remediator.engine.suspension import (
    MOST_RECORDED,
    NAME,
    PICK_UP,
    Note,
    next_to_pick_up,
    pick_up_object,
    recorded,
    recorded_name,
    recorded_object,
    switch_object,
    with_notes,
)
from remediator.handlers import suspended as suspended_module
from remediator.handlers.picking_up import AT_ONCE, PickingUp
from remediator.testing.admission import SwitchPolicies
from remediator.testing.fakes import FakeAlertSource
from unit.test_intake import OPERATOR, World, an_alert, started

CRASH = (OPERATOR, "crash")
CONFIG_MAP = BUILT_IN["ConfigMap"]
SWITCH = ObjectRef.of("ConfigMap", OPERATOR, NAME)
KEPT = ObjectRef.of("ConfigMap", OPERATOR, recorded_name(CRASH))
ASKED = ObjectRef.of("ConfigMap", OPERATOR, PICK_UP)


class Suspendable(World):
    """The intake of one replica, with the switch's admission in force."""

    async def start(self) -> None:
        self.cluster.refuse_when(SwitchPolicies(self.cluster, OPERATOR).objection)
        self.source = FakeAlertSource()
        await super().start()
        self.picking_up = PickingUp(
            self.cluster, OPERATOR, self.suspended, self.switch, self.definitions, self.source, self.taker, self.clock
        )

    async def suspend(self) -> None:
        self.cluster.add({"apiVersion": "v1", "kind": "ConfigMap", **switch_object(OPERATOR, "why", "alice")})
        await self.settle()

    async def release(self, *, pick_up: bool = False) -> None:
        self.cluster.store.remove(CONFIG_MAP, OPERATOR, NAME)
        if pick_up:
            self.cluster.add({"apiVersion": "v1", "kind": "ConfigMap", **pick_up_object(OPERATOR, "alice")})
        await self.settle()

    async def round(self) -> None:
        await self.picking_up.round()
        await self.settle()

    @property
    def kept(self) -> Identities:
        """What stands in the API server."""
        return packed(recorded(self.cluster.get(KEPT))) if self.cluster.has(KEPT) else Identities()

    @property
    def writes(self) -> list[str]:
        return [f"{one.verb} {one.ref.name}" for one in self.cluster.writes if one.ref.kind == "ConfigMap"]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Suspendable]:
    async with started(Suspendable, tmp_path) as made:
        yield made


def alert(name: str, **given: Any) -> Alert:
    return read_alert(an_alert(name, **given))


# While it is pulled


async def test_an_alert_is_answered_and_recorded_and_starts_nothing(world: Suspendable) -> None:
    await world.suspend()

    status, content = await world.send(an_alert("a"), an_alert("b"))

    assert (status, content) == (200, {"alerts": {"Suspended": 2}, "runs": []})
    assert world.runs == []
    assert world.kept == Identities.of([alert("a"), alert("b")])


async def test_a_burst_of_a_thousand_alerts_is_one_write(world: Suspendable) -> None:
    await world.suspend()

    status, content = await world.send(*(an_alert(f"{n:08d}", deployment=f"d{n}") for n in range(1000)))

    assert (status, content["alerts"]) == (200, {"Suspended": 1000})
    assert world.writes == [f"create {KEPT.name}"]
    assert len(world.kept) == 1000


async def test_a_burst_in_a_thousand_notifications_is_a_few_writes(world: Suspendable) -> None:
    await world.suspend()

    answers = await asyncio.gather(*(world.taker.take((alert(f"{n:08d}"),)) for n in range(1000)))

    assert sum((answer.receipts for answer in answers), Counter()) == {Receipt.SUSPENDED: 1000}
    assert len(world.kept) == 1000
    assert len(world.writes) < 10


async def test_the_same_again_is_answered_without_a_write(world: Suspendable) -> None:
    await world.suspend()
    await world.send(an_alert("a"))
    before = len(world.cluster.calls)

    status, content = await world.send(an_alert("a"))

    assert (status, content["alerts"]) == (200, {"Suspended": 1})
    assert len(world.cluster.calls) == before


async def test_what_resolves_meanwhile_drops_out_and_the_last_one_takes_the_record_with_it(world: Suspendable) -> None:
    await world.suspend()
    await world.send(an_alert("a"), an_alert("b"))

    _, content = await world.send(an_alert("a", ended=True), an_alert("b"))
    assert content["alerts"] == {"Resolved": 1, "Suspended": 1}
    assert world.kept == Identities.of([alert("b")])
    await world.send(an_alert("b", ended=True))

    assert not world.cluster.has(KEPT)
    assert world.suspended.kept == {}


async def test_each_policy_has_a_record_of_its_own(world: Suspendable) -> None:
    world.policy(name="other")
    await world.settle()
    await world.suspend()

    _, content = await world.send(an_alert("a"))

    assert content["alerts"] == {"Suspended": 2}
    assert set(world.suspended.kept) == {CRASH, (OPERATOR, "other")}
    assert len(set(world.writes)) == 2


async def test_an_alert_that_no_policy_wants_is_not_recorded(world: Suspendable) -> None:
    await world.suspend()

    _, content = await world.send(an_alert("a", alertname="Other"))

    assert content["alerts"] == {"NoPolicy": 1}
    assert world.writes == []


@pytest.mark.parametrize("failure", [Unavailable("the API server is away"), Conflict("somebody wrote first")])
async def test_what_could_not_be_recorded_is_not_promised(world: Suspendable, failure: RemediatorError) -> None:
    await world.suspend()
    world.cluster.fail_next(suspended_module.TRIES, failure, verb="create")

    status, _ = await world.send(an_alert("a"))

    assert status == 503
    assert len(world.kept) == 0


async def test_more_than_a_record_holds_is_not_promised(world: Suspendable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspended_module, "MOST_RECORDED", 2)
    await world.suspend()
    await world.send(an_alert("a"), an_alert("b"))

    status, _ = await world.send(an_alert("c"))

    assert status == 503
    assert world.kept == Identities.of([alert("a"), alert("b")])


async def test_a_full_record_fits_into_a_config_map() -> None:
    full = {n.to_bytes(6, "big"): 1 for n in range(MOST_RECORDED)}

    content = recorded_object(OPERATOR, CRASH, full)["binaryData"]

    assert isinstance(content, dict)
    assert len(str(content)) < 1_300_000  # etcd takes 1.5 MB
    assert len(packed(full).packed) == 900 * 1024  # what a ConfigMap may hold


async def test_somebody_elses_write_is_added_to_and_not_lost(world: Suspendable) -> None:
    await world.suspend()
    await world.send(an_alert("a"))
    known = dict(world.suspended._kept)  # the cache of a replica that has not heard of the other's write
    world.cluster.change(
        KEPT, lambda obj: obj.update(binaryData={"identities": world.kept.merge(Identities.of([alert("b")])).encode()})
    )
    await world.settle()
    world.suspended._kept.clear()
    world.suspended._kept.update(known)

    status, _ = await world.send(an_alert("c"))

    assert status == 200
    assert world.kept == Identities.of([alert("a"), alert("b"), alert("c")])


async def test_nothing_is_answered_before_the_switch_is_known(world: Suspendable) -> None:
    world.switch.state = None

    assert (await world.send(an_alert("a")))[0] == 503


async def test_a_run_that_the_api_server_refuses_is_recorded_as_suspended(world: Suspendable) -> None:
    await world.suspend()
    world.switch.heard("DELETED", world.cluster.get(SWITCH))  # the watch has not brought it yet

    status, content = await world.send(an_alert("a"), an_alert("b", ended=True))

    assert (status, content["alerts"]) == (200, {"Resolved": 1, "Suspended": 1})
    assert world.runs == []
    assert world.kept == Identities.of([alert("a")])


async def test_a_switch_that_was_released_unheard_silences_nothing(world: Suspendable) -> None:
    await world.suspend()
    pulled = world.cluster.get(SWITCH)
    await world.release()
    world.switch.heard("ADDED", pulled)  # the watch lags

    _, content = await world.send(an_alert("a"))

    assert content["alerts"] == {"Opened": 1}
    assert len(world.kept) == 0


async def test_an_open_run_hears_that_its_alert_is_over_and_of_no_further_one(world: Suspendable) -> None:
    await world.send(an_alert("a"))
    await world.suspend()

    _, content = await world.send(an_alert("a", ended=True), an_alert("b"))

    assert content["alerts"] == {"Resolved": 1, "Suspended": 1}
    (run,) = world.runs
    assert "resolved" in str(run["status"])
    assert world.recorded() == Identities.of([alert("a")])


# After its release


async def test_what_was_suspended_stays_so_until_it_resolves(world: Suspendable) -> None:
    await world.suspend()
    await world.send(an_alert("a"))
    await world.release()

    _, again = await world.send(an_alert("a"))
    assert again["alerts"] == {"Suspended": 1}
    await world.send(an_alert("a", ended=True))
    _, anew = await world.send(an_alert("a", at=3600))

    assert anew["alerts"] == {"Opened": 1}
    assert not world.cluster.has(KEPT)


async def test_every_other_alert_opens_an_episode_as_usual(world: Suspendable) -> None:
    await world.suspend()
    await world.send(an_alert("a"))
    await world.release()

    _, content = await world.send(an_alert("a"), an_alert("b"))

    assert content["alerts"] == {"Suspended": 1, "Opened": 1}
    assert world.recorded() == Identities.of([alert("b")])


async def test_a_restart_forgets_nothing(world: Suspendable) -> None:
    await world.suspend()
    await world.send(an_alert("a"))
    await world.release()
    await world.stop()
    world.tasks.clear()
    await world.start()

    _, content = await world.send(an_alert("a"))

    assert content["alerts"] == {"Suspended": 1}


async def test_nothing_recorded_costs_no_call(world: Suspendable) -> None:
    before = len(world.cluster.calls)

    for _ in range(10):
        await world.round()

    assert len(world.cluster.calls) == before


async def test_the_record_of_a_policy_that_is_gone_is_swept(world: Suspendable) -> None:
    await world.suspend()
    await world.send(an_alert("a"))
    await world.round()
    assert world.cluster.has(KEPT)
    world.cluster.store.remove(POLICY, *CRASH)
    await world.settle()

    await world.round()

    assert not world.cluster.has(KEPT)


async def test_a_record_that_is_damaged_silences_nothing_and_is_swept(world: Suspendable) -> None:
    await world.suspend()
    await world.send(an_alert("a"))
    await world.release()
    world.cluster.change(KEPT, lambda obj: obj.update(binaryData={"identities": "?"}))
    await world.settle()

    _, content = await world.send(an_alert("a"))
    await world.round()

    assert content["alerts"] == {"Opened": 1}
    assert not world.cluster.has(KEPT)


# Picked up


async def ten_suspended(world: Suspendable) -> None:
    await world.suspend()
    for n in range(10):
        world.source.fire(alert(f"{n}", at=n))
    await world.send(*(an_alert(f"{n}", at=n) for n in range(10)))


async def test_they_are_picked_up_a_few_at_a_time_the_youngest_first(world: Suspendable) -> None:
    await ten_suspended(world)
    await world.release(pick_up=True)

    await world.round()

    assert world.recorded() == Identities.of(alert(f"{n}", at=n) for n in range(5, 10))
    assert len(world.kept) == 10 - AT_ONCE
    await world.round()
    assert len(world.recorded()) == 10
    assert not world.cluster.has(KEPT)
    assert not world.cluster.has(ASKED)


async def test_nobody_asked_nothing_is_picked_up(world: Suspendable) -> None:
    await ten_suspended(world)
    await world.release()

    await world.round()

    assert world.runs == []
    assert len(world.kept) == 10


async def test_what_no_longer_fires_is_let_go_and_starts_nothing(world: Suspendable) -> None:
    await ten_suspended(world)
    world.source.resolve()
    await world.release(pick_up=True)

    await world.round()
    await world.round()

    assert world.runs == []
    assert not world.cluster.has(KEPT)


async def test_a_source_that_does_not_answer_is_waited_for(world: Suspendable) -> None:
    await ten_suspended(world)
    world.source.unreachable = True
    await world.release(pick_up=True)

    await world.round()

    assert len(world.kept) == 10


async def test_without_a_source_the_next_notification_counts(world: Suspendable) -> None:
    await world.suspend()
    await world.send(an_alert("a"))
    world.picking_up._alerts = FakeAlertSource(configured=False)
    await world.release(pick_up=True)

    await world.round()
    _, content = await world.send(an_alert("a"))

    assert content["alerts"] == {"Opened": 1}


async def test_what_could_not_be_put_onto_a_run_stays_recorded(world: Suspendable) -> None:
    await ten_suspended(world)
    await world.release(pick_up=True)
    world.cluster.fail_next(1, Unavailable("away"), verb="create")

    with pytest.raises(Unavailable):
        await world.round()

    assert len(world.kept) == 10
    await world.round()
    assert len(world.recorded()) == AT_ONCE


async def test_a_later_suspension_withdraws_what_was_asked(world: Suspendable) -> None:
    await ten_suspended(world)
    await world.release(pick_up=True)
    await world.suspend()

    await world.round()
    await world.release()
    await world.round()

    assert world.runs == []
    assert not world.cluster.has(ASKED)
    assert len(world.kept) == 10


async def test_what_is_asked_for_is_not_lost_where_the_release_was_not_heard_of_yet(world: Suspendable) -> None:
    await ten_suspended(world)
    pulled = world.cluster.get(SWITCH)
    await world.release(pick_up=True)
    world.switch.heard("ADDED", pulled)  # the watch lags

    await world.round()

    assert len(world.recorded()) == AT_ONCE
    assert world.cluster.has(ASKED)


async def test_an_alert_of_two_policies_is_picked_up_for_each(world: Suspendable) -> None:
    world.policy(name="other")
    await world.settle()
    await world.suspend()
    world.source.fire(alert("a"))
    await world.send(an_alert("a"))
    await world.release(pick_up=True)

    await world.round()

    assert sorted(dig_text(run, "spec", "policyRef", "name") for run in world.runs) == ["crash", "other"]


# What is recorded, as a value


def test_a_later_start_takes_the_place_of_an_earlier_one() -> None:
    both = (Note(firing=(alert("a"),)), Note(firing=(alert("a", at=60),)))

    assert packed(with_notes({}, both)) == packed(with_notes({}, both[::-1])) == Identities.of([alert("a", at=60)])


def test_an_end_that_is_older_than_what_is_recorded_changes_nothing() -> None:
    known = with_notes({}, [Note(firing=(alert("a", at=3600),))])

    assert with_notes(known, [Note(over=(alert("a", ended=True),))]) == known


def test_what_is_let_go_is_that_very_start() -> None:
    known = with_notes({}, [Note(firing=(alert("a", at=60),))])

    assert with_notes(known, [Note(let_go=frozenset({alert("a").identity}))]) == known
    assert with_notes(known, [Note(let_go=frozenset({alert("a", at=60).identity}))]) == {}


def test_damaged_text_records_nothing() -> None:
    assert recorded({"metadata": {}, "binaryData": {"identities": "?"}}) == {}


def test_the_youngest_come_first_over_all_policies() -> None:
    one, other = starts(Identities.of([alert("a", at=1), alert("b", at=4)])), starts(Identities.of([alert("c", at=3)]))

    chosen = next_to_pick_up({("shop", "x"): one, ("shop", "y"): other}, 2)

    assert [policy for policy, _ in chosen] == [("shop", "x"), ("shop", "y")]


def test_policies_share_no_record() -> None:
    assert recorded_name(("a", "b-c")) != recorded_name(("a-b", "c"))


async def test_somebody_elses_config_map_under_the_label_is_left_alone(world: Suspendable) -> None:
    strange: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "namespace": OPERATOR,
            "name": "strange",
            "labels": {"remediator.dev/suspended-alerts": "identities"},
            "annotations": {"remediator.dev/policy": "gone/gone"},
        },
        "binaryData": {"identities": Identities.of([alert("a")]).encode()},
    }
    world.cluster.add(strange)
    await world.settle()

    await world.round()
    _, content = await world.send(an_alert("a"))

    assert content["alerts"] == {"Opened": 1}
    assert world.cluster.has(ObjectRef.of("ConfigMap", OPERATOR, "strange"))
