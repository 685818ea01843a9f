"""
The API server asked about others: whose token this is, and what they may do.

What a review says of an error decides nothing: the API server writes there both that a token is worth
nothing and that one of its authenticators failed. A webhook of an authorizer that failed is told
apart, because it says that it could not evaluate.
"""

from typing import Final

from remediator.adapters.kube import KubeApi
from remediator.domain.errors import Unavailable
from remediator.domain.json import JSON, Object, dig, dig_object, dig_text
from remediator.domain.redaction import redact
from remediator.ports import User

TOKENS: Final = "authentication.k8s.io/v1"
ACCESS: Final = "authorization.k8s.io/v1"


class KubeReviews:
    """`ports.Reviews` as the operator's own account, which needs the role `system:auth-delegator`."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def user_of(self, token: str, audience: str) -> User | None:
        spec: Object = {"token": token}
        if audience:
            spec["audiences"] = [audience]
        answer = await self._review(TOKENS, "TokenReview", spec)
        user = dig_object(answer, "status", "user")
        name = dig_text(user, "username")
        # an authenticator that knows nothing of audiences names none: the token is then the API server's own
        for_us = not audience or audience in _texts(answer, "status", "audiences")
        if dig(answer, "status", "authenticated") is not True or not for_us or not name:
            return None
        return User(
            name,
            dig_text(user, "uid"),
            _texts(user, "groups"),
            {key: _texts(user, "extra", key) for key in dig_object(user, "extra")},
        )

    async def may_post(self, user: User, path: str) -> bool:
        spec: Object = {
            "user": user.name,
            "uid": user.uid,
            "groups": [*user.groups],
            "extra": {key: [*values] for key, values in user.extra.items()},
            "nonResourceAttributes": {"path": path, "verb": "post"},
        }
        answer = await self._review(ACCESS, "SubjectAccessReview", spec)
        if dig(answer, "status", "allowed") is True:
            return True
        problem = dig_text(answer, "status", "evaluationError")
        if problem and dig(answer, "status", "denied") is not True:
            raise Unavailable(f"whether {user.name} may post {path} could not be told: {redact(problem)[:300]}")
        return False

    async def _review(self, api_version: str, kind: str, spec: Object) -> Object:
        return await self._api.json(
            "POST",
            f"/apis/{api_version}/{kind.lower()}s",
            body={"apiVersion": api_version, "kind": kind, "spec": spec},
            repeatable=True,
        )


def _texts(value: JSON, *keys: str) -> tuple[str, ...]:
    found = dig(value, *keys)
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()
