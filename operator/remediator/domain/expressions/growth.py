"""
How much larger than its data anything inside an expression could become.

The evaluator counts iterations but not memory: thirty times `.map(x, [x, x])` is thirty iterations
and a thousand million elements, and comparing two such lists does not end. The estimate is an upper
bound in units of the data that go in; what may exceed `LIMIT` is refused before it runs.
"""

from collections.abc import Mapping
from typing import Final

from remediator.domain.expressions import syntax
from remediator.domain.expressions.syntax import Node

LIMIT: Final = 100.0
_FROM_OUTSIDE: Final = 10.0  # a `map` that brings other data in for each element; twice is the most
_SMALL: Final = 1 / 2_048  # of the longest text of an expression, for each character

_NUMBERS: Final = frozenset({1, 2, 3, 4})  # bool, int, uint and double in the tree's types
_BOUNDED_WHEN_MADE: Final = frozenset({"_[_]", "_[?_]", "_?._", "replace", "join"})


class GrowsTooLarge(ValueError):
    """Something inside the expression may become more than `LIMIT` times larger than its data."""


def growth(tree: Node, variables: Mapping[str, float]) -> float:
    """
    The bound for a checked tree, given those of the variables it may use.

    Raises:
        GrowsTooLarge: if any part of it exceeds the limit.
    """
    return _Estimate({entry.id: entry.type for entry in tree.types}, variables).of(tree.expr, {})


class _Estimate:
    def __init__(self, types: Mapping[int, Node], variables: Mapping[str, float]) -> None:
        self._variables = variables
        self._numbers = {id_ for id_, type_ in types.items() if type_.primitive in _NUMBERS}
        self._scalars = {id_ for id_, type_ in types.items() if type_.WhichOneof("kind") == "primitive"}

    def of(self, node: Node, bound: Mapping[str, float]) -> float:
        size = self._size(node, bound)
        if size > LIMIT:
            raise GrowsTooLarge
        return _SMALL if node.id in self._numbers else size

    def _size(self, node: Node, bound: Mapping[str, float]) -> float:
        kind = node.WhichOneof("kind")
        if kind == "const_expr":
            return (len(node.const_expr.string_value) + len(node.const_expr.bytes_value) + 8) * _SMALL
        if kind == "ident_expr":
            name = node.ident_expr.name
            return self._variables.get(name.removeprefix("variables."), 1.0) if "." in name else bound.get(name, 1.0)
        if kind == "comprehension_expr":
            return self._loop(node.comprehension_expr, bound)
        parts = [self.of(child, bound) for child in syntax.children(node)]
        if kind != "call_expr":
            return max(sum(parts), _SMALL)
        function = node.call_expr.function
        if function == "_?_:_":
            return max(parts[1:])
        if function in _BOUNDED_WHEN_MADE:
            return parts[0]
        # quoting and base64 at most double a text, everything else adds up
        return 2 * sum(parts) if function in ("strings.quote", "base64.encode") else max(sum(parts), _SMALL)

    def _loop(self, loop: Node, bound: Mapping[str, float]) -> float:
        over = max(self.of(loop.iter_range, bound), float(len(loop.iter_range.list_expr.elements)))
        start = self.of(loop.accu_init, bound)
        if loop.loop_condition.const_expr.WhichOneof("kind") and not loop.loop_condition.const_expr.bool_value:
            return self.of(loop.result, {**bound, loop.accu_var: start})  # a name for a value, no loop
        if loop.accu_init.WhichOneof("kind") == "const_expr":
            self.of(loop.loop_step, {**bound, loop.iter_var: over, loop.accu_var: _SMALL})
            return _SMALL
        step = self.of(loop.loop_step, {**bound, loop.iter_var: 1.0, loop.accu_var: 0.0})
        if not self._scalar_elements(loop) and _uses_more_than(loop.loop_step, {loop.iter_var, loop.accu_var}):
            step *= _FROM_OUTSIDE
        return over * max(step, 1.0)

    def _scalar_elements(self, loop: Node) -> bool:
        """Whether each element becomes a number or a text: `@result + [element]`, perhaps behind a condition."""
        step = loop.loop_step
        if step.call_expr.function == "_?_:_":
            step = step.call_expr.args[1]
        added = step.call_expr.args[1].list_expr.elements if len(step.call_expr.args) == 2 else []
        return len(added) == 1 and (added[0].id in self._scalars or added[0].ident_expr.name == loop.iter_var)


def _uses_more_than(node: Node, names: set[str]) -> bool:
    kind = node.WhichOneof("kind")
    if kind == "ident_expr":
        return node.ident_expr.name not in names
    if kind == "comprehension_expr":
        names = names | {node.comprehension_expr.iter_var, node.comprehension_expr.accu_var}
    return any(_uses_more_than(child, names) for child in syntax.children(node))
