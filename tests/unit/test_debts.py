"""What a run owes, when it is due, and what stands on top of it."""

from dataclasses import replace
from datetime import timedelta

import pytest
import yaml

from remediator.actions import registry
from remediator.domain.changes import ABSENT, Edit, FieldPath, Patch, applied
from remediator.domain.errors import InvalidManifest
from remediator.domain.json import Object
from remediator.domain.objects import Target
from remediator.domain.runs import DebtKind, Run, StepRecord, StepState
from remediator.engine import debts, due
from remediator.engine.acceptance import accept_runbook
from remediator.engine.facts import Owing
from remediator.engine.record import with_attempt, with_new_attempt
from remediator.engine.settle import intended, plan_hash
from remediator.handlers.owed import Owed
from worlds import CHECKOUT, NOON, UID, deployment, facts, run, step

ENTRY = FieldPath.parse("/spec/template/spec/containers/[name=app]/env/[name=QUEUE]")
VALUE = FieldPath.parse("/spec/template/spec/containers/[name=app]/env/[name=QUEUE]/value")
REPLICAS = FieldPath.parse("/spec/replicas")
TTL = timedelta(minutes=10)


def patch(path: FieldPath, was: object, to: object) -> Patch:
    return Patch(Target(CHECKOUT, UID), (Edit(path, was, to),), "a change")  # type: ignore[arg-type]


ADDED = patch(ENTRY, ABSENT, {"name": "QUEUE", "value": "100"})
RAISED = patch(VALUE, "100", "500")
DOUBLED = patch(VALUE, "500", "900")


def after(*patches: Patch) -> Object:
    seen: Object = deployment()
    for one in patches:
        seen = applied(one, seen)
    return seen


def undoing(of: Patch) -> StepRecord:
    return debts.taken_back(step(token="made"), of)


def changed(*steps: StepRecord) -> Run:
    return with_attempt(run(), steps=list(steps), verifying_since=NOON)


def limited(token: str = "made", **fields: object) -> StepRecord:
    return step(token=token, ttl=TTL, state=StepState.DONE, started_at=NOON, **fields)


# --- stacked ----------------------------------------------------------------------------------------


def test_a_value_of_ours_has_nothing_on_top_of_it() -> None:
    assert due.stacked(undoing(ADDED), after(ADDED), (Owing("shop/two", RAISED, None),)) == ()


def test_a_later_runs_value_stands_on_top_also_where_it_wrote_into_what_we_added() -> None:
    later = Owing("shop/two", RAISED, None)

    assert due.stacked(undoing(ADDED), after(ADDED, RAISED), (later,)) == (later,)


def test_three_runs_stand_on_top_of_one_another_in_whatever_order_they_are_known() -> None:
    two, three = Owing("shop/two", RAISED, None), Owing("shop/three", DOUBLED, None)
    seen = after(ADDED, RAISED, DOUBLED)

    assert due.stacked(undoing(ADDED), seen, (two, three)) == (three, two)
    assert due.stacked(undoing(ADDED), seen, (three, two)) == (three, two)


def test_somebody_elses_value_is_no_later_run_of_ours() -> None:
    seen = after(ADDED, patch(VALUE, "100", "700"))

    assert due.stacked(undoing(ADDED), seen, (Owing("shop/two", RAISED, None),)) == ()


def test_a_later_run_of_ours_on_top_of_somebody_elses_value_does_not_make_it_ours() -> None:
    theirs = patch(VALUE, "100", "700")
    later = patch(VALUE, "700", "900")

    assert due.stacked(undoing(ADDED), after(ADDED, theirs, later), (Owing("shop/two", later, None),)) == ()


def test_what_a_later_run_owes_elsewhere_on_the_object_is_not_on_top() -> None:
    scaled = patch(REPLICAS, 2, 5)
    seen = after(ADDED, scaled, patch(VALUE, "100", "700"))

    assert due.stacked(undoing(ADDED), seen, (Owing("shop/two", scaled, None),)) == ()


# --- when it is due -----------------------------------------------------------------------------------


def owing(*steps: StepRecord, ended: bool = True) -> Run:
    made = changed(*steps)
    for one in steps:
        made = debts.recorded(made, one, NOON)
    status = made.status.model_copy(update={"outcome": "Done" if ended else None})
    return Run(**{**{f: getattr(made, f) for f in Run.__slots__}, "status": status})


def test_a_debt_is_due_when_its_time_is_over_and_not_before() -> None:
    made = owing(limited())

    assert due.most_pressing(made, facts(now=NOON + TTL - timedelta(seconds=1))) is None
    first = due.most_pressing(made, facts(now=NOON + TTL))
    assert first is not None and first.debt.token == "made"
    assert due.next_look(made, facts(now=NOON)) == NOON + TTL


def test_a_step_without_a_limit_owes_nothing() -> None:
    assert owing(step(token="made", state=StepState.DONE, started_at=NOON)).status.debts == []


def test_while_a_change_is_under_way_nothing_is_paid() -> None:
    under_way = step(token="other", state=StepState.INTENDED, intended_at=NOON)

    assert due.most_pressing(owing(limited(), under_way, ended=False), facts(now=NOON + TTL)) is None


def test_of_two_changes_of_one_value_in_one_run_the_later_is_taken_back_first_even_if_the_earlier_is_due() -> None:
    second = limited("second")
    made = owing(limited(), second.model_copy(update={"ttl": TTL * 2}))

    assert due.most_pressing(made, facts(now=NOON + TTL)) is None
    first = due.most_pressing(made, facts(now=NOON + TTL * 2))
    assert first is not None and first.debt.token == "second"


def test_an_undo_that_has_begun_is_owed_when_the_run_ends_in_the_middle_of_it() -> None:
    planned = [undoing(ADDED)]
    made = with_attempt(
        debts.of_undo(changed(step(token="made", state=StepState.DONE, started_at=NOON)), planned, NOON)
    )
    made = with_attempt(made, undo=planned)
    assert [debt.kind for debt in made.status.debts] == [DebtKind.UNDO]
    assert debts.in_payment(made) is None, "the open run's round takes itself back"

    stopped = Run(
        **{
            **{f: getattr(made, f) for f in Run.__slots__},
            "status": made.status.model_copy(update={"outcome": "Stopped"}),
        }
    )

    assert debts.in_payment(stopped) == 0


def test_only_changes_that_were_made_are_owed_at_the_end() -> None:
    never = step(token="made", ttl=TTL, state=StepState.VOIDED)

    assert debts.at_the_end(owing(never, ended=False), NOON).status.debts == []


# --- the plan -----------------------------------------------------------------------------------------


def test_how_long_a_change_stays_is_part_of_what_is_approved() -> None:
    plain, short, long = step(), step(ttl=TTL), step(ttl=TTL * 2)

    assert len({plan_hash(run(), [one]) for one in (plain, short, long, step(revert_on_resolve=True))}) == 4


@pytest.mark.parametrize(
    ("one", "says"),
    [
        ("ttl: 10m\n    restart: {}", "spec.remedies[0].steps[0].ttl: restart cannot be taken back: remove it"),
        ("ttl: 0s\n    scale: {by: 1}", "spec.remedies[0].steps[0].ttl: must be at least 1s"),
        (
            "revertOnResolve: true\n    wait: {for: 5s}",
            "spec.remedies[0].steps[0].revertOnResolve: a wait changes nothing",
        ),
        (
            "ttl: 5m\n    get: {kind: Pod, related: owned}",
            "spec.remedies[0].steps[0].ttl: get only reads and changes nothing",
        ),
    ],
)
def test_a_limit_is_refused_where_nothing_could_be_taken_back(one: str, says: str) -> None:
    text = f"targets: [Deployment]\nremedies:\n- name: bigger\n  steps:\n  - name: raise\n    {one}\n"

    with pytest.raises(InvalidManifest) as refused:
        accept_runbook("shop", "queue", "rb-uid", 1, yaml.safe_load(text), registry)

    assert says in str(refused.value)


# --- what is remembered -------------------------------------------------------------------------------


def test_what_others_owe_is_not_known_before_every_run_was_seen() -> None:
    owed = Owed(lambda: False)
    owed.note(owing(limited()))

    assert owed.on(CHECKOUT, but="") is None


def test_what_the_watch_brings_late_does_not_hide_what_was_written_since() -> None:
    owed = Owed()
    owed.note(replace(owing(limited()), resource_version="12"))

    owed.note(replace(owing(step(token="made")), resource_version="11"))

    assert owed.count == 1


def test_a_run_is_remembered_for_as_long_as_it_owes() -> None:
    owed, made = Owed(), owing(limited())
    owed.note(made)
    assert owed.count == 1
    assert [one.run for one in owed.on(CHECKOUT, but="another") or ()] == [made.full_name]
    assert owed.on(CHECKOUT, but=made.uid) == ()

    owed.note(debts.settled(made, made.status.debts[0], "Paid", "done", NOON))

    assert (owed.count, owed.on(CHECKOUT, but="another")) == (0, ())


def test_a_second_try_in_a_later_round_has_a_token_of_its_own() -> None:
    tried = undoing(ADDED).model_copy(update={"state": StepState.VOIDED, "token": "first"})
    once = with_attempt(changed(limited()), undo=[undoing(ADDED)])
    twice = with_attempt(with_new_attempt(with_attempt(changed(limited()), undo=[tried])), undo=[undoing(ADDED)])

    tokens = {
        intended(made, 0, deployment(), NOON, undoing=True).status.attempts[-1].undo[0].token for made in (once, twice)
    }

    assert len(tokens) == 2
