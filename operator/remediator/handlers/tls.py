"""
TLS for the intake, from files that are exchanged while it runs.

Each connection is made with the files as they are then, so an exchange interrupts nobody. A connection
that was made with earlier ones is closed after its next answer: who is no longer trusted does not stay
by keeping a connection open. Files that cannot be used change nothing, and are told.
"""

import asyncio
import hashlib
import logging
import ssl
from pathlib import Path
from typing import Any, Final

from remediator.domain.errors import InvalidManifest, Problem
from remediator.handlers.metrics import TlsMetrics
from remediator.ports import Clock

log = logging.getLogger(__name__)

LOOKED_AT_EVERY_SECONDS: Final = 5.0
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
MAX_FILE_BYTES: Final = 1024 * 1024


class ServerTls:
    """
    The certificate and key in a folder such as a mounted Secret of type `kubernetes.io/tls`.

    With `client_ca`, a file of certificates, clients may present one that these have signed; one that
    they have not signed is refused in the handshake.
    """

    def __init__(self, folder: str, client_ca: str, clock: Clock, metrics: TlsMetrics) -> None:
        self._files = [Path(folder) / CERTIFICATE, Path(folder) / KEY, *([Path(client_ca)] if client_ca else [])]
        self._client_ca = client_ca
        self._clock = clock
        self._metrics = metrics
        self.context: Final = _Newest(ssl.PROTOCOL_TLS_SERVER)
        """What a server is given: it makes each connection with the newest files."""
        self._used = b""
        self._refused = b""

    def load(self) -> None:
        """The files are in use. Raises InvalidManifest where they cannot be: nothing is served without them."""
        try:
            self._use(_digest(self._files))
        except (OSError, ValueError) as wrong:
            raise InvalidManifest([Problem("REMEDIATOR_INTAKE_TLS_PATH", self._said(wrong))]) from wrong

    async def keep(self) -> None:
        """Look at the files, for ever."""
        while True:
            await self._clock.sleep(LOOKED_AT_EVERY_SECONDS)
            await self.look()

    async def look(self) -> None:
        """The files as they are now are in use, or the earlier ones still are and it was told why."""
        try:
            found = await asyncio.to_thread(_digest, self._files)
            if found == self._used:
                self._metrics.refused.set(0)
                return
            await asyncio.to_thread(self._use, found)
        except (OSError, ValueError) as wrong:
            self._metrics.refused.set(1)
            if (said := str(wrong).encode()) != self._refused:
                log.error("the certificate is not exchanged", extra={"error": self._said(wrong)})
                self._refused = said
            return
        self._metrics.refused.set(0)
        self._metrics.loaded.inc()
        self._refused = b""
        log.info("the certificate was exchanged", extra={"file": str(self._files[0])})

    def is_current(self, connection: ssl.SSLObject) -> bool:
        """Whether the connection was made with the files that are in use."""
        return connection.context is self.context.newest

    def _use(self, digest: bytes) -> None:
        # a context is whole or not there: loading into the one in use could leave it with half a pair
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.load_cert_chain(self._files[0], self._files[1], password=_no_password)
        if self._client_ca:
            made.load_verify_locations(cafile=self._client_ca)
            made.verify_mode = ssl.CERT_OPTIONAL
        self.context.newest = made
        self._used = digest

    def _said(self, wrong: Exception) -> str:
        names = ", ".join(str(file) for file in self._files)
        return f"{names}: {wrong}"


class _Newest(ssl.SSLContext):
    """Makes connections with another context, the newest: the event loop keeps the one that it was given."""

    newest: ssl.SSLContext

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        return self.newest.wrap_bio(*arguments, **named)


def _digest(files: list[Path]) -> bytes:
    found = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"{file} is larger than {MAX_FILE_BYTES} bytes")
        found.update(hashlib.sha256(content).digest())
    return found.digest()


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # OpenSSL would ask for the password on a terminal
