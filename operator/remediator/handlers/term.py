"""
What a process does, and remembers, while it leads: made anew for each term, so that nothing of an earlier one
is left.

It is fed by the watch of runs, which is begun anew for it. Nothing is worked on before every run has been
seen that there was when the epoch was raised: what the predecessor had begun counts against every limit.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

from remediator.domain.errors import Deposed
from remediator.domain.json import Object, dig_text
from remediator.domain.runs import Run
from remediator.handlers.acting import Register
from remediator.handlers.fenced import Fenced
from remediator.handlers.latest import Latest
from remediator.handlers.owed import Owed
from remediator.handlers.queue import Key, Queue, Work
from remediator.handlers.run_index import is_older
from remediator.handlers.tally import Noted, noted, noted_of_ended
from remediator.handlers.unfinished import Unfinished
from remediator.ports import Clock

log = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 4.0
"""How long what is under way may take to come to its next record, when the term is over."""

Keep = Callable[[], Coroutine[Any, Any, None]]
"""Something that only a leader does, for ever."""


class Counts(Protocol):
    """Counts the runs of definitions."""

    def begin_anew(self) -> None: ...

    def note_run(self, run: Noted) -> None: ...

    def forget_run(self, namespace: str, name: str) -> None: ...


class Term:
    """The runs that there is something left to do about, and the queue in which they are worked on."""

    def __init__(self, clock: Clock, workers: int, counts: Counts) -> None:
        self._clock = clock
        self.owed = Owed(lambda: self.has_begun)
        self.acting = Register(clock, lambda: self.has_begun, self.look_at)
        self.latest = Latest()
        self.has_begun = False
        self._workers = workers
        self._counts = counts
        self._unfinished = Unfinished()
        self._fenced = Fenced()
        self._queue: Queue | None = None
        self._news: dict[Key, str] = {}
        """Of a run that is being worked on: the version in which the watch has brought it meanwhile."""
        self._written: dict[Key, str] = {}
        """And the one in which it was written last."""

    async def lead(self, work: Work, caught_up: Callable[[], Awaitable[None]], keeps: Iterable[Keep]) -> None:
        """
        Every run is carried on by `work`, and everything of `keeps` goes on, until this is cancelled.

        What was begun has ended when it returns, also where it returns by itself: the mandate is over then.
        """
        queue = Queue(partial(self._work, work), self._workers)
        try:
            self._counts.begin_anew()
            await caught_up()
            self._queue, self.has_begun = queue, True
            log.info("all runs are known", extra={"unfinished": len(self._unfinished.debts_first)})
            self.look_at_all()
            async with asyncio.TaskGroup() as going_on:
                for keep in (*keeps, _for_ever):
                    going_on.create_task(keep())
        except* Deposed:
            log.info("something of this term has met a later leader")
        finally:
            self.has_begun = False
            await queue.stop(patience_seconds=PATIENCE_SECONDS)

    def saw_run(self, what: str, obj: Object) -> None:
        """What the watch tells of runs."""
        if what == "SYNCED":
            return
        key = (dig_text(obj, "metadata", "namespace"), dig_text(obj, "metadata", "name"))
        if what == "DELETED":
            self._forget(key)
            return
        if self.latest.is_known(obj):  # the echo of a write of ours
            if key not in self._unfinished:
                self.latest.forget(key)
            return
        ended = noted_of_ended(obj)
        if ended is not None and key not in self._unfinished:
            self._counts.note_run(ended)
            return
        try:
            run = Run.parse(obj)
        except ValueError as error:
            log.error("a run cannot be read", extra={"run": "/".join(key), "error": str(error)[:500]})
            return
        self._note(run)
        self.acting.saw(run)
        self.owed.note(run)
        if key not in self._unfinished:
            self.latest.forget(key)
        elif self._queue is not None and self._queue.is_working_on(key):
            self._news[key] = run.resource_version
        else:
            self.look_at(key)

    def wrote(self, run: Run) -> None:
        """A run as it was just stored; who acts and what is owed, whoever stored it has noted himself."""
        self._written[run.namespace, run.name] = run.resource_version
        self._note(run)

    def _note(self, run: Run) -> None:
        self.latest.note(run)
        self._counts.note_run(noted(run))
        self._fenced.note(run)
        self._unfinished.note(run)

    def look_at(self, key: Key, after_seconds: float = 0.0) -> None:
        """The run is worked on, after so many seconds; before the term has begun nothing is."""
        if self._queue is not None:
            self._queue.add(key, after_seconds)

    def look_at_all(self) -> None:
        """Everything that is open or owes is worked on: what is owed first."""
        for key in self._unfinished.debts_first:
            self.look_at(key)

    def look_at_released(self, fence_version: int) -> None:
        """Those that Guardrails held, if these say something else by now."""
        for key in self._fenced.released(fence_version):
            self.look_at(key)

    @property
    def depth(self) -> int:
        """How many runs wait or are worked on."""
        return self._queue.depth if self._queue is not None else 0

    async def lull(self, within_seconds: float) -> None:
        """For a moment no run was worked on, or so many seconds have passed."""
        if self._queue is None or within_seconds <= 0:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self._queue.lull()

    async def _work(self, work: Work, key: Key) -> float | None:
        """
        The run is worked on, and at once again where the watch has brought news of it meanwhile.

        What was written here may come back before the answer to the write does. A write that succeeds
        proves that nobody else has written since the look began, so what is no newer is no news.
        """
        for known in (self._news, self._written):
            known.pop(key, None)
        try:
            after = await work(key)
        finally:
            news, written = self._news.pop(key, ""), self._written.pop(key, "")
        return 0.0 if news and news != written and not is_older(news, written) else after

    def _forget(self, key: Key) -> None:
        if self._queue is not None:
            self._queue.forget(key)
        self.acting.forget(key)
        self.owed.forget(*key)
        self._unfinished.forget(key)
        self.latest.forget(key)
        self._counts.forget_run(*key)
        self._fenced.forget(key)


async def _for_ever() -> None:
    await asyncio.Event().wait()
