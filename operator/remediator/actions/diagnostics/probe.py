"""
Whether somebody takes connections, what a name resolves to, and which certificate a server presents.

Only hosts that a Guardrail allows are asked. A refused connection, a name that does not exist and a
certificate that does not hold are answers; no answer in time is not.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar, Final

from pydantic import Field, model_validator

from remediator.actions.base import IntOrTemplate, Reader, Template
from remediator.domain.actions import ActionClass, ActionInfo, Output, Parameters, Reading
from remediator.domain.errors import Rejected
from remediator.ports import NoAnswer

_HOST: Final = "A host that a Guardrail of the target's namespace lists under `hosts`. May hold `${…}`."


class TcpProbe(Parameters):
    """A connection, closed again at once."""

    host: Template = Field(min_length=1, description=_HOST)
    port: IntOrTemplate = Field(description="The port, 1 to 65535.")


class DnsProbe(Parameters):
    """A name."""

    host: Template = Field(min_length=1, description=_HOST)


class TlsProbe(Parameters):
    """A TLS handshake."""

    host: Template = Field(min_length=1, description=_HOST)
    port: IntOrTemplate = Field(default=443, description="The port, 1 to 65535. Default 443.")
    server_name: Template | None = Field(
        default=None, description="The name that the certificate must be for. Default: the host."
    )


class ProbeParameters(Parameters):
    """Exactly one of the three."""

    tcp: TcpProbe | None = Field(default=None, description="Whether somebody accepts connections.")
    dns: DnsProbe | None = Field(default=None, description="Which addresses a name has.")
    tls: TlsProbe | None = Field(default=None, description="Which certificate is presented, and until when it holds.")

    @model_validator(mode="after")
    def _one(self) -> "ProbeParameters":
        if [self.tcp, self.dns, self.tls].count(None) != 2:
            raise ValueError("give exactly one of `tcp`, `dns`, `tls`")
        return self


class TcpOutput(Output):
    """What came of a connection."""

    reachable: bool = Field(default=False, description="Whether somebody accepted it.")
    reason: str | None = Field(
        default=None, description="Why not: ConnectionRefused, ConnectionClosed or NameUnknown; absent where it was."
    )
    address: str | None = Field(default=None, description="The address that accepted it; absent where none did.")
    latency_millis: int | None = Field(default=None, description="Milliseconds that it took; absent where none did.")


class DnsOutput(Output):
    """What a name resolves to."""

    exists: bool = Field(default=False, description="Whether the name has an address.")
    addresses: tuple[str, ...] = Field(default=(), description="Its addresses, at most 16; empty where there are none.")


class TlsOutput(Output):
    """The certificate that a server presents."""

    reachable: bool = Field(default=False, description="Whether a TLS server answered.")
    reason: str | None = Field(
        default=None,
        description="Why not: ConnectionRefused, ConnectionClosed, NameUnknown or TLSFailed; absent where one did.",
    )
    verified: bool = Field(
        default=False, description="Whether its chain, its time and its name hold, by the system's authorities."
    )
    objection: str = Field(default="", description="Why they do not; empty where they do.")
    not_after: str | None = Field(default=None, description="Until when it holds, RFC 3339; absent without one.")
    days_left: int | None = Field(
        default=None, description="Whole days until then, negative where it is over; absent without one."
    )
    names: tuple[str, ...] = Field(default=(), description="The names and addresses that it is for, at most 100.")
    issuer: str = Field(default="", description="Who signed it.")
    latency_millis: int | None = Field(default=None, description="Milliseconds that it took; absent without one.")


class Probe:
    """Look from outside."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="probe",
        cls=ActionClass.READ,
        summary="Look from outside: whether a port is open, what a name resolves to, which certificate is presented.",
        parameters=ProbeParameters,
        output=TlsOutput,
    )

    shapes: ClassVar[tuple[type[Output], ...]] = (TlsOutput, TcpOutput, DnsOutput)

    @classmethod
    def output_for(cls, params: ProbeParameters, targets: Sequence[str]) -> type[Output]:  # noqa: ARG003 - the same for every kind
        if params.tcp is not None:
            return TcpOutput
        return DnsOutput if params.dns is not None else TlsOutput

    async def read(self, params: ProbeParameters, reader: Reader) -> Reading:
        if params.tcp is not None:
            return await _tcp(params.tcp, reader)
        if params.dns is not None:
            return await _dns(params.dns, reader)
        assert params.tls is not None, "exactly one is given"
        return await _tls(params.tls, reader)


def _port(value: int | str) -> int:
    if not isinstance(value, int):
        raise Rejected(f"{value!r} is no port")
    return value


async def _tcp(params: TcpProbe, reader: Reader) -> Reading:
    found = await reader.web.knock(params.host, _port(params.port))
    if isinstance(found, NoAnswer):
        return Reading(TcpOutput(reason=found.reason), notes=(found.message,))
    return Reading(TcpOutput(reachable=True, address=found.address, latency_millis=found.milliseconds))


async def _dns(params: DnsProbe, reader: Reader) -> Reading:
    found = await reader.web.look_up(params.host)
    if isinstance(found, NoAnswer):
        return Reading(DnsOutput(), notes=(found.message,))
    return Reading(DnsOutput(exists=True, addresses=found))


async def _tls(params: TlsProbe, reader: Reader) -> Reading:
    found = await reader.web.certificate(params.host, _port(params.port), params.server_name or params.host)
    if isinstance(found, NoAnswer):
        return Reading(TlsOutput(reason=found.reason), notes=(found.message,))
    return Reading(
        TlsOutput(
            reachable=True,
            verified=found.verified,
            objection=found.objection,
            not_after=found.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
            days_left=(found.not_after - reader.now) // timedelta(days=1),
            names=found.names,
            issuer=found.issuer,
            latency_millis=found.milliseconds,
        )
    )
