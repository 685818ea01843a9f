"""
ADMIT: what the leader asks before it takes a run on.

Of two runs that replicas made in doubt one is carried out; the other hands its alerts over to it first
and ends afterwards, under the resourceVersion of the look that took in all of them (RVEND).
"""

from dataclasses import replace
from typing import Final

from remediator.domain.alerts import Identities
from remediator.domain.errors import Conflict, NotFound
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import Run, RunOutcome
from remediator.engine.alertsets import all_within, merged
from remediator.engine.begin import Admit, CoveredBy, KnownRun, Supersede
from remediator.handlers.beside import Beside
from remediator.handlers.keeping import attach_operations
from remediator.handlers.run_index import RunIndex, known_run
from remediator.ports import Cluster

Refusal = tuple[RunOutcome, str]


class Admission:
    """Whether a run may be taken on; called with the run as it was just read."""

    def __init__(self, cluster: Cluster, index: RunIndex) -> None:
        self._cluster = cluster
        self._index = index
        self._beside: Final = Beside(cluster)

    async def __call__(self, run: Run) -> Refusal | None:
        """
        None if it may; else how it ends and why.

        Raises Conflict where the cache has not seen the run, or the older one has moved: look again.
        """
        if run.spec.episode is None:
            return None
        seen = self._index.confirmed(run.namespace, run.name)
        if seen is None or seen.uid != run.uid:
            raise Conflict(f"the watch has not brought the run {run.full_name} yet")
        # what the caller read is what its next write is conditional on
        recorded = Identities.decode(run.alerts.identities)
        seen = replace(seen, alerts=run.alerts, recorded=recorded, has_more=run.alerts.count > len(recorded))
        said = self._index.admission(seen)
        if isinstance(said, Admit):
            return None
        if isinstance(said, CoveredBy):
            return RunOutcome.COVERED, f"run {said.run.full_name} has answered its alerts"
        assert isinstance(said, Supersede)
        await self._hand_over(seen, said.older)
        return RunOutcome.SUPERSEDED, f"run {said.older.full_name} is open and has taken over its alerts"

    async def _hand_over(self, run: KnownRun, older: KnownRun) -> None:
        """The older run has recorded every alert of this one."""
        ref = ObjectRef(RUN.group, RUN.kind, older.namespace, older.name)
        try:
            live = known_run(await self._cluster.read(ref))
        except NotFound:
            live = None
        if live is None or not live.is_open or live.alerts is None or run.alerts is None:
            raise Conflict(f"run {older.full_name} is not open any more")
        theirs = await self._beside.load(live) if live.has_more else None
        ours = await self._beside.load(run) if run.has_more else None
        recorded = live.recorded if theirs is None else live.recorded.merge(theirs)
        coming = run.recorded if ours is None else run.recorded.merge(ours)
        if all_within(coming, recorded):
            return
        alerts, beyond = merged(live.alerts, run.alerts)
        stored = await self._cluster.patch(ref, attach_operations(live, alerts), sub="status")
        self._index.put(stored)
        beyond = beyond if ours is None else beyond.merge(ours)
        if len(beyond):
            await self._beside.add(live, beyond)
