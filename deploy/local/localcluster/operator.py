"""
The operator beside a local cluster: installed with kustomize, run on this machine as its own account.

It gets exactly the token that its pod would get, so a missing or superfluous permission shows. The
process is ended with `stop` (as Kubernetes does), `kill` (as a machine does) and `freeze`.
"""

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from localcluster.cluster import Cluster
from localcluster.errors import CommandFailed, StartFailed
from localcluster.processes import forget, moments, record

REPOSITORY = Path(__file__).resolve().parents[3]
NAMESPACE = "remediator-system"
ACCOUNT = "remediator"
TENANT_ACCOUNT = "remediator-runs"
LEASE_SECONDS = 10  # a machine that does other things too is not to lose it by that


def install(cluster: Cluster, endpoints: Mapping[str, str] | None = None) -> None:
    """
    The CRDs, admission policies, roles and accounts are there, and the endpoints are these.

    The Deployment has no replicas: the process runs here. Admission is in force when this returns.
    """
    cluster.run_kubectl("apply", "-k", str(REPOSITORY / "deploy/overlays/local"))
    cluster.run_kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    configuration = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "remediator-endpoints", "namespace": NAMESPACE},
        "data": dict(endpoints or {}),
    }
    cluster.run_kubectl("replace", "-f", "-", input=json.dumps(configuration))


def forget_leaders(cluster: Cluster) -> None:
    """
    Nobody has ever led in this cluster: whatever carries runs on without standing for the Lease may do so.

    What protects the epoch goes first, and comes back with the next `install`.
    """
    kind, name = "validatingadmissionpolicybinding", "leader-epoch.remediator.dev"
    cluster.run_kubectl("delete", kind, name, "--ignore-not-found")
    for _ in moments(10, 0.2):
        with suppress(CommandFailed):  # until the API server has heard that the policy is not bound any more
            cluster.run_kubectl("delete", "configmap", "leader-epoch", "-n", NAMESPACE, "--ignore-not-found")
            return


def open_namespace(cluster: Cluster, namespace: str, allow: list[str], **more: Any) -> None:
    """
    The namespace's runs may read and make these changes, as the account `remediator-runs`.

    `more` is what else the Guardrail says.
    """
    rendered = cluster.run_kubectl("kustomize", str(REPOSITORY / "deploy/overlays/namespace-changes"))
    manifests = [one for one in yaml.safe_load_all(rendered) if one]
    for manifest in manifests:
        if manifest["metadata"].get("namespace"):
            manifest["metadata"]["namespace"] = namespace
        for subject in manifest.get("subjects", []):
            if subject["name"] == TENANT_ACCOUNT:
                subject["namespace"] = namespace
        if manifest["kind"] == "Guardrail":
            manifest["metadata"]["name"] = namespace
            selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
            manifest["spec"] = {"namespaceSelector": selector, "allow": allow, **more}
    whole = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    # by the server: two that are opened at a time share what is not in a namespace, and one of two creates would fail
    cluster.run_kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=whole)


class Operator:
    """
    One operator process; `url` is where it takes alerts, `health_url` where it says how it is.

    Several may run side by side, each under its own name; one of them leads. After one that was killed the
    next waits for the Lease to run out, which is shorter here than in an installation.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        name: str = "operator",
        server: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.cluster = cluster
        self.name = name
        self.token = secrets.token_hex(16)
        self._server = server or cluster.server
        self._environment = dict(environment or {})
        self._folder = cluster.folder / name
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "intake").mkdir(exist_ok=True)
        (self._folder / "intake" / "token").write_text(self.token)
        self._label = name if name == "operator" else f"operator-{name}"
        self.log = self._folder / "log"
        self.credential = ""
        """By which the API server's audit log tells this process from others of the same account."""
        self.process: subprocess.Popen[bytes] | None = None
        self.intake_port = 0
        self.health_port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.intake_port}/v1/alerts"

    @property
    def health_url(self) -> str:
        return f"http://127.0.0.1:{self.health_port}"

    @property
    def pid(self) -> int:
        assert self.process is not None, "the operator was started"
        return self.process.pid

    def start(self, *, ready_within_seconds: float = 40) -> "Operator":
        """It takes alerts when this returns; ports stay the same over restarts."""
        kubeconfig = self._kubeconfig()
        begin = self.log.stat().st_size if self.log.exists() else 0
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("REMEDIATOR_")},
            "PYTHONPATH": str(REPOSITORY / "operator"),
            "REMEDIATOR_KUBECONFIG": str(kubeconfig),
            "REMEDIATOR_NAMESPACE": NAMESPACE,
            "REMEDIATOR_INTAKE_HOST": "127.0.0.1",
            "REMEDIATOR_HEALTH_HOST": "127.0.0.1",
            "REMEDIATOR_INTAKE_PORT": str(self.intake_port),
            "REMEDIATOR_HEALTH_PORT": str(self.health_port),
            "REMEDIATOR_INTAKE_TOKEN_PATH": str(self._folder / "intake"),
            "REMEDIATOR_REPLICA": self.name,
            "REMEDIATOR_LEASE_SECONDS": str(LEASE_SECONDS),
            **self._environment,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "remediator"], env=environment, stdout=log, stderr=log, start_new_session=True
            )
        # Whatever ends the process that started it, the operator ends with its cluster.
        record(self.cluster.state.processes, self._label, self.process.pid, self.log)
        for _ in moments(ready_within_seconds, 0.05):
            if self.process.poll() is not None:
                raise StartFailed(f"the operator ended with {self.process.returncode}: {self._said(begin)}")
            self._learn_ports(begin)
            if self.health_port and self.is_ready():
                return self
        self.kill()  # it might come to lead later, when nobody expects it
        raise StartFailed(f"the operator is not ready after {ready_within_seconds:g}s: {self._said(begin)}")

    def is_ready(self) -> bool:
        """Whether it would take an alert now."""
        try:
            with urllib.request.urlopen(f"{self.health_url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def leader(self) -> dict[str, Any]:
        """What it knows of who leads: `leads` says whether it is itself, `epoch` which leader that is."""
        try:
            with urllib.request.urlopen(f"{self.health_url}/healthz", timeout=5) as answer:
                text = answer.read()
        except urllib.error.HTTPError as unhealthy:  # one that was frozen is late, and says so
            text = unhealthy.read()
        said: dict[str, Any] = json.loads(text)["leader"]
        return said

    def wait_until_it_leads(self, within_seconds: float = 40) -> "Operator":
        """It carries runs on when this returns."""
        for _ in moments(within_seconds, 0.05):
            if self.leader()["leads"]:
                return self
        raise StartFailed(f"the operator {self.name} does not lead after {within_seconds:g}s: {self.leader()}")

    def post(self, payload: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and answer of one notification, as Alertmanager would send it."""
        request = urllib.request.Request(
            self.url,
            data=json.dumps(payload).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as refused:
            text = refused.read()
            return refused.code, json.loads(text) if text.startswith(b"{") else {"error": text.decode()}

    def receiver(self) -> dict[str, Any]:
        """This operator as an Alertmanager's webhook receiver."""
        authorization = {"type": "Bearer", "credentials": self.token}
        return {
            "url": self.url,
            "send_resolved": True,
            "http_config": {"authorization": authorization},
        }

    def stop(self) -> int:
        """It was asked to end, and has."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """It is gone, wherever it was."""
        return self._end(signal.SIGKILL)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def resident_bytes(self) -> int:
        """Memory that the process holds now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def __enter__(self) -> "Operator":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self, how: signal.Signals) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            forget(self.cluster.state.processes, self._label)

    def _kubeconfig(self) -> Path:
        token = self.cluster.service_account_token(NAMESPACE, ACCOUNT, seconds=7200)
        self.credential = _credential(token)
        path = self.cluster.kubeconfig_for_token(self.name, token)
        if self._server != self.cluster.server:
            path.write_text(path.read_text().replace(self.cluster.server, self._server))
        return path

    def _learn_ports(self, begin: int) -> None:
        with self.log.open("rb") as log:
            log.seek(begin)
            for line in log.read().splitlines():
                if b"intake_port" in line and line.startswith(b"{"):
                    said = json.loads(line)
                    self.intake_port, self.health_port = int(said["intake_port"]), int(said["health_port"])

    def _said(self, begin: int) -> str:
        with self.log.open("rb") as log:
            log.seek(begin)
            return log.read()[-1500:].decode(errors="replace")


def _credential(token: str) -> str:
    """What the audit log calls a service account's token."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return f"JTI={claims['jti']}"
