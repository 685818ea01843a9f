"""Which replies count for a question, and when it is answered."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediator.domain.locks import LockState
from remediator.domain.names import lease_name
from remediator.domain.policies import Mode
from remediator.domain.replies import Reply, ReplySpec
from remediator.domain.runs import ApprovalNeed, ApprovalRecord
from remediator.domain.verdicts import Allow, Deny, Reason, Wait
from remediator.engine import approvals
from remediator.engine.flow import next_move
from remediator.engine.guards import Question
from remediator.engine.guards.consent import is_approved
from remediator.engine.moves import Intend, Lock
from remediator.engine.wants import wants
from worlds import CHECKOUT, NOON, facts, run, runbook, step

PLAN = "abc"
RUN = run()
SRE = ApprovalNeed(by="the policy", count=1, groups=["sre"])
ANYBODY = ApprovalNeed(by="mode Approve", count=1)


def record(**changes: Any) -> ApprovalRecord:
    return ApprovalRecord(
        **{"plan_hash": PLAN, "needs": [SRE], "asked_at": NOON, "deadline": NOON + timedelta(minutes=30), **changes}
    )


def reply(user: str = "alice", *groups: str, at: datetime = NOON + timedelta(minutes=1), **spec: Any) -> Reply:
    whole = {
        "runRef": {"name": "queue-1", "uid": "run-uid"},
        "type": "Approve",
        "planHash": PLAN,
        "user": user,
        "groups": list(groups),
        **spec,
    }
    return Reply("shop", f"r-{user}", f"uid-{user}-{at}", at, ReplySpec.model_validate(whole))


def missing(needs: list[ApprovalNeed], *replies: Reply) -> list[tuple[str, int]]:
    judged = approvals.judged(RUN, record(needs=needs), needs, replies)
    return [(need.by, need.count) for need in judged.missing]


@pytest.mark.parametrize(
    ("needs", "said", "left"),
    [
        ([ANYBODY], [], [("mode Approve", 1)]),
        ([ANYBODY], [("alice", ())], []),
        ([ANYBODY], [("alice", ("sre",))], []),
        ([SRE], [("alice", ())], [("the policy", 1)]),
        ([SRE], [("alice", ("dev", "sre"))], []),
        ([SRE.model_copy(update={"count": 2})], [("alice", ("sre",))], [("the policy", 1)]),
        ([SRE.model_copy(update={"count": 2})], [("alice", ("sre",)), ("alice", ("sre",))], [("the policy", 1)]),
        ([SRE.model_copy(update={"count": 2})], [("alice", ("sre",)), ("bob", ("sre",))], []),
        ([SRE.model_copy(update={"count": 2})], [("alice", ("sre",)), ("bob", ("dev",))], [("the policy", 1)]),
        # of several that ask the largest count decides, and each list of groups has its own people
        ([ANYBODY, ANYBODY.model_copy(update={"count": 2})], [("alice", ())], [("mode Approve", 1)]),
        ([SRE, ApprovalNeed(by="production", count=2)], [("alice", ("sre",)), ("bob", ())], []),
        ([SRE, ApprovalNeed(by="production", count=2)], [("alice", ("dev",)), ("bob", ())], [("the policy", 1)]),
        ([SRE, ApprovalNeed(by="dba", groups=["dba"])], [("alice", ("sre", "dba"))], []),
        ([SRE, ApprovalNeed(by="dba", groups=["dba"])], [("alice", ("sre",))], [("dba", 1)]),
    ],
)
def test_every_need_counts_its_own_people(
    needs: list[ApprovalNeed], said: list[tuple[str, tuple[str, ...]]], left: list[tuple[str, int]]
) -> None:
    assert missing(needs, *(reply(user, *groups) for user, groups in said)) == left


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (reply("alice", "sre", runRef={"name": "queue-1", "uid": "another"}), "it is meant for another run"),
        (reply("alice", "sre", planHash="xyz"), "it is for plan xyz, and plan abc is asked about"),
        (reply("alice", "sre", step="wider"), "it is for step wider, and the whole remedy is asked about"),
        (reply("alice", "sre", at=NOON - timedelta(seconds=1)), "it was said before the question was asked"),
        (reply("alice", "sre", at=NOON + timedelta(minutes=30)), "it was said after the question had expired"),
        (reply(RUN.spec.requested_by, "sre"), "whoever asks for a run does not approve it"),
        (reply("alice", "dev"), "it names none of the groups that are asked: sre"),
        (reply("alice", "sre", type="Stop"), "it neither approves nor denies"),
    ],
)
def test_what_does_not_count_says_why(wrong: Reply, sentence: str) -> None:
    assert sentence in approvals.objection(RUN, record(), [SRE], wrong)
    assert missing([SRE], wrong) == [("the policy", 1)]


def test_the_second_in_which_it_is_asked_counts() -> None:
    asked = record(asked_at=NOON + timedelta(milliseconds=700))

    assert approvals.objection(RUN, asked, [SRE], reply("alice", "sre", at=NOON)) == ""


def test_a_denial_needs_no_group() -> None:
    judged = approvals.judged(RUN, record(), [SRE], [reply("alice", "sre"), reply("bob", type="Deny")])

    assert judged.denied is not None
    assert judged.denied.spec.user == "bob"


def test_a_secret_in_a_denial_is_not_repeated() -> None:
    assert "hunter2" not in approvals.denial(reply("bob", type="Deny", reason="password=hunter2-hunter2"))


def test_whoever_asked_for_a_run_may_deny_it() -> None:
    own = reply(RUN.spec.requested_by, type="Deny")

    assert approvals.judged(RUN, record(), [SRE], [own]).denied == own


people = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sets(st.sampled_from(["sre", "dba", "dev"]), max_size=3)), max_size=12
)
asking = st.lists(
    st.builds(
        lambda count, groups: ApprovalNeed(by="x", count=count, groups=sorted(groups)),
        st.integers(1, 4),
        st.sets(st.sampled_from(["sre", "dba", "dev"]), max_size=2),
    ),
    min_size=1,
    max_size=4,
)


@given(needs=asking, said=people)
def test_nothing_is_met_by_fewer_people_than_it_asks_for(
    needs: list[ApprovalNeed], said: list[tuple[str, set[str]]]
) -> None:
    judged = approvals.judged(RUN, record(needs=needs), needs, [reply(user, *groups) for user, groups in said])

    if not judged.missing:
        for need in needs:
            entitled = {user for user, groups in said if not need.groups or groups & set(need.groups)}
            assert len(entitled) >= need.count
        assert len({one.spec.user for one in judged.counted}) >= max(need.count for need in needs)


@given(needs=asking, said=people, more=people)
def test_a_further_approval_never_unmakes_one(
    needs: list[ApprovalNeed], said: list[tuple[str, set[str]]], more: list[tuple[str, set[str]]]
) -> None:
    first = [reply(user, *groups) for user, groups in said]
    second = [reply(user, *groups) for user, groups in more]
    before = approvals.judged(RUN, record(needs=needs), needs, first)

    after = approvals.judged(RUN, record(needs=needs), needs, [*first, *second])

    assert sum(need.count for need in after.missing) <= sum(need.count for need in before.missing)


@given(needs=asking, said=people, where=st.integers(0, 12))
def test_a_denial_is_heard_wherever_it_stands(
    needs: list[ApprovalNeed], said: list[tuple[str, set[str]]], where: int
) -> None:
    replies = [reply(user, *groups) for user, groups in said]
    replies.insert(where, reply("zoe", type="Deny"))

    assert approvals.judged(RUN, record(needs=needs), needs, replies).denied is not None


# the guard


def asked(*records: ApprovalRecord, mode: Mode = Mode.APPROVE) -> Any:
    made = run()
    attempt = made.status.attempts[0].model_copy(update={"approvals": list(records)})
    resolved = made.status.resolved.model_copy(update={"mode": mode}) if made.status.resolved else None
    return replace(made, status=made.status.model_copy(update={"attempts": [attempt], "resolved": resolved}))


def test_an_automatic_run_that_nobody_wants_asked_needs_no_approval() -> None:
    assert is_approved(Question(run(), step(), facts(replies=None))) == Allow()


def test_a_run_in_the_mode_approve_waits_until_it_was_asked() -> None:
    verdict = is_approved(Question(asked(), step(), facts(replies=())))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.AWAITING_APPROVAL


def test_a_question_without_answers_waits_until_its_deadline() -> None:
    verdict = is_approved(Question(asked(record(needs=[ANYBODY])), step(), facts(replies=())))

    assert isinstance(verdict, Wait)
    assert verdict.until == NOON + timedelta(minutes=30)


def test_answers_that_could_not_be_read_are_no_approval() -> None:
    verdict = is_approved(Question(asked(record()), step(), facts(replies=None)))

    assert isinstance(verdict, Wait)
    assert verdict.reason is Reason.FACT_UNKNOWN


def test_a_plan_that_was_approved_may_be_carried_out() -> None:
    world = facts(replies=(reply("alice"),), now=NOON + timedelta(minutes=2))

    assert is_approved(Question(asked(record(needs=[ANYBODY])), step(), world)) == Allow()


def test_a_plan_that_was_denied_is_refused() -> None:
    verdict = is_approved(Question(asked(record()), step(), facts(replies=(reply("bob", type="Deny"),))))

    assert isinstance(verdict, Deny)
    assert verdict.reason is Reason.DENIED


def test_what_was_approved_must_begin_before_the_deadline() -> None:
    world = facts(replies=(reply("alice"),), now=NOON + timedelta(minutes=30))
    verdict = is_approved(Question(asked(record(needs=[ANYBODY])), step(), world))

    assert isinstance(verdict, Deny)
    assert verdict.reason is Reason.EXPIRED


# the last look


@pytest.mark.parametrize("locked_at", [None, NOON], ids=["before the lock", "with the lock"])
def test_approvals_are_listed_and_used_up_only_with_the_lock(locked_at: datetime | None) -> None:
    agreed = asked(record(needs=[ANYBODY], state="Approved", asked_at=NOON - timedelta(minutes=2)))
    attempt = agreed.status.attempts[0].model_copy(update={"locked_at": locked_at})
    status = agreed.status.model_copy(update={"locks": [lease_name(CHECKOUT)], "attempts": [attempt]})
    made = replace(agreed, status=status)
    world = facts(
        replies=(reply("alice", at=NOON - timedelta(minutes=1)),),
        lock=LockState(lease_name(CHECKOUT), holder="shop/queue-1", holder_uid="run-uid"),
    )

    after, move = next_move(made, world)

    assert wants(made, runbook()).replies is (locked_at is not None)
    assert isinstance(move, Intend if locked_at is not None else Lock)
    assert bool(after.status.attempts[0].approvals[0].given) is (locked_at is not None)
