"""What the ledger on a target's Lease allows, one table for each guard."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from remediator.domain.locks import LockState, PastChange
from remediator.domain.runs import StepState
from remediator.domain.verdicts import Allow, Deny, Reason, Wait
from remediator.engine.facts import Seen
from remediator.engine.guards import Question, limits
from worlds import NOON, deployment, facts, policy, run, runbook, step

BY_HAND: dict[str, Any] = {"policyRef": None, "episode": None}


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def past(ended: float, *, outcome: str = "Undone", uid: str = "", changes: int = 1, **rest: Any) -> PastChange:
    """What a run of the same Runbook changed; it ended so many minutes ago."""
    at = NOON - minutes(ended + 2)
    made = PastChange(
        runbook="shop/queue",
        remedy="bigger",
        run=f"shop/queue-{uid or ended}",
        run_uid=uid or f"uid-{ended}",
        at=at,
        made=(at,) * changes,
        ended=NOON - minutes(ended),
        outcome=outcome,
    )
    return replace(made, **rest)


def ask(guard: Any, *changes: PastChange, holder: str = "", run_: Any = None, **world: Any) -> Any:
    lock = LockState("lease", holder=f"shop/{holder}" if holder else "", holder_uid=holder, changes=changes)
    return guard(Question(run_ or run(), step(), facts(lock=lock, **world)))


def with_steps(count: int) -> Any:
    """A run whose plan has so many changes."""
    attempt = run().status.attempts[0].model_copy(update={"steps": [step(name=f"s{n}") for n in range(count)]})
    return run(status={"attempts": [attempt.as_json()]})


# --- another run is at it --------------------------------------------------------------------------


def test_a_target_that_another_run_changes_is_waited_for() -> None:
    verdict = ask(limits.target_is_free, holder="other")

    assert isinstance(verdict, Wait)
    assert (verdict.reason, verdict.message) == (
        Reason.TARGET_BUSY,
        "Deployment shop/checkout is being changed by shop/other",
    )


@pytest.mark.parametrize("holder", ["", "run-uid"], ids=["nobody holds it", "this run holds it"])
def test_a_free_target_is_changed(holder: str) -> None:
    assert ask(limits.target_is_free, holder=holder) == Allow()


# --- the budget ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spent", "planned", "most"),
    [(0, 1, 4), (3, 1, 4), (0, 4, 4), (0, 1, 1), (19, 1, 20)],
)
def test_changes_that_fit_into_the_hour_are_made(spent: int, planned: int, most: int) -> None:
    few = policy(runbook(), limits={"perHour": most})

    assert ask(limits.budget_is_left, past(10, changes=spent), run_=with_steps(planned), policy=few) == Allow()


def test_a_budget_that_is_spent_waits_until_enough_of_the_hour_has_fallen_out() -> None:
    ledger = (past(50), past(40), past(30), past(20))

    verdict = ask(limits.budget_is_left, *ledger, run_=with_steps(2))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.BUDGET_SPENT
    assert verdict.until == NOON - minutes(42) + timedelta(hours=1)
    assert verdict.message == (
        "Deployment shop/checkout was changed 4 times in the last hour; 2 more would be over the 4 allowed"
    )


def test_every_step_counts_and_not_only_every_run() -> None:
    assert isinstance(ask(limits.budget_is_left, past(10, changes=4)), Wait)


def test_changes_of_every_runbook_and_policy_count() -> None:
    ledger = [past(10, uid=f"u{n}", runbook=f"ops/{n}", outcome="Remediated") for n in range(4)]

    assert isinstance(ask(limits.budget_is_left, *ledger), Wait)


def test_what_is_longer_ago_than_an_hour_costs_nothing() -> None:
    assert ask(limits.budget_is_left, past(58, changes=4)) == Allow()


def test_what_this_remedy_may_change_itself_is_not_counted_twice() -> None:
    own = past(0, uid="run-uid", changes=4)

    assert ask(limits.budget_is_left, own, run_=with_steps(4)) == Allow()
    assert isinstance(ask(limits.budget_is_left, replace(own, remedy="first"), run_=with_steps(1)), Wait)


def test_a_plan_that_never_fits_is_refused_and_not_waited_for() -> None:
    verdict = ask(limits.budget_is_left, run_=with_steps(5))

    assert isinstance(verdict, Deny)
    assert verdict.reason is Reason.BUDGET_SPENT
    assert verdict.message == "the plan has 5 changes, and Deployment shop/checkout may be changed 4 times an hour"


# --- it did not help -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "rest"),
    [(1, 1), (2, 2), (3, 4), (4, 8), (6, 32), (7, 60), (12, 60)],
)
def test_a_target_rests_longer_after_each_run_that_did_not_help(failures: int, rest: int) -> None:
    ledger = [past(0.5 + 90 * n) for n in range(failures)]

    verdict = ask(limits.has_not_failed_again, *ledger)

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.REPEATED_FAILURE
    assert verdict.until == NOON - minutes(0.5) + minutes(rest)
    assert ask(limits.has_not_failed_again, *(past(rest + 90 * n) for n in range(failures))) == Allow()


NOT_HELPED = ("Undone", "Failed", "Refused", "Inconclusive", "HandedOver", "")


@pytest.mark.parametrize("outcome", NOT_HELPED)
def test_a_run_that_did_not_end_well_or_left_no_word_has_not_helped(outcome: str) -> None:
    assert isinstance(ask(limits.has_not_failed_again, past(0.5, outcome=outcome)), Wait)
    ledger = [past(60.0 * n, outcome=outcome) for n in range(1, 4)]
    assert isinstance(ask(limits.has_helped_before, *ledger), Deny)


def test_a_runbook_that_did_not_help_three_times_in_a_row_is_refused() -> None:
    verdict = ask(limits.has_helped_before, past(100), past(200), past(300))

    assert isinstance(verdict, Deny)
    assert verdict.reason is Reason.DID_NOT_HELP
    assert verdict.message == "shop/queue did not help Deployment shop/checkout 3 times in a row within 24h"


ENOUGH_HELP: dict[str, Sequence[PastChange]] = {
    "twice": (past(100), past(200)),
    "longer ago": (past(100), past(200), past(24 * 60 + 1)),
    "it helped meanwhile": (past(100), past(200, outcome="Remediated"), past(300), past(400)),
    "of another Runbook": (past(100), past(200), past(300, runbook="ops/other")),
    "one run of several remedies": (past(100), past(300, uid="a"), past(301, uid="a", remedy="other")),
    "one that was stopped": (past(100), past(200), past(300, outcome="Stopped")),
}


@pytest.mark.parametrize("ledger", ENOUGH_HELP.values(), ids=ENOUGH_HELP)
def test_less_than_that_is_not_refused(ledger: Sequence[PastChange]) -> None:
    assert ask(limits.has_helped_before, *ledger) == Allow()


def test_a_run_that_is_still_at_it_has_not_failed() -> None:
    ledger = (past(100), past(200), replace(past(0, uid="other", outcome=""), ended=None))

    assert ask(limits.has_helped_before, *ledger, holder="other") == Allow()


def test_a_person_may_ask_for_what_did_not_help() -> None:
    assert ask(limits.has_helped_before, past(100), past(200), past(300), run_=run(**BY_HAND)) == Allow()


# --- our own doing ---------------------------------------------------------------------------------


def stamped(by: str) -> Seen:
    obj = deployment()
    obj["metadata"]["annotations"]["remediator.dev/run"] = by
    return Seen(obj=obj)


JUST_CHANGED = past(3, uid="other", outcome="Remediated")  # 5 minutes ago; the run that asks was opened 2 minutes ago


def test_an_alert_that_follows_our_own_change_waits_until_that_has_settled() -> None:
    verdict = ask(limits.is_not_our_own_doing, JUST_CHANGED, target=stamped("shop/queue-other"))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.SELF_INFLICTED
    assert verdict.until == NOON + minutes(5)
    assert "shop/queue-other changed Deployment shop/checkout at 2026-11-21T11:55:00Z" in verdict.message


def test_so_does_one_that_comes_while_the_other_run_is_still_at_it() -> None:
    under_way = replace(JUST_CHANGED, ended=None, outcome="")

    verdict = ask(limits.is_not_our_own_doing, under_way, holder="other", target=stamped("shop/queue-other"))

    assert isinstance(verdict, Wait)


def written(by: str, at: str, **entry: str) -> Seen:
    """The target with our stamp, and with one more writer."""
    obj = deployment()
    obj["metadata"]["annotations"]["remediator.dev/run"] = "shop/queue-other"
    obj["metadata"]["managedFields"] = [{"manager": by, "operation": "Update", "time": at, **entry}]
    return Seen(obj=obj)


@pytest.mark.parametrize(
    "target",
    [
        written("remediator", "2026-11-21T11:57:00Z"),
        written("kubectl-set", "2026-11-21T11:54:00Z"),
        written("kube-controller-manager", "2026-11-21T11:57:00Z", subresource="status"),
    ],
    ids=["by us", "before our change", "of the status"],
)
def test_a_write_that_is_no_later_change_of_somebody_else_leaves_ours_the_newest(target: Seen) -> None:
    assert isinstance(ask(limits.is_not_our_own_doing, JUST_CHANGED, target=target), Wait)


NOT_OURS: dict[str, dict[str, Any]] = {
    "longer ago": {"ledger": past(9, uid="other"), "target": stamped("shop/queue-other")},
    "changed by another run since": {"ledger": JUST_CHANGED, "target": stamped("shop/another-run")},
    "changed by somebody else since": {
        "ledger": JUST_CHANGED,
        "target": written("kubectl-set", "2026-11-21T11:57:00Z"),
    },
    "never changed by us": {"ledger": JUST_CHANGED, "target": Seen(obj=deployment())},
    "opened before the change": {
        "ledger": replace(JUST_CHANGED, made=(NOON - minutes(1),)),
        "target": stamped("shop/queue-other"),
    },
    "changed by this very run": {
        "ledger": replace(JUST_CHANGED, run_uid="run-uid", run="shop/queue-1"),
        "target": stamped("shop/queue-1"),
    },
    "asked for by a person": {
        "ledger": JUST_CHANGED,
        "target": stamped("shop/queue-other"),
        "run_": run(**BY_HAND),
    },
}


@pytest.mark.parametrize("world", NOT_OURS.values(), ids=NOT_OURS)
def test_other_alerts_are_not_taken_for_our_own_doing(world: dict[str, Any]) -> None:
    ledger = world.pop("ledger") if "ledger" in world else JUST_CHANGED

    assert ask(limits.is_not_our_own_doing, ledger, **world) == Allow()


# --- a remedy is one unit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "guard",
    [
        limits.target_is_free,
        limits.is_not_our_own_doing,
        limits.target_has_rested,
        limits.budget_is_left,
        limits.has_not_failed_again,
        limits.has_helped_before,
    ],
)
def test_a_remedy_that_has_begun_is_not_stopped_half_way_by_a_limit(guard: Any) -> None:
    begun = step(name="first", state=StepState.DONE, started_at=NOON)
    attempt = run().status.attempts[0].model_copy(update={"steps": [begun, step()]})
    both = run(status={"attempts": [attempt.as_json()]})

    assert guard(Question(both, step(), facts(lock=None))) == Allow()
