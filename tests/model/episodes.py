"""
Replicas that take alerts in, a leader that takes runs on and ends them, and a sweep that deletes old ones.

Each follows the runs with a watch of its own, which may lag behind by as much as it likes. Run are the
shells themselves: `handlers.keeping.Keeper`, `handlers.admission.Admission` behind `handlers.runs.Reconciler`,
and `handlers.retention.Retention`.
"""

import json
from collections.abc import Coroutine, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry

from known import Given
from model.histories import Session, Surroundings
from model.leading import Leader
from model.search import Actor, Configuration, Happening, Search, State, Step
from model.server import OPERATOR_NAMESPACE, Slots, at_once, canonical
from remediator.domain.alerts import Alert, Identities
from remediator.domain.errors import Unavailable
from remediator.domain.json import Object, dig_list, dig_object, dig_text
from remediator.domain.names import run_name
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.policies import History, Mode
from remediator.domain.runs import RunbookRef, RunOutcome, RunTarget
from remediator.engine.alertsets import opening, starts
from remediator.engine.begin import Key, Open, PolicyVersion
from remediator.engine.choose import Listener
from remediator.handlers.admission import Admission
from remediator.handlers.deleting import Deleter
from remediator.handlers.histories import Rule
from remediator.handlers.keeping import Batch, Keeper, run_object
from remediator.handlers.metrics import RetentionMetrics
from remediator.handlers.replies import Replies
from remediator.handlers.retention import Retention
from remediator.handlers.run_index import RunIndex
from remediator.handlers.stored import StoredRuns
from remediator.handlers.switch import Switch
from remediator.testing.fakes import FakeEvents, FakeLocks
from worlds import CHECKOUT, NOON, UID, deployment, fence, policy, runbook

BOOK: Final = runbook(
    """
targets: [Deployment]
remedies:
- name: patience
  steps:
  - name: stand
    wait: {for: 5m}
  verify:
  - check: {that: "alerts.size() > 0", within: 1m}
"""
)
POLICY: Final = policy(BOOK, limits={"cooldown": "0s"})
KEY: Final = Key("shop", "queue", CHECKOUT)
LISTENER: Final = Listener(
    "shop", "queue", PolicyVersion("policy-uid", 1), RunbookRef(name="queue", namespace="shop"), (), POLICY,
    Mode.AUTOMATIC, "fixer",
)  # fmt: skip
NUMBERS: Final = 4
NAMES: Final = tuple(run_name("shop", "queue", CHECKOUT, number) for number in range(1, NUMBERS + 1))


def _alert(fingerprint: str, minutes_ago: int, *, over: bool = False) -> Alert:
    start = NOON - timedelta(minutes=minutes_ago)
    return Alert(
        fingerprint=fingerprint * 16,
        status="resolved" if over else "firing",
        labels={"alertname": "QueueFull", "namespace": "shop", "deployment": "checkout"},
        annotations={},
        starts_at=start,
        ends_at=start + timedelta(minutes=1) if over else None,
        generator_url="",
    )


ALERTS: Final = {
    "a0": _alert("a", 5),
    "a1": _alert("a", 3),
    "b": _alert("b", 4),
    "a0 over": _alert("a", 5, over=True),
    "b over": _alert("b", 4, over=True),
}
"""a0 and a1 are one fingerprint with two starts, b is another one."""


# processes


class RecordingIndex(RunIndex):
    """An index that says what it was made from, so that it can be made again."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.objects: dict[tuple[str, str], tuple[str, bool]] = {}

    def _keep(self, obj: Object, *, confirmed: bool) -> None:
        super()._keep(obj, confirmed=confirmed)
        place = (dig_text(obj, "metadata", "namespace"), dig_text(obj, "metadata", "name"))
        known = self._runs.get(place)
        if known is not None and known.uid == dig_text(obj, "metadata", "uid"):
            body, before = canonical(obj), self.objects.get(place)
            is_newer = known.resource_version == dig_text(obj, "metadata", "resourceVersion")
            self.objects[place] = (body if is_newer or before is None else before[0], place not in self._unconfirmed)

    def _remove(self, place: tuple[str, str]) -> None:
        super()._remove(place)
        self.objects.pop(place, None)

    def memory(self) -> Hashable:
        kept = tuple(sorted((body, confirmed) for body, confirmed in self.objects.values()))
        return kept, tuple(sorted(self._deleted)), tuple(sorted(self._taken_on))

    def recall(self, memory: Any) -> None:
        kept, deleted, taken_on = memory or ((), (), ())
        self._deleted.update(dict.fromkeys(deleted))
        self._taken_on.update(taken_on)
        for body, confirmed in kept:
            self._keep(json.loads(body), confirmed=confirmed)
        self.synced = True


@dataclass(frozen=True)
class Replica:
    """Takes notifications in; a piece of work is one of them, by the names of its alerts."""

    def build(self, session: Session, memory: Hashable) -> tuple[RunIndex, Keeper]:
        index = RecordingIndex(session.clock)
        index.recall(memory)
        switch = Switch(session.cluster, OPERATOR_NAMESPACE)
        switch.heard("SYNCED", {})
        keeper = Keeper(
            session.cluster,
            index,
            session.clock,
            switch,
            operator_namespace=OPERATOR_NAMESPACE,
            user=f"system:serviceaccount:{OPERATOR_NAMESPACE}:remediator",
            merged_seconds=0.0,
        )
        return index, keeper

    def work(self, session: Session, work: tuple[str, ...]) -> Coroutine[Any, Any, Any]:
        return session.parts[1].keep(batch(work))

    def hear(self, session: Session, what: str, obj: Object) -> None:
        at_once(session.parts[0].changed(what, obj))

    def memory(self, session: Session) -> Hashable:
        return session.parts[0].memory()


def batch(names: Sequence[str]) -> Batch:
    return Batch(LISTENER, RunTarget.of(CHECKOUT), tuple(ALERTS[name] for name in names))


@dataclass(frozen=True)
class AdmittingLeader(Leader):
    """Takes runs on, by ADMIT, and ends them."""

    def build(self, session: Session, memory: Hashable) -> Any:
        index = RecordingIndex(session.clock)
        index.recall(memory)
        switch = Switch(session.cluster, OPERATOR_NAMESPACE)
        switch.heard("SYNCED", {})
        return index, self.reconciler(self.outside(session, switch), Admission(session.cluster, index))

    def work(self, session: Session, work: tuple[str, str]) -> Coroutine[Any, Any, Any]:
        return session.parts[1].reconcile(work)

    def hear(self, session: Session, what: str, obj: Object) -> None:
        at_once(session.parts[0].changed(what, obj))

    def memory(self, session: Session) -> Hashable:
        return session.parts[0].memory()


class _KeepNothing:
    """`handlers.histories.Histories`: a policy that keeps no run but what must stay."""

    is_known = True

    def of(self, group: tuple[str, str]) -> Rule:
        return Rule(History(succeeded=0, failed=0), LISTENER.version)

    def forget_others(self, groups: Sequence[tuple[str, str]]) -> None:
        pass


@dataclass(frozen=True)
class Sweeper:
    """Deletes old runs as soon as it may."""

    def build(self, session: Session, memory: Any) -> tuple[dict[tuple[str, str], str], StoredRuns, Retention]:
        stored, bodies = StoredRuns(), {}
        for body in memory or ():
            obj = json.loads(body)
            bodies[dig_text(obj, "metadata", "namespace"), dig_text(obj, "metadata", "name")] = body
            stored.changed("ADDED", obj)
        stored.changed("SYNCED", {})
        switch = Switch(session.cluster, OPERATOR_NAMESPACE)
        switch.heard("SYNCED", {})
        replies = Replies()
        replies.changed("SYNCED", {})
        cluster, clock, histories = session.cluster, session.clock, _KeepNothing()
        deleter = Deleter(cluster, FakeLocks(), replies, clock, RetentionMetrics(CollectorRegistry()))
        retention = Retention(
            stored, histories, deleter, cluster, switch, FakeEvents(), clock,
            operator_namespace=OPERATOR_NAMESPACE, most=0,
        )  # fmt: skip
        return bodies, stored, retention

    def work(self, session: Session, work: str) -> Coroutine[Any, Any, Any]:  # the only work is to sweep
        return session.parts[2].sweep()

    def hear(self, session: Session, what: str, obj: Object) -> None:
        bodies, stored, _ = session.parts
        place = (dig_text(obj, "metadata", "namespace"), dig_text(obj, "metadata", "name"))
        if what == "DELETED":
            bodies.pop(place, None)
        elif what != "SYNCED":
            bodies[place] = canonical(obj)
        stored.changed(what, obj)

    def memory(self, session: Session) -> Hashable:
        return tuple(sorted(session.parts[0].values()))


# what must hold


class RecordView(NamedTuple):
    """What matters of a run here."""

    recorded: tuple[tuple[bytes, int], ...]
    admitted: bool
    outcome: str
    covers: bool


def record_of(obj: Object) -> RecordView:
    raw = dig_object(obj, "status", "alerts") or dig_object(obj, "spec", "episode", "alerts")
    outcome = dig_text(obj, "status", "outcome")
    return RecordView(
        tuple(sorted(starts(Identities.decode(dig_text(raw, "identities"))).items())),
        bool(dig_object(obj, "status", "resolved")),
        outcome,
        bool(outcome) and RunOutcome(outcome).covers,
    )


class Kept(NamedTuple):
    """What has to be remembered of alerts."""

    accepted: tuple[tuple[bytes, int], ...] = ()
    """The firing alerts that were answered with 2xx."""
    recorded: tuple[tuple[bytes, int], ...] = ()
    """The alerts that were ever on any run."""
    admitted: tuple[tuple[bytes, int], ...] = ()
    """Those that were ever on a run which was taken on."""
    answered: tuple[tuple[bytes, int], ...] = ()
    """Those whose run has ended and answers them, for good."""


Identity = tuple[bytes, int]
FOLDED: Final = ("recorded", "admitted", "answered")


@dataclass(frozen=True)
class AlertsAreKept:
    """P1, P2, P3, P5 and that intake comes to rest (P6), or only those of them that are named."""

    only: frozenset[str] = frozenset()

    def initial(self, search: Search) -> Kept:
        kept = Kept()
        for body in search.configuration.stored.values():
            if dig_text(body, "kind") == RUN.kind:
                kept = _kept(kept, record_of(body))
                for one in dig_list(body, "status", "covered"):
                    folded = tuple(starts(Identities.decode(dig_text(one, "identities"))).items())
                    kept = kept._replace(**{name: _merged(getattr(kept, name), folded) for name in FOLDED})
        return kept

    def saw(self, search: Search, step: Step, slots: Slots, around: Surroundings) -> tuple[Hashable, str]:
        kept: Kept = step.before.observed
        broken: list[str] = []
        for ref, before, after in zip(search.server.names, step.before.slots, slots, strict=True):
            if ref.kind == RUN.kind and before != after:
                kept = self._moved(search, kept, before, after, broken)
        if step.ended >= 0 and search.configuration.actors[step.process].name.startswith("replica"):
            kept = self._answered(search, kept, step, broken)
        views = [
            search.look(at, record_of)
            for ref, at in zip(search.server.names, slots, strict=True)
            if ref.kind == RUN.kind
        ]
        if sum(view is not None and view.admitted and not view.outcome for view in views) > 1:
            broken.append("P2 two runs of one policy and target are taken on and open")
        asked = (one for one in broken if not self.only or one.partition(" ")[0] in self.only)
        return kept, next(asked, "")

    def at_rest(self, search: Search, state: State) -> str:
        kept: Kept = state.observed
        if self.only and "P1" not in self.only:
            return ""
        lost = [one for one in kept.accepted if not _within([one], kept.admitted)]
        return f"P1 {len(lost)} accepted alerts are on no run that was taken on" if lost else ""

    def _moved(self, search: Search, kept: Kept, before: int, after: int, broken: list[str]) -> Kept:
        old: RecordView | None = search.look(before, record_of)
        new: RecordView | None = search.look(after, record_of)
        if new is None:
            return kept
        if old is not None:
            if set(dict(old.recorded)) - set(dict(new.recorded)):
                broken.append("P5 a run is written without alerts that were recorded on it meanwhile")
            if old.outcome and not _within(new.recorded, old.recorded):
                broken.append("P5 an alert is put onto a run that has ended: nobody looks at it")
        was_admitted = old is not None and old.admitted
        if new.admitted and not was_admitted and new.recorded and _within(new.recorded, kept.answered):
            broken.append("P3 a run is taken on for alerts that were all answered before")
        return _kept(kept, new)

    def _answered(self, search: Search, kept: Kept, step: Step, broken: list[str]) -> Kept:
        result = search.histories.kept[step.ended].result
        if isinstance(result, Unavailable):
            if search.configuration.lost == 0:
                broken.append(f"P6 intake gives up although nothing fails: {result}")
            return kept
        alerts = [(a.identity.digest, a.identity.starts_at) for a in map(ALERTS.__getitem__, step.work) if a.is_firing]
        if not _within(alerts, kept.recorded):
            broken.append("P1 an alert is accepted that is on no run")
        return kept._replace(accepted=_merged(kept.accepted, alerts))


def _kept(kept: Kept, view: RecordView) -> Kept:
    taken_on = view.admitted and view.outcome not in ("Superseded", "Covered")
    return kept._replace(
        recorded=_merged(kept.recorded, view.recorded),
        admitted=_merged(kept.admitted, view.recorded) if taken_on else kept.admitted,
        answered=_merged(kept.answered, view.recorded) if view.covers and view.outcome else kept.answered,
    )


def _merged(one: Sequence[Identity], other: Sequence[Identity]) -> tuple[Identity, ...]:
    latest = dict(one)
    for digest, start in other:
        latest[digest] = max(start, latest.get(digest, 0))
    return tuple(sorted(latest.items()))


def _within(some: Sequence[Identity], others: Sequence[Identity]) -> bool:
    latest = dict(others)
    return all(latest.get(digest, -1) >= start for digest, start in some)


# what there is


def time_passes(search: Search, state: State) -> Iterator[tuple[Slots, Surroundings]]:
    yield state.slots, replace(state.around, tick=state.around.tick + 1)


def is_open(search: Search, state: State, work: tuple[str, str]) -> bool:
    view = search.look(state.slots[search.server.index[RUN.group, RUN.kind, *work]], record_of)
    return view is not None and not view.outcome


def everything_has_ended(search: Search, state: State) -> bool:
    places = zip(search.server.names, state.slots, strict=True)
    views = [search.look(at, record_of) for ref, at in places if ref.kind == RUN.kind]
    return all(view is None or bool(view.outcome) for view in views)


def a_run(
    number: int, *names: str, outcome: str = "", minutes_ago: int = 10, answers_for: Sequence[str] = ()
) -> Object:
    """A run as it stands in the API server: open, or ended some time ago, and what was folded into it."""
    alerts, _ = opening([ALERTS[name] for name in names], NOON - timedelta(minutes=minutes_ago))
    obj = run_object(
        "shop", Open(number, alerts), batch(names), "system:serviceaccount:remediator-system:remediator", ""
    )
    when = f"{NOON - timedelta(minutes=minutes_ago):%Y-%m-%dT%H:%M:%SZ}"
    dig_object(obj, "metadata").update(uid=f"run-{number}", creationTimestamp=when, generation=1)
    obj.update(apiVersion=RUN.api_version, kind=RUN.kind)
    if outcome:
        resolved = {
            "at": when,
            "runbook": {"namespace": "shop", "name": "queue", "content": "runbook-1"},
            "targetUid": UID,
            "mode": "Automatic",
        }
        obj["status"] = {
            "alerts": alerts.as_json(), "outcome": outcome, "endedAt": when, "startedAt": when, "resolved": resolved,
            "attempts": [{"number": 1}],
        }  # fmt: skip
        if answers_for:
            folded = Identities.of([ALERTS[name] for name in answers_for])
            dig_object(obj, "status")["covered"] = [{"heardAt": when, "identities": folded.encode()}]
    return obj


def episodes(
    *notifications: Sequence[Sequence[str]],
    runs: Sequence[Object] = (),
    ticks: int = 1,
    crashes: int = 0,
    lost: int = 0,
    leader: bool = True,
    sweeps: int = 0,
    numbers: int = NUMBERS,
    behind: int = 0,
) -> Configuration:
    """For each replica the notifications that reach it, in any order and each once; and what there is already.

    So many replicas are `behind`: they have heard of none of it yet.
    """
    names = tuple(ObjectRef(RUN.group, RUN.kind, "shop", name) for name in NAMES[:numbers])
    given = Given(book=BOOK, allowed=fence("setEnv"), policy=POLICY)
    hears = frozenset({RUN.kind})
    actors = [
        Actor(f"replica {i + 1}", Replica(), tuple(tuple(one) for one in each), hears, (1,) * len(each), i < behind)
        for i, each in enumerate(notifications)
    ]
    if leader:
        program = AdmittingLeader(given, BOOK, "runbook-1")
        work = tuple(("shop", name) for name in NAMES[:numbers])
        actors.append(Actor("leader", program, work, hears, works_when=is_open))
    if sweeps:
        actors.append(Actor("sweeper", Sweeper(), ("sweep",), hears, (sweeps,)))
    return Configuration(
        names=names,
        stored={dig_text(obj, "metadata", "name"): obj for obj in runs},
        actors=tuple(actors),
        observer=AlertsAreKept(),
        around=Surroundings(0, ("a0", "b")),
        alerts=ALERTS,
        crashes=crashes,
        lost=lost,
        rules=lambda server: server.cluster.add(deployment()) and None,
        happenings=(Happening("time passes", time_passes, ticks),) if ticks else (),
        rests=everything_has_ended,
    )
