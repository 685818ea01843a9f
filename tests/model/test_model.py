"""
The part of the search that takes seconds; `make model` is the whole of it.

Nothing is asserted of how many states there are or how long they take: only that what must hold does, as
far as the search goes, and that each rule that is taken out is missed.
"""

import gc
import logging
from collections.abc import Iterator

import pytest

from model.cases import MUTATIONS, RULES, Case
from model.mutants import MUTANTS
from model.search import Found


@pytest.fixture(autouse=True)
def _nothing_else_is_done() -> Iterator[None]:
    """A search throws nothing away, and to look for that, or to keep what is logged, takes most of its time."""
    gc.disable()
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    gc.enable()


def told(found: Found) -> str:
    return "\n".join([found.violation, *found.trace])


@pytest.mark.parametrize("case", [case for case in RULES if case.quick], ids=str)
def test_with_every_rule_every_property_holds(case: Case) -> None:
    found = case.searched()

    assert found.exhausted
    assert not found.violation, told(found)


@pytest.mark.parametrize("case", [case for case in MUTATIONS if case.quick], ids=str)
def test_a_rule_that_is_taken_out_is_missed(case: Case) -> None:
    found = case.searched()

    assert found.property == case.broken, told(found)
    assert found.trace, "the counter-example says who did what"


def test_every_mutant_is_searched_for() -> None:
    assert {case.without for case in MUTATIONS} == set(MUTANTS)
