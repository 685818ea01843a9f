"""
From what an alert names to the object it is about, by live reads.

A pod is looked up before anything is called unresolvable, and an error of the API server is not "gone":
it is passed on, and the sender sends again. What was found is remembered for some minutes, so that a burst
that did not get through in time gets further each time that it is sent again, however slow the API server.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from remediator.domain.errors import Forbidden, NotFound, Rejected
from remediator.domain.json import Object
from remediator.domain.objects import ObjectRef
from remediator.domain.runs import RunTarget
from remediator.domain.targets import Found, Read, look_up
from remediator.engine.choose import Sought
from remediator.ports import Clock, Cluster

REMEMBERED_SECONDS: Final = 300.0
"""Longer than Alertmanager tries one notification with its usual group_interval."""

REMEMBERED: Final = 20_000

_Question = tuple[ObjectRef, str, tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The target, and why it is none of the cluster's objects, if it is none."""

    target: RunTarget
    message: str = ""


class Resolver:
    """Finds targets; asks as the operator itself."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._found: OrderedDict[_Question, tuple[float, RunTarget]] = OrderedDict()

    async def resolve(
        self, sought: Sought, labels: Mapping[str, str], seen: dict[ObjectRef, Object | None]
    ) -> Resolved:
        """
        The object that the alert is about, or the unresolved target.

        `seen` holds what one notification has read; it is added to. Raises Unavailable where the API
        server could not be asked.
        """
        question = (sought.candidate.ref, sought.candidate.label, sought.kinds, labels.get("instance", ""))
        remembered = self._found.get(question)
        if remembered is not None and self._clock.boot_seconds() - remembered[0] <= REMEMBERED_SECONDS:
            return Resolved(remembered[1])
        try:
            while isinstance(answer := look_up(sought.candidate, labels, sought.kinds, seen), Read):
                seen[answer.ref] = await self._read(answer.ref)
        except (Forbidden, Rejected) as refused:
            # no retry heals it, and a run tells a person
            return Resolved(sought.unresolved, str(refused))
        if not isinstance(answer, Found):
            return Resolved(sought.unresolved, answer.message)
        # The name alone is remembered: an object that was made anew meanwhile is another one, and is meant.
        self._found[question] = (self._clock.boot_seconds(), RunTarget.of(answer.target.ref))
        if len(self._found) > REMEMBERED:
            self._found.popitem(last=False)
        return Resolved(RunTarget.of(answer.target.ref, answer.target.uid))

    async def _read(self, ref: ObjectRef) -> Object | None:
        try:
            return await self._cluster.read(ref)
        except NotFound:
            return None
