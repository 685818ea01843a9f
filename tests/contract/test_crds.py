"""What is true of every generated file, and of every field of every kind."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from remediator.cli.main import VERBS
from remediator.domain.actions import ActionClass
from remediator.domain.questions import ASK, MANUAL
from remediator.domain.replies import ReplySpec, ReplyType
from remediator.domain.runbooks import WAIT
from remediator.domain.runs import RunOutcome
from remediator.domain.verdicts import Reason
from remediator.generate.__main__ import ROOT, files
from remediator.generate.catalogue import declared
from remediator.generate.crds import BARE
from remediator.generate.kinds import KINDS
from remediator.generate.reference import OUTCOMES, REASONS
from remediator.generate.speaking import WORDS, example

GENERATED = files()
CRDS = {served.kind.plural: yaml.safe_load(GENERATED[f"crds/{served.kind.plural}.yaml"]) for served in KINDS}
APPLIED_BYTES = 200_000
"""`kubectl apply` keeps the whole object in an annotation, and annotations end at 262,144 bytes."""

YAML_1_1_BOOLEANS = {"y", "n", "yes", "no", "on", "off", "true", "false"}
SHAPED_ELSEWHERE = {
    "runbooks": {
        "spec.parameters[].default",
        "spec.remedies[].steps[].setEnv.vars{}",
    },
    "alertpolicies": {"spec.parameters"},
    "runbookruns": {
        "spec.parameters",
        "status.resolved.parameters",
        "status.attempts[].outputs",
        *(
            f"status.{steps}[].{field}"
            for steps in ("attempts[].steps", "attempts[].undo", "ending.told")
            for field in ("itemValue", "change", "parameters", "output")
        ),
    },
    "replies": set(),
    "guardrails": set(),
}
"""Fields whose content the API server cannot know; all others are closed."""


def schema_of(plural: str) -> dict[str, Any]:
    return dict(CRDS[plural]["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below spec and status, with its path."""
    for name, field in schema.get("properties", {}).items():
        if path or name in ("spec", "status"):
            yield from below(field, f"{path}.{name}" if path else name)


def below(field: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, field
    yield from fields(field, path)
    if "items" in field:
        yield from below(field["items"], f"{path}[]")
    if "additionalProperties" in field:
        yield from below(field["additionalProperties"], f"{path}{{}}")


@pytest.mark.parametrize("path", GENERATED)
def test_a_generated_file_is_what_the_code_says(path: str) -> None:
    stored = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""

    assert stored == GENERATED[path], f"{path} differs from the code: run `make generate` and commit what it writes"


def test_the_same_code_writes_the_same_bytes_in_another_process() -> None:
    program = "from remediator.generate.__main__ import files; import json; print(json.dumps(dict(files())))"

    again = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT / "operator"), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(again.stdout) == dict(GENERATED)


@pytest.mark.parametrize("plural", CRDS)
def test_a_crd_is_small_enough_for_a_plain_apply(plural: str) -> None:
    assert len(json.dumps(CRDS[plural], separators=(",", ":"))) < APPLIED_BYTES


@pytest.mark.parametrize("plural", CRDS)
def test_every_field_says_what_it_means(plural: str) -> None:
    silent = [
        path
        for path, field in fields(schema_of(plural))
        if not path.endswith(("]", "}")) and "description" not in field
    ]

    assert silent == []


@pytest.mark.parametrize("plural", CRDS)
def test_a_description_is_one_sentence_or_more(plural: str) -> None:
    odd = [
        f"{path}: {field['description']}"
        for path, field in fields(schema_of(plural))
        if not re.search(r"[.…)]$", field.get("description", "."))
    ]

    assert odd == []


@pytest.mark.parametrize("plural", CRDS)
def test_everything_has_a_bound(plural: str) -> None:
    endless = []
    for path, field in fields(schema_of(plural)):
        match field.get("type"):
            case "string":
                bounded = bool({"maxLength", "enum", "format"} & field.keys())
            case "array":
                bounded = "maxItems" in field
            case "object" if "additionalProperties" in field:
                bounded = "maxProperties" in field
            case _:
                bounded = True
        if not bounded:
            endless.append(path)

    assert endless == []


@pytest.mark.parametrize("plural", CRDS)
def test_a_pattern_in_what_people_write_is_a_rule_with_words(plural: str) -> None:
    found = [(path, field) for path, field in fields(schema_of(plural)) if "pattern" in field]
    bare = [f"{path}: {field['pattern']}" for path, field in found if not path.startswith("status.")]

    assert bare == [], "add the pattern to generate/rules.py, with a sentence that says what to write"


@pytest.mark.parametrize("plural", CRDS)
def test_no_rule_is_asked_at_each_write_of_a_record(plural: str) -> None:
    asked = [path for path, field in fields(schema_of(plural)) if "x-kubernetes-validations" in field]
    of_the_record = [path for path in asked if path.startswith("status")]

    assert of_the_record == [], "for a single one the API server goes through the whole record"


@pytest.mark.parametrize("plural", CRDS)
def test_what_one_writer_writes_is_one_field_to_the_api_server(plural: str) -> None:
    atomic = {path for path, field in fields(schema_of(plural)) if field.get("x-kubernetes-map-type") == "atomic"}

    never_changes = {"spec"} if plural in ("runbookruns", "replies") else set()
    has_status = {"status"} if plural != "replies" else set()
    assert atomic == never_changes | has_status


@pytest.mark.parametrize("plural", CRDS)
def test_only_content_that_is_shaped_elsewhere_is_left_open(plural: str) -> None:
    open_ones = {path for path, field in fields(schema_of(plural)) if field.get("x-kubernetes-preserve-unknown-fields")}

    assert open_ones == SHAPED_ELSEWHERE[plural]


@pytest.mark.parametrize("plural", CRDS)
def test_nothing_reads_as_a_boolean(plural: str) -> None:
    words = set()
    for _, field in fields(schema_of(plural)):
        words.update(field.get("properties", {}))
        words.update(str(value) for value in field.get("enum", ()))
    names = CRDS[plural]["spec"]["names"]
    words |= {names["kind"], names["plural"], names["singular"], *names["shortNames"], *names["categories"]}

    assert {word for word in words if word.lower() in YAML_1_1_BOOLEANS} == set()


@pytest.mark.parametrize("plural", CRDS)
def test_a_record_keeps_no_defaults_but_words_for_people(plural: str) -> None:
    stored = {
        path
        for path, field in fields(schema_of(plural))
        if path.startswith("status") and "default" in field and "enum" not in field
    }

    assert stored == set()


@pytest.mark.parametrize(
    ("place", "classes", "also"),
    [
        ("diagnose", {ActionClass.READ}, {ASK}),
        ("remedies", set(ActionClass), {WAIT, ASK, MANUAL}),
        ("otherwise", {ActionClass.MESSAGE}, {MANUAL}),
        ("finally", {ActionClass.MESSAGE}, {MANUAL}),
    ],
)
def test_a_list_of_steps_takes_the_actions_of_its_place(place: str, classes: set[ActionClass], also: set[str]) -> None:
    field = schema_of("runbooks")["properties"]["spec"]["properties"][place]
    steps = field["items"]["properties"]["steps"] if place == "remedies" else field
    permitted = {info.name for info in declared() if info.cls in classes} | also
    everything = {info.name for info in declared()} | {WAIT, ASK, MANUAL}

    assert everything & set(steps["items"]["properties"]) == permitted
    assert steps["x-kubernetes-list-map-keys"] == ["name"]
    first = steps["items"]["x-kubernetes-validations"][0]
    assert first["message"] == f"a step has exactly one action of: {', '.join(sorted(permitted))}; {BARE}"


def test_runs_are_listed_with_the_columns_that_people_need() -> None:
    columns = CRDS["runbookruns"]["spec"]["versions"][0]["additionalPrinterColumns"]

    always = [column["name"].upper() for column in columns if not column.get("priority")]
    wide = [column["name"].upper() for column in columns if column.get("priority")]
    assert always == ["ALERT", "TARGET", "REMEDY", "STATE", "OUTCOME", "AGE"]
    assert wide == ["POLICY", "RUNBOOK", "MODE", "DURATION"]


@pytest.mark.parametrize("word", ReplyType)
def test_every_word_to_a_run_is_explained_and_its_example_can_be_said(word: ReplyType) -> None:
    said = ReplySpec.model_validate(example(word)["spec"])

    assert said.type is word
    assert f"`kubectl remediate {WORDS[word].verb}`" in GENERATED["operator/reference/replies.md"]
    assert WORDS[word].verb in VERBS


def test_every_reason_and_outcome_is_explained() -> None:
    assert set(REASONS) == set(Reason)
    assert set(OUTCOMES) == set(RunOutcome)


def test_the_folder_of_crds_holds_nothing_that_is_not_installed() -> None:
    listed = yaml.safe_load((ROOT / "crds/kustomization.yaml").read_text())["resources"]

    assert sorted(listed) == sorted(
        file.name for file in Path(ROOT / "crds").glob("*.yaml") if file.stem != "kustomization"
    )
