"""One definition as it was last seen, cut to what the operator needs of it."""

from dataclasses import dataclass
from typing import Final

from remediator.domain.bounded import shorten
from remediator.domain.errors import Problem
from remediator.domain.guardrails import Guardrail
from remediator.domain.json import JSON, Object, dig_int, dig_object, dig_text
from remediator.domain.objects import Kind
from remediator.engine.acceptance import AcceptedPolicy, AcceptedRunbook

_REASON_BYTES: Final = 512
_METADATA: Final = ("name", "namespace", "uid", "generation", "resourceVersion", "creationTimestamp")

Name = tuple[str, str]
"""Namespace and name; the namespace of a Guardrail is empty."""


@dataclass(frozen=True)
class Definition:
    """One Runbook, AlertPolicy or Guardrail as it was last seen, and what became of it."""

    kind: Kind
    obj: Object
    """Metadata cut to what is needed, spec and status."""
    problems: tuple[Problem, ...] = ()
    runbook: AcceptedRunbook | None = None
    policy: AcceptedPolicy | None = None
    guardrail: Guardrail | None = None

    @property
    def name(self) -> Name:
        return dig_text(self.obj, "metadata", "namespace"), dig_text(self.obj, "metadata", "name")

    @property
    def version(self) -> tuple[str, int]:
        """What says whether the text is another one."""
        return dig_text(self.obj, "metadata", "uid"), dig_int(self.obj, "metadata", "generation", default=1)

    @property
    def problem(self) -> str:
        """Why it cannot be used, in one sentence; empty if it can."""
        return shorten("; ".join(str(problem) for problem in self.problems), _REASON_BYTES)

    @property
    def warnings(self) -> tuple[str, ...]:
        accepted = self.runbook or self.policy
        return accepted.warnings if accepted is not None else ()


def name_of(obj: Object) -> Name:
    return dig_text(obj, "metadata", "namespace"), dig_text(obj, "metadata", "name")


def is_older(one: Definition, other: Definition) -> bool:
    """Whether a list that was under way brings what an event has overtaken; versions of one kind are ordered."""
    versions = [dig_text(each.obj, "metadata", "resourceVersion") for each in (one, other)]
    if one.version[0] != other.version[0] or not all(version.isdecimal() for version in versions):
        return False
    return int(versions[0]) < int(versions[1])


def spec_of(obj: Object) -> JSON:
    return obj.get("spec", {})


def runbook_of(obj: Object) -> Name:
    ref = dig_object(obj, "spec", "runbookRef")
    return dig_text(ref, "namespace") or dig_text(obj, "metadata", "namespace"), dig_text(ref, "name")


def trimmed(obj: Object) -> Object:
    metadata = dig_object(obj, "metadata")
    kept: Object = {key: metadata[key] for key in _METADATA if key in metadata}
    return {"metadata": kept, "spec": obj.get("spec", {}), "status": obj.get("status", {})}


def namespace_metadata(obj: Object) -> Object:
    metadata = dig_object(obj, "metadata")
    annotations = {
        key: value
        for key, value in dig_object(metadata, "annotations").items()
        if not key.startswith("kubectl.kubernetes.io/")
    }
    kept: Object = {key: metadata[key] for key in ("name", "uid", "creationTimestamp") if key in metadata}
    return {**kept, "labels": dict(dig_object(metadata, "labels")), "annotations": annotations}
