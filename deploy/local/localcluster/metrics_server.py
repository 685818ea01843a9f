"""
metrics-server, so that `kubectl top` and autoscalers work.

The API server calls it through an EndpointSlice with the bridge's address: loopback is not allowed there, a
Service of type ExternalName is not supported, and without kube-proxy a cluster IP leads nowhere.
"""

import base64
from pathlib import Path

from localcluster.api import Api
from localcluster.certs import Authority
from localcluster.errors import StartFailed
from localcluster.network import Network
from localcluster.processes import free_ports, moments, must_run, start
from localcluster.state import Facts, State

START_SECONDS = 40
NAME = "metrics-server"
SERVICE = f"/api/v1/namespaces/kube-system/services/{NAME}"
SLICE = f"/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/{NAME}"
API_SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"


def start_server(
    state: State, facts: Facts, program: Path, network: Network, authority: Authority, admin: Path
) -> None:
    """The API group metrics.k8s.io is served; its figures come with the second scrape of a node."""
    port = free_ports(1, network.address)[0]
    facts.ports[NAME] = port
    state.write(facts)
    host = f"{NAME}.kube-system.svc"
    pair = authority.pair(NAME, user=NAME, hosts=[host, network.address])
    process = start(
        state.processes,
        NAME,
        [
            program,
            f"--kubeconfig={admin}",
            f"--authentication-kubeconfig={admin}",
            f"--authorization-kubeconfig={admin}",
            f"--bind-address={network.address}",
            f"--secure-port={port}",
            f"--tls-cert-file={pair.certificate}",
            f"--tls-private-key-file={pair.key}",
            "--kubelet-use-node-status-port",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-certificate-authority={authority.certificate}",
            # The resolution must be longer than the timeout of a call to a kubelet.
            "--metric-resolution=10s",
            "--kubelet-request-timeout=5s",
        ],
        log=state.logs / f"{NAME}.log",
    )
    api = Api(admin)
    metadata = {"name": NAME, "namespace": "kube-system"}
    api.apply(
        SERVICE,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]},
        },
    )
    api.apply(
        SLICE,
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": NAME}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [network.address], "conditions": {"ready": True}}],
        },
    )
    api.apply(
        API_SERVICE,
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": base64.b64encode(authority.certificate.read_bytes()).decode(),
                "service": {**metadata, "port": 443},
            },
        },
    )
    for _ in moments(START_SECONDS, 0.2):
        must_run(process)
        conditions = api.get(API_SERVICE).get("status", {}).get("conditions", [])
        if any(one["type"] == "Available" and one["status"] == "True" for one in conditions):
            return
    raise StartFailed(f"the API group metrics.k8s.io is not served after {START_SECONDS}s; see {process.log}")
