"""A process whose work has ended is gone, whatever else in it does not end."""

import subprocess
import sys

STANDS_STILL = """
import asyncio
from remediator.handlers.leaving import leave_surely

async def never_ends():
    leave_surely(0.1)
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

asyncio.run(never_ends())
"""
ENDS = """
from remediator.handlers.leaving import leave_surely
leave_surely(600)
"""


def test_what_waits_for_ever_and_heeds_no_cancelling_is_left() -> None:
    done = subprocess.run([sys.executable, "-c", STANDS_STILL], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 1
    assert "everything has ended but kopf" in done.stderr


def test_what_ends_by_itself_is_not_waited_for() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, check=False, timeout=60)

    assert done.returncode == 0
