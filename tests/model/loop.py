"""An event loop that stands still: it runs what is ready, and knows neither time nor sockets."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


class StillLoop(asyncio.AbstractEventLoop):
    """
    Runs coroutines up to the calls that somebody else has to answer.

    Nothing here depends on chance or on the machine: the same answers in the same order lead to the same
    calls. Coroutines that are dropped in the middle are no failure; that is how a process dies.
    """

    def __init__(self) -> None:
        self._ready: deque[asyncio.Handle] = deque()
        self.failures: list[dict[str, Any]] = []

    def run_ready(self) -> None:
        """Everything that could go on has gone on, and waits now or has ended."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            while self._ready:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(before)

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if "was destroyed but it is pending" not in str(context.get("message")):
            self.failures.append(context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def time(self) -> float:
        return 0.0
