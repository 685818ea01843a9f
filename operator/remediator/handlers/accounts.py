"""What the accounts of policies may not do although their Runbooks need it."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from remediator.actions import registry
from remediator.actions.registry import Use
from remediator.domain.actions import ActionClass, Permission
from remediator.domain.errors import Forbidden
from remediator.domain.objects import BUILT_IN
from remediator.domain.policies import Mode
from remediator.engine.acceptance import AcceptedPolicy, ActionUse
from remediator.ports import Clock, Cluster, Identity

ALLOWED_SECONDS: Final = 300.0
REFUSED_SECONDS: Final = 60.0
"""How long an answer counts; somebody may be waiting for a binding that he just made."""

READING: Final = frozenset({"get", "list", "watch"})


@dataclass(frozen=True, slots=True)
class Missing:
    """
    What is not permitted, in one sentence; empty if nothing is missing.

    It is not `certain` where a policy is about all namespaces: the account may be bound in just those
    that its alerts come from.
    """

    message: str
    certain: bool = True


class Accounts:
    """Asks the API server's authorizer as the account itself, each question at most every few minutes."""

    def __init__(self, cluster: Cluster, clock: Clock, *, operator_namespace: str) -> None:
        self._cluster = cluster
        self._clock = clock
        self._operator_namespace = operator_namespace
        self._answers: dict[_Question, tuple[float, bool]] = {}

    def forget_old_answers(self) -> None:
        """Keep no more in memory than what still counts."""
        now = self._clock.boot_seconds()
        self._answers = {key: answer for key, answer in self._answers.items() if now - answer[0] < ALLOWED_SECONDS}

    async def missing(self, policy: AcceptedPolicy) -> Missing:
        """
        What the account may not do although the Runbook needs it.

        Raises Forbidden where the operator may not act as the account, Unavailable where nobody answers.
        """
        cluster = self._cluster.acting_as(Identity(policy.account)) if policy.account else self._cluster
        needed = registry.permissions(_uses(policy))
        if not policy.account:
            needed = tuple(_reading(needed))
        place = _place(policy, self._operator_namespace)
        missing = [
            refusal
            for permission in needed
            if (refusal := await self._refusal(cluster, policy.account, permission, place))
        ]
        if not missing:
            return Missing("")
        path = "spec.serviceAccountName" if policy.account else "spec.runbookRef"
        if len(missing) == len(needed) and policy.account:
            hint = "it may do nothing of what the Runbook needs: is there such a ServiceAccount, and is it bound to a role?"
            return Missing(f"{path}: {hint} {'; '.join(missing)}", certain=bool(place))
        return Missing(f"{path}: {'; '.join(missing)}", certain=bool(place))

    async def refused(self, account: str, uses: Iterable[ActionUse], namespace: str) -> tuple[str, ...]:
        """
        What the account may not do of what these uses need in the namespace, each in one sentence.

        What `missing` has asked about it counts here too, so that a change costs no call as long as its
        policy is looked at. Raises Unavailable where nobody answers.
        """
        cluster = self._cluster.acting_as(Identity(account))
        needed = registry.permissions(_use(use) for use in uses)
        try:
            found = await asyncio.gather(*(self._refusal(cluster, account, one, namespace) for one in needed))
        except Forbidden as error:
            return (f"the operator may not act as {account}: {error}",)
        return tuple(refusal for refusal in found if refusal)

    async def _refusal(self, cluster: Cluster, account: str, permission: Permission, place: str) -> str:
        """Why the permission is not had, as it was answered at most a few minutes ago."""
        namespace = "" if (permission.group, permission.resource.partition("/")[0]) in _CLUSTER_SCOPED else place
        single = [replace(permission, verbs=(verb,)) for verb in permission.verbs]
        answers = await asyncio.gather(*(self._allowed(cluster, account, one, namespace) for one in single))
        missing = [verb for verb, allowed in zip(permission.verbs, answers, strict=True) if not allowed]
        return _sentence(account, permission, missing, namespace) if missing else ""

    async def _allowed(self, cluster: Cluster, account: str, permission: Permission, namespace: str) -> bool:
        if namespace and self._known(account, permission, ""):
            return True  # everywhere is here too
        known = self._known(account, permission, namespace)
        if known is not None:
            return known
        allowed, _ = await cluster.allowed(permission, namespace)
        self._answers[account, permission, namespace] = self._clock.boot_seconds(), allowed
        return allowed

    def _known(self, account: str, permission: Permission, namespace: str) -> bool | None:
        at, allowed = self._answers.get((account, permission, namespace), (float("-inf"), False))
        counts = self._clock.boot_seconds() - at < (ALLOWED_SECONDS if allowed else REFUSED_SECONDS)
        return allowed if counts else None


_Question = tuple[str, Permission, str]
"""Account, one verb on one resource, and namespace."""


def _sentence(account: str, permission: Permission, missing: list[str], namespace: str) -> str:
    resource = f"{permission.resource}.{permission.group}" if permission.group else permission.resource
    place = f" in namespace {namespace}" if namespace else ""
    return f"{account or 'the operator'} may not {', '.join(missing)} {resource}{place}"


_CLUSTER_SCOPED: Final = {(kind.group, kind.plural) for kind in BUILT_IN.values() if not kind.namespaced}


def _uses(policy: AcceptedPolicy) -> Iterator[Use]:
    """What runs of the policy use in its mode: who only diagnoses needs no permission to change."""
    for use in policy.runbook.uses:
        if policy.spec.mode is not Mode.DIAGNOSE or registry.info(use.action).cls is not ActionClass.CHANGE:
            yield _use(use)


def _reading(needed: Iterable[Permission]) -> Iterator[Permission]:
    """What is left without an account: a change is then only rendered, and never sent, not even to be rehearsed."""
    for permission in needed:
        verbs = tuple(verb for verb in permission.verbs if verb in READING)
        if verbs:
            yield replace(permission, verbs=verbs)


def _use(use: ActionUse) -> Use:
    return Use(use.action, use.parameters.model_dump(by_alias=True, exclude_unset=True), use.targets)


def _place(policy: AcceptedPolicy, operator_namespace: str) -> str:
    """
    The namespace in which the account must be allowed: empty for all of them.

    A policy in the operator's namespace that names one namespace, in its target or in a matcher,
    needs no more than that one.
    """
    if policy.namespace != operator_namespace:
        return policy.namespace
    rule = policy.spec.target
    if rule is not None and rule.namespace is not None and "${" not in rule.namespace:
        return rule.namespace
    named = {matcher.value for matcher in policy.matchers if matcher.name == "namespace" and matcher.operator == "="}
    return named.pop() if len(named) == 1 else ""
