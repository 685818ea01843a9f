"""What the local cluster takes for a process that has ended."""

import subprocess
import sys
from pathlib import Path

import pytest

from localcluster.processes import free_ports, moments, start_time

ENDS_IN_PARTS = """
import ctypes, sys, threading
threading.Thread(target=sys.stdin.read).start()
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="threads are told by Linux' /proc")
def test_a_process_has_not_ended_before_its_last_thread() -> None:
    process = subprocess.Popen([sys.executable, "-c", ENDS_IN_PARTS], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{process.pid}/stat")
    assert any(stat.read_text().rpartition(")")[2].split()[0] == "Z" for _ in moments(20)), "its first thread goes on"

    assert start_time(process.pid) is not None

    assert process.stdin is not None
    process.stdin.close()
    assert any(start_time(process.pid) is None for _ in moments(20))
    process.wait()


def test_no_port_is_given_twice() -> None:
    given = [port for _ in range(40) for port in free_ports(20)]

    assert len(set(given)) == 800
