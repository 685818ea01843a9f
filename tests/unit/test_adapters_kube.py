"""HTTP to the API server: errors, repeats, credentials, bounds. A real server cannot be made to misbehave so."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from contract.ports.http_server import Server
from remediator.adapters import kube
from remediator.adapters.cluster import KubeCluster, collection, impersonation, member
from remediator.adapters.kube import Access, Expired, KubeApi, TooLarge, access_with_token, failure
from remediator.domain.actions import Permission
from remediator.domain.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    NotFound,
    Rejected,
    RemediatorError,
    Unavailable,
)
from remediator.domain.json import Object
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.ports import Identity
from remediator.testing import StoppedClock

CERTIFICATES = Path(__file__).parent.parent / "data" / "certificates"
POD = ObjectRef.of("Pod", "shop", "one")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
async def api(server: Server, clock: StoppedClock) -> AsyncIterator[KubeApi]:
    async with server.running() as address:
        credentials = access_with_token(address, "t0ken")
        async with KubeApi(credentials, clock, request_seconds=2) as opened:
            yield opened


def status(reason: str, message: str = "", **details: Any) -> Object:
    return {"kind": "Status", "reason": reason, "message": message, "details": details}


@pytest.mark.parametrize(
    ("method", "code", "body", "expected"),
    [
        ("GET", 404, status("NotFound", 'pods "one" not found'), NotFound),
        ("POST", 409, status("AlreadyExists"), AlreadyExists),
        ("PUT", 409, status("Conflict"), Conflict),
        ("PATCH", 422, status("Invalid", "the server rejected our request due to an error in our request"), Conflict),
        ("PATCH", 422, status("Invalid", "bad", causes=[{"field": "spec.replicas"}]), Rejected),
        ("PATCH", 422, status("Invalid", "uid", causes=[{"field": "metadata.uid"}]), Conflict),
        ("POST", 422, status("Invalid", "bad", causes=[{"field": "spec.replicas"}]), Rejected),
        (
            "PATCH",
            422,
            status("Invalid", "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"),
            Rejected,
        ),
        (
            "PATCH",
            403,
            status("Forbidden", "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"),
            Rejected,
        ),
        ("POST", 403, status("Forbidden", 'admission webhook "w" denied the request: no'), Rejected),
        ("POST", 403, status("Forbidden", 'pods "one" is forbidden: exceeded quota: none'), Rejected),
        (
            "GET",
            403,
            status("Forbidden", 'pods is forbidden: User "u" cannot list resource "pods" in API group ""'),
            Forbidden,
        ),
        ("POST", 403, status("Forbidden", 'roles is forbidden: user "u" is attempting to grant more'), Forbidden),
        ("GET", 410, status("Expired"), Expired),
        ("GET", 400, status("BadRequest"), Rejected),
        ("PUT", 413, {}, Rejected),
        ("GET", 500, {}, Unavailable),
        ("GET", 503, status("ServiceUnavailable"), Unavailable),
        ("GET", 504, status("Timeout"), Unavailable),
    ],
)
def test_each_answer_means_one_thing(method: str, code: int, body: Object, expected: type[RemediatorError]) -> None:
    assert type(failure(method, "/path", code, body)) is expected


def test_messages_carry_no_secret() -> None:
    wrong = failure("GET", "/path", 400, status("BadRequest", "cannot parse password=hunter2hunter2"))

    assert "hunter2" not in str(wrong)


async def test_a_read_is_tried_again_after_a_failure(server: Server, api: KubeApi, clock: StoppedClock) -> None:
    server.answers(503).answers(500).answers(body={"kind": "Pod"})

    found = await KubeCluster(api).read(POD)

    assert found == {"kind": "Pod"}
    assert len(server.requests) == 3
    assert len(clock.slept) == 2


async def test_a_read_is_given_up_after_three_tries(server: Server, api: KubeApi) -> None:
    server.answers(503)

    with pytest.raises(Unavailable):
        await KubeCluster(api).read(POD)

    assert len(server.requests) == 3


@pytest.mark.parametrize("code", [500, 503, 504])
async def test_a_write_of_which_nobody_knows_whether_it_happened_is_never_repeated(
    server: Server, api: KubeApi, code: int
) -> None:
    server.answers(code)

    with pytest.raises(Unavailable):
        await KubeCluster(api).patch(POD, [{"op": "remove", "path": "/metadata/labels"}])

    assert len(server.requests) == 1


async def test_a_write_whose_connection_breaks_is_never_repeated(server: Server, api: KubeApi) -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    server.does(hang_up)

    with pytest.raises(Unavailable, match="connection broke"):
        await KubeCluster(api).create(BUILT_IN["ConfigMap"], {"metadata": {"namespace": "shop", "name": "a"}})

    assert len(server.requests) == 1


async def test_a_write_that_was_refused_for_load_is_sent_again_when_the_server_says(
    server: Server, api: KubeApi, clock: StoppedClock
) -> None:
    server.answers(429, headers={"Retry-After": "1"}).answers(body={"kind": "Pod"})

    await KubeCluster(api).patch(POD, [{"op": "remove", "path": "/metadata/labels"}])

    assert len(server.requests) == 2
    assert clock.slept[0] >= 1


async def test_a_write_does_not_wait_until_what_it_rests_on_is_old(
    server: Server, api: KubeApi, clock: StoppedClock
) -> None:
    server.answers(429, headers={"Retry-After": "6"}).answers(body={"kind": "Pod"})

    with pytest.raises(Unavailable):
        await KubeCluster(api).patch(POD, [{"op": "remove", "path": "/metadata/labels"}])

    assert len(server.requests) == 1
    assert clock.slept == []


async def test_a_write_that_is_refused_for_load_again_is_given_back_to_who_must_look_again(
    server: Server, api: KubeApi
) -> None:
    for _ in range(3):
        server.answers(429, headers={"Retry-After": "1"})

    with pytest.raises(Unavailable):
        await KubeCluster(api).patch(POD, [{"op": "remove", "path": "/metadata/labels"}])

    assert len(server.requests) == 2


async def test_a_read_waits_for_as_long_as_the_server_asks(server: Server, api: KubeApi, clock: StoppedClock) -> None:
    server.answers(429, headers={"Retry-After": "6"}).answers(body={"kind": "Pod"})

    await KubeCluster(api).read(POD)

    assert clock.slept[0] >= 6


async def test_a_server_that_asks_for_an_hour_is_not_waited_for(
    server: Server, api: KubeApi, clock: StoppedClock
) -> None:
    server.answers(429, headers={"Retry-After": "3600"})

    with pytest.raises(Unavailable):
        await KubeCluster(api).read(POD)

    assert sum(clock.slept) < 30


async def test_an_answer_that_never_ends_is_given_up(server: Server, clock: StoppedClock) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" ")
            await asyncio.sleep(0.02)
        return response

    server.does(trickle)
    async with (
        server.running() as address,
        KubeApi(access_with_token(address, "t"), clock, request_seconds=0.2) as api,
    ):
        with pytest.raises(Unavailable, match=r"within 0\.2s"):
            await KubeCluster(api).patch(POD, [])


async def test_a_request_that_is_cancelled_leaves_no_connection_that_waits_for_a_goodbye(clock: StoppedClock) -> None:
    serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serves.load_cert_chain(CERTIFICATES / "valid.pem", CERTIFICATES / "server.key")
    asked, over = threading.Event(), threading.Event()

    def never_answer(listening: socket.socket) -> None:
        with serves.wrap_socket(listening.accept()[0], server_side=True) as connection:
            connection.recv(1)
            asked.set()
            over.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as threads:
        threads.submit(never_answer, listening)
        address = listening.getsockname()

        async def no_header() -> str:
            return ""

        async def load() -> Access:
            trusts = ssl.create_default_context(cafile=str(CERTIFICATES / "authority.pem"))
            return Access(f"https://{address[0]}:{address[1]}", trusts, no_header, "api.test")

        async with KubeApi(load, clock) as api:
            request = asyncio.create_task(api.json("GET", "/version"))
            await asyncio.to_thread(asked.wait, 30)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
        left = established_to(address[1])
        over.set()

    assert request.cancelled()
    assert left == 0


def established_to(port: int) -> int:
    """Connections to a port of this machine that nobody has closed; columns and states as in proc_pid_net(5)."""
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(peer.endswith(f":{port:04X}") and state == "01" for _, _, peer, state, *_ in rows)


async def test_an_answer_that_is_too_large_is_not_held(
    server: Server, api: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube, "MAX_ANSWER_BYTES", 1_000)
    server.answers(body={"x": "y" * 2_000})

    with pytest.raises(TooLarge):
        await KubeCluster(api).read(POD)


async def test_a_list_whose_pages_are_too_large_is_read_in_smaller_ones(
    server: Server, api: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube, "MAX_ANSWER_BYTES", 20_000)

    async def page(request: web.Request) -> web.StreamResponse:
        start, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        items = [{"metadata": {"name": f"p{n}"}, "x": "y" * 500} for n in range(start, min(150, start + limit))]
        after = start + len(items)
        return web.json_response({"metadata": {"continue": str(after) if after < 150 else ""}, "items": items})

    server.does(page)

    found = await KubeCluster(api).list(BUILT_IN["Pod"], "shop")

    assert len(found.items) == 150
    assert not found.truncated


async def test_a_list_whose_pages_expired_is_read_from_the_start(server: Server, api: KubeApi) -> None:
    server.answers(body={"metadata": {"continue": "c"}, "items": [{"a": 1}]})
    server.answers(410, status("Expired"))
    server.answers(body={"metadata": {}, "items": [{"a": 1}, {"a": 2}]})

    found = await KubeCluster(api).list(BUILT_IN["Pod"], "shop")

    assert len(found.items) == 2


async def test_an_answer_that_is_no_object_is_unavailable(server: Server, api: KubeApi) -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>a proxy's error page</html>")

    server.does(page)

    with pytest.raises(Unavailable, match="not JSON"):
        await KubeCluster(api).read(POD)


async def test_a_redirect_is_not_followed(server: Server, api: KubeApi) -> None:
    server.answers(302, headers={"Location": "http://127.0.0.1:9/"})

    with pytest.raises(Unavailable):
        await KubeCluster(api).patch(POD, [])


async def test_credentials_that_were_refused_are_loaded_once_more(server: Server, clock: StoppedClock) -> None:
    async def guarded(request: web.Request) -> web.StreamResponse:
        good = request.headers.get("Authorization") == "Bearer token-2"
        return web.json_response({"kind": "Pod"}, status=200 if good else 401)

    server.does(guarded)
    loads = 0
    async with server.running() as address:

        async def credentials() -> Access:
            nonlocal loads
            loads += 1
            token = f"Bearer token-{loads}"

            async def header() -> str:
                return token

            return Access(address, False, header)

        async with KubeApi(credentials, clock) as api:
            results = await asyncio.gather(*(KubeCluster(api).patch(POD, []) for _ in range(5)))
            assert len(results) == 5
            assert loads == 2
            loads = 10
            clock.advance(timedelta(minutes=11))
            with pytest.raises(Unavailable, match="credentials"):
                await KubeCluster(api).read(POD)


async def test_the_identity_stands_in_the_headers(server: Server, api: KubeApi) -> None:
    server.answers(body={"kind": "Pod"})
    account = "system:serviceaccount:shop:fixer"

    await KubeCluster(api).acting_as(Identity(account, run="shop/run-1")).read(POD)

    headers = server.requests[0].headers
    assert headers["Impersonate-User"] == account
    assert headers["Impersonate-Extra-remediator.dev%2Frun"] == "shop/run-1"
    assert "Impersonate-Group" not in headers
    assert headers["Authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(
    ("namespace", "expected"),
    [(404, NotFound), (200, Forbidden), (403, Forbidden), (503, Unavailable)],
    ids=["gone", "there", "not ours to see", "unknown"],
)
async def test_what_an_account_may_not_see_in_a_namespace_that_is_gone_is_gone(
    server: Server, api: KubeApi, namespace: int, expected: type[RemediatorError]
) -> None:
    refusal = 'pods "one" is forbidden: User "fixer" cannot get resource "pods"'
    other = status("Forbidden", 'User "us" cannot get resource "namespaces"')
    server.answers(403, body=status("Forbidden", refusal)).answers(namespace, body=other)
    account = KubeCluster(api).acting_as(Identity("system:serviceaccount:shop:fixer"))

    with pytest.raises(expected, match="fixer" if expected is Forbidden else "."):
        await account.read(POD)

    assert [request.path for request in server.requests[:2]] == [
        "/api/v1/namespaces/shop/pods/one",
        "/api/v1/namespaces/shop",
    ]
    assert "Impersonate-User" not in server.requests[1].headers


def test_a_void_goes_by_its_own_extra_alone() -> None:
    headers = impersonation(Identity("system:serviceaccount:shop:fixer", run="shop/run-1", void=True))

    assert headers["Impersonate-Extra-remediator.dev%2Fvoid"] == "shop/run-1"
    assert "Impersonate-Extra-remediator.dev%2Frun" not in headers
    assert impersonation(Identity(run="shop/run-1")) == {}


async def test_every_write_names_its_manager_and_wants_strict_validation(server: Server, api: KubeApi) -> None:
    server.answers(body={})
    cluster = KubeCluster(api)

    await cluster.patch(POD, [], dry_run=True, sub="status")
    await cluster.delete(POD, uid="u", resource_version="7", dry_run=True)

    patch, delete = server.requests
    assert patch.path == "/api/v1/namespaces/shop/pods/one/status"
    assert dict(patch.query) == {"fieldManager": "remediator", "fieldValidation": "Strict", "dryRun": "All"}
    assert patch.headers["Content-Type"] == "application/json-patch+json"
    assert json.loads(server.bodies[1]) == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u", "resourceVersion": "7"},
        "dryRun": ["All"],
    }
    assert delete.method == "DELETE"


def test_paths_cannot_be_left() -> None:
    pods = BUILT_IN["Pod"]

    assert collection(pods, "a/b") == "/api/v1/namespaces/a%2Fb/pods"
    assert member(pods, ObjectRef.of("Pod", "shop", "../../x")).endswith("/pods/..%2F..%2Fx")
    for name in (".", ".."):
        with pytest.raises(Rejected, match="no object has such a name"):
            member(pods, ObjectRef.of("Pod", "shop", name))
        with pytest.raises(Rejected, match="no object has such a name"):
            member(pods, ObjectRef.of("Pod", name, "x"))


async def test_an_access_review_that_could_not_be_made_is_no_refusal(server: Server, api: KubeApi) -> None:
    server.answers(body={"status": {"allowed": False, "evaluationError": "webhook authorizer timed out"}})

    with pytest.raises(Unavailable):
        await KubeCluster(api).allowed(Permission("", "pods", ("get",)), "shop")


@pytest.mark.parametrize(
    ("text", "available"),
    [
        ("unable to retrieve container logs for containerd://abc", False),
        ('failed to try resolving symlinks in path "/var/log/pods/x": lstat: no such file or directory', False),
        ("12:00 unable to retrieve container logs for containerd://abc\n", True),
        ("unable to retrieve container logs for orders\nnext line\n", True),
        ("", True),
    ],
)
async def test_the_kubelets_excuse_is_no_log(server: Server, api: KubeApi, text: str, available: bool) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text)

    server.does(answer)

    found = await KubeCluster(api).logs(POD, container="main")

    assert found.available is available


async def test_the_end_of_a_log_is_what_is_kept(server: Server, api: KubeApi) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text="".join(f"line {n}\n" for n in range(10_000)))

    server.does(answer)

    found = await KubeCluster(api).logs(POD, container="main", limit_bytes=100, tail_lines=10_000)

    assert found.truncated
    assert found.text.startswith("line ")
    assert found.text.endswith("line 9999\n")
    assert len(found.text.encode()) <= 100


async def test_a_broken_kubeconfig_is_unavailable(tmp_path: Any, clock: StoppedClock) -> None:
    for content in ("", "nonsense: [", "apiVersion: v1\nkind: Config\n"):
        (tmp_path / "config").write_text(content)
        async with KubeApi(kube.from_kubeconfig(str(tmp_path / "config")), clock) as api:
            with pytest.raises(Unavailable):
                await KubeCluster(api).read(POD)
    async with KubeApi(kube.from_kubeconfig(str(tmp_path / "nowhere")), clock) as api:
        with pytest.raises(Unavailable):
            await KubeCluster(api).read(POD)


async def test_outside_a_pod_there_is_no_service_account(clock: StoppedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    async with KubeApi(kube.in_cluster(), clock) as api:
        with pytest.raises(Unavailable, match="service account"):
            await KubeCluster(api).read(POD)


async def test_a_token_file_that_rotates_is_read_again(tmp_path: Any, server: Server, clock: StoppedClock) -> None:
    server.answers(body={})
    async with server.running() as address:
        (tmp_path / "token").write_text("first")
        (tmp_path / "config").write_text(
            json.dumps(
                {
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [{"name": "c", "cluster": {"server": address}}],
                    "users": [{"name": "u", "user": {"tokenFile": str(tmp_path / "token")}}],
                }
            )
        )
        async with KubeApi(kube.from_kubeconfig(str(tmp_path / "config")), clock) as api:
            await KubeCluster(api).read(POD)
            (tmp_path / "token").write_text("second")
            clock.advance(timedelta(minutes=11))
            await KubeCluster(api).read(POD)

    assert [request.headers["Authorization"] for request in server.requests] == ["Bearer first", "Bearer second"]
