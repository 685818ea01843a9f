"""Which pods are meant by a target, and who made a pod: by selector and by owner reference."""

from typing import Final

from remediator.domain.errors import NotFound, Rejected
from remediator.domain.json import Object, dig_object, dig_text
from remediator.domain.objects import BUILT_IN, ObjectRef, Target
from remediator.domain.runs import OUTSIDE
from remediator.domain.workloads import controller_of, is_owned_by, selector_text, uid_of
from remediator.ports import Cluster, Listing, Objects

POD: Final = BUILT_IN["Pod"]
REPLICA_SET: Final = BUILT_IN["ReplicaSet"]
JOB: Final = BUILT_IN["Job"]

MAX_PODS: Final = 500

_BETWEEN: Final = {"Deployment": REPLICA_SET, "CronJob": JOB}
"""The kinds whose pods belong to an object that they own in turn."""


async def as_meant(cluster: Objects, target: Target) -> Object:
    """
    The target as it is now.

    Raises NotFound where it is gone, and where another object has taken its name; Rejected where it is
    no object of the cluster: one that was not found is not known to be gone.
    """
    if target.ref.kind in OUTSIDE:
        raise Rejected(f"{target} is no object of the cluster, so that nothing can be read about it")
    seen = await cluster.read(target.ref)
    if target.uid and uid_of(seen) != target.uid:
        raise NotFound(f"{target} is another object of the same name")
    return seen


async def owned_pods(cluster: Objects, owner: Object, target: Target, *, limit: int = MAX_PODS) -> Listing:
    """
    The pods that belong to the object, whoever else has the same labels.

    The selector narrows the list, the owner references decide: a Deployment's pods are those of its
    ReplicaSets. A pod is its own.
    """
    if target.ref.kind == "Pod" and not target.ref.group:
        return Listing((owner,))
    uids, cut = {uid_of(owner)}, False
    if target.ref.kind in _BETWEEN:
        middle = await those_between(cluster, owner, target)
        uids, cut = {uid_of(item) for item in middle.items}, middle.truncated
    labels = selector_text(dig_object(owner, "spec", "selector"))
    pods = await cluster.list(POD, target.ref.namespace, labels=labels, limit=MAX_PODS)
    mine = tuple(pod for pod in pods.items if is_owned_by(pod, uids))
    return Listing(mine[:limit], cut or pods.truncated or len(mine) > limit)


async def those_between(cluster: Objects, owner: Object, target: Target) -> Listing:
    """What stands between the object and its pods: a Deployment's ReplicaSets, a CronJob's Jobs, else nothing."""
    kind = _BETWEEN.get(target.ref.kind)
    if kind is None:
        return Listing(())
    labels = selector_text(dig_object(owner, "spec", "selector"))
    listed = await cluster.list(kind, target.ref.namespace, labels=labels, limit=MAX_PODS)
    mine = tuple({"kind": kind.kind, **item} for item in listed.items if is_owned_by(item, [uid_of(owner)]))
    return Listing(mine, listed.truncated)


async def workload_of(cluster: Cluster, pod: Object) -> Target | None:
    """
    The workload that would make the pod again: the Deployment above its ReplicaSet, or its controller.

    None where it has no controller, or where that is of a kind the cluster does not know by its owner
    reference alone.
    """
    namespace = dig_text(pod, "metadata", "namespace")
    target = _controller(pod, namespace)
    if target is None or target.ref.kind != REPLICA_SET.kind:
        return target
    try:
        return _controller(await as_meant(cluster, target), namespace) or target
    except NotFound:
        return target


def _controller(obj: Object, namespace: str) -> Target | None:
    owner = controller_of(obj)
    if not owner:
        return None
    group = dig_text(owner, "apiVersion").rpartition("/")[0]
    ref = ObjectRef(group, dig_text(owner, "kind"), namespace, dig_text(owner, "name"))
    return Target(ref, dig_text(owner, "uid"))
