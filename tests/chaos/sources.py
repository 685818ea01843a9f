"""
What is wrong in the shops, and who says so: two Alertmanagers and a Prometheus that can be down, slow or lying.

Everything that a source answers is kept: a change that no answer speaks for was made on old news.
"""

import enum
import http.server
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from chaos.evidence import Number, Saying

SLOW_SECONDS = 1.5
FULL = "500"
ANCIENT = "2019-01-01T00:00:00Z"


class Mood(enum.StrEnum):
    """How a source answers."""

    HONEST = "honest"
    DOWN = "down"
    SLOW = "slow"
    EMPTY = "empty"
    NOT_A_NUMBER = "NaN"
    ANCIENT = "ancient"


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Signal:
    """One alert, as its labels and its start make it."""

    alertname: str
    namespace: str
    deployment: str
    starts_at: int
    has_rival: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """As Prometheus computes it: FNV-1a over the sorted labels, in 64 bits."""
        digest = 0xCBF29CE484222325
        for byte in b"".join(part.encode() + b"\xff" for pair in sorted(self.labels.items()) for part in pair):
            digest = ((digest ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
        return f"{digest:016x}"

    @property
    def labels(self) -> dict[str, str]:
        named = {"alertname": self.alertname, "namespace": self.namespace, "deployment": self.deployment}
        return {**named, "rival": "yes"} if self.has_rival else named

    def notified(self, *, firing: bool) -> dict[str, Any]:
        """As a webhook carries it."""
        return {
            "status": "firing" if firing else "resolved",
            "labels": self.labels,
            "annotations": {},
            "startsAt": rfc3339(self.starts_at),
            "endsAt": "0001-01-01T00:00:00Z" if firing else rfc3339(time.time()),
            "fingerprint": self.fingerprint,
        }


@dataclass
class Source:
    """One server of alerts: `/api/v2/alerts` as Alertmanager, `/api/v1/alerts` as Prometheus."""

    firing: Callable[[float], list[Signal]]
    """What is true at a moment, in Unix seconds."""
    lag_seconds: float = 0.0
    """It hears of everything so much later."""
    mood: Mood = Mood.HONEST
    sayings: list[Saying] = field(default_factory=list)
    numbers: list[Number] = field(default_factory=list)

    def __post_init__(self) -> None:
        source = self

        class Asked(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                source.answer(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                source.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
                """Nobody reads these lines."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        mood = self.mood
        if mood is Mood.DOWN:
            request.send_error(503)
            return
        if mood is Mood.SLOW:
            time.sleep(SLOW_SECONDS)
        if "/query" in request.path:
            _send(request, self._as_query())
            return
        told = [] if mood is Mood.EMPTY else self.firing(time.time() - self.lag_seconds)
        # Kept before it is sent: whoever acts on it acts afterwards.
        self.sayings.append(Saying(datetime.now(UTC), frozenset(one.fingerprint for one in told)))
        _send(request, self._as_prometheus(told) if "/v1/" in request.path else self._as_alertmanager(told))

    def _as_query(self) -> Any:
        """One series, whatever is asked: the depth of a queue that is full."""
        values = {Mood.EMPTY: [], Mood.NOT_A_NUMBER: ["NaN"]}.get(self.mood, [FULL])
        self.numbers.append(Number(datetime.now(UTC), tuple(values)))
        series = [{"metric": {}, "value": [time.time(), value]} for value in values]
        return {"status": "success", "data": {"resultType": "vector", "result": series}}

    def _as_alertmanager(self, told: list[Signal]) -> Any:
        return [{**one.notified(firing=True), "startsAt": self._start(one)} for one in told]

    def _as_prometheus(self, told: list[Signal]) -> Any:
        alerts = [{"labels": one.labels, "state": "firing", "activeAt": self._start(one), "value": "1"} for one in told]
        return {"status": "success", "data": {"alerts": alerts}}

    def _start(self, signal: Signal) -> str:
        match self.mood:
            case Mood.ANCIENT:
                return ANCIENT
            case Mood.NOT_A_NUMBER:
                return "NaN"
        return rfc3339(signal.starts_at)


def _send(request: http.server.BaseHTTPRequestHandler, content: Any) -> None:
    body = json.dumps(content).encode()
    request.send_response(200)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
