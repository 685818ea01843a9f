"""What lets a process act, and the ports that stop when it no longer does."""

import inspect
from typing import Any

import pytest

from remediator.domain.errors import Deposed, Unavailable
from remediator.domain.objects import BUILT_IN, RUN, ObjectRef
from remediator.handlers.leading import LedCluster, LedNotifier, Mandate
from remediator.ports import Cluster, Identity
from remediator.testing.clock import StoppedClock
from remediator.testing.cluster import FakeCluster
from remediator.testing.fakes import FakeNotifier
from worlds import CHECKOUT, deployment

READING = {"pages", "acting_as", "read", "list", "logs", "allowed", "kind", "watch"}
POD = ObjectRef.of("Pod", "shop", "a")


def calls(cluster: Any) -> dict[str, Any]:
    """Every method of the port that writes, about to be called."""
    return {
        "create": lambda: cluster.create(BUILT_IN["ConfigMap"], {"metadata": {"namespace": "shop", "name": "x"}}),
        "patch": lambda: cluster.patch(CHECKOUT, []),
        "replace": lambda: cluster.replace(RUN, {}),
        "delete": lambda: cluster.delete(POD),
        "evict": lambda: cluster.evict(POD),
    }


async def mandate(latest: int = 1) -> tuple[Mandate, StoppedClock]:
    clock = StoppedClock()

    async def look() -> int:
        return latest

    made = Mandate(clock, look)
    made.extend(clock.boot_seconds() + 12)
    made.epoch = 1
    return made, clock


def test_every_method_of_the_port_reads_or_asks_first() -> None:
    methods = {name for name, _ in inspect.getmembers(Cluster, inspect.isfunction) if not name.startswith("_")}

    assert methods == READING | calls(None).keys()


@pytest.mark.parametrize("method", sorted(calls(None)))
@pytest.mark.parametrize("identity", [None, Identity("system:serviceaccount:shop:fixer", "shop/run")])
async def test_nothing_is_written_when_the_lease_is_over(method: str, identity: Identity | None) -> None:
    made, clock = await mandate()
    fake = FakeCluster(clock)
    fake.add(deployment())
    led = LedCluster(fake, made)
    await clock.sleep(12)

    with pytest.raises(Deposed):
        await calls(led if identity is None else led.acting_as(identity))[method]()

    assert fake.calls == []


async def test_while_it_lasts_everything_passes() -> None:
    made, clock = await mandate()
    fake = FakeCluster(clock)
    fake.add(deployment())
    led = LedCluster(fake, made)

    stored = await led.patch(CHECKOUT, [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}])

    assert stored == await led.read(CHECKOUT)
    assert [write.verb for write in fake.writes] == ["patch"]


async def test_who_leads_no_longer_sends_no_message() -> None:
    made, _ = await mandate()
    made.end()
    notifier = FakeNotifier("default")

    with pytest.raises(Deposed):
        await LedNotifier(notifier, made).send("shop", "default", "subject", "body", key="k")

    assert notifier.sent == []


async def test_a_mandate_that_is_over_never_holds_again() -> None:
    made, clock = await mandate()
    await clock.sleep(12)
    assert not made.holds()

    made.extend(clock.boot_seconds() + 100)

    assert not made.holds()


async def test_a_mandate_without_an_epoch_does_not_hold() -> None:
    made, _ = await mandate()
    made.epoch = 0

    assert not made.holds()


async def test_a_later_epoch_ends_it_and_no_other_does() -> None:
    own, _ = await mandate(latest=1)
    gone, _ = await mandate(latest=0)
    later, _ = await mandate(latest=2)

    await own.confirm()
    await gone.confirm()
    with pytest.raises(Deposed):
        await later.confirm()

    assert [one.holds() for one in (own, gone, later)] == [True, True, False]


def test_who_knows_of_unavailable_alone_does_no_harm() -> None:
    assert issubclass(Deposed, Unavailable)
