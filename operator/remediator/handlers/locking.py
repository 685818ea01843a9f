"""
Taking the locks of a run, and giving them back with what became of it.

A lock is held by a run, so nothing here has to be remembered; what the taking brought is kept only to
save the look under the lock, and the read before the giving back.
"""

from collections.abc import Set
from dataclasses import dataclass

from remediator.domain.errors import NotFound
from remediator.domain.json import Object, dig_list, dig_text
from remediator.domain.locks import Busy, Held, LockState
from remediator.domain.names import lease_name
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import Run
from remediator.engine import ledger
from remediator.handlers.outside import Outside
from remediator.handlers.readings import COUNTS_SECONDS


@dataclass(frozen=True, slots=True)
class Taken:
    """
    The run holds all its locks.

    `undisturbed`: nobody has held any of them since the run began to read, so what it has read is as good
    as if it had read it now. What a lock's holders have done they did before it stood as it was taken.
    """

    undisturbed: bool


@dataclass(frozen=True, slots=True)
class Waits:
    """Another run holds the lock of that object."""

    ref: ObjectRef
    busy: Busy


class LockKeeper:
    """The locks of runs, by run."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._taken: dict[str, dict[str, LockState]] = {}
        self._taken_at: dict[str, float] = {}

    async def read(self, ref: ObjectRef, run: Run) -> LockState:
        """
        The object's lock as it stands, and free where its holder has ended or is gone.

        What the taking of it has just brought is not asked for again.
        """
        taken = self._taken.get(run.uid, {}).get(lease_name(ref))
        if taken is not None and self._outside.clock.boot_seconds() - self._taken_at[run.uid] <= COUNTS_SECONDS:
            return taken
        state = await self._outside.locks.read(lease_name(ref))
        if state.holder_uid in ("", run.uid):
            return state
        return await self._freed(state) or state

    def known(self, run: Run) -> LockState | None:
        """The lock of the run's target as far as it is known without asking."""
        return self._outside.locks.known(lease_name(run.target.ref))

    async def take(self, run: Run, seen: LockState | None, since: LockState | None = None) -> Taken | Waits:
        """
        The Leases of all that the plan changes held by this run, with the changes noted on each.

        They are taken in one order and together: where one is busy the others are given back, so
        that no run ever waits for a lock while it holds another. `since` is the target's lock as it
        was known when the run began to read.
        """
        now = self._outside.clock.now()
        taken = self._taken.setdefault(run.uid, {})
        self._taken_at[run.uid] = self._outside.clock.boot_seconds()
        undisturbed = True
        for ref in ledger.to_lock(run):
            answer = await self._outside.locks.acquire(
                lease_name(ref),
                holder=run.full_name,
                holder_uid=run.uid,
                target=ref,
                now=now,
                seen=seen if ref == run.target.ref else None,
                note=ledger.planned(run, ref, now),
                freed=self._freed,
            )
            if isinstance(answer, Busy):
                await self.give_back(run)
                return Waits(ref, answer)
            assert isinstance(answer, Held), "a lock is held or busy"
            taken[lease_name(ref)] = answer.state
            undisturbed = undisturbed and answer.was == since and not answer.was.holder_uid
        return Taken(undisturbed)

    async def give_back(self, run: Run) -> None:
        """
        Every lock that the run has held is free, and says what the run has changed.

        The target's is the first: as long as the run holds that one, it holds them all.
        """
        taken = self._taken.get(run.uid, {})
        held = {*ledger.ever_locked(run), *(state.target for state in taken.values() if state.target is not None)}
        await self._release(run, held)

    async def give_back_what_was_taken(self, run: Run) -> None:
        """The same for the locks that this process remembers to have taken for it since the last giving back."""
        taken = self._taken.get(run.uid, {})
        await self._release(run, {state.target for state in taken.values() if state.target is not None})

    async def _release(self, run: Run, refs: Set[ObjectRef]) -> None:
        now = self._outside.clock.now()
        taken = self._taken.pop(run.uid, {})
        self._taken_at.pop(run.uid, None)
        for ref in sorted(refs, key=lambda ref: (ref != run.target.ref, ref)):
            name = lease_name(ref)
            notes = ledger.made(run, ref, now)
            await self._outside.locks.release(name, holder_uid=run.uid, notes=notes, seen=taken.get(name))

    async def _freed(self, state: LockState) -> LockState | None:
        """
        The lock without its holder, if that is gone, or has ended and takes nothing back.

        Asked of the API server, never of a cache; what this process has just begun to take back, no
        record says yet. Raises what the API server's silence raises: unknown is not ended.
        """
        if self._outside.owed.is_paying(state.holder_uid):
            return None
        now = self._outside.clock.now()
        namespace, _, name = state.holder.partition("/")
        try:
            obj = await self._outside.cluster.read(ObjectRef(RUN.group, RUN.kind, namespace, name))
        except NotFound:
            return ledger.completed(state, None, now)
        if dig_text(obj, "metadata", "uid") != state.holder_uid:
            return ledger.completed(state, None, now)
        owes = any(dig_text(debt, "state") in ("", "Owed") for debt in dig_list(obj, "status", "debts"))
        if not dig_text(obj, "status", "outcome") or (owes and dig_list(obj, "status", "locks")):
            return None
        return ledger.completed(state, _parsed(obj), now)


def _parsed(obj: Object) -> Run | None:
    """The run, or None where it cannot be read: then everything stays noted that it might have changed."""
    try:
        return Run.parse(obj)
    except ValueError:
        return None
