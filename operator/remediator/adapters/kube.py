"""
HTTP to one API server: credentials, TLS, limits and errors, and no knowledge of kinds.

Objects are plain dicts: typed models drop the fields that they do not know, and a write made from
such a read loses them. The `kubernetes` package loads the credentials and is not used beyond.

Only what cannot have happened is repeated: reads, a request refused with 429 before it was carried
out, and a connection that was never made. Whether any other failed write happened is not known,
and the caller is told so.
"""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakSet

import aiohttp
import tenacity

from remediator.adapters.parsing import parsed
from remediator.domain.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    NotFound,
    Rejected,
    RemediatorError,
    Unavailable,
)
from remediator.domain.json import JSON, Object, dig_int, dig_list, dig_text
from remediator.domain.redaction import redact
from remediator.ports import Clock

if TYPE_CHECKING:
    from kubernetes.aio.client import Configuration

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
LONG_BYTES: Final = 1024 * 1024
"""Twenty milliseconds of reading. A page of a watch's list is mostly shorter, and a new leader waits for those."""

MAX_ERROR_BYTES: Final = 64 * 1024
MAX_MESSAGE_CHARACTERS: Final = 1_000
CONNECTIONS: Final = 64
TURNS_TO_CLOSE: Final = 20  # an aborted TLS connection lets go of its socket some turns of the loop later
REQUEST_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 10.0
ATTEMPTS: Final = 3
LONGEST_WAIT_SECONDS: Final = 8.0
LONGEST_WAIT_OF_A_WRITE_SECONDS: Final = 1.0  # what the write rests on grows old meanwhile; its caller looks again
RELOAD_SECONDS: Final = 600.0  # a kubeconfig's token file and exec plugins rotate; short of the usual hour

CONNECT_LIMIT: Final = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
"""The whole request is bounded where it is made."""

JSON_TYPE: Final = "application/json"
JSON_PATCH_TYPE: Final = "application/json-patch+json"


class Expired(Unavailable):
    """410: the resourceVersion or the page is too old; list again."""


class TooLarge(Rejected):
    """The answer is larger than we are ready to hold."""


class NotSent(Unavailable):
    """The request did not reach the API server, or it refused before carrying anything out."""


class Throttled(NotSent):
    """429, with the seconds after which the API server wants to be asked again."""

    def __init__(self, message: str, after_seconds: float) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class Protected(Rejected):
    """429 to an eviction: a PodDisruptionBudget does not let the pod go. Asking at once again helps nobody."""


class Unauthenticated(NotSent):
    """401: the credentials are not, or no longer, good."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is, and how its certificate and ours are checked."""

    server: str
    tls: ssl.SSLContext | bool
    authorization: Callable[[], Awaitable[str]]
    """The value of the header, read anew for each request; empty where certificates authenticate."""
    server_hostname: str | None = None
    proxy: str | None = None


Credentials = Callable[[], Awaitable[Access]]
"""Loads the access anew; called at the start, after a 401, and once in a while."""


def in_cluster() -> Credentials:
    """The pod's own service account; its token file is read again as the kubelet rotates it."""

    async def load() -> Access:
        # half a second and 30 MB that no test and no command line needs
        from kubernetes.aio import config
        from kubernetes.aio.client import Configuration

        configuration = Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # kubernetes types its client alone
        except config.ConfigException as wrong:
            raise Unavailable(f"the pod's service account cannot be used: {_said(wrong)}") from wrong
        return _access(configuration)

    return load


def from_kubeconfig(path: str | None = None, context: str | None = None) -> Credentials:
    """A kubeconfig: certificates, tokens and token files, exec plugins, OIDC; `path` None is kubectl's default."""

    async def load() -> Access:
        # half a second and 30 MB that no test and no command line needs
        from kubernetes.aio import config
        from kubernetes.aio.client import Configuration
        from yaml import YAMLError

        configuration = Configuration()
        try:
            await config.load_kube_config(  # type: ignore[no-untyped-call]  # kubernetes types its client alone
                config_file=path,
                context=context,
                client_configuration=configuration,
                persist_config=False,  # a reader of somebody's kubeconfig does not write it
            )
        except (
            config.ConfigException,
            OSError,
            ValueError,
            LookupError,
            AttributeError,
            TypeError,
            YAMLError,
        ) as wrong:
            # the loader looks into whatever the file holds, and into nothing where there is no file
            raise Unavailable(
                f"the kubeconfig {path or 'at its default place'} cannot be used: {_said(wrong)}"
            ) from wrong
        return _access(configuration)

    return load


def access_with_token(server: str, token: str, ca_file: str | None = None) -> Credentials:
    """A fixed bearer token."""

    async def header() -> str:
        return f"Bearer {token}"

    async def load() -> Access:
        return Access(server, ssl.create_default_context(cafile=ca_file) if ca_file else False, header)

    return load


def _access(configuration: "Configuration") -> Access:
    async def header() -> str:
        # runs the loader's own hook, which reads a rotated token file
        return (await configuration.get_api_key_with_prefix("BearerToken")) or ""

    server = str(configuration.host).rstrip("/")
    tls: ssl.SSLContext | bool = False
    if server.startswith("https"):
        try:
            tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
            if configuration.cert_file:
                tls.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
        except OSError as wrong:
            raise Unavailable(f"the certificates for {server} cannot be used: {_said(wrong)}") from wrong
        if not configuration.verify_ssl:
            # the kubeconfig says insecure-skip-tls-verify
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
    return Access(server, tls, header, configuration.tls_server_name or None, configuration.proxy or None)


class KubeApi:
    """
    One API server and the connections to it.

    Headers given with a request name the identity; connections are shared by all of them.
    """

    def __init__(
        self,
        credentials: Credentials,
        clock: Clock,
        *,
        connections: int = CONNECTIONS,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self.clock = clock
        self._credentials = credentials
        self._connections = connections
        self._request_seconds = request_seconds
        self._session: aiohttp.ClientSession | None = None
        self._access: Access | None = None
        self._loaded_at = 0.0
        self._loading = asyncio.Lock()

    async def close(self) -> None:
        """The connections are closed; the next request opens new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            for _ in range(TURNS_TO_CLOSE):
                await asyncio.sleep(0)

    async def __aenter__(self) -> "KubeApi":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: JSON = None,
        content_type: str = JSON_TYPE,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Object:
        """
        The object that the API server answers with.

        `repeatable` marks a request that is not a GET and may be sent twice, such as an access review.
        """
        raw = await self._repeated(method, path, params, body, content_type, headers, method == "GET" or repeatable)
        try:
            found = await parsed(raw, long_bytes=LONG_BYTES)
        except (ValueError, RecursionError) as wrong:
            raise Unavailable(f"{method} {path}: the answer is not JSON") from wrong
        if not isinstance(found, dict):
            raise Unavailable(f"{method} {path}: the answer is not an object")
        return found

    async def tail(
        self, path: str, *, params: Mapping[str, str], headers: Mapping[str, str], limit_bytes: int
    ) -> tuple[bytes, bool]:
        """The last `limit_bytes` of a text, and whether there was more before them."""
        kept, total = bytearray(), 0
        async with (
            asyncio_timeout(self._request_seconds, f"GET {path}"),
            self._opened("GET", path, params=params, headers=headers) as answer,
        ):
            async for chunk in answer.content.iter_any():
                kept += chunk
                total += len(chunk)
                if len(kept) > 2 * limit_bytes:
                    del kept[:-limit_bytes]
        return bytes(kept[-limit_bytes:]), total > limit_bytes

    async def lines(
        self, path: str, *, params: Mapping[str, str], headers: Mapping[str, str], silence_seconds: float
    ) -> AsyncIterator[bytes]:
        """
        The lines of an answer that goes on, until the server ends it.

        A stream that is silent for longer than `silence_seconds` is taken for dead: a lost
        connection otherwise looks like a cluster in which nothing happens.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence_seconds)
        async with self._opened("GET", path, params=params, headers=headers, limits=limits) as answer:
            # aiohttp's own readline gives up at twice its buffer, and objects may be 1.5 MB
            rest = bytearray()
            async for chunk in answer.content.iter_any():
                rest += chunk
                if b"\n" not in chunk:
                    if len(rest) > MAX_ANSWER_BYTES:
                        raise TooLarge(f"GET {path}: one line is longer than {MAX_ANSWER_BYTES} bytes")
                    continue
                *whole, last = bytes(rest).split(b"\n")
                rest = bytearray(last)
                for line in whole:
                    if line.strip():
                        yield line

    async def _repeated(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: JSON,
        content_type: str,
        headers: Mapping[str, str] | None,
        repeatable: bool,
    ) -> bytes:
        began = self.clock.boot_seconds()

        def worth_another_try(failure: BaseException) -> bool:
            if isinstance(failure, Expired | Unauthenticated):
                return False
            if not repeatable and self.clock.boot_seconds() - began > LONGEST_WAIT_OF_A_WRITE_SECONDS:
                return False
            if isinstance(failure, Throttled) and not repeatable:
                return failure.after_seconds <= LONGEST_WAIT_OF_A_WRITE_SECONDS
            return isinstance(failure, NotSent) or (repeatable and isinstance(failure, Unavailable))

        def wait(state: tenacity.RetryCallState) -> float:
            failure = state.outcome.exception() if state.outcome else None
            backoff = self.clock.jitter(min(0.2 * 2**state.attempt_number, LONGEST_WAIT_SECONDS))
            asked_for = failure.after_seconds if isinstance(failure, Throttled) else 0.0
            return min(asked_for, LONGEST_WAIT_SECONDS) + backoff

        try:
            return await self._once(method, path, params, body, content_type, headers)
        except RemediatorError as first:
            if not worth_another_try(first):
                raise
            failures = [first]

        async def again() -> bytes:
            if failures:
                raise failures.pop()
            return await self._once(method, path, params, body, content_type, headers)

        # the first try stands outside: what tenacity does for each call costs a fifth of a request that succeeds
        attempts = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(worth_another_try),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=wait,
            sleep=self.clock.sleep,
            reraise=True,
        )
        return await attempts(again)

    async def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: JSON,
        content_type: str,
        headers: Mapping[str, str] | None,
    ) -> bytes:
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        sent = {**(headers or {}), "Content-Type": content_type} if data is not None else dict(headers or {})
        async with (
            asyncio_timeout(self._request_seconds, f"{method} {path}"),
            self._opened(method, path, params=params, headers=sent, data=data) as answer,
        ):
            return await _bounded(answer, MAX_ANSWER_BYTES, f"{method} {path}")

    @asynccontextmanager
    async def _opened(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str],
        data: bytes | None = None,
        limits: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that is a success, with credentials loaded once more where they were refused."""
        what = f"{method} {path}"
        for last_try in (False, True):
            access = await self._current_access()
            session = self._opened_session()
            try:
                async with session.request(
                    method,
                    access.server + path,
                    params=params,
                    data=data,
                    headers={**headers, **await _authorization(access)},
                    ssl=access.tls,
                    server_hostname=access.server_hostname,
                    proxy=access.proxy,
                    allow_redirects=False,  # a redirect would carry the token to somebody else
                    timeout=limits or CONNECT_LIMIT,
                ) as answer:
                    if answer.status == 401 and not last_try:
                        await self._reload(access)
                        continue
                    if not 200 <= answer.status < 300:
                        raise await _failure(answer, method, path)
                    yield answer
                    return
            except RemediatorError:
                raise
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as wrong:
                raise NotSent(f"{what}: the API server cannot be reached: {_said(wrong)}") from wrong
            except TimeoutError as wrong:
                raise Unavailable(f"{what}: the API server did not answer in time") from wrong
            except (aiohttp.ClientError, OSError) as wrong:
                raise Unavailable(f"{what}: the connection broke: {_said(wrong)}") from wrong

    async def _current_access(self) -> Access:
        if self._access is None or self.clock.boot_seconds() - self._loaded_at > RELOAD_SECONDS:
            async with self._loading:
                if self._access is None or self.clock.boot_seconds() - self._loaded_at > RELOAD_SECONDS:
                    await self._load()
        assert self._access is not None
        return self._access

    async def _reload(self, refused: Access) -> None:
        async with self._loading:
            if self._access is refused:  # else another request has just done it
                await self._load()

    async def _load(self) -> None:
        self._access = await self._credentials()
        self._loaded_at = self.clock.boot_seconds()

    def _opened_session(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=_Connections(limit=self._connections, keepalive_timeout=60),
                headers={"Accept": JSON_TYPE, "User-Agent": "remediator"},
                trust_env=False,  # a proxy for the internet does not lead to the API server
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


class _Connections(aiohttp.TCPConnector):
    """
    Connections that end with their pool, those too that are out of use and wait for TLS' goodbye.

    A request that is cancelled leaves such a one, which would outlive the loop.
    """

    def __init__(self, *, limit: int, keepalive_timeout: float) -> None:
        super().__init__(limit=limit, keepalive_timeout=keepalive_timeout)
        self._made: WeakSet[asyncio.Transport] = WeakSet()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - as aiohttp names it
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        if connection.transport is not None:
            self._made.add(connection.transport)
        return connection

    async def close(self, *, abort_ssl: bool = False) -> None:
        """None is open; the loop lets go of their sockets in its next turns."""
        await super().close(abort_ssl=abort_ssl)
        for transport in list(self._made):
            transport.abort()


@asynccontextmanager
async def asyncio_timeout(seconds: float, what: str) -> AsyncIterator[None]:
    """Unavailable when the body takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as wrong:
        raise Unavailable(f"{what}: no complete answer within {seconds:g}s") from wrong


async def _authorization(access: Access) -> dict[str, str]:
    value = await access.authorization()
    return {"Authorization": value} if value else {}


async def _bounded(answer: aiohttp.ClientResponse, limit: int, what: str) -> bytes:
    parts, total = [], 0
    async for chunk in answer.content.iter_any():
        total += len(chunk)
        if total > limit:
            raise TooLarge(f"{what}: the answer is larger than {limit} bytes")
        parts.append(chunk)
    return b"".join(parts)


async def _failure(answer: aiohttp.ClientResponse, method: str, path: str) -> RemediatorError:
    try:
        text = (await _bounded(answer, MAX_ERROR_BYTES, path)).decode(errors="replace")
    except TooLarge:
        text = ""
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    status: Object = cast(Object, parsed) if isinstance(parsed, dict) else {"message": text}
    return failure(method, path, answer.status, status, answer.headers.get("Retry-After", ""))


NOT_ALLOWED: Final = re.compile(r'\b[Uu]ser "[^"]*" .*\b(cannot|is attempting to)\b')
"""How the authorizer says no; every other 403 is admission: a policy, a quota, a namespace that goes away."""

DENIED: Final = ("ValidatingAdmissionPolicy", "admission webhook", "denied request", "denied the request")


def failure(method: str, path: str, code: int, status: Object, retry_after: str = "") -> RemediatorError:
    """
    What an answer that is no success means to the caller.

    The API server uses one code for things that callers must tell apart, so the reason, the causes
    and, for 403, the sentence are read too.
    """
    reason = dig_text(status, "reason")
    said = dig_text(status, "message").strip() or reason or f"status {code}"
    message = redact(f"{method} {path}: {said}"[:MAX_MESSAGE_CHARACTERS])
    denied = any(word in said for word in DENIED)
    if denied and code in (400, 403, 422):
        return Rejected(message)
    if code == 401:
        return Unauthenticated(f"{method} {path}: the API server does not accept the operator's credentials")
    if code == 403:
        return Forbidden(message) if NOT_ALLOWED.search(said) else Rejected(message)
    if code == 404:
        return NotFound(message)
    if code == 409:
        return AlreadyExists(message) if reason == "AlreadyExists" else Conflict(message)
    if code == 410:
        return Expired(message)
    if code == 422 and method == "PATCH":
        return Rejected(message) if _names_a_field(status) else Conflict(message)
    if code == 429 and "DisruptionBudget" in (dig_text(one, "reason") for one in dig_list(status, "details", "causes")):
        return Protected(message)
    if code == 429:
        return Throttled(message, _seconds(retry_after, status))
    if 400 <= code < 500 and code != 408:
        return Rejected(message)
    return Unavailable(message)


def _names_a_field(status: Object) -> bool:
    """
    Whether a 422 is about a value that is not valid.

    A failed `test` names nothing, and another UID than expected is named as an immutable field.
    """
    fields = [dig_text(cause, "field") for cause in dig_list(status, "details", "causes")]
    return any(fields) and "metadata.uid" not in fields and "metadata.resourceVersion" not in fields


def _seconds(retry_after: str, status: Object) -> float:
    if retry_after.isdigit():
        return float(retry_after)
    return float(dig_int(status, "details", "retryAfterSeconds", default=1))


def _said(failure: BaseException) -> str:
    return redact(str(failure)[:MAX_MESSAGE_CHARACTERS]) or type(failure).__name__
