"""
The object that an alert is about, found by its labels.

kube-state-metrics names its subject in a label of the kind's name (`deployment`, `job_name`,
`horizontalpodautoscaler`); Prometheus adds the labels of what it scraped, and where the two clash it
moves the subject's to `exported_*`. So where there is an `exported_pod` or an `exported_namespace`, the
plain `pod` is never the subject, and elsewhere it may still be the exporter.

A label that names a workload goes before `pod`: kube-state-metrics writes it on series about that
workload alone, while `pod` on the same series is its own pod. A pod or a ReplicaSet gives way to its
controller, which would undo what is done to it.

Nothing here reads the cluster: `find_target` says what to read next until it knows.

Source: https://github.com/kubernetes/kube-state-metrics/tree/main/docs/metrics
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from remediator.domain.json import Object, dig, dig_list, dig_text
from remediator.domain.names import is_object_name
from remediator.domain.objects import BUILT_IN, ObjectRef, Target

BY_LABEL: Final = (
    ("deployment", "Deployment"),
    ("statefulset", "StatefulSet"),
    ("daemonset", "DaemonSet"),
    ("job_name", "Job"),  # `job` is the name of Prometheus' scrape job
    ("cronjob", "CronJob"),
    ("horizontalpodautoscaler", "HorizontalPodAutoscaler"),
    ("poddisruptionbudget", "PodDisruptionBudget"),
    ("persistentvolumeclaim", "PersistentVolumeClaim"),
    ("replicaset", "ReplicaSet"),
    ("pod", "Pod"),
    ("resourcequota", "ResourceQuota"),
    ("service", "Service"),
    ("ingress", "Ingress"),
    ("persistentvolume", "PersistentVolume"),
    ("node", "Node"),
    ("namespace", "Namespace"),
)
"""Most specific first."""

_SCRAPED: Final = frozenset({"pod", "service"})
"""Labels that prometheus-operator gives to every series, about the pod and Service that were scraped."""
_NEVER_SUBJECT: Final = frozenset({"service"})

_CONTROLLERS: Final[dict[str, tuple[str, ...]]] = {
    "Pod": ("ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"),
    "ReplicaSet": ("Deployment",),
    "Job": ("CronJob",),
}
_CONTROLLED: Final = frozenset({"Pod", "ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job"})
_GIVES_WAY: Final = frozenset({"Pod", "ReplicaSet"})
_DEEPEST_CHAIN: Final = 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """An object that the alert may be about, and the label that says so."""

    ref: ObjectRef
    label: str


@dataclass(frozen=True, slots=True)
class Read:
    """Read this object (live, not from a cache) and ask again."""

    ref: ObjectRef


@dataclass(frozen=True, slots=True)
class Found:
    """The object that the alert is about."""

    target: Target


@dataclass(frozen=True, slots=True)
class Unresolved:
    """
    No object can be named; the alert may go to a run that changes nothing.

    `passed_over` says that the label led to kinds that the Runbook does not name, so that a less
    specific label may still name the target.
    """

    message: str
    passed_over: bool = False


def candidates(labels: Mapping[str, str], allowed_kinds: Collection[str]) -> tuple[Candidate, ...]:
    """
    The objects that the labels name, most specific first.

    `allowed_kinds` are the Runbook's targets, as it spells them. An object of another kind is named
    too if one of its controllers may be allowed. Labels that are no object's name are passed over:
    they come from outside and become part of a URL.
    """
    namespace = labels.get("exported_namespace") or labels.get("namespace", "")
    found = []
    for plain, kind in BY_LABEL:
        label = f"exported_{plain}" if labels.get(f"exported_{plain}") else plain
        name = labels.get(label, "")
        if label in _SCRAPED and (label in _NEVER_SUBJECT or labels.get("exported_namespace")):
            continue
        if not is_object_name(name) or (BUILT_IN[kind].namespaced and not is_object_name(namespace)):
            continue
        if _may_lead_to(kind, allowed_kinds):
            found.append(Candidate(ObjectRef.of(kind, namespace, name), label))
    return tuple(found)


def container_of(labels: Mapping[str, str]) -> str:
    """The container that the alert is about; empty where it names none or only the exporter's."""
    if labels.get("exported_container"):
        return labels["exported_container"]
    if labels.get("exported_pod") or labels.get("exported_namespace"):
        return ""
    return labels.get("container", "")


def find_target(
    labels: Mapping[str, str], allowed_kinds: Collection[str], seen: Mapping[ObjectRef, "Object | None"]
) -> Read | Found | Unresolved:
    """
    The next step from the labels to the alert's target, given everything read so far.

    `seen` holds None for what the API server says is not there; what could not be read must not be
    in it. Ask again with the object of a `Read` added, until the answer is another one.

    A named object that is gone, or a pod that is the exporter, ends the search: a less specific
    label would name something that the alert is not about.
    """
    first_reason = ""
    for candidate in candidates(labels, allowed_kinds):
        step = look_up(candidate, labels, allowed_kinds, seen)
        if not isinstance(step, Unresolved) or not step.passed_over:
            return step
        first_reason = first_reason or step.message
    kinds = ", ".join(sorted(allowed_kinds))
    return Unresolved(first_reason or f"no label of the alert names an object of the Runbook's targets ({kinds})", True)


def look_up(
    candidate: Candidate,
    labels: Mapping[str, str],
    allowed_kinds: Collection[str],
    seen: Mapping[ObjectRef, "Object | None"],
) -> Read | Found | Unresolved:
    """The next step from one candidate, as `find_target` takes it for each in turn."""
    ref, expected_uid, best = candidate.ref, "", None
    for _ in range(_DEEPEST_CHAIN):
        if ref not in seen:
            return Read(ref)
        obj = seen[ref]
        if obj is None or (expected_uid and dig_text(obj, "metadata", "uid") != expected_uid):
            return Found(best) if best is not None else Unresolved(f"{ref} is not there any more")
        if candidate.label == "pod" and ref == candidate.ref and is_exporter(obj, labels):
            return Unresolved(f"{ref} is where the alert's metrics come from, not what they are about")
        if ref.kind_text in allowed_kinds:
            best = Target(ref, dig_text(obj, "metadata", "uid"))
            if ref.kind_text not in _GIVES_WAY:
                return Found(best)
        owner = controller_of(obj, ref)
        if owner is None or not _may_lead_to(owner[0].kind_text, allowed_kinds):
            break
        ref, expected_uid = owner
    if best is not None:
        return Found(best)
    return Unresolved(f"neither {candidate.ref} nor what controls it is of a kind that the Runbook targets", True)


def controller_of(obj: Object, ref: ObjectRef) -> tuple[ObjectRef, str] | None:
    """The object's controller and its UID, by the one owner reference that says so."""
    for owner in dig_list(obj, "metadata", "ownerReferences"):
        if dig(owner, "controller") is not True:
            continue
        kind, name, uid = dig_text(owner, "kind"), dig_text(owner, "name"), dig_text(owner, "uid")
        group = dig_text(owner, "apiVersion").rpartition("/")[0]
        if not (kind and uid and is_object_name(name)):
            continue
        built_in = BUILT_IN.get(kind)
        if built_in is not None and built_in.group == group:
            return ObjectRef.of(kind, ref.namespace, name), uid
        return ObjectRef(group, kind.lower(), ref.namespace, name), uid
    return None


def is_exporter(pod: Object, labels: Mapping[str, str]) -> bool:
    """
    Whether the alert's metrics were scraped from this pod, so that `pod` names the exporter.

    Compares the pod's addresses with the host in `instance`. A pod in its node's network shares the
    node's address with the kubelet and counts as the exporter: rather no target than a wrong one.
    """
    scraped = _address(_host(labels.get("instance", "")))
    if scraped is None:
        return False
    own = [dig_text(pod, "status", "podIP"), *(dig_text(ip, "ip") for ip in dig_list(pod, "status", "podIPs"))]
    return scraped in (_address(text) for text in own)


def _may_lead_to(kind: str, allowed_kinds: Collection[str]) -> bool:
    if kind in allowed_kinds or any(above in allowed_kinds for above in _CONTROLLERS.get(kind, ())):
        return True
    # A controller of a foreign kind (`rollout.argoproj.io`) is known only once the object was read.
    return kind in _CONTROLLED and any("." in allowed for allowed in allowed_kinds)


def _host(instance: str) -> str:
    if instance.startswith("["):
        return instance[1:].partition("]")[0]
    return instance.rpartition(":")[0] if instance.count(":") == 1 else instance


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
