"""
The cases: what load each puts on the operator, and what it should bear.

A target is a ratio or a count, so that it means the same on every machine. Whether it is met is reported;
nothing fails by it here.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import crowded
from benchmarks.ground import Ground
from benchmarks.measuring import median
from benchmarks.rounds import Load, Template, floor_round, operator_round

Found = dict[str, Any]

BELOW, ABOVE = "at most", "at least"
COMPARES: Mapping[str, Callable[[float, float], bool]] = {BELOW: operator.le, ABOVE: operator.ge}


@dataclass(frozen=True)
class Target:
    """What a number of the result should be; `of` is its way through the result, with points."""

    label: str
    of: str
    how: str
    limit: float

    def judged(self, result: Found) -> Found:
        value = number(result, self.of)
        return {
            "target": self.label,
            "wanted": f"{self.how} {self.limit:g}",
            "found": value,
            "met": COMPARES[self.how](value, self.limit),
        }


@dataclass(frozen=True)
class Case:
    """One thing that is measured, as often as it takes for a median."""

    name: str
    about: str
    repeats: int
    measure: Callable[[Ground, Template, str], Found]
    """One round; its answer has numbers at any depth. The text keeps names of different rounds apart."""
    targets: Sequence[Target] = ()

    def run(self, ground: Ground, template: Template, repeats: int) -> Found:
        """All rounds, and the median of each of their numbers."""
        rounds = []
        for number_of_round in range(repeats or self.repeats):
            ground.say(f"{self.name}: round {number_of_round + 1} of {repeats or self.repeats}")
            rounds.append(self.measure(ground, template, f"{self.name}-{number_of_round}"))
        result = {"case": self.name, "about": self.about, **medians(rounds), "rounds": rounds}
        result["targets"] = [target.judged(result) for target in self.targets]
        return result


def compared(load: Load) -> Callable[[Ground, Template, str], Found]:
    """The floor and the operator, one after the other."""

    def measure(ground: Ground, template: Template, mark: str) -> Found:
        floor = floor_round(ground, load, template, f"{mark}f").as_json()
        found = operator_round(ground, load, f"{mark}o").as_json()
        ratio = {name: found[name] / floor[name] for name in ("medianSeconds", "p99Seconds", "perSecond")}
        return {"floor": floor, "operator": found, "ratio": ratio}

    return measure


def at_a_tenth(ground: Ground, template: Template, mark: str) -> Found:
    """A minute at a tenth of the rate that the floor makes here at most: 20 a second where that is 200."""
    most = floor_round(ground, Load(200), template, f"{mark}r").per_second
    load = Load(count=max(int(60 * most / 10), 20), per_second=most / 10)
    return {"mostOfTheFloor": most, "alertsASecond": load.per_second, **compared(load)(ground, template, mark)}


CALLS = (
    Target("writes from webhook to change", "operator.callsToChange.writes", BELOW, 4.0),
    Target("writes to the end", "operator.callsToEnd.writes", BELOW, 6.0),
)
SOUND = (
    Target("alerts without a change", "operator.unchanged", BELOW, 0),
    Target("targets changed twice", "operator.twice", BELOW, 0),
    Target("runs that have not ended", "operator.unended", BELOW, 0),
)
STALLS = (Target("stalls of the loop above 50 ms", "operator.stalls.late", BELOW, 0),)
LATENCY = (
    Target("median, as a ratio to the floor", "ratio.medianSeconds", BELOW, 2.0),
    Target("p99, as a ratio to the floor", "ratio.p99Seconds", BELOW, 3.0),
)
RATE = (Target("changes a second, as a ratio to the floor", "ratio.perSecond", ABOVE, 0.6),)


def idle(most: float) -> tuple[Target, ...]:
    return (
        Target("MB resident", "operator.megabytes.after", BELOW, most),
        Target("share of a core", "operator.idleShareOfACore", BELOW, 0.01),
        *STALLS,
    )


CASES = (
    Case("smoke", "a few alerts: that everything works", 1, compared(Load(5, per_second=5)), SOUND),
    Case(
        "single",
        "50 alerts, two a second: no action meets another",
        1,
        compared(Load(50, per_second=2)),
        (*LATENCY, *CALLS, *SOUND, *STALLS),
    ),
    Case(
        "steady",
        "20 alerts a second for a minute",
        1,
        compared(Load(1_200, per_second=20)),
        (*LATENCY, *CALLS, *SOUND, *STALLS),
    ),
    Case(
        "tenth",
        "a minute of alerts at a tenth of the floor's greatest rate",
        1,
        at_a_tenth,
        (*LATENCY, *CALLS, *SOUND, *STALLS),
    ),
    Case("burst-200", "200 alerts at once", 3, compared(Load(200)), (*RATE, *CALLS, *SOUND, *STALLS)),
    Case("burst-1000", "1,000 alerts at once", 1, compared(Load(1_000)), (*RATE, *CALLS, *SOUND, *STALLS)),
    Case(
        "groups",
        "one notification of 5,000 alerts on 5,000 Deployments",
        1,
        compared(Load(5_000, in_one=True, until_ended=False)),
        (*SOUND, *STALLS),
    ),
    Case(
        "pods",
        "one notification of 5,000 pods of 10 Deployments",
        1,
        crowded.pods,
        (
            Target("runs", "operator.runs", BELOW, 10),
            Target("writes to make them", "operator.writesToMakeThem", BELOW, 50),
            *SOUND,
            *STALLS,
        ),
    ),
    Case("policies", "20 alerts a second beside 500 policies", 1, crowded.policies, (*LATENCY, *SOUND, *STALLS)),
    Case("stored-2000", "idle beside 2,000 runs that have ended", 1, crowded.Stored(2_000), idle(120)),
    Case("stored-20000", "idle beside 20,000 runs that have ended", 1, crowded.Stored(20_000), idle(200)),
    Case(
        "history",
        "ten minutes of alerts whose runs are deleted again",
        1,
        crowded.History(600),
        (Target("growth of memory", "operator.growth", BELOW, 1.05), *SOUND),
    ),
)


def number(result: Found, way: str) -> float:
    """The number at the end of a way through dictionaries; 0 where there is none."""
    found: Any = result
    for part in way.split("."):
        found = found.get(part, 0.0) if isinstance(found, dict) else 0.0
    return float(found)


def medians(rounds: Sequence[Found]) -> Found:
    """The same structure, with the median of every number."""
    found: Found = {}
    for key in {key: None for one in rounds for key in one}:
        values = [one[key] for one in rounds if key in one]
        if isinstance(values[0], dict):
            found[key] = medians(values)
        elif isinstance(values[0], (int, float)):
            found[key] = median(values)
    return found
