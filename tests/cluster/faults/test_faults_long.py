"""
A run that is disturbed at any of its calls, and whose operator lives on: minutes, and so opt-in.

`REMEDIATOR_LONG=1` or `-m long` asks for them.
"""

import pytest

from cluster.faults.bench import Bench
from cluster.faults.proxy import Fault

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    "fault", [Fault.CUT, Fault.DELAY, Fault.THROTTLE, Fault.BROKEN, Fault.AWAY], ids=lambda fault: fault.name.lower()
)
def test_a_run_survives_any_call(bench: Bench, fault: Fault) -> None:
    shops = [bench.shop(fault, n) for n in range(1, bench.calls_of_a_run() + 1)]

    wrong = bench.carry_out_all(shops)

    assert wrong == {}
    reached = [shop for shop in shops if shop.subject.reached.is_set()]
    assert len(reached) >= 0.8 * len(shops), "most faults happened"
