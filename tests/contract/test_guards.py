"""What is true of every guard in every chain."""

import random
from collections.abc import Sequence

import pytest

from remediator.domain.verdicts import Allow, Deny, Wait
from remediator.engine import guards
from remediator.engine.guards import BEFORE_CHANGE, BEFORE_UNDO, Guard, Question, first_objection
from worlds import UNREADABLE, facts, fence, policy, run, runbook, step

CHAINS = {"BEFORE_CHANGE": BEFORE_CHANGE, "BEFORE_UNDO": BEFORE_UNDO}

NEEDS_A_FACT = {
    guards.policy_is_ready,
    guards.mode_permits,
    guards.fence_allows,
    guards.target_is_the_same,
    guards.target_is_as_diagnosed,
    guards.alert_still_fires,
    guards.target_has_rested,
}
NEEDS_NO_FACT = {guards.account_is_named, guards.change_still_fits, guards.grace_is_over}
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
    world = facts(firing=(), fence=fence("restart"), policy=policy(book, grace="1h"))
    shuffled = random.Random(7)
    kinds = set()
    for _ in range(50):
        order = list(chain)
        shuffled.shuffle(order)
        kinds.add(type(first_objection(order, Question(run(), step(), world))))

    assert kinds == {Deny}


def test_a_denial_outweighs_a_wait() -> None:
    book = runbook()
    world = facts(policy=policy(book, grace="1h"), fence=fence("restart"))

    verdict = first_objection(BEFORE_CHANGE, Question(run(), step(), world))

    assert isinstance(verdict, Deny)
    assert isinstance(guards.grace_is_over(Question(run(), step(), world)), Wait)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_every_guard_says_in_one_sentence_what_it_is_for(chain: Sequence[Guard]) -> None:
    assert [guard.__name__ for guard in chain if not (guard.__doc__ or "").strip()] == []
