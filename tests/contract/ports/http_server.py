"""An HTTP server that answers as a test says, for what no real server can be made to do."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers with what a test hands over, in turn; the last answer stays."""

    def __init__(self) -> None:
        self.handlers: list[Handler] = []
        self.requests: list[web.Request] = []
        self.bodies: list[str] = []

    def answers(self, status: int = 200, body: Any = None, headers: dict[str, str] | None = None) -> "Server":
        async def handler(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, text=json.dumps({} if body is None else body), headers=headers)

        self.handlers.append(handler)
        return self

    def does(self, handler: Handler) -> "Server":
        self.handlers.append(handler)
        return self

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.text())
        handler = self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0]
        return await handler(request)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """The server's address while it runs."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        async with TestServer(app) as opened:
            yield f"http://127.0.0.1:{opened.port}"
