"""
What stands beside the API server while it is measured: an Alertmanager, and controllers that roll out.

    python -m benchmarks.standins < job        {"kubeconfig", "namespace", "alertname"}

The cluster has no controllers, because replica sets, pods and their events would take more of the machine
than what is measured. In their place each Deployment's status says, a second after every change of it,
that one replica of it is there and ready. That is one write for each change, for the floor as for the
operator.

An alert fires for each Deployment that says so in an annotation, or for its pods, until its container has the variable
`QUEUE`. The first line that this process prints is its URL; `/state` counts the Deployments, the rolled out
ones and the cured ones.
"""

import asyncio
import json
import sys
from contextlib import suppress
from itertools import chain
from typing import Any

from aiohttp import web

from benchmarks.alerts import alerts_about, is_cured
from benchmarks.wire import MERGE_PATCH, Access, Connections, Refused

STATE = {"status": {"state": "active", "silencedBy": [], "inhibitedBy": []}, "receivers": []}
ROLLED_OUT_AFTER_SECONDS = 1.0
WRITERS = 8


class Deployments:
    """All Deployments of one namespace, followed by a watch and rolled out."""

    def __init__(self, connections: Connections, namespace: str) -> None:
        self._connections = connections
        self._path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self._known: dict[str, bool] = {}
        self._observed: set[str] = set()
        self._asked: dict[str, int] = {}
        self._firing: dict[str, list[tuple[dict[str, str], bytes]]] = {}
        self._rolling: set[asyncio.Task[None]] = set()

    def state(self) -> dict[str, int]:
        """Counts: how many there are, how many are rolled out, how many are cured."""
        return {
            "deployments": len(self._known),
            "rolledOut": len(self._observed),
            "cured": sum(self._known.values()),
        }

    def firing(self, wanted: list[tuple[str, str]]) -> bytes:
        """Alertmanager's answer: the alerts whose labels have these values."""
        only = dict(wanted).get("deployment")  # of thousands: a real Alertmanager takes no time for them either
        known = chain.from_iterable(self._firing.values()) if only is None else self._firing.get(only, ())
        found = [text for labels, text in known if all(labels.get(n) == v for n, v in wanted)]
        return b"[" + b",".join(found) + b"]"

    async def follow(self) -> None:
        """List and watch, for ever."""
        while True:
            with suppress(OSError, EOFError, Refused):  # the API server begins anew with each round
                listed = await self._connections.call("GET", self._path)
                for one in listed["items"]:
                    self._saw(one)
                version = listed["metadata"]["resourceVersion"]
                async with self._connections.one() as connection:
                    async for line in connection.lines(f"{self._path}?watch=true&resourceVersion={version}"):
                        event = json.loads(line)
                        if event["type"] == "DELETED":
                            self._forget(event["object"]["metadata"]["name"])
                        elif event["type"] in ("ADDED", "MODIFIED"):
                            self._saw(event["object"])
            await asyncio.sleep(0.2)

    def _saw(self, obj: dict[str, Any]) -> None:
        meta = obj["metadata"]
        name, cured = meta["name"], is_cured(obj)
        self._known[name] = cured
        if cured:
            self._firing.pop(name, None)
        elif name not in self._firing:
            self._firing[name] = [
                (alert["labels"], json.dumps({**alert, **STATE}).encode()) for alert in alerts_about(obj)
            ]
        if obj.get("status", {}).get("observedGeneration", 0) == meta["generation"]:
            self._observed.add(name)
        elif self._asked.get(name) != meta["generation"]:
            self._asked[name] = meta["generation"]
            self._observed.discard(name)
            task = asyncio.create_task(self._roll_out(name, meta["generation"]))
            self._rolling.add(task)
            task.add_done_callback(self._rolling.discard)

    def _forget(self, name: str) -> None:
        self._observed.discard(name)
        for held in (self._known, self._asked, self._firing):
            held.pop(name, None)

    async def _roll_out(self, name: str, generation: int) -> None:
        await asyncio.sleep(ROLLED_OUT_AFTER_SECONDS)
        one = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
        body = {"status": {"observedGeneration": generation, **one}}
        with suppress(Exception):  # it is gone, or written again meanwhile: the next event says so
            await self._connections.call("PATCH", f"{self._path}/{name}/status", body, content_type=MERGE_PATCH)


async def serve(job: dict[str, Any]) -> None:
    access = Access(job["kubeconfig"], "standins")
    async with Connections(access, WRITERS + 1) as connections:
        deployments = Deployments(connections, job["namespace"])

        async def alerts(request: web.Request) -> web.Response:
            filters = [text.partition("=") for text in request.query.getall("filter", [])]
            wanted = [(name, value.strip('"')) for name, _, value in filters]
            return web.Response(body=deployments.firing(wanted), content_type="application/json")

        async def state(_: web.Request) -> web.Response:
            return web.json_response(deployments.state())

        application = web.Application()
        application.router.add_get("/api/v2/alerts", alerts)
        application.router.add_get("/state", state)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        print(f"http://{host}:{port}", flush=True)
        try:
            await deployments.follow()
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(json.loads(sys.stdin.readline())))
