"""
Which runs act at the same time, and whether there is room for one more.

A run acts from the moment at which it takes its locks until it has ended, or has given them back.
The same question is asked by the guards before a change, and by the shell that wakes those who wait.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from remediator.domain.guardrails import Fence, MergedLimits, Said
from remediator.domain.objects import ObjectRef
from remediator.domain.policies import Limits
from remediator.domain.runs import OUTSIDE, Run
from remediator.domain.verdicts import Allow, Deny, Reason, Verdict, Wait
from remediator.engine.acceptance import AcceptedPolicy

LOOK_AGAIN: Final = timedelta(minutes=5)
"""A run that waits for room is woken when there is some; this is for the case that a limit was raised."""

SEVERITIES: Final = ("critical", "error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Actor:
    """A run that acts, or wants to: for which policy, and on which objects."""

    policy: str
    """`NAMESPACE/NAME`; empty for a run that a person asked for."""
    objects: frozenset[ObjectRef]
    run: str = ""
    """`NAMESPACE/NAME` of it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be done at once, as the policy and the Guardrails say."""

    concurrent: int
    fence: MergedLimits


def actor_of(run: Run) -> Actor:
    """
    The run as the limits count it: its target, and every object that its plan changes.

    Pods that it deletes are its workload's, and not counted beside that.
    """
    attempt = run.status.attempt
    steps = attempt.steps if attempt is not None else []
    changed = {step.target.ref for step in steps if step.target is not None and step.change}
    objects = {run.target.ref, *(ref for ref in changed if ref.kind != "Pod")}
    return Actor(run.policy_name, frozenset(ref for ref in objects if ref.kind not in OUTSIDE), run.full_name)


def acts(run: Run) -> bool:
    """Whether its record says that the run acts; what it takes back after its end no limit holds."""
    return not run.is_ended and bool(run.status.locks)


def bounds_of(policy: AcceptedPolicy | None, fence: Fence | None) -> Bounds | None:
    """The limits of the moment; None where it is not known which Guardrails there are."""
    if fence is None:
        return None
    limits = policy.spec.limits if policy is not None else Limits()
    return Bounds(limits.concurrent, fence.limits)


def policy_has_room(actor: Actor, others: Iterable[Actor], concurrent: int, now: datetime) -> Verdict:
    """Whether one more run of the policy may act; what a person asked for is no policy's."""
    acting = sum(1 for other in others if actor.policy and other.policy == actor.policy)
    if acting < concurrent:
        return Allow()
    runs = "1 run acts" if acting == 1 else f"{acting} runs act"
    message = f"{runs} already for AlertPolicy {actor.policy}, which lets {concurrent} act at once"
    return Wait(Reason.BUDGET_SPENT, message, now + LOOK_AGAIN)


def fence_has_room(actor: Actor, others: Iterable[Actor], limits: MergedLimits, now: datetime) -> Verdict:
    """Whether its objects may be worked on beside those of the others; a plan that alone is too much never may."""
    theirs = {ref for other in others for ref in other.objects}
    for most, what, counts in _counted(actor, limits):
        mine = {ref for ref in actor.objects if counts(ref)}
        before = {ref for ref in theirs if counts(ref)}
        if len(mine) > most.value:
            message = f"the plan works on {len(mine)} {what}, and Guardrail {most.by} allows {most.value} at once"
            return Deny(Reason.BLAST_RADIUS, message)
        if mine and len(mine | before) > most.value:
            message = f"other runs work on {len(before)} {what}, and Guardrail {most.by} allows {most.value} at once"
            return Wait(Reason.BLAST_RADIUS, message, now + LOOK_AGAIN)
    return Allow()


def has_room(actor: Actor, others: Sequence[Actor], bounds: Bounds, now: datetime) -> bool:
    """Whether it may act beside the others, none of which works on any of its objects."""
    verdicts = (
        policy_has_room(actor, others, bounds.concurrent, now),
        fence_has_room(actor, others, bounds.fence, now),
    )
    free = all(actor.objects.isdisjoint(other.objects) for other in others)
    return free and all(isinstance(verdict, Allow) for verdict in verdicts)


def urgency(run: Run) -> tuple[int, datetime, str]:
    """
    Who of those that wait for room comes first: the severest alert, then the oldest run.

    For a run that has no alert somebody waits: it goes with the severest.
    """
    said = [alert.labels.get("severity", "") for alert in run.alerts.first]
    ranks = [SEVERITIES.index(one) if one in SEVERITIES else len(SEVERITIES) for one in said]
    return min(ranks, default=0), run.created_at, run.uid


def _counted(actor: Actor, limits: MergedLimits) -> Iterator[tuple[Said[int], str, Callable[[ObjectRef], bool]]]:
    """Each limit that there is, what it counts, in words and as a predicate."""
    if limits.per_namespace is not None:
        for namespace in sorted({ref.namespace for ref in actor.objects if ref.namespace}):
            yield limits.per_namespace, f"objects in namespace {namespace}", partial(_is_in, namespace)
    if limits.cluster is not None:
        yield limits.cluster, "objects in the cluster", lambda _: True
    if limits.nodes is not None:
        yield limits.nodes, "nodes", lambda ref: ref.kind == "Node"


def _is_in(namespace: str, ref: ObjectRef) -> bool:
    return ref.namespace == namespace
