"""
The CustomResourceDefinitions, from the models and the actions' parameters.

A step's action is a key of its own (`restart: {}`), so each list of steps has one optional field for
every action that may stand there, and a rule that exactly one is set. That keeps every parameter
checked by the API server, and named by `kubectl explain`.
"""

import copy
from collections.abc import Iterable
from typing import Any, Final

from remediator.domain.actions import ActionClass, ActionInfo
from remediator.domain.objects import GROUP, VERSION
from remediator.domain.runbooks import WAIT, Step, Wait
from remediator.generate.kinds import KINDS, Served
from remediator.generate.rules import Rule, exactly_one
from remediator.generate.schemas import Schema, in_reading_order, structural

LABELS: Final = {"app.kubernetes.io/name": "remediator", "app.kubernetes.io/part-of": "remediator"}
CATEGORY: Final = "remediator"

BARE: Final = "one without parameters is written with {} after the colon"

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
        "subresources": {"status": {}},
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
    status = structural(served.status, record=True)
    root: Schema = {
        "type": "object",
        "description": served.description,
        "required": ["spec"],
        "properties": {**copy.deepcopy(_ENVELOPE), "spec": spec, "status": status},
    }
    if served.rules:
        root["x-kubernetes-validations"] = [rule.as_json() for rule in served.rules]
    return in_reading_order(root)


def _type_the_steps(spec: Schema, actions: list[ActionInfo]) -> None:
    reads = [info for info in actions if info.cls is ActionClass.READ]
    messages = [info for info in actions if info.cls is ActionClass.MESSAGE]
    fields = spec["properties"]
    fields["diagnose"]["items"] = step(reads, without=("approval",))
    fields["remedies"]["items"]["properties"]["steps"]["items"] = step(actions, and_wait=True)
    fields["otherwise"]["items"] = step(messages, without=("approval",))
    fields["finally"]["items"] = step(messages, without=("approval",))


def step(actions: Iterable[ActionInfo], *, and_wait: bool = False, without: Iterable[str] = ()) -> Schema:
    """A step that uses exactly one of the actions."""
    whole = structural(Step)
    common = {name: schema for name, schema in whole["properties"].items() if name in Step.COMMON - set(without)}
    uses = {info.name: {**structural(info.parameters), "description": info.summary} for info in actions}
    if and_wait:
        uses[WAIT] = structural(Wait)
    names = sorted(uses)
    one_action = Rule(exactly_one(names), f"a step has exactly one action of: {', '.join(names)}; {BARE}")
    return {
        **whole,
        "description": "One use of an action.",
        "properties": {**common, **{name: uses[name] for name in names}},
        "x-kubernetes-validations": [one_action.as_json(), *whole["x-kubernetes-validations"]],
    }
