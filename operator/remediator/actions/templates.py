"""The edits that turn one pod template into another, as few and as small as can be named."""

from collections.abc import Iterator

from remediator.domain.changes import ABSENT, Absent, ByKey, Edit, FieldPath
from remediator.domain.json import JSON, Object

_KEY = "name"


def edits_between(path: FieldPath, was: JSON | Absent, to: JSON | Absent) -> Iterator[Edit]:
    """
    What differs, value by value.

    Items of a list are told apart by name; a list whose items have none, or whose order could not be
    kept by adding at its end, is replaced as a whole. A null or an empty map is the same as nothing.
    """
    if was == to or (isinstance(to, Absent) and was in (None, {})):
        return
    if isinstance(was, dict) and isinstance(to, dict):
        for key in [*was, *(key for key in to if key not in was)]:
            below = FieldPath.of(*path.parts, key)
            yield from edits_between(below, was.get(key, ABSENT), to.get(key, ABSENT))
        return
    old, new = _by_name(was), _by_name(to)
    if old is None or new is None or list(new) != [*(n for n in old if n in new), *(n for n in new if n not in old)]:
        yield Edit(path, was, to)
        return
    for name in [*old, *(name for name in new if name not in old)]:
        item = FieldPath.of(*path.parts, ByKey(_KEY, name))
        yield from edits_between(item, old.get(name, ABSENT), new.get(name, ABSENT))


def _by_name(value: JSON | Absent) -> dict[str, Object] | None:
    """The items of a list by their names; None for what is no list of differently named items."""
    if not isinstance(value, list) or not value:
        return None
    named = {str(item[_KEY]): item for item in value if isinstance(item, dict) and isinstance(item.get(_KEY), str)}
    return named if len(named) == len(value) else None
