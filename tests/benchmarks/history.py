"""
A year of runs on a clock that is moved: what is stored, what it weighs, and what the operator holds of it.

    PYTHONPATH=operator:tests python tests/benchmarks/history.py [--days N] [--per-day N] [--targets N] [-o json]

The API server is the fake one, which sees the calls that the real one would see; what sweeps is the
operator's own code. Sizes are of the objects as JSON, which is how etcd holds custom ones; built-in
kinds are a little smaller there. Alerts are sent again for days after their run, targets come and go,
Runbooks change every month.
"""

import argparse
import asyncio
import gc
import json
import random
import sys
import tracemalloc
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from flows import carried_out, world
from histories import NAMESPACE, Archive, a_policy, an_alert
from remediator.domain.alerts import Alert
from remediator.domain.json import Object, copied, dig_object, dig_text
from remediator.domain.locks import PastChange
from remediator.domain.names import frozen_runbook_name, key_hash, lease_name, run_name
from remediator.domain.objects import BUILT_IN, REPLY, RUN, ObjectRef
from remediator.domain.runs import Run, rfc3339
from remediator.engine.alertsets import opening
from remediator.engine.begin import Key, KnownRun, PolicyVersion, decide
from remediator.engine.recurrence import has_to_be_told
from remediator.handlers.accept import FROZEN
from remediator.handlers.readiness import Readiness
from remediator.handlers.repeats import Repeats
from remediator.handlers.run_index import RunIndex
from remediator.handlers.tally import noted
from remediator.testing.store import Watcher

BOOK: Final = """
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
"""
PAGE: Final = 500
SENT_AGAIN_DAYS: Final = 3
EVIDENCE_BYTES: Final = 8_000
RUNBOOK_DAYS: Final = 30
OUTCOMES: Final = ("Remediated",) * 12 + ("NotNeeded",) * 4 + ("Failed", "HandedOver", "Undone", "TargetGone")
BUILT_OF: Final = {RUN: "runs", REPLY: "replies", BUILT_IN["ConfigMap"]: "configmaps", BUILT_IN["Lease"]: "leases"}


@dataclass
class Report:
    """What a simulated time has led to."""

    days: int
    made: int = 0
    deleted: int = 0
    stored: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    most_runs: int = 0
    largest_run: int = 0
    pages: int = 0
    targets: int = 0
    missing: int = 0
    """Targets that are there and whose newest run is not: KEEPNEW says none."""
    started_again: int = 0
    """Alerts that were answered, and would start a run when they are sent again: FOLD says none."""
    memory_of_a_run: float = 0.0
    memory: int = 0

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


class Year:
    """A cluster in which something is out of order all the time."""

    def __init__(
        self, template: Object, *, per_day: int, targets: int, policies: int, history: Mapping[str, Any], seed: int = 7
    ) -> None:
        self.archive = Archive(leases=True)
        self.template = template
        self.per_day = per_day
        self.policies = [f"policy-{n}" for n in range(policies)]
        self.archive.known.put(*(a_policy(name, **history) for name in self.policies))
        self.chance = random.Random(seed)
        self.targets = [self._arrived(n) for n in range(targets)]
        self.serial = targets
        self.newest: dict[Key, int] = {}
        self.again: deque[list[tuple[Key, Alert]]] = deque(maxlen=SENT_AGAIN_DAYS)
        self.index = RunIndex(self.archive.clock)
        self.repeats = Repeats(self.archive.cluster, self.archive.clock)
        self.watcher = Watcher(RUN, "")
        self.archive.cluster.store.watchers.append(self.watcher)
        self.archive.stored.changed("SYNCED", {})
        self.report = Report(days=0)

    async def pass_a_day(self) -> None:
        """Alerts come, are answered and sent again, and at the end of the day everything is swept."""
        archive, tomorrow = self.archive, self.archive.clock.now() + timedelta(days=1)
        self.again.append([])
        for _ in range(self.per_day):
            archive.clock.advance(timedelta(seconds=80_000 / self.per_day))
            await self._run()
        await self._told()
        await self._send_again()
        self._exchange_a_target()
        while deleted := await archive.retention.sweep():
            self.report.deleted += deleted
            await self._told()
        for _ in range(2):
            await archive.remains.words()
            await archive.remains.contents()
            archive.clock.advance(timedelta(hours=1))
        await archive.remains.leases()
        archive.cluster.writes.clear()
        archive.cluster.calls.clear()
        self.report.days += 1
        self.report.most_runs = max(self.report.most_runs, len(archive.stored))
        archive.clock.advance(max(tomorrow - archive.clock.now(), timedelta()))

    async def _run(self) -> None:
        """One run begins and ends, with what it leaves behind."""
        archive, now = self.archive, self.archive.clock.now()
        policy, target = self.chance.choice(self.policies), self.chance.choice(self.targets)
        key = Key("shop", policy, target)
        number = self.newest[key] = self.newest.get(key, 0) + 1
        alerts = [an_alert(f"{target.name}-{policy}-{number}-{pod}", now) for pod in range(3)]
        status = {**copied(dig_object(self.template, "status")), **self._ending(alerts, self._content(policy))}
        evidence = f"{run_name('shop', policy, target, number)}-diagnosis"
        status["attempts"] = [{**attempt, "evidence": evidence} for attempt in status["attempts"]]
        stored = archive.cluster.add({**self._object(key, number, alerts), "status": status})
        self._leave_evidence(stored, evidence)
        if self.chance.random() < 0.5:
            await self._lock(target, stored)
        if self.chance.random() < 0.1:
            self._say(stored)
        self.again[-1] += [(key, alert) for alert in alerts]
        self.report.made += 1

    def _object(self, key: Key, number: int, alerts: Sequence[Alert]) -> Object:
        target = key.target
        opened, _ = opening(alerts, self.archive.clock.now())
        spec = copied(dig_object(self.template, "spec"))
        spec["policyRef"] = {"namespace": "shop", "name": key.policy_name, "uid": "policy-uid", "generation": 1}
        spec["target"] = {"kind": "Deployment", "namespace": target.namespace, "name": target.name}
        spec["episode"] = {
            "key": key_hash("shop", key.policy_name, target),
            "number": number,
            "alerts": opened.as_json(),
        }
        name = run_name("shop", key.policy_name, target, number)
        meta: Object = {
            "namespace": target.namespace,
            "name": name,
            "creationTimestamp": rfc3339(self.archive.clock.now()),
        }
        return {"apiVersion": RUN.api_version, "kind": RUN.kind, "metadata": meta, "spec": spec}

    def _ending(self, alerts: Sequence[Alert], content: str) -> dict[str, Any]:
        now = self.archive.clock.now()
        opened, _ = opening(alerts, now)
        resolved = {
            **dig_object(self.template, "status", "resolved"),
            "runbook": {"namespace": "shop", "name": "queue", "content": content},
        }
        outcome = self.chance.choice(OUTCOMES)
        return {"alerts": opened.as_json(), "endedAt": rfc3339(now), "outcome": outcome, "resolved": resolved}

    def _content(self, policy: str) -> str:
        """The Runbook of this month, frozen."""
        text = {"policy": policy, "month": self.report.days // RUNBOOK_DAYS, "steps": "x" * 4_000}
        name = frozen_runbook_name(text)
        if not self.archive.cluster.has(ObjectRef.of("ConfigMap", NAMESPACE, name)):
            meta = {"namespace": NAMESPACE, "name": name, "labels": {FROZEN: "true"}}
            self.archive.cluster.add(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"spec.json": json.dumps(text)}}
            )
        return name

    async def _lock(self, target: ObjectRef, run: Object) -> None:
        """The target's Lease says what the run has changed."""
        uid, now = dig_text(run, "metadata", "uid"), self.archive.clock.now()
        note = PastChange("shop/queue", "bigger", "shop/run", uid, now, made=(now,), ended=now, outcome="Remediated")
        name = lease_name(target)
        await self.archive.locks.acquire(name, holder="shop/run", holder_uid=uid, target=target, now=now, note=note)
        await self.archive.locks.release(name, holder_uid=uid)

    def _leave_evidence(self, run: Object, name: str) -> None:
        meta = dig_object(run, "metadata")
        owner = {"apiVersion": RUN.api_version, "kind": RUN.kind, "name": meta["name"], "uid": meta["uid"]}
        place = {"namespace": meta["namespace"], "name": name, "ownerReferences": [owner]}
        content = {"evidence.json.gz": "x" * EVIDENCE_BYTES}
        self.archive.cluster.add({"apiVersion": "v1", "kind": "ConfigMap", "metadata": place, "binaryData": content})

    def _say(self, run: Object) -> None:
        meta: Any = dig_object(run, "metadata")
        spec = {"runRef": {"name": meta["name"], "uid": meta["uid"]}, "type": "Acknowledge", "user": "alice"}
        place = {"namespace": meta["namespace"], "name": f"ack-{meta['uid']}"}
        said = self.archive.cluster.add(
            {"apiVersion": REPLY.api_version, "kind": REPLY.kind, "metadata": place, "spec": spec}
        )
        self.archive.replies.changed("ADDED", said)

    async def _send_again(self) -> None:
        """The alerts of the last days come again, as part of their groups: none of them may start a run."""
        policy = PolicyVersion("policy-uid", 1)
        for day in self.again:
            for key, alert in self.chance.sample(day, len(day) // 10):
                runs = self.index.of(key)
                if runs and not any(
                    run.recorded.covers(alert) and not run.outcome.covers for run in runs if run.outcome
                ):
                    decision = decide([alert], runs, policy, self.archive.clock.now())
                    self.report.started_again += decision.write is not None
                    self.repeats.note([alert], runs, policy)
                    await self.repeats.write_next()
                    self._tell_people(runs)
        await self._told()

    def _tell_people(self, runs: Sequence[KnownRun]) -> None:
        """What the leader does of these: who is sent on is told of, once."""
        for known in runs:
            ref = ObjectRef(RUN.group, RUN.kind, known.namespace, known.name)
            if has_to_be_told(Run.parse(self.archive.cluster.get(ref))):
                self.archive.cluster.change(ref, self._note_recurrence)

    def _note_recurrence(self, run: Any) -> None:
        run["status"]["recurred"] = rfc3339(self.archive.clock.now())

    def _exchange_a_target(self) -> None:
        gone = self.targets.pop(self.chance.randrange(len(self.targets)))
        self.archive.cluster.store.remove(BUILT_IN["Deployment"], gone.namespace, gone.name)
        self.targets.append(self._arrived(self.serial))
        self.serial += 1

    def _arrived(self, number: int) -> ObjectRef:
        ref = ObjectRef.of("Deployment", f"shop-{number % 10}", f"target-{number}")
        meta = {"namespace": ref.namespace, "name": ref.name}
        self.archive.cluster.add({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta})
        return ref

    async def _told(self) -> None:
        """What the watch of runs brings."""
        while not self.watcher.queue.empty():
            event = self.watcher.queue.get_nowait()
            assert event is not None, "nobody lets the watch expire"
            self.archive.stored.changed(*event)
            await self.index.changed(*event)

    def weighed(self) -> Report:
        """The report, with what is stored now."""
        report, cluster = self.report, self.archive.cluster
        for kind, name in BUILT_OF.items():
            objects = cluster.objects(kind)
            sizes = [len(json.dumps(obj, separators=(",", ":"))) for obj in objects]
            report.stored[name], report.bytes[name] = len(sizes), sum(sizes)
            if kind == RUN:
                report.largest_run = max(sizes, default=0)
                report.pages = -(-len(sizes) // PAGE)
                report.memory_of_a_run = memory_of(objects)
                report.memory = int(report.memory_of_a_run * len(sizes))
        alive = set(self.targets)
        places = {run.key: run.number for run in sorted(self.archive.stored, key=lambda run: run.number) if run.key}
        report.targets = len(alive)
        report.missing = sum(places.get(key) != number for key, number in self.newest.items() if key.target in alive)
        return report


def memory_of(runs: Sequence[Object]) -> float:
    """Bytes that the operator holds of one of these runs: index, history, counters, and the place of the watch."""
    texts = [json.dumps(obj) for obj in runs]
    if not texts:
        return 0.0
    archive = Archive()
    index, readiness = RunIndex(archive.clock), Readiness(*[None] * 3, archive.clock, None)  # type: ignore[arg-type]
    places: dict[Any, Any] = {}
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for text in texts:
        obj = json.loads(text)
        index._keep(obj, confirmed=True)
        archive.stored.changed("ADDED", obj)
        readiness.note_run(noted(Run.parse(obj)))
        meta = obj["metadata"]
        places[meta["namespace"], meta["name"]] = meta["uid"], meta["resourceVersion"]
    del obj, meta
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / len(texts)


async def simulated(
    *, days: int, per_day: int, targets: int, policies: int, tell: bool = False, **history: Any
) -> Report:
    """So many days; `history` is what the policies say of it."""
    made = world(BOOK)
    run = await carried_out(made)
    template = made.cluster.get(ObjectRef(RUN.group, RUN.kind, run.namespace, run.name))
    year = Year(template, per_day=per_day, targets=targets, policies=policies, history=history)
    for day in range(days):
        await year.pass_a_day()
        if tell and day % 30 == 29:
            print(f"day {day + 1}: {year.report.made:,} made, {len(year.archive.stored):,} stored", file=sys.stderr)
    return year.weighed()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--per-day", type=int, default=200)
    parser.add_argument("--targets", type=int, default=100, help="there at one time; one of them is exchanged each day")
    parser.add_argument("--policies", type=int, default=4)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    asked = parser.parse_args()
    report = asyncio.run(
        simulated(days=asked.days, per_day=asked.per_day, targets=asked.targets, policies=asked.policies, tell=True)
    )
    if asked.output == "json":
        print(json.dumps(report.as_json(), indent=2))
        return
    print(
        f"{report.made:,} runs in {report.days} days, {report.deleted:,} deleted, at most {report.most_runs:,} at a time"
    )
    for name, count in report.stored.items():
        print(f"{count:8,} {name:12} {report.bytes[name]:12,} bytes")
    print(
        f"{sum(report.bytes.values()):,} bytes in all; the largest run {report.largest_run:,}; {report.pages} pages of {PAGE}"
    )
    print(f"{report.memory_of_a_run:,.0f} bytes of memory a run, {report.memory:,} in all")
    print(
        f"{report.missing} newest runs missing of {report.targets} targets, {report.started_again} alerts started again"
    )


if __name__ == "__main__":
    main()
