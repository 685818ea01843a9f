"""What is true of every playbook: its files agree with each other, and it changes nothing that it was not let."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from remediator.actions import registry
from remediator.domain.actions import ActionClass
from remediator.domain.durations import parse_duration
from remediator.engine.acceptance import AcceptedPolicy, AcceptedRunbook, accept_policy, accept_runbook
from remediator.engine.parameters import resolve
from remediator.testing.scenario import run_scenario, with_durations
from remediator.testing.script import Denial, Scenario, Script, Setting, read_script

ROOT = Path(__file__).resolve().parents[2] / "playbooks"
FOLDERS = sorted(file.parent for file in ROOT.glob("*/runbook.yaml"))
ACTING = {"Remediated", "Undone", "Failed"}

each = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def manifest(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
    return found


@cache
def book(folder: Path) -> AcceptedRunbook:
    found = manifest(folder, "runbook.yaml")
    meta = found["metadata"]
    return accept_runbook(meta["namespace"], meta["name"], "uid", 1, found["spec"], registry)


def policy(folder: Path, **spec: Any) -> AcceptedPolicy:
    found = manifest(folder, "policy.yaml")
    meta = found["metadata"]
    text = {**found["spec"], **spec}
    return accept_policy(
        meta["namespace"], meta["name"], "uid", 1, text, book(folder), "remediator-system", can_ask=False
    )


def script(folder: Path) -> Script:
    return read_script(folder / "scenario.yaml")


def page(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def section(folder: Path, title: str) -> str:
    """The text under one heading of the page."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page(folder), re.MULTILINE | re.DOTALL)
    assert found, f"{folder.name}: the page has no section {title}"
    return found[1]


def rows(text: str) -> Iterator[str]:
    """The first column of the tables in a text, without their heads."""
    for line in text.splitlines():
        cells = re.split(r"(?<!\\)\|", line)
        if len(cells) > 2 and not set(cells[1]) <= set("- "):
            yield cells[1].strip()


def named(text: str) -> set[str]:
    """What the rows of a table name in backquotes."""
    return {name for row in rows(text) for name in re.findall(r"`([^`]+)`", row)}


def test_there_is_a_playbook_for_each_of_the_five_systems() -> None:
    assert len(FOLDERS) >= 5


@each
def test_a_playbook_has_its_files_and_no_others(folder: Path) -> None:
    found = {path.name for path in folder.iterdir() if not path.name.startswith("transcript-")}

    assert found - {"policy.yaml", "run.yaml"} == {"README.md", "runbook.yaml", "scenario.yaml"}
    assert len(found & {"policy.yaml", "run.yaml"}) == 1


@each
def test_everything_bears_the_name_of_the_folder(folder: Path) -> None:
    assert book(folder).name == folder.name
    assert book(folder).namespace == "remediator-system"
    assert page(folder).startswith(f"# {folder.name}\n")
    assert f"]({folder.name}/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@each
def test_what_starts_it_is_ready_and_changes_nothing_as_it_is_installed(folder: Path) -> None:
    if (folder / "run.yaml").exists():
        spec = manifest(folder, "run.yaml")["spec"]
        assert spec["mode"] == "DryRun"
        resolve(book(folder).spec.parameters, spec["parameters"], {})
        return

    accepted = policy(folder)

    assert str(accepted.spec.mode) == "DryRun"
    assert accepted.namespace != "remediator-system"
    assert accepted.spec.service_account_name
    assert policy(folder, mode="Automatic").spec.mode.rank == 3, "it could not be let act"


@each
def test_descriptions_say_what_every_parameter_and_the_whole_is_for(folder: Path) -> None:
    assert len(book(folder).spec.description) > 60
    assert all(len(parameter.description) > 20 for parameter in book(folder).spec.parameters)


@each
def test_the_page_lists_the_remedies_in_their_order(folder: Path) -> None:
    head = page(folder).partition("\n## ")[0]

    listed = [name.strip("`") for name in rows(head)][1:]

    assert listed == [remedy.name for remedy in book(folder).remedies]


@each
def test_the_page_lists_the_parameters_and_no_others(folder: Path) -> None:
    assert named(section(folder, "Parameters")) == {parameter.name for parameter in book(folder).spec.parameters}


@each
def test_the_page_gives_the_defaults_as_they_are(folder: Path) -> None:
    text = section(folder, "Parameters")

    for parameter in book(folder).spec.parameters:
        row = next(line for line in text.splitlines() if f"`{parameter.name}`" in line)
        if parameter.default is not None:
            assert str(parameter.default) in row, f"{parameter.name}: {row}"
        if parameter.required:
            assert "required" in row


@each
def test_the_page_cites_the_lines_that_it_comes_from(folder: Path) -> None:
    assert re.search(r"lines \d+-\d+", section(folder, "Source"))
    assert len(list(rows(section(folder, "What was corrected, and why")))) > 3


@each
def test_the_page_names_the_alerts_that_the_policy_matches(folder: Path) -> None:
    if not (folder / "policy.yaml").exists():
        return
    rules = set(re.findall(r"- alert: (\w+)", section(folder, "What it needs")))
    matcher = next(one for one in policy(folder).matchers if one.name == "alertname")

    assert rules
    for alert in rules:
        assert matcher.matches({"alertname": alert}), f"the policy does not match {alert}"
    for firing in [one for case in script(folder).scenarios for one in case.alerts or script(folder).alerts]:
        assert firing.labels["alertname"] in rules, f"the page has no rule for {firing.labels['alertname']}"


@each
def test_the_page_names_every_receiver_and_every_action_that_changes_something(folder: Path) -> None:
    needs = section(folder, "What it needs")
    changing = {use.action for use in book(folder).uses if registry.info(use.action).cls is ActionClass.CHANGE}

    for receiver in book(folder).receivers:
        assert re.search(rf"\*\*Receiver\*\* `{receiver}`", needs), receiver
    guardrail = re.search(r"\*\*Guardrail\*\* that allows (.*?) in the namespace", needs)
    assert guardrail
    assert set(re.findall(r"`(\w+)`", guardrail[1])) == changing


@each
def test_every_receiver_is_there_in_the_scenarios(folder: Path) -> None:
    assert set(book(folder).receivers) <= set(script(folder).world.receivers)


@each
def test_every_remedy_is_reached_by_a_scenario(folder: Path) -> None:
    ends = [end for one in script(folder).scenarios for end in (one.expect, one.expect.then) if end is not None]
    reached = {end.remedy for end in ends}

    assert {remedy.name for remedy in book(folder).remedies} <= reached


@each
def test_every_remedy_that_changes_something_is_seen_to_help(folder: Path) -> None:
    helped = {one.expect.remedy for one in script(folder).scenarios if one.expect.outcome == "Remediated"}

    assert {remedy.name for remedy in book(folder).remedies if remedy.changes} <= helped


@each
def test_there_are_situations_in_which_it_must_not_act(folder: Path) -> None:
    refused = [one for one in script(folder).scenarios if one.expect.outcome not in ACTING | {"HandedOver"}]

    assert len(refused) >= 4


@each
def test_no_text_stands_alone_for_what_is_unknown(folder: Path) -> None:
    """A remedy that asks a person ends at once, and its page is not sent twice."""
    for remedy in book(folder).remedies:
        if not remedy.changes and remedy.remedy.conclude is None:
            assert remedy.checks == (), f"{remedy.name} would wait for the alert to resolve by itself"
    asking = [one for one in book(folder).remedies if not one.changes and one.remedy.conclude is None]
    if asking:
        assert all("HandedOver" in (step.step.when or "") for step in book(folder).otherwise)


def first_that_acts(folder: Path) -> list[Scenario]:
    """One scenario for each remedy that changes something."""
    found: dict[str, Scenario] = {}
    for scenario in script(folder).scenarios:
        if scenario.expect.outcome in ACTING:
            found.setdefault(scenario.expect.remedy, scenario)
    return list(found.values())


ACTS = [(folder, scenario) for folder in FOLDERS for scenario in first_that_acts(folder)]


@pytest.mark.parametrize(("folder", "scenario"), ACTS, ids=lambda one: getattr(one, "name", ""))
@pytest.mark.parametrize("mode", ["Diagnose", "DryRun"])
async def test_nothing_is_changed_by_a_mode_that_does_not_let_it(folder: Path, scenario: Scenario, mode: str) -> None:
    result = await run_scenario(folder / "scenario.yaml", scenario.name, mode=mode)

    assert result.changes == (), result.transcript
    assert str(result.outcome) in ("Diagnosed", "DryRun"), result.transcript


@pytest.mark.parametrize(("folder", "scenario"), ACTS, ids=lambda one: getattr(one, "name", ""))
async def test_nothing_is_changed_by_an_account_that_may_do_nothing(folder: Path, scenario: Scenario) -> None:
    world = scenario.world.with_(Setting(denied=[Denial(verb="*", resource="*")]))

    result = await run_scenario(folder / "scenario.yaml", scenario=scenario.model_copy(update={"world": world}))

    assert result.writes == (), result.transcript
    assert result.outcome is None or str(result.outcome) in ("Refused", "NoRemedy"), result.transcript


@each
def test_a_playbook_can_be_made_faster_for_a_test_on_a_cluster(folder: Path) -> None:
    fast = with_durations(manifest(folder, "runbook.yaml"), 0.01)

    accepted = accept_runbook("remediator-system", folder.name, "uid", 1, fast["spec"], registry)

    for remedy in accepted.remedies:
        for check in remedy.checks:
            if check.check.alert_resolved is not None:
                assert check.check.alert_resolved.quiet_for <= parse_duration("10s")
