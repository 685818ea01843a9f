"""The reason that stands on the record is the one on the event, on the metric and in the condition."""

import pytest
from prometheus_client import CollectorRegistry

from flows import fired, world
from remediator.domain.runs import Ending, Held, RunOutcome, StepState
from remediator.domain.verdicts import Reason
from remediator.engine.record import with_ending, with_entry, with_status, with_step
from remediator.engine.report import reported
from remediator.handlers.announce import Announcer, objections
from remediator.handlers.metrics import RunMetrics
from remediator.testing.fakes import FakeEvents
from worlds import NOON, run

HELD = Held(reason=str(Reason.COOLING_DOWN), message="it rests", since=NOON)


def counted(registry: CollectorRegistry, name: str, reason: str) -> float:
    return registry.get_sample_value(name, {"reason": reason}) or 0.0


async def test_a_run_that_is_held_says_why_in_the_event_the_metric_and_the_condition() -> None:
    made = world("targets: [Deployment]\nremedies: []\n")
    registry = CollectorRegistry()
    before, after = run(), with_status(run(), held=HELD)

    await Announcer(made.outside, RunMetrics(registry)).progressed(before, after)

    assert isinstance(made.events, FakeEvents)
    assert "CoolingDown" in [event.reason for event in made.events.recorded]
    assert counted(registry, "remediator_runs_held_total", "CoolingDown") == 1
    assert [one.reason for one in reported(after, NOON).status.conditions if one.type == "Succeeded"] == ["CoolingDown"]


def test_a_run_that_goes_on_standing_still_for_one_reason_is_told_once() -> None:
    before = with_status(run(), held=HELD)
    later = with_status(run(), held=HELD.model_copy(update={"message": "it rests for a minute more"}))

    assert objections(before, later) == ()


def test_a_refused_step_is_told_with_the_guards_reason() -> None:
    refused = with_step(run(), 0, state=StepState.REFUSED, reason=str(Reason.BLAST_RADIUS), message="too many")

    assert [(one.reason, one.is_final) for one in objections(run(), refused)] == [("BlastRadius", True)]


def test_a_remedy_that_could_not_be_planned_is_told_once_and_its_condition_names_the_guard() -> None:
    ended = with_ending(run(), NOON, RunOutcome.REFUSED, str(Reason.OUT_OF_BOUNDS), "too much")
    closed = with_status(ended, outcome=RunOutcome.REFUSED)

    assert [one.reason for one in objections(run(), ended)] == ["OutOfBounds"]
    assert objections(ended, closed) == ()
    assert [one.reason for one in reported(closed, NOON).status.conditions if one.type == "Succeeded"] == [
        "OutOfBounds"
    ]


def test_a_run_that_needs_nothing_any_more_is_no_refusal() -> None:
    ending = Ending(outcome=RunOutcome.NOT_NEEDED, reason=str(Reason.STALE_ALERT), message="over")

    assert objections(run(), with_status(run(), ending=ending)) == ()


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_counters_from_the_start(reason: Reason) -> None:
    registry = CollectorRegistry()
    RunMetrics(registry)

    for name in ("remediator_runs_held_total", "remediator_changes_refused_total"):
        assert registry.get_sample_value(name, {"reason": str(reason)}) == 0


@pytest.mark.parametrize(("outcome", "told"), [(None, True), (RunOutcome.FAILED, True), (RunOutcome.REMEDIATED, False)])
async def test_the_start_of_a_change_is_told_unless_its_good_end_is_told_with_it(
    outcome: RunOutcome | None, told: bool
) -> None:
    made = world("targets: [Deployment]\nremedies: []\n")
    after = with_status(with_entry(run(), NOON, "start", "raise: Deployment shop/checkout"), outcome=outcome)

    await Announcer(made.outside).progressed(run(), after)

    assert isinstance(made.events, FakeEvents)
    assert ("RemedyStarted" in [event.reason for event in made.events.recorded]) is told


async def test_an_end_is_counted_by_its_outcome() -> None:
    world_ = world("targets: [Deployment]\nremedies: []\n")
    registry = CollectorRegistry()
    ended = with_ending(await fired(world_), NOON, RunOutcome.DONE, "InformationOnly", "nothing to do")

    await Announcer(world_.outside, RunMetrics(registry)).ended(ended)

    assert registry.get_sample_value("remediator_runs_ended_total", {"outcome": "Done"}) == 1
