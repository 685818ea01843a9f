"""
Carrying a run on: look, ask the engine, do one move, put it onto the record; until it has to wait.

The record is written before every effect, before every wait and at the end, always under the
resourceVersion that the look was made from: if somebody else has written, everything is looked at
again and nothing is applied a second time.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from remediator.domain.errors import (
    Conflict,
    Forbidden,
    InvalidManifest,
    NotFound,
    Rejected,
    Unavailable,
)
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import Run
from remediator.engine import settle
from remediator.engine.acceptance import AcceptedRunbook
from remediator.engine.facts import Facts
from remediator.engine.flow import next_move
from remediator.engine.moves import (
    Accept,
    Diagnose,
    Finish,
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
    Void,
)
from remediator.engine.record import current
from remediator.engine.report import reported
from remediator.engine.wants import wants
from remediator.handlers.accept import Books, TurnedAway, accept
from remediator.handlers.announce import Announcer
from remediator.handlers.gather import Gatherer
from remediator.handlers.outside import Outside
from remediator.handlers.perform import Done, Performer
from remediator.handlers.queue import Key

log = logging.getLogger(__name__)

FRESH_SECONDS: Final = 5.0
"""How old facts may be when an effect is sent: a process that was frozen in between looks again."""

RETRY_SECONDS: Final = 3.0
GONE_SECONDS: Final = 60.0
STARTING_SECONDS: Final = 0.5
TRIES: Final = 5
MOVES_AT_ONCE: Final = 200
"""After so many moves another run gets its turn."""

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
    ) -> None:
        self._outside = outside
        self._books = books
        self._gatherer = gatherer
        self._performer = performer
        self._announcer = announcer
        self._admission = admission

    async def reconcile(self, key: Key) -> float | None:
        """
        Carry the run on; the answer is after how many seconds to look again.

        A conflict means that the record has moved: it is read again and everything is decided anew.
        """
        if not self._outside.definitions.is_complete:
            return STARTING_SECONDS  # a policy that was not read yet is not a policy that is gone
        for _ in range(TRIES):
            try:
                return await self._carry_on(key)
            except Conflict:
                continue
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

    async def _carry_on(self, key: Key) -> float | None:
        run = await self._read(key)
        if run is None or run.is_ended or run.deleting:
            return None
        stored = run
        own: set[str] = set()  # tokens whose intent this very pass has written
        facts: Facts | None = None
        wanted = None
        for _ in range(MOVES_AT_ONCE):
            book, problem = await self._book(run)
            if facts is None or wanted != wants(run, book):
                wanted = wants(run, book)
                facts = await self._gatherer.facts(run, book, problem, wanted)
            run, move = next_move(run, facts)
            if isinstance(move, Look):
                continue
            if isinstance(move, Hold):
                await self._store_if_changed(run, stored)
                return None if move.until is None else max((move.until - self._now()).total_seconds(), 0.2)
            if isinstance(move, Finish):
                await self._finish(run, stored, move)
                return None
            if isinstance(move, Start) and self._is_stale(facts):
                facts = None
                continue
            if isinstance(move, Intend):
                run = self._performer.intend(run, move, facts).run
                run = stored = await self._store(run, stored)
                own.add(_token(run, move))
                continue  # on the same facts: nothing was read since, and Start looks how old they are
            done = await self._perform(run, move, facts, own)
            run, facts = done.run, None
            if isinstance(move, Start | Void):
                run = stored = await self._store(run, stored)
            if done.again is not None:
                await self._store_if_changed(run, stored)
                return done.again.total_seconds()
        await self._store_if_changed(run, stored)
        return 0.0

    async def _perform(self, run: Run, move: Move, facts: Facts, own: set[str]) -> Done:
        performer = self._performer
        match move:
            case Accept():
                return await self._accept(run)
            case Diagnose():
                return await performer.diagnose(run, facts)
            case Render():
                return await performer.render(run, facts)
            case Rehearse():
                return await performer.rehearse(run)
            case Lock():
                return await performer.lock(run, facts)
            case Start():
                return await performer.start(run, move, resumed=_token(run, move) not in own)
            case Poll():
                return await performer.poll(run, move)
            case Void():
                return await performer.void(run, move)
            case Read():
                return await performer.read(run, move, facts)
            case Tell():
                return await performer.tell(run, move, facts)
        raise AssertionError(f"{move} is not the performer's")

    async def _accept(self, run: Run) -> Done:
        """ADMIT first: a run that another one stands for is ended before it reads anything."""
        refused = await self._admission(run)
        if refused is not None:
            outcome, message = refused
            return Done(settle.turned_away(run, outcome, str(outcome), message, self._now()))
        answer = await accept(run, self._books, self._outside)
        if isinstance(answer, TurnedAway):
            return Done(settle.turned_away(run, answer.outcome, answer.reason, answer.message, self._now()))
        return Done(settle.accepted(run, answer, self._now()))

    async def _finish(self, run: Run, stored: Run, move: Finish) -> None:
        run = settle.finished(run, move.outcome, self._now())
        run = await self._store(run, stored)
        self._gatherer.forget(run)
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
        try:
            return await self._books.load(run.status.resolved.runbook), ""
        except (NotFound, InvalidManifest, Unavailable, Forbidden, Rejected) as error:
            return None, str(error)

    async def _store_if_changed(self, run: Run, stored: Run) -> None:
        if _weight(reported(run, self._now())) != _weight(stored):
            await self._store(run, stored)

    async def _store(self, run: Run, stored: Run) -> Run:
        """
        The run as the API server has it now, under the resourceVersion of the look.

        Raises Conflict where somebody else has written since.
        """
        run = reported(run, self._now())
        obj = await self._outside.cluster.replace(
            RUN,
            {
                "apiVersion": RUN.api_version,
                "kind": RUN.kind,
                "metadata": {"namespace": run.namespace, "name": run.name, "resourceVersion": run.resource_version},
                "spec": run.spec.as_json(),
                "status": run.status.as_json(),
            },
            sub="status",
        )
        written = Run.parse(obj)
        await self._announcer.progressed(stored, run)
        return replace(run, resource_version=written.resource_version)

    def _is_stale(self, facts: Facts) -> bool:
        return self._outside.clock.boot_seconds() - facts.boot_seconds > FRESH_SECONDS

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
    for attempt in status.get("attempts", []):
        for check in attempt.get("checks", []):
            check.pop("message", None)
        for step in attempt.get("steps", []) + attempt.get("undo", []):
            if step.get("state") == "Started":
                step.pop("message", None)
    return status
