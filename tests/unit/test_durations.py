import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from remediator.domain.durations import LONGEST, GoDuration, format_duration, human, parse_duration

GO: TypeAdapter[timedelta] = TypeAdapter(GoDuration)
DURATIONS = st.timedeltas(min_value=timedelta(), max_value=LONGEST)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", timedelta()),
        ("0s", timedelta()),
        ("720h", timedelta(days=30)),
        ("1h30m", timedelta(minutes=90)),
        ("250ms", timedelta(milliseconds=250)),
        ("1.5s", timedelta(milliseconds=1500)),
        (".5h", timedelta(minutes=30)),
        ("1.m", timedelta(minutes=1)),
        ("10us", timedelta(microseconds=10)),
        ("10µs", timedelta(microseconds=10)),
        ("10μs", timedelta(microseconds=10)),
        ("3000ns", timedelta(microseconds=3)),
        ("30m1h", timedelta(minutes=90)),
        ("-5m", timedelta(minutes=-5)),
        ("+5m", timedelta(minutes=5)),
    ],
)
def test_reads_what_go_reads(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "-", "5", "5d", "1 h", " 1h", "1h\n", "m", "h1", ".s", "1..5s", "--1s", "1h-30m", "PT1H", "٣s"]
)
def test_refuses_what_go_refuses_and_shows_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r'is not a duration: write a number with a unit.*such as "90s"'):
        parse_duration(text)


def test_refuses_what_would_have_to_be_rounded() -> None:
    with pytest.raises(ValueError, match="'1500ns' is finer than a microsecond"):
        parse_duration("1500ns")


def test_refuses_what_go_cannot_hold() -> None:
    with pytest.raises(ValueError, match="longer than Go can hold"):
        parse_duration("2562048h")


def test_refuses_an_endless_text_by_its_length() -> None:
    with pytest.raises(ValueError, match="at most 64 characters, this one has 1000000"):
        parse_duration("1" * 1_000_000)


@pytest.mark.parametrize(
    ("duration", "as_go_prints_it", "as_people_write_it"),
    [
        (timedelta(), "0s", "0s"),
        (timedelta(minutes=10), "10m0s", "10m"),
        (timedelta(hours=1), "1h0m0s", "1h"),
        (timedelta(days=30), "720h0m0s", "720h"),
        (timedelta(hours=1, minutes=30), "1h30m0s", "1h30m"),
        (timedelta(hours=1, seconds=5), "1h0m5s", "1h5s"),
        (timedelta(seconds=90), "1m30s", "1m30s"),
        (timedelta(seconds=1.5), "1.5s", "1.5s"),
        (timedelta(minutes=1, milliseconds=1), "1m0.001s", "1m0.001s"),
        (timedelta(milliseconds=250), "250ms", "250ms"),
        (timedelta(microseconds=1500), "1.5ms", "1.5ms"),
        (timedelta(microseconds=7), "7µs", "7µs"),
        (timedelta(seconds=-90), "-1m30s", "-1m30s"),
    ],
)
def test_writes_durations_both_ways(duration: timedelta, as_go_prints_it: str, as_people_write_it: str) -> None:
    assert human(duration) == as_go_prints_it
    assert format_duration(duration) == as_people_write_it


@given(DURATIONS)
def test_what_was_written_is_read_back_exactly(duration: timedelta) -> None:
    assert parse_duration(human(duration)) == duration
    assert parse_duration(format_duration(duration)) == duration


@given(st.text(alphabet="0123456789.hmsuµn-+ ", max_size=70))
def test_any_text_is_a_duration_or_a_sentence(text: str) -> None:
    try:
        parse_duration(text)
    except ValueError as error:
        assert len(str(error)) > 20


def test_a_field_is_a_go_string_outside_and_a_timedelta_inside() -> None:
    assert GO.validate_python("1h30m") == timedelta(minutes=90)
    assert GO.dump_python(timedelta(minutes=90)) == "1h30m"
    assert GO.dump_json(timedelta(minutes=90)) == b'"1h30m"'


def test_a_field_takes_the_timedelta_of_a_default() -> None:
    assert GO.validate_python(timedelta(minutes=15)) == timedelta(minutes=15)


@pytest.mark.parametrize("value", [30, 1.5, None, True, ["1h"]])
def test_a_field_refuses_a_number_without_a_unit(value: Any) -> None:
    with pytest.raises(ValidationError, match=r"a duration is a string, this is .*: write a number with a unit"):
        GO.validate_python(value)


@pytest.mark.parametrize("value", ["-5m", timedelta(minutes=-5)])
def test_a_field_is_never_negative(value: Any) -> None:
    with pytest.raises(ValidationError, match="-5m is negative"):
        GO.validate_python(value)


def test_a_field_has_the_schema_that_the_api_server_can_check() -> None:
    schema = GO.json_schema()

    assert schema["type"] == "string"
    assert "format" not in schema
    assert set(schema) == {"type", "pattern", "maxLength"}


def test_a_default_appears_as_a_go_string_in_the_schema_of_what_is_written() -> None:
    class Limits(BaseModel):
        cooldown: GoDuration = timedelta(minutes=15)

    assert Limits.model_json_schema(mode="serialization")["properties"]["cooldown"]["default"] == "15m"


@given(DURATIONS)
def test_the_schema_accepts_what_is_written(duration: timedelta) -> None:

    assert re.search(GO.json_schema()["pattern"], format_duration(duration))
