"""Which value of a parameter counts, what it must be, and what a declaration may say."""

from typing import Any

import pytest

from remediator.domain.errors import InvalidManifest
from remediator.domain.runbooks import Parameter
from remediator.engine.parameters import declaration_problems, resolve


def declared(type: str = "string", **fields: Any) -> Parameter:  # noqa: A002 - the field's own name
    return Parameter.model_validate({"name": "value", "type": type, **fields})


def refusal(parameter: Parameter, value: Any) -> str:
    with pytest.raises(InvalidManifest) as refused:
        resolve([parameter], {"value": value})
    (problem,) = refused.value.problems
    assert problem.path == "spec.parameters.value"
    return problem.message


def test_the_runs_value_beats_the_policys_beats_the_default() -> None:
    parameters = [Parameter(name=name, type="string", default="default") for name in ("a", "b", "c")]

    assert resolve(parameters, {"a": "run"}, {"a": "policy", "b": "policy"}) == {
        "a": "run",
        "b": "policy",
        "c": "default",
    }


def test_what_nobody_gives_is_left_out() -> None:
    assert resolve([declared()], {}) == {}


def test_a_required_value_that_nobody_gives_is_refused_with_its_description() -> None:
    parameter = declared(required=True, description="Where it runs.")

    with pytest.raises(InvalidManifest, match=r"spec\.parameters\.value: is required: Where it runs\."):
        resolve([parameter], {})


def test_a_value_that_is_not_declared_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        InvalidManifest, match=r"spec\.parameters\.valeu: the Runbook has no such parameter; did you mean"
    ):
        resolve([declared()], {"valeu": "x"})


def test_a_runbook_without_parameters_takes_none() -> None:
    with pytest.raises(InvalidManifest, match="the Runbook has no such parameter; it has none"):
        resolve([], {"value": "x"})


def test_every_problem_is_told_at_once() -> None:
    parameters = [Parameter(name="a", type="int"), Parameter(name="b", type="bool", required=True)]

    with pytest.raises(InvalidManifest) as refused:
        resolve(parameters, {"a": "x", "z": 1})

    assert [problem.path for problem in refused.value.problems] == [
        "spec.parameters.z",
        "spec.parameters.a",
        "spec.parameters.b",
    ]


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        (declared(), "text", "text"),
        (declared(pattern="[a-z]+"), "abc", "abc"),
        (declared("int"), 3, 3),
        (declared("int", minimum="3", maximum="3"), 3, 3),
        (declared("number"), 3, 3.0),
        (declared("number", maximum="0.5"), 0.5, 0.5),
        (declared("bool"), False, False),
        (declared("duration", maximum="1h"), "60m", "60m"),
        (declared("quantity", maximum="1Gi"), "1024Mi", "1024Mi"),
        (declared("quantity"), 2, "2"),
        (declared("enum", values=["low", "high"]), "low", "low"),
        (declared("list"), ["a", "b"], ["a", "b"]),
        (declared("list"), [], []),
        (declared("reference"), {"kind": "Deployment", "name": "db"}, {"kind": "Deployment", "name": "db"}),
        (
            declared("reference"),
            {"kind": "certificate.cert-manager.io", "name": "web", "namespace": "shop"},
            {"kind": "certificate.cert-manager.io", "name": "web", "namespace": "shop"},
        ),
        (declared("secretRef"), {"name": "db", "key": "password"}, {"name": "db", "key": "password"}),
    ],
)
def test_a_value_that_fits_is_what_expressions_see(parameter: Parameter, value: Any, expected: Any) -> None:
    found = resolve([parameter], {"value": value})["value"]

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("parameter", "value", "sentence"),
    [
        (declared(), True, "must be a string, is true: write it in quotes, because YAML reads yes"),
        (declared(), 1.10, "must be a string, is 1.1: write it in quotes"),
        (declared(), None, "must be a string, is empty: leave the field out, or give it a value"),
        (declared(), "${alert.labels.a}", "`${…}` is not read in a parameter's value"),
        (declared(), "x" * 16_385, "has at most 16,384 characters, this one has 16,385"),
        (declared(pattern="[a-z]+"), "abc1", "must match [a-z]+ as a whole"),
        (declared("int"), "3", 'must be a whole number, is "3": write it without quotes'),
        (declared("int"), 3.0, "must be a whole number, is 3.0"),
        (declared("int"), True, "must be a whole number, is true"),
        (declared("int"), 2**63, "must fit into 64 bits"),
        (declared("int", minimum="3"), 2, "must be at least 3, is 2"),
        (declared("int", maximum="3"), 4, "must be at most 3, is 4"),
        (declared("number"), False, "must be a number, is false"),
        (declared("number"), float("inf"), "must be a finite number"),
        (declared("number"), float("nan"), "must be a finite number"),
        (declared("bool"), "true", 'must be true or false, is "true": write it without quotes'),
        (declared("bool"), 1, "must be true or false, is 1"),
        (declared("duration"), 60, 'must be a duration in quotes, such as "90s", is 60'),
        (declared("duration"), "5 minutes", "is not a duration"),
        (declared("duration", minimum="1m"), "59s", "must be at least 1m, is 59s"),
        (declared("quantity"), "2GB", "is not a quantity"),
        (declared("quantity", maximum="2Gi"), "2049Mi", "must be at most 2Gi, is 2049Mi"),
        (declared("quantity"), True, "a quantity is a string or a number"),
        (declared("enum", values=["low", "high"]), "hihg", 'must be low or high, is "hihg"; did you mean high?'),
        (declared("enum", values=["on", "off"]), True, "write it in quotes, because YAML reads"),
        (declared("list"), "a", 'must be a list of strings, is "a"'),
        (declared("list"), ["a", 1], "entry 1 must be a string, is 1: write it in quotes"),
        (declared("list"), ["${x}"], "entry 0: `${…}` is not read"),
        (declared("list"), ["a"] * 1_001, "has at most 1,000 entries, this one has 1,001"),
        (declared("reference"), "Deployment/db", "must be a map {kind, name, namespace}"),
        (declared("reference"), {"kind": "Deployment"}, "name is required; write {kind, name, namespace}"),
        (declared("reference"), {"kind": "Deployment", "name": "a", "uid": "x"}, "uid: there is no such field"),
        (declared("reference"), {"kind": "deployments", "name": "a"}, 'kind: "deployments" is spelled Deployment'),
        (declared("reference"), {"kind": "Secret", "name": "a"}, "kind: Secrets are not read"),
        (declared("reference"), {"kind": "Deployment", "name": "../x"}, 'name: "../x" is no object\'s name'),
        (declared("reference"), {"kind": "Node", "name": "a", "namespace": "b"}, "a Node is in no namespace"),
        (declared("reference"), {"kind": "Deployment", "name": "${x}"}, "name: `${…}` is not read"),
        (declared("secretRef"), {"name": "db"}, "key is required"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_to_write(
    parameter: Parameter, value: Any, sentence: str
) -> None:
    assert sentence in refusal(parameter, value)


@pytest.mark.parametrize(
    ("parameter", "path", "sentence"),
    [
        (declared("int", default="2"), "default", 'must be a whole number, is "2"'),
        (declared("enum", values=["a", "b"], default="c"), "default", 'must be a or b, is "c"'),
        (declared("duration", maximum="1m", default="2m"), "default", "must be at most 1m, is 2m"),
        (declared("secretRef", default={"name": "a", "key": "b"}), "default", "a secretRef has no default"),
        (declared(default="${target.name}"), "default", "`${…}` is not read in a parameter's value"),
        (declared("enum"), "values", "an enum needs its values, such as [low, high]"),
        (declared("string", values=["a"]), "values", "only an enum has values; write `type: enum`"),
        (declared("int", minimum="3", maximum="2"), "minimum", "3 is above the maximum, 2: no value would fit"),
        (declared("quantity", minimum="1Gi", maximum="1Mi"), "minimum", "1Gi is above the maximum, 1Mi"),
        (declared("duration", minimum="1h", maximum="59m"), "minimum", "1h is above the maximum, 59m"),
        (declared("int", minimum="few", default=1), "minimum", '"few" is not a number'),
        (declared("number", maximum="NaN"), "maximum", '"NaN" is not a finite number'),
        (
            declared("string", minimum="1"),
            "minimum",
            "a value of type string has no minimum; those of type int, number, duration or quantity have",
        ),
        (declared(pattern="("), "pattern", "is not a regular expression of RE2"),
        (declared(pattern="(?=a)b", default="b"), "pattern", "is not a regular expression of RE2"),
        (declared("int", pattern="1+"), "pattern", "only a string has a pattern, not a value of type int"),
        (declared(required=True, default="a"), "required", "a parameter with a default is never missing"),
    ],
)
def test_a_declaration_that_cannot_hold_is_refused(parameter: Parameter, path: str, sentence: str) -> None:
    (problem,) = declaration_problems([parameter], "spec.parameters")

    assert problem.path == f"spec.parameters[0].{path}"
    assert sentence in problem.message


def test_a_name_is_declared_once() -> None:
    (problem,) = declaration_problems([declared(), declared("int")], "spec.parameters")

    assert str(problem).startswith("spec.parameters[1].name: value is declared twice")


def test_a_plain_declaration_has_no_problems() -> None:
    parameters = [declared("quantity", minimum="1Mi", maximum="2Gi", default="512Mi", description="A ceiling.")]

    assert list(declaration_problems(parameters, "spec.parameters")) == []
