"""
From the tree that passed the type check to the tree that is evaluated.

The compiler sees messages; the evaluator gets one variable for each field that an expression
touches, named by its whole path (`diagnosis.pods.items`), and left unset where the field is absent
or unknown. What this changes:

- `has` over such a path asks a variable of its own, which is unset where the answer is not known;
- `exists` and `all` over a truncated list run over the part that was seen and keep only the answer
  that the rest could not overturn: something was found, or something speaks against it;
- calls whose result may not be a finite number, or may be boundless text, go to ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from remediator.domain.expressions import syntax
from remediator.domain.expressions.functions import REPLACED
from remediator.domain.expressions.shapes import mark
from remediator.domain.expressions.syntax import Node

DEPTH: Final[Mapping[str, int]] = {
    **dict.fromkeys(("diagnosis", "latest", "steps"), 3),
    **dict.fromkeys(("params", "variables", "run", "target", "namespaceObject", "alert"), 2),
    **dict.fromkeys(("alerts", "item", "inhibitor", "now"), 1),
}
"""How many names of a path make one variable."""

HAS: Final = "has:"
SEEN: Final = "seen:"
WHOLE: Final = "whole:"
"""What is asked about a path: is it there; the part of the list that was seen; was that all of it."""

RESTORED: Final[Mapping[str, str]] = {"TIMESTAMP": "timestamp", "DURATION": "duration", "UINT": "uint"}
"""Types whose values go into an evaluation as something simpler, and the function that restores them."""


@dataclass
class Rewriting:
    """One pass over one tree; afterwards it says what the expression needs."""

    variable_types: Mapping[str, str]
    listed: frozenset[str] = frozenset()
    needs: set[str] = field(default_factory=set)
    untyped: bool = False
    _types: dict[int, Node] = field(default_factory=dict)
    _replaced: set[int] = field(default_factory=set)
    _next: int = 0

    def apply(self, tree: Node) -> bytes:
        """The tree to evaluate, packed."""
        self._types = {entry.id: entry.type for entry in tree.types}
        self.untyped = any(_is_dyn(entry.type) or _is_dyn(entry.type.map_type.value_type) for entry in tree.types)
        self._next = max((entry.id for entry in tree.types), default=0) + 1_000
        self._walk(tree.expr, frozenset())
        # what a node was found to refer to does not hold for what it has become
        kept = [entry for entry in tree.references if entry.id not in self._replaced]
        del tree.references[:]
        tree.references.extend(kept)
        del tree.types[:]
        tree.ClearField("source_info")
        return syntax.packed(tree)

    def _walk(self, node: Node, bound: frozenset[str]) -> None:
        kind = node.WhichOneof("kind")
        if kind in ("ident_expr", "select_expr") and self._becomes_variable(node, bound):
            return
        if kind == "call_expr" and self._is_optional_field(node, bound):
            return
        unread_marks = self._may_hold_marks(node)
        over = self._truncatable(node, bound)
        if over is not None:
            self._put(node.comprehension_expr.iter_range, syntax.ident(self._need(SEEN + over)))
        for child, inner in list(syntax.scoped_children(node, bound)):
            self._walk(child, inner)
        if kind == "call_expr":
            self._replace_call(node)
        if unread_marks:
            self._look_for_mark(node)
        if over is not None:
            self._keep_what_is_certain(node, over)

    def _becomes_variable(self, node: Node, bound: frozenset[str]) -> bool:
        """Turn the longest path below the node into a variable; true if that was all of it."""
        test = node.WhichOneof("kind") == "select_expr" and node.select_expr.test_only
        operand = syntax.path_of(node.select_expr.operand if test else node, bound)
        if operand is None or operand[0] not in DEPTH:
            return False
        path = (*operand, node.select_expr.field) if test else operand
        if len(path) > self._depth(path):
            return False
        name = ".".join(path)
        if test:
            self._put(node, syntax.ident(self._need(HAS + name)))
        else:
            self._put(node, self._variable(name))
        return True

    def _depth(self, path: tuple[str, ...]) -> int:
        return 2 if ".".join(path[:2]) in self.listed else DEPTH[path[0]]

    def _variable(self, name: str) -> Node:
        variable = syntax.ident(self._need(name))
        kind = "TIMESTAMP" if name == "now" else self.variable_types.get(name, "")
        restore = RESTORED.get(kind)
        return syntax.call(restore, variable) if restore else variable

    def _is_optional_field(self, node: Node, bound: frozenset[str]) -> bool:
        """`diagnosis.pods.?items`: an optional made of the two variables for the path."""
        if node.call_expr.function != "_?._":
            return False
        operand, name = node.call_expr.args
        path = syntax.path_of(operand, bound)
        if path is None or path[0] not in DEPTH or len(path) >= self._depth(path):
            return False
        full = ".".join((*path, name.const_expr.string_value))
        there = syntax.ident(self._need(HAS + full))
        value = syntax.call("optional.of", self._variable(full))
        self._put(node, syntax.call("_?_:_", there, value, syntax.call("optional.none")))
        return True

    def _may_hold_marks(self, node: Node) -> bool:
        """Whether the node asks whether a field is there, of data in which it may be marked as unknown."""
        kind = node.WhichOneof("kind")
        if kind == "select_expr" and node.select_expr.test_only:
            operand = node.select_expr.operand
        elif kind == "call_expr" and node.call_expr.function == "_?._":
            operand = node.call_expr.args[0]
        else:
            return False
        of = self._types.get(operand.id)
        return of is None or of.WhichOneof("kind") != "map_type"

    def _look_for_mark(self, node: Node) -> None:
        self._next += 1
        it = f"@it{self._next}"
        if node.WhichOneof("kind") == "select_expr":
            operand, name = node.select_expr.operand, node.select_expr.field
            marked = syntax.select(syntax.ident(it), mark(name), test=True)
            there = syntax.select(syntax.ident(it), name, test=True)
        else:
            operand, name = node.call_expr.args[0], node.call_expr.args[1].const_expr.string_value
            look = syntax.call("_?._", syntax.ident(it), syntax.constant(mark(name)))
            marked = syntax.Expr(call_expr={"target": look, "function": "hasValue"})
            there = syntax.call("_?._", syntax.ident(it), syntax.constant(name))
        unread = syntax.call("@unread", syntax.constant(name))
        self._put(node, syntax.bind(it, operand, syntax.call("_?_:_", marked, unread, there)))

    def _truncatable(self, node: Node, bound: frozenset[str]) -> str | None:
        """The path of the list if the node is an `exists` or `all` over a field of an output."""
        if node.WhichOneof("kind") != "comprehension_expr":
            return None
        loop = node.comprehension_expr
        path = syntax.path_of(loop.iter_range, bound)
        if path is None or path[0] not in ("diagnosis", "latest") or len(path) != 3 or self._depth(path) != 3:
            return None
        of = self._types.get(loop.iter_range.id)
        if of is None or of.WhichOneof("kind") != "list_type":
            return None
        starts_with = loop.accu_init.const_expr.WhichOneof("kind") == "bool_value"
        step = loop.loop_step.call_expr.function
        return ".".join(path) if starts_with and step in ("_||_", "_&&_") else None

    def _keep_what_is_certain(self, node: Node, path: str) -> None:
        loop = node.comprehension_expr
        finds = loop.loop_step.call_expr.function == "_||_"
        whole = syntax.ident(self._need(WHOLE + path))
        answer = syntax.Expr()
        answer.CopyFrom(node)
        if finds:
            self._put(node, syntax.call("_||_", answer, syntax.call("!_", whole)))
        else:
            self._put(node, syntax.call("_&&_", answer, whole))

    def _replace_call(self, node: Node) -> None:
        call = node.call_expr
        function = REPLACED.get(call.function)
        if function is None:
            return
        if call.HasField("target"):
            arguments = [call.target, *call.args]
            self._put(node, syntax.call(function, *arguments))
        else:
            call.function = function

    def _need(self, name: str) -> str:
        self.needs.add(name)
        return name

    def _put(self, node: Node, other: Node) -> None:
        """Replace a node; every node below gets a number of its own, as the evaluator expects."""
        kept = node.id
        self._replaced.add(kept)
        node.CopyFrom(other)
        node.id = kept
        for child in syntax.children(node):
            self._number(child)

    def _number(self, node: Node) -> None:
        if node.id == 0:
            self._next += 1
            node.id = self._next
        for child in syntax.children(node):
            self._number(child)


def _is_dyn(of: Node) -> bool:
    return bool(of.WhichOneof("kind") == "dyn")
