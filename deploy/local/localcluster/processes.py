"""
Servers that outlive the function that starts them, and how they are found again.

Every server is recorded as a file with its process id and its start time. Process ids are used again
by the system; a process is ours only if both agree, so `down` never stops a stranger.
"""

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from localcluster.errors import CommandFailed, NotAvailable, StartFailed

PORTS: Final = range(15_000, 30_000)
"""Below the node ports of Kubernetes, and below what Linux (from 32768) and macOS (from 49152) give to clients."""

# Children that this process started: it has to collect their exit codes, or they stay as zombies.
_children: dict[int, subprocess.Popen[bytes]] = {}

_given: set[int] = set()
"""Ports that this process has given out."""


@dataclass(frozen=True, slots=True)
class Process:
    """One server: `order` grows with every start, so that the last one started is stopped first."""

    label: str
    pid: int
    started: str
    order: int
    log: str


def start_time(pid: int) -> str | None:
    """The moment a living process was started, in the system's own words; None when there is none."""
    if not Path("/proc/self/stat").exists():
        said = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return said.stdout.strip() or None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Z and X: it has ended, and only its exit code waits to be collected; but while any thread is still at a write
    # to the disk, what the process listens on is taken.
    has_ended = fields[0] == "X" or (fields[0] == "Z" and int(fields[17]) <= 1)
    return None if has_ended else fields[19]


def is_running(process: Process) -> bool:
    """True while the very process that was recorded is alive."""
    child = _children.get(process.pid)
    if child is not None and child.poll() is not None:
        return False
    return start_time(process.pid) == process.started


def start(
    records: Path,
    label: str,
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
) -> Process:
    """The command runs in a session of its own (Ctrl-C does not reach it) and is recorded under `records`."""
    records.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd=log.parent,
            env={**os.environ, **(env or {})},
        )
    _children[child.pid] = child
    return record(records, label, child.pid, log)


def record(records: Path, label: str, pid: int, log: Path) -> Process:
    """The living process is recorded under `records`, so that it ends with its cluster."""
    process = Process(label, pid, start_time(pid) or "", time.time_ns(), str(log))
    write_atomically(records / f"{label}.json", json.dumps(asdict(process)))
    return process


def forget(records: Path, label: str) -> None:
    """Nothing is recorded under the label: whoever started the process has seen its end."""
    (records / f"{label}.json").unlink(missing_ok=True)


def recorded(records: Path) -> list[Process]:
    """All recorded servers, the last one started first."""
    found = [Process(**json.loads(file.read_text())) for file in records.glob("*.json")]
    return sorted(found, key=lambda process: process.order, reverse=True)


def stop(records: Path, process: Process, *, seconds: float = 10, with_signal: int = signal.SIGTERM) -> None:
    """The process is gone, by force after `seconds`, and so is its record."""
    if is_running(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, with_signal)
        if not ended_within(process, seconds):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            ended_within(process, 10)
    forget(records, process.label)


def ended_within(process: Process, seconds: float) -> bool:
    """True as soon as the process is gone; False when it is still there after `seconds`."""
    return any(not is_running(process) for _ in moments(seconds))


def moments(seconds: float, pause: float = 0.05) -> Iterator[None]:
    """One turn at once and one after every pause, until `seconds` have passed."""
    end = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() >= end:
            return
        time.sleep(pause)


def must_run(process: Process) -> None:
    """
    Raises:
        StartFailed: with the last lines of the log, when the process is gone.
    """
    if not is_running(process):
        raise StartFailed(f"{process.label} ended while it was starting:\n{end_of(Path(process.log))}")


def end_of(log: Path, lines: int = 12) -> str:
    """The last lines of a log file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


def run(command: Sequence[str | Path], *, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """
    What the command wrote to its standard output.

    Raises:
        CommandFailed: with what it wrote to its standard error.
        NotAvailable: when there is no such program.
    """
    parts = [str(part) for part in command]
    try:
        done = subprocess.run(
            parts,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            env={**os.environ, **(env or {})},
            check=False,
        )
    except FileNotFoundError as missing:
        raise NotAvailable(f"the program {parts[0]} is not on this machine") from missing
    if done.returncode != 0:
        raise CommandFailed(" ".join(parts), done.returncode, done.stderr or done.stdout)
    return done.stdout


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """
    Ports that nobody listens on, that no outgoing connection is given, and that nobody here was given before.

    A server that is stopped and started again at its address would else find it taken now and then, and one
    that is to listen later would find another there. Another program may take one before its server does:
    whoever starts a server tries again with others.
    """
    with ExitStack() as held:
        found: list[int] = []
        for port in random.sample(PORTS, len(PORTS)):
            if len(found) == count:
                return found
            if port in _given:
                continue
            one = held.enter_context(socket.socket())
            with suppress(OSError):
                one.bind((address, port))
                found.append(port)
                _given.add(port)
        raise NotAvailable(f"no {count} ports from {PORTS.start} to {PORTS.stop - 1} are free on {address}")


def write_atomically(file: Path, text: str, *, mode: int = 0o600) -> None:
    """The file holds the whole text; a reader sees the old one or the new one, never a half."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.touch(mode=mode)
    draft.write_text(text)
    draft.replace(file)
