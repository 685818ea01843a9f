"""The verbs: their flags, their errors and their exit codes, without a cluster."""

import copy
import json
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from plugins import Invoke, typed_by
from remediator.adapters.evidence import ConfigMapEvidence
from remediator.cli.main import VERBS
from remediator.domain.errors import Unavailable
from remediator.domain.objects import RUN
from remediator.testing import FakeCluster, StoppedClock

DATA = Path(__file__).parents[1] / "data" / "runs"
NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
FIRST = "queue-4f2a81c09be2d713-1"
CONTENT = "runbook-9c1e5b0c7d2f4a68"


@cache
def loaded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DATA / f"{name}.yaml").read_text())
    return found


def stored(name: str) -> dict[str, Any]:
    return copy.deepcopy(loaded(name))


@pytest.fixture
def cluster() -> FakeCluster:
    fake = FakeCluster(StoppedClock(NOW))
    fake.add_namespace("remediator-system")
    fake.add(*(stored(name) for name in ("remediated", "held", "refused", "undone", "dry_run", "unknown")))
    fake.add(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"namespace": "remediator-system", "name": CONTENT},
            "data": {"spec.json": json.dumps(yaml.safe_load((DATA / "runbook.yaml").read_text()))},
        }
    )
    return fake


@pytest.fixture
def invoke(cluster: FakeCluster) -> Invoke:
    return typed_by("alice", cluster, NOW, groups=("sre", "system:authenticated"), columns=100)


def first_words(result: Result) -> list[str]:
    return [line.split()[0] for line in result.stdout.splitlines()[1:]]


def test_a_list_shows_the_newest_run_first(invoke: Invoke) -> None:
    result = invoke("list")

    assert result.exit_code == 0
    assert len(first_words(result)) == 6
    assert first_words(result)[0].endswith("713-2")


def test_a_wide_list_adds_policy_mode_and_sentence(invoke: Invoke) -> None:
    result = invoke("list", "-o", "wide")

    assert result.stdout.splitlines()[0].split()[-5:] == ["POLICY", "RUNBOOK", "MODE", "DURATION", "MESSAGE"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--open"], {"queue-4f2a81c09be2d713-2"}),
        (["--outcome", "refused"], {"queue-4f2a81c09be2d713-3"}),
        (["--policy", "queue", "--outcome", "Remediated"], {FIRST}),
        (["--policy", "nobody"], set()),
    ],
)
def test_a_list_can_be_narrowed(invoke: Invoke, flags: list[str], expected: set[str]) -> None:
    result = invoke("list", *flags, "-o", "name")

    assert result.exit_code == 0
    assert {line.removeprefix("runbookrun.remediator.dev/") for line in result.stdout.splitlines()} == expected


def test_an_empty_list_says_so_and_is_no_error(invoke: Invoke) -> None:
    result = invoke("list", "-n", "default")

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "No runs found in namespace default.\n"


def test_all_namespaces_stand_in_a_column(invoke: Invoke) -> None:
    result = invoke("list", "-A")

    assert result.stdout.split()[0] == "NAMESPACE"
    assert set(first_words(result)) == {"shop"}


def test_json_is_what_is_stored_without_secrets(invoke: Invoke, cluster: FakeCluster) -> None:
    secret = "Bearer abcdefghijklmnop12345678"
    obj = stored("remediated")
    obj["metadata"].update(name="leaky", uid="")
    obj["spec"]["reason"] = secret
    cluster.add(obj)

    document = json.loads(invoke("show", "leaky", "-o", "json").stdout)

    assert secret not in json.dumps(document)
    assert document["status"] == stored("remediated")["status"]
    assert document["status"]["startedAt"] == "2026-11-21T11:59:00Z"


def test_yaml_and_json_hold_the_same(invoke: Invoke) -> None:
    as_json = json.loads(invoke("list", "-o", "json").stdout)
    as_yaml = yaml.safe_load(invoke("list", "-o", "yaml").stdout)

    assert as_json["kind"] == "List"
    assert [one["kind"] for one in as_json["items"]] == ["RunbookRun"] * 6
    assert json.loads(json.dumps(as_yaml, default=str)) == as_json


@pytest.mark.parametrize("given", [FIRST, "713-1", f"shop/{FIRST}", f"runbookrun.remediator.dev/{FIRST}", "rbr/713-1"])
def test_a_run_is_found_by_any_unique_name(invoke: Invoke, given: str) -> None:
    result = invoke("show", given)

    assert result.exit_code == 0
    assert result.stdout.startswith(f"{FIRST} in namespace shop\nRemediated: biggerQueue helped\n")


def test_what_a_list_names_finds_the_run(invoke: Invoke) -> None:
    for name in invoke("list", "-o", "name").stdout.splitlines():
        assert invoke("show", name, "-o", "name").stdout.strip() == name


def test_a_name_that_fits_several_runs_lists_them(invoke: Invoke) -> None:
    result = invoke("show", "queue-")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: queue- fits 5 runs in namespace shop, name one of them:\n")
    assert f"\n  {FIRST}\n" in result.stderr


def test_a_run_that_is_not_there_says_where_to_look(invoke: Invoke) -> None:
    result = invoke("explain", "nothing")

    assert result.exit_code == 1
    assert "no run in namespace shop is named nothing" in result.stderr
    assert "kubectl remediate list -n shop" in result.stderr
    assert "Traceback" not in result.output


def test_who_may_not_read_is_told_what_to_ask_for(invoke: Invoke, cluster: FakeCluster) -> None:
    cluster.forbid("", "list", "runbookruns.remediator.dev")

    result = invoke("list")

    assert result.exit_code == 1
    assert "may not list runbookruns.remediator.dev in namespace shop: ask for the role view there" in result.stderr


def test_an_api_server_that_does_not_answer_is_one_sentence(invoke: Invoke, cluster: FakeCluster) -> None:
    cluster.fail_next(1, Unavailable("GET /apis/x: the API server cannot be reached: connection refused"))

    result = invoke("list")

    assert result.exit_code == 1
    assert result.stderr == (
        "Error: the API server cannot be reached: connection refused; see whether `kubectl version` gets an answer\n"
    )


def test_fields_of_another_version_do_not_hide_the_story(invoke: Invoke, cluster: FakeCluster) -> None:
    obj = stored("remediated")
    obj["metadata"].update(name="future", uid="")
    obj["status"]["somethingNew"] = True
    obj["status"]["attempts"][0]["steps"][0]["somethingElse"] = {"a": 1}
    obj["spec"]["urgency"] = "high"
    cluster.add(obj)

    story, document = invoke("show", "future"), invoke("show", "future", "-o", "yaml")

    assert (story.exit_code, document.exit_code) == (0, 0)
    assert "3 fields of another version cannot be told" in story.stderr
    assert "Remediated: biggerQueue helped" in story.stdout
    assert "somethingNew: true" in document.stdout


def test_values_of_another_version_are_shown_as_they_are_stored(invoke: Invoke, cluster: FakeCluster) -> None:
    obj = stored("remediated")
    obj["metadata"].update(name="future", uid="")
    obj["status"]["outcome"] = "Transcended"
    cluster.add(obj)

    story, document, listed = invoke("show", "future"), invoke("show", "future", "-o", "yaml"), invoke("list")

    assert (story.exit_code, document.exit_code, listed.exit_code) == (1, 0, 0)
    assert "`-o yaml` shows it as it is stored" in story.stderr
    assert "outcome: Transcended" in document.stdout
    assert "Transcended" in listed.stdout


@pytest.mark.parametrize(
    "args",
    [
        ["list", "--open", "--outcome", "Failed"],
        ["list", "--outcome", "Perfect"],
        ["list", "-w", "-o", "json"],
        ["show"],
        ["show", "x", "-o", "table"],
        ["dance"],
    ],
)
def test_wrong_usage_is_exit_code_2(invoke: Invoke, args: list[str]) -> None:
    assert invoke(*args).exit_code == 2


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_has_examples(invoke: Invoke, verb: str) -> None:
    result = invoke(verb, "--help")

    assert result.exit_code == 0
    assert f"kubectl remediate {verb}" in result.stdout
    assert invoke("--help").stdout.count(f"  {verb} ") >= 1


def test_the_evidence_is_shown_when_it_is_asked_for(invoke: Invoke, cluster: FakeCluster) -> None:
    name = asyncio_run(
        ConfigMapEvidence(cluster).keep(
            cluster.get(ref(FIRST)),
            "attempt-1",
            {"outputs": {}, "texts": {"crash": "panic: out of queue\n  at main.go"}},
        )
    )

    def with_evidence(obj: Any) -> None:
        obj["status"]["attempts"][0]["evidence"] = name

    cluster.change(ref(FIRST), with_evidence)

    assert "panic: out of queue" not in invoke("show", FIRST).stdout
    assert "    panic: out of queue\n      at main.go" in invoke("show", FIRST, "--evidence").stdout
    assert json.loads(invoke("show", FIRST, "--evidence", "-o", "json").stdout)["evidence"]["1"]["texts"]["crash"]


def test_evidence_that_is_gone_does_not_hide_the_story(invoke: Invoke) -> None:
    result = invoke("show", FIRST, "--evidence")

    assert result.exit_code == 0
    assert "is not there any more" in result.stdout
    assert "Remediated: biggerQueue helped" in result.stdout


def owing(name: str = "owing", **debt: Any) -> dict[str, Any]:
    obj = stored("remediated")
    obj["metadata"].update(name=name, uid="")
    token = obj["status"]["attempts"][0]["steps"][0]["token"]
    obj["status"]["attempts"][0]["steps"][0]["ttl"] = "37m"
    due = {"token": token, "step": "raiseQueue", "kind": "TTL", "due": "2026-11-21T12:37:00Z", **debt}
    obj["status"]["debts"] = [due]
    return obj


def test_what_is_owed_is_listed_with_what_will_be_put_back_and_when(invoke: Invoke, cluster: FakeCluster) -> None:
    cluster.add(owing(), owing("paid", state="Paid"))

    result = invoke("debts")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "owing in namespace shop  Remediated",
        "  raiseQueue  Deployment shop/checkout  in 7m, at 12:37:00Z",
        '      spec.template.spec.containers[app].env[QUEUE].value: "500" -> "50"',
    ]


def test_what_waits_for_alerts_says_so(invoke: Invoke, cluster: FakeCluster) -> None:
    cluster.add(owing(kind="Resolved"))

    said = " ".join(invoke("debts", "-A").stdout.split())

    assert "when the alerts are resolved; at the latest in 7m, at 12:37:00Z" in said


def test_what_is_owed_is_told_to_other_programs(invoke: Invoke, cluster: FakeCluster) -> None:
    cluster.add(owing())

    (debt,) = json.loads(invoke("debts", "-o", "json").stdout)

    assert (debt["run"], debt["due"], debt["kind"]) == ("owing", "2026-11-21T12:37:00Z", "TTL")
    document = json.loads(invoke("show", "owing", "-o", "json").stdout)
    assert document["status"]["debts"][0]["token"] == document["status"]["attempts"][0]["steps"][0]["token"]
    assert debt["target"] == {"kind": "Deployment", "namespace": "shop", "name": "checkout"}
    assert debt["restores"] == ['spec.template.spec.containers[app].env[QUEUE].value: "500" -> "50"']


def test_where_nothing_is_owed_it_says_so_and_is_no_error(invoke: Invoke) -> None:
    result = invoke("debts")

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "Nothing is owed in namespace shop.\n"


def test_the_story_of_a_run_tells_what_it_owes_and_what_it_could_not_take_back(
    invoke: Invoke, cluster: FakeCluster
) -> None:
    cluster.add(owing(), owing("given", state="GivenUp", settledAt="2026-11-21T12:20:00Z", message="somebody set 700"))

    story, other = invoke("show", "owing").stdout, invoke("show", "given").stdout

    assert "      what is changed stays for 37m0s\n" in story
    assert "Debts\n  Owed  raiseQueue  in 7m, at 12:37:00Z\n" in story
    assert "Debts\n  GivenUp  raiseQueue  12:20:00Z\n      somebody set 700\n" in other


def test_an_explanation_reads_the_conditions_from_the_frozen_runbook(invoke: Invoke) -> None:
    result = invoke("explain", FIRST)

    assert "when  diagnosis.backlog.value > 100.0 && !has(params.dependency)" in result.stdout
    assert "= 420.0" in result.stdout


def test_an_explanation_as_json_has_the_conditions_and_the_end(invoke: Invoke) -> None:
    document = json.loads(invoke("explain", "713-6", "-o", "json").stdout)

    verdicts = {one["remedy"]: one["verdict"] for one in document["choices"][0]["conditions"]}
    assert verdicts == {"moreMemory": "False", "biggerQueue": "Unknown", "previousRelease": "NotLookedAt"}
    assert document["end"]["outcome"] == "NoRemedy"
    assert document["end"]["alerts_stay_answered"] is True


def test_without_the_frozen_content_the_explanation_says_why(invoke: Invoke, cluster: FakeCluster) -> None:
    cluster.forbid("", "get", "configmaps", "remediator-system")

    result = invoke("explain", FIRST)

    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert f"you may not read ConfigMap remediator-system/{CONTENT}, so conditions are shown without" in said
    assert "diagnosis.backlog.value > 100.0" not in result.stdout


@pytest.mark.parametrize(("generation", "is_shown"), [(5, True), (6, False)])
def test_the_runbook_itself_stands_in_while_it_is_unchanged(
    invoke: Invoke, cluster: FakeCluster, generation: int, is_shown: bool
) -> None:
    cluster.forbid("", "get", "configmaps", "remediator-system")
    cluster.add(
        {
            "apiVersion": "remediator.dev/v1alpha1",
            "kind": "Runbook",
            "metadata": {
                "namespace": "remediator-system",
                "name": "queue-full",
                "uid": "44444444-4444-4444-4444-444444444444",
                "generation": generation,
            },
            "spec": yaml.safe_load((DATA / "runbook.yaml").read_text()),
        }
    )
    cluster.store.objects["remediator.dev", "Runbook", "remediator-system", "queue-full"]["metadata"].update(  # type: ignore[union-attr]
        generation=generation
    )

    result = invoke("explain", FIRST)

    assert ("diagnosis.backlog.value > 100.0" in result.stdout) is is_shown


def test_ctrl_c_ends_with_130_and_without_a_word(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("asyncio.run", lambda coroutine: (coroutine.close(), interrupted()))

    result = invoke("list")

    assert result.exit_code == 130
    assert "Traceback" not in result.output


@pytest.mark.parametrize("args", [["--help"], *([verb, "--help"] for verb in VERBS)])
def test_help_starts_without_the_packages_that_take_long(args: list[str]) -> None:
    code = (
        "import sys; from remediator.cli.main import plugin\n"
        f"try: plugin.main({args!r})\n"
        "except SystemExit: pass\n"
        "print([name for name in ('kopf', 'kubernetes', 'aiohttp', 'asyncio', 'pydantic', 'rich', 'yaml') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout.splitlines()[-1] == "[]"


ROOT = Path(__file__).parents[2] / "operator"


def ref(name: str) -> Any:
    from remediator.domain.objects import ObjectRef

    return ObjectRef(RUN.group, RUN.kind, "shop", name)


def asyncio_run(coroutine: Any) -> Any:
    import asyncio

    return asyncio.run(coroutine)
