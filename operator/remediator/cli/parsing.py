"""A run from the object as it was read."""

from remediator.domain.errors import RemediatorError
from remediator.domain.json import Object, dig_text
from remediator.domain.runs import Run


class NotOurs(RemediatorError):
    """The object is none of this version."""


def parsed(obj: Object) -> Run:
    """Raises NotOurs where the run was written by another version, or by hand."""
    try:
        return Run.parse(obj)
    except (ValueError, KeyError, TypeError) as wrong:
        name = f"{dig_text(obj, 'metadata', 'namespace')}/{dig_text(obj, 'metadata', 'name')}"
        first = str(wrong).partition("\n")[0]
        raise NotOurs(
            f"run {name} holds what this version does not know ({first}): `-o yaml` shows it as it is stored"
        ) from wrong
