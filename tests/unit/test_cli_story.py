"""
The story and the explanation of a run, as people read them.

The golden files are reviewed by eye; `UPDATE_GOLDEN=1 pytest tests/unit/test_cli_story.py` writes them anew.
"""

import copy
import os
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import worlds
from remediator.cli.explanation import MEANINGS, RELEASES, coverage_of, explanation_of, told
from remediator.cli.story import changed_values, path_text, story_of
from remediator.cli.tables import SUCCESSES
from remediator.cli.text import Story, rendered
from remediator.domain.changes import FieldPath
from remediator.domain.runs import Run, RunOutcome
from remediator.domain.verdicts import Reason

DATA = Path(__file__).parents[1] / "data"
NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
RUNBOOK = yaml.safe_load((DATA / "runs" / "runbook.yaml").read_text())
RUNS = ("remediated", "held", "refused", "undone", "dry_run", "unknown", "second_round", "asked")
WIDTH = 100
SCREEN_LINES = 40


@cache
def loaded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DATA / "runs" / f"{name}.yaml").read_text())
    return found


def stored(name: str) -> dict[str, Any]:
    return copy.deepcopy(loaded(name))


def run_named(name: str) -> Run:
    return Run.parse(stored(name))


def shown(run: Run, **more: Any) -> str:
    return rendered(story_of(run, NOW, operator_namespace="remediator-system", **more), width=WIDTH)


def explained(run: Run, content: Any = RUNBOOK, problem: str = "") -> str:
    story: Story = told(explanation_of(run, content, problem, {}), run, NOW)
    return rendered(story, width=WIDTH)


def is_golden(text: str, name: str) -> None:
    """The text is what the file holds, or the file is written anew."""
    path = DATA / "stories" / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    assert text + "\n" == path.read_text(), "look at the difference; UPDATE_GOLDEN=1 writes the file anew"


@pytest.mark.parametrize("name", RUNS)
def test_a_story_reads_as_it_was_reviewed(name: str) -> None:
    is_golden(shown(run_named(name)), f"show-{name}.txt")


@pytest.mark.parametrize("name", RUNS)
def test_an_explanation_reads_as_it_was_reviewed(name: str) -> None:
    is_golden(explained(run_named(name)), f"explain-{name}.txt")


@pytest.mark.parametrize("name", ["remediated", "held", "refused", "dry_run", "unknown"])
def test_the_story_of_a_simple_run_fits_one_screen(name: str) -> None:
    lines = shown(run_named(name)).splitlines()

    assert len(lines) <= SCREEN_LINES
    assert max(len(line) for line in lines) <= WIDTH


@pytest.mark.parametrize("name", RUNS)
def test_a_narrow_terminal_breaks_no_word(name: str) -> None:
    narrow = rendered(story_of(run_named(name), NOW, operator_namespace="remediator-system", whole=True), width=80)
    unbounded = shown(run_named(name), whole=True)

    assert narrow.split() == unbounded.split()


def test_the_whole_story_leaves_no_line_of_the_timeline_out() -> None:
    run = run_named("undone")

    text = " ".join(shown(run, whole=True).split())

    assert all(f"{entry.what} {entry.message}" in text for entry in run.status.timeline)


def test_what_was_replaced_stands_beside_what_replaced_it() -> None:
    run = run_named("remediated")
    assert run.status.attempt is not None

    lines = changed_values(run.status.attempt.steps[0])

    assert lines == ['spec.template.spec.containers[app].env[QUEUE].value: "50" -> "500"']


def test_a_value_that_was_not_there_is_absent_and_not_empty() -> None:
    lines = changed_values(worlds.step())

    assert lines == ['spec.template.spec.containers[app].env[QUEUE].value: (absent) -> "500"']


def test_a_path_is_written_as_people_read_it() -> None:
    path = FieldPath.parse("/metadata/annotations/team.dev~1owner")

    assert path_text(path) == "metadata.annotations.team.dev/owner"


def test_a_run_that_nobody_has_looked_at_yet_says_so() -> None:
    obj = stored("remediated")
    del obj["status"]

    text = shown(Run.parse(obj))

    assert "the operator has not looked at it yet" in text
    assert "Automatic (asked for)" in text


def test_a_planned_run_of_the_engine_can_be_told() -> None:
    text = shown(worlds.run())

    assert "Planned  raise  setEnv Deployment shop/checkout" in text


def test_a_run_that_has_become_old_says_what_is_left_of_it() -> None:
    old = stored("remediated")
    old["status"] |= {"stillFiring": "2026-11-21T06:00:00Z", "evidenceExpired": "2026-11-21T12:00:00Z"}
    lines = shown(Run.parse(old)).splitlines()

    assert any("Sent again" in line and "last at about 2026-11-21 06:00:00Z" in line for line in lines)
    assert any("what was captured was deleted at 2026-11-21 12:00:00Z" in line for line in lines)
    assert not any("--evidence" in line for line in lines)


def test_secrets_and_terminal_sequences_of_others_are_not_printed() -> None:
    obj = stored("remediated")
    obj["status"]["timeline"][0]["message"] = "\x1b[2Jtoken=abcdefghijklmnop1234 and Bearer abcdefghijklmnop1234"

    text = shown(Run.parse(obj), whole=True)

    assert "\x1b" not in text
    assert "abcdefghijklmnop1234" not in text


def test_colours_change_nothing_but_the_colour() -> None:
    import re

    story = story_of(run_named("undone"), NOW, operator_namespace="remediator-system")
    coloured = rendered(story, width=WIDTH, colour=True)

    assert "\x1b[31m" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == rendered(story, width=WIDTH)


def test_an_explanation_without_the_frozen_runbook_says_so_and_goes_on() -> None:
    text = explained(run_named("remediated"), None, "ConfigMap remediator-system/runbook-1 is not there")

    assert "ConfigMap remediator-system/runbook-1 is not there" in text
    assert "False  moreMemory" in text
    assert "taken: the first that is True" in text


def test_an_explanation_says_what_would_release_a_run_that_is_held() -> None:
    text = explained(run_named("held"))

    assert "released  when the time passes, or the policy's `limits.cooldown` becomes shorter" in text
    assert "until     12:45:35Z, in 15m" in text


def test_what_holds_a_run_holds_its_next_step_and_not_those_behind_it() -> None:
    obj = stored("held")
    steps = obj["status"]["attempts"][0]["steps"]
    steps.append({**steps[0], "name": "raiseAgain"})

    guards = explanation_of(Run.parse(obj), RUNBOOK, "", {}).guards

    assert [(one.step, one.verdict) for one in guards] == [("raiseQueue", "CoolingDown"), ("raiseAgain", "NotAsked")]


def test_a_wait_that_is_over_on_paper_is_not_said_to_lie_ahead() -> None:
    run = run_named("held")
    late = datetime(2026, 11, 21, 13, 45, 35, tzinfo=UTC)

    text = rendered(told(explanation_of(run, RUNBOOK, "", {}), run, late))

    assert "60m ago: the operator is late, or stands still" in text


def test_a_diagnosis_that_was_too_large_for_the_record_is_taken_from_the_evidence() -> None:
    obj = stored("remediated")
    outputs = obj["status"]["attempts"][0].pop("outputs")
    run = Run.parse(obj)

    without = explanation_of(run, RUNBOOK, "", {})
    with_evidence = explanation_of(run, RUNBOOK, "", {1: outputs})

    def backlog(explanation: Any) -> str:
        values = {one.name: one.value for condition in explanation.choices[0].conditions for one in condition.values}
        return str(values["diagnosis.backlog.value"])

    assert backlog(without) == "unknown: it was not read"
    assert backlog(with_evidence) == "420.0"


def test_a_remedy_above_one_that_was_tried_is_not_said_to_have_been_outrun() -> None:
    choice = explanation_of(run_named("second_round"), RUNBOOK, "", {}).choices[1]

    messages = {one.remedy: one.message for one in choice.conditions}

    assert messages["moreMemory"].startswith("it stands before biggerQueue, which was tried already")
    assert messages["biggerQueue"] == "it was tried before"


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_to_wait_says_what_would_release_it(reason: Reason) -> None:
    assert RELEASES[reason]


@pytest.mark.parametrize("outcome", RunOutcome)
def test_every_outcome_says_what_it_means_and_what_becomes_of_the_alerts(outcome: RunOutcome) -> None:
    coverage = coverage_of(run_named("remediated"), outcome)

    assert MEANINGS[outcome]
    assert ("stays answered" in coverage) == outcome.covers
    assert ("until AlertPolicy shop/queue is changed" in coverage) == outcome.covers_until_policy_changes


def test_the_outcomes_shown_as_good_are_those_that_succeed() -> None:
    assert {str(outcome) for outcome in RunOutcome if outcome.is_success} == SUCCESSES
