"""When an alert that is no longer listed is over, and when that is not known."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from remediator.domain.alerts import Alert
from remediator.engine.sightings import Sighting, after_poll, over

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
MINUTES = 60.0


def alert(name: str) -> Alert:
    return Alert(name, "firing", {"alertname": name}, {}, NOON - timedelta(hours=1))


A, B = alert("a"), alert("b")


def seen_after(*rounds: tuple[float, Sequence[Alert] | None]) -> dict[str, Sighting]:
    """Rounds at these seconds; None is one that failed."""
    seen: dict[str, Sighting] = {}
    for at, firing in rounds:
        listed = firing or ()
        present = {one.fingerprint for one in listed}
        seen = after_poll(seen, listed, present, whole=firing is not None, seconds=at)
    return seen


def ended(seen: dict[str, Sighting], at: float) -> set[str]:
    return {one.fingerprint for one in over(seen, seconds=at, missing_for=5 * MINUTES, now=NOON)}


def test_an_alert_is_over_when_it_was_missing_for_long_enough() -> None:
    seen = seen_after((0, [A, B]), (30, [B]), (320, [B]))

    assert ended(seen, 320) == set()
    assert ended(seen_after((0, [A, B]), (30, [B]), (330, [B])), 330) == {"a"}


def test_what_comes_back_was_never_over() -> None:
    assert ended(seen_after((0, [A]), (30, []), (310, [A]), (340, [])), 340) == set()


def test_a_round_that_failed_begins_the_waiting_anew() -> None:
    assert ended(seen_after((0, [A]), (30, []), (300, None), (360, [])), 360) == set()
    assert ended(seen_after((0, [A]), (30, []), (300, None), (360, []), (660, [])), 660) == {"a"}


def test_one_whole_answer_after_a_long_failure_ends_nothing() -> None:
    failed = [(at * MINUTES, None) for at in range(1, 60)]

    assert ended(seen_after((0, [A]), *failed, (60 * MINUTES, [])), 60 * MINUTES) == set()


def test_what_is_listed_but_not_told_is_there_and_is_not_remembered_for_the_first_time() -> None:
    seen = after_poll(seen_after((0, [A])), (), {"a", "b"}, whole=True, seconds=30)

    assert set(seen) == {"a"}
    assert ended(seen, 1_000) == set()


def test_what_is_over_has_ended_now_and_not_before_it_began() -> None:
    ahead = replace(A, starts_at=NOON + timedelta(minutes=2))  # the source's clock is not ours
    seen = seen_after((0, [ahead, B]), (30, []))

    ends = {one.fingerprint: one for one in over(seen, seconds=30, missing_for=0, now=NOON)}
    assert {one.status for one in ends.values()} == {"resolved"}
    assert (ends["a"].ends_at, ends["b"].ends_at) == (ahead.starts_at, NOON)


Rounds = st.lists(st.none() | st.sets(st.sampled_from("ab")), max_size=20)


@given(Rounds)
def test_nothing_is_over_that_was_listed_or_unknown_within_the_time(rounds: list[set[str] | None]) -> None:
    known = {"a": A, "b": B}
    seen = seen_after(*((30.0 * i, None if r is None else [known[n] for n in r]) for i, r in enumerate(rounds)))
    last = 30.0 * (len(rounds) - 1)

    found = {one.fingerprint for one in over(seen, seconds=last, missing_for=90, now=NOON)}

    for name in known:
        lately = rounds[-4:]  # 90 seconds are three steps, and so four answers
        is_missing = len(lately) == 4 and all(r is not None and name not in r for r in lately)
        was_seen = any(r is not None and name in r for r in rounds)
        assert (name in found) == (is_missing and was_seen)
