"""
How large a record may be, and what goes first where it would be larger.

A run is one object in etcd, and everybody who watches runs holds it. So its status is never larger
than 64 KiB: what people could also read elsewhere, or will hardly read again, is left out, the least
useful first, and `leftOut` says what. Never left out is what a restart, an undo or a limit goes by:
tokens, made changes with what they replaced, debts, and the identities of alerts. A plan that would
not leave room for these is refused before it begins.
"""

from collections.abc import Callable, Sequence
from typing import Final

from remediator.domain.runs import Attempt, Run, StepRecord
from remediator.engine.record import with_attempt, with_status

STATUS_BYTES: Final = 64 * 1024
GROWTH_BYTES: Final = 12 * 1024
"""What may still come onto a record after its plan: alerts that join, checks, the end."""
LONG_STORY: Final = (10, 20)
SHORT_STORY: Final = (4, 6)
FEW_ALERTS: Final = 2

Cut = Callable[[Run], Run]


def within_budget(run: Run) -> Run:
    """The run whose status fits; the same run where it does."""
    if size_of(run) <= STATUS_BYTES:
        return run
    left_out = list(run.status.left_out)
    for what, cut in _CUTS:
        smaller = cut(run)
        if smaller == run:
            continue
        if what not in left_out:
            left_out.append(what)
        run = with_status(smaller, left_out=left_out)
        if size_of(run) <= STATUS_BYTES:
            break
    return run


def has_room_for(run: Run, steps: Sequence[StepRecord]) -> bool:
    """Whether the record can hold this plan and the undo of all of it, when all that may be left out is."""
    undo = [step for step in steps if step.change is not None]
    smallest = with_attempt(run, steps=list(steps), undo=undo)
    for _, cut in _CUTS:
        smallest = cut(smallest)
    return size_of(smallest) + GROWTH_BYTES <= STATUS_BYTES


def size_of(run: Run) -> int:
    """Bytes of the status as it is stored."""
    return run.status.size


def _earlier(run: Run, change: Callable[[Attempt], Attempt]) -> Run:
    """The run with all rounds changed but the one that is going on."""
    attempts = run.status.attempts
    return with_status(run, attempts=[*(change(attempt) for attempt in attempts[:-1]), *attempts[-1:]])


def _each_step(attempt: Attempt, change: Callable[[StepRecord], StepRecord]) -> Attempt:
    return attempt.model_copy(
        update={"steps": [change(one) for one in attempt.steps], "undo": [change(one) for one in attempt.undo]}
    )


def _without_diffs(attempt: Attempt) -> Attempt:
    return _each_step(attempt, lambda step: step.model_copy(update={"diff": ""}) if step.diff else step)


def _without_details(attempt: Attempt) -> Attempt:
    """Without what was diagnosed and considered; the evidence still has it."""
    slim = _each_step(
        attempt, lambda step: step.model_copy(update={"output": None, "parameters": None, "item_value": None})
    )
    return slim.model_copy(update={"outputs": None, "diagnosis": [], "considered": []})


def _without_lines(attempt: Attempt) -> Attempt:
    return attempt.model_copy(update={"diagnosis": []})


def _only_what_was_done(attempt: Attempt) -> Attempt:
    """Without the steps that were not carried out."""
    return attempt.model_copy(update={"steps": [s for s in attempt.steps if s.token or s.has_changed_something]})


def _all(change: Callable[[Attempt], Attempt]) -> Cut:
    return lambda run: with_status(run, attempts=[change(attempt) for attempt in run.status.attempts])


def _story(begin: int, end: int) -> Cut:
    def cut(run: Run) -> Run:
        told = run.status.timeline
        return run if len(told) <= begin + end else with_status(run, timeline=[*told[:begin], *told[-end:]])

    return cut


def _few_alerts(run: Run) -> Run:
    alerts = run.status.alerts
    if alerts is None or len(alerts.first) <= FEW_ALERTS:
        return run
    return with_status(run, alerts=alerts.model_copy(update={"first": alerts.first[:FEW_ALERTS]}))


_CUTS: Final[tuple[tuple[str, Cut], ...]] = (
    ("what the steps of earlier rounds would have changed", lambda run: _earlier(run, _without_diffs)),
    ("what earlier rounds diagnosed and considered", lambda run: _earlier(run, _without_details)),
    ("the middle of the story", _story(*LONG_STORY)),
    ("the steps of earlier rounds that were not carried out", lambda run: _earlier(run, _only_what_was_done)),
    ("what the steps would change", _all(_without_diffs)),
    ("the lines about what was diagnosed", _all(_without_lines)),
    ("all alerts but the first two", _few_alerts),
    ("the story but for its ends", _story(*SHORT_STORY)),
)
"""What is left out, in this order, in the words of `leftOut`."""
