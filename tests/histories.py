"""Ended runs as the operator leaves them behind, for tests of what becomes of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from prometheus_client import CollectorRegistry

from remediator.adapters.locks import LeaseLocks
from remediator.domain.alerts import Alert, Identities
from remediator.domain.names import key_hash, run_name
from remediator.domain.objects import POLICY, RUN, Kind, ObjectRef
from remediator.domain.runs import rfc3339
from remediator.engine.alertsets import opening
from remediator.handlers.accept import Books
from remediator.handlers.definition import Definition
from remediator.handlers.deleting import Deleter
from remediator.handlers.histories import Histories
from remediator.handlers.metrics import RetentionMetrics
from remediator.handlers.remains import Remains
from remediator.handlers.replies import Replies
from remediator.handlers.retention import Retention
from remediator.handlers.stored import StoredRuns
from remediator.handlers.switch import Switch
from remediator.testing.clock import StoppedClock
from remediator.testing.cluster import FakeCluster
from remediator.testing.fakes import FakeEvents, FakeLocks

CHECKOUT = ObjectRef.of("Deployment", "shop", "checkout")
NAMESPACE = "remediator-system"


def an_alert(fingerprint: str = "a", at: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> Alert:
    return Alert(fingerprint, "firing", {"alertname": "QueueFull", "namespace": "shop"}, {}, at)


def ended(
    number: int,
    ended_at: datetime,
    *,
    target: ObjectRef = CHECKOUT,
    alerts: Sequence[Alert] = (),
    outcome: str | None = "Remediated",
    policy: str = "queue",
    home: str = "shop",
    generation: int = 1,
    status: dict[str, Any] | None = None,
) -> Any:
    """A run of an episode that ended then; without an outcome it is open."""
    begun = ended_at - timedelta(minutes=5)
    opened, _ = opening(alerts or (an_alert(f"{target.name}-{number}"),), begun)
    over = {"state": "Ended", "outcome": outcome, "endedAt": rfc3339(ended_at)} if outcome else {}
    return {
        "apiVersion": RUN.api_version,
        "kind": RUN.kind,
        "metadata": {
            "namespace": target.namespace,
            "name": run_name(home, policy, target, number),
            "creationTimestamp": rfc3339(begun),
        },
        "spec": {
            "runbookRef": {"namespace": "shop", "name": "queue"},
            "policyRef": {"namespace": home, "name": policy, "uid": "policy-uid", "generation": generation},
            "target": {"kind": target.kind_text, "namespace": target.namespace, "name": target.name},
            "requestedBy": "system:serviceaccount:remediator-system:remediator",
            "episode": {"key": key_hash(home, policy, target), "number": number, "alerts": opened.as_json()},
        },
        "status": {"alerts": opened.as_json(), **over, **(status or {})},
    }


def by_hand(name: str, ended_at: datetime, *, outcome: str = "Done", **status: Any) -> Any:
    """A run that a person asked for, and that ended then."""
    found = ended(1, ended_at, outcome=outcome, status=status)
    del found["spec"]["policyRef"], found["spec"]["episode"], found["status"]["alerts"]
    found["metadata"]["name"] = name
    return found


def with_uid(obj: Any, version: int = 1) -> Any:
    """The run as if it were stored."""
    meta = {**obj["metadata"], "uid": f"uid-{obj['metadata']['name']}", "resourceVersion": str(version)}
    return {**obj, "metadata": meta}


def a_policy(name: str = "queue", *, namespace: str = "shop", limits: Any = None, **history: Any) -> Definition:
    """What the operator knows of a policy; whether it is Ready plays no part here."""
    meta = {"namespace": namespace, "name": name, "uid": "policy-uid", "generation": 1}
    return Definition(
        POLICY,
        {"metadata": meta, "spec": {"runbookRef": {"name": "queue"}, "history": history, "limits": limits or {}}},
    )


@dataclass
class Known:
    """`handlers.histories.Definitions`: the policies that a test gives."""

    policies: dict[tuple[str, str], Definition] = field(default_factory=dict)
    is_complete: bool = True

    def put(self, *policies: Definition) -> None:
        self.policies |= {policy.name: policy for policy in policies}

    def all(self, kind: Kind) -> tuple[Definition, ...]:
        assert kind == POLICY
        return tuple(self.policies.values())

    def get(self, kind: Kind, name: tuple[str, str]) -> Definition | None:
        assert kind == POLICY
        return self.policies.get(name)


@dataclass
class _Outside:
    """As much of `handlers.outside.Outside` as freezing a Runbook needs."""

    cluster: FakeCluster
    clock: StoppedClock
    namespace: str


class Archive:
    """Stored runs, and the part of the operator that keeps them few."""

    def __init__(
        self, *, most: int = 20_000, at: datetime = datetime(2026, 6, 1, 12, tzinfo=UTC), leases: bool = False
    ) -> None:
        self.clock = StoppedClock(at)
        self.cluster = FakeCluster(self.clock)
        self.cluster.add_namespace(NAMESPACE)
        self.known = Known()
        self.known.put(a_policy())
        self.switch = Switch(self.cluster, NAMESPACE)
        self.switch.heard("SYNCED", {})
        self.events = FakeEvents()
        self.locks: Any = LeaseLocks(self.cluster, NAMESPACE) if leases else FakeLocks()
        self.replies = Replies()
        self.replies.changed("SYNCED", {})
        self.metrics = RetentionMetrics(CollectorRegistry())
        self.most = most
        self.restart()

    def restart(self) -> None:
        """The operator is another process, which knows nothing yet."""
        self.stored = StoredRuns()
        self.histories = Histories(self.known, self.clock)
        self.deleter = Deleter(self.cluster, self.locks, self.replies, self.clock, self.metrics)
        self.books = Books(cast(Any, _Outside(self.cluster, self.clock, NAMESPACE)))
        self.remains = Remains(
            self.stored,
            self.histories,
            self.replies,
            self.books,
            self.locks,
            self.cluster,
            self.switch,
            self.clock,
            self.metrics,
            operator_namespace=NAMESPACE,
        )
        self.retention = Retention(
            self.stored,
            self.histories,
            self.deleter,
            self.cluster,
            self.switch,
            self.events,
            self.clock,
            operator_namespace=NAMESPACE,
            most=self.most,
        )

    def ago(self, **time: float) -> datetime:
        return self.clock.now() - timedelta(**time)

    def look(self) -> None:
        """What the watch of runs brings."""
        known = {run.place for run in self.stored}
        for obj in self.objects():
            self.stored.changed("ADDED", obj)
            known.discard((obj["metadata"]["namespace"], obj["metadata"]["name"]))
        for place in known:
            gone = self.stored.get(place)
            assert gone is not None
            self.stored.changed("DELETED", {"metadata": {"namespace": place[0], "name": place[1], "uid": gone.uid}})
        self.stored.changed("SYNCED", {})

    async def sweep(self) -> int:
        self.look()
        deleted = await self.retention.sweep()
        self.look()
        return deleted

    async def listen(self) -> None:
        """The operator runs for so long that it has heard of everything that is sent."""
        self.clock.advance(timedelta(hours=7))

    def objects(self) -> Any:
        """All stored runs."""
        return self.cluster.objects(RUN)

    def numbers(self, target: ObjectRef = CHECKOUT) -> list[int]:
        """The episodes of a target that are stored."""
        return sorted(
            obj["spec"]["episode"]["number"]
            for obj in self.objects()
            if obj["spec"]["target"]["name"] == target.name and "episode" in obj["spec"]
        )

    def run(self, number: int, target: ObjectRef = CHECKOUT) -> Any:
        name = run_name("shop", "queue", target, number)
        return self.cluster.get(ObjectRef(RUN.group, RUN.kind, target.namespace, name))

    def answers(self, number: int, target: ObjectRef = CHECKOUT) -> Identities:
        """What the run answers for others."""
        covered = self.run(number, target)["status"]["covered"]
        return Identities().merge(*(Identities.decode(one["identities"]) for one in covered))
