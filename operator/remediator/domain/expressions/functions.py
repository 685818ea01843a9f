"""
What expressions can call besides CEL's own libraries, and what of CEL is replaced.

Every number that comes out is finite. A division whose result is none, a whole number divided by a
whole one, a text that would grow without bound raise an error here, which becomes Unknown; CEL's own
would answer with NaN, cut the remainder off, or take the memory.
"""

import math
from collections.abc import Callable
from typing import Any, Final

from cel_expr_python import cel

from remediator.domain.expressions.shapes import is_finite
from remediator.domain.quantities import parse_quantity

MAX_TEXT: Final = 1 << 20
_INT64: Final = range(-(2**63), 2**63)

WHOLE_NUMBERS_DIVIDED: Final = "two whole numbers are divided, which drops the remainder"
USE_SHARE: Final = f"{WHOLE_NUMBERS_DIVIDED}: write share(part, whole), or double(…) around both"


def share(part: float, whole: float) -> float:
    if whole == 0:
        raise ValueError("share(): the whole is 0")
    return _finite(part / whole)


def quantity(value: str | float) -> float:
    """Cores, bytes or pieces as a double, so that `512Mi` and `1Gi` can be compared."""
    return _finite(float(parse_quantity(value).value))


def total(values: list[Any]) -> float:
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
        raise ValueError("sum(): not a list of numbers")
    if all(isinstance(value, int) for value in values):
        return _whole(sum(values))
    return _finite(math.fsum(values))


def divide(left: float, right: float) -> float:
    if isinstance(left, int) and isinstance(right, int):
        raise ValueError(USE_SHARE)
    if right == 0:
        raise ValueError("division by 0")
    return _finite(left / right)


def multiply(left: float, right: float) -> float:
    product = left * right
    return _finite(product) if isinstance(product, float) else _whole(product)


def square_root(value: float) -> float:
    if value < 0:
        raise ValueError("math.sqrt(): the number is negative")
    return math.sqrt(value)


def to_double(value: str | float) -> float:
    return _finite(float(value))


def replaced(text: str, old: str, new: str, limit: int = -1) -> str:
    times = text.count(old) if limit < 0 else min(limit, text.count(old))
    _bounded(len(text) + times * (len(new) - len(old)))
    return text.replace(old, new, limit)


def joined(texts: list[Any], separator: str = "") -> str:
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("join(): not a list of strings")
    _bounded(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def unread(name: str) -> bool:
    raise ValueError(f"{name} could not be read")


def _finite(value: float) -> float:
    if not is_finite(value):
        raise ValueError("the result is not a finite number")
    return value


def _whole(value: int) -> int:
    if value not in _INT64:
        raise ValueError("the result is too large for a whole number")
    return value


def _bounded(length: int) -> None:
    if length > MAX_TEXT:
        raise ValueError(f"a text of more than {MAX_TEXT:,} characters")


_T: Final = cel.Type
_NUMBERS: Final = (_T.INT, _T.UINT, _T.DOUBLE)
_LISTS: Final = _T.List(_T.DYN)


def _overloads(
    name: str, returns: Any, impl: Callable[..., Any], *signatures: tuple[Any, ...], member: bool = False
) -> Any:
    return cel.FunctionDecl(
        name,
        [
            cel.Overload(f"{name}_{index}", return_type=returns, parameters=list(types), impl=impl, is_member=member)
            for index, types in enumerate(signatures)
        ],
    )


_PAIRS: Final = [(left, right) for left in _NUMBERS for right in _NUMBERS]
_ALIKE: Final = [(kind, kind) for kind in _NUMBERS]
_ONE: Final = [(kind,) for kind in _NUMBERS]

_BOTH: Final = [
    _overloads("share", _T.DOUBLE, share, *_PAIRS),
    _overloads("quantity", _T.DOUBLE, quantity, (_T.STRING,), (_T.INT,), (_T.DOUBLE,)),
]


def _of_a_list(name: str) -> Any:
    kinds = {"int": _T.INT, "double": _T.DOUBLE}
    return cel.FunctionDecl(
        name,
        [cel.Overload(f"{name}_{kind}", return_type=of, parameters=[_T.List(of)]) for kind, of in kinds.items()],
    )


FOR_THE_COMPILER: Final = [*_BOTH, *(_of_a_list(name) for name in ("max", "min", "sum"))]
"""Typed, for messages; never evaluated as they stand."""

# At run time an overload is chosen by the kind of a value alone, so there is one for each kind, and
# one for all lists.
FOR_EVALUATION: Final = [
    *_BOTH,
    _overloads("@sum", _T.DYN, total, (_LISTS,)),
    _overloads("@divide", _T.DYN, divide, *_ALIKE),
    _overloads("@multiply", _T.DYN, multiply, *_ALIKE),
    _overloads("@sqrt", _T.DOUBLE, square_root, *_ONE),
    _overloads("@double", _T.DOUBLE, to_double, *_ONE, (_T.STRING,)),
    _overloads("@replace", _T.STRING, replaced, (_T.STRING,) * 3, (*(_T.STRING,) * 3, _T.INT)),
    _overloads("@join", _T.STRING, joined, (_LISTS,), (_LISTS, _T.STRING)),
    _overloads("@unread", _T.BOOL, unread, (_T.STRING,)),
]

REPLACED: Final = {
    "_/_": "@divide",
    "_*_": "@multiply",
    "math.sqrt": "@sqrt",
    "double": "@double",
    "replace": "@replace",
    "join": "@join",
    "sum": "@sum",
    "max": "math.@max",
    "min": "math.@min",
}
"""Which call becomes which before evaluation; a method's object becomes the first argument."""
