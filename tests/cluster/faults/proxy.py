"""
A proxy in front of the API server that interrupts chosen calls.

It ends TLS with the API server's own certificate and sends everything on with the caller's bearer
token and impersonation, so that the API server sees the caller. What is asked for one subject is
counted and kept; at the subject's n-th call its fault happens. Watches pass through uncounted.
"""

import asyncio
import enum
import json
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote

import aiohttp
import pytest
from aiohttp import web

from localcluster import Cluster

OURS = ("Host", "Connection", "Transfer-Encoding", "Content-Length", "Keep-Alive")
"""Headers that each connection has of its own."""

BESIDE = ("alertpolicies", "runbooks", "guardrails", "subjectaccessreviews", "selfsubjectaccessreviews")
"""What the operator keeps of its definitions belongs to no run."""


class Fault(enum.StrEnum):
    """What happens at a call."""

    NONE = "passes"
    HOLD_BEFORE = "held before it reaches the API server"
    HOLD_AFTER = "carried out, and its answer held"
    LOSE = "carried out, and the connection reset"
    CUT = "reset before it reaches the API server"
    DELAY = "answered late"
    THROTTLE = "429"
    BROKEN = "500"
    AWAY = "503"
    EXPIRED = "410"

    @property
    def holds(self) -> bool:
        return self in (Fault.HOLD_BEFORE, Fault.HOLD_AFTER)


@dataclass
class Call:
    """One call as it came, and what became of it."""

    method: str
    path: str
    account: str
    """Whom it was made as; empty for the operator itself."""
    void: bool
    body: str
    begun: float
    ended: float = 0.0
    status: int = 0
    """The API server's answer; 0 where it was not asked."""
    fault: Fault = Fault.NONE

    @property
    def resource(self) -> str:
        """`runbookruns/status`, `deployments`, …"""
        parts = self.path.partition("?")[0].strip("/").split("/")
        rest = parts[2:] if parts[0] == "api" else parts[3:]
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            rest = rest[2:]
        return "/".join([rest[0], *rest[2:]]) if rest else ""

    @property
    def verb(self) -> str:
        whole = not self.path.partition("?")[0].rstrip("/").endswith(self.resource.partition("/")[0])
        return {"GET": "get" if whole else "list", "PUT": "update", "POST": "create"}.get(
            self.method, self.method.lower()
        )

    @property
    def is_watch(self) -> bool:
        return "watch=" in self.path

    @property
    def happened(self) -> bool:
        return 200 <= self.status < 300

    def __str__(self) -> str:
        as_whom = " as the account" if self.account else ""
        return f"{self.verb} {self.resource}{as_whom}: {self.status or 'not sent'}" + (
            f", {self.fault}" if self.fault is not Fault.NONE else ""
        )


@dataclass
class Subject:
    """What calls are counted by: one of the words stands in the path or in the body."""

    words: set[str]
    fault: Fault = Fault.NONE
    at: int = 0
    where: Callable[[Call], bool] | None = None
    """The call at which the fault happens, where it is not the n-th."""
    calls: list[Call] = field(default_factory=list)
    reached: threading.Event = field(default_factory=threading.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: bool = False

    def owns(self, call: Call) -> bool:
        return any(word in call.path or word in call.body for word in self.words)

    def takes(self, call: Call) -> Fault:
        """Count the call; the fault that happens to it."""
        self.calls.append(call)
        if self.reached.is_set() or self.fault is Fault.NONE:
            return Fault.NONE
        due = self.where(call) if self.where is not None else len(self.calls) == self.at
        return self.fault if due else Fault.NONE


class Proxy:
    """The API server with faults, at `url`."""

    def __init__(self, cluster: Cluster, *, late_seconds: float = 6.0) -> None:
        self._cluster = cluster
        self.late_seconds = late_seconds
        """How late a call is answered that is answered late."""
        self.retry_after_seconds = 1
        """What a 429 asks for."""
        self.subjects: list[Subject] = []
        self.weather: Callable[[Call], Fault] | None = None
        """What happens to a call that belongs to no subject; watches are calls, too."""
        self.revoked: set[str] = set()
        """Tokens that are not good any more, from this moment on: the API server remembers them for some seconds."""
        self._watches: dict[int, web.Request] = {}
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def watch_for(self, subjects: Iterable[Subject]) -> None:
        """From here on these are counted, and no others."""
        self.subjects = list(subjects)

    def drop_held(self) -> None:
        """What is held never goes further: its caller is gone."""
        for subject in self.subjects:
            subject.dropped = True
            self._loop.call_soon_threadsafe(subject.go.set)

    def let_go(self, subject: Subject) -> None:
        """What is held goes on its way."""
        self._loop.call_soon_threadsafe(subject.go.set)

    def cut_watches(self) -> None:
        """Every watch that is open has lost its connection."""
        self._loop.call_soon_threadsafe(lambda: [_reset(request) for request in list(self._watches.values())])

    def __enter__(self) -> Self:
        self._thread.start()
        self._runs(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.drop_held()
        self._runs(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _runs(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> None:
        certificate = self._cluster.state.certificates / "kube-apiserver.crt"
        if not certificate.exists():
            pytest.skip("the API server is not ours, and nobody can stand in front of it")
        served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        served.load_cert_chain(certificate, certificate.with_suffix(".key"))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, ssl=ssl.create_default_context(cafile=str(self._cluster.ca_file)), keepalive_timeout=60
            ),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=served)
        await site.start()
        self.url = f"https://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()  # what is held, and watches whose caller is gone
        open_ones = self._loop._selector.get_map()  # type: ignore[attr-defined]  # asyncio tells of no connections
        for _ in range(50):  # TLS says goodbye after `close` has returned
            if len(open_ones) <= 1:  # its own pipe
                return
            await asyncio.sleep(0.1)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        call = Call(
            method=request.method,
            path=unquote(request.raw_path),
            account=request.headers.get("Impersonate-User", ""),
            void=any(
                "void" in name.lower() for name in request.headers if name.lower().startswith("impersonate-extra")
            ),
            body=body.decode(errors="replace"),
            begun=time.monotonic(),
        )
        if request.headers.get("Authorization", "").removeprefix("Bearer ") in self.revoked:
            return _refused(401)
        subject = self._subject(call)
        if subject is not None:
            call.fault = subject.takes(call)
        elif self.weather is not None:
            call.fault = self.weather(call)
        if call.fault is Fault.NONE:
            return await self._forwarded(request, body, call)
        return await self._disturbed(request, body, call, subject or Subject(set()))

    def _subject(self, call: Call) -> Subject | None:
        if call.is_watch or call.resource.partition("/")[0] in BESIDE:
            return None
        subject = next((one for one in self.subjects if one.owns(call)), None)
        if subject is not None and call.method == "POST" and call.resource == "configmaps":
            # a frozen Runbook is named by its content, and read by that name later
            subject.words.add(json.loads(call.body)["metadata"]["name"])
        return subject

    async def _disturbed(self, request: web.Request, body: bytes, call: Call, subject: Subject) -> web.StreamResponse:
        match call.fault:
            case Fault.HOLD_BEFORE:
                subject.reached.set()
                await subject.go.wait()
                if subject.dropped:
                    return _reset(request)
                return await self._forwarded(request, body, call)
            case Fault.HOLD_AFTER | Fault.LOSE:
                await self._carried_out(request, body, call)
                subject.reached.set()
                if call.fault is Fault.HOLD_AFTER:
                    await subject.go.wait()
                return _reset(request)
            case Fault.CUT:
                subject.reached.set()
                return _reset(request)
            case Fault.DELAY:
                subject.reached.set()
                answer = await self._carried_out(request, body, call)
                await asyncio.sleep(self.late_seconds)
                return answer
        subject.reached.set()
        return _refused(int(call.fault), self.retry_after_seconds)

    async def _carried_out(self, request: web.Request, body: bytes, call: Call) -> web.Response:
        """The API server's whole answer."""
        async with self._asked(request, body) as answer:
            content = await answer.read()
            call.status, call.ended = answer.status, time.monotonic()
            return web.Response(status=answer.status, body=content, headers=_kept(answer.headers))

    async def _forwarded(self, request: web.Request, body: bytes, call: Call) -> web.StreamResponse:
        try:
            async with self._asked(request, body) as answer:
                response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
                call.status, call.ended = answer.status, time.monotonic()
                await response.prepare(request)
                if call.is_watch:
                    self._watches[id(request)] = request
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, OSError):
            return _reset(request)
        finally:
            self._watches.pop(id(request), None)

    def _asked(self, request: web.Request, body: bytes) -> Any:
        return self._session.request(
            request.method,
            self._cluster.server + request.raw_path,
            data=body or None,
            headers=_kept(request.headers),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )


def _kept(headers: Any) -> list[tuple[str, str]]:
    ours = {name.lower() for name in OURS}
    return [(name, value) for name, value in headers.items() if name.lower() not in ours]


def _reset(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


def _refused(code: int, after_seconds: int = 1) -> web.Response:
    reason = {
        401: "Unauthorized",
        410: "Expired",
        429: "TooManyRequests",
        500: "InternalError",
        503: "ServiceUnavailable",
    }[code]
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
    headers = {"Retry-After": str(after_seconds)} if code == 429 else {}
    return web.json_response({**status, "message": "the proxy says so"}, status=code, headers=headers)
