"""How each fault is begun and ended."""

import copy
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chaos.evidence import EDITED, Object
from chaos.schedule import Breaking, Fault
from chaos.shops import Story, policy, runbook
from chaos.sources import Mood
from chaos.world import APPS, OURS, World
from cluster.faults import proxy
from cluster.faults.proxy import Call
from localcluster.api import MERGE_PATCH, ApiError
from localcluster.processes import Process, recorded, start, stop

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

WEATHER = {
    Fault.TOO_MANY: proxy.Fault.THROTTLE,
    Fault.BROKEN: proxy.Fault.BROKEN,
    Fault.AWAY: proxy.Fault.AWAY,
    Fault.SLOW: proxy.Fault.DELAY,
    Fault.CUT: proxy.Fault.CUT,
    Fault.LOST: proxy.Fault.LOSE,
    Fault.WATCHES_EXPIRED: proxy.Fault.EXPIRED,
}

LATE_SECONDS = (0.4, 1.2, 4.0)
RETRY_AFTER_SECONDS = (1, 1, 6)
"""Each fault has one of three; the longest make what was read old before it is used."""

MOODS = {
    Fault.ALERTMANAGERS_DOWN: (Mood.DOWN, Mood.DOWN, Mood.HONEST),
    Fault.ALERTMANAGERS_SLOW: (Mood.SLOW, Mood.SLOW, Mood.HONEST),
    Fault.ALERTMANAGER_EMPTY: (Mood.EMPTY, Mood.HONEST, Mood.EMPTY),
    Fault.ALERTS_UNREADABLE: (Mood.NOT_A_NUMBER, Mood.HONEST, Mood.NOT_A_NUMBER),
    Fault.ALERTS_ANCIENT: (Mood.ANCIENT, Mood.ANCIENT, Mood.ANCIENT),
    Fault.SOURCES_DOWN: (Mood.DOWN, Mood.DOWN, Mood.DOWN),
    Fault.PROMETHEUS_SLOW: (Mood.DOWN, Mood.DOWN, Mood.SLOW),
}
"""Of the two Alertmanagers and of Prometheus."""


def carry_out(world: World, breaking: Breaking) -> None:
    """The fault has happened and is over; the caller has waited for its time."""
    fault = breaking.fault
    if fault in WEATHER or fault is Fault.WATCHES_CUT:
        _weather(world, breaking)
    elif fault in MOODS:
        with _moods(world, fault):
            time.sleep(breaking.seconds)
    else:
        OTHERS[fault](world, breaking)


def _weather(world: World, breaking: Breaking) -> None:
    chance, lock, fault = random.Random(breaking.victim), threading.Lock(), WEATHER.get(breaking.fault)

    def weather(call: Call) -> proxy.Fault:
        concerns = call.is_watch if breaking.fault is Fault.WATCHES_EXPIRED else not call.is_watch
        if breaking.fault is Fault.LOST:
            concerns = concerns and call.method != "GET"
        with lock:
            hit = fault is not None and concerns and chance.random() < breaking.share
        return fault if hit and fault is not None else proxy.Fault.NONE

    for replica in world.replicas:
        replica.proxy.late_seconds = LATE_SECONDS[breaking.victim % 3]
        replica.proxy.retry_after_seconds = RETRY_AFTER_SECONDS[breaking.victim % 3]
        replica.proxy.weather = weather
    if breaking.fault in (Fault.WATCHES_CUT, Fault.WATCHES_EXPIRED):
        for replica in world.replicas:
            replica.proxy.cut_watches()
    time.sleep(breaking.seconds)
    for replica in world.replicas:
        replica.proxy.weather = None


@contextmanager
def _moods(world: World, fault: Fault) -> Iterator[None]:
    for source, mood in zip(world.sources, MOODS[fault], strict=True):
        source.mood = mood
    try:
        yield
    finally:
        for source in world.sources:
            source.mood = Mood.HONEST


def _kill(world: World, breaking: Breaking) -> None:
    world.replica(breaking.victim).kill()


def _kill_twice(world: World, breaking: Breaking) -> None:
    world.replica(breaking.victim).kill_twice(breaking.seconds)


def _restart(world: World, breaking: Breaking) -> None:
    """One after the other, as a rolling update does."""
    for replica in world.replicas:
        replica.restart()


def _freeze(world: World, breaking: Breaking) -> None:
    replica = world.replica(breaking.victim)
    replica.freeze()
    time.sleep(breaking.seconds)
    replica.thaw()


def _kill_leader(world: World, breaking: Breaking) -> None:
    world.leader().kill()


def _freeze_leader(world: World, breaking: Breaking) -> None:
    """It wakes up when another may have led for a while."""
    leader = world.leader()
    leader.freeze()
    time.sleep(breaking.seconds)
    leader.thaw()


def _cut_leader_off(world: World, breaking: Breaking) -> None:
    """None of its calls reaches the API server, and its watches are silent for good."""
    leader = world.leader()
    leader.proxy.weather = lambda _: proxy.Fault.CUT
    leader.proxy.cut_watches()
    time.sleep(breaking.seconds)
    leader.proxy.weather = None


def _clock(offset: str) -> Callable[[World, Breaking], None]:
    def jump(world: World, breaking: Breaking) -> None:
        replica = world.replica(breaking.victim)
        replica.set_clock(offset)
        time.sleep(breaking.seconds)
        replica.set_clock("+0")

    return jump


def _restart_apiserver(world: World, breaking: Breaking) -> None:
    with world.server:
        world.restart_apiserver()


def _kill_apiserver(world: World, breaking: Breaking) -> None:
    with world.server:
        processes = world.cluster.state.processes
        stop(processes, _server(world, "kube-apiserver"), with_signal=signal.SIGKILL)
        world.start_apiserver()


def _kill_etcd(world: World, breaking: Breaking) -> None:
    """It starts again from what it had written, in the same place."""
    with world.server:
        processes, etcd = world.cluster.state.processes, _server(world, "etcd")
        command = Path(f"/proc/{etcd.pid}/cmdline").read_text().rstrip("\0").split("\0")
        stop(processes, etcd, with_signal=signal.SIGKILL)
        start(processes, "etcd", command, log=Path(etcd.log))


def _freeze_etcd(world: World, breaking: Breaking) -> None:
    """
    A single etcd that is stopped answers as three do that have lost their quorum: not at all.

    What was sent to it is carried out when it goes on, as a quorum that comes back may do.
    """
    with world.server:
        pid = _server(world, "etcd").pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(breaking.seconds)
        os.kill(pid, signal.SIGCONT)


def _fill_etcd(world: World, breaking: Breaking) -> None:
    with world.server:
        world.etcd.refuse_writes()
        try:
            time.sleep(breaking.seconds)
        finally:
            world.etcd.take_writes()


def _server(world: World, label: str) -> Process:
    return next(one for one in recorded(world.cluster.state.processes) if one.label == label)


def _rotate_token(world: World, breaking: Breaking) -> None:
    for replica in world.replicas:
        _insist(replica.rotate_token)


def _crds(alter: Callable[[Object], None]) -> Callable[[World, Breaking], None]:
    def applied(world: World, breaking: Breaking) -> None:
        before = [one for one in _insist(lambda: world.api.items(CRDS)) if one["spec"]["group"] == "remediator.dev"]
        for crd in before:
            changed = copy.deepcopy(crd["spec"])
            alter(changed["versions"][0]["schema"]["openAPIV3Schema"])
            _insist(lambda crd=crd, spec=changed: _put_crd(world, crd, spec))
        time.sleep(breaking.seconds)
        for crd in before:
            _insist(lambda crd=crd: _put_crd(world, crd, crd["spec"]))

    return applied


def _put_crd(world: World, crd: Object, spec: Object) -> None:
    path = f"{CRDS}/{crd['metadata']['name']}"
    present = world.api.get(path)
    world.api.call("PUT", path, {**present, "spec": spec})


def _described(schema: Object) -> None:
    schema["description"] = f"Described anew. {schema.get('description', '')}"


def _grown(schema: Object) -> None:
    schema["properties"]["spec"]["properties"]["later"] = {"type": "string", "description": "Of a later version."}


def _edit_runbooks(world: World, breaking: Breaking) -> None:
    namespace = world.namespace(breaking.victim)
    for story in Story:
        edited = runbook(namespace, story, description="The queue is full, and somebody has edited this.")
        path = f"{OURS}/namespaces/{namespace}/runbooks/{story}"
        _insist(lambda p=path, e=edited: world.api.call("PATCH", p, {"spec": e["spec"]}, content_type=MERGE_PATCH))


def _delete_runbooks(world: World, breaking: Breaking) -> None:
    _delete_and_restore(world, breaking, "runbooks", runbook)


def _delete_policies(world: World, breaking: Breaking) -> None:
    namespace = world.namespace(breaking.victim)
    world.unwanted[namespace] = (time.time(), float("inf"))
    _delete_and_restore(world, breaking, "alertpolicies", policy)
    # a replica that has not heard of them yet counts what comes as nobody's, if it is cut off for as long as this
    world.unwanted[namespace] = (world.unwanted[namespace][0], time.time() + 8)


def _delete_and_restore(world: World, breaking: Breaking, plural: str, made: Callable[[str, Story], Object]) -> None:
    namespace = world.namespace(breaking.victim)
    path = f"{OURS}/namespaces/{namespace}/{plural}"
    for story in Story:
        _insist(lambda s=story: world.api.call("DELETE", f"{path}/{s}"), but=404)
    time.sleep(breaking.seconds)
    for story in Story:
        _insist(lambda s=story: world.api.call("POST", path, made(namespace, s)), but=409)


def _delete_namespace(world: World, breaking: Breaking) -> None:
    """The one that was opened for this; with it go its policies."""
    world.gone.add(world.spare)
    world.unwanted[world.spare] = (time.time(), float("inf"))
    _insist(lambda: world.api.call("DELETE", f"/api/v1/namespaces/{world.spare}"))


def _edit_targets(world: World, breaking: Breaking) -> None:
    """Somebody rolls every second Deployment out anew."""
    said = {EDITED: f"{time.time():.3f}"}
    template = {"metadata": {"annotations": said}}
    for shop in world.shops[breaking.victim % 2 :: 2]:
        path = f"{APPS}/namespaces/{shop.namespace}/deployments/{shop.name}"
        body = {"metadata": {"annotations": said}, "spec": {"template": template}}
        _insist(lambda p=path, b=body: world.api.call("PATCH", p, b, content_type=MERGE_PATCH), but=404)


def _recreate_targets(world: World, breaking: Breaking) -> None:
    for shop in world.shops[breaking.victim % 2 :: 2]:
        path = f"{APPS}/namespaces/{shop.namespace}/deployments"
        _insist(lambda p=path, s=shop: world.api.call("DELETE", f"{p}/{s.name}"), but=404)
        _insist(lambda p=path, s=shop: world.api.call("POST", p, s.manifest), but=409)


def _insist(call: Callable[[], Any], *, but: int = 0, seconds: float = 40) -> Any:
    """The call's answer, however often it takes; `but` is an answer that says that it has happened already."""
    until = time.monotonic() + seconds
    while True:
        try:
            return call()
        except ApiError as refused:
            if refused.status == but:
                return None
            if time.monotonic() > until or refused.status in (400, 403, 422):
                raise
        except OSError:
            if time.monotonic() > until:
                raise
        time.sleep(0.2)


OTHERS: dict[Fault, Callable[[World, Breaking], None]] = {
    Fault.KILL: _kill,
    Fault.KILL_TWICE: _kill_twice,
    Fault.RESTART: _restart,
    Fault.FREEZE: _freeze,
    Fault.LEADER_KILLED: _kill_leader,
    Fault.LEADER_FROZEN: _freeze_leader,
    Fault.LEADER_CUT_OFF: _cut_leader_off,
    Fault.CLOCK_FORWARD: _clock("+1h"),
    Fault.CLOCK_BACK: _clock("-1h"),
    Fault.APISERVER_TERM: _restart_apiserver,
    Fault.APISERVER_KILL: _kill_apiserver,
    Fault.ETCD_KILLED: _kill_etcd,
    Fault.ETCD_FROZEN: _freeze_etcd,
    Fault.ETCD_FULL: _fill_etcd,
    Fault.TOKEN_ROTATED: _rotate_token,
    Fault.CRDS_DESCRIBED: _crds(_described),
    Fault.CRDS_GROWN: _crds(_grown),
    Fault.RUNBOOK_EDITED: _edit_runbooks,
    Fault.RUNBOOK_DELETED: _delete_runbooks,
    Fault.POLICY_DELETED: _delete_policies,
    Fault.NAMESPACE_DELETED: _delete_namespace,
    Fault.TARGET_EDITED: _edit_targets,
    Fault.TARGET_RECREATED: _recreate_targets,
}
