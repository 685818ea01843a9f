from datetime import UTC, datetime, timedelta, timezone

import pytest

from remediator.domain.conditions import Conditions, find, from_json, is_false, is_true, to_json, with_condition

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WAITING = with_condition((), "Approved", "Unknown", "Waiting", "approval of 1 person is missing", NOON, 1)


def since(conditions: Conditions, type_: str) -> datetime:
    condition = find(conditions, type_)
    assert condition is not None
    return condition.last_transition_time


def test_the_transition_time_moves_when_the_status_does() -> None:
    later = NOON + timedelta(minutes=5)

    approved = with_condition(WAITING, "Approved", "True", "Approved", "alice", later, 1)

    assert since(approved, "Approved") == later


def test_another_reason_or_message_does_not_move_the_transition_time() -> None:
    later = NOON + timedelta(minutes=5)

    still = with_condition(WAITING, "Approved", "Unknown", "WaitingLonger", "still missing", later, 7)

    condition = find(still, "Approved")
    assert condition is not None
    assert condition.last_transition_time == NOON
    assert (condition.reason, condition.message, condition.observed_generation) == (
        "WaitingLonger",
        "still missing",
        7,
    )


def test_saying_the_same_again_changes_nothing() -> None:
    again = with_condition(
        WAITING, "Approved", "Unknown", "Waiting", "approval of 1 person is missing", NOON + timedelta(1), 1
    )

    assert again == WAITING


def test_the_order_is_fixed_whatever_was_said_first() -> None:
    conditions: Conditions = ()
    for type_ in ("Zebra", "Stalled", "Verified", "Another", "Succeeded"):
        conditions = with_condition(conditions, type_, "True", "Said", "", NOON, 1)

    assert [c.type for c in conditions] == ["Succeeded", "Verified", "Stalled", "Another", "Zebra"]


def test_the_given_conditions_are_left_as_they_were() -> None:
    with_condition(WAITING, "Verified", "True", "Better", "", NOON, 1)

    assert [c.type for c in WAITING] == ["Approved"]


def test_a_long_message_is_cut_visibly() -> None:
    conditions = with_condition((), "Ready", "False", "Invalid", "x" * 5_000, NOON, 1)

    assert len(conditions[0].message) <= 1_024
    assert conditions[0].message.endswith("bytes more)")


@pytest.mark.parametrize("reason", ["", "coolingDown", "Cooling Down", "Cooling-Down", "Down.", "X" * 200])
def test_a_reason_is_one_camel_case_word(reason: str) -> None:
    with pytest.raises(ValueError, match="is not a reason: write one CamelCase word, such as CoolingDown"):
        with_condition((), "Ready", "True", reason, "", NOON, 1)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a time zone"):
        with_condition((), "Ready", "True", "Good", "", NOON.replace(tzinfo=None), 1)


@pytest.mark.parametrize(
    ("status", "true", "false"), [("True", True, False), ("False", False, True), ("Unknown", False, False)]
)
def test_unknown_is_neither_true_nor_false(status: str, true: bool, false: bool) -> None:
    conditions = from_json([{"type": "Ready", "status": status}])

    assert is_true(conditions, "Ready") is true
    assert is_false(conditions, "Ready") is false


def test_what_was_never_said_is_neither_true_nor_false() -> None:
    assert not is_true((), "Ready")
    assert not is_false((), "Ready")


def test_what_is_stored_reads_back_the_same() -> None:
    precise = datetime(2026, 3, 1, 13, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    conditions = with_condition(WAITING, "Verified", "False", "Worse", "still firing", precise, 3)

    stored = to_json(conditions)

    assert stored[1] == {
        "type": "Verified",
        "status": "False",
        "reason": "Worse",
        "message": "still firing",
        "lastTransitionTime": "2026-03-01T12:00:00Z",
        "observedGeneration": 3,
    }
    assert from_json(entry for entry in stored if isinstance(entry, dict)) == conditions


def test_stored_nonsense_is_left_out() -> None:
    stored = from_json(
        [
            {"type": "Ready", "status": "Maybe"},
            {"status": "True"},
            {"type": "Stalled", "status": "True", "lastTransitionTime": "yesterday", "observedGeneration": "x"},
        ]
    )

    assert [c.type for c in stored] == ["Stalled"]
    assert stored[0].last_transition_time == datetime(1970, 1, 1, tzinfo=UTC)
