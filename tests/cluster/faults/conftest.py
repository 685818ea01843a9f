import os
from collections.abc import Iterator

import pytest

from cluster.faults.bench import Bench
from localcluster import Cluster, NotAvailable


@pytest.fixture(autouse=True)
def _asked_for(request: pytest.FixtureRequest) -> None:
    asked = "long" in request.config.option.markexpr or os.environ.get("REMEDIATOR_LONG")
    if request.node.get_closest_marker("long") is not None and not asked:
        pytest.skip("it takes minutes; REMEDIATOR_LONG=1 or -m long asks for it")


@pytest.fixture(scope="package")
def bench() -> Iterator[Bench]:
    """A cluster of its own: its operator is killed again and again, and no other may go on in its place."""
    named = os.environ.get("REMEDIATOR_TEST_CLUSTER")
    try:
        cluster = Cluster.attach(named) if named else Cluster.up(f"faults-{os.getpid()}", simulated=1)
    except NotAvailable as missing:
        pytest.skip(str(missing))
    with cluster, Bench(cluster) as made:
        yield made
