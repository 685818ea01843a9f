"""Ages, cuts and tables, and the names and values of expressions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from remediator.cli.references import names_in, references, variables_in
from remediator.cli.tables import RunRow, newest_first, table
from remediator.cli.text import age, middle, shown

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (12 * 60, "12m"),
        (179 * 60, "179m"),
        (3 * 3600 + 20 * 60, "3h20m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (2 * 86400 + 5 * 3600, "2d5h"),
        (5 * 86400, "5d"),
        (9 * 86400, "9d"),
        (3 * 365 * 86400, "3y"),
    ],
)
def test_an_age_is_written_as_kubectl_writes_it(seconds: int, text: str) -> None:
    assert age(timedelta(seconds=seconds)) == text


def test_a_shortened_name_keeps_what_tells_it_apart() -> None:
    assert middle("crashlooping-4f2a81c09be2d713-1", 15) == "crashlo…2d713-1"


def test_a_terminal_is_not_steered_by_what_others_wrote() -> None:
    assert shown("a\x1b]0;owned\x07b\u202ec") == "a\\x1b]0;owned\\x07b\\x202ec"


def run(name: str, minutes_ago: int = 0, **status: str) -> RunRow:
    obj: dict[str, Any] = {
        "metadata": {
            "namespace": "shop",
            "name": name,
            "creationTimestamp": (NOW - timedelta(minutes=minutes_ago)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "spec": {
            "policyRef": {"namespace": "shop", "name": "crashlooping"},
            "runbookRef": {"name": "crashlooping-pod"},
            "target": {"kind": "Deployment", "name": "checkout"},
            "mode": "Automatic",
        },
        "status": {"alert": "KubePodCrashLooping", "target": "Deployment/checkout", **status},
    }
    return RunRow.of(obj)


def test_the_newest_run_stands_on_top() -> None:
    rows = newest_first([run("b", 10), run("a", 10), run("c", 1)])

    assert [one.name for one in rows] == ["c", "a", "b"]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_table_fits_the_terminal(width: int) -> None:
    rows = [
        run("crashlooping-4f2a81c09be2d713-1", 12, state="Ended", outcome="TargetChanged", remedy="previousRelease"),
        run("crashlooping-4f2a81c09be2d713-2", 1, state="AwaitingApproval", remedy="previousRelease"),
    ]

    lines = table(rows, NOW, all_namespaces=True, width=width)

    assert max(len(line) for line in lines) <= width
    assert "TargetChanged" in lines[1] and "AwaitingApproval" in lines[2]
    assert "713-1" in lines[1] and "713-2" in lines[2]


def test_a_table_for_another_program_is_not_cut() -> None:
    lines = table([run("crashlooping-4f2a81c09be2d713-1", 12, state="Ended", outcome="Remediated")], NOW)

    assert lines[0].split() == ["NAME", "ALERT", "TARGET", "REMEDY", "STATE", "OUTCOME", "AGE"]
    assert "crashlooping-4f2a81c09be2d713-1" in lines[1]


def test_a_run_of_another_version_still_has_its_row() -> None:
    row = RunRow.of({"metadata": {"name": "x"}, "spec": {"future": []}, "status": {"state": "Pondering", "new": 1}})

    assert row.state == "Pondering"


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("diagnosis.crash.count.refused > 0", ["diagnosis.crash.count.refused"]),
        ("diagnosis.history.revisions.size() > 1", ["diagnosis.history.revisions"]),
        ("has(params.dependency) && !has(params.dependency)", ["params.dependency"]),
        ('alert.labels[?"container"].orValue("") != "debug"', ['alert.labels[?"container"]']),
        ("diagnosis.pods.items.all(p, !p.ready)", ["diagnosis.pods.items"]),
        ('target.kind == "params.secret" && mydiagnosis.x', ["target.kind"]),
        ("diagnosis.pods.?items[0].name", ["diagnosis.pods.?items[0].name"]),
    ],
)
def test_the_names_of_an_expression_are_found(expression: str, names: list[str]) -> None:
    assert list(names_in(expression)) == names


def test_a_variable_brings_what_it_is_made_of() -> None:
    variables = {"a": "variables.b + 1", "b": "diagnosis.x.value", "loop": "variables.loop"}

    assert variables_in("variables.a > variables.loop", variables) == ("a", "b", "loop")
    assert [one.name for one in references("variables.a > 0", variables, {})] == ["diagnosis.x.value"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("diagnosis.read.value", "7"),
        ("diagnosis.read.other", "absent"),
        ("diagnosis.never.value", "unknown: it was not read"),
        ("diagnosis.failed.value", "unknown: no permission"),
        ("diagnosis.skipped.value", "absent"),
        ("diagnosis.read.list", '4 items: "a", "b", "c"'),
        ("diagnosis.read.list[3]", '"d"'),
        ("diagnosis.read.nothing", "an empty list"),
        ("params.x", "absent"),
        ("latest.read.value", "read at that moment, and not kept"),
    ],
)
def test_absent_and_unknown_are_told_apart(path: str, value: str) -> None:
    values: Any = {
        "diagnosis": {
            "read": {"known": True, "value": 7, "list": ["a", "b", "c", "d"], "nothing": []},
            "failed": {"known": False, "error": "no permission"},
            "skipped": None,
        },
        "params": {},
    }

    (reference,) = references(path, {}, values)

    assert reference.value == value
