"""`POST /v1/alerts`: what is answered, what is stored, and what happens when anything fails in between."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from remediator.domain.alerts import MAX_ALERTS, MAX_IDENTITIES, MAX_PAYLOAD_BYTES, Identities, read_alert
from remediator.domain.errors import Conflict, RemediatorError, Unavailable
from remediator.domain.json import Object, dig, dig_int, dig_text
from remediator.domain.objects import BUILT_IN, POLICY, RUN, RUNBOOK, ObjectRef
from remediator.domain.runs import Run
from remediator.engine.begin import Key
from remediator.handlers.bearer import Tokens
from remediator.handlers.definitions import Definitions
from remediator.handlers.freshness import Freshness, Heard
from remediator.handlers.intake import MOST_BYTES_AT_ONCE, Intake
from remediator.handlers.keeping import Keeper
from remediator.handlers.metrics import IntakeMetrics
from remediator.handlers.resolving import Resolver
from remediator.handlers.run_index import RunIndex
from remediator.handlers.senders import Senders
from remediator.handlers.serving import Server
from remediator.handlers.suspended import SuspendedAlerts
from remediator.handlers.switch import Switch
from remediator.handlers.taking import Taker
from remediator.ports import Cluster
from remediator.testing.clock import StoppedClock
from remediator.testing.cluster import FakeCluster

OPERATOR: Final = "remediator-system"
TOKEN: Final = "t0ken-of-the-test"
CHECKOUT: Final = ObjectRef.of("Deployment", "shop", "checkout")


def an_alert(name: str = "a", *, ended: bool = False, at: int = 0, **labels: str) -> Object:
    start = datetime(2026, 6, 1, 11, 0, tzinfo=UTC) + timedelta(seconds=at)
    return {
        "status": "resolved" if ended else "firing",
        "labels": {"alertname": "Crash", "namespace": "shop", "deployment": "checkout", "pod": name, **labels},
        "annotations": {"summary": "it crashes"},
        "startsAt": start.isoformat(),
        "endsAt": (start + timedelta(minutes=10)).isoformat() if ended else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": name.encode().hex().rjust(16, "0"),
    }


def a_payload(*alerts: Any, **envelope: Any) -> bytes:
    return json.dumps({"version": "4", "groupKey": "{}", "receiver": "r", "alerts": list(alerts), **envelope}).encode()


@dataclass
class World:
    """An API server in memory, and the intake of one replica over it."""

    cluster: FakeCluster
    clock: StoppedClock
    seen_by_intake: Cluster
    tokens: Path
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    client: "TestClient[Any, Any] | None" = None
    out_of_reach_seconds: float = 0.0

    async def start(self) -> None:
        self.index = RunIndex(self.clock)
        self.definitions = Definitions(self.clock, operator_namespace=OPERATOR, can_ask=True)
        self.heard = Heard(self.clock)
        self.heard.follow(POLICY, lambda: self.definitions.last_event(POLICY), lambda: self.definitions.synced(POLICY))
        self.heard.follow(RUN, lambda: self.index.last_event, lambda: self.index.synced)
        cluster, clock = self.seen_by_intake, self.clock
        self.freshness = Freshness(cluster, self.definitions, self.index, self.heard, lambda: self.out_of_reach_seconds)
        self.switch = Switch(cluster, OPERATOR)
        self.suspended = SuspendedAlerts(cluster, self.switch, clock, OPERATOR)
        self.keeper = Keeper(
            cluster, self.index, clock, self.switch, operator_namespace=OPERATOR, user="system:serviceaccount:o:r"
        )
        self.taker = Taker(
            self.definitions, self.freshness, Resolver(cluster, clock), self.keeper, self.suspended, clock, OPERATOR
        )
        self.metrics = IntakeMetrics(CollectorRegistry())
        self.intake = Intake(self.taker, Senders(Tokens(str(self.tokens), clock)), self.metrics, clock)
        await self.definitions.load(self.cluster)
        self.watch()
        await self.settle()
        self.client = TestClient(TestServer(self.intake.application()))
        await self.client.start_server()

    def watch(self) -> None:
        self.tasks.append(asyncio.create_task(self.cluster.watch(RUN, "", self.index.changed)))
        self.tasks.append(asyncio.create_task(self.switch.watch()))
        self.tasks.append(asyncio.create_task(self.suspended.watch()))
        for kind in (RUNBOOK, POLICY):
            self.tasks.append(asyncio.create_task(self.cluster.watch(kind, "", self._saw(kind))))

    def _saw(self, kind: Any) -> Callable[[str, Object], Awaitable[None]]:
        async def saw(what: str, obj: Object) -> None:
            await self.definitions.saw(kind, what, obj)

        return saw

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if self.client is not None:
            await self.client.close()

    async def send(self, *alerts: Any, body: bytes | None = None, token: str = TOKEN) -> tuple[int, Any]:
        assert self.client is not None
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = await self.client.post("/v1/alerts", data=io.BytesIO(body or a_payload(*alerts)), headers=headers)
        content = await answer.json()
        await self.settle()
        return answer.status, content

    @property
    def runs(self) -> list[Object]:
        return self.cluster.objects(RUN)

    @property
    def creates(self) -> int:
        return sum(1 for write in self.cluster.writes if write.verb == "create" and write.ref.kind == RUN.kind)

    @property
    def attaches(self) -> int:
        return sum(1 for write in self.cluster.writes if write.verb == "patch")

    def recorded(self) -> Identities:
        """Everything that stands on any run."""
        return Identities().merge(*(Identities.decode(Run.parse(run).alerts.identities) for run in self.runs))

    def policy(self, namespace: str = OPERATOR, name: str = "crash", **spec: Any) -> None:
        self.cluster.add(
            {
                "apiVersion": POLICY.api_version,
                "kind": POLICY.kind,
                "metadata": {"namespace": namespace, "name": name},
                "spec": {
                    "matchers": ['alertname="Crash"'],
                    "runbookRef": {"name": "book", "namespace": OPERATOR},
                    "serviceAccountName": "runner",
                    **spec,
                },
            }
        )

    def end(self, outcome: str, number: int = 1) -> None:
        """The leader has ended the run."""
        (run,) = (run for run in self.runs if dig_int(run, "spec", "episode", "number") == number)

        def edit(obj: Object) -> None:
            status = obj.setdefault("status", {})
            assert isinstance(status, dict)
            status.update(outcome=outcome, endedAt="2026-06-01T12:00:00Z")

        self.cluster.change(ObjectRef.to(run, RUN), edit)


def workload(name: str, kind: str = "Deployment", namespace: str = "shop", owner: Object | None = None) -> Object:
    metadata: Object = {"namespace": namespace, "name": name, "uid": f"uid-of-{name}"}
    if owner is not None:
        metadata["ownerReferences"] = [{**owner, "controller": True}]
    return {"apiVersion": BUILT_IN[kind].api_version, "kind": kind, "metadata": metadata, "spec": {}}


def populate(cluster: FakeCluster) -> None:
    cluster.add_namespace(OPERATOR)
    cluster.add(
        {
            "apiVersion": RUNBOOK.api_version,
            "kind": RUNBOOK.kind,
            "metadata": {"namespace": OPERATOR, "name": "book"},
            "spec": {"sharedWith": ["*"], "targets": ["Deployment"]},
        }
    )
    cluster.add(workload("checkout"))


W = TypeVar("W", bound=World)


@asynccontextmanager
async def started(kind: type[W], folder: Path) -> AsyncIterator[W]:
    """A world of that kind with one policy, taking alerts from whoever has the token."""
    clock = StoppedClock()
    cluster = FakeCluster(clock)
    populate(cluster)
    tokens = folder / "tokens"
    tokens.mkdir()
    (tokens / "one").write_text(TOKEN + "\n")
    made = kind(cluster, clock, cluster, tokens)
    made.policy()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with started(World, tmp_path) as made:
        yield made


# Storing


async def test_an_alert_is_on_a_run_when_it_is_answered(world: World) -> None:
    status, content = await world.send(an_alert())

    (run,) = (Run.parse(run) for run in world.runs)
    assert status == 200
    assert content == {"alerts": {"Opened": 1}, "runs": [run.full_name]}
    assert run.namespace == "shop"
    assert run.spec.target.ref == CHECKOUT
    assert run.spec.target.uid == "uid-of-checkout"
    assert run.spec.episode is not None
    assert run.spec.episode.number == 1
    assert run.name == f"crash-{run.spec.episode.key}-1"
    assert run.spec.requested_by == "system:serviceaccount:o:r"
    assert run.spec.service_account_name == "runner"
    assert run.spec.policy_ref is not None
    assert (run.spec.policy_ref.namespace, run.spec.policy_ref.name) == (OPERATOR, "crash")
    assert run.alerts.first[0].labels["pod"] == "a"
    labels = dig(world.runs[0], "metadata", "labels")
    assert labels == {
        "remediator.dev/policy": "crash",
        "remediator.dev/target-kind": "Deployment",
        "remediator.dev/target-name": "checkout",
    }


async def test_one_notification_makes_one_write_for_each_target(world: World) -> None:
    for i in range(10):
        world.cluster.add(workload(f"d{i}"))

    status, content = await world.send(*(an_alert(str(i), deployment=f"d{i % 10}") for i in range(500)))

    assert status == 200
    assert content["alerts"] == {"Opened": 500}
    assert len(content["runs"]) == len(world.runs) == world.creates == 10
    assert {Run.parse(run).alerts.count for run in world.runs} == {50}


async def test_the_same_notification_again_writes_nothing(world: World) -> None:
    await world.send(an_alert("a"), an_alert("b"))
    before = len(world.cluster.writes)

    status, content = await world.send(an_alert("a"), an_alert("b"))

    assert status == 200
    assert content["alerts"] == {"Recorded": 2}
    assert len(content["runs"]) == 1
    assert len(world.cluster.writes) == before


async def test_a_further_alert_is_attached_to_the_open_run(world: World) -> None:
    await world.send(an_alert("a"))

    status, content = await world.send(an_alert("a"), an_alert("b"))

    (run,) = (Run.parse(run) for run in world.runs)
    assert (status, content["alerts"]) == (200, {"Attached": 1, "Recorded": 1})
    assert run.alerts.count == 2
    assert run.status.alerts is not None
    assert [record.labels["pod"] for record in run.alerts.first] == ["a", "b"]


async def test_an_alert_that_has_ended_is_marked_on_its_run(world: World) -> None:
    await world.send(an_alert("a"), an_alert("b"))

    _, content = await world.send(an_alert("a", ended=True))

    run = Run.parse(world.runs[0])
    assert content["alerts"] == {"Resolved": 1}
    assert len(Identities.decode(run.alerts.resolved)) == 1


async def test_what_an_ended_run_has_answered_is_counted_as_covered(world: World) -> None:
    await world.send(an_alert("a"))
    world.end("Remediated")
    await world.settle()

    status, content = await world.send(an_alert("a"))

    assert (status, content["alerts"]) == (200, {"Covered": 1})
    assert len(world.runs) == 1


async def test_what_an_ended_run_has_released_opens_the_next_episode(world: World) -> None:
    await world.send(an_alert("a"))
    world.end("TargetGone")
    await world.settle()

    _, content = await world.send(an_alert("a"))

    assert content["alerts"] == {"Opened": 1}
    assert sorted(dig_int(run, "spec", "episode", "number") for run in world.runs) == [1, 2]


async def test_a_dry_run_covers_until_its_policy_changes(world: World) -> None:
    await world.send(an_alert("a"))
    world.end("DryRun")
    await world.settle()
    assert (await world.send(an_alert("a")))[1]["alerts"] == {"Covered": 1}

    policy = ObjectRef(POLICY.group, POLICY.kind, OPERATOR, "crash")
    world.cluster.change(policy, lambda obj: obj["spec"].update(grace="2m"))  # type: ignore[union-attr]
    await world.settle()

    assert (await world.send(an_alert("a")))[1]["alerts"] == {"Opened": 1}


async def test_each_policy_that_wants_an_alert_starts_its_own_run(world: World) -> None:
    world.policy("shop", "second")
    await world.settle()

    _, content = await world.send(an_alert())

    assert content["alerts"] == {"Opened": 2}
    assert len(world.runs) == 2


async def test_an_alert_that_nobody_wants_is_counted_and_not_stored(world: World) -> None:
    status, content = await world.send(an_alert(alertname="Other"))

    assert (status, content) == (200, {"alerts": {"NoPolicy": 1}, "runs": []})
    assert world.runs == []
    assert world.metrics.registry.get_sample_value("remediator_alerts_total", {"receipt": "NoPolicy"}) == 1


async def test_an_alert_of_which_a_policy_cannot_tell_is_counted_and_noted_for_the_policy(world: World) -> None:
    world.policy(name="crash2", matchers=['alertname="Odd"'], when='alert.labels.team == "x"')
    await world.settle()

    _, content = await world.send(an_alert(alertname="Odd"))

    assert content["alerts"] == {"FactUnknown": 1}
    assert world.taker.note(OPERATOR, "crash2").unreadable_alerts == 1
    assert "team" in world.taker.note(OPERATOR, "crash2").message


async def test_a_policy_that_is_not_ready_gets_a_run(world: World) -> None:
    world.policy("shop", "broken", matchers=['alertname="Odd"'], runbookRef={"name": "none"})
    await world.settle()

    _, content = await world.send(an_alert(alertname="Odd"))

    (run,) = (Run.parse(run) for run in world.runs)
    assert content["alerts"] == {"Opened": 1}
    assert run.spec.target.kind == "unresolved"
    assert run.policy_name == "shop/broken"
    assert "not ready" in run.spec.reason


# Targets


async def test_a_pod_alert_goes_to_the_workload_that_owns_the_pod(world: World) -> None:
    deployment: Object = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout", "uid": "uid-of-checkout"}
    replicas: Object = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "checkout-7d9",
        "uid": "uid-of-checkout-7d9",
    }
    world.cluster.add(workload("checkout-7d9", "ReplicaSet", owner=deployment))
    for i in range(5):
        world.cluster.add(workload(f"checkout-7d9-{i}", "Pod", owner=replicas))

    _, content = await world.send(*(an_alert(f"checkout-7d9-{i}", deployment="") for i in range(5)))

    (run,) = (Run.parse(run) for run in world.runs)
    assert content["alerts"] == {"Opened": 5}
    assert run.spec.target.ref == CHECKOUT


async def test_alerts_whose_object_is_gone_go_to_one_run_that_changes_nothing(world: World) -> None:
    _, content = await world.send(*(an_alert(f"gone-{i}", deployment="") for i in range(5)))

    (run,) = (Run.parse(run) for run in world.runs)
    assert content["alerts"] == {"Opened": 5}
    assert run.spec.target.is_outside
    assert "shop/gone-0" in run.spec.reason
    assert run.spec.reason.endswith("and 2 more")


async def test_an_api_server_that_does_not_answer_is_not_taken_for_a_target_that_is_gone(world: World) -> None:
    world.cluster.fail_next(1, Unavailable("no answer"), verb="get")

    status, _ = await world.send(an_alert(deployment="checkout"))

    assert status == 503
    assert world.runs == []
    assert (await world.send(an_alert()))[1]["alerts"] == {"Opened": 1}
    assert Run.parse(world.runs[0]).spec.target.ref == CHECKOUT


async def test_what_was_found_is_remembered_for_the_time_of_a_burst(world: World) -> None:
    await world.send(an_alert("a"))
    reads = sum(1 for call in world.cluster.calls if call.verb == "get")
    await world.send(an_alert("b"))

    assert sum(1 for call in world.cluster.calls if call.verb == "get") == reads


async def test_an_object_that_was_made_anew_is_not_mistaken_for_the_one_that_is_remembered(world: World) -> None:
    await world.send(an_alert("a"))
    await world.cluster.delete(ObjectRef.to(world.runs[0], RUN))
    await world.settle()

    await world.send(an_alert("a"))

    (run,) = (Run.parse(run) for run in world.runs)
    assert run.spec.target.ref == CHECKOUT
    assert run.spec.target.uid == ""


# What stands in the way


async def test_a_run_of_another_replica_under_the_same_name_is_attached_to(world: World) -> None:
    await world.send(an_alert("a"))
    world.index = world.keeper._index = RunIndex(world.clock)  # a cache that has seen nothing
    world.index.synced = True

    status, content = await world.send(an_alert("b"))

    (run,) = (Run.parse(run) for run in world.runs)
    assert (status, content["alerts"]) == (200, {"Attached": 1})
    assert run.alerts.count == 2


async def test_a_name_that_somebody_took_for_something_else_is_passed_over(world: World) -> None:
    key = Key(OPERATOR, "crash", CHECKOUT)
    squatter: Object = {
        "apiVersion": RUN.api_version,
        "kind": RUN.kind,
        "metadata": {"namespace": "shop", "name": f"crash-{key.hash}-1"},
        "spec": {"runbookRef": {"name": "x"}, "target": {"kind": "Deployment", "name": "y"}, "requestedBy": "mallory"},
    }
    world.cluster.add(squatter)

    status, content = await world.send(an_alert())

    assert (status, content["alerts"]) == (200, {"Opened": 1})
    assert content["runs"] == [f"shop/crash-{key.hash}-2"]


async def test_an_attach_that_meets_the_end_of_the_run_opens_the_next_episode(world: World) -> None:
    await world.send(an_alert("a"))
    for task in world.tasks:
        task.cancel()  # the cache stays behind
    await world.settle()
    world.end("Remediated")

    status, content = await world.send(an_alert("b"))

    assert (status, content["alerts"]) == (200, {"Opened": 1})
    assert [dig_text(run, "status", "outcome") for run in world.runs] == ["Remediated", ""]


async def test_an_attach_that_meets_another_attach_keeps_both(world: World) -> None:
    await world.send(an_alert("a"))
    for task in world.tasks:
        task.cancel()
    await world.settle()
    run = Run.parse(world.runs[0])
    both = run.alerts.model_copy(update={"identities": _with(run, "x"), "count": 2})
    world.cluster.change(
        ObjectRef(RUN.group, RUN.kind, run.namespace, run.name),
        lambda obj: obj.update(status={"alerts": both.as_json()}),
    )

    status, content = await world.send(an_alert("b"))

    assert (status, content["alerts"]) == (200, {"Attached": 1})
    assert len(world.recorded()) == 3


def _with(run: Run, name: str) -> str:
    return Identities.decode(run.alerts.identities).merge(Identities.of([read_alert(an_alert(name))])).encode()


async def test_the_leaders_other_writes_do_not_hold_an_attach_up(world: World) -> None:
    await world.send(an_alert("a"))
    await world.send(an_alert("b"))
    for task in world.tasks:
        task.cancel()
    await world.settle()

    def diagnosing(obj: Object) -> None:
        status = obj["status"]
        assert isinstance(status, dict)
        status["message"] = "reading"

    world.cluster.change(ObjectRef.to(world.runs[0], RUN), diagnosing)
    reads = sum(1 for call in world.cluster.calls if call.verb == "get")

    status, content = await world.send(an_alert("c"))

    assert (status, content["alerts"]) == (200, {"Attached": 1})
    assert sum(1 for call in world.cluster.calls if call.verb == "get") == reads
    assert dig_text(world.runs[0], "status", "message") == "reading"


async def test_a_run_whose_namespace_is_going_is_stored_in_the_operators(world: World) -> None:
    world.cluster.add(workload("doomed", namespace="doomed"))
    namespace = ObjectRef("", "Namespace", "", "doomed")
    world.cluster.change(namespace, lambda obj: obj.update(status={"phase": "Terminating"}))
    world.cluster.refuse_when(
        lambda write, _: "namespace doomed is being terminated" if write.ref.namespace == "doomed" else ""
    )

    status, content = await world.send(an_alert(namespace="doomed", deployment="doomed"), an_alert("b"))

    assert (status, content["alerts"]) == (200, {"Opened": 2})
    stored = next(run for run in world.runs if dig_text(run, "metadata", "namespace") == OPERATOR)
    assert "being deleted" in dig_text(stored, "spec", "reason")


@pytest.mark.parametrize("namespace", ["vanished", "no.namespace", "x" * 80])
async def test_an_alert_from_a_namespace_that_is_none_does_not_poison_its_group(world: World, namespace: str) -> None:
    status, content = await world.send(an_alert(namespace=namespace, deployment="", pod="p"), an_alert("b"))

    assert (status, content["alerts"]) == (200, {"Opened": 2})
    assert (await world.send(an_alert(namespace=namespace, deployment="", pod="p")))[1]["alerts"] == {"Recorded": 1}


async def test_a_refusal_that_somebody_may_lift_is_answered_503(world: World) -> None:
    refused = True
    world.cluster.refuse_when(lambda write, _: "everything is suspended" if refused else "")

    status, content = await world.send(an_alert())
    assert status == 503
    assert "suspended" in content["message"]

    refused = False
    assert (await world.send(an_alert()))[0] == 200


# A failure at every call


class FailsAt(FakeCluster):
    """The same API server, whose calls fail at one place: before it does anything, or after."""

    def armed(self, call: int, error: RemediatorError, *, done: bool) -> "FailsAt":
        self.countdown, self.error, self.done = call, error, done
        return self

    async def _through(self, work: Callable[[], Awaitable[Any]]) -> Any:
        self.countdown -= 1
        if self.countdown == 0 and not self.done:
            raise self.error
        result = await work()
        if self.countdown == 0:
            raise self.error
        return result

    async def read(self, ref: ObjectRef) -> Object:
        found: Object = await self._through(lambda: super(FailsAt, self).read(ref))
        return found

    async def create(self, kind: Any, obj: Object, *, dry_run: bool = False) -> Object:
        found: Object = await self._through(lambda: super(FailsAt, self).create(kind, obj, dry_run=dry_run))
        return found

    async def patch(self, ref: ObjectRef, operations: Any, *, dry_run: bool = False, sub: str = "") -> Object:
        found: Object = await self._through(
            lambda: super(FailsAt, self).patch(ref, operations, dry_run=dry_run, sub=sub)
        )
        return found


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("cache", ["follows", "stays behind"])
@pytest.mark.parametrize("call", range(1, 12))
async def test_a_failure_at_any_call_loses_nothing_and_does_nothing_twice(
    tmp_path: Path, call: int, cache: str, done: bool
) -> None:
    clock = StoppedClock()
    cluster = FakeCluster(clock)
    populate(cluster)
    for name in ("d1", "d2"):
        cluster.add(workload(name))
    (tmp_path / "token").write_text(TOKEN)
    failing = FailsAt(server=cluster._server).armed(0, Unavailable("lost"), done=done)
    world = World(cluster, clock, failing, tmp_path)
    world.policy()
    await world.start()
    try:
        await world.send(an_alert("a", deployment="d1"))
        if cache == "stays behind":
            for task in world.tasks:
                task.cancel()
            await world.settle()
        failing.armed(call, Unavailable("lost"), done=done)
        alerts = [
            *(an_alert(f"{name}{i}", deployment=name) for name in ("d1", "d2", "checkout") for i in range(2)),
            *(an_alert(f"nowhere{i}", deployment=f"none{i}") for i in range(2)),
        ]

        answers = [(await world.send(*alerts))[0] for _ in range(4)]

        assert answers[-1] == 200
        assert set(answers) <= {200, 503}
        assert len(world.recorded()) == 9
        assert len(world.runs) == 4
        counts = sorted(Run.parse(run).alerts.count for run in world.runs)
        assert counts == [2, 2, 2, 3]
    finally:
        await world.stop()


async def test_a_conflict_that_never_ends_is_answered_503(world: World) -> None:
    await world.send(an_alert("a"))
    world.cluster.fail_next(50, Conflict("somebody else"), verb="patch")

    assert (await world.send(an_alert("b")))[0] == 503


# Bursts


async def test_notifications_of_one_key_at_the_same_time_make_one_run_and_few_writes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sleep(seconds: float) -> None:
        for _ in range(500):  # others get as far as they can meanwhile
            await asyncio.sleep(0)
        world.clock.advance(timedelta(seconds=seconds))

    monkeypatch.setattr(world.clock, "sleep", sleep)

    answers = await asyncio.gather(*(world.send(an_alert(str(i))) for i in range(50)))

    assert {status for status, _ in answers} == {200}
    assert len(world.runs) == 1
    assert Run.parse(world.runs[0]).alerts.count == 50
    assert world.creates == 1
    assert world.attaches <= 3


async def test_more_than_a_thousand_alerts_of_one_target_are_all_recorded(world: World) -> None:
    many = [an_alert(str(i)) for i in range(MAX_IDENTITIES + 50)]

    status, content = await world.send(*many)
    assert (status, content["alerts"]) == (200, {"Opened": MAX_IDENTITIES + 50})
    run = Run.parse(world.runs[0])
    (beside,) = world.cluster.objects("ConfigMap", "shop")
    assert run.alerts.count == MAX_IDENTITIES + 50
    assert len(str(run.spec.as_json())) < 40_000
    assert beside["immutable"] is True
    assert dig_text(beside, "metadata", "ownerReferences", 0, "uid") == run.uid

    assert (await world.send(*many))[1]["alerts"] == {"Recorded": MAX_IDENTITIES + 50}
    world.end("Remediated")
    await world.settle()
    assert (await world.send(*many))[1]["alerts"] == {"Covered": MAX_IDENTITIES + 50}


# What is not taken in


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1]])
async def test_without_a_known_token_nothing_is_taken_in(world: World, token: str) -> None:
    status, _ = await world.send(an_alert(), token=token)

    assert status == 401
    assert world.runs == []


async def test_nobodys_call_is_read(world: World) -> None:
    assert world.client is not None
    told = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"{"
        await told.wait()

    answer = await world.client.post("/v1/alerts", data=endless(), headers={"Authorization": "Bearer wrong"})
    told.set()

    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_more_than_can_be_held_is_answered_503_and_leaves_room_behind(world: World) -> None:
    assert world.client is not None
    at_once = MOST_BYTES_AT_ONCE // MAX_PAYLOAD_BYTES
    go_on = asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        yield b" "  # with which the head is sent
        await go_on.wait()
        yield a_payload(an_alert())

    async def send() -> int:
        assert world.client is not None
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return (await world.client.post("/v1/alerts", data=waiting(), headers=headers)).status

    def sample(name: str, **labels: str) -> float:
        return world.metrics.registry.get_sample_value(name, labels) or 0

    held = [asyncio.create_task(send()) for _ in range(at_once)]
    async with asyncio.timeout(20):
        while sample("remediator_senders_admitted_total", by="Token") < at_once:  # noqa: ASYNC110 - the server does it
            await asyncio.sleep(0.001)
    assert (await world.send(an_alert()))[0] == 503
    assert sample("remediator_notifications_refused_total", reason="Overloaded") == 1

    go_on.set()
    assert await asyncio.gather(*held) == [200] * at_once
    assert (await world.send(an_alert()))[0] == 200


async def test_a_token_can_be_exchanged_without_losing_an_alert(world: World) -> None:
    (world.tokens / "two").write_text("the-next-one")
    world.clock.advance(timedelta(seconds=10))
    assert (await world.send(an_alert("a"), token="the-next-one"))[0] == 200
    assert (await world.send(an_alert("b")))[0] == 200

    (world.tokens / "one").unlink()
    world.clock.advance(timedelta(seconds=10))
    assert (await world.send(an_alert("c")))[0] == 401


async def test_without_any_token_configured_the_sender_shall_try_again(world: World) -> None:
    (world.tokens / "one").unlink()
    world.clock.advance(timedelta(seconds=10))

    assert (await world.send(an_alert()))[0] == 503


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", a_payload("x"), a_payload({"status": "firing"}), a_payload(version="3")]
)
async def test_nonsense_is_refused_with_its_problems(world: World, body: bytes) -> None:
    status, content = await world.send(body=body or b" ")

    assert status == 400
    assert content["problems"]


async def test_one_malformed_alert_does_not_keep_the_others_out(world: World) -> None:
    status, content = await world.send(body=a_payload({"status": "firing"}, an_alert(), truncatedAlerts=7))

    assert status == 200
    assert content["alerts"] == {"Malformed": 1, "Opened": 1, "Truncated": 7}
    assert content["problems"]


async def test_too_much_is_refused_and_counted(world: World) -> None:
    for body in (b" " * (MAX_PAYLOAD_BYTES + 1), a_payload(*([{}] * (MAX_ALERTS + 1)))):
        assert (await world.send(body=body))[0] == 413

    refused = {"reason": "TooLarge"}
    assert world.metrics.registry.get_sample_value("remediator_notifications_refused_total", refused) == 2


async def test_a_notification_without_alerts_is_answered(world: World) -> None:
    assert await world.send() == (200, {"alerts": {}, "runs": []})


async def test_a_failure_tells_the_sender_when_to_come_back(world: World) -> None:
    assert world.client is not None
    world.cluster.fail_next(1, Unavailable("no answer"), verb="create")

    answer = await world.client.post(
        "/v1/alerts", data=a_payload(an_alert()), headers={"Authorization": f"Bearer {TOKEN}"}
    )

    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0


async def test_a_mistake_of_ours_is_answered_503_and_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(world.taker, "take", lambda _: 1 / 0)

    assert (await world.send(an_alert()))[0] == 503
    assert "could not be taken in" in caplog.text


async def test_what_takes_too_long_is_answered_before_the_sender_gives_up(world: World) -> None:
    hanging = asyncio.Event()
    create = world.cluster.create

    async def slow(*arguments: Any, **named: Any) -> Object:
        await hanging.wait()
        return await create(*arguments, **named)

    world.cluster.create = slow  # type: ignore[method-assign]
    world.intake._answered_within_seconds = 0.5

    assert (await world.send(an_alert()))[0] == 503

    hanging.set()  # the write went on without the one who waited
    await world.keeper.finish()
    await world.settle()
    assert (await world.send(an_alert()))[1]["alerts"] == {"Recorded": 1}
    assert world.creates == 1


# Caches


async def test_nothing_is_answered_from_caches_that_were_not_filled(world: World) -> None:
    world.index.synced = False

    assert (await world.send(an_alert()))[0] == 503


async def test_after_a_silence_the_policies_are_asked_for_once(world: World) -> None:
    world.clock.advance(timedelta(seconds=61))
    await asyncio.gather(*(world.send(an_alert(alertname=f"Other{i}")) for i in range(5)))

    lists = [call for call in world.cluster.calls if call.verb == "list" and call.resource == POLICY.plural]
    assert len(lists) == 3  # at the start twice, and once here


async def test_a_policy_that_the_cache_does_not_know_loses_no_alert(world: World) -> None:
    for task in world.tasks:
        task.cancel()
    await world.settle()
    world.policy(name="newer", matchers=['alertname="Odd"'])
    world.clock.advance(timedelta(seconds=61))

    assert (await world.send(an_alert(alertname="Odd")))[0] == 503

    world.watch()
    await world.settle()
    assert (await world.send(an_alert(alertname="Odd")))[1]["alerts"] == {"Opened": 1}


async def test_a_process_that_is_cut_off_does_not_say_of_a_new_policy_that_there_is_none(world: World) -> None:
    for task in world.tasks:
        task.cancel()
    await world.settle()
    world.policy(name="newer", matchers=['alertname="Odd"'])
    world.clock.advance(timedelta(seconds=8))
    assert (await world.send(an_alert(alertname="Odd")))[1]["alerts"] == {"NoPolicy": 1}

    world.out_of_reach_seconds = 8

    assert (await world.send(an_alert(alertname="Odd")))[0] == 503


async def test_while_the_api_server_does_not_answer_the_policies_are_asked_for_every_few_seconds(world: World) -> None:
    world.out_of_reach_seconds = 8
    for _ in range(10):
        await world.send(an_alert(alertname="Other"))
        world.clock.advance(timedelta(seconds=2))

    lists = [call for call in world.cluster.calls if call.verb == "list" and call.resource == POLICY.plural]
    assert len(lists) == 4  # at the start twice, and twice here


async def test_policies_that_cannot_be_asked_for_after_a_silence_are_not_believed(world: World) -> None:
    world.clock.advance(timedelta(seconds=61))
    world.cluster.fail_next(1, Unavailable("no answer"), verb="list")

    assert (await world.send(an_alert()))[0] == 503


# The end


async def test_a_call_on_a_kept_connection_that_meets_the_stop_is_stored_or_not_answered_2xx(world: World) -> None:
    server = Server(world.intake.application(), "127.0.0.1", 0)
    await server.start()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:

        async def post(name: str) -> str:
            url = f"http://127.0.0.1:{server.port}/v1/alerts"
            try:
                async with session.post(url, data=a_payload(an_alert(name))) as answer:
                    return name if answer.status == 200 else ""
            except aiohttp.ClientError:
                return ""

        await asyncio.gather(*(post(f"before{number}") for number in range(5)))  # which opens connections
        sending = [asyncio.create_task(post(f"during{number}")) for number in range(5)]
        await server.stop()
        answered = {name for name in await asyncio.gather(*sending) if name}
        late = await post("late")

    await world.keeper.finish()
    recorded = {identity.digest for identity in world.recorded()}
    assert late == ""
    assert all(read_alert(an_alert(name)).identity.digest in recorded for name in answered)


async def test_a_stop_answers_what_is_in_flight(world: World) -> None:
    server = Server(world.intake.application(), "127.0.0.1", 0)
    await server.start()
    reached, go_on = asyncio.Event(), asyncio.Event()
    create = world.cluster.create

    async def slow(*arguments: Any, **named: Any) -> Object:
        reached.set()
        await go_on.wait()
        return await create(*arguments, **named)

    world.cluster.create = slow  # type: ignore[method-assign]
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:

        async def post() -> int:
            async with session.post(f"http://127.0.0.1:{server.port}/v1/alerts", data=a_payload(an_alert())) as answer:
                return answer.status

        sending = asyncio.create_task(post())
        await reached.wait()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        go_on.set()

        assert await sending == 200
        await stopping
        with pytest.raises(aiohttp.ClientError):
            await post()
