"""`kubectl remediate` as somebody types it, over an API server in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from click.testing import CliRunner, Result

from remediator.adapters.evidence import ConfigMapEvidence
from remediator.cli.connect import Connected, Wanted
from remediator.cli.main import plugin
from remediator.testing import FakeCluster, StoppedClock

Invoke = Callable[..., Result]


def typed_by(
    user: str, cluster: FakeCluster, now: datetime, *, groups: tuple[str, ...] = (), columns: int = 120
) -> Invoke:
    """What the plugin answers to its arguments, and to `input` where it asks."""

    async def whoami() -> tuple[str, tuple[str, ...]]:
        return user, groups

    @asynccontextmanager
    async def connected(wanted: Wanted) -> AsyncIterator[Connected]:
        yield Connected(
            cluster=cluster,
            evidence=ConfigMapEvidence(cluster),
            clock=StoppedClock(now),
            namespace=wanted.namespace or "shop",
            operator_namespace=wanted.operator_namespace,
            whoami=whoami,
        )

    def invoked(*args: str, input: str | None = None) -> Result:  # noqa: A002 - as the runner calls it
        return CliRunner(env={"COLUMNS": str(columns)}).invoke(plugin, list(args), obj=connected, input=input)

    return invoked
