"""
Which runs act at the same time, and whether there is room for one more.

A run acts from the moment at which it takes its locks until it has ended, or has given them back.
The same question is asked by the guards before a change, and by the shell that wakes those who wait.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
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

Load = tuple[str, frozenset[tuple[str, int]], int]
"""Of which policy; how many objects in which namespace; how many nodes."""


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


class Occupied:
    """What runs that act take of every limit: counted as they come and go, and asked about by many."""

    def __init__(self, actors: Iterable[Actor] = ()) -> None:
        self._count = 0
        self._workers: dict[ObjectRef, list[Actor]] = {}
        self._policies: Counter[str] = Counter()
        self._namespaces: Counter[str] = Counter()
        self._nodes = 0
        for actor in actors:
            self.add(actor)

    def __len__(self) -> int:
        """How many act."""
        return self._count

    def add(self, actor: Actor) -> None:
        """The actor acts, too."""
        self._count += 1
        _add(self._policies, actor.policy, 1)
        for ref in actor.objects:
            if ref in self._workers:
                self._workers[ref].append(actor)
            else:
                self._workers[ref] = [actor]
                self._note(ref, 1)

    def remove(self, actor: Actor) -> None:
        """One that was added acts no more."""
        self._count -= 1
        _add(self._policies, actor.policy, -1)
        for ref in actor.objects:
            self._workers[ref].remove(actor)
            if not self._workers[ref]:
                del self._workers[ref]
                self._note(ref, -1)

    def but(self, actor: Actor | None) -> "Others":
        """The same without this one of them."""
        return Others(self, actor)

    def worker_on(self, ref: ObjectRef, but: Actor | None = None) -> Actor | None:
        """One that works on the object."""
        return next((one for one in self._workers.get(ref, ()) if one is not but), None)

    def of_policy(self, policy: str) -> int:
        """How many runs of the policy act; what a person asked for is no policy's."""
        return self._policies[policy] if policy else 0

    def in_namespace(self, namespace: str) -> int:
        """How many objects there are worked on."""
        return self._namespaces[namespace]

    @property
    def objects(self) -> int:
        """How many objects are worked on."""
        return len(self._workers)

    @property
    def nodes(self) -> int:
        """How many of them are nodes."""
        return self._nodes

    def _note(self, ref: ObjectRef, more: int) -> None:
        _add(self._namespaces, ref.namespace, more)
        self._nodes += more * _is_node(ref)


class Others:
    """What all but one of them take, at the moment at which it is asked."""

    def __init__(self, occupied: Occupied, own: Actor | None) -> None:
        self._all = occupied
        self._own = own

    def __len__(self) -> int:
        return len(self._all) - (self._own is not None)

    def worker_on(self, ref: ObjectRef) -> Actor | None:
        return self._all.worker_on(ref, self._own)

    def of_policy(self, policy: str) -> int:
        return self._all.of_policy(policy) - (policy != "" and self._own is not None and self._own.policy == policy)

    def in_namespace(self, namespace: str) -> int:
        return self._all.in_namespace(namespace) - sum(ref.namespace == namespace for ref in self._alone())

    @property
    def objects(self) -> int:
        return self._all.objects - len(self._alone())

    @property
    def nodes(self) -> int:
        return self._all.nodes - sum(map(_is_node, self._alone()))

    def _alone(self) -> list[ObjectRef]:
        """The objects on which it alone works."""
        return [ref for ref in self._own.objects if self.worker_on(ref) is None] if self._own is not None else []


Acting = Occupied | Others


def policy_has_room(actor: Actor, occupied: Acting, concurrent: int, now: datetime) -> Verdict:
    """Whether one more run of the policy may act."""
    acting = occupied.of_policy(actor.policy)
    if acting < concurrent:
        return Allow()
    runs = "1 run acts" if acting == 1 else f"{acting} runs act"
    message = f"{runs} already for AlertPolicy {actor.policy}, which lets {concurrent} act at once"
    return Wait(Reason.BUDGET_SPENT, message, now + LOOK_AGAIN)


def fence_has_room(actor: Actor, occupied: Acting, limits: MergedLimits, now: datetime) -> Verdict:
    """Whether its objects may be worked on beside those of the others; a plan that alone is too much never may."""
    for most, what, mine, before in _counted(actor, occupied, limits):
        if len(mine) > most.value:
            message = f"the plan works on {len(mine)} {what}, and Guardrail {most.by} allows {most.value} at once"
            return Deny(Reason.BLAST_RADIUS, message)
        if mine and before + sum(occupied.worker_on(ref) is None for ref in mine) > most.value:
            message = f"other runs work on {before} {what}, and Guardrail {most.by} allows {most.value} at once"
            return Wait(Reason.BLAST_RADIUS, message, now + LOOK_AGAIN)
    return Allow()


def is_free(actor: Actor, occupied: Acting) -> bool:
    """Whether none of those that act works on any of its objects."""
    return all(occupied.worker_on(ref) is None for ref in actor.objects)


def is_within(actor: Actor, occupied: Acting, bounds: Bounds, now: datetime) -> bool:
    """Whether the limits let it act, too."""
    return isinstance(policy_has_room(actor, occupied, bounds.concurrent, now), Allow) and isinstance(
        fence_has_room(actor, occupied, bounds.fence, now), Allow
    )


def load_of(actor: Actor) -> Load:
    """What it takes of the limits. Of two that take the same either both are within them, or none is."""
    namespaces = Counter(ref.namespace for ref in actor.objects)
    return actor.policy, frozenset(namespaces.items()), sum(map(_is_node, actor.objects))


def urgency(run: Run) -> tuple[int, datetime, str]:
    """
    Who of those that wait for room comes first: the severest alert, then the oldest run.

    For a run that has no alert somebody waits: it goes with the severest.
    """
    said = [alert.labels.get("severity", "") for alert in run.alerts.first]
    ranks = [SEVERITIES.index(one) if one in SEVERITIES else len(SEVERITIES) for one in said]
    return min(ranks, default=0), run.created_at, run.uid


def _counted(
    actor: Actor, occupied: Acting, limits: MergedLimits
) -> Iterator[tuple[Said[int], str, Set[ObjectRef], int]]:
    """Each limit that there is, what it counts, which of the actor's objects it counts, and how many others."""
    if limits.per_namespace is not None:
        for namespace in sorted({ref.namespace for ref in actor.objects if ref.namespace}):
            mine = {ref for ref in actor.objects if ref.namespace == namespace}
            yield limits.per_namespace, f"objects in namespace {namespace}", mine, occupied.in_namespace(namespace)
    if limits.cluster is not None:
        yield limits.cluster, "objects in the cluster", actor.objects, occupied.objects
    if limits.nodes is not None:
        yield limits.nodes, "nodes", {ref for ref in actor.objects if _is_node(ref)}, occupied.nodes


def _is_node(ref: ObjectRef) -> bool:
    return ref.kind == "Node"


def _add(counts: Counter[str], name: str, more: int) -> None:
    """What comes to nothing is forgotten."""
    counts[name] += more
    if not counts[name]:
        del counts[name]
