"""What every implementation of the Locks port promises."""

from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from remediator.domain.errors import Unavailable
from remediator.domain.locks import Busy, Held, LockState, PastChange
from remediator.domain.objects import ObjectRef
from remediator.ports import Locks

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
TARGET = ObjectRef.of("Deployment", "shop", "checkout")


class HasLocks(Protocol):
    locks: Locks


def change(
    remedy: str = "restart", *, at: datetime = NOON, run_uid: str = "u1", times: int = 1, outcome: str = ""
) -> PastChange:
    return PastChange("ops/crash", remedy, "shop/run-1", run_uid, at, made=(at,) * times, outcome=outcome)


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

    async def test_a_taken_lock_says_as_it_stood_before(self, locks: Locks) -> None:
        first = await taken(locks)
        await locks.release("target-1", holder_uid="uid-run-1")
        free = await locks.read("target-1")

        second = await taken(locks, "run-2", seen=free)

        assert isinstance(first, Held)
        assert isinstance(second, Held)
        assert (first.was, second.was) == (LockState("target-1"), free)

    async def test_a_lock_that_was_another_ones_meanwhile_does_not_stand_as_it_was_seen(self, locks: Locks) -> None:
        seen = await locks.read("target-1")
        await taken(locks)
        await locks.release("target-1", holder_uid="uid-run-1")

        result = await taken(locks, "run-2", seen=seen)

        assert isinstance(result, Held)
        assert result.was != seen

    async def test_of_a_holder_that_has_ended_the_lock_stood_as_its_own(self, locks: Locks) -> None:
        await taken(locks)

        async def freed(state: LockState) -> LockState:
            return state.freed

        result = await taken(locks, "run-2", freed=freed)

        assert isinstance(result, Held)
        assert result.was.holder_uid == "uid-run-1"

    async def test_what_is_known_is_what_would_be_read(self, locks: Locks) -> None:
        await taken(locks)

        assert locks.known("target-1") in (None, await locks.read("target-1"))

    async def test_a_held_lock_stays_its_holders_however_long(self, locks: Locks) -> None:
        await taken(locks)

        result = await taken(locks, "run-2", at=NOON + timedelta(days=30))

        assert result == Busy("shop/run-1", "uid-run-1", NOON)

    async def test_the_holder_takes_it_again_after_a_restart(self, locks: Locks) -> None:
        await taken(locks)

        result = await taken(locks, at=NOON + timedelta(hours=1))

        assert isinstance(result, Held)
        assert result.state.since == NOON

    async def test_a_lock_is_taken_over_from_a_holder_that_has_ended_and_says_what_became_of_it(
        self, locks: Locks
    ) -> None:
        await taken(locks, note=change())
        asked: list[LockState] = []

        async def freed(state: LockState) -> LockState:
            asked.append(state)
            return state.noted(change(outcome="Failed")).freed

        result = await taken(locks, "run-2", freed=freed)

        assert isinstance(result, Held)
        assert result.state.holder_uid == "uid-run-2"
        assert result.state.changes == (change(outcome="Failed"),)
        assert [(state.holder, state.holder_uid) for state in asked] == [("shop/run-1", "uid-run-1")]

    async def test_a_holder_that_has_not_ended_keeps_it(self, locks: Locks) -> None:
        await taken(locks)

        async def freed(state: LockState) -> None:
            return None

        assert await taken(locks, "run-2", freed=freed) == Busy("shop/run-1", "uid-run-1", NOON)

    async def test_a_holder_of_whom_nothing_is_known_keeps_it(self, locks: Locks) -> None:
        await taken(locks)

        async def freed(state: LockState) -> LockState:
            raise Unavailable("the run cannot be read")

        with pytest.raises(Unavailable):
            await taken(locks, "run-2", freed=freed)
        assert (await locks.read("target-1")).holder_uid == "uid-run-1"

    async def test_a_released_lock_is_free_and_remembers(self, locks: Locks) -> None:
        await taken(locks, note=change())

        await locks.release("target-1", holder_uid="uid-run-1", notes=(change(outcome="Remediated"),))

        state = await locks.read("target-1")
        assert (state.holder, state.holder_uid, state.since) == ("", "", None)
        assert state.changes == (change(outcome="Remediated"),)
        assert isinstance(await taken(locks, "run-2"), Held)

    async def test_nobody_releases_the_lock_of_another(self, locks: Locks) -> None:
        await taken(locks)

        await locks.release("target-1", holder_uid="uid-run-2")
        await locks.release("target-2", holder_uid="uid-run-2")

        assert (await locks.read("target-1")).holder_uid == "uid-run-1"

    async def test_a_change_is_noted_with_the_lock(self, locks: Locks) -> None:
        result = await taken(locks, note=change(times=3))

        assert isinstance(result, Held)
        assert result.state.changes == (change(times=3),)
        assert (await locks.read("target-1")).changes == (change(times=3),)

    async def test_what_came_to_nothing_is_taken_off_the_ledger(self, locks: Locks) -> None:
        await taken(locks, note=change())

        await locks.release("target-1", holder_uid="uid-run-1", notes=(change(times=0), change("other", run_uid="u2")))

        assert (await locks.read("target-1")).changes == (change("other", run_uid="u2"),)

    async def test_what_the_taking_brought_saves_the_read_and_an_old_one_does_no_harm(self, locks: Locks) -> None:
        result = await taken(locks, note=change())
        assert isinstance(result, Held)

        await locks.release("target-1", holder_uid="uid-run-1", seen=result.state)
        await taken(locks, "run-2")
        await locks.release("target-1", holder_uid="uid-run-1", seen=result.state)

        state = await locks.read("target-1")
        assert (state.holder_uid, state.changes) == ("uid-run-2", (change(),))

    async def test_an_idle_lock_is_forgotten_and_one_that_is_held_or_remembers_is_not(self, locks: Locks) -> None:
        forgotten = 0

        async def note() -> None:
            nonlocal forgotten
            forgotten += 1

        in_2090, in_2100 = NOON.replace(year=2090), NOON.replace(year=2100)
        await taken(locks, note=change(at=in_2090))
        await locks.forget_idle(in_2100, note)
        assert (await locks.read("target-1")).holder, "somebody holds it"
        await locks.release("target-1", holder_uid="uid-run-1")
        await locks.forget_idle(in_2090, note)
        assert (await locks.read("target-1")).changes, "a limit could read it"

        await locks.forget_idle(in_2100, note)

        assert await locks.read("target-1") == LockState("target-1")
        assert forgotten == 1

    async def test_a_lock_that_was_forgotten_meanwhile_is_taken_all_the_same(self, locks: Locks) -> None:
        async def note() -> None:
            return

        await taken(locks)
        await locks.release("target-1", holder_uid="uid-run-1")
        seen = await locks.read("target-1")
        await locks.forget_idle(NOON.replace(year=2100), note)

        assert isinstance(await taken(locks, "run-2", seen=seen), Held)

    async def test_the_lock_says_what_it_is_the_lock_of(self, locks: Locks) -> None:
        result = await taken(locks)
        await locks.release("target-1", holder_uid="uid-run-1")

        assert isinstance(result, Held)
        assert result.state.target == TARGET
        assert (await locks.read("target-1")).target == TARGET

    async def test_what_was_read_saves_the_read_and_an_old_reading_does_no_harm(self, locks: Locks) -> None:
        free = await locks.read("target-1")
        assert isinstance(await taken(locks, seen=free), Held)

        assert isinstance(await taken(locks, "run-2", seen=free), Busy)

    async def test_the_ledger_is_bounded_and_keeps_the_last_few_of_each_remedy(self, locks: Locks) -> None:
        for day in range(5):
            await taken(locks, note=change("rare", run_uid=f"old-{day}", at=NOON - timedelta(days=9 - day)))
        for minute in range(60):
            await taken(locks, note=change(run_uid=f"u{minute}", at=NOON + timedelta(minutes=minute)))

        changes = (await locks.read("target-1")).changes
        assert len(changes) == 40
        assert [past.run_uid for past in changes if past.remedy == "rare"] == ["old-2", "old-3", "old-4"]
        assert [past.run_uid for past in changes[-20:]] == [f"u{minute}" for minute in range(40, 60)]
        assert list(changes) == sorted(changes, key=lambda past: past.at)
