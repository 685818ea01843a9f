"""TLS of the intake: exchanged while it is used, and client certificates by name."""

import asyncio
import json
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from localcluster.certs import Authority, Pair, openssl
from remediator.domain.errors import InvalidManifest
from remediator.handlers.metrics import TlsMetrics
from remediator.handlers.serving import Server, certified_names
from remediator.handlers.tls import ServerTls
from remediator.settings import from_environment
from remediator.testing import StoppedClock


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return founded(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return founded(tmp_path_factory.mktemp("theirs"))


def founded(folder: Path) -> Authority:
    authority = Authority(folder)
    authority.found()
    return authority


def put(pair: Pair, folder: Path) -> None:
    shutil.copy(pair.certificate, folder / "tls.crt")
    shutil.copy(pair.key, folder / "tls.key")


@dataclass
class World:
    folder: Path
    ours: Authority
    tls: ServerTls
    registry: CollectorRegistry
    server: Server

    @property
    def refused(self) -> float | None:
        return self.registry.get_sample_value("remediator_intake_certificate_refused")

    def serve(self, user: str) -> None:
        """Another certificate is in the folder; whose it is, is its common name."""
        put(self.ours.pair(user, user=user, hosts=("127.0.0.1",)), self.folder)

    def trusting(self, client: Pair | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ours.certificate))
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        return context

    @asynccontextmanager
    async def client(self, certificate: Pair | None = None) -> AsyncIterator["Client"]:
        client = Client(self.server.port, self.trusting(certificate))
        try:
            yield client
        finally:
            await client.close()


class Client:
    """Calls over one connection as long as the server keeps it."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port = port
        self._context = context
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self) -> tuple[str, list[str], bool]:
        """Whose certificate the server showed, the names it saw on ours, and whether the connection goes on."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context)
        reader, writer = self._streams
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        (length,) = (int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length"))
        names = json.loads(await reader.readexactly(length))
        shown = writer.get_extra_info("peercert")["subject"][0][0][1]
        goes_on = "connection: close" not in head
        if not goes_on:
            await self.close()
        return shown, names, goes_on

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            with suppress(OSError):
                await self._streams[1].wait_closed()
            self._streams = None


async def answer(request: web.Request) -> web.Response:
    return web.json_response(sorted(certified_names(request)))


@pytest.fixture
async def world(tmp_path: Path, ours: Authority) -> AsyncIterator[World]:
    folder = tmp_path / "tls"
    folder.mkdir()
    shutil.copy(ours.certificate, tmp_path / "clients.crt")
    put(ours.pair("first", user="first", hosts=("127.0.0.1",)), folder)
    registry = CollectorRegistry()
    tls = ServerTls(str(folder), str(tmp_path / "clients.crt"), StoppedClock(), TlsMetrics(registry))
    tls.load()
    application = web.Application()
    application.router.add_get("/", answer)
    async with Server(application, "127.0.0.1", 0, tls) as server:
        yield World(folder, ours, tls, registry, server)


async def test_an_exchange_interrupts_no_connection_and_holds_for_the_next(world: World) -> None:
    async with world.client() as kept, world.client() as fresh:
        assert await kept.get() == ("first", [], True)
        world.serve("second")
        await world.tls.look()

        assert await fresh.get() == ("second", [], True)
        assert await kept.get() == ("first", [], False)
        assert await kept.get() == ("second", [], True)
    assert world.registry.get_sample_value("remediator_intake_certificate_exchanges_total") == 1


async def test_calls_that_go_on_while_it_is_exchanged_again_and_again_are_all_answered(world: World) -> None:
    async def call() -> None:
        async with world.client() as client:
            for _ in range(10):
                await client.get()

    async def exchange() -> None:
        for number in range(6):
            world.serve(("first", "second")[number % 2])
            await world.tls.look()

    await asyncio.gather(*(call() for _ in range(4)), exchange())


async def test_what_did_not_change_is_not_taken_for_new(world: World) -> None:
    async with world.client() as client:
        await client.get()
        await world.tls.look()

        assert await client.get() == ("first", [], True)
    assert world.registry.get_sample_value("remediator_intake_certificate_exchanges_total") == 0


@pytest.mark.parametrize("broken", ["half a pair", "nonsense", "gone", "too large"])
async def test_files_that_cannot_be_used_change_nothing_and_are_told(
    world: World, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    match broken:
        case "half a pair":
            shutil.copy(
                world.ours.pair("second", user="second", hosts=("127.0.0.1",)).certificate, world.folder / "tls.crt"
            )
        case "nonsense":
            (world.folder / "tls.key").write_text("no key")
        case "gone":
            (world.folder / "tls.key").unlink()
        case "too large":
            (world.folder / "tls.crt").write_text("x" * 2_000_000)
    await world.tls.look()
    await world.tls.look()

    assert world.refused == 1
    assert caplog.text.count("is not exchanged") == 1
    async with world.client() as client:
        assert await client.get() == ("first", [], True)
    world.serve("second")
    await world.tls.look()
    assert world.refused == 0
    async with world.client() as client:
        assert (await client.get())[0] == "second"


async def test_a_client_is_known_by_the_names_on_its_certificate(world: World) -> None:
    certificate = world.ours.pair("alertmanager", user="alertmanager", hosts=("am.monitoring.svc", "10.0.0.1"))

    async with world.client(certificate) as client:
        assert (await client.get())[1] == ["10.0.0.1", "alertmanager", "am.monitoring.svc"]


async def test_a_certificate_that_somebody_else_signed_is_nobodys(world: World, theirs: Authority) -> None:
    async with world.client(theirs.pair("alertmanager", user="alertmanager")) as client:
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await client.get()


async def test_who_is_trusted_no_more_does_not_stay_by_keeping_the_connection(
    world: World, theirs: Authority, tmp_path: Path
) -> None:
    certificate = world.ours.pair("trusted", user="alertmanager")
    async with world.client(certificate) as client:
        assert (await client.get())[1] == ["alertmanager"]
        shutil.copy(theirs.certificate, tmp_path / "clients.crt")
        await world.tls.look()

        assert await client.get() == ("first", ["alertmanager"], False)
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await client.get()


@pytest.mark.parametrize("broken", ["not there", "half a pair", "encrypted", "no authority"])
def test_without_usable_files_nothing_is_served(
    tmp_path: Path, ours: Authority, theirs: Authority, broken: str
) -> None:
    put(ours.pair("first", user="first", hosts=("127.0.0.1",)), tmp_path)
    clients = ""
    match broken:
        case "not there":
            (tmp_path / "tls.crt").unlink()
        case "half a pair":
            shutil.copy(theirs.pair("other", user="other").key, tmp_path / "tls.key")
        case "encrypted":
            (tmp_path / "tls.key").unlink()
            openssl("ec -aes256 -passout pass:x", **{"in": ours.kept("first").key}, out=tmp_path / "tls.key")
        case "no authority":
            (tmp_path / "clients.crt").write_text("nobody")
            clients = str(tmp_path / "clients.crt")

    with pytest.raises(InvalidManifest, match="REMEDIATOR_INTAKE_TLS_PATH"):
        ServerTls(str(tmp_path), clients, StoppedClock(), TlsMetrics(CollectorRegistry())).load()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"CLIENT_CA_PATH": "/ca", "CLIENT_NAMES": "am"}, "need TLS"),
        ({"CLIENT_CA_PATH": "/ca", "TLS_PATH": "/tls"}, "who may send"),
        ({"CLIENT_CA_PATH": "/ca", "TLS_PATH": "/tls", "CLIENT_NAMES": " , "}, "who may send"),
        ({"CLIENT_NAMES": "am"}, "nobody's certificate would be verified"),
    ],
)
def test_half_of_a_setting_is_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidManifest, match=said):
        from_environment({f"REMEDIATOR_INTAKE_{key}": value for key, value in environment.items()})


def test_the_names_of_clients_are_a_list() -> None:
    given: dict[str, Any] = {
        "REMEDIATOR_INTAKE_CLIENT_CA_PATH": "/ca",
        "REMEDIATOR_INTAKE_TLS_PATH": "/tls",
        "REMEDIATOR_INTAKE_CLIENT_NAMES": "am, spiffe://shop/am ,",
    }

    assert from_environment(given).client_names == {"am", "spiffe://shop/am"}
