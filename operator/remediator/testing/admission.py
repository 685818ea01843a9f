"""
Admission policies for the API server in memory: the switch's and the leader's.

`crds/switch.yaml` and `crds/leader.yaml` have them for the real one.
"""

from collections.abc import Iterator

from remediator.domain.changes import VOID_STAMP
from remediator.domain.json import Object, dig_int, dig_list, dig_object, dig_text
from remediator.domain.objects import RUN, ObjectRef
from remediator.engine.election import EPOCH_NAME, epoch_of
from remediator.engine.suspension import NAME
from remediator.testing.cluster import FakeCluster, Write

SERVER_OWNED = ("managedFields", "resourceVersion", "generation")


class SwitchPolicies:
    """What is refused while the ConfigMap is there."""

    def __init__(self, cluster: FakeCluster, namespace: str) -> None:
        self._cluster = cluster
        self._switch = ObjectRef.of("ConfigMap", namespace, NAME)

    def objection(self, write: Write, before: Object | None) -> str:
        """Why the write is refused; empty if it is not."""
        if not self._cluster.has(self._switch):
            return ""
        if write.identity.void:
            return "" if _is_void_alone(write, before) else "a void writes its annotation and nothing else"
        if write.identity.run:
            return "everything is suspended: the change is refused"
        if write.ref.kind != RUN.kind:
            return ""
        if write.verb == "create":
            return "everything is suspended: the run is refused"
        if write.sub == "status" and set(_intended(write.obj)) - set(_intended(before or {})):
            return "everything is suspended: the intent is refused"
        return ""


class LeaderPolicies:
    """What is refused to a leader that is the last one no longer, and that nobody counts down who is."""

    def __init__(self, cluster: FakeCluster, namespace: str) -> None:
        self._cluster = cluster
        self._epoch = ObjectRef.of("ConfigMap", namespace, EPOCH_NAME)

    def objection(self, write: Write, before: Object | None) -> str:
        """Why the write is refused; empty if it is not."""
        if write.ref == self._epoch:
            lower = write.verb == "delete" or (before is not None and epoch_of(write.obj) < epoch_of(before))
            return "data.epoch must be counted up, never down" if lower else ""
        if write.ref.kind != RUN.kind or write.sub != "status" or not self._cluster.has(self._epoch):
            return ""
        held, said = set(_intended(before or {})), set(_intended(write.obj))
        if said <= held and not held & set(_intended(write.obj, "Planned")):
            return ""
        last = epoch_of(self._cluster.get(self._epoch))
        own = dig_int(write.obj, "status", "leaderEpoch")
        return (
            f"a leader of the epoch {own} intends a step or takes an intent back, and the last one has the epoch {last}"
            if own < last
            else ""
        )


def _intended(run: Object, state: str = "Intended") -> Iterator[str]:
    """The tokens of the steps in that state; a step without one is planned."""
    for attempt in dig_list(run, "status", "attempts"):
        for step in (*dig_list(attempt, "steps"), *dig_list(attempt, "undo")):
            if (dig_text(step, "state") or "Planned") == state:
                yield dig_text(step, "token")


def _is_void_alone(write: Write, before: Object | None) -> bool:
    if before is None or write.verb not in ("patch", "update") or write.sub:
        return False
    return _without_void(write.obj) == _without_void(before)


def _without_void(obj: Object) -> Object:
    metadata = {key: value for key, value in dig_object(obj, "metadata").items() if key not in SERVER_OWNED}
    annotations = {k: v for k, v in dig_object(metadata, "annotations").items() if k != VOID_STAMP}
    return {**obj, "metadata": {**metadata, "annotations": annotations}}
