"""
A seed's schedule: which shops there are, what is sent when, and which faults happen when.

It follows from the seed alone. What the machine makes of it differs from run to run, as its speed does;
what is sent and what is broken does not.
"""

import enum
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chaos.shops import OF_A_SHOP, Shop

NAMESPACES: Final = 3
SHOPS: Final = 7
LOAD_SECONDS: Final = 1.3
"""Until when alerts begin; they are resolved, repeated and answered for longer."""

ALERTMANAGERS: Final = 2


class Fault(enum.StrEnum):
    """What is broken."""

    KILL = "operator killed"
    KILL_TWICE = "operator killed twice in a row"
    RESTART = "operator restarted"
    FREEZE = "operator frozen"
    LEADER_KILLED = "leader killed"
    LEADER_FROZEN = "leader frozen for longer than its Lease"
    LEADER_CUT_OFF = "leader cut off from the API server"
    APISERVER_TERM = "API server restarted"
    APISERVER_KILL = "API server killed"
    TOO_MANY = "API server says 429"
    BROKEN = "API server says 500"
    AWAY = "API server says 503"
    SLOW = "API server slow"
    CUT = "connections reset before the call"
    LOST = "replies lost"
    WATCHES_CUT = "watches cut"
    WATCHES_EXPIRED = "watches expired"
    ETCD_KILLED = "etcd killed"
    ETCD_FROZEN = "etcd without a quorum"
    ETCD_FULL = "etcd's disk full"
    ALERTMANAGERS_DOWN = "Alertmanagers down"
    ALERTMANAGERS_SLOW = "Alertmanagers slow"
    ALERTMANAGER_EMPTY = "an Alertmanager empty"
    ALERTS_UNREADABLE = "an Alertmanager says NaN"
    ALERTS_ANCIENT = "alerts with an ancient start"
    SOURCES_DOWN = "Alertmanagers and Prometheus down"
    PROMETHEUS_SLOW = "Alertmanagers down, Prometheus slow"
    CLOCK_FORWARD = "clock an hour ahead"
    CLOCK_BACK = "clock an hour behind"
    TOKEN_ROTATED = "token rotated"
    CRDS_DESCRIBED = "CRDs applied with other descriptions"
    CRDS_GROWN = "CRDs applied with another field"
    RUNBOOK_EDITED = "Runbook edited"
    RUNBOOK_DELETED = "Runbook deleted"
    POLICY_DELETED = "policy deleted"
    NAMESPACE_DELETED = "namespace deleted"
    TARGET_EDITED = "target edited by somebody"
    TARGET_RECREATED = "target made anew"


PROCESS: Final = (
    Fault.KILL,
    Fault.KILL_TWICE,
    Fault.RESTART,
    Fault.FREEZE,
    Fault.LEADER_KILLED,
    Fault.LEADER_FROZEN,
    Fault.LEADER_CUT_OFF,
    Fault.CLOCK_FORWARD,
    Fault.CLOCK_BACK,
)
SERVER: Final = (Fault.APISERVER_TERM, Fault.APISERVER_KILL, Fault.ETCD_KILLED, Fault.ETCD_FROZEN, Fault.ETCD_FULL)
NETWORK: Final = (
    Fault.TOO_MANY,
    Fault.BROKEN,
    Fault.AWAY,
    Fault.SLOW,
    Fault.CUT,
    Fault.LOST,
    Fault.WATCHES_CUT,
    Fault.WATCHES_EXPIRED,
)
SOURCES: Final = (
    Fault.ALERTMANAGERS_DOWN,
    Fault.ALERTMANAGERS_SLOW,
    Fault.ALERTMANAGER_EMPTY,
    Fault.ALERTS_UNREADABLE,
    Fault.ALERTS_ANCIENT,
    Fault.SOURCES_DOWN,
    Fault.PROMETHEUS_SLOW,
)
OBJECTS: Final = (
    Fault.TOKEN_ROTATED,
    Fault.CRDS_DESCRIBED,
    Fault.CRDS_GROWN,
    Fault.RUNBOOK_EDITED,
    Fault.RUNBOOK_DELETED,
    Fault.POLICY_DELETED,
    Fault.NAMESPACE_DELETED,
    Fault.TARGET_EDITED,
    Fault.TARGET_RECREATED,
)
LAYERS: Final = (PROCESS, NETWORK, SERVER, SOURCES, OBJECTS)
"""Of each at most one happens in a seed: two of one layer would only hide one another."""


@dataclass(frozen=True)
class Sending:
    """One notification of one Alertmanager; the time is seconds since the seed's begin."""

    at: float
    alertmanager: int
    alerts: tuple[tuple[Shop, int, bool], ...]
    """Of which shop, its how many-th alert, and whether it is said to fire."""


@dataclass(frozen=True)
class Breaking:
    """One fault, from when on and for how long; `share` is how many of the calls it hits."""

    at: float
    seconds: float
    fault: Fault
    share: float = 1.0
    victim: int = 0
    """Which of the replicas, namespaces or shops, counted round."""

    def __str__(self) -> str:
        return f"{self.at:.1f}s {self.fault} for {self.seconds:.1f}s"


@dataclass(frozen=True)
class Schedule:
    """Everything that is going to happen, in the order of its times."""

    seed: int
    shops: tuple[Shop, ...]
    sendings: tuple[Sending, ...]
    breakings: tuple[Breaking, ...]

    @property
    def ends(self) -> float:
        """When nothing more is sent or broken by itself."""
        times = [s.at for s in self.sendings] + [b.at + b.seconds for b in self.breakings]
        return max(times, default=0.0)


def schedule(seed: int, namespaces: Sequence[str], *, only: Sequence[Fault] = ()) -> Schedule:
    """
    The schedule of this seed in these namespaces.

    `only` names the faults that happen instead of those that the seed would choose.
    """
    chance = random.Random(seed)
    shops = tuple(_shop(chance, seed, i, namespaces) for i in range(SHOPS))
    sendings = [sending for shop in shops for sending in _sendings(chance, shop)]
    sendings += _groups(chance, shops)
    breakings = _breakings(chance, only or _chosen(chance))
    return Schedule(
        seed,
        shops,
        tuple(sorted(sendings, key=lambda one: (one.at, one.alertmanager))),
        tuple(sorted(breakings, key=lambda one: one.at)),
    )


def _shop(chance: random.Random, seed: int, number: int, namespaces: Sequence[str]) -> Shop:
    story = chance.choices(OF_A_SHOP, weights=(5, 2, 2, 3))[0]
    begins = chance.uniform(0.0, LOAD_SECONDS)
    match chance.randrange(5):
        case 0:  # it is over by itself before long, often before it can be acted on
            fires: tuple[tuple[float, float], ...] = ((begins, begins + chance.uniform(0.1, 1.5)),)
        case 1:  # it comes and goes
            pause = chance.uniform(0.2, 0.7)
            fires = tuple((begins + i * 2 * pause, begins + (2 * i + 1) * pause) for i in range(2))
            fires += ((begins + 4 * pause, 1e9),)
        case _:
            fires = ((begins, 1e9),)
    return Shop(
        f"s{seed}", namespaces[number % len(namespaces)], f"s{seed}-{number}", story, fires, chance.random() < 0.3
    )


def _sendings(chance: random.Random, shop: Shop) -> list[Sending]:
    """Both Alertmanagers tell of every begin and every end, each in its own time, and some of it again or late."""
    found = []
    for number, (begins, ends) in enumerate(shop.fires):
        for alertmanager in range(ALERTMANAGERS):
            lag = chance.choice((0.0, 0.05, 0.2, 0.5))
            found.append(Sending(begins + lag, alertmanager, ((shop, number, True),)))
            if ends < 1e6:
                found.append(Sending(ends + lag, alertmanager, ((shop, number, False),)))
            if chance.random() < 0.4:  # said again; where it is over by then, it comes too late
                found.append(Sending(begins + lag + chance.uniform(0.2, 1.0), alertmanager, ((shop, number, True),)))
    return found


def _groups(chance: random.Random, shops: Sequence[Shop]) -> list[Sending]:
    """Whole groups are sent again, as they are whenever one alert of them changes."""
    found = []
    for _ in range(2):
        at = chance.uniform(0.5, LOAD_SECONDS + 1)
        known = tuple((shop, 0, True) for shop in shops if shop.fires[0][0] <= at <= shop.fires[0][1])
        if known:
            found.append(Sending(at, chance.randrange(ALERTMANAGERS), known))
    return found


def _chosen(chance: random.Random) -> list[Fault]:
    layers = chance.sample(LAYERS, k=chance.choice((1, 2, 2, 3)))
    return [chance.choice(layer) for layer in layers]


def _breakings(chance: random.Random, faults: Sequence[Fault]) -> list[Breaking]:
    """Faults come while something is in flight: after the first alerts, before the last run has ended."""
    return [
        Breaking(
            at=chance.uniform(0.3, 1.6),
            seconds=chance.uniform(*_SECONDS.get(fault, (0.5, 1.5))),
            fault=fault,
            share=chance.choice((0.2, 0.5, 1.0)),
            victim=chance.randrange(60),
        )
        for fault in faults
    ]


_SECONDS: Final = {
    Fault.KILL_TWICE: (0.1, 0.9),
    Fault.FREEZE: (0.5, 2.5),
    Fault.LEADER_FROZEN: (12.0, 14.0),
    Fault.LEADER_CUT_OFF: (1.0, 12.0),
    Fault.ETCD_FROZEN: (0.5, 2.5),
    Fault.CLOCK_FORWARD: (1.0, 3.0),
    Fault.CLOCK_BACK: (1.0, 3.0),
}
"""Where it is not half a second to one and a half."""

FIXED: Final[dict[int, tuple[Fault, ...]]] = {
    1: (Fault.KILL, Fault.LOST),
    2: (Fault.KILL_TWICE, Fault.RUNBOOK_EDITED),
    3: (Fault.RESTART, Fault.ALERTS_ANCIENT),
    4: (Fault.FREEZE, Fault.TARGET_EDITED),
    5: (Fault.APISERVER_TERM, Fault.LEADER_KILLED),
    6: (Fault.APISERVER_KILL, Fault.ALERTMANAGERS_SLOW),
    7: (Fault.TOO_MANY, Fault.CRDS_DESCRIBED),
    8: (Fault.BROKEN, Fault.ALERTMANAGER_EMPTY),
    9: (Fault.AWAY, Fault.TARGET_RECREATED),
    10: (Fault.SLOW, Fault.CLOCK_FORWARD),
    11: (Fault.CUT, Fault.CRDS_GROWN),
    12: (Fault.WATCHES_CUT, Fault.RUNBOOK_DELETED),
    13: (Fault.WATCHES_EXPIRED, Fault.POLICY_DELETED),
    14: (Fault.ETCD_FROZEN, Fault.ALERTMANAGERS_DOWN),
    15: (Fault.ETCD_FULL, Fault.LOST),
    16: (Fault.NAMESPACE_DELETED, Fault.LEADER_CUT_OFF),
    17: (Fault.CLOCK_BACK, Fault.PROMETHEUS_SLOW),
    18: (Fault.TOKEN_ROTATED, Fault.ALERTS_UNREADABLE),
    19: (Fault.SOURCES_DOWN, Fault.ETCD_KILLED),
    20: (Fault.LEADER_FROZEN, Fault.ETCD_FROZEN),
}
"""Seeds with faults of our choice, in which every fault happens."""
