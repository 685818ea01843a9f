"""Answered alerts that are sent again: noted on the run that answers them, and on no path that anybody waits for."""

from datetime import timedelta

import pytest

from histories import CHECKOUT, Archive, an_alert, ended
from remediator.domain.alerts import Identities
from remediator.domain.errors import Unavailable
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import rfc3339
from remediator.engine.begin import KnownRun, PolicyVersion
from remediator.handlers import repeats as repeats_module
from remediator.handlers.repeats import REST_SECONDS, Repeats
from remediator.handlers.run_index import known_run

PRESENT = PolicyVersion("policy-uid", 1)
ALERT = an_alert("checkout-1")


@pytest.fixture
def archive() -> Archive:
    archive = Archive()
    archive.cluster.add(ended(1, archive.ago(days=2)))
    return archive


def runs(archive: Archive) -> list[KnownRun]:
    return [run for obj in archive.objects() if (run := known_run(obj)) is not None]


def still_firing(archive: Archive) -> str:
    return str(archive.run(1)["status"].get("stillFiring", ""))


async def test_a_repeated_alert_is_noted_on_the_run_that_answers_it(archive: Archive) -> None:
    repeats = Repeats(archive.cluster, archive.clock)

    repeats.note([ALERT], runs(archive), PRESENT)
    await repeats.write_next()

    assert still_firing(archive) == rfc3339(archive.clock.now())


async def test_nothing_is_read_for_an_hour_and_nothing_written_for_six(archive: Archive) -> None:
    repeats = Repeats(archive.cluster, archive.clock)

    for _ in range(24):
        repeats.note([ALERT], runs(archive), PRESENT)
        await repeats.write_next()
        archive.clock.advance(timedelta(minutes=30))

    assert len([call for call in archive.cluster.calls if call.verb == "get"]) == 12
    assert len(archive.cluster.writes) == 2


async def test_what_no_run_answers_is_not_noted(archive: Archive) -> None:
    repeats = Repeats(archive.cluster, archive.clock)

    repeats.note([an_alert("another")], runs(archive), PRESENT)
    repeats.note([], runs(archive), PRESENT)
    await repeats.write_next()

    assert archive.cluster.calls == []


async def test_an_alert_that_was_taken_over_becomes_young_again(archive: Archive) -> None:
    covered = {"heardAt": rfc3339(archive.ago(days=6)), "identities": Identities.of([an_alert("z")]).encode()}
    archive.cluster.add(
        ended(7, archive.ago(days=9), target=ObjectRef.of("Deployment", "shop", "b"), status={"covered": [covered]})
    )
    repeats = Repeats(archive.cluster, archive.clock)

    repeats.note([an_alert("z")], runs(archive), PRESENT)
    await repeats.write_next()

    (found,) = archive.run(7, ObjectRef.of("Deployment", "shop", "b"))["status"]["covered"]
    assert found["heardAt"] == rfc3339(archive.clock.now())


async def test_an_api_server_that_is_away_costs_the_note_and_nothing_else(archive: Archive) -> None:
    repeats = Repeats(archive.cluster, archive.clock)
    archive.cluster.fail_next(1, Unavailable("away"))

    repeats.note([ALERT], runs(archive), PRESENT)
    await repeats.write_next()
    archive.clock.advance(timedelta(seconds=REST_SECONDS))
    repeats.note([ALERT], runs(archive), PRESENT)
    await repeats.write_next()

    assert still_firing(archive) == rfc3339(archive.clock.now())


async def test_a_run_that_was_made_anew_under_the_name_is_left_alone(archive: Archive) -> None:
    repeats = Repeats(archive.cluster, archive.clock)
    repeats.note([ALERT], runs(archive), PRESENT)
    archive.cluster.store.remove(RUN, "shop", archive.run(1)["metadata"]["name"])
    archive.cluster.add(ended(1, archive.ago(days=1)))

    await repeats.write_next()

    assert still_firing(archive) == ""


async def test_what_waits_is_bounded(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats_module, "WAITING", 2)
    repeats = Repeats(archive.cluster, archive.clock)
    for n in range(3):
        archive.cluster.add(
            ended(1, archive.ago(days=2), target=ObjectRef.of("Deployment", "shop", f"t-{n}"), alerts=[ALERT])
        )

    repeats.note([ALERT], [run for run in runs(archive) if run.key.target != CHECKOUT], PRESENT)
    for _ in range(3):
        await repeats.write_next()

    assert len(archive.cluster.writes) == 2
