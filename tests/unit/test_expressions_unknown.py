"""What could not be read is neither true nor false, and the answer says what it was."""

from datetime import UTC, datetime
from typing import Annotated

import pytest
from pydantic import Field

from remediator.domain.actions import Output, OutputPart
from remediator.domain.errors import InvalidExpression
from remediator.domain.expressions import (
    MAX_ITEMS,
    UNKNOWN,
    Checker,
    Known,
    Missing,
    NoneIsUnknown,
    Place,
    Result,
    Scope,
    Truth,
    Uncut,
    Values,
)
from remediator.domain.json import JSON

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Usage(OutputPart):
    cpu_share: Annotated[float | None, NoneIsUnknown] = None


class Pod(OutputPart):
    name: str
    ready: bool
    reason: str | None = None
    usage: Usage | None = None


class Pods(Output):
    items: tuple[Pod, ...] = ()
    oldest: Pod | None = None
    total: Annotated[int | None, NoneIsUnknown] = None
    count: dict[str, int] = Field(default_factory=dict)
    whole_count: Annotated[dict[str, int], Uncut] = Field(default_factory=dict)


CHECKER = Checker(
    Scope(
        parameters={"name": "string", "ratio": "number"},
        diagnostics={"pods": Pods, "skipped": Pods, "each": Pods},
        for_each=frozenset({"each"}),
        steps={"ask": Pods},
        variables={"ready": "diagnosis.pods.items.filter(p, p.ready)"},
    )
)
POD: JSON = {"name": "web-0", "ready": True, "usage": {}}
READ: dict[str, JSON] = {
    "known": True,
    "truncated": False,
    "observedAt": "",
    "items": [POD],
    "total": 1,
    "count": {"panic": 0},
    "wholeCount": {"panic": 0},
}
CUT: dict[str, JSON] = {**READ, "truncated": True}
UNREAD: JSON = {"known": False, "truncated": False, "observedAt": "", "error": "pods is forbidden"}


def truth(text: str, pods: object, **others: object) -> tuple[Truth, Missing | None]:
    expression = CHECKER.expression(text, place=Place.STEP_WHEN, path="when")
    diagnosis = {"pods": pods, "skipped": None, "each": [READ, UNREAD]}
    return expression.truth(Values(diagnosis=diagnosis, params={}, now=NOON).but(**others))


@pytest.mark.parametrize(
    "text",
    [
        "diagnosis.pods.items.size() == 0",
        "diagnosis.pods.items.all(p, p.ready)",
        "diagnosis.pods.items.exists(p, p.ready)",
        "!diagnosis.pods.items.exists(p, p.ready)",
        "has(diagnosis.pods.oldest)",
        "!has(diagnosis.pods.oldest)",
        "diagnosis.pods.?oldest.hasValue()",
        "diagnosis.pods.?oldest.?name.orValue('') == ''",
        "diagnosis.pods.?total.orValue(0) == 0",
        "diagnosis.pods.count.panic == 0",
        "'panic' in diagnosis.pods.count",
        "diagnosis.pods.items == []",
        "diagnosis.pods.oldest != null",
        "variables.ready.size() == 0",
        "latest.pods.items.size() == 0",
        "has(latest.pods.oldest)",
    ],
)
@pytest.mark.parametrize("pods", [UNREAD, UNKNOWN], ids=["not known", "not there yet"])
def test_everything_about_an_unread_output_is_unknown(text: str, pods: object) -> None:
    answer, missing = truth(text, pods)

    assert answer is Truth.UNKNOWN
    assert missing is not None
    assert "could not be read" in missing.message


def test_an_unread_output_still_says_that_it_is_not_known() -> None:
    assert truth("!diagnosis.pods.known && !diagnosis.pods.truncated", UNREAD) == (Truth.TRUE, None)


def test_the_answer_names_what_was_missing_and_why() -> None:
    _, missing = truth("diagnosis.pods.items.size() > 0", UNREAD)

    assert missing == Missing(("diagnosis.pods.items",), "diagnosis.pods.items could not be read: pods is forbidden")


def test_what_is_true_anyway_is_true_and_what_is_false_anyway_is_false() -> None:
    assert truth("diagnosis.pods.items.size() > 0 || 1 == 1", UNREAD) == (Truth.TRUE, None)
    assert truth("diagnosis.pods.items.size() > 0 && 1 == 2", UNREAD) == (Truth.FALSE, None)


@pytest.mark.parametrize(
    "text",
    [
        "diagnosis.pods.items.size() == 1",
        "diagnosis.pods.items.all(p, p.ready)",
        "!diagnosis.pods.items.exists(p, !p.ready)",
        "diagnosis.pods.items.exists(p, !p.ready)",
        "diagnosis.pods.items.exists_one(p, p.ready)",
        "diagnosis.pods.items.filter(p, p.ready).size() > 0",
        "diagnosis.pods.items.map(p, p.name) == ['web-0']",
        "has(diagnosis.pods.items)",
        "diagnosis.pods.count.panic == 0",
        "variables.ready.all(p, p.ready)",
    ],
)
def test_a_truncated_list_is_unknown_to_what_the_rest_could_overturn(text: str) -> None:
    answer, missing = truth(text, CUT)

    assert answer is Truth.UNKNOWN
    assert missing is not None
    assert "incomplete, because the answer was cut" in missing.message


def test_what_was_found_in_a_truncated_list_stays_found() -> None:
    assert truth("diagnosis.pods.items.exists(p, p.ready)", CUT) == (Truth.TRUE, None)
    assert truth("diagnosis.pods.items.all(p, !p.ready)", CUT) == (Truth.FALSE, None)


def test_a_found_element_does_not_lend_its_certainty_to_the_rest_of_the_expression() -> None:
    text = "diagnosis.pods.items.exists(p, p.ready) && diagnosis.pods.items.size() == 1"

    assert truth(text, CUT)[0] is Truth.UNKNOWN
    assert truth(text, READ)[0] is Truth.TRUE


def test_truncation_leaves_alone_what_is_not_a_list_and_what_is_said_to_be_whole() -> None:
    assert truth("diagnosis.pods.total == 1", CUT)[0] is Truth.TRUE
    assert truth("diagnosis.pods.wholeCount.panic == 0", CUT)[0] is Truth.TRUE


def test_an_output_that_does_not_say_whether_it_is_whole_is_taken_as_cut() -> None:
    silent = {key: READ[key] for key in READ if key != "truncated"}

    assert truth("diagnosis.pods.items.size() == 1", silent)[0] is Truth.UNKNOWN


def test_a_field_whose_none_means_unread_is_unknown_even_to_has() -> None:
    without = {key: READ[key] for key in READ if key != "total"}

    assert truth("has(diagnosis.pods.total)", without)[0] is Truth.UNKNOWN
    assert truth("has(diagnosis.pods.items[0].usage.cpuShare)", READ)[0] is Truth.UNKNOWN
    assert truth("diagnosis.pods.items[0].usage.?cpuShare.orValue(0.0) == 0.0", READ)[0] is Truth.UNKNOWN
    assert truth("diagnosis.pods.items.exists(p, p.?usage.?cpuShare.orValue(0.0) > 0.5)", READ)[0] is Truth.UNKNOWN


def test_a_field_whose_none_means_absent_is_absent() -> None:
    assert truth("has(diagnosis.pods.oldest)", READ) == (Truth.FALSE, None)
    assert truth("has(diagnosis.pods.items[0].reason)", READ) == (Truth.FALSE, None)


def test_an_absent_field_that_is_used_without_asking_is_unknown() -> None:
    _, missing = truth("diagnosis.pods.oldest.name == ''", READ)

    assert missing == Missing(("diagnosis.pods.oldest",), "diagnosis.pods.oldest is not there")


def test_unknown_inside_a_value_reaches_whatever_looks_at_it() -> None:
    pods = {**READ, "items": [{"name": "web-0", "ready": UNKNOWN}]}

    assert truth("diagnosis.pods.items[0].ready", pods)[0] is Truth.UNKNOWN
    assert truth("has(diagnosis.pods.items[0].ready)", pods)[0] is Truth.UNKNOWN
    assert truth("diagnosis.pods.items[0].name == 'web-0'", pods)[0] is Truth.TRUE


def test_a_value_that_is_partly_unknown_is_not_handed_out() -> None:
    expression = CHECKER.expression("variables.ready[0].usage", place=Place.STEP_WHEN, path="p", result=Result.ANY)

    assert expression.evaluate(Values(diagnosis={"pods": READ})) == Missing(("cpuShare",), "cpuShare could not be read")


def test_one_unread_output_of_many_is_unknown_and_the_others_are_not() -> None:
    assert truth("diagnosis.each[0].items.size() == 1", READ)[0] is Truth.TRUE
    assert truth("diagnosis.each[1].items.size() == 1", READ)[0] is Truth.UNKNOWN
    assert truth("has(diagnosis.each[1].oldest)", READ)[0] is Truth.UNKNOWN
    assert truth("diagnosis.each.exists(e, !e.known)", READ)[0] is Truth.TRUE
    assert truth("diagnosis.each.all(e, e.items.size() == 1)", READ)[0] is Truth.UNKNOWN


def test_a_skipped_diagnostic_is_absent_and_its_fields_are_unknown() -> None:
    assert truth("has(diagnosis.skipped)", READ) == (Truth.FALSE, None)
    answer, missing = truth("diagnosis.skipped.items.size() == 0", READ)
    assert answer is Truth.UNKNOWN
    assert missing is not None
    assert missing.message == "diagnosis.skipped was not read, because its condition was False"


def test_a_parameter_that_is_not_given_is_absent() -> None:
    assert truth("has(params.name)", READ) == (Truth.FALSE, None)
    assert truth("params.name == ''", READ)[1] == Missing(("params.name",), "params.name is not given")


def test_parameters_that_are_not_resolved_are_unknown_even_to_has() -> None:
    assert truth("has(params.name)", READ, params=UNKNOWN)[0] is Truth.UNKNOWN
    assert truth("has(params.name)", READ, params={"name": UNKNOWN})[0] is Truth.UNKNOWN


def test_the_outputs_of_a_step_that_did_not_run_are_absent() -> None:
    steps = {"ask": {"ran": False, "ok": False}}

    assert truth("has(steps.ask.total)", READ, steps=steps) == (Truth.FALSE, None)
    assert truth("steps.ask.items.size() == 0", READ, steps=steps)[1] == Missing(
        ("steps.ask.items",), "steps.ask did not run"
    )


def test_a_missing_label_is_unknown_under_its_whole_name() -> None:
    alert = {"labels": {}}

    assert truth("alert.labels.pod == ''", READ, alert=alert)[1] == Missing(
        ("alert.labels.pod",), "alert.labels.pod is not there"
    )
    assert truth("alert.labels['pod'] == ''", READ, alert=alert)[1] == Missing(
        ("alert.labels.pod",), "alert.labels.pod is not there"
    )
    assert truth("has(alert.labels.pod)", READ, alert=alert) == (Truth.FALSE, None)


def test_a_run_without_an_alert_has_none_and_says_so() -> None:
    assert truth("alert.status == ''", READ, alert=None)[1] == Missing(("alert.status",), "alert.status is not there")


def test_a_target_that_was_not_read_is_unknown_even_to_has() -> None:
    assert truth("has(target.spec.replicas)", READ, target={"name": "web", "spec": UNKNOWN})[0] is Truth.UNKNOWN
    assert truth("has(target.spec)", READ, target=UNKNOWN)[0] is Truth.UNKNOWN
    assert truth("target.name == 'web'", READ, target={"name": "web", "spec": UNKNOWN})[0] is Truth.TRUE


@pytest.mark.parametrize(
    "text",
    [
        "share(1, 0) > 0.5",
        "share(0.0, 0.0) < 0.5",
        "params.ratio / 0.0 > 1.0",
        "0.0 / 0.0 != 0.0",
        "double('NaN') < 1.0",
        "double('Infinity') > 1.0",
        "math.sqrt(-1.0) < 1.0",
        "1e300 * 1e300 > 1.0",
        "1e300 * -1e300 < 1.0",
        "quantity('much') > 1.0",
        "quantity('') < 1.0",
        "max([1].filter(x, x > 1)) > 0",
        "sum(['a'].map(x, dyn(x))) == 0",
    ],
)
def test_no_number_that_is_none_is_ever_compared(text: str) -> None:
    assert truth(text, READ, params={"ratio": 1.0})[0] is Truth.UNKNOWN
    assert truth(f"!({text})", READ, params={"ratio": 1.0})[0] is Truth.UNKNOWN


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e308, 10**400])
def test_data_that_hold_no_finite_number_are_unknown(number: float) -> None:
    assert truth("params.ratio < 1.0", READ, params={"ratio": number})[0] is Truth.UNKNOWN
    assert truth("target.spec.x < 1", READ, target={"spec": {"x": number}})[0] is Truth.UNKNOWN


@pytest.mark.parametrize("text", ["7 / 2 > 3", "diagnosis.pods.total / 2 == 0", "target.spec.replicas / 2 == 1"])
def test_dividing_whole_numbers_is_refused_and_share_is_named(text: str) -> None:
    with pytest.raises(InvalidExpression, match=r"two whole numbers are divided.*share\(part, whole\)"):
        truth(text, READ)


def test_dividing_what_turns_out_to_be_whole_numbers_is_unknown() -> None:
    answer, missing = truth("target.spec.a / target.spec.b == 3", READ, target={"spec": {"a": 7, "b": 2}})

    assert answer is Truth.UNKNOWN
    assert missing is not None
    assert "share(part, whole)" in missing.message
    assert truth("target.spec.a / target.spec.b == 3.5", READ, target={"spec": {"a": 7.0, "b": 2.0}})[0] is Truth.TRUE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("share(1, 0) > 0.5", "share(1, 0) > 0.5 has no value: share(): the whole is 0"),
        ("params.ratio / 0.0 > 1.0", "division by 0"),
        ("max([1].filter(x, x > 1)) > 0", "max() of a list that must not be empty"),
        ("quantity('much') > 1.0", "'much' is not a quantity"),
        ("timestamp('noon') < now", "String to Timestamp conversion failed"),
    ],
)
def test_the_answer_says_what_could_not_be_computed(text: str, says: str) -> None:
    _, missing = truth(text, READ, params={"ratio": 1.0})

    assert missing is not None
    assert says in missing.message


def test_a_list_that_is_too_long_is_unknown_instead_of_cut() -> None:
    pods = {**READ, "items": [POD] * (MAX_ITEMS + 1)}

    assert truth("diagnosis.pods.items.size() > 1", pods)[0] is Truth.UNKNOWN
    assert truth("diagnosis.pods.items.size() > 1", {**READ, "items": [POD] * 50})[0] is Truth.TRUE


def test_a_search_that_takes_too_long_is_unknown_and_says_so() -> None:
    target = {"spec": {"ports": list(range(200))}}
    text = "target.spec.ports.all(a, target.spec.ports.all(b, a + b >= 0))"

    answer, missing = truth(text, READ, target=target)

    assert answer is Truth.UNKNOWN
    assert missing is not None
    assert "more than 10,000 elements" in missing.message


def test_data_of_another_shape_than_declared_are_unknown() -> None:
    assert truth("diagnosis.pods.items.size() == 0", {**READ, "items": "none"})[0] is Truth.UNKNOWN
    assert truth("diagnosis.pods.total == 0", {**READ, "total": "0"})[0] is Truth.UNKNOWN
    assert truth("diagnosis.pods.items[0].ready", {**READ, "items": [{"name": "x"}]})[0] is Truth.UNKNOWN


def test_a_text_that_is_not_unicode_does_not_stop_an_evaluation() -> None:
    assert truth("target.name == '?'", READ, target={"name": "\ud800"})[0] is Truth.TRUE


def test_the_value_of_an_unknown_expression_is_missing() -> None:
    expression = CHECKER.expression("diagnosis.pods.total", place=Place.PLAN, path="p", result=Result.NUMBER)

    assert isinstance(expression.evaluate(Values()), Missing)
    assert expression.evaluate(Values(diagnosis={"pods": READ})) == Known(1)
