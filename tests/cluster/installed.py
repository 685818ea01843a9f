"""
The installed operator beside its Alertmanager and its Prometheus, and namespaces in which something goes wrong.

One installation serves all tests. Those that are decorated with `side_by_side` begin together, each in a
namespace of its own: nearly all of their time is waiting.
"""

import base64
import functools
import http.server
import json
import secrets
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
import yaml

from localcluster import Cluster, CommandFailed, Server, pods_job, start_alertmanager, start_exporter, start_prometheus
from localcluster.api import Api, ApiError
from localcluster.controlplane import OPERATOR
from localcluster.operator import NAMESPACE, TENANT_ACCOUNT, Operator, install, open_namespace
from localcluster.processes import free_ports, moments

Object = dict[str, Any]
T = TypeVar("T")

GROUP = "remediator.dev/v1alpha1"
OURS = f"/apis/{GROUP}"
PATIENCE_SECONDS = 120.0  # for a machine that does other things too; nothing is asserted about times
AT_ONCE = 12
PLURALS = {"Runbook": "runbooks", "AlertPolicy": "alertpolicies", "Guardrail": "guardrails"}

RULES = """
groups:
- name: playbooks
  rules:
  - alert: TunnelQueueNearlyFull
    expr: max by (namespace) (tunnel_queue_size / tunnel_queue_capacity) > 0.9
    labels: {severity: warning}
  - alert: RedisGatewayDown
    expr: min by (namespace) (up{job="redis-gateway"}) == 0
    for: 20s
    labels: {severity: critical}
"""
"""As the playbooks' pages have them, with no `for`, or one in which the kubelet notices what Prometheus noticed."""

BOOK = """
targets: [Deployment]
diagnose:
- name: workload
  get: {}
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  ifNotHelped: Undo
verify:
- rollout: {within: 2m}
- alertResolved: {quietFor: 1s, within: 2m}
"""


def eventually(look: Callable[[], T], what: str, seconds: float = PATIENCE_SECONDS, pause: float = 0.3) -> T:
    """The first answer that is true; a failure that says what was waited for."""
    found = look()
    for _ in moments(seconds, pause):
        if found:
            return found
        found = look()
    raise AssertionError(f"{what}: not within {seconds:g}s, the last look brought {found!r}")


def side_by_side(test: Callable[..., None]) -> Callable[..., None]:
    """The test takes the fixture `shop` and nothing else, and runs beside the others of its kind."""
    test.side_by_side = True  # type: ignore[attr-defined]
    return test


def at_the_end(test: Callable[..., None]) -> Callable[..., None]:
    """The test looks at what all others of the tier have left."""
    test.at_the_end = True  # type: ignore[attr-defined]
    return test


class Inbox(http.server.ThreadingHTTPServer):
    """Takes the operator's messages as a receiver's service would."""

    daemon_threads = True

    def __init__(self) -> None:
        self.messages: list[tuple[str, Object]] = []
        super().__init__(("127.0.0.1", 0), _Letter)

    def to(self, receiver: str, about: str) -> list[Object]:
        """The messages to a receiver in which a word stands."""
        return [message for at, message in self.messages if at == f"/{receiver}" and about in json.dumps(message)]


class _Letter(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        inbox = self.server
        assert isinstance(inbox, Inbox)
        inbox.messages.append((self.path.partition("?")[0], json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Nobody reads these lines."""


class Installation:
    """Everything that runs, and the shops that were opened in it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.api: Api = cluster.api
        self.began = datetime.now(UTC)
        self.shops: dict[str, Shop] = {}
        self._futures: dict[str, Future[None]] = {}
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="story")
        self.inbox = Inbox()
        threading.Thread(target=self.inbox.serve_forever, daemon=True).start()
        self.audit_begins = cluster.audit_log.stat().st_size if cluster.audit_log.exists() else 0

        self.operator = Operator(cluster, environment={"REMEDIATOR_LOG_LEVEL": "DEBUG"})
        self.operator.intake_port = free_ports(1)[0]  # Alertmanager has to know it first
        self.alertmanager: Server = start_alertmanager(
            cluster,
            {
                "global": {"resolve_timeout": "1h"},
                "route": {
                    "receiver": "remediator",
                    "group_by": ["namespace", "alertname"],
                    "group_wait": "0s",
                    "group_interval": "1s",
                    "repeat_interval": "1h",
                },
                "receivers": [{"name": "remediator", "webhook_configs": [self.operator.receiver()]}],
            },
        )
        self.exporter: Server = start_exporter(cluster)
        gateway = {"source_labels": ["pod"], "regex": "redis-gateway-.*", "action": "keep"}
        jobs = [pods_job(self.exporter), {**pods_job(self.exporter, "redis-gateway"), "relabel_configs": [gateway]}]
        self.prometheus: Server = start_prometheus(cluster, RULES, jobs, self.alertmanager.url, "1s")
        self._install()
        self.operator.start()

    def _install(self) -> None:
        for _ in moments(30, 1):
            with suppress(CommandFailed):  # the API server does not serve yet what the same call brought
                install(self.cluster, {"alertmanager": self.alertmanager.url, "prometheus": self.prometheus.url})
                break
        host, port = self.inbox.server_address[:2]
        urls = {name: f"json://{host!s}:{port}/{name}" for name in ("default", "on-call")}
        receivers = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "remediator-receivers", "namespace": NAMESPACE},
            "data": {name: base64.b64encode(url.encode()).decode() for name, url in urls.items()},
        }
        self.cluster.run_kubectl("apply", "-f", "-", input=json.dumps(receivers))

    def shop(self, test: str) -> "Shop":
        """The namespace of this test; it is opened when something is put into it."""
        return self.shops.setdefault(test, Shop(self, f"shop-{secrets.token_hex(4)}"))

    def result_of(self, item: pytest.Function, beside: Iterable[pytest.Item]) -> None:
        """The test has run: with the first of them all begin."""
        if item.nodeid not in self._futures:
            for other in beside:
                if isinstance(other, pytest.Function):
                    self._begin(other)
        self._futures[item.nodeid].result()

    def _begin(self, item: pytest.Function) -> None:
        if item.get_closest_marker("real_node") is not None and not self.cluster.facts.real:
            return  # it is skipped
        if getattr(item.function, "side_by_side", False) and item.nodeid not in self._futures:
            shop = self.shop(item.nodeid)
            self._futures[item.nodeid] = self._pool.submit(_told, item.function, shop)

    def alerts(self, *alerts: Object) -> None:
        """Alertmanager has these."""
        request = urllib.request.Request(
            f"{self.alertmanager.url}/api/v2/alerts",
            data=json.dumps(alerts).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20):
            pass

    def metric(self, name: str, **labels: str) -> float:
        """A sample of the operator's /metrics; 0 where there is none."""
        wanted = name + ("{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else "")
        with urllib.request.urlopen(f"{self.operator.health_url}/metrics", timeout=20) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{wanted} "):
                    return float(line.rpartition(" ")[2])
        return 0.0

    def audit(self, word: str = "") -> list[Object]:
        """What the API server was asked since the installation, as far as the word stands in it."""
        with self.cluster.audit_log.open("rb") as log:
            log.seek(self.audit_begins)
            lines = log.read().decode().splitlines()
        return [json.loads(line) for line in lines if word in line]

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.operator.stop()
        for server in (self.prometheus, self.alertmanager, self.exporter):
            server.stop()
        self.inbox.shutdown()
        self.inbox.server_close()
        for shop in self.shops.values():
            shop.close()


def _told(test: Callable[["Shop"], None], shop: "Shop") -> None:
    try:
        test(shop)
    except BaseException as failure:
        failure.add_note(shop.story())
        raise


class Shop:
    """
    A namespace with workloads, a Runbook and a policy, and what became of them.

    The policy `queue` acts on its alert `QueueFull` at once; what a test wants otherwise it says.
    """

    def __init__(self, installation: Installation, namespace: str) -> None:
        self.installation = installation
        self.cluster = installation.cluster
        self.api = installation.api
        self.name = namespace
        self.mode = "Automatic"
        """Of the playbooks that are installed in it."""
        self.approval: Object | None = None
        """What its Guardrail asks for."""
        self._open = False
        self._firing: dict[str, Object] = {}

    # what is put into it

    def open(self, *allow: str, guarded: bool = True) -> None:
        """The namespace is there, with the account of its runs; a Guardrail allows these actions."""
        self._open = True
        self.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.name}})
        # all tests together are more than the default rule lets pass
        asked = {"approval": self.approval} if self.approval is not None else {}
        open_namespace(self.cluster, self.name, list(allow), storm={"episodes": 100_000}, **asked)
        if not guarded:
            self.api.call("DELETE", f"{OURS}/guardrails/{self.name}")
        self._wait_for("Guardrail", [self.name] if guarded else [])
        eventually(lambda: self.items("/api/v1", "serviceaccounts"), f"no service account in {self.name}")

    def close(self) -> None:
        """It was asked to go."""
        if not self._open:
            return
        for path in (f"{OURS}/guardrails/{self.name}", f"/api/v1/namespaces/{self.name}"):
            with suppress(ApiError, OSError):
                self.api.call("DELETE", path)

    def apply(self, *manifests: Object) -> None:
        """The objects are there, and the operator has looked at those that are its own."""
        for one in manifests:
            one["metadata"].setdefault("namespace", self.name)
        content = {"apiVersion": "v1", "kind": "List", "items": [*manifests]}
        self.cluster.run_kubectl("apply", "-f", "-", input=json.dumps(content))
        for kind in PLURALS:
            names = [one["metadata"] for one in manifests if one["kind"] == kind]
            self._wait_for(kind, [name["name"] for name in names], names[0]["namespace"] if names else "")

    def _wait_for(self, kind: str, names: Iterable[str], namespace: str = "") -> None:
        place = f"/namespaces/{namespace}" if kind != "Guardrail" else ""
        for name in names:
            path = f"{OURS}{place}/{PLURALS[kind]}/{name}"
            eventually(functools.partial(self._is_seen, path), f"the operator has not seen {kind} {name}")

    def _is_seen(self, path: str) -> bool:
        found = self.api.get(path)
        return bool(found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"])

    def stock(self, book: str = BOOK, allow: Iterable[str] = ("setEnv", "restart"), **policy: Any) -> None:
        """One Deployment, the Runbook `queue` and the policy `queue`, all of them ready."""
        if not self._open:
            self.open(*allow)
        self.apply(deployment(), runbook(book), alert_policy(**policy))
        self.wait_for_rollout()

    # what happens in it

    def fire(self, alertname: str = "QueueFull", **labels: str) -> None:
        """An alert begins; by default it is about the Deployment `checkout`."""
        named = {"deployment": "checkout"} if not labels.keys() & {"deployment", "pod"} else {}
        whole = {"alertname": alertname, "namespace": self.name, **named, **labels}
        alert: Object = {"labels": whole, "annotations": {"summary": "the queue is full"}, "startsAt": _time()}
        self._firing[json.dumps([alertname, labels], sort_keys=True)] = alert
        self.installation.alerts(alert)

    def resolve(self, alertname: str = "QueueFull", **labels: str) -> None:
        """It is over."""
        alert = self._firing.pop(json.dumps([alertname, labels], sort_keys=True))
        self.installation.alerts({**alert, "endsAt": _time()})

    def nudge(self) -> None:
        """Alertmanager sends all alerts of the group again: one that the policy does not want has joined it."""
        labels = {"alertname": "QueueFull", "namespace": self.name, "nudge": secrets.token_hex(4)}
        self.installation.alerts({"labels": labels, "startsAt": _time()})

    def helps(self, **env: str) -> Object:
        """The alert `QueueFull` resolves once the variables hold these values; the run's end."""
        eventually(lambda: self.env().items() >= env.items(), f"the variables are not {env}")
        self.resolve()
        return self.ended()

    def set_env(self, name: str, value: str) -> None:
        """Somebody changes the Deployment."""
        self.cluster.run_kubectl("set", "env", "-n", self.name, "deployment/checkout", f"{name}={value}")

    # what is in it

    def items(self, group: str, plural: str) -> list[Object]:
        """All objects of a kind."""
        return self.api.items(f"{group}/namespaces/{self.name}/{plural}")

    def deployment(self, name: str = "checkout") -> Object:
        found: Object = self.api.get(f"/apis/apps/v1/namespaces/{self.name}/deployments/{name}")
        return found

    def env(self, name: str = "checkout") -> dict[str, str]:
        """The environment of the Deployment's first container."""
        container = self.deployment(name)["spec"]["template"]["spec"]["containers"][0]
        return {one["name"]: one["value"] for one in container.get("env", []) if "value" in one}

    def wait_for_rollout(self, name: str = "checkout") -> None:
        """All replicas are ready, and of the present revision."""

        def is_there() -> bool:
            found = self.deployment(name)
            status, wanted = found.get("status", {}), found["spec"]["replicas"]
            seen = status.get("observedGeneration") == found["metadata"]["generation"]
            counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas")]
            return seen and counts == [wanted] * 3

        eventually(is_there, f"Deployment {self.name}/{name} is not rolled out")

    def runs(self, policy: str = "queue") -> list[Object]:
        """The runs of a policy in the order of their episodes."""
        found = [r for r in self.items(OURS, "runbookruns") if r["spec"].get("policyRef", {}).get("name") == policy]
        return sorted(found, key=lambda run: int(run["spec"]["episode"]["number"]))

    def run(self, holds: Callable[[Object], Any], what: str, policy: str = "queue", episode: int = 1) -> Object:
        """The run of this episode, once this is true of its status."""

        def look() -> Object | None:
            for run in self.runs(policy):
                if run["spec"]["episode"]["number"] == episode and holds(run.get("status", {})):
                    return run
            return None

        found = eventually(look, f"run {episode} of {policy} {what}")
        assert found is not None
        return found

    def ended(self, policy: str = "queue", episode: int = 1) -> Object:
        """The run at its end."""
        return self.run(lambda status: status.get("outcome"), "has not ended", policy, episode)

    def held(self, reason: str, policy: str = "queue", episode: int = 1) -> Object:
        """The run while it is held for this reason."""
        return self.run(
            lambda status: status.get("held", {}).get("reason") == reason, f"is not held: {reason}", policy, episode
        )

    def changes(self, resource: str = "deployments") -> list[Object]:
        """The writes to objects of a kind that came from the operator's process, dry runs left out."""
        return [
            entry
            for entry in self.installation.audit(f'"namespace":"{self.name}"')
            if entry["user"]["username"] == OPERATOR
            and entry["verb"] not in ("get", "list", "watch")
            and entry["objectRef"]["resource"] == resource
            and entry["responseStatus"]["code"] < 300
            and "dryRun" not in entry["requestURI"]
        ]

    def events(self, kind: str) -> set[str]:
        """The reasons of the operator's Events about objects of a kind."""
        return {
            event["reason"]
            for event in self.items("/api/v1", "events")
            if event["source"].get("component") == "remediator" and event["involvedObject"]["kind"] == kind
        }

    def ready(self, policy: str = "queue") -> Object:
        """The policy's condition Ready."""
        found = self.api.get(f"{OURS}/namespaces/{self.name}/alertpolicies/{policy}")
        conditions = found.get("status", {}).get("conditions", [])
        return next((dict(one) for one in conditions if one["type"] == "Ready"), {})

    def story(self) -> str:
        """What the runs of this namespace say of themselves, for whoever reads a failure."""
        lines = []
        with suppress(ApiError, OSError):
            for run in self.items(OURS, "runbookruns"):
                status = run.get("status", {})
                lines.append(f"{run['metadata']['name']}: {status.get('state')} {status.get('outcome')}")
                lines += [f"  {one['at']} {one['what']}: {one.get('message')}" for one in status.get("timeline", [])]
                lines.append(f"  held: {status.get('held')}; conditions: {status.get('conditions')}")
        return f"--- {self.name}\n" + "\n".join(lines or ["no run"])


def attempts(run: Object) -> list[Object]:
    """The rounds of a run."""
    found: list[Object] = run["status"]["attempts"]
    return found


def ending(run: Object) -> tuple[str, str]:
    """How a run ended and why, each in one word."""
    return run["status"]["outcome"], run["status"]["ending"].get("reason", "")


def deployment(name: str = "checkout", **template: Any) -> Object:
    """A workload of two simulated pods with one variable, QUEUE=200."""
    pod: Object = {
        "metadata": {"labels": {"app": name}},
        "spec": {
            "nodeSelector": {"local.remediator.dev/tier": "simulated"},
            "containers": [
                {"name": "app", "image": "registry.test/shop:1", "env": [{"name": "QUEUE", "value": "200"}]}
            ],
        },
    }
    pod["metadata"].update(template.pop("metadata", {}))
    pod["spec"].update(template)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": pod},
    }


def runbook(spec: str = BOOK, name: str = "queue") -> Object:
    return {"apiVersion": GROUP, "kind": "Runbook", "metadata": {"name": name}, "spec": yaml.safe_load(spec)}


def alert_policy(name: str = "queue", **spec: Any) -> Object:
    whole: Object = {
        "matchers": ['alertname="QueueFull"', 'nudge=""'],
        "runbookRef": {"name": "queue"},
        "mode": "Automatic",
        "grace": "0s",
        "limits": {"cooldown": "0s"},
        "serviceAccountName": TENANT_ACCOUNT,
        **spec,
    }
    kept = {key: value for key, value in whole.items() if value is not None}
    return {"apiVersion": GROUP, "kind": "AlertPolicy", "metadata": {"name": name}, "spec": kept}


def changed_book(old: str, new: str, *more: str) -> str:
    """The usual Runbook with other words in it."""
    words: Iterator[str] = iter((old, new, *more))
    text = BOOK
    for before, after in zip(words, words, strict=True):
        assert before in text, f"the Runbook does not say {before!r}"
        text = text.replace(before, after)
    return text


def by_operator_itself(entry: Mapping[str, Any]) -> bool:
    """Whether the operator asked for this as nobody but itself."""
    return entry["user"]["username"] == OPERATOR and "impersonatedUser" not in entry


def _time() -> str:
    return datetime.now(UTC).isoformat()
