"""No expression and no data can crash the process, hang it, or take its memory."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remediator.domain.actions import Output, OutputPart
from remediator.domain.errors import InvalidExpression
from remediator.domain.expressions import UNKNOWN, Checker, Known, Missing, Place, Result, Scope, Truth, Values


class Pod(OutputPart):
    name: str
    ready: bool
    labels: dict[str, str] | None = None
    owner: "Pod | None" = None


class Pods(Output):
    items: tuple[Pod, ...] = ()
    newest: Pod | None = None
    share: float | None = None


CHECKER = Checker(
    Scope(
        parameters={"text": "string", "number": "number", "list": "list"},
        diagnostics={"pods": Pods},
        steps={"step": Pods},
        variables={"ready": "diagnosis.pods.items.filter(p, p.ready)", "then": "now - duration('1h')"},
    )
)
VALUES = Values(
    alert={"labels": {"a": "b"}},
    target={"name": "web", "spec": {"replicas": 3}},
    params={"text": "x", "number": 1.5, "list": ["a"]},
    diagnosis={"pods": {"known": True, "truncated": False, "observedAt": "", "items": [{"name": "p", "ready": True}]}},
    now=datetime(2026, 11, 21, tzinfo=UTC),
)


def outcome(text: str, values: Values = VALUES) -> str:
    try:
        expression = CHECKER.expression(text, place=Place.STEP_WHEN, path="p", result=Result.ANY)
    except InvalidExpression as error:
        return str(error)
    found = expression.evaluate(values)
    truth, _ = expression.truth(values)
    assert isinstance(found, (Known, Missing))
    assert isinstance(truth, Truth)
    return str(found)


ATOMS = st.sampled_from(
    [
        *("1", "2.5", "0", "0.0", "-1", "9223372036854775807", "1u", "true", "null", "''", "'a'", "b'a'", "[]", "{}"),
        *("diagnosis.pods.items", "diagnosis.pods.newest", "diagnosis.pods", "latest.pods.items", "steps.step.ok"),
        *("alert.labels", "target.spec", "target", "params.text", "params.number", "params.list", "variables.ready"),
        *("variables.then", "now", "x", "p", "duration('1h')", "timestamp('2026-01-01T00:00:00Z')", "optional.none()"),
    ]
)


def composed(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    operators = ("+", "-", "*", "/", "%", "==", "!=", "<", ">", "&&", "||", "in")
    return st.one_of(
        st.tuples(two, st.sampled_from(operators)).map(lambda x: f"({x[0][0]} {x[1]} {x[0][1]})"),
        st.tuples(inner, st.sampled_from(["filter", "map", "all", "exists", "exists_one"]), inner).map(
            lambda x: f"{x[0]}.{x[1]}(x, {x[2]})"
        ),
        st.tuples(inner, st.sampled_from(["name", "?name", "labels", "a", "size()", "orValue(1)", "value()"])).map(
            ".".join
        ),
        st.tuples(
            st.sampled_from(["has", "size", "double", "int", "string", "dyn", "type", "max", "sum", "quantity"]), inner
        ).map(lambda x: f"{x[0]}({x[1]})"),
        two.map(lambda x: f"share({x[0]}, {x[1]})"),
        two.map(lambda x: f"[{x[0]}, {x[1]}]"),
        two.map(lambda x: f"{{'a': {x[0]}, 'b': {x[1]}}}"),
        two.map(lambda x: f"{x[0]}[{x[1]}]"),
        two.map(lambda x: f"{x[0]}[?{x[1]}]"),
        st.tuples(inner, inner, inner).map(lambda x: f"({x[0]} ? {x[1]} : {x[2]})"),
    )


JSONS = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.just(UNKNOWN),
        st.binary(max_size=2),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["known", "truncated", "items", "newest", "name", "ready", "x"]), inner),
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.text(max_size=200))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    outcome(text)


@settings(max_examples=400)
@given(st.recursive(ATOMS, composed, max_leaves=8))
def test_any_expression_that_can_be_written_has_a_value_or_says_what_is_missing(text: str) -> None:
    outcome(text)


@settings(max_examples=300)
@given(
    st.sampled_from(
        [
            "diagnosis.pods.items.exists(p, has(p.owner) && p.owner.ready)",
            "diagnosis.pods.items.map(p, p.name)",
            "diagnosis.pods",
            "has(diagnosis.pods.newest) ? diagnosis.pods.newest.labels : {}",
            "target.spec.x == target.status.x",
            "target",
            "[alert.labels.x, string(diagnosis.pods.share)]",
            "variables.ready",
        ]
    ),
    JSONS,
)
def test_any_data_give_a_value_or_say_what_is_missing(text: str, data: object) -> None:
    outcome(text, Values(diagnosis={"pods": data}, target=data, alert=data, params={"text": data}))


@settings(max_examples=200)
@given(JSONS)
def test_no_answer_holds_a_trace_of_what_could_not_be_read(data: object) -> None:
    found = CHECKER.expression("[diagnosis.pods]", place=Place.PLAN, path="p", result=Result.LIST).evaluate(
        Values(diagnosis={"pods": data})
    )

    assert isinstance(found, Missing) or "?" not in {
        key[:1] for key in found.value[0] if isinstance(found.value, list) and isinstance(found.value[0], dict)
    }


@pytest.mark.parametrize(
    "text",
    [
        "(" * 900 + "1" + ")" * 900,
        "[" * 500 + "]" * 500,
        "!" * 2_000 + "true",
        "-" * 2_000 + "1",
        "+".join(["1"] * 900),
        "a" + ".b" * 900,
        "target.spec" + ".b" * 900,
        "target.spec" + ".?b" * 600 + ".hasValue()",
        "has(target.spec" + ".b" * 900 + ")",
        "true ? 1 : " * 150 + "1",
        "[1].map(x, " * 150 + "1" + ")" * 150,
        "true" + " && true" * 200,
        "true" + " || (true" * 180 + ")" * 180,
        "{" * 900,
        "'" * 2_000,
        "`" * 2_000,
        "?" * 2_000,
        "\\" * 2_000,
        "\x00" * 100,
        "1" * 2_000,
        "0." + "1" * 2_000,
        "é" * 1_000,
        "matches('a', '" + "(" * 900 + "a" + ")" * 900 + "')",
        "'a'.matches('(a{1000}){1000}')",
    ],
)
def test_deep_and_long_texts_are_refused_or_evaluated(text: str) -> None:
    outcome(text)


@pytest.mark.parametrize(
    "text",
    [
        "[optional.none()]",
        "{'a': optional.none()}",
        "dyn(optional.none())",
        "true ? optional.none() : dyn(1)",
        "diagnosis.pods.items.map(p, p.?owner)",
        "optional.of(optional.of(1)).orValue(optional.none())",
        "type(optional.none()) == type(1)",
    ],
)
def test_an_optional_value_must_be_resolved_before_it_is_kept(text: str) -> None:
    assert "write .orValue(…) after it" in outcome(text) or "end with .orValue(…)" in outcome(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[?optional.none(), 1]", "[1]"),
        ("{?'a': target.spec.?x, 'b': 1}", "{'b': 1}"),
        ("target.spec.?x.?y.orValue('z')", "'z'"),
        ("optional.of(1).optMap(x, x + 1).orValue(0)", "2"),
        ("optional.none().or(optional.of(1)).value()", "1"),
        ("params.list[?5].orValue('none')", "'none'"),
    ],
)
def test_an_optional_value_that_is_resolved_is_a_value(text: str, value: str) -> None:
    assert outcome(text) == f"Known(value={value})"


def test_an_expression_of_more_than_two_kilobytes_is_refused() -> None:
    assert "at most 2,048 bytes, this one has 2,050" in outcome("'" + "é" * 1_024 + "'")


@pytest.mark.parametrize(
    "text",
    [
        "[[1]]" + ".map(a, a + a)" * 28 + ".size()",
        "[params.text]" + ".map(a, a + a)" * 28 + ".size()",
        "[1]" + ".map(a, [a, a])" * 14 + " == [1]" + ".map(a, [a, a])" * 14,
        "diagnosis.pods.items" + ".map(a, diagnosis.pods.items.map(b, a))" * 6 + ".size()",
        "['a']" + ".map(a, '%s%s%s%s'.format([a, a, a, a]))" * 20 + ".size()",
        "[params.text]" + ".map(a, strings.quote(a))" * 25 + ".size()",
    ],
)
def test_what_would_grow_without_bound_is_refused(text: str) -> None:
    assert "100 times larger" in outcome(text) or "nested too deeply" in outcome(text)


def test_variables_do_not_hide_growth_from_each_other() -> None:
    variables = {"v0": "[[1]]"} | {f"v{n}": f"variables.v{n - 1}.map(a, a + a + a + a)" for n in range(1, 20)}

    with pytest.raises(InvalidExpression, match="100 times larger"):
        Checker(Scope(variables=variables))


@pytest.mark.parametrize(
    "text", ["'a'" + ".replace('a', 'aaaaaaaaaa')" * 9 + ".size()", "target.spec.lines.join('x' + params.text)"]
)
def test_texts_that_become_too_long_are_missing(text: str) -> None:
    values = VALUES.but(target={"spec": {"lines": ["a"] * 5_000}}, params={"text": "x" * 1_000})

    assert "a text of more than 1,048,576 characters" in outcome(text, values)


def test_ordinary_expressions_are_far_from_the_bound_on_growth() -> None:
    text = (
        "diagnosis.pods.items.filter(p, p.ready).map(p, p.name + '/' + target.name).join(', ') + ' of '"
        " + string(diagnosis.pods.items.size()) + ' pods in ' + ['a', 'b', 'c'].map(z, z + params.text).join('+')"
    )

    assert outcome(text) == "Known(value='p/web of 1 pods in ax+bx+cx')"
