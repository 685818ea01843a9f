"""Polling end to end over an API server in memory: what is listed gets onto runs, and what is missing is over there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from remediator.domain.alerts import Alert, Identities, read_alert
from remediator.domain.errors import Unavailable
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.domain.runs import Run
from remediator.handlers import sighted
from remediator.handlers.metrics import PollMetrics
from remediator.handlers.polling import Poller
from remediator.handlers.sighted import NAME, SightedAlerts
from remediator.ports import Polled
from remediator.testing.fakes import FakeEvents
from unit.test_intake import OPERATOR, World, an_alert
from unit.test_intake import world as world

CONFIG_MAP = BUILT_IN["ConfigMap"]


@dataclass
class FakeList:
    """`ports.AlertList`: what a test puts in."""

    firing: Sequence[Alert] = ()
    also: frozenset[str] = frozenset()
    failures: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ("alertmanager-1", "alertmanager-2")
    identity: str = "one"

    async def poll(self) -> Polled:
        return Polled(tuple(self.firing), self.also | {one.fingerprint for one in self.firing}, self.failures)


@dataclass
class Polling:
    world: World
    listed: FakeList = field(default_factory=FakeList)
    events: FakeEvents = field(default_factory=FakeEvents)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.metrics = PollMetrics(self.registry)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Another replica leads."""
        world = self.world
        memory = SightedAlerts(world.cluster, OPERATOR, self.listed.identity)
        self.poller = Poller(
            self.listed, world.taker, memory, world.clock, self.metrics, self.events,
            namespace=OPERATOR, every_seconds=30, missing_for_seconds=300,
        )  # fmt: skip

    async def round(self, *firing: Alert, later: float = 30, fails: tuple[str, ...] = ()) -> bool:
        self.world.clock.advance(timedelta(seconds=later))
        self.listed.firing = firing
        self.listed.failures = dict.fromkeys(fails, "no answer")
        answered = await self.poller.round()
        await self.world.settle()
        return answered

    @property
    def still_firing(self) -> int:
        (run,) = (Run.parse(run) for run in self.world.runs)
        return len(Identities.decode(run.alerts.identities)) - len(Identities.decode(run.alerts.resolved))


def alert(name: str, **labels: Any) -> Alert:
    return read_alert(an_alert(name, **labels))


A, B = alert("a"), alert("b")


async def test_what_fires_is_on_a_run_and_is_written_once(world: World) -> None:
    polling = Polling(world)

    for _ in range(3):
        assert await polling.round(A, B)

    assert world.creates == 1
    assert polling.still_firing == 2
    assert world.attaches == 0
    assert sum(1 for write in world.cluster.writes if write.ref.name == NAME) == 1


async def test_what_a_webhook_brought_is_recognised_when_it_is_polled(world: World) -> None:
    await world.send(an_alert("a"))

    await Polling(world).round(A)

    assert len(world.runs) == 1
    assert world.attaches == 0


async def test_what_is_missing_for_long_enough_is_resolved_on_its_run(world: World) -> None:
    polling = Polling(world)
    await polling.round(A, B)

    await polling.round(B)
    assert polling.still_firing == 2
    await polling.round(B, later=300)
    assert polling.still_firing == 1
    await polling.round(later=30)
    await polling.round(later=300)
    assert polling.still_firing == 0


async def test_one_of_two_that_does_not_answer_resolves_nothing_and_hides_nothing(world: World) -> None:
    polling = Polling(world)
    await polling.round(A)

    for _ in range(20):
        assert await polling.round(B, fails=("alertmanager-2",))
    assert polling.still_firing == 2


async def test_an_empty_answer_after_a_restart_of_everything_resolves_nothing(world: World) -> None:
    polling = Polling(world)
    await polling.round(A)

    assert not await polling.round(fails=polling.listed.names, later=3_600)
    polling.begin_anew()
    await polling.round()
    await polling.round(later=240)
    assert polling.still_firing == 1
    await polling.round(A)
    await polling.round(later=299)
    assert polling.still_firing == 1


async def test_the_next_leader_knows_what_there_is_to_miss(world: World) -> None:
    polling = Polling(world)
    await polling.round(A, B)
    polling.begin_anew()

    await polling.round(B)
    await polling.round(B, later=300)

    assert polling.still_firing == 1


async def test_other_sources_do_not_end_what_they_never_listed(world: World) -> None:
    polling = Polling(world)
    await polling.round(A)
    polling.listed.identity = "another"
    polling.begin_anew()

    await polling.round(B)
    await polling.round(B, later=1_000)

    assert polling.still_firing == 2


async def test_what_could_not_be_taken_in_is_tried_again_the_next_time(world: World) -> None:
    polling = Polling(world)
    await polling.round(A)
    await polling.round()
    world.cluster.fail_next(1, Unavailable("no answer"), verb="patch")
    failed = False
    try:
        await polling.round(later=300)
    except Unavailable:
        failed = True

    await polling.round()

    assert failed
    assert polling.still_firing == 0


async def test_what_was_kept_and_cannot_be_read_is_as_if_nothing_was(world: World) -> None:
    for content in ("", "!", "AAAA", "H4sIAAAAAAAAA4uOBQApu0wNAgAAAA=="):
        polling = Polling(world)
        await polling.round(A)

        def edit(obj: Any, content: str = content) -> None:
            obj["binaryData"] = {"alerts.json.gz": content}

        world.cluster.change(ObjectRef("", CONFIG_MAP.kind, OPERATOR, NAME), edit)
        polling.begin_anew()
        assert await polling.round(A)


async def test_what_is_kept_is_bounded_and_holds_no_prose_and_no_secret(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sighted, "MAX_BYTES", 4_000)
    memory = SightedAlerts(world.cluster, OPERATOR, "one")

    await memory.keep([replace(A, annotations={"summary": "prose"}, labels={**A.labels, "password": "hunter2"})])
    (bare,) = await SightedAlerts(world.cluster, OPERATOR, "one").load()
    assert bare.annotations == {}
    assert "hunter2" not in str(bare.labels)

    many = [replace(A, fingerprint=f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}") for number in range(1_000)]
    await memory.keep(many)
    assert 0 < len(await SightedAlerts(world.cluster, OPERATOR, "one").load()) < len(many)


async def test_a_source_that_fails_again_and_again_is_told_once_and_so_is_its_return(world: World) -> None:
    polling = Polling(world)

    for _ in range(10):
        await polling.round(A, fails=("alertmanager-2",))
    for _ in range(3):
        await polling.round(A)

    assert [one.reason for one in polling.events.recorded] == ["PollFailed", "Polled"]
    last = "remediator_poll_last_success_timestamp_seconds"
    assert polling.registry.get_sample_value(last, {"source": "alertmanager-2"}) == world.clock.now().timestamp()
