"""
Outgoing HTTP, TCP and TLS within the fence.

A name is resolved once, all its addresses are checked, and the connection goes to a checked address:
a name that means something else a moment later changes nothing. Each redirect is a new call that
passes everything again. The API server and the operator itself are refused by their addresses,
whatever name led there.
"""

import asyncio
import errno
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

from remediator.domain.errors import Forbidden, Unavailable
from remediator.domain.hosts import (
    Place,
    is_address,
    is_host,
    is_permitted,
    normal_host,
    objection_to_address,
    objection_to_configured,
    place_at,
    place_of,
    plain_address,
)
from remediator.domain.redaction import redact
from remediator.ports import Certificate, Clock, NoAnswer, Reached, WebAnswer

TOTAL_SECONDS: Final = 8.0
CONNECT_SECONDS: Final = 3.0
MAX_REDIRECTS: Final = 3
MAX_ADDRESSES: Final = 16
MAX_LINE_BYTES: Final = 8_190
MAX_HEADERS: Final = 100
RESOLVER_THREADS: Final = 4
REMEMBER_SECONDS: Final = 60.0
SERVICE: Final = "remediator"
REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which `ssl` has no name for: an expired certificate is read too."""

T = TypeVar("T")

Lookup = Callable[[str, int], Awaitable[tuple[str, ...]]]
"""All addresses of a name. Raises NameUnknown, or Unavailable where nobody knows."""
Objection = Callable[[str], str]


class NameUnknown(Exception):
    """The name does not exist, or has no address."""


class SystemLookup:
    """The system's resolver, in threads of its own: a slow name server holds up nothing else."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve")

    async def __call__(self, host: str, port: int) -> tuple[str, ...]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._pool, _addresses, host, port)
        except UnicodeError as wrong:
            raise NameUnknown(host) from wrong
        except socket.gaierror as wrong:
            if wrong.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
                raise NameUnknown(host) from wrong
            raise Unavailable(f"{host} cannot be looked up: {wrong.strerror}") from wrong
        return tuple(dict.fromkeys(found))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _addresses(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def own_hosts(api_server: str, namespace: str) -> tuple[str, ...]:
    """What the operator never calls on somebody's behalf: the API server, its own Service, its own machine."""
    server = urlsplit(api_server).hostname or ""
    found = (server, "kubernetes.default.svc", f"{SERVICE}.{namespace}.svc", socket.gethostname())
    return tuple(host for host in found if is_host(host))


def configured_socket(address: AddrInfoType) -> socket.socket:
    """
    The socket of a connection to what the platform configured, as aiohttp asks for it: by address.

    Raises OSError, which every HTTP client expects there, for the cloud's metadata service.
    """
    family, kind, protocol, _, where = address
    objection = objection_to_configured(str(where[0]).partition("%")[0])
    if objection:
        raise PermissionError(errno.EACCES, objection)
    return socket.socket(family=family, type=kind, proto=protocol)


class Checked:
    """
    The addresses of a place, each of them fit to be called.

    `own` are hosts that are never called: the API server, and the operator's own ports. `objection`
    says what an address must not be; only tests hand over another than the product's.
    """

    def __init__(
        self, lookup: Lookup, clock: Clock, own: Sequence[str] = (), objection: Objection = objection_to_address
    ) -> None:
        self._lookup = lookup
        self._clock = clock
        self._own = tuple(normal_host(host) for host in own)
        self._objection = objection
        self._own_addresses: frozenset[str] = frozenset()
        self._own_read_at = float("-inf")

    async def __call__(self, where: Place) -> tuple[str, ...]:
        """
        Raises:
            Forbidden: if a single one of them may not be called.
            NameUnknown: if there are none.
        """
        if where.host in self._own:
            raise Forbidden(f"{where.host} is the API server or the operator itself")
        found = await self.addresses(where.host, where.port)
        objection = await self.objection()
        for address in found:
            why = objection(address)
            if why:
                raise Forbidden(f"{where.host} leads nowhere that may be called: {why}")
        return found[:MAX_ADDRESSES]

    async def addresses(self, host: str, port: int = 443) -> tuple[str, ...]:
        """All addresses of a host, fit to be called or not. Raises NameUnknown if there are none."""
        found = (host,) if is_address(host) else await self._lookup(host, port)
        if not found:
            raise NameUnknown(host)
        return found

    async def objection(self) -> Objection:
        """Why an address must not be called, as a function that a thread may ask; empty where it may."""
        own = await self._addresses_of_our_own()

        def said(address: str) -> str:
            if plain_address(address) in own:
                return f"{address} is the API server or the operator itself"
            return self._objection(address)

        return said

    async def _addresses_of_our_own(self) -> frozenset[str]:
        now = self._clock.boot_seconds()
        if now - self._own_read_at > REMEMBER_SECONDS:
            found: set[str] = set()
            for host in self._own:
                try:
                    addresses = await self.addresses(host)
                except NameUnknown:
                    continue
                found.update(plain_address(address) for address in addresses)
            self._own_addresses, self._own_read_at = frozenset(found), now
        return self._own_addresses


class FencedWeb:
    """`ports.Web`. As it is made it reaches nothing; `within` says where it may go."""

    def __init__(
        self,
        checked: Checked,
        clock: Clock,
        *,
        hosts: Sequence[str] = (),
        total_seconds: float = TOTAL_SECONDS,
        authorities: ssl.SSLContext | None = None,
    ) -> None:
        self._checked = checked
        self._clock = clock
        self._hosts = tuple(hosts)
        self._total_seconds = total_seconds
        self._authorities = authorities or ssl.create_default_context()

    def within(self, hosts: Sequence[str]) -> "FencedWeb":
        return FencedWeb(
            self._checked,
            self._clock,
            hosts=hosts,
            total_seconds=self._total_seconds,
            authorities=self._authorities,
        )

    async def get(self, url: str, *, headers: Mapping[str, str], limit_bytes: int) -> WebAnswer | NoAnswer:
        where = place_of(url)
        return await self._in_time(where, self._followed(url, where, headers, limit_bytes))

    async def knock(self, host: str, port: int) -> Reached | NoAnswer:
        where = place_at(host, port)
        return await self._in_time(where, self._knocked(where))

    async def look_up(self, host: str) -> tuple[str, ...] | NoAnswer:
        where = place_at(host, 443)
        return await self._in_time(where, self._looked_up(where))

    async def certificate(self, host: str, port: int, server_name: str) -> Certificate | NoAnswer:
        where = place_at(host, port, "https")
        return await self._in_time(where, self._presented(where, normal_host(server_name)))

    async def _in_time(self, where: Place, work: Coroutine[Any, Any, T]) -> T | NoAnswer:
        try:
            async with asyncio.timeout(self._total_seconds):
                return await work
        except TimeoutError as wrong:
            raise Unavailable(f"{where} did not answer within {self._total_seconds:g}s") from wrong
        except NameUnknown:
            return NoAnswer("NameUnknown", f"there is no host {where.host}")

    async def _permitted(self, where: Place) -> tuple[str, ...]:
        if not is_permitted(where, self._hosts):
            raise Forbidden(f"{where} is not among the hosts that a Guardrail allows here")
        return await self._checked(where)

    async def _followed(self, url: str, where: Place, headers: Mapping[str, str], limit: int) -> WebAnswer | NoAnswer:
        begun = self._clock.boot_seconds()
        for _ in range(MAX_REDIRECTS + 1):
            answer, location = await self._asked(url, where, headers, limit)
            if location is None or isinstance(answer, NoAnswer):
                return answer if isinstance(answer, NoAnswer) else replace(answer, milliseconds=self._since(begun))
            url = urljoin(url, location)
            following = place_of(url)
            if where.scheme == "https" and following.scheme != "https":
                raise Forbidden(f"{where} redirects from https to http")
            if following != where:
                headers = {}  # what was meant for one host is not shown to another
            where = following
        raise Forbidden(f"{where} redirects more than {MAX_REDIRECTS} times")

    async def _asked(
        self, url: str, where: Place, headers: Mapping[str, str], limit: int
    ) -> tuple[WebAnswer | NoAnswer, str | None]:
        """The answer to one request, and where it redirects to."""
        addresses = await self._permitted(where)
        parts = urlsplit(url)
        exact = f"{where.scheme}://{where.netloc}{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        try:
            async with (
                self._session(addresses) as session,
                session.get(exact, headers={**headers, "Accept-Encoding": "identity"}, allow_redirects=False) as answer,
            ):
                location = answer.headers.get("Location") if answer.status in REDIRECTS else None
                if location is not None:
                    return WebAnswer(answer.status, b""), location
                body, truncated = await _body(answer, limit)
                return WebAnswer(answer.status, body, answer.content_type, truncated), None
        except (aiohttp.ClientError, OSError, zlib.error) as wrong:
            return _no_answer(where, wrong), None

    def _session(self, addresses: Sequence[str]) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_Only(addresses), use_dns_cache=False, force_close=True, limit=1, ssl=self._authorities
            ),
            timeout=aiohttp.ClientTimeout(total=self._total_seconds, sock_connect=CONNECT_SECONDS),
            headers={"User-Agent": "remediator"},
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # a small answer must not become a large one
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
        )

    async def _knocked(self, where: Place) -> Reached | NoAnswer:
        addresses = await self._permitted(where)
        begun = self._clock.boot_seconds()
        opened = await self._opened(where, addresses)
        if isinstance(opened, NoAnswer):
            return opened
        _, writer, address = opened
        writer.close()
        return Reached(address, self._since(begun))

    async def _looked_up(self, where: Place) -> tuple[str, ...] | NoAnswer:
        return await self._permitted(where)

    async def _presented(self, where: Place, server_name: str) -> Certificate | NoAnswer:
        addresses = await self._permitted(where)
        begun = self._clock.boot_seconds()
        objection = ""
        opened = await self._opened(where, addresses, self._authorities, server_name)
        if isinstance(opened, _Unverified):
            objection = opened.message
            opened = await self._opened(where, [opened.address], _unverifying(), server_name)
            if not isinstance(opened, NoAnswer):
                _, writer, address = opened
                itself = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                writer.close()
                opened = await self._opened(where, [address], _trusting(itself), server_name)
        if isinstance(opened, NoAnswer):
            return opened
        _, writer, _ = opened
        shown = writer.get_extra_info("ssl_object").getpeercert()
        writer.close()
        return _certificate(shown, objection, self._since(begun))

    async def _opened(
        self, where: Place, addresses: Sequence[str], tls: ssl.SSLContext | None = None, server_name: str = ""
    ) -> "tuple[asyncio.StreamReader, asyncio.StreamWriter, str] | NoAnswer":
        """A connection to the first address that takes one."""
        last: OSError | None = None
        for address in addresses:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    reader, writer = await asyncio.open_connection(
                        address, where.port, ssl=tls, server_hostname=server_name if tls else None
                    )
                return reader, writer, address
            except ssl.SSLCertVerificationError as wrong:
                return _Unverified("TLSFailed", f"{where}: {wrong.verify_message}", address)
            except TimeoutError as wrong:
                last = wrong
            except OSError as wrong:
                last = wrong
        assert last is not None, "there is always an address"
        if isinstance(last, TimeoutError):
            raise Unavailable(f"{where} did not take a connection within {CONNECT_SECONDS:g}s") from last
        return _no_answer(where, last)

    def _since(self, begun: float) -> int:
        return round((self._clock.boot_seconds() - begun) * 1000)


@dataclass(frozen=True, slots=True)
class _Unverified(NoAnswer):
    """A certificate that does not hold, and the address that showed it."""

    address: str = ""


class _Only(AbstractResolver):
    """Answers with the addresses that were checked, whatever is asked."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = tuple(addresses)

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - the base's signature
    ) -> list[ResolveResult]:
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for address in self._addresses
        ]

    async def close(self) -> None:
        """It holds nothing."""


async def _body(answer: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """The body as far as the limit, unpacked, and whether there is more."""
    coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip", "deflate"):
        raise aiohttp.ClientPayloadError(f"the body is packed as {coding[:20]}, which was not asked for")
    unpacked = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if coding != "identity" else None
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk if unpacked is None else unpacked.decompress(chunk, limit + 1 - len(content))
        if len(content) > limit:
            return bytes(content[:limit]), True
    return bytes(content), False


def _no_answer(where: Place, wrong: Exception) -> NoAnswer:
    """
    What went wrong as the answer that it is.

    Raises:
        Unavailable: where it says nothing about the other side.
    """
    cause = wrong.os_error if isinstance(wrong, aiohttp.ClientConnectorError) else wrong
    match cause:
        case aiohttp.ServerTimeoutError() | TimeoutError():
            raise Unavailable(f"{where} did not answer in time") from wrong
        case ConnectionRefusedError():
            return NoAnswer("ConnectionRefused", f"{where} refuses connections")
        case ssl.SSLError() | ssl.CertificateError() | aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch():
            return NoAnswer("TLSFailed", f"{where}: {_short(cause)}")
        case ConnectionResetError() | BrokenPipeError() | aiohttp.ServerDisconnectedError():
            return NoAnswer("ConnectionClosed", f"{where} closed the connection before it had answered")
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError() | zlib.error():
            return NoAnswer("NotHTTP", f"{where} does not answer as HTTP demands: {_short(cause)}")
    raise Unavailable(f"{where} cannot be reached: {_short(cause)}") from wrong


def _short(wrong: Exception) -> str:
    said = getattr(wrong, "verify_message", "") or getattr(wrong, "message", "") or str(wrong)
    return redact(said)[:300]


def _unverifying() -> ssl.SSLContext:
    """Shows whatever is presented; nothing is ever sent through it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _trusting(certificate: bytes) -> ssl.SSLContext:
    """Trusts this one certificate, so that `ssl` reads it out; nothing is ever sent through it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    return context


def _certificate(shown: Mapping[str, Any], objection: str, milliseconds: int) -> Certificate:
    names = [value for kind, value in shown.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    issuer = {key: value for part in shown.get("issuer", ()) for key, value in part}
    return Certificate(
        not_after=datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC),
        names=tuple(str(name)[:253] for name in names[:100]),
        issuer=str(issuer.get("commonName") or issuer.get("organizationName") or "")[:253],
        verified=not objection,
        objection=objection,
        milliseconds=milliseconds,
    )
