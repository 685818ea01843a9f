"""
Ask a web server one question, by a GET to a host that a Guardrail allows.

An error status, a refused connection and a name that does not exist are answers: they are known, and
an expression can tell them apart. No answer in time, and a place outside of the fence, are not.
"""

import json
import re
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, field_validator

from remediator.actions.base import Reader, Template
from remediator.actions.secrecy import looks_secret
from remediator.domain.actions import ActionClass, ActionInfo, Output, Parameters, Reading
from remediator.domain.errors import Forbidden
from remediator.domain.expressions.shapes import NoneIsUnknown
from remediator.domain.fields import AnyValue
from remediator.domain.hosts import place_of
from remediator.ports import NoAnswer, WebAnswer

MAX_BODY_BYTES: Final = 65_536
_TEMPLATE: Final = "${"
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_OURS: Final = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    )
)
"""Headers that say how the call itself is made."""
_CREDENTIALS: Final = frozenset(("authorization", "proxy-authorization", "cookie"))


class HttpGetParameters(Parameters):
    """A GET."""

    url: Template = Field(
        description="http or https, to a host that a Guardrail of the target's namespace lists under `hosts`; without "
        "user and password. May hold `${…}`. At most 3 redirects are followed, within the same hosts."
    )
    headers: dict[str, Template] = Field(
        default_factory=dict,
        max_length=16,
        description="Sent as they are written, and stored with the Runbook: no credentials. Default: none.",
    )
    expect: list[Annotated[int, Field(ge=100, le=599)]] = Field(
        default_factory=list,
        max_length=20,
        description="The statuses that are well; of others `asExpected` is false. Default: 200 to 299.",
    )
    json_: bool = Field(
        default=False, alias="json", description="Whether the body is read as JSON, under `json`. Default: false."
    )
    limit_bytes: int = Field(
        default=16_384,
        ge=1,
        le=MAX_BODY_BYTES,
        description="Bytes of the body that are read, after unpacking; of more, the output says `truncated`. "
        "Default 16384.",
    )

    @field_validator("url")
    @classmethod
    def _leads_somewhere(cls, url: str) -> str:
        if _TEMPLATE not in url:
            try:
                place_of(url)
            except Forbidden as wrong:
                raise ValueError(str(wrong)) from wrong
        return url

    @field_validator("headers")
    @classmethod
    def _plain_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError("the name of a header has letters, digits and dashes, at most 64")
            if name.lower() in _OURS:
                raise ValueError(f"{name} says how the call itself is made, and cannot be set")
            if name.lower() in _CREDENTIALS or looks_secret(name):
                raise ValueError(f"{name} would hold a credential, which would be stored and shown with the Runbook")
            if any(ord(character) < 0x20 or ord(character) == 0x7F for character in value):
                raise ValueError(f"the value of {name} holds a line break or another control character")
        return headers


class HttpGetOutput(Output):
    """The answer of a web server."""

    reachable: bool = Field(default=False, description="Whether a web server answered, with whatever status.")
    as_expected: bool = Field(default=False, description="Whether it answered with a status of `expect`.")
    reason: str | None = Field(
        default=None,
        description="Why it is not reachable: ConnectionRefused, ConnectionClosed, NameUnknown, TLSFailed or NotHTTP; "
        "absent where it is.",
    )
    status: int | None = Field(default=None, description="The status; absent where nobody answered.")
    latency_millis: int | None = Field(
        default=None, description="Milliseconds until the answer was read, redirects included; absent without one."
    )
    body: str | None = Field(default=None, description="The body as text, with secrets removed; absent without one.")
    json_: Annotated[AnyValue, NoneIsUnknown] = Field(
        default=None, alias="json", description="The body; Unknown where it is no JSON, was cut, or was not asked for."
    )


class HttpGet:
    """Ask a web server."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="httpGet",
        cls=ActionClass.READ,
        summary="Ask a web server one question, by a GET to a host that a Guardrail allows.",
        parameters=HttpGetParameters,
        output=HttpGetOutput,
    )

    async def read(self, params: HttpGetParameters, reader: Reader) -> Reading:
        answer = await reader.web.get(params.url, headers=params.headers, limit_bytes=params.limit_bytes)
        if isinstance(answer, NoAnswer):
            return Reading(HttpGetOutput(reason=answer.reason), notes=(answer.message,))
        text = answer.body.decode("utf-8", "replace")
        return Reading(
            HttpGetOutput(
                truncated=answer.truncated,
                reachable=True,
                as_expected=_is_well(answer.status, params.expect),
                status=answer.status,
                latency_millis=answer.milliseconds,
                body=None if params.json_ else text,
                json_=_parsed(answer) if params.json_ else None,
            ),
            text,
        )


def _is_well(status: int, expected: list[int]) -> bool:
    return status in expected if expected else 200 <= status < 300


def _parsed(answer: WebAnswer) -> Any:
    if answer.truncated:
        return None
    try:
        return json.loads(answer.body, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
