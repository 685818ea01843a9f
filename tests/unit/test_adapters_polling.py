"""Whole lists of alerts: what is told, what is merely there, and what makes an answer no whole one."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from contract.ports.http_server import Server
from remediator.adapters.endpoints import Endpoint
from remediator.adapters.polling import PolledSources, Source, sources_of
from remediator.domain.alerts import fingerprint_of, from_alertmanager
from remediator.ports import ALL

LABELS = {"alertname": "Crash", "namespace": "shop", "pod": "checkout-1"}


def alert(at: str = "2026-06-01T12:00:00Z", state: str = "active", **more: Any) -> Any:
    labels = {**LABELS, **more.pop("labels", {})}
    status = {"state": state, "silencedBy": [], "inhibitedBy": [], **more.pop("status", {})}
    return {
        "labels": labels,
        "annotations": {},
        "startsAt": at,
        "endsAt": "2026-06-01T12:05:00Z",
        "fingerprint": fingerprint_of({name: ascii(value).strip("'") for name, value in labels.items()}),
        "status": status,
        **more,
    }


def rule_alert(state: str = "firing", **labels: str) -> Any:
    return {"labels": {**LABELS, **labels}, "annotations": {}, "state": state, "activeAt": "2026-06-01T12:00:00Z"}


def rules(*alerts: Any) -> Any:
    return {"status": "success", "data": {"alerts": list(alerts)}}


@asynccontextmanager
async def polling(*servers: tuple[str, Server]) -> AsyncIterator[PolledSources]:
    async with AsyncExitStack() as stack:
        sources = [
            Source(name, Endpoint(await stack.enter_async_context(server.running())), name.startswith("alertmanager"))
            for name, server in servers
        ]
        polled = PolledSources(sources, ask_seconds=5)
        yield polled
        await polled.close()


async def test_what_a_webhook_would_not_have_told_is_there_and_is_not_told() -> None:
    quiet = [
        alert(labels={"pod": "silenced"}, state="suppressed", status={"silencedBy": ["s"]}),
        alert(labels={"pod": "inhibited"}, state="suppressed", status={"inhibitedBy": ["i"]}),
        alert(labels={"pod": "muted"}, status={"mutedBy": ["m"]}),
        alert(labels={"pod": "new"}, state="unprocessed"),
    ]
    async with polling(("alertmanager", Server().answers(body=[alert(), *quiet]))) as polled:
        found = await polled.poll()

    assert [one.labels["pod"] for one in found.firing] == ["checkout-1"]
    assert len(found.present) == 5
    assert found.failures == {}


async def test_a_pending_alert_of_prometheus_is_there_and_is_not_told() -> None:
    async with polling(
        ("prometheus", Server().answers(body=rules(rule_alert(), rule_alert("pending", pod="b"))))
    ) as polled:
        found = await polled.poll()

    assert [one.labels["pod"] for one in found.firing] == ["checkout-1"]
    assert len(found.present) == 2


async def test_webhook_and_poll_agree_on_who_an_alert_is() -> None:
    sent = {**alert(), "status": "firing"}
    (by_webhook,) = from_alertmanager(json.dumps({"version": "4", "alerts": [sent]}).encode()).alerts
    servers = (
        ("alertmanager", Server().answers(body=[alert()])),
        ("prometheus", Server().answers(body=rules(rule_alert()))),
    )
    for one in servers:
        async with polling(one) as polled:
            (by_poll,) = (await polled.poll()).firing
        assert by_poll.identity == by_webhook.identity


async def test_firing_on_any_is_firing_since_the_earliest() -> None:
    one = Server().answers(body=[alert("2026-06-01T12:01:00Z")])
    two = Server().answers(body=[alert("2026-06-01T12:00:00Z"), alert(labels={"pod": "b"})])
    async with polling(("alertmanager-1", one), ("alertmanager-2", two)) as polled:
        found = await polled.poll()

    starts = {one.labels["pod"]: one.starts_at.minute for one in found.firing}
    assert starts == {"checkout-1": 0, "b": 0}
    assert found.failures == {}


async def broken(_: web.Request) -> web.StreamResponse:
    raise web.HTTPServiceUnavailable


@pytest.mark.parametrize(
    "body",
    [
        {},
        "no list",
        [1],
        [None],
        [{"labels": {}}],
        [alert(labels={"pod": "\ud800"})],
        [alert(startsAt="yesterday")],
        [alert(), alert(labels={"pod": 7})],
    ],
    ids=str,
)
async def test_an_answer_that_cannot_be_read_wholly_says_nothing_of_what_it_lacks(body: Any) -> None:
    def as_rule(one: Any) -> Any:
        return {**one, "state": "firing", "activeAt": one.get("startsAt")} if isinstance(one, dict) else one

    by_rules = rules(*map(as_rule, body)) if isinstance(body, list) else body
    for name, answer in (("alertmanager", body), ("prometheus", by_rules)):
        async with polling((name, Server().answers(body=answer))) as polled:
            assert set((await polled.poll()).failures) == {name}


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\xff", "", '{"status": "error"}'])
async def test_an_answer_that_is_no_json_of_theirs_is_a_failure(text: str) -> None:
    async def answers(_: web.Request) -> web.StreamResponse:
        return web.Response(body=text.encode("latin-1"))

    for name in ("alertmanager", "prometheus"):
        async with polling((name, Server().does(answers))) as polled:
            assert set((await polled.poll()).failures) == {name}


async def test_one_source_that_fails_does_not_hide_what_the_other_lists() -> None:
    async with polling(
        ("alertmanager-1", Server().does(broken)), ("alertmanager-2", Server().answers(body=[alert()]))
    ) as polled:
        found = await polled.poll()

    assert len(found.firing) == 1
    assert set(found.failures) == {"alertmanager-1"}


async def test_more_than_can_be_taken_is_cut_and_is_no_whole_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remediator.adapters.polling.MAX_ALERTS", 2)
    listed = [alert(labels={"pod": pod}) for pod in "abc"]
    async with polling(("alertmanager", Server().answers(body=listed))) as polled:
        found = await polled.poll()

    assert len(found.firing) == 2
    assert len(found.present) == 3
    assert "3 alerts fire" in found.failures[ALL]


def test_endpoints_are_named_and_what_is_not_there_is_said() -> None:
    one, two, rules_at = Endpoint("http://a"), Endpoint("http://b"), Endpoint("http://p")

    found = sources_of(["alertmanager", "prometheus"], [one, two], {"prometheus": rules_at})

    assert [(source.name, source.endpoint, source.is_alertmanager) for source in found] == [
        ("alertmanager-1", one, True),
        ("alertmanager-2", two, True),
        ("prometheus", rules_at, False),
    ]
    there, elsewhere = (PolledSources(sources_of(["a"], [], {"a": at})).identity for at in (one, two))
    assert there != elsewhere
    for name, configured in (("alertmanager", {}), ("thanos", {"prometheus": rules_at})):
        with pytest.raises(LookupError, match=name):
            sources_of([name], [], configured)
