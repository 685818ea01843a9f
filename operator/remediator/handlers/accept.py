"""
Making out what a request means: Runbook, target, parameters, mode and account, once.

The Runbook's content is frozen under a name made from it, before the run goes on, so that the
record still explains itself after the Runbook has changed.
"""

import contextlib
import json
from dataclasses import dataclass

from remediator.actions import registry
from remediator.domain.errors import AlreadyExists, Forbidden, InvalidManifest, NotFound, Rejected
from remediator.domain.json import Object, dig_text
from remediator.domain.names import frozen_runbook_name
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.domain.policies import Mode, lowest
from remediator.domain.runs import Resolved, Run, RunbookContent, RunOutcome
from remediator.engine.acceptance import AcceptedRunbook, accept_runbook
from remediator.engine.parameters import resolve
from remediator.handlers.outside import Outside
from remediator.ports import Identity

CONTENT = "spec.json"
FROZEN_LABEL = "remediator.dev/frozen"


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

    async def freeze(self, book: AcceptedRunbook) -> str:
        """The ConfigMap that holds this content; the same content is stored once."""
        name = frozen_runbook_name(book.content)
        if name in self._kept:
            return name
        manifest: Object = {
            "metadata": {
                "namespace": self._outside.namespace,
                "name": name,
                "labels": {FROZEN_LABEL: "true"},
            },
            "immutable": True,
            "data": {CONTENT: json.dumps(book.content, sort_keys=True)},
        }
        with contextlib.suppress(AlreadyExists):  # the name is made from the content: what is there is the same
            await self._outside.cluster.create(BUILT_IN["ConfigMap"], manifest)
        self._remember(name, book)
        return name

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

    def _remember(self, name: str, book: AcceptedRunbook) -> None:
        if len(self._kept) >= 256:
            self._kept.pop(next(iter(self._kept)))
        self._kept[name] = book


async def accept(run: Run, books: Books, outside: Outside) -> Resolved | TurnedAway:
    """
    What the request means now, with the Runbook's content frozen.

    Raises Unavailable where it cannot be told at the moment.
    """
    definitions = outside.definitions
    policy, problem = definitions.policy_of(run)
    if run.spec.policy_ref is not None and policy is None:
        return TurnedAway(RunOutcome.POLICY_NOT_READY, "PolicyNotReady", f"AlertPolicy {run.policy_name}: {problem}")
    if run.spec.mode is Mode.APPROVE:
        return TurnedAway(
            RunOutcome.REFUSED, "NotPermitted", "mode Approve cannot be honoured by this version: use DryRun"
        )
    ref = run.spec.runbook_ref
    book, problem = definitions.runbook_for(ref.namespace or _home(run), ref.name, _home(run))
    if book is None:
        outcome = RunOutcome.POLICY_NOT_READY if run.spec.policy_ref is not None else RunOutcome.REFUSED
        return TurnedAway(outcome, "RunbookNotReady", f"Runbook {ref.namespace or _home(run)}/{ref.name}: {problem}")
    try:
        parameters = resolve(
            book.spec.parameters, run.spec.parameters, policy.spec.parameters if policy is not None else {}
        )
    except InvalidManifest as error:
        return TurnedAway(RunOutcome.REFUSED, "InvalidParameters", str(error))
    account = _account(run)
    if not account and _home(run) != outside.namespace:
        return TurnedAway(
            RunOutcome.REFUSED,
            "NotPermitted",
            "outside the operator's namespace a serviceAccountName is needed, even to read",
        )
    uid = await _target_uid(run, outside, account)
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


def _home(run: Run) -> str:
    return run.spec.policy_ref.namespace if run.spec.policy_ref is not None else run.namespace


def _account(run: Run) -> str:
    name = run.spec.service_account_name
    return f"system:serviceaccount:{_home(run)}:{name}" if name else ""


async def _target_uid(run: Run, outside: Outside, account: str) -> str | TurnedAway:
    ref = run.spec.target.ref
    if run.spec.target.is_outside:
        return ""
    cluster = outside.cluster.acting_as(Identity(account, run.full_name)) if account else outside.cluster
    try:
        uid = dig_text(await cluster.read(ref), "metadata", "uid")
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
    if mode is Mode.APPROVE:
        mode, why = lowest([mode, Mode.DRY_RUN]), f"{why}; approvals cannot be honoured by this version"
    return mode, why
