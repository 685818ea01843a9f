"""`/healthz` says no only to what a restart heals, `/readyz` to what keeps alerts out, and both tell the truth."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from remediator.domain.errors import Unavailable
from remediator.domain.objects import POLICY, RUN, RUNBOOK
from remediator.domain.receipts import Receipt
from remediator.handlers.definitions import Definitions
from remediator.handlers.freshness import Freshness, Heard
from remediator.handlers.health import REMEMBERED_MINUTES, Health, LoopLag, Stalls, watch_caches, watch_leadership
from remediator.handlers.leadership import Standing
from remediator.handlers.metrics import IntakeMetrics
from remediator.handlers.run_index import RunIndex
from remediator.testing.clock import NOON, StoppedClock
from remediator.testing.cluster import FakeCluster

FOLLOWS = Standing("one_1", False, "other_2", 7, NOON, 3)


@dataclass
class Process:
    health: Health
    clock: StoppedClock
    cluster: FakeCluster
    index: RunIndex
    definitions: Definitions
    lag: LoopLag
    metrics: IntakeMetrics
    signs: dict[str, str]
    client: "TestClient[Any, Any]"

    async def get(self, path: str) -> tuple[int, Any]:
        answer = await self.client.get(path)
        return answer.status, await answer.json()

    async def sync(self) -> None:
        await self.definitions.load(self.cluster)
        await self.index.changed("SYNCED", {})


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    clock = StoppedClock()
    cluster, index = FakeCluster(clock), RunIndex(clock)
    definitions = Definitions(clock, operator_namespace="remediator-system", can_ask=True)
    heard, metrics = Heard(clock), IntakeMetrics(CollectorRegistry())
    for kind in (RUNBOOK, POLICY):
        heard.follow(kind, lambda kind=kind: definitions.last_event(kind), lambda kind=kind: definitions.synced(kind))  # type: ignore[misc]
    heard.follow(RUN, lambda: index.last_event, lambda: index.synced)
    lag, signs = LoopLag(clock, metrics), {"queue": ""}
    freshness = Freshness(cluster, definitions, index, heard)
    watch_caches(metrics, heard, index)
    watch_leadership(metrics, lambda: FOLLOWS)
    health = Health(lag, heard, freshness, metrics, lambda: FOLLOWS, {"queue": lambda: signs["queue"]})
    client = TestClient(TestServer(health.application()))
    await client.start_server()
    yield Process(health, clock, cluster, index, definitions, lag, metrics, signs, client)
    await client.close()


async def test_a_process_that_works_is_healthy_even_where_the_api_server_is_not(process: Process) -> None:
    status, content = await process.get("/healthz")

    assert status == 200
    assert content.pop("leader")["holder"] == "other_2"
    assert content == {
        "ok": True,
        "problems": {},
        "loopLagSeconds": 0.0,
        "notSynced": ["AlertPolicy", "Runbook", "RunbookRun"],
        "secondsSinceHeard": {"AlertPolicy": None, "Runbook": None, "RunbookRun": None},
    }


async def test_it_says_how_long_ago_each_kind_was_heard_of(process: Process) -> None:
    await process.sync()
    process.clock.advance(timedelta(seconds=7))
    await process.index.changed("SYNCED", {})

    _, content = await process.get("/healthz")

    assert content["notSynced"] == []
    assert content["secondsSinceHeard"] == {"AlertPolicy": 7.0, "Runbook": 7.0, "RunbookRun": 0.0}


async def test_a_loop_that_is_late_is_not_healthy(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(seconds: float) -> None:
        process.clock.advance(timedelta(seconds=seconds + 6))

    monkeypatch.setattr(process.clock, "sleep", late)
    await process.lag.measure_once()

    status, content = await process.get("/healthz")

    assert status == 503
    assert content["loopLagSeconds"] == 6.0
    assert "6.0s late" in content["problems"]["loop"]


async def test_a_measurement_that_stopped_is_not_healthy(process: Process) -> None:
    await process.lag.measure_once()
    process.clock.advance(timedelta(seconds=31))

    assert (await process.get("/healthz"))[0] == 503


async def test_a_part_of_the_process_that_died_is_named(process: Process) -> None:
    process.signs["queue"] = "the watch of runs has ended"

    status, content = await process.get("/healthz")

    assert status == 503
    assert content["problems"] == {"queue": "the watch of runs has ended"}


async def test_it_is_not_ready_before_everything_was_read(process: Process) -> None:
    assert (await process.get("/readyz"))[0] == 503

    await process.sync()

    assert (await process.get("/readyz"))[0] == 200


async def test_it_is_not_ready_while_nothing_could_be_stored(process: Process) -> None:
    await process.sync()
    process.clock.advance(timedelta(seconds=61))
    process.cluster.fail_next(1, Unavailable("no answer"), verb="list")

    status, content = await process.get("/readyz")
    assert status == 503
    assert "no answer" in content["problems"]["caches"]

    assert (await process.get("/readyz"))[0] == 200
    assert (await process.get("/healthz"))[1]["secondsSinceHeard"]["AlertPolicy"] == 0.0


async def test_metrics_are_prometheus_text(process: Process) -> None:
    process.metrics.alerts.labels(receipt=str(Receipt.COVERED)).inc(3)
    await process.sync()
    await process.lag.measure_once()

    text = await (await process.client.get("/metrics")).text()

    assert 'remediator_alerts_total{receipt="Covered"} 3.0' in text
    assert 'remediator_alerts_total{receipt="NoPolicy"} 0.0' in text
    assert "remediator_runs_known 0.0" in text
    assert 'remediator_seconds_since_heard{kind="RunbookRun"} 0.5' in text
    assert "remediator_loop_lag_seconds_count 1.0" in text


async def test_a_process_that_is_being_stopped_works_and_is_not_ready(process: Process) -> None:
    await process.sync()

    process.health.stops()

    assert (await process.get("/healthz"))[0] == 200
    status, said = await process.get("/readyz")
    assert (status, said["problems"]) == (503, {"process": "it is being stopped"})


async def test_it_says_who_leads(process: Process) -> None:
    _, said = await process.get("/healthz")
    metrics = await (await process.client.get("/metrics")).text()

    assert said["leader"] == {
        "self": "one_1",
        "leads": False,
        "holder": "other_2",
        "epoch": 7,
        "since": "2026-06-01T12:00:00Z",
        "transitions": 3,
    }
    for line in ("remediator_leading 0.0", "remediator_leader_epoch 7.0", "remediator_leader_transitions 3.0"):
        assert line in metrics.splitlines()


async def test_the_longest_stall_is_remembered_for_some_minutes(process: Process) -> None:
    stalls = Stalls(process.clock, process.metrics)
    for seconds, worked in ((0.03, 0.03), (0.2, 0.04), (0.04, 0.01)):
        stalls.note(seconds, worked)

    text = await (await process.client.get("/metrics")).text()
    assert "remediator_loop_longest_stall_seconds 0.2" in text
    assert 'remediator_loop_stall_seconds_bucket{le="0.05"} 2.0' in text
    assert "remediator_loop_stall_seconds_count 3.0" in text
    assert 'remediator_loop_stall_work_seconds_bucket{le="0.05"} 3.0' in text

    for _ in range(3 * REMEMBERED_MINUTES):
        process.clock.advance(timedelta(minutes=1))
        stalls.note(0.015, 0.015)
    assert stalls.longest_seconds() == 0.015
    process.clock.advance(timedelta(minutes=REMEMBERED_MINUTES))
    assert stalls.longest_seconds() == 0.0
