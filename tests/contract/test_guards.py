"""What is true of every guard in every chain."""

import random
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest

from remediator.domain.verdicts import Allow, Deny, Reason, Wait
from remediator.engine.guards import (
    BEFORE_CHANGE,
    BEFORE_RUN,
    BEFORE_UNDO,
    Guard,
    Question,
    authority,
    consent,
    first_objection,
    freshness,
    harm,
    inhibition,
    limits,
    nodes,
    room,
    stopping,
    storms,
)
from worlds import UNREADABLE, facts, fence, policy, run, runbook, step

ROOT = Path(__file__).parents[2]

CHAINS: dict[str, Sequence[Guard]] = {
    "BEFORE_RUN": BEFORE_RUN,
    "BEFORE_CHANGE": BEFORE_CHANGE,
    "BEFORE_UNDO": BEFORE_UNDO,
}

NEEDS_A_FACT = {
    stopping.is_not_stopped,
    authority.policy_is_ready,
    authority.account_may,
    authority.mode_permits,
    authority.fence_allows,
    authority.is_not_suspended,
    authority.no_freeze,
    storms.no_storm,
    freshness.target_is_the_same,
    freshness.target_is_as_diagnosed,
    freshness.alert_still_fires,
    harm.disruption_budget_allows,
    harm.little_is_out_of_service,
    harm.no_rollout_is_in_progress,
    harm.not_managed_elsewhere,
    limits.has_helped_before,
    limits.is_not_our_own_doing,
    limits.target_is_free,
    limits.target_has_rested,
    room.quota_leaves_room,
    consent.is_approved,
    limits.has_not_failed_again,
    limits.budget_is_left,
    limits.nobody_else_is_at_it,
    limits.policy_is_not_busy,
    limits.few_targets_at_once,
}
NEEDS_NO_FACT = {
    authority.account_is_named,
    authority.namespace_is_there,
    freshness.change_still_fits,
    freshness.grace_is_over,
    inhibition.nothing_inhibits,
    nodes.enough_nodes_serve,
}
"""They read the record alone, or an unreadable world is another guard's to refuse."""


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_unknown_never_allows(chain: Sequence[Guard]) -> None:
    assert not isinstance(first_objection(chain, Question(run(), step(), UNREADABLE)), Allow)


@pytest.mark.parametrize("guard", sorted(NEEDS_A_FACT, key=lambda guard: guard.__name__))
def test_a_guard_that_needs_a_fact_does_not_allow_without_it(guard: Guard) -> None:
    assert not isinstance(guard(Question(run(), step(), UNREADABLE)), Allow)


def test_every_guard_of_a_chain_is_accounted_for() -> None:
    assert {guard for chain in CHAINS.values() for guard in chain} == NEEDS_A_FACT | NEEDS_NO_FACT


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_the_order_of_guards_decides_only_which_objection_is_named_first(chain: Sequence[Guard]) -> None:
    book = runbook()
    world = facts(firing=(), fence=fence("restart", suspend=True), policy=policy(book, grace="1h"))
    shuffled = random.Random(7)
    kinds = set()
    for _ in range(50):
        order = list(chain)
        shuffled.shuffle(order)
        kinds.add(type(first_objection(order, Question(run(), step(), world))))

    assert kinds == {Wait if chain is BEFORE_RUN else Deny}


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_no_guard_depends_on_another_whatever_part_of_the_world_is_unknown(chain: Sequence[Guard], seed: int) -> None:
    chance = random.Random(seed)
    known = facts()
    lost = {one.name: getattr(UNREADABLE, one.name) for one in fields(known) if chance.random() < 0.3}
    question = Question(run(), step(), replace(known, **{**lost, "now": known.now}))
    found = set()
    for _ in range(10):
        order = list(chain)
        chance.shuffle(order)
        found.add(type(first_objection(order, question)))

    assert len(found) == 1


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_given_by_something_tested_and_explained(reason: Reason) -> None:
    given = f"Reason.{reason.name}"
    code = [
        path
        for path in (ROOT / "operator/remediator").rglob("*.py")
        if path.name not in ("verdicts.py", "reference.py")
    ]
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]

    assert any(given in path.read_text() for path in code)
    assert any(given in text or f'"{reason}"' in text for text in (path.read_text() for path in tests))
    assert f"| {reason} | " in (ROOT / "operator/reference/kinds.md").read_text()


def test_a_denial_outweighs_a_wait() -> None:
    book = runbook()
    world = facts(policy=policy(book, grace="1h"), fence=fence("restart"))

    verdict = first_objection(BEFORE_CHANGE, Question(run(), step(), world))

    assert isinstance(verdict, Deny)
    assert isinstance(freshness.grace_is_over(Question(run(), step(), world)), Wait)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_every_guard_says_in_one_sentence_what_it_is_for(chain: Sequence[Guard]) -> None:
    assert [guard.__name__ for guard in chain if not (guard.__doc__ or "").strip()] == []
