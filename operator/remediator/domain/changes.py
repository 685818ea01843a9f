"""
Changes to the cluster as data: rendered before they happen, kept with what they replace.

A `Patch` alters fields of one object and can be turned round; `DeletePods` removes pods that a
controller makes anew. A path names list items by key (`containers/[name=proxy]/env/[name=QUEUE]`),
so that it still points at the same thing after somebody reordered the list.

`json_patch` turns a `Patch` into the one JSON patch that makes it: it tests the UID, every value
that it replaces and the absence of a void before it writes, and stamps the object with run and
token, so that a restart can tell whether it happened.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from remediator.domain.errors import RemediatorError
from remediator.domain.json import JSON, Object, copied, dig, dig_int, dig_object, dig_text
from remediator.domain.objects import ObjectRef, Target

RUN_STAMP: Final = "remediator.dev/run"
STEP_STAMP: Final = "remediator.dev/step"
VOID_STAMP: Final = "remediator.dev/void"
STAMPS: Final = (RUN_STAMP, STEP_STAMP, VOID_STAMP)
FIELD_MANAGER: Final = "remediator"
"""What the API server notes as the writer of all that we write."""

RESTARTED_BY: Final = "remediator.dev/restarted-by"
"""
Written into the pod template: any change there makes the controller roll its pods, and an
annotation is the one change that alters nothing else.
"""

TOKEN_PLACEHOLDER: Final = "<token>"  # noqa: S105 - a place for a token, not one
"""Stands in a planned value for the step's token, which exists only once the step is intended."""


class Absent:
    """The type of `ABSENT`: nothing stands at the path. None would be JSON's null."""

    _instance: "Absent | None" = None

    def __new__(cls) -> "Absent":
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


class Differs(RemediatorError):
    """The object no longer holds what the change was rendered from; the message names the field."""


@dataclass(frozen=True, slots=True)
class ByKey:
    """A list item named by one of its fields, as `[name=proxy]`."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"[{self.key}={self.value}]"


@dataclass(frozen=True, slots=True)
class FieldPath:
    """Where a value stands in an object."""

    parts: tuple[str | ByKey, ...]

    @classmethod
    def of(cls, *parts: str | ByKey) -> "FieldPath":
        return cls(parts)

    @classmethod
    @lru_cache(maxsize=2_048)  # the guards read the same few paths again and again
    def parse(cls, text: str) -> "FieldPath":
        """Read what `str()` wrote."""
        parts: list[str | ByKey] = []
        for part in text.lstrip("/").split("/"):
            plain = part.replace("~1", "/").replace("~0", "~")
            if plain.startswith("[") and plain.endswith("]") and "=" in plain:
                key, _, value = plain[1:-1].partition("=")
                parts.append(ByKey(key, value))
            else:
                parts.append(plain)
        return cls(tuple(parts))

    def __str__(self) -> str:
        return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in self.parts)

    def value_in(self, obj: JSON) -> JSON | Absent:
        """What stands there, or `ABSENT`."""
        for part in self.parts:
            if isinstance(part, ByKey):
                items = obj if isinstance(obj, list) else []
                matching = [i for i in items if isinstance(i, dict) and i.get(part.key) == part.value]
                if not matching:
                    return ABSENT
                obj = matching[0]
            elif isinstance(obj, dict) and part in obj:
                obj = obj[part]
            else:
                return ABSENT
        return obj


@dataclass(frozen=True, slots=True)
class Edit:
    """
    One value that is replaced: what stood there and what shall stand there.

    `ABSENT` as `was` adds it, as `to` removes it.
    """

    path: FieldPath
    was: JSON | Absent
    to: JSON | Absent

    @property
    def reversed(self) -> "Edit":
        return Edit(self.path, self.to, self.was)

    @property
    def is_empty(self) -> bool:
        return self.was == self.to


@dataclass(frozen=True, slots=True)
class Patch:
    """
    A change of fields of one object.

    `replaces_pods` says that the controller rolls the pods for it; `undoable` that `reversed`
    takes it back.
    """

    target: Target
    edits: tuple[Edit, ...]
    summary: str
    replaces_pods: bool = False
    undoable: bool = True

    @property
    def reversed(self) -> "Patch":
        """The change that puts back what this one replaced, last edit first."""
        edits = tuple(edit.reversed for edit in reversed(self.edits))
        return Patch(self.target, edits, f"take back: {self.summary}", self.replaces_pods)

    @property
    def is_empty(self) -> bool:
        return all(edit.is_empty for edit in self.edits)

    def overlaps(self, other: "Patch") -> bool:
        """Whether both write the same value of the same object, or one writes into what the other writes."""
        pairs = ((mine.path.parts, its.path.parts) for mine in self.edits for its in other.edits)
        return self.target == other.target and any(a[: len(b)] == b or b[: len(a)] == a for a, b in pairs)

    def joined_with(self, other: "Patch") -> "Patch":
        """Both as one change of the same object: one write, one rollout, one undo."""
        return Patch(
            self.target,
            self.edits + other.edits,
            f"{self.summary}; {other.summary}",
            self.replaces_pods or other.replaces_pods,
            self.undoable and other.undoable,
        )


@dataclass(frozen=True, slots=True)
class DeletePods:
    """
    Pods that are deleted, by name and UID; their controller makes new ones.

    A resume finishes this list and never selects again. `evict` asks the API server, which refuses
    what a PodDisruptionBudget protects; `grace_seconds` is what a pod has to end, None for its own.
    """

    target: Target
    pods: tuple[Target, ...]
    summary: str

    replaces_pods: bool = True
    undoable: bool = False
    evict: bool = False
    grace_seconds: int | None = None

    @property
    def is_empty(self) -> bool:
        return not self.pods


Change = Patch | DeletePods


def with_token(change: Change, token: str) -> Change:
    """The change with the step's token where the plan left its place open."""
    if isinstance(change, DeletePods):
        return change
    edits = tuple(Edit(edit.path, _filled_in(edit.was, token), _filled_in(edit.to, token)) for edit in change.edits)
    return replace(change, edits=edits)


def _filled_in(value: JSON | Absent, token: str) -> JSON | Absent:
    return token if value == TOKEN_PLACEHOLDER else value


def differences(patch: Patch, seen: Object) -> tuple[str, ...]:
    """
    The paths whose present value is neither what the patch replaces nor what it writes.

    A value that already is what the patch writes is no difference: writing it again changes nothing.
    """
    found = []
    for edit in patch.edits:
        present = edit.path.value_in(seen)
        if present != edit.was and present != edit.to:
            found.append(str(edit.path))
    return tuple(found)


def json_patch(patch: Patch, seen: Object, *, run: str, token: str) -> list[Object]:
    """
    The JSON patch that carries `patch` out on the object as it was just read.

    It fails as a whole at the API server unless UID, generation (resourceVersion where that does not
    tell of voids), every replaced value and the absence of a void for `token` still hold. Applying it twice writes once:
    the second finds the stamp.

    Raises:
        Differs: when the object already holds other values than the patch was rendered from.
    """
    wrong = differences(patch, seen)
    if wrong:
        raise Differs(f"{patch.target}: {', '.join(wrong)} is not what the change was rendered from")
    operations, after = _carried_out(patch, seen)
    return [
        *_preconditions(patch.target, seen, token),
        *operations,
        *stamp(after, {RUN_STAMP: run, STEP_STAMP: token}),
    ]


def applied(patch: Patch, seen: Object) -> Object:
    """The object as the patch would leave it, without stamps; it holds what the patch replaces."""
    return _carried_out(patch, seen)[1]


def _carried_out(patch: Patch, seen: Object) -> tuple[list[Object], Object]:
    operations: list[Object] = []
    shadow: JSON = json.loads(json.dumps(seen))
    for edit in patch.edits:
        for operation in _edit(edit, shadow):
            operations.append(operation)
            shadow = apply_operation(shadow, operation)
    assert isinstance(shadow, dict)
    return operations, shadow


def void_patch(target: Target, seen: Object, *, token: str) -> list[Object]:
    """
    The write that makes every later attempt at `token` fail: it changes metadata alone.

    Each token is a new value, because a patch that changes nothing does not move the resourceVersion.
    """
    return [
        _test("/metadata/uid", target.uid),
        _test("/metadata/resourceVersion", dig(seen, "metadata", "resourceVersion")),
        *stamp(seen, {VOID_STAMP: token}),
    ]


def is_stamped(seen: Object, token: str) -> bool:
    """Whether the object says that this token's change has happened."""
    return dig_text(seen, "metadata", "annotations", STEP_STAMP) == token


def is_voided(seen: Object, token: str) -> bool:
    """Whether the object says that this token's change was given up."""
    return dig_text(seen, "metadata", "annotations", VOID_STAMP) == token


def tells_of_voids(target: Target) -> bool:
    """
    Whether the object's generation moves when a void is written to it, or taken off again.

    That of a Deployment counts its annotations too; that of every other kind counts its spec alone, and
    some kinds have none. There only the resourceVersion tells that nobody has given the step up meanwhile:
    a later void may stand where ours stood, and a controller that puts the object back may have removed both.
    """
    return target.ref.group == "apps" and target.ref.kind == "Deployment"


def _preconditions(target: Target, seen: Object, token: str) -> list[Object]:
    moved = (
        _test("/metadata/generation", dig(seen, "metadata", "generation"))
        if tells_of_voids(target)
        else _test("/metadata/resourceVersion", dig(seen, "metadata", "resourceVersion"))
    )
    annotations = dig_object(seen, "metadata", "annotations")
    guards = [_test("/metadata/uid", target.uid), moved]
    if annotations:
        # a void of an earlier token may stand there: it is tested for being that one and no newer
        guards.append(_test(_annotation(VOID_STAMP), annotations.get(VOID_STAMP)))
    else:
        guards.append(_test("/metadata/annotations", dig(seen, "metadata", "annotations")))  # none, or an empty map
    if annotations.get(VOID_STAMP) == token:
        raise Differs(f"{target}: this step was given up")
    return guards


def stamp(seen: Object, values: Mapping[str, str]) -> list[Object]:
    """The operations that write annotations, whether or not the object has any."""
    if not dig_object(seen, "metadata", "annotations"):
        return [{"op": "add", "path": "/metadata/annotations", "value": dict(values)}]
    return [{"op": "add", "path": _annotation(key), "value": value} for key, value in values.items()]


def _edit(edit: Edit, seen: JSON) -> list[Object]:
    if edit.is_empty or edit.path.value_in(seen) == edit.to:
        return []
    pointer, missing = _locate(edit.path, seen)
    if isinstance(edit.to, Absent):
        return [_test(pointer, edit.was), {"op": "remove", "path": pointer}]
    if missing:
        return [{"op": "add", "path": pointer, "value": _wrapped(missing, edit.to)}]
    if isinstance(edit.was, Absent):
        return [{"op": "add", "path": pointer, "value": edit.to}]
    return [_test(pointer, edit.was), {"op": "replace", "path": pointer, "value": edit.to}]


def _locate(path: FieldPath, seen: JSON) -> tuple[str, tuple[str | ByKey, ...]]:
    """The JSON pointer of the deepest part that can be written, and the parts below it that do not exist."""
    pointer = ""
    for index, part in enumerate(path.parts):
        rest = path.parts[index + 1 :]
        if isinstance(part, ByKey):
            items = seen if isinstance(seen, list) else []
            places = [i for i, item in enumerate(items) if isinstance(item, dict) and item.get(part.key) == part.value]
            if not places:
                return f"{pointer}/-", rest
            pointer, seen = f"{pointer}/{places[0]}", items[places[0]]
        elif isinstance(seen, dict):
            pointer = f"{pointer}/{_escape(part)}"
            if part not in seen:
                return pointer, rest
            seen = seen[part]
        else:
            raise Differs(f"{path}: there is nothing to write into")
    return pointer, ()


def _wrapped(missing: Sequence[str | ByKey], value: JSON) -> JSON:
    for part in reversed(missing):
        value = [value] if isinstance(part, ByKey) else {part: value}
    return value


def apply_operation(obj: JSON, operation: Object) -> JSON:
    """The object after one `add`, `replace` or `remove` of a JSON patch; `test` leaves it as it is."""
    if operation["op"] == "test":
        return obj
    operation = copied(operation)  # a value that is put in must not be altered by the next operation
    keys = [part.replace("~1", "/").replace("~0", "~") for part in str(operation["path"]).split("/")[1:]]
    holder = obj
    for key in keys[:-1]:
        holder = holder[int(key)] if isinstance(holder, list) else dig(holder, key)
    last = keys[-1]
    if isinstance(holder, list):
        if operation["op"] == "remove":
            del holder[int(last)]
        elif operation["op"] == "replace":
            holder[int(last)] = operation["value"]
        else:
            holder.insert(len(holder) if last == "-" else int(last), operation["value"])
    elif isinstance(holder, dict):
        if operation["op"] == "remove":
            del holder[last]
        else:
            holder[last] = operation["value"]
    return obj


def _test(pointer: str, value: JSON | Absent) -> Object:
    return {"op": "test", "path": pointer, "value": None if isinstance(value, Absent) else value}


def _annotation(key: str) -> str:
    return f"/metadata/annotations/{_escape(key)}"


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def edit_as_json(edit: Edit) -> Object:
    """The form in which a run's status keeps it: a field that is missing was absent."""
    found: Object = {"path": str(edit.path)}
    if not isinstance(edit.was, Absent):
        found["was"] = edit.was
    if not isinstance(edit.to, Absent):
        found["to"] = edit.to
    return found


def edit_from_json(stored: Object) -> Edit:
    return Edit(FieldPath.parse(dig_text(stored, "path")), stored.get("was", ABSENT), stored.get("to", ABSENT))


def change_as_json(change: Change) -> Object:
    """The form in which a run's plan keeps a change."""
    ref = change.target.ref
    found: Object = {
        "target": {
            "group": ref.group,
            "kind": ref.kind,
            "namespace": ref.namespace,
            "name": ref.name,
            "uid": change.target.uid,
        },
        "summary": change.summary,
        "replacesPods": change.replaces_pods,
        "undoable": change.undoable,
    }
    if isinstance(change, Patch):
        found["edits"] = [edit_as_json(edit) for edit in change.edits]
    else:
        found["pods"] = [_pod_as_json(pod, ref.namespace) for pod in change.pods]
        if change.evict:
            found["evict"] = True
        if change.grace_seconds is not None:
            found["graceSeconds"] = change.grace_seconds
    return found


def _pod_as_json(pod: Target, namespace: str) -> Object:
    """Its namespace is left out where it is the target's own."""
    found: Object = {"name": pod.ref.name, "uid": pod.uid}
    return found if pod.ref.namespace == namespace else {**found, "namespace": pod.ref.namespace}


def _pod_from_json(stored: Object, namespace: str) -> Target:
    place = dig_text(stored, "namespace") or namespace
    return Target(ObjectRef("", "Pod", place, dig_text(stored, "name")), dig_text(stored, "uid"))


def change_from_json(stored: Object) -> Change:
    """The change that `change_as_json` wrote."""
    place = dig_object(stored, "target")
    ref = ObjectRef(
        dig_text(place, "group"), dig_text(place, "kind"), dig_text(place, "namespace"), dig_text(place, "name")
    )
    target = Target(ref, dig_text(place, "uid"))
    summary = dig_text(stored, "summary")
    if "pods" in stored:
        pods = _objects(stored.get("pods"))
        return DeletePods(
            target,
            tuple(_pod_from_json(pod, ref.namespace) for pod in pods),
            summary,
            bool(stored.get("replacesPods")),
            evict=bool(stored.get("evict")),
            grace_seconds=dig_int(stored, "graceSeconds") if "graceSeconds" in stored else None,
        )
    edits = tuple(edit_from_json(edit) for edit in _objects(stored.get("edits")))
    return Patch(target, edits, summary, bool(stored.get("replacesPods")), bool(stored.get("undoable")))


def _objects(value: JSON) -> Iterable[Object]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
