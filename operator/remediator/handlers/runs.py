"""
Carrying a run on: look, ask the engine, do one move, put it onto the record; until it has to wait.

The record is written before every effect, before every wait and at the end, always under the
resourceVersion that the look was made from: if somebody else has written, everything is looked at
again and nothing is applied a second time.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from remediator.domain.errors import (
    Conflict,
    Deposed,
    Forbidden,
    InvalidManifest,
    NotFound,
    Rejected,
    Unavailable,
)
from remediator.domain.json import dig_text
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import Run
from remediator.engine import settle
from remediator.engine.acceptance import AcceptedRunbook
from remediator.engine.acting import bounds_of
from remediator.engine.facts import Facts
from remediator.engine.flow import next_move
from remediator.engine.moves import (
    Accept,
    Diagnose,
    Finish,
    GiveUp,
    Hold,
    Intend,
    Lock,
    Look,
    Move,
    Poll,
    Read,
    Rehearse,
    Render,
    Start,
    Tell,
    TellOfRecurrence,
    Unlock,
    Void,
)
from remediator.engine.record import current
from remediator.engine.recurrence import has_something_left
from remediator.engine.replies import is_spoken_to
from remediator.engine.report import reported
from remediator.engine.unsaid import unsaid_until
from remediator.engine.wants import wants
from remediator.handlers.accept import Books, TurnedAway, accept
from remediator.handlers.announce import Announcer
from remediator.handlers.gather import Gatherer
from remediator.handlers.latest import Known, Latest
from remediator.handlers.outside import Outside
from remediator.handlers.perform import Done, Performer
from remediator.handlers.queue import Key
from remediator.handlers.readings import Readings

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 3.0
GONE_SECONDS: Final = 60.0
STARTING_SECONDS: Final = 0.5
TRIES: Final = 5
MOVES_AT_ONCE: Final = 200
"""After so many moves another run gets its turn."""


def _nobody(run: Run) -> None:
    """Nobody is told."""


Admission = Callable[[Run], Awaitable[tuple[Any, str] | None]]


class Reconciler:
    """Carries one run on as far as it goes; safe to call at any time, from the record alone."""

    def __init__(
        self,
        outside: Outside,
        books: Books,
        gatherer: Gatherer,
        performer: Performer,
        announcer: Announcer,
        admission: Admission,
        latest: Latest | None = None,
        wrote: Callable[[Run], None] = _nobody,
    ) -> None:
        """`wrote` is told of every record that was stored; `latest` is what it, and the watch, have brought."""
        self._outside = outside
        self._books = books
        self._gatherer = gatherer
        self._performer = performer
        self._announcer = announcer
        self._admission = admission
        self._latest = latest or Latest()
        self._wrote = wrote
        self._acting = outside.acting

    async def reconcile(self, key: Key) -> float | None:
        """
        Carry the run on; the answer is after how many seconds to look again.

        A conflict means that the record has moved: it is read again and everything is decided anew.
        """
        outside = self._outside
        is_known = outside.definitions.is_complete and outside.storms.is_known and outside.switch.state is not None
        if not (is_known and outside.acting.is_complete()):
            return STARTING_SECONDS  # a policy that was not read yet is not gone, nor does nobody act
        try:
            return await self._tried(key)
        finally:
            outside.acting.looked(key)

    async def _tried(self, key: Key) -> float | None:
        known = self._latest.take(key)
        for _ in range(TRIES):
            try:
                return await self._carry_on(key, known)
            except Conflict:
                known = None
                continue
            except Deposed as error:
                log.info("the run is left to the leader", extra={"run": "/".join(key), "reason": str(error)})
                return None
            except Unavailable as error:
                log.warning("the API server did not answer", extra={"run": "/".join(key), "error": str(error)})
                return RETRY_SECONDS
            except NotFound as error:
                # its namespace goes, or went before it: the API server still shows the run and stores nothing
                log.warning("the record has no place any more", extra={"run": "/".join(key), "error": str(error)})
                return GONE_SECONDS
            except (Forbidden, Rejected) as error:
                log.error("the record could not be written", extra={"run": "/".join(key), "error": str(error)})
                return RETRY_SECONDS * 10
        return RETRY_SECONDS

    async def _carry_on(self, key: Key, known: Known | None) -> float | None:
        run = known.run if known is not None else await self._read(key)
        if run is None:
            self._acting.forget(key)
            return None
        self._acting.note(run)
        if run.deleting:
            return None
        if run.is_ended and not has_something_left(run) and not is_spoken_to(run, self._outside.said.of(run)):
            return None
        if run.status.leader_epoch > self._outside.leading.epoch:
            await self._outside.leading.confirm()  # what a later leader intends is carried out by nobody before it
        stored = known.stored if known is not None else run
        own: set[str] = set()  # tokens whose intent this very pass has written
        facts: Facts | None = None
        wanted = None
        readings = self._gatherer.readings(run)
        for _ in range(MOVES_AT_ONCE):
            book, problem = await self._book(run)
            needed = wants(run, book, self._outside.definitions.policy_of(run)[0])
            if facts is None or wanted != needed:
                wanted = needed
                facts = await self._gatherer.facts(run, book, problem, wanted, readings)
            # nothing is awaited from here until the place is taken, or the run waits for one
            run, move = next_move(run, replace(facts, acting=self._acting.others(run)))
            if isinstance(move, Look):
                continue
            if isinstance(move, Lock):
                self._acting.reserve(run)
            if isinstance(move, Hold | Unlock):
                self._acting.waits(run, bounds_of(facts.policy, facts.fence))
            if isinstance(move, Unlock):
                run, move = await self._performer.unlock(run), Hold(move.until)
                self._acting.note(run)
            if isinstance(move, Hold):
                unsaid = await self._stored_or_kept(run, stored)
                if run.is_ended:
                    await self._performer.rest(run)
                    self._outside.owed.rests(run)
                times = [at for at in (move.until, unsaid) if at is not None]
                return max((min(times) - self._now()).total_seconds(), 0.2) if times else None
            if isinstance(move, Finish):
                await self._finish(run, stored, move)
                return 0.0 if run.owes else None
            if facts.suspended != self._outside.switch.state or (isinstance(move, Start) and self._are_old(facts)):
                facts, readings = None, self._gatherer.readings(run)
                continue
            if isinstance(move, Intend):
                intended = await self._intended(self._performer.intend(run, move, facts).run, stored)
                if intended is None:
                    facts, readings = None, self._gatherer.readings(run)
                    continue
                run = stored = intended
                own.add(_token(run, move))
                continue  # on the same facts: nothing was read since, and Start looks how old they are
            done = await self._perform(run, move, facts, readings, own)
            run, facts = done.run, None
            if not (isinstance(move, Accept | Diagnose | Render | Poll) or done.undisturbed):
                readings = self._gatherer.readings(run)
            if isinstance(move, Lock) and not run.status.locks:
                self._acting.note(run)
            if isinstance(move, Void) or (isinstance(move, Start) and unsaid_until(run, stored, self._now()) is None):
                run = stored = await self._store(run, stored)
            if done.again is not None:
                unsaid = await self._stored_or_kept(run, stored)
                again = done.again if unsaid is None else min(done.again, unsaid - self._now())
                return max(again.total_seconds(), 0.0)
        await self._store_if_changed(run, stored)
        return 0.0

    async def _perform(self, run: Run, move: Move, facts: Facts, readings: Readings, own: set[str]) -> Done:
        performer = self._performer
        match move:
            case Accept():
                return await self._accept(run, readings)
            case Diagnose():
                return await performer.diagnose(run, facts, readings)
            case Render():
                return await performer.render(run, facts, readings)
            case Rehearse():
                return await performer.rehearse(run)
            case Lock():
                return await performer.lock(run, facts, readings)
            case Start():
                return await performer.start(run, move, facts, resumed=_token(run, move) not in own)
            case Poll():
                return await performer.poll(run, move, readings)
            case Void():
                return await performer.void(run, move)
            case GiveUp():
                return await performer.give_up(run, move)
            case TellOfRecurrence():
                return await performer.tell_of_recurrence(run)
            case Read():
                return await performer.read(run, move, facts)
            case Tell():
                return await performer.tell(run, move, facts)
        raise AssertionError(f"{move} is not the performer's")

    async def _intended(self, run: Run, stored: Run) -> Run | None:
        """
        The run with its intent stored; None where the API server refuses it because everything is suspended.

        SWITCH: admission may know of the switch before our watch has brought it, and of a later leader
        before this process has missed its Lease. Raises Deposed there: the run is the other's.
        """
        try:
            return await self._store(run, stored)
        except (Forbidden, Rejected):
            await self._outside.leading.confirm()
            if not (await self._outside.switch.look()).pulled:
                raise
            return None

    async def _accept(self, run: Run, readings: Readings) -> Done:
        """ADMIT first: a run that another one stands for is ended before it reads anything."""
        refused = await self._admission(run)
        if refused is not None:
            outcome, message = refused
            return Done(settle.turned_away(run, outcome, str(outcome), message, self._now()))
        self._gatherer.ask_ahead(run, readings)
        answer = await accept(run, self._books, self._outside, readings)
        if isinstance(answer, TurnedAway):
            return Done(settle.turned_away(run, answer.outcome, answer.reason, answer.message, self._now()))
        return Done(settle.accepted(run, answer, self._now()))

    async def _finish(self, run: Run, stored: Run, move: Finish) -> None:
        run = settle.finished(run, move.outcome, self._now())
        run = await self._store(run, stored)
        self._gatherer.forget(run)
        self._performer.let_go(run)
        await self._announcer.ended(run)

    async def _read(self, key: Key) -> Run | None:
        try:
            obj = await self._outside.cluster.read(ObjectRef(RUN.group, RUN.kind, *key))
        except NotFound:
            return None
        try:
            return Run.parse(obj)
        except ValueError as error:
            log.error("the run cannot be read", extra={"run": "/".join(key), "error": str(error)[:500]})
            return None

    async def _book(self, run: Run) -> tuple[AcceptedRunbook | None, str]:
        if run.status.resolved is None:
            return None, "the request is not accepted yet"
        if run.is_ended:
            return None, "what has ended needs no Runbook to take its changes back"
        try:
            return await self._books.load(run.status.resolved.runbook), ""
        except (NotFound, InvalidManifest, Unavailable, Forbidden, Rejected) as error:
            return None, str(error)

    async def _stored_or_kept(self, run: Run, stored: Run) -> datetime | None:
        """The run that has to wait is on the record; or in hand, until the time that is answered."""
        unsaid = unsaid_until(run, stored, self._now())
        if unsaid is None:
            await self._store_if_changed(run, stored)
        else:
            self._latest.note_ahead(run, stored)
        return unsaid

    async def _store_if_changed(self, run: Run, stored: Run) -> None:
        said = reported(run, self._now())
        if _weight(said) != _weight(stored):
            await self._write(said, stored)

    async def _store(self, run: Run, stored: Run) -> Run:
        """The run as the API server has it now; see `_write`."""
        return await self._write(reported(run, self._now()), stored)

    async def _write(self, run: Run, stored: Run) -> Run:
        """
        The run, with all that people read, as the API server has it now, under the resourceVersion of the look.

        Raises Conflict where somebody else has written since.
        """
        status = {**run.status.as_json(), **self._signed()}
        obj = await self._outside.cluster.replace(
            RUN,
            {
                "apiVersion": RUN.api_version,
                "kind": RUN.kind,
                "metadata": {"namespace": run.namespace, "name": run.name, "resourceVersion": run.resource_version},
                "spec": run.spec.as_json(),
                "status": status,
            },
            sub="status",
        )
        run = replace(run, resource_version=dig_text(obj, "metadata", "resourceVersion"))
        self._acting.note(run)
        self._outside.owed.note(run)
        self._wrote(run)
        await self._announcer.progressed(stored, run)
        return run

    def _signed(self) -> dict[str, Any]:
        """Which leader writes; admission compares it with the last one's."""
        epoch = self._outside.leading.epoch
        return {"leaderEpoch": epoch} if epoch else {}

    def _are_old(self, facts: Facts) -> bool:
        return facts.are_old(self._outside.clock.boot_seconds())

    def _now(self) -> Any:
        return self._outside.clock.now()


def _token(run: Run, move: Start | Intend) -> str:
    attempt = current(run)
    return (attempt.undo if move.undoing else attempt.steps)[move.index].token


def _weight(run: Run) -> Any:
    """What makes a record worth writing: all but the wording of checks that are still open."""
    status = run.status.as_json()
    status.pop("message", None)
    status.pop("conditions", None)
    status.pop("leaderEpoch", None)  # another leader is no news about a run
    for attempt in status.get("attempts", []):
        for check in attempt.get("checks", []):
            check.pop("message", None)
        for step in attempt.get("steps", []) + attempt.get("undo", []):
            if step.get("state") == "Started":
                step.pop("message", None)
    return status
