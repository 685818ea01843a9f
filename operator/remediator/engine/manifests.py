"""
What people wrote, parsed; and what is wrong with it, said so that they can mend it.

Pydantic speaks to programmers. Here each of its complaints becomes a problem with the path that
kubectl would print and a sentence that says what to write. Types are exact, as at the API server:
`"3"` is no number and `yes` is no string, which YAML 1.1 would otherwise let pass.
"""

import difflib
import json
import re
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, TypeVar, Union

from pydantic import BaseModel, ValidationError

from remediator.domain.errors import InvalidManifest, Problem
from remediator.domain.fields import IDENTIFIER_PATTERN, NAME_PATTERN, SHARE_PATTERN
from remediator.domain.json import JSON

M = TypeVar("M", bound=BaseModel)

OPENING: Final = "${"
_LONGEST_SHOWN: Final = 80
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")

_RULES: Final[Mapping[str, str]] = {
    IDENTIFIER_PATTERN: "a name begins with a small letter and has letters and digits only, such as moreMemory",
    NAME_PATTERN: "a namespace has small letters, digits and hyphens only, such as team-a",
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$": "an object's name has small letters, digits, points and hyphens only",
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": "a name here has small letters, digits and hyphens only, such as on-call",
    SHARE_PATTERN: "write a number of pods such as 1, or a share such as 25%",
    r"^([A-Z][A-Za-z]*|[a-z][a-z0-9]*(\.[a-z0-9-]+)+|external)$": "a kind is spelled as in Deployment, one of a CRD as in certificate.cert-manager.io",
}
"""What the patterns of shared field types mean."""

_NEVER: Final = re.compile(r"(?!)")
_UNQUOTED: Final[Mapping[str, re.Pattern[str]]] = {
    "a whole number": re.compile(r"-?[0-9]+"),
    "a number": re.compile(r"-?[0-9]+(\.[0-9]+)?"),
    "true or false": re.compile(r"true|false"),
}
"""What only the quotes make wrong."""

_WANTED: Final[Mapping[str, str]] = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
}


def parsed(model: type[M], raw: JSON, path: str) -> M:
    """
    The model that the raw manifest holds; `path` is where it stands.

    Raises:
        InvalidManifest: with everything that is wrong with its shape.
    """
    text = json.dumps(raw, default=str)  # a date of YAML is a string to kubectl
    try:
        return model.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidManifest(_problems(model, error, path)) from None


def join(path: str, *keys: str | int) -> str:
    """The path of something below, as kubectl writes it: `spec.remedies[0].steps[2].scale`."""
    for key in keys:
        if isinstance(key, int):
            path += f"[{key}]"
        elif _PLAIN_KEY.fullmatch(key):
            path += f".{key}"
        else:
            path += f'["{key}"]'
    return path


def nearest(text: str, known: Collection[str]) -> str:
    """`; did you mean X?`, or nothing where no known word is close."""
    close = difflib.get_close_matches(text, known, n=1)
    if not close:
        lowered = {word.lower(): word for word in known}
        close = [lowered[found] for found in difflib.get_close_matches(text.lower(), lowered, n=1)]
    return f"; did you mean {close[0]}?" if close else ""


def one_of(words: Iterable[str]) -> str:
    """`a, b or c`."""
    *front, last = words
    return f"{', '.join(front)} or {last}" if front else last


def wrong_type(wanted: str, value: Any) -> str:
    """Says what stands there instead, and whose doing that may be."""
    found = f"must be {wanted}, is {shown(value)}"
    if isinstance(value, str) and OPENING in value:
        return f"must be {wanted}, is a template: `${{…}}` stands only in strings; write the value itself"
    if wanted == "a string" and isinstance(value, bool):
        return f"{found}: write it in quotes, because YAML reads yes, no, on and off as true and false"
    if wanted == "a string" and isinstance(value, (int, float)):
        return f"{found}: write it in quotes"
    if isinstance(value, str) and _UNQUOTED.get(wanted, _NEVER).fullmatch(value):
        return f"{found}: write it without quotes"
    if value is None:
        return f"must be {wanted}, is empty: leave the field out, or give it a value"
    return found


def shown(value: Any) -> str:
    """The value as its author knows it, cut where it is long."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def _problems(model: type[BaseModel], error: ValidationError, path: str) -> list[Problem]:
    found: dict[str, list[str]] = {}
    for one in error.errors(include_url=False):
        keys, at = _located(model, one["loc"])
        messages = found.setdefault(join(path, *keys), [])
        message = _sentence(one, at)
        if message not in messages:
            messages.append(message)
    # where one member of a union fits on the outside, its own problems say all
    outer = {
        where
        for where in found
        if any(other != where and other.startswith((f"{where}.", f"{where}[")) for other in found)
    }
    return [Problem(where, _together(messages)) for where, messages in found.items() if where not in outer]


def _together(messages: list[str]) -> str:
    """One sentence of what the members of a union say, each of which wanted something else."""
    matches = [_MUST_BE.fullmatch(message) for message in messages]
    wanted = [found["wanted"] for found in matches if found is not None]
    if len(messages) > 1 and len(wanted) == len(messages):
        return f"must be {one_of(wanted)}, {matches[0]['rest']}" if matches[0] is not None else ""
    return "; or ".join(messages)


_MUST_BE: Final = re.compile(r"must be (?P<wanted>[^,]+), (?P<rest>is .*)", re.DOTALL)


def _sentence(error: Any, at: Any) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind in _WANTED:
        return wrong_type(_WANTED[kind], value)
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return _no_such_field(error["loc"][-1], at)
    if kind in ("enum", "literal_error"):
        return _not_one_of(re.findall(r"'([^']*)'", str(context.get("expected", ""))), value)
    if kind == "value_error":
        if isinstance(value, str) and OPENING in value:
            return wrong_type("a fixed value", value)
        return str(context.get("error", error["msg"])).removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        return _wrong_pattern(str(context.get("pattern", "")), value)
    return _out_of_bounds(kind, value, context) or str(error["msg"])


def _no_such_field(field: Any, at: Any) -> str:
    if field in ("true", "false"):
        return f"there is no field `{field}`: YAML reads yes, no, on and off as true and false; write the key in quotes"
    known = list(_fields(at)) if _is_model(at) else []
    return f"there is no such field{nearest(str(field), known)}"


def _not_one_of(expected: list[str], value: Any) -> str:
    if isinstance(value, bool):
        return (
            wrong_type(one_of(expected), value)
            + ": write it in quotes, because YAML reads on and off as true and false"
        )
    if isinstance(value, str) and OPENING in value:
        return wrong_type(one_of(expected), value)
    hint = nearest(value, expected) if isinstance(value, str) else ""
    return f"must be {one_of(expected)}, is {shown(value)}{hint}"


def _wrong_pattern(pattern: str, value: Any) -> str:
    if pattern == r"^\$\{":
        return wrong_type("one `${…}`", value)
    if isinstance(value, str) and OPENING in value:
        return wrong_type("a fixed name", value)
    return f"is {shown(value)}: {_RULES.get(pattern, f'it must match {pattern}')}"


def _out_of_bounds(kind: str, value: Any, context: Mapping[str, Any]) -> str:
    match kind:
        case "greater_than_equal":
            return f"must be at least {context['ge']}, is {shown(value)}"
        case "greater_than":
            return f"must be above {context['gt']}, is {shown(value)}"
        case "less_than_equal":
            return f"must be at most {context['le']}, is {shown(value)}"
        case "less_than":
            return f"must be below {context['lt']}, is {shown(value)}"
        case "string_too_long":
            return f"has at most {context['max_length']} characters, this one has {len(value)}"
        case "string_too_short":
            return "must not be empty"
        case "too_long":
            return f"has at most {context['max_length']} entries, this one has {context['actual_length']}"
        case "too_short":
            return f"needs at least {context['min_length']} entry" + ("" if context["min_length"] == 1 else "s")
    return ""


# Pydantic's location of a problem names the members of unions too; walking the model beside it tells
# those from keys.


def _located(model: type[BaseModel], location: Iterable[str | int]) -> tuple[list[str | int], Any]:
    """The keys of the path, and the type in which the last of them stands."""
    keys: list[str | int] = []
    at: Any = model
    holder: Any = model
    for part in location:
        members = _members(at)
        if len(members) > 1:
            at = next((member for member in members if _tag(member) == part), None)
            continue
        at = members[0] if members else at
        holder = at
        at = _below(at, part)
        keys.append(part)
    return keys, holder


def _members(annotation: Any) -> list[Any]:
    """The types that may stand there, without None."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _members(args[0]) if len(_members(args[0])) > 1 else [annotation]
    if origin in (Union, types.UnionType):
        return [arg for arg in args if arg is not types.NoneType]
    return [annotation]


def _below(annotation: Any, key: str | int) -> Any:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _below(args[0], key)
    if _is_model(annotation):
        return _fields(annotation).get(str(key))
    if args:
        return args[-1] if origin is dict or origin is Mapping else args[0]
    return None


def _fields(model: Any) -> dict[str, Any]:
    return {info.alias or name: info.annotation for name, info in model.model_fields.items() if not info.exclude}


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _tag(member: Any) -> str:
    """What pydantic calls a member of a union in a location."""
    origin, args = typing.get_origin(member), typing.get_args(member)
    if origin is Annotated:
        inner = _tag(args[0])
        return f"constrained-{inner}" if inner in ("str", "int", "float") else inner
    return getattr(member, "__name__", str(member))


def template_places(model: Any, raw: JSON, *keys: str | int) -> Iterator[tuple[tuple[str | int, ...], bool]]:
    """
    Where templates stand in parameters that fit the model: the keys, and whether a number is wanted.

    Left out are places that take several types, where only the rendered value can tell.
    """
    if isinstance(raw, str):
        kinds = {_plain(member) for member in _members(model)}
        if OPENING in raw and kinds in ({str}, {str, int}):
            yield keys, int in kinds
    elif isinstance(raw, dict):
        holder = next(
            (m for m in _members(model) if _is_model(_plain(m)) or typing.get_origin(_plain(m)) is dict), None
        )
        for key, value in raw.items():
            if holder is not None and (annotation := _below(holder, key)) is not None:
                yield from template_places(annotation, value, *keys, key)
    elif isinstance(raw, list):
        holder = next((m for m in _members(model) if typing.get_origin(_plain(m)) in (list, tuple)), None)
        for index, value in enumerate(raw):
            if holder is not None and (annotation := _below(holder, index)) is not None:
                yield from template_places(annotation, value, *keys, index)


def _plain(annotation: Any) -> Any:
    """The type without what is noted about it."""
    return _plain(typing.get_args(annotation)[0]) if typing.get_origin(annotation) is Annotated else annotation
