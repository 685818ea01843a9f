"""Who may send, on a real API server and by a real Alertmanager: tokens of ServiceAccounts, and certificates."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from cluster.test_intake import AUDIENCE, Start, an_alert, eventually, runs_in, tell
from cluster.test_intake import installed as installed
from cluster.test_intake import shop as shop
from cluster.test_intake import start as start
from localcluster import Cluster as LocalCluster
from localcluster.certs import Authority
from localcluster.monitoring import start_alertmanager
from remediator.handlers.bearer import Tokens
from remediator.handlers.intake import Intake
from remediator.handlers.metrics import IntakeMetrics, TlsMetrics
from remediator.handlers.senders import Senders
from remediator.handlers.serving import Server
from remediator.handlers.tls import ServerTls

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


def account(cluster: LocalCluster, namespace: str, name: str, *, may_send: bool) -> str:
    """A ServiceAccount, and whether it has the role of senders; its name as a user."""
    manifests: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
    ]
    if may_send:
        manifests.append(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": f"{namespace}-{name}-sends"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": "remediator-alert-sender",
                },
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            }
        )
    cluster.run_kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))
    return name


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_service_account_sends_where_it_is_permitted_and_with_a_token_for_us_alone(
    installed: LocalCluster, shop: str, start: Start, http: aiohttp.ClientSession
) -> None:
    sender = account(installed, shop, "sender", may_send=True)
    stranger = account(installed, shop, "stranger", may_send=False)
    replica = await start()

    async def status(token: str) -> int:
        url = f"http://127.0.0.1:{replica.server.port}/v1/alerts"
        body = json.dumps({"version": "4", "groupKey": "{}", "alerts": [an_alert(shop, "a")]})
        async with http.post(url, data=body, headers={"Authorization": f"Bearer {token}"}) as answer:
            return answer.status

    ours = installed.service_account_token(shop, sender, audience=AUDIENCE)
    given = ours.rsplit(".", 1)[0]
    assert await status(installed.service_account_token(shop, stranger, audience=AUDIENCE)) == 403
    assert await status(installed.service_account_token(shop, sender)) == 401  # for the API server
    assert await status(installed.service_account_token(shop, sender, audience="somebody-else")) == 401
    assert await status(given + "." + "A" * 43) == 401  # signed by nobody
    assert runs_in(installed, shop) == []

    async def is_let_in() -> bool:
        return await status(ours) == 200

    for _ in range(100):  # the API server's authorizer hears of a binding a moment later
        if await is_let_in():
            break
        await asyncio.sleep(0.3)
    assert len(runs_in(installed, shop)) == 1


async def test_while_the_api_server_is_away_nobody_is_called_a_stranger(
    installed: LocalCluster, shop: str, start: Start, http: aiohttp.ClientSession
) -> None:
    account(installed, shop, "late", may_send=True)
    token = installed.service_account_token(shop, "late", audience=AUDIENCE)
    replica = await start()
    url = f"http://127.0.0.1:{replica.server.port}/v1/alerts"
    body = json.dumps({"version": "4", "groupKey": "{}", "alerts": []})

    installed.stop_apiserver()
    try:
        async with http.post(url, data=body, headers={"Authorization": f"Bearer {token}"}) as answer:
            away = answer.status, await answer.json()
    finally:
        installed.start_apiserver()

    assert away[0] == 503
    assert away[1]["reason"] in ("Unavailable", "Timeout")


async def test_a_real_alertmanager_sends_with_its_own_account(
    installed: LocalCluster, shop: str, start: Start, tmp_path: Path
) -> None:
    account(installed, shop, "alertmanager", may_send=True)
    mounted = tmp_path / "mounted-token"
    mounted.write_text(installed.service_account_token(shop, "alertmanager", audience=AUDIENCE))
    replica = await start()

    await told_by_alertmanager(
        installed,
        shop,
        f"http://127.0.0.1:{replica.server.port}/v1/alerts",
        {"authorization": {"credentials_file": str(mounted)}},
    )

    assert replica.metrics.registry.get_sample_value("remediator_senders_admitted_total", {"by": "KubernetesToken"})


async def test_a_real_alertmanager_sends_with_a_certificate_that_is_exchanged_meanwhile(
    installed: LocalCluster, shop: str, start: Start, tmp_path: Path
) -> None:
    replica = await start()
    authority = Authority(tmp_path / "authority")
    authority.found()
    served = tmp_path / "served"
    served.mkdir()
    tls = ServerTls(str(served), str(authority.certificate), replica.clock, TlsMetrics(CollectorRegistry()))

    def serve(name: str) -> None:
        pair = authority.pair(name, user=name, hosts=("127.0.0.1",))
        shutil.copy(pair.certificate, served / "tls.crt")
        shutil.copy(pair.key, served / "tls.key")

    serve("first")
    tls.load()
    client = authority.pair("client", user="alertmanager")
    senders = Senders(Tokens("", replica.clock), None, {"alertmanager"})
    metrics = IntakeMetrics(CollectorRegistry())
    intake = Intake(replica.taker, senders, metrics, replica.clock)
    async with Server(intake.application(), "127.0.0.1", 0, tls) as server:
        serve("second")
        await tls.look()
        await told_by_alertmanager(
            installed,
            shop,
            f"https://127.0.0.1:{server.port}/v1/alerts",
            {
                "tls_config": {
                    "ca_file": str(authority.certificate),
                    "cert_file": str(client.certificate),
                    "key_file": str(client.key),
                }
            },
        )

    assert metrics.registry.get_sample_value("remediator_senders_admitted_total", {"by": "Certificate"})


async def told_by_alertmanager(cluster: LocalCluster, shop: str, url: str, http_config: dict[str, Any]) -> None:
    """Alertmanager with this way of sending has brought an alert onto a run."""
    alertmanager = await asyncio.to_thread(
        start_alertmanager,
        cluster,
        {
            "route": {"receiver": "remediator", "group_wait": "100ms", "group_interval": "1s"},
            "receivers": [
                {"name": "remediator", "webhook_configs": [{"url": url, "http_config": http_config, "max_alerts": 0}]}
            ],
        },
    )
    try:
        async with tell(alertmanager.url) as say:
            await say([{"labels": {"alertname": "Crash", "namespace": shop, "deployment": "checkout", "pod": "a"}}])
            await eventually(lambda: len(runs_in(cluster, shop)) == 1)
    finally:
        alertmanager.stop()
