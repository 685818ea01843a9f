"""Whether everything is suspended: the switch comes before every other question."""

from datetime import timedelta
from typing import Final

from remediator.domain.verdicts import Allow, Deny, Reason, Verdict, Wait
from remediator.engine.guards.question import AboutRun, unknown

HELD: Final = timedelta(minutes=10)
"""How often a debt is looked at while everything is suspended; the release of the switch is told at once."""


def is_not_stopped(question: AboutRun) -> Verdict:
    """
    Refuse everything while the kill switch is pulled, and hold what an ended run still owes.

    A debt is never dropped: it waits, and is paid first when the switch is released.
    """
    suspended = question.facts.suspended
    if suspended is None:
        return unknown(question, "cannot tell whether everything is suspended")
    if not suspended.pulled:
        return Allow()
    if question.run.is_ended:
        return Wait(Reason.SUSPENDED, suspended.sentence, question.facts.now + HELD)
    return Deny(Reason.SUSPENDED, suspended.sentence)
