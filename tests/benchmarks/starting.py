"""
What a process costs that finds many ended runs stored: CPU and memory of its start, without an API server.

    PYTHONPATH=operator:tests python tests/benchmarks/starting.py [RUNS]

A list tells every replica of all runs, and a second one tells a new leader once more; then one status of a
definition is made, and the collector goes through everything, before and after the process keeps it for good.
Seconds are of CPU, so that they mean the same on a machine that does other things too.
"""

import asyncio
import copy
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

import remediator.main  # noqa: F401 - everything that the process has loaded
from benchmarks.measuring import megabytes
from remediator.adapters.clock import SystemClock
from remediator.adapters.memory import keep_for_good
from remediator.handlers.run_index import RunIndex
from remediator.handlers.tally import Noted, Tally
from remediator.handlers.term import Term

RECORD = Path(__file__).parents[1] / "data" / "runs" / "remediated.yaml"
RUNS = 20_000


class Counts:
    """All runs are of one definition."""

    def __init__(self) -> None:
        self.tally = Tally()

    def begin_anew(self) -> None:
        self.tally.clear()

    def note_run(self, run: Noted) -> None:
        self.tally.note(run.brief)

    def forget_run(self, namespace: str, name: str) -> None:
        self.tally.forget((namespace, name))


def stored(record: dict[str, Any], number: int) -> dict[str, Any]:
    """A run of another target."""
    made = copy.deepcopy(record)
    made["metadata"] |= {"name": f"queues-{number:016x}-1", "uid": f"uid-{number:032d}"}
    made["metadata"] |= {"resourceVersion": str(1_000 + number)}
    made["spec"]["target"]["name"] = f"queue-{number:05d}"
    return made


def spent(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


async def main(count: int) -> None:
    record = yaml.safe_load(RECORD.read_text())
    index, counts = RunIndex(SystemClock()), Counts()
    term = Term(SystemClock(), 16, counts)
    gc.collect()
    before = megabytes(_own())[0]
    for turn in ("every replica", "a new leader"):
        seconds = 0.0
        for number in range(count):
            run = stored(record, number)
            began = time.process_time()
            await index.changed("ADDED", run)
            if turn == "a new leader":
                term.saw_run("ADDED", run)
            seconds += time.process_time() - began
        held = megabytes(_own())[0] - before
        print(f"{turn}: {seconds / count * 1e6:.0f} µs and {held / count * 1024:.2f} KB a run")
    print(f"a status: {spent(lambda: (counts.tally.counts(), counts.tally.newest(10))) * 1e3:.1f} ms")
    print(f"a full collection: {spent(gc.collect) * 1e3:.0f} ms over {len(gc.get_objects())} objects")
    keep_for_good()
    print(f"afterwards: {spent(gc.collect) * 1e3:.1f} ms")


def _own() -> int:
    return int(Path("/proc/self").resolve().name)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS))
