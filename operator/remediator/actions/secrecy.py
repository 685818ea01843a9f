"""Names behind which people keep what nobody else should see."""

from typing import Final

import re2

_NAMES: Final = re2.compile(
    r"(?i)passw|secret|token$|credential|(api|access|private|encryption|signing|license)[-_.]?key|(^|[-_.])(pass|pwd|auth|salt|dsn)([-_.]|$)"
)


def looks_secret(name: str) -> bool:
    """Whether a variable or key of this name should not be shown; wrong only in hiding too much."""
    return _NAMES.search(name) is not None
