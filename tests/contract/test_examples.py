"""
Every manifest that stands anywhere in the repository as an example is one that the operator accepts.

Collected are the playbooks, the fenced YAML of every page and docstring, and `tests/data/valid`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from remediator.actions import registry
from remediator.domain.errors import InvalidManifest
from remediator.domain.expressions import Truth, Values
from remediator.domain.objects import GROUP
from remediator.domain.runs import RunbookRunSpec
from remediator.engine.acceptance import (
    AcceptedPolicy,
    AcceptedRunbook,
    CompiledStep,
    accept_guardrail,
    accept_policy,
    accept_runbook,
)
from remediator.engine.manifests import parsed

ROOT = Path(__file__).resolve().parents[2]
OPERATOR_NAMESPACE = "remediator-system"
FENCE = re.compile(r"^(?P<indent>[ \t]*)```ya?ml\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
SKIPPED = {".git", ".venv", "crds", "node_modules", "invalid"}


@dataclass(frozen=True)
class Example:
    """One manifest, and where it stands."""

    file: Path
    manifest: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.manifest["kind"])

    @property
    def name(self) -> str:
        metadata = self.manifest["metadata"]
        return str(metadata.get("name") or metadata["generateName"])

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"].get("namespace", OPERATOR_NAMESPACE))

    @property
    def spec(self) -> Any:
        return self.manifest.get("spec", {})

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.kind}/{self.name}"


def files(*endings: str) -> Iterator[Path]:
    for ending in endings:
        for file in sorted(ROOT.rglob(f"*{ending}")):
            if not SKIPPED.intersection(file.relative_to(ROOT).parts):
                yield file


def texts() -> Iterator[tuple[Path, str]]:
    for file in files(".md", ".py"):
        if file != Path(__file__):
            content = file.read_text(encoding="utf-8")
            yield from ((file, _dedented(fence)) for fence in FENCE.finditer(content))
    for folder in (ROOT / "playbooks", ROOT / "tests" / "data" / "valid"):
        for file in sorted(folder.rglob("*.yaml")):
            yield file, file.read_text(encoding="utf-8")


def _dedented(fence: "re.Match[str]") -> str:
    indent = fence["indent"]
    return "\n".join(line.removeprefix(indent) for line in fence["text"].splitlines())


def examples() -> Iterator[Example]:
    for file, text in texts():
        for manifest in yaml.safe_load_all(text):
            is_ours = isinstance(manifest, dict) and str(manifest.get("apiVersion", "")).startswith(f"{GROUP}/")
            if is_ours and "metadata" in manifest:
                yield Example(file, manifest)


EXAMPLES = list(examples())


def of(kind: str) -> list[Example]:
    return [example for example in EXAMPLES if example.kind == kind]


def accepted(example: Example) -> AcceptedRunbook:
    return accept_runbook(example.namespace, example.name, "uid", 1, example.spec, registry)


def runbook_of(policy: Example) -> AcceptedRunbook:
    """The Runbook that the example names, from the nearest place that has it."""
    ref = policy.spec["runbookRef"]
    wanted = (ref.get("namespace", policy.namespace), ref["name"])
    found = [one for one in of("Runbook") if (one.namespace, one.name) == wanted]
    assert found, f"no example is the Runbook {'/'.join(wanted)}"
    return accepted(min(found, key=lambda one: (one.file != policy.file, one.file.parent != policy.file.parent)))


def accepted_policy(example: Example) -> AcceptedPolicy:
    book = runbook_of(example)
    return accept_policy(
        example.namespace, example.name, "uid", 1, example.spec, book, OPERATOR_NAMESPACE, can_ask=True
    )


def test_there_are_examples_of_every_kind_that_people_write() -> None:
    assert {example.kind for example in EXAMPLES} >= {"Runbook", "AlertPolicy", "Guardrail"}


@pytest.mark.parametrize("example", of("Runbook"), ids=str)
def test_a_runbook_is_accepted(example: Example) -> None:
    book = accepted(example)

    again = accept_runbook(book.namespace, book.name, "uid", 1, book.content, registry)
    assert again.spec == book.spec


@pytest.mark.parametrize("example", of("AlertPolicy"), ids=str)
def test_a_policy_is_accepted(example: Example) -> None:
    assert accepted_policy(example).matchers


@pytest.mark.parametrize("example", of("Guardrail"), ids=str)
def test_a_guardrail_is_accepted(example: Example) -> None:
    guardrail, problems = accept_guardrail(example.name, example.spec, registry)

    assert problems == ()
    assert guardrail.spec is not None


@pytest.mark.parametrize("example", of("RunbookRun"), ids=str)
def test_a_run_by_hand_is_well_formed(example: Example) -> None:
    try:
        parsed(RunbookRunSpec, {"requestedBy": "who asks", **example.spec}, "spec")
    except InvalidManifest as error:
        pytest.fail(str(error))


@pytest.mark.parametrize("example", of("Runbook"), ids=str)
def test_no_expression_of_a_runbook_takes_an_unknown_world_for_a_known_one(example: Example) -> None:
    book, unknown = accepted(example), Values()

    for remedy in book.remedies:
        if remedy.when is not None and remedy.when.names:
            assert remedy.when.truth(unknown)[0] is Truth.UNKNOWN, f"{remedy.name}: {remedy.when.text}"
        for check in remedy.checks:
            if check.that is not None:
                assert check.that.truth(unknown)[0] is Truth.UNKNOWN, check.that.text
            if check.query is not None:
                check.query.evaluate(unknown)
    for step in book.steps():
        evaluate(step, unknown)


@pytest.mark.parametrize("example", of("AlertPolicy"), ids=str)
def test_no_expression_of_a_policy_raises_over_an_unknown_world(example: Example) -> None:
    policy, unknown = accepted_policy(example), Values()

    if policy.when is not None:
        assert policy.when.truth(unknown)[0] is not Truth.TRUE or not policy.when.names
    if policy.target is not None:
        policy.target.render(unknown, policy.namespace)


def evaluate(step: CompiledStep, values: Values) -> None:
    """Everything that the step asks or renders; none of it may raise."""
    for condition in (step.when, step.until):
        if condition is not None:
            condition.truth(values)
    if step.for_each is not None:
        step.for_each.evaluate(values)
    if step.target is not None:
        step.target.render(values, "shop")
    step.parameters.evaluate(values)
    step.parameters.text(values)
