"""
What is measured, and by whom: calls by the API server's audit log, time and memory by the kernel.

The audit log is written before a call is answered, with the clock of this machine, and says who asked; so
nothing has to be polled, and the operator is not asked about itself.
"""

import json
import math
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from localcluster import Cluster
from localcluster.controlplane import OPERATOR
from localcluster.processes import recorded
from remediator.domain.names import lease_name, run_name
from remediator.domain.objects import ObjectRef

TICKS = os.sysconf("SC_CLK_TCK")
READS = ("get", "list")
RESET_PEAK = "5"  # what the kernel takes as: the largest size so far is the present one


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the operator's account that has been answered."""

    verb: str
    resource: str
    name: str
    agent: str
    code: int
    dry_run: bool
    received: float
    answered: float

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> Self:
        about = event.get("objectRef", {})
        return cls(
            verb=event["verb"],
            resource="/".join(part for part in (about.get("resource", ""), about.get("subresource", "")) if part),
            name=about.get("name", ""),
            agent=event.get("userAgent", ""),
            code=event.get("responseStatus", {}).get("code", 0),
            dry_run="dryRun" in event.get("requestURI", ""),
            received=datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
            answered=datetime.fromisoformat(event["stageTimestamp"]).timestamp(),
        )

    @property
    def is_the_change(self) -> bool:
        return self.verb == "patch" and self.resource == "deployments" and 200 <= self.code < 300 and not self.dry_run

    @property
    def sort(self) -> str:
        """`reads`, `writes`, `events` or `reviews`; the latter two are no part of the record or of the change."""
        if self.verb in READS:
            return "reads"
        if self.resource.endswith(("accessreviews", "tokenreviews")):
            return "reviews"
        return "events" if self.resource == "events" else "writes"


class Audit:
    """The calls of the operator's account from the moment on in which this was made."""

    def __init__(self, cluster: Cluster) -> None:
        self._log = cluster.audit_log
        self._begin = self._log.stat().st_size if self._log.exists() else 0

    def calls(self) -> list[Call]:
        """All but the watches, in the order in which they were answered."""
        with self._log.open("rb") as log:
            log.seek(self._begin)
            lines = log.read().splitlines()
        asked = f'"user":{{"username":"{OPERATOR}"'.encode()
        events = (json.loads(line) for line in lines if asked in line and b'"verb":"watch"' not in line)
        return sorted((Call.parse(one) for one in events), key=lambda call: call.answered)


@dataclass(frozen=True)
class Calls:
    """How many calls there were, by sort and by what was asked."""

    of: Counter[str]
    sorts: Counter[str]

    @classmethod
    def of_all(cls, calls: Iterable[Call]) -> Self:
        taken = list(calls)
        return cls(Counter(f"{c.verb} {c.resource}" for c in taken), Counter(c.sort for c in taken))

    def per(self, actions: int) -> dict[str, Any]:
        """For one action, to two places."""
        sorts = {name: round(self.sorts[name] / actions, 2) for name in ("reads", "writes", "events", "reviews")}
        return {**sorts, "of": {name: round(count / actions, 2) for name, count in sorted(self.of.items())}}


def changes(calls: Iterable[Call]) -> dict[str, list[float]]:
    """For each Deployment when its changes were answered."""
    found: dict[str, list[float]] = {}
    for call in calls:
        if call.is_the_change:
            found.setdefault(call.name, []).append(call.answered)
    return found


def up_to_the_change(
    calls: Iterable[Call], namespace: str, policy: str, changed: Mapping[str, Sequence[float]]
) -> list[Call]:
    """
    The calls about a Deployment, its run or its lock until its change was answered.

    Reads that are about nobody by name, such as the list of a namespace's budgets, count until the last change.
    """
    last = max((answered[0] for answered in changed.values()), default=0.0)
    belongs = _belongings(changed, namespace, policy)
    found = []
    for call in calls:
        about = belongs.get(call.name) or belongs.get(call.name.rpartition(".")[0])  # an Event's name has a suffix
        until = changed[about][0] if about is not None else last if call.sort == "reads" and not call.name else 0.0
        if call.answered <= until:
            found.append(call)
    return found


def up_to_the_end(calls: Sequence[Call], namespace: str, policy: str, names: Iterable[str]) -> list[Call]:
    """
    All calls but the writes that no action waits for.

    These are of a lock after the last write of its run, whose end has freed it, and of what is about no action
    alone and has a pace of its own: the leader's Lease, and the counts on policies and Runbooks.
    """
    belongs = _belongings(names, namespace, policy)
    ends = {belongs[c.name]: c.answered for c in calls if c.name in belongs and c.resource == "runbookruns/status"}

    def is_beside(call: Call) -> bool:
        if call.sort != "writes":
            return False
        about = belongs.get(call.name)
        return about is None or (call.resource == "leases" and call.answered > ends.get(about, math.inf))

    return [call for call in calls if not is_beside(call)]


def _belongings(names: Iterable[str], namespace: str, policy: str) -> dict[str, str]:
    """The Deployment behind its own name, its lock's and its run's."""
    found: dict[str, str] = {}
    for name in names:
        target = ObjectRef.of("Deployment", namespace, name)
        found |= {name: name, lease_name(target): name, run_name(namespace, policy, target, 1): name}
    return found


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds of the processes until now."""

    seconds: Mapping[str, float]

    @classmethod
    def until_now(cls, pids: Mapping[str, int]) -> Self:
        return cls({name: cpu_seconds(pid) for name, pid in pids.items()})

    def since(self, before: Self) -> dict[str, float]:
        return {name: now - before.seconds.get(name, 0.0) for name, now in self.seconds.items()}


def cpu_seconds(pid: int) -> float:
    """What a process has used, in user and kernel; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def megabytes(pid: int) -> tuple[float, float]:
    """What a process holds now, and the most that it ever held or held since `forget_peak`; 0 where it is gone."""
    found = {"VmRSS": 0.0, "VmHWM": 0.0}
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name = line.partition(":")[0]
            if name in found:
                found[name] = int(line.split()[1]) / 1024
    except OSError:
        pass
    return found["VmRSS"], found["VmHWM"]


def forget_peak(pid: int) -> None:
    """The most that the process holds counts from here on."""
    Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK)


def servers(cluster: Cluster) -> dict[str, int]:
    """The process ids of the API server and of etcd."""
    return {one.label: one.pid for one in recorded(cluster.state.processes) if one.label in ("kube-apiserver", "etcd")}


@dataclass
class Samples:
    """A page of /metrics."""

    values: dict[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, page: str) -> Self:
        lines = (line.rpartition(" ") for line in page.splitlines() if line and not line.startswith("#"))
        return cls({name: float(value) for name, _, value in lines})

    def __getitem__(self, name: str) -> float:
        return self.values.get(name, 0.0)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of the values does not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def median(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan
