"""
Several processes of the operator on one API server: who leads, what a deposed one still may, and what is lost.

The processes are told apart in the audit log by their tokens.
"""

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from cluster.faults.audit import Audit, Write
from cluster.faults.bench import WANTED, Bench, Shop, story
from cluster.faults.proxy import Call, Fault
from cluster.faults.test_interruptions import is_the_change
from localcluster.api import ApiError
from localcluster.operator import NAMESPACE, Operator
from localcluster.processes import moments
from remediator.adapters.clock import SystemClock
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.kube import KubeApi, from_kubeconfig
from remediator.domain.errors import Rejected
from remediator.domain.json import Object
from remediator.domain.objects import BUILT_IN, RUN, ObjectRef
from remediator.domain.runs import Run, RunOutcome, StepState
from remediator.engine.election import EPOCH_NAME

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

BINDING = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/leader-epoch.remediator.dev"
EPOCH = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{EPOCH_NAME}"
TRICKLE_SECONDS = 1.0


def is_an_intent(call: Call) -> bool:
    return call.resource == "runbookruns/status" and call.method == "PUT" and '"Intended"' in call.body


def epoch(bench: Bench) -> int:
    return int(bench.api.get(EPOCH)["data"]["epoch"])


def until(holds: Callable[[], Any], otherwise: str, seconds: float = 60) -> None:
    for _ in moments(seconds, 0.05):
        with suppress(OSError):  # one of the processes is on its way
            if holds():
                return
    raise AssertionError(f"{otherwise} after {seconds:g}s")


# --- what a deposed leader still may ---------------------------------------------------------------


@contextmanager
def frozen_at(bench: Bench, where: Callable[[Call], bool]) -> Iterator[Shop]:
    """A run whose operator is frozen with this call on its way: it has looked at its Lease, and sent nothing yet."""
    bench.operator.wait_until_it_leads()
    shop = bench.shop(Fault.HOLD_BEFORE, where=where)
    bench.open([shop])
    bench.post(shop)
    assert shop.subject.reached.wait(30), "the run did not come to that call"
    bench.operator.freeze()
    try:
        yield shop
    finally:
        bench.proxy.let_go(shop.subject)
        bench.operator.thaw()


def held_call(shop: Shop) -> Call:
    (held,) = [call for call in shop.subject.calls if call.fault is Fault.HOLD_BEFORE]
    return held


def test_nothing_of_a_deposed_leader_lands_after_its_successor_has_written_to_the_run(bench: Bench) -> None:
    audit = Audit(bench.cluster)
    with frozen_at(bench, is_the_change) as shop, bench.another("successor") as successor:
        bench.firing.clear()
        bench.wait(lambda: bench.run_of(shop).is_ended, "the successor did not end the run")
        assert bench.run_of(shop).status.outcome is RunOutcome.NOT_NEEDED

        bench.proxy.let_go(shop.subject)  # it wakes later: by then it would give its call up
        bench.wait(lambda: held_call(shop).status != 0, "the change did not reach the API server")
        bench.operator.thaw()
        until(lambda: bench.operator.leader()["holder"] == successor.leader()["self"], "it has not stepped down")
        time.sleep(1)  # for what should not come

        assert held_call(shop).status == 422
        assert not bench.operator.leader()["leads"]
        about = {("deployments", shop.name), ("runbookruns/status", shop.run_name)}
        own = [one for one in audit.writes(bench.namespace) if (one.resource, one.name) in about]
        first = next(n for n, one in enumerate(own) if one.credential == successor.credential)
        assert {one.credential for one in own[first:]} == {successor.credential}, own[first:]
        assert bench.variables(shop) == {}
    run = bench.run_of(shop)
    assert run.status.attempts[0].steps[0].state is StepState.VOIDED, story(run)


def test_an_intent_with_an_old_epoch_is_refused_and_its_run_goes_on(bench: Bench) -> None:
    """Nobody has written to the run: its resourceVersion fits, and nothing but the epoch stands against the intent."""
    audit = Audit(bench.cluster)
    with frozen_at(bench, is_an_intent) as shop:
        before = epoch(bench)
        data = {"data": {"epoch": str(before + 1)}}
        bench.cluster.run_kubectl("patch", "configmap", EPOCH_NAME, "-n", NAMESPACE, "-p", json.dumps(data))

        bench.proxy.let_go(shop.subject)
        bench.wait(lambda: held_call(shop).status != 0, "the intent did not reach the API server")
        bench.operator.thaw()
        bench.wait(lambda: bench.run_of(shop).is_ended, "the run has not ended")

    assert held_call(shop).status in (403, 422)
    run = bench.run_of(shop)
    assert run.status.outcome is RunOutcome.REMEDIATED, story(run)
    assert run.status.leader_epoch > before + 1
    acting = [one for one in audit.writes(bench.namespace) if one.account and one.name == shop.name]
    assert [(one.verb, one.void) for one in acting] == [("patch", False)]


# --- the policy on a real API server ---------------------------------------------------------------


class Record:
    """A run's record in the hand of a test, while the operator is frozen."""

    def __init__(self, cluster: KubeCluster, ref: ObjectRef) -> None:
        self.cluster, self.ref = cluster, ref

    async def says(self, epoch: int, **steps: str) -> Object:
        """The record names its leader and its steps, each with its state."""
        given = [{"name": n, "action": "setEnv", "state": s, "token": f"t-{n}"} for n, s in steps.items()]
        status: Object = {"leaderEpoch": epoch, "attempts": [{"number": 1, "steps": given[:1], "undo": given[1:]}]}
        return await self.cluster.patch(self.ref, [{"op": "add", "path": "/status", "value": status}], sub="status")

    async def gets_alerts(self) -> Object:
        """As intake attaches them."""
        value: Object = {"count": 1}
        return await self.cluster.patch(
            self.ref, [{"op": "add", "path": "/status/alerts", "value": value}], sub="status"
        )


@pytest.fixture
async def record(bench: Bench) -> AsyncIterator[Record]:
    bench.operator.wait_until_it_leads()
    bench.operator.freeze()
    kubeconfig = bench.cluster.kubeconfig_for_token(
        "record", bench.cluster.service_account_token(NAMESPACE, "remediator")
    )
    try:
        async with KubeApi(from_kubeconfig(str(kubeconfig)), SystemClock()) as api:
            cluster = KubeCluster(api)
            spec: Object = {
                "runbookRef": {"name": "nothing"},
                "target": {"kind": "Deployment", "namespace": bench.namespace, "name": "nothing"},
                "requestedBy": "alice",
            }
            metadata: Object = {"namespace": bench.namespace, "name": f"by-hand-{time.time_ns()}"}
            made = Run.parse(await cluster.create(RUN, {"metadata": metadata, "spec": spec}))
            ref = ObjectRef(RUN.group, RUN.kind, made.namespace, made.name)
            yield Record(cluster, ref)
            over: Object = {"outcome": "Done"}
            await cluster.patch(ref, [{"op": "add", "path": "/status", "value": over}], sub="status")
    finally:
        bench.operator.thaw()


async def test_only_the_last_leader_intends_and_everybody_else_may_write(bench: Bench, record: Record) -> None:
    last = epoch(bench)
    await record.says(last, a="Intended")
    raised = {"data": {"epoch": str(last + 1)}}
    bench.cluster.run_kubectl("patch", "configmap", EPOCH_NAME, "-n", NAMESPACE, "-p", json.dumps(raised))
    tries, began = 0, time.monotonic()
    while True:
        tries += 1
        try:
            await record.says(last, a="Intended", b="Intended")
        except Rejected as refusal:
            assert f"the last one has the epoch {last + 1}" in str(refusal)
            break
        await record.says(last, a="Intended", b="Planned")
        assert time.monotonic() - began < 20, "the epoch is not enforced"
    print(f"first refusal {(time.monotonic() - began) * 1000:.1f} ms after the epoch was raised, at try {tries}")

    await record.says(last, a="Intended", b="Planned")  # what was intended before may be written again
    await record.gets_alerts()
    await record.says(last, a="Voided")
    for written in (0, last - 1, last):
        with pytest.raises(Rejected, match="must be left to"):
            await record.says(written, a="Intended")
    await record.says(last + 1, a="Intended")
    await record.says(last + 2, a="Intended", b="Intended")


async def test_an_epoch_that_is_no_number_refuses_intents_alone_and_the_leader_puts_it_right(
    bench: Bench, record: Record
) -> None:
    """Somebody has taken the second policy away first; it would not let him."""
    last = epoch(bench)
    await record.says(last, a="Planned")
    kept = bench.api.get(BINDING)
    bench.api.call("DELETE", BINDING)
    try:
        until(lambda: _is_written(bench, "many"), "the binding is still in force")
        await _until_refused(record, last)
        await record.gets_alerts()

        bench.operator.thaw()
        until(lambda: bench.api.get(EPOCH)["data"]["epoch"] != "many", "nobody has put it right")
        assert epoch(bench) >= last
        bench.operator.wait_until_it_leads()
        uid = bench.api.get(EPOCH)["metadata"]["uid"]
        bench.api.call("DELETE", EPOCH)
        until(lambda: _uid(bench) not in ("", uid), "nobody has put it back")
        assert epoch(bench) >= last
    finally:
        again = {**kept, "metadata": {"name": kept["metadata"]["name"], "labels": kept["metadata"]["labels"]}}
        bench.api.call("POST", BINDING.rpartition("/")[0], again)
        until(lambda: not _is_written(bench, "0"), "the binding is not in force again")


def _is_written(bench: Bench, epoch: str) -> bool:
    stored = bench.api.get(EPOCH)
    metadata = {key: stored["metadata"][key] for key in ("name", "namespace", "resourceVersion")}
    try:
        bench.api.call("PUT", EPOCH, {"metadata": metadata, "data": {"epoch": epoch}})
    except ApiError:
        return False
    return True


def _uid(bench: Bench) -> str:
    try:
        return str(bench.api.get(EPOCH)["metadata"]["uid"])
    except ApiError:
        return ""


async def _until_refused(record: Record, epoch: int) -> None:
    for n in itertools.count():
        try:
            await record.says(epoch, **{f"s{n}": "Intended"})
        except Rejected:
            return
        assert n < 200, "it is not refused"


async def test_nobody_removes_the_epoch_or_counts_it_down(bench: Bench, record: Record) -> None:
    ref = ObjectRef("", "ConfigMap", NAMESPACE, EPOCH_NAME)
    stored = await record.cluster.read(ref)

    with pytest.raises(Rejected, match="must be there"):
        await record.cluster.delete(ref)
    for text in ("0", "-1", "many", ""):
        with pytest.raises(Rejected, match="must be"):
            await record.cluster.replace(BUILT_IN["ConfigMap"], {**stored, "data": {"epoch": text}})
    with pytest.raises(ApiError, match="must be there"):
        bench.api.call("DELETE", EPOCH)


# --- alerts that trickle in, whatever happens to the leader ----------------------------------------


class Sender:
    """Sends an alert for each shop in turn, to any replica that is ready, as a Service and an Alertmanager would."""

    def __init__(self, bench: Bench, shops: Sequence[Shop]) -> None:
        self._bench = bench
        self._left = list(shops)
        self.replicas: list[Operator] = []
        self.refused = 0
        self.kept = 0
        """So many are not sent yet: each change of leader shall find some on their way."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def is_done(self) -> bool:
        return not self._left

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kept = 0
        self._stop.set()
        self._thread.join(120)

    def _run(self) -> None:
        turn = itertools.count()
        while self._left:
            shop = self._left[0]
            ready = [one for one in self.replicas if one.is_ready()]
            if not ready or len(self._left) <= self.kept:
                time.sleep(0.1)
                continue
            try:
                status, _ = ready[next(turn) % len(ready)].post(
                    {"version": "4", "groupKey": shop.name, "alerts": [shop.alert()]}
                )
            except OSError:
                status = 0
            if 200 <= status < 300:
                self._left.pop(0)
                shop.answers.append(status)
            else:
                self.refused += 1
            if not self._stop.is_set():
                time.sleep(TRICKLE_SECONDS)


def leader_of(replicas: Sequence[Operator]) -> Operator:
    """The one that leads, once one does."""
    for _ in moments(60, 0.05):
        for one in replicas:
            with suppress(OSError):
                if one.leader()["leads"]:
                    return one
    raise AssertionError("nobody leads")


def test_nothing_is_lost_and_nothing_done_twice_whatever_happens_to_the_leader(bench: Bench) -> None:
    """Killed, frozen for longer than its Lease, and replaced by a rolling update: while alerts trickle in."""
    shops = [bench.shop() for _ in range(24)]
    bench.open(shops)
    bench.operator.stop()
    audit, before = Audit(bench.cluster), epoch(bench)
    replicas = [bench.another(name).start(ready_within_seconds=90) for name in ("one", "two")]
    try:
        with Sender(bench, shops) as sender:
            sender.replicas, sender.kept = replicas, 18

            killed = leader_of(replicas)
            killed.kill()
            sender.kept = 12
            leader_of([one for one in replicas if one is not killed])
            killed.start(ready_within_seconds=90)

            frozen = leader_of(replicas)
            sender.replicas = [one for one in replicas if one is not frozen]  # it would not answer its probe
            frozen.freeze()
            sender.kept = 6
            leader_of(sender.replicas)
            frozen.thaw()
            until(lambda: not frozen.leader()["leads"], "it has not stepped down")
            sender.replicas = replicas

            for old, name in zip(list(replicas), ("three", "four"), strict=True):
                new = bench.another(name).start(ready_within_seconds=90)
                replicas.append(new)
                sender.kept = 3 if name == "three" else 0
                sender.replicas = [one for one in replicas if one is not old]
                assert old.stop() == 0
                replicas.remove(old)
            leader_of(replicas)
            until(lambda: sender.is_done, "not all alerts were sent")

        bench.wait(lambda: {shop.run_name for shop in shops} <= bench._ended(), "a run has not ended", 150)
        time.sleep(0.3)  # the last events
        runs = {run.name: run for run in bench.runs() if run.spec.target.name in {shop.name for shop in shops}}
        assert Counter(run.spec.target.name for run in runs.values()) == Counter(shop.name for shop in shops)
        wrong = {
            shop.name: found
            for shop in shops
            if (found := wrong_with(bench, shop, runs[shop.run_name], audit.writes(bench.namespace)))
        }
        assert wrong == {}
        epochs = {run.status.leader_epoch for run in runs.values()}
        print(f"ended under the epochs {sorted(epochs)}; {sender.refused} notifications were sent again")
        assert epoch(bench) - before >= 4, "not every change of leader was one"
    finally:
        for one in replicas:
            with suppress(ProcessLookupError):
                one.thaw()
            one.stop()
        bench.operator.start()


def wrong_with(bench: Bench, shop: Shop, run: Run, writes: Sequence[Write]) -> list[str]:
    """What is not as it would be with one process that nothing happens to."""
    changes = [one for one in writes if one.account and one.name == shop.name]
    wrong = [] if bench.variables(shop) == {"QUEUE": WANTED} else [f"the variables are {bench.variables(shop)}"]
    if [(one.verb, one.void) for one in changes] != [("patch", False)]:
        wrong.append(f"changed as {changes}")
    if run.status.outcome is not RunOutcome.REMEDIATED:
        wrong.append(f"ended as {run.status.outcome}: {story(run)}")
    return wrong


def test_who_is_stopped_hands_over_before_its_lease_is_over(bench: Bench) -> None:
    bench.operator.wait_until_it_leads()
    with bench.another("next") as other:
        began = bench.api.get(EPOCH)["data"]["epoch"]
        bench.operator.stop()
        lease = bench.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/remediator-leader")
        assert lease["spec"].get("holderIdentity") in (None, other.leader()["self"])
        other.wait_until_it_leads()
        assert epoch(bench) == int(began) + 1
        bench.operator.start()
