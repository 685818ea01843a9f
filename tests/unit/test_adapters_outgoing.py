"""Outgoing calls: what leaves, what never does, and that nothing that comes back is too much."""

import asyncio
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from contract.ports.http_server import Server
from remediator.adapters.clock import SystemClock
from remediator.adapters.outgoing import Checked, FencedWeb, NameUnknown
from remediator.domain.errors import Forbidden, Unavailable
from remediator.domain.hosts import objection_to_address
from remediator.ports import Certificate, NoAnswer, Reached, WebAnswer

CERTIFICATES = Path(__file__).parent.parent / "data" / "certificates"
PEER = "127.0.0.1"


class Names:
    """A resolver whose answers a test decides, one after the other; the last one stays."""

    def __init__(self, **answers: list[tuple[str, ...]]) -> None:
        self.answers: dict[str, list[tuple[str, ...]]] = {
            name.replace("_", "."): list(a) for name, a in answers.items()
        }
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> tuple[str, ...]:
        self.asked.append(host)
        if host not in self.answers:
            raise NameUnknown(host)
        answers = self.answers[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


def but_for_tests(address: str) -> str:
    """The product's own objections, but for the one address that local servers have."""
    return "" if address == PEER else objection_to_address(address)


def fenced(
    names: Names,
    *hosts: str,
    objection: Callable[[str], str] = but_for_tests,
    own: tuple[str, ...] = (),
    seconds: float = 5,
    authorities: ssl.SSLContext | None = None,
) -> FencedWeb:
    clock = SystemClock()
    checked = Checked(names, clock, own, objection)
    return FencedWeb(checked, clock, total_seconds=seconds, authorities=authorities).within(hosts)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def port(server: Server) -> AsyncIterator[int]:
    async with server.running() as address:
        yield int(address.rpartition(":")[2])


async def got(through: FencedWeb, url: str, limit: int = 1_000, **headers: str) -> WebAnswer | NoAnswer:
    return await through.get(url, headers=headers, limit_bytes=limit)


async def test_an_allowed_host_is_asked_and_its_answer_brought_back(server: Server, port: int) -> None:
    server.answers(200, {"ok": True})

    answer = await got(fenced(Names(api_test=[(PEER,)]), "api.test"), f"http://api.test:{port}/x?y=1", Accept="a/b")

    assert isinstance(answer, WebAnswer)
    assert (answer.status, answer.body, answer.truncated) == (200, b'{"ok": true}', False)
    assert server.requests[0].path_qs == "/x?y=1"
    assert server.requests[0].headers["Accept"] == "a/b"
    assert server.requests[0].headers["Host"] == f"api.test:{port}"


async def test_a_fence_without_hosts_lets_nothing_out(server: Server, port: int) -> None:
    names = Names(api_test=[(PEER,)])

    with pytest.raises(Forbidden, match="not among the hosts"):
        await got(fenced(names), f"http://api.test:{port}/")

    assert names.asked == []


async def test_an_error_status_is_an_answer(server: Server, port: int) -> None:
    server.answers(404)

    answer = await got(fenced(Names(api_test=[(PEER,)]), "api.test"), f"http://api.test:{port}/")

    assert isinstance(answer, WebAnswer)
    assert answer.status == 404


ADDRESSES = {
    "a name for loopback": ("127.0.0.2",),
    "a name for metadata": ("169.254.169.254",),
    "a name for metadata by IPv6": ("fd00:ec2::254",),
    "a name for mapped metadata": ("::ffff:169.254.169.254",),
    "a good address and a bad one": ("93.184.215.14", "169.254.169.254"),
    "a name for NAT64 metadata": ("64:ff9b::a9fe:a9fe",),
}


@pytest.mark.parametrize("addresses", ADDRESSES.values(), ids=ADDRESSES)
async def test_an_allowed_name_that_leads_to_a_forbidden_address_is_not_called(addresses: tuple[str, ...]) -> None:
    with pytest.raises(Forbidden, match="leads nowhere that may be called"):
        await got(fenced(Names(api_test=[addresses]), "api.test"), "http://api.test/")


@pytest.mark.parametrize("host", ["127.0.0.2", "169.254.169.254", "[::1]", "[::ffff:169.254.169.254]"])
async def test_a_forbidden_address_is_not_called_even_where_the_list_names_it(host: str) -> None:
    with pytest.raises(Forbidden, match="leads nowhere that may be called"):
        await got(fenced(Names(), host.strip("[]")), f"http://{host}/")


async def test_loopback_is_refused_but_for_the_seam_of_these_tests(server: Server, port: int) -> None:
    server.answers()

    with pytest.raises(Forbidden, match="own machine"):
        await got(
            fenced(Names(api_test=[(PEER,)]), "api.test", objection=objection_to_address), f"http://api.test:{port}/"
        )

    assert server.requests == []


async def test_a_name_that_changes_after_the_check_changes_nothing(server: Server, port: int) -> None:
    server.answers()
    names = Names(api_test=[(PEER,), ("169.254.169.254",)])

    answer = await got(fenced(names, "api.test"), f"http://api.test:{port}/")

    assert isinstance(answer, WebAnswer)
    assert names.asked == ["api.test"]


async def test_the_api_server_and_the_operator_are_not_called_under_any_name() -> None:
    names = Names(api_test=[("10.96.0.1",)], kubernetes_test=[("10.96.0.1",)], remediator_test=[("10.96.0.2",)])
    through = fenced(names, "*.test", "10.96.0.1", own=("kubernetes.test", "remediator.test"))

    for host in ("api.test", "kubernetes.test", "KUBERNETES.test.", "remediator.test", "10.96.0.1"):
        with pytest.raises(Forbidden, match="the API server or"):
            await got(through, f"http://{host}/")


async def test_a_redirect_within_the_fence_is_followed(server: Server, port: int) -> None:
    server.answers(302, headers={"Location": "/there"}).answers(200, "here")

    answer = await got(fenced(Names(api_test=[(PEER,)]), "api.test"), f"http://api.test:{port}/", token="t")

    assert isinstance(answer, WebAnswer)
    assert answer.status == 200
    assert [request.path for request in server.requests] == ["/", "/there"]
    assert "token" in server.requests[1].headers


REDIRECTS = {
    "to a host that is not allowed": ("http://evil.test/", "not among the hosts"),
    "to metadata": ("http://169.254.169.254/latest", "not among the hosts"),
    "to an allowed name of metadata": ("http://meta.api.test/", "leads nowhere that may be called"),
    "to a user in the URL": ("http://api.test@169.254.169.254/", "no user"),
    "to a decimal address": ("http://2852039166/", "four decimal numbers"),
    "to a file": ("file:///etc/passwd", "only http and https"),
    "to another host without a scheme": ("//evil.test/", "not among the hosts"),
    "to a port that is not allowed": ("http://api.test:6379/", "not among the hosts"),
}


@pytest.mark.parametrize(("location", "why"), REDIRECTS.values(), ids=REDIRECTS)
async def test_a_redirect_passes_every_check_again(server: Server, port: int, location: str, why: str) -> None:
    server.answers(302, headers={"Location": location})
    names = Names(api_test=[(PEER,)], meta_api_test=[("169.254.169.254",)])

    with pytest.raises(Forbidden, match=why):
        await got(fenced(names, f"api.test:{port}", "*.api.test"), f"http://api.test:{port}/")

    assert len(server.requests) == 1


async def test_a_name_is_checked_anew_for_a_redirect_to_itself(server: Server, port: int) -> None:
    server.answers(302, headers={"Location": "/again"})
    names = Names(api_test=[(PEER,), ("169.254.169.254",)])

    with pytest.raises(Forbidden, match="leads nowhere"):
        await got(fenced(names, "api.test"), f"http://api.test:{port}/")

    assert len(server.requests) == 1


async def test_redirects_come_to_an_end(server: Server, port: int) -> None:
    server.answers(302, headers={"Location": "/again"})

    with pytest.raises(Forbidden, match="more than 3 times"):
        await got(fenced(Names(api_test=[(PEER,)]), "api.test"), f"http://api.test:{port}/")

    assert len(server.requests) == 4


async def test_headers_are_not_shown_to_another_host(server: Server, port: int) -> None:
    server.answers(302, headers={"Location": f"http://other.test:{port}/"}).answers()
    names = Names(api_test=[(PEER,)], other_test=[(PEER,)])

    await got(fenced(names, "*.test"), f"http://api.test:{port}/", token="t")

    assert "token" in server.requests[0].headers
    assert "token" not in server.requests[1].headers


async def test_a_body_that_is_too_large_is_cut_and_says_so(server: Server, port: int) -> None:
    server.answers(200, "x" * 100_000)

    answer = await got(fenced(Names(api_test=[(PEER,)]), "api.test"), f"http://api.test:{port}/", limit=10)

    assert isinstance(answer, WebAnswer)
    assert answer.truncated
    assert len(answer.body) == 10


async def test_a_body_without_an_end_is_cut(server: Server, port: int) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 1_000_000_000:
            await response.write(b"x" * 65_536)
            sent += 65_536
        return response

    server.does(endless)

    answer = await got(fenced(Names(api_test=[(PEER,)]), "api.test"), f"http://api.test:{port}/", limit=100_000)

    assert isinstance(answer, WebAnswer)
    assert answer.truncated
    assert sent < 50_000_000


@pytest.mark.parametrize(("coding", "packed"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_small_answer_does_not_become_a_large_one(
    server: Server, port: int, coding: str, packed: Callable[[bytes], bytes]
) -> None:
    bomb = packed(b"0" * 100_000_000)

    async def explode(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": coding})

    server.does(explode)

    answer = await got(fenced(Names(api_test=[(PEER,)]), "api.test"), f"http://api.test:{port}/", limit=5_000)

    assert isinstance(answer, WebAnswer)
    assert answer.truncated
    assert answer.body == b"0" * 5_000
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


@asynccontextmanager
async def raw(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A TCP server that says what no HTTP library would."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)  # type: ignore[misc]
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    opened = await asyncio.start_server(serve, PEER, 0, ssl=tls)
    async with opened:
        yield opened.sockets[0].getsockname()[1]


HEADS = {
    "a header that is too long": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000 + b"\r\n",
    "a status line that is too long": b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a packing that was not asked for": b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
    "something that is not packed as it says": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip.",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
async def test_what_is_no_bounded_http_is_an_answer_that_says_so(head: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        await writer.drain()

    async with raw(talk) as port:
        answer = await got(fenced(Names(api_test=[(PEER,)]), "api.test"), f"http://api.test:{port}/")

    assert isinstance(answer, NoAnswer)
    assert answer.reason == "NotHTTP"


async def test_who_closes_without_a_word_has_answered() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with raw(talk) as port:
        answer = await got(fenced(Names(api_test=[(PEER,)]), "api.test"), f"http://api.test:{port}/")

    assert isinstance(answer, NoAnswer)
    assert answer.reason == "ConnectionClosed"


async def test_who_says_a_byte_now_and_then_is_not_waited_for() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw(talk) as port:
        with pytest.raises(Unavailable, match="within"):
            await got(fenced(Names(api_test=[(PEER,)]), "api.test", seconds=0.2), f"http://api.test:{port}/")


async def test_a_refused_connection_is_an_answer() -> None:
    async with raw(lambda r, w: asyncio.sleep(0)) as port:
        pass

    answer = await got(fenced(Names(api_test=[(PEER,)]), "api.test"), f"http://api.test:{port}/")

    assert isinstance(answer, NoAnswer)
    assert answer.reason == "ConnectionRefused"


async def test_a_name_that_does_not_exist_is_an_answer() -> None:
    answer = await got(fenced(Names(), "api.test"), "http://api.test/")

    assert answer == NoAnswer("NameUnknown", "there is no host api.test")


async def test_no_proxy_and_no_netrc_of_the_environment_is_used(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server.answers()

    answer = await got(fenced(Names(api_test=[(PEER,)]), "api.test"), f"http://api.test:{port}/")

    assert isinstance(answer, WebAnswer)


async def test_a_knock_says_where_somebody_opened(port: int) -> None:
    found = await fenced(Names(api_test=[(PEER,)]), f"api.test:{port}").knock("api.test", port)

    assert isinstance(found, Reached)
    assert found.address == PEER


async def test_a_knock_at_a_port_that_is_not_allowed_is_refused(port: int) -> None:
    with pytest.raises(Forbidden, match="not among the hosts"):
        await fenced(Names(api_test=[(PEER,)]), "api.test:443").knock("api.test", port)


async def test_a_knock_where_nobody_is_is_an_answer() -> None:
    async with raw(lambda r, w: asyncio.sleep(0)) as port:
        pass

    found = await fenced(Names(api_test=[(PEER,)]), "api.test").knock("api.test", port)

    assert isinstance(found, NoAnswer)
    assert found.reason == "ConnectionRefused"


async def test_only_allowed_names_are_looked_up() -> None:
    names = Names(api_test=[("10.0.0.7", "10.0.0.8")])
    through = fenced(names, "api.test")

    assert await through.look_up("api.test") == ("10.0.0.7", "10.0.0.8")
    with pytest.raises(Forbidden):
        await through.look_up("c2VjcmV0.evil.test")
    assert names.asked == ["api.test"]


def presenting(name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{name}.pem", CERTIFICATES / "server.key")
    return context


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATES / "authority.pem"))


async def presented(certificate: str, name: str = "api.test") -> Certificate | NoAnswer:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with raw(talk, presenting(certificate)) as port:
        through = fenced(Names(api_test=[(PEER,)]), "api.test", authorities=trusting())
        return await through.certificate("api.test", port, name)


async def test_a_certificate_that_holds_is_read_out() -> None:
    found = await presented("valid")

    assert isinstance(found, Certificate)
    assert found.verified
    assert found.names == ("api.test", "*.shop.test")
    assert found.issuer == "Test Authority"
    assert found.not_after.tzinfo == UTC
    assert found.not_after > datetime(2090, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("certificate", "name", "why"),
    [
        ("expired", "api.test", "expired"),
        ("valid", "other.test", "not valid for"),
        ("selfsigned", "api.test", "self-signed"),
    ],
)
async def test_a_certificate_that_does_not_hold_is_read_out_too(certificate: str, name: str, why: str) -> None:
    found = await presented(certificate, name)

    assert isinstance(found, Certificate)
    assert not found.verified
    assert why in found.objection
    assert "api.test" in found.names
    assert (found.not_after < datetime(2021, 1, 1, tzinfo=UTC)) is (certificate == "expired")


async def test_https_with_a_certificate_that_does_not_hold_is_no_answer() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with raw(talk, presenting("expired")) as port:
        through = fenced(Names(api_test=[(PEER,)]), "api.test", authorities=trusting())
        answer = await got(through, f"https://api.test:{port}/")

    assert isinstance(answer, NoAnswer)
    assert answer.reason == "TLSFailed"
    assert "expired" in answer.message


async def test_https_does_not_become_http() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://api.test/\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with raw(talk, presenting("valid")) as port:
        through = fenced(Names(api_test=[(PEER,)]), "api.test", authorities=trusting())
        with pytest.raises(Forbidden, match="from https to http"):
            await got(through, f"https://api.test:{port}/")


async def test_a_port_without_tls_is_an_answer_to_who_asks_for_a_certificate(server: Server, port: int) -> None:
    server.answers()

    found = await fenced(Names(api_test=[(PEER,)]), "api.test").certificate("api.test", port, "api.test")

    assert isinstance(found, NoAnswer)
    assert found.reason == "TLSFailed"
