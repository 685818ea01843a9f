"""
Reading what a change could harm.

Lists are read as the operator itself and never shown as they are: a guard's sentence tells of them a
name and a number, of the namespace that the change is in. So an account needs no rights for what
only protects others from it. Pods and workloads are those that the account works on, and are read as it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from remediator.domain.changes import Change, DeletePods
from remediator.domain.errors import Forbidden, NotFound, Rejected, Unavailable
from remediator.domain.json import Object
from remediator.domain.objects import BUILT_IN, Kind, ObjectRef
from remediator.engine.facts import Seen, Surroundings
from remediator.engine.surroundings import Part
from remediator.handlers.mirror import Mirror
from remediator.ports import Cluster

MOST: Final = 500
MOST_NODES: Final = 5_000

_LISTED: Final[Mapping[Part, str]] = {
    Part.BUDGETS: "PodDisruptionBudget",
    Part.SCALERS: "HorizontalPodAutoscaler",
    Part.QUOTAS: "ResourceQuota",
    Part.LIMIT_RANGES: "LimitRange",
    Part.NODES: "Node",
}

Read = Callable[[ObjectRef], Awaitable[Seen]]


async def surroundings(
    cluster: Cluster,
    mirror: Mirror,
    change: Change,
    parts: frozenset[Part],
    read: Read,
    known: Surroundings | None = None,
) -> Surroundings:
    """
    What is `known` around the change's object, with these parts added.

    Single objects are read through `read`, as the account whose change it is.
    """
    wanted = sorted(parts)
    found = await asyncio.gather(*(_part(cluster, mirror, change, part, read) for part in wanted))
    brought: dict[str, Any] = {str(part): what for part, what in zip(wanted, found, strict=True)}
    if brought.get(Part.QUOTAS) and Part.LIMIT_RANGES not in parts:
        brought[Part.LIMIT_RANGES] = await _part(cluster, mirror, change, Part.LIMIT_RANGES, read)
    return replace(known or Surroundings(), **brought)


async def _part(cluster: Cluster, mirror: Mirror, change: Change, part: Part, read: Read) -> Any:
    if part is Part.WORKLOAD:
        return await read(change.target.ref)
    if part is Part.PODS:
        pods = change.pods if isinstance(change, DeletePods) else ()
        return tuple(await asyncio.gather(*(read(pod.ref) for pod in pods)))
    return await _listed(cluster, mirror, BUILT_IN[_LISTED[part]], change.target.ref.namespace)


async def _listed(cluster: Cluster, mirror: Mirror, kind: Kind, namespace: str) -> tuple[Object, ...] | None:
    """All of them; None where they cannot be read, or where there are too many to judge."""
    limit = MOST_NODES if kind.kind == "Node" else MOST
    try:
        listing = mirror.listed(kind, namespace, limit=limit) or await cluster.list(kind, namespace, limit=limit)
    except (Forbidden, NotFound, Rejected, Unavailable):
        return None
    return None if listing.truncated else listing.items
