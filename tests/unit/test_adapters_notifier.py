"""Messages: who is allowed to be told, and that no address is ever shown."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web

from contract.ports.http_server import Server
from remediator.adapters.notifier import SECRET_NAME, AppriseNotifier, hosts_of, with_key
from remediator.adapters.outgoing import Checked, NameUnknown
from remediator.domain.errors import Forbidden, NotFound, Rejected, Unavailable
from remediator.domain.json import Object
from remediator.domain.objects import ObjectRef
from remediator.testing import FakeCluster, StoppedClock

# a plugin of apprise's still imports it where it is to be had
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

OPERATORS = "remediator-system"


def secret(namespace: str, **receivers: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": SECRET_NAME},
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in receivers.items()},
    }


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def address(server: Server) -> AsyncIterator[str]:
    async with server.running() as at:
        yield at.removeprefix("http://")


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def cluster(clock: StoppedClock) -> FakeCluster:
    return FakeCluster(clock)


@pytest.fixture
async def notifier(cluster: FakeCluster, clock: StoppedClock) -> AsyncIterator[AppriseNotifier]:
    made = AppriseNotifier(cluster, OPERATORS, clock, send_seconds=5)
    yield made
    made.close()


async def test_a_message_reaches_the_receivers_url_with_its_key(
    server: Server, address: str, cluster: FakeCluster, notifier: AppriseNotifier
) -> None:
    server.answers()
    cluster.add(secret(OPERATORS, oncall=f"json://{address}/hook"))

    await notifier.send("shop", "oncall", "Deployment shop/checkout", "it crashes", key="run-1/page")

    body = json.loads(server.bodies[0])
    assert body["title"] == "Deployment shop/checkout"
    assert body["message"] == "it crashes\n\nref: run-1/page"
    assert server.requests[0].headers["Idempotency-Key"] == "run-1/page"


async def test_a_message_of_a_megabyte_is_sent_in_part_without_secrets_and_says_so(
    cluster: FakeCluster, notifier: AppriseNotifier, server: Server, address: str
) -> None:
    server.answers()
    cluster.add(secret(OPERATORS, oncall=f"json://{address}/hook"))

    await notifier.send("shop", "oncall", "s" * 10_000, f"password=hunter2\n{'b' * 1_000_000}", key="k")

    sent = json.loads(server.bodies[0])
    assert len(sent["title"]) <= 256
    assert len(sent["message"]) <= 17 * 1024
    assert "bytes more)" in sent["title"]
    assert "bytes more)" in sent["message"]
    assert "hunter2" not in server.bodies[0]
    assert sent["message"].endswith("ref: k")


async def test_the_namespaces_own_receiver_comes_before_the_operators(
    cluster: FakeCluster, notifier: AppriseNotifier, server: Server, address: str
) -> None:
    server.answers()
    cluster.add(secret(OPERATORS, oncall=f"json://{address}/operators"))
    cluster.add(secret("shop", other="json://example.com"))

    await notifier.send("shop", "oncall", "s", "b", key="k")

    assert server.requests[0].path == "/operators"
    assert await notifier.known("shop", "other")
    assert not await notifier.known("elsewhere", "other")


async def test_an_unknown_receiver_is_not_found(notifier: AppriseNotifier) -> None:
    assert not await notifier.known("shop", "nobody")
    with pytest.raises(NotFound, match="no receiver nobody"):
        await notifier.send("shop", "nobody", "s", "b", key="k")


async def test_a_service_that_refuses_is_tried_twice_and_then_unavailable(
    cluster: FakeCluster, notifier: AppriseNotifier, server: Server, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers(500)
    cluster.add(secret(OPERATORS, oncall=f"json://me:hunter2hunter2@{address}/hook/t0kent0ken"))
    caplog.set_level(logging.CRITICAL)

    with pytest.raises(Unavailable) as told:
        await notifier.send("shop", "oncall", "s", "b", key="k")

    assert len(server.requests) == 2
    for shown in (str(told.value), caplog.text):
        assert "hunter2" not in shown
        assert "t0ken" not in shown


async def test_a_repeat_goes_only_to_those_that_were_not_reached(
    cluster: FakeCluster, notifier: AppriseNotifier, server: Server, address: str
) -> None:
    other = Server().answers(500).answers(500).answers(200)
    server.answers()
    async with other.running() as second:
        urls = f"json://{address}/a\n\n# a comment\njson://{second.removeprefix('http://')}/b\n"
        cluster.add(secret(OPERATORS, oncall=urls))
        with pytest.raises(Unavailable):
            await notifier.send("shop", "oncall", "s", "b", key="k")

        await notifier.send("shop", "oncall", "s", "b", key="k")

    assert len(server.requests) == 1
    assert len(other.requests) == 3


@pytest.mark.parametrize(
    "url",
    [
        "file:///tmp/x",
        "exec://rm",
        "syslog://",
        "dbus://",
        "http://example.com/",
        "https://example.com/x",
        "json",
        "apprise://h/t",
    ],
)
async def test_what_is_no_service_is_rejected_and_not_shown(
    cluster: FakeCluster, notifier: AppriseNotifier, url: str
) -> None:
    cluster.add(secret(OPERATORS, oncall=url))

    with pytest.raises(Rejected) as told:
        await notifier.send("shop", "oncall", "s", "b", key="k")

    assert "example.com" not in str(told.value)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0.0.0.0",
        "[fe80::1]",
        "2852039166",
        "0251.0376.0251.0376",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
        "100.100.100.200",
    ],
)
async def test_a_tenants_secret_cannot_reach_the_node(
    cluster: FakeCluster, notifier: AppriseNotifier, host: str
) -> None:
    cluster.add(secret("shop", oncall=f"json://{host}/latest/meta-data"))

    with pytest.raises(Rejected, match="node's own"):
        await notifier.send("shop", "oncall", "s", "b", key="k")


@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", "100.100.100.200", "[fd00:ec2::254]"])
async def test_not_even_the_platforms_receivers_lead_to_metadata(
    cluster: FakeCluster, notifier: AppriseNotifier, host: str
) -> None:
    cluster.add(secret(OPERATORS, oncall=f"json://{host}/latest/meta-data"))

    with pytest.raises(Rejected, match="node's own"):
        await notifier.send("shop", "oncall", "s", "b", key="k")


class Lying:
    """A resolver that is told something else than everybody who asks a moment later."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers

    async def __call__(self, host: str, port: int) -> tuple[str, ...]:
        if host not in self.answers:
            raise NameUnknown(host)
        return (self.answers[host],)


def deceived(cluster: FakeCluster, clock: StoppedClock, *own: str, **answers: str) -> AppriseNotifier:
    return AppriseNotifier(cluster, OPERATORS, clock, checked=Checked(Lying(**answers), clock, own), send_seconds=5)


@pytest.mark.parametrize("scheme", ["json", "form", "mmost", "mailto"])
async def test_a_name_that_leads_to_the_node_after_it_was_checked_is_not_called(
    cluster: FakeCluster, clock: StoppedClock, server: Server, address: str, scheme: str
) -> None:
    port = address.rpartition(":")[2]
    user = "me:secret@" if scheme == "mailto" else ""
    more = "?smtp=localhost&to=x@example.com&from=y@example.com" if scheme == "mailto" else "abcdefabcdefabcdefabcdef"
    cluster.add(secret("shop", oncall=f"{scheme}://{user}localhost:{port}/{more}"))
    notifier = deceived(cluster, clock, localhost="93.184.215.14")

    with pytest.raises(Rejected, match="its address may not be called"):
        await notifier.send("shop", "oncall", "s", "b", key="k")

    assert server.requests == []
    notifier.close()


async def test_a_tenants_secret_cannot_reach_the_api_server(cluster: FakeCluster, clock: StoppedClock) -> None:
    cluster.add(secret("shop", oncall="json://tenants.name/api"))
    notifier = deceived(
        cluster, clock, "kubernetes.svc", **{"tenants.name": "10.96.0.1", "kubernetes.svc": "10.96.0.1"}
    )

    with pytest.raises(Rejected, match="node's own"):
        await notifier.send("shop", "oncall", "s", "b", key="k")

    notifier.close()


FILES = {
    "Slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?template={path}",
    "Discord": "discord://417421629812345678/JHMHI8qBe7bk2ZwO5U711o3dV_js/?template={path}",
    "Telegram": "tgram://123456789:abcdefg_hijklmnop/12315544/?template={path}",
    "Workflows": "workflows://host.example/workflowid/signature/?template={path}",
    "behind a semicolon": "tgram://123456789:abcdefg_hijklmnop/12315544/?silent=no;template={path}",
    "with an encoded name": "tgram://123456789:abcdefg_hijklmnop/12315544/?templ%61te={path}",
    "with another case": "tgram://123456789:abcdefg_hijklmnop/12315544/?TEMPLATE={path}",
    "by a URL": "tgram://123456789:abcdefg_hijklmnop/12315544/?template=file%3A%2F%2F{path}",
    "by a URL of the web": "tgram://123456789:abcdefg_hijklmnop/12315544/?template=http%3A%2F%2F169.254.169.254%2F",
    "a public key": "mailto://me:secret@mail.example?pgp=encrypt&pgppub={path}",
    "a private key": "mailto://me:secret@mail.example?pgp=sign&pgpprv={path}",
    "keys of the web": "mailto://me:secret@mail.example?wkd=yes",
}


@pytest.mark.parametrize("place", ["shop", OPERATORS])
@pytest.mark.parametrize("url", FILES.values(), ids=FILES)
async def test_no_file_of_the_operators_machine_is_read_for_a_message(
    cluster: FakeCluster, notifier: AppriseNotifier, tmp_path: Path, url: str, place: str
) -> None:
    token = tmp_path / "token"
    token.write_text("the operator's own token")
    cluster.add(secret(place, oncall=url.format(path=quote(str(token), safe=""))))

    with pytest.raises(Rejected, match="are not read"):
        await notifier.send("shop", "oncall", "s", "b", key="k")


async def test_a_receiver_that_answers_without_end_is_not_read_to_it(
    cluster: FakeCluster, notifier: AppriseNotifier, server: Server, address: str
) -> None:
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
    cluster.add(secret(OPERATORS, oncall=f"json://{address}/hook"))

    with pytest.raises(Unavailable):
        await notifier.send("shop", "oncall", "s", "b", key="k")

    assert sent < 100_000_000


async def test_receivers_that_answer_a_byte_at_a_time_hold_up_no_other_message(
    cluster: FakeCluster, clock: StoppedClock, server: Server, address: str
) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    async def either(request: web.Request) -> web.StreamResponse:
        return await drip(request) if request.path == "/slow" else web.Response(text="{}")

    server.does(either)
    cluster.add(
        secret(
            OPERATORS, slow=f"json://{address}/slow?rto=3600&cto=3600&retry=9&wait=60", well=f"json://{address}/well"
        )
    )
    notifier = AppriseNotifier(cluster, OPERATORS, clock, send_seconds=0.5)

    slow = [notifier.send("shop", "slow", "s", "b", key=str(n)) for n in range(6)]
    results = await asyncio.gather(*slow, return_exceptions=True)
    await notifier.send("shop", "well", "s", "b", key="k")

    assert all(isinstance(result, Unavailable) for result in results)
    assert server.requests[-1].path == "/well"
    notifier.close()


async def test_a_redirect_is_not_followed_even_where_the_url_asks(
    cluster: FakeCluster, notifier: AppriseNotifier, server: Server, address: str
) -> None:
    server.answers(302, headers={"Location": f"http://{address}/stolen"})
    cluster.add(secret(OPERATORS, oncall=f"json://{address}/hook?redirect=yes"))

    with pytest.raises(Unavailable):
        await notifier.send("shop", "oncall", "s", "b", key="k")

    assert {request.path for request in server.requests} == {"/hook"}


async def test_the_secret_is_read_again_after_half_a_minute(
    cluster: FakeCluster, notifier: AppriseNotifier, clock: StoppedClock
) -> None:
    assert not await notifier.known("shop", "oncall")
    cluster.add(secret("shop", oncall="json://example.com"))

    assert not await notifier.known("shop", "oncall")
    clock.set(clock.now())
    await clock.sleep(31)
    assert await notifier.known("shop", "oncall")


async def test_an_install_that_may_not_read_tenants_secrets_uses_its_own(
    cluster: FakeCluster, notifier: AppriseNotifier
) -> None:
    cluster.add(secret(OPERATORS, oncall="json://example.com"))
    cluster.forbid("", "get", "secrets", "shop")

    assert await notifier.known("shop", "oncall")
    cluster.forbid("", "get", "secrets")
    with pytest.raises(Forbidden):
        await AppriseNotifier(cluster, OPERATORS, StoppedClock()).known("shop", "oncall")


def test_the_secret_is_asked_for_by_name_alone(cluster: FakeCluster) -> None:
    cluster.add(secret("shop", a="b"))

    assert cluster.has(ObjectRef("", "Secret", "shop", SECRET_NAME))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("pagerduty://key@api", "pagerduty://key@api?dedup=a%2Fb"),
        ("opsgenie://key?region=eu", "opsgenie://key?region=eu&alias=a%2Fb"),
        ("slack://a/b/c", "slack://a/b/c"),
        ("pagerduty://key@api?dedup=mine", "pagerduty://key@api?dedup=mine"),
    ],
)
def test_services_that_know_repeats_are_told_the_key(url: str, expected: str) -> None:
    assert with_key(url, "a/b") == expected


@pytest.mark.parametrize(
    "url", ["tgram://123456789:abcdefg_hijklmnop/12315544/", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkd/"]
)
def test_a_token_is_not_asked_of_a_name_server(url: str) -> None:
    assert list(hosts_of(url)) == []


def test_an_e_mails_server_is_a_host_too() -> None:
    assert list(hosts_of("mailto://me:pw@example.com?smtp=10.0.0.1:25")) == ["example.com", "10.0.0.1"]
