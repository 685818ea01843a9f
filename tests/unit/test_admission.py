"""ADMIT on the record: who is carried out, and where the alerts of the other one go."""

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from remediator.domain.alerts import Alert, Identities
from remediator.domain.errors import Conflict
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import Run, RunOutcome
from remediator.engine.alertsets import opening
from remediator.engine.begin import Key
from remediator.handlers.admission import Admission
from remediator.handlers.run_index import RunIndex
from remediator.testing.clock import NOON, StoppedClock
from remediator.testing.cluster import FakeCluster

KEY: Final = Key("shop", "crash", ObjectRef.of("Deployment", "shop", "checkout"))


def an_alert(fingerprint: str) -> Alert:
    return Alert(fingerprint, "firing", {"alertname": "X"}, {}, datetime(2026, 6, 1, 11, tzinfo=UTC))


class Stage:
    """Runs of one key in the API server and in the index of the leader."""

    def __init__(self) -> None:
        clock = StoppedClock()
        self.cluster, self.index = FakeCluster(clock), RunIndex(clock)
        self.admission = Admission(self.cluster, self.index)

    def ref(self, number: int) -> ObjectRef:
        return ObjectRef(RUN.group, RUN.kind, "shop", f"crash-{KEY.hash}-{number}")

    async def store(self, number: int, *fingerprints: str, status: Any = None, by_hand: bool = False) -> Run:
        alerts, _ = opening([an_alert(one) for one in fingerprints], NOON)
        spec: Any = {
            "runbookRef": {"name": "book"},
            "target": {"kind": "Deployment", "namespace": "shop", "name": "checkout"},
            "requestedBy": "u",
        }
        if not by_hand:
            spec["policyRef"] = {"namespace": "shop", "name": "crash", "uid": "p", "generation": 1}
            spec["episode"] = {"key": KEY.hash, "number": number, "alerts": alerts.as_json()}
        obj: Any = {
            "apiVersion": RUN.api_version,
            "kind": RUN.kind,
            "metadata": {"namespace": "shop", "name": self.ref(number).name},
            "spec": spec,
        }
        stored = self.cluster.add(obj if status is None else {**obj, "status": status})
        await self.index.changed("ADDED", stored)
        return Run.parse(stored)

    def run(self, number: int) -> Run:
        return Run.parse(self.cluster.get(self.ref(number)))


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_a_run_that_is_alone_may_begin(stage: Stage) -> None:
    assert await stage.admission(await stage.store(1, "a")) is None


async def test_a_run_by_hand_may_begin_beside_an_episode(stage: Stage) -> None:
    await stage.store(1, "a")

    assert await stage.admission(await stage.store(2, by_hand=True)) is None


async def test_a_second_run_ends_as_superseded_after_its_alerts_are_on_the_first(stage: Stage) -> None:
    first, second = await stage.store(1, "a"), await stage.store(2, "b", "c")
    assert await stage.admission(first) is None

    refused = await stage.admission(second)

    assert refused is not None
    assert refused[0] is RunOutcome.SUPERSEDED
    recorded = Identities.decode(stage.run(1).alerts.identities)
    assert all(recorded.covers(an_alert(one)) for one in "abc")
    assert stage.run(1).alerts.count == 3


async def test_handing_over_twice_writes_once(stage: Stage) -> None:
    await stage.admission(await stage.store(1, "a"))
    second = await stage.store(2, "b")
    await stage.admission(second)
    before = len(stage.cluster.writes)

    await stage.admission(second)

    assert len(stage.cluster.writes) == before


async def test_alerts_that_were_attached_to_the_second_run_meanwhile_are_handed_over_too(stage: Stage) -> None:
    await stage.admission(await stage.store(1, "a"))
    await stage.store(2, "b")
    late, _ = opening([an_alert("b"), an_alert("late")], NOON)
    stage.cluster.change(stage.ref(2), lambda obj: obj.update(status={"alerts": late.as_json()}))

    await stage.admission(stage.run(2))  # the cache has not seen it, the caller has

    assert Identities.decode(stage.run(1).alerts.identities).covers(an_alert("late"))


async def test_a_first_run_that_has_ended_meanwhile_is_looked_at_again(stage: Stage) -> None:
    await stage.store(1, "a")
    second = await stage.store(2, "b")
    stage.cluster.change(stage.ref(1), lambda obj: obj.update(status={"outcome": "Remediated"}))

    with pytest.raises(Conflict):
        await stage.admission(second)

    await stage.index.changed("MODIFIED", stage.cluster.get(stage.ref(1)))
    assert await stage.admission(second) is None


async def test_a_run_that_brings_only_what_was_answered_ends_as_covered(stage: Stage) -> None:
    await stage.store(1, "a", status={"outcome": "Remediated"})

    refused = await stage.admission(await stage.store(2, "a"))

    assert refused is not None
    assert refused[0] is RunOutcome.COVERED
    assert f"crash-{KEY.hash}-1" in refused[1]


async def test_a_run_that_the_watch_has_not_brought_waits_for_it(stage: Stage) -> None:
    run = await stage.store(1, "a")
    stage.index = RunIndex(StoppedClock())
    waiting = Admission(stage.cluster, stage.index)

    with pytest.raises(Conflict):
        await waiting(run)
    stage.index.put(stage.cluster.get(stage.ref(1)))  # our own create is no proof that older ones were seen
    with pytest.raises(Conflict):
        await waiting(run)

    await stage.index.changed("ADDED", stage.cluster.get(stage.ref(1)))
    assert await waiting(run) is None
