"""JSON patches as the API server applies them: whole or not at all."""

from collections.abc import Sequence

from remediator.domain.errors import Conflict, Rejected
from remediator.domain.json import JSON, Object, copied

MISSING = object()


def patched(obj: Object, operations: Sequence[Object]) -> Object:
    """
    The object after all operations.

    Raises Conflict for a `test` that fails and for a path that is not there: the API server answers
    422 to both and does not say which it was.
    """
    found: JSON = copied(obj)
    for operation in operations:
        found = _applied(found, operation)
    if not isinstance(found, dict):
        raise Rejected("a patch must leave an object")
    return found


def _applied(whole: JSON, operation: Object) -> JSON:
    kind, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str) or (path and not path.startswith("/")):
        raise Rejected(f"the path of a patch operation must begin with a slash, is {path!r}")
    keys = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    if kind == "test":
        standing = _at(whole, keys)
        wanted = operation.get("value")
        # the API server takes null for absent in a test, and absent for null
        if not same(None if standing is MISSING else standing, wanted):
            raise Conflict("the server rejected our request due to an error in our request")
        return whole
    if kind not in ("add", "replace", "remove"):
        raise Rejected(f"unexpected kind: {kind}")
    if not keys:
        raise Rejected("the whole object cannot be patched away")
    holder = _at(whole, keys[:-1])
    last = keys[-1]
    value = copied(operation.get("value"))
    if isinstance(holder, dict):
        # `replace` adds what is not there: the API server's library does not look, so only a `test` guards
        if kind == "remove" and last not in holder:
            raise Conflict("the server rejected our request due to an error in our request")
        if kind == "remove":
            del holder[last]
        else:
            holder[last] = value
    elif isinstance(holder, list):
        _into_list(holder, kind, last, value)
    else:
        raise Conflict("the server rejected our request due to an error in our request")
    return whole


def _into_list(holder: list[JSON], kind: object, last: str, value: JSON) -> None:
    end = len(holder) if kind == "add" else len(holder) - 1
    place = end if last == "-" and kind == "add" else int(last) if last.isdigit() else -1
    if not 0 <= place <= end:
        raise Conflict("the server rejected our request due to an error in our request")
    if kind == "remove":
        del holder[place]
    elif kind == "replace":
        holder[place] = value
    else:
        holder.insert(place, value)


def _at(whole: JSON, keys: Sequence[str]) -> JSON | object:
    standing: JSON | object = whole
    for key in keys:
        if isinstance(standing, dict) and key in standing:
            standing = standing[key]
        elif isinstance(standing, list) and key.isdigit() and int(key) < len(standing):
            standing = standing[int(key)]
        else:
            return MISSING
    return standing


def same(left: object, right: object) -> bool:
    """Equality of JSON, in which true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return left == right
