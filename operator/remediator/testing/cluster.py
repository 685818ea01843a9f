"""
A Kubernetes API in memory that holds the same contract as the real one.

The port's contract tests run against both. What a test sets up (`add`, `forbid`, `fail_next`,
`put_log`) and looks up (`get`, `writes`, `calls`) is beside the port and leaves no trace in the
audit lists.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from remediator.domain.actions import Permission
from remediator.domain.errors import Forbidden, NotFound, Rejected, RemediatorError
from remediator.domain.json import Object, copied, dig_list, dig_object, dig_text
from remediator.domain.objects import BUILT_IN, Kind, ObjectRef
from remediator.ports import Clock, Identity, Listing, LogText
from remediator.testing.clock import StoppedClock
from remediator.testing.controllers import Controllers
from remediator.testing.jsonpatch import patched
from remediator.testing.selectors import check_fields, fields_match, labels_match
from remediator.testing.store import SECRET, Store, Watcher

LOG_EXCUSE = "unable to retrieve container logs for containerd://0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, allowed or not, in the words of RBAC."""

    identity: Identity
    verb: str
    group: str
    resource: str
    """With its subresource: `pods/log`."""
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Write:
    """One write that was stored, or would have been."""

    identity: Identity
    verb: str
    ref: ObjectRef
    sub: str = ""
    dry_run: bool = False
    operations: tuple[Object, ...] = ()
    obj: Object = field(default_factory=dict)
    """The object after it; empty for a deletion."""
    at: datetime | None = None

    def __str__(self) -> str:
        """As a transcript shows it: `PATCH Deployment shop/checkout`."""
        return (
            f"{self.verb.upper()} {self.ref}{'/' + self.sub if self.sub else ''}{' (dry run)' if self.dry_run else ''}"
        )


Admission = Callable[[Write, Object | None], str]
"""Asked with a write and the object before it; a sentence refuses the write."""


@dataclass(slots=True)
class _Rule:
    account: str
    verb: str
    resource: str
    namespace: str

    def covers(self, call: Call) -> bool:
        resource = f"{call.resource}.{call.group}" if call.group else call.resource
        return (
            self.account in ("*", call.identity.account)
            and self.verb in ("*", call.verb)
            and self.resource in ("*", call.resource, resource)
            and self.namespace in ("*", call.namespace)
        )


@dataclass(slots=True)
class _Server:
    """What all identities share."""

    store: Store
    controllers: Controllers
    calls: list[Call] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    forbidden: list[_Rule] = field(default_factory=list)
    permitted: dict[str, tuple[Permission, ...]] = field(default_factory=dict)
    failures: list[tuple[RemediatorError, str, bool]] = field(default_factory=list)
    admission: list[Admission] = field(default_factory=list)
    logs: dict[tuple[str, str, str, bool], str] = field(default_factory=dict)


class FakeCluster:
    """`ports.Cluster` without a server."""

    def __init__(
        self, clock: Clock | None = None, identity: Identity | None = None, *, server: _Server | None = None
    ) -> None:
        if server is None:
            store = Store(clock or StoppedClock())
            server = _Server(store, Controllers(store))
            for namespace in ("default", "kube-system"):
                store.insert(
                    BUILT_IN["Namespace"],
                    {"metadata": {"name": namespace, "labels": {"kubernetes.io/metadata.name": namespace}}},
                    keep_status=True,
                )
        self._server = server
        self.identity = identity or Identity()

    # what a test sets up

    def add(self, *objects: Object) -> Object:
        """
        The objects are there, with the status and the namespaces that they need; the last one as stored.

        UIDs that they carry are kept.
        """
        made: Object = {}
        for obj in objects:
            kind = self.store.kind_of_object(obj)
            if kind.namespaced:
                self.add_namespace(dig_text(obj, "metadata", "namespace"))
            made = self.store.insert(kind, obj, keep_status=True)
        return made

    def add_namespace(self, name: str, labels: dict[str, str] | None = None) -> None:
        """The namespace is there; one that was there already stays as it is."""
        if ("", "Namespace", "", name) not in self.store.objects:
            metadata: Object = {
                "name": name,
                "labels": {"kubernetes.io/metadata.name": name, **(labels or {})},
            }
            self.store.insert(BUILT_IN["Namespace"], {"metadata": metadata}, keep_status=True)

    def get(self, ref: ObjectRef) -> Object:
        """A copy of the stored object; unseen by the audit lists. Raises NotFound."""
        return copied(self.store.found(ref))

    def has(self, ref: ObjectRef) -> bool:
        return self.store.key_of(ref) in self.store.objects

    def objects(self, kind: Kind | str, namespace: str = "") -> list[Object]:
        """Copies of all objects of a kind, in the API server's order."""
        found = kind if isinstance(kind, Kind) else BUILT_IN[kind]
        return copied(self.store.of_kind(found, namespace))

    def change(self, ref: ObjectRef, edit: Callable[[Object], None]) -> Object:
        """Somebody else edits the object, its status included."""
        changed = self.get(ref)
        edit(changed)
        kind = self.store.kind_of(ref.group, ref.kind)
        made = self.store.update(kind, changed)
        if "status" in changed:
            dig_object(changed, "metadata").pop("resourceVersion", None)
            made = self.store.update(kind, changed, sub="status")
        return made

    def serve(self, kind: Kind) -> None:
        """The kind is served from here on, as after its CRD was installed."""
        self.store.kinds.append(kind)

    def put_log(self, pod: ObjectRef, container: str, text: str, *, previous: bool = False) -> None:
        self._server.logs[pod.namespace, pod.name, container, previous] = text

    def lose_log(self, pod: ObjectRef, container: str, *, previous: bool = False) -> None:
        """The kubelet answers with its excuse."""
        self.put_log(pod, container, LOG_EXCUSE, previous=previous)

    def forbid(self, account: str, verb: str, resource: str, namespace: str = "*") -> None:
        """The account may not do this; `*` stands for all, and an empty account is the operator."""
        self._server.forbidden.append(_Rule(account, verb, resource, namespace))

    def permit_only(self, account: str, permissions: Iterable[Permission]) -> None:
        """The account may do these and nothing else."""
        self._server.permitted[account] = tuple(permissions)

    def fail_next(self, count: int, error: RemediatorError, *, verb: str = "", done: bool = False) -> None:
        """
        The next calls (of that verb) fail with the error.

        With `done` the write happens and only its answer is lost.
        """
        self._server.failures.extend([(error, verb, done)] * count)

    def refuse_when(self, rule: Admission) -> None:
        """An admission policy: what `rule` returns, unless empty, refuses the write."""
        self._server.admission.append(rule)

    def expire_watches(self) -> None:
        """Every watch must list again, and was not told what happened since it last looked."""
        self.store.expire()

    def tick(self) -> None:
        """The controllers have done all that follows from what is stored."""
        self._server.controllers.tick()

    # what a test looks up

    @property
    def controllers(self) -> Controllers:
        return self._server.controllers

    @property
    def store(self) -> Store:
        return self._server.store

    @property
    def calls(self) -> list[Call]:
        """Every request made through the port, in order."""
        return self._server.calls

    @property
    def writes(self) -> list[Write]:
        """Every write that was accepted, in order; dry runs included."""
        return self._server.writes

    @property
    def changes(self) -> list[Write]:
        """The writes that left a trace."""
        return [write for write in self.writes if not write.dry_run]

    # the port

    def acting_as(self, identity: Identity) -> "FakeCluster":
        return FakeCluster(identity=identity, server=self._server)

    async def read(self, ref: ObjectRef) -> Object:
        kind = self._kind(ref)
        self._called("get", kind, ref.namespace, ref.name)
        return self.get(ref)

    async def list(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 500,
    ) -> Listing:
        self._known(kind)
        self._called("list", kind, namespace)
        check_fields(fields, kind)
        found = [
            _as_item(kind, obj)
            for obj in self.store.of_kind(kind, namespace if kind.namespaced else "")
            if labels_match(labels, dig_object(obj, "metadata", "labels")) and fields_match(fields, obj)
        ]
        return Listing(tuple(found[:limit]), truncated=len(found) > limit)

    async def pages(
        self, kind: Kind, namespace: str = "", *, labels: str = "", size: int = 500
    ) -> AsyncIterator[tuple[Object, ...]]:
        found = (await self.list(kind, namespace, labels=labels, limit=len(self.store.objects))).items
        yield found[:size]
        for begin in range(size, len(found), size):
            self._called("list", kind, namespace)
            yield found[begin : begin + size]

    async def logs(
        self,
        pod: ObjectRef,
        *,
        container: str,
        previous: bool = False,
        tail_lines: int = 200,
        since: timedelta | None = None,  # noqa: ARG002 - lines in memory carry no times
        limit_bytes: int = 1_048_576,
    ) -> LogText:
        self._called("get", self._kind(pod), pod.namespace, pod.name, sub="log")
        spec = dig_object(self.store.found(pod), "spec")
        names = [dig_text(c, "name") for key in ("containers", "initContainers") for c in dig_list(spec, key)]
        if container not in names:
            raise NotFound(f"container {container} is not valid for pod {pod.name}")
        text = self._server.logs.get((pod.namespace, pod.name, container, previous))
        if text is None and previous:
            raise NotFound(f'previous terminated container "{container}" in pod "{pod.name}" not found')
        if text == LOG_EXCUSE:
            return LogText(text, available=False)
        tail = "".join((text or "").splitlines(keepends=True)[-tail_lines:] if tail_lines else [])
        raw = tail.encode()
        if len(raw) <= limit_bytes:
            return LogText(tail)
        kept = raw[-limit_bytes:].decode(errors="replace")
        return LogText(kept.split("\n", 1)[1] if "\n" in kept else kept, truncated=True)

    async def create(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object:
        if kind.kind == "SubjectAccessReview":
            return self._reviewed(kind, obj)
        self._known(kind)
        namespace = dig_text(obj, "metadata", "namespace") if kind.namespaced else ""
        lost = self._called("create", kind, namespace, dig_text(obj, "metadata", "name"))
        preview = self.store.insert(kind, obj, keep_status=False, dry_run=True)
        ref = ObjectRef.to(preview, kind)
        self._admit(Write(self.identity, "create", ref, "", dry_run, (), preview), None)
        made = preview if dry_run else self.store.insert(kind, obj, keep_status=False)
        self._written("create", ObjectRef.to(made, kind), "", dry_run, (), made)
        _answer(lost)
        return made

    async def patch(
        self, ref: ObjectRef, operations: Sequence[Object], *, dry_run: bool = False, sub: str = ""
    ) -> Object:
        kind = self._kind(ref)
        lost = self._called("patch", kind, ref.namespace, ref.name, sub=sub)
        return self._update(kind, patched(self.get(ref), operations), "patch", sub, dry_run, tuple(operations), lost)

    async def replace(self, kind: Kind, obj: Object, *, sub: str = "") -> Object:
        ref = ObjectRef.to(obj, kind)
        self._known(kind)
        lost = self._called("update", kind, ref.namespace, ref.name, sub=sub)
        if not dig_text(obj, "metadata", "resourceVersion"):
            raise Rejected(f"{ref}: a replacement must carry the resourceVersion that it was made from")
        made = self._update(kind, obj, "update", sub, False, (), lost)
        return {"metadata": dig_object(made, "metadata")} if sub else made

    def _update(
        self,
        kind: Kind,
        changed: Object,
        verb: str,
        sub: str,
        dry_run: bool,
        operations: tuple[Object, ...],
        lost: RemediatorError | None,
    ) -> Object:
        ref = ObjectRef.to(changed, kind)
        before = self.get(ref)
        preview = self.store.update(kind, changed, sub=sub, dry_run=True)
        self._admit(Write(self.identity, verb, ref, sub, dry_run, operations, preview), before)
        made = preview if dry_run else self.store.update(kind, changed, sub=sub)
        self._written(verb, ref, sub, dry_run, operations, made)
        _answer(lost)
        return made

    async def delete(
        self,
        ref: ObjectRef,
        *,
        uid: str = "",
        resource_version: str = "",
        dry_run: bool = False,
    ) -> None:
        lost = self._called("delete", self._kind(ref), ref.namespace, ref.name)
        before = self.get(ref)
        self.store.delete(ref, uid=uid, resource_version=resource_version, dry_run=True)
        self._admit(Write(self.identity, "delete", ref, "", dry_run), before)
        self.store.delete(ref, uid=uid, resource_version=resource_version, dry_run=dry_run)
        self._written("delete", ref, "", dry_run, (), {})
        _answer(lost)

    async def evict(
        self,
        pod: ObjectRef,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,  # noqa: ARG002 - pods in memory end at once
        dry_run: bool = False,
    ) -> bool:
        lost = self._called("create", self._kind(pod), pod.namespace, pod.name, sub="eviction")
        before = self.get(pod)
        self.store.delete(pod, uid=uid, resource_version=resource_version, dry_run=True)
        self._admit(Write(self.identity, "create", pod, "eviction", dry_run), before)
        if not self._server.controllers.lets_go(before, dry_run=dry_run):
            return False
        self.store.delete(pod, uid=uid, resource_version=resource_version, dry_run=dry_run)
        self._written("create", pod, "eviction", dry_run, (), {})
        _answer(lost)
        return True

    async def allowed(self, permission: Permission, namespace: str, name: str = "") -> tuple[bool, str]:
        missing = [
            verb
            for verb in permission.verbs
            if self._refusal(Call(self.identity, verb, permission.group, permission.resource, namespace, name))
        ]
        if not missing:
            return True, ""
        resource = f"{permission.resource}.{permission.group}" if permission.group else permission.resource
        return False, (
            f"{self.identity.account or 'the operator'} may not {', '.join(missing)} {resource}"
            + (f" {name}" if name else "")
            + (f" in namespace {namespace}" if namespace else "")
        )

    async def kind(self, text: str) -> Kind:
        built_in = BUILT_IN.get(text)
        if built_in is not None:
            return built_in
        name, _, group = text.partition(".")
        found = self.store.kind_of(group, name)
        if found == SECRET:
            raise Rejected("the content of Secrets is never read")
        return found

    async def watch(
        self,
        kind: Kind,
        namespace: str,
        changed: Callable[[str, Object], Awaitable[None]],
        *,
        labels: str = "",
        fields: str = "",
    ) -> None:
        def selected(obj: Object) -> bool:
            return labels_match(labels, dig_object(obj, "metadata", "labels")) and fields_match(fields, obj)

        self._known(kind)
        check_fields(fields, kind)
        self._called("list", kind, namespace)
        self._called("watch", kind, namespace)
        known: dict[tuple[str, str], Object] = {}
        watcher = Watcher(kind, namespace)
        self.store.watchers.append(watcher)
        try:
            while True:
                await self._relist(watcher, known, changed, selected)
                while (event := await watcher.queue.get()) is not None:
                    what, obj = event
                    before = known.pop(_key(obj), None)
                    if what == "DELETED" or not selected(obj):
                        if before is not None:
                            await changed("DELETED", obj)
                        continue
                    known[_key(obj)] = obj
                    await changed("MODIFIED" if before is not None else "ADDED", obj)
        finally:
            self.store.watchers.remove(watcher)

    async def _relist(
        self,
        watcher: Watcher,
        known: dict[tuple[str, str], Object],
        changed: Callable[[str, Object], Awaitable[None]],
        selected: Callable[[Object], bool],
    ) -> None:
        listed = {_key(obj): obj for obj in self.objects(watcher.kind, watcher.namespace) if selected(obj)}
        for key, before in list(known.items()):
            after = listed.get(key)
            if after is None or dig_text(after, "metadata", "uid") != dig_text(before, "metadata", "uid"):
                del known[key]
                await changed("DELETED", before)
        for key, obj in listed.items():
            before = known.get(key, {})
            known[key] = obj
            if dig_text(before, "metadata", "resourceVersion") != dig_text(obj, "metadata", "resourceVersion"):
                await changed("MODIFIED" if before else "ADDED", copied(obj))
        await changed("SYNCED", {})

    def _kind(self, ref: ObjectRef) -> Kind:
        kind = self.store.kind_of(ref.group, ref.kind)
        if not ref.name or (kind.namespaced and not ref.namespace):
            raise Rejected(f"{ref}: a name and, where the kind has one, a namespace are needed")
        return kind

    def _known(self, kind: Kind) -> None:
        self.store.kind_of(kind.group, kind.kind)

    def _called(
        self, verb: str, kind: Kind, namespace: str, name: str = "", *, sub: str = ""
    ) -> RemediatorError | None:
        """Raises what a test has set up; an error to be raised after the write is returned."""
        resource = f"{kind.plural}/{sub}" if sub else kind.plural
        call = Call(self.identity, verb, kind.group, resource, namespace, name)
        self._server.calls.append(call)
        for place, (error, wanted, done) in enumerate(self._server.failures):
            if wanted in ("", verb):
                del self._server.failures[place]
                if done:
                    return error
                raise error
        refusal = self._refusal(call)
        if refusal:
            raise Forbidden(refusal)
        return None

    def _reviewed(self, kind: Kind, obj: Object) -> Object:
        """What is asked about another identity is answered, and stored nowhere."""
        _answer(self._called("create", kind, "", ""))
        asked = dig_object(obj, "spec", "resourceAttributes")
        resource = "/".join(part for part in (dig_text(asked, "resource"), dig_text(asked, "subresource")) if part)
        call = Call(
            Identity(dig_text(obj, "spec", "user")),
            dig_text(asked, "verb"),
            dig_text(asked, "group"),
            resource,
            dig_text(asked, "namespace"),
            dig_text(asked, "name"),
        )
        return {**obj, "status": {"allowed": not self._refusal(call)}}

    def _refusal(self, call: Call) -> str:
        permitted = self._server.permitted.get(call.identity.account)
        refused = any(rule.covers(call) for rule in self._server.forbidden) or (
            permitted is not None
            and not any(
                call.group == permission.group
                and call.resource == permission.resource
                and call.verb in permission.verbs
                for permission in permitted
            )
        )
        if not refused:
            return ""
        return (
            f'{call.resource} "{call.name}" is forbidden: User "{call.identity.account or "operator"}" cannot '
            f'{call.verb} resource "{call.resource}" in API group "{call.group}" in the namespace "{call.namespace}"'
        )

    def _admit(self, write: Write, before: Object | None) -> None:
        for rule in self._server.admission:
            refusal = rule(write, before)
            if refusal:
                raise Rejected(refusal)

    def _written(
        self, verb: str, ref: ObjectRef, sub: str, dry_run: bool, operations: tuple[Object, ...], obj: Object
    ) -> None:
        self.writes.append(
            Write(self.identity, verb, ref, sub, dry_run, operations, copied(obj), self.store.clock.now())
        )


def _answer(lost: RemediatorError | None) -> None:
    if lost is not None:
        raise lost


def _key(obj: Object) -> tuple[str, str]:
    return dig_text(obj, "metadata", "namespace"), dig_text(obj, "metadata", "name")


def _as_item(kind: Kind, obj: Object) -> Object:
    """Items of a built-in kind's list carry no kind; those of a CRD's do."""
    found = copied(obj)
    if BUILT_IN.get(kind.kind) == kind:
        found.pop("apiVersion", None)
        found.pop("kind", None)
    return found
