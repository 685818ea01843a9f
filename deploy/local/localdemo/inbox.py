"""The demo's mailbox: what the operator tells people is sent here, by Apprise, as JSON."""

import http.server
import json
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Message:
    """One message; the receiver is the name by which the playbook calls it."""

    receiver: str
    title: str
    text: str


class Inbox:
    """It listens while it is open, on this machine alone."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        inbox = self.messages

        class Taking(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
                inbox.append(Message(self.path.strip("/"), said.get("title", ""), said.get("message", "")))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """What comes is shown by the demo."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taking)

    @property
    def url(self) -> str:
        """As Apprise spells it; the receiver's name follows."""
        return f"json://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
