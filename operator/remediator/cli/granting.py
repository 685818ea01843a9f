"""
What lets the runs of one namespace do some actions there, as objects: not a right more than these take.

The account gets the reading role and a Role made from what the actions declare; the operator gets the
right to act as that one account; a Guardrail of the namespace lists the actions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from remediator.actions import registry
from remediator.cli.asking import CLUSTER_SCOPED
from remediator.domain.actions import ActionClass
from remediator.domain.errors import Rejected
from remediator.domain.json import Object, dig, dig_object, dig_text
from remediator.domain.objects import GUARDRAIL, Kind, ObjectRef
from remediator.domain.policies import Mode
from remediator.engine.manifests import nearest, one_of
from remediator.generate.crds import LABELS
from remediator.generate.rbac import READ, rules

ACCOUNT: Final = "remediator-runs"
OPERATOR: Final = "remediator"
MARKS: Final = "remediator-marks-runs"
NAMED: Final = "kubernetes.io/metadata.name"

RBAC: Final = "rbac.authorization.k8s.io"
SERVICE_ACCOUNT: Final = Kind("", "v1", "ServiceAccount", "serviceaccounts")
ROLE: Final = Kind(RBAC, "v1", "Role", "roles")
ROLE_BINDING: Final = Kind(RBAC, "v1", "RoleBinding", "rolebindings")
CLUSTER_ROLE: Final = Kind(RBAC, "v1", "ClusterRole", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDING: Final = Kind(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False)


class UnknownAction(ValueError):
    """The text says which one, and which is meant perhaps."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be possible where."""

    namespace: str
    operator_namespace: str
    actions: tuple[str, ...]
    account: str = ACCOUNT
    guardrail: str = ""
    mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object as it has to be; what it does not say is left as it is."""

    kind: Kind
    obj: Object

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef.to(self.obj, self.kind)


def known_actions(names: Iterable[str]) -> tuple[str, ...]:
    """
    The actions, each once, in their order.

    Raises UnknownAction for what is no action, changes nothing, or is about no object of a namespace.
    """
    changes = registry.names(ActionClass.CHANGE)
    found = dict.fromkeys(name.strip() for name in names if name.strip())
    for name in found:
        if name not in changes:
            if any(name in registry.names(cls) for cls in ActionClass):
                raise UnknownAction(f"{name} changes nothing and needs no grant")
            raise UnknownAction(
                f"there is no action {name} that changes something{nearest(name, changes) or f'; there are {one_of(changes)}'}"
            )
        if any(
            (need.group, need.resource.partition("/")[0]) in CLUSTER_SCOPED for need in registry.info(name).permissions
        ):
            raise UnknownAction(f"{name} is about objects of the whole cluster, which no namespace can be granted")
    if not found:
        raise UnknownAction(f"name at least one action: {one_of(changes)}")
    return tuple(found)


def objects(wish: Wish, guardrail_before: Object | None = None) -> list[Wanted]:
    """
    Everything that the wish takes, in the order in which it is made: the fence opens last.

    Raises Rejected where a Guardrail of that name is about something else.
    """
    account = _subject(wish.account, wish.namespace)
    operator = _subject(OPERATOR, wish.operator_namespace)
    changes, acting = f"{wish.account}-granted", f"remediator-acts-as-{wish.account}"
    place = wish.namespace
    return [
        _wanted(SERVICE_ACCOUNT, place, wish.account, automountServiceAccountToken=False),
        _binding(ROLE_BINDING, place, f"{wish.account}-read", CLUSTER_ROLE, READ, account),
        _wanted(ROLE, place, changes, rules=change_rules(wish.actions)),
        _binding(ROLE_BINDING, place, changes, ROLE, changes, account),
        _wanted(
            ROLE,
            place,
            acting,
            rules=[
                {
                    "apiGroups": [""],
                    "resources": ["serviceaccounts"],
                    "resourceNames": [wish.account],
                    "verbs": ["impersonate"],
                }
            ],
        ),
        _binding(ROLE_BINDING, place, acting, ROLE, acting, operator),
        # such marks belong to no namespace, and without the right above they are worth nothing
        _wanted(
            CLUSTER_ROLE,
            "",
            MARKS,
            rules=[
                {
                    "apiGroups": ["authentication.k8s.io"],
                    "resources": ["userextras/remediator.dev/run", "userextras/remediator.dev/void"],
                    "verbs": ["impersonate"],
                }
            ],
        ),
        _binding(CLUSTER_ROLE_BINDING, "", MARKS, CLUSTER_ROLE, MARKS, operator),
        Wanted(GUARDRAIL, _guardrail(wish, guardrail_before)),
    ]


def change_rules(actions: Sequence[str]) -> list[Any]:
    """RBAC rules for what these actions declare, and for nothing else."""
    needed: dict[tuple[str, str], set[str]] = {}
    for action in actions:
        for permission in registry.info(action).permissions:
            needed.setdefault((permission.group, permission.resource), set()).update(permission.verbs)
    return rules(needed)


def _guardrail(wish: Wish, before: Object | None) -> Object:
    name = wish.guardrail or wish.namespace
    selector: Object = {"matchLabels": {NAMED: wish.namespace}}
    kept = dig_object(before, "spec") if before is not None else {}
    if before is not None and dig_object(kept, "namespaceSelector") != selector:
        raise Rejected(
            f"Guardrail {name} is there and does not select the namespace {wish.namespace} alone: "
            "give a name that is free by --guardrail"
        )
    mode: Object = {"maxMode": str(wish.mode)} if wish.mode is not None else {}
    spec: Object = {**kept, "namespaceSelector": selector, "allow": [*wish.actions], **mode}
    return _wanted(GUARDRAIL, "", name, spec=spec).obj


def _subject(name: str, namespace: str) -> Object:
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def _binding(kind: Kind, namespace: str, name: str, role_kind: Kind, role: str, subject: Object) -> Wanted:
    role_ref: Object = {"apiGroup": RBAC, "kind": role_kind.kind, "name": role}
    return _wanted(kind, namespace, name, roleRef=role_ref, subjects=[subject])


def _wanted(kind: Kind, namespace: str, name: str, **fields: Any) -> Wanted:
    place: Object = {"namespace": namespace} if namespace else {}
    meta: Object = {"name": name, **place, "labels": {**LABELS}}
    return Wanted(kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, **fields})


# what is there already


def differences(wanted: Wanted, present: Object) -> list[str]:
    """What would be another value than it is, in words; labels do not count."""
    if wanted.kind == GUARDRAIL:
        before, after = dig_object(present, "spec"), dig_object(wanted.obj, "spec")
        return [
            f"{name}: {_words(before.get(name))} → {_words(after.get(name))}"
            for name in after
            if before.get(name) != after.get(name)
        ]
    return [
        name
        for name, value in wanted.obj.items()
        if name not in ("apiVersion", "kind", "metadata") and present.get(name) != value
    ]


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(one) for one in value) or "none"
    return "unset" if value is None else str(value)


def over(wanted: Wanted, present: Object) -> Object:
    """
    The present object with what is wanted in its place.

    Raises Rejected where Kubernetes does not let it be changed.
    """
    if "roleRef" in wanted.obj and present.get("roleRef") != wanted.obj["roleRef"]:
        bound = f"{dig_text(present, 'roleRef', 'kind')} {dig_text(present, 'roleRef', 'name')}"
        raise Rejected(f"{wanted.ref} binds {bound}, which cannot be changed: delete it, or give another --account")
    labels = {**dig_object(present, "metadata", "labels"), **dig_object(wanted.obj, "metadata", "labels")}
    meta: Object = {**dig_object(present, "metadata"), "labels": labels}
    assert dig(meta, "resourceVersion"), "what was read has one"
    return {**present, **wanted.obj, "metadata": meta}
