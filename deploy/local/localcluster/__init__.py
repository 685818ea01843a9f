"""A real Kubernetes control plane on this machine, with simulated and real nodes, for tests and the demo."""

from localcluster.cluster import Cluster, prepare
from localcluster.errors import CommandFailed, LocalClusterError, NotAvailable, NotRunning, StartFailed
from localcluster.monitoring import Server, pods_job, query, start_alertmanager, start_exporter, start_prometheus
from localcluster.nodes_real import why_no_real_nodes

__all__ = [
    "Cluster",
    "CommandFailed",
    "LocalClusterError",
    "NotAvailable",
    "NotRunning",
    "Server",
    "StartFailed",
    "pods_job",
    "prepare",
    "query",
    "start_alertmanager",
    "start_exporter",
    "start_prometheus",
    "why_no_real_nodes",
]
