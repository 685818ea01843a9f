"""
Any order of notifications, admissions, ends and retention, with two replicas whose caches lag.

The world here stores runs as the API server does: a name is taken once, a write is refused where its
test fails. It is not told which rules hold; it only looks whether anything was lost or repeated.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from remediator.domain.alerts import Alert, Identities
from remediator.domain.objects import ObjectRef
from remediator.domain.receipts import Receipt
from remediator.domain.runs import AlertSet, RunOutcome
from remediator.engine import begin
from remediator.engine.alertsets import merged, starts
from remediator.engine.begin import Attach, CoveredBy, Key, KnownRun, Open, PolicyVersion, Supersede, admitted, decide

NOON: Final = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
KEY: Final = Key("shop", "crashlooping", ObjectRef("apps", "Deployment", "shop", "checkout"))
POLICY: Final = PolicyVersion("p", 1)
REPLICAS: Final = 2
TRIES: Final = 20

Runs = dict[int, KnownRun]


def an_alert(fingerprint: str, at: int, firing: bool) -> Alert:
    start = NOON + timedelta(seconds=at)
    return Alert(
        fingerprint=fingerprint,
        status="firing" if firing else "resolved",
        labels={"alertname": "X"},
        annotations={},
        starts_at=start,
        ends_at=None if firing else start + timedelta(seconds=1),
    )


@dataclass
class World:
    runs: Runs = field(default_factory=dict)
    history: list[Runs] = field(default_factory=lambda: [{}])
    seen: list[int] = field(default_factory=lambda: [0] * REPLICAS)
    leader_has_seen: int = 0
    serial: int = 0
    accepted: list[Alert] = field(default_factory=list)
    answered: dict[bytes, int] = field(default_factory=dict)

    # storage

    def store(self, run: KnownRun) -> None:
        self.runs = {**self.runs, run.number: run}
        self.history.append(self.runs)

    def delete(self, number: int) -> None:
        self.runs = {n: run for n, run in self.runs.items() if n != number}
        self.history.append(self.runs)

    # intake

    def notify(self, replica: int, lag: int, alerts: list[Alert]) -> None:
        """One webhook; what is not stored in time is not accepted, as with a 503."""
        self.seen[replica] = max(self.seen[replica], len(self.history) - 1 - lag)
        known = dict(self.history[self.seen[replica]])
        for _ in range(TRIES):
            decision = decide(alerts, known.values(), POLICY, NOON)
            if isinstance(decision.write, Open):
                in_the_way = self.runs.get(decision.write.number)
                if in_the_way is not None:
                    known[in_the_way.number] = in_the_way
                    continue
                self.create(decision.write)
            elif isinstance(decision.write, Attach):
                number = decision.write.run.number
                live = self.runs.get(number)
                if live is None:
                    del known[number]
                    continue
                if live.uid != decision.write.run.uid or not live.is_open or live.alerts != decision.write.run.alerts:
                    known[number] = live
                    continue
                self.store(with_alerts(live, decision.write.alerts))
            self.accepted += [
                alert
                for alert, receipt in decision.receipts
                if receipt is not Receipt.RESOLVED and not (receipt is Receipt.RECORDED and self.was_released(alert))
            ]
            return

    def was_released(self, alert: Alert) -> bool:
        """
        A cache that lags may say "recorded" just after the run has released the alert.

        That is the same as a notification just before the release: the next one opens an episode.
        """
        holding = [run for run in self.runs.values() if run.outcome is None or run.outcome.covers]
        return not any(run.recorded.covers(alert) or run.folded.covers(alert) for run in holding)

    def create(self, write: Open) -> None:
        self.serial += 1
        run = KnownRun("shop", f"run-{write.number}", f"uid-{self.serial}", KEY, write.number, NOON, POLICY)
        self.store(with_alerts(run, write.alerts))

    # the leader

    def admit(self, lag: int) -> None:
        """The leader looks at the first run that it has not taken on; its own writes it knows, and forgets nothing."""
        self.leader_has_seen = max(self.leader_has_seen, len(self.history) - 1 - lag)
        for number in sorted(self.runs):
            run = self.as_the_leader_sees(number)
            if run is None or run.admitted or not run.is_open:
                continue
            others = [seen for n in self.runs if (seen := self.as_the_leader_sees(n)) is not None]
            self.carry_out(run, admitted(run, others))
            return

    def as_the_leader_sees(self, number: int) -> KnownRun | None:
        """
        A cache of some age: complete up to its moment, and then nothing but the leader's own writes.

        A later look sees no less: a watch goes forward only, and who begins to lead lists all runs first.
        """
        live = self.runs[number]
        old = self.history[self.leader_has_seen].get(number)
        if old is None or old.uid != live.uid:
            return None
        return replace(old, outcome=live.outcome, admitted=live.admitted, folded=live.folded)

    def carry_out(self, run: KnownRun, said: object) -> None:
        live = self.runs[run.number]
        if live.alerts != run.alerts:
            return  # RVEND: refused, the leader looks again
        if isinstance(said, Supersede):
            older = self.runs.get(said.older.number)
            if older is None or older.alerts != said.older.alerts:
                return
            assert older.alerts is not None and live.alerts is not None
            self.store(with_alerts(older, merged(older.alerts, live.alerts)[0]))
            self.store(replace(live, outcome=RunOutcome.SUPERSEDED))
        elif isinstance(said, CoveredBy):
            self.store(replace(live, outcome=RunOutcome.COVERED))
        else:
            news = [i for i in live.recorded if self.answered.get(i.digest, -1) < i.starts_at]
            assert news, "P3: a run was taken on that brings nothing"
            self.store(replace(live, admitted=True))

    def end(self, outcome: RunOutcome) -> None:
        for live in self.runs.values():
            if live.admitted and live.is_open:
                self.store(replace(live, outcome=outcome))
                if outcome.covers:
                    for digest, start in starts(live.recorded).items():
                        self.answered[digest] = max(start, self.answered.get(digest, -1))
                else:
                    self.accepted = [alert for alert in self.accepted if not live.recorded.covers(alert)]
                return

    def retain(self) -> None:
        """KEEPNEW, FOLD: the oldest that has ended goes, but never the newest."""
        ended = [run for run in self.runs.values() if run.outcome is not None]
        oldest = min(ended, key=lambda run: run.number, default=None)
        newest = max(self.runs, default=None)
        if oldest is None or newest is None or oldest.number == newest:
            return
        covers = oldest.recorded if oldest.has_answered(POLICY) else Identities()
        self.store(replace(self.runs[newest], folded=self.runs[newest].folded.merge(covers, oldest.folded)))
        self.delete(oldest.number)

    # what must hold

    def look(self) -> None:
        taken_on = [run for run in self.runs.values() if run.is_open and run.admitted]
        assert len(taken_on) <= 1, "P2: two runs of one key are carried out"
        given_up = (RunOutcome.SUPERSEDED, RunOutcome.COVERED)
        holding = [run.recorded for run in self.runs.values() if run.outcome not in given_up]
        everything = Identities().merge(*holding, *(run.folded for run in self.runs.values()))
        for alert in self.accepted:
            assert everything.covers(alert), f"P1: {alert.fingerprint} was accepted and is on no run"


def with_alerts(run: KnownRun, alerts: AlertSet) -> KnownRun:
    return replace(run, alerts=alerts, recorded=Identities.decode(alerts.identities))


ALERTS: Final = st.lists(
    st.builds(an_alert, st.sampled_from("abc"), st.integers(0, 3), st.booleans()), min_size=1, max_size=3
)
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("notify"), st.integers(0, REPLICAS - 1), st.integers(0, 4), ALERTS),
        st.tuples(st.just("admit"), st.integers(0, 2)),
        st.tuples(st.just("end"), st.sampled_from([RunOutcome.REMEDIATED, RunOutcome.FAILED, RunOutcome.TARGET_GONE])),
        st.tuples(st.just("retain")),
    ),
    min_size=5,
    max_size=30,
)


def lived_through(steps: list[tuple]) -> World:  # type: ignore[type-arg] - steps differ in shape
    world = World()
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
        world.look()
    return world


REOPENED: Final[list[Any]] = [
    ("notify", 0, 0, [an_alert("b", 0, True)]),
    ("admit", 0),
    ("end", RunOutcome.REMEDIATED),
    ("notify", 0, 1, [an_alert("a", 0, True)]),
    ("retain",),
    ("notify", 0, 4, [an_alert("a", 0, True)]),
    ("admit", 0),
    ("admit", 2),
]
"""A replica that has never seen the second run opens the first anew, whose name is free by then."""


@settings(max_examples=400, deadline=None)
@example(REOPENED)
@given(STEPS)
def test_nothing_accepted_is_lost_and_nothing_answered_starts_again(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    lived_through(steps)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_sending_everything_again_after_all_has_come_to_rest_starts_nothing(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    world = lived_through(steps)
    for _ in range(2 * len(world.runs) + 2):
        world.admit(0)
        world.end(RunOutcome.REMEDIATED)
        world.look()
    before = dict(world.runs)

    world.notify(0, 0, [alert for alert in world.accepted if alert.is_firing] or [an_alert("a", 0, firing=False)])

    assert world.runs == before


def violates(steps: list[tuple]) -> bool:  # type: ignore[type-arg]
    try:
        lived_through(steps)
    except AssertionError:
        return True
    return False


def without_admit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(World, "carry_out", lambda self, run, said: CARRY_OUT(self, run, begin.Admit()))


def without_ident(patch: pytest.MonkeyPatch) -> None:
    """Coverage by name alone: whatever comes after an end was meant by it."""
    patch.setattr(begin, "_answers", lambda run, alert, policy: run.has_answered(policy))


def without_fold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(begin, "_answers", lambda run, alert, policy: run.has_answered(policy) and run.recorded.covers(alert))
    patch.setattr(begin, "_answered", lambda run, policy: run.recorded if run.has_answered(policy) else Identities())


def without_seniority(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(begin, "_seniority", lambda run: (run.created_at, run.number))
    patch.setattr(KnownRun, "seniority", property(lambda run: (run.created_at, run.number)))


CARRY_OUT: Final = World.carry_out

A: Final = [an_alert("a", 0, True)]
B: Final = [an_alert("b", 0, True)]
NEVER_LOOKED: Final = 1_000

STRAGGLER: Final = [("notify", 0, 0, A), ("admit", 0), ("end", RunOutcome.REMEDIATED), ("notify", 0, 0, B)]
SENT_AGAIN_AFTER_RETENTION: Final = [
    *STRAGGLER,
    ("admit", 0),
    ("end", RunOutcome.REMEDIATED),
    ("retain",),
    ("notify", 0, 0, A),
    ("admit", 0),
]
FREED_NAME: Final = [
    ("notify", 0, 0, A),
    ("admit", 0),
    ("end", RunOutcome.TARGET_GONE),
    ("notify", 0, 0, A),
    ("retain",),
    ("admit", 0),
    ("notify", 1, NEVER_LOOKED, B),
    ("admit", 0),
]


@pytest.mark.parametrize(
    ("mutant", "steps"),
    [
        (without_ident, STRAGGLER),
        (without_fold, SENT_AGAIN_AFTER_RETENTION),
        (without_admit, FREED_NAME),
        (without_seniority, FREED_NAME),
    ],
)
def test_without_any_one_of_the_rules_something_is_lost_or_done_twice(
    mutant: Callable[[pytest.MonkeyPatch], None],
    steps: list[tuple],  # type: ignore[type-arg]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not violates(steps)

    mutant(monkeypatch)

    assert violates(steps)
