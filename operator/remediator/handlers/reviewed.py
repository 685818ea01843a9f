"""
Kubernetes tokens of senders: whose they are, and whether they may send, as the API server says.

Each answer is remembered for a short time under a digest of the token, so that a burst asks once, a
revoked token ends within a minute and a new right counts within seconds. The two kinds of answers have
a memory each: nobody drives out those who may send by sending nonsense. What has not the form of a
JSON Web Token is never asked about, and no more than a few are asked about at once.
"""

import asyncio
import hashlib
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from remediator.ports import Clock, Reviews

PATH: Final = "/v1/alerts"
MOST_TOKEN_CHARACTERS: Final = 8_192
TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
YES_SECONDS: Final = 60.0
NO_SECONDS: Final = 10.0
REMEMBERED: Final = 1_024
ASKED_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Sender:
    """A user of the API server."""

    name: str
    may_send: bool


class ReviewedTokens:
    """Asks about tokens, and remembers."""

    def __init__(self, reviews: Reviews, clock: Clock, *, audience: str) -> None:
        self._reviews = reviews
        self._clock = clock
        self._audience = audience
        self._yes = _Memory(clock, YES_SECONDS)
        self._no = _Memory(clock, NO_SECONDS)
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)

    async def sender(self, token: str) -> Sender | None:
        """
        Whose token it is; None where it is nobody's.

        Raises Unavailable or Forbidden where that could not be told, which is not remembered.
        """
        if len(token) > MOST_TOKEN_CHARACTERS or not TOKEN.fullmatch(token):
            return None
        digest = hashlib.sha256(token.encode()).digest()
        if self._knows(digest):
            return self._recalled(digest)
        async with self._asking:
            if not self._knows(digest):  # nobody else has asked about it in the meantime
                await self._ask(token, digest)
            return self._recalled(digest)

    async def _ask(self, token: str, digest: bytes) -> None:
        user = await self._reviews.user_of(token, self._audience)
        if user is None:
            self._no.keep(digest, None)
        elif await self._reviews.may_post(user, PATH):
            self._yes.keep(digest, Sender(user.name, may_send=True))
        else:
            self._no.keep(digest, Sender(user.name, may_send=False))

    def _knows(self, digest: bytes) -> bool:
        return digest in self._yes or digest in self._no

    def _recalled(self, digest: bytes) -> Sender | None:
        return self._yes.recall(digest) if digest in self._yes else self._no.recall(digest)


class _Memory:
    """The last answers, each for some seconds."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._kept: OrderedDict[bytes, tuple[float, Sender | None]] = OrderedDict()

    def __contains__(self, digest: bytes) -> bool:
        until, _ = self._kept.get(digest, (0.0, None))
        return self._clock.boot_seconds() < until

    def recall(self, digest: bytes) -> Sender | None:
        return self._kept[digest][1]

    def keep(self, digest: bytes, answer: Sender | None) -> None:
        self._kept[digest] = (self._clock.boot_seconds() + self._seconds, answer)
        self._kept.move_to_end(digest)
        if len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)
