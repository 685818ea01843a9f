from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediator.domain.quantities import (
    Notation,
    Quantity,
    format_quantity,
    parse_quantity,
    to_bytes,
    to_millicores,
)

LARGEST_NANO = (2**63 - 1) * 10**9
QUANTITIES = st.builds(Quantity, st.integers(-LARGEST_NANO, LARGEST_NANO), st.sampled_from(Notation))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("-1", "-1"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("1.", "1"),
        ("007", "7"),
        ("500m", "0.5"),
        ("100n", "0.0000001"),
        ("100u", "0.0001"),
        ("2k", "2000"),
        ("2Ki", "2048"),
        ("1.5Gi", "1610612736"),
        ("1E", "1000000000000000000"),
        ("1Ei", "1152921504606846976"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1e-3", "0.001"),
        ("12E+1", "120"),
    ],
)
def test_reads_what_the_api_server_reads(text: str, value: str) -> None:
    assert parse_quantity(text).value == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "1\n", "1gi", "1KI", "1mm", "1 Gi", "Gi", ".", "1.2.3", "1e", "1e9999", "0x10", "nan", "٣"]
)
def test_refuses_nonsense_and_shows_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match='is not a quantity: write a number with at most one suffix, such as "500m"'):
        parse_quantity(text)


@pytest.mark.parametrize("value", [None, True, ["1"], {}])
def test_refuses_what_is_neither_text_nor_number(value: Any) -> None:
    with pytest.raises(ValueError, match="a quantity is a string or a number, this is"):
        parse_quantity(value)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_refuses_numbers_that_are_no_amount(value: float) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(value)


@pytest.mark.parametrize("value", ["8Ei", "10E", "1e400", 10**40, "9223372036854775808"])
def test_refuses_what_the_api_server_would_silently_cap(value: Any) -> None:
    with pytest.raises(ValueError, match=r"2\^63-1"):
        parse_quantity(value)


def test_refuses_an_endless_text_by_its_length() -> None:
    with pytest.raises(ValueError, match="at most 64 characters, this one has 1000000"):
        parse_quantity("1" * 1_000_000)


def test_numbers_that_yaml_made_are_read_as_they_look() -> None:
    assert parse_quantity(2) == parse_quantity("2")
    assert parse_quantity(0.1) == parse_quantity("100m")


def test_what_is_finer_than_a_billionth_is_rounded_up() -> None:
    assert parse_quantity("0.1n") == parse_quantity("1n")
    assert parse_quantity("-0.1n") == parse_quantity("-1n")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0Gi", "0"),
        ("1.5Gi", "1536Mi"),
        ("1024Mi", "1Gi"),
        ("1500M", "1500M"),
        ("1000M", "1G"),
        ("0.1", "100m"),
        ("1.5", "1500m"),
        ("1000m", "1"),
        ("2000", "2k"),
        ("123456", "123456"),
        ("1e3", "1e3"),
        ("1500e3", "1500e3"),
        ("0.5Ki", "512"),
        ("0.1Ki", "102400m"),
        ("1023Ki", "1023Ki"),
        ("-1.5Gi", "-1536Mi"),
        ("1e0", "1"),
        ("1n", "1n"),
    ],
)
def test_writes_the_canonical_form_of_the_notation_it_was_written_in(text: str, canonical: str) -> None:
    assert format_quantity(parse_quantity(text)) == canonical


@given(QUANTITIES)
def test_what_was_written_is_read_back_exactly(quantity: Quantity) -> None:
    assert parse_quantity(format_quantity(quantity)) == quantity


@given(QUANTITIES)
def test_the_canonical_form_is_its_own_canonical_form(quantity: Quantity) -> None:
    written = format_quantity(quantity)

    assert format_quantity(parse_quantity(written)) == written


@given(st.text(alphabet="0123456789.eEinumkKMGTP+-", max_size=70))
def test_any_text_is_a_quantity_or_a_sentence(text: str) -> None:
    try:
        parse_quantity(text)
    except ValueError as error:
        assert len(str(error)) > 20


def test_bytes_and_millicores_are_rounded_up() -> None:
    assert to_bytes(parse_quantity("64Mi")) == 67_108_864
    assert to_bytes(parse_quantity("1500m")) == 2
    assert to_millicores(parse_quantity("0.25")) == 250
    assert to_millicores(parse_quantity("1u")) == 1


def test_amounts_are_compared_whatever_their_notation() -> None:
    assert parse_quantity("1Gi") == parse_quantity("1024Mi")
    assert hash(parse_quantity("1Gi")) == hash(parse_quantity("1024Mi"))
    assert parse_quantity("1G") < parse_quantity("1Gi")
    assert max(parse_quantity("900m"), parse_quantity("1")) == parse_quantity("1")
    assert parse_quantity("1") != "1"


@pytest.mark.parametrize(
    ("text", "factor", "product"),
    [
        ("256Mi", 2, "512Mi"),
        ("256Mi", 1.5, "384Mi"),
        ("100Mi", 1.1, "110Mi"),
        ("100Mi", Decimal("1.1"), "110Mi"),
        ("100m", "1.25", "125m"),
        ("1", Fraction(1, 3), "334m"),
        ("1Gi", 0, "0"),
    ],
)
def test_a_factor_is_taken_as_it_was_written(text: str, factor: Any, product: str) -> None:
    assert str(parse_quantity(text).times(factor)) == product


def test_a_product_is_rounded_up_to_what_its_field_can_hold() -> None:
    assert parse_quantity("1Gi").times("1.3") == parse_quantity("1395864372")
    assert str(parse_quantity("250m").times("1.333")) == "334m"
    assert str(parse_quantity("1Gi").times("1.3", finest=parse_quantity("1Mi"))) == "1332Mi"


@pytest.mark.parametrize("factor", ["two", "NaN", float("inf"), "1e999999999"])
def test_a_factor_that_is_no_number_is_refused(factor: Any) -> None:
    with pytest.raises(ValueError, match="is not a factor: write a"):
        parse_quantity("1Gi").times(factor)


def test_a_product_that_kubernetes_cannot_store_is_refused() -> None:
    with pytest.raises(ValueError, match=r"4Ei times 2 is larger than 2\^63-1"):
        parse_quantity("4Ei").times(2)


def test_sums_and_differences_keep_the_first_notation() -> None:
    assert str(parse_quantity("1Gi") + parse_quantity("512Mi")) == "1536Mi"
    assert str(parse_quantity("1") - parse_quantity("250m")) == "750m"


def test_an_integer_too_long_to_print_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at most 2\^63-1"):
        parse_quantity(10**5000)
