from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from remediator.domain.durations import parse_duration
from remediator.domain.freezes import Freeze, Window, mistakes, next_window, window_at

BERLIN = ZoneInfo("Europe/Berlin")


def freeze(**spec: Any) -> Freeze:
    return Freeze.model_validate(spec)


def again(cron: str, lasting: str, zone: str = "Europe/Berlin") -> Freeze:
    return freeze(cron=cron, **{"for": lasting}, timeZone=zone)


def at(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> datetime:
    """The clock of the zone; `fold` is 1 for the second time that it shows an hour."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


WEEKEND = again("0 16 * * FRI", "64h")


@pytest.mark.parametrize(
    ("moment", "frozen"),
    [
        ("2026-06-05T15:59:59", False),
        ("2026-06-05T16:00:00", True),
        ("2026-06-07T12:00:00", True),
        ("2026-06-08T07:59:59", True),
        ("2026-06-08T08:00:00", False),
    ],
)
def test_a_weekend_is_frozen_from_its_first_minute_to_just_before_its_end(moment: str, frozen: bool) -> None:
    assert (window_at(WEEKEND, at(moment)) is not None) is frozen


@pytest.mark.parametrize(
    ("zone", "begins", "ends"),
    [
        ("Europe/Berlin", "2026-03-27T16:00:00", "2026-03-30T09:00:00"),  # an hour is skipped: later by the clock
        ("Europe/Berlin", "2026-10-23T16:00:00", "2026-10-26T07:00:00"),  # an hour comes twice: earlier by the clock
        ("America/Santiago", "2026-09-04T16:00:00", "2026-09-07T09:00:00"),  # the south springs in September
        ("America/Santiago", "2026-04-03T16:00:00", "2026-04-06T07:00:00"),
        ("Australia/Lord_Howe", "2026-10-02T16:00:00", "2026-10-05T08:30:00"),  # half an hour
    ],
)
def test_the_length_is_time_that_passes_over_each_change_of_the_clock(zone: str, begins: str, ends: str) -> None:
    weekend = again("0 16 * * FRI", "64h", zone)
    begin, end = at(begins, zone), at(ends, zone)

    assert end - begin == timedelta(hours=64)
    assert window_at(weekend, begin - timedelta(seconds=1)) is None
    assert window_at(weekend, begin) == Window(begin, end)
    assert window_at(weekend, end - timedelta(seconds=1)) == Window(begin, end)
    assert window_at(weekend, end) is None


def test_a_beginning_inside_the_hour_that_is_skipped_comes_at_its_end() -> None:
    nightly = again("30 2 * * *", "20m")

    assert window_at(nightly, at("2026-03-29T01:59:59")) is None
    assert window_at(nightly, at("2026-03-29T03:00:00")) == Window(at("2026-03-29T03:00:00"), at("2026-03-29T03:20:00"))
    assert window_at(nightly, at("2026-03-29T03:30:00")) is None


def test_a_beginning_inside_the_hour_that_comes_twice_comes_the_first_time_alone() -> None:
    nightly = again("30 2 * * *", "20m")
    first = at("2026-10-25T02:30:00")

    assert window_at(nightly, first) == Window(first, first + timedelta(minutes=20))
    assert window_at(nightly, at("2026-10-25T02:30:00", fold=1)) is None
    assert window_at(nightly, at("2026-10-25T02:15:00", fold=1)) is None


def test_a_freeze_that_began_the_first_time_still_holds_while_the_clock_shows_the_hour_again() -> None:
    nightly = again("30 2 * * *", "1h")
    first = at("2026-10-25T02:30:00")

    assert window_at(nightly, at("2026-10-25T02:15:00", fold=1)) == Window(first, first + timedelta(hours=1))


@pytest.mark.parametrize("zone", ["America/Santiago", "Australia/Sydney"])
def test_what_is_frozen_from_the_skipped_hour_on_holds_in_the_south_too(zone: str) -> None:
    morning = {"America/Santiago": "2026-09-06", "Australia/Sydney": "2026-10-04"}[zone]
    skipped = {"America/Santiago": ("30 0", "01:00"), "Australia/Sydney": ("30 2", "03:00")}[zone]
    nightly = again(f"{skipped[0]} * * *", "10m", zone)
    begin = at(f"{morning}T{skipped[1]}:00", zone)

    assert window_at(nightly, begin) == Window(begin, begin + timedelta(minutes=10))
    assert window_at(nightly, begin - timedelta(seconds=1)) is None


def test_windows_that_overlap_are_one_and_end_with_the_last_of_them() -> None:
    december = again("0 0 * 12 *", "25h", "UTC")

    found = window_at(december, datetime(2026, 12, 24, tzinfo=UTC))

    assert found is not None
    assert found.end == datetime(2027, 1, 1, 1, tzinfo=UTC)


def test_a_freeze_that_lasts_longer_than_its_period_never_ends_and_says_an_end_that_is_later_than_now() -> None:
    always = again("0 16 * * FRI", "2000000h")
    minutes = again("* * * * *", "64h")

    for moment in (at("2026-06-05T15:59:59"), at("2031-01-01T00:00:00")):
        for endless in (always, minutes):
            found = window_at(endless, moment)
            assert found is not None
            assert found.begin <= moment < found.end


def test_once_is_frozen_from_its_beginning_to_just_before_its_end() -> None:
    holidays = freeze(**{"from": datetime(2026, 12, 24, tzinfo=UTC)}, until=datetime(2026, 12, 27, tzinfo=UTC))
    window = Window(datetime(2026, 12, 24, tzinfo=UTC), datetime(2026, 12, 27, tzinfo=UTC))

    assert window_at(holidays, window.begin) == window
    assert window_at(holidays, window.end - timedelta(seconds=1)) == window
    assert window_at(holidays, window.end) is None
    assert window_at(holidays, window.begin - timedelta(seconds=1)) is None
    assert next_window(holidays, window.begin - timedelta(days=90)) == window
    assert next_window(holidays, window.begin) is None


def test_the_next_window_is_the_first_that_begins_after_now() -> None:
    assert next_window(WEEKEND, at("2026-06-05T16:00:00")) == Window(
        at("2026-06-12T16:00:00"), at("2026-06-15T08:00:00")
    )


WRONG = {
    "no form": ({}, "", "either `cron` and `for`, or `from` and `until`"),
    "both forms": (
        {"cron": "0 16 * * FRI", "for": "1h", "from": "2026-12-24T00:00:00Z", "until": "2026-12-27T00:00:00Z"},
        "",
        "either `cron` and `for`, or `from` and `until`",
    ),
    "a cron without a length": ({"cron": "0 16 * * FRI"}, "", "give both"),
    "a length without a cron": ({"for": "1h"}, "", "give both"),
    "a beginning without an end": ({"from": "2026-12-24T00:00:00Z"}, "", "give both"),
    "an end before the beginning": (
        {"from": "2026-12-27T00:00:00Z", "until": "2026-12-24T00:00:00Z"},
        "until",
        "it ends before it begins",
    ),
    "seconds": ({"cron": "0 0 16 * * FRI", "for": "1h"}, "cron", "does not have the five fields of cron"),
    "an hour that no clock has": ({"cron": "0 26 * * FRI", "for": "1h"}, "cron", "bad hour"),
    "a day that no month has": ({"cron": "0 0 31 2,4 *", "for": "1h"}, "cron", "bad day-of-month"),
    "a day that never comes": ({"cron": "0 0 */31 2 MON#5", "for": "1h"}, "cron", "no time that ever comes"),
    "a zone that is none": ({"cron": "0 16 * * FRI", "for": "1h", "timeZone": "Europe/Berlinn"}, "timeZone", "IANA"),
    "a zone that is a folder": ({"cron": "0 16 * * FRI", "for": "1h", "timeZone": "Europe"}, "timeZone", "IANA"),
    "a zone that is a way out": ({"cron": "0 16 * * FRI", "for": "1h", "timeZone": "../../etc"}, "timeZone", "IANA"),
    "no time at all": ({"cron": "0 16 * * FRI", "for": "0s"}, "for", "at least 1m"),
}


@pytest.mark.parametrize("promise", WRONG)
def test_what_is_wrong_with_a_freeze_is_said(promise: str) -> None:
    spec, field, sentence = WRONG[promise]

    found = list(mistakes(freeze(**spec)))

    assert [one.field for one in found] == [field]
    assert sentence in found[0].message


def test_a_freeze_that_is_understood_has_no_mistakes() -> None:
    assert list(mistakes(WEEKEND)) == []


@given(cron=st.text(alphabet="0123456789*/,-#L MONFRIJAN", min_size=9, max_size=24))
@settings(max_examples=300, deadline=None)
def test_no_text_for_a_cron_is_more_than_a_mistake(cron: str) -> None:
    given_freeze = again(cron, "1h")

    if not list(mistakes(given_freeze)):
        window_at(given_freeze, at("2026-06-05T16:00:00"))


@given(
    cron=st.sampled_from(["30 2 * * *", "*/20 2 * * *", "15 * * * *", "0,45 1-3 * * SUN", "*/7 */2 * * *"]),
    minutes=st.integers(min_value=-300, max_value=300),
    lasting=st.sampled_from(["1m", "25m", "90m", "26h"]),
    change=st.sampled_from(["2026-03-29T01:00:00+00:00", "2026-10-25T01:00:00+00:00"]),
)
@settings(max_examples=200, deadline=None)
def test_around_a_change_of_the_clock_every_window_is_found_that_counting_from_long_before_finds(
    cron: str, minutes: int, lasting: str, change: str
) -> None:
    now = datetime.fromisoformat(change) + timedelta(minutes=minutes)
    length = parse_duration(lasting)
    begins = []
    for moment in CronSim(cron, (now - timedelta(days=4)).astimezone(BERLIN)):
        begin = moment.astimezone(UTC)
        if begin > now:
            break
        begins.append(begin)

    found = window_at(again(cron, lasting), now)

    assert (found is not None) == any(begin <= now < begin + length for begin in begins)
