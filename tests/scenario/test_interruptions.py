"""
A run that is interrupted at any call neither repeats nor skips a change.

Each scenario is carried out once undisturbed, and then once for each of its calls to the outside
and each way in which that call can be interrupted. Everything that the run wrote in between is
looked at, and its end is the same as that of the undisturbed run.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
import yaml

from flows import PODS, PODS_ANEW
from interruptions import Calls, Died, How, interrupted
from known import Given
from remediator.actions import registry
from remediator.domain.alerts import Alert
from remediator.domain.changes import STEP_STAMP, VOID_STAMP
from remediator.domain.json import Object, dig, dig_list, dig_object, dig_text
from remediator.domain.objects import BUILT_IN, REPLY, RUN, ObjectRef
from remediator.domain.runs import Run, RunOutcome, StepState, rfc3339
from remediator.engine.acceptance import AcceptedRunbook, accept_policy, accept_runbook
from remediator.ports import Identity
from remediator.testing import NOON
from remediator.testing.cluster import Write
from remediator.testing.world import OPERATOR_NAMESPACE, World, transcript
from worlds import fence

CHECKOUT = ObjectRef.of("Deployment", "shop", "checkout")
POD = BUILT_IN["Pod"]
ACCOUNT = "system:serviceaccount:shop:fixer"

FIRING = Alert(
    fingerprint="4f2a81c09be2d713",
    status="firing",
    labels={"alertname": "QueueFull", "namespace": "shop", "deployment": "checkout"},
    annotations={},
    starts_at=NOON - timedelta(minutes=5),
    ends_at=None,
    generator_url="",
)


# --- scenarios ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """A Runbook, what makes its alert resolve, and how the run ends."""

    name: str
    book: str
    outcome: RunOutcome
    prepare: Callable[[World], None] = lambda _: None
    changes: int = 1

    def __str__(self) -> str:
        return self.name


CHECKS = """
  verify:
  - rollout: {within: 5m}
  - alertResolved: {quietFor: 1m, within: 90s}
"""


def book(remedies: str, diagnose: str = "") -> str:
    read = diagnose or "- name: history\n  rolloutHistory: {}"
    return f"targets: [Deployment]\ndiagnose:\n{read}\nremedies:\n{remedies}"


def set_queue(value: str, remedy: str = "bigger") -> str:
    return (
        f"- name: {remedy}\n  steps:\n  - name: {remedy}Step\n    timeout: 6s\n"
        f'    setEnv: {{container: app, vars: {{QUEUE: {{value: "{value}"}}}}}}\n'
    )


DELETE_PODS = f"""{PODS_ANEW}
  ifNotHelped: Keep
  verify:
  - rollout: {{within: 5m}}
  - alertResolved: {{quietFor: 1m, within: 90s}}
"""

TWO_WRITES = """
- name: both
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  - name: pause
    wait: {for: 5s}
  - name: roll
    restart: {}
"""

JOINED = """
- name: both
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  - name: threads
    setEnv: {container: app, vars: {THREADS: {value: "8"}}}
"""


def container(made: World) -> Object:
    found = dig_list(made.cluster.get(CHECKOUT), "spec", "template", "spec", "containers")[0]
    assert isinstance(found, dict)
    return found


def queue(made: World) -> str | None:
    return next(
        (dig_text(e, "value") for e in dig_list(container(made), "env") if dig_text(e, "name") == "QUEUE"), None
    )


def resolves_at(value: str) -> Callable[[World], None]:
    return lambda made: made.resolve_when(lambda: queue(made) == value)


def never_ready(made: World) -> None:
    made.cluster.controllers.never_ready = lambda template: bool(dig(template, "spec", "containers", 0, "env"))


def pods(made: World) -> set[str]:
    return {dig_text(pod, "metadata", "uid") for pod in made.cluster.objects(POD, "shop")}


def resolves_with_new_pods(made: World) -> None:
    before = pods(made)
    made.resolve_when(lambda: not before & pods(made))


def pods_take_time_to_end(made: World) -> None:
    """The kubelet holds a deleted pod for a while."""
    resolves_with_new_pods(made)
    for pod in made.cluster.objects(POD, "shop"):
        made.cluster.change(ObjectRef.to(pod, POD), lambda held: held["metadata"].update(finalizers=["test/kubelet"]))  # type: ignore[union-attr]

    def let_go() -> None:
        for pod in made.cluster.objects(POD, "shop"):
            since = dig_text(pod, "metadata", "deletionTimestamp")
            if since and since <= rfc3339(made.clock.now() - timedelta(seconds=4)):
                made.cluster.store.remove(POD, "shop", dig_text(pod, "metadata", "name"))

    made.meanwhile.append(let_go)


def people_agree(made: World) -> None:
    """Somebody approves a few seconds after they were asked."""
    resolves_at("500")(made)
    made.longest_wait = timedelta(seconds=10)

    def approve() -> None:
        for run in (Run.parse(obj) for obj in made.cluster.objects(RUN)):
            asked = [one for attempt in run.status.attempts for one in attempt.approvals if one.state == "Waiting"]
            ref = ObjectRef(REPLY.group, REPLY.kind, run.namespace, "approve")
            if asked and not made.cluster.has(ref):
                spec: Object = {
                    "runRef": {"name": run.name, "uid": run.uid},
                    "type": "Approve",
                    "planHash": asked[0].plan_hash,
                    "user": "alice",
                    "groups": ["sre"],
                }
                metadata: Object = {"namespace": run.namespace, "name": "approve"}
                made.cluster.add(
                    {"apiVersion": REPLY.api_version, "kind": REPLY.kind, "metadata": metadata, "spec": spec}
                )
                made.replies.changed("ADDED", made.cluster.get(ref))
                made.longest_wait = timedelta.max

    made.meanwhile.append(approve)


SCENARIOS = [
    Scenario("one step that helps", book(set_queue("500") + CHECKS), RunOutcome.REMEDIATED, resolves_at("500")),
    Scenario(
        "one step that people agree to",
        book(set_queue("500").replace("  steps:", "  approval: {count: 1, groups: [sre]}\n  steps:") + CHECKS),
        RunOutcome.REMEDIATED,
        people_agree,
    ),
    Scenario("two steps as one write", book(JOINED + CHECKS), RunOutcome.REMEDIATED, resolves_at("500")),
    Scenario(
        "two writes to one object", book(TWO_WRITES + CHECKS), RunOutcome.REMEDIATED, resolves_at("500"), changes=2
    ),
    Scenario("pods one after the other", book(DELETE_PODS, PODS), RunOutcome.REMEDIATED, resolves_with_new_pods, 2),
    Scenario("pods that take time to end", book(DELETE_PODS, PODS), RunOutcome.REMEDIATED, pods_take_time_to_end, 2),
    Scenario("one that does not help and is undone", book(set_queue("500") + CHECKS), RunOutcome.UNDONE, changes=2),
    Scenario(
        "one that never becomes ready and is undone",
        book(set_queue("500") + CHECKS),
        RunOutcome.UNDONE,
        never_ready,
        changes=2,
    ),
    Scenario(
        "the second helps where the first did not",
        book(set_queue("500") + "  ifNotHelped: TryNext" + CHECKS + set_queue("900", "more") + CHECKS),
        RunOutcome.REMEDIATED,
        resolves_at("900"),
        changes=3,
    ),
]


@cache
def accepted_once(book: str) -> AcceptedRunbook:
    return accept_runbook("shop", "queue", "rb-uid", 1, yaml.safe_load(book), registry)


def world(scenario: Scenario) -> World:
    accepted = accepted_once(scenario.book)
    spec: Any = {
        "matchers": ['alertname="QueueFull"'],
        "runbookRef": {"name": "queue"},
        "mode": "Automatic",
        "serviceAccountName": "fixer",
        "grace": "0s",
        "limits": {"cooldown": "0s"},
    }
    known = Given(book=accepted, allowed=fence("setEnv", "restart", "deletePod"))
    known.policy = accept_policy(
        "shop", "queue", "policy-uid", 1, spec, accepted, operator_namespace=OPERATOR_NAMESPACE, can_ask=True
    )
    made = World(known)
    made.cluster.add(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "checkout", "namespace": "shop"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "checkout"}},
                "template": {
                    "metadata": {"labels": {"app": "checkout"}},
                    "spec": {"containers": [{"name": "app", "image": "shop:1"}]},
                },
            },
        }
    )
    made.cluster.tick()
    scenario.prepare(made)
    return made


async def carried_out(scenario: Scenario, calls: Calls) -> tuple[World, Run]:
    """The world after the run; a process that died was started again at once."""
    made = world(scenario)
    known = made.outside.definitions
    assert isinstance(known, Given)
    run = await made.open_run(known.policy, CHECKOUT, FIRING)
    made.outside = interrupted(made.outside, calls)
    made.new_operator()
    while True:
        try:
            return made, await made.settle(run)
        except Died:
            for _ in range(20):
                await asyncio.sleep(0)  # what else was going on in the process ends with it
            calls.dead = False
            made.new_operator()


# --- what must hold -------------------------------------------------------------------------------


def is_ours(write: Write) -> bool:
    return write.identity.account == ACCOUNT and not write.dry_run


def token_of(write: Write) -> str:
    return dig_text(write.obj, "metadata", "annotations", STEP_STAMP) if write.obj else f"delete {write.ref}"


def end_of(run: Run) -> Any:
    """What is the same however often the run was interrupted."""

    def step(one: Any) -> Any:
        return one.label, one.action, str(one.state), one.reason, one.change, one.token, one.undo_of

    status = run.status
    return {
        "outcome": str(status.outcome),
        "debts": [(debt.token, str(debt.kind), debt.state) for debt in status.debts],
        "reason": status.ending.reason if status.ending is not None else "",
        "told": [(one.name, str(one.state)) for one in status.ending.told] if status.ending is not None else [],
        "attempts": [
            {
                "remedy": attempt.remedy,
                "plan": attempt.plan_hash,
                "verdict": str(attempt.verdict),
                "approvals": [(one.state, [given.uid for given in one.given]) for one in attempt.approvals],
                "steps": [step(one) for one in attempt.steps],
                "undo": [step(one) for one in attempt.undo],
            }
            for attempt in status.attempts
        ],
    }


def assert_each_change_once(made: World, run: Run, changes: int) -> None:
    ours = [write for write in made.cluster.writes if is_ours(write)]
    times = Counter(token_of(write) for write in ours)
    assert set(times.values()) <= {1}, times
    assert len(times) == changes, times
    assert {write.identity for write in ours} <= {Identity(ACCOUNT, run.full_name)}, "nothing was given up"


def assert_intended_before(made: World) -> None:
    intended: set[str] = set()
    owed: set[str] = set()
    pays: set[str] = set()
    ended = False
    for write in made.cluster.changes:
        if write.ref.kind == "RunbookRun":
            ended = ended or bool(dig(write.obj, "status", "outcome"))
            owed |= {dig_text(debt, "token") for debt in dig_list(write.obj, "status", "debts")}
            for attempt in dig_list(write.obj, "status", "attempts"):
                for step in [*dig_list(attempt, "steps"), *dig_list(attempt, "undo")]:
                    if dig_text(step, "state") == "Intended":
                        doomed = {
                            f"delete {POD.kind} shop/{dig_text(p, 'name')}" for p in dig_list(step, "change", "pods")
                        }
                        intended |= {dig_text(step, "token"), *doomed}
                        pays |= {dig_text(step, "token")} if dig_text(step, "undoOf") in owed else set()
        elif is_ours(write):
            assert not ended or token_of(write) in pays, f"{write} after the run's end, and it was not owed"
            assert token_of(write) in intended, f"{write} was not intended"


def is_read(call: str) -> bool:
    return call.split()[0] in ("read", "list", "kind", "logs")


@pytest.mark.parametrize("how", list(How), ids=lambda how: how.name.lower())
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_a_run_interrupted_at_any_call_ends_as_an_undisturbed_one(scenario: Scenario, how: How) -> None:
    counted = Calls()
    undisturbed, expected = await carried_out(scenario, counted)
    assert expected.status.outcome is scenario.outcome, transcript(expected)
    assert_each_change_once(undisturbed, expected, scenario.changes)
    wrong: list[str] = []

    for n, call in enumerate(counted.names, 1):
        made, run = await carried_out(scenario, Calls(n, how))
        try:
            if not how.kills and is_read(call) and end_of(run)["reason"] == "FactUnknown":
                # a diagnosis that could not be read is Unknown: nothing is changed, and somebody is told
                assert_each_change_once(made, run, 0)
                assert made.notifier.sent
                continue
            assert end_of(run) == end_of(expected)
            assert_each_change_once(made, run, scenario.changes)
            assert_intended_before(made)
            assert container(made) == container(undisturbed)
            assert {sent.key for sent in made.notifier.sent} == {sent.key for sent in undisturbed.notifier.sent}
        except AssertionError as error:
            wrong.append(f"call {n} of {counted.count} ({call}): {error}\n{transcript(run)}")

    assert not wrong, "\n".join(wrong)


LIMITED = Scenario(
    "a change for three minutes",
    book(set_queue("500").replace("timeout: 6s", "ttl: 3m") + CHECKS),
    RunOutcome.REMEDIATED,
    resolves_at("500"),
    changes=2,
)


def somebody_sets_another_value(made: World) -> None:
    made.cluster.change(
        CHECKOUT,
        lambda obj: dig_list(obj, "spec", "template", "spec", "containers")[0].update(
            env=[{"name": "QUEUE", "value": "700"}]
        ),
    )


def nothing(_: World) -> None: ...


async def owed_and_interrupted(meanwhile: Callable[[World], None], calls: Calls) -> tuple[World, Run]:
    """The world after a run's debt is settled; only what follows the run's end is interrupted."""
    made = world(LIMITED)
    known = made.outside.definitions
    assert isinstance(known, Given)
    run = await made.open_run(known.policy, CHECKOUT, FIRING)
    while not made.run(run).is_ended:
        await made.settle(run, within=timedelta(seconds=5))
    meanwhile(made)
    made.outside = interrupted(made.outside, calls)
    made.new_operator()
    while True:
        try:
            return made, await made.settle(run)
        except Died:
            calls.dead = False
            made.new_operator()


@pytest.mark.parametrize("how", list(How), ids=lambda how: how.name.lower())
@pytest.mark.parametrize(
    ("meanwhile", "state", "changes"),
    [(nothing, "Paid", 2), (somebody_sets_another_value, "GivenUp", 1)],
    ids=["paid", "conflict"],
)
async def test_a_debt_whose_payment_is_interrupted_at_any_call_is_settled_once(
    meanwhile: Callable[[World], None], state: str, changes: int, how: How
) -> None:
    counted = Calls()
    undisturbed, expected = await owed_and_interrupted(meanwhile, counted)
    assert [debt.state for debt in expected.status.debts] == [state], transcript(expected)
    wrong: list[str] = []

    for n, call in enumerate(counted.names, 1):
        made, run = await owed_and_interrupted(meanwhile, Calls(n, how))
        try:
            assert end_of(run) == end_of(expected)
            assert_each_change_once(made, run, changes)
            assert_intended_before(made)
            assert container(made) == container(undisturbed)
            assert {sent.key for sent in made.notifier.sent} == {sent.key for sent in undisturbed.notifier.sent}
        except AssertionError as error:
            wrong.append(f"call {n} of {counted.count} ({call}): {error}\n{transcript(run)}")

    assert not wrong, "\n".join(wrong)


async def test_a_message_that_nobody_takes_leaves_a_warning_after_all_patience() -> None:
    scenario = next(one for one in SCENARIOS if one.outcome is RunOutcome.UNDONE)
    made = world(scenario)
    known = made.outside.definitions
    assert isinstance(known, Given)
    made.notifier.fail_next(1000)

    run = await made.settle(await made.open_run(known.policy, CHECKOUT, FIRING))

    assert run.status.outcome is RunOutcome.UNDONE
    assert "NotSent" in made.events.reasons


async def test_an_intent_that_is_found_after_its_alert_has_resolved_is_given_up_in_the_runs_name() -> None:
    scenario, calls = SCENARIOS[0], Calls()
    await carried_out(scenario, calls)
    change = next(n for n, call in enumerate(calls.names, 1) if call.startswith("patch Deployment"))
    made = world(scenario)
    known = made.outside.definitions
    assert isinstance(known, Given)
    run = await made.open_run(known.policy, CHECKOUT, FIRING)
    outside = made.outside
    made.outside = interrupted(outside, Calls(change, How.KILLED_BEFORE))
    made.new_operator()
    with pytest.raises(Died):
        await made.settle(run)
    made.outside = interrupted(outside, Calls())
    made.new_operator()
    made.alerts.resolve()

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.NOT_NEEDED, transcript(run)
    assert run.status.attempts[0].steps[0].state is StepState.VOIDED
    assert [write.identity for write in made.cluster.writes if is_ours(write)] == [
        Identity(ACCOUNT, run.full_name, void=True)
    ]


class Meanwhile(Calls):
    """Something happens between the last look and the change."""

    def __init__(self, happens: Callable[[], None]) -> None:
        super().__init__()
        self._happens: list[Callable[[], None]] = [happens]

    async def pass_on(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if name.startswith("patch Deployment") and self._happens:
            self._happens.pop()()
        return await super().pass_on(name, call)


def annotated(made: World, key: str, value: str) -> None:
    def edit(obj: Object) -> None:
        dig_object(obj, "metadata")["annotations"] = {**dig_object(obj, "metadata", "annotations"), key: value}

    made.cluster.change(CHECKOUT, edit)


async def test_an_object_that_moves_between_intent_and_change_is_looked_at_again_and_changed_once() -> None:
    made = world(SCENARIOS[0])
    known = made.outside.definitions
    assert isinstance(known, Given)
    run = await made.open_run(known.policy, CHECKOUT, FIRING)
    made.outside = interrupted(made.outside, Meanwhile(lambda: annotated(made, "team", "shop")))
    made.new_operator()

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert_each_change_once(made, run, 1)
    assert_intended_before(made)


async def test_a_change_that_was_given_up_does_not_land_when_a_later_one_was_given_up_too() -> None:
    made = world(SCENARIOS[0])
    known = made.outside.definitions
    assert isinstance(known, Given)
    run = await made.open_run(known.policy, CHECKOUT, FIRING)

    def a_successor_ends_this_run_and_the_next() -> None:
        for token in (made.run(run).status.attempts[0].steps[0].token, "0123456789abcdef"):
            annotated(made, VOID_STAMP, token)
        ref = ObjectRef("remediator.dev", "RunbookRun", run.namespace, run.name)
        made.cluster.change(ref, lambda obj: dig_object(obj, "status").update(outcome="NotNeeded"))

    made.outside = interrupted(made.outside, Meanwhile(a_successor_ends_this_run_and_the_next))
    made.new_operator()

    await made.settle(run)

    assert queue(made) is None
    assert [write for write in made.cluster.writes if is_ours(write)] == []
