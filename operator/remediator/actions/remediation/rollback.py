"""
Go back to a recorded revision of a workload.

The pod template becomes the recorded one to the last field, so that the controller finds the old
ReplicaSet again instead of making another; written, shown and recorded is only what differs. Of the
annotations beside it only the change cause goes
with it: others are copied to a ReplicaSet from whatever stood there, our stamps among them.
"""

import enum
from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import Field, WithJsonSchema

from remediator.actions.revisions import History, Revision, history_of
from remediator.actions.rollouts import refuse_unless_it_rolls, rolled_out
from remediator.actions.templates import edits_between
from remediator.domain.actions import ActionClass, ActionInfo, Parameters, Permission
from remediator.domain.changes import ABSENT, Change, Edit, FieldPath, Patch
from remediator.domain.durations import GoDuration, human
from remediator.domain.json import Object, dig_object
from remediator.domain.objects import WORKLOADS, Target
from remediator.domain.outcomes import Outcome
from remediator.domain.verdicts import Reason, Refusal
from remediator.domain.workloads import CHANGE_CAUSE, images
from remediator.ports import Cluster, Objects

_TEMPLATE = FieldPath.of("spec", "template")
_CAUSE = FieldPath.of("metadata", "annotations", CHANGE_CAUSE)


class Relative(enum.StrEnum):
    """A revision by its place."""

    PREVIOUS = "previous"


class RollbackParameters(Parameters):
    """Which revision."""

    to: Annotated[
        Annotated[int, Field(ge=1)] | Relative | Annotated[str, Field(max_length=2048, pattern=r"^\$\{")],
        WithJsonSchema(
            {
                "x-kubernetes-int-or-string": True,
                "anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 2048}],
            }
        ),
    ] = Field(
        default=Relative.PREVIOUS,
        description="`previous`: the newest revision before the present one that differs from it; or a revision's "
        "number as `kubectl rollout history` shows it. Default: previous.",
    )
    max_age: GoDuration | None = Field(
        default=None,
        description="A present revision that is older is left as it is (OutOfBounds): it was not the last release "
        'that broke it. Default: of any age. "0s" refuses every rollback.',
    )


class Rollback:
    """Go back to a recorded revision of a workload."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="rollback",
        cls=ActionClass.CHANGE,
        summary="Go back to a recorded revision of a workload, as `kubectl rollout undo` does.",
        parameters=RollbackParameters,
        permissions=(
            Permission("", "pods", ("list",)),
            Permission("apps", "controllerrevisions", ("list",)),
            Permission("apps", "daemonsets", ("get", "patch")),
            Permission("apps", "deployments", ("get", "patch")),
            Permission("apps", "replicasets", ("list",)),
            Permission("apps", "statefulsets", ("get", "patch")),
        ),
        targets=WORKLOADS,
        replaces_pods=True,
    )

    async def plan(
        self, params: RollbackParameters, target: Target, seen: Object, cluster: Cluster, *, now: datetime
    ) -> Change:
        refuse_unless_it_rolls(target, seen)
        history = await history_of(cluster, seen, target)
        _refuse_if_too_old(params, history, target, now)
        chosen = _chosen(params, history, target)
        edits = [*edits_between(_TEMPLATE, dig_object(seen, "spec", "template"), chosen.template)]
        if dig_object(seen, "metadata", "annotations"):
            edits.append(Edit(_CAUSE, _CAUSE.value_in(seen), chosen.change_cause or ABSENT))
        return Patch(
            target,
            tuple(edit for edit in edits if not edit.is_empty),
            _summary(history, chosen, target),
            replaces_pods=True,
            undoable=False,
        )

    async def poll(self, change: Change, cluster: Objects, *, token: str, started: datetime, now: datetime) -> Outcome:
        return await rolled_out(change, cluster, token=token, started=started, now=now)


def _refuse_if_too_old(params: RollbackParameters, history: History, target: Target, now: datetime) -> None:
    if params.max_age is None or history.current is None:
        return
    age = now - datetime.fromisoformat(history.current.created_at)
    if age > params.max_age:
        raise Refusal(
            Reason.OUT_OF_BOUNDS,
            f"revision {history.current.number} of {target} is {human(age)} old; this step goes back from "
            f"one of at most {human(params.max_age)}",
        )


def _chosen(params: RollbackParameters, history: History, target: Target) -> Revision:
    if params.to is Relative.PREVIOUS:
        if history.previous is None:
            raise Refusal(
                Reason.OUT_OF_BOUNDS, f"{target} has no recorded revision before the present one that differs"
            )
        return history.previous
    recorded = [revision for revision in history.revisions if revision.number == params.to]
    if not recorded:
        known = ", ".join(str(revision.number) for revision in history.revisions) or "none"
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} has no revision {params.to}; recorded are: {known}")
    if history.current is not None and recorded[0].template == history.current.template:
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} is at revision {params.to} already")
    return recorded[0]


def _summary(history: History, chosen: Revision, target: Target) -> str:
    here = f"revision {history.current.number}" if history.current else "an unrecorded template"
    return f"roll {target} back from {here} to {chosen.number} ({', '.join(images(chosen.template))})"
