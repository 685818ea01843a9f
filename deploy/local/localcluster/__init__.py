"""A real Kubernetes control plane on this machine, with simulated and real nodes, for tests and the demo."""

from localcluster.cluster import Cluster
from localcluster.errors import CommandFailed, LocalClusterError, NotAvailable, NotRunning, StartFailed

__all__ = ["Cluster", "CommandFailed", "LocalClusterError", "NotAvailable", "NotRunning", "StartFailed"]
