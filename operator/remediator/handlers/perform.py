"""
Doing one move in the world, and putting what came of it onto the record.

Nothing is decided here. What the world can do to a move (refuse it, not answer, be changed by
others) is turned into the record's own words.
"""

import logging
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from remediator.actions import effects, registry
from remediator.domain.changes import Change, Patch, change_from_json
from remediator.domain.errors import Forbidden, NotFound, Rejected, RemediatorError
from remediator.domain.expressions import Truth
from remediator.domain.json import Object
from remediator.domain.names import token
from remediator.domain.outcomes import Failed, Inconclusive, Outcome, Running, Succeeded
from remediator.domain.runs import Run, StepRecord
from remediator.domain.verdicts import Reason, Refusal
from remediator.engine import closing, debts, recurrence, settle
from remediator.engine.acceptance import CompiledStep
from remediator.engine.budget import has_room_for
from remediator.engine.facts import Facts, template_hash
from remediator.engine.guards import RETRY_UNKNOWN
from remediator.engine.moves import (
    GiveUp,
    Intend,
    Poll,
    Read,
    Start,
    Tell,
    Void,
)
from remediator.engine.record import current, going_on, held
from remediator.engine.steps import compiled_step, is_out_of_patience, remedy_of
from remediator.engine.values import values_of
from remediator.handlers import tell
from remediator.handlers.diagnose import Diagnostician, kept
from remediator.handlers.gather import Gatherer
from remediator.handlers.locking import Waits
from remediator.handlers.outside import Outside
from remediator.handlers.readings import Readings
from remediator.handlers.render import render

log = logging.getLogger(__name__)

SMALL_DIAGNOSIS_BYTES: Final = 8192
AGAIN: Final = timedelta(seconds=2)
FIRST_POLL: Final = timedelta(seconds=2)
"""After a change for which pods are replaced: no pod is replaced at once."""

BUSY: Final = timedelta(seconds=5)
PROTECTED_AGAIN: Final = timedelta(seconds=10)
REFUSED_AGAIN: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Done:
    """The run after a move; `again` is when to look again if the move has to wait for something."""

    run: Run
    again: timedelta | None = None
    undisturbed: bool = False
    """Whether what was read before the move is as good as if it were read after it."""


class Performer:
    """Carries out moves for one run at a time; it keeps nothing between two of them that it could not read again."""

    def __init__(self, outside: Outside, diagnostician: Diagnostician, gatherer: Gatherer) -> None:
        self._outside = outside
        self._locks = gatherer.locks
        self._diagnostician = diagnostician
        self._gatherer = gatherer

    async def diagnose(self, run: Run, facts: Facts, readings: Readings) -> Done:
        """The diagnosis frozen on the record, or in the evidence where it is large or has text."""
        assert facts.runbook is not None, "a diagnosis follows a Runbook"
        target = await readings.seen(run.target.ref)
        if target.error and not is_out_of_patience(run, self._now()):
            until = self._now() + RETRY_UNKNOWN
            message = f"the target cannot be read: {target.error}"
            return Done(held(run, self._now(), Reason.FACT_UNKNOWN, message, until), RETRY_UNKNOWN)
        run = going_on(run)
        values = values_of(run, replace(facts, target=target))
        diagnosis = await self._diagnostician.diagnose(run, facts.runbook, values)
        outputs, texts = kept(diagnosis)
        small = diagnosis.size <= SMALL_DIAGNOSIS_BYTES
        evidence = ""
        if texts or not small:
            content: Object = {"outputs": outputs, "texts": texts}
            evidence = await self._outside.evidence.keep(
                {"metadata": {"namespace": run.namespace, "name": run.name, "uid": run.uid}},
                f"attempt-{current(run).number}",
                content,
            )
        run = settle.diagnosed(
            run,
            diagnosis.records,
            outputs,
            self._now(),
            evidence=evidence,
            keep_outputs=small,
            template=template_hash(target.obj) if target.obj is not None else "",
        )
        self._gatherer.keep(run, diagnosis.outputs)
        return Done(run)

    async def render(self, run: Run, facts: Facts, readings: Readings) -> Done:
        """The plan on the record, or the run's end where the remedy must not be carried out."""
        assert facts.runbook is not None, "a plan follows a Runbook"
        remedy = remedy_of(facts.runbook, current(run))
        try:
            steps = await render(run, remedy, values_of(run, facts), self._outside, readings)
        except Refusal as refusal:
            return Done(settle.refused(run, refusal.reason, refusal.message, self._now()))
        except (Forbidden, Rejected) as error:
            return Done(settle.refused(run, Reason.NOT_PERMITTED, str(error), self._now()))
        if not has_room_for(run, steps):
            message = f"a plan of {len(steps)} steps is too large for the record of a run, which holds 64 KiB"
            return Done(settle.refused(run, Reason.OUT_OF_BOUNDS, message, self._now()))
        return Done(settle.rendered(run, steps, self._now()))

    async def rehearse(self, run: Run) -> Done:
        """What each change would alter, by the API server's own word where an account may ask it."""
        resolved = run.status.resolved
        diffs: dict[int, str] = {}
        for index, step in enumerate(current(run).steps):
            if step.change is None:
                continue
            change = change_from_json(step.change)
            if resolved is None or not resolved.account:
                diffs[index] = f"serverDryRun: NotSent (no serviceAccountName is given)\n{change.summary}"
                continue
            try:
                diffs[index] = await effects.dry_run(change, self._outside.acting_for(run), run=run.full_name)
            except (Forbidden, Rejected, NotFound, effects.Differs) as error:
                diffs[index] = f"refused: {error}\n{change.summary}"
            diffs[index] = diffs[index] or f"no difference\n{change.summary}"
        return Done(settle.rehearsed(run, diffs, self._now()))

    async def lock(self, run: Run, facts: Facts, readings: Readings) -> Done:
        """The run that holds the locks of all that it will change, or that waits for another which holds one."""
        answer = await self._locks.take(run, facts.lock, readings.lock)
        if isinstance(answer, Waits):
            waiting = run if run.is_ended else settle.unlocked(run)
            until = self._now() + BUSY
            return Done(settle.busy(waiting, answer.ref, answer.busy.holder, self._now(), until), BUSY)
        if run.is_ended:
            self._outside.owed.pays(run)
        return Done(settle.locked(run, self._now()), undisturbed=answer.undisturbed)

    async def unlock(self, run: Run) -> Run:
        """The run that waits without a lock; the ledger has forgotten what it was going to change."""
        await self._locks.give_back(run)
        return settle.unlocked(run)

    def let_go(self, run: Run) -> None:
        """
        The locks of a run that has just ended are seen to be free, and the ledger says what became of it, soon.

        The end itself has freed them; where this fails, whoever takes them next notes it instead.
        """
        self._outside.later.put(lambda: self._best_effort(run, self._locks.give_back(run)))

    async def rest(self, run: Run) -> None:
        """The same for the locks that a run took after its end, to take a change back."""
        if not run.status.locks:
            await self._best_effort(run, self._locks.give_back_what_was_taken(run))

    async def _best_effort(self, run: Run, giving_back: Awaitable[None]) -> None:
        try:
            await giving_back
        except RemediatorError as error:
            log.warning("a lock could not be given back", extra={"run": run.full_name, "error": str(error)})

    def intend(self, run: Run, move: Intend, facts: Facts) -> Done:
        """The step as intended, with its token; the caller stores it before anything else happens."""
        seen = facts.step_target.obj or {}
        return Done(settle.intended(run, move.index, seen, self._now(), undoing=move.undoing))

    async def start(self, run: Run, move: Start, facts: Facts, *, resumed: bool) -> Done:
        """
        The change made, if it was not made before; `facts` hold its object as it was just seen.

        An object that moved since the intent without our stamp is never changed (GEN): a resume cannot
        tell whether it was, and the pass that has just written the intent looks at everything again,
        because a process that was frozen in between may have been given up by its successor.
        """
        step = _step(run, move.index, move.undoing)
        change = _change(step)
        mark = effects.Mark(step.generation, step.resource_version)
        try:
            effect = await effects.carry_out(
                change,
                self._outside.acting_for(run),
                run=run.full_name,
                token=step.token,
                mark=mark,
                seen=facts.step_target.obj,
                is_old=lambda: facts.are_old(self._outside.clock.boot_seconds()),
            )
        except (Forbidden, Rejected) as error:
            if (await self._outside.switch.look()).pulled:
                return Done(run)  # SWITCH: the next look gives it up
            if resumed:  # an earlier attempt may still be under way: only a void could end it, and that is refused too
                until = self._now() + REFUSED_AGAIN
                return Done(held(run, self._now(), str(Reason.NOT_PERMITTED), str(error), until), REFUSED_AGAIN)
            refusal = Void(move.index, move.undoing, Reason.NOT_PERMITTED, str(error))
            return Done(settle.voided(run, refusal, self._now()))
        if isinstance(effect, effects.Unclear) and not resumed:
            effect = effects.Contended(effect.message)
        return self._after(run, move, change, effect)

    def _after(self, run: Run, move: Start, change: Change, effect: effects.Effect) -> Done:
        now = self._now()
        match effect:
            case effects.Carried(generation=generation, before=before):
                after: Object = {"metadata": {"generation": generation}} if generation is not None else {}
                run = settle.started(run, move.index, after, now, undoing=move.undoing, before=before)
                rolls = isinstance(change, Patch) and change.replaces_pods and not before
                return Done(run, FIRST_POLL if rolls else None)
            case effects.Protected(message=message):
                return Done(settle.begun(run, move.index, message, now, now + PROTECTED_AGAIN), PROTECTED_AGAIN)
            case effects.Contended():
                return Done(settle.put_back(run, move.index, undoing=move.undoing), AGAIN)
            case effects.Voided():
                void = Void(move.index, move.undoing, Reason.STALE_ALERT, "it was given up")
                return Done(settle.voided(run, void, now))
            case effects.Unclear(message=message):
                return Done(settle.attempted(run, move.index, Inconclusive(message), now, undoing=move.undoing))
            case effects.Gone(message=message):
                void = Void(move.index, move.undoing, Reason.TARGET_GONE, message)
                return Done(settle.voided(run, void, now))
            case effects.Moved(message=message):
                reason = Reason.UNDO_CONFLICT if move.undoing else Reason.TARGET_CHANGED
                return Done(settle.voided(run, Void(move.index, move.undoing, reason, message), now))

    async def poll(self, run: Run, move: Poll, readings: Readings) -> Done:
        """
        How far the controllers are with the change.

        Where that may not be read any more, the run says so; once the step's time is over nobody can tell.
        """
        step = _step(run, move.index, move.undoing)
        assert step.started_at is not None, "what is polled was started"
        action = registry.change(step.actions[0])
        try:
            outcome: Outcome = await action.poll(
                _change(step), readings, token=step.token, started=step.started_at, now=self._now()
            )
        except (Forbidden, NotFound, Rejected) as error:
            message = f"how far the change is cannot be read: {error}"
            if not move.too_late:
                reason = Reason.NOT_PERMITTED if isinstance(error, Forbidden) else Reason.FACT_UNKNOWN
                return Done(held(run, self._now(), str(reason), message, self._now() + REFUSED_AGAIN), REFUSED_AGAIN)
            outcome = Inconclusive(f"{move.too_late}: {message}")
        if isinstance(outcome, Running) and move.too_late:
            outcome = Failed(f"{move.too_late}: {outcome.message}")
        run = settle.attempted(going_on(run), move.index, outcome, self._now(), undoing=move.undoing)
        return Done(run, outcome.poll_after if isinstance(outcome, Running) else None)

    async def void(self, run: Run, move: Void) -> Done:
        """The intended change given up for good, or adopted where it turns out to have happened."""
        step = _step(run, move.index, move.undoing)
        cluster = self._outside.acting_for(run, void=True)
        try:
            effect = await effects.void(_change(step), cluster, token=step.token)
        except (Forbidden, Rejected) as error:  # what may still happen is not left behind: it is tried again
            message, until = f"the intended change cannot be given up: {error}", self._now() + REFUSED_AGAIN
            return Done(held(run, self._now(), str(Reason.NOT_PERMITTED), message, until), REFUSED_AGAIN)
        if isinstance(effect, effects.Contended):
            return Done(run, AGAIN)
        if isinstance(effect, effects.Carried):
            after: Object = {"metadata": {"generation": effect.generation or 0}}
            return Done(settle.started(run, move.index, after, self._now(), undoing=move.undoing))
        partly = isinstance(effect, effects.Voided) and effect.partly
        return Done(settle.voided(run, move, self._now(), partly=partly))

    async def read(self, run: Run, move: Read, facts: Facts) -> Done:
        """What a step that only reads brought, small enough for the record."""
        compiled = self._compiled(run, facts, move.index)
        output, _, record = await self._diagnostician.observed(run, compiled, values_of(run, facts))
        outcome: Outcome = Succeeded(record.summary, output if isinstance(output, dict) else {})
        if not record.known:
            outcome = Failed(record.summary)
        return Done(settle.attempted(run, move.index, outcome, self._now()))

    async def tell(self, run: Run, move: Tell, facts: Facts) -> Done:
        """The message sent, at least once."""
        if move.closing:
            return await self._tell_the_end(run, move, facts)
        compiled = self._compiled(run, facts, move.index)
        step = current(run).steps[move.index]
        key = token(run.uid, current(run).remedy, step.label, step.item, current(run).number)
        values = values_of(run, facts)
        outcome = await tell.send(
            self._outside, run, compiled, values if step.item is None else values.but(item=step.item_value), key
        )
        run = settle.attempted(run, move.index, outcome, self._now())
        return Done(run, outcome.poll_after if isinstance(outcome, Running) else None)

    async def _tell_the_end(self, run: Run, move: Tell, facts: Facts) -> Done:
        message = closing.messages(run, facts.runbook)[move.index]
        key = token(run.uid, "end", f"message-{move.index}")
        values = values_of(run, facts)
        name, action = ("otherwise", "escalate") if message is None else (message.step.name, message.step.action)
        if message is None:
            outcome = await tell.send_default(self._outside, run, key)
        elif message.when is not None and message.when.truth(values)[0] is Truth.FALSE:
            return Done(settle.told(run, name, action, None, self._now()))
        else:
            outcome = await tell.send(self._outside, run, message, values, key)
        if isinstance(outcome, Running) and not tell.is_out_of_patience(run, self._now()):
            return Done(
                held(run, self._now(), "NotSent", outcome.message, self._now() + outcome.poll_after), outcome.poll_after
            )
        if isinstance(outcome, Running):
            outcome = await tell.not_sent(self._outside, run, outcome.message)
        return Done(settle.told(run, name, action, outcome, self._now()))

    async def give_up(self, run: Run, move: GiveUp) -> Done:
        """The debt left to people, after they were told so, at least once."""
        body = f"{move.message}; a person decides"
        waiting = await self._tell_people(run, "not taken back", body, token(run.uid, "debt", move.token))
        return waiting or Done(debts.given_up(going_on(run), move.token, move.message, self._now()))

    async def tell_of_recurrence(self, run: Run) -> Done:
        """The record says that people know of it, after they were told, at least once."""
        body = f"{recurrence.sentence_of(run)}; a person decides"
        waiting = await self._tell_people(run, "fires again", body, token(run.uid, "end", "recurred"))
        return waiting or Done(recurrence.with_recurrence(going_on(run), self._now()))

    async def _tell_people(self, run: Run, what: str, body: str, key: str) -> Done | None:
        """None once the receiver `default` has it, or a Warning event stands for it; until then what waits for it."""
        outcome = await tell.default_receiver(self._outside, run, what, body, key)
        if not isinstance(outcome, Running):
            return None
        if tell.is_out_of_patience(run, self._now()):
            await tell.not_sent(self._outside, run, outcome.message)
            return None
        waiting = held(run, self._now(), "NotSent", outcome.message, self._now() + outcome.poll_after)
        return Done(waiting, outcome.poll_after)

    def _compiled(self, run: Run, facts: Facts, index: int) -> CompiledStep:
        assert facts.runbook is not None, "a step belongs to a Runbook"
        remedy = remedy_of(facts.runbook, current(run))
        return compiled_step(remedy, current(run).steps[index])

    def _now(self) -> datetime:
        return self._outside.clock.now()


def _step(run: Run, index: int, undoing: bool) -> StepRecord:
    attempt = current(run)
    return (attempt.undo if undoing else attempt.steps)[index]


def _change(step: StepRecord) -> Change:
    assert step.change is not None, "a change was rendered"
    return change_from_json(step.change)
