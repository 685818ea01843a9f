"""
What the operator costs, beside what the same API calls cost without it.

    make bench                              every case
    make bench CASE="single burst-200"      these
    make bench REPEATS=5 OUTPUT=json        more rounds for the medians; JSON instead of a table

It starts an API server with its etcd on this machine, and nothing else of a cluster. All numbers of one
result come from one run on one machine; compare ratios and counts, and leave the machine alone meanwhile.
Progress is told on standard error; all results, each round of them too, are written as JSON after each case.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, Case
from benchmarks.ground import REPOSITORY, Ground
from benchmarks.report import table
from benchmarks.rounds import template_of
from localcluster import Cluster, NotAvailable

Result = dict[str, Any]
"""`machine`, and `results`: one of each case."""

FOLDER = REPOSITORY / ".bench"
BUSY = 0.5
"""A load before anything has begun that spoils what is measured."""


def _nobody(found: Result) -> None:
    """Nobody waits for the rest."""


def measured(
    cases: Sequence[Case], repeats: int = 0, *, name: str = "", told: Callable[[Result], None] = _nobody
) -> Result:
    """
    The results of these cases, on a cluster that is gone afterwards; after each case `told` what there is so far.

    Raises:
        NotAvailable: where this machine cannot run a cluster.
    """
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {line}", file=sys.stderr, flush=True)

    load = os.getloadavg()[0]
    if load > BUSY:
        say(f"something else uses this machine (load {load:.1f}): compare the ratios only, and those with care")
    machine = {"cores": os.cpu_count(), "loadBefore": round(load, 2), "at": datetime.now(UTC).isoformat("T", "seconds")}
    found: Result = {"machine": machine, "results": []}
    cluster = Cluster.up(name or f"bench-{os.getpid()}", controllers=False, progress=say)
    with cluster, Ground(cluster, say) as ground:
        say("the operator is installed")
        template = template_of(ground)
        say("the floor has its template")
        for case in cases:
            found["results"].append(case.run(ground, template, repeats))
            told(found)
    return found


def main() -> int:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="cases:\n" + "\n".join(f"  {case.name:14}{case.about}" for case in CASES),
    )  # fmt: skip
    parser.add_argument("cases", nargs="*", metavar="CASE", help="names of cases; none: all but smoke")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="on standard output")
    parser.add_argument("--repeats", type=int, default=0, help="rounds of each case; 0: as many as the case wants")
    parser.add_argument("--into", type=Path, help="file for the whole result; default: one of its own in .bench/")
    asked = parser.parse_args()
    if unknown := set(asked.cases) - set(names):
        parser.error(f"no case is called {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    for asked_to_end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked_to_end, signal.default_int_handler)
    wanted = [case for case in CASES if case.name in asked.cases or (not asked.cases and case.name != "smoke")]
    into = asked.into or FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    into.parent.mkdir(parents=True, exist_ok=True)

    def told(found: Result) -> None:
        into.write_text(json.dumps(found, indent=2) + "\n")
        if asked.output == "table":
            print(table(found["results"][-1]), flush=True)

    try:
        found = measured(wanted, asked.repeats, told=told)
    except NotAvailable as missing:
        print(missing, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        done = f"what was measured is in {into}" if into.exists() else "nothing was measured"
        print(f"ended before its time; {done}, and nothing is left running", file=sys.stderr)
        return 130
    if asked.output == "json":
        print(json.dumps(found, indent=2))
    print(f"written to {into}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
