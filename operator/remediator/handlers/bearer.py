"""
Tokens of our own: in a file, or in the files of a folder such as a mounted Secret.

Several tokens are accepted at once, so that one can be exchanged without losing an alert.
"""

import asyncio
import hashlib
import hmac
from pathlib import Path
from typing import Final

from remediator.ports import Clock

READ_AGAIN_SECONDS: Final = 5.0
MAX_TOKEN_BYTES: Final = 4_096
MOST_TOKENS: Final = 32


class Tokens:
    """The tokens that are accepted, read again every few seconds; none where the path is empty."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = Path(path) if path else None
        self._clock = clock
        self._digests: tuple[bytes, ...] = ()
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def missing(self) -> bool:
        """Whether there should be tokens and are none, which is our fault and not the sender's."""
        await self._refresh()
        return self._path is not None and not self._digests

    async def accept(self, token: str) -> bool:
        """Whether it is one of them; how long that takes does not say how much of it was right."""
        await self._refresh()
        digest = _digest(token.encode("utf-8", "surrogateescape"))
        found = False
        for known in self._digests:  # all of them, whichever it is
            found |= hmac.compare_digest(known, digest)
        return found

    async def _refresh(self) -> None:
        if self._path is None:
            return
        now = self._clock.boot_seconds()
        if self._read_at is not None and now - self._read_at < READ_AGAIN_SECONDS:
            return
        async with self._reading:
            if self._read_at is not None and now - self._read_at < READ_AGAIN_SECONDS:
                return
            self._digests = await asyncio.to_thread(_read, self._path)
            self._read_at = now


def _read(path: Path) -> tuple[bytes, ...]:
    """Digests, so that tokens are not kept in memory and all have one length."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        # a mounted Secret holds its files a second time, below a folder that begins with two points
        texts = [
            file.read_bytes()[:MAX_TOKEN_BYTES].strip() for file in files if file.is_file() and file.name[0] != "."
        ]
    except OSError:
        return ()
    return tuple(_digest(text) for text in texts[:MOST_TOKENS] if text)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
