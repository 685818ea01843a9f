"""
One local cluster for all tests of this folder, and a namespace for each.

`REMEDIATOR_TEST_CLUSTER=<name>` uses a cluster that runs already (`make cluster-up`), which saves its start
while a test is being written.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress

import pytest

from cluster.installed import Installation, Shop
from localcluster import Cluster, NotAvailable, Server, prepare, why_no_real_nodes
from localcluster.api import ApiError
from localcluster.build import say_nothing
from localcluster.operator import Operator, forget_leaders
from localcluster.processes import moments


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    The tests with the running operator come last: it would carry on the runs that others make for themselves.

    Of these, the ones that run beside one another come first, and those that look at what the rest left come last.
    """

    def place(item: pytest.Item) -> tuple[bool, bool, bool]:
        function = getattr(item, "function", None)
        uses_it = "installation" in getattr(item, "fixturenames", ())
        alone = uses_it and not getattr(function, "side_by_side", False)
        return uses_it, alone, getattr(function, "at_the_end", False)

    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test that runs beside others has begun with the first of them; here its end is waited for."""
    if not getattr(pyfuncitem.function, "side_by_side", False):
        return None
    shop = pyfuncitem.funcargs["shop"]
    assert isinstance(shop, Shop), "it takes the fixture of this name"
    shop.installation.result_of(pyfuncitem, pyfuncitem.session.items)
    return True


def pytest_collection_finish(session: pytest.Session) -> None:
    """
    The cluster's programs are built before the first test.

    The first build on a machine takes minutes, which is no test's own time and would meet its timeout.
    """
    chosen = [item for item in session.items if item.get_closest_marker("cluster")]
    if not chosen or session.config.option.collectonly or "REMEDIATOR_TEST_CLUSTER" in os.environ:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    progress = reporter.write_line if reporter else say_nothing
    try:
        prepare(real=why_no_real_nodes() is None, metrics=True, progress=progress)
    except NotAvailable:
        return  # the fixture says so, test by test


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A control plane with a simulated node, and with a real one where this machine can run it."""
    named = os.environ.get("REMEDIATOR_TEST_CLUSTER")
    if named:
        attached = Cluster.attach(named)
        forget_leaders(attached)
        yield attached
        return
    real = 0 if why_no_real_nodes() else 1
    try:
        started = Cluster.up(f"test-{os.getpid()}", real=real, simulated=1, metrics=True)
    except NotAvailable as missing:
        pytest.skip(str(missing))
    with started:
        yield started


@pytest.fixture(autouse=True)
def _a_real_node_where_the_test_needs_one(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("real_node") is None:
        return
    used: Cluster = request.getfixturevalue("cluster")
    if not used.facts.real:
        pytest.skip(why_no_real_nodes() or f"cluster {used.name} was started without a real node")


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own; it is asked to go at the end, and nobody waits for that."""
    name = f"test-{secrets.token_hex(4)}"
    api = cluster.api
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    api.call("POST", "/api/v1/namespaces", manifest)
    # Pods are refused until the controllers have made the service account.
    for _ in moments(60, 0.02):
        accounts = api.items(f"/api/v1/namespaces/{name}/serviceaccounts") if cluster.has_controllers else []
        if not cluster.has_controllers or any(one["metadata"]["name"] == "default" for one in accounts):
            break
    yield name
    # The test may have ended with its API server stopped; the namespace then goes with the cluster.
    with suppress(ApiError, OSError):
        api.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def installation(cluster: Cluster) -> Iterator[Installation]:
    """The operator as it is installed, running, with an Alertmanager and a Prometheus of its own."""
    if not cluster.has_controllers or cluster.facts.source in ("external", "kind"):
        pytest.skip("the operator's tests need nodes, and the audit log of an API server of ours")
    started = Installation(cluster)
    yield started
    started.close()


@pytest.fixture
def shop(request: pytest.FixtureRequest, installation: Installation) -> Shop:
    """A namespace of the test's own, still empty."""
    return installation.shop(request.node.nodeid)


@pytest.fixture
def operator(installation: Installation) -> Operator:
    """The one process of the operator that all tests share."""
    return installation.operator


@pytest.fixture
def alertmanager(installation: Installation) -> Server:
    """The Alertmanager that tells the operator, and that the operator asks."""
    return installation.alertmanager


@pytest.fixture
def prometheus(installation: Installation) -> Server:
    """The Prometheus that the operator asks, and whose alerts go to that Alertmanager."""
    return installation.prometheus
