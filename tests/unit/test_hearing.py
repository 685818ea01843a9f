"""Each word is recorded once, and what it sets in motion begins with what was intended."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from remediator.domain.replies import Reply, ReplySpec
from remediator.domain.runs import Run, RunOutcome, StepState
from remediator.domain.verdicts import Reason
from remediator.engine.flow import next_move
from remediator.engine.moves import Look, Void
from remediator.engine.replies import MAX_RECORDED, heard, is_spoken_to
from worlds import NOON, facts, run, step


def reply(number: int = 0, kind: str = "Acknowledge", user: str = "alice", **spec: Any) -> Reply:
    at: datetime = NOON + timedelta(seconds=number)
    whole = {"runRef": {"name": "queue-1", "uid": "run-uid"}, "type": kind, "user": user, **spec}
    return Reply("shop", f"r-{number:03}", f"uid-{number}", at, ReplySpec.model_validate(whole))


def acting(**fields: Any) -> Run:
    made = run()
    attempt = {**made.status.attempts[0].as_json(), "steps": [step(**fields).as_json()]}
    return run(status={"attempts": [attempt], "locks": ["lease"]})


def said(made: Run) -> list[tuple[str, bool]]:
    return [(one.name, one.taken) for one in made.status.replies]


def test_a_word_is_recorded_once() -> None:
    once = heard(run(), facts(replies=(reply(),)))

    assert heard(once, facts(replies=(reply(),))) == once
    assert said(once) == [("r-000", True)]
    assert not is_spoken_to(once, (reply(),))


def test_a_secret_in_a_reason_or_an_answer_is_not_put_onto_the_record() -> None:
    secret = "password=hunter2-hunter2"

    made = heard(run(), facts(replies=(reply(1, reason=secret), reply(2, "Stop", reason=secret))))
    told = made.status.model_dump_json()

    assert "hunter2" not in told


def test_what_is_not_known_is_not_heard() -> None:
    assert heard(run(), facts(replies=None)) == run()


def test_of_many_words_the_newest_are_kept_and_none_comes_back() -> None:
    words = tuple(reply(number) for number in range(MAX_RECORDED + 5))
    kept = heard(run(), facts(replies=words))

    assert said(kept)[0][0] == "r-005"
    assert len(kept.status.replies) == MAX_RECORDED
    assert heard(kept, facts(replies=words)) == kept


def test_what_was_taken_outlives_a_flood_of_what_was_ignored() -> None:
    stop = reply(0, "Stop")
    flood = tuple(reply(number, "Undo", "mallory") for number in range(1, MAX_RECORDED + 10))

    made = heard(run(), facts(replies=(stop, *flood)))

    assert ("r-000", True) in said(made)
    assert len(made.status.replies) == MAX_RECORDED


@pytest.mark.parametrize("kind", ["Stop", "Undo"])
def test_what_was_intended_is_given_up_before_anything_else(kind: str) -> None:
    done = step(name="before", state=StepState.DONE, token="t0", started_at=NOON, ended_at=NOON).as_json()
    intended = step(state=StepState.INTENDED, token="t1", intended_at=NOON, generation=3).as_json()
    attempt = {**run().status.attempts[0].as_json(), "steps": [done, intended]}
    made = run(status={"attempts": [attempt], "locks": ["lease"]})

    after, move = next_move(made, facts(replies=(reply(1, kind),)))

    assert move == Void(1, undoing=False, reason=Reason.STOPPED, message=move.message)  # type: ignore[union-attr]
    assert after.status.ending is None


def test_a_stopped_run_says_that_its_change_is_kept() -> None:
    after, move = next_move(
        acting(state=StepState.STARTED, token="t1", started_at=NOON), facts(replies=(reply(1, "Stop"),))
    )

    assert isinstance(move, Look)
    assert after.status.ending is not None
    assert after.status.ending.outcome is RunOutcome.STOPPED
    assert "what was changed is kept" in after.status.ending.message


def test_the_undo_that_was_asked_for_begins_although_the_rollout_goes_on() -> None:
    made = acting(state=StepState.STARTED, token="t1", started_at=NOON)

    after, move = next_move(made, facts(replies=(reply(1, "Undo"),)))

    assert isinstance(move, Look)
    assert [one.undo_of for one in after.status.attempts[0].undo] == ["t1"]


def test_whoever_stops_a_run_that_is_ending_is_told_how_it_ends() -> None:
    made = run(status={"ending": {"outcome": "Refused", "reason": "NotPermitted", "message": "no"}})

    after = heard(made, facts(replies=(reply(1, "Stop"),)))

    assert after.status.replies[0].reason == "the run was ending already, as Refused"
