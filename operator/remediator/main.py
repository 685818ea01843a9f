"""
The composition root: settings in, adapters built, handlers registered. Nobody imports it.

Read from the top it is the flow: alerts come in and become runs, runs are carried on, definitions
are kept up to date, and the process says how it is.
"""

import asyncio
import logging
from collections.abc import Coroutine
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import aiohttp
import kopf
from prometheus_client import CollectorRegistry

from remediator.adapters.alertmanager import AlertSources
from remediator.adapters.clock import SystemClock
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.endpoints import Endpoints, load_endpoints
from remediator.adapters.evidence import ConfigMapEvidence
from remediator.adapters.kube import Credentials, KubeApi, from_kubeconfig, in_cluster
from remediator.adapters.kubernetes_events import ClusterEvents
from remediator.adapters.locks import LeaseLocks
from remediator.adapters.logging import configure
from remediator.adapters.notifier import AppriseNotifier
from remediator.adapters.prometheus import PrometheusMetrics
from remediator.domain.errors import RemediatorError
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import POLICY, RUN, RUNBOOK
from remediator.domain.runs import Run
from remediator.handlers.accept import Books
from remediator.handlers.admission import Admission
from remediator.handlers.announce import Announcer
from remediator.handlers.bearer import Tokens
from remediator.handlers.definitions import NAMESPACE, Definitions
from remediator.handlers.diagnose import Diagnostician
from remediator.handlers.freshness import Freshness, Heard
from remediator.handlers.gather import Gatherer
from remediator.handlers.health import Health, LoopLag, watch_caches
from remediator.handlers.intake import Intake
from remediator.handlers.keeping import Keeper
from remediator.handlers.metrics import IntakeMetrics
from remediator.handlers.outside import Outside
from remediator.handlers.perform import Performer
from remediator.handlers.queue import Queue
from remediator.handlers.readiness import Readiness
from remediator.handlers.registration import registry
from remediator.handlers.registration import settings as kopf_settings
from remediator.handlers.resolving import Resolver
from remediator.handlers.run_index import RunIndex
from remediator.handlers.runs import Reconciler
from remediator.handlers.serving import Server
from remediator.handlers.taking import Taker
from remediator.settings import Settings, from_environment

log = logging.getLogger(__name__)

CONFIRM_SECONDS: Final = 45.0
LOGIN_MINUTES: Final = 10  # a projected token is rotated long before it expires


class Operator:
    """Everything that runs in the process, wired."""

    def __init__(self, settings: Settings, endpoints: Endpoints, api: KubeApi, clock: SystemClock) -> None:
        self.settings = settings
        self.clock = clock
        self.cluster = cluster = KubeCluster(api)
        self.metrics = PrometheusMetrics(endpoints.prometheus, clock)
        self.alerts = AlertSources(endpoints.alertmanagers, endpoints.default_prometheus)
        self.notifier = AppriseNotifier(cluster, settings.namespace, clock)

        # definitions
        self.definitions = Definitions(clock, operator_namespace=settings.namespace, can_ask=self.alerts.configured)
        self.readiness = Readiness(
            self.definitions, cluster, self.notifier, clock, operator_namespace=settings.namespace
        )

        # alerts in
        measures = IntakeMetrics(CollectorRegistry())
        self.index = RunIndex(clock)
        heard = Heard(clock)
        for kind in (POLICY, RUNBOOK):
            heard.follow(kind, partial(self.definitions.last_event, kind), partial(self.definitions.synced, kind))
        heard.follow(RUN, lambda: self.index.last_event, lambda: self.index.synced)
        freshness = Freshness(cluster, self.definitions, self.index, heard)
        self.keeper = Keeper(cluster, self.index, clock, operator_namespace=settings.namespace, user=settings.user)
        taker = Taker(
            self.definitions,
            freshness,
            Resolver(cluster, clock),
            self.keeper,
            clock,
            settings.namespace,
            self.readiness.note_alert,
        )
        intake = Intake(taker, Tokens(settings.intake_token_path, clock), measures, clock)
        self.intake = Server(intake.application(), settings.intake_host, settings.intake_port)

        # runs on
        outside = Outside(
            cluster=cluster,
            metrics=self.metrics,
            alerts=self.alerts,
            locks=LeaseLocks(cluster, settings.namespace),
            notifier=self.notifier,
            events=ClusterEvents(cluster, clock),
            evidence=ConfigMapEvidence(cluster),
            clock=clock,
            definitions=self.definitions,
            namespace=settings.namespace,
        )
        diagnostician = Diagnostician(outside)
        gatherer = Gatherer(outside, diagnostician)
        reconciler = Reconciler(
            outside,
            Books(outside),
            gatherer,
            Performer(outside, diagnostician, gatherer),
            Announcer(outside),
            Admission(cluster, self.index),
        )
        self.queue = Queue(reconciler.reconcile, settings.workers)
        measures.watch("remediator_queue_depth", "Runs that wait or are worked on.", lambda: self.queue.depth)
        watch_caches(measures, heard, self.index)

        # how it is
        self.lag = LoopLag(clock, measures)
        self.health = Server(
            Health(self.lag, heard, freshness, measures).application(), settings.health_host, settings.health_port
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """It listens for alerts as soon as it knows what to do with them."""
        await self.health.start()
        self._go(self.lag.measure())
        self._go(self._confirm())
        self._go(self.cluster.watch(RUN, "", self._saw_run))
        self._go(self.cluster.watch(NAMESPACE, "", self._saw_namespace))
        self._go(self.readiness.keep())
        await self.intake.start()
        log.info("ready to take alerts", extra={"intake_port": self.intake.port, "health_port": self.health.port})

    async def end(self) -> None:
        """What is in flight is answered, what is being done is brought to its next record."""
        await self.intake.stop()
        await self.keeper.finish()
        await self.queue.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.health.stop()
        await self.alerts.close()
        self.notifier.close()
        self.metrics.close()

    async def _saw_run(self, what: str, obj: Object) -> None:
        await self.index.changed(what, obj)
        if what == "SYNCED":
            return
        key = (dig_text(obj, "metadata", "namespace"), dig_text(obj, "metadata", "name"))
        if what == "DELETED":
            self.queue.forget(key)
            self.readiness.forget_run(*key)
            return
        try:
            run = Run.parse(obj)
        except ValueError as error:
            log.error("a run cannot be read", extra={"run": "/".join(key), "error": str(error)[:500]})
            return
        self.readiness.note_run(run)
        if not run.is_ended:
            self.queue.add(key)

    async def _saw_namespace(self, what: str, obj: Object) -> None:
        await self.definitions.saw(NAMESPACE, what, obj)

    async def _confirm(self) -> None:
        """The definitions are listed at the start, and compared with a list from time to time."""
        while True:
            try:
                await self.definitions.load(self.cluster)
            except RemediatorError as error:
                log.warning("the definitions could not be confirmed", extra={"error": str(error)})
                await self.clock.sleep(2)
                continue
            await self.clock.sleep(CONFIRM_SECONDS)

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(_end_with)
        self._tasks.append(task)


def _end_with(task: asyncio.Task[None]) -> None:
    """A part that ended by itself takes the process with it: half an operator is none."""
    if not task.cancelled() and task.exception() is not None:
        log.critical("a part of the operator ended", exc_info=task.exception())
        asyncio.get_running_loop().stop()


async def operate(settings: Settings) -> None:
    """Run until a signal says otherwise."""
    clock = SystemClock()
    credentials = (
        from_kubeconfig(settings.kubeconfig, settings.context or None) if settings.kubeconfig else in_cluster()
    )
    async with KubeApi(credentials, clock) as api:
        endpoints = await load_endpoints(KubeCluster(api), settings.namespace)
        operator = Operator(settings, endpoints, api, clock)
        await kopf.operator(
            registry=registry(
                saw=operator.definitions.saw,
                login=lambda: _session(credentials, clock.now()),
                begin=operator.begin,
                end=operator.end,
            ),
            settings=kopf_settings(),
            clusterwide=True,
            standalone=True,
        )


async def _session(credentials: Credentials, now: datetime) -> kopf.AiohttpSession:
    """A session of kopf's own: it closes what it is given, at its end and after a 401."""
    access = await credentials()
    header = await access.authorization()
    return kopf.AiohttpSession(
        server=access.server,
        expiration=now + timedelta(minutes=LOGIN_MINUTES),
        aiohttp_session=aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=access.tls, limit=16),
            headers={"Authorization": header} if header else {},
        ),
    )


def run() -> None:
    """The process: settings from the environment, then `operate` until it is stopped."""
    settings = from_environment()
    configure(settings.log_level, human=settings.log_human)
    asyncio.run(operate(settings))
