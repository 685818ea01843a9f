"""One seed: its alerts are sent, its faults happen, what is in flight comes to rest, and the checker is asked."""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from chaos.breaking import carry_out
from chaos.checker import Case, Finding, findings
from chaos.evidence import Delivery, Epoch, Evidence, Write, completed, logged
from chaos.schedule import Breaking, Fault, Schedule, Sending, schedule
from chaos.shops import Shop, Story
from chaos.world import World, is_at_rest
from localcluster.api import ApiError
from localcluster.processes import moments

SETTLED_SECONDS: Final = 90.0
"""How long after the last fault everything may take to come to rest."""

IN_FLIGHT_SECONDS: Final = 15.0
"""How long a fault waits for a run that it can hit."""

TRIES: Final = 60
PAUSE_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Hit:
    """A fault that has happened, and how many runs were in flight at its begin."""

    fault: Fault
    at: float
    in_flight: int


@dataclass(frozen=True)
class Result:
    """What came of a seed."""

    seed: int
    seconds: float
    settled_seconds: float
    """From the last fault's end until the last run's."""
    hits: Sequence[Hit]
    alerts: int
    accepted: int
    runs: int
    changes: int
    voids: int
    processes: int
    """How many processes of the operator have written to the runs."""
    unlogged: int
    """Changes of which the audit log knows nothing, and etcd does."""
    outcomes: dict[str, int]
    gave_up: dict[str, str]
    """Why runs ended as Failed or Inconclusive."""
    findings: Sequence[str]
    replicas: int
    ended_by_themselves: int
    """How often a process of the operator has ended without anybody having ended it."""

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "hits": [
                {"fault": hit.fault.name, "at": round(hit.at, 2), "in_flight": hit.in_flight} for hit in self.hits
            ],
            "findings": [*self.findings],
        }


@dataclass
class Played:
    """What is collected while a seed is played."""

    deliveries: list[Delivery] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    ended_before: int = 0


def play(
    world: World, seed: int, *, only: Sequence[Fault] = (), afterwards: Callable[[World], None] | None = None
) -> Result:
    """
    The seed was played, and the world is as it was before.

    `afterwards` is done when everything has come to rest, and before the evidence is read.

    Raises:
        Exception: where the world is broken beyond what the faults were meant to do.
    """
    plan, played = _planned(world, seed, only), Played()
    world.stock(plan.shops)
    offset, revision = world.cluster.audit_log.stat().st_size, world.etcd.revision()
    world.begin(plan.shops)
    played.ended_before = sum(replica.ended_by_itself for replica in world.replicas)
    began = time.monotonic()
    try:
        with ThreadPoolExecutor(48, thread_name_prefix="chaos") as pool:
            faults = [pool.submit(_break, world, breaking, played) for breaking in plan.breakings]
            sent = [pool.submit(_send, world, plan, sending, played) for sending in plan.sendings]
            sent += [pool.submit(_tell_of_the_cure, world, plan, shop, played) for shop in plan.shops]
            _all_of([*faults, *sent])
        rest = time.monotonic()
        _settle(world)
        settled = time.monotonic() - rest
        if afterwards is not None:
            afterwards(world)
        evidence = _evidence(world, plan, played, offset, revision)
        return _result(world, plan, played, evidence, time.monotonic() - began, settled)
    finally:
        world.clear(plan.shops)


def _planned(world: World, seed: int, only: Sequence[Fault]) -> Schedule:
    plan = schedule(seed, world.namespaces, only=only)
    if all(one.fault is not Fault.NAMESPACE_DELETED for one in plan.breakings):
        return plan
    world.spare = world.open()
    return schedule(seed, [*world.namespaces[:2], world.spare], only=only)


def _all_of(futures: Sequence[Future[None]]) -> None:
    for future in futures:
        future.result()


def _wait_until(world: World, at: float) -> None:
    time.sleep(max(0.0, at - world.elapsed))


def _break(world: World, breaking: Breaking, played: Played) -> None:
    _wait_until(world, breaking.at)
    for _ in moments(IN_FLIGHT_SECONDS, 0.05):
        if world.open_runs:
            break
    played.hits.append(Hit(breaking.fault, world.elapsed, len(world.open_runs)))
    carry_out(world, breaking)


def _send(world: World, plan: Schedule, sending: Sending, played: Played) -> None:
    _wait_until(world, sending.at)
    _deliver(world, sending, played)


def _deliver(world: World, sending: Sending, played: Played) -> None:
    """The notification was sent as Alertmanager sends it: again and again until it is taken."""
    signals = [(shop, shop.signal(number, world.epoch), firing) for shop, number, firing in sending.alerts]
    payload = [signal.notified(firing=firing) for _, signal, firing in signals]
    for attempt in range(TRIES):
        sent = datetime.now(UTC)
        status, answer = world.post(world.replica(attempt + sending.alertmanager), payload)
        answered = datetime.now(UTC)
        for shop, signal, firing in signals:
            wanted = shop.policies if _is_wanted(world, shop, sent, answered) else ()
            played.deliveries.append(
                Delivery(
                    signal.fingerprint, signal.starts_at, firing, status, sent, answered, wanted, shop.target, answer
                )
            )
        if 200 <= status < 300:
            return
        time.sleep(PAUSE_SECONDS)


def _is_wanted(world: World, shop: Shop, sent: datetime, answered: datetime) -> bool:
    begins, ends = world.unwanted.get(shop.namespace, (float("inf"), float("inf")))
    return answered.timestamp() < begins or sent.timestamp() > ends


def _tell_of_the_cure(world: World, plan: Schedule, shop: Shop, played: Played) -> None:
    """Once its last alert has ended by the change, both Alertmanagers say so."""
    if not shop.is_curable or shop.fires[-1][1] < 1e6:
        return
    for _ in moments(plan.ends + 15, 0.2):
        if shop.name in world.cured:
            for alertmanager in range(2):
                _deliver(world, Sending(0.0, alertmanager, ((shop, len(shop.fires) - 1, False),)), played)
            return
        if world.elapsed > plan.ends + 1 and not any(_is_open(run, shop) for run in world.runs):
            return


def _is_open(run: dict[str, Any], shop: Shop) -> bool:
    return run["spec"]["target"]["name"] == shop.name and not is_at_rest(run)


def _settle(world: World) -> None:
    """Every run has come to rest, or has had its time."""
    quiet = 0
    for _ in moments(SETTLED_SECONDS, 0.25):
        with suppress(ApiError, OSError):
            world.look()
            quiet = quiet + 1 if not world.open_runs else 0
        if quiet >= 2:  # the last writes are in the log, too
            return


def _evidence(world: World, plan: Schedule, played: Played, offset: int, revision: int) -> Evidence:
    own = {shop.name for shop in plan.shops}
    with world.cluster.audit_log.open("rb") as log:
        log.seek(offset)
        writes = logged(log.read().splitlines())
    writes = completed(writes, world.etcd.history(revision))
    epochs = [
        Epoch(write.revision, int(write.after["data"]["epoch"]), write.answered)
        for write in writes
        if write.resource == "configmaps" and "epoch" in write.after.get("data", {})
    ]
    sayings = sorted((one for source in world.sources for one in source.sayings), key=lambda one: one.at)
    return Evidence(
        deliveries=played.deliveries,
        sayings=sayings,
        writes=[write for write in writes if _is_about(write, own)],
        changes_of_a_run={f"{shop.namespace}/{story}": story.changes for shop in plan.shops for story in Story},
        epochs=epochs,
        numbers=world.prometheus.numbers,
        measured=frozenset(f"{shop.namespace}/{Story.TWO}" for shop in plan.shops),
        gone=frozenset(world.gone),
    )


def _is_about(write: Write, own: set[str]) -> bool:
    if write.resource.startswith("runbookruns"):
        target = write.after.get("spec", {}).get("target", {})
        return target.get("name") in own or target.get("kind") == "unresolved"
    return write.resource == "deployments" and write.name in own


def _result(world: World, plan: Schedule, played: Played, evidence: Evidence, seconds: float, settled: float) -> Result:
    found: list[Finding] = findings(evidence)
    case = Case(evidence)
    outcomes = Counter(run.last.outcome or "open" for run in case.runs)
    firing = [one for one in played.deliveries if one.is_firing]
    return Result(
        seed=plan.seed,
        seconds=round(seconds, 2),
        settled_seconds=round(settled, 2),
        hits=tuple(sorted(played.hits, key=lambda hit: hit.at)),
        alerts=len(firing),
        accepted=sum(one.is_accepted for one in firing),
        runs=len(case.runs),
        changes=len(case.changes),
        voids=len(case.voids),
        processes=len({state.writer for run in case.runs for state in run.states if state.writer}),
        unlogged=sum(not change.write.is_logged for change in case.changes),
        outcomes=dict(sorted(outcomes.items())),
        gave_up={
            run.name: run.last.status.get("ending", {}).get("message", "")
            for run in case.runs
            if run.last.outcome in ("Failed", "Inconclusive")
        },
        findings=tuple(str(one) for one in found),
        replicas=len(world.replicas),
        ended_by_themselves=sum(replica.ended_by_itself for replica in world.replicas) - played.ended_before,
    )


def story_of(world: World) -> str:
    """What the runs of the seed say of themselves, for whoever looks into a finding."""
    return "\n".join(
        f"{run['metadata']['name']}: " + json.dumps(run.get("status", {}).get("timeline", [])) for run in world.runs
    )
