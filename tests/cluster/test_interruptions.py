"""
A run that is interrupted by `kill -9` at any of its calls neither repeats nor skips a change.

The calls of an undisturbed run are counted. Then, for each of them, the process is killed before
the API server is asked, killed when it has answered, and left alive with the answer lost.
"""

import os
from collections.abc import Iterator

import pytest

from cluster.faults.audit import Audit
from cluster.faults.bench import SIDE_BY_SIDE, Bench, asked_for
from cluster.faults.proxy import Fault
from localcluster import Cluster, NotAvailable

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A cluster of its own: its operator is killed, and another one would go on in its place."""
    named = os.environ.get("REMEDIATOR_TEST_CLUSTER")
    try:
        cluster = Cluster.attach(named) if named else Cluster.up(f"faults-{os.getpid()}", simulated=1)
    except NotAvailable as missing:
        pytest.skip(str(missing))
    with cluster, Bench(cluster) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(bench: Bench) -> int:
    """How many calls a run makes that nobody disturbs."""
    shops = [bench.shop() for _ in range(3)]
    assert bench.carry_out(shops, Audit(bench.cluster)) == {}
    for shop in shops:
        print(len(shop.subject.calls), dict(asked_for(shop.subject.calls)))
    print("\n".join(map(str, shops[0].subject.calls)))
    return max(len(shop.subject.calls) for shop in shops)


@pytest.mark.parametrize(
    "faults",
    [(Fault.LOSE,), (Fault.HOLD_BEFORE, Fault.HOLD_AFTER)],
    ids=["whose answer is lost", "at which the process is killed"],
)
def test_a_run_survives_any_call(bench: Bench, undisturbed: int, faults: tuple[Fault, ...]) -> None:
    shops = [bench.shop(fault, n) for n in range(1, undisturbed + 1) for fault in faults]
    audit = Audit(bench.cluster)
    wrong: dict[str, list[str]] = {}

    for first in range(0, len(shops), SIDE_BY_SIDE):
        wrong |= bench.carry_out(shops[first : first + SIDE_BY_SIDE], audit)

    assert wrong == {}
    reached = [shop for shop in shops if shop.subject.reached.is_set()]
    assert len(reached) >= 0.8 * len(shops), "most faults happened"
    print(f"{len(reached)} of {len(shops)} interruptions, {bench.kills} kills")
