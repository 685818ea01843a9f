import pytest
from pydantic import ValidationError

from remediator.actions.base import observe
from remediator.actions.diagnostics.http_get import HttpGet, HttpGetParameters
from remediator.domain.actions import Reading
from remediator.domain.errors import Unavailable
from remediator.domain.json import Object
from remediator.ports import NoAnswer, WebAnswer
from remediator.testing import FakeWeb
from unit.actions.world import reader, shop

HEALTH = "http://api.test/healthz"


async def read(web: FakeWeb, **given: object) -> Reading:
    parameters = HttpGetParameters.model_validate({"url": HEALTH, **given})
    return await observe(HttpGet(), parameters, reader(shop(), web=web))


async def seen(web: FakeWeb, **given: object) -> Object:
    return (await read(web, **given)).output.as_json()


def serving(answer: object) -> FakeWeb:
    web = FakeWeb("api.test")
    web.serves("api.test:80", answer)
    return web


async def test_an_answer_is_seen_with_its_body_as_evidence() -> None:
    reading = await read(serving(WebAnswer(200, b"all is well", milliseconds=7)))

    assert reading.output.as_json() == {
        "known": True,
        "truncated": False,
        "observedAt": reading.output.observed_at,
        "error": "",
        "reachable": True,
        "asExpected": True,
        "status": 200,
        "latencyMillis": 7,
        "body": "all is well",
    }
    assert reading.evidence == "all is well"


async def test_an_error_status_is_known_and_not_as_expected() -> None:
    found = await seen(serving(WebAnswer(404, b"")))

    assert (found["known"], found["reachable"], found["status"], found["asExpected"]) == (True, True, 404, False)


async def test_the_expected_statuses_take_the_place_of_success() -> None:
    assert (await seen(serving(WebAnswer(401, b"")), expect=[401, 403]))["asExpected"] is True
    assert (await seen(serving(WebAnswer(200, b"")), expect=[401, 403]))["asExpected"] is False


async def test_nobody_there_is_known_and_not_reachable() -> None:
    found = await seen(serving(NoAnswer("ConnectionRefused", "api.test refuses connections")))

    assert (found["known"], found["reachable"], found["reason"]) == (True, False, "ConnectionRefused")
    assert "status" not in found
    assert "latencyMillis" not in found


async def test_no_answer_in_time_is_not_known() -> None:
    found = await seen(serving(Unavailable("api.test did not answer within 8s")))

    assert found["known"] is False
    assert "within 8s" in found["error"]


async def test_a_host_that_no_guardrail_allows_is_not_known_and_says_so() -> None:
    found = await seen(serving(WebAnswer(200, b"")), url="http://other.test/")

    assert found["known"] is False
    assert found["error"] == "other.test is not among the hosts that a Guardrail allows here"


async def test_json_is_read_and_the_body_left_out() -> None:
    found = await seen(serving(WebAnswer(200, b'{"queue": 3}')), json=True)

    assert found["json"] == {"queue": 3}
    assert "body" not in found


@pytest.mark.parametrize("body", [b"<html>", b'{"a": NaN', b"[" * 100_000, b"\xff"])
async def test_what_is_no_json_is_unknown_and_the_status_is_not(body: bytes) -> None:
    found = await seen(serving(WebAnswer(200, body)), json=True, limitBytes=65_536)

    assert "json" not in found
    assert found["status"] == 200


async def test_json_that_was_cut_is_unknown() -> None:
    found = await seen(serving(WebAnswer(200, b'{"a": 1}    ')), json=True, limitBytes=8)

    assert "json" not in found
    assert found["truncated"] is True


async def test_headers_are_sent() -> None:
    web = serving(WebAnswer(200, b""))

    await read(web, headers={"Accept": "text/plain"})

    assert web.asked == [(HEALTH, {"Accept": "text/plain"})]


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Authorization": "Bearer x"}, "credential"),
        ({"cookie": "a=b"}, "credential"),
        ({"X-Api-Key": "x"}, "credential"),
        ({"X-Auth-Token": "x"}, "credential"),
        ({"Host": "other"}, "the call itself"),
        ({"Transfer-Encoding": "chunked"}, "the call itself"),
        ({"Accept: x\r\nHost": "y"}, "letters, digits and dashes"),
        ({"Accept": "x\r\nHost: other"}, "line break"),
    ],
)
def test_headers_hold_no_credentials_and_nothing_of_the_calls_own(headers: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        HttpGetParameters(url=HEALTH, headers=headers)


@pytest.mark.parametrize("url", ["ftp://x/", "http://a:b@x/", "http://127.1/", "x"])
def test_a_url_that_could_never_be_asked_is_refused_when_it_is_written(url: str) -> None:
    with pytest.raises(ValidationError):
        HttpGetParameters(url=url)


def test_a_url_with_a_template_is_looked_at_when_it_is_rendered() -> None:
    assert HttpGetParameters(url="http://${target.name}.shop.svc/").url
