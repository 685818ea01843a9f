"""Names and values that redaction would hide, asked one at a time."""

from functools import lru_cache
from typing import Final

from remediator.domain.redaction import redact_json

_ANY: Final = "x7Kq-9vTz-3mWp-5nRb"  # looks like nothing in particular, so that the name alone decides


@lru_cache(maxsize=4_096)
def looks_secret(name: str) -> bool:
    """Whether people keep secrets behind such a name."""
    return is_hidden(name, _ANY)


def is_hidden(name: str, value: str) -> bool:
    """Whether the value of this name would not be shown, for its name or for what it looks like."""
    pair = {"name": name, "value": value}
    return redact_json({**pair}) != pair
