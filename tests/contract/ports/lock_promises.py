"""What every implementation of the Locks port promises."""

from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from remediator.domain.errors import Conflict, Unavailable
from remediator.domain.locks import Busy, Held, LockState, PastChange
from remediator.domain.objects import ObjectRef
from remediator.ports import Locks

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
TARGET = ObjectRef.of("Deployment", "shop", "checkout")


class HasLocks(Protocol):
    locks: Locks


def change(
    remedy: str = "restart", *, step: str = "roll", at: datetime = NOON, run_uid: str = "u1", outcome: str = ""
) -> PastChange:
    return PastChange("ops/crash", remedy, "shop/run-1", run_uid, at, step=step, outcome=outcome)


async def taken(locks: Locks, run: str = "run-1", *, at: datetime = NOON, **rest: object) -> Held | Busy:
    return await locks.acquire(  # type: ignore[arg-type]  # the rest is passed through as it came
        "target-1", holder=f"shop/{run}", holder_uid=f"uid-{run}", target=TARGET, now=at, **rest
    )


class LockPromises:
    """A subclass brings the fixture `locks`."""

    async def test_a_lock_that_nobody_took_is_free(self, locks: Locks) -> None:
        state = await locks.read("target-1")

        assert state == LockState("target-1")

    async def test_a_free_lock_is_taken_and_says_by_whom(self, locks: Locks) -> None:
        result = await taken(locks)

        assert isinstance(result, Held)
        state = await locks.read("target-1")
        assert state == result.state
        assert (state.holder, state.holder_uid, state.since) == ("shop/run-1", "uid-run-1", NOON)

    async def test_a_held_lock_stays_its_holders_however_long(self, locks: Locks) -> None:
        await taken(locks)

        result = await taken(locks, "run-2", at=NOON + timedelta(days=30))

        assert result == Busy("shop/run-1", "uid-run-1", NOON)

    async def test_the_holder_takes_it_again_after_a_restart(self, locks: Locks) -> None:
        await taken(locks)

        result = await taken(locks, at=NOON + timedelta(hours=1))

        assert isinstance(result, Held)
        assert result.state.since == NOON

    async def test_a_lock_is_taken_over_from_a_holder_that_has_ended(self, locks: Locks) -> None:
        await taken(locks)
        asked: list[tuple[str, str]] = []

        async def has_ended(holder: str, holder_uid: str) -> bool:
            asked.append((holder, holder_uid))
            return True

        result = await taken(locks, "run-2", has_ended=has_ended)

        assert isinstance(result, Held)
        assert result.state.holder_uid == "uid-run-2"
        assert asked == [("shop/run-1", "uid-run-1")]

    async def test_a_holder_of_whom_nothing_is_known_keeps_it(self, locks: Locks) -> None:
        await taken(locks)

        async def has_ended(holder: str, holder_uid: str) -> bool:
            raise Unavailable("the run cannot be read")

        with pytest.raises(Unavailable):
            await taken(locks, "run-2", has_ended=has_ended)
        assert (await locks.read("target-1")).holder_uid == "uid-run-1"

    async def test_a_released_lock_is_free_and_remembers(self, locks: Locks) -> None:
        await taken(locks, note=change())

        await locks.release("target-1", holder_uid="uid-run-1", note=change(outcome="Remediated"))

        state = await locks.read("target-1")
        assert (state.holder, state.holder_uid, state.since) == ("", "", None)
        assert state.changes == (change(outcome="Remediated"),)
        assert isinstance(await taken(locks, "run-2"), Held)

    async def test_nobody_releases_the_lock_of_another(self, locks: Locks) -> None:
        await taken(locks)

        await locks.release("target-1", holder_uid="uid-run-2")
        await locks.release("target-2", holder_uid="uid-run-2")

        assert (await locks.read("target-1")).holder_uid == "uid-run-1"

    async def test_a_change_is_noted_with_the_lock_and_later_ones_by_their_holder_alone(self, locks: Locks) -> None:
        result = await taken(locks, note=change())
        await locks.record(
            "target-1", holder_uid="uid-run-1", note=change(step="scale", at=NOON + timedelta(minutes=1))
        )
        await locks.record("target-1", holder_uid="uid-run-1", note=change(outcome="Done"))

        assert isinstance(result, Held)
        assert result.state.changes == (change(),)
        steps = [(past.step, past.outcome) for past in (await locks.read("target-1")).changes]
        assert steps == [("roll", "Done"), ("scale", "")]
        with pytest.raises(Conflict):
            await locks.record("target-1", holder_uid="uid-run-2", note=change())

    async def test_what_was_read_saves_the_read_and_an_old_reading_does_no_harm(self, locks: Locks) -> None:
        free = await locks.read("target-1")
        assert isinstance(await taken(locks, seen=free), Held)

        assert isinstance(await taken(locks, "run-2", seen=free), Busy)

    async def test_the_ledger_is_bounded_and_keeps_the_newest_of_each_remedy(self, locks: Locks) -> None:
        await taken(locks, note=change("rare", at=NOON - timedelta(days=1)))
        for minute in range(30):
            note = change(step=f"s{minute}", at=NOON + timedelta(minutes=minute))
            await locks.record("target-1", holder_uid="uid-run-1", note=note)

        changes = (await locks.read("target-1")).changes
        assert len(changes) == 20
        assert changes[0].remedy == "rare"
        assert changes[-1].step == "s29"
