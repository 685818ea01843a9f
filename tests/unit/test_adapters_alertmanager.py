"""Which alerts fire: any source's yes is a yes, and nobody's answer is no answer."""

import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from aiohttp import web

from contract.ports.http_server import Server
from remediator.adapters import alertmanager
from remediator.adapters.alertmanager import AlertSources
from remediator.adapters.endpoints import Endpoint

LABELS = {"alertname": "KubePodCrashLooping", "namespace": "shop", "pod": "checkout-1"}
NOWHERE = Endpoint("http://127.0.0.1:9")


def alert(fingerprint: str = "4f2a81c09be2d713", at: str = "2026-06-01T12:00:00.123456789Z", **labels: str) -> Any:
    return {
        "labels": {**LABELS, **labels},
        "annotations": {},
        "startsAt": at,
        "endsAt": "2026-06-01T12:05:00Z",
        "updatedAt": at,
        "fingerprint": fingerprint,
        "receivers": [{"name": "x"}],
        "status": {"state": "suppressed", "silencedBy": ["s"], "inhibitedBy": [], "mutedBy": []},
        "generatorURL": "",
    }


def prometheus(*alerts: Any) -> Any:
    return {"status": "success", "data": {"alerts": list(alerts)}}


def rule_alert(state: str = "firing", **labels: str) -> Any:
    return {
        "labels": {**LABELS, **labels},
        "annotations": {},
        "state": state,
        "activeAt": "2026-06-01T12:00:00Z",
        "value": "1",
    }


class Sources:
    """Two Alertmanagers and a Prometheus."""

    def __init__(self, one: Server, two: Server, rules: Server, at: list[Endpoint]) -> None:
        self.one, self.two, self.rules = one, two, rules
        self.alertmanagers = at[:2]
        self.prometheus = at[2]


@pytest.fixture
async def sources() -> AsyncIterator[Sources]:
    servers = [Server(), Server(), Server()]
    async with AsyncExitStack() as stack:
        at = [Endpoint(await stack.enter_async_context(server.running())) for server in servers]
        yield Sources(*servers, at)


async def test_a_silenced_alert_still_fires(sources: Sources) -> None:
    sources.one.answers(body=[alert()])
    asked = AlertSources(sources.alertmanagers[:1])

    found = await asked.firing(LABELS)

    await asked.close()
    assert found.alerts is not None
    assert [a.fingerprint for a in found.alerts] == ["4f2a81c09be2d713"]
    assert found.alerts[0].is_firing
    assert found.alerts[0].starts_at == datetime(2026, 6, 1, 12, 0, 0, 123456, UTC)
    query = sources.one.requests[0].query
    assert query["silenced"] == query["inhibited"] == query["active"] == "true"
    assert query.getall("filter") == [
        'alertname="KubePodCrashLooping"',
        'namespace="shop"',
        'pod="checkout-1"',
    ]


async def test_only_alerts_with_the_labels_count_whatever_the_server_filters(sources: Sources) -> None:
    sources.one.answers(body=[alert(), alert("aaaaaaaaaaaaaaaa", pod="other"), alert("b" * 16, pod='we"ird\\')])
    asked = AlertSources(sources.alertmanagers[:1])

    found = await asked.firing({"pod": 'we"ird\\'})

    await asked.close()
    assert found.alerts is not None
    assert [a.fingerprint for a in found.alerts] == ["b" * 16]
    assert "filter" not in sources.one.requests[0].query


async def test_one_that_cannot_be_read_and_may_be_asked_for_is_unknown_and_others_are_passed_over(
    sources: Sources,
) -> None:
    unreadable = {**alert(), "startsAt": "yesterday"}
    sources.one.answers(body=[unreadable])
    sources.one.answers(body=[unreadable, alert(pod="other")])
    asked = AlertSources(sources.alertmanagers[:1])

    own, others = await asked.firing(LABELS), await asked.firing({"pod": "other"})

    await asked.close()
    assert own.alerts is None
    assert "cannot be read" in own.source
    assert others.alerts is not None
    assert [one.labels["pod"] for one in others.alerts] == ["other"]


@pytest.mark.parametrize("of", ["one", "rules"])
async def test_thousands_are_read_beside_the_loop_and_all_of_them(sources: Sources, of: str) -> None:
    crowd = [f"{n:016x}" for n in range(2_000)]
    readers: set[int] = set()

    def noting(*args: Any) -> Any:
        readers.add(threading.get_ident())
        return original(*args)

    original = alertmanager.read_alert
    sources.one.answers(body=[alert(one, replica=one) for one in crowd])
    sources.rules.answers(body=prometheus(*(rule_alert(replica=one) for one in crowd)))
    asked = AlertSources(sources.alertmanagers[:1]) if of == "one" else AlertSources((), sources.prometheus)

    with patch.object(alertmanager, "read_alert", noting):
        found = await asked.firing(LABELS)

    await asked.close()
    assert found.alerts is not None
    assert {a.labels["replica"] for a in found.alerts} == set(crowd)
    assert readers and threading.get_ident() not in readers


async def test_firing_on_any_is_firing_and_the_earliest_start_counts(sources: Sources) -> None:
    sources.one.answers(body=[])
    sources.two.answers(body=[alert(at="2026-06-01T12:00:00Z"), alert(at="2026-06-01T11:00:00Z")])
    asked = AlertSources(sources.alertmanagers)

    found = await asked.firing(LABELS)

    await asked.close()
    assert found.alerts is not None
    assert len(found.alerts) == 1
    assert found.alerts[0].starts_at.hour == 11


async def test_one_that_answers_is_enough_and_the_silent_one_is_named(sources: Sources) -> None:
    sources.one.answers(body=[])
    asked = AlertSources([sources.alertmanagers[0], NOWHERE])

    found = await asked.firing(LABELS)

    await asked.close()
    assert found.alerts == ()
    assert found.source == "Alertmanager (1 of 2 did not answer)"


@pytest.mark.parametrize(("status", "body"), [(500, []), (200, {"no": "list"}), (302, [])])
async def test_no_answer_is_unknown_and_never_empty(sources: Sources, status: int, body: Any) -> None:
    sources.one.answers(status, body)
    asked = AlertSources([sources.alertmanagers[0], NOWHERE])

    found = await asked.firing(LABELS)

    await asked.close()
    assert found.alerts is None
    assert found.source


async def test_prometheus_is_asked_where_no_alertmanager_answers(sources: Sources) -> None:
    sources.rules.answers(body=prometheus(rule_alert(), rule_alert("pending", pod="x"), rule_alert(pod="other")))
    asked = AlertSources([NOWHERE], sources.prometheus)

    found = await asked.firing(LABELS)

    await asked.close()
    assert found.source == "Prometheus"
    assert found.alerts is not None
    assert [a.labels["pod"] for a in found.alerts] == ["checkout-1"]
    assert len(found.alerts[0].fingerprint) == 16


async def test_external_labels_that_prometheus_adds_when_it_sends_do_not_hide_its_alert(sources: Sources) -> None:
    sources.rules.answers(body=prometheus(rule_alert()))
    asked = AlertSources((), sources.prometheus)

    with_external = await asked.firing({**LABELS, "cluster": "prod", "prometheus": "monitoring/k8s"})
    of_another_rule = await asked.firing({**LABELS, "alertname": "Other"})

    await asked.close()
    assert with_external.alerts is not None
    assert len(with_external.alerts) == 1
    assert of_another_rule.alerts == ()


async def test_where_nothing_is_configured_nothing_is_known() -> None:
    asked = AlertSources()

    assert not asked.configured
    assert (await asked.firing(LABELS)).alerts is None


@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "100.100.100.200"])
async def test_not_even_what_the_platform_configured_leads_to_metadata(host: str) -> None:
    asked = AlertSources([Endpoint(f"http://{host}")])

    found = await asked.firing(LABELS)

    await asked.close()
    assert found.alerts is None
    assert "link-local" in found.source or "metadata" in found.source


async def test_a_redirect_is_not_followed(sources: Sources) -> None:
    async def elsewhere(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": sources.alertmanagers[1].base})

    sources.one.does(elsewhere)
    asked = AlertSources([sources.alertmanagers[0]])

    found = await asked.firing(LABELS)

    await asked.close()
    assert found.alerts is None
    assert sources.two.requests == []
