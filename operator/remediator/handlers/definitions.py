"""
What the operator knows of Runbooks, AlertPolicies, Guardrails and Namespaces: in memory, fed by events.

Every event is taken as the object's present state, in whatever order events come. A definition is
accepted again when its text changed, a policy also when its Runbook did. What an account may do is
not looked at here: see `readiness`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from remediator.actions import registry
from remediator.domain.errors import InvalidManifest, Problem, Unavailable
from remediator.domain.guardrails import Fence, Guardrail, Said
from remediator.domain.json import Object, dig_object, dig_text
from remediator.domain.objects import BUILT_IN, GUARDRAIL, POLICY, RUNBOOK, Kind
from remediator.domain.runs import Run
from remediator.domain.storms import StormRule
from remediator.engine.acceptance import (
    AcceptedPolicy,
    AcceptedRunbook,
    accept_guardrail,
    accept_policy,
    accept_runbook,
    is_shared,
)
from remediator.engine.audience import Audience
from remediator.engine.choose import listener
from remediator.handlers.at_once import in_turns
from remediator.handlers.definition import (
    Definition,
    Name,
    is_older,
    name_of,
    namespace_metadata,
    runbook_of,
    spec_of,
    trimmed,
)
from remediator.ports import Clock, Cluster

NAMESPACE: Final = BUILT_IN["Namespace"]
KINDS: Final = (NAMESPACE, GUARDRAIL, RUNBOOK, POLICY)
"""In the order in which they are best read: what is needed comes before what needs it."""

MAX_OBJECTS: Final = 10_000
_UNREAD: Final = (Problem("spec", "the operator could not read it; its log says why"),)


@dataclass
class _Seen:
    """What was seen of one kind."""

    found: dict[Name, Definition] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """UIDs that were deleted while a list is under way, which may still hold them."""
    synced: bool = False
    last_event: float | None = None


class Definitions:
    """The operator's knowledge of its definitions; every method but `load` answers at once."""

    def __init__(self, clock: Clock, *, operator_namespace: str, can_ask: bool) -> None:
        self._clock = clock
        self._operator_namespace = operator_namespace
        self._can_ask = can_ask
        self._seen = {kind: _Seen() for kind in KINDS}
        self._namespaces: dict[str, Object] = {}
        self._changed: set[tuple[Kind, Name]] = set()
        self._loading = False
        self._audience: Audience | None = None
        """Made when it is first asked for after a text came, changed or went; a status changes nothing."""
        self.fence_version = 0
        """Another number whenever a Guardrail, or which namespaces it selects, may have changed."""

    # what comes in

    async def saw(self, kind: Kind, what: str | None, obj: Object) -> None:
        """
        One event of a watch; `what` is ADDED, MODIFIED, DELETED, SYNCED, or None for an object of the first list.
        """
        seen = self._seen[kind]
        seen.last_event = self._clock.boot_seconds()
        if what == "SYNCED":
            seen.synced = True
        elif kind == NAMESPACE:
            self._saw_namespace(what, obj)
        elif what == "DELETED":
            self._forget(kind, obj)
        else:
            self._keep(kind, obj)

    async def load(self, cluster: Cluster) -> None:
        """
        Read everything, so that nothing is answered from an empty memory or from one that is too full.

        Raises:
            Unavailable: if a kind could not be listed, or not all of it.
        """
        self._loading = True
        try:
            for kind in KINDS:
                await self._load(cluster, kind)
        finally:
            self._loading = False
            for seen in self._seen.values():
                seen.gone.clear()

    async def _load(self, cluster: Cluster, kind: Kind) -> None:
        before = tuple(self._seen[kind].found.values())
        listing = await cluster.list(kind, limit=MAX_OBJECTS)
        if listing.truncated:
            raise Unavailable(f"there are more than {MAX_OBJECTS:,} {kind.plural}; this version holds no more")
        async for obj in in_turns(listing.items, 1):  # hundreds of them take half a second to accept
            if dig_text(obj, "metadata", "uid") not in self._seen[kind].gone:
                await self.saw(kind, None, obj)
        listed = {dig_text(obj, "metadata", "uid") for obj in listing.items}
        for known in before:  # kopf does not tell what vanished while its watch was broken
            if known.version[0] not in listed:
                await self.saw(kind, "DELETED", known.obj)
        await self.saw(kind, "SYNCED", {})

    @property
    def is_complete(self) -> bool:
        """Whether everything of every kind has been seen: until then nothing that is missing is known to be."""
        return all(seen.synced for seen in self._seen.values())

    def synced(self, kind: Kind) -> bool:
        """Whether everything of the kind that existed at the start has been seen."""
        return self._seen[kind].synced

    def last_event(self, kind: Kind) -> float | None:
        """Seconds since boot when anything was last heard of the kind."""
        return self._seen[kind].last_event

    # what is asked

    def all(self, kind: Kind) -> tuple[Definition, ...]:
        """Every definition of the kind, accepted or not."""
        return tuple(self._seen[kind].found.values())

    def get(self, kind: Kind, name: Name) -> Definition | None:
        return self._seen[kind].found.get(name)

    def policies(self) -> tuple[Definition, ...]:
        """Every policy: accepted, or with the problem that keeps it from that."""
        return self.all(POLICY)

    def audience(self) -> Audience:
        """Every policy as intake asks it; one that is not ready takes its alerts too, and says why."""
        if self._audience is None:
            self._audience = Audience(listener(known.obj, known.policy) for known in self.policies())
        return self._audience

    def policy(self, namespace: str, name: str) -> tuple[AcceptedPolicy | None, str]:
        """The policy, or why it cannot be used."""
        known = self.get(POLICY, (namespace, name))
        return (known.policy, known.problem) if known is not None else (None, self._absent(POLICY))

    def policy_of(self, run: Run) -> tuple[AcceptedPolicy | None, str]:
        """The policy that started the run, or why it cannot be used; None and no reason for a run by hand."""
        ref = run.spec.policy_ref
        return self.policy(ref.namespace, ref.name) if ref is not None else (None, "")

    def runbook(self, namespace: str, name: str) -> tuple[AcceptedRunbook | None, str]:
        """The Runbook, or why it cannot be used."""
        known = self.get(RUNBOOK, (namespace, name))
        return (known.runbook, known.problem) if known is not None else (None, self._absent(RUNBOOK))

    def runbook_for(self, namespace: str, name: str, asking: str) -> tuple[AcceptedRunbook | None, str]:
        """The Runbook, if it is accepted and shared with the namespace that asks, or why it cannot be used."""
        book, problem = self.runbook(namespace, name)
        if book is not None and not is_shared(book.namespace, book.spec.shared_with, asking):
            return None, f"it is not shared with the namespace {asking}: its `sharedWith` has to name it"
        return book, problem

    def fence(self, namespace: str) -> Fence | None:
        """
        What the Guardrails say of a namespace (empty: of cluster-scoped objects); None while that is not known.

        The operator's own namespace is never a target, so no Guardrail governs it.
        """
        if not self.synced(GUARDRAIL) or (namespace and not self.synced(NAMESPACE)):
            return None
        if namespace == self._operator_namespace:
            return Fence(())
        if namespace and namespace not in self._namespaces:
            return None
        labels = self._labels(namespace) if namespace else None
        return Fence.around(labels, self._guardrails())

    def namespace(self, name: str) -> Object:
        """The Namespace's metadata; empty where it is not known."""
        return self._namespaces.get(name, {})

    def governed_by(self, guardrail: Guardrail) -> int:
        """How many namespaces it selects; one that cannot be read governs them all."""
        if guardrail.spec is None:
            return len(self._namespaces)
        selector = guardrail.spec.namespace_selector
        return sum(selector.selects(self._labels(name)) for name in self._namespaces)

    def selects(self, guardrail: str, namespace: str) -> bool:
        """Whether the Guardrail of that name governs the namespace."""
        known = self.get(GUARDRAIL, ("", guardrail))
        if known is None or known.guardrail is None or known.guardrail.spec is None:
            return False
        return known.guardrail.spec.namespace_selector.selects(self._labels(namespace))

    def storm_rules(self) -> tuple[Said[StormRule], ...]:
        """Every rule for storms, and the Guardrail whose it is."""
        return tuple(
            Said(guardrail.spec.storm, guardrail.name)
            for guardrail in self._guardrails()
            if guardrail.spec is not None and guardrail.spec.storm is not None
        )

    def has_storm_rule(self, guardrail: str, namespace: str) -> bool:
        """Whether the Guardrail's rule for storms holds in the namespace; without a name: the default rule."""
        if guardrail:
            return self.selects(guardrail, namespace)
        return not any(self.selects(rule.by, namespace) for rule in self.storm_rules())

    def users_of(self, runbook: Name) -> tuple[Definition, ...]:
        """The policies that name the Runbook."""
        return tuple(known for known in self.policies() if runbook_of(known.obj) == runbook)

    def wrote(self, kind: Kind, obj: Object) -> None:
        """A definition as the API server returned it after its status was written: nothing new to say."""
        known = self.get(kind, name_of(obj))
        if known is not None and known.version == Definition(kind, obj).version:
            self._seen[kind].found[known.name] = replace(known, obj=trimmed(obj))

    def take_changed(self) -> frozenset[tuple[Kind, Name]]:
        """The definitions about which there may be something else to say than at the last call."""
        changed, self._changed = frozenset(self._changed), set()
        return changed

    # how it is kept

    def _saw_namespace(self, what: str | None, obj: Object) -> None:
        name, before = dig_text(obj, "metadata", "name"), dict(self._namespaces)
        if what == "DELETED":
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = namespace_metadata(obj)
        if before.get(name, {}).get("labels") != self._namespaces.get(name, {}).get("labels"):
            self._changed |= {(GUARDRAIL, known.name) for known in self.all(GUARDRAIL)}
            self.fence_version += 1

    def _forget(self, kind: Kind, obj: Object) -> None:
        seen = self._seen[kind]
        uid = dig_text(obj, "metadata", "uid")
        if self._loading:
            seen.gone.add(uid)
        known = seen.found.get(name_of(obj))
        if known is None or known.version[0] != uid:
            return  # another object of that name is there already
        del seen.found[known.name]
        self._audience = None
        self._touch_others(known)

    def _keep(self, kind: Kind, obj: Object) -> None:
        found = self._seen[kind].found
        fresh = Definition(kind, trimmed(obj))
        before = found.get(fresh.name)
        if before is not None and is_older(fresh, before):
            return
        if before is not None and before.version == fresh.version:
            found[fresh.name] = replace(before, obj=fresh.obj)
            if before.obj["status"] == fresh.obj["status"]:
                return  # our own write comes back, or a label moved
        else:
            self._audience = None
            found[fresh.name] = replace(fresh, problems=_UNREAD)  # should the next line fail, the old text is gone
            found[fresh.name] = self._accepted(fresh)
            if before is not None:
                self._touch_others(before)
            self._touch_others(fresh)
        self._changed.add((kind, fresh.name))

    def _touch_others(self, known: Definition) -> None:
        """Look again at what depends on a definition that came, changed or went."""
        if known.kind == RUNBOOK:
            for user in self.users_of(known.name):
                self._seen[POLICY].found[user.name] = self._accepted(user)
                self._changed.add((POLICY, user.name))
        elif known.kind == POLICY:
            self._changed.add((RUNBOOK, runbook_of(known.obj)))
        elif known.kind == GUARDRAIL:
            self.fence_version += 1

    def _accepted(self, known: Definition) -> Definition:
        bare = Definition(known.kind, known.obj)
        try:
            if known.kind == RUNBOOK:
                return replace(bare, runbook=self._accept_runbook(bare))
            if known.kind == POLICY:
                return replace(bare, policy=self._accept_policy(bare))
        except InvalidManifest as error:
            return replace(bare, problems=error.problems)
        guardrail, problems = accept_guardrail(known.name[1], spec_of(known.obj), registry)
        return replace(bare, guardrail=guardrail, problems=problems)

    def _accept_runbook(self, known: Definition) -> AcceptedRunbook:
        (namespace, name), (uid, generation) = known.name, known.version
        return accept_runbook(namespace, name, uid, generation, spec_of(known.obj), registry)

    def _accept_policy(self, known: Definition) -> AcceptedPolicy:
        (namespace, name), (uid, generation) = known.name, known.version
        wanted = runbook_of(known.obj)
        book = self.get(RUNBOOK, wanted)
        problem = f"Runbook {wanted[0]}/{wanted[1]} is not ready: {book.problem}" if book is not None else ""
        return accept_policy(
            namespace,
            name,
            uid,
            generation,
            spec_of(known.obj),
            book.runbook if book is not None else None,
            self._operator_namespace,
            can_ask=self._can_ask,
            runbook_problem=problem,
        )

    def _guardrails(self) -> Iterator[Guardrail]:
        for known in self.all(GUARDRAIL):
            yield known.guardrail or Guardrail(known.name[1], None)

    def _labels(self, namespace: str) -> dict[str, str]:
        labels = dig_object(self._namespaces.get(namespace, {}), "labels")
        return {key: value for key, value in labels.items() if isinstance(value, str)}

    def _absent(self, kind: Kind) -> str:
        return "it is not there" if self.synced(kind) else f"not every {kind.kind} has been read yet"
