"""
The checked syntax tree of CEL, as the compiler hands it over and takes it back.

Only the fields that are looked at or written here are described; protobuf keeps the others as they
are. The shape of the messages is CEL's public interchange format.

Source: https://github.com/google/cel-spec/blob/master/proto/cel/expr/checked.proto
"""

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

_PACKAGE: Final = "cel.expr"
_SCALARS: Final = {"bool": 8, "int64": 3, "uint64": 4, "int32": 5, "double": 1, "string": 9, "bytes": 12}

_MESSAGES: Final = """
Expr: 2 id int64; 3 const_expr Constant kind; 4 ident_expr Ident kind; 5 select_expr Select kind; \
6 call_expr Call kind; 7 list_expr CreateList kind; 8 struct_expr CreateStruct kind; \
9 comprehension_expr Comprehension kind
Constant: 1 null_value int64 kind; 2 bool_value bool kind; 3 int64_value int64 kind; \
4 uint64_value uint64 kind; 5 double_value double kind; 6 string_value string kind; 7 bytes_value bytes kind
Ident: 1 name string
Select: 1 operand Expr; 2 field string; 3 test_only bool
Call: 1 target Expr; 2 function string; 3 args Expr*
CreateList: 1 elements Expr*; 2 optional_indices int32*
CreateStruct: 1 message_name string; 2 entries Entry*
Entry: 1 id int64; 3 map_key Expr; 4 value Expr; 5 optional_entry bool
Comprehension: 1 iter_var string; 2 iter_range Expr; 3 accu_var string; 4 accu_init Expr; \
5 loop_condition Expr; 6 loop_step Expr; 7 result Expr
TypedAs: 1 id int64; 2 type Type
Type: 1 dyn Empty kind; 2 null int64 kind; 3 primitive int32 kind; 4 wrapper int32 kind; 5 well_known int32 kind; \
6 list_type ListType kind; 7 map_type MapType kind; 9 message_type string kind; 10 type_param string kind; \
11 type Type kind; 14 abstract_type Abstract kind
Empty:
ListType: 1 elem_type Type
MapType: 1 key_type Type; 2 value_type Type
Abstract: 1 name string; 2 parameter_types Type*
ResolvedTo: 1 id int64; 2 reference Reference
Reference: 1 name string; 3 overload_id string*
Position: 1 id int64; 2 offset int32
SourceInfo: 3 line_offsets int32*; 4 positions Position*
CheckedExpr: 2 references ResolvedTo*; 3 types TypedAs*; 4 expr Expr; 5 source_info SourceInfo
ParsedExpr: 2 expr Expr; 3 source_info SourceInfo
"""


def _describe() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="syntax.proto", package=_PACKAGE, syntax="proto3")
    for line in _MESSAGES.strip().splitlines():
        name, _, fields = line.partition(":")
        message = file.message_type.add(name=name)
        if "kind" in fields:
            message.oneof_decl.add(name="kind")
        for described in filter(None, (part.strip() for part in fields.split(";"))):
            number, field_name, kind, *oneof = described.split()
            field = message.field.add(name=field_name, number=int(number))
            many, kind = kind.endswith("*"), kind.rstrip("*")
            field.label = field.LABEL_REPEATED if many else field.LABEL_OPTIONAL
            if kind in _SCALARS:
                field.type = _SCALARS[kind]  # type: ignore[assignment]
            else:
                field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            if oneof:
                field.oneof_index = 0
    return file


_POOL: Final = descriptor_pool.DescriptorPool()
_POOL.Add(_describe())

Node = Any
"""One node of the tree; its class is made at run time, so a type checker cannot see its fields."""


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


Expr: Final = _class("Expr")
_CHECKED: Final = _class("CheckedExpr")
_PARSED: Final = _class("ParsedExpr")


def parsed(serialized: bytes) -> Node:
    """The tree of an expression that was compiled without a type check."""
    return _PARSED.FromString(any_pb2.Any.FromString(serialized).value)


def checked(serialized: bytes) -> Node:
    """The tree of an expression that passed the type check, with the types of its nodes."""
    return _CHECKED.FromString(any_pb2.Any.FromString(serialized).value)


def packed(tree: Node) -> bytes:
    """What the compiler's `deserialize` takes back."""
    wrapped = any_pb2.Any(type_url=f"type.googleapis.com/{_PACKAGE}.CheckedExpr", value=tree.SerializeToString())
    return wrapped.SerializeToString()


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below one, in the order they are written."""
    kind = node.WhichOneof("kind")
    if kind == "select_expr":
        yield node.select_expr.operand
    elif kind == "call_expr":
        if node.call_expr.HasField("target"):
            yield node.call_expr.target
        yield from node.call_expr.args
    elif kind == "list_expr":
        yield from node.list_expr.elements
    elif kind == "struct_expr":
        for entry in node.struct_expr.entries:
            if entry.HasField("map_key"):
                yield entry.map_key
            yield entry.value
    elif kind == "comprehension_expr":
        loop = node.comprehension_expr
        yield from (loop.iter_range, loop.accu_init, loop.loop_condition, loop.loop_step, loop.result)


def every(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    for child in children(node):
        yield from every(child)


def scoped_children(node: Node, bound: frozenset[str]) -> Iterator[tuple[Node, frozenset[str]]]:
    """The nodes directly below one, each with the loop variables that hide names there."""
    if node.WhichOneof("kind") != "comprehension_expr":
        yield from ((child, bound) for child in children(node))
        return
    loop = node.comprehension_expr
    yield loop.iter_range, bound
    yield loop.accu_init, bound
    yield loop.loop_condition, bound | {loop.accu_var}
    yield loop.loop_step, bound | {loop.iter_var, loop.accu_var}
    yield loop.result, bound | {loop.accu_var}


def path_of(node: Node, bound: frozenset[str]) -> tuple[str, ...] | None:
    """The names of a chain such as `diagnosis.pods.items`; None for anything else."""
    names: list[str] = []
    while node.WhichOneof("kind") == "select_expr" and not node.select_expr.test_only:
        names.append(node.select_expr.field)
        node = node.select_expr.operand
    if node.WhichOneof("kind") != "ident_expr" or node.ident_expr.name in bound:
        return None
    # the type check joins a path that was declared as one variable into one name
    return (*node.ident_expr.name.removeprefix(".").split("."), *reversed(names))


def ident(name: str) -> Node:
    return Expr(ident_expr={"name": name})


def call(function: str, *args: Node) -> Node:
    return Expr(call_expr={"function": function, "args": args})


def select(operand: Node, field: str, *, test: bool = False) -> Node:
    return Expr(select_expr={"operand": operand, "field": field, "test_only": test})


def constant(value: bool | str) -> Node:
    return Expr(const_expr={"bool_value": value} if isinstance(value, bool) else {"string_value": value})


def bind(name: str, value: Node, result: Node) -> Node:
    """`result` with a name for `value`, which is so evaluated once: a loop over nothing."""
    return Expr(
        comprehension_expr={
            "iter_var": "@unused",
            "iter_range": Expr(list_expr={}),
            "accu_var": name,
            "accu_init": value,
            "loop_condition": constant(False),
            "loop_step": ident(name),
            "result": result,
        }
    )
