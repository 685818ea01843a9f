"""
The floor: the five calls that no way of doing it safely can save, and nothing else.

    python -m benchmarks.floor < job

For each Deployment a run is created, the Deployment is read, the intent is written into the run's status,
the Deployment is patched, and the result is written. The calls are the operator's own: its account, the same
impersonation, run objects of its making (`template` has one, as it was created, when it had intended, and at
its end), and the patch that its code renders. What is left out is everything that it decides.

The job is `{"kubeconfig", "namespace", "account", "connections", "perSecond", "template", "epoch", "names"}`. One line
comes back: for each name when its first call was sent, in seconds since 1970.
"""

import asyncio
import json
import sys
import time
from typing import Any

from benchmarks.alerts import policy
from benchmarks.wire import JSON_PATCH, Access, Connection, Connections
from remediator.adapters.cluster import impersonation, write_params
from remediator.domain.changes import Patch, change_from_json, json_patch
from remediator.domain.names import run_name, token
from remediator.domain.objects import ObjectRef
from remediator.ports import Identity

AGENT = "remediator-floor"
PARAMETERS = "&".join(f"{name}={value}" for name, value in write_params(False).items())


class Floor:
    def __init__(self, job: dict[str, Any], connections: Connections) -> None:
        self._namespace = job["namespace"]
        self._account = job["account"]
        self._per_second = float(job.get("perSecond", 0))
        self._names = job["names"]
        self._runs = f"/apis/remediator.dev/v1alpha1/namespaces/{self._namespace}/runbookruns"
        self._deployments = f"/apis/apps/v1/namespaces/{self._namespace}/deployments"
        self._policy = policy(self._namespace)["metadata"]["name"]
        self._template = job["template"]
        self._connections = connections
        self._epoch = job["epoch"]

    async def carry_out(self) -> list[dict[str, Any]]:
        """All of them, as fast as the connections allow or at their pace."""
        began = time.monotonic()
        tasks = []
        for number, name in enumerate(self._names):
            if self._per_second:
                await asyncio.sleep(max(0.0, began + number / self._per_second - time.monotonic()))
            tasks.append(asyncio.create_task(self._one(name)))
        return await asyncio.gather(*tasks)

    async def _one(self, name: str) -> dict[str, Any]:
        async with self._connections.one() as connection:
            sent = time.time()
            await self._changed(name, connection)
            return {"id": name, "sent": sent, "answered": time.time(), "statuses": [200]}

    async def _changed(self, name: str, connection: Connection) -> None:
        run = run_name(self._namespace, self._policy, ObjectRef.of("Deployment", self._namespace, name), 1)
        acting = impersonation(Identity(self._account, run=f"{self._namespace}/{run}"))
        created = await connection.call("POST", f"{self._runs}?{PARAMETERS}", self._as("created", name, run))
        seen = await connection.call("GET", f"{self._deployments}/{name}", headers=acting)
        uid = seen["metadata"]["uid"]
        written = await self._record("intended", name, run, uid, created, connection)
        step = written["status"]["attempts"][-1]["steps"][0]
        change = change_from_json(step["change"])
        assert isinstance(change, Patch)
        mark = token(written["metadata"]["uid"], "bigger", step["name"])
        operations = json_patch(change, seen, run=f"{self._namespace}/{run}", token=mark)
        await connection.call(
            "PATCH",
            f"{self._deployments}/{name}?{PARAMETERS}",
            operations,
            content_type=JSON_PATCH,
            headers=acting,
        )
        await self._record("ended", name, run, uid, written, connection)

    async def _record(
        self, what: str, name: str, run: str, uid: str, before: dict[str, Any], connection: Connection
    ) -> Any:
        body = self._as(what, name, run, uid)
        body["status"]["leaderEpoch"] = self._epoch
        body["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
        return await connection.call("PUT", f"{self._runs}/{run}/status?{PARAMETERS}", body)

    def _as(self, what: str, name: str, run: str, uid: str = "") -> Any:
        """The template's record, as if it were about this Deployment."""
        template = self._template
        text = template[what].replace(template["run"], run).replace(template["name"], name)
        return json.loads(text.replace(template["uid"], uid) if uid else text)


async def main() -> None:
    job = json.load(sys.stdin)
    async with Connections(Access(job["kubeconfig"], AGENT), job["connections"]) as connections:
        print(json.dumps(await Floor(job, connections).carry_out()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
