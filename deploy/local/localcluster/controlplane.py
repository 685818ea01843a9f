"""
etcd, the API server, the controller manager and the scheduler on loopback.

The API server runs with what a cluster in production has and an operator meets: TLS, RBAC with the node
authorizer, service account tokens, the aggregation layer, and an audit log of every write and of all that the
operator's account asks.
"""

from collections.abc import Mapping
from pathlib import Path

import yaml

from localcluster.api import Api
from localcluster.certs import Authority, make_key, openssl
from localcluster.errors import StartFailed
from localcluster.kubeconfigs import with_certificate
from localcluster.processes import Process, end_of, free_ports, moments, must_run, recorded, start, stop
from localcluster.state import Facts, State

SERVICE_RANGE = "10.97.0.0/16"
START_SECONDS = 60

OPERATOR = "system:serviceaccount:remediator-system:remediator"

# Reads are left out: a test asks who wrote what, and watches would bury it. Those of the operator's account stay,
# so that a test sees which of its permissions it uses.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "users": [OPERATOR]},
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {"level": "Metadata"},
    ],
}


class ControlPlane:
    """The servers of one cluster; all of its state is in the cluster's folder."""

    def __init__(self, state: State, facts: Facts, programs: Mapping[str, Path]) -> None:
        self.state = state
        self.facts = facts
        self.programs = programs
        self.authority = Authority(state.certificates)
        self.admin_kubeconfig = state.kubeconfigs / "admin.yaml"
        self.audit_log = state.folder / "audit.log"

    def start(self) -> None:
        """The API server is ready, and controllers and scheduler run where their programs are there."""
        self._make_credentials()
        self._choose_ports()
        self._start_etcd()
        self.start_apiserver()
        self._start_controllers()

    def start_apiserver(self) -> None:
        """The API server is ready at the address that the kubeconfigs name."""
        process = start(
            self.state.processes,
            "kube-apiserver",
            [self.programs["kube-apiserver"], *self._apiserver_flags()],
            log=self.state.logs / "kube-apiserver.log",
        )
        api = Api(self.admin_kubeconfig)
        for _ in moments(START_SECONDS):
            for needed in recorded(self.state.processes):
                if needed.label in ("etcd", process.label):
                    must_run(needed)
            if api.is_ready():
                return
        raise StartFailed(f"kube-apiserver is not ready after {START_SECONDS}s:\n{end_of(Path(process.log))}")

    def stop_apiserver(self) -> None:
        """The API server does not answer any more; etcd keeps what it had written."""
        for process in recorded(self.state.processes):
            if process.label == "kube-apiserver":
                # It would wait a minute for watches to end by themselves.
                stop(self.state.processes, process, seconds=1)

    def _make_credentials(self) -> None:
        """Certificates and keys of the servers are there."""
        self.state.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ca = self.authority
        ca.found()
        hosts = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.97.0.1"]
        ca.pair("kube-apiserver", user="kube-apiserver", hosts=hosts)
        ca.pair("kubelet-client", user="kube-apiserver-kubelet-client", groups=["system:masters"])
        ca.pair("front-proxy", user="front-proxy-client")
        ca.pair("etcd", user="etcd", hosts=["127.0.0.1"])
        ca.pair("admin", user="admin", groups=["system:masters"])
        ca.pair("kube-controller-manager", user="system:kube-controller-manager")
        ca.pair("kube-scheduler", user="system:kube-scheduler")
        tokens = self.state.certificates / "service-accounts.key"
        if not tokens.exists():
            make_key(tokens)
            openssl("ec -pubout", out=tokens.with_suffix(".pub"), **{"in": tokens})
        (self.state.folder / "audit-policy.yaml").write_text(yaml.safe_dump(AUDIT_POLICY))

    def _choose_ports(self) -> None:
        """Ports are chosen and written down, and the kubeconfigs name them."""
        names = ("etcd", "etcd-peer", "kube-apiserver")
        self.facts.ports.update(zip(names, free_ports(len(names)), strict=True))
        self.facts.server = f"https://127.0.0.1:{self.facts.ports['kube-apiserver']}"
        self.state.write(self.facts)
        for name in ("admin", "kube-controller-manager", "kube-scheduler"):
            pair = self.authority.kept(name)
            file = self.state.kubeconfigs / f"{name}.yaml"
            with_certificate(file, self.facts.server, self.authority.certificate, pair)

    def _start_etcd(self) -> None:
        certs, ports = self.state.certificates, self.facts.ports
        client = f"https://127.0.0.1:{ports['etcd']}"
        peer = f"http://127.0.0.1:{ports['etcd-peer']}"
        start(
            self.state.processes,
            "etcd",
            [
                self.programs["etcd"],
                "--name=local",
                f"--data-dir={self.state.folder / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=local={peer}",
                "--client-cert-auth",
                f"--trusted-ca-file={certs / 'ca.crt'}",
                f"--cert-file={certs / 'etcd.crt'}",
                f"--key-file={certs / 'etcd.key'}",
                # The data are thrown away with the cluster; waiting for the disk would double every write.
                "--unsafe-no-fsync",
                "--log-level=warn",
            ],
            log=self.state.logs / "etcd.log",
        )

    def _apiserver_flags(self) -> list[str]:
        certs, ports = self.state.certificates, self.facts.ports
        return [
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={ports['kube-apiserver']}",
            # The service `kubernetes` has no endpoint: one on loopback would not be valid.
            "--endpoint-reconciler-type=none",
            f"--etcd-servers=https://127.0.0.1:{ports['etcd']}",
            f"--etcd-cafile={certs / 'ca.crt'}",
            f"--etcd-certfile={certs / 'etcd.crt'}",
            f"--etcd-keyfile={certs / 'etcd.key'}",
            f"--tls-cert-file={certs / 'kube-apiserver.crt'}",
            f"--tls-private-key-file={certs / 'kube-apiserver.key'}",
            f"--client-ca-file={certs / 'ca.crt'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={certs / 'service-accounts.pub'}",
            f"--service-account-signing-key-file={certs / 'service-accounts.key'}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--kubelet-certificate-authority={certs / 'ca.crt'}",
            f"--kubelet-client-certificate={certs / 'kubelet-client.crt'}",
            f"--kubelet-client-key={certs / 'kubelet-client.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={certs / 'ca.crt'}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={certs / 'front-proxy.crt'}",
            f"--proxy-client-key-file={certs / 'front-proxy.key'}",
            # Without kube-proxy no cluster IP leads anywhere; aggregated APIs are called at their endpoints.
            "--enable-aggregator-routing=true",
            f"--audit-policy-file={self.state.folder / 'audit-policy.yaml'}",
            f"--audit-log-path={self.audit_log}",
            # Blocking: when a call has been answered, its line is in the file.
            "--audit-log-mode=blocking",
            "--audit-log-maxsize=1000",
            "--delete-collection-workers=8",
        ]

    def _start_controllers(self) -> None:
        certs, configs = self.state.certificates, self.state.kubeconfigs
        # The clients' default speed makes a thousand pods take a minute.
        common = ["--leader-elect=false", "--kube-api-qps=500", "--kube-api-burst=1000", "--secure-port=0"]
        flags = {
            "kube-controller-manager": [
                f"--kubeconfig={configs / 'kube-controller-manager.yaml'}",
                f"--root-ca-file={certs / 'ca.crt'}",
                f"--service-account-private-key-file={certs / 'service-accounts.key'}",
                f"--cluster-signing-cert-file={certs / 'ca.crt'}",
                f"--cluster-signing-key-file={certs / 'ca.key'}",
                "--use-service-account-credentials=true",
                f"--service-cluster-ip-range={SERVICE_RANGE}",
            ],
            "kube-scheduler": [f"--kubeconfig={configs / 'kube-scheduler.yaml'}"],
        }
        started: list[Process] = [
            start(
                self.state.processes,
                name,
                [self.programs[name], *common, *own],
                log=self.state.logs / f"{name}.log",
            )
            for name, own in flags.items()
            if name in self.programs
        ]
        if not started:
            return
        api = Api(self.admin_kubeconfig)
        # Pods are refused until the controllers have made the namespace's service account.
        for _ in moments(START_SECONDS):
            for process in started:
                must_run(process)
            if api.items("/api/v1/namespaces/default/serviceaccounts"):
                return
        raise StartFailed(f"no controller works after {START_SECONDS}s:\n{end_of(Path(started[0].log))}")
