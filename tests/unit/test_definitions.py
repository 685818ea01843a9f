"""What the operator knows of its definitions, and what it says about them."""

import asyncio
import copy
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import yaml

from remediator.domain.actions import Permission
from remediator.domain.errors import Unavailable
from remediator.domain.json import JSON, Object, dig, dig_list, dig_object, dig_text
from remediator.domain.objects import GUARDRAIL, POLICY, RUNBOOK, Kind, ObjectRef
from remediator.domain.policies import Mode
from remediator.domain.runs import Run
from remediator.handlers.accounts import Accounts
from remediator.handlers.definitions import KINDS, NAMESPACE, Definitions
from remediator.handlers.readiness import Readiness
from remediator.handlers.tally import noted
from remediator.testing.clock import StoppedClock
from remediator.testing.cluster import FakeCluster
from remediator.testing.fakes import FakeNotifier

ACCOUNT = "system:serviceaccount:shop:fixer"
NEEDED = [
    Permission("", "pods", ("get", "list")),
    Permission("apps", "deployments", ("get", "patch")),
    Permission("apps", "replicasets", ("list",)),
]

RUNBOOK_SPEC = """
targets: [Deployment]
sharedWith: [shop]
diagnose:
- name: pods
  get: {kind: Pod, related: owned}
remedies:
- name: again
  when: diagnosis.pods.items.exists(p, !p.ready)
  steps:
  - name: roll
    restart: {}
otherwise:
- name: page
  escalate: {to: on-call}
"""
POLICY_SPEC = """
matchers: ['alertname="KubePodNotReady"']
runbookRef: {name: not-ready, namespace: platform}
mode: Automatic
serviceAccountName: fixer
"""


def definition(kind: Kind, namespace: str, name: str, spec: str | Mapping[str, Any]) -> Object:
    read = yaml.safe_load(spec) if isinstance(spec, str) else dict(spec)
    place: dict[str, JSON] = {"namespace": namespace} if namespace else {}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name, **place}, "spec": read}


BOOK = definition(RUNBOOK, "platform", "not-ready", RUNBOOK_SPEC)
LISTENER = definition(POLICY, "shop", "not-ready", POLICY_SPEC)
FENCE = definition(
    GUARDRAIL, "", "production", {"allow": ["restart"], "namespaceSelector": {"matchLabels": {"env": "prod"}}}
)


class World:
    """An API server, and the operator that follows it."""

    def __init__(self, *objects: Object, can_ask: bool = True) -> None:
        self.clock = StoppedClock()
        self.cluster = FakeCluster(self.clock)
        for namespace, env in (("shop", "prod"), ("platform", "none"), ("remediator-system", "none")):
            self.cluster.add_namespace(namespace, {"env": env})
        self.notifier = FakeNotifier("default", "on-call")
        self.known = Definitions(self.clock, operator_namespace="remediator-system", can_ask=can_ask)
        accounts = Accounts(self.cluster, self.clock, operator_namespace="remediator-system")
        self.readiness = Readiness(self.known, self.cluster, self.notifier, self.clock, accounts)
        for obj in objects:
            self.cluster.add(copy.deepcopy(obj))

    async def look(self) -> None:
        """Everything that is there is seen, and what there is to say is written."""
        await self.known.load(self.cluster)
        await self.readiness.write_due()

    def stored(self, kind: Kind, namespace: str, name: str) -> Object:
        return self.cluster.get(ObjectRef(kind.group, kind.kind, namespace, name))

    def ready(self, kind: Kind = POLICY, namespace: str = "shop", name: str = "not-ready") -> tuple[str, str, str]:
        (condition,) = dig_list(self.stored(kind, namespace, name), "status", "conditions")
        return dig_text(condition, "status"), dig_text(condition, "reason"), dig_text(condition, "message")

    def change(self, kind: Kind, namespace: str, name: str, **spec: JSON) -> None:
        def edit(obj: Object) -> None:
            held = obj["spec"]
            assert isinstance(held, dict)
            held.update(spec)

        self.cluster.change(ObjectRef(kind.group, kind.kind, namespace, name), edit)

    def status_writes(self) -> int:
        return sum(write.sub == "status" for write in self.cluster.writes)


async def test_a_policy_whose_runbook_account_and_receivers_are_there_is_ready() -> None:
    world = World(BOOK, LISTENER)

    await world.look()

    assert world.ready() == ("True", "Accepted", "accepted")
    assert world.ready(RUNBOOK, "platform") == ("True", "Accepted", "accepted")
    policy, problem = world.known.policy("shop", "not-ready")
    assert policy is not None
    assert policy.spec.mode is Mode.AUTOMATIC
    assert problem == ""


async def test_a_policy_waits_for_its_runbook_and_follows_it() -> None:
    world = World(LISTENER)
    await world.look()
    assert world.ready()[2] == "spec.runbookRef: there is no Runbook platform/not-ready"

    world.cluster.add(copy.deepcopy(BOOK))
    await world.look()
    assert world.ready()[0] == "True"

    world.change(RUNBOOK, "platform", "not-ready", sharedWith=["bank"])
    await world.look()
    assert "is not shared with the namespace shop" in world.ready()[2]

    world.change(RUNBOOK, "platform", "not-ready", sharedWith=["*"], targets=["Deploymnet"])
    await world.look()
    assert world.ready()[2].startswith(
        'spec.runbookRef: Runbook platform/not-ready is not ready: spec.targets[0]: there is no built-in kind "Deploymnet"'
    )


async def test_a_runbook_that_goes_takes_its_policies_readiness_along() -> None:
    world = World(BOOK, LISTENER)
    await world.look()

    await world.known.saw(RUNBOOK, "DELETED", world.stored(RUNBOOK, "platform", "not-ready"))
    await world.readiness.write_due()

    assert world.ready()[:2] == ("False", "Invalid")
    assert world.known.policy("shop", "not-ready")[0] is None


async def test_a_policy_says_where_it_is_wrong_and_which_text_that_is_about() -> None:
    world = World(
        BOOK, definition(POLICY, "shop", "not-ready", {**yaml.safe_load(POLICY_SPEC), "limits": {"perHour": 0}})
    )

    await world.look()

    status, reason, message = world.ready()
    assert (status, reason) == ("False", "Invalid")
    assert message == "spec.limits.perHour: must be at least 1, is 0"
    assert dig(world.stored(POLICY, "shop", "not-ready"), "status", "observedGeneration") == 1


async def test_exactly_what_the_account_may_not_do_is_said() -> None:
    world = World(BOOK, LISTENER)
    world.cluster.permit_only(ACCOUNT, NEEDED[:1] + NEEDED[2:] + [Permission("apps", "deployments", ("get",))])

    await world.look()

    assert world.ready() == (
        "False",
        "NotPermitted",
        f"spec.serviceAccountName: {ACCOUNT} may not patch deployments.apps in namespace shop",
    )
    assert world.known.policy("shop", "not-ready")[0] is not None, "the API server refuses; the run says so"


async def test_an_account_that_may_do_nothing_may_not_be_there() -> None:
    world = World(BOOK, LISTENER)
    world.cluster.permit_only(ACCOUNT, [])

    await world.look()

    assert "is there such a ServiceAccount, and is it bound to a role?" in world.ready()[2]


async def test_a_policy_that_only_diagnoses_needs_no_permission_to_change() -> None:
    world = World(BOOK, definition(POLICY, "shop", "not-ready", {**yaml.safe_load(POLICY_SPEC), "mode": "Diagnose"}))
    world.cluster.permit_only(ACCOUNT, [*NEEDED[:1], *NEEDED[2:], Permission("apps", "deployments", ("get",))])

    await world.look()

    assert world.ready()[0] == "True"


async def test_a_rehearsal_without_an_account_needs_the_operators_reads_alone() -> None:
    spec = {**yaml.safe_load(POLICY_SPEC), "runbookRef": {"name": "own"}, "mode": "DryRun"}
    del spec["serviceAccountName"]
    world = World(
        definition(RUNBOOK, "remediator-system", "own", RUNBOOK_SPEC),
        definition(POLICY, "remediator-system", "wide", spec),
    )
    own = [Permission("remediator.dev", kind.plural, ("list",)) for kind in KINDS if kind != NAMESPACE]
    own += [Permission("remediator.dev", f"{kind.plural}/status", ("patch",)) for kind in (POLICY, RUNBOOK)]
    reads = [replace(one, verbs=("get", "list")) for one in (*NEEDED, Permission("", "namespaces", ()))]
    world.cluster.permit_only("", [*own, *reads])

    await world.look()

    assert world.ready(POLICY, "remediator-system", "wide")[:2] == ("True", "Accepted")


async def test_what_was_granted_is_seen_within_a_minute_and_not_asked_more_often() -> None:
    world = World(BOOK, LISTENER)
    world.cluster.permit_only(ACCOUNT, [])
    await world.look()
    world.cluster.permit_only(ACCOUNT, NEEDED)

    await world.readiness.write_due()
    assert world.ready()[0] == "False"
    world.clock.advance(timedelta(seconds=60))
    await world.readiness.write_due()

    assert world.ready()[0] == "True"


async def test_what_was_taken_away_is_seen_within_five_minutes() -> None:
    world = World(BOOK, LISTENER)
    world.cluster.permit_only(ACCOUNT, NEEDED)
    await world.look()
    world.cluster.permit_only(ACCOUNT, [])

    world.clock.advance(timedelta(minutes=5))
    await world.readiness.write_due()

    assert world.ready()[0] == "False"


async def test_what_could_not_be_asked_is_unknown_and_never_true() -> None:
    world = World(BOOK, LISTENER)
    world.known._can_ask = True

    async def silent(permission: Permission, namespace: str, name: str = "") -> tuple[bool, str]:
        raise Unavailable("the API server did not answer within 10s")

    acting = world.cluster.acting_as
    world.cluster.acting_as = lambda identity: _with(acting(identity), silent)  # type: ignore[method-assign]
    await world.look()

    assert world.ready() == (
        "Unknown",
        "NotAsked",
        "what its account may do could not be asked: the API server did not answer within 10s",
    )


def _with(cluster: FakeCluster, allowed: Any) -> FakeCluster:
    cluster.allowed = allowed  # type: ignore[method-assign]
    return cluster


async def test_an_account_that_is_bound_in_some_namespaces_only_is_no_certain_failure() -> None:
    spec = {**yaml.safe_load(POLICY_SPEC), "runbookRef": {"name": "own"}}
    own = definition(RUNBOOK, "remediator-system", "own", RUNBOOK_SPEC)
    world = World(own, definition(POLICY, "remediator-system", "wide", spec))
    world.cluster.permit_only("system:serviceaccount:remediator-system:fixer", [])

    await world.look()

    status, reason, message = world.ready(POLICY, "remediator-system", "wide")
    assert (status, reason) == ("Unknown", "NotPermittedEverywhere")
    assert "shows when they do" in message


async def test_a_receiver_that_is_not_configured_is_told() -> None:
    world = World(BOOK, LISTENER)
    world.notifier.receivers = {"default"}

    await world.look()

    assert world.ready() == (
        "False",
        "ReceiverUnknown",
        "spec.runbookRef: Runbook platform/not-ready tells on-call, which is no key of the Secret remediator-receivers, "
        "neither in shop nor in the operator's namespace",
    )


async def test_a_status_is_written_once_and_again_only_when_it_says_something_else() -> None:
    world = World(BOOK, LISTENER, FENCE)
    await world.look()
    written = world.status_writes()
    assert written == 3

    for _ in range(3):
        await world.look()
        world.clock.advance(timedelta(minutes=6))
    assert world.status_writes() == written

    world.change(POLICY, "shop", "not-ready", mode="DryRun")
    await world.look()
    assert world.status_writes() == written + 1
    assert dig(world.stored(POLICY, "shop", "not-ready"), "status", "observedGeneration") == 2


async def test_a_ready_that_stays_keeps_its_time() -> None:
    world = World(BOOK, LISTENER)
    await world.look()
    world.clock.advance(timedelta(hours=1))
    world.change(POLICY, "shop", "not-ready", mode="DryRun")

    await world.look()

    (condition,) = dig_list(world.stored(POLICY, "shop", "not-ready"), "status", "conditions")
    assert condition["lastTransitionTime"] == "2026-06-01T12:00:00Z"
    assert condition["observedGeneration"] == 2


async def test_a_status_that_others_wrote_meanwhile_is_written_on_the_next_look() -> None:
    world = World(BOOK, LISTENER)
    await world.known.load(world.cluster)
    world.change(POLICY, "shop", "not-ready", mode="DryRun")  # the event is still under way
    await world.readiness.write_due()
    assert not dig_list(world.stored(POLICY, "shop", "not-ready"), "status", "conditions")

    await world.look()

    assert world.ready()[0] == "True"


async def test_nothing_is_said_before_everything_was_read() -> None:
    world = World(LISTENER)
    await world.known.saw(POLICY, None, world.stored(POLICY, "shop", "not-ready"))

    await world.readiness.write_due()

    assert world.status_writes() == 0
    assert world.known.policy("shop", "other") == (None, "not every AlertPolicy has been read yet")


async def test_a_policy_that_is_not_accepted_is_still_listed_with_its_matchers() -> None:
    world = World(LISTENER)

    await world.look()

    (listener,) = world.known.audience()
    assert listener.accepted is None
    assert listener.matchers is not None
    (known,) = world.known.policies()
    assert known.problem == "spec.runbookRef: there is no Runbook platform/not-ready"


async def test_the_audience_is_of_the_texts_that_are_there_now() -> None:
    world = World(LISTENER)
    await world.look()

    def shown(alertname: str) -> list[tuple[str, bool]]:
        labels = {"alertname": alertname, "namespace": "shop"}
        return [(one.name, one.accepted is not None) for one in world.known.audience().of(labels, "remediator-system")]

    assert shown("KubePodNotReady") == [("not-ready", False)]

    world.cluster.add(copy.deepcopy(BOOK))
    await world.look()
    assert shown("KubePodNotReady") == [("not-ready", True)]

    other = world.stored(POLICY, "shop", "not-ready")
    other["spec"] = {**dig_object(other, "spec"), "matchers": ['alertname="KubePodCrashLooping"']}
    await world.cluster.replace(POLICY, other)
    await world.look()
    assert shown("KubePodNotReady") == []
    assert shown("KubePodCrashLooping") == [("not-ready", True)]

    await world.known.saw(POLICY, "DELETED", world.stored(POLICY, "shop", "not-ready"))
    assert shown("KubePodCrashLooping") == []


async def test_others_go_on_while_many_definitions_are_read() -> None:
    others = [definition(POLICY, "shop", f"other-{number}", POLICY_SPEC) for number in range(20)]
    world = World(BOOK, *others)
    known_at_each_turn: list[int] = []

    async def beside() -> None:
        while True:
            known_at_each_turn.append(len(world.known.policies()))
            await asyncio.sleep(0)

    going_on = asyncio.create_task(beside())
    await world.known.load(world.cluster)
    going_on.cancel()

    assert len(world.known.policies()) == len(others)
    assert {5, 10, 15} <= set(known_at_each_turn)


async def test_a_runbook_is_found_only_by_whom_it_is_shared_with() -> None:
    world = World(BOOK)
    await world.look()

    assert world.known.runbook_for("platform", "not-ready", "shop")[0] is not None
    assert world.known.runbook_for("platform", "not-ready", "platform")[0] is not None
    book, problem = world.known.runbook_for("platform", "not-ready", "bank")
    assert book is None
    assert "is not shared with the namespace bank" in problem
    assert world.known.runbook_for("platform", "other", "shop") == (None, "it is not there")


async def test_a_fence_needs_the_guardrails_and_the_namespaces_to_be_known() -> None:
    world = World(FENCE)
    assert world.known.fence("shop") is None
    assert world.known.fence("") is None

    await world.look()

    shop, platform = world.known.fence("shop"), world.known.fence("platform")
    assert shop is not None and platform is not None
    assert shop.objection("restart") == ""
    assert platform.objection("restart") == "no Guardrail selects this namespace, so nothing may be changed in it"
    assert world.known.fence("not-seen-yet") is None


async def test_the_operators_own_namespace_is_governed_by_no_guardrail() -> None:
    world = World(definition(GUARDRAIL, "", "everywhere", {"allow": ["restart"]}))
    await world.look()

    own, cluster_scoped = world.known.fence("remediator-system"), world.known.fence("")

    assert own is not None and cluster_scoped is not None
    assert own.objection("restart")
    assert cluster_scoped.objection("restart") == ""


async def test_a_guardrail_that_cannot_be_read_forbids_everything_everywhere() -> None:
    world = World(FENCE, definition(GUARDRAIL, "", "typo", {"alow": ["restart"]}))
    await world.look()

    fence = world.known.fence("shop")

    assert fence is not None
    assert fence.objection("restart") == "Guardrail typo cannot be read, so nothing may be changed"
    assert world.ready(GUARDRAIL, "", "typo")[2] == "spec.alow: there is no such field; did you mean allow?"


async def test_a_guardrail_says_how_many_namespaces_it_governs_and_follows_their_labels() -> None:
    world = World(FENCE)
    await world.look()
    assert dig(world.stored(GUARDRAIL, "", "production"), "status", "namespaces") == 1

    world.cluster.add_namespace("bank", {"env": "prod"})
    await world.look()

    assert dig(world.stored(GUARDRAIL, "", "production"), "status", "namespaces") == 2


async def test_a_namespace_that_went_is_not_known_any_more() -> None:
    world = World()
    await world.look()
    assert dig(world.known.namespace("shop"), "labels", "env") == "prod"

    await world.known.saw(NAMESPACE, "DELETED", {"metadata": {"name": "shop"}})

    assert world.known.namespace("shop") == {}
    assert world.known.fence("shop") is None


async def test_an_old_list_does_not_bring_back_what_an_event_has_changed() -> None:
    world = World(BOOK)
    old = world.stored(RUNBOOK, "platform", "not-ready")
    world.change(RUNBOOK, "platform", "not-ready", description="newer")
    await world.known.saw(RUNBOOK, "MODIFIED", world.stored(RUNBOOK, "platform", "not-ready"))

    await world.known.saw(RUNBOOK, None, old)

    book, _ = world.known.runbook("platform", "not-ready")
    assert book is not None
    assert book.spec.description == "newer"


async def test_an_object_of_the_same_name_outlives_the_deletion_of_its_forerunner() -> None:
    world = World(BOOK)
    await world.look()
    again = world.stored(RUNBOOK, "platform", "not-ready")
    metadata = again["metadata"]
    assert isinstance(metadata, dict)
    former = copy.deepcopy(again)
    metadata["uid"] = "another"
    await world.known.saw(RUNBOOK, "ADDED", again)

    await world.known.saw(RUNBOOK, "DELETED", former)

    assert world.known.runbook("platform", "not-ready")[0] is not None


async def test_a_list_that_is_cut_is_not_taken_for_everything() -> None:
    world = World(BOOK)
    world.cluster.fail_next(1, Unavailable("the API server did not answer"), verb="list")

    with pytest.raises(Unavailable):
        await world.known.load(world.cluster)

    assert not any(world.known.synced(kind) for kind in KINDS)


async def test_when_anything_was_last_heard_is_known_for_each_kind() -> None:
    world = World(BOOK)
    assert world.known.last_event(RUNBOOK) is None
    await world.look()
    heard = world.known.last_event(RUNBOOK)
    world.clock.advance(timedelta(seconds=61))

    await world.known.saw(POLICY, "ADDED", LISTENER)

    assert heard is not None
    assert world.known.last_event(RUNBOOK) == heard
    assert world.known.last_event(POLICY) == heard + 61


def run(name: str, minutes: int, **status: Any) -> Run:
    return Run.parse(
        {
            "metadata": {
                "namespace": "shop",
                "name": name,
                "creationTimestamp": f"2026-06-01T11:{minutes:02}:00Z",
            },
            "spec": {
                "runbookRef": {"name": "not-ready", "namespace": "platform"},
                "policyRef": {"namespace": "shop", "name": "not-ready"},
                "target": {"kind": "Deployment", "namespace": "shop", "name": "web"},
                "requestedBy": "remediator",
            },
            "status": status,
        }
    )


async def test_a_policy_shows_its_last_ten_runs_and_counts_them_all() -> None:
    world = World(BOOK, LISTENER)
    await world.look()
    for minute in range(12):
        outcome = {"outcome": "Remediated" if minute % 2 else "Failed"} if minute < 11 else {}
        world.readiness.note_run(noted(run(f"run-{minute}", minute, **outcome)))

    written = world.status_writes()
    await world.readiness.write_due()
    assert world.status_writes() == written, "a run that moves is no news for ten seconds"
    world.clock.advance(timedelta(seconds=10))
    await world.readiness.write_due()

    status = world.stored(POLICY, "shop", "not-ready")["status"]
    assert dig(status, "runs") == {"open": 1, "succeeded": 5, "failed": 6}
    recent = dig_list(status, "recent")
    assert [one["name"] for one in recent] == [f"run-{minute}" for minute in range(11, 1, -1)]
    assert recent[0]["target"] == "Deployment/web"
    assert dig(world.stored(RUNBOOK, "platform", "not-ready"), "status", "runs", "failed") == 6
    assert dig(world.stored(RUNBOOK, "platform", "not-ready"), "status", "policies") == 1


async def test_a_run_that_was_deleted_is_not_counted_any_more() -> None:
    world = World(BOOK, LISTENER)
    await world.look()
    world.readiness.note_run(noted(run("run-1", 1)))
    world.readiness.forget_run("shop", "run-1")
    world.clock.advance(timedelta(seconds=10))

    await world.readiness.write_due()

    assert dig(world.stored(POLICY, "shop", "not-ready"), "status", "runs") is None


async def test_alerts_that_a_condition_could_not_be_asked_about_are_shown() -> None:
    world = World(BOOK, LISTENER)
    await world.look()
    world.readiness.note_alert("shop", "not-ready", world.clock.now())
    world.readiness.note_alert("shop", "not-ready", world.clock.now(), unreadable=True)
    world.clock.advance(timedelta(seconds=10))

    await world.readiness.write_due()

    status = world.stored(POLICY, "shop", "not-ready")["status"]
    assert dig(status, "unreadableAlerts") == 1
    assert dig(status, "lastAlertAt") == "2026-06-01T12:00:00Z"


async def test_a_status_of_somebody_elses_making_is_replaced() -> None:
    world = World({**BOOK, "status": {"phase": "Fine"}}, LISTENER)

    await world.look()

    assert world.ready(RUNBOOK, "platform")[0] == "True"
    assert dig(world.stored(RUNBOOK, "platform", "not-ready"), "status", "phase") is None


async def test_a_definition_that_is_gone_is_left_alone() -> None:
    world = World(BOOK)
    await world.known.load(world.cluster)
    await world.cluster.delete(ObjectRef(RUNBOOK.group, RUNBOOK.kind, "platform", "not-ready"))

    await world.readiness.write_due()

    assert world.status_writes() == 0
