"""`kubectl remediate approve` and its siblings, without a cluster."""

import copy
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from remediator.adapters.evidence import ConfigMapEvidence
from remediator.cli import replying
from remediator.cli.connect import Connected, Wanted, caller
from remediator.cli.main import plugin
from remediator.domain.json import Object
from remediator.domain.objects import REPLY, RUN, Kind, ObjectRef
from remediator.testing import FakeCluster, StoppedClock

DATA = Path(__file__).parents[1] / "data" / "runs"
NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
ASKED = "queue-4f2a81c09be2d713-6"
PLAN = "9c1e5b0c7d2f4a689c1e5b0c7d2f4a68"
LOADED = {name: yaml.safe_load((DATA / f"{name}.yaml").read_text()) for name in ("asked", "remediated", "held")}

Invoke = Callable[..., Result]


class Terminal:
    """Who types, and what the cluster does while they think."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.user = "alice"
        self.groups: tuple[str, ...] = ("sre", "dev", "system:authenticated")
        self.meanwhile: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def connected(self, wanted: Wanted) -> AsyncIterator[Connected]:
        async def whoami() -> tuple[str, tuple[str, ...]]:
            self.meanwhile()
            return self.user, self.groups

        yield Connected(
            cluster=self.cluster,
            evidence=ConfigMapEvidence(self.cluster),
            clock=StoppedClock(NOW),
            namespace=wanted.namespace or "shop",
            operator_namespace=wanted.operator_namespace,
            whoami=whoami,
        )

    def types(self, *args: str, answers: str = "") -> Result:
        runner = CliRunner(env={"COLUMNS": "100"})
        return runner.invoke(plugin, list(args), obj=self.connected, input=answers)

    @property
    def said(self) -> list[dict[str, Any]]:
        """The specs of all Replies."""
        return [dict(obj["spec"]) for obj in self.cluster.objects(REPLY)]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    fake = FakeCluster(StoppedClock(NOW))
    fake.add(*(copy.deepcopy(one) for one in LOADED.values()))
    monkeypatch.setattr(replying, "is_terminal", lambda: True)
    return Terminal(fake)


def test_an_approval_is_for_the_plan_that_was_shown_with_the_groups_that_are_asked(terminal: Terminal) -> None:
    result = terminal.types("approve", "713-6", "--reason", "looks right", answers="y\n")

    assert result.exit_code == 0, result.output
    assert 'env[QUEUE].value: "50" -> "500"' in result.stderr
    assert "Guardrail production asks for 2 of sre" in result.stderr
    assert terminal.said == [
        {
            "runRef": {"name": ASKED, "uid": LOADED["asked"]["metadata"]["uid"]},
            "type": "Approve",
            "planHash": PLAN,
            "user": "alice",
            "groups": ["sre"],
            "reason": "looks right",
        }
    ]


def test_whoever_says_no_to_the_question_says_nothing_to_the_run(terminal: Terminal) -> None:
    result = terminal.types("approve", "713-6", answers="n\n")

    assert result.exit_code == 130
    assert terminal.said == []


def test_where_nobody_can_be_asked_yes_must_be_given(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replying, "is_terminal", lambda: False)

    refused = terminal.types("approve", "713-6")
    done = terminal.types("approve", "713-6", "--yes", "-o", "name")

    assert refused.exit_code == 1
    assert "--yes says that you have looked" in refused.stderr
    assert done.stdout.startswith(f"reply.remediator.dev/{ASKED}-approve-")
    assert len(terminal.said) == 1


def test_a_plan_that_changes_while_somebody_thinks_is_not_approved(terminal: Terminal) -> None:
    def another_plan() -> None:
        def change(obj: dict[str, Any]) -> None:
            obj["status"]["attempts"][0]["approvals"][0]["planHash"] = "another"

        terminal.cluster.change(ObjectRef(RUN.group, RUN.kind, "shop", ASKED), change)

    terminal.meanwhile = another_plan

    result = terminal.types("approve", "713-6", "--yes")

    assert result.exit_code == 1
    assert "has changed since it was shown: look again" in result.stderr
    assert terminal.said == []


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("approve", "713-1"), "does not ask about any plan: it has ended as Remediated"),
        (("deny", "713-2"), "does not ask about any plan: it is Waiting: CoolingDown"),
        (("approve", "713-6", "--step", "wider"), "does not ask about step wider"),
        (("approve", "713-6", "--group", "dba"), "alice is not in the group dba: the API server says sre, dev"),
        (("stop", "713-1"), "has ended already, as Remediated"),
        (("undo", "713-6"), "has changed nothing that could be taken back"),
        (("answer", "713-2", "x"), "asks nothing: it is Waiting"),
        (("answer", "713-6", "x", "--step", "planned"), "asks nothing named planned"),
        (("answer", "713-6"), "give an answer to orderMemory: Order more memory for node-3"),
    ],
)
def test_what_nobody_asked_is_not_said(terminal: Terminal, args: tuple[str, ...], sentence: str) -> None:
    result = terminal.types(*args, *(("--yes",) if args[0] != "answer" else ()))

    assert result.exit_code == 1
    assert sentence in result.stderr
    assert terminal.said == []


def test_whoever_asked_for_a_run_is_told_that_they_do_not_approve_it(terminal: Terminal) -> None:
    terminal.user = LOADED["asked"]["spec"]["requestedBy"]

    result = terminal.types("approve", "713-6", "--yes")

    assert "whoever asks for a run does not approve it" in result.stderr
    assert terminal.said == []


def test_whoever_is_not_asked_is_told_who_is(terminal: Terminal) -> None:
    terminal.groups = ("dev",)
    terminal.cluster.change(
        ObjectRef(RUN.group, RUN.kind, "shop", ASKED),
        lambda obj: obj["status"]["attempts"][0]["approvals"][0]["needs"].pop(0),
    )

    result = terminal.types("approve", "713-6", "--yes")

    assert "people of sre are asked, and alice is in dev" in result.stderr
    assert terminal.said == []


async def test_who_somebody_is_comes_from_the_api_server() -> None:
    class Answering(FakeCluster):
        async def create(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object:
            assert (kind.plural, obj, dry_run) == ("selfsubjectreviews", {}, False)
            return {"status": {"userInfo": {"username": "alice", "groups": ["sre", "system:authenticated"]}}}

    assert await caller(Answering(StoppedClock(NOW))) == ("alice", ("sre", "system:authenticated"))


@pytest.mark.parametrize(
    ("args", "spec"),
    [
        (("deny", "713-6", "--yes"), {"type": "Deny", "planHash": PLAN}),
        (("ack", "713-6"), {"type": "Acknowledge"}),
        (("answer", "713-6", "ordered"), {"type": "Answer", "step": "orderMemory", "answer": "ordered"}),
        (("stop", "713-6", "--yes", "--reason", "by hand"), {"type": "Stop", "reason": "by hand"}),
        (("undo", "713-1", "--yes"), {"type": "Undo"}),
    ],
)
def test_each_verb_says_its_word(terminal: Terminal, args: tuple[str, ...], spec: dict[str, Any]) -> None:
    result = terminal.types(*args)

    assert result.exit_code == 0, result.output
    assert [{key: value for key, value in one.items() if key not in ("runRef", "user")} for one in terminal.said] == [
        spec
    ]
    assert terminal.said[0]["user"] == "alice"


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_what_was_said_is_shown_as_it_is_stored(terminal: Terminal, form: str, read: Callable[[str], Any]) -> None:
    result = terminal.types("ack", "713-6", "-o", form)

    stored = read(result.stdout)
    assert (stored["kind"], stored["spec"]["type"]) == ("Reply", "Acknowledge")
    assert stored["metadata"]["namespace"] == "shop"


def freeze(terminal: Terminal) -> str:
    """A run of which no question is open stands still in a freeze; its plan."""
    held = LOADED["held"]["metadata"]["name"]

    def change(obj: dict[str, Any]) -> None:
        obj["status"]["held"].update(reason="Frozen", message="Guardrail production freezes every change")

    obj: Any = terminal.cluster.change(ObjectRef(RUN.group, RUN.kind, "shop", held), change)
    return str(obj["status"]["attempts"][-1]["planHash"])


def test_a_freeze_is_lifted_by_an_approval_that_names_its_group_and_its_reason(terminal: Terminal) -> None:
    plan = freeze(terminal)

    result = terminal.types("approve", "713-2", "--group", "sre", "--reason", "customers cannot pay", answers="y\n")

    assert result.exit_code == 0, result.output
    assert f"Approve plan {plan[:8]} in spite of the freeze as alice" in result.stderr
    (said,) = terminal.said
    assert (said["planHash"], said["groups"], said["reason"]) == (plan, ["sre"], "customers cannot pay")


@pytest.mark.parametrize("args", [("--group", "sre"), ("--reason", "customers cannot pay")])
def test_a_freeze_is_not_lifted_without_a_reason_or_a_group(terminal: Terminal, args: tuple[str, ...]) -> None:
    freeze(terminal)

    result = terminal.types("approve", "713-2", "--yes", *args)

    assert result.exit_code == 1
    assert "a freeze is lifted with --reason, and by the --group of yours that it excepts" in result.stderr
    assert terminal.said == []
