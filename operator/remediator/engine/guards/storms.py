"""Whether so much begins at once that something greater must be wrong."""

from remediator.domain.verdicts import Allow, Reason, Verdict, Wait
from remediator.engine.guards.question import AboutRun, unknown


def no_storm(question: AboutRun) -> Verdict:
    """
    Hold what alerts began until the storm is over; what has begun to change something goes on.

    A run that a person asked for is none of the burst and is not held: he knows of the storm.
    """
    run, storms = question.run, question.facts.storms
    attempt = run.status.attempt
    if run.spec.episode is None or (attempt is not None and attempt.has_changed_something):
        return Allow()
    if storms is None and run.spec.target.is_outside:
        return Allow()  # as where it is suspended: it can only be told of
    if storms is None:
        return unknown(question, "cannot tell whether there is a storm of alerts")
    if not storms:
        return Allow()
    last = max(storms, key=lambda storm: storm.until)
    return Wait(Reason.STORM, last.sentence, last.until)
