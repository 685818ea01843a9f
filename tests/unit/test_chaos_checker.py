"""The checker finds every crime in an audit log that holds it, and none in one that holds none."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from chaos.checker import Crime, findings
from chaos.evidence import Revision, completed, logged
from chaos.handmade import POLICY, STARTS_AT, Log


def crimes(log: Log, at_most: int = 2) -> set[Crime]:
    return {finding.crime for finding in findings(log.evidence(at_most))}


def an_ordinary_story() -> Log:
    log = Log()
    log.story()
    return log


def test_nothing_is_wrong_with_an_ordinary_story() -> None:
    assert crimes(an_ordinary_story()) == set()


def lost() -> Log:
    log = an_ordinary_story()
    log.deliver("bb")
    return log


def lost_because_it_began_later() -> Log:
    log = an_ordinary_story()
    log.deliver("aa", starts_at=STARTS_AT + 60)
    return log


def lost_before_it_was_over() -> Log:
    log = an_ordinary_story()
    log.deliver("bb")
    log.revision += 10
    log.deliver("bb", firing=False)
    return log


def lost_with_a_run_that_stands_for_nothing() -> Log:
    log = an_ordinary_story()
    log.deliver("bb")
    log.create("queue-2", "bb")
    log.end("queue-2", "Superseded")
    return log


def answered_again() -> Log:
    log = an_ordinary_story()
    log.create("queue-2", "aa")
    log.go_on("queue-2", resolved={"targetUid": "checkout-1"})
    log.end("queue-2", "NotNeeded")
    return log


def two_at_once() -> Log:
    log = Log()
    for name, alert in (("queue-1", "aa"), ("queue-2", "bb")):
        log.deliver(alert)
        log.create(name, alert)
        log.go_on(name, resolved={"targetUid": "checkout-1"})
    log.end("queue-1")
    log.end("queue-2")
    return log


def begun() -> Log:
    """A run whose change is intended, on fresh news."""
    log = Log()
    log.deliver()
    log.create("queue-1", "aa")
    log.go_on("queue-1", resolved={"targetUid": "checkout-1"})
    log.say("aa")
    log.intend("queue-1", "t1")
    return log


def repeated() -> Log:
    log = begun()
    log.change("queue-1", "t1")
    log.change("queue-1", "t1", by="second")
    log.settle("queue-1", "t1", "Done")
    log.end("queue-1")
    return log


def beyond_the_plan() -> Log:
    log = begun()
    for token in ("t1", "t2", "t3"):
        if token != "t1":
            log.intend("queue-1", token)
        log.change("queue-1", token)
        log.settle("queue-1", token, "Done")
    log.end("queue-1")
    return log


def not_intended() -> Log:
    log = begun()
    log.change("queue-1", "t2")
    log.end("queue-1")
    return log


def intended_afterwards() -> Log:
    log = begun()
    log.change("queue-1", "t2")
    log.intend("queue-1", "t2")
    log.end("queue-1")
    return log


def old_news() -> Log:
    log = begun()
    log.revision += 60
    log.say("bb")
    log.change("queue-1", "t1")
    log.settle("queue-1", "t1", "Done")
    log.end("queue-1")
    return log


def known_to_be_over() -> Log:
    log = Log()
    log.deliver()
    log.create("queue-1", "aa")
    both = {"identities": log.identities("queue-1"), "resolved": log.identities("queue-1")}
    log.go_on("queue-1", resolved={"targetUid": "checkout-1"}, alerts=both)
    log.say("aa")
    log.intend("queue-1", "t1")
    log.change("queue-1", "t1")
    log.settle("queue-1", "t1", "Done")
    log.end("queue-1")
    return log


def unknown() -> Log:
    log = Log(measured=frozenset({POLICY}))
    log.measure("500")  # before there was a run to ask for it
    log.deliver()
    log.create("queue-1", "aa")
    log.go_on("queue-1", resolved={"targetUid": "checkout-1"})
    log.say("aa")
    for values in ((), ("NaN",), ("1", "2")):
        log.measure(*values)
    log.intend("queue-1", "t1")
    log.change("queue-1", "t1")
    log.settle("queue-1", "t1", "Done")
    log.end("queue-1")
    return log


def wrong_object() -> Log:
    log = begun()
    log.recreate()
    log.change("queue-1", "t1")
    log.settle("queue-1", "t1", "Done")
    log.end("queue-1")
    return log


def side_by_side() -> Log:
    log = begun()
    log.change("queue-1", "t1")
    log.create("other-1", "aa", policy="other")
    log.go_on("other-1", resolved={"targetUid": "checkout-1"})
    log.say("aa")
    log.intend("other-1", "t2")
    log.change("other-1", "t2")
    for name, token in (("queue-1", "t1"), ("other-1", "t2")):
        log.settle(name, token, "Done")
        log.end(name)
    return log


def after_the_end() -> Log:
    log = begun()
    log.end("queue-1", "NotNeeded")
    log.change("queue-1", "t1")
    return log


def after_the_void() -> Log:
    log = begun()
    log.void("queue-1", "t1", by="second")
    log.change("queue-1", "t1")
    log.end("queue-1")
    return log


def after_it_was_recorded_as_void() -> Log:
    log = begun()
    log.settle("queue-1", "t1", "Voided")
    log.change("queue-1", "t1")
    log.end("queue-1")
    return log


def after_the_successor() -> Log:
    log = begun()
    log.intend("queue-1", "t2", by="second")
    log.change("queue-1", "t1")
    log.settle("queue-1", "t1", "Done", by="second")
    log.end("queue-1", by="second")
    return log


def deposed() -> Log:
    log = Log()
    log.raise_epoch(1)
    log.raise_epoch(2)
    log.deliver()
    log.create("queue-1", "aa")
    log.go_on("queue-1", resolved={"targetUid": "checkout-1"}, leaderEpoch=1)
    log.say("aa")
    log.intend("queue-1", "t1", leaderEpoch=1)
    log.change("queue-1", "t1")
    log.settle("queue-1", "t1", "Done")
    log.end("queue-1")
    return log


def an_outcome_that_changes() -> Log:
    log = an_ordinary_story()
    log.go_on("queue-1", outcome="Failed")
    return log


def stuck() -> Log:
    log = begun()
    log.change("queue-1", "t1")
    return log


def stuck_on_a_lock() -> Log:
    log = begun()
    log.go_on("queue-1", held={"reason": "TargetBusy", "message": "another run holds it"})
    return log


def a_debt_that_is_left() -> Log:
    log = an_ordinary_story()
    log.go_on("queue-1", debts=[{"step": "raise", "token": "t1", "state": "Owed"}])
    return log


@pytest.mark.parametrize(
    ("planted", "crime"),
    [
        (lost, Crime.LOST),
        (lost_because_it_began_later, Crime.LOST),
        (lost_before_it_was_over, Crime.LOST),
        (lost_with_a_run_that_stands_for_nothing, Crime.LOST),
        (answered_again, Crime.SAME_ALERTS_TWICE),
        (two_at_once, Crime.TWO_AT_ONCE),
        (repeated, Crime.REPEATED),
        (beyond_the_plan, Crime.BEYOND_THE_PLAN),
        (not_intended, Crime.NOT_INTENDED),
        (intended_afterwards, Crime.NOT_INTENDED),
        (old_news, Crime.OLD_NEWS),
        (known_to_be_over, Crime.KNOWN_TO_BE_OVER),
        (unknown, Crime.UNKNOWN),
        (wrong_object, Crime.WRONG_OBJECT),
        (side_by_side, Crime.SIDE_BY_SIDE),
        (after_the_end, Crime.AFTER_THE_END),
        (after_the_void, Crime.AFTER_THE_VOID),
        (after_it_was_recorded_as_void, Crime.AFTER_THE_VOID),
        (after_the_successor, Crime.AFTER_THE_SUCCESSOR),
        (deposed, Crime.DEPOSED),
        (an_outcome_that_changes, Crime.OUTCOME_CHANGED),
        (stuck, Crime.STUCK),
        (stuck_on_a_lock, Crime.STUCK),
        (a_debt_that_is_left, Crime.DEBT_LEFT),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_crime_is_found_and_no_other(planted: Callable[[], Log], crime: Crime) -> None:
    assert crimes(planted()) == {crime}


def test_every_kind_of_crime_is_planted() -> None:
    (mark,) = test_each_crime_is_found_and_no_other.pytestmark
    assert {crime for _, crime in mark.args[1]} == set(Crime)


# what looks like a crime and is none


def test_an_alert_that_was_refused_need_not_be_on_a_run() -> None:
    log = an_ordinary_story()
    log.deliver("bb", status=503)
    log.deliver("bb", status=0)
    assert crimes(log) == set()


def test_an_alert_may_be_recorded_with_a_later_start() -> None:
    log = an_ordinary_story()
    log.deliver("aa", starts_at=STARTS_AT - 60)
    assert crimes(log) == set()


def test_an_alert_whose_end_came_before_the_answer_need_not_be_on_a_run() -> None:
    log = an_ordinary_story()
    log.deliver("bb", seconds=5)
    log.revision += 3
    log.deliver("bb", firing=False)
    assert crimes(log) == set()


def test_a_released_alert_opens_another_run() -> None:
    log = Log()
    log.deliver()
    log.create("queue-1", "aa")
    log.go_on("queue-1", resolved={"targetUid": "checkout-1"})
    log.end("queue-1", "TargetChanged")
    log.story("queue-2")
    assert crimes(log) == set()


def test_a_rehearsal_or_a_refused_write_is_no_change() -> None:
    log = begun()
    log.change("queue-1", "dry-run", dry_run=True)
    log.change("queue-1", "t1", code=422)
    log.change("queue-1", "t1")
    log.settle("queue-1", "t1", "Done")
    log.end("queue-1")
    assert crimes(log) == set()


def test_what_is_owed_may_be_taken_back_after_the_end() -> None:
    log = an_ordinary_story()
    log.intend("queue-1", "t2", where="undo")
    log.change("queue-1", "t2")
    log.settle("queue-1", "t2", "Done")
    assert crimes(log) == set()


def test_two_policies_change_an_object_one_after_the_other() -> None:
    log = an_ordinary_story()
    log.create("other-1", "aa", policy="other")
    log.go_on("other-1", resolved={"targetUid": "checkout-1"})
    log.say("aa")
    log.intend("other-1", "t2")
    log.change("other-1", "t2")
    log.settle("other-1", "t2", "Done")
    log.end("other-1")
    assert crimes(log) == set()


def test_a_successor_carries_out_what_was_intended() -> None:
    log = begun()
    log.change("queue-1", "t1", by="second")
    log.settle("queue-1", "t1", "Done", by="second")
    log.end("queue-1", by="second")
    assert crimes(log) == set()


def test_an_alert_that_another_process_attaches_deposes_nobody() -> None:
    log = begun()
    log.go_on("queue-1", by="second", alerts={"identities": log.identities("queue-1")})
    log.change("queue-1", "t1")
    log.settle("queue-1", "t1", "Done")
    log.end("queue-1")
    assert crimes(log) == set()


def test_a_number_that_was_given_is_known() -> None:
    log = unknown()
    log.numbers.append(replace(log.numbers[0], at=log.numbers[-1].at))
    assert crimes(log) == set()


def test_the_newest_leader_intends() -> None:
    log = Log()
    log.raise_epoch(1)
    log.deliver()
    log.create("queue-1", "aa")
    log.go_on("queue-1", resolved={"targetUid": "checkout-1"}, leaderEpoch=1)
    log.say("aa")
    log.intend("queue-1", "t1", leaderEpoch=1)
    log.raise_epoch(2)
    log.change("queue-1", "t1")
    log.settle("queue-1", "t1", "Done")
    log.end("queue-1")
    assert crimes(log) == set()


def test_a_run_that_waits_for_people_is_not_stuck() -> None:
    log = begun()
    log.go_on("queue-1", held={"reason": "AwaitingApproval", "message": "somebody must agree"})
    assert crimes(log) == set()


# what a killed API server takes with it


def test_a_change_without_a_line_counts() -> None:
    log = repeated()
    whole = log.evidence()
    first = next(write for write in whole.writes if write.resource == "deployments")
    rest = [write for write in whole.writes if write is not first]
    history = [Revision(first.revision, first.resource, first.namespace, first.name, first.after)]

    without = replace(whole, writes=rest)
    told = replace(whole, writes=completed(rest, history))

    assert {finding.crime for finding in findings(without)} == set()
    assert {finding.crime for finding in findings(told)} == {Crime.REPEATED}


def test_a_controllers_write_without_a_line_is_no_change() -> None:
    log = an_ordinary_story()
    whole = log.evidence()
    change = next(write for write in whole.writes if write.resource == "deployments")
    states = [change.after, {**change.after, "status": {"replicas": 1}}]
    told = [
        Revision(revision, "deployments", "shop", "checkout", state)
        for revision, state in zip((change.revision, 900), states, strict=True)
    ]
    later = completed(whole.writes, told)
    assert [write.revision for write in later if not write.is_logged] == [900]
    assert findings(replace(whole, writes=later)) == []


def test_half_a_line_is_passed_over() -> None:
    log = an_ordinary_story()
    lines = [*log.lines, log.lines[-1][:200]]
    assert logged(lines) == logged(log.lines)


def test_who_asks_for_the_metadata_of_what_it_writes_has_written_the_rest() -> None:
    log = an_ordinary_story()

    def alone(line: str) -> str:
        event = json.loads(line)
        whole = event["responseObject"]
        part = {"kind": "PartialObjectMetadata", "metadata": whole["metadata"]}
        sent = {**whole, "metadata": {**whole["metadata"], "resourceVersion": "1"}}
        return json.dumps({**event, "responseObject": part, "requestObject": sent})

    assert logged([alone(line) for line in log.lines]) == logged(log.lines)


def test_the_version_of_a_list_stands_for_no_write() -> None:
    log = an_ordinary_story()
    event = json.loads(log.lines[-1])
    kind = {"kind": "RunbookRunList", "metadata": {"resourceVersion": str(log.revision)}, "items": []}
    swept = json.dumps({**event, "verb": "deletecollection", "responseObject": kind})
    assert logged([*log.lines, swept]) == logged(log.lines)
