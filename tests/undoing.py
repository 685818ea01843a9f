"""
Random workloads, random changes of them that can be undone, and what somebody else does in between.

`valid=True` keeps to what a real API server takes.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from hypothesis import strategies as st

from remediator.actions.remediation.scale import Scale, ScaleParameters
from remediator.actions.remediation.set_env import SetEnv, SetEnvParameters
from remediator.domain.changes import STAMPS, Patch
from remediator.domain.json import Object
from remediator.domain.objects import Target
from remediator.domain.verdicts import Refusal
from remediator.ports import Cluster

NOW: Final = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NAMES: Final = ("app", "app-1", "ap", "a")
VARIABLES: Final = ("QUEUE", "QUEUE_", "queue", "QUEUE.SIZE", "Q", "-q")
ODD_VARIABLES: Final = ("Очередь", "a/b", "a~1b", "~", "[name=QUEUE]", "a=b")
KEYS: Final = ("team", "example.com/team", "a.b/c_d")
ODD_KEYS: Final = ("ключ", "a~1b", "[name=app]", "")
SERVER_OWNED: Final = ("resourceVersion", "generation", "managedFields", "creationTimestamp", "uid")

Step = tuple[str, dict[str, Any]]
"""An action and its parameters."""


def workloads(*, valid: bool = False) -> st.SearchStrategy[Object]:
    """Deployments, few of whose optional fields are there."""
    variables = VARIABLES if valid else VARIABLES + ODD_VARIABLES
    keys = st.sampled_from(KEYS if valid else KEYS + ODD_KEYS)
    annotations = st.none() | st.dictionaries(keys, st.text("aб/~ ", max_size=4), max_size=3)
    return st.builds(
        _deployment,
        st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
        st.lists(_environment(variables, valid=valid), min_size=4, max_size=4),
        st.booleans(),
        annotations,
        annotations,
        st.integers(0, 3),
    )


def _environment(variables: Sequence[str], *, valid: bool) -> st.SearchStrategy[list[Object] | None]:
    value_from: list[Object] = [{"fieldRef": {"fieldPath": "metadata.name", **({"apiVersion": "v1"} if valid else {})}}]
    value = st.sampled_from(["", "100", "500", "a b", "ж"])
    entry = st.one_of(
        st.builds(lambda name, text: {"name": name, "value": text}, st.sampled_from(variables), value),
        st.builds(lambda name: {"name": name}, st.sampled_from(variables)),
        st.builds(
            lambda name, source: {"name": name, "valueFrom": source},
            st.sampled_from(variables),
            st.sampled_from(value_from),
        ),
    )
    if valid:  # what is empty is not stored
        entry = entry.filter(lambda one: one.get("value") != "")
    unique: Any = (lambda one: one["name"]) if valid else None
    return st.none() | st.lists(entry, max_size=4, unique_by=unique)


def _deployment(
    names: list[str],
    environments: list[list[Object] | None],
    has_init: bool,
    annotations: Object | None,
    pod_annotations: Object | None,
    replicas: int,
) -> Object:
    def container(name: str, environment: list[Object] | None) -> Object:
        env: Object = {"env": copy.deepcopy(environment)} if environment is not None else {}
        return {"name": name, "image": "registry.test/shop:1", **env}

    containers = [container(name, env) for name, env in zip(names, environments, strict=False)]
    pod: Object = {"containers": containers}
    if has_init:
        pod["initContainers"] = [container("init", environments[-1])]
    metadata: Object = {"name": "checkout", "namespace": "shop"}
    template: Object = {"labels": {"app": "checkout"}}
    for part, given in ((metadata, annotations), (template, pod_annotations)):
        if given is not None:
            part["annotations"] = copy.deepcopy(given)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "checkout"}},
            "template": {"metadata": template, "spec": pod},
        },
    }


def steps() -> st.SearchStrategy[list[Step]]:
    """The changes of one remedy."""
    variables = st.dictionaries(
        st.sampled_from(VARIABLES), st.sampled_from(["1", "500", "x y"]), min_size=1, max_size=3
    )
    set_env = st.builds(
        lambda container, given: ("setEnv", {"container": container, "vars": given}), st.sampled_from(NAMES), variables
    )
    scale = st.builds(lambda by: ("scale", {"by": by, "allowDown": True}), st.sampled_from([-1, 1, 2]))
    return st.lists(st.one_of(set_env, set_env, scale), min_size=1, max_size=4)


async def planned(wanted: Sequence[Step], target: Target, seen: Object, cluster: Cluster) -> tuple[Patch, ...]:
    """The remedy's writes: what can be joined is one, what is refused or overlaps is left out."""
    found: list[Patch] = []
    for action, given in wanted:
        try:
            if action == "setEnv":
                change = await SetEnv().plan(SetEnvParameters.model_validate(given), target, seen, cluster, now=NOW)
            else:
                change = await Scale().plan(ScaleParameters.model_validate(given), target, seen, cluster, now=NOW)
        except Refusal:
            continue
        assert isinstance(change, Patch)
        if not change.is_empty and not any(change.overlaps(other) for other in found):
            found.append(change)
    return tuple(found)


def joined(patches: Sequence[Patch]) -> Patch | None:
    """All of them as one write."""
    whole: Patch | None = None
    for patch in patches:
        whole = patch if whole is None else whole.joined_with(patch)
    return whole


@dataclass(frozen=True)
class Meddling:
    """What somebody else does to the object; it means the same before and after our change."""

    says: str
    edit: Callable[[Object], None]

    def __repr__(self) -> str:
        return self.says


def meddlings() -> st.SearchStrategy[Meddling]:
    """None of them writes a value of ours: who does that cannot be told from us."""
    name, variable, value = st.sampled_from(NAMES), st.sampled_from(VARIABLES), st.sampled_from(["100", "theirs"])
    return st.one_of(
        st.builds(_sets, name, variable, value),
        st.builds(_removes, name, variable),
        st.builds(_sorts, name),
        st.builds(_images, name),
        st.builds(
            lambda count: Meddling(f"{count} replicas", lambda o: _spec(o).update(replicas=count)), st.integers(7, 9)
        ),
        st.builds(_annotates, st.sampled_from(KEYS), value),
        st.just(Meddling("removes the pod's annotations", lambda o: _template(o)["metadata"].pop("annotations", None))),
    )


def _sets(name: str, variable: str, value: str) -> Meddling:
    def edit(obj: Object) -> None:
        for container in _containers(obj, name):
            entries = [one for one in container.get("env") or [] if one["name"] == variable]
            for entry in entries:
                entry.pop("valueFrom", None)
                entry["value"] = value
            if not entries:
                container["env"] = [*(container.get("env") or []), {"name": variable, "value": value}]

    return Meddling(f"sets {variable} of {name} to {value}", edit)


def _removes(name: str, variable: str) -> Meddling:
    def edit(obj: Object) -> None:
        for container in _containers(obj, name):
            container["env"] = [one for one in container.get("env") or [] if one["name"] != variable]

    return Meddling(f"removes {variable} of {name}", edit)


def _sorts(name: str) -> Meddling:
    def edit(obj: Object) -> None:
        for container in _containers(obj, name):
            container["env"] = sorted(container.get("env") or [], key=lambda one: str(one["name"]))

    return Meddling(f"sorts the variables of {name}", edit)


def _images(name: str) -> Meddling:
    def edit(obj: Object) -> None:
        for container in _containers(obj, name):
            container["image"] = "registry.test/shop:2"

    return Meddling(f"another image for {name}", edit)


def _annotates(key: str, value: str) -> Meddling:
    def edit(obj: Object) -> None:
        obj["metadata"]["annotations"] = {**(obj["metadata"].get("annotations") or {}), key: value}

    return Meddling(f"annotates {key}={value}", edit)


def _spec(obj: Object) -> Any:
    return obj["spec"]


def _template(obj: Object) -> Any:
    return _spec(obj)["template"]


def _containers(obj: Object, name: str) -> list[Any]:
    return [one for one in _template(obj)["spec"]["containers"] if one["name"] == name]


def content(obj: Object) -> Any:
    """
    What people wrote of the object: without status, what the server owns, and our stamps.

    A list or map that is empty is the same as none, as the API server stores it.
    """
    kept: Any = {key: copy.deepcopy(value) for key, value in obj.items() if key != "status"}
    for key in SERVER_OWNED:
        kept["metadata"].pop(key, None)
    annotations = kept["metadata"].get("annotations") or {}
    kept["metadata"]["annotations"] = {
        key: value
        for key, value in annotations.items()
        if key not in STAMPS and key != "deployment.kubernetes.io/revision"
    }
    return _without_empty(kept)


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        found = {key: _without_empty(one) for key, one in value.items()}
        return {key: one for key, one in found.items() if one not in ({}, [], None)}
    return [_without_empty(one) for one in value] if isinstance(value, list) else value
