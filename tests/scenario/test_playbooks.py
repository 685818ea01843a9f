"""
Every scenario of every playbook, played by the whole operator on fakes and compared with its transcript.

`UPDATE_GOLDEN=1 pytest tests/scenario/test_playbooks.py` writes the transcripts; review them in the diff.
"""

import os
from pathlib import Path

import pytest

from remediator.testing.scenario import run_scenario
from remediator.testing.script import Scenario, read_script

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
FILES = sorted(PLAYBOOKS.glob("*/scenario.yaml"))
SCENARIOS = [(file, scenario) for file in FILES for scenario in read_script(file).scenarios]


def ids(value: object) -> str:
    return value.parent.name if isinstance(value, Path) else value.name if isinstance(value, Scenario) else ""


@pytest.mark.parametrize(("file", "scenario"), SCENARIOS, ids=ids)
async def test_a_scenario_ends_as_it_says_and_tells_the_story_that_was_reviewed(file: Path, scenario: Scenario) -> None:
    golden = file.parent / f"transcript-{scenario.name}.txt"

    result = await run_scenario(file, scenario.name)

    for run, expected in zip(result.runs, (scenario.expect, scenario.expect.then), strict=False):
        if expected is not None:
            assert (str(run.status.outcome), run.status.remedy) == (expected.outcome, expected.remedy), (
                result.transcript
            )
    assert scenario.expect.reason in ("", result.reason), result.transcript
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(result.transcript, encoding="utf-8")
    assert golden.exists(), f"review it, then write it with UPDATE_GOLDEN=1:\n{result.transcript}"
    assert result.transcript == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_every_transcript_belongs_to_a_scenario(file: Path) -> None:
    told = {path.name for path in file.parent.glob("transcript*.txt")}

    assert told == {f"transcript-{scenario.name}.txt" for scenario in read_script(file).scenarios}


async def test_playing_a_scenario_twice_tells_the_same_story() -> None:
    file, scenario = SCENARIOS[0]

    first, second = await run_scenario(file, scenario.name), await run_scenario(file, scenario.name)

    assert first.transcript == second.transcript
