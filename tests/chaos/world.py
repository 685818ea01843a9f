"""
A cluster in which seeds are played: the operator's replicas behind their proxies, the sources of alerts, the shops' namespaces.

One world serves many seeds. What a seed makes bears its name, and is taken away after it.
"""

import http.client
import json
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final, Self
from unittest.mock import patch

from chaos.checker import WAITS
from chaos.etcd import Etcd
from chaos.replica import Replica
from chaos.shops import SEED, Shop, Story, policy, runbook
from chaos.sources import Signal, Source
from localcluster import Cluster, CommandFailed, StartFailed, controlplane
from localcluster.api import ApiError
from localcluster.operator import NAMESPACE, install, open_namespace
from localcluster.processes import moments

OURS: Final = "/apis/remediator.dev/v1alpha1"
LEASE: Final = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/remediator-leader"
APPS: Final = "/apis/apps/v1"
LOOK_SECONDS: Final = 0.4
LEASE_SECONDS: Final = 8
"""
Short, so that a leader that is killed is not missed for long; it renews three times in it.

On a machine that does ten other things a shorter one is lost before a term has done anything.
"""

AUDIT_POLICY: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": [
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {
            "level": "RequestResponse",
            "resources": [
                {"group": "apps", "resources": ["deployments"]},
                {"group": "remediator.dev", "resources": ["runbookruns", "runbookruns/status"]},
                {"group": "", "resources": ["configmaps"], "resourceNames": ["leader-epoch"]},
            ],
        },
        {"level": "None"},
    ],
}
"""Whole objects of what the checker reads, and nothing else."""


@contextmanager
def started(name: str, replicas: int) -> Iterator["World"]:
    """
    A world on a cluster of its own: whoever shared it would share its faults. Nothing of it is left afterwards.

    Raises:
        NotAvailable: where this machine cannot start one.
    """
    with patch.object(controlplane, "AUDIT_POLICY", AUDIT_POLICY):
        cluster = Cluster.up(name, simulated=0)
    with cluster, World(cluster, replicas) as made:
        yield made


class World:
    """Everything that runs while seeds are played."""

    def __init__(self, cluster: Cluster, replicas: int = 1) -> None:
        self.cluster = cluster
        self.api = cluster.api
        self.etcd = Etcd(cluster)
        environment = {"REMEDIATOR_LEASE_SECONDS": str(LEASE_SECONDS)}
        self.replicas = [Replica(cluster, number, environment) for number in range(replicas)]
        self.namespaces: list[str] = []
        self.epoch = int(time.time())
        self.cured: dict[str, float] = {}
        """When each shop was first seen with its larger queue."""
        self.open_runs: set[str] = set()
        """The runs of the seed that had not ended when they were last looked at."""
        self.runs: list[dict[str, Any]] = []
        self.shops: Sequence[Shop] = ()
        self.begun = 0.0
        self.unwanted: dict[str, tuple[float, float]] = {}
        """From when to when a namespace's policies were away, in Unix seconds."""
        self.gone: set[str] = set()
        """Namespaces that were deleted."""
        self.spare = ""
        """The namespace that a seed may delete."""
        self.server = threading.RLock()
        """Held by whoever stops the API server or etcd."""
        self._opening = threading.Lock()
        """What all namespaces share is applied with each: two at once would both make it."""
        self._stack = ExitStack()
        self._looking = threading.Event()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.alertmanagers = [Source(self.firing), Source(self.firing, lag_seconds=0.3)]
            self.prometheus = Source(self.firing)
            for source in self.sources:
                stack.callback(source.close)
            endpoints = {
                "alertmanager": "\n".join(one.url for one in self.alertmanagers),
                "prometheus": self.prometheus.url,
            }
            for _ in moments(60, 1):
                with suppress(CommandFailed):  # the API server does not serve yet what the same call brought
                    install(self.cluster, endpoints)
                    break
            with ThreadPoolExecutor() as pool:
                for replica in self.replicas:
                    stack.callback(replica.close)
                began = [pool.submit(replica.begin) for replica in self.replicas]
                opened = [pool.submit(self.open) for _ in range(3)]
                for replica_began in began:
                    replica_began.result()
                self.namespaces = [one.result() for one in opened]
            for going_on in (self._keep_looking, self._keep_alive):
                threading.Thread(target=going_on, daemon=True).start()
            stack.callback(self._looking.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def sources(self) -> list[Source]:
        return [*self.alertmanagers, self.prometheus]

    def replica(self, number: int) -> Replica:
        """One of them, counted round."""
        return self.replicas[number % len(self.replicas)]

    def leader(self) -> Replica:
        """The replica that the Lease names, or the first where it names none of them."""
        with suppress(ApiError, OSError):
            holder = self.api.get(LEASE, timeout=3)["spec"].get("holderIdentity") or ""
            return next((one for one in self.replicas if holder.startswith(f"{one.name}_")), self.replicas[0])
        return self.replicas[0]

    def namespace(self, number: int) -> str:
        """One of those that last."""
        return self.namespaces[number % len(self.namespaces)]

    def open(self) -> str:
        """A namespace with its Runbooks and policies, all of them ready."""
        name = f"chaos-{secrets.token_hex(3)}"
        self.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        # one seed after the other is a storm by the default rule
        with self._opening:
            open_namespace(self.cluster, name, ["setEnv"], storm={"episodes": 100_000})
        for story in Story:
            self.api.call("POST", f"{OURS}/namespaces/{name}/runbooks", runbook(name, story))
            self.api.call("POST", f"{OURS}/namespaces/{name}/alertpolicies", policy(name, story))
        self.wait_for(lambda: len(self._ready(name)) == len(Story), f"the policies of {name} are not ready")
        return name

    # a seed's own

    def stock(self, shops: Sequence[Shop]) -> None:
        """The Deployments of these are there and have been looked at by the controllers."""
        for shop in shops:
            self.api.call("POST", f"{APPS}/namespaces/{shop.namespace}/deployments", shop.manifest)
        names = {shop.name for shop in shops}
        self.wait_for(lambda: names <= self._observed(shops[0].seed), "the Deployments are not looked at")

    def begin(self, shops: Sequence[Shop]) -> None:
        """From now on these are what the sources speak of."""
        self.cured, self.open_runs, self.runs, self.unwanted = {}, set(), [], {}
        for source in self.sources:
            source.sayings.clear()
            source.numbers.clear()
        self.epoch, self.begun = int(time.time()), time.time()
        self.shops = shops

    def clear(self, shops: Sequence[Shop]) -> None:
        """Nothing of the seed is left, but for what ends by itself."""
        self.shops = ()
        for namespace in {shop.namespace for shop in shops}:
            with suppress(ApiError, OSError):
                self.api.call("DELETE", f"{OURS}/namespaces/{namespace}/runbookruns")
                self.api.call("DELETE", f"{APPS}/namespaces/{namespace}/deployments?propagationPolicy=Background")

    @property
    def elapsed(self) -> float:
        return time.time() - self.begun

    def firing(self, at: float) -> list[Signal]:
        """What fires at a moment, in Unix seconds."""
        told = []
        for shop in self.shops:
            number = self.firing_number(shop, at)
            if number is not None:
                told.append(shop.signal(number, self.epoch))
        return told

    def firing_number(self, shop: Shop, at: float) -> int | None:
        """Which of the shop's alerts fires at a moment, if one does."""
        cured = self.cured.get(shop.name)
        if cured is not None and shop.is_curable and at >= cured:
            return None
        since = at - self.begun
        return next((n for n, (begins, ends) in enumerate(shop.fires) if begins <= since < ends), None)

    def post(self, replica: Replica, alerts: Iterable[dict[str, Any]]) -> tuple[int, str]:
        """HTTP's status of one notification, and the answer; 0 where none came."""
        try:
            status, answer = replica.operator.post({"version": "4", "groupKey": "chaos", "alerts": [*alerts]})
        except (OSError, http.client.HTTPException, ValueError) as failure:
            return 0, str(failure)
        return status, json.dumps(answer)

    # looking

    def wait_for(self, holds: Any, otherwise: str, seconds: float = 60) -> None:
        """
        Raises:
            TimeoutError: where it does not come to hold.
        """
        for _ in moments(seconds, 0.1):
            with suppress(ApiError, OSError):
                if holds():
                    return
        raise TimeoutError(f"{otherwise} after {seconds:g}s")

    def look(self) -> None:
        """The shops that are cured and the runs that are open are known as of now."""
        shops = self.shops
        if not shops:
            return
        for one in self._deployments(shops[0].seed):
            if "QUEUE" in json.dumps(one["spec"]):
                self.cured.setdefault(one["metadata"]["name"], time.time())
        own = {shop.name for shop in shops}
        found = [
            run
            for namespace in [*{shop.namespace for shop in shops}, NAMESPACE]
            for run in self.api.items(f"{OURS}/namespaces/{namespace}/runbookruns")
            if run["spec"]["target"]["name"] in own or run["spec"]["target"]["kind"] == "unresolved"
        ]
        if shops is self.shops:
            self.runs = found
            self.open_runs = {
                f"{run['metadata']['namespace']}/{run['metadata']['name']}" for run in found if not is_at_rest(run)
            }

    def _keep_looking(self) -> None:
        while not self._looking.wait(LOOK_SECONDS):
            with suppress(ApiError, OSError, KeyError):
                self.look()

    def _keep_alive(self) -> None:
        while not self._looking.wait(LOOK_SECONDS):
            for replica in self.replicas:
                with suppress(StartFailed):
                    replica.keep_alive()

    def _deployments(self, seed: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get(f"{APPS}/deployments?labelSelector={SEED}%3D{seed}", timeout=3)[
            "items"
        ]
        return found

    def _observed(self, seed: str) -> set[str]:
        return {one["metadata"]["name"] for one in self._deployments(seed) if one["status"].get("observedGeneration")}

    def _ready(self, namespace: str) -> set[str]:
        return {
            one["metadata"]["name"]
            for one in self.api.items(f"{OURS}/namespaces/{namespace}/alertpolicies")
            for condition in one.get("status", {}).get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        }

    # the servers

    def restart_apiserver(self) -> None:
        """It has ended as it does when it is asked to, and answers again."""
        self.cluster.stop_apiserver()
        self.start_apiserver()

    def start_apiserver(self) -> None:
        """
        It answers again, at its port.

        While nobody listened there, some client's connection may have been given the port for its own end.
        """
        for _ in moments(60, 0.3):
            try:
                self.cluster.start_apiserver()
            except StartFailed as failure:
                if not failure.port_was_taken:
                    raise
                continue
            return
        raise StartFailed("the API server's port stays taken")


def is_at_rest(run: dict[str, Any]) -> bool:
    """Whether it has ended and owes nothing, or waits for a limit of the policy."""
    status = run.get("status", {})
    if status.get("held", {}).get("reason") in WAITS:
        return True
    return bool(status.get("outcome")) and all(one.get("state", "Owed") != "Owed" for one in status.get("debts", []))
