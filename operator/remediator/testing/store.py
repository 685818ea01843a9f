"""
What an API server does with objects, in memory: UIDs, versions, generations, garbage collection.

`FakeCluster` is the door to it; nothing here knows identities.
"""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Final

from remediator.domain.errors import AlreadyExists, Conflict, NotFound, Rejected
from remediator.domain.json import Object, copied, dig, dig_int, dig_list, dig_object, dig_text
from remediator.domain.objects import BUILT_IN, GROUP, GUARDRAIL, POLICY, RUN, RUNBOOK, Kind, ObjectRef
from remediator.ports import Clock
from remediator.testing.jsonpatch import same

SECRET: Final = Kind("", "v1", "Secret", "secrets")
REPLY: Final = Kind(GROUP, "v1alpha1", "Reply", "replies")
NAME: Final = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
NAME_LENGTH: Final = 253
MAX_OBJECT_BYTES: Final = 1_500_000

GENERATED: Final = (
    "Pod",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "Job",
    "CronJob",
    "PodDisruptionBudget",
    "Ingress",
    "NetworkPolicy",
)
"""Built-in kinds that have a generation; every kind of a CRD has one."""

Key = tuple[str, str, str, str]


@dataclass(slots=True)
class Watcher:
    """Somebody who follows a kind; None in the queue says that its place has been forgotten."""

    kind: Kind
    namespace: str
    queue: "asyncio.Queue[tuple[str, Object] | None]" = field(default_factory=asyncio.Queue)


class Store:
    """Objects by group, kind, namespace and name."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.kinds: list[Kind] = [*BUILT_IN.values(), RUNBOOK, POLICY, RUN, GUARDRAIL, REPLY, SECRET]
        self.objects: dict[Key, Object] = {}
        self.watchers: list[Watcher] = []
        self._dependents: dict[str, set[Key]] = {}
        self._version = 1_000
        self._serial = 0

    def kind_of(self, group: str, kind: str) -> Kind:
        """Raises NotFound where no such kind is served; any case will do, as with kubectl."""
        for known in self.kinds:
            if known.group == group and kind.lower() in (known.kind.lower(), known.plural):
                return known
        raise NotFound(f"the API server serves no kind {kind}{'.' + group if group else ''}")

    def kind_of_object(self, obj: Object) -> Kind:
        group = dig_text(obj, "apiVersion").rpartition("/")[0]
        return self.kind_of(group, dig_text(obj, "kind"))

    def key(self, kind: Kind, namespace: str, name: str) -> Key:
        return kind.group, kind.kind, namespace if kind.namespaced else "", name

    def key_of(self, ref: ObjectRef) -> Key:
        return self.key(self.kind_of(ref.group, ref.kind), ref.namespace, ref.name)

    def found(self, ref: ObjectRef) -> Object:
        """The stored object itself. Raises NotFound."""
        found = self.objects.get(self.key_of(ref))
        if found is None:
            raise NotFound(f'{ref.kind.lower()}s "{ref.name}" not found')
        return found

    def of_kind(self, kind: Kind, namespace: str = "") -> list[Object]:
        """The stored objects, in the API server's order."""
        return [
            obj
            for (group, name, place, _), obj in sorted(self.objects.items(), key=lambda entry: entry[0])
            if group == kind.group and name == kind.kind and (not namespace or place == namespace)
        ]

    def insert(self, kind: Kind, obj: Object, *, keep_status: bool, dry_run: bool = False) -> Object:
        """The object is stored with UID, version and generation. Raises AlreadyExists and Rejected."""
        made = copied(obj)
        made["apiVersion"], made["kind"] = kind.api_version, kind.kind
        metadata = dig_object(made, "metadata")
        if not dig_text(metadata, "name") and dig_text(metadata, "generateName"):
            metadata["name"] = f"{dig_text(metadata, 'generateName')}{self._letters()}"
        name, namespace = dig_text(metadata, "name"), dig_text(metadata, "namespace")
        if not NAME.match(name) or len(name) > NAME_LENGTH:
            raise Rejected(f'{kind.kind} "{name}" is invalid: metadata.name: Invalid value')
        if kind.namespaced and not namespace:
            raise Rejected("an empty namespace may not be set during creation")
        if kind.namespaced and ("", "Namespace", "", namespace) not in self.objects:
            raise NotFound(f'namespaces "{namespace}" not found')
        if not kind.namespaced:
            metadata.pop("namespace", None)
        key = self.key(kind, namespace, name)
        if key in self.objects:
            raise AlreadyExists(f'{kind.plural} "{name}" already exists')
        if not keep_status and kind.kind != "Namespace":
            made.pop("status", None)
        validate(kind, made, None)
        made["metadata"] = metadata
        metadata.update(
            uid=metadata.get("uid") if keep_status and metadata.get("uid") else self._uid(),
            creationTimestamp=(metadata.get("creationTimestamp") if keep_status else None) or self.timestamp(),
            resourceVersion=self._bumped(dry_run),
        )
        if has_generation(kind):
            metadata["generation"] = dig_int(metadata, "generation", default=1) if keep_status else 1
        if not dry_run:
            self._put(key, made)
            self._tell("ADDED", kind, made)
        return copied(made)

    def update(self, kind: Kind, changed: Object, *, sub: str = "", dry_run: bool = False) -> Object:
        """
        The stored object takes over what the (sub)resource may write.

        Raises Conflict where `changed` carries another version or UID than the stored object has.
        """
        namespace, name = dig_text(changed, "metadata", "namespace"), dig_text(changed, "metadata", "name")
        stored = self.found(ObjectRef(kind.group, kind.kind, namespace if kind.namespaced else "", name))
        for field_name in ("uid", "resourceVersion"):
            given = dig_text(changed, "metadata", field_name)
            if given and given != dig_text(stored, "metadata", field_name):
                raise Conflict(f'Operation cannot be fulfilled on {kind.plural} "{name}": the object has been modified')
        made = copied(stored)
        if sub == "status":
            made["status"] = copied(dig_object(changed, "status"))
        elif sub:
            raise NotFound(f"{kind.plural}/{sub} is not there")
        else:
            made = copied(changed)
            made["apiVersion"], made["kind"] = kind.api_version, kind.kind
            _keep(made, stored)
            validate(kind, made, stored)
        if same(made, stored):
            return copied(stored)  # a patch that changes nothing does not move the version
        metadata = dig_object(made, "metadata")
        if has_generation(kind) and spec_moved(kind, made, stored):
            metadata["generation"] = dig_int(stored, "metadata", "generation") + 1
        metadata["resourceVersion"] = self._bumped(dry_run)
        if dry_run:
            return made
        key = self.key(kind, namespace, name)
        self._put(key, made)
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self.remove(kind, namespace, name)
            return copied(made)
        self._tell("MODIFIED", kind, made)
        return copied(made)

    def delete(self, ref: ObjectRef, *, uid: str, resource_version: str, dry_run: bool) -> None:
        """Gone, or marked where a finalizer holds it. Raises Conflict where a precondition fails."""
        stored = self.found(ref)
        metadata = dig_object(stored, "metadata")
        if uid and uid != metadata["uid"]:
            raise Conflict(f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}")
        if resource_version and resource_version != metadata["resourceVersion"]:
            raise Conflict("Precondition failed: the ResourceVersion in the precondition is not the object's")
        if dry_run:
            return
        kind = self.kind_of(ref.group, ref.kind)
        if metadata.get("finalizers"):
            if not metadata.get("deletionTimestamp"):
                metadata["deletionTimestamp"] = self.timestamp()
                metadata["resourceVersion"] = self._bumped(dry_run=False)
                self._tell("MODIFIED", kind, stored)
            return
        self.remove(kind, ref.namespace, ref.name)

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Gone, with everything that nobody else owns; a namespace takes its content along."""
        gone = self.objects.pop(self.key(kind, namespace, name), None)
        if gone is None:
            return
        dig_object(gone, "metadata")["resourceVersion"] = self._bumped(dry_run=False)
        self._tell("DELETED", kind, gone)
        uid = dig_text(gone, "metadata", "uid")
        for group, kind_name, place, other in sorted(self._dependents.pop(uid, ())):
            obj = self.objects.get((group, kind_name, place, other), {})
            owners = [dig_text(owner, "uid") for owner in dig_list(obj, "metadata", "ownerReferences")]
            if uid in owners and not any(self._lives(owner) for owner in owners):
                self.remove(self.kind_of(group, kind_name), place, other)
        if kind.kind == "Namespace" and not kind.group:
            for group, kind_name, place, other in list(self.objects):
                if place == name:
                    self.remove(self.kind_of(group, kind_name), place, other)

    def expire(self, *, losing: bool = True) -> None:
        """Every watch has to list again; `losing` takes away what it had not been told yet."""
        for watcher in self.watchers:
            while losing and not watcher.queue.empty():
                watcher.queue.get_nowait()
            watcher.queue.put_nowait(None)

    def timestamp(self) -> str:
        return self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def version(self) -> str:
        return str(self._version)

    def _put(self, key: Key, obj: Object) -> None:
        self.objects[key] = obj
        for owner in dig_list(obj, "metadata", "ownerReferences"):
            self._dependents.setdefault(dig_text(owner, "uid"), set()).add(key)

    def _lives(self, uid: str) -> bool:
        return any(dig_text(obj, "metadata", "uid") == uid for obj in self.objects.values())

    def _tell(self, what: str, kind: Kind, obj: Object) -> None:
        namespace = dig_text(obj, "metadata", "namespace")
        for watcher in self.watchers:
            if watcher.kind == kind and (not watcher.namespace or watcher.namespace == namespace):
                watcher.queue.put_nowait((what, copied(obj)))

    def _bumped(self, dry_run: bool) -> str:
        if not dry_run:
            self._version += 1
        return str(self._version)

    def _uid(self) -> str:
        self._serial += 1
        return f"00000000-0000-4000-8000-{self._serial:012d}"

    def _letters(self) -> str:
        self._serial += 1
        alphabet = "bcdfghjklmnpqrstvwxz2456789"  # the API server's own, without vowels
        rest, letters = self._serial, ""
        for _ in range(5):
            rest, place = divmod(rest, len(alphabet))
            letters = alphabet[place] + letters
        return letters


def has_generation(kind: Kind) -> bool:
    built_in = BUILT_IN.get(kind.kind)
    if kind.kind == SECRET.kind and not kind.group:
        return False
    return kind.kind in GENERATED if built_in is not None and built_in.group == kind.group else True


def spec_moved(kind: Kind, made: Object, stored: Object) -> bool:
    """Whether the generation moves: for everything but metadata and status, and for a Deployment's annotations."""
    if kind.kind == "Deployment" and not same(
        dig_object(made, "metadata", "annotations"), dig_object(stored, "metadata", "annotations")
    ):
        return True
    outside = ("metadata", "status", "apiVersion", "kind")
    return not same(
        {key: value for key, value in made.items() if key not in outside},
        {key: value for key, value in stored.items() if key not in outside},
    )


def validate(kind: Kind, made: Object, stored: Object | None) -> None:
    """A few of the API server's refusals, enough that a test can meet one. Raises Rejected."""
    replicas = dig(made, "spec", "replicas")
    if isinstance(replicas, int) and replicas < 0:
        raise Rejected(f"{kind.kind} is invalid: spec.replicas: Invalid value: {replicas}: must be at least 0")
    size = len(str(made))
    if size > MAX_OBJECT_BYTES:
        raise Rejected(f"etcdserver: request is too large ({size} bytes)")
    if stored is None:
        return
    if kind.kind in ("Deployment", "StatefulSet", "DaemonSet") and not same(
        dig(made, "spec", "selector"), dig(stored, "spec", "selector")
    ):
        raise Rejected(f"{kind.kind} is invalid: spec.selector: Invalid value: field is immutable")
    if stored.get("immutable") is True and any(
        not same(made.get(key), stored.get(key)) for key in ("data", "binaryData", "immutable")
    ):
        raise Rejected(f"{kind.kind} is invalid: data: Forbidden: field is immutable when `immutable` is set")
    if kind.kind == "Pod" and not same(_without_images(made), _without_images(stored)):
        raise Rejected("Pod is invalid: spec: Forbidden: pod updates may not change fields other than the images")
    if kind.group == GROUP and kind.kind == RUN.kind and not same(made.get("spec"), stored.get("spec")):
        raise Rejected("RunbookRun is invalid: spec: Invalid value: field is immutable")


def _without_images(pod: Object) -> object:
    spec = copied(dig_object(pod, "spec"))
    for container in dig_list(spec, "containers"):
        container.pop("image", None)
    return spec


def _keep(made: Object, stored: Object) -> None:
    """What no writer of the main resource can change."""
    if "status" in stored:
        made["status"] = copied(stored["status"])
    else:
        made.pop("status", None)
    metadata, before = dig_object(made, "metadata"), dig_object(stored, "metadata")
    for key in ("uid", "name", "namespace", "creationTimestamp", "generation", "resourceVersion", "deletionTimestamp"):
        if key in before:
            metadata[key] = before[key]
        else:
            metadata.pop(key, None)
    for key in ("annotations", "labels", "finalizers", "ownerReferences"):
        if not metadata.get(key):
            metadata.pop(key, None)
    made["metadata"] = metadata
