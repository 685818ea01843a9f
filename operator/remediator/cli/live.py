"""
A table that follows runs while they happen.

On a terminal it is drawn again where it stands; elsewhere what changes is appended, one line a
change, so that a log of it can be read afterwards.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import click

from remediator.cli.options import Screen
from remediator.cli.tables import RunRow, Wanted, everything, newest_first, table
from remediator.cli.text import Tone, clock_time, front, shown, styled
from remediator.domain.json import Object
from remediator.domain.objects import RUN
from remediator.ports import Clock, Cluster

TICK_SECONDS: Final = 1.0
"""How often ages move; what happens is drawn at once."""

FRESH: Final = timedelta(minutes=1)
"""How long the last line of a run's story stays below it after its end."""

Settled = Callable[[Sequence[RunRow]], bool]


def for_ever(_: Sequence[RunRow]) -> bool:
    return False


class Board:
    """The runs as they stand, and what has changed since it was last told."""

    def __init__(self, wanted: Wanted = everything) -> None:
        self._wanted = wanted
        self._rows: dict[tuple[str, str], RunRow] = {}
        self._ended: dict[tuple[str, str], datetime] = {}
        self.is_synced = False

    def take(self, what: str, obj: Object, now: datetime) -> RunRow | None:
        """Take one event of the watch in; the run, if anything that is shown of it changed."""
        if what == "SYNCED":
            self.is_synced = True
            return None
        row = RunRow.of(obj)
        before = self._rows.get(row.key)
        if what == "DELETED" or not self._wanted(row):
            self._rows.pop(row.key, None)
            # a run that is no longer wanted because it ended is told of once more
            return row if before is not None and what != "DELETED" else None
        if before is not None and before.is_open and not row.is_open:
            self._ended[row.key] = now
        self._rows[row.key] = row
        return row if _told(before) != _told(row) else None

    @property
    def rows(self) -> list[RunRow]:
        return newest_first(list(self._rows.values()))

    def is_fresh(self, one: RunRow, now: datetime) -> bool:
        """Whether its story is still going on, or has only just ended."""
        ended = self._ended.get(one.key)
        return one.is_open or (ended is not None and now - ended < FRESH)


def _told(one: RunRow | None) -> tuple[str, ...]:
    return (one.state, one.outcome, one.remedy, one.message, one.latest) if one is not None else ()


async def follow(
    cluster: Cluster,
    clock: Clock,
    namespace: str,
    *,
    screen: Screen,
    wanted: Wanted = everything,
    wide: bool = False,
    until: Settled = for_ever,
    write: Callable[[str], None] = click.echo,
) -> list[RunRow]:
    """
    Show the runs of a namespace (empty: of all) until `until` says that the rows are what was waited for.

    The rows as they stood last. Raises what the first list raises; later errors are waited out.
    """
    board = Board(wanted)
    drawing: Drawing = (
        Redrawing(screen, wide=wide, all_namespaces=not namespace)
        if screen.is_terminal
        else Appending(write, screen, wide=wide, all_namespaces=not namespace)
    )
    news = asyncio.Event()

    async def changed(what: str, obj: Object) -> None:
        row = board.take(what, obj, clock.now())
        if board.is_synced:
            drawing.happened(board, row, clock.now())
            news.set()

    watching = asyncio.ensure_future(cluster.watch(RUN, namespace, changed))
    try:
        while not watching.done() and not (board.is_synced and until(board.rows)):
            await _until_news(news, watching)
            if board.is_synced:
                drawing.refreshed(board, clock.now())
    finally:
        drawing.closed()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    if not watching.cancelled():
        watching.result()
    return board.rows


async def _until_news(news: asyncio.Event, watching: "asyncio.Future[Any]") -> None:
    """Something has happened, the watch has ended, or it is time to let the ages move."""
    waiting: asyncio.Future[Any] = asyncio.ensure_future(news.wait())
    await asyncio.wait({waiting, watching}, timeout=TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    news.clear()


class Drawing(Protocol):
    """How a board is put before a person."""

    def happened(self, board: Board, row: RunRow | None, now: datetime) -> None:
        """One event was taken in; `row` is the run if anything that is shown of it changed."""

    def refreshed(self, board: Board, now: datetime) -> None:
        """Events may have come, and time has passed."""

    def closed(self) -> None:
        """Nothing more will come."""


class Appending:
    """The table once, then one line for each change."""

    def __init__(self, write: Callable[[str], None], screen: Screen, *, wide: bool, all_namespaces: bool) -> None:
        self._write = write
        self._screen = screen
        self._wide = wide
        self._all_namespaces = all_namespaces
        self._began = False

    def happened(self, board: Board, row: RunRow | None, now: datetime) -> None:
        if not self._began:
            self._began = True
            for line in table(
                board.rows, now, all_namespaces=self._all_namespaces, wide=self._wide, width=self._screen.width
            ):
                self._write(line)
        elif row is not None:
            self._write(self._line(row, now))

    def refreshed(self, board: Board, now: datetime) -> None:
        """A log has no ages that move."""

    def closed(self) -> None:
        """What was written stays."""

    def _line(self, row: RunRow, now: datetime) -> str:
        name = f"{row.namespace}/{row.name}" if self._all_namespaces else row.name
        return f"{clock_time(now)}  {shown(name)}  {standing(row)}"


class Redrawing:
    """The table drawn again where it stands, with what each open run is doing below it."""

    def __init__(self, screen: Screen, *, wide: bool, all_namespaces: bool) -> None:
        # a tenth of a second that only a terminal needs
        from rich.console import Console
        from rich.live import Live

        self._screen = screen
        self._wide = wide
        self._all_namespaces = all_namespaces
        self._live = Live(console=Console(highlight=False), auto_refresh=False, vertical_overflow="crop")
        self._live.start()

    def happened(self, board: Board, row: RunRow | None, now: datetime) -> None:
        """What came at one moment is drawn once, by `refreshed`."""

    def refreshed(self, board: Board, now: datetime) -> None:
        from rich.text import Text

        size = self._live.console.size
        lines = picture(
            board,
            now,
            wide=self._wide,
            all_namespaces=self._all_namespaces,
            width=size.width,
            height=size.height - 1,
            colour=self._screen.colour,
        )
        self._live.update(Text.from_ansi("\n".join(lines), no_wrap=True, overflow="crop"), refresh=True)

    def closed(self) -> None:
        self._live.stop()


def picture(
    board: Board, now: datetime, *, wide: bool, all_namespaces: bool, width: int, height: int, colour: bool
) -> list[str]:
    """The table in at most `height` lines; below each run that is going on, the newest line of its story."""
    rows = board.rows
    if not rows:
        return ["No runs yet."]
    title, *lines = table(rows, now, all_namespaces=all_namespaces, wide=wide, width=width, colour=colour)
    drawn = [title]
    for count, (row, line) in enumerate(zip(rows, lines, strict=True)):
        block = [line]
        if board.is_fresh(row, now) and row.latest:
            block.append(styled(front(f"  {' '.join(shown(row.latest).split())}", width), Tone.QUIET, colour))
        if len(drawn) + len(block) > height - 1 and count < len(rows) - 1:
            return [*drawn, styled(f"… and {len(rows) - count} older runs", Tone.QUIET, colour)]
        drawn += block
    return drawn


def standing(row: RunRow) -> str:
    """Where a run stands, in one line."""
    where = row.outcome or row.state
    remedy = f" {row.remedy}" if row.remedy else ""
    said = row.latest if row.is_open and row.latest else row.message
    return shown(f"{where}{remedy}  {' '.join(said.split())}")
