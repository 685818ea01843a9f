"""
What the guards cost: the API calls of one simple change, and the time that the chain itself takes.

    PYTHONPATH=operator:tests python tests/benchmarks/guards.py [-o json]

The calls are counted on the fakes, which see exactly what the API server would see; the locks are the
real adapter's. The time is of the pure functions alone, as the median of many: what is asked of the
API server costs milliseconds each, and is counted instead.
"""

import argparse
import asyncio
import dataclasses
import json
import statistics
import time
from collections import Counter
from typing import Any

from flows import carried_out, world
from remediator.adapters.locks import LeaseLocks
from remediator.engine.guards import BEFORE_CHANGE, Question, first_objection
from remediator.testing.cluster import Call
from remediator.testing.world import OPERATOR_NAMESPACE
from worlds import facts, run, step

BOOK = """
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
ROUNDS = 2_000


async def calls_of_one_change() -> dict[str, Any]:
    """Reads and writes of a run with one change, up to the change and to the run's end."""
    made = world(BOOK)
    made.outside = dataclasses.replace(made.outside, locks=LeaseLocks(made.cluster, OPERATOR_NAMESPACE))
    made.new_operator()
    begun = len(made.cluster.calls)
    ended = await carried_out(made)
    calls = made.cluster.calls[begun:]
    changed = next(i for i, one in enumerate(calls) if one.verb == "patch" and one.resource == "deployments")
    return {
        "outcome": str(ended.status.outcome),
        "up to the change": _counted(calls[: changed + 1]),
        "after it": _counted(calls[changed + 1 :]),
    }


def _counted(calls: list[Call]) -> dict[str, Any]:
    reads = Counter(f"{one.verb} {one.resource}" for one in calls if one.verb in ("get", "list"))
    writes = Counter(f"{one.verb} {one.resource}" for one in calls if one.verb not in ("get", "list", "watch"))
    return {"reads": sum(reads.values()), "writes": sum(writes.values()), "of": dict(sorted((reads + writes).items()))}


def seconds_of_the_chain() -> float:
    """The median of one evaluation of the whole chain before a change."""
    question = Question(run(), step(), facts())
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        first_objection(BEFORE_CHANGE, question)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    asked = parser.parse_args()
    found = {
        "guards": len(BEFORE_CHANGE),
        "microseconds of the chain": round(seconds_of_the_chain() * 1e6),
        "calls": asyncio.run(calls_of_one_change()),
    }
    if asked.output == "json":
        print(json.dumps(found, indent=2))
        return
    print(f"{found['guards']} guards before a change, {found['microseconds of the chain']} µs for all of them")
    for part in ("up to the change", "after it"):
        one = found["calls"][part]
        print(f"{part}: {one['reads']} reads, {one['writes']} writes")
        for name, count in one["of"].items():
            print(f"  {count:3}  {name}")


if __name__ == "__main__":
    main()
