"""
Set environment variables of one container, all in one patch.

A variable that is already as asked for is left alone; where all are, nothing is written and no pod
is replaced.
"""

import enum
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import Field, WithJsonSchema, model_validator

from remediator.actions.base import Template
from remediator.actions.rollouts import refuse_unless_it_rolls, rolled_out
from remediator.actions.secrecy import looks_secret
from remediator.domain.actions import ActionClass, ActionInfo, Parameters, Permission
from remediator.domain.changes import ABSENT, ByKey, Change, Edit, FieldPath, Patch
from remediator.domain.json import Object, dig_list, dig_text
from remediator.domain.objects import WORKLOADS, Target
from remediator.domain.outcomes import Outcome
from remediator.domain.verdicts import Reason, Refusal
from remediator.domain.workloads import template_containers
from remediator.ports import Cluster, Objects


class OnMismatch(enum.StrEnum):
    """What happens to a variable that does not hold the expected value."""

    REFUSE = "Refuse"
    SKIP = "Skip"


class Variable(Parameters):
    """The value of a variable; in short, the value alone."""

    value: Template = Field(description="What the variable shall hold.")
    expected: Template | None = Field(
        default=None,
        alias="from",
        description="What it must hold now; a variable that is not there holds nothing. Default: whatever it holds.",
    )
    on_mismatch: OnMismatch = Field(
        default=OnMismatch.REFUSE,
        description="Where it holds something else: `Refuse` refuses the whole step, `Skip` leaves this variable as it is.",
    )

    @model_validator(mode="before")
    @classmethod
    def _in_short(cls, value: Any) -> Any:
        if isinstance(value, (bool, float)):
            raise ValueError(f"a value is a string, this is {value}: put it in quotes")
        return {"value": str(value)} if isinstance(value, (str, int)) else value


VariableOrValue = Annotated[Variable, WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True})]
EnvName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")]


class SetEnvParameters(Parameters):
    """Which variables of which container."""

    container: Template | None = Field(
        default=None, description="The container; may be left out where the workload has only one."
    )
    variables: dict[EnvName, VariableOrValue] = Field(
        alias="vars",
        min_length=1,
        max_length=32,
        description="Values by name: `{QUEUE_SIZE: '500'}`, or `{QUEUE_SIZE: {value: '500', from: '200', onMismatch: "
        "Skip}}`. Refused: names that look secret, and variables whose value comes from elsewhere.",
    )


class SetEnv:
    """Set environment variables of one container."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="setEnv",
        cls=ActionClass.CHANGE,
        summary="Set environment variables of one container, all in one patch; the pods are replaced.",
        parameters=SetEnvParameters,
        permissions=(
            Permission("", "pods", ("list",)),
            Permission("apps", "daemonsets", ("get", "patch")),
            Permission("apps", "deployments", ("get", "patch")),
            Permission("apps", "statefulsets", ("get", "patch")),
        ),
        targets=WORKLOADS,
        replaces_pods=True,
        undoable=True,
    )

    async def plan(
        self,
        params: SetEnvParameters,
        target: Target,
        seen: Object,
        cluster: Cluster,  # noqa: ARG002 - the object says it all
        *,
        now: datetime,  # noqa: ARG002
    ) -> Change:
        refuse_unless_it_rolls(target, seen)
        container = _container(params, target, seen)
        edits = [_edit(container, name, variable) for name, variable in params.variables.items()]
        found = tuple(edit for edit in edits if edit is not None)
        names = ", ".join(_name_of(edit) for edit in found) or "nothing"
        summary = f"set {names} of container {dig_text(container, 'name')} of {target}"
        return Patch(target, found, summary, replaces_pods=bool(found))

    async def poll(self, change: Change, cluster: Objects, *, token: str, started: datetime, now: datetime) -> Outcome:
        return await rolled_out(change, cluster, token=token, started=started, now=now)


def _container(params: SetEnvParameters, target: Target, seen: Object) -> Object:
    containers = template_containers(seen)
    names = [dig_text(container, "name") for container in containers]
    if params.container is None and len(containers) == 1:
        return containers[0]
    if params.container is None:
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} has several containers, name one: {', '.join(names)}")
    if params.container not in names:
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} has no container {params.container}; it has: {', '.join(names)}")
    return containers[names.index(params.container)]


def _edit(container: Object, name: str, variable: Variable) -> Edit | None:
    """The edit that sets one variable; None where it is left alone."""
    if looks_secret(name):
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{name} looks like a secret, and secrets are not written as plain values")
    present = [item for item in dig_list(container, "env") if item.get("name") == name]
    if len(present) > 1:
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{name} stands in the container {len(present)} times")
    if present and "valueFrom" in present[0]:
        raise Refusal(Reason.OUT_OF_BOUNDS, f"the value of {name} comes from elsewhere (valueFrom)")
    value = dig_text(present[0], "value") if present else None
    if value == variable.value:
        return None
    if variable.expected is not None and value != variable.expected:
        if variable.on_mismatch is OnMismatch.SKIP:
            return None
        holds = "is not there" if value is None else f"holds {value!r}"
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{name} {holds}; this step expects {variable.expected!r}")
    path = ("spec", "template", "spec", "containers", ByKey("name", dig_text(container, "name")), "env")
    entry = FieldPath.of(*path, ByKey("name", name))
    if not present:
        return Edit(entry, ABSENT, {"name": name, "value": variable.value})
    field = FieldPath.of(*entry.parts, "value")
    return Edit(field, field.value_in({"spec": _only(container)}), variable.value)


def _only(container: Object) -> Object:
    """As much of a workload's spec as holds this container."""
    return {"template": {"spec": {"containers": [container]}}}


def _name_of(edit: Edit) -> str:
    keys = [part.value for part in edit.path.parts if isinstance(part, ByKey)]
    return keys[-1]
