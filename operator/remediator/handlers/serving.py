"""An HTTP application on a port, and its graceful end."""

import asyncio
import ssl
from typing import Final

from aiohttp import web

from remediator.handlers.tls import ServerTls

STOPS_WITHIN_SECONDS: Final = 10.0


class Server:
    """Serves one application; what is in flight when it stops is answered first."""

    def __init__(self, application: web.Application, host: str, port: int, tls: ServerTls | None = None) -> None:
        if tls is not None:
            application.on_response_prepare.append(self._close_what_is_old)
        # a line for each request would drown what the operator has to say
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOPS_WITHIN_SECONDS)
        self._host = host
        self._asked_port = port
        self._tls = tls
        self.port = port
        """The port that is listened on; another one than asked for if that was 0."""

    async def start(self) -> None:
        """It listens when this returns. Raises OSError where the port is taken."""
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, self._host, self._asked_port, ssl_context=self._tls.context if self._tls else None
        )
        await site.start()
        addresses: list[tuple[str, int]] = self._runner.addresses
        self.port = addresses[0][1]

    async def stop(self) -> None:
        """No new calls; those in flight are answered, within their time."""
        # the listening socket goes first, and a call that is just being accepted still gets its answer
        await asyncio.sleep(0)
        await self._runner.cleanup()

    async def _close_what_is_old(self, request: web.Request, response: web.StreamResponse) -> None:
        connection = request.get_extra_info("ssl_object")
        if self._tls is not None and isinstance(connection, ssl.SSLObject) and not self._tls.is_current(connection):
            response.force_close()
            response.headers["Connection"] = "close"  # said too: aiohttp has written this header already

    async def __aenter__(self) -> "Server":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def certified_names(request: web.Request) -> frozenset[str]:
    """
    The names on the client's certificate, which the handshake has verified; none without one.

    They are the common names of its subject and all of its alternative names that are text: DNS names,
    URIs, mail addresses and IP addresses.
    """
    certificate = request.get_extra_info("peercert") or {}
    subject = (pair for relative in certificate.get("subject", ()) for pair in relative)
    common = (value for key, value in subject if key == "commonName")
    alternative = (value for _, value in certificate.get("subjectAltName", ()) if isinstance(value, str))
    return frozenset((*common, *alternative))
