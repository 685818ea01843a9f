"""`kubectl remediate suspend`, `resume` and `status`, without a cluster."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from plugins import Invoke, typed_by
from remediator.cli import live
from remediator.cli.switch import POLICIES
from remediator.domain.errors import Unavailable
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import Kind, ObjectRef
from remediator.engine.election import Lease, Timing, epoch_object, lease_object
from remediator.engine.suspension import LABEL, NAME, PICK_UP, recorded_object, switch_object
from remediator.generate.__main__ import ROOT
from remediator.testing import FakeCluster, StoppedClock
from unit.test_cli_verbs import stored

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
OPERATORS = "remediator-system"
SWITCH = ObjectRef.of("ConfigMap", OPERATORS, NAME)
ASKED = ObjectRef.of("ConfigMap", OPERATORS, PICK_UP)
GROUP = "admissionregistration.k8s.io"
POLICY = Kind(GROUP, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", namespaced=False)
BINDING = Kind(GROUP, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", namespaced=False)


@pytest.fixture
def cluster() -> FakeCluster:
    """Two ended runs and an open one, with the admission that is installed."""
    fake = FakeCluster(StoppedClock(NOW))
    fake.add_namespace(OPERATORS)
    fake.add(*(stored(name) for name in ("remediated", "refused", "held")))
    for kind in (POLICY, BINDING):
        fake.serve(kind)
    for file in ("switch.yaml", "leader.yaml"):
        fake.add(*yaml.safe_load_all((ROOT / "crds" / file).read_text()))
    return fake


@pytest.fixture
def invoke(cluster: FakeCluster) -> Invoke:
    return typed_by("alice", cluster, NOW)


def pulled(cluster: FakeCluster, reason: str = "INC-4711", by: str = "bob") -> None:
    cluster.add({"apiVersion": "v1", "kind": "ConfigMap", **switch_object(OPERATORS, reason, by)})


def recording(cluster: FakeCluster, policy: str, count: int) -> None:
    known = {n.to_bytes(6, "big"): 1 for n in range(count)}
    obj = recorded_object(OPERATORS, ("shop", policy), known)
    cluster.add({"apiVersion": "v1", "kind": "ConfigMap", **obj})


def ended(cluster: FakeCluster) -> None:
    """The operator has stopped what was open."""
    run = stored("held")

    def edit(obj: Object) -> None:
        status = obj["status"]
        assert isinstance(status, dict)
        status.update(outcome="Stopped", state="Ended")

    cluster.change(ObjectRef.of("runbookrun.remediator.dev", "shop", run["metadata"]["name"]), edit)


# suspend


def test_everything_is_suspended_with_a_reason_and_a_name(invoke: Invoke, cluster: FakeCluster) -> None:
    result = invoke("suspend", "--reason", " two\nlines ", "--yes", "--timeout", "0s")

    assert result.exit_code == 0, result.output
    made = cluster.get(SWITCH)
    assert dig_text(made, "data", "reason") == "two lines"
    assert dig_text(made, "metadata", "annotations", "remediator.dev/by") == "alice"
    assert result.stdout == "Everything is suspended: two lines.\n"


@pytest.mark.parametrize("reason", ["", "  ", "\n"])
def test_a_reason_has_to_be_given(invoke: Invoke, cluster: FakeCluster, reason: str) -> None:
    result = invoke("suspend", "--reason", reason, "--yes")

    assert result.exit_code == 2
    assert "--reason must say why" in result.stderr
    assert not cluster.has(SWITCH)


def test_where_nobody_can_be_asked_it_is_refused(invoke: Invoke, cluster: FakeCluster) -> None:
    result = invoke("suspend", "--reason", "why")

    assert result.exit_code == 1
    assert "--yes says that you are sure" in result.stderr
    assert not cluster.has(SWITCH)


@pytest.mark.parametrize(("answer", "is_pulled"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_on_a_terminal_it_shows_what_is_in_flight_and_asks(
    invoke: Invoke, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, answer: str, is_pulled: bool
) -> None:
    monkeypatch.setattr("remediator.cli.suspend._is_a_terminal", lambda: True)

    result = invoke("suspend", "--reason", "why", "--timeout", "0s", input=answer)

    assert "Suspend everything in this cluster?" in result.stderr
    assert stored("held")["metadata"]["name"] in result.stderr
    assert cluster.has(SWITCH) is is_pulled


def test_it_waits_until_every_run_has_ended(
    invoke: Invoke, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = live.follow

    async def followed(*args: Any, **kwargs: Any) -> Any:
        assert cluster.has(SWITCH)
        ended(cluster)
        return await whole(*args, **kwargs)

    monkeypatch.setattr(live, "follow", followed)

    result = invoke("suspend", "--reason", "why", "--yes")

    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("No run is open.\n")


def test_what_has_not_ended_in_time_is_said_and_the_switch_stays_pulled(invoke: Invoke, cluster: FakeCluster) -> None:
    result = invoke("suspend", "--reason", "why", "--yes", "--timeout", "50ms")

    assert result.exit_code == 1
    assert "Some runs have not ended yet. Everything stays suspended" in result.stderr
    assert cluster.has(SWITCH)


def test_an_interrupted_wait_leaves_the_switch_pulled_and_says_so(
    invoke: Invoke, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(live, "follow", interrupted)

    result = invoke("suspend", "--reason", "why", "--yes")

    assert result.exit_code == 130
    assert "Everything stays suspended" in result.stderr
    assert cluster.has(SWITCH)


def test_what_is_suspended_already_keeps_its_reason(invoke: Invoke, cluster: FakeCluster) -> None:
    pulled(cluster)

    result = invoke("suspend", "--reason", "another", "--yes", "--timeout", "0s")

    assert result.exit_code == 0
    assert "Already: everything is suspended by bob: INC-4711." in result.stdout
    assert dig_text(cluster.get(SWITCH), "data", "reason") == "INC-4711"


def test_nothing_that_cannot_be_read_keeps_anybody_from_stopping(invoke: Invoke, cluster: FakeCluster) -> None:
    cluster.forbid("", "list", "*")
    cluster.forbid("", "get", "validatingadmissionpolicies")

    result = invoke("suspend", "--reason", "why", "--yes", "--timeout", "0s")

    assert result.exit_code == 0, result.output
    assert cluster.has(SWITCH)
    assert "Warning: the API server may not enforce it" in result.stderr


def test_who_may_not_suspend_is_told(invoke: Invoke, cluster: FakeCluster) -> None:
    cluster.forbid("", "create", "configmaps")

    result = invoke("suspend", "--reason", "why", "--yes")

    assert result.exit_code == 1
    assert "may not create configmaps" in result.stderr


def test_a_timeout_that_is_none_is_refused_before_anything_happens(invoke: Invoke, cluster: FakeCluster) -> None:
    result = invoke("suspend", "--reason", "why", "--yes", "--timeout", "soon")

    assert result.exit_code == 2
    assert "--timeout" in result.stderr
    assert not cluster.has(SWITCH)


# resume


def test_it_is_resumed_and_said_what_follows(invoke: Invoke, cluster: FakeCluster) -> None:
    pulled(cluster)
    recording(cluster, "crash", 3)

    result = invoke("resume")

    assert result.exit_code == 0, result.output
    assert not cluster.has(SWITCH)
    assert not cluster.has(ASKED)
    assert "Resumed; until now everything is suspended by bob: INC-4711." in result.stdout
    assert "3 alerts were recorded meanwhile; each starts nothing until it resolves" in result.stdout


def test_with_pick_up_the_operator_is_asked_for_what_was_recorded(invoke: Invoke, cluster: FakeCluster) -> None:
    pulled(cluster)
    recording(cluster, "crash", 1)

    result = invoke("resume", "--pick-up")

    assert result.exit_code == 0, result.output
    made = cluster.get(ASKED)
    assert dig_text(made, "metadata", "labels", LABEL) == PICK_UP
    assert dig_text(made, "metadata", "annotations", "remediator.dev/by") == "alice"


def test_what_was_recorded_can_be_asked_for_later_and_twice(invoke: Invoke, cluster: FakeCluster) -> None:
    recording(cluster, "crash", 1)

    results = [invoke("resume", "--pick-up") for _ in range(2)]

    assert [result.exit_code for result in results] == [0, 0]
    assert "Nothing is suspended." in results[0].stdout
    assert cluster.has(ASKED)


def test_debts_are_named_as_what_comes_first(invoke: Invoke, cluster: FakeCluster) -> None:
    pulled(cluster)
    run = stored("remediated")
    name = run["metadata"]["name"]

    def edit(obj: Object) -> None:
        status = obj["status"]
        assert isinstance(status, dict)
        status["debts"] = [{"token": "t", "step": "raise", "kind": "TTL"}]

    cluster.change(ObjectRef.of("runbookrun.remediator.dev", "shop", name), edit)

    result = invoke("resume")

    assert "Taken back first: what 1 of the runs that have ended still owe." in result.stdout


# status


def test_the_status_says_that_nothing_is_suspended(invoke: Invoke) -> None:
    result = invoke("status")

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Nothing is suspended.\n")
    assert stored("held")["metadata"]["name"] in result.stdout


def test_the_status_says_by_whom_since_when_and_why(invoke: Invoke, cluster: FakeCluster) -> None:
    pulled(cluster)
    recording(cluster, "crash", 1200)

    result = invoke("status")

    assert "Everything is suspended, by bob since 2026-11-21 12:30:00Z, 0s ago." in result.stdout
    assert "Reason: INC-4711" in result.stdout
    assert "shop/crash  1,200 alerts" in result.stdout


def test_a_switch_made_by_hand_has_an_unknown_author(invoke: Invoke, cluster: FakeCluster) -> None:
    pulled(cluster, by="")

    assert "by somebody unknown since" in invoke("status").stdout


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_the_status_can_be_read_by_programs(invoke: Invoke, cluster: FakeCluster, form: str) -> None:
    pulled(cluster)
    recording(cluster, "crash", 2)

    document = yaml.safe_load(invoke("status", "-o", form).stdout)

    assert document["suspended"] is True
    assert (document["by"], document["reason"]) == ("bob", "INC-4711")
    assert document["suspendedAlerts"] == {"shop/crash": 2}
    assert document["openRuns"] == [f"shop/{stored('held')['metadata']['name']}"]
    assert document["admission"] == dict.fromkeys(POLICIES, "in force")
    assert document["unknown"] == {}


def test_what_is_not_known_is_null_and_says_why(invoke: Invoke, cluster: FakeCluster) -> None:
    cluster.forbid("", "list", "runbookruns")

    document = json.loads(invoke("status", "-o", "json").stdout)

    assert document["openRuns"] is None
    assert "may not list" in document["unknown"]["openRuns"]


def led(cluster: FakeCluster, holder: str = "remediator-a_1", renewed: timedelta = timedelta(seconds=4)) -> None:
    taken = Lease().taken(holder, NOW - timedelta(hours=3), Timing(15))
    lease = replace(taken, renewed_at=NOW - renewed, transitions=2)
    cluster.add(
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease_object(lease, OPERATORS)},
        {"apiVersion": "v1", "kind": "ConfigMap", **epoch_object(OPERATORS, 3, holder, NOW)},
    )
    for name, ready in (("remediator-a", "True"), ("remediator-b", "True"), ("remediator-c", "False")):
        labels = {"app.kubernetes.io/name": "remediator", "app.kubernetes.io/component": "operator"}
        cluster.add(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"namespace": OPERATORS, "name": name, "labels": {**labels}},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            }
        )


def test_the_status_says_who_leads_since_when_and_who_stands_by(invoke: Invoke, cluster: FakeCluster) -> None:
    led(cluster)

    lines = [" ".join(line.split()) for line in invoke("status").stdout.splitlines()]

    assert "remediator-a_1 epoch 3 since 2026-11-21 09:30:00Z, 3h ago renewed 4s ago" in lines
    assert "remediator-b stands by" in lines
    assert "remediator-c is not ready" in lines


def test_a_lease_that_has_run_out_is_said(invoke: Invoke, cluster: FakeCluster) -> None:
    led(cluster, renewed=timedelta(minutes=5))

    assert "its Lease ran out 4m45s ago by this machine's clock" in invoke("status").stdout


def test_where_nobody_leads_it_says_what_that_means(invoke: Invoke) -> None:
    assert "nobody leads: alerts are taken, and nothing is done about them" in invoke("status").stdout


def test_the_leader_can_be_read_by_programs(invoke: Invoke, cluster: FakeCluster) -> None:
    led(cluster)

    document = json.loads(invoke("status", "-o", "json").stdout)

    assert document["leader"] == {
        "holder": "remediator-a_1",
        "epoch": 3,
        "since": "2026-11-21T09:30:00Z",
        "renewedAt": "2026-11-21T12:29:56Z",
        "leaseSeconds": 15,
        "transitions": 2,
    }
    assert document["replicas"]["remediator-c"] == {"ready": False}


def test_a_leader_that_cannot_be_read_is_not_taken_for_none(invoke: Invoke, cluster: FakeCluster) -> None:
    cluster.forbid("", "get", "leases")
    cluster.forbid("", "list", "pods")

    document = json.loads(invoke("status", "-o", "json").stdout)

    assert (document["leader"], document["replicas"]) == (None, None)
    assert {"leader", "replicas"} <= document["unknown"].keys()
    assert "nobody leads" not in invoke("status").stdout


def test_a_switch_that_cannot_be_read_is_an_error_and_not_a_no(invoke: Invoke, cluster: FakeCluster) -> None:
    cluster.fail_next(1, Unavailable("away"), verb="get")

    assert invoke("status").exit_code == 1


def _without_binding(cluster: FakeCluster) -> None:
    cluster.store.remove(BINDING, "", "suspended-runs.remediator.dev")


def _without_policy(cluster: FakeCluster) -> None:
    cluster.store.remove(POLICY, "", "suspended-runs.remediator.dev")


def _elsewhere(cluster: FakeCluster) -> None:
    def edit(obj: Object) -> None:
        spec = obj["spec"]
        assert isinstance(spec, dict)
        spec["paramRef"] = {"name": "suspended", "namespace": "other"}

    cluster.change(ObjectRef(GROUP, BINDING.kind, "", "suspended-runs.remediator.dev"), edit)


def _only_audited(cluster: FakeCluster) -> None:
    def edit(obj: Object) -> None:
        spec = obj["spec"]
        assert isinstance(spec, dict)
        spec["validationActions"] = ["Audit"]

    cluster.change(ObjectRef(GROUP, BINDING.kind, "", "suspended-runs.remediator.dev"), edit)


def _forbidden(cluster: FakeCluster) -> None:
    cluster.forbid("", "get", "validatingadmissionpolicybindings")


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (_without_policy, "its policy is not there"),
        (_without_binding, "its binding is not there"),
        (_elsewhere, "its binding looks for ConfigMap other/suspended"),
        (_only_audited, "its binding does not deny"),
        (_forbidden, "its binding cannot be read"),
    ],
)
def test_a_switch_that_is_not_enforced_is_seen(
    invoke: Invoke, cluster: FakeCluster, mistake: Callable[[FakeCluster], None], says: str
) -> None:
    pulled(cluster)
    mistake(cluster)

    result = invoke("status")

    assert says in result.stdout
    assert "The API server does not enforce all of it" in result.stdout
