"""
Who is let in: a client certificate that is listed, a token of our own, or a Kubernetes token whose owner
has the right to send.

There is no fourth way, and none without credentials. What could not be told is neither yes nor no: the
sender is asked to come back, because an alert that is answered with 401 is never sent again.
"""

from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal

from remediator.handlers.bearer import Tokens
from remediator.handlers.reviewed import ReviewedTokens

MOST_CHARACTERS: Final = 8_192
HOW: Final = "an Authorization header with a bearer token, or a client certificate, is needed"


@dataclass(frozen=True, slots=True)
class Admitted:
    """May send alerts, and how that is known."""

    by: Literal["Certificate", "Token", "KubernetesToken"]


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """May not send, or not now; `problem` says what would have to be otherwise."""

    status: HTTPStatus
    reason: Literal["Unauthorized", "NotPermitted", "NoToken"]
    problem: str


class Senders:
    """Judges who calls; without `reviewed` no Kubernetes token is good, without `names` no certificate."""

    def __init__(
        self, tokens: Tokens, reviewed: ReviewedTokens | None = None, names: Collection[str] = frozenset()
    ) -> None:
        self._tokens = tokens
        self._reviewed = reviewed
        self._names = frozenset(names)

    async def judge(self, authorization: str, certified: Collection[str] = ()) -> Admitted | TurnedAway:
        """
        Whether the call is taken, by its header and by the names on a client certificate that was verified.

        Raises Unavailable or Forbidden where the API server could not be asked.
        """
        if self._names.intersection(certified):
            return Admitted("Certificate")
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > MOST_CHARACTERS:
            return await self._without_token(certified)
        if await self._tokens.accept(token):
            return Admitted("Token")
        sender = await self._reviewed.sender(token) if self._reviewed else None
        if sender is None:
            return await self._unknown()
        if not sender.may_send:
            return TurnedAway(
                HTTPStatus.FORBIDDEN,
                "NotPermitted",
                f"{sender.name} may not post /v1/alerts; the ClusterRole remediator-alert-sender permits it",
            )
        return Admitted("KubernetesToken")

    async def _without_token(self, certified: Collection[str]) -> TurnedAway:
        if certified:
            return TurnedAway(
                HTTPStatus.FORBIDDEN, "NotPermitted", "no name on the client certificate is among those that may send"
            )
        return TurnedAway(HTTPStatus.UNAUTHORIZED, "Unauthorized", HOW)

    async def _unknown(self) -> TurnedAway:
        if await self._tokens.missing():
            return TurnedAway(
                HTTPStatus.SERVICE_UNAVAILABLE, "NoToken", "there is no token yet that this one could be compared with"
            )
        return TurnedAway(HTTPStatus.UNAUTHORIZED, "Unauthorized", "the bearer token is none of those that are known")
