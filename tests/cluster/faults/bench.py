"""
Many runs side by side, each with a fault of its own, on one operator behind the proxy.

Each run has a Deployment, a Runbook and a policy to itself, so that every call belongs to one of
them. A kill is prepared by holding each run at its own call, and is then one for all of them: the
process ends once, and every run is interrupted exactly where it was to be.
"""

import http.client
import http.server
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Self

from cluster.faults.audit import Audit, Write
from cluster.faults.proxy import Call, Fault, Proxy, Subject
from localcluster import Cluster, CommandFailed
from localcluster.operator import TENANT_ACCOUNT, Operator, install, open_namespace
from localcluster.processes import moments
from remediator.domain.names import key_hash, lease_name, run_name
from remediator.domain.objects import ObjectRef
from remediator.domain.runs import Run, RunOutcome, StepState

OURS = "/apis/remediator.dev/v1alpha1"
STEP = "remediator.dev/step"
BEGAN = "2026-06-01T11:00:00Z"
SIDE_BY_SIDE = 26
"""Held calls keep a connection each, and the operator has 64; its watches need some of them."""

HELD_SECONDS = 22.0
"""A call gives up after thirty."""

WANTED = "500"


@dataclass
class Shop:
    """One Deployment with its Runbook, its policy, its alert and its run."""

    namespace: str
    name: str
    fault: Fault = Fault.NONE
    at: int = 0
    where: Callable[[Call], bool] | None = None
    subject: Subject = field(init=False)
    answers: list[int] = field(default_factory=list)
    """What its notifications were answered with."""

    def __post_init__(self) -> None:
        words = {self.name, key_hash(self.namespace, self.name, self.target), lease_name(self.target)}
        self.subject = Subject(words, self.fault, self.at, self.where)

    @property
    def target(self) -> ObjectRef:
        return ObjectRef.of("Deployment", self.namespace, self.name)

    @property
    def run_name(self) -> str:
        return run_name(self.namespace, self.name, self.target, 1)

    @property
    def fingerprint(self) -> str:
        return self.name.encode().hex().rjust(16, "0")[-16:]

    @property
    def labels(self) -> dict[str, str]:
        return {"alertname": "QueueFull", "namespace": self.namespace, "deployment": self.name}

    def alert(self, status: str = "firing") -> dict[str, Any]:
        return {
            "status": status,
            "labels": self.labels,
            "annotations": {},
            "startsAt": BEGAN,
            "endsAt": "2026-06-01T12:00:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
            "fingerprint": self.fingerprint,
        }

    def manifests(self) -> list[dict[str, Any]]:
        meta = {"namespace": self.namespace, "name": self.name}
        container = {"name": "app", "image": "local.remediator.dev/workload:1"}
        return [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": meta,
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": {"app": self.name}},
                    "template": {
                        "metadata": {"labels": {"app": self.name}},
                        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
                    },
                },
            },
            {
                "apiVersion": "remediator.dev/v1alpha1",
                "kind": "Runbook",
                "metadata": meta,
                "spec": {
                    "description": f"The queue of {self.name} is full.",
                    "targets": ["Deployment"],
                    "diagnose": [{"name": "history", "rolloutHistory": {}}],
                    "remedies": [
                        {
                            "name": "bigger",
                            "steps": [
                                {"name": "raise", "setEnv": {"container": "app", "vars": {"QUEUE": {"value": WANTED}}}}
                            ],
                        }
                    ],
                    "verify": [
                        {"rollout": {"within": "2m"}},
                        {"alertResolved": {"quietFor": "1s", "within": "2m"}},
                    ],
                },
            },
            {
                "apiVersion": "remediator.dev/v1alpha1",
                "kind": "AlertPolicy",
                "metadata": meta,
                "spec": {
                    "matchers": ['alertname="QueueFull"', f'deployment="{self.name}"'],
                    "runbookRef": {"name": self.name},
                    "mode": "Automatic",
                    "serviceAccountName": TENANT_ACCOUNT,
                    "grace": "0s",
                },
            },
        ]

    def __str__(self) -> str:
        return f"{self.name}: call {self.at} {self.fault}"


class Bench:
    """A cluster with the operator installed and its process behind the proxy."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.api = cluster.api
        self.namespace = f"faults-{secrets.token_hex(3)}"
        self.firing: dict[str, Shop] = {}
        self.kills = 0
        self._made = 0
        self._calls = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.proxy = stack.enter_context(Proxy(self.cluster))
            alertmanager = Alertmanager(self)
            stack.callback(alertmanager.close)
            for _ in moments(60, 1):
                with suppress(CommandFailed):  # the API server does not serve yet what the same call brought
                    install(self.cluster, {"alertmanager": alertmanager.url})
                    break
            self.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
            # all its runs together are a storm by the default rule
            open_namespace(self.cluster, self.namespace, ["setEnv"], storm={"episodes": 100_000})
            self.operator = self.another("faults", self.proxy.url)
            stack.callback(self.operator.stop)
            self.operator.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        with suppress(OSError):
            self.api.call("DELETE", f"{OURS}/guardrails/{self.namespace}")
            self.api.call("DELETE", f"/api/v1/namespaces/{self.namespace}")

    def another(self, name: str, server: str = "") -> Operator:
        """An operator process for which held runs are no reason to leave others waiting."""
        return Operator(self.cluster, name=name, server=server, environment={"REMEDIATOR_WORKERS": "128"})

    def shop(self, fault: Fault = Fault.NONE, at: int = 0, where: Callable[[Call], bool] | None = None) -> Shop:
        self._made += 1
        return Shop(self.namespace, f"q{self._made:03d}-{secrets.token_hex(2)}", fault, at, where)

    def open(self, shops: Sequence[Shop]) -> None:
        """Everything of these is there and ready; what was there before is not."""
        for plural in (
            f"{OURS}/namespaces/{self.namespace}/alertpolicies",
            f"{OURS}/namespaces/{self.namespace}/runbooks",
        ):
            self.api.call("DELETE", plural)
        self.api.call("DELETE", f"/apis/apps/v1/namespaces/{self.namespace}/deployments")
        content = {"apiVersion": "v1", "kind": "List", "items": [one for shop in shops for one in shop.manifests()]}
        self.cluster.run_kubectl("create", "-f", "-", input=json.dumps(content))
        names = {shop.name for shop in shops}
        self.wait(lambda: names <= self._ready("alertpolicies"), "a policy is not ready")
        self.wait(lambda: names <= self._rolled_out(), "a Deployment is not rolled out")
        self.proxy.watch_for(shop.subject for shop in shops)
        self.firing = {shop.name: shop for shop in shops}

    def carry_out(self, shops: Sequence[Shop], audit: Audit) -> dict[str, list[str]]:
        """What is wrong with each of the runs after the fault that was meant for it; nothing is, for most."""
        self.open(shops)
        with ThreadPoolExecutor(len(shops)) as pool:
            posts = [pool.submit(self.post, shop) for shop in shops]
            if any(shop.fault.holds for shop in shops):
                self._kill_when_all_are_held(shops)
            for post in posts:
                post.result(120)
        self.wait(lambda: {shop.run_name for shop in shops} <= self._ended(), "a run has not ended", 120)
        time.sleep(0.3)  # the last events
        runs = {run.name: run for run in self.runs()}
        for shop in shops:
            again = Counter(run.spec.target.name for run in runs.values())[shop.name]
            assert again == 1, f"{shop}: {again} runs"
        writes = audit.writes(self.namespace)
        return {str(shop): wrong for shop in shops if (wrong := self.wrong_with(shop, runs[shop.run_name], writes))}

    def carry_out_all(self, shops: Sequence[Shop]) -> dict[str, list[str]]:
        """As many side by side as the operator has connections for."""
        audit = Audit(self.cluster)
        wrong: dict[str, list[str]] = {}
        for first in range(0, len(shops), SIDE_BY_SIDE):
            wrong |= self.carry_out(shops[first : first + SIDE_BY_SIDE], audit)
        return wrong

    def calls_of_a_run(self) -> int:
        """How many calls a run makes that nobody disturbs, at least: some look more often how far a rollout is."""
        if not self._calls:
            shops = [self.shop() for _ in range(3)]
            wrong = self.carry_out_all(shops)
            assert wrong == {}, wrong
            for shop in shops:
                print(len(shop.subject.calls), asked_for(shop.subject.calls))
            self._calls = min(len(shop.subject.calls) for shop in shops)
        return self._calls

    def _kill_when_all_are_held(self, shops: Sequence[Shop]) -> None:
        until = time.monotonic() + HELD_SECONDS
        while time.monotonic() < until:
            waiting = {shop.run_name for shop in shops if not shop.subject.reached.is_set()}
            if not waiting - self._ended():
                break
            time.sleep(0.1)
        time.sleep(0.2)
        self.operator.kill()
        self.kills += 1
        self.proxy.drop_held()
        self.operator.start()

    def wrong_with(self, shop: Shop, run: Run, writes: Iterable[Write]) -> list[str]:
        """What is not as it would be had nobody interrupted the run."""
        return [*_wrong_record(run), *self._wrong_target(shop, run), *_wrong_writes(shop, run, list(writes))]

    def _wrong_target(self, shop: Shop, run: Run) -> list[str]:
        found = self.api.get(f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/{shop.name}")
        annotations = found["metadata"]["annotations"]
        env = found["spec"]["template"]["spec"]["containers"][0].get("env", [])
        wrong = []
        if env != [{"name": "QUEUE", "value": WANTED}]:
            wrong.append(f"the variables are {env}")
        tokens = [step.token for attempt in run.status.attempts for step in attempt.steps]
        if tokens != [annotations.get(STEP)] or annotations.get("remediator.dev/run") != run.full_name:
            wrong.append(f"stamped {annotations}, recorded {tokens}")
        return wrong

    def run_of(self, shop: Shop) -> Run:
        """The run as it stands now."""
        return Run.parse(self.api.get(f"{OURS}/namespaces/{self.namespace}/runbookruns/{shop.run_name}"))

    def variables(self, shop: Shop) -> dict[str, str]:
        """The environment of the Deployment's container."""
        found = next(one for one in self._deployments() if one["metadata"]["name"] == shop.name)
        env = found["spec"]["template"]["spec"]["containers"][0].get("env", [])
        return {one["name"]: one["value"] for one in env}

    def runs(self) -> list[Run]:
        return [Run.parse(one) for one in self.api.items(f"{OURS}/namespaces/{self.namespace}/runbookruns")]

    def still_firing(self) -> list[dict[str, Any]]:
        """The alerts of the Deployments that do not have their larger queue yet."""
        cured = {one["metadata"]["name"] for one in self._deployments() if "QUEUE" in json.dumps(one["spec"])}
        return [shop.alert() for shop in list(self.firing.values()) if shop.name not in cured]

    def post(self, shop: Shop) -> None:
        """The alert is sent as Alertmanager sends it: again and again until it is taken."""
        for _ in moments(100, 0.3):
            try:
                status, _ = self.operator.post({"version": "4", "groupKey": shop.name, "alerts": [shop.alert()]})
            except (OSError, http.client.HTTPException):
                status = 0
            shop.answers.append(status)
            if 200 <= status < 300:
                return
        raise AssertionError(f"{shop}: its alert was not taken: {shop.answers}")

    def wait(self, holds: Callable[[], bool], otherwise: str, seconds: float = 60) -> None:
        for _ in moments(seconds, 0.2):
            if holds():
                return
        raise AssertionError(f"{otherwise} after {seconds:g}s")

    def _ready(self, plural: str) -> set[str]:
        items = self.api.items(f"{OURS}/namespaces/{self.namespace}/{plural}")
        return {
            one["metadata"]["name"]
            for one in items
            for condition in one.get("status", {}).get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        }

    def _deployments(self) -> list[dict[str, Any]]:
        return self.api.items(f"/apis/apps/v1/namespaces/{self.namespace}/deployments")

    def _rolled_out(self) -> set[str]:
        return {one["metadata"]["name"] for one in self._deployments() if one["status"].get("readyReplicas")}

    def _ended(self) -> set[str]:
        return {run.name for run in self.runs() if run.is_ended}


class Alertmanager:
    """Says which of a bench's alerts fire."""

    def __init__(self, bench: Bench) -> None:
        class Asked(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = json.dumps(bench.still_firing()).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
                """Nobody reads these lines."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _wrong_record(run: Run) -> list[str]:
    states = [[step.state for step in attempt.steps] for attempt in run.status.attempts]
    verdict = (run.status.outcome, run.status.remedy, states, run.alerts.count)
    if verdict == (RunOutcome.REMEDIATED, "bigger", [[StepState.DONE]], 1):
        return []
    return [f"ended as {verdict}: {story(run)}"]


def _wrong_writes(shop: Shop, run: Run, writes: list[Write]) -> list[str]:
    """One change by the account, in the run's name, after its intent and before its end; and no void."""
    acting = [write for write in writes if write.account and write.name == shop.name]
    changes = [write for write in acting if not write.void]
    ends = [write for write in writes if write.resource == "runbookruns/status" and write.name == run.name]
    wrong = []
    if len(changes) != 1 or len(acting) != 1:
        wrong.append(f"changed {len(changes)} times and voided {len(acting) - len(changes)} times")
    for change in changes:
        if change.run != run.full_name or change.verb != "patch" or change.resource != "deployments":
            wrong.append(f"changed as {change}")
        if change.answered > ends[-1].answered:
            wrong.append("changed after the run's end")
    if not _intended_first(shop.subject.calls):
        wrong.append("changed before it was intended")
    return wrong


def _intended_first(calls: Sequence[Call]) -> bool:
    """Whether the API server had answered an intent before it was asked for the change."""
    intents = [c.ended for c in calls if c.happened and c.resource == "runbookruns/status" and '"Intended"' in c.body]
    changes = [c.begun for c in calls if c.happened and c.method == "PATCH" and c.resource == "deployments"]
    return bool(intents) and all(min(intents) < change for change in changes)


def story(run: Run) -> str:
    return " / ".join(f"{entry.what} {entry.message}" for entry in run.status.timeline)


def asked_for(calls: Iterable[Call]) -> Counter[str]:
    """How often each thing was done."""
    return Counter(f"{call.verb} {call.resource}" + (" as the account" if call.account else "") for call in calls)
