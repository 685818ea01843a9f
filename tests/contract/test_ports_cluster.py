"""`FakeCluster` keeps the promises of the Cluster port."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from contract.ports.cluster_promises import WIDGET, ClusterPromises
from remediator.domain.actions import Permission
from remediator.testing import FakeCluster


class FakeWorld:
    """The fake, arranged as a test of the promises asks."""

    namespace = "shop"
    has_controllers = True

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.cluster.add_namespace(self.namespace)
        self.cluster.serve(WIDGET)
        self.cluster.add({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}})

    async def grant(self, account: str, permissions: list[Permission]) -> None:
        self.cluster.permit_only(account, permissions)

    async def eventually(self, look: Callable[[], Awaitable[Any]]) -> Any:
        self.cluster.tick()
        return await look()


class TestFakeCluster(ClusterPromises):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()
