"""
Deleting single runs: looked at again, folded, and then deleted as they were looked at.

A conflict means that somebody else has written, and leaves everything as it is until the next sweep.
"""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from remediator.domain.alerts import Identities
from remediator.domain.errors import Conflict, NotFound
from remediator.domain.json import JSON, Object
from remediator.domain.names import lease_name
from remediator.domain.objects import BUILT_IN, REPLY, RUN, ObjectRef
from remediator.domain.runs import CoveredRecord, Run, rfc3339
from remediator.engine import ledger
from remediator.engine.begin import PolicyVersion
from remediator.engine.budget import STATUS_BYTES, size_of
from remediator.engine.folding import answers_of, folded
from remediator.engine.record import with_status
from remediator.engine.retention import PastRun, Surplus, Why, needs
from remediator.handlers.beside import Beside
from remediator.handlers.metrics import RetentionMetrics
from remediator.handlers.outside import Said
from remediator.handlers.run_index import known_run
from remediator.ports import Clock, Cluster, Locks

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Looked:
    """A run as it was just read, and what it answers that somebody else has to answer after it."""

    run: Run
    why: Why
    answers: tuple[CoveredRecord, ...]


class Deleter:
    """Deletes runs and what belongs to them."""

    def __init__(self, cluster: Cluster, locks: Locks, said: Said, clock: Clock, metrics: RetentionMetrics) -> None:
        self._cluster = cluster
        self._locks = locks
        self._said = said
        self._clock = clock
        self._metrics = metrics
        self._beside = Beside(cluster)

    async def delete(
        self, going: Sequence[Surplus], heir: PastRun | None, policy: PolicyVersion | None, silence: timedelta | None
    ) -> tuple[str, ...]:
        """
        Those of one policy and target are deleted, and their `heir`, the newest, answers for them; their UIDs.

        One that needs to stay does, and so does one whose answers do not fit into the heir, or whose
        heir is open.
        """
        now = self._clock.now()
        looked = [one for surplus in going if (one := await self._look(surplus, silence, now)) is not None]
        free = [one for one in looked if not one.answers]
        bound = [one for one in looked if one.answers and one.why is not Why.FORGOTTEN]
        if bound and heir is not None:
            free += await self._fold(bound, heir, policy, silence, now)
        for one in free:
            await self._delete(one)
        return tuple(one.run.uid for one in free)

    async def expire_evidence(self, run: PastRun) -> bool:
        """What the run's diagnosis captured is deleted, and the run says so; False where the run needs it still."""
        now, live = self._clock.now(), await self._read(run)
        if live is None or needs(live, now):
            return False
        for name in sorted({attempt.evidence for attempt in live.status.attempts if attempt.evidence}):
            with contextlib.suppress(NotFound):
                await self._cluster.delete(ObjectRef("", BUILT_IN["ConfigMap"].kind, live.namespace, name))
        await self._patch(live, "evidenceExpired", rfc3339(now))
        self._metrics.evidence.inc()
        return True

    async def _look(self, surplus: Surplus, silence: timedelta | None, now: datetime) -> _Looked | None:
        run = await self._read(surplus.run)
        if run is None:
            return None
        why_not = needs(run, now)
        if why_not:
            log.debug("a run stays", extra={"run": run.full_name, "why": why_not})
            return None
        try:
            return _Looked(run, surplus.why, answers_of(run, await self._kept_beside(run), silence, now))
        except ValueError as damaged:
            # what it answers cannot be told, so nobody can answer for it
            log.error("a run's identities are damaged", extra={"run": run.full_name, "error": str(damaged)})
            return None

    async def _kept_beside(self, run: Run) -> Identities:
        if run.alerts.count <= len(Identities.decode(run.alerts.identities)):
            return Identities()
        known = known_run(await self._cluster.read(_ref(run)))
        return await self._beside.load(known) if known is not None else Identities()

    async def _fold(
        self,
        bound: Sequence[_Looked],
        heir: PastRun,
        policy: PolicyVersion | None,
        silence: timedelta | None,
        now: datetime,
    ) -> list[_Looked]:
        """FOLD: those whose answers the heir has taken over, in the API server."""
        newest = await self._read(heir)
        if newest is None or not newest.is_ended or newest.deleting:
            return []
        after, taken_over = newest, []
        for one in bound:
            try:
                covered = folded(after.status.covered, one.answers, policy, silence, now)
            except ValueError as damaged:
                log.error("a run's identities are damaged", extra={"run": newest.full_name, "error": str(damaged)})
                return []
            larger = with_status(after, covered=covered)
            if covered is not None and size_of(larger) <= STATUS_BYTES:
                after = larger
                taken_over.append(one)
        if after is not newest:
            await self._patch(newest, "covered", [one.as_json() for one in after.status.covered])
        return taken_over

    async def _delete(self, looked: _Looked) -> None:
        run = looked.run
        for ref in ledger.ever_locked(run):
            # where the operator died after the run's end, the Lease is still its, and asks it what it has changed
            notes = ledger.made(run, ref, self._clock.now())
            await self._locks.release(lease_name(ref), holder_uid=run.uid, notes=notes)
        words = self._said.of(run) or ()
        with contextlib.suppress(NotFound):
            await self._cluster.delete(_ref(run), uid=run.uid, resource_version=run.resource_version)
        self._metrics.deleted.labels(reason=str(looked.why)).inc()
        for word in words:
            if word.spec.run_ref.uid == run.uid:
                with contextlib.suppress(NotFound, Conflict):
                    ref = ObjectRef(REPLY.group, REPLY.kind, word.namespace, word.name)
                    await self._cluster.delete(ref, uid=word.uid)

    async def _read(self, run: PastRun) -> Run | None:
        """The run as it stands; None where it is gone, another one, or cannot be read."""
        try:
            found = Run.parse(await self._cluster.read(ObjectRef(RUN.group, RUN.kind, run.namespace, run.name)))
        except NotFound:
            return None
        except ValueError as error:
            log.error("a run cannot be read", extra={"run": "/".join(run.place), "error": str(error)[:500]})
            return None
        return found if found.uid == run.uid else None

    async def _patch(self, run: Run, field: str, value: JSON) -> None:
        """One field of the run's status. Raises Conflict where somebody else has written since it was read."""
        operations: list[Object] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": run.resource_version},
            {"op": "add", "path": f"/status/{field}", "value": value},
        ]
        await self._cluster.patch(_ref(run), operations, sub="status")


def _ref(run: Run) -> ObjectRef:
    return ObjectRef(RUN.group, RUN.kind, run.namespace, run.name)
