"""Strings with expressions in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediator.domain.errors import InvalidExpression
from remediator.domain.expressions import Checker, Known, Missing, Place, Scope, Values
from remediator.domain.json import JSON

CHECKER = Checker(
    Scope(parameters={"name": "string", "replicas": "int", "ratio": "number", "zones": "list", "on": "bool"})
)
VALUES = Values(
    params={"name": "web", "replicas": 3, "ratio": 0.25, "zones": ["a", "b"], "on": True},
    target={"name": "${params.name}", "spec": {"ports": [1, 2]}},
    alert={"labels": {}},
)


def rendered(text: str) -> Known | Missing:
    return CHECKER.template(text, place=Place.MESSAGE, path="spec.text").evaluate(VALUES)


def message(text: str) -> str:
    return CHECKER.template(text, place=Place.MESSAGE, path="spec.text").text(VALUES)


def refusal(text: str) -> str:
    with pytest.raises(InvalidExpression) as caught:
        CHECKER.template(text, place=Place.MESSAGE, path="spec.text")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${params.replicas}", 3),
        ("${params.zones}", ["a", "b"]),
        ("${params.on}", True),
        ("${{'a': params.replicas}}", {"a": 3}),
        ("${ params.name }", "web"),
    ],
)
def test_an_expression_alone_keeps_its_type(text: str, expected: JSON) -> None:
    assert rendered(text) == Known(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain $ { } text", "plain $ { } text"),
        ("${params.name}-${params.replicas}", "web-3"),
        (" ${params.replicas}", " 3"),
        ("${params.ratio} ${params.on}", "0.25 true"),
        ("a ${'}'} b", "a } b"),
        ('a ${"\\"}" + params.name} b', 'a "}web b'),
        ("a ${r'\\}'} b", "a \\} b"),
        ("a ${'''}'''} b", "a } b"),
        ("a ${{'x': '}'}['x']} b", "a } b"),
        ("$${params.name}", "${params.name}"),
        ("$${a} ${params.name}", "${a} web"),
        ("$$${params.name}", "$${params.name}"),
        ("costs 5$", "costs 5$"),
    ],
)
def test_expressions_inside_a_text_become_text(text: str, expected: str) -> None:
    assert rendered(text) == Known(expected)


def test_a_value_that_looks_like_a_template_stays_as_it_is() -> None:
    assert rendered("<${target.name}>") == Known("<${params.name}>")


def test_a_missing_value_makes_the_whole_text_missing_and_is_named() -> None:
    found = rendered("${params.name} on ${alert.labels.node} of ${alert.labels.zone}")

    assert found == Missing(
        ("alert.labels.node", "alert.labels.zone"),
        "alert.labels.node is not there; alert.labels.zone is not there",
    )


def test_a_message_prints_a_question_mark_for_what_is_missing() -> None:
    assert message("${params.name} on ${alert.labels.node}") == "web on ?"
    assert message("${alert.labels.node}") == "?"


def test_a_message_prints_lists_and_maps_as_json() -> None:
    assert message("${params.zones}") == '["a","b"]'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scale ${params.name", "spec.text: 1:7: '${' is not closed"),
        ("${'}", "1:3: Syntax error"),
        ("${{'a': 1}", "1:1: '${' is not closed"),
        ("to ${params.nmae}!", "spec.text: 1:6: there is no parameter 'nmae'; did you mean 'name'?"),
        ("one\ntwo ${params.name +}", "spec.text: 2:20: Syntax error"),
        ("${}", "1:3: an expression is missing"),
        ("zones: ${params.zones}", "1:10: a list or map cannot stand inside a text"),
        ("${now}-" * 101, "at most 100 expressions"),
        ("${now}" * 2_000, "at most 100 expressions"),
        ("half a pair \ud800 ${now}", "not valid Unicode"),
        ("x".ljust(20_000, "x"), "a text of at most 16,384 characters"),
    ],
)
def test_a_mistake_in_a_template_is_refused_with_its_place_in_the_whole_text(text: str, says: str) -> None:
    assert says in refusal(text)


def test_an_untyped_list_inside_a_text_is_missing() -> None:
    found = rendered("ports ${target.spec.ports}")

    assert isinstance(found, Missing)
    assert "a list or map cannot stand inside a text" in found.message


def test_a_tree_of_parameters_is_rendered_as_a_whole() -> None:
    tree: JSON = {
        "container": "${params.name}",
        "limits": [{"cpu": "${params.replicas}"}, "cpu of $${x}"],
        "plain": 5,
        "${params.name}": None,
    }

    rendering = CHECKER.render(tree, place=Place.PLAN, path="spec.step")

    assert rendering.names == {"params.name", "params.replicas"}
    assert rendering.evaluate(VALUES) == Known(
        {"container": "web", "limits": [{"cpu": 3}, "cpu of ${x}"], "plain": 5, "${params.name}": None}
    )


def test_a_tree_with_a_missing_value_is_missing() -> None:
    rendering = CHECKER.render({"a": ["${alert.labels.x}", "${params.name}"]}, place=Place.PLAN, path="spec.step")

    assert rendering.evaluate(VALUES) == Missing(("alert.labels.x",), "alert.labels.x is not there")
    assert rendering.text(VALUES) == {"a": ["?", "web"]}


def test_all_mistakes_of_a_tree_are_reported_with_their_paths() -> None:
    tree: JSON = {"a": ["fine", "${params.x}"], "b": {"c": "${now}"}, "d": "${"}

    with pytest.raises(InvalidExpression) as caught:
        CHECKER.render(tree, place=Place.PLAN, path="spec.step")

    assert [problem.path for problem in caught.value.problems] == ["spec.step.a[1]", "spec.step.b.c", "spec.step.d"]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_as_it_was_once_it_is_escaped(text: str) -> None:
    escaped = text.replace("${", "$${")

    assert rendered(escaped) == Known(text)


@given(st.text(alphabet="${}'\"\\ra+ \n/"))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        template = CHECKER.template(text, place=Place.MESSAGE, path="p")
    except InvalidExpression:
        return
    assert isinstance(template.text(VALUES), str)
