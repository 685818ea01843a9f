"""
PromQL that sees one namespace and no other.

A query is read into its parts, `namespace="NS"` is put into every selector, and the query is written
again by us, from the parts: comments, strange escapes and whatever a back end might read otherwise do
not survive that. What was written is read once more and refused unless every selector carries the
matcher. So a mistake in the writing refuses a query and lets none through.

A query that names a namespace in any other way than `namespace="NS"` is refused and not answered with
nothing: `absent(up{namespace="other"})` would be true for whoever may not look.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import promql_parser as promql

LABEL: Final = "namespace"
MAX_LENGTH: Final = 4_096
MAX_DEPTH: Final = 60
"""Deeper nesting is nobody's query; the parser's time grows with the square of it."""

_FUNCTIONS: Final = """
abs absent absent_over_time acos acosh asin asinh atan atanh avg_over_time ceil changes clamp clamp_max clamp_min cos
cosh count_over_time day_of_month day_of_week day_of_year days_in_month deg delta deriv exp floor histogram_avg
histogram_count histogram_fraction histogram_quantile histogram_stddev histogram_stdvar histogram_sum holt_winters hour
idelta increase irate label_join label_replace last_over_time ln log10 log2 max_over_time min_over_time minute month pi
predict_linear present_over_time quantile_over_time rad rate resets round scalar sgn sin sinh sort sort_desc sqrt
stddev_over_time stdvar_over_time sum_over_time tan tanh time timestamp vector year
"""
_AGGREGATIONS: Final = "avg bottomk count count_values group max min quantile stddev stdvar sum topk"
KNOWN: Final = frozenset((_FUNCTIONS + _AGGREGATIONS).split())
"""What reads nothing but its arguments. `info` is missing: it looks series up by itself; so is all that is experimental."""

_OPERATORS: Final = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
_EDGES: Final = {"AtModifierType.Start": "start()", "AtModifierType.End": "end()"}
_GROUPS: Final = {"VectorMatchCardinality.ManyToOne": "group_left", "VectorMatchCardinality.OneToMany": "group_right"}
_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ESCAPES: Final = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\t": r"\t"}


def confined(query: str, namespace: str) -> str:
    """
    The same query over the series of one namespace.

    Raises:
        ValueError: if it cannot be confined, with the sentence that says why.
    """
    try:
        return _confined(query, namespace)
    except BaseException as panic:  # the parser's panics are no Exceptions, and a query ends no process
        if type(panic).__name__ != "PanicException":
            raise
        raise ValueError("the parser cannot read it") from None


def _confined(query: str, namespace: str) -> str:
    tree = _read(query)
    if _read(_written(tree)).prettify() != tree.prettify():
        raise ValueError("it cannot be written again with the same meaning; write it more plainly")
    text = _written(tree, namespace)
    objection = escape(text, namespace)
    if objection:
        raise ValueError(objection)
    return text


def escape(query: str, namespace: str) -> str:
    """Why the query, as it stands there, could see more than the namespace; empty if it cannot."""
    for selector in _selectors(_read(query)):
        said = [(_OPERATORS[str(one.op)], one.value) for one in selector.matchers.matchers if one.name == LABEL]
        if selector.matchers.or_matchers or said != [("=", namespace)]:
            return f"{_shown(selector)} is not confined to namespace {namespace}"
    return ""


def _read(query: str) -> promql.Expr:
    if len(query) > MAX_LENGTH:
        raise ValueError(f"it has {len(query)} characters, a query has at most {MAX_LENGTH}")
    try:
        return promql.parse(query)
    except ValueError as wrong:
        raise ValueError(f"it is not PromQL: {wrong}") from None


def _selectors(part: Any, depth: int = 0) -> Iterator[promql.VectorSelector]:
    """Every selector of the query, in the order of the text."""
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(part, promql.VectorSelector):
        yield part
        return
    for below in _below(part):
        yield from _selectors(below, depth + 1)


def _below(part: Any) -> tuple[Any, ...]:
    match part:
        case promql.NumberLiteral() | promql.StringLiteral():
            return ()
        case promql.MatrixSelector():
            return (part.vector_selector,)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return (part.expr,)
        case promql.BinaryExpr():
            return (part.lhs, part.rhs)
        case promql.AggregateExpr():
            return (part.expr,) if part.param is None else (part.param, part.expr)
        case promql.Call():
            return tuple(part.args)
    raise ValueError(f"it has a part that is not known here: {type(part).__name__}")


def _written(part: Any, namespace: str = "", depth: int = 0) -> str:
    """The text of a part; with a namespace, every selector in it has the matcher."""
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")

    def written(below: Any) -> str:
        return _written(below, namespace, depth + 1)

    match part:
        case promql.NumberLiteral():
            return _number(part.val)
        case promql.StringLiteral():
            return _quoted(part.val)
        case promql.VectorSelector():
            return _selector(part, namespace) + _moved(part)
        case promql.MatrixSelector():
            vector = part.vector_selector
            return f"{_selector(vector, namespace)}[{promql.display_duration(part.range)}]{_moved(vector)}"
        case promql.SubqueryExpr():
            assert part.range is not None, "a subquery has a range"
            step = promql.display_duration(part.step) if part.step is not None else ""
            return f"{written(part.expr)}[{promql.display_duration(part.range)}:{step}]{_moved(part)}"
        case promql.ParenExpr():
            return f"({written(part.expr)})"
        case promql.UnaryExpr():
            return f"-{written(part.expr)}"
        case promql.BinaryExpr():
            return f"{written(part.lhs)} {part.op}{_matching(part.modifier)} {written(part.rhs)}"
        case promql.AggregateExpr():
            _is_known(str(part.op))
            arguments = ", ".join(written(below) for below in _below(part))
            return f"{part.op}{_grouping(part.modifier)}({arguments})"
        case promql.Call():
            _is_known(part.func.name)
            return f"{part.func.name}({', '.join(written(below) for below in part.args)})"
    raise ValueError(f"it has a part that is not known here: {type(part).__name__}")


def _is_known(name: str) -> None:
    if name not in KNOWN:
        raise ValueError(f"it uses {name}(), of which it is not known that it reads nothing but its arguments")


def _selector(selector: promql.VectorSelector, namespace: str) -> str:
    if selector.matchers.or_matchers:
        raise ValueError(f"{_shown(selector)} has `or` between its matchers, which not every Prometheus reads alike")
    name = selector.name or ""
    if name and not _METRIC.fullmatch(name):
        raise ValueError(f"{_shown(selector)} names no metric")
    matchers = [_matcher(one) for one in selector.matchers.matchers if not namespace or one.name != LABEL]
    if namespace:
        for one in selector.matchers.matchers:
            if one.name == LABEL and (_OPERATORS[str(one.op)], one.value) != ("=", namespace):
                raise ValueError(
                    f"{_shown(selector)} is about other namespaces than {namespace}: leave the label out, it is added"
                )
        matchers.append(f"{LABEL}={_quoted(namespace)}")
    return f"{name}{{{', '.join(matchers)}}}"


def _matcher(matcher: promql.Matcher) -> str:
    return f"{_label(matcher.name)}{_OPERATORS[str(matcher.op)]}{_quoted(matcher.value)}"


def _moved(part: promql.VectorSelector | promql.SubqueryExpr) -> str:
    """The modifiers of time."""
    text = ""
    if part.at is not None:
        edge = _EDGES.get(str(part.at.type))
        if edge is None:  # the parser does not keep one exactly, and panics at some
            raise ValueError("`@` takes start() or end() here, and no time")
        text += f" @ {edge}"
    if part.offset is not None:
        sign = "-" if part.offset < timedelta(0) else ""
        text += f" offset {sign}{promql.display_duration(abs(part.offset))}"
    return text


def _matching(modifier: promql.BinModifier | None) -> str:
    if modifier is None:
        return ""
    if modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None:
        raise ValueError("it uses fill, which is not known here")
    text = " bool" if modifier.return_bool else ""
    if modifier.matching is not None:
        word = "on" if modifier.matching.type == promql.LabelModifierType.Include else "ignoring"
        text += f" {word} {_labels(modifier.matching.labels)}"
    group = _GROUPS.get(str(modifier.card))
    return f"{text} {group} {_labels(modifier.group_labels or [])}" if group is not None else text


def _grouping(modifier: promql.AggModifier | None) -> str:
    if modifier is None:
        return ""
    word = "by" if modifier.type == promql.AggModifierType.By else "without"
    return f" {word} {_labels(modifier.labels)} "


def _labels(names: list[str]) -> str:
    return f"({', '.join(_label(name) for name in names)})"


def _label(name: str) -> str:
    return name if _LABEL.fullmatch(name) else _quoted(name)


def _number(value: float) -> str:
    return {"inf": "Inf", "-inf": "-Inf", "nan": "NaN"}.get(repr(value)) or repr(value).removesuffix(".0")


def _quoted(text: str) -> str:
    """
    The text as a string that every Prometheus reads in the same way.

    Raises ValueError for characters that nobody sees.
    """
    if not all(character.isprintable() or character in _ESCAPES for character in text):
        raise ValueError(f"it holds a character that cannot be seen, in {text[:80]!r}")
    return '"' + "".join(_ESCAPES.get(character, character) for character in text) + '"'


def _shown(selector: promql.VectorSelector) -> str:
    return selector.prettify()[:200]
