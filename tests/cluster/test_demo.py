"""The demo as a person runs it, in a cluster of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interruptible import hear_ctrl_c
from localcluster import LocalClusterError
from localcluster.processes import moments, start_time
from localcluster.state import State

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
NAME = f"demo-{os.getpid()}"


@pytest.fixture
def demo() -> Iterator["subprocess.Popen[str]"]:
    """The process; its cluster is gone when the test is over."""
    if shutil.which("go") is None:
        pytest.skip("the demo starts a cluster of its own, which takes Go")
    process = subprocess.Popen(
        [sys.executable, "deploy/local/demo.py", "--name", NAME],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "operator:deploy/local"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    with process:
        yield process
        process.kill()
    assert is_gone()


def is_gone(seconds: float = 30) -> bool:
    return any(State(NAME).facts() is None for _ in moments(seconds, 0.2))


def until_line(process: "subprocess.Popen[str]", word: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return line
    raise LocalClusterError(f"the demo ended before it said {word}")


def test_the_alert_of_a_bad_release_ends_in_a_verified_rollback(demo: "subprocess.Popen[str]") -> None:
    said, _ = demo.communicate()

    assert demo.returncode == 0, said
    for line in ("Remediated: previousRelease helped", "$ kubectl get runbookruns -n shop", "To on-call: ", "in all"):
        assert line in said
    assert "\x1b" not in said
    assert is_gone(0)


def test_ctrl_c_takes_all_of_it_away(demo: "subprocess.Popen[str]") -> None:
    until_line(demo, "cluster ")

    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate()

    assert demo.returncode == 130
    assert "nothing of the demo is left" in said
    assert is_gone(0)


def test_a_demo_that_is_killed_leaves_no_operator_behind(demo: "subprocess.Popen[str]") -> None:
    until_line(demo, "operator ")
    pid = json.loads((State(NAME).processes / "operator.json").read_text())["pid"]
    assert start_time(pid) is not None

    demo.kill()

    assert any(start_time(pid) is None for _ in moments(30, 0.2))
    assert is_gone()
