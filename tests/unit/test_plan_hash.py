"""What an approval is bound to: everything that would be done, and nothing that moves by itself."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from remediator.domain.changes import DeletePods, change_as_json
from remediator.domain.objects import ObjectRef, Target
from remediator.domain.runs import Run, RunTarget, StepRecord, StepState
from remediator.engine.settle import plan_hash
from worlds import CHECKOUT, FIRING, NOON, UID, alert_set, raise_queue, run, step

OTHER = ObjectRef.of("Deployment", "shop", "redis")
PLAN = plan_hash(run(), [step()])


def changed(**fields: Any) -> StepRecord:
    """The step with another change."""
    return step(change={**change_as_json(raise_queue()), **fields})


def delete(*uids: str) -> StepRecord:
    pods = tuple(Target(ObjectRef.of("Pod", "shop", "checkout-1"), uid) for uid in uids)
    return step(action="deletePod", change=change_as_json(DeletePods(Target(CHECKOUT, UID), pods, "delete")))


def of_round(made: Run, **fields: Any) -> Run:
    attempt = made.status.attempts[0].model_copy(update=fields)
    return replace(made, status=made.status.model_copy(update={"attempts": [attempt]}))


def as_account(made: Run, account: str) -> Run:
    assert made.status.resolved is not None
    resolved = made.status.resolved.model_copy(update={"account": account})
    return replace(made, status=made.status.model_copy(update={"resolved": resolved}))


@pytest.mark.parametrize(
    ("why", "made", "steps"),
    [
        ("another run", replace(run(), uid="another"), [step()]),
        ("another remedy", of_round(run(), remedy="smaller"), [step()]),
        ("another account", as_account(run(), "system:serviceaccount:shop:root"), [step()]),
        ("another pod template was diagnosed", of_round(run(), target_template="ff"), [step()]),
        ("another step", run(), [step(name="lower")]),
        ("another action", run(), [step(action="restart")]),
        ("another element of forEach", run(), [step(item=1)]),
        ("another object", run(), [changed(target={**change_as_json(raise_queue())["target"], "name": "redis"})]),  # type: ignore[dict-item]
        ("another object of the same name", run(), [changed(target={"uid": "another"})]),
        ("another value", run(), [changed(edits=[])]),
        ("another old value", run(), [step(change=change_as_json(raise_queue(was="100")))]),
        ("one step more", run(), [step(), step(name="again")]),
        ("another time that it stays", run(), [step(ttl=timedelta(hours=1))]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_plan_that_would_do_something_else_is_another_plan(why: str, made: Run, steps: list[StepRecord]) -> None:
    assert plan_hash(made, steps) != PLAN, why


def test_other_pods_of_the_same_names_are_another_plan() -> None:
    assert plan_hash(run(), [delete("a")]) != plan_hash(run(), [delete("b")])


def test_the_order_of_steps_belongs_to_the_plan() -> None:
    first, second = step(), step(name="again")

    assert plan_hash(run(), [first, second]) != plan_hash(run(), [second, first])


@pytest.mark.parametrize(
    ("why", "made", "steps"),
    [
        ("time passes", replace(run(), created_at=NOON + timedelta(hours=1)), [step()]),
        ("the record is written", replace(run(), resource_version="900"), [step()]),
        ("an alert attaches", run(alerts=alert_set(FIRING, FIRING)), [step()]),
        ("evidence is kept", of_round(run(), evidence="queue-1-attempt-1"), [step()]),
        ("another guard speaks", run(status={"message": "IN GRACE"}), [step()]),
        ("the object's version moves", run(), [step(resource_version="900", generation=12)]),
        ("a token is made", run(), [step(token="t", state=StepState.INTENDED, intended_at=NOON)]),
        ("it was rehearsed", run(), [step(diff="- a\n+ b")]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_moves_by_itself_leaves_the_plan_as_it_was(why: str, made: Run, steps: list[StepRecord]) -> None:
    assert plan_hash(made, steps) == PLAN, why


def test_a_step_about_another_object_is_another_plan() -> None:
    there = change_as_json(raise_queue())
    elsewhere = step(target=RunTarget.of(OTHER, "other-uid"), change={**there, "target": {"name": "redis"}})

    assert plan_hash(run(), [elsewhere]) != PLAN
