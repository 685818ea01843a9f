"""Messages: who is allowed to be told, and that no address is ever shown."""

import base64
import json
import logging
from collections.abc import AsyncIterator

import pytest

from contract.ports.http_server import Server
from remediator.adapters.notifier import SECRET_NAME, AppriseNotifier, hosts_of, with_key
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
    "host", ["169.254.169.254", "127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[fe80::1]", "2852039166"]
)
async def test_a_tenants_secret_cannot_reach_the_node(
    cluster: FakeCluster, notifier: AppriseNotifier, host: str
) -> None:
    cluster.add(secret("shop", oncall=f"json://{host}/latest/meta-data"))

    with pytest.raises(Rejected, match="node's own"):
        await notifier.send("shop", "oncall", "s", "b", key="k")


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


def test_an_e_mails_server_is_a_host_too() -> None:
    assert list(hosts_of("mailto://me:pw@example.com?smtp=10.0.0.1:25")) == ["example.com", "10.0.0.1"]
