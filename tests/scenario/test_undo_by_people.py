"""A person takes back what a run has changed, after the run has ended."""

from datetime import timedelta

from flows import CHECKOUT, carried_out, changes, env, fired, world
from remediator.domain.json import dig_list
from remediator.domain.replies import ReplyType
from remediator.domain.runs import Run, RunOutcome
from remediator.testing.world import World, transcript

KEPT = """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  - name: pause
    wait: {for: 5s}
  - name: grow
    scale: {by: 1}
"""
TWO_ROUNDS = """
targets: [Deployment]
remedies:
- name: bigger
  steps: [{name: raise, setEnv: {container: app, vars: {QUEUE: {value: "500"}}}}]
  ifNotHelped: KeepAndTryNext
- name: biggest
  steps: [{name: more, setEnv: {container: app, vars: {QUEUE: {value: "900"}}}}]
  ifNotHelped: Keep
verify:
- alertResolved: {quietFor: 1m, within: 2m}
"""
ANEW = "targets: [Deployment]\nremedies: [{name: anew, steps: [{name: roll, restart: {}}]}]"


def replicas(made: World) -> object:
    return made.cluster.get(CHECKOUT)["spec"]["replicas"]  # type: ignore[call-overload, index]


def meddled(made: World, value: str) -> None:
    made.cluster.change(
        CHECKOUT,
        lambda obj: dig_list(obj, "spec", "template", "spec", "containers")[0].update(
            env=[{"name": "QUEUE", "value": value}]
        ),
    )


async def helped(text: str = KEPT) -> tuple[World, Run]:
    made = world(text)
    made.resolve_when(lambda: changes(made) >= 1)
    run = await carried_out(made)
    assert run.is_ended, transcript(run)
    return made, run


async def test_everything_that_an_ended_run_has_changed_is_taken_back_when_somebody_asks() -> None:
    made, run = await helped()
    assert (run.status.outcome, env(made, "QUEUE"), replicas(made)) == (RunOutcome.REMEDIATED, "500", 3)

    await made.say(run, ReplyType.UNDO, "alice", reason="it was the wrong remedy")
    run = await made.settle(run)

    assert (run.status.outcome, env(made, "QUEUE"), replicas(made)) == (RunOutcome.REMEDIATED, None, 2)
    (reply,) = run.status.replies
    assert (reply.user, reply.taken, reply.reason) == ("alice", True, "it was the wrong remedy")
    assert [debt.state for debt in run.status.debts] == ["Paid", "Paid"]
    assert [step.name for step in run.status.attempts[0].undo] == ["grow", "raise"], "the last change first"


async def test_the_changes_of_all_rounds_are_taken_back() -> None:
    made = world(TWO_ROUNDS)
    run = await carried_out(made)
    assert (run.status.outcome, env(made, "QUEUE")) == (RunOutcome.FAILED, "900"), transcript(run)

    await made.say(run, ReplyType.UNDO, "alice")
    run = await made.settle(run)

    assert env(made, "QUEUE") is None, transcript(run)
    assert [step.name for step in run.status.attempts[-1].undo] == ["more", "raise"]


async def test_a_change_that_has_no_undo_is_not_taken_back_and_the_word_says_so() -> None:
    made, run = await helped(ANEW)

    await made.say(run, ReplyType.UNDO, "alice")
    run = await made.settle(run)

    (reply,) = run.status.replies
    assert (reply.taken, reply.reason) == (False, "nothing of it can be taken back")
    assert changes(made) == 1


async def test_what_was_taken_back_already_is_not_taken_back_again() -> None:
    made, run = await helped()
    await made.say(run, ReplyType.UNDO, "alice")
    run = await made.settle(run)
    made.clock.advance(timedelta(minutes=1))

    await made.say(run, ReplyType.UNDO, "bob")
    run = await made.settle(run)

    assert [(one.user, one.taken, one.reason) for one in run.status.replies][1] == (
        "bob",
        False,
        "it was taken back already",
    )
    assert changes(made) == 4


async def test_what_somebody_else_has_changed_since_is_left_and_the_word_says_so() -> None:
    made, run = await helped(KEPT.replace("grow\n    scale: {by: 1}", "grow\n    wait: {for: 1s}"))
    meddled(made, "700")

    await made.say(run, ReplyType.UNDO, "alice")
    run = await made.settle(run)

    (reply,) = run.status.replies
    assert (reply.taken, reply.reason) == (False, "somebody else has changed it since")
    assert (env(made, "QUEUE"), run.status.debts[0].state) == ("700", "GivenUp")


async def test_what_was_given_up_is_tried_again_when_somebody_asks_again() -> None:
    made, run = await helped(KEPT.replace("grow\n    scale: {by: 1}", "grow\n    wait: {for: 1s}"))
    meddled(made, "700")
    await made.say(run, ReplyType.UNDO, "alice")
    await made.settle(run)
    meddled(made, "500")
    made.clock.advance(timedelta(minutes=1))

    await made.say(run, ReplyType.UNDO, "alice")
    run = await made.settle(run)

    assert (env(made, "QUEUE"), run.status.replies[-1].taken) == (None, True), transcript(run)


async def test_a_limited_change_is_taken_back_before_its_time_when_somebody_asks() -> None:
    made, run = await owing()

    await made.say(run, ReplyType.UNDO, "alice")
    run = await made.settle(run, within=timedelta(minutes=5))

    assert (env(made, "QUEUE"), [debt.state for debt in run.status.debts]) == (None, ["Paid"])


async def owing() -> tuple[World, Run]:
    """A run that has ended and owes for a day."""
    made = world(
        "targets: [Deployment]\nremedies:\n- name: bigger\n  steps:\n  - name: raise\n    ttl: 24h\n"
        "    setEnv: {container: app, vars: {QUEUE: {value: '500'}}}\n"
    )
    made.resolve_when(lambda: changes(made) >= 1)
    run = await made.settle(await fired(made), within=timedelta(hours=2))
    assert run.is_ended and run.owes, transcript(run)
    return made, run


async def test_another_word_to_an_ended_run_is_ignored_and_says_how_the_run_has_ended() -> None:
    made, run = await helped()

    await made.say(run, ReplyType.STOP, "alice")
    run = await made.settle(run)

    (reply,) = run.status.replies
    assert (reply.taken, reply.reason) == (False, "the run had ended already, as Remediated")


async def test_a_word_is_heard_once_however_often_the_operator_restarts() -> None:
    made, run = await helped()
    await made.say(run, ReplyType.UNDO, "alice")
    await made.settle(run)
    writes = len(made.cluster.changes)

    for _ in range(3):
        made.new_operator()
        await made.settle(run)

    assert len(made.cluster.changes) == writes


async def test_a_person_who_stops_an_undo_keeps_what_is_not_taken_back_yet() -> None:
    made = world(KEPT + "  ifNotHelped: Undo\n  verify:\n  - alertResolved: {quietFor: 1m, within: 2m}\n")
    run = await fired(made)
    while not made.run(run).status.attempts or not made.run(run).status.attempts[0].undo:
        await made.settle(run, within=timedelta(seconds=1))
    await made.say(run, ReplyType.STOP, "alice")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.STOPPED
    assert not run.owes
    assert env(made, "QUEUE") == "500", "the first change is the last to be taken back"
