"""`make model`: every configuration and every mutant, searched, as a table and as JSON."""

import argparse
import gc
import json
import logging
import resource
import sys
from pathlib import Path
from typing import Any

from model.cases import MUTATIONS, RULES, Case
from model.search import Found


def main() -> int:
    """0 where everything came to what it must."""
    asked = argparse.ArgumentParser(prog="make model", description=__doc__)
    asked.add_argument("--seconds", type=float, default=120.0, help="CPU seconds for each search")
    asked.add_argument("--states", type=int, default=1_500_000, help="states that a search keeps in memory at most")
    asked.add_argument("--only", default="", help="search only what has this in its name")
    asked.add_argument("--json", type=Path, help="write the results there")
    asked.add_argument("--traces", action="store_true", help="print the counter-examples of the mutants too")
    wanted = asked.parse_args()
    logging.disable(logging.CRITICAL)
    gc.freeze()
    results: list[dict[str, Any]] = []
    wrong = 0
    for case in (*RULES, *MUTATIONS):
        if wanted.only not in str(case):
            continue
        gc.disable()  # nothing here is thrown away, and looking for it takes half of the time
        found = case.searched(seconds=wanted.seconds, states=wanted.states)
        gc.enable()
        gc.collect()
        agrees = case.agrees(found)
        wrong += not agrees
        print(_line(case, found, agrees), flush=True)
        if not agrees or (wanted.traces and found.trace):
            print("\n".join(f"    {step}" for step in found.trace), flush=True)
        results.append({"case": str(case), "without": case.without, "expected": case.broken or "ok"} | found.as_json())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{len(results)} searches, {wrong} of them not as they must be; {peak} MiB at most")
    if wanted.json:
        wanted.json.write_text(json.dumps(results, indent=1) + "\n")
    return 1 if wrong else 0


def _line(case: Case, found: Found, agrees: bool) -> str:
    came = found.violation or ("ok" if found.exhausted else "nothing found, not exhausted")
    at = f" at depth {found.found_at}" if found.violation else ""
    numbers = (
        f"{found.states:>9,} states {found.transitions:>9,} steps, depth {found.depth:>3}, "
        f"{found.histories:>6,} histories, {found.seconds:>6.1f} s"
    )
    return f"{'ok ' if agrees else 'NOT'} {case!s:58} {numbers}  {came}{at}"


if __name__ == "__main__":
    sys.exit(main())
