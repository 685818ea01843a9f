"""
The shapes of what expressions see: read from the actions' output models, shown to the compiler as
message types, and applied to the data before it is looked at.

The data stay JSON; the message types exist for the compiler alone. So a field that is not set never
becomes a zero, which it would in a protobuf message.
"""

import enum
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias, Union

from google.protobuf import descriptor_pb2, descriptor_pool, struct_pb2
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from remediator.domain.expressions.values import UNKNOWN

MAX_ITEMS: Final = 5_000
"""A longer list is Unknown: cutting it would turn "all" and "none" into guesses."""

LARGEST_NUMBER: Final = 1e300
"""A larger one is treated as infinite, so that no sum of numbers can become infinite unnoticed."""

ALWAYS: Final = frozenset({"known", "truncated", "observedAt", "error"})
"""The fields of an output that answer even if nothing else was read."""

PACKAGE: Final = "remediator"
_MARK: Final = "?"
_DEEPEST: Final = 64
_INT64: Final = range(-(2**63), 2**63)


class NoneIsUnknown:
    """
    Marks a field of an output where None means "could not be read", not "is not there".

    `Annotated[float | None, NoneIsUnknown]`: without the mark a field that is None is absent, and
    `has` over it is false.
    """


class Uncut:
    """
    Marks a list or map of an output that is whole even if the output is `truncated`.

    `Annotated[dict[str, int], Uncut]`, for counts taken over everything before the lines were cut.
    """


class Kind(enum.Enum):
    """The scalar types; the value is the field type in a descriptor."""

    BOOL = descriptor_pb2.FieldDescriptorProto.TYPE_BOOL
    INT = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
    DOUBLE = descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE
    STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING


@dataclass(frozen=True, slots=True)
class Dyn:
    """Anything: labels of a foreign kind, rows of a query."""


@dataclass(frozen=True, slots=True)
class ListOf:
    item: "Shape"


@dataclass(frozen=True, slots=True)
class MapOf:
    value: "Shape"


@dataclass(frozen=True, slots=True)
class Field:
    shape: "Shape"
    optional: bool = True
    none_is_unknown: bool = False
    uncut: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    name: str
    fields: dict[str, Field]

    @property
    def is_output(self) -> bool:
        return "known" in self.fields and "truncated" in self.fields


Shape: TypeAlias = "Kind | Dyn | ListOf | MapOf | Message"
STRINGS: Final = MapOf(Kind.STRING)
ANYTHING: Final = MapOf(Dyn())


class Absent(enum.Enum):
    """The type of `ABSENT`: asked for, and not there."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


def field_of(message: Message, data: Mapping[str, Any], name: str) -> Any:
    """
    The field as it may be used: a prepared value, ABSENT or UNKNOWN.

    Of an output that is not `known`, or `truncated`, the fields that this makes unreliable are UNKNOWN.
    """
    field = message.fields[name]
    if message.is_output and name not in ALWAYS:
        if data.get("known") is not True:
            return UNKNOWN
        if data.get("truncated") is not False and isinstance(field.shape, (ListOf, MapOf)) and not field.uncut:
            return UNKNOWN
    return _plain_field(field, data.get(name))


def seen_of(message: Message, data: Mapping[str, Any], name: str) -> Any:
    """The part of a truncated list that was seen: enough to find something in, not to miss it from."""
    if data.get("known") is not True:
        return UNKNOWN
    return _plain_field(message.fields[name], data.get(name))


def _plain_field(field: Field, value: Any) -> Any:
    if value is None:
        return UNKNOWN if field.none_is_unknown or not field.optional else ABSENT
    return prepared(field.shape, value)


def prepared(shape: Shape, value: Any, depth: int = 0) -> Any:
    """
    The value as the evaluator may have it, or UNKNOWN.

    Numbers get the type the compiler counted on (JSON forgets that 1.0 is a double). In a message, a
    field that is not known is left out and leaves a mark; anywhere else it makes the whole unknown.
    """
    if value is UNKNOWN or depth > _DEEPEST:
        return UNKNOWN
    if isinstance(shape, Kind):
        return _scalar(shape, value)
    if isinstance(shape, Message):
        return _message(shape, value, depth)
    if isinstance(shape, ListOf):
        return _list(shape.item, value, depth) if isinstance(value, (list, tuple)) else UNKNOWN
    if isinstance(shape, MapOf):
        return _map(shape.value, value, depth) if isinstance(value, Mapping) else UNKNOWN
    if isinstance(value, Mapping):
        return _map(shape, value, depth)
    if isinstance(value, (list, tuple)):
        return _list(shape, value, depth)
    return _loose(value)


def _message(shape: Message, value: Any, depth: int) -> Any:
    if not isinstance(value, Mapping):
        return UNKNOWN
    result: dict[str, Any] = {}
    for name, field in shape.fields.items():
        found = value.get(name)
        if shape.is_output:
            found = field_of(shape, value, name)
        elif found is None:
            # a mark is set again when a value has been through an evaluation and comes back
            lost = field.none_is_unknown or not field.optional or _MARK + name in value
            found = UNKNOWN if lost else ABSENT
        else:
            found = prepared(field.shape, found, depth + 1)
        if found is UNKNOWN:
            result[_MARK + name] = True
        elif found is not ABSENT:
            result[name] = found
    return result


def _list(item: Shape, value: Sequence[Any], depth: int) -> Any:
    if len(value) > MAX_ITEMS:
        return UNKNOWN
    result = [prepared(item, element, depth + 1) for element in value]
    return UNKNOWN if any(element is UNKNOWN for element in result) else result


def _map(item: Shape, value: Mapping[Any, Any], depth: int) -> Any:
    if len(value) > MAX_ITEMS:
        return UNKNOWN
    result = {str(key): prepared(item, element, depth + 1) for key, element in value.items()}
    return UNKNOWN if any(element is UNKNOWN for element in result.values()) else result


def _scalar(kind: Kind, value: Any) -> Any:
    if kind is Kind.STRING:
        return _text(value) if isinstance(value, (str, datetime)) else UNKNOWN
    if kind is Kind.BOOL:
        return value if isinstance(value, bool) else UNKNOWN
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not is_finite(value):
        return UNKNOWN
    if kind is Kind.DOUBLE:
        return float(value)
    return int(value) if value == int(value) and int(value) in _INT64 else UNKNOWN


def _loose(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value in _INT64 else UNKNOWN
    if isinstance(value, float):
        return value if is_finite(value) else UNKNOWN
    if isinstance(value, (str, datetime)):
        return _text(value)
    return UNKNOWN


def _text(value: str | datetime) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    # a lone surrogate cannot be written as UTF-8; the reader's mark for it can
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def is_finite(value: float) -> bool:
    """Whether the number is neither NaN nor so large that it may as well be infinite."""
    try:
        return math.isfinite(value) and abs(value) <= LARGEST_NUMBER
    except OverflowError:
        return False


def rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def marked_unknown(value: Any) -> str | None:
    """The name of a field inside the value that could not be read; None if all of it is known."""
    if isinstance(value, Mapping):
        for key, element in value.items():
            if isinstance(key, str) and key.startswith(_MARK) and element is True:
                return key.removeprefix(_MARK)
            if (found := marked_unknown(element)) is not None:
                return found
    if isinstance(value, list):
        return next((found for element in value if (found := marked_unknown(element)) is not None), None)
    return None


def mark(field: str) -> str:
    """The key that says of a field in prepared data that it could not be read."""
    return _MARK + field


class Catalogue:
    """
    All the message types of one scope, each model once, and the pool in which the compiler finds them.

    A name is made once and never given to another shape.
    """

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}
        self._of_model: dict[type[BaseModel], Message] = {}

    def message(self, name: str, fields: dict[str, Field]) -> Message:
        unique = name if name not in self.messages else f"{name}{len(self.messages)}"
        made = Message(unique, fields)
        self.messages[unique] = made
        return made

    def model(self, model: type[BaseModel]) -> Message:
        """The shape of a model, under the names by which its fields are serialized."""
        if model not in self._of_model:
            made = self.message(model.__name__, {})
            self._of_model[model] = made  # before its fields: a model may contain itself
            for name, info in model.model_fields.items():
                made.fields[info.serialization_alias or info.alias or name] = self._field(info)
        return self._of_model[model]

    def _field(self, info: FieldInfo) -> Field:
        # pydantic keeps a field's Annotated marks apart from its type
        marks = [mark if isinstance(mark, type) else type(mark) for mark in info.metadata]
        shape, optional = self._shape(info.annotation)
        return Field(shape, optional, NoneIsUnknown in marks, Uncut in marks)

    def _shape(self, annotation: Any) -> tuple[Shape, bool]:
        origin, args = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is Annotated:
            return self._shape(args[0])
        if origin in (Union, types.UnionType):
            others = [arg for arg in args if arg is not types.NoneType]
            shape = self._shape(others[0])[0] if len(others) == 1 else Dyn()
            return shape, len(others) < len(args)
        if origin is Literal:
            return (Kind.STRING if all(isinstance(arg, str) for arg in args) else Dyn()), False
        if origin in (list, tuple, set, frozenset, Sequence, Iterable):
            return ListOf(self._shape(args[0])[0] if args else Dyn()), False
        if origin in (dict, Mapping):
            return MapOf(self._shape(args[1])[0]), False
        return self._named(annotation), annotation is types.NoneType

    def _named(self, annotation: Any) -> Shape:
        if not isinstance(annotation, type):
            return Dyn()
        if issubclass(annotation, BaseModel):
            return self.model(annotation)
        if issubclass(annotation, bool):
            return Kind.BOOL
        if issubclass(annotation, (str, datetime, timedelta)):
            return Kind.STRING
        if issubclass(annotation, int):
            return Kind.INT
        if issubclass(annotation, float):
            return Kind.DOUBLE
        if annotation is dict:
            return ANYTHING
        return ListOf(Dyn()) if annotation is list else Dyn()

    def pool(self) -> descriptor_pool.DescriptorPool:
        """The message types, described to the compiler."""
        file = descriptor_pb2.FileDescriptorProto(name="scope.proto", package=PACKAGE, syntax="proto3")
        file.dependency.append("google/protobuf/struct.proto")
        for message in self.messages.values():
            described = file.message_type.add(name=message.name)
            for number, (name, field) in enumerate(message.fields.items(), start=1):
                _describe(described, name, number, field.shape)
        known = descriptor_pb2.FileDescriptorProto()
        struct_pb2.DESCRIPTOR.CopyToProto(known)
        pool = descriptor_pool.DescriptorPool()
        pool.Add(known)
        pool.Add(file)
        return pool


def type_name(message: Message) -> str:
    return f"{PACKAGE}.{message.name}"


def _describe(message: descriptor_pb2.DescriptorProto, name: str, number: int, shape: Shape) -> None:
    field = message.field.add(name=name, json_name=name, number=number)
    field.label = field.LABEL_OPTIONAL
    if isinstance(shape, ListOf):
        field.label = field.LABEL_REPEATED
        # a list of lists has no repeated form; its elements are lists of anything
        _set_type(field, shape.item)
    elif isinstance(shape, MapOf) and not isinstance(shape.value, Dyn):
        # protobuf wants the entry to be called after its field, `imagePull` as `ImagePullEntry`
        entry = message.nested_type.add(name="".join(_capitalised(word) for word in name.split("_")) + "Entry")
        entry.options.map_entry = True
        key = entry.field.add(name="key", number=1, label=field.LABEL_OPTIONAL)
        key.type = key.TYPE_STRING
        _set_type(entry.field.add(name="value", number=2, label=field.LABEL_OPTIONAL), shape.value)
        field.label, field.type = field.LABEL_REPEATED, field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"
    else:
        _set_type(field, shape)


def _capitalised(word: str) -> str:
    return word[:1].upper() + word[1:]


def _set_type(field: descriptor_pb2.FieldDescriptorProto, shape: Shape) -> None:
    if isinstance(shape, Kind):
        field.type = shape.value
        return
    field.type = field.TYPE_MESSAGE
    if isinstance(shape, Message):
        field.type_name = f".{type_name(shape)}"
    elif isinstance(shape, ListOf):
        field.type_name = ".google.protobuf.ListValue"
    elif isinstance(shape, MapOf):
        field.type_name = ".google.protobuf.Struct"
    else:
        field.type_name = ".google.protobuf.Value"
