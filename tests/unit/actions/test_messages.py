import pytest

from remediator.actions.messages.escalate import Escalate, EscalateParameters
from remediator.actions.messages.notify import Notify, NotifyParameters
from remediator.domain.errors import Rejected
from remediator.domain.outcomes import Failed, Running, Succeeded
from remediator.testing import FakeNotifier, Sent

SAID = {"namespace": "shop", "key": "k1", "subject": "checkout: Remediated", "body": "the whole story"}


async def test_a_notification_says_its_own_message_under_the_runs_subject() -> None:
    notifier = FakeNotifier("team")

    outcome = await Notify().tell(NotifyParameters(to="team", message="restarted"), notifier, **SAID)

    assert isinstance(outcome, Succeeded)
    assert notifier.sent == [Sent("shop", "team", "checkout: Remediated", "restarted", "k1")]


async def test_a_notification_may_bring_its_own_subject() -> None:
    notifier = FakeNotifier("team")

    await Notify().tell(NotifyParameters(to="team", subject="mine", message="x"), notifier, **SAID)

    assert notifier.sent[0].subject == "mine"


async def test_an_escalation_without_a_message_brings_the_report() -> None:
    notifier = FakeNotifier("oncall")

    await Escalate().tell(EscalateParameters(to="oncall"), notifier, **SAID)

    assert notifier.sent[0].body == "the whole story"


async def test_an_escalation_with_a_message_puts_it_first() -> None:
    notifier = FakeNotifier("oncall")

    await Escalate().tell(EscalateParameters(to="oncall", message="please look"), notifier, **SAID)

    assert notifier.sent[0].body == "please look\n\nthe whole story"


async def test_without_anything_to_say_it_still_says_something() -> None:
    notifier = FakeNotifier("oncall")

    await Escalate().tell(EscalateParameters(to="oncall"), notifier, namespace="shop", key="k1")

    assert notifier.sent[0].subject
    assert notifier.sent[0].body


@pytest.mark.parametrize(
    ("action", "parameters"),
    [(Notify(), NotifyParameters(to="team", message="x")), (Escalate(), EscalateParameters(to="team"))],
)
async def test_what_was_not_taken_is_sent_again_under_the_same_key(action, parameters) -> None:
    notifier = FakeNotifier("team")
    notifier.fail_next(1)

    first = await action.tell(parameters, notifier, **SAID)
    second = await action.tell(parameters, notifier, **SAID)

    assert isinstance(first, Running)
    assert isinstance(second, Succeeded)
    assert [sent.key for sent in notifier.sent] == ["k1"]


async def test_an_unknown_receiver_is_a_failure_and_not_an_exception() -> None:
    outcome = await Notify().tell(NotifyParameters(to="nobody", message="x"), FakeNotifier("team"), **SAID)

    assert outcome == Failed("there is no receiver nobody for namespace shop")


async def test_a_refused_message_is_a_failure() -> None:
    notifier = FakeNotifier("team")
    notifier.fail_next(1, Rejected("401"))

    assert isinstance(await Notify().tell(NotifyParameters(to="team", message="x"), notifier, **SAID), Failed)
