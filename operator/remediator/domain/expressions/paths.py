"""
The names that an expression uses, as its author wrote them.
"""

from collections.abc import Iterator

from remediator.domain.expressions import syntax
from remediator.domain.expressions.places import ROOTS
from remediator.domain.expressions.syntax import Node


def paths_of(node: Node, bound: frozenset[str]) -> Iterator[tuple[tuple[str, ...], int]]:
    """The paths of an expression that begin with one of our names, each with its place in the text."""
    path = _whole_path(node, bound)
    if path is not None and path[0] in ROOTS:
        yield path, _leftmost(node).id
        return
    for child, inner in syntax.scoped_children(node, bound):
        yield from paths_of(child, inner)


def _whole_path(node: Node, bound: frozenset[str]) -> tuple[str, ...] | None:
    kind = node.WhichOneof("kind")
    if kind == "select_expr" and node.select_expr.test_only:
        before = syntax.path_of(node.select_expr.operand, bound)
        return (*before, node.select_expr.field) if before else None
    if kind == "call_expr" and node.call_expr.function == "_?._":
        before = _whole_path(node.call_expr.args[0], bound)
        return (*before, node.call_expr.args[1].const_expr.string_value) if before else None
    return syntax.path_of(node, bound) if kind in ("select_expr", "ident_expr") else None


def _leftmost(node: Node) -> Node:
    while node.WhichOneof("kind") in ("select_expr", "call_expr"):
        node = node.select_expr.operand if node.WhichOneof("kind") == "select_expr" else node.call_expr.args[0]
    return node


def keys_of(node: Node) -> Iterator[tuple[str, str]]:
    """Every key the expression asks for, with the whole path to it as a person would write it."""
    for each in syntax.every(node):
        written = _written(each)
        if written is not None and "." in written:
            yield written.rpartition(".")[2], written


def fields_of_messages(tree: Node) -> Iterator[str]:
    messages = {entry.id for entry in tree.types if entry.type.WhichOneof("kind") == "message_type"}
    for node in syntax.every(tree.expr):
        if node.WhichOneof("kind") == "select_expr" and node.select_expr.operand.id in messages:
            yield node.select_expr.field


def _written(node: Node) -> str | None:
    kind = node.WhichOneof("kind")
    if kind == "ident_expr":
        return str(node.ident_expr.name)
    if kind == "select_expr":
        before = _written(node.select_expr.operand)
        return f"{before}.{node.select_expr.field}" if before else None
    if kind == "call_expr" and node.call_expr.function in ("_[_]", "_[?_]", "_?._"):
        before, key = _written(node.call_expr.args[0]), node.call_expr.args[1].const_expr.string_value
        return f"{before}.{key}" if before and key else before
    return None
