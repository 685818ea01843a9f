"""
The CustomResourceDefinitions, from the models and the actions' parameters.

A step's action is a key of its own (`restart: {}`), so each list of steps has one optional field for
every action that may stand there, and a rule that exactly one is set. That keeps every parameter
checked by the API server, and named by `kubectl explain`.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from remediator.domain.actions import ActionClass, ActionInfo
from remediator.domain.objects import GROUP, VERSION
from remediator.domain.questions import ASK, MANUAL, Ask, Manual
from remediator.domain.runbooks import WAIT, Step, Wait
from remediator.generate.kinds import KINDS, Served
from remediator.generate.rules import Rule, exactly_one, has
from remediator.generate.schemas import Schema, in_reading_order, structural

LABELS: Final = {"app.kubernetes.io/name": "remediator", "app.kubernetes.io/part-of": "remediator"}
CATEGORY: Final = "remediator"

OF_CHANGES: Final = ("approval", "ttl", "revertOnResolve")
"""The common fields of a step that say nothing where nothing can be changed."""

BARE: Final = "one without parameters is written with {} after the colon"

ATOMIC: Final[Schema] = {"x-kubernetes-map-type": "atomic"}
"""
For what one writer writes as a whole.

The API server notes who wrote each field, and for each object in between, of every version that it remembers:
two thirds of all the maps that it would hold of a run.
"""

_ENVELOPE: Final[Schema] = {
    "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}."},
    "kind": {"type": "string", "description": "The kind."},
    "metadata": {"type": "object"},
}


def crds(actions: Iterable[ActionInfo]) -> dict[str, dict[str, Any]]:
    """The CRD of each kind, by the resource's plural name."""
    known = sorted(actions, key=lambda info: info.name)
    return {served.kind.plural: _crd(served, known) for served in KINDS}


def _crd(served: Served, actions: list[ActionInfo]) -> dict[str, Any]:
    kind = served.kind
    version: dict[str, Any] = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _root(served, actions)},
        **({"subresources": {"status": {}}} if served.status is not None else {}),
        "additionalPrinterColumns": [column.as_json() for column in served.columns],
    }
    if served.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in served.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}", "labels": dict(LABELS)},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [served.short],
                "categories": [CATEGORY],
            },
            "versions": [version],
        },
    }


def _root(served: Served, actions: list[ActionInfo]) -> Schema:
    spec = structural(served.spec)
    if served.kind.kind == "Runbook":
        _type_the_steps(spec, actions)
    if served.never_changes:
        spec |= ATOMIC
    status = {"status": {**structural(served.status, record=True), **ATOMIC}} if served.status is not None else {}
    root: Schema = {
        "type": "object",
        "description": served.description,
        "required": ["spec"],
        "properties": {**copy.deepcopy(_ENVELOPE), "spec": spec, **status},
    }
    if served.rules:
        root["x-kubernetes-validations"] = [rule.as_json() for rule in served.rules]
    return in_reading_order(root)


def _type_the_steps(spec: Schema, actions: list[ActionInfo]) -> None:
    reads = [info for info in actions if info.cls is ActionClass.READ]
    messages = [info for info in actions if info.cls is ActionClass.MESSAGE]
    fields = spec["properties"]
    fields["diagnose"]["items"] = step(reads, (ASK,), without=OF_CHANGES)
    fields["remedies"]["items"]["properties"]["steps"]["items"] = step(actions, NO_ACTIONS)
    fields["otherwise"]["items"] = step(messages, (MANUAL,), without=OF_CHANGES)
    fields["finally"]["items"] = step(messages, (MANUAL,), without=OF_CHANGES)


NO_ACTIONS: Final[Mapping[str, type[BaseModel]]] = {WAIT: Wait, ASK: Ask, MANUAL: Manual}
"""What a step can be without using an action: only time passes in it."""


def step(actions: Sequence[ActionInfo], also: Iterable[str] = (), *, without: Iterable[str] = ()) -> Schema:
    """A step that uses exactly one of the actions, or is one of `NO_ACTIONS`."""
    whole = structural(Step)
    common = {name: schema for name, schema in whole["properties"].items() if name in Step.COMMON - set(without)}
    uses = {info.name: {**structural(info.parameters), "description": info.summary} for info in actions}
    uses |= {name: structural(NO_ACTIONS[name]) for name in also}
    names = sorted(uses)
    rules = [] if "ttl" not in common else [_taken_back(info.name for info in actions if info.undoable)]
    one_action = Rule(exactly_one(names), f"a step has exactly one action of: {', '.join(names)}; {BARE}")
    return {
        **whole,
        "description": "One use of an action.",
        "properties": {**common, **{name: uses[name] for name in names}},
        "x-kubernetes-validations": [
            *(rule.as_json() for rule in (one_action, *rules)),
            *whole["x-kubernetes-validations"],
        ],
    }


def _taken_back(undoable: Iterable[str]) -> Rule:
    """What has a limit can be taken back."""
    names = sorted(undoable)
    limited = "has(self.ttl) || (has(self.revertOnResolve) && self.revertOnResolve)"
    return Rule(
        f"!({limited}) || {' || '.join(has(name) for name in names)}",
        f"`ttl` and `revertOnResolve` are for changes that can be taken back: {', '.join(names)}",
    )
