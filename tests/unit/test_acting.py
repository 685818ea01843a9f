"""Who may act beside whom, and who is woken when one of them has ended."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from remediator.domain.guardrails import Fence, Guardrail, GuardrailSpec
from remediator.domain.objects import ObjectRef
from remediator.domain.policies import Mode
from remediator.domain.runs import Held, Run, RunOutcome, RunTarget, StepState
from remediator.domain.verdicts import Allow, Deny, Reason, Wait
from remediator.engine.acting import Actor, actor_of, acts, bounds_of
from remediator.engine.guards import Question, limits
from remediator.engine.guards.question import RunQuestion
from remediator.handlers.acting import Register
from remediator.handlers.queue import Key
from remediator.testing import StoppedClock
from worlds import CHECKOUT, NOON, alert, alert_set, facts, policy, run, runbook, step

CART = ObjectRef.of("Deployment", "shop", "cart")
REDIS = ObjectRef.of("StatefulSet", "shop", "redis")
API = ObjectRef.of("Deployment", "platform", "api")
NODE = ObjectRef.of("Node", "", "worker-1")


def actor(*objects: ObjectRef, of: str = "shop/other") -> Actor:
    return Actor(of, frozenset(objects))


def fenced(**said: Any) -> Fence:
    return Fence((Guardrail("production", GuardrailSpec.model_validate({"allow": ["setEnv"], "limits": said})),))


def about(*refs: ObjectRef) -> Run:
    """A run on shop/checkout whose plan changes these."""
    steps = [step(name=f"s{n}", target=RunTarget.of(ref, "uid")) for n, ref in enumerate(refs)]
    attempt = run().status.attempts[0].model_copy(update={"steps": steps})
    return run(status={"attempts": [attempt.as_json()]})


# --- the policy ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "most"),
    [
        ((), 1),
        ((actor(CART, of="shop/queue"),), 2),
        ((actor(CART), actor(API)), 1),
        ((actor(CART, of=""),), 1),
    ],
    ids=["nobody acts", "one of two", "runs of other policies", "runs of people"],
)
def test_a_policy_with_room_for_one_more_lets_it_act(others: tuple[Actor, ...], most: int) -> None:
    few = policy(runbook(), limits={"concurrent": most})

    assert limits.policy_is_not_busy(Question(run(), step(), facts(policy=few, acting=others))) == Allow()


def test_no_more_runs_of_a_policy_act_at_once_than_it_says() -> None:
    few = policy(runbook(), limits={"concurrent": 2})
    others = (actor(CART, of="shop/queue"), actor(API, of="shop/queue"))

    verdict = limits.policy_is_not_busy(Question(run(), step(), facts(policy=few, acting=others)))

    assert isinstance(verdict, Wait)
    assert (verdict.reason, verdict.message) == (
        Reason.BUDGET_SPENT,
        "2 runs act already for AlertPolicy shop/queue, which lets 2 act at once",
    )


def test_one_run_of_a_policy_acts_at_once_where_it_says_nothing() -> None:
    verdict = limits.policy_is_not_busy(Question(run(), step(), facts(acting=(actor(CART, of="shop/queue"),))))

    assert isinstance(verdict, Wait)


# --- the fence -------------------------------------------------------------------------------------

ROOM: dict[str, tuple[Fence, tuple[Actor, ...], Run]] = {
    "nobody says how many": (fenced(), (actor(CART), actor(REDIS)), run()),
    "as many as allowed": (fenced(targets={"perNamespace": 2}), (actor(CART),), run()),
    "of another namespace": (fenced(targets={"perNamespace": 1}), (actor(API),), run()),
    "the very same object": (fenced(targets={"perNamespace": 1, "cluster": 1}), (actor(CHECKOUT),), run()),
    "its pods are its workload's": (
        fenced(targets={"perNamespace": 1}),
        (),
        about(ObjectRef.of("Pod", "shop", "checkout-1"), ObjectRef.of("Pod", "shop", "checkout-2")),
    ),
    "nodes that are not its own": (fenced(nodes=1), (actor(NODE),), run()),
}


@pytest.mark.parametrize(("fence", "others", "asking"), ROOM.values(), ids=ROOM)
def test_a_run_is_let_in_where_the_fence_has_room(fence: Fence, others: tuple[Actor, ...], asking: Run) -> None:
    assert limits.few_targets_at_once(Question(asking, step(), facts(fence=fence, acting=others))) == Allow()


FULL: dict[str, tuple[Fence, tuple[Actor, ...], Run, str]] = {
    "the namespace": (
        fenced(targets={"perNamespace": 1}),
        (actor(CART),),
        run(),
        "other runs work on 1 objects in namespace shop, and Guardrail production allows 1 at once",
    ),
    "the cluster": (
        fenced(targets={"cluster": 2}),
        (actor(API), actor(NODE)),
        run(),
        "other runs work on 2 objects in the cluster, and Guardrail production allows 2 at once",
    ),
    "every object of a plan counts": (
        fenced(targets={"perNamespace": 2}),
        (actor(CART),),
        about(REDIS),
        "other runs work on 1 objects in namespace shop",
    ),
    "every object of another's plan counts": (
        fenced(targets={"perNamespace": 2}),
        (actor(CART, REDIS),),
        run(),
        "other runs work on 2 objects in namespace shop",
    ),
    "nodes": (
        fenced(nodes=1),
        (actor(ObjectRef.of("Node", "", "worker-2")),),
        about(NODE),
        "other runs work on 1 nodes, and Guardrail production allows 1 at once",
    ),
}


@pytest.mark.parametrize(("fence", "others", "asking", "says"), FULL.values(), ids=FULL)
def test_a_run_waits_where_the_fence_is_full(fence: Fence, others: tuple[Actor, ...], asking: Run, says: str) -> None:
    verdict = limits.few_targets_at_once(Question(asking, step(), facts(fence=fence, acting=others)))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.BLAST_RADIUS
    assert verdict.message.startswith(says)


def test_a_plan_that_alone_is_too_much_is_refused_and_not_waited_for() -> None:
    verdict = limits.few_targets_at_once(
        Question(about(REDIS), step(), facts(fence=fenced(targets={"perNamespace": 1})))
    )

    assert isinstance(verdict, Deny)
    assert verdict.reason is Reason.BLAST_RADIUS
    assert verdict.message == "the plan works on 2 objects in namespace shop, and Guardrail production allows 1 at once"


@pytest.mark.parametrize("guard", [limits.policy_is_not_busy, limits.few_targets_at_once])
def test_a_remedy_that_has_begun_is_not_stopped_half_way_for_want_of_room(guard: Any) -> None:
    begun = about(CHECKOUT, REDIS)
    first = begun.status.attempts[0].steps[0].model_copy(update={"started_at": NOON})
    attempt = begun.status.attempts[0].model_copy(update={"steps": [first, begun.status.attempts[0].steps[1]]})
    begun = replace(begun, status=begun.status.model_copy(update={"attempts": [attempt]}))

    assert guard(Question(begun, step(), facts(acting=None, fence=None))) == Allow()


@pytest.mark.parametrize("guard", [limits.policy_is_not_busy, limits.few_targets_at_once])
def test_two_runs_that_have_both_written_their_intent_do_not_wait_for_each_other(guard: Any) -> None:
    world = facts(acting=(actor(CART, of="shop/queue"),), fence=fenced(targets={"cluster": 1}))

    assert isinstance(guard(Question(run(), step(), world)), Wait)
    assert guard(Question(run(), step(state=StepState.INTENDED), world)) == Allow()


# --- the register ----------------------------------------------------------------------------------


class Town:
    """A register, and who was woken by it."""

    def __init__(self) -> None:
        self.woken: list[str] = []
        self.register = Register(StoppedClock(NOON), wake=self._wake)

    def _wake(self, key: Key, seconds: float) -> None:
        assert 0 <= seconds < 1
        self.woken.append(key[1])


def a_run(
    name: str, *, locked: bool = False, version: int = 1, ended: bool = False, severity: str = "", age: int = 1
) -> Run:
    made = run(alerts=alert_set(alert(severity=severity)) if severity else None)
    target = RunTarget.of(ObjectRef.of("Deployment", "shop", name), "uid")
    status = made.status.model_copy(
        update={
            "locks": ["lease"] if locked else [],
            "outcome": RunOutcome.REMEDIATED if ended else None,
            "attempts": [made.status.attempts[0].model_copy(update={"steps": []})],
        }
    )
    return replace(
        made,
        name=name,
        uid=f"uid-{name}",
        resource_version=str(version),
        created_at=NOON - timedelta(minutes=age),
        spec=made.spec.model_copy(update={"target": target}),
        status=status,
    )


def waiting(town: Town, name: str, reason: str = "BudgetSpent", *, concurrent: int = 1, **rest: Any) -> None:
    standing = a_run(name, **rest)
    held = Held(reason=reason, message="", since=NOON)
    standing = replace(standing, status=standing.status.model_copy(update={"held": held}))
    few = policy(runbook(), limits={"concurrent": concurrent})
    town.register.waits(standing, bounds_of(few, fenced()))


def acting(town: Town, asking: str = "asking") -> int:
    others = town.register.others(a_run(asking))
    assert others is not None
    return len(others)


def test_a_run_acts_from_its_reservation_to_its_end() -> None:
    town = Town()
    town.register.reserve(a_run("a"))
    assert acting(town) == 1
    assert acting(town, "a") == 0, "it is not in its own way"

    town.register.note(a_run("a", locked=True, version=2))
    assert acting(town) == 1

    town.register.note(a_run("a", locked=True, version=3, ended=True))
    assert acting(town) == 0


def test_nobody_knows_who_acts_until_every_run_was_seen() -> None:
    complete: list[bool] = []
    register = Register(StoppedClock(NOON), is_complete=lambda: bool(complete))
    register.saw(a_run("a", locked=True))

    assert register.others(a_run("b")) is None
    complete.append(True)
    others = register.others(a_run("b"))
    assert others is not None and len(others) == 1


def test_a_watch_that_is_behind_gives_no_place_away() -> None:
    town = Town()
    town.register.reserve(a_run("a"))
    town.register.saw(a_run("a", version=2))
    assert acting(town) == 1, "what is reserved counts until it is used or given up"

    town.register.note(a_run("a", locked=True, version=5))
    town.register.saw(a_run("a", version=4))
    assert acting(town) == 1

    town.register.saw(a_run("a", version=6))
    assert acting(town) == 0, "it has given its locks back"


def test_a_reservation_that_came_to_nothing_is_given_up() -> None:
    town = Town()
    town.register.reserve(a_run("a"))

    town.register.note(a_run("a"))

    assert acting(town) == 0


def test_what_a_run_takes_back_after_its_end_takes_nobodys_place() -> None:
    assert acts(a_run("a", locked=True))
    assert not acts(a_run("a", locked=True, ended=True))


def test_a_run_that_ends_wakes_as_many_as_there_is_room_for_the_most_urgent_first() -> None:
    town = Town()
    for name in ("a", "b"):
        town.register.note(a_run(name, locked=True))
    waiting(town, "young", concurrent=2, severity="critical", age=2)
    waiting(town, "mild", concurrent=2, severity="warning", age=60)
    waiting(town, "old", concurrent=2, severity="critical", age=30)

    town.register.note(a_run("a", ended=True, version=2))
    assert town.woken == ["old"]
    town.register.note(a_run("b", ended=True, version=2))
    assert town.woken == ["old", "young"]


def test_a_place_that_was_promised_is_not_taken_by_a_newcomer() -> None:
    town = Town()
    town.register.note(a_run("a", locked=True))
    waiting(town, "old")

    town.register.note(a_run("a", ended=True, version=2))

    assert acting(town, "newcomer") == 1
    assert acting(town, "old") == 0


def test_a_place_that_the_woken_one_does_not_need_is_the_next_ones() -> None:
    town = Town()
    town.register.note(a_run("a", locked=True))
    waiting(town, "old", age=9)
    waiting(town, "young")
    town.register.note(a_run("a", ended=True, version=2))

    town.register.note(a_run("old", ended=True, version=2))  # its alert was over

    assert town.woken == ["old", "young"]


def test_one_that_was_woken_and_must_wait_for_something_else_is_not_woken_again_and_again() -> None:
    town = Town()
    town.register.note(a_run("a", locked=True))
    waiting(town, "old")
    town.register.note(a_run("a", ended=True, version=2))

    waiting(town, "old")  # the hour's budget, and not the room
    town.register.looked(("shop", "old"))

    assert town.woken == ["old"]
    assert acting(town) == 0


def test_a_run_whose_object_another_one_works_on_is_woken_by_the_end_of_that_one() -> None:
    town = Town()
    town.register.note(a_run("a", locked=True))
    same = replace(a_run("other"), spec=a_run("a").spec)
    held = Held(reason="TargetBusy", message="", since=NOON)
    same = replace(same, status=same.status.model_copy(update={"held": held}))
    town.register.waits(same, bounds_of(policy(runbook(), limits={"concurrent": 9}), fenced()))

    town.register.note(a_run("a", ended=True, version=2))

    assert town.woken == ["other"]


@pytest.mark.parametrize("reason", ["InGrace", "CoolingDown"])
def test_who_waits_for_time_is_not_woken_by_room(reason: str) -> None:
    town = Town()
    town.register.note(a_run("a", locked=True))
    waiting(town, "old", reason)

    town.register.forget(("shop", "a"))

    assert town.woken == []


def test_the_objects_of_a_run_are_its_target_and_what_it_changes() -> None:
    assert actor_of(about(REDIS)) == Actor("shop/queue", frozenset({CHECKOUT, REDIS}), "shop/queue-1")


# --- before a run looks ------------------------------------------------------------------------------


def test_a_run_does_not_look_at_what_another_one_is_changing() -> None:
    other = replace(actor(REDIS, CHECKOUT), run="shop/other-1")

    verdict = limits.nobody_else_is_at_it(RunQuestion(run(), facts(acting=(other,))))

    assert isinstance(verdict, Wait)
    assert (verdict.reason, verdict.message) == (
        Reason.TARGET_BUSY,
        "Deployment shop/checkout is being changed by shop/other-1",
    )
    assert limits.nobody_else_is_at_it(RunQuestion(run(), facts(acting=(actor(CART),)))) == Allow()


def test_a_run_that_will_change_nothing_looks_all_the_same() -> None:
    rehearsal = run()
    resolved = rehearsal.status.resolved
    assert resolved is not None
    resolved = resolved.model_copy(update={"mode": Mode.DRY_RUN})
    rehearsal = replace(rehearsal, status=rehearsal.status.model_copy(update={"resolved": resolved}))

    assert limits.nobody_else_is_at_it(RunQuestion(rehearsal, facts(acting=(actor(CHECKOUT),)))) == Allow()
