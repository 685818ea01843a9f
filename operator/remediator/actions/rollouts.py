"""Whether a workload would roll its pods for a change, and whether it has done so."""

from datetime import datetime

from remediator.actions.pods import as_meant, owned_pods
from remediator.domain.changes import Change, Patch, with_token
from remediator.domain.errors import NotFound
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import WORKLOADS, Target
from remediator.domain.outcomes import Failed, Outcome, Running, Succeeded
from remediator.domain.pods import is_failing
from remediator.domain.verdicts import Reason, Refusal
from remediator.domain.workloads import (
    REVISION_HASH,
    is_rolled_out,
    is_stuck,
    progress_deadline,
    rollout_counts,
    rollout_progress,
    waits_for_every_pod,
    why_pods_stay,
)
from remediator.ports import Objects


def refuse_unless_it_rolls(target: Target, seen: Object) -> None:
    """Raise Refusal for what has no pod template, and where a change of it would reach no pod."""
    if target.ref.group != "apps" or target.ref.kind not in WORKLOADS:
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{target} has no pod template that a controller rolls out")
    why = why_pods_stay(seen)
    if why:
        raise Refusal(Reason.OUT_OF_BOUNDS, f"the pods of {target} would keep what they have: {why}")


async def rolled_out(change: Change, cluster: Objects, *, token: str, started: datetime, now: datetime) -> Outcome:
    """
    Whether the controller has brought every replica to what the change wrote.

    A StatefulSet that waits for failing pods of an earlier template has done what it does: the step
    is over, says which pods stand in the way, and a later one can delete them. It ends early where
    somebody put the old value back, and where the controller has given up. Its old verdict about an
    earlier template can outlive a change of it, so it counts only after a whole progress deadline of
    ours.
    """
    target = change.target
    try:
        seen = await as_meant(cluster, target)
    except NotFound:
        return Failed(f"{target} is gone")
    path = put_back(with_token(change, token), seen)
    if path:
        return Failed(f"{target}: somebody put back what stood at {path}")
    if is_rolled_out(seen):
        return Succeeded(f"{target} rolled out: {change.summary}")
    deadline = progress_deadline(seen)
    if is_stuck(seen) and deadline is not None and now - started >= deadline:
        return Failed(f"{target} made no progress for {int(deadline.total_seconds())}s: {rollout_progress(seen)}")
    stopped_by = await pods_in_the_way(cluster, seen, target, now)
    if stopped_by:
        return Succeeded(f"{change.summary}; {_in_the_way(stopped_by)}")
    return Running(f"{target}: {rollout_progress(seen)}")


async def pods_in_the_way(cluster: Objects, workload: Object, target: Target, now: datetime) -> list[str]:
    """
    The failing pods of an earlier template that keep a StatefulSet from rolling out the present one.

    Nothing but their deletion helps, which is a step of its own.
    """
    if not waits_for_every_pod(workload) or not rollout_counts(workload).observed:
        return []
    newest = dig_text(workload, "status", "updateRevision")
    return [
        dig_text(pod, "metadata", "name")
        for pod in (await owned_pods(cluster, workload, target)).items
        if dig_text(pod, "metadata", "labels", REVISION_HASH) != newest and is_failing(pod, now)
    ]


def _in_the_way(pods: list[str]) -> str:
    return f"the pods that fail must be deleted for it, a StatefulSet waits for them: {', '.join(pods)}"


def put_back(change: Change, seen: Object) -> str:
    """The path of a value that is again what the change replaced; empty where there is none."""
    if not isinstance(change, Patch):
        return ""
    back = [edit for edit in change.edits if not edit.is_empty and edit.path.value_in(seen) == edit.was]
    return str(back[0].path) if back else ""
