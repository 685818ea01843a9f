"""
`make chaos`: seeds are played one after the other, and their results kept.

A seed that the results hold already is passed over, so that an interrupted run is simply started
again. Ctrl-C takes everything down that runs.
"""

import argparse
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from chaos.play import play, story_of
from chaos.schedule import FIXED, Fault
from chaos.table import table
from chaos.world import World, started
from localcluster import LocalClusterError

SEEDS_OF_A_CLUSTER: Final = 150
"""The API server's audit log is kept whole for so many."""

RESULTS: Final = Path(".chaos/results.jsonl")


def seeds(text: str) -> range:
    """`7` or `1..20`, both ends included."""
    first, dots, last = text.partition("..")
    try:
        found = range(int(first), int(last if dots else first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor a range such as 1..20") from None
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} holds no seed")
    return found


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make chaos",
        description="Plays seeds of faults against the operator on a real API server, and checks what happened "
        "against what was promised. Exits with 1 if a promise was broken.",
    )
    parser.add_argument("--seeds", type=seeds, default=seeds("1..20"), help="which: 7 or 1..20 (default: 1..20)")
    parser.add_argument("--replicas", type=int, default=2, help="how many processes of the operator (default: 2)")
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"where results are kept (default: {RESULTS})")
    parser.add_argument(
        "--fault",
        type=lambda name: Fault[name],
        action="append",
        default=[],
        help=f"this fault instead of those of the seed; may be given again: {', '.join(Fault.__members__)}",
    )
    parser.add_argument("--fixed", action="store_true", help="the seeds and the faults that the tests play")
    parser.add_argument("--again", action="store_true", help="play seeds of which there is a result, too")
    parser.add_argument("--keep-going", action="store_true", help="go on after a broken promise")
    return parser.parse_args(given)


def kept(results: Path) -> list[dict[str, Any]]:
    """The results so far."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text().splitlines() if line.strip()]


def main(given: Sequence[str]) -> int:
    asked = arguments(given)
    if asked.fixed:
        asked.seeds = range(min(FIXED), max(FIXED) + 1)
    asked.results.parent.mkdir(parents=True, exist_ok=True)
    known = set() if asked.again else {one["seed"] for one in kept(asked.results)}
    left = [seed for seed in asked.seeds if seed not in known]
    if skipped := len(asked.seeds) - len(left):
        print(f"{skipped} of {len(asked.seeds)} seeds have a result in {asked.results} and are passed over")
    failed = False
    for asked_to_end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked_to_end, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        while left and not (failed and not asked.keep_going):
            with started(f"chaos-{os.getpid()}", asked.replicas) as made:
                failed = _play_all(made, asked, left) or failed
    print(table([one for one in kept(asked.results) if one["seed"] in asked.seeds]))
    return 1 if failed else 0


def _play_all(made: World, asked: argparse.Namespace, left: list[int]) -> bool:
    """Whether a promise was broken; `left` is shorter by the seeds that this world has served."""
    failed = False
    for _ in range(SEEDS_OF_A_CLUSTER):
        if not left or (failed and not asked.keep_going):
            break
        seed = left.pop(0)
        try:
            result = play(made, seed, only=FIXED[seed] if asked.fixed else asked.fault).to_json()
        except (LocalClusterError, OSError, LookupError, TimeoutError) as broken:
            print(f"seed {seed}: the cluster is broken and is made anew: {broken}")
            traceback.print_exc(file=sys.stdout)
            _keep(asked.results, {"seed": seed, "broken": f"{type(broken).__name__}: {broken}"[:2000]})
            return failed
        _keep(asked.results, result)
        print(_line(result), flush=True)
        if result["findings"]:
            failed = True
            print(story_of(made))
    return failed


def _keep(results: Path, result: dict[str, Any]) -> None:
    with results.open("a") as kept_in:
        kept_in.write(json.dumps({**result, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}) + "\n")


def _line(result: dict[str, Any]) -> str:
    faults = ", ".join(f"{Fault[hit['fault']]} ({hit['in_flight']} in flight)" for hit in result["hits"])
    said = (
        f"seed {result['seed']}: {result['seconds']:.1f}s, {result['runs']} runs, {result['changes']} changes; {faults}"
    )
    return "\n".join([said, *(f"  BROKEN PROMISE: {finding}" for finding in result["findings"])])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
