"""What a change could harm: the pods that serve, the budgets that protect them, whoever else decides."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from remediator.domain.changes import Change, DeletePods, Patch, change_from_json
from remediator.domain.disruption import (
    allowed_disruptions,
    covers,
    out_of_service,
    pods_in,
    taken_out_by_rollout,
)
from remediator.domain.json import JSON, Object, dig_object, dig_text
from remediator.domain.objects import WORKLOADS
from remediator.domain.ownership import managed_by
from remediator.domain.pods import pod_is_ready
from remediator.domain.policies import DEFAULT_UNAVAILABLE, ManagedTargets
from remediator.domain.verdicts import Allow, Deny, Reason, Verdict, Wait
from remediator.domain.workloads import desired_replicas, is_rolling, ready_replicas, rollout_progress, uid_of
from remediator.engine.facts import Seen
from remediator.engine.guards.question import Question, unknown
from remediator.engine.record import current
from remediator.engine.surroundings import replicas_edit, replicas_of, takes_out_a_node

AGAIN: Final = timedelta(seconds=15)
"""When a budget or a rollout is looked at again; both move within minutes, not seconds."""

_COUNTED: Final = (*WORKLOADS, "ReplicaSet")
"""The kinds that say how many pods they shall have, and how many of them are ready."""


@dataclass(frozen=True, slots=True)
class _Loss:
    """How many of a workload's pods a change takes out of service."""

    name: str
    size: int
    out: int
    more: int


def little_is_out_of_service(question: Question) -> Verdict:
    """
    Refuse to take more pods of a workload out of service than the policy and every Guardrail permit.

    What is not ready is not taken out of service, so that what is broken can always be cured.
    """
    loss = _loss(question)
    if not isinstance(loss, _Loss):
        return loss
    if not loss.more:
        return Allow()
    fence = question.facts.fence
    if fence is None:
        return unknown(question, "cannot tell which Guardrails govern the namespace")
    for share, by in _shares(question):
        allowed = pods_in(share, loss.size, round_up=True)
        if allowed is None:
            return unknown(question, f"{by} says that {share} may be out of service, which is no number of pods")
        if loss.out + loss.more > allowed:
            return Deny(Reason.BLAST_RADIUS, f"{_sentence(loss)}; {allowed} may be, says {by}")
    return Allow()


def _sentence(loss: _Loss) -> str:
    are = "is" if loss.out == 1 else "are"
    return (
        f"{loss.out} of {loss.size} replicas of {loss.name} {are} out of service and this step would take out "
        f"{loss.more}{' more' if loss.out else ''}"
    )


def _shares(question: Question) -> Iterator[tuple[str, str]]:
    """How much may be out of service, and who says so."""
    policy, fence = question.facts.policy, question.facts.fence
    if policy is None:
        yield DEFAULT_UNAVAILABLE, "the default of runs without a policy"
    else:
        yield policy.spec.limits.max_unavailable, f"AlertPolicy {policy.full_name}"
    for said in fence.limits.max_unavailable if fence is not None else ():
        yield said.value, f"Guardrail {said.by}"


def _loss(question: Question) -> _Loss | Verdict:
    """What the change takes out of service, or the verdict where that is plain or cannot be known."""
    change = _change(question)
    if change is None or change.is_empty or takes_out_a_node(change):
        return Allow()  # the nodes' guard speaks for nodes, and the API server for what is evicted from them
    if isinstance(change, DeletePods):
        return _loss_of_pods(question, change)
    if change.target.ref.kind not in WORKLOADS:
        return Allow()
    seen = question.facts.step_target
    if seen.obj is None:
        return _not_seen(question, seen, str(change.target))
    return _loss_of_rollout(change, seen.obj)


def _loss_of_rollout(patch: Patch, workload: Object) -> _Loss:
    ready, size = ready_replicas(workload), desired_replicas(workload)
    edit = replicas_edit(patch)
    ended = max(0, ready - replicas_of(edit.to)) if edit is not None and replicas_of(edit.to) < size else 0
    rolled = taken_out_by_rollout(workload) if patch.replaces_pods else 0
    return _Loss(str(patch.target), size, out_of_service(workload), min(ready, ended + rolled))


def _loss_of_pods(question: Question, change: DeletePods) -> _Loss | Verdict:
    ready = _ready_pods(question, change)
    if not isinstance(ready, list):
        return ready
    if not ready:
        return Allow()
    around = question.facts.surroundings
    seen = around.workload if around is not None else Seen()
    if change.target.ref.kind not in _COUNTED or seen.obj is None:
        return _not_seen(question, seen, f"how many pods {change.target} has")
    return _Loss(str(change.target), desired_replicas(seen.obj), out_of_service(seen.obj), len(ready))


def _ready_pods(question: Question, change: DeletePods) -> list[Object] | Verdict:
    """Those of the pods that serve now; one that is gone or another by now is not touched."""
    around = question.facts.surroundings
    if around is None or around.pods is None:
        return unknown(question, f"the pods of {change.target} cannot be read")
    for pod, seen in zip(change.pods, around.pods, strict=True):
        if not seen.known:
            return unknown(question, f"{pod} cannot be read: {seen.error}")
    meant = [seen.obj for pod, seen in zip(change.pods, around.pods, strict=True) if _is(pod.uid, seen.obj)]
    return [pod for pod in meant if pod is not None and pod_is_ready(pod)]


def _is(uid: str, obj: Object | None) -> bool:
    return obj is not None and uid_of(obj) == uid


def _not_seen(question: Question, seen: Seen, what: str) -> Verdict:
    if seen.gone:
        return Allow()  # target_is_the_same speaks for the one that is gone
    return unknown(question, f"cannot tell {what}: {seen.error or 'it was not read'}")


def disruption_budget_allows(question: Question) -> Verdict:
    """Wait while a PodDisruptionBudget does not let go of the pods that the change takes out of service."""
    change = _change(question)
    if change is None or change.is_empty or takes_out_a_node(change):
        return Allow()  # who is evicted is asked by the API server itself, pod by pod
    around = question.facts.surroundings
    taken = _taken(question, change)
    if not isinstance(taken, list):
        return taken
    if not taken:
        return Allow()
    if around is None or around.budgets is None:
        return unknown(question, f"the PodDisruptionBudgets of namespace {change.target.ref.namespace} cannot be read")
    for budget in around.budgets:
        wanted = sum(covers(budget, labels) for labels in taken)
        name = f"PodDisruptionBudget {dig_text(budget, 'metadata', 'name')}"
        allowed = allowed_disruptions(budget)
        if wanted and allowed is None:
            return unknown(question, f"{name} has not been looked at by its controller since it was changed")
        if allowed is not None and wanted > allowed:
            message = f"{name} lets {allowed} of its pods go now, and {change.summary} would take {wanted}"
            return Wait(Reason.DISRUPTION_BUDGET, message, question.facts.now + AGAIN)
    return Allow()


def _taken(question: Question, change: Change) -> list[dict[str, JSON]] | Verdict:
    """The labels of every pod that is taken out; of a rollout, which never takes all at once, of one."""
    if isinstance(change, DeletePods):
        ready = _ready_pods(question, change)
        return [dig_object(pod, "metadata", "labels") for pod in ready] if isinstance(ready, list) else ready
    if change.target.ref.kind not in WORKLOADS or not change.replaces_pods:
        return []
    seen = question.facts.step_target
    if seen.obj is None:
        return _not_seen(question, seen, str(change.target))
    if not taken_out_by_rollout(seen.obj):
        return []
    return [dig_object(seen.obj, "spec", "template", "metadata", "labels")]


def no_rollout_is_in_progress(question: Question) -> Verdict:
    """Wait for the end of a rollout where the action must not meet one; going back is always possible."""
    book, seen = question.facts.runbook, question.facts.step_target
    if book is None:
        return unknown(
            question, f"cannot tell what {question.step.action} must not meet: {question.facts.runbook_problem}"
        )
    remedy = book.remedy(current(question.run).remedy)
    names = question.step.names or [question.step.name]
    used = [step.info for step in remedy.steps if step.name in names] if remedy is not None else []
    if not any(info is not None and info.waits_for_rollout for info in used):
        return Allow()
    if seen.obj is None:
        return _not_seen(question, seen, "whether a rollout is in progress")
    if not is_rolling(seen.obj):
        return Allow()
    target = question.step.target.ref if question.step.target is not None else question.run.target
    message = f"{target} is being rolled out: {rollout_progress(seen.obj)}"
    return Wait(Reason.ROLLOUT_IN_PROGRESS, message, question.facts.now + AGAIN)


def not_managed_elsewhere(question: Question) -> Verdict:
    """
    Refuse to change fields that somebody else keeps as they are: a delivery tool, or an autoscaler.

    The policy may let the tool's objects be changed; the autoscaler's number would be put back at once.
    """
    change, seen = _change(question), question.facts.step_target
    if not isinstance(change, Patch) or change.is_empty:
        return Allow()  # a pod that is deleted comes back as it is declared
    if seen.obj is None:
        return _not_seen(question, seen, f"whether {change.target} is managed elsewhere")
    owner, policy = managed_by(seen.obj), question.facts.policy
    if owner and (policy is None or policy.spec.managed_targets is ManagedTargets.REFUSE):
        message = f"{change.target} is managed by {owner}: change it there, or it is changed back"
        return Deny(Reason.MANAGED_ELSEWHERE, message)
    return _no_autoscaler_decides(question, change)


def _no_autoscaler_decides(question: Question, patch: Patch) -> Verdict:
    if replicas_edit(patch) is None:
        return Allow()
    around, ref = question.facts.surroundings, patch.target.ref
    if around is None or around.scalers is None:
        return unknown(question, f"cannot tell whether an autoscaler decides how many replicas {ref} has")
    for scaler in around.scalers:
        aim = dig_object(scaler, "spec", "scaleTargetRef")
        if (aim.get("kind"), aim.get("name")) == (ref.kind, ref.name):
            name = dig_text(scaler, "metadata", "name")
            message = f"HorizontalPodAutoscaler {name} decides how many replicas {ref} has: change its bounds instead"
            return Deny(Reason.MANAGED_ELSEWHERE, message)
    return Allow()


def _change(question: Question) -> Change | None:
    """What is rendered; a step without it is `change_still_fits`' to refuse."""
    return change_from_json(question.step.change) if question.step.change is not None else None
