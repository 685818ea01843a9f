"""
The cases that have no floor: many pods of few workloads, many policies, many stored runs, a long history.
"""

import time
from typing import Any

from benchmarks.alerts import alert_of, notification, policy
from benchmarks.ground import OURS, Ground
from benchmarks.measuring import (
    Audit,
    Calls,
    Spent,
    changes,
    forget_peak,
    median,
    megabytes,
    servers,
)
from benchmarks.rounds import (
    Load,
    Template,
    floor_round,
    measured,
    operator_round,
    running,
    sent_by,
    stalls_between,
    warmed_up,
)

Found = dict[str, Any]

WORKLOADS, PODS_OF_EACH = 10, 500
OTHERS = 500
IDLE_SECONDS = 60.0
SETTLED_SECONDS = 20.0
WAVE = 150
MAKES_RUNS = ("create runbookruns", "patch runbookruns/status", "create configmaps")
"""How intake writes; the runs are carried on by `update runbookruns/status`."""


def pods(ground: Ground, _: Template, mark: str) -> Found:
    """One notification about every pod of a few Deployments: as many runs as Deployments."""
    names = [f"queue-{mark}-{number:05d}" for number in range(WORKLOADS)]
    warm = [f"queue-{mark}-warm-{number}" for number in range(2)]
    ground.stock([*warm, *names], pods=dict.fromkeys(names, PODS_OF_EACH))
    alerts = [alert_of(ground.namespace, name, pod=pod) for name in names for pod in ground.pods_of(name, PODS_OF_EACH)]
    with running(ground):
        warmed_up(ground, warm)
        audit, samples = Audit(ground.cluster), ground.metrics()
        posts = [{"id": "all", "payload": notification(alerts)}]
        [sent] = sent_by(ground, Load(1, connections=1), posts)
        wanted = len(names) + len(warm)
        ground.wait_or_go_on(lambda: ground.state()["cured"] >= wanted, 300)
        calls = audit.calls()
        until_answered = Calls.of_all(call for call in calls if call.answered <= sent["answered"])
        changed = changes(calls)
        found = {
            "alerts": len(alerts),
            "runs": until_answered.of["create runbookruns"],
            "writesToMakeThem": sum(until_answered.of[name] for name in MAKES_RUNS),
            "readsToMakeThem": until_answered.sorts["reads"],
            "answeredMedianSeconds": sent["answered"] - sent["sent"],
            "refused": sum(not 200 <= status < 300 for status in sent["statuses"]),
            "unchanged": sum(name not in changed for name in names),
            "twice": sum(len(changed.get(name, ())) > 1 for name in names),
            "stalls": stalls_between(samples, ground.metrics()),
        }
    return {"operator": found}


def policies(ground: Ground, template: Template, mark: str) -> Found:
    """A steady stream that one of many policies wants."""
    load = Load(600, per_second=20)
    path = f"{OURS}/namespaces/{ground.namespace}/alertpolicies"
    others = [policy(ground.namespace, f"other-{n:03d}", alertname=f"Other{n:03d}") for n in range(OTHERS)]
    ground.create(path, others)
    try:
        floor = floor_round(ground, load, template, f"{mark}f").as_json()
        found = operator_round(ground, load, f"{mark}o").as_json()
    finally:
        for other in others:
            ground.cluster.api.call("DELETE", f"{path}/{other['metadata']['name']}")
    return {
        "floor": floor,
        "operator": found,
        "ratio": {name: found[name] / floor[name] for name in ("medianSeconds", "p99Seconds", "perSecond")},
    }


class Stored:
    """What a process costs that has nothing to do, beside so many runs that have ended."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __call__(self, ground: Ground, template: Template, mark: str) -> Found:
        ground.clear()
        ground.say(f"storing {self._count} runs")
        ground.store(template, self._count)
        operator = ground.operator
        before = Spent.until_now(servers(ground.cluster))
        began = time.monotonic()
        with running(ground):
            ready_after = time.monotonic() - began
            ground.wait_or_go_on(lambda: ground.metrics()["remediator_runs_known"] >= self._count, 300)
            known_after = time.monotonic() - began
            time.sleep(SETTLED_SECONDS)
            start = Spent.until_now({"operator": operator.pid, **servers(ground.cluster)}).since(before)
            resident, most = megabytes(operator.pid)
            longest = ground.metrics()["remediator_loop_longest_stall_seconds"] * 1e3
            idle = Spent.until_now({"operator": operator.pid})
            samples = ground.metrics()
            time.sleep(IDLE_SECONDS)
            share = Spent.until_now({"operator": operator.pid}).since(idle)["operator"] / IDLE_SECONDS
            found = {
                "readySeconds": ready_after,
                "knownSeconds": known_after,
                "startCpuSeconds": start,
                "idleShareOfACore": share,
                "longestStallAtTheStartMs": longest,
                "megabytes": {"before": resident, "most": most, "after": megabytes(operator.pid)[0]},
                "stalls": stalls_between(samples, ground.metrics()),
            }
        return {"operator": found}


class History:
    """Waves of alerts whose runs are gone before the next one; what stays of them in memory must not add up."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, ground: Ground, _: Template, mark: str) -> Found:
        warm = [f"queue-{mark}-warm-{number}" for number in range(3)]
        ground.stock(warm)
        load = Load(WAVE)
        after: list[float] = []
        twice = unchanged = unended = 0
        with running(ground):
            warmed_up(ground, warm)
            forget_peak(ground.operator.pid)
            until = time.monotonic() + self._seconds
            while time.monotonic() < until or len(after) < 4:
                names = [f"queue-{mark}-{len(after):04d}-{number:04d}" for number in range(WAVE)]
                ground.stock(names)
                one = measured(ground, load, names)
                after.append(one.megabytes["after"])
                twice, unchanged, unended = twice + one.twice, unchanged + one.unchanged, unended + one.unended
                ground.say(f"{len(after) * WAVE} actions, {after[-1]:.0f} MB")
            most = megabytes(ground.operator.pid)[1]
        third = max(1, len(after) // 3)
        return {
            "operator": {
                "actions": WAVE * len(after),
                "growth": median(after[-third:]) / median(after[third : 2 * third]),
                "megabytes": {"before": after[0], "most": most, "after": after[-1]},
                "twice": twice,
                "unchanged": unchanged,
                "unended": unended,
            }
        }
