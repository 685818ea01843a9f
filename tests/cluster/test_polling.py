"""Polling of a real Alertmanager and a real Prometheus, which nobody told where the operator is."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from cluster.test_intake import OPERATOR, Replica, Start, runs_in, tell
from cluster.test_intake import installed as installed
from cluster.test_intake import shop as shop
from cluster.test_intake import start as start
from localcluster import Cluster as LocalCluster
from localcluster.monitoring import Server, start_alertmanager, start_prometheus
from remediator.adapters.endpoints import Endpoint
from remediator.adapters.kubernetes_events import ClusterEvents
from remediator.adapters.polling import PolledSources, Source
from remediator.domain.alerts import Identities
from remediator.domain.errors import RemediatorError
from remediator.handlers.metrics import PollMetrics
from remediator.handlers.polling import Poller
from remediator.handlers.sighted import SightedAlerts

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SILENT = {
    "route": {"receiver": "nobody", "group_wait": "100ms", "group_interval": "1s"},
    "receivers": [{"name": "nobody"}],
}


def poller(replica: Replica, sources: PolledSources) -> Poller:
    """Polls for this replica, to which nothing is missing for long."""
    return Poller(
        sources,
        replica.taker,
        SightedAlerts(replica.cluster, OPERATOR[0], sources.identity),
        replica.clock,
        PollMetrics(CollectorRegistry()),
        ClusterEvents(replica.cluster, replica.clock),
        namespace=OPERATOR[0],
        every_seconds=1,
        missing_for_seconds=0,
    )


def source(server: Server, name: str) -> Source:
    return Source(name, Endpoint(server.url), name == "alertmanager")


async def until(holds: Callable[[], bool], look: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            with suppress(RemediatorError):
                await look()
            await asyncio.sleep(0.2)


async def test_what_alertmanager_lists_is_on_a_run_and_resolved_when_it_is_gone(
    installed: LocalCluster, shop: str, start: Start
) -> None:
    replica = await start()
    alertmanager = await asyncio.to_thread(start_alertmanager, installed, SILENT)
    sources = PolledSources([source(alertmanager, "alertmanager")])
    polling = poller(replica, sources)
    labels = {"alertname": "Crash", "namespace": shop, "deployment": "checkout"}
    try:
        async with tell(alertmanager.url) as say:
            await say([{"labels": {**labels, "pod": pod}} for pod in ("a", "b")])
            await until(lambda: sum(run.alerts.count for run in runs_in(installed, shop)) == 2, polling.round)
            await say([{"labels": {**labels, "pod": "a"}, "endsAt": datetime.now(UTC).isoformat()}])

            def resolved() -> int:
                return sum(len(Identities.decode(run.alerts.resolved)) for run in runs_in(installed, shop))

            await until(lambda: resolved() == 1, polling.round)
            for _ in range(3):
                await polling.round()
            assert resolved() == 1
    finally:
        await sources.close()
        alertmanager.stop()

    assert len(runs_in(installed, shop)) == 1


async def test_prometheus_and_alertmanager_agree_on_who_an_alert_is(
    installed: LocalCluster, shop: str, start: Start
) -> None:
    replica = await start()
    labels = {"namespace": shop, "deployment": "checkout", "severity": "critical", "summary": 'ä; "ö"'}
    rules = {"groups": [{"name": "shop", "rules": [{"alert": "Crash", "expr": "vector(1)", "labels": labels}]}]}
    alertmanager = await asyncio.to_thread(start_alertmanager, installed, SILENT)
    prometheus = await asyncio.to_thread(start_prometheus, installed, rules, [], alertmanager.url)
    by_one = PolledSources([source(prometheus, "prometheus")])
    by_both = PolledSources([source(prometheus, "prometheus"), source(alertmanager, "alertmanager")])
    try:
        await until(lambda: len(runs_in(installed, shop)) == 1, poller(replica, by_one).round)
        heard = PolledSources([source(alertmanager, "alertmanager")])
        polls = [await heard.poll()]

        async def listen() -> None:
            polls.append(await heard.poll())

        await until(lambda: bool(polls[-1].firing), listen)
        await heard.close()
        polling = poller(replica, by_both)
        for _ in range(3):
            await polling.round()
    finally:
        await by_one.close()
        await by_both.close()
        prometheus.stop()
        alertmanager.stop()

    (run,) = runs_in(installed, shop)
    assert run.alerts.count == 1
