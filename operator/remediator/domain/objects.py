"""
Names of objects in the cluster.

An `ObjectRef` says which object is meant; a `Target` adds the UID of the one that was found, so
that another object of the same name is never taken for it.
"""

from dataclasses import dataclass
from typing import Final

from remediator.domain.json import Object, dig_text

GROUP: Final = "remediator.dev"
VERSION: Final = "v1alpha1"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind as the API serves it; `plural` is the resource's name in URLs and in RBAC."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        """The spelling that Runbooks use: `Deployment`, or `certificate.cert-manager.io` for others."""
        return self.kind if self in BUILT_IN.values() else f"{self.kind.lower()}.{self.group}"


BUILT_IN: Final[dict[str, Kind]] = {
    kind.kind: kind
    for kind in (
        Kind("", "v1", "Pod", "pods"),
        Kind("", "v1", "Node", "nodes", namespaced=False),
        Kind("", "v1", "Namespace", "namespaces", namespaced=False),
        Kind("", "v1", "Service", "services"),
        Kind("", "v1", "Endpoints", "endpoints"),
        Kind("", "v1", "ConfigMap", "configmaps"),
        Kind("", "v1", "Event", "events"),
        Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
        Kind("", "v1", "PersistentVolume", "persistentvolumes", namespaced=False),
        Kind("", "v1", "ResourceQuota", "resourcequotas"),
        Kind("", "v1", "LimitRange", "limitranges"),
        Kind("apps", "v1", "Deployment", "deployments"),
        Kind("apps", "v1", "StatefulSet", "statefulsets"),
        Kind("apps", "v1", "DaemonSet", "daemonsets"),
        Kind("apps", "v1", "ReplicaSet", "replicasets"),
        Kind("apps", "v1", "ControllerRevision", "controllerrevisions"),
        Kind("batch", "v1", "Job", "jobs"),
        Kind("batch", "v1", "CronJob", "cronjobs"),
        Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
        Kind("networking.k8s.io", "v1", "Ingress", "ingresses"),
        Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
        Kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", namespaced=False),
        Kind("coordination.k8s.io", "v1", "Lease", "leases"),
        Kind("metrics.k8s.io", "v1beta1", "PodMetrics", "pods"),
        Kind("metrics.k8s.io", "v1beta1", "NodeMetrics", "nodes", namespaced=False),
    )
}
"""The kinds that Runbooks name without a group; Secrets are left out: their content is never read."""

RUNBOOK: Final = Kind(GROUP, VERSION, "Runbook", "runbooks")
POLICY: Final = Kind(GROUP, VERSION, "AlertPolicy", "alertpolicies")
RUN: Final = Kind(GROUP, VERSION, "RunbookRun", "runbookruns")
REPLY: Final = Kind(GROUP, VERSION, "Reply", "replies")
GUARDRAIL: Final = Kind(GROUP, VERSION, "Guardrail", "guardrails", namespaced=False)

WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet")
"""The kinds whose pods a controller rolls when their template changes."""


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """
    Which object is meant, by group, kind, namespace and name.

    `namespace` is empty for cluster-scoped objects. The version is left to the adapter: the same
    object is reachable through several.
    """

    group: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, kind: str, namespace: str, name: str) -> "ObjectRef":
        """A reference in the spelling of Runbooks; `Node` and other cluster-scoped kinds drop the namespace."""
        built_in = BUILT_IN.get(kind)
        if built_in is not None:
            return cls(built_in.group, built_in.kind, namespace if built_in.namespaced else "", name)
        singular, _, group = kind.partition(".")
        return cls(group, singular, namespace, name)

    @classmethod
    def to(cls, obj: Object, kind: Kind) -> "ObjectRef":
        """The reference to an object that was read; list items carry no kind, so it is given."""
        return cls(kind.group, kind.kind, dig_text(obj, "metadata", "namespace"), dig_text(obj, "metadata", "name"))

    @property
    def kind_text(self) -> str:
        """The kind in the spelling of Runbooks."""
        known = BUILT_IN.get(self.kind)
        is_plain = not self.group or (known is not None and known.group == self.group)
        return self.kind if is_plain else f"{self.kind}.{self.group}"

    def __str__(self) -> str:
        """As people write it: `Deployment shop/checkout`."""
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind_text} {place}"


@dataclass(frozen=True, slots=True)
class Target:
    """An object that was found, pinned by its UID."""

    ref: ObjectRef
    uid: str

    def __str__(self) -> str:
        return str(self.ref)
