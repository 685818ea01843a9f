"""
The ground that everything is measured on: a bare cluster, the stand-ins, the installed operator.

etcd and the API server run alone: no controllers, no nodes. What rolls out and what says that an alert fires
is `standins`. The operator is installed as anywhere, and its process is started and ended by the rounds.
"""

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol, Self

from benchmarks.alerts import ALERT, account, deployment, pod, pod_names, policy, replica_set, runbook
from benchmarks.measuring import Samples
from benchmarks.wire import Access, Connections
from localcluster import Cluster, CommandFailed
from localcluster.api import Api, ApiError
from localcluster.operator import ACCOUNT, NAMESPACE, TENANT_ACCOUNT, Operator, install, open_namespace
from localcluster.processes import moments
from remediator.adapters.locks import LABEL
from remediator.domain.names import run_name
from remediator.domain.objects import ObjectRef

OURS = "/apis/remediator.dev/v1alpha1"
REPOSITORY = Path(__file__).resolve().parents[2]
WRITERS = 20
TOKEN_SECONDS = 14_400
PROCESS_SECONDS = 1_800

LOOKED_EVERY_SECONDS = 1.0

Say = Callable[[str], None]


class Stored(Protocol):
    """Makes runs to store."""

    def about(self, name: str, run: str) -> tuple[dict[str, Any], dict[str, Any]]: ...


NO_PODS: Mapping[str, int] = {}


class Ground:
    """Everything that runs while something is measured."""

    def __init__(self, cluster: Cluster, say: Say, namespace: str = "bench") -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.say = say
        self.runs = f"{OURS}/namespaces/{namespace}/runbookruns"
        self.deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self.policy = policy(namespace)["metadata"]["name"]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.standins = _started("standins")
            stack.callback(_ended, self.standins)
            assert self.standins.stdin is not None and self.standins.stdout is not None
            job = {"kubeconfig": str(self.cluster.admin_kubeconfig), "namespace": self.namespace}
            self.standins.stdin.write(json.dumps(job).encode() + b"\n")
            self.standins.stdin.flush()
            self.standins_url = self.standins.stdout.readline().decode().strip()
            for _ in moments(60, 1):
                with suppress(CommandFailed):  # the API server does not serve yet what the same call brought
                    install(self.cluster, {"alertmanager": self.standins_url})
                    break
            self.cluster.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
            # all of it together is a storm by the default rule
            open_namespace(self.cluster, self.namespace, ["setEnv"], storm={"episodes": 100_000})
            self.apply([runbook(self.namespace), policy(self.namespace), account(self.namespace)])
            self.operator = Operator(self.cluster, name="bench")
            stack.callback(self.operator.stop)
            token = self.cluster.service_account_token(NAMESPACE, ACCOUNT, seconds=TOKEN_SECONDS)
            self.account_kubeconfig = self.cluster.kubeconfig_for_token("floor", token)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def account(self) -> str:
        """The user that changes what is changed."""
        return f"system:serviceaccount:{self.namespace}:{TENANT_ACCOUNT}"

    # what is there

    def apply(self, manifests: Iterable[dict[str, Any]]) -> None:
        content = {"apiVersion": "v1", "kind": "List", "items": [*manifests]}
        self.cluster.run_kubectl("apply", "-f", "-", input=json.dumps(content))

    def stock(
        self, names: Sequence[str], *, fires: str = ALERT, pods: Mapping[str, int] = NO_PODS, anew: bool = False
    ) -> None:
        """
        These Deployments are there and rolled out, and none else; of some the alerts are about so many pods.

        `anew`: the API server remembers nothing of what was there before.
        """
        self.clear()
        if anew:
            self._begin_anew()
        made = [deployment(self.namespace, name, fires=fires, pods=pods.get(name, 0)) for name in names]
        self.create(self.deployments, made)
        self.wait(lambda: self.state()["rolledOut"] == len(names), "the Deployments are not rolled out", 300)

    def _begin_anew(self) -> None:
        """
        Another process of the API server answers.

        For a minute and more one keeps every version of what was written, and what was deleted; each collection
        of its garbage goes through all of that, so that the second of two rounds would be the slower one.
        """
        self.cluster.stop_apiserver()
        self.cluster.start_apiserver()
        for path in (self.runs, self.deployments):
            self.wait(partial(_is_served, self.cluster.api, path), f"{path} is not served", 60)

    def clear(self) -> None:
        """No Deployment, no run, no lock and no Event of an earlier round is there."""
        api = self.cluster.api
        locks = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases?labelSelector={LABEL}"
        sets = f"/apis/apps/v1/namespaces/{self.namespace}/replicasets"
        pods = f"/api/v1/namespaces/{self.namespace}/pods?gracePeriodSeconds=0"
        for path in (self.runs, self.deployments, sets, pods, locks, f"/api/v1/namespaces/{self.namespace}/events"):
            self.wait(partial(_deleted, api, path), f"{path} is not empty", 600)
        self.wait(lambda: self.state()["deployments"] == 0, "the Deployments are still there", 120)

    def create(self, path: str, objects: Sequence[dict[str, Any]]) -> None:
        """The objects are there, made many at a time."""
        asyncio.run(self._create(path, objects))

    async def _create(self, path: str, objects: Sequence[dict[str, Any]]) -> None:
        async with Connections(self.access, WRITERS) as connections:
            for first in range(0, len(objects), 1_000):
                await asyncio.gather(*(connections.call("POST", path, one) for one in objects[first : first + 1_000]))

    def pods_of(self, name: str, count: int) -> list[str]:
        """Names of as many pods that belong to the Deployment; they are there, and nothing runs."""
        owner = self.cluster.api.get(f"{self.deployments}/{name}")
        sets = f"/apis/apps/v1/namespaces/{self.namespace}/replicasets"
        made = self.cluster.api.call("POST", sets, replica_set(owner))
        names = pod_names(name, count)
        self.create(f"/api/v1/namespaces/{self.namespace}/pods", [pod(made, one) for one in names])
        return names

    def store(self, template: "Stored", count: int) -> None:
        """As many runs that have ended, each about a Deployment of its own that is not there."""
        asyncio.run(self._store(template, count))

    async def _store(self, template: "Stored", count: int) -> None:
        async def one(connections: Connections, number: int) -> None:
            name = f"queue-stored-{number:05d}"
            target = ObjectRef.of("Deployment", self.namespace, name)
            run = run_name(self.namespace, self.policy, target, 1)
            created, ended = template.about(name, run)
            made = await connections.call("POST", self.runs, created)
            ended["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
            await connections.call("PUT", f"{self.runs}/{run}/status", ended)

        async with Connections(Access(self.account_kubeconfig, "bench"), WRITERS) as connections:
            for first in range(0, count, 1_000):
                await asyncio.gather(*(one(connections, n) for n in range(first, min(count, first + 1_000))))

    @property
    def access(self) -> Access:
        """The administrator's."""
        return Access(self.cluster.admin_kubeconfig, "bench")

    def state(self) -> dict[str, int]:
        """What the stand-ins count."""
        with _opened(f"{self.standins_url}/state") as answer:
            return dict(json.load(answer))

    def metrics(self) -> Samples:
        """The operator's /metrics."""
        with _opened(f"{self.operator.health_url}/metrics") as answer:
            return Samples.parse(answer.read().decode())

    def versions_of(self, runs: str, since: str) -> list[dict[str, Any]]:
        """All that happened to the runs at a path since a resourceVersion, as the API server remembers it."""
        return asyncio.run(self._versions_of(f"{runs}?watch=true&timeoutSeconds=1&resourceVersion={since}"))

    async def _versions_of(self, path: str) -> list[dict[str, Any]]:
        async with Connections(self.access, 1) as connections, connections.one() as connection:
            return [json.loads(line)["object"] async for line in connection.lines(path)]

    def wait_or_go_on(self, holds: Callable[[], bool], seconds: float) -> None:
        """Until it holds, or the time is over: then the counts say what is missing."""
        with suppress(TimeoutError):
            self.wait(holds, "it does not hold", seconds, LOOKED_EVERY_SECONDS)

    def wait(self, holds: Callable[[], bool], otherwise: str, seconds: float, pause: float = 0.2) -> None:
        for _ in moments(seconds, pause):
            if holds():
                return
        raise TimeoutError(f"{otherwise} after {seconds:g}s")


def _is_served(api: Api, path: str) -> bool:
    """Whether the API server has read the kind from its storage."""
    try:
        api.get(path)
    except (ApiError, ConnectionError):
        return False
    return True


def _deleted(api: Api, path: str) -> bool:
    """
    Whether everything there is gone.

    With many thousands still there the API server gives up after a minute, with an answer or without.
    """
    try:
        api.call("DELETE", path, timeout=300)
    except ApiError as refusal:
        if refusal.status != HTTPStatus.GATEWAY_TIMEOUT:
            raise
        return False
    except ConnectionError:
        return False
    return True


def in_a_process(module: str, job: dict[str, Any], meanwhile: Callable[[int], None] | None = None) -> Any:
    """
    What a process of the benchmark answers to its job.

    Raises:
        RuntimeError: with what it wrote to its standard error.
    """
    process = _started(module, errors=subprocess.PIPE)
    try:
        if meanwhile is not None:
            meanwhile(process.pid)
        out, errors = process.communicate(json.dumps(job).encode(), timeout=PROCESS_SECONDS)
    finally:
        _ended(process)
    if process.returncode != 0:
        raise RuntimeError(f"{module} ended with {process.returncode}: {errors.decode()[-2_000:]}")
    return json.loads(out)


def _started(module: str, errors: int | None = None) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd=REPOSITORY,
        env={"PYTHONPATH": "operator:deploy/local:tests", "PATH": "/usr/bin:/bin"},
    )


def _ended(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def _opened(url: str) -> Any:
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20)
