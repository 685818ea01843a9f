"""
Set or raise the number of replicas.

`spec.replicas` of the object itself is written, because a stamp sent through its `scale` subresource
is not stored. Where a HorizontalPodAutoscaler decides about the number, it would set it back at once.
"""

from datetime import datetime
from typing import ClassVar, Final

from pydantic import Field, model_validator

from remediator.actions.base import IntOrTemplate, number
from remediator.actions.pods import as_meant
from remediator.actions.rollouts import put_back
from remediator.domain.actions import ActionClass, ActionInfo, Parameters, Permission
from remediator.domain.changes import Change, Edit, FieldPath, Patch
from remediator.domain.errors import NotFound
from remediator.domain.json import Object, dig_object, dig_text
from remediator.domain.objects import BUILT_IN, Target
from remediator.domain.outcomes import Failed, Outcome, Running, Succeeded
from remediator.domain.verdicts import Reason, Refusal
from remediator.domain.workloads import desired_replicas, rollout_counts
from remediator.ports import Cluster, Objects

SCALABLE: Final = ("Deployment", "StatefulSet")
_REPLICAS: Final = FieldPath.of("spec", "replicas")


class ScaleParameters(Parameters):
    """To how many, or by how many."""

    replicas: IntOrTemplate | None = Field(
        default=None, description="How many replicas there shall be; 0 ends them all, and needs `allowDown`."
    )
    by: IntOrTemplate | None = Field(
        default=None,
        description="How many more, or with a minus how many fewer; cut at `min` and `max`. One of `replicas`, `by`.",
    )
    min: IntOrTemplate | None = Field(
        default=None, description="Fewer replicas than this are refused; default: 1, or 0 where `replicas` is given."
    )
    max: IntOrTemplate | None = Field(
        default=None, description="More replicas than this are refused; default: no limit."
    )
    allow_down: bool = Field(
        default=False,
        description="Whether there may be fewer replicas than now; false refuses such a step. Default: false.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> "ScaleParameters":
        if (self.replicas is None) == (self.by is None):
            raise ValueError("give either `replicas` or `by`")
        if any(isinstance(value, int) and value < 0 for value in (self.replicas, self.min, self.max)):
            raise ValueError("`replicas`, `min` and `max` must be at least 0")
        if isinstance(self.min, int) and isinstance(self.max, int) and self.min > self.max:
            raise ValueError(f"`min` ({self.min}) is above `max` ({self.max})")
        return self


class Scale:
    """Set or raise the number of replicas."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="scale",
        cls=ActionClass.CHANGE,
        summary="Set or raise the number of replicas; never lowers it unless asked to.",
        parameters=ScaleParameters,
        permissions=(
            Permission("apps", "deployments", ("get", "patch")),
            Permission("apps", "statefulsets", ("get", "patch")),
            Permission("autoscaling", "horizontalpodautoscalers", ("list",)),
        ),
        targets=SCALABLE,
        undoable=True,
    )

    async def plan(
        self,
        params: ScaleParameters,
        target: Target,
        seen: Object,
        cluster: Cluster,
        *,
        now: datetime,  # noqa: ARG002
    ) -> Change:
        if target.ref.group != "apps" or target.ref.kind not in SCALABLE:
            raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} has no number of replicas that can be set")
        await _refuse_if_autoscaled(target, cluster)
        here = desired_replicas(seen)
        wanted = _wanted(params, target, here)
        edit = Edit(_REPLICAS, _REPLICAS.value_in(seen), wanted)
        return Patch(target, () if wanted == here else (edit,), f"scale {target} from {here} to {wanted} replicas")

    async def poll(
        self,
        change: Change,
        cluster: Objects,
        *,
        token: str,  # noqa: ARG002 - the plan is final
        started: datetime,  # noqa: ARG002 - the step's own timeout ends it
        now: datetime,  # noqa: ARG002
    ) -> Outcome:
        target = change.target
        try:
            seen = await as_meant(cluster, target)
        except NotFound:
            return Failed(f"{target} is gone")
        if put_back(change, seen):
            return Failed(f"{target}: somebody put back the number of replicas")
        counts = rollout_counts(seen)
        if counts.observed and counts.total == counts.desired and counts.available >= counts.desired:
            return Succeeded(f"{target} has {counts.available} available replicas")
        return Running(f"{target}: {counts.available} of {counts.desired} replicas available")


def _wanted(params: ScaleParameters, target: Target, here: int) -> int:
    lowest = number(params.min) if params.min is not None else (0 if params.replicas is not None else 1)
    highest = number(params.max) if params.max is not None else None
    if params.by is not None and here == 0:
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} is scaled to 0: whoever did it meant it to stand still")
    if params.by is not None:
        step = number(params.by)
        wanted = _cut(here + step, lowest, highest, here, step)
    else:
        assert params.replicas is not None
        step, wanted = 0, number(params.replicas)
    if wanted < lowest or (highest is not None and wanted > highest):
        bounds = f"at least {lowest}" + (f" and at most {highest}" if highest is not None else "")
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} would have {wanted} replicas; this step allows {bounds}")
    if step and wanted == here:
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} has {here} replicas, and this step allows no more of a change")
    if wanted < here and not params.allow_down:
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} has {here} replicas; this step may not lower them to {wanted}")
    return wanted


def _cut(wanted: int, lowest: int, highest: int | None, here: int, step: int) -> int:
    """The number within the bounds, but never moved against the direction that was asked for."""
    cut = max(wanted, lowest) if step < 0 else min(wanted, highest if highest is not None else wanted)
    return min(cut, here) if step < 0 else max(cut, here)


async def _refuse_if_autoscaled(target: Target, cluster: Cluster) -> None:
    scalers = await cluster.list(BUILT_IN["HorizontalPodAutoscaler"], target.ref.namespace)
    for scaler in scalers.items:
        aim = dig_object(scaler, "spec", "scaleTargetRef")
        if (aim.get("kind"), aim.get("name")) == (target.ref.kind, target.ref.name):
            name = dig_text(scaler, "metadata", "name")
            raise Refusal(
                Reason.MANAGED_ELSEWHERE,
                f"HorizontalPodAutoscaler {name} decides how many replicas {target} has: change its bounds instead",
            )
    if scalers.truncated:
        raise Refusal(
            Reason.FACT_UNKNOWN, f"cannot tell whether an autoscaler decides about {target}: there are too many"
        )
