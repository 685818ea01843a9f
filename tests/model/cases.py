"""What is searched: with every rule, and with one rule taken out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from model.changing import (
    ANEW,
    ANNOTATED,
    DROPPED,
    EDITED,
    OVERWRITTEN,
    REPLACED,
    RESOLVED,
    ChangesAreMadeOnce,
    on_stateful_set,
    one_change,
    one_undo,
    two_runs,
    with_switch,
)
from model.episodes import AlertsAreKept, a_run, episodes
from model.mutants import MUTANTS, mutated
from model.pure import computed_once
from model.search import Configuration, Found, Search


@dataclass(frozen=True)
class Case:
    """A configuration, and what must come of it."""

    name: str
    configuration: Callable[[], Configuration]
    without: str = ""
    """The rule that is taken out; empty: none."""
    broken: str = ""
    """The property that must be found broken; empty: all hold."""
    quick: bool = False
    """Whether it takes a second at most, and belongs to the fast tests."""

    def __str__(self) -> str:
        return f"without {self.without}: {self.name}" if self.without else self.name

    def searched(self, **bounds: float) -> Found:
        """What a search of it comes to, within bounds of states, depth and seconds."""
        with self._changed(), computed_once():
            configuration = self.configuration()
            observer: Any = configuration.observer
            if self.broken and isinstance(observer, ChangesAreMadeOnce | AlertsAreKept):
                configuration = replace(configuration, observer=replace(observer, only=frozenset({self.broken})))
            return Search(configuration).run(**bounds)

    def agrees(self, found: Found) -> bool:
        """Whether it has come to what it must; what was cut short may not have found anything yet."""
        return found.property == self.broken

    @contextmanager
    def _changed(self) -> Iterator[None]:
        with mutated(*(MUTANTS[self.without]() if self.without else ())):
            yield


def _answered(*names: str) -> Any:
    """A run that has ended, long ago, and answers these alerts."""
    return a_run(1, *names, outcome="Remediated", minutes_ago=200)


def _just_ended() -> Any:
    """One that has ended after every alert here had begun to fire."""
    return a_run(1, "a0", outcome="Remediated", minutes_ago=1)


def _newest() -> Any:
    """Another one after it."""
    return a_run(2, "b", outcome="Remediated", minutes_ago=100)


def _heir() -> Any:
    """The same after the first was deleted and folded into it."""
    return a_run(2, "b", outcome="Remediated", minutes_ago=100, answers_for=["a0"])


def _swept(*notifications: list[str], **bounds: int) -> Configuration:
    """Two runs that have ended, a sweep that keeps none but the newest, and one notification for each replica."""
    runs = [_answered("a0"), _newest()]
    return episodes(*([one] for one in notifications), runs=runs, sweeps=1, ticks=0, **bounds)


def _behind(ticks: int = 0) -> Configuration:
    """One replica has heard of no run yet; the name that it will take first is free again."""
    return episodes([["a1"]], [["a1"]], runs=[_heir()], ticks=ticks, behind=1)


RULES: Final = (
    Case("one leader that dies", lambda: one_change(leaders=1, crashes=2, locked=False), quick=True),
    Case("one leader, a lost call", lambda: one_change(leaders=1, crashes=1, lost=1), quick=True),
    Case("one leader, the alert resolves", lambda: one_change(RESOLVED, leaders=1, crashes=1), quick=True),
    Case("one leader, the alert resolves, a lost call", lambda: one_change(RESOLVED, leaders=1, crashes=1, lost=1)),
    Case("one leader, GitOps", lambda: one_change(REPLACED, leaders=1, crashes=1), quick=True),
    Case("one leader, created anew", lambda: one_change(ANEW, leaders=1, crashes=1), quick=True),
    Case("one leader undoes", lambda: one_undo(EDITED, leaders=1, crashes=1), quick=True),
    Case("one leader undoes, GitOps", lambda: one_undo(REPLACED, EDITED, leaders=1, crashes=1)),
    Case("two leaders", lambda: one_change(locked=False)),
    Case("two leaders, one dies", lambda: one_change(crashes=1)),
    Case("two leaders, the alert resolves", lambda: one_change(RESOLVED)),
    Case("two leaders, the alert resolves, one dies", lambda: one_change(RESOLVED, crashes=1)),
    Case("two leaders, the alert resolves, a lost call", lambda: one_change(RESOLVED, lost=1)),
    Case("two leaders, somebody edits", lambda: one_change(EDITED, ANNOTATED)),
    Case("two leaders, created anew", lambda: one_change(ANEW, RESOLVED)),
    Case("two leaders, a lost call", lambda: one_change(lost=2)),
    Case("three leaders", lambda: one_change(leaders=3)),
    Case("two leaders undo", lambda: one_undo(EDITED)),
    Case("two leaders undo, one dies", lambda: one_undo(EDITED, crashes=1)),
    Case("two leaders undo, a lost call", lambda: one_undo(lost=1)),
    Case("two runs", lambda: two_runs(), quick=True),
    Case("two runs, one process dies", lambda: two_runs(crashes=1)),
    Case("two runs, a lost call", lambda: two_runs(lost=1)),
    Case("two runs, the alert resolves", lambda: two_runs(RESOLVED)),
    Case("two runs of two processes each", lambda: two_runs(each=False)),
    Case("the switch is pulled", lambda: with_switch(one_change(leaders=1, crashes=1)), quick=True),
    Case("the switch is pulled, two leaders", lambda: with_switch(one_change())),
    Case("the switch is pulled while undoing", lambda: with_switch(one_undo(leaders=1, crashes=1))),
    Case("a StatefulSet, a later void", lambda: on_stateful_set(one_change(RESOLVED, OVERWRITTEN))),
    Case("a StatefulSet, GitOps", lambda: on_stateful_set(one_change(RESOLVED, DROPPED))),
    Case("a takeover", lambda: one_change(epochs=True), quick=True),
    Case("a takeover, GitOps", lambda: one_change(REPLACED, epochs=True)),
    Case("a takeover, GitOps, the alert resolves", lambda: one_change(REPLACED, RESOLVED, epochs=True)),
    Case("a takeover, GitOps, one dies", lambda: one_change(REPLACED, epochs=True, crashes=1)),
    Case("a takeover, a lost call", lambda: one_change(RESOLVED, epochs=True, lost=1)),
    Case("a takeover, created anew", lambda: one_change(ANEW, EDITED, epochs=True)),
    Case("a takeover while undoing, GitOps", lambda: one_undo(REPLACED, EDITED, epochs=True)),
    Case("two takeovers", lambda: one_change(leaders=3, epochs=True)),
    Case("one alert", lambda: episodes([["a0"]]), quick=True),
    Case("a straggler after the end", lambda: episodes([["b"]], runs=[_just_ended()], ticks=0), quick=True),
    Case("two replicas, one alert", lambda: episodes([["a0"]], [["a0"]], ticks=0), quick=True),
    Case("two replicas, a0 b, no time", lambda: episodes([["a0"]], [["b"]], ticks=0)),
    Case("one replica and an end", lambda: episodes([["b"]], runs=[a_run(1, "a0")])),
    Case("one replica, a0 again and b", lambda: episodes([["a0", "b"], ["a0"]])),
    Case("two replicas, a0 a1", lambda: episodes([["a0"]], [["a1"]])),
    Case("two replicas, a0 b", lambda: episodes([["a0"]], [["b"]])),
    Case("two replicas, a0 b, one dies", lambda: episodes([["a0"]], [["b"]], crashes=1)),
    Case("two replicas, a0 b, a lost call", lambda: episodes([["a0"]], [["b"]], lost=1, ticks=0)),
    Case("a0 resolves", lambda: episodes([["a0"], ["a0 over"]], [["a0"]], ticks=0)),
    Case("the whole group again, after a sweep", lambda: _swept(["a0", "b"]), quick=True),
    Case("a new alert during a sweep", lambda: _swept(["a1"])),
    Case("two replicas during a sweep", lambda: _swept(["a1"], ["a0", "b"])),
    Case("a sweep that dies", lambda: _swept(["a0"], crashes=1), quick=True),
    Case("a sweep with a lost call", lambda: _swept(["a0"], lost=1)),
    Case("a replica that is behind", lambda: _behind(), quick=True),
    Case("a replica that is behind, and an end", lambda: _behind(ticks=1)),
)

MUTATIONS: Final = (
    Case("one leader, GitOps", lambda: one_change(REPLACED, leaders=1, crashes=1), "INTENT", "E1", quick=True),
    Case("two leaders, the alert resolves", lambda: one_change(RESOLVED), "RVRUN", "E2", quick=True),
    Case("two leaders, the alert resolves", lambda: one_change(RESOLVED), "run before target", "E2a", quick=True),
    Case("two leaders, somebody edits", lambda: one_change(EDITED), "RVTGT", "E1", quick=True),
    Case("one leader, created anew", lambda: one_change(ANEW, leaders=1), "UIDTGT and RVTGT", "E8", quick=True),
    Case("one leader undoes", lambda: one_undo(EDITED, leaders=1), "UNDORV", "E3", quick=True),
    Case("two leaders, the alert resolves", lambda: one_change(RESOLVED), "VOID", "E2", quick=True),
    Case("one leader, GitOps", lambda: one_change(REPLACED, leaders=1, crashes=1), "GEN", "E1", quick=True),
    Case("one leader, GitOps", lambda: one_change(REPLACED, leaders=1, crashes=1), "STAMP and GEN", "E1", quick=True),
    Case(
        "one leader, the alert resolves", lambda: one_change(RESOLVED, leaders=1, crashes=1), "LOOK", "E4", quick=True
    ),
    Case(
        "a StatefulSet, a later void",
        lambda: on_stateful_set(one_change(RESOLVED, OVERWRITTEN)),
        "VOID where the generation is silent",
        "E2",
    ),
    Case(
        "a StatefulSet, GitOps",
        lambda: on_stateful_set(one_change(RESOLVED, DROPPED)),
        "VOID where the generation is silent",
        "E2",
        quick=True,
    ),
    Case("two runs", lambda: two_runs(), "LOCK", "L1", quick=True),
    Case("the switch is pulled", lambda: with_switch(one_change(leaders=1)), "SWITCH", "SWITCH", quick=True),
    Case("a takeover", lambda: one_change(epochs=True), "EPOCH", "EPOCH", quick=True),
    Case("a takeover, GitOps", lambda: one_change(REPLACED, epochs=True), "EPOCH of a record", "E1"),
    Case("a takeover, GitOps", lambda: one_change(REPLACED, epochs=True), "EPOCH of a taking back", "E1"),
    Case("a straggler", lambda: episodes([["b"]], runs=[_just_ended()], ticks=0), "IDENT", "P1", quick=True),
    Case("two replicas, a0 b", lambda: episodes([["a0"]], [["b"]], ticks=0), "RE409", "P1", quick=True),
    Case("one replica and an end", lambda: episodes([["b"]], runs=[a_run(1, "a0")]), "RVATTACH", "P5", quick=True),
    Case("one replica and an end", lambda: episodes([["b"]], runs=[a_run(1, "a0")]), "RVEND", "P5", quick=True),
    Case("a replica that is behind", lambda: _behind(), "ADMIT", "P2", quick=True),
    Case("a replica that is behind", lambda: _behind(ticks=1), "ADMIT", "P3"),
    Case(
        "a straggler",
        lambda: episodes([["b"]], runs=[_just_ended()], ticks=0),
        "episode in the name",
        "P6",
        quick=True,
    ),
    Case("the whole group again, after a sweep", lambda: _swept(["a0", "b"]), "FOLD", "P3", quick=True),
    Case("the whole group again, after a sweep", lambda: _swept(["a0", "b"]), "KEEPNEW and FOLD", "P3", quick=True),
)
