"""
Stand-ins for the controllers: workloads get their pods, and statuses follow specs.

A rollout that takes minutes on a cluster is over after one `tick`, unless the test says that pods
of its template never become ready. Between a write and the next `tick` the status is the old one,
as it is on a cluster for a moment.
"""

import hashlib
import json
import math
from collections.abc import Callable
from typing import Final, cast

from remediator.domain.disruption import covers
from remediator.domain.errors import NotFound
from remediator.domain.json import JSON, Object, copied, dig, dig_int, dig_list, dig_object, dig_text
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.testing.jsonpatch import same
from remediator.testing.selectors import selector_holds
from remediator.testing.store import Store

DEPLOYMENT: Final = BUILT_IN["Deployment"]
REPLICA_SET: Final = BUILT_IN["ReplicaSet"]
STATEFUL_SET: Final = BUILT_IN["StatefulSet"]
DAEMON_SET: Final = BUILT_IN["DaemonSet"]
CONTROLLER_REVISION: Final = BUILT_IN["ControllerRevision"]
POD: Final = BUILT_IN["Pod"]
NODE: Final = BUILT_IN["Node"]
BUDGET: Final = BUILT_IN["PodDisruptionBudget"]

REVISION: Final = "deployment.kubernetes.io/revision"
HASH_LABEL: Final = "pod-template-hash"
REVISION_LABEL: Final = "controller-revision-hash"
NOT_COPIED: Final = ("kubectl.kubernetes.io/last-applied-configuration", REVISION)


class Controllers:
    """Deployments, StatefulSets and DaemonSets of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.never_ready: Callable[[Object], bool] = lambda _template: False
        """Asked with a pod template: whether its pods never become ready."""
        self.stopped = False
        """No controller does anything, as when the controller manager is down."""

    def tick(self) -> None:
        """What follows from the stored specs is there."""
        if self.stopped:
            return
        for deployment in self._store.of_kind(DEPLOYMENT):
            self._deployment(deployment)
        for workload in self._store.of_kind(STATEFUL_SET):
            self._stateful_set(workload)
        for workload in self._store.of_kind(DAEMON_SET):
            self._daemon_set(workload)
        for budget in self._store.of_kind(BUDGET):
            self._budget(budget)

    # disruption budgets

    def _budget(self, stored: Object) -> None:
        pods = [
            pod for pod in self._store.of_kind(POD, dig_text(stored, "metadata", "namespace")) if _is_about(stored, pod)
        ]
        expected, healthy = len(pods), _ready(pods)
        if "minAvailable" in dig_object(stored, "spec"):
            wanted = _share(dig(stored, "spec", "minAvailable"), expected, up=True)
        else:
            wanted = expected - _share(dig(stored, "spec", "maxUnavailable"), expected, up=True)
        self._status(
            BUDGET.kind,
            copied(stored),
            {
                "expectedPods": expected,
                "currentHealthy": healthy,
                "desiredHealthy": max(0, wanted),
                "disruptionsAllowed": max(0, healthy - max(0, wanted)) if expected else 0,
            },
        )

    def lets_go(self, pod: Object, *, dry_run: bool) -> bool:
        """Whether every budget lets the pod be evicted; each then has one disruption less."""
        budgets = [
            budget
            for budget in self._store.of_kind(BUDGET, dig_text(pod, "metadata", "namespace"))
            if _is_about(budget, pod) and not _ignores(budget, pod)
        ]
        current = (
            dig_int(one, "status", "observedGeneration") >= dig_int(one, "metadata", "generation") for one in budgets
        )
        if not all(current) or any(dig_int(one, "status", "disruptionsAllowed") < 1 for one in budgets):
            return False
        for budget in () if dry_run else budgets:
            status = dict(dig_object(budget, "status"))
            status["disruptionsAllowed"] = dig_int(status, "disruptionsAllowed") - 1
            self._store.update(BUDGET, {**copied(budget), "status": status}, sub="status")
        return True

    # Deployments

    def _deployment(self, stored: Object) -> None:
        deployment = copied(stored)
        template = dig_object(deployment, "spec", "template")
        wanted = dig_int(deployment, "spec", "replicas", default=1)
        sets = self._replica_sets(deployment)
        current = next((s for s in sets if same(_bare(dig_object(s, "spec", "template")), _bare(template))), None)
        if current is None and not dig(deployment, "spec", "paused"):
            current = self._new_replica_set(deployment, template)
            sets.append(current)
        if current is None:
            self._status(DEPLOYMENT.kind, deployment, _counts(self._pods_of(sets), None, wanted))
            return
        newest = max(_revision(replica_set) for replica_set in sets)
        revision = newest if _revision(current) == newest and newest else newest + 1
        self._annotate_replica_set(current, deployment, revision)
        deployment = self._annotate(deployment, {REVISION: str(revision)})
        ready = not self.never_ready(template)
        old = [replica_set for replica_set in sets if _uid(replica_set) != _uid(current)]
        fresh, kept = (wanted, 0) if ready or not any(self._pods_of(old)) else _stuck(deployment, wanted)
        for replica_set in sorted(old, key=_revision, reverse=True):
            keep = min(kept, len(self._pods_of([replica_set])))
            self._scale(replica_set, keep)
            kept -= keep
        self._scale(current, fresh)
        counts = _counts(self._pods_of([current, *old]), _uid(current), wanted)
        settled = ready or _was_settled(deployment, counts)
        self._status(DEPLOYMENT.kind, deployment, {**counts, "conditions": _conditions(counts, wanted, settled)})

    def _replica_sets(self, deployment: Object) -> list[Object]:
        place = dig_text(deployment, "metadata", "namespace")
        return [copied(s) for s in self._store.of_kind(REPLICA_SET, place) if _owned_by(s, deployment)]

    def _new_replica_set(self, deployment: Object, template: Object) -> Object:
        digest = _hash(template)
        inner = copied(template)
        metadata = dig_object(inner, "metadata")
        metadata["labels"] = {**dig_object(metadata, "labels"), HASH_LABEL: digest}
        inner["metadata"] = metadata
        match: Object = {**dig_object(deployment, "spec", "selector", "matchLabels"), HASH_LABEL: digest}
        name, namespace = _name(deployment), dig_text(deployment, "metadata", "namespace")
        return self._store.insert(
            REPLICA_SET,
            {
                "metadata": {
                    "name": f"{name}-{digest}",
                    "namespace": namespace,
                    "labels": metadata["labels"],
                    "ownerReferences": [_owner(DEPLOYMENT.api_version, DEPLOYMENT.kind, deployment)],
                },
                "spec": {"replicas": 0, "selector": {"matchLabels": match}, "template": inner},
            },
            keep_status=True,
        )

    def _annotate_replica_set(self, replica_set: Object, deployment: Object, revision: int) -> None:
        # the controller copies the Deployment's annotations, ours included
        copied = {
            key: value
            for key, value in dig_object(deployment, "metadata", "annotations").items()
            if key not in NOT_COPIED
        }
        wanted = dig_int(deployment, "spec", "replicas", default=1)
        replica_set.update(
            self._annotate(
                replica_set,
                {**copied, REVISION: str(revision), "deployment.kubernetes.io/desired-replicas": str(wanted)},
            )
        )

    def _scale(self, replica_set: Object, wanted: int) -> None:
        stored = self._current("ReplicaSet", replica_set)
        if dig(stored, "spec", "replicas") != wanted:
            dig_object(stored, "spec")["replicas"] = wanted
            stored = self._store.update(REPLICA_SET, stored)
        pods = self._pods_of([stored])
        template = dig_object(stored, "spec", "template")
        for pod in pods[wanted:]:
            self._store.remove(POD, dig_text(pod, "metadata", "namespace"), _name(pod))
        for _ in range(wanted - len(pods)):
            self._pod(stored, REPLICA_SET.kind, template, generate=f"{_name(stored)}-")
        for pod in self._pods_of([stored]):
            self._settle(pod, template)
        counts = _counts(self._pods_of([stored]), None, wanted)
        self._status(REPLICA_SET.kind, stored, {key: counts[key] for key in counts if key in REPLICA_SET_COUNTS})

    # StatefulSets and DaemonSets

    def _stateful_set(self, stored: Object) -> None:
        workload = copied(stored)
        wanted = dig_int(workload, "spec", "replicas", default=1)
        revision = self._controller_revision(workload, STATEFUL_SET.kind)
        names = [f"{_name(workload)}-{ordinal}" for ordinal in range(wanted)]
        pods = self._roll(workload, STATEFUL_SET.kind, revision, names, {})
        self._status(
            STATEFUL_SET.kind,
            workload,
            {
                "replicas": len(pods),
                "readyReplicas": _ready(pods),
                "availableReplicas": _ready(pods),
                "updatedReplicas": _of_revision(pods, revision),
                "currentReplicas": _of_revision(pods, revision),
                "currentRevision": revision
                if _ready(pods) == wanted
                else dig_text(workload, "status", "currentRevision") or revision,
                "updateRevision": revision,
                "collisionCount": 0,
            },
        )

    def _daemon_set(self, stored: Object) -> None:
        workload = copied(stored)
        revision = self._controller_revision(workload, DAEMON_SET.kind)
        nodes = [_name(node) for node in self._store.of_kind(NODE)]
        names = [f"{_name(workload)}-{node}" for node in nodes]
        pods = self._roll(workload, DAEMON_SET.kind, revision, names, dict(zip(names, nodes, strict=True)))
        self._status(
            DAEMON_SET.kind,
            workload,
            {
                "desiredNumberScheduled": len(nodes),
                "currentNumberScheduled": len(pods),
                "updatedNumberScheduled": _of_revision(pods, revision),
                "numberReady": _ready(pods),
                "numberAvailable": _ready(pods),
                "numberUnavailable": len(nodes) - _ready(pods),
                "numberMisscheduled": 0,
            },
        )

    def _controller_revision(self, workload: Object, kind: str) -> str:
        """The name of the revision of the present template, made where there is none; a former one becomes newest."""
        namespace, template = dig_text(workload, "metadata", "namespace"), dig_object(workload, "spec", "template")
        data: Object = {"spec": {"template": {**copied(template), "$patch": "replace"}}}
        mine = [r for r in self._store.of_kind(CONTROLLER_REVISION, namespace) if _owned_by(r, workload)]
        newest = max((dig_int(revision, "revision") for revision in mine), default=0)
        for revision in mine:
            if same(revision.get("data"), data):
                if dig_int(revision, "revision") < newest:
                    self._store.update(CONTROLLER_REVISION, {**copied(revision), "revision": newest + 1})
                return _name(revision)
        name = f"{_name(workload)}-{_hash(template)}"
        self._store.insert(
            CONTROLLER_REVISION,
            {
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": dict(dig_object(workload, "spec", "selector", "matchLabels")),
                    "ownerReferences": [_owner("apps/v1", kind, workload)],
                },
                "data": data,
                "revision": newest + 1,
            },
            keep_status=True,
        )
        return name

    def _roll(
        self, workload: Object, kind: str, revision: str, names: list[str], nodes: dict[str, str]
    ) -> list[Object]:
        namespace, template = dig_text(workload, "metadata", "namespace"), dig_object(workload, "spec", "template")
        stuck = False
        present = {_name(pod): pod for pod in self._pods_of([workload])}
        for name in [name for name in present if name not in names]:
            self._store.remove(POD, namespace, name)
        for name in reversed(names):  # a StatefulSet rolls from its last pod to its first
            pod = present.get(name)
            outdated = pod is not None and dig_text(pod, "metadata", "labels", REVISION_LABEL) != revision
            if outdated and not stuck:
                self._store.remove(POD, namespace, name)
                pod = None
            if pod is None:
                self._pod(workload, kind, template, name=name, revision=revision, node=nodes.get(name, ""))
                # OrderedReady: one pod that is not ready holds up the rest
                stuck = stuck or self.never_ready(template)
        pods = self._pods_of([workload])
        for pod in pods:
            if dig_text(pod, "metadata", "labels", REVISION_LABEL) == revision:
                self._settle(pod, template)
        return self._pods_of([workload])

    # pods

    def _pods_of(self, owners: list[Object]) -> list[Object]:
        if not owners:
            return []
        place = dig_text(owners[0], "metadata", "namespace")
        return [
            copied(pod) for pod in self._store.of_kind(POD, place) if any(_owned_by(pod, owner) for owner in owners)
        ]

    def _pod(
        self,
        owner: Object,
        kind: str,
        template: Object,
        *,
        generate: str = "",
        name: str = "",
        revision: str = "",
        node: str = "",
    ) -> None:
        labels = dict(dig_object(template, "metadata", "labels"))
        if revision:
            labels[REVISION_LABEL] = revision
        metadata: Object = {
            "namespace": dig_text(owner, "metadata", "namespace"),
            "labels": labels,
            "ownerReferences": [_owner("apps/v1", kind, owner)],
        }
        annotations = dig_object(template, "metadata", "annotations")
        if annotations:
            metadata["annotations"] = dict(annotations)
        metadata["name" if name else "generateName"] = name or generate
        assert selector_holds(dig_object(owner, "spec", "selector"), labels), "the selector must select the template"
        spec = copied(dig_object(template, "spec"))
        spec.setdefault("nodeName", node or self._any_node())
        self._store.insert(POD, {"metadata": metadata, "spec": spec}, keep_status=True)

    def _any_node(self) -> str:
        nodes = self._store.of_kind(NODE)
        open_ones = [node for node in nodes if not dig(node, "spec", "unschedulable")]
        return _name((open_ones or nodes)[0]) if nodes else "node-1"

    def _settle(self, pod: Object, template: Object) -> None:
        """The pod runs, and is ready unless its template never is; one that a test gave a status keeps it."""
        if dig(pod, "status", "phase") is not None:
            return
        ready = not self.never_ready(template)
        containers: list[JSON] = [
            {
                "name": dig_text(container, "name"),
                "image": dig_text(container, "image"),
                "ready": ready,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": self._store.timestamp()}},
            }
            for container in dig_list(pod, "spec", "containers")
        ]
        text = "True" if ready else "False"
        self._status(
            POD.kind,
            pod,
            {
                "phase": "Running",
                "startTime": self._store.timestamp(),
                "conditions": [
                    {"type": "Ready", "status": text, "lastTransitionTime": self._store.timestamp()},
                    {"type": "ContainersReady", "status": text},
                    {"type": "PodScheduled", "status": "True"},
                ],
                "containerStatuses": containers,
            },
        )

    # writing

    def _annotate(self, obj: Object, annotations: dict[str, JSON]) -> Object:
        stored = self._current(dig_text(obj, "kind"), obj)
        dig_object(stored, "metadata")["annotations"] = {
            **dig_object(stored, "metadata", "annotations"),
            **annotations,
        }
        return self._store.update(self._store.kind_of_object(stored), stored)

    def _status(self, kind: str, obj: Object, status: Object) -> None:
        try:
            stored = self._current(kind, obj)
        except NotFound:
            return
        generation = dig_object(stored, "metadata").get("generation")
        if generation is not None:
            status = {"observedGeneration": generation, **status}
        stored["status"] = cast(JSON, {**dig_object(stored, "status"), **status})
        self._store.update(BUILT_IN[kind], stored, sub="status")

    def _current(self, kind: str, obj: Object) -> Object:
        ref = ObjectRef(BUILT_IN[kind].group, kind, dig_text(obj, "metadata", "namespace"), _name(obj))
        return copied(self._store.found(ref))


REPLICA_SET_COUNTS: Final = ("replicas", "readyReplicas", "availableReplicas")


def _counts(pods: list[Object], current: str | None, wanted: int) -> Object:
    updated = [pod for pod in pods if current is None or _owner_uid(pod) == current]
    ready = _ready(pods)
    return {
        "replicas": len(pods),
        "updatedReplicas": len(updated),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, wanted - ready),
    }


def _was_settled(deployment: Object, counts: Object) -> bool:
    """Whether its rollout had ended: pods that crash afterwards do not begin it again."""
    reasons = [c.get("reason") for c in dig_list(deployment, "status", "conditions") if c.get("type") == "Progressing"]
    return reasons == ["NewReplicaSetAvailable"] and counts["replicas"] == counts["updatedReplicas"]


def _conditions(counts: Object, wanted: int, settled: bool) -> list[JSON]:
    enough = dig_int(counts, "availableReplicas") >= wanted - math.floor(wanted / 4)
    return [
        {
            "type": "Available",
            "status": "True" if enough else "False",
            "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        },
        {
            "type": "Progressing",
            "status": "True",
            "reason": "NewReplicaSetAvailable" if settled else "ReplicaSetUpdated",
        },
    ]


def _stuck(deployment: Object, wanted: int) -> tuple[int, int]:
    """Pods of the new and of the old template where the new ones do not become ready."""
    rolling = dig_object(deployment, "spec", "strategy", "rollingUpdate")
    if dig_text(deployment, "spec", "strategy", "type") == "Recreate":
        return wanted, 0
    surge = _share(rolling.get("maxSurge", "25%"), wanted, up=True)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), wanted, up=False)
    return min(wanted, surge + unavailable), wanted - unavailable


def _share(value: JSON, whole: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    exact = whole * int(str(value).rstrip("%")) / 100
    return math.ceil(exact) if up else math.floor(exact)


def _is_about(budget: Object, pod: Object) -> bool:
    return covers(budget, dig_object(pod, "metadata", "labels"))


def _ignores(budget: Object, pod: Object) -> bool:
    """
    Whether a pod that is not ready may be evicted whatever the budget has left.

    Source: https://kubernetes.io/docs/tasks/run-application/configure-pdb/#unhealthy-pod-eviction-policy
    """
    if _ready([pod]):
        return False
    wanted = dig_int(budget, "status", "desiredHealthy")
    always = dig(budget, "spec", "unhealthyPodEvictionPolicy") == "AlwaysAllow"
    return always or 0 < wanted <= dig_int(budget, "status", "currentHealthy")


def _ready(pods: list[Object]) -> int:
    return sum(
        any(c.get("type") == "Ready" and c.get("status") == "True" for c in dig_list(pod, "status", "conditions"))
        for pod in pods
    )


def _of_revision(pods: list[Object], revision: str) -> int:
    return sum(dig_text(pod, "metadata", "labels", REVISION_LABEL) == revision for pod in pods)


def _revision(replica_set: Object) -> int:
    text = dig_text(replica_set, "metadata", "annotations", REVISION)
    return int(text) if text.isdigit() else 0


def _owner(api_version: str, kind: str, owner: Object) -> Object:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": _name(owner),
        "uid": _uid(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _owned_by(obj: Object, owner: Object) -> bool:
    return any(dig_text(ref, "uid") == _uid(owner) for ref in dig_list(obj, "metadata", "ownerReferences"))


def _owner_uid(obj: Object) -> str:
    return dig_text(obj, "metadata", "ownerReferences", 0, "uid")


def _bare(template: Object) -> Object:
    """The template without the label by which a ReplicaSet's pods are told apart."""
    bare = copied(template)
    dig_object(bare, "metadata", "labels").pop(HASH_LABEL, None)
    metadata = dig_object(bare, "metadata")
    for key in ("labels", "annotations", "creationTimestamp"):
        if not metadata.get(key):
            metadata.pop(key, None)
    bare["metadata"] = metadata
    return bare


def _hash(template: Object) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]


def _name(obj: Object) -> str:
    return dig_text(obj, "metadata", "name")


def _uid(obj: Object) -> str:
    return dig_text(obj, "metadata", "uid")
