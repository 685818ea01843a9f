"""
A run that is interrupted by `kill -9` at any of its calls neither repeats nor skips a change.

The calls of an undisturbed run are counted. Then, for each of them, the process is killed before
the API server is asked, killed when it has answered, and left alive with the answer lost.
"""

from collections.abc import Iterator

import pytest

from cluster.faults.audit import Audit
from cluster.faults.bench import WANTED, Bench, Shop, story
from cluster.faults.proxy import Call, Fault
from remediator.domain.runs import RunOutcome, StepState

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


@pytest.mark.parametrize(
    "faults",
    [(Fault.LOSE,), (Fault.HOLD_BEFORE, Fault.HOLD_AFTER)],
    ids=["whose answer is lost", "at which the process is killed"],
)
def test_a_run_survives_any_call(bench: Bench, faults: tuple[Fault, ...]) -> None:
    shops = [bench.shop(fault, n) for n in range(1, bench.calls_of_a_run() + 1) for fault in faults]

    wrong = bench.carry_out_all(shops)

    assert wrong == {}
    reached = [shop for shop in shops if shop.subject.reached.is_set()]
    assert len(reached) >= 0.8 * len(shops), "most faults happened"


def is_the_change(call: Call) -> bool:
    return call.method == "PATCH" and call.resource == "deployments" and not call.void


@pytest.fixture
def frozen(bench: Bench) -> Iterator[Shop]:
    """A run whose operator is frozen between the intent and the change, with the change on its way."""
    shop = bench.shop(Fault.HOLD_BEFORE, where=is_the_change)
    bench.open([shop])
    bench.post(shop)
    assert shop.subject.reached.wait(30), "the run did not come to its change"
    bench.operator.freeze()
    yield shop
    bench.proxy.let_go(shop.subject)
    bench.operator.thaw()


def let_the_change_go(bench: Bench, shop: Shop) -> Call:
    """The change that was held, with the API server's answer."""
    (held,) = [call for call in shop.subject.calls if call.fault is Fault.HOLD_BEFORE]
    bench.proxy.let_go(shop.subject)
    bench.wait(lambda: held.status != 0, "the change did not reach the API server")
    bench.operator.thaw()
    return held


def test_a_change_that_was_given_up_does_not_land(bench: Bench, frozen: Shop) -> None:
    audit = Audit(bench.cluster)
    bench.firing.clear()

    with bench.another("successor"):
        bench.wait(lambda: bench.run_of(frozen).is_ended, "the successor did not end the run")
    held = let_the_change_go(bench, frozen)

    run = bench.run_of(frozen)
    assert run.status.outcome is RunOutcome.NOT_NEEDED, story(run)
    assert run.status.attempts[0].steps[0].state is StepState.VOIDED
    assert held.status == 422
    assert bench.variables(frozen) == {}
    acting = [write for write in audit.writes(bench.namespace) if write.account]
    assert [(write.void, write.run) for write in acting] == [(True, run.full_name)]


def test_a_change_that_a_successor_has_made_is_not_made_again(bench: Bench, frozen: Shop) -> None:
    audit = Audit(bench.cluster)

    with bench.another("successor"):
        bench.wait(lambda: bench.run_of(frozen).is_ended, "the successor did not end the run")
    held = let_the_change_go(bench, frozen)

    run = bench.run_of(frozen)
    assert run.status.outcome is RunOutcome.REMEDIATED, story(run)
    assert held.status == 422
    assert bench.variables(frozen) == {"QUEUE": WANTED}
    acting = [write for write in audit.writes(bench.namespace) if write.account]
    assert [(write.verb, write.void) for write in acting] == [("patch", False)]
