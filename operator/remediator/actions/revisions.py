"""
The recorded revisions of a workload: ReplicaSets of a Deployment, ControllerRevisions of the others.

A revision's template is what a rollback would write: without the label that the Deployment
controller adds, and without nulls, which some versions of the API server store and others leave out.
"""

from dataclasses import dataclass
from typing import Final

from remediator.domain.json import JSON, Object, dig_int, dig_object, dig_text
from remediator.domain.objects import BUILT_IN, Target
from remediator.domain.workloads import (
    CHANGE_CAUSE,
    REVISION,
    TEMPLATE_HASH,
    created_at,
    is_owned_by,
    selector_text,
    uid_of,
)
from remediator.ports import Cluster

_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Revision:
    """One recorded pod template."""

    number: int
    name: str
    created_at: str
    template: Object
    change_cause: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """Revisions, newest first; `current` is the one whose template the workload has, if it is recorded yet."""

    revisions: tuple[Revision, ...]
    current: Revision | None
    truncated: bool = False

    @property
    def previous(self) -> Revision | None:
        """The newest revision before the current one that differs from it."""
        if self.current is None:
            return self.revisions[0] if self.revisions else None
        older = [r for r in self.revisions if r.number < self.current.number and r.template != self.current.template]
        return older[0] if older else None


async def history_of(cluster: Cluster, workload: Object, target: Target) -> History:
    """The recorded revisions of the workload, which is empty for a kind that records none."""
    deployment = target.ref.kind == "Deployment"
    if not deployment and target.ref.kind not in ("StatefulSet", "DaemonSet"):
        return History((), None)
    kind = BUILT_IN["ReplicaSet" if deployment else "ControllerRevision"]
    labels = selector_text(dig_object(workload, "spec", "selector"))
    listed = await cluster.list(kind, target.ref.namespace, labels=labels, limit=_MAX)
    mine = [item for item in listed.items if is_owned_by(item, [uid_of(workload)])]
    read = [_of_replica_set(item) if deployment else _of_controller_revision(item) for item in mine]
    revisions = tuple(sorted((r for r in read if r.template), key=lambda r: r.number, reverse=True))
    template = template_of(workload)
    current = next((revision for revision in revisions if revision.template == template), None)
    return History(revisions, current, listed.truncated)


def template_of(workload: Object) -> Object:
    """The workload's own pod template in the form in which revisions are compared."""
    return _comparable(dig_object(workload, "spec", "template"))


def _of_replica_set(replica_set: Object) -> Revision:
    annotations = dig_object(replica_set, "metadata", "annotations")
    number = dig_text(annotations, REVISION)
    return Revision(
        number=int(number) if number.isdecimal() else 0,
        name=dig_text(replica_set, "metadata", "name"),
        created_at=created_at(replica_set),
        template=_comparable(dig_object(replica_set, "spec", "template")),
        change_cause=dig_text(annotations, CHANGE_CAUSE),
    )


def _of_controller_revision(revision: Object) -> Revision:
    template = dict(dig_object(revision, "data", "spec", "template"))
    template.pop("$patch", None)  # the controller stores the template as a strategic merge patch
    return Revision(
        number=dig_int(revision, "revision"),
        name=dig_text(revision, "metadata", "name"),
        created_at=created_at(revision),
        template=_comparable(template),
        change_cause=dig_text(revision, "metadata", "annotations", CHANGE_CAUSE),
    )


def _comparable(template: Object) -> Object:
    found = _without_nulls(template)
    assert isinstance(found, dict)
    metadata = dict(dig_object(found, "metadata"))
    metadata["labels"] = {key: value for key, value in dig_object(metadata, "labels").items() if key != TEMPLATE_HASH}
    return {**found, "metadata": {key: value for key, value in metadata.items() if value != {}}} if found else {}


def _without_nulls(value: JSON) -> JSON:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
