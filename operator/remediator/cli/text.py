"""
Text for a terminal: what may be shown, how long ago it was, how it fits.

Everything that others wrote passes `shown` before it is printed: secrets are taken out, and bytes
that a terminal would obey become visible.
"""

import enum
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from remediator.domain.redaction import redact

ELLIPSIS: Final = "…"
UNBOUNDED: Final = 100_000
"""The width where nothing is a terminal: lines stay whole, so that other programs can read them."""

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Tone(enum.Enum):
    """What a piece of text says; the value is its style on a terminal."""

    PLAIN = ""
    TITLE = "1"
    QUIET = "2"
    GOOD = "32"
    BAD = "31"
    OPEN = "33"


@dataclass(frozen=True, slots=True)
class Cell:
    """A piece of text and what it says."""

    text: str
    tone: Tone = Tone.PLAIN


class Fit(enum.Enum):
    """What becomes of a last cell that is too long for its line."""

    WRAPPED = "wrapped"
    CUT = "cut"
    WHOLE = "whole"
    """A command is copied as it is; the terminal breaks it."""


@dataclass(frozen=True, slots=True)
class Row:
    """
    One line of a section: its cells stand in columns, and the last one wraps.

    A deeper row belongs to the one above it, and keeps out of that one's columns.
    """

    cells: tuple[Cell, ...]
    depth: int = 0
    fit: Fit = Fit.WRAPPED


@dataclass(frozen=True, slots=True)
class Section:
    """A title with rows below it; without a title the rows follow the head."""

    title: str
    rows: tuple[Row, ...]
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """What a person reads, from top to bottom; `airy` puts an empty line before each title."""

    head: tuple[Cell, ...]
    sections: tuple[Section, ...] = ()
    airy: bool = False


def row(*cells: str | Cell, depth: int = 0) -> Row:
    """A row of plain and of toned cells."""
    return Row(tuple(one if isinstance(one, Cell) else Cell(one) for one in cells), depth)


def shown(text: str) -> str:
    """The text as it may stand on a terminal; line breaks and tabs are kept."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", redact(text))


def clock_time(moment: datetime | None) -> str:
    """The time of day in UTC: `12:06:30Z`."""
    return moment.astimezone(UTC).strftime("%H:%M:%SZ") if moment is not None else "-"


def ago(duration: timedelta) -> str:
    """How long ago something was; a clock that is behind the cluster's makes it no future."""
    return age(max(duration, timedelta()))


def date_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def age(duration: timedelta) -> str:
    """
    A duration in as few words as kubectl uses: `45s`, `3m20s`, `12m`, `3h20m`, `5d`.

    Source: https://github.com/kubernetes/apimachinery/blob/master/pkg/util/duration/duration.go
    """
    seconds = int(duration.total_seconds())
    minutes, hours, days, years = seconds // 60, seconds // 3600, seconds // 86400, seconds // 31_536_000
    if seconds < -1:
        return "<invalid>"
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if years < 2:
        return f"{days}d"
    return _two(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}{small}{small_unit}" if small else f"{large}{unit}"


def middle(text: str, width: int) -> str:
    """The text in at most so many characters; its middle goes, because names begin and end with what tells them apart."""
    if len(text) <= width:
        return text
    front = (width - 1) // 2
    return text[:front] + ELLIPSIS + text[len(text) - (width - 1 - front) :]


def front(text: str, width: int) -> str:
    """The text in at most so many characters; its end goes."""
    return text if len(text) <= width else text[: width - 1] + ELLIPSIS


def styled(text: str, tone: Tone, colour: bool) -> str:
    return f"\x1b[{tone.value}m{text}\x1b[0m" if colour and tone.value and text else text


def rendered(story: Story, *, width: int = UNBOUNDED, colour: bool = False) -> str:
    """The story in lines of at most `width`; words that are longer are left whole, so that they can be copied."""
    lines = []
    for cell in story.head:
        lines += [styled(line, cell.tone, colour) for line in _wrapped(shown(cell.text), width)]
    for section in story.sections:
        aside = styled(f"  {shown(section.aside)}", Tone.QUIET, colour) if section.aside else ""
        lines += [""] if story.airy and section.title else []
        lines += [styled(section.title, Tone.TITLE, colour) + aside] if section.title else []
        lines += _rows(section.rows, width, colour)
    return "\n".join(lines)


def _rows(rows: Iterable[Row], width: int, colour: bool) -> Iterable[str]:
    every = list(rows)
    columns = _columns(every)
    for one in every:
        indent = "  " * (one.depth + 1)
        texts = [shown(cell.text).replace("\t", "  ") for cell in one.cells]
        lead, plain = indent, len(indent)
        for index, cell in enumerate(one.cells[:-1]):
            padded = texts[index].ljust(columns.get((one.depth, len(one.cells), index), 0))
            lead += styled(padded, cell.tone, colour) + "  "
            plain += len(padded) + 2
        last = one.cells[-1]
        room = max(width - plain, 24)
        first, *rest = _fitted(texts[-1], room, one.fit)
        yield (lead + styled(first, last.tone, colour)).rstrip()
        for line in rest:
            yield (" " * plain + styled(line, last.tone, colour)).rstrip()


def _columns(rows: list[Row]) -> dict[tuple[int, int, int], int]:
    """How wide each column of rows that look alike is."""
    widths: dict[tuple[int, int, int], int] = {}
    for one in rows:
        for index, cell in enumerate(one.cells[:-1]):
            key = (one.depth, len(one.cells), index)
            widths[key] = max(widths.get(key, 0), min(len(cell.text), 40))
    return widths


def _fitted(text: str, room: int, fit: Fit) -> list[str]:
    if fit is Fit.WRAPPED:
        return _wrapped(text, room)
    return [front(text, room) if fit is Fit.CUT else text]


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for line in text.splitlines() or [""]:
        lines += textwrap.wrap(
            line,
            width,
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
            drop_whitespace=True,
            subsequent_indent=" " * (len(line) - len(line.lstrip())),
        ) or [""]
    return lines
