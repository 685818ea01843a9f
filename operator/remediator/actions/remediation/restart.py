"""
Roll every pod of a workload once.

The step's token is the value of the annotation that makes the controller roll, so a second attempt
after a crash writes what is already there and rolls nothing.
"""

from datetime import datetime
from typing import ClassVar

from remediator.actions.pods import owned_pods
from remediator.actions.rollouts import refuse_unless_it_rolls, rolled_out
from remediator.domain.actions import ActionClass, ActionInfo, Parameters, Permission
from remediator.domain.changes import RESTARTED_BY, TOKEN_PLACEHOLDER, Change, Edit, FieldPath, Patch
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import WORKLOADS, Target
from remediator.domain.outcomes import Outcome
from remediator.domain.pods import is_failing
from remediator.domain.verdicts import Reason, Refusal
from remediator.domain.workloads import desired_replicas, is_rolling, rollout_progress, waits_for_every_pod
from remediator.ports import Cluster, Objects

_PATH = FieldPath.of("spec", "template", "metadata", "annotations", RESTARTED_BY)


class RestartParameters(Parameters):
    """None: the target says it all."""


class Restart:
    """Roll every pod of a workload once."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="restart",
        cls=ActionClass.CHANGE,
        summary="Roll every pod of a workload once, as `kubectl rollout restart` does.",
        parameters=RestartParameters,
        permissions=(
            Permission("", "pods", ("list",)),
            Permission("apps", "daemonsets", ("get", "patch")),
            Permission("apps", "deployments", ("get", "patch")),
            Permission("apps", "statefulsets", ("get", "patch")),
        ),
        targets=WORKLOADS,
        replaces_pods=True,
        waits_for_rollout=True,
    )

    async def plan(
        self,
        params: RestartParameters,  # noqa: ARG002 - there are none
        target: Target,
        seen: Object,
        cluster: Cluster,
        *,
        now: datetime,
    ) -> Change:
        refuse_unless_it_rolls(target, seen)
        if is_rolling(seen):
            raise Refusal(Reason.ROLLOUT_IN_PROGRESS, f"{target} is being rolled out: {rollout_progress(seen)}")
        if desired_replicas(seen) == 0:
            raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} is scaled to 0: there is nothing to restart")
        await _refuse_if_it_would_wait(target, seen, cluster, now)
        edit = Edit(_PATH, _PATH.value_in(seen), TOKEN_PLACEHOLDER)
        return Patch(target, (edit,), f"restart {target}", replaces_pods=True, undoable=False)

    async def poll(self, change: Change, cluster: Objects, *, token: str, started: datetime, now: datetime) -> Outcome:
        return await rolled_out(change, cluster, token=token, started=started, now=now)


async def _refuse_if_it_would_wait(target: Target, seen: Object, cluster: Cluster, now: datetime) -> None:
    """A StatefulSet with a failing pod would write down the restart and never begin it."""
    if not waits_for_every_pod(seen):
        return
    failing = [pod for pod in (await owned_pods(cluster, seen, target)).items if is_failing(pod, now)]
    if failing:
        names = ", ".join(dig_text(pod, "metadata", "name") for pod in failing)
        raise Refusal(
            Reason.OUT_OF_BOUNDS, f"{target} replaces no pod before all are ready; delete those that fail: {names}"
        )
