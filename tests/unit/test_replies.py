"""What people say, as it is kept in memory."""

from typing import Any

from remediator.domain.json import Object
from remediator.handlers.replies import KEPT, Replies
from worlds import run


def said(number: int, **spec: Any) -> Object:
    return {
        "metadata": {
            "namespace": "shop",
            "name": f"reply-{number}",
            "uid": f"uid-{number}",
            "creationTimestamp": f"2026-11-21T12:{number // 60:02}:{number % 60:02}Z",
        },
        "spec": {"runRef": {"name": "queue-1", "uid": "run-uid"}, "type": "Stop", "user": "alice", **spec},
    }


def heard(*objects: Object) -> Replies:
    replies = Replies()
    for one in objects:
        replies.changed("ADDED", one)
    replies.changed("SYNCED", {})
    return replies


def names(replies: Replies) -> list[str]:
    return [one.name for one in replies.of(run()) or ()]


def test_before_everything_was_seen_it_is_not_known_what_was_said() -> None:
    replies = Replies()
    replies.changed("ADDED", said(1))

    assert replies.of(run()) is None


def test_a_run_that_nobody_spoke_to_has_no_replies() -> None:
    assert heard().of(run()) == ()


def test_replies_come_as_they_were_said() -> None:
    assert names(heard(said(3), said(1), said(2))) == ["reply-1", "reply-2", "reply-3"]


def test_a_word_to_an_earlier_run_of_the_name_is_heard_too() -> None:
    assert names(heard(said(1, runRef={"name": "queue-1", "uid": "another"}))) == ["reply-1"]


def test_a_word_to_another_run_is_not() -> None:
    assert names(heard(said(1, runRef={"name": "queue-2", "uid": "run-uid"}))) == []


def test_the_run_that_is_spoken_to_is_looked_at_once() -> None:
    replies = Replies()

    assert replies.changed("ADDED", said(1)) == ("shop", "queue-1")
    assert replies.changed("ADDED", said(1)) is None


def test_what_is_deleted_is_no_longer_there() -> None:
    replies = heard(said(1), said(2))
    replies.changed("DELETED", said(1))

    assert names(replies) == ["reply-2"]


def test_of_a_flood_the_newest_are_kept() -> None:
    replies = heard(*(said(number) for number in range(KEPT + 2)))

    assert len(names(replies)) == KEPT
    assert names(replies)[0] == "reply-2"


def test_words_to_every_run_are_known_until_they_are_deleted() -> None:
    replies = heard(said(1), said(2, runRef={"name": "gone", "uid": "gone"}))
    assert [one.name for one in replies.all()] == ["reply-1", "reply-2"]

    replies.changed("DELETED", said(2, runRef={"name": "gone", "uid": "gone"}))

    assert [one.name for one in replies.all()] == ["reply-1"]


def test_what_cannot_be_read_is_left_out() -> None:
    assert names(heard(said(1, type="Agree"), said(2))) == ["reply-2"]
