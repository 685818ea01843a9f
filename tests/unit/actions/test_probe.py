from datetime import timedelta

import pytest
from pydantic import ValidationError

from remediator.actions.base import observe
from remediator.actions.diagnostics.probe import DnsOutput, Probe, ProbeParameters, TcpOutput, TlsOutput
from remediator.actions.registry import output_model
from remediator.domain.errors import Unavailable
from remediator.domain.json import Object
from remediator.ports import Certificate, NoAnswer
from remediator.testing import NOON, FakeWeb
from unit.actions.world import reader, shop

TCP = {"tcp": {"host": "db.test", "port": 5432}}
DNS = {"dns": {"host": "db.test"}}
TLS = {"tls": {"host": "db.test"}}


async def seen(given: dict[str, object], answer: object, port: int = 443, *hosts: str) -> Object:
    web = FakeWeb(*(hosts or ("db.test",)))
    web.serves(f"db.test:{port}", answer)
    parameters = ProbeParameters.model_validate(given)
    return (await observe(Probe(), parameters, reader(shop(), web=web))).output.as_json()


async def test_an_open_port_is_reachable() -> None:
    found = await seen(TCP, ("10.0.0.7",), 5432)

    assert (found["reachable"], found["address"], found["latencyMillis"]) == (True, "10.0.0.7", 2)


@pytest.mark.parametrize(("given", "port"), [(TCP, 5432), (TLS, 443)])
async def test_a_closed_port_is_known_and_not_reachable(given: dict[str, object], port: int) -> None:
    found = await seen(given, NoAnswer("ConnectionRefused", "db.test refuses connections"), port)

    assert (found["known"], found["reachable"], found["reason"]) == (True, False, "ConnectionRefused")


async def test_a_name_has_addresses() -> None:
    found = await seen(DNS, ("10.0.0.7", "10.0.0.8"))

    assert (found["exists"], found["addresses"]) == (True, ["10.0.0.7", "10.0.0.8"])


async def test_a_name_that_does_not_exist_is_known() -> None:
    found = await seen(DNS, NoAnswer("NameUnknown", "there is no host db.test"))

    assert (found["known"], found["exists"], found["addresses"]) == (True, False, [])


async def test_a_certificate_says_how_long_it_still_holds() -> None:
    certificate = Certificate(NOON + timedelta(days=12, hours=1), ("db.test",), "Test Authority", True, "", 3)

    found = await seen(TLS, certificate)

    assert found["reachable"]
    assert found["verified"]
    assert found["daysLeft"] == 12
    assert found["names"] == ["db.test"]
    assert found["issuer"] == "Test Authority"


async def test_a_certificate_that_is_over_has_days_below_zero_and_says_why_it_does_not_hold() -> None:
    certificate = Certificate(NOON - timedelta(hours=1), ("db.test",), "", False, "certificate has expired", 3)

    found = await seen(TLS, certificate)

    assert found["daysLeft"] == -1
    assert found["verified"] is False
    assert found["objection"] == "certificate has expired"


@pytest.mark.parametrize("given", [TCP, DNS, TLS])
async def test_a_host_that_no_guardrail_allows_is_not_known_and_says_so(given: dict[str, object]) -> None:
    found = await seen(given, ("10.0.0.7",), 443, "other.test")

    assert found["known"] is False
    assert "not among the hosts" in found["error"]


@pytest.mark.parametrize(("given", "port"), [(TCP, 5432), (DNS, 443), (TLS, 443)])
async def test_no_answer_in_time_is_not_known(given: dict[str, object], port: int) -> None:
    assert (await seen(given, Unavailable("db.test did not answer within 8s"), port))["known"] is False


@pytest.mark.parametrize("given", [{}, {**TCP, **DNS}, {**TCP, **DNS, **TLS}])
def test_exactly_one_of_the_three_is_given(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="exactly one"):
        ProbeParameters.model_validate(given)


@pytest.mark.parametrize(("given", "expected"), [(TCP, TcpOutput), (DNS, DnsOutput), (TLS, TlsOutput)])
def test_expressions_are_checked_against_what_this_probe_brings(given: dict[str, object], expected: type) -> None:
    assert output_model("probe", given) is expected
