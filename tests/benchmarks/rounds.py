"""
One round of the floor and one of the operator: the same alerts, the same Deployments, on the same ground.

While the floor is measured the operator's process does not run, because its watch would carry the floor's
runs on. Each round of the operator begins with a new process and a few alerts that do not count.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.alerts import alert_of, notification
from benchmarks.floor import AGENT
from benchmarks.ground import Ground, in_a_process
from benchmarks.measuring import (
    Audit,
    Calls,
    Samples,
    Spent,
    changes,
    forget_peak,
    megabytes,
    quantile,
    servers,
    up_to_the_change,
    up_to_the_end,
)
from localcluster.api import Api
from localcluster.operator import NAMESPACE
from remediator.domain.names import run_name
from remediator.domain.objects import ObjectRef
from remediator.engine.election import EPOCH_NAME

WARM_UP = 3
RESTS_SECONDS = 3.0
READY_SECONDS = 240.0  # tens of thousands of runs are listed first
CHANGED_WITHIN_SECONDS = 900.0
ENDED_WITHIN_SECONDS = 600.0
STALL_SECONDS = 0.05


@dataclass(frozen=True)
class Load:
    """Alerts about as many Deployments, each in a notification of its own or all in one."""

    count: int
    per_second: float = 0.0
    """0: as fast as they are taken."""
    connections: int = 20
    in_one: bool = False
    until_ended: bool = True
    """Whether the runs' ends are waited for."""


@dataclass
class Round:
    """What one round has brought; times are seconds."""

    latencies: list[float] = field(default_factory=list)
    """From the first POST, or the floor's first call, to the API server's answer to the patch; of each action."""
    answers: list[float] = field(default_factory=list)
    """From a POST to the 2xx, re-sends included."""
    per_second: float = 0.0
    """Actions in the time from the first POST to the last patch."""
    refused: int = 0
    """Answers that were no 2xx, and so were sent again."""
    unchanged: int = 0
    twice: int = 0
    unended: int = 0
    cpu: dict[str, float] = field(default_factory=dict)
    """CPU seconds of one action by process, until the last patch."""
    cpu_to_end: dict[str, float] = field(default_factory=dict)
    """Until the last run's end; of the operator's rounds alone."""
    calls: dict[str, Any] = field(default_factory=dict)
    """Of one action, until its change."""
    calls_to_end: dict[str, Any] = field(default_factory=dict)
    """Of one action, all until its end; `beside` are the writes that it does not wait for."""
    megabytes: dict[str, float] = field(default_factory=dict)
    """Resident: at rest before, the most while it worked, at rest after."""
    stalls: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "medianSeconds": quantile(self.latencies, 0.5),
            "p99Seconds": quantile(self.latencies, 0.99),
            "answeredMedianSeconds": quantile(self.answers, 0.5),
            "answeredP99Seconds": quantile(self.answers, 0.99),
            "perSecond": self.per_second,
            "refused": self.refused,
            "unchanged": self.unchanged,
            "twice": self.twice,
            "unended": self.unended,
            "cpuSeconds": self.cpu,
            "cpuSecondsToEnd": self.cpu_to_end,
            "callsToChange": self.calls,
            "callsToEnd": self.calls_to_end,
            "megabytes": self.megabytes,
            "stalls": self.stalls,
        }


@dataclass(frozen=True)
class Template:
    """A run as the operator makes it, in three states: text, so that names can be replaced."""

    name: str
    run: str
    uid: str
    created: str
    intended: str
    ended: str

    def as_json(self) -> dict[str, str]:
        return vars(self).copy()

    def about(self, name: str, run: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """A run about another Deployment, as it is created and as it has ended."""
        created, ended = (text.replace(self.run, run).replace(self.name, name) for text in (self.created, self.ended))
        return json.loads(created), json.loads(ended)


def names_of(load: Load, mark: str) -> list[str]:
    return [f"queue-{mark}-{number:05d}" for number in range(load.count)]


def notifications(ground: Ground, load: Load, names: Sequence[str]) -> list[dict[str, Any]]:
    """The posts, as the sender takes them."""
    alerts = [alert_of(ground.namespace, name) for name in names]
    if load.in_one:
        return [{"id": "all", "payload": notification(alerts)}]
    return [{"id": name, "payload": notification([one])} for name, one in zip(names, alerts, strict=True)]


def epoch_of(api: Api) -> int:
    """The present leader's: an intent of an earlier one is refused."""
    return int(api.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/{EPOCH_NAME}")["data"]["epoch"])


def _stocked(ground: Ground, load: Load, mark: str) -> tuple[list[str], list[str]]:
    """The names of Deployments that are there as a round begins: a few that do not count, and those that do."""
    names = names_of(load, mark)
    warm = [f"queue-{mark}-warm-{number}" for number in range(WARM_UP)]
    ground.stock([*warm, *names], anew=True)
    return warm, names


def floor_round(ground: Ground, load: Load, template: Template, mark: str) -> Round:
    """The raw calls, after a few that do not count."""
    warm, names = _stocked(ground, load, mark)
    job = {
        "kubeconfig": str(ground.account_kubeconfig),
        "namespace": ground.namespace,
        "account": ground.account,
        "connections": load.connections,
        "perSecond": load.per_second,
        "template": template.as_json(),
        "epoch": epoch_of(ground.cluster.api),
    }
    in_a_process("floor", {**job, "names": warm})
    pids = servers(ground.cluster)
    audit, before, client = Audit(ground.cluster), Spent.until_now(pids), {}
    sent = in_a_process("floor", {**job, "names": names}, lambda pid: client.update(pid=pid))
    spent = Spent.until_now(pids).since(before)
    calls = [call for call in audit.calls() if call.agent == AGENT]
    found = _timed(sent, changes(calls), names)
    found.cpu = _each(spent, load.count)
    found.calls = Calls.of_all(calls).per(load.count)
    return found


def operator_round(ground: Ground, load: Load, mark: str) -> Round:
    """Webhooks to the operator, whose process begins and ends with the round."""
    warm, names = _stocked(ground, load, mark)
    with running(ground):
        warmed_up(ground, warm)
        return measured(ground, load, names, warm)


@contextmanager
def running(ground: Ground) -> Iterator[None]:
    ground.operator.start(ready_within_seconds=READY_SECONDS)
    try:
        yield
    finally:
        ground.operator.stop()


def warmed_up(ground: Ground, names: Sequence[str]) -> None:
    """Some alerts have gone all the way: modules are loaded, caches filled, connections open."""
    posts = notifications(ground, Load(len(names)), names)
    sent_by(ground, Load(len(names), connections=1), posts)
    ground.wait(lambda: ground.state()["cured"] >= len(names), "the first alerts changed nothing", 60)
    ground.wait(lambda: _open_runs(ground) == 0, "the first runs have not ended", 120, pause=1.0)
    time.sleep(RESTS_SECONDS)


def measured(ground: Ground, load: Load, names: Sequence[str], before: Sequence[str] = ()) -> Round:
    """What the operator makes of these alerts."""
    operator = ground.operator
    pids = {"operator": operator.pid, **servers(ground.cluster)}
    rest = megabytes(operator.pid)[0]
    forget_peak(operator.pid)
    samples, audit, spent = ground.metrics(), Audit(ground.cluster), Spent.until_now(pids)
    sent = sent_by(ground, load, notifications(ground, load, names))
    wanted = len(names) + len(before)
    ground.wait_or_go_on(lambda: ground.state()["cured"] >= wanted, CHANGED_WITHIN_SECONDS)
    to_change = Spent.until_now(pids).since(spent)
    if load.until_ended:
        ground.wait_or_go_on(lambda: _open_runs(ground) == 0, ENDED_WITHIN_SECONDS)
    to_end, peak = Spent.until_now(pids).since(spent), megabytes(operator.pid)[1]
    stalls = stalls_between(samples, ground.metrics())
    unended = int(_open_runs(ground)) if load.until_ended else 0
    calls = [call for call in audit.calls() if call.agent != AGENT]
    changed = changes(calls)
    found = _timed(sent, changed, names)
    found.unended = unended
    found.cpu, found.cpu_to_end = _each(to_change, len(names)), _each(to_end, len(names))
    found.calls = Calls.of_all(up_to_the_change(calls, ground.namespace, ground.policy, changed)).per(len(names))
    before_the_end = up_to_the_end(calls, ground.namespace, ground.policy, names)
    found.calls_to_end = Calls.of_all(before_the_end).per(len(names))
    found.calls_to_end["beside"] = round((len(calls) - len(before_the_end)) / len(names), 2)
    time.sleep(RESTS_SECONDS)
    found.megabytes = {"before": round(rest, 1), "most": round(peak, 1), "after": round(megabytes(operator.pid)[0], 1)}
    found.stalls = stalls
    return found


def template_of(ground: Ground) -> Template:
    """A run that the operator has just made about a Deployment of the usual kind, in three states."""
    name = "queue-template-00000"
    ground.stock([name])
    since = ground.cluster.api.get(ground.runs)["metadata"]["resourceVersion"]
    with running(ground):
        warmed_up(ground, [name])
    run = run_name(ground.namespace, ground.policy, ObjectRef.of("Deployment", ground.namespace, name), 1)
    versions = [one for one in ground.versions_of(ground.runs, since) if one["metadata"]["name"] == run]
    assert versions, "the template's run was made"
    intended = next(one for one in versions if '"Intended"' in _text(one))
    ended = next(one for one in versions if one.get("status", {}).get("outcome"))
    meta = {key: versions[0]["metadata"][key] for key in ("namespace", "name", "labels")}
    kind = {key: ended[key] for key in ("apiVersion", "kind")}
    place = {"namespace": ground.namespace, "name": run}
    return Template(
        name=name,
        run=run,
        uid=ended["status"]["resolved"]["targetUid"],
        created=_text({**kind, "metadata": meta, "spec": versions[0]["spec"]}),
        intended=_text({**kind, "metadata": place, "spec": intended["spec"], "status": intended["status"]}),
        ended=_text({**kind, "metadata": place, "spec": ended["spec"], "status": ended["status"]}),
    )


def sent_by(ground: Ground, load: Load, posts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """When each post was sent and taken, and every status; the sender is a process of its own."""
    job = {
        "url": ground.operator.url,
        "token": ground.operator.token,
        "connections": load.connections,
        "perSecond": load.per_second,
        "posts": posts,
    }
    return list(in_a_process("sender", job))


def _timed(sent: Iterable[Mapping[str, Any]], changed: Mapping[str, Sequence[float]], names: Sequence[str]) -> Round:
    by_id = {one["id"]: one for one in sent}
    found = Round(
        answers=[one["answered"] - one["sent"] for one in by_id.values()],
        refused=sum(not 200 <= status < 300 for one in by_id.values() for status in one["statuses"]),
        unchanged=sum(name not in changed for name in names),
        twice=sum(len(changed.get(name, ())) > 1 for name in names),
    )
    whole = by_id.get("all")
    for name in names:
        if name in changed:
            found.latencies.append(changed[name][0] - (whole or by_id[name])["sent"])
    if found.latencies:
        first = min(one["sent"] for one in by_id.values())
        last = max(changed[name][0] for name in names if name in changed)
        found.per_second = len(found.latencies) / (last - first)
    return found


def _each(spent: Mapping[str, float], count: int) -> dict[str, float]:
    return {name: round(seconds / count, 5) for name, seconds in spent.items()}


def _open_runs(ground: Ground) -> float:
    return ground.metrics()["remediator_runs_open"]


def stalls_between(before: Samples, after: Samples) -> dict[str, float]:
    """
    How many turns of the loop took more than 10 and more than 50 ms, and the longest since the process began.

    `ownLate` are those that would have taken more than 50 ms with a core for each process.
    """
    turns, work = "remediator_loop_stall_seconds", "remediator_loop_stall_work_seconds"
    above_10 = after[f"{turns}_count"] - before[f"{turns}_count"]

    def late(name: str) -> float:
        in_time = f'{name}_bucket{{le="{STALL_SECONDS}"}}'
        return above_10 - (after[in_time] - before[in_time])

    longest = after["remediator_loop_longest_stall_seconds"] * 1e3
    return {"above10ms": above_10, "late": late(turns), "ownLate": late(work), "longestMs": round(longest)}


def _text(obj: Mapping[str, Any]) -> str:
    return json.dumps(obj, separators=(",", ":"))
