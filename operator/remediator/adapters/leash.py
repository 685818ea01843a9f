"""
A hold on libraries that resolve names, connect and read by themselves, in a thread of their own.

Python tells of every connection before it is made (`sys.addaudithook`), with the address that it goes
to: what is refused there is refused for every library and every protocol, and whatever a name meant a
moment ago. The same place yields the sockets, so that a thread that nobody waits for any longer is
ended instead of left to whoever answers it a byte at a time.
"""

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Final

import requests

MAX_ANSWER_BYTES: Final = 1024 * 1024

_held: ContextVar["Leash | None"] = ContextVar("leash", default=None)
_listening = threading.Lock()
_heard: list[bool] = []


class Refused(OSError):
    """The connection is not made; an OSError, because every library expects one there."""


class Leash:
    """
    What one thread may connect to.

    `refused` says which address was refused, and is empty where none was.
    """

    def __init__(self, objection: Callable[[str], str]) -> None:
        self._objection = objection
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._over = False
        self.refused = ""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Every connection of this thread is looked at, until the end of the block."""
        _listen()
        before = _held.set(self)
        try:
            yield
        finally:
            _held.reset(before)

    def cut(self) -> None:
        """What the thread is reading or writing ends now, and it connects to nothing more."""
        with self._lock:
            self._over = True
            opened, self._sockets = self._sockets, []
        for each in opened:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def look_at(self, connecting: socket.socket, address: Any) -> None:
        """Raises Refused where the connection must not be made."""
        host = address[0] if isinstance(address, tuple) else ""
        objection = self._objection(str(host).partition("%")[0]) if host else "it is no address of a network"
        with self._lock:
            if objection:
                self.refused = objection
                raise Refused(objection)
            if self._over:
                raise Refused("its time is over")
            self._sockets.append(connecting)


class BoundedSession(requests.Session):
    """A session whose answers are bounded, and that follows no redirect."""

    def send(self, request: requests.PreparedRequest, **rest: Any) -> requests.Response:
        answer = super().send(request, **{**rest, "stream": True, "allow_redirects": False})
        content = bytearray()
        with answer:
            for chunk in answer.iter_content(65_536):
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise requests.exceptions.ContentDecodingError(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        answer._content = bytes(content)
        return answer


def bound(module: ModuleType) -> None:
    """The module's own name `requests` leads to calls that are bounded; nobody else's does."""
    if getattr(module, "requests", None) is requests:
        module.requests = _bounded()  # type: ignore[attr-defined]


def _bounded() -> ModuleType:
    facade = ModuleType("requests")
    facade.__dict__.update({name: value for name, value in vars(requests).items() if not name.startswith("__")})
    facade.__dict__.update(request=_request, Session=BoundedSession, session=BoundedSession)
    for method in ("get", "options", "head", "post", "put", "patch", "delete"):
        facade.__dict__[method] = lambda url, *given, _method=method, **rest: _method_call(_method, url, given, rest)
    return facade


_POSITIONAL: Final = {"get": ("params",), "post": ("data", "json"), "put": ("data",), "patch": ("data",)}


def _method_call(method: str, url: str, given: tuple[Any, ...], rest: dict[str, Any]) -> requests.Response:
    return _request(method, url, **dict(zip(_POSITIONAL.get(method, ()), given, strict=False)), **rest)


def _request(method: str, url: str, **rest: Any) -> requests.Response:
    with BoundedSession() as session:
        return session.request(method=method, url=url, **rest)


def _listen() -> None:
    """Once in a process: a hook cannot be taken off again."""
    with _listening:
        if not _heard:
            sys.addaudithook(_hear)
            _heard.append(True)


def _hear(event: str, told: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        leash = _held.get()
        if leash is not None:
            leash.look_at(*told)
