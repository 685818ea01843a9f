"""PromQL answers: what is a value, what is unknown, and what is the query's own fault."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from contract.ports.http_server import Server
from remediator.adapters.clock import SystemClock
from remediator.adapters.endpoints import Endpoint
from remediator.adapters.prometheus import PrometheusMetrics, samples
from remediator.domain.errors import NotFound, Rejected, RemediatorError, Unavailable
from remediator.ports import Sample
from remediator.testing import NOON


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def metrics(server: Server) -> AsyncIterator[PrometheusMetrics]:
    async with server.running() as address:
        endpoint = Endpoint(address, {"Authorization": "Bearer t0ken", "X-Scope-OrgID": "shop"})
        opened = PrometheusMetrics({"prometheus": endpoint}, SystemClock(), query_seconds=1)
        yield opened
        opened.close()


def vector(*values: tuple[dict[str, str], str], **rest: Any) -> Any:
    result = [{"metric": labels, "value": [1.5, text]} for labels, text in values]
    return {"status": "success", "data": {"resultType": "vector", "result": result}, **rest}


async def test_a_vector_is_its_series(server: Server, metrics: PrometheusMetrics) -> None:
    server.answers(body=vector(({"pod": "a"}, "3"), ({"pod": "b"}, "0.5")))

    found = await metrics.query("prometheus", 'up{job="é"}', NOON)

    assert found == (Sample({"pod": "a"}, 3.0), Sample({"pod": "b"}, 0.5))


async def test_the_query_goes_in_the_body_with_the_time_and_the_tenant(
    server: Server, metrics: PrometheusMetrics
) -> None:
    server.answers(body=vector())

    assert await metrics.query("prometheus", "up", NOON) == ()

    request = server.requests[0]
    assert request.method == "POST"
    assert request.path == "/api/v1/query"
    assert request.query_string == ""
    assert server.bodies == [f"query=up&time={NOON.timestamp():.3f}"]
    assert request.headers["X-Scope-OrgID"] == "shop"
    assert request.headers["Authorization"] == "Bearer t0ken"


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "nonsense"])
async def test_what_is_no_number_is_unknown(server: Server, metrics: PrometheusMetrics, text: str) -> None:
    server.answers(body=vector(({}, text)))

    assert await metrics.query("prometheus", "up", NOON) == (Sample({}, None),)


def test_a_scalar_is_one_value() -> None:
    assert samples([1.5, "7"]) == (Sample({}, 7.0),)


@pytest.mark.parametrize(
    "result",
    [
        [{"metric": {}, "values": [[1, "2"]]}],
        [{"metric": {}, "histogram": [1, {}]}],
        [{"metric": {"n": str(n)}, "value": [1, "2"]} for n in range(1_001)],
    ],
)
def test_what_is_no_decidable_vector_is_rejected(result: object) -> None:
    with pytest.raises(Rejected):
        samples(result)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"status": "error", "errorType": "bad_data", "error": "1:3: parse error"}, Rejected),
        (422, {"status": "error", "errorType": "execution", "error": "many-to-many"}, Rejected),
        (503, {"status": "error", "errorType": "timeout", "error": "query timed out"}, Unavailable),
        (500, {"status": "error"}, Unavailable),
        (401, {}, Unavailable),
        (429, {}, Unavailable),
        (302, {}, Unavailable),
        (200, {"status": "error"}, Unavailable),
        (200, ["no object"], Unavailable),
        (200, {"status": "success", "data": {}}, Unavailable),
        (200, vector(warnings=["store 10.0.0.1 did not answer"]), Unavailable),
    ],
)
async def test_each_failure_is_somebodys(
    server: Server, metrics: PrometheusMetrics, status: int, body: Any, expected: type[RemediatorError]
) -> None:
    server.answers(status, body, headers={"Location": "http://127.0.0.1:9/"} if status == 302 else None)

    with pytest.raises(expected):
        await metrics.query("prometheus", "up", NOON)

    assert len(server.requests) == 1, "nothing is asked twice"


async def test_the_parse_error_reaches_the_author(server: Server, metrics: PrometheusMetrics) -> None:
    server.answers(400, {"status": "error", "errorType": "bad_data", "error": "1:3: parse error"})

    with pytest.raises(Rejected, match="1:3: parse error"):
        await metrics.query("prometheus", "up(", NOON)


async def test_a_server_that_does_not_answer_is_given_up_in_time(server: Server, metrics: PrometheusMetrics) -> None:
    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(2)
        return web.Response()

    server.does(slow)

    with pytest.raises(Unavailable):
        await metrics.query("prometheus", "up", NOON)


async def test_a_server_that_is_not_there_is_unavailable_and_its_password_stays_unsaid() -> None:
    metrics = PrometheusMetrics({"p": Endpoint("http://me:hunter2hunter2@127.0.0.1:9")}, SystemClock())

    with pytest.raises(Unavailable) as told:
        await metrics.query("p", "up", NOON)

    metrics.close()
    assert "hunter2" not in str(told.value)


async def test_an_endpoint_that_nobody_configured_is_not_found(metrics: PrometheusMetrics) -> None:
    with pytest.raises(NotFound):
        await metrics.query("loki", "up", NOON)


async def test_an_answer_that_is_too_large_is_rejected(
    server: Server, metrics: PrometheusMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remediator.adapters.prometheus.MAX_ANSWER_BYTES", 1_000)
    server.answers(body=vector(({"x": "y" * 100_000}, "1")))

    with pytest.raises(Rejected, match="larger"):
        await metrics.query("prometheus", "up", NOON)


@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "100.100.100.200"])
async def test_not_even_what_the_platform_configured_leads_to_metadata(host: str) -> None:
    metrics = PrometheusMetrics({"p": Endpoint(f"http://{host}")}, SystemClock())

    with pytest.raises(Unavailable, match=r"link-local|metadata"):
        await metrics.query("p", "up", NOON)

    metrics.close()
