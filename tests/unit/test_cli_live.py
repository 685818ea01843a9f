"""The table that follows runs while they happen."""

import asyncio
import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from remediator.cli.live import Board, follow, picture
from remediator.cli.options import Screen
from remediator.cli.tables import RunRow
from remediator.domain.errors import Forbidden
from remediator.domain.objects import RUN, ObjectRef
from remediator.testing import FakeCluster, StoppedClock

DATA = Path(__file__).parents[1] / "data" / "runs"
NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)


@cache
def loaded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DATA / f"{name}.yaml").read_text())
    return found


def stored(name: str) -> dict[str, Any]:
    return copy.deepcopy(loaded(name))


def is_settled(rows: Any) -> bool:
    return bool(rows) and not any(row.is_open for row in rows)


async def test_where_nothing_is_a_terminal_changes_are_appended() -> None:
    cluster, lines = FakeCluster(StoppedClock(NOW)), list[str]()
    cluster.add(stored("held"))
    name = stored("held")["metadata"]["name"]
    following = asyncio.ensure_future(
        follow(cluster, StoppedClock(NOW), "shop", screen=Screen(), until=is_settled, write=lines.append)
    )
    await until(lambda: len(lines) == 2)

    def end(obj: Any) -> None:
        obj["status"].update(state="Ended", outcome="NotNeeded", message="every alert resolved")

    cluster.change(ObjectRef(RUN.group, RUN.kind, "shop", name), end)
    rows = await following

    assert lines[0].startswith("NAME ")
    assert lines[1].startswith(name)
    assert lines[2:] == [f"12:30:00Z  {name}  NotNeeded biggerQueue  every alert resolved"]
    assert [row.outcome for row in rows] == ["NotNeeded"]


async def test_what_the_api_server_refuses_is_raised_and_not_waited_for() -> None:
    cluster = FakeCluster(StoppedClock(NOW))
    cluster.forbid("", "list", "runbookruns.remediator.dev")

    try:
        await follow(cluster, StoppedClock(NOW), "shop", screen=Screen(), write=lambda _: None)
    except Forbidden:
        return
    raise AssertionError("nobody was told")


def test_an_event_that_changes_nothing_that_is_shown_is_not_told() -> None:
    board = Board()
    obj = stored("held")

    first = board.take("ADDED", obj, NOW)
    obj["metadata"]["resourceVersion"] = "4712"
    second = board.take("MODIFIED", obj, NOW)

    assert first is not None
    assert second is None


def test_a_run_that_ends_leaves_a_list_of_open_ones_with_a_last_word() -> None:
    board = Board(lambda row: row.is_open)
    obj = stored("held")
    board.take("ADDED", obj, NOW)
    obj["status"].update(state="Ended", outcome="Failed")

    told = board.take("MODIFIED", obj, NOW)

    assert told is not None and told.outcome == "Failed"
    assert board.rows == []


def test_a_picture_shows_what_open_runs_are_doing_and_fits_the_screen() -> None:
    board = Board()
    board.take("ADDED", stored("held"), NOW)
    for number in range(30):
        obj = stored("remediated")
        obj["metadata"]["name"] = f"queue-{number}"
        board.take("ADDED", obj, NOW)

    lines = picture(board, NOW, wide=False, all_namespaces=False, width=100, height=20, colour=False)

    assert lines[2].startswith("  hold: CoolingDown")
    assert len(lines) <= 20
    assert lines[-1].endswith("older runs")
    assert max(len(line) for line in lines) <= 100


def test_the_last_word_of_a_run_stays_for_a_minute_after_its_end() -> None:
    board = Board()
    obj = stored("held")
    board.take("ADDED", obj, NOW)
    obj["status"].update(state="Ended", outcome="Failed")
    board.take("MODIFIED", obj, NOW)

    row = RunRow.of(obj)

    assert board.is_fresh(row, NOW + timedelta(seconds=59))
    assert not board.is_fresh(row, NOW + timedelta(seconds=60))


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never held")
