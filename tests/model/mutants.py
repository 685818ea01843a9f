"""
The product with one rule taken out: a function replaced, for as long as a search lasts.

Each of them must be found. One that is not says that the search does not see what the rule is for.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

from remediator.actions import effects
from remediator.domain import changes
from remediator.domain.alerts import Alert
from remediator.domain.changes import json_patch
from remediator.domain.errors import Conflict
from remediator.domain.json import Object, dig_text
from remediator.domain.locks import LockState
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import Run, StepState
from remediator.domain.verdicts import Reason
from remediator.engine import begin, flow, retention, settle, steps
from remediator.engine import changing as engine_changing
from remediator.engine.begin import KnownRun
from remediator.engine.moves import Start, Void
from remediator.handlers import admission, deleting, keeping, run_index
from remediator.handlers import runs as shell
from remediator.handlers.keeping import Keeper
from remediator.handlers.leading import Mandate
from remediator.handlers.locking import LockKeeper
from remediator.handlers.perform import Done, Performer
from remediator.handlers.runs import Reconciler
from remediator.testing import admission as policies

Replacement = tuple[Any, str, Any]
Mutant = Callable[[], list[Replacement]]


@contextmanager
def mutated(*replacements: Replacement) -> Iterator[None]:
    """These functions are replaced, and put back afterwards."""
    with ExitStack() as stack:
        for owner, name, instead in replacements:
            stack.enter_context(patch.object(owner, name, instead))
        yield


# what a process writes to a run


def _unrecorded() -> list[Replacement]:
    """INTENT: nothing is recorded before the effect."""

    async def intended(self: Reconciler, run: Run, stored: Run) -> Run:
        return run

    return [(Reconciler, "_intended", intended)]


def _reapplied() -> list[Replacement]:
    """RVRUN: a move that met a conflict is written again over whatever stands there."""
    original = Reconciler._write

    async def write(self: Reconciler, run: Run, stored: Run) -> Run:
        while True:
            try:
                return await original(self, run, stored)
            except Conflict:
                live = await self._outside.cluster.read(ObjectRef(RUN.group, RUN.kind, run.namespace, run.name))
                run = replace(run, resource_version=dig_text(live, "metadata", "resourceVersion"))

    return [(Reconciler, "_write", write)]


def _recorded_first() -> list[Replacement]:
    """E2a: who gives an intent up writes the run before the object."""
    original = Performer.void

    async def void(self: Performer, run: Run, move: Void) -> Done:
        said = settle.voided(run, move, self._now())
        metadata: Object = {"namespace": run.namespace, "name": run.name, "resourceVersion": run.resource_version}
        written = await self._outside.cluster.replace(
            RUN, {"metadata": metadata, "spec": run.spec.as_json(), "status": said.status.as_json()}, sub="status"
        )
        await original(self, run, move)
        return Done(replace(said, resource_version=dig_text(written, "metadata", "resourceVersion")))

    return [(Performer, "void", void)]


# what a process writes to the object


def _without_tests(*kept: str, undoing: bool | None = None) -> Callable[..., list[Object]]:
    def patch_of(change: Any, seen: Object, *, run: str, token: str) -> list[Object]:
        operations = json_patch(change, seen, run=run, token=token)
        if undoing is not None and change.summary.startswith("take back") is not undoing:
            return operations
        return [one for one in operations if one["op"] != "test" or one["path"] in kept]

    return patch_of


def _untested() -> list[Replacement]:
    """RVTGT: the change does not test that the object is as it was read."""
    return [(effects, "json_patch", _without_tests("/metadata/uid"))]


def _any_object() -> list[Replacement]:
    """UIDTGT and RVTGT: nor that it is the same object."""

    def settled(target: Any, seen: Object, token: str) -> Any:
        return original(replace(target, uid=dig_text(seen, "metadata", "uid")), seen, token)

    original = effects._settled
    return [(effects, "json_patch", _without_tests()), (effects, "_settled", settled)]


def _undone_blindly() -> list[Replacement]:
    """UNDORV: comparing and taking back are two writes."""
    return [(effects, "json_patch", _without_tests("/metadata/uid", undoing=True))]


def _unvoided() -> list[Replacement]:
    """VOID: an intent that is given up is only dropped."""

    async def void(change: Any, cluster: Any, *, token: str) -> effects.Effect:
        return effects.Voided()

    return [(effects, "void", void)]


def _generation_trusted() -> list[Replacement]:
    """VOID, on kinds whose generation does not count annotations: it is taken to tell of every void."""
    return [(effects, "tells_of_voids", lambda target: True), (changes, "tells_of_voids", lambda target: True)]


def _switch_unheard() -> list[Replacement]:
    """SWITCH: the API server refuses nothing while everything is suspended."""
    return [(policies.SwitchPolicies, "objection", lambda self, write, before: "")]


def _lock_taken_over() -> list[Replacement]:
    """LOCK: whoever holds the target's lock is taken to have ended."""

    async def freed(self: LockKeeper, state: LockState) -> LockState | None:
        return state.freed

    return [(LockKeeper, "_freed", freed)]


# what a process looks at when it goes on


def _generation_ignored() -> list[Replacement]:
    """GEN: an object that moved since the intent, without our stamp, counts as not changed by us."""

    def as_found(run: Run, facts: Any, index: int, step: Any, *, undoing: bool) -> Any:
        found = original(run, facts, index, step, undoing=undoing)
        is_unclear = isinstance(found, tuple) and isinstance(found[1], Void) and found[1].reason is Reason.FACT_UNKNOWN
        return None if is_unclear else found

    original = steps.as_found
    return [
        (engine_changing, "as_found", as_found),
        (effects.Mark, "holds_for", lambda self, target, seen: True),
    ]


def _stamp_ignored() -> list[Replacement]:
    """STAMP and GEN: nobody asks the object whether the change has happened."""

    def unseen(seen: Object, token: str) -> bool:
        return False

    return [
        *_generation_ignored(),
        (effects, "is_stamped", unseen),
        (steps, "is_stamped", unseen),
        (flow, "is_stamped", unseen),
    ]


def _unlooked() -> list[Replacement]:
    """LOOK: what was intended is started again without a look at anything."""

    def next_move(run: Run, facts: Any) -> Any:
        attempt = run.status.attempt
        if attempt is not None and run.status.ending is None:
            for index, step in enumerate(attempt.steps):
                if step.state is StepState.INTENDED:
                    return run, Start(index, False)
        return original(run, facts)

    original = shell.next_move
    return [(shell, "next_move", next_move)]


def _anybody_intends() -> list[Replacement]:
    """EPOCH: the API server accepts the intents of leaders that were deposed."""
    return [(policies.LeaderPolicies, "objection", lambda self, write, before: "")]


def _anybody_resumes() -> list[Replacement]:
    """EPOCH of a record: an earlier leader carries out what a later one has intended."""

    async def confirm(self: Mandate) -> None:
        return

    return [(Mandate, "confirm", confirm)]


def _anybody_takes_back() -> list[Replacement]:
    """EPOCH of a taking back: an earlier leader may say that its intent was not carried out."""
    original = policies._intended

    def seen(run: Object, state: str = "Intended") -> Iterator[str]:
        return original(run) if state == "Intended" else iter(())

    return [(policies, "_intended", seen)]


# what becomes of alerts


def _clocks_compared() -> list[Replacement]:
    """IDENT: an ended run covers every alert that began before it was made."""

    def answers(run: KnownRun, alert: Alert, policy: Any) -> bool:
        return run.has_answered(policy) and alert.starts_at <= run.created_at

    return [(begin, "_answers", answers)]


def _name_is_enough() -> list[Replacement]:
    """RE409: a run whose name exists is taken for one that has the alerts."""
    original = Keeper._create_in

    async def create_in(self: Keeper, place: str, write: Any, batch: Any, known: Any, why: str) -> Any:
        created = await original(self, place, write, batch, known, why)
        return next(iter(known.live.values()), None) if created is None else created

    return [(Keeper, "_create_in", create_in)]


def _attached_blindly() -> list[Replacement]:
    """RVATTACH: alerts are put onto a run whatever has become of it."""

    def operations(run: KnownRun, alerts: Any) -> list[Object]:
        return [one for one in original(run, alerts) if one["op"] != "test"]

    original = keeping.attach_operations
    return [(keeping, "attach_operations", operations), (admission, "attach_operations", operations)]


def _all_admitted() -> list[Replacement]:
    """ADMIT: the leader takes on whatever intake has made."""
    return [(run_index, "admitted", lambda run, runs: begin.Admit())]


def _one_name() -> list[Replacement]:
    """A run's name without the number of the episode."""
    original = keeping.run_name
    return [(keeping, "run_name", lambda namespace, name, target, number: original(namespace, name, target, 1))]


def _unfolded() -> list[Replacement]:
    """FOLD: an older run is deleted, and nobody answers for it."""
    return [(deleting, "answers_of", lambda run, beside, silence, now: ())]


def _newest_goes() -> list[Replacement]:
    """KEEPNEW and FOLD: the newest run is deleted like any other."""
    return [*_unfolded(), (retention, "_is_newest", lambda run, newest: False)]


MUTANTS: Final[Mapping[str, Mutant]] = {
    "INTENT": _unrecorded,
    "RVRUN": _reapplied,
    "run before target": _recorded_first,
    "RVTGT": _untested,
    "UIDTGT and RVTGT": _any_object,
    "UNDORV": _undone_blindly,
    "VOID": _unvoided,
    "VOID where the generation is silent": _generation_trusted,
    "SWITCH": _switch_unheard,
    "LOCK": _lock_taken_over,
    "GEN": _generation_ignored,
    "STAMP and GEN": _stamp_ignored,
    "LOOK": _unlooked,
    "EPOCH": _anybody_intends,
    "EPOCH of a record": _anybody_resumes,
    "EPOCH of a taking back": _anybody_takes_back,
    "IDENT": _clocks_compared,
    "RE409": _name_is_enough,
    "RVATTACH": _attached_blindly,
    "RVEND": _reapplied,
    "ADMIT": _all_admitted,
    "episode in the name": _one_name,
    "FOLD": _unfolded,
    "KEEPNEW and FOLD": _newest_goes,
}
