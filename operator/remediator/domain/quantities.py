"""
Kubernetes quantities, exactly: `500m`, `1.5Gi`, `2e3`.

A quantity is held as a whole number of billionths, the finest step that Kubernetes knows, so that no
sum or factor is rounded behind anyone's back. It keeps the notation it was written in, as the API
server does: `1.5Gi` comes back as `1536Mi`, `1500M` as `1500M`.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

import enum
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import total_ordering
from typing import Final

MAX_LENGTH: Final = 64
_NANO: Final = 10**9
_LARGEST: Final = (2**63 - 1) * _NANO

_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_SUFFIX: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX: Final = {exponent: suffix for suffix, exponent in _BINARY.items()}

_QUANTITY: Final = re.compile(
    r"([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3}|)"
)
_HELP: Final = 'write a number with at most one suffix, such as "500m", "1.5" or "256Mi"'


class Notation(enum.StrEnum):
    """How a quantity was written, and so how it is written back."""

    DECIMAL = "DecimalSI"
    EXPONENT = "DecimalExponent"
    BINARY = "BinarySI"


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """
    An amount, in billionths of its unit (cores, bytes, pieces).

    Two quantities are equal if they are the same amount, however they were written.
    """

    nano: int
    notation: Notation = Notation.DECIMAL

    @property
    def value(self) -> Decimal:
        """The amount in units."""
        return Decimal((self.nano < 0, tuple(int(digit) for digit in str(abs(self.nano))), -9))

    def times(self, factor: Decimal | Fraction | int | float | str, *, finest: "Quantity | None" = None) -> "Quantity":
        """
        The amount multiplied, in the same notation, rounded up to a multiple of `finest`.

        `finest` defaults to what the field it came from can hold: whole bytes for binary notation,
        thousandths (a millicore) for the others.

        Raises:
            ValueError: if the factor is not a finite number or the product is too large for Kubernetes.
        """
        step = finest.nano if finest is not None else _NANO if self.notation is Notation.BINARY else _NANO // 1_000
        if step <= 0:
            raise ValueError(f"cannot round to multiples of {finest}: write a step above 0")
        product = _ceil_away_from_zero(self.nano * _exact(factor), step) * step
        return _bounded(product, self.notation, f"{self} times {factor}")

    def __add__(self, other: "Quantity") -> "Quantity":
        return _bounded(self.nano + other.nano, self.notation, f"{self} plus {other}")

    def __sub__(self, other: "Quantity") -> "Quantity":
        return _bounded(self.nano - other.nano, self.notation, f"{self} less {other}")

    def __eq__(self, other: object) -> bool:
        return self.nano == other.nano if isinstance(other, Quantity) else NotImplemented

    def __lt__(self, other: "Quantity") -> bool:
        return self.nano < other.nano

    def __hash__(self) -> int:
        return hash(self.nano)

    def __str__(self) -> str:
        return format_quantity(self)


def parse_quantity(value: str | int | float) -> Quantity:
    """
    Read a quantity from a manifest, where YAML may have made it a number.

    What is finer than a billionth is rounded up, as the API server does; what is larger than it can
    store is refused, where the API server would silently cap it.

    Raises:
        ValueError: with a sentence that says what is wrong and what to write.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"a quantity is a string or a number, this is {type(value).__name__}: {_HELP}")
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise ValueError("a quantity is at most 2^63-1")  # before str(), which refuses very long numbers
    text = str(value)
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a quantity has at most {MAX_LENGTH} characters, this one has {len(text)}: {_HELP}")
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a quantity: {_HELP}")
    sign, whole, fraction, bare_fraction, suffix = found.groups(default="")
    fraction += bare_fraction
    scale, notation = _scale(suffix)
    amount = Fraction(int((whole or "0") + fraction), 10 ** len(fraction)) * scale * _NANO
    nano = _ceil_away_from_zero(amount, 1)
    if notation is Notation.BINARY and 0 < nano < _NANO:
        notation = Notation.DECIMAL
    return _bounded(-nano if sign == "-" else nano, notation, repr(text))


def format_quantity(quantity: Quantity) -> str:
    """The one canonical way to write the amount in its notation: no fraction, largest suffix, nothing lost."""
    nano, notation = quantity.nano, quantity.notation
    if nano == 0:
        return "0"
    if notation is Notation.BINARY and (abs(nano) < 1_024 * _NANO or nano % _NANO):
        notation = Notation.DECIMAL
    if notation is Notation.BINARY:
        mantissa, exponent = _factored_out(nano // _NANO, 2**10, 10, limit=60)
        return f"{mantissa}{_BINARY_SUFFIX.get(exponent, '')}"
    mantissa, exponent = _factored_out(nano, 1_000, 3, limit=27)
    exponent -= 9
    if notation is Notation.EXPONENT:
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)
    return f"{mantissa}{_DECIMAL_SUFFIX[exponent]}"


def to_bytes(quantity: Quantity) -> int:
    """The amount in whole units, rounded up (away from zero) as Kubernetes does."""
    return _ceil_away_from_zero(Fraction(quantity.nano), _NANO)


def to_millicores(quantity: Quantity) -> int:
    """The amount in thousandths, rounded up (away from zero) as Kubernetes does."""
    return _ceil_away_from_zero(Fraction(quantity.nano), _NANO // 1_000)


def _scale(suffix: str) -> tuple[Fraction, Notation]:
    if suffix in _DECIMAL:
        return Fraction(10) ** _DECIMAL[suffix], Notation.DECIMAL
    if suffix in _BINARY:
        return Fraction(2 ** _BINARY[suffix]), Notation.BINARY
    return Fraction(10) ** int(suffix[1:]), Notation.EXPONENT


def _exact(factor: Decimal | Fraction | int | float | str) -> Fraction:
    """The factor as people wrote it: 1.1 is eleven tenths, not the float next to it."""
    text = repr(factor) if isinstance(factor, float) else str(factor)
    try:
        number = factor if isinstance(factor, Fraction) else Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a factor: write a number, such as 2 or 1.5") from None
    if isinstance(number, Decimal) and (not number.is_finite() or abs(number.adjusted()) > MAX_LENGTH):
        raise ValueError(f"{text} is not a factor: write a finite number of reasonable size, such as 2 or 1.5")
    return Fraction(number)


def _ceil_away_from_zero(amount: Fraction, step: int) -> int:
    steps = -(-abs(amount) // step)
    return -steps if amount < 0 else steps


def _factored_out(number: int, base: int, exponent_step: int, *, limit: int) -> tuple[int, int]:
    exponent = 0
    while exponent < limit and number % base == 0:
        number //= base
        exponent += exponent_step
    return number, exponent


def _bounded(nano: int, notation: Notation, what: str) -> Quantity:
    if abs(nano) > _LARGEST:
        raise ValueError(f"{what} is larger than 2^63-1, the largest amount that Kubernetes stores")
    return Quantity(nano, notation)
