"""
A client that does nothing but HTTP/1.1 on connections that stay open.

It is the floor that the operator is measured against, so there is as little of it as can be: no pool
that balances, no retries, no redirects, no models. What it costs, any client costs.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import yaml

from localcluster.api import named, text_of

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
LARGEST_HEAD = 65_536
TURNS_TO_CLOSE: Final = 5


class Refused(Exception):
    """The server answered with something else than success."""

    def __init__(self, what: str, status: int, body: bytes) -> None:
        super().__init__(f"{what} was answered with {status}: {body[:600].decode(errors='replace')}")
        self.status = status


class Access:
    """Where an API server is and who asks, from a kubeconfig with a certificate or a token."""

    def __init__(self, kubeconfig: str | Path, agent: str) -> None:
        config = yaml.safe_load(Path(kubeconfig).read_text())
        context = named(config["contexts"], config["current-context"])["context"]
        cluster = named(config["clusters"], context["cluster"])["cluster"]
        user = named(config["users"], context["user"])["user"]
        url = urlsplit(str(cluster["server"]))
        self.host, self.port = url.hostname or "", url.port or 443
        self.tls = ssl.create_default_context(cadata=text_of(cluster, "certificate-authority"))
        self.headers = {"Host": f"{self.host}:{self.port}", "Accept": JSON, "User-Agent": agent}
        if token := user.get("token"):
            self.headers["Authorization"] = f"Bearer {token}"
        if certificate := text_of(user, "client-certificate"):
            both = Path(kubeconfig).with_suffix(".bench.pem")
            both.touch(mode=0o600)
            both.write_text(f"{certificate}\n{text_of(user, 'client-key')}\n")
            self.tls.load_cert_chain(both)
            both.unlink()


class Connection:
    """One connection; one request at a time."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in access.headers.items())
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """
        The decoded answer.

        Raises:
            Refused: when the server says no.
            OSError: when the connection breaks; the next call opens another.
        """
        status, content = await self.exchange(method, path, body, content_type=content_type, headers=headers)
        if not 200 <= status < 300:
            raise Refused(f"{method} {path}", status, content)
        return json.loads(content)

    async def exchange(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Status and content, whatever they are."""
        try:
            reader = await self._send(method, path, body, content_type, headers)
            status, fields = await _head(reader)
            content = b"".join([part async for part in _parts(reader, fields)])
        except (OSError, EOFError, asyncio.IncompleteReadError) as broken:
            self.close()
            raise OSError(f"{method} {path}: the connection broke: {broken}") from broken
        if fields.get("connection") == "close":
            self.close()
        return status, content

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of an answer that goes on."""
        reader = await self._send("GET", path, None, JSON, None)
        status, fields = await _head(reader)
        if status != 200:
            raise Refused(f"GET {path}", status, b"".join([part async for part in _parts(reader, fields)]))
        rest = b""
        async for part in _parts(reader, fields):
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                if line:
                    yield line

    async def _send(
        self, method: str, path: str, body: Any, content_type: str, headers: Mapping[str, str] | None
    ) -> asyncio.StreamReader:
        if self._reader is None or self._writer is None or self._writer.is_closing():
            self._reader, self._writer = await asyncio.open_connection(
                self._access.host, self._access.port, ssl=self._access.tls, limit=LARGEST_HEAD
            )
        content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        if body is not None:
            more += f"Content-Type: {content_type}\r\nContent-Length: {len(content)}\r\n"
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{self._fixed}{more}\r\n".encode() + content)
        await self._writer.drain()
        return self._reader

    def close(self) -> None:
        """It is closed at once, without TLS' goodbye; the socket is let go of some turns of the loop later."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None


class Connections:
    """As many calls at once as there are connections."""

    def __init__(self, access: Access, count: int) -> None:
        self._free: asyncio.Queue[Connection] = asyncio.Queue()
        self._all = [Connection(access) for _ in range(count)]
        for one in self._all:
            self._free.put_nowait(one)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Connection]:
        """A connection to oneself, for calls that follow one another."""
        taken = await self._free.get()
        try:
            yield taken
        finally:
            self._free.put_nowait(taken)

    async def call(self, method: str, path: str, body: Any = None, *, content_type: str = JSON) -> Any:
        """The decoded answer; see `Connection.call`."""
        async with self.one() as connection:
            return await connection.call(method, path, body, content_type=content_type)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for one in self._all:
            one.close()
        for _ in range(TURNS_TO_CLOSE):
            await asyncio.sleep(0)


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    fields = (line.partition(":") for line in lines)
    return int(first.split(" ", 2)[1]), {name.lower(): value.strip() for name, _, value in fields}


async def _parts(reader: asyncio.StreamReader, fields: Mapping[str, str]) -> AsyncIterator[bytes]:
    if "content-length" in fields:
        yield await reader.readexactly(int(fields["content-length"]))
        return
    if fields.get("transfer-encoding") != "chunked":
        return
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
