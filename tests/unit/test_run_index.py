"""What is remembered of runs, and what is not believed."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from remediator.domain.alerts import Alert, Identities
from remediator.domain.objects import ObjectRef
from remediator.domain.runs import RunOutcome
from remediator.engine.alertsets import opening
from remediator.engine.begin import Admit, Key, PolicyVersion, Supersede
from remediator.handlers.run_index import UNCONFIRMED_SECONDS, RunIndex, known_run
from remediator.testing.clock import NOON, StoppedClock

KEY: Final = Key("shop", "crashlooping", ObjectRef.of("Deployment", "shop", "checkout"))


def an_alert(fingerprint: str = "a") -> Alert:
    return Alert(fingerprint, "firing", {"alertname": "X"}, {}, datetime(2026, 6, 1, 11, tzinfo=UTC))


def a_run(
    number: int = 1, *, version: int = 100, uid: str = "", status: Any = None, alerts: tuple[Alert, ...] = (an_alert(),)
) -> Any:
    found: Any = {
        "metadata": {
            "namespace": "shop",
            "name": f"crashlooping-{KEY.hash}-{number}",
            "uid": uid or f"uid-{number}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-06-01T12:00:00Z",
        },
        "spec": {
            "policyRef": {"namespace": "shop", "name": "crashlooping", "uid": "p", "generation": 2},
            "target": {"kind": "Deployment", "namespace": "shop", "name": "checkout"},
            "episode": {"key": KEY.hash, "number": number, "alerts": opening(alerts, NOON)[0].as_json()},
        },
    }
    return found if status is None else {**found, "status": status}


def covered(fingerprint: str, generation: int = 0) -> Any:
    """What a run answers for an older one."""
    found = {"heardAt": "2026-06-01T12:00:00Z", "identities": Identities.of([an_alert(fingerprint)]).encode()}
    return {**found, "policyUid": "p", "policyGeneration": generation} if generation else found


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def index(clock: StoppedClock) -> RunIndex:
    return RunIndex(clock)


async def test_an_open_run_is_kept_whole_enough_to_attach_to(index: RunIndex) -> None:
    await index.changed("ADDED", a_run())

    (run,) = index.of(KEY)
    assert run.is_open
    assert run.alerts is not None
    assert run.alerts.first[0].fingerprint == "a"
    assert run.policy == PolicyVersion("p", 2)
    assert run.recorded.covers(an_alert())


async def test_of_an_ended_run_only_what_coverage_reads_is_kept(index: RunIndex) -> None:
    await index.changed(
        "ADDED", a_run(status={"outcome": "Remediated", "covered": [covered("y", generation=2), covered("z")]})
    )

    (run,) = index.of(KEY)
    assert run.outcome is RunOutcome.REMEDIATED
    assert run.alerts is None
    assert run.recorded.covers(an_alert())
    assert run.folded == Identities.of([an_alert("z")])
    assert run.folded_until == ((PolicyVersion("p", 2), Identities.of([an_alert("y")])),)


async def test_alerts_that_were_attached_count_more_than_those_that_opened(index: RunIndex) -> None:
    attached, _ = opening((an_alert("a"), an_alert("b")), NOON)

    await index.changed("ADDED", a_run(status={"alerts": attached.as_json()}))

    assert index.of(KEY)[0].recorded.covers(an_alert("b"))


async def test_a_run_by_hand_belongs_to_no_episode(index: RunIndex) -> None:
    by_hand = a_run()
    del by_hand["spec"]["policyRef"], by_hand["spec"]["episode"]

    await index.changed("ADDED", by_hand)

    assert len(index) == 0


async def test_a_deleted_run_is_forgotten(index: RunIndex) -> None:
    await index.changed("ADDED", a_run())
    await index.changed(
        "DELETED", {"metadata": {"namespace": "shop", "name": a_run()["metadata"]["name"], "uid": "uid-1"}}
    )

    assert index.of(KEY) == ()


async def test_the_deletion_of_an_earlier_run_of_a_name_does_not_touch_the_later_one(index: RunIndex) -> None:
    await index.changed("ADDED", a_run(uid="second", version=300))
    await index.changed("DELETED", a_run(uid="first", version=200))

    assert index.of(KEY)[0].uid == "second"


async def test_an_event_that_comes_late_does_not_undo_a_later_one(index: RunIndex) -> None:
    index.put(a_run(version=120, status={"outcome": "Remediated"}))

    await index.changed("MODIFIED", a_run(version=110))

    assert index.of(KEY)[0].outcome is RunOutcome.REMEDIATED


async def test_the_answer_to_a_write_that_comes_after_the_deletion_brings_nothing_back(index: RunIndex) -> None:
    await index.changed("DELETED", a_run())

    index.put(a_run())

    assert index.of(KEY) == ()


async def test_what_the_watch_never_brought_is_not_believed_for_ever(index: RunIndex, clock: StoppedClock) -> None:
    index.put(a_run())
    assert index.of(KEY)

    clock.advance(timedelta(seconds=UNCONFIRMED_SECONDS + 1))

    assert index.of(KEY) == ()


async def test_what_the_watch_has_brought_stays(index: RunIndex, clock: StoppedClock) -> None:
    index.put(a_run())
    await index.changed("ADDED", a_run())

    clock.advance(timedelta(seconds=UNCONFIRMED_SECONDS + 1))

    assert index.of(KEY)


async def test_it_is_synced_when_everything_was_listed(index: RunIndex, clock: StoppedClock) -> None:
    await index.changed("ADDED", a_run())
    assert not index.synced

    await index.changed("SYNCED", {})

    assert index.synced
    assert index.last_event == clock.boot_seconds()


@pytest.mark.parametrize("damage", ["%%%", "AAAA"])
def test_damaged_identities_answer_nothing_and_the_run_stays_known(damage: str) -> None:
    run = known_run(a_run(status={"outcome": "Remediated", "alerts": {"count": 1, "identities": damage}}))

    assert run is not None
    assert not run.recorded.covers(an_alert())
    assert run.number == 1


def test_an_outcome_of_a_later_version_has_ended_and_answers_nothing() -> None:
    run = known_run(a_run(status={"outcome": "Transcended"}))

    assert run is not None
    assert not run.is_open
    assert not run.has_answered(PolicyVersion("p", 2))


def test_a_run_that_is_about_to_end_as_superseded_is_not_attached_to() -> None:
    run = known_run(a_run(status={"ending": {"outcome": "Superseded"}}))

    assert run is not None
    assert not run.is_open


def test_a_run_says_when_identities_are_kept_beside_it() -> None:
    alerts = {**opening((an_alert(),), NOON)[0].as_json(), "count": 3}

    run = known_run(a_run(status={"alerts": alerts}))

    assert run is not None
    assert run.has_more


async def test_a_run_that_may_begin_counts_as_taken_on_before_its_record_says_so(index: RunIndex) -> None:
    await index.changed("ADDED", a_run(2))
    second = index.get("shop", a_run(2)["metadata"]["name"])
    assert second is not None
    assert index.admission(second) == Admit()

    await index.changed("ADDED", a_run(1, alerts=(an_alert("b"),)))  # a freed name, in the same second
    first = index.get("shop", a_run(1)["metadata"]["name"])

    assert first is not None
    assert isinstance(index.admission(first), Supersede)
    assert index.admission(second) == Admit()


async def test_a_run_that_is_listed_once_more_is_confirmed_by_it(index: RunIndex, clock: StoppedClock) -> None:
    index.put(a_run())
    await index.changed("ADDED", a_run())

    clock.advance(timedelta(seconds=2 * UNCONFIRMED_SECONDS))

    assert [run.number for run in index.of(KEY)] == [1]


async def test_one_version_of_another_run_of_the_name_is_another_run(index: RunIndex) -> None:
    await index.changed("ADDED", a_run(uid="first"))

    await index.changed("MODIFIED", a_run(uid="second"))

    assert [run.uid for run in index.of(KEY)] == ["second"]


async def test_the_one_that_was_put_in_again_counts_from_then_on(index: RunIndex, clock: StoppedClock) -> None:
    index.put(a_run(1, uid="first"))
    clock.advance(timedelta(seconds=UNCONFIRMED_SECONDS - 1))
    index.put(a_run(2))
    index.put(a_run(1, uid="second"))

    clock.advance(timedelta(seconds=2))
    assert [run.uid for run in index.of(KEY)] == ["second", "uid-2"]
    clock.advance(timedelta(seconds=UNCONFIRMED_SECONDS))
    assert index.of(KEY) == ()
