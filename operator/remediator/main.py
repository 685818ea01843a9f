"""
The composition root: settings in, adapters built, handlers registered. Nobody imports it.

Read from the top it is the flow: alerts come in and become runs, runs are carried on, definitions
are kept up to date, and the process says how it is.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import aiohttp
import kopf
import tenacity
from prometheus_client import CollectorRegistry

from remediator.adapters.alertmanager import AlertSources
from remediator.adapters.clock import SystemClock
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.endpoints import CONFIG_MAP, Endpoints, load_endpoints
from remediator.adapters.evidence import ConfigMapEvidence
from remediator.adapters.identity import identity
from remediator.adapters.kube import Credentials, KubeApi, from_kubeconfig, in_cluster
from remediator.adapters.kubernetes_events import ClusterEvents
from remediator.adapters.locks import LeaseLocks
from remediator.adapters.logging import configure
from remediator.adapters.loop import Turns
from remediator.adapters.memory import collect_in_lulls, keep_for_good
from remediator.adapters.notifier import AppriseNotifier
from remediator.adapters.outgoing import Checked, FencedWeb, SystemLookup, own_hosts
from remediator.adapters.polling import PolledSources, sources_of
from remediator.adapters.prometheus import PrometheusMetrics
from remediator.adapters.reviews import KubeReviews
from remediator.domain.errors import Forbidden, InvalidManifest, Problem, RemediatorError, Unavailable
from remediator.domain.json import Object
from remediator.domain.objects import POLICY, REPLY, RUN, RUNBOOK, Kind
from remediator.engine.election import Timing
from remediator.handlers.accept import Books
from remediator.handlers.accounts import Accounts
from remediator.handlers.admission import Admission
from remediator.handlers.announce import Announcer
from remediator.handlers.bearer import Tokens
from remediator.handlers.definitions import NAMESPACE, Definitions
from remediator.handlers.deleting import Deleter
from remediator.handlers.diagnose import Diagnostician
from remediator.handlers.epochs import Epochs
from remediator.handlers.freshness import Freshness, Heard
from remediator.handlers.gather import Gatherer
from remediator.handlers.health import Health, LoopLag, Stalls, watch_caches, watch_leadership
from remediator.handlers.histories import Histories
from remediator.handlers.intake import Intake
from remediator.handlers.jumps import ClockJumps
from remediator.handlers.keeping import Keeper
from remediator.handlers.later import EventsLater, Later
from remediator.handlers.leadership import Leadership
from remediator.handlers.leading import LedCluster, LedNotifier, Mandate
from remediator.handlers.leaving import leave_surely
from remediator.handlers.metrics import (
    IntakeMetrics,
    PollMetrics,
    RetentionMetrics,
    RunMetrics,
    StormMetrics,
    TlsMetrics,
)
from remediator.handlers.mirror import Mirror
from remediator.handlers.outside import Outside
from remediator.handlers.perform import Performer
from remediator.handlers.picking_up import PickingUp
from remediator.handlers.polling import Poller
from remediator.handlers.queue import Key
from remediator.handlers.readiness import Readiness
from remediator.handlers.registration import registry
from remediator.handlers.registration import settings as kopf_settings
from remediator.handlers.remains import Remains
from remediator.handlers.repeats import Repeats
from remediator.handlers.replies import Replies
from remediator.handlers.resolving import Resolver
from remediator.handlers.retention import Retention
from remediator.handlers.reviewed import ReviewedTokens
from remediator.handlers.run_index import RunIndex
from remediator.handlers.run_watch import RunWatch
from remediator.handlers.runs import Reconciler
from remediator.handlers.senders import Senders
from remediator.handlers.serving import Server
from remediator.handlers.shared_alerts import SharedAlerts
from remediator.handlers.sighted import SightedAlerts
from remediator.handlers.stored import StoredRuns
from remediator.handlers.storms import Storms, StormTeller
from remediator.handlers.suspended import SuspendedAlerts
from remediator.handlers.switch import Switch
from remediator.handlers.taking import Taker
from remediator.handlers.term import Term
from remediator.handlers.tls import ServerTls
from remediator.settings import Settings, from_environment

log = logging.getLogger(__name__)

CONFIRM_SECONDS: Final = 45.0
START_SECONDS: Final = 30.0
LOGIN_MINUTES: Final = 10  # a projected token is rotated long before it expires


class Operator:
    """What runs in every replica, wired: alerts come in, definitions and runs are known, one of all leads."""

    def __init__(
        self, settings: Settings, endpoints: Endpoints, api: KubeApi, clock: SystemClock, own: Sequence[str]
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.cluster = cluster = KubeCluster(api)
        self.metrics = PrometheusMetrics(endpoints.prometheus, clock)
        self.lookup = SystemLookup()
        self.checked = Checked(self.lookup, clock, own)
        self.web = FencedWeb(self.checked, clock)
        self.sources = AlertSources(endpoints.alertmanagers, endpoints.default_prometheus)
        self.alerts = SharedAlerts(self.sources, clock)
        self.polled = _polled(settings, endpoints)
        self.notifier = AppriseNotifier(cluster, settings.namespace, clock, checked=self.checked)
        self.measures = measures = IntakeMetrics(CollectorRegistry())

        # definitions
        self.definitions = Definitions(clock, operator_namespace=settings.namespace, can_ask=self.alerts.configured)
        self.accounts = Accounts(cluster, clock, operator_namespace=settings.namespace)
        self.readiness = Readiness(self.definitions, cluster, self.notifier, clock, self.accounts)

        # alerts in
        self.index = RunIndex(clock)
        heard = Heard(clock)
        for kind in (POLICY, RUNBOOK):
            heard.follow(kind, partial(self.definitions.last_event, kind), partial(self.definitions.synced, kind))
        heard.follow(RUN, lambda: self.index.last_event, lambda: self.index.synced)
        freshness = Freshness(cluster, self.definitions, self.index, heard, lambda: self.leadership.silence())
        self.switch = Switch(cluster, settings.namespace, lambda: self.leader.look_at_all())
        self.suspended = SuspendedAlerts(cluster, self.switch, clock, settings.namespace)
        self.repeats = Repeats(cluster, clock)
        self.keeper = Keeper(
            cluster,
            self.index,
            clock,
            self.switch,
            operator_namespace=settings.namespace,
            user=settings.user,
            repeats=self.repeats,
        )
        self.taker = Taker(
            self.definitions,
            freshness,
            Resolver(cluster, clock),
            self.keeper,
            self.suspended,
            clock,
            settings.namespace,
            self.readiness.note_alert,
        )
        reviewed = ReviewedTokens(KubeReviews(api), clock, audience=settings.intake_audience)
        senders = Senders(
            Tokens(settings.intake_token_path, clock),
            reviewed if settings.intake_kubernetes_tokens else None,
            settings.client_names,
        )
        self.tls = (
            ServerTls(settings.intake_tls_path, settings.intake_client_ca_path, clock, TlsMetrics(measures.registry))
            if settings.intake_tls_path
            else None
        )
        intake = Intake(self.taker, senders, measures, clock)
        self.intake = Server(intake.application(), settings.intake_host, settings.intake_port, self.tls)

        # runs on, in the one that leads
        self.replies = Replies()
        self.epochs = Epochs(cluster, settings.namespace, clock)
        self.runs = RunWatch(cluster, self._saw_run)
        self.leader = Leader(self)
        self.leadership = Leadership(
            cluster,
            settings.namespace,
            identity(settings.replica),
            clock,
            Timing(settings.lease_seconds),
            self.epochs,
            self.runs.caught_up,
            self.leader.lead,
        )

        # how it is
        measures.watch("remediator_suspended", "1 while everything is suspended.", lambda: self.switch.pulled)
        watch_caches(measures, heard, self.index)
        watch_leadership(measures, self.leadership.standing)
        self.lag = LoopLag(clock, measures)
        self.stalls = Stalls(clock, measures)
        self.condition = Health(self.lag, heard, freshness, measures, self.leadership.standing)
        self.health = Server(self.condition.application(), settings.health_host, settings.health_port)
        self._tasks: list[asyncio.Task[None]] = []
        self._leading: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """It listens for alerts as soon as it knows what to do with them."""
        if self.tls is not None:
            self._go(self.tls.keep())
        await self.health.start()
        self._go(self.lag.measure())
        self._go(self._confirm())
        self._go(collect_in_lulls(self.clock, self.leader.lull))
        self._go(self.switch.watch())
        self._go(self.suspended.watch())
        self._go(self.repeats.keep())
        self._go(self.epochs.watch())
        self._go(self.runs.keep())
        self._go(self.cluster.watch(REPLY, "", self._saw_reply))
        self._go(self.cluster.watch(NAMESPACE, "", self._saw_namespace))
        self._leading = self._go(self.leadership.keep())
        await self.intake.start()
        log.info("ready to take alerts", extra={"intake_port": self.intake.port, "health_port": self.health.port})

    async def end(self) -> None:
        """
        It says that it takes no more, what is being done is brought to its next record, and another may lead.

        Calls that are in flight are answered.
        """
        self.condition.stops()
        if self._leading is not None:
            self._leading.cancel()
            await asyncio.gather(self._leading, return_exceptions=True)
        await self.intake.stop()
        await self.keeper.finish()
        await self.suspended.finish()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.health.stop()
        await self.sources.close()
        await self.polled.close()
        self.notifier.close()
        self.lookup.close()
        self.metrics.close()

    async def _saw_run(self, what: str, obj: Object) -> None:
        if what == "SYNCED" and not self.index.synced:
            keep_for_good()  # no alert is taken before this, so nobody waits for it
        await self.index.changed(what, obj)
        self.epochs.saw_run(obj)
        self.leader.saw_run(what, obj)

    async def _saw_reply(self, what: str, obj: Object) -> None:
        run = self.replies.changed(what, obj)
        if run is not None:
            self.leader.look_at(run)

    async def _saw_namespace(self, what: str, obj: Object) -> None:
        await self.saw_definition(NAMESPACE, what, obj)

    async def saw_definition(self, kind: Kind, what: str | None, obj: Object) -> None:
        """A definition came, changed or went; what Guardrails hold is looked at when they say something else."""
        await self.definitions.saw(kind, what, obj)
        self.leader.look_at_released(self.definitions.fence_version)

    async def _confirm(self) -> None:
        """The definitions are listed at the start, and compared with a list from time to time."""
        while True:
            try:
                await self.definitions.load(self.cluster)
                self.leader.look_at_released(self.definitions.fence_version)
            except RemediatorError as error:
                log.warning("the definitions could not be confirmed", extra={"error": str(error)})
                await self.clock.sleep(2)
                continue
            await self.clock.sleep(CONFIRM_SECONDS)

    def _go(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(_end_with)
        self._tasks.append(task)
        return task


class Leader:
    """What runs in the one replica that leads: made anew for each term, with ports that write only while it lasts."""

    def __init__(self, every: Operator) -> None:
        self._every = every
        self._run_metrics = RunMetrics(every.measures.registry)
        self._storm_metrics = StormMetrics(every.measures.registry)
        self._retention_metrics = RetentionMetrics(every.measures.registry)
        self._stored = StoredRuns()
        self._poll_metrics = PollMetrics(every.measures.registry)
        self._term: Term | None = None
        for name, text, value in (
            ("remediator_queue_depth", "Runs that wait or are worked on.", lambda term: term.depth),
            ("remediator_runs_acting", "Runs that act at this moment.", lambda term: term.acting.count),
            (
                "remediator_runs_waiting_for_room",
                "Runs that wait until others have ended.",
                lambda term: term.acting.waiting,
            ),
            ("remediator_debts_owed", "Changes that must still be taken back.", lambda term: term.owed.count),
            ("remediator_runs_stored", "Runs that the API server stores.", lambda _: len(self._stored)),
        ):
            every.measures.watch(name, f"{text} 0 where another replica leads.", partial(self._asked, value))

    async def lead(self, mandate: Mandate) -> None:
        """One term, until it is cancelled: nothing of it goes on when this returns."""
        every, settings, clock = self._every, self._every.settings, self._every.clock
        every.index.forget_admissions()
        self._stored = StoredRuns()
        self._term = term = Term(clock, settings.workers, every.readiness)
        cluster = LedCluster(every.cluster, mandate)
        notifier = LedNotifier(every.notifier, mandate)
        later = Later(clock)
        events = EventsLater(ClusterEvents(cluster, clock), later)
        locks = LeaseLocks(cluster, settings.namespace)
        mirror = Mirror()
        storms = Storms(every.index, every.definitions, clock)
        outside = Outside(
            cluster=cluster,
            metrics=every.metrics,
            web=every.web,
            alerts=every.alerts,
            locks=locks,
            notifier=notifier,
            events=events,
            evidence=ConfigMapEvidence(cluster),
            clock=clock,
            accounts=every.accounts,
            definitions=every.definitions,
            said=every.replies,
            storms=storms,
            switch=every.switch,
            namespace=settings.namespace,
            owed=term.owed,
            acting=term.acting,
            leading=mandate,
            mirror=mirror,
            later=later,
        )
        books = Books(outside)
        diagnostician = Diagnostician(outside)
        gatherer = Gatherer(outside, diagnostician)
        reconciler = Reconciler(
            outside,
            books,
            gatherer,
            Performer(outside, diagnostician, gatherer),
            Announcer(outside, self._run_metrics),
            Admission(cluster, every.index),
            term.latest,
            term.wrote,
        )
        teller = StormTeller(
            storms,
            every.definitions,
            events,
            self._storm_metrics,
            clock,
            every.readiness.note_storm,
            operator_namespace=settings.namespace,
        )
        picking_up = PickingUp(
            cluster,
            settings.namespace,
            every.suspended,
            every.switch,
            every.definitions,
            every.alerts,
            every.taker,
            clock,
        )
        histories = Histories(every.definitions, clock)
        retention = Retention(
            self._stored,
            histories,
            Deleter(cluster, outside.locks, every.replies, clock, self._retention_metrics),
            cluster,
            every.switch,
            events,
            clock,
            operator_namespace=settings.namespace,
            most=settings.max_runs,
        )
        poller = Poller(
            every.polled,
            every.taker,
            SightedAlerts(cluster, settings.namespace, every.polled.identity),
            clock,
            self._poll_metrics,
            events,
            namespace=settings.namespace,
            every_seconds=settings.poll_seconds,
            missing_for_seconds=settings.poll_missing_seconds,
        )
        remains = Remains(
            self._stored,
            histories,
            every.replies,
            books,
            outside.locks,
            cluster,
            every.switch,
            clock,
            self._retention_metrics,
            operator_namespace=settings.namespace,
        )
        jumps = ClockJumps(clock, term.look_at_all)
        try:
            await term.lead(
                jumps.after(reconciler.reconcile),
                every.runs.caught_up,
                # what only a leader does, beside carrying runs on
                (
                    jumps.keep,
                    partial(every.readiness.keep, cluster),
                    teller.keep,
                    picking_up.keep_on,
                    retention.keep,
                    remains.keep,
                    *([poller.keep] if settings.polled else ()),
                    locks.watch,
                    partial(mirror.watch, cluster),
                    partial(later.keep, term.lull),
                ),
            )
        finally:
            self._term, self._stored = None, StoredRuns()

    def saw_run(self, what: str, obj: Object) -> None:
        """What the watch tells of runs; a replica that does not lead reads no more of them than its index does."""
        if self._term is not None:
            self._stored.changed(what, obj)
            self._term.saw_run(what, obj)

    def look_at(self, key: Key) -> None:
        """Somebody has said something to the run."""
        if self._term is not None:
            self._term.look_at(key)

    def look_at_all(self) -> None:
        """SWITCH: what is open ends at once when it is pulled, and what is owed is paid first after its release."""
        if self._term is not None:
            self._term.look_at_all()

    async def lull(self, within_seconds: float) -> None:
        """For a moment no run was worked on, or so many seconds have passed."""
        if self._term is not None:
            await self._term.lull(within_seconds)

    def look_at_released(self, fence_version: int) -> None:
        """What Guardrails held is looked at if they say something else by now."""
        if self._term is not None:
            self._term.look_at_released(fence_version)

    def _asked(self, value: Callable[[Term], float]) -> float:
        return value(self._term) if self._term is not None else 0.0


def _polled(settings: Settings, endpoints: Endpoints) -> PolledSources:
    """Raises InvalidManifest where an endpoint that shall be polled is not configured."""
    try:
        return PolledSources(sources_of(settings.polled, endpoints.alertmanagers, endpoints.prometheus))
    except LookupError as unknown:
        message = f"ConfigMap {CONFIG_MAP} has no endpoint {unknown.args[0]}"
        raise InvalidManifest([Problem("REMEDIATOR_POLL", message)]) from None


def _end_with(task: asyncio.Task[None]) -> None:
    """A part that ended by itself takes the process with it: half an operator is none."""
    if not task.cancelled() and task.exception() is not None:
        log.critical("a part of the operator ended", exc_info=task.exception())
        asyncio.get_running_loop().stop()


async def operate(settings: Settings, turns: Turns) -> None:
    """Run until a signal says otherwise."""
    clock = SystemClock()
    credentials = (
        from_kubeconfig(settings.kubeconfig, settings.context or None) if settings.kubeconfig else in_cluster()
    )
    async with KubeApi(credentials, clock) as api:
        # an API server that has just started refuses for a moment what it permits
        asked = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type((Forbidden, Unavailable)),
            stop=tenacity.stop_after_delay(START_SECONDS),
            wait=tenacity.wait_exponential(0.5, max=5),
            reraise=True,
        )
        endpoints: Endpoints = await asked(load_endpoints, KubeCluster(api), settings.namespace)
        own = own_hosts((await credentials()).server, settings.namespace)
        operator = Operator(settings, endpoints, api, clock, own)
        if operator.tls is not None:
            operator.tls.load()
        turns.told = operator.stalls.note

        async def end() -> None:
            try:
                await operator.end()
            finally:
                leave_surely()

        await kopf.operator(
            registry=registry(
                saw=operator.saw_definition,
                login=lambda: _session(credentials, clock.now()),
                begin=operator.begin,
                end=end,
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
    # half a second, and a tenth for the collector: before there is a loop that they would hold up
    import kubernetes.aio.config  # noqa: F401 - loaded by the credentials, which the command line uses too

    keep_for_good()
    turns = Turns()
    with asyncio.Runner(loop_factory=turns.loop) as runner:
        runner.run(operate(settings, turns))
