"""
Freezes: times in which nothing is changed, again and again or once.

A freeze that comes again begins at a time of the clock in its zone and lasts a time that passes: `for:
64h` from a Friday is 64 hours also over a change of the clock. A beginning that the clock skips comes at
the end of the gap, and one that it shows twice comes the first time.

A freeze that cannot be understood is taken to be active: a mistake in a fence must not open it.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AwareDatetime, Field

from remediator.domain.durations import GoDuration
from remediator.domain.fields import ApiModel, Text

LOOK_AGAIN: Final = timedelta(minutes=5)
"""After so long a freeze that cannot be understood is looked at again."""

MAX_JOINED: Final = 50
"""So many windows that overlap are joined into one when its end is said; from there it is looked at again."""

# A clock that is put back shows an hour twice, and the iterator then names the first one although it has
# passed: starting early and leaving out what is too early is right on every day.
_CLOCK_CHANGE: Final = timedelta(hours=3)
_FIELDS: Final = 5


class FreezeException(ApiModel):
    """Whose approval lifts a freeze."""

    groups: list[Text] = Field(
        min_length=1,
        max_length=16,
        description="Somebody in one of these groups may let a run act in the freeze, by an approval with a reason.",
    )


class Freeze(ApiModel):
    """Times in which nothing is changed: again and again (`cron` and `for`), or once (`from` and `until`)."""

    cron: Annotated[str, Field(min_length=9, max_length=128)] | None = Field(
        default=None, description="When it begins, as five fields of cron, in `timeZone`."
    )
    lasting: GoDuration | None = Field(
        default=None,
        alias="for",
        description="How long it lasts from there, in hours that pass, not hours of the clock; at least 1m.",
    )
    time_zone: Text = Field(default="UTC", description="IANA name, such as Europe/Berlin. Default: UTC.")
    begin: AwareDatetime | None = Field(default=None, alias="from", description="When it begins, once.")
    until: AwareDatetime | None = Field(default=None, description="When it ends, once.")
    exception: FreezeException | None = Field(default=None, alias="except", description="Who may act all the same.")
    reason: Text = Field(default="", description="Why, for those who are held by it.")

    @property
    def groups(self) -> frozenset[str]:
        """The groups whose approval lifts it; empty: nobody's."""
        return frozenset(self.exception.groups) if self.exception is not None else frozenset()


@dataclass(frozen=True, slots=True)
class Window:
    """One time in which a freeze holds, from `begin` to just before `end`."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Frozen:
    """Nothing is changed now, and until when; of several freezes the one that ends last speaks."""

    guardrail: str
    since: datetime
    """When the newest of the active freezes began: an approval given before it knew nothing of it."""
    until: datetime
    reason: str
    exceptions: tuple[frozenset[str], ...]
    """For each active freeze the groups whose approval lifts it; empty: nobody's."""

    @property
    def can_be_lifted(self) -> bool:
        return all(self.exceptions)

    def excepts(self, groups: Collection[str]) -> bool:
        """Whether somebody in these groups may lift one of the active freezes."""
        return any(allowed & frozenset(groups) for allowed in self.exceptions)

    def is_lifted_by(self, approvers: Iterable[Collection[str]]) -> bool:
        """Whether these people, each given as the groups he is in, lift every active freeze."""
        groups = [frozenset(one) for one in approvers]
        return all(any(allowed & theirs for theirs in groups) for allowed in self.exceptions)


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a freeze, and in which field."""

    field: str
    message: str


def mistakes(freeze: Freeze) -> Iterator[Mistake]:
    """Everything that keeps a freeze from being understood."""
    again = (freeze.cron, freeze.lasting)
    once = (freeze.begin, freeze.until)
    if all(value is None for value in again) == all(value is None for value in once):
        yield Mistake("", "a freeze has either `cron` and `for`, or `from` and `until`")
        return
    if freeze.cron is None and freeze.lasting is None:
        yield from _of_one_time(freeze)
        return
    if freeze.cron is None or freeze.lasting is None:
        yield Mistake("", "`cron` says when it begins and `for` how long it lasts: give both")
        return
    zone = _zone(freeze.time_zone)
    if zone is None:
        yield Mistake(
            "timeZone", f"there is no time zone {freeze.time_zone!r}: write an IANA name such as Europe/Berlin"
        )
    wrong = _wrong_cron(freeze.cron)
    if wrong:
        yield Mistake("cron", wrong)
    if freeze.lasting < timedelta(minutes=1):
        yield Mistake("for", "a freeze lasts at least 1m")


def _of_one_time(freeze: Freeze) -> Iterator[Mistake]:
    if freeze.begin is None or freeze.until is None:
        yield Mistake("", "`from` says when it begins and `until` when it ends: give both")
    elif freeze.until <= freeze.begin:
        yield Mistake("until", "it ends before it begins: `until` has to be later than `from`")


def is_understood(freeze: Freeze) -> bool:
    return next(mistakes(freeze), None) is None


def window_at(freeze: Freeze, now: datetime) -> Window | None:
    """
    The window that a freeze which is understood holds in now, or None.

    Windows of one freeze that overlap or touch are one.
    """
    if freeze.begin is not None and freeze.until is not None:
        return Window(freeze.begin, freeze.until) if freeze.begin <= now < freeze.until else None
    assert freeze.cron is not None and freeze.lasting is not None, "a freeze that is understood has one of the forms"
    begin = next(_beginnings(freeze.cron, freeze.time_zone, now - freeze.lasting), None)
    if begin is None or begin > now:
        return None
    return Window(begin, _end(freeze.cron, freeze.time_zone, freeze.lasting, begin))


def next_window(freeze: Freeze, now: datetime) -> Window | None:
    """The first window of a freeze which is understood that begins after now; None if none ever does."""
    if freeze.begin is not None and freeze.until is not None:
        return Window(freeze.begin, freeze.until) if now < freeze.begin else None
    assert freeze.cron is not None and freeze.lasting is not None, "a freeze that is understood has one of the forms"
    begin = next(_beginnings(freeze.cron, freeze.time_zone, now), None)
    return Window(begin, _end(freeze.cron, freeze.time_zone, freeze.lasting, begin)) if begin is not None else None


@lru_cache(maxsize=256)
def _end(cron: str, time_zone: str, lasting: timedelta, begin: datetime) -> datetime:
    """When the window that began is over, joined with those that begin before it is."""
    end = begin + lasting
    for following in islice(_beginnings(cron, time_zone, begin), MAX_JOINED):
        if following > end:
            break
        end = following + lasting
    return end


def _beginnings(cron: str, time_zone: str, after: datetime) -> Iterator[datetime]:
    """The times at which it begins after a moment, in UTC, in order; they may end."""
    zone = _zone(time_zone)
    assert zone is not None, "the zone of a freeze that is understood is known"
    newest = after
    # PEP 479: the iterator's own end must not leave a generator
    for moment in CronSim(cron, (after - _CLOCK_CHANGE).astimezone(zone)):
        begin = moment.astimezone(UTC)
        if begin > newest:
            newest = begin
            yield begin


@lru_cache(maxsize=256)
def _wrong_cron(cron: str) -> str:
    """What is wrong with five fields of cron; empty where they name times that come."""
    if len(cron.split()) != _FIELDS:
        return (
            f"{cron!r} does not have the five fields of cron: minute, hour, day, month, day of the week, "
            "such as '0 16 * * FRI'"
        )
    try:
        first = next(CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC)), None)
    except CronSimError as error:
        return f"{cron!r} is not understood: {str(error).lower()}"
    return "" if first is not None else f"{cron!r} names no time that ever comes"


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # a name that is no path, a directory, an unknown name
        return None
