"""Label and field selectors, as the API server understands them."""

import re
from collections.abc import Mapping
from typing import Final

from remediator.domain.errors import Rejected
from remediator.domain.json import Object, dig, dig_object
from remediator.domain.objects import Kind

SET: Final = re.compile(r"^(\S+)\s+(in|notin)\s+\(([^)]*)\)$")

FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "Pod": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "Event": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "Node": ("spec.unschedulable",),
    "Reply": ("spec.runRef.name",),
    "Namespace": ("status.phase",),
    "Job": ("status.successful",),
    "ReplicaSet": ("status.replicas",),
    "Secret": ("type",),
}
"""Besides `metadata.name` and `metadata.namespace`; the API server refuses all others."""


def labels_match(selector: str, labels: Mapping[str, object]) -> bool:
    """Whether the labels satisfy every requirement; an empty selector selects all."""
    return all(_requirement_holds(requirement, labels) for requirement in _split(selector))


def _split(selector: str) -> list[str]:
    # commas inside `in (a, b)` do not separate requirements
    return [part.strip() for part in re.split(r",(?![^(]*\))", selector) if part.strip()]


def _requirement_holds(requirement: str, labels: Mapping[str, object]) -> bool:
    found = SET.match(requirement)
    if found:
        key, operator, text = found.groups()
        values = {value.strip() for value in text.split(",")}
        return (labels.get(key) in values) == (operator == "in")
    for operator in ("!=", "==", "="):
        if operator in requirement:
            key, value = (side.strip() for side in requirement.split(operator, 1))
            return (labels.get(key) != value) if operator == "!=" else labels.get(key) == value
    if requirement.startswith("!"):
        return requirement[1:].strip() not in labels
    return requirement in labels


def selector_holds(selector: Object, labels: Mapping[str, object]) -> bool:
    """Whether a workload's `matchLabels` select these labels."""
    return all(labels.get(key) == value for key, value in dig_object(selector, "matchLabels").items())


def check_fields(selector: str, kind: Kind) -> None:
    """Raises Rejected for a field that the API server does not index."""
    for requirement in _split(selector):
        path = re.split("[!=]", requirement, maxsplit=1)[0]
        if path not in ("metadata.name", "metadata.namespace", *FIELDS.get(kind.kind, ())):
            raise Rejected(f"field label not supported: {path}")


def fields_match(selector: str, obj: Object) -> bool:
    """Whether the object satisfies every requirement; an absent field is the empty text."""
    for requirement in _split(selector):
        operator = "!=" if "!=" in requirement else "==" if "==" in requirement else "="
        path, _, wanted = requirement.partition(operator)
        found = dig(obj, *path.split("."))
        text = "" if found is None else str(found).lower() if isinstance(found, bool) else str(found)
        if (text == wanted) == (operator == "!="):
            return False
    return True
