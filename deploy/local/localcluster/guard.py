"""
Takes a cluster down when the process that started it is gone.

A test run may be killed where no `finally` is executed; its servers, mounts and interfaces would stay.
"""

import argparse
import os
import sys
from pathlib import Path

from localcluster.processes import moments, start, start_time
from localcluster.state import State

LABEL = "guard"
LOOK_EVERY_SECONDS = 1.0
FOREVER = float("inf")


def start_guard(state: State) -> None:
    """The cluster ends when this process ends."""
    pid = os.getpid()
    start(
        state.processes,
        LABEL,
        [sys.executable, "-m", "localcluster.guard", state.name, str(pid), start_time(pid) or ""],
        log=state.logs / "guard.log",
        env={
            "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
            "REMEDIATOR_LOCAL": str(state.folder.parent),
        },
    )


def main() -> None:
    """Waits for the end of a process, then takes the cluster down."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("pid", type=int)
    parser.add_argument("started")
    asked = parser.parse_args()

    from localcluster.cluster import take_down  # cluster imports this module

    state = State(asked.name)
    for _ in moments(FOREVER, LOOK_EVERY_SECONDS):
        if start_time(asked.pid) != asked.started:
            break
    os.chdir("/")  # the folder that it stands in is about to go
    with state.held():
        # Another cluster of this name may have been started since; then this guard is not the one on record.
        mine = state.processes / f"{LABEL}.json"
        if mine.exists() and f'"pid": {os.getpid()},' in mine.read_text():
            take_down(state)


if __name__ == "__main__":
    main()
