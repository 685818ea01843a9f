"""What another account may do, asked of the API server's authorizer in whichever way the caller may ask."""

from typing import TYPE_CHECKING, Final

from remediator.domain.actions import Permission
from remediator.domain.errors import Forbidden, Rejected, Unavailable
from remediator.domain.json import Object, dig
from remediator.domain.objects import BUILT_IN, Kind

if TYPE_CHECKING:
    from remediator.ports import Cluster

REVIEW: Final = Kind("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", namespaced=False)
CLUSTER_SCOPED: Final = frozenset((kind.group, kind.plural) for kind in BUILT_IN.values() if not kind.namespaced)


def account_of(namespace: str, name: str) -> str:
    """The user name of a ServiceAccount."""
    return f"system:serviceaccount:{namespace}:{name}"


def groups_of(account: str) -> list[str]:
    """The groups that every ServiceAccount is in."""
    namespace = account.split(":")[2]
    return ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]


class Asker:
    """Asks for accounts; None is the answer where the caller may not ask."""

    def __init__(self, cluster: "Cluster") -> None:
        self._cluster = cluster
        self._answers: dict[tuple[str, Permission, str, str], tuple[str, ...] | None] = {}

    async def lacks(
        self, account: str, permission: Permission, namespace: str, name: str = ""
    ) -> tuple[str, ...] | None:
        """The verbs of the permission that the account has not; None where the caller may not ask."""
        place = "" if (permission.group, permission.resource.partition("/")[0]) in CLUSTER_SCOPED else namespace
        key = (account, permission, place, name)
        if key not in self._answers:
            self._answers[key] = await self._asked(*key)
        return self._answers[key]

    async def _asked(self, account: str, permission: Permission, namespace: str, name: str) -> tuple[str, ...] | None:
        missing = []
        for verb in permission.verbs:
            try:
                answer = await self._cluster.create(REVIEW, _review(account, permission, verb, namespace, name))
            except (Forbidden, Rejected):
                return None
            if problem := dig(answer, "status", "evaluationError"):
                raise Unavailable(f"whether {account} may {verb} {permission.resource} could not be told: {problem}")
            if dig(answer, "status", "allowed") is not True:
                missing.append(verb)
        return tuple(missing)


def _review(account: str, permission: Permission, verb: str, namespace: str, name: str) -> Object:
    resource, _, sub = permission.resource.partition("/")
    asked: Object = {"group": permission.group, "resource": resource, "verb": verb}
    for key, value in (("subresource", sub), ("namespace", namespace), ("name", name)):
        if value:
            asked[key] = value
    return {"metadata": {}, "spec": {"user": account, "groups": [*groups_of(account)], "resourceAttributes": asked}}
