"""What people are asked and told to do, and what becomes of a run that waits for them."""

from datetime import timedelta
from typing import Any

import flows
from flows import changes, env, fired
from remediator.domain.replies import ReplyType
from remediator.domain.runs import QuestionRecord, Run, RunOutcome, State
from remediator.testing.world import World, transcript

ASKS_FIRST = """
targets: [Deployment]
diagnose:
- name: planned
  ask: {question: 'Is the load on ${target.name} planned?', answers: [planned, unplanned], within: 20m}
remedies:
- name: wait
  when: diagnosis.planned.answer == "planned"
  conclude: NotNeeded
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
"""

ASKS_BETWEEN = """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  - name: drained
    manual: {do: Drain the queue by hand, answers: [done, failed], within: 40m%s}
  - name: again
    when: steps.drained.answer == "done"
    restart: {}
  verify: []
"""

LISTED = """
targets: [Deployment]
remedies:
- name: people
  steps:
  - name: later
    manual: {do: Order more memory, blocking: false}
  - name: look
    manual: {do: Look at the graphs, within: 10m}
otherwise:
- name: handOver
  manual: {do: 'Take over ${target.name}', within: 15m}
"""


def world(book: str = ASKS_FIRST, **policy: Any) -> World:
    return flows.world(book, **policy)


async def looked_at(made: World) -> Run:
    run = await fired(made)
    await made.look(run)
    return made.run(run)


async def until_asked(made: World, name: str) -> Run:
    run = await fired(made)
    for _ in range(100):
        made.cluster.tick()
        again = await made.look(run)
        if any(one.name == name for one in questions(made.run(run))):
            return made.run(run)
        made.clock.advance(timedelta(seconds=min(again or 1, 10)))
    raise AssertionError(transcript(made.run(run)))


def questions(run: Run) -> list[QuestionRecord]:
    return run.status.attempts[-1].questions if run.status.attempts else []


async def answer(made: World, run: Run, step: str, text: str, user: str = "alice", **spec: Any) -> None:
    await made.say(run, ReplyType.ANSWER, user, step=step, answer=text, **spec)


def ignored(run: Run) -> dict[str, str]:
    return {one.user: one.reason for one in run.status.replies if not one.taken}


async def test_people_are_asked_before_anything_is_decided() -> None:
    made = world()

    run = await looked_at(made)

    assert run.status.state is State.AWAITING_HUMAN
    assert [one.question for one in questions(run)] == ["Is the load on checkout planned?"]
    assert run.status.attempts[0].diagnosed_at is None
    assert changes(made) == 0


async def test_an_answer_decides_which_remedy_fits() -> None:
    made = world()
    run = await looked_at(made)
    await answer(made, run, "planned", "planned")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.NOT_NEEDED, transcript(run)
    assert changes(made) == 0


async def test_another_answer_leads_to_a_change() -> None:
    made = world()
    run = await looked_at(made)
    await answer(made, run, "planned", "unplanned")
    made.resolve_when(lambda: env(made, "QUEUE") == "500")

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    record = questions(run)[0]
    assert (record.answer, record.answered_by) == ("unplanned", "alice")


async def test_what_is_no_answer_is_ignored_with_the_reason() -> None:
    made = world()
    run = await looked_at(made)
    await answer(made, run, "planned", "perhaps", "alice")
    await answer(made, run, "another", "planned", "bob")

    await made.look(run)

    assert ignored(made.run(run)) == {
        "alice": "must be one of planned, unplanned, is perhaps",
        "bob": "nothing was asked under the name another",
    }
    assert made.run(run).status.state is State.AWAITING_HUMAN


async def test_the_first_answer_counts() -> None:
    made = world()
    run = await looked_at(made)
    await answer(made, run, "planned", "planned", "alice")
    made.clock.advance(timedelta(seconds=5))
    await answer(made, run, "planned", "unplanned", "bob")

    run = await made.settle(run)

    assert ignored(run) == {"bob": "planned was answered already: planned (alice)"}


async def test_a_question_that_nobody_answers_hands_the_run_over() -> None:
    made = world()

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.HANDED_OVER, transcript(run)
    assert run.status.message.startswith("nobody answered planned by")
    assert changes(made) == 0
    assert [sent.receiver for sent in made.notifier.sent] == ["default"]


async def test_a_default_is_taken_when_the_time_is_over() -> None:
    made = world(ASKS_FIRST.replace("within: 20m", "within: 20m, default: planned"))

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.NOT_NEEDED, transcript(run)
    assert (questions(run)[0].answer, questions(run)[0].answered_by) == ("planned", "")


async def test_the_end_of_the_alert_ends_the_waiting() -> None:
    made = world()
    run = await looked_at(made)
    resolved(made, run)

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.NOT_NEEDED, transcript(run)
    assert run.status.ended_at is not None
    assert run.status.ended_at < questions(run)[0].deadline


def resolved(made: World, run: Run) -> None:
    """Alertmanager has told that the alert is over, as intake writes it onto the run."""
    made.alerts.resolve()
    ref = flows.ObjectRef("remediator.dev", "RunbookRun", run.namespace, run.name)
    alerts = run.alerts.model_copy(update={"resolved": run.alerts.identities}).as_json()
    made.cluster.change(ref, lambda obj: obj["status"].update(alerts=alerts))


async def test_a_dry_run_asks_nobody_and_says_what_it_would_ask() -> None:
    made = world(mode="DryRun")

    run = await made.settle(await fired(made))

    assert questions(run) == []
    said = [one.summary for one in run.status.attempts[0].diagnosis]
    assert said == ["would ask: Is the load on checkout planned?"]
    assert run.status.outcome is RunOutcome.NO_REMEDY


async def test_a_run_waits_for_what_people_do_between_two_changes() -> None:
    made = world(ASKS_BETWEEN % "")
    run = await until_asked(made, "drained")
    made.clock.advance(timedelta(minutes=35))
    await answer(made, run, "drained", "done")

    run = await made.settle(run)

    assert flows.steps(run) == {"raise": "Done", "drained": "Done", "again": "Done"}, transcript(run)
    assert run.status.outcome is RunOutcome.DONE


async def test_a_later_step_follows_what_was_answered() -> None:
    made = world(ASKS_BETWEEN % "")
    run = await until_asked(made, "drained")
    await answer(made, run, "drained", "failed")

    run = await made.settle(run)

    assert flows.steps(run)["again"] == "Skipped"


async def test_what_nobody_does_hands_the_run_over_and_keeps_the_change() -> None:
    made = world(ASKS_BETWEEN % "")

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.HANDED_OVER, transcript(run)
    assert "what was changed is kept" in run.status.message
    assert env(made, "QUEUE") == "500"


async def test_what_is_only_left_to_people_holds_nothing_up_and_never_ends_as_remediated() -> None:
    made = world(LISTED)
    made.notifier.sent.clear()

    run = await until_asked(made, "look")
    assert flows.steps(run)["later"] == "Done"
    await answer(made, run, "later", "ordered")
    await answer(made, run, "look", "they are red")
    await made.look(run)
    made.alerts.resolve()
    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.HANDED_OVER, transcript(run)
    assert [(one.name, one.answer, one.blocking) for one in questions(run)][:2] == [
        ("later", "ordered", False),
        ("look", "they are red", True),
    ]


async def test_what_people_have_to_do_at_the_end_keeps_the_run_open_until_it_is_done() -> None:
    made = world(LISTED)
    run = await until_asked(made, "handOver")
    assert run.status.outcome is None
    assert run.status.state is State.AWAITING_HUMAN
    assert [sent.receiver for sent in made.notifier.sent] == ["default"], "somebody has to hear of it"

    await answer(made, run, "handOver", "mine now")
    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.HANDED_OVER
    assert run.status.ending is not None
    assert [(one.name, one.state) for one in run.status.ending.told] == [("otherwise", "Done"), ("handOver", "Done")]


async def test_at_the_end_nobody_waits_for_ever() -> None:
    made = world(LISTED)

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.HANDED_OVER
    assert run.status.ending is not None
    assert str(run.status.ending.told[-1].state) == "Failed"


async def test_a_restart_asks_nothing_twice_and_keeps_the_answer() -> None:
    made = world()
    run = await looked_at(made)
    before = questions(run)
    made.new_operator()
    await made.look(run)
    assert questions(made.run(run)) == before

    await answer(made, run, "planned", "planned")
    made.new_operator()
    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.NOT_NEEDED


async def test_a_run_that_waits_for_people_reads_nothing() -> None:
    made = world()
    run = await looked_at(made)
    before = len(made.cluster.calls)

    await made.look(run)

    assert made.cluster.calls[before:] == [], "the watch has brought the record"
