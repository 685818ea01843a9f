"""
What the type check lets through and an expression must not do all the same.
"""

from collections.abc import Collection
from typing import Final

from remediator.domain.expressions import syntax
from remediator.domain.expressions.functions import USE_SHARE
from remediator.domain.expressions.shapes import is_finite
from remediator.domain.expressions.sources import Source
from remediator.domain.expressions.syntax import Node

_WHOLE_DIVISIONS: Final = frozenset({"divide_int64", "divide_uint64"})
_OF_OPTIONALS: Final = frozenset({"_?._", "_[?_]", "orValue", "or", "value", "hasValue"})


def refuse_pitfalls(source: Source, tree: Node) -> None:
    """
    Refuse divisions that drop the remainder, messages, numbers without end, and loose optional values.

    Raises:
        InvalidExpression: for the first of them.
    """
    overloads = {entry.id: set(entry.reference.overload_id) for entry in tree.references}
    optional = {entry.id for entry in tree.types if entry.type.abstract_type.name == "optional_type"}
    for node in syntax.every(tree.expr):
        wrong = _pitfall(node, overloads.get(node.id, set()))
        if wrong:
            raise source.refused(source.offset_of(tree, node.id), wrong)
        for child in syntax.children(node):
            if child.id in optional and not _takes_optional(node, child, optional):
                at = source.offset_of(tree, child.id)
                raise source.refused(at, "this may be absent; write .orValue(…) after it")


def _pitfall(node: Node, overloads: Collection[str]) -> str:
    kind = node.WhichOneof("kind")
    if kind == "call_expr" and node.call_expr.function == "_/_":
        return USE_SHARE if overloads and _WHOLE_DIVISIONS.issuperset(overloads) else ""
    if kind == "struct_expr" and node.struct_expr.message_name:
        return "a message cannot be made here; write a map: {'name': value}"
    if kind == "const_expr" and not is_finite(node.const_expr.double_value):
        return "the number is too large"
    return ""


def _takes_optional(node: Node, child: Node, optional: Collection[int]) -> bool:
    """
    Whether a value that may be absent may stand there.

    One that got into a list, a map or an untyped value would end the whole process when it is
    handed to Python, so it has to be resolved before.
    """
    kind = node.WhichOneof("kind")
    if kind == "call_expr" and node.call_expr.function in _OF_OPTIONALS:
        return True
    if kind == "list_expr":
        at = [element.id for element in node.list_expr.elements].index(child.id)
        return at in node.list_expr.optional_indices
    if kind == "struct_expr":
        return any(entry.optional_entry and entry.value.id == child.id for entry in node.struct_expr.entries)
    if kind == "comprehension_expr":
        return node.id in optional and child.id == node.comprehension_expr.result.id
    return node.id in optional and kind in ("select_expr", "call_expr")
