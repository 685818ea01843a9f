"""An alert that is sent on although its run ended well: nobody acts on it any more, so people are told, once."""

from datetime import timedelta

from flows import FIRING, carried_out, changes, world
from remediator.domain.objects import RUN
from remediator.domain.runs import Run, RunOutcome
from remediator.engine.begin import PolicyVersion
from remediator.handlers.repeats import Repeats
from remediator.handlers.run_index import known_run
from remediator.testing.world import World

BELIEVED = """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  verify:
  - rollout: {within: 5m}
"""
PRESENT = PolicyVersion("policy-uid", 1)


async def remediated(book: str = BELIEVED) -> tuple[World, Repeats, Run]:
    """A run that the rollout alone has verified, while its alert fires on."""
    made = world(book)
    run = await carried_out(made)
    assert run.status.outcome is RunOutcome.REMEDIATED
    return made, Repeats(made.cluster, made.clock), run


async def sent_again(made: World, repeats: Repeats, run: Run, after: timedelta) -> Run:
    """The run after its alert was notified once more, so long after now, and the operator has done what follows."""
    await notified(made, repeats, after)
    return await made.settle(run)


async def notified(made: World, repeats: Repeats, after: timedelta) -> None:
    made.clock.advance(after)
    runs = [known for obj in made.cluster.objects(RUN) if (known := known_run(obj)) is not None]
    repeats.note([FIRING], runs, PRESENT)
    await repeats.write_next()


async def test_people_are_told_of_an_alert_that_fires_on_after_its_run_has_helped() -> None:
    made, repeats, run = await remediated()

    run = await sent_again(made, repeats, run, timedelta(minutes=31))

    (sent,) = made.notifier.sent
    assert (sent.receiver, sent.subject) == ("default", "[fires again] Deployment shop/checkout")
    assert f"QueueFull was sent again at {run.status.still_firing:%Y-%m-%dT%H:%M:%SZ}" in sent.body
    assert f"kubectl remediate show {run.name} -n shop" in sent.body
    assert run.status.recurred == made.clock.now()
    assert run.status.outcome is RunOutcome.REMEDIATED
    verified = next(one for one in run.status.conditions if one.type == "Verified")
    assert (verified.status, verified.reason) == ("False", "Recurred")
    assert ("AlertRecurred", True) in [(event.reason, event.warning) for event in made.events.recorded]
    assert changes(made) == 1


async def test_they_are_told_once() -> None:
    made, repeats, run = await remediated()

    for _ in range(5):
        run = await sent_again(made, repeats, run, timedelta(hours=7))

    assert len(made.notifier.sent) == 1
    assert [entry.what for entry in run.status.timeline].count("recurred") == 1


async def test_what_is_sent_again_soon_after_the_end_tells_nothing_yet() -> None:
    made, repeats, run = await remediated()

    run = await sent_again(made, repeats, run, timedelta(minutes=10))

    assert made.notifier.sent == []
    assert run.status.still_firing is None


async def test_what_was_sent_too_early_is_told_with_the_next_notification_after_half_an_hour() -> None:
    made, repeats, run = await remediated()

    await sent_again(made, repeats, run, timedelta(minutes=10))
    run = await sent_again(made, repeats, run, timedelta(minutes=21))

    assert len(made.notifier.sent) == 1
    assert run.status.recurred is not None


async def test_a_run_that_people_were_told_of_at_its_end_is_not_told_of_again() -> None:
    made = world(BELIEVED.replace("rollout: {within: 5m}", "alertResolved: {quietFor: 1m, within: 5m}"))
    run = await carried_out(made)
    assert run.status.outcome is not None
    assert run.status.outcome not in (RunOutcome.REMEDIATED, RunOutcome.NOT_NEEDED)
    told = len(made.notifier.sent)

    await sent_again(made, Repeats(made.cluster, made.clock), run, timedelta(hours=7))

    assert (told, len(made.notifier.sent)) == (1, 1)


async def test_a_receiver_that_does_not_answer_is_waited_for_by_a_restarted_operator_too() -> None:
    made, repeats, run = await remediated()
    made.notifier.fail_next(1)

    await notified(made, repeats, timedelta(minutes=31))
    await made.look(run)
    waiting = made.run(run)
    assert waiting.status.held is not None
    assert (waiting.status.held.reason, waiting.status.recurred) == ("NotSent", None)
    made.new_operator()
    run = await made.settle(run)

    assert len(made.notifier.sent) == 1
    assert (run.status.recurred is not None, run.status.held) == (True, None)
