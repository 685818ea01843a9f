from remediator.actions.base import observe
from remediator.actions.diagnostics.promql import Promql, PromqlParameters
from remediator.domain.errors import Rejected
from remediator.testing import FakeMetrics
from unit.actions.world import reader, shop

UP = PromqlParameters(query="up")


async def ask(metrics: FakeMetrics, parameters: PromqlParameters = UP):
    return (await observe(Promql(), parameters, reader(shop(), metrics=metrics))).output


async def test_one_series_has_a_value() -> None:
    metrics = FakeMetrics()
    metrics.answer("up", 0.25)

    seen = await ask(metrics)

    assert seen.value == 0.25
    assert [sample.value for sample in seen.samples] == [0.25]


async def test_nothing_found_is_known_and_has_no_value() -> None:
    metrics = FakeMetrics()
    metrics.series("up")

    seen = (await ask(metrics)).as_json()

    assert seen["known"]
    assert "value" not in seen
    assert seen["samples"] == []


async def test_several_series_have_no_single_value() -> None:
    metrics = FakeMetrics()
    metrics.series("up", ({"pod": "a"}, 1.0), ({"pod": "b"}, 2.0))

    seen = (await ask(metrics)).as_json()

    assert "value" not in seen
    assert [sample["labels"]["pod"] for sample in seen["samples"]] == ["a", "b"]


async def test_a_number_that_is_none_is_no_value() -> None:
    metrics = FakeMetrics()
    metrics.answer("up", None)

    seen = (await ask(metrics)).as_json()

    assert "value" not in seen
    assert "value" not in seen["samples"][0]


async def test_more_series_than_asked_for_are_cut_and_say_so() -> None:
    metrics = FakeMetrics()
    metrics.series("up", *(({"pod": str(number)}, 1.0) for number in range(5)))

    seen = await ask(metrics, PromqlParameters(query="up", limit=3))

    assert seen.truncated
    assert len(seen.samples) == 3


async def test_a_silent_a_refusing_or_an_unknown_prometheus_is_not_an_answer() -> None:
    silent, refusing = FakeMetrics(), FakeMetrics()
    silent.unreachable = True
    refusing.answer("up", Rejected("parse error"))

    for metrics, parameters in (
        (silent, UP),
        (refusing, UP),
        (FakeMetrics(), PromqlParameters(query="up", endpoint="x")),
    ):
        seen = await ask(metrics, parameters)
        assert not seen.known
        assert seen.error
