"""
Making out what a request means: Runbook, target, parameters, mode and account, once.

The Runbook's content is frozen under a name made from it, before the run goes on, so that the
record still explains itself after the Runbook has changed.
"""

import contextlib
import json
from dataclasses import dataclass
from typing import Final

from remediator.actions import registry
from remediator.domain.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    InvalidManifest,
    NotFound,
    Rejected,
    Unavailable,
)
from remediator.domain.json import Object, dig_text
from remediator.domain.names import frozen_runbook_name
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.domain.policies import Mode
from remediator.domain.runs import Resolved, Run, RunbookContent, RunOutcome
from remediator.engine.acceptance import AcceptedRunbook, accept_runbook, confinement_problems
from remediator.engine.parameters import resolve
from remediator.handlers.outside import Outside
from remediator.handlers.readings import Readings

CONTENT = "spec.json"
FROZEN = "remediator.dev/frozen"
"""Label of the ConfigMaps that hold Runbooks' contents."""

GIVEN_SECONDS: Final = 3600.0
"""How long a run may take to write down which content it was given."""


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """The request cannot be carried out; nothing was read or changed for it."""

    outcome: RunOutcome
    reason: str
    message: str


class Books:
    """The frozen contents of Runbooks, compiled; kept in memory as long as a run wants them."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._kept: dict[str, AcceptedRunbook] = {}
        self._given: dict[str, float] = {}
        self._going: set[str] = set()

    async def freeze(self, book: AcceptedRunbook) -> str:
        """
        The ConfigMap that holds this content; the same content is stored once.

        Raises Unavailable while it is being deleted: ask again.
        """
        name = frozen_runbook_name(book.content)
        if name in self._going:
            raise Unavailable(f"ConfigMap {name} is being deleted, as no run named it")
        self._give(name)
        if name in self._kept:
            return name
        manifest: Object = {
            "metadata": {
                "namespace": self._outside.namespace,
                "name": name,
                "labels": {FROZEN: "true"},
            },
            "immutable": True,
            "data": {CONTENT: json.dumps(book.content, sort_keys=True)},
        }
        with contextlib.suppress(AlreadyExists):  # the name is made from the content: what is there is the same
            await self._outside.cluster.create(BUILT_IN["ConfigMap"], manifest)
        self._remember(name, book)
        return name

    async def let_go(self, name: str, uid: str) -> bool:
        """
        The content is deleted, and stored anew for the next run that is made from it.

        False, and nothing is done, where a run was given it not long ago: it may not say so yet.
        """
        if name in self._given and self._outside.clock.boot_seconds() - self._given[name] < GIVEN_SECONDS:
            return False
        self._going.add(name)
        try:
            self._kept.pop(name, None)
            await self._outside.cluster.delete(ObjectRef("", "ConfigMap", self._outside.namespace, name), uid=uid)
        except (NotFound, Conflict):
            return False
        finally:
            self._going.discard(name)
        return True

    async def load(self, content: RunbookContent) -> AcceptedRunbook:
        """
        Raises NotFound where the content was deleted, InvalidManifest where this version no longer accepts it.
        """
        if content.content in self._kept:
            return self._kept[content.content]
        ref = ObjectRef("", "ConfigMap", self._outside.namespace, content.content)
        stored = await self._outside.cluster.read(ref)
        spec = json.loads(dig_text(stored, "data", CONTENT) or "{}")
        book = accept_runbook(content.namespace, content.name, content.uid, content.generation, spec, registry)
        self._remember(content.content, book)
        return book

    def _give(self, name: str) -> None:
        now = self._outside.clock.boot_seconds()
        self._given = {other: at for other, at in self._given.items() if now - at < GIVEN_SECONDS} | {name: now}

    def _remember(self, name: str, book: AcceptedRunbook) -> None:
        if len(self._kept) >= 256:
            self._kept.pop(next(iter(self._kept)))
        self._kept[name] = book


async def accept(run: Run, books: Books, outside: Outside, readings: Readings) -> Resolved | TurnedAway:
    """
    What the request means now, with the Runbook's content frozen.

    `readings` is what the run's account sees. Raises Unavailable where it cannot be told at the moment.
    """
    definitions = outside.definitions
    policy, problem = definitions.policy_of(run)
    if run.spec.policy_ref is not None and policy is None:
        return TurnedAway(RunOutcome.POLICY_NOT_READY, "PolicyNotReady", f"AlertPolicy {run.policy_name}: {problem}")
    ref = run.spec.runbook_ref
    book, problem = definitions.runbook_for(ref.namespace or run.home, ref.name, run.home)
    if book is None:
        outcome = RunOutcome.POLICY_NOT_READY if run.spec.policy_ref is not None else RunOutcome.REFUSED
        return TurnedAway(outcome, "RunbookNotReady", f"Runbook {ref.namespace or run.home}/{ref.name}: {problem}")
    try:
        parameters = resolve(
            book.spec.parameters, run.spec.parameters, policy.spec.parameters if policy is not None else {}
        )
    except InvalidManifest as error:
        return TurnedAway(RunOutcome.REFUSED, "InvalidParameters", str(error))
    if run.home != outside.namespace:
        escaping = [*confinement_problems(book, run.home, "spec.runbookRef")]
        if escaping:
            return TurnedAway(RunOutcome.REFUSED, "NotPermitted", str(InvalidManifest(escaping)))
    account = account_of(run)
    if not account and run.home != outside.namespace:
        return TurnedAway(
            RunOutcome.REFUSED,
            "NotPermitted",
            "outside the operator's namespace a serviceAccountName is needed, even to read",
        )
    uid = await _target_uid(run, readings)
    if isinstance(uid, TurnedAway):
        return uid
    mode, lowered_by = _mode(run, outside, account)
    return Resolved(
        at=outside.clock.now(),
        runbook=RunbookContent(
            namespace=book.namespace,
            name=book.name,
            uid=book.uid,
            generation=book.generation,
            content=await books.freeze(book),
        ),
        target_uid=uid,
        parameters=dict(parameters),
        mode=mode,
        lowered_by=lowered_by,
        account=account,
    )


def account_of(run: Run) -> str:
    """The user that the run reads and changes as; empty where it names none."""
    name = run.spec.service_account_name
    return f"system:serviceaccount:{run.home}:{name}" if name else ""


async def _target_uid(run: Run, readings: Readings) -> str | TurnedAway:
    ref = run.spec.target.ref
    if run.spec.target.is_outside:
        return ""
    try:
        uid = dig_text(await readings.read(ref), "metadata", "uid")
    except NotFound:
        return TurnedAway(RunOutcome.TARGET_GONE, "TargetGone", f"{ref} is gone")
    except (Forbidden, Rejected) as error:
        return TurnedAway(RunOutcome.REFUSED, "NotPermitted", str(error))
    if run.spec.target.uid and run.spec.target.uid != uid:
        return TurnedAway(
            RunOutcome.TARGET_CHANGED, "TargetChanged", f"{ref} is another object than the one that was meant"
        )
    return uid


def _mode(run: Run, outside: Outside, account: str) -> tuple[Mode, str]:
    asked = run.spec.mode
    fence = outside.definitions.fence(run.spec.target.ref.namespace)
    mode, why = fence.mode(asked) if fence is not None else (Mode.DIAGNOSE, "the Guardrails cannot be read")
    if run.spec.target.is_outside and mode.rank > Mode.DIAGNOSE.rank:
        mode, why = Mode.DIAGNOSE, run.spec.reason or "the target is not in the cluster, or was not found"
    if not account and mode.rank > Mode.DRY_RUN.rank:
        mode, why = Mode.DRY_RUN, "no serviceAccountName is given"
    return mode, why
