"""Regular expressions as users write them: RE2, in linear time, checked before they are used."""

from functools import lru_cache
from typing import Any, Final

import re2

MAX_LENGTH: Final = 512
_MAX_MEMORY_BYTES: Final = 8 << 20


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """
    The pattern, ready for use.

    Raises:
        ValueError: with RE2's own sentence, for a pattern it does not accept.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY_BYTES
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        detail = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"{pattern!r} is not a regular expression of RE2: {detail}") from None


def checked(pattern: str, *, groups: int | None = None) -> str:
    """The pattern itself, if it can be used; one that still holds a template is left for later."""
    if "${" in pattern:
        return pattern
    found = compiled(pattern).groups
    if groups is not None and found != groups:
        raise ValueError(f"{pattern!r} needs exactly {groups} group in parentheses, it has {found}")
    return pattern
