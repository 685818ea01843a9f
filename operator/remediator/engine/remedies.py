"""
Which remedy fits: the first whose condition is True, if all before it are False.

An Unknown stops the choice, because what could not be read rules nothing out; a remedy that is
safe to pass over says `whenUnknown: Skip`.
"""

from collections.abc import Sequence

from remediator.domain.expressions import Truth, Values
from remediator.domain.policies import Mode
from remediator.domain.runs import Considered, Run, RunOutcome
from remediator.domain.verdicts import Reason
from remediator.engine.acceptance import AcceptedRunbook, CompiledRemedy
from remediator.engine.facts import Facts
from remediator.engine.record import in_short, with_attempt, with_ending, with_entry, with_status


def choose(run: Run, book: AcceptedRunbook, facts: Facts, values: Values) -> Run:
    """The run with its choice made: a remedy, or the end that follows from there being none."""
    considered, chosen = consider(below(run, book), values)
    run = with_attempt(run, considered=considered, chosen_at=facts.now)
    told = ", ".join(
        f"{one.remedy} {one.when}" for one in considered if chosen is None or one.remedy != chosen.remedy.name
    )
    if chosen is not None:
        run = with_status(with_attempt(run, remedy=chosen.remedy.name), remedy=chosen.remedy.name)
        run = with_entry(run, facts.now, "choose", f"remedy {chosen.remedy.name}" + (f" ({told})" if told else ""))
        return _after_choice(run, chosen, facts)
    run = with_entry(run, facts.now, "choose", f"no remedy ({told or 'the Runbook has none'})")
    return _without_remedy(run, book, facts)


def consider(remedies: Sequence[CompiledRemedy], values: Values) -> tuple[list[Considered], CompiledRemedy | None]:
    """What each condition said, as far as the choice had to look, and the remedy that fits."""
    considered: list[Considered] = []
    for remedy in remedies:
        truth, message = Truth.TRUE, ""
        if remedy.when is not None:
            truth, missing = remedy.when.truth(values)
            message = missing.message if missing is not None else ""
        considered.append(Considered(remedy=remedy.remedy.name, when=str(truth), message=in_short(message)))
        if truth is Truth.TRUE:
            return considered, remedy
        if truth is Truth.UNKNOWN and remedy.remedy.when_unknown == "Stop":
            return considered, None
    return considered, None


def below(run: Run, book: AcceptedRunbook) -> tuple[CompiledRemedy, ...]:
    """The remedies below the last one that was tried: none is tried twice."""
    tried = {attempt.remedy for attempt in run.status.attempts if attempt.remedy}
    places = [index for index, remedy in enumerate(book.remedies) if remedy.remedy.name in tried]
    return book.remedies[max(places) + 1 :] if places else book.remedies


def _after_choice(run: Run, chosen: CompiledRemedy, facts: Facts) -> Run:
    resolved = run.status.resolved
    if chosen.remedy.conclude is not None:
        return with_ending(
            run,
            facts.now,
            RunOutcome.NOT_NEEDED,
            "Concluded",
            f"{chosen.remedy.name} concludes that nothing has to be done",
        )
    if resolved is not None and resolved.mode is Mode.DIAGNOSE:
        return with_ending(
            run,
            facts.now,
            RunOutcome.DIAGNOSED,
            "Diagnosed",
            f"{chosen.remedy.name} would be carried out; the mode is Diagnose",
        )
    return run


def _without_remedy(run: Run, book: AcceptedRunbook, facts: Facts) -> Run:
    resolved = run.status.resolved
    last = run.status.attempts[-1].considered[-1:]
    if last and last[0].when == Truth.UNKNOWN:
        outcome, reason = RunOutcome.NO_REMEDY, str(Reason.FACT_UNKNOWN)
        message = f"remedy {last[0].remedy}: {last[0].message}"
    elif not book.remedies:
        outcome, reason, message = RunOutcome.DONE, "InformationOnly", "the Runbook has no remedies"
    elif len(run.status.attempts) > 1:
        outcome, reason, message = RunOutcome.FAILED, "NothingHelped", "no further remedy fits"
    else:
        outcome, reason, message = RunOutcome.NO_REMEDY, "NoRemedy", "no remedy fits"
    if resolved is not None and resolved.mode is Mode.DIAGNOSE and outcome is RunOutcome.DONE:
        outcome = RunOutcome.DIAGNOSED
    return with_ending(run, facts.now, outcome, reason, message)
