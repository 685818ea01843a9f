"""Kubernetes Events: repeated ones are counted, and none is ever in the way."""

from datetime import timedelta

import pytest

from remediator.adapters.kubernetes_events import ClusterEvents
from remediator.domain.errors import Unavailable
from remediator.domain.json import Object, dig_int, dig_text
from remediator.domain.objects import ObjectRef
from remediator.testing import FakeCluster, StoppedClock

RUN = ObjectRef("remediator.dev", "RunbookRun", "shop", "crash-1")
NODE = ObjectRef.of("Node", "", "node-1")


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def cluster(clock: StoppedClock) -> FakeCluster:
    found = FakeCluster(clock)
    found.add_namespace("shop")
    return found


@pytest.fixture
def events(cluster: FakeCluster, clock: StoppedClock) -> ClusterEvents:
    return ClusterEvents(cluster, clock)


def stored(cluster: FakeCluster, namespace: str = "shop") -> list[Object]:
    return cluster.objects("Event", namespace)


async def test_an_event_says_what_it_is_about(cluster: FakeCluster, events: ClusterEvents) -> None:
    await events.record(RUN, "u-1", reason="Held", message="waits for the lock", warning=True)

    (event,) = stored(cluster)
    assert event["involvedObject"] == {
        "apiVersion": "remediator.dev/v1alpha1",
        "kind": "RunbookRun",
        "namespace": "shop",
        "name": "crash-1",
        "uid": "u-1",
    }
    assert event["source"] == {"component": "remediator"}
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "Held", "waits for the lock")


async def test_the_same_event_within_ten_minutes_is_counted(
    cluster: FakeCluster, events: ClusterEvents, clock: StoppedClock
) -> None:
    for _ in range(3):
        await events.record(RUN, "u-1", reason="Held", message="waits")
        clock.advance(timedelta(minutes=4))

    (event,) = stored(cluster)
    assert dig_int(event, "count") == 3
    assert dig_text(event, "lastTimestamp") == "2026-06-01T12:08:00Z"
    assert dig_text(event, "firstTimestamp") == "2026-06-01T12:00:00Z"


async def test_another_message_and_a_later_one_are_events_of_their_own(
    cluster: FakeCluster, events: ClusterEvents, clock: StoppedClock
) -> None:
    await events.record(RUN, "u-1", reason="Held", message="waits")
    await events.record(RUN, "u-1", reason="Held", message="waits for another")
    clock.advance(timedelta(minutes=11))
    await events.record(RUN, "u-1", reason="Held", message="waits")

    assert len(stored(cluster)) == 3


async def test_an_event_that_has_expired_is_written_anew(cluster: FakeCluster, events: ClusterEvents) -> None:
    await events.record(RUN, "u-1", reason="Held", message="waits")
    (event,) = stored(cluster)
    cluster.store.remove(cluster.store.kind_of("", "Event"), "shop", dig_text(event, "metadata", "name"))

    await events.record(RUN, "u-1", reason="Held", message="waits")

    assert dig_int(stored(cluster)[0], "count") == 1


async def test_an_event_about_a_node_stands_where_kubectl_looks(cluster: FakeCluster, events: ClusterEvents) -> None:
    await events.record(NODE, "u-2", reason="Cordoned", message="by a run")

    assert len(stored(cluster, "default")) == 1


async def test_what_cannot_be_written_is_counted_and_forgotten(cluster: FakeCluster, events: ClusterEvents) -> None:
    cluster.fail_next(1, Unavailable("no"))
    await events.record(RUN, "u-1", reason="Held", message="waits")
    cluster.forbid("", "create", "events")
    await events.record(RUN, "u-1", reason="Held", message="waits")
    await events.record(ObjectRef("external", "Database", "", "orders"), "", reason="Held", message="waits")

    assert events.failed == 3
    assert stored(cluster) == []


async def test_messages_are_cut_and_carry_no_secret(cluster: FakeCluster, events: ClusterEvents) -> None:
    await events.record(RUN, "u-1", reason="Held", message="password=hunter2hunter2 " + "é" * 2_000)

    message = dig_text(stored(cluster)[0], "message")
    assert "hunter2" not in message
    assert len(message.encode()) <= 1_024
