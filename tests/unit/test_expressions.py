"""What may be written where, what it evaluates to, and what a refusal says."""

from datetime import UTC, datetime

import pytest

from remediator.domain.actions import Output, OutputPart
from remediator.domain.errors import InvalidExpression
from remediator.domain.expressions import (
    Checker,
    Expression,
    Known,
    Missing,
    Place,
    Result,
    Scope,
    Truth,
    Values,
    is_name,
)
from remediator.domain.json import JSON

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Container(OutputPart):
    name: str
    restarts: int
    memory_share: float | None = None


class Pod(OutputPart):
    name: str
    ready: bool
    containers: tuple[Container, ...] = ()


class Pods(Output):
    items: tuple[Pod, ...] = ()
    total_restarts: int = 0


class Release(OutputPart):
    revision: int
    created_at: str


class History(Output):
    revisions: tuple[Release, ...] = ()
    newest: Release | None = None


class Started(Output):
    job: str = ""


SCOPE = Scope(
    parameters={
        "name": "string",
        "replicas": "int",
        "ratio": "number",
        "force": "bool",
        "ceiling": "quantity",
        "zones": "list",
        "dependency": "reference",
        "password": "secretRef",
    },
    diagnostics={"pods": Pods, "history": History, "everyPod": Pods},
    for_each=frozenset({"everyPod"}),
    steps={"raise": Started, "check": None},
    variables={
        "unready": "diagnosis.pods.items.filter(p, !p.ready)",
        "deadline": "now - duration('1h')",
        "names": "variables.unready.map(p, p.name)",
        "live": "latest.pods.items.size()",
        "nextReplicas": "target.spec.replicas + 1",
    },
)
CHECKER = Checker(SCOPE)

PODS: JSON = {
    "known": True,
    "truncated": False,
    "observedAt": "2026-11-21T11:59:00Z",
    "items": [
        {"name": "web-0", "ready": True, "containers": [{"name": "app", "restarts": 0, "memoryShare": 1}]},
        {"name": "web-1", "ready": False, "containers": [{"name": "app", "restarts": 7}]},
    ],
    "totalRestarts": 7,
}
VALUES = Values(
    alert={
        "fingerprint": "4f2a",
        "status": "firing",
        "labels": {"alertname": "Down", "app.kubernetes.io/name": "web"},
        "annotations": {},
        "startsAt": "2026-11-21T11:50:00Z",
    },
    alerts=[{"labels": {"alertname": "Down"}}],
    target={
        "kind": "Deployment",
        "name": "web",
        "namespace": "shop",
        "labels": {},
        "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "app"}]}}},
        "status": {"readyReplicas": 2},
    },
    namespaceObject={"name": "shop", "labels": {"env": "prod"}},
    params={"name": "x", "replicas": 5, "ratio": 1, "ceiling": "2Gi", "zones": ["a", "b"]},
    diagnosis={
        "pods": PODS,
        "history": {
            "known": True,
            "truncated": False,
            "observedAt": "",
            "revisions": [{"revision": 4, "createdAt": "2026-11-21T11:00:00Z"}],
        },
        "everyPod": [PODS, PODS],
    },
    latest={"pods": PODS},
    steps={"raise": {"ran": True, "ok": True, "job": "j-1"}},
    run={"remedy": "", "reason": "", "tried": ["more"], "outcome": ""},
    now=NOON,
)


def compiled(text: str, place: Place = Place.STEP_WHEN, result: Result = Result.ANY) -> Expression:
    return CHECKER.expression(text, place=place, path="spec.remedies[0].when", result=result)


def value(text: str) -> JSON:
    found = compiled(text).evaluate(VALUES)
    assert isinstance(found, Known), found
    return found.value


def refusal(text: str, place: Place = Place.STEP_WHEN, result: Result = Result.ANY) -> str:
    with pytest.raises(InvalidExpression) as caught:
        compiled(text, place, result)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("diagnosis.pods.items.size() == 2", True),
        ("diagnosis.pods.items.exists(p, !p.ready)", True),
        ("diagnosis.pods.items[1].containers[0].restarts > 5", True),
        ("diagnosis.everyPod.all(each, each.known && each.items.size() == 2)", True),
        ("latest.pods.totalRestarts", 7),
        ("variables.names", ["web-1"]),
        ("variables.deadline", "2026-11-21T11:00:00Z"),
        ("timestamp(alert.startsAt) > variables.deadline", True),
        ("now - timestamp(alert.startsAt)", "10m"),
        ('alert.labels["app.kubernetes.io/name"]', "web"),
        ('alert.labels[?"team"].orValue("nobody")', "nobody"),
        ("alerts.all(a, a.labels.alertname == 'Down')", True),
        ("target.spec.replicas * 2", 6),
        ("target.spec.template.spec.containers[0].name", "app"),
        ("target.spec.?paused.orValue(false)", False),
        ("target.?annotations.hasValue()", False),
        ("namespaceObject.labels.env", "prod"),
        ("params.ratio / 2.0", 0.5),
        ("quantity(params.ceiling) > quantity('512Mi')", True),
        ("'a' in params.zones", True),
        ("steps.raise.ok && steps.raise.job == 'j-1'", True),
        ("'more' in run.tried", True),
        ("params.name.upperAscii() + '-' + ['a', 'b'].join('+')", "X-a+b"),
        ("'a-b-c'.split('-')[1].replace('b', 'B')", "B"),
        ("math.greatest(1, 5, 3)", 5),
        ("base64.encode(b'hi')", "aGk="),
        ("duration('720h')", "720h"),
    ],
)
def test_an_expression_gives_its_value_as_json(text: str, expected: JSON) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max(diagnosis.pods.items.map(p, p.containers[0].restarts))", 7),
        ("min([2.5, 1.5])", 1.5),
        ("sum(diagnosis.pods.items.map(p, p.containers[0].restarts)) + 1", 8),
        ("sum([0.5, 0.25])", 0.75),
        ("share(1, 4)", 0.25),
        ("share(1.0, 4)", 0.25),
        ("quantity('500m')", 0.5),
        ("quantity('1Ki') == 1024.0", True),
        ("quantity(target.spec.replicas)", 3.0),
    ],
)
def test_the_functions_for_lists_shares_and_quantities_give_numbers(text: str, expected: JSON) -> None:
    assert value(text) == expected


def test_a_number_that_lost_its_point_on_the_way_through_json_is_still_a_double() -> None:
    assert value("diagnosis.pods.items[0].containers[0].memoryShare * 2.5") == 2.5
    assert value("params.ratio * 2.5") == 2.5


def test_has_is_false_for_what_the_system_says_is_not_there() -> None:
    assert value("has(diagnosis.history.newest)") is False
    assert value("has(diagnosis.pods.items[1].containers[0].memoryShare)") is False
    assert value("has(target.status.replicas)") is False
    assert value("has(params.dependency)") is False
    assert value("has(params.name)") is True


def test_an_optional_field_of_an_output_has_a_default_where_it_is_absent() -> None:
    text = 'diagnosis.history.?newest.?createdAt.orValue("never")'

    assert value(text) == "never"


def test_a_loop_variable_hides_a_root_of_the_same_name() -> None:
    assert value("[1, 2].exists(target, target == 2)") is True
    assert value("[{'known': 3}].all(diagnosis, diagnosis.known == 3)") is True


def test_values_that_are_made_from_others_do_not_remember_the_old_ones() -> None:
    expression = compiled("target.name")

    assert expression.evaluate(VALUES) == Known("web")
    assert expression.evaluate(VALUES.but(target={"name": "api"})) == Known("api")


def test_the_names_of_an_expression_are_its_roots_through_variables_too() -> None:
    expression = compiled("variables.names.size() > 0 && has(params.dependency) && alert.status == 'firing'")

    assert expression.names == {
        "variables.names",
        "variables.unready",
        "diagnosis.pods",
        "params.dependency",
        "alert",
    }


@pytest.mark.parametrize(
    "text",
    [
        "target.spec.replicas > 1",
        "has(target.status.x)",
        "variables.nextReplicas == 3",
        "steps.raise.ok && alert.labels == target.spec",
    ],
)
def test_what_cannot_be_typed_says_so(text: str) -> None:
    assert compiled(text).untyped


@pytest.mark.parametrize(
    "text", ["diagnosis.pods.items.size() > 1", "alert.labels.severity == 'critical'", "target.name == 'web'"]
)
def test_what_can_be_typed_is_not_called_untyped(text: str) -> None:
    assert not compiled(text).untyped


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("diagnosis.pods.itmes.size() > 0", "1:15: undefined field 'itmes'; did you mean 'items'?"),
        ("diagnosis.pods.items.all(p, p.redy)", "1:30: undefined field 'redy'; did you mean 'ready'?"),
        ("diagnosis.podz.items.size() > 0", "1:1: there is no diagnostic 'podz'; did you mean 'pods'?"),
        ("latest.history2.known", "1:1: there is no diagnostic 'history2'; did you mean 'history'?"),
        ("steps.rise.ok", "1:1: there is no step 'rise'; did you mean 'raise'?"),
        ("variables.unredy", "1:1: there is no variable 'unredy'; did you mean 'unready'?"),
        ("params.nmae == ''", "1:1: there is no parameter 'nmae'; did you mean 'name'?"),
        ("targt.name == ''", "unknown name 'targt'; did you mean 'target'?"),
        ("quantty('1') > 1.0", "unknown name 'quantty'; did you mean 'quantity'?"),
        ("alert.label.x == ''", "1:6: undefined field 'label'; did you mean 'labels'?"),
        ("target.podCount", "1:7: undefined field 'podCount'; there are annotations, kind,"),
        ("diagnosis.pods.totalRestarts == '3'", "1:30: '==' cannot be applied to (int, string)"),
        ("diagnosis.pods.totalRestarts > 1.5", "write the whole number with a point (1.0)"),
        ("diagnosis.pods.items.max()", "1:25: a list has no max(); write max(list)"),
        ("diagnosis", "1:1: 'diagnosis' alone is nothing; write diagnosis.NAME"),
        ("true &&\n  diagnosis.pods.knwon", "2:17: undefined field 'knwon'; did you mean 'known'?"),
        ("params.password == ''", "1:1: params.password is a secretRef, which no expression may use"),
        ("has(params.password)", "params.password is a secretRef"),
        ("1 +", "1:4: Syntax error: mismatched input '<EOF>'"),
        ("  ", "1:1: an expression is missing"),
        ("remediator.Pod{name: 'x'}", "a message cannot be made here"),
        ("diagnosis.history.?newest", "the result may be absent; end with .orValue(…)"),
        ("'\ud800' == ''", "1:1: the text is not valid Unicode"),
        ("item.name", "1:1: 'item' may be used only where forEach stands"),
    ],
)
def test_a_mistake_is_refused_with_its_position_and_what_to_write(text: str, says: str) -> None:
    assert says in refusal(text)


def test_all_misspelt_names_of_an_expression_are_reported_at_once() -> None:
    with pytest.raises(InvalidExpression) as caught:
        compiled("params.nmae == '' && steps.rise.ok")

    assert [problem.path for problem in caught.value.problems] == ["spec.remedies[0].when"] * 2


@pytest.mark.parametrize(
    ("text", "result"),
    [("diagnosis.pods.totalRestarts", Result.BOOL), ("alert.status", Result.LIST), ("true", Result.NUMBER)],
)
def test_an_expression_of_another_type_than_its_field_is_refused(text: str, result: Result) -> None:
    assert f"must be {result}" in refusal(text, result=result)


def test_an_untyped_condition_that_is_not_true_or_false_is_unknown() -> None:
    expression = compiled("target.spec.replicas", result=Result.BOOL)

    truth, missing = expression.truth(VALUES)

    assert truth is Truth.UNKNOWN
    assert missing is not None
    assert "not true or false" in missing.message


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place.REMEDY_WHEN, "latest.pods.items.size() > 0"),
        (Place.REMEDY_WHEN, "steps.raise.ok"),
        (Place.REMEDY_WHEN, "item == 1"),
        (Place.PLAN, "steps.raise.job"),
        (Place.PLAN, "latest.pods.known"),
        (Place.PLAN, "now"),
        (Place.PLAN, "run.remedy"),
        (Place.PLAN, "variables.deadline"),
        (Place.PLAN, "variables.live"),
        (Place.DIAGNOSE, "latest.pods.known"),
        (Place.DIAGNOSE, "steps.raise.ok"),
        (Place.WAIT_UNTIL, "steps.raise.ok"),
        (Place.WAIT_UNTIL, "run.remedy == ''"),
        (Place.VERIFY, "item == 1"),
        (Place.MESSAGE, "latest.pods.known"),
        (Place.ESCALATION_WHEN, "steps.raise.ok"),
        (Place.POLICY_WHEN, "diagnosis.pods.known"),
        (Place.POLICY_TARGET, "target.name"),
        (Place.STEP_WHEN, "inhibitor.status == ''"),
        (Place.INHIBITED_WHEN, "diagnosis.pods.known"),
    ],
)
def test_a_name_outside_its_places_is_refused(place: Place, text: str) -> None:
    assert f"may not be used in {place}" in refusal(text, place)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place.REMEDY_WHEN, "timestamp(alert.startsAt) > now - duration('2h')"),
        (Place.STEP_WHEN, "steps.raise.ok && latest.pods.known"),
        (Place.PLAN, "variables.names[0]"),
        (Place.WAIT_UNTIL, "latest.pods.items.exists(p, p.ready)"),
        (Place.VERIFY, "variables.live > 2"),
        (Place.MESSAGE, "run.outcome + steps.raise.job"),
        (Place.ESCALATION_WHEN, "run.remedy == '' && latest.pods.known"),
        (Place.POLICY_WHEN, "alert.labels[?'container'].orValue('') != 'debug'"),
        (Place.POLICY_TARGET, "alert.labels.deployment"),
        (Place.INHIBITED_WHEN, "latest.pods.items.all(p, p.name == inhibitor.labels.pod)"),
        (Place.DIAGNOSE, "has(params.dependency) && diagnosis.pods.known"),
    ],
)
def test_a_name_inside_its_places_is_accepted(place: Place, text: str) -> None:
    assert compiled(text, place)


def test_a_variable_carries_the_limits_of_what_it_uses() -> None:
    assert "variables.live uses it: 'latest' may not be used" in refusal("variables.live > 1", Place.REMEDY_WHEN)


def test_a_variable_sees_only_those_before_it() -> None:
    scope = Scope(variables={"a": "variables.b", "b": "1"})

    with pytest.raises(
        InvalidExpression, match=r"spec\.variables\[0\]\.expression: 1:1: there is no variable 'b' before"
    ):
        Checker(scope)


def test_a_diagnostic_sees_only_those_before_it() -> None:
    with pytest.raises(InvalidExpression, match=r"diagnosis\.history does not come before this"):
        CHECKER.expression("diagnosis.history.known", place=Place.DIAGNOSE, path="p", earlier=("pods",))


def test_a_step_sees_only_those_before_it() -> None:
    with pytest.raises(InvalidExpression, match=r"steps\.raise does not come before this"):
        CHECKER.expression("steps.raise.ok", place=Place.STEP_WHEN, path="p", earlier=())


def test_a_step_that_was_not_reached_has_not_run() -> None:
    assert value("steps.check.ran || steps.check.ok") is False


def test_the_item_of_a_for_each_has_the_type_of_its_elements() -> None:
    pods = CHECKER.expression("variables.unready", place=Place.PLAN, path="p", result=Result.LIST)
    inner = CHECKER.within(pods)

    name = inner.expression("item.name", place=Place.PLAN, path="p", result=Result.STRING)

    assert name.evaluate(VALUES.but(item={"name": "web-1", "ready": False})) == Known("web-1")
    with pytest.raises(InvalidExpression, match="undefined field 'nmae'; did you mean 'name'"):
        inner.expression("item.nmae", place=Place.PLAN, path="p", result=Result.STRING)


def test_the_item_of_a_list_that_cannot_be_typed_is_untyped() -> None:
    rows = CHECKER.expression("target.spec.rows", place=Place.PLAN, path="p", result=Result.LIST)

    inner = CHECKER.within(rows).expression("item.name", place=Place.PLAN, path="p", result=Result.STRING)

    assert inner.untyped
    assert inner.evaluate(VALUES.but(item={"name": 3})) == Missing(
        ("item",), "item.name has no value: the result is not a text"
    )


@pytest.mark.parametrize("variable", ["[now]", "type(1)", "b'x'", "optional.of(1)"])
def test_a_variable_that_could_not_be_handed_on_is_refused(variable: str) -> None:
    with pytest.raises(InvalidExpression, match=r"spec\.variables\[0\]\.expression"):
        Checker(Scope(variables={"v": variable}))


@pytest.mark.parametrize("text", ["a", "aB9", "z" * 40, "target", "size"])
def test_a_camel_case_identifier_is_a_name(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize(
    "text", ["", "A", "a-b", "a_b", "1a", "z" * 41, "in", "map", "exists", "namespace", "true", "a\n"]
)
def test_keywords_macros_and_other_spellings_are_not_names(text: str) -> None:
    assert not is_name(text)
