"""
Sends webhooks as Alertmanager does, in a process of its own.

    python -m benchmarks.sender < job

The job is `{"url", "token", "connections", "perSecond", "posts": [{"id", "payload"}]}`; without `perSecond`
a post leaves as soon as a connection is free. What is not answered with 2xx or 4xx is sent again, after half
a second first and then ever later. One line comes back: for each post when it was first sent, when it was
taken, in seconds since 1970 by the clock that the audit log uses, and every status.
"""

import asyncio
import json
import sys
import time
from typing import Any

import aiohttp

ANSWERED_WITHIN_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
GIVEN_UP_AFTER_SECONDS = 300.0


class Sender:
    def __init__(self, job: dict[str, Any], session: aiohttp.ClientSession) -> None:
        self._url = job["url"]
        self._per_second = float(job.get("perSecond", 0))
        self._posts = [(post["id"], json.dumps(post["payload"]).encode()) for post in job["posts"]]
        self._headers = {"Authorization": f"Bearer {job['token']}", "Content-Type": "application/json"}
        self._session = session
        self._places = asyncio.Semaphore(job["connections"])

    async def send(self) -> list[dict[str, Any]]:
        """All posts, each as often as it takes."""
        began = time.monotonic()
        tasks = []
        for number, (name, body) in enumerate(self._posts):
            if self._per_second:
                await asyncio.sleep(max(0.0, began + number / self._per_second - time.monotonic()))
            tasks.append(asyncio.create_task(self._taken(name, body)))
        return await asyncio.gather(*tasks)

    async def _taken(self, name: str, body: bytes) -> dict[str, Any]:
        sent, statuses, pause = 0.0, [], FIRST_PAUSE_SECONDS
        until = time.monotonic() + GIVEN_UP_AFTER_SECONDS
        while True:
            async with self._places:
                sent = sent or time.time()
                statuses.append(await self._status(body))
            if 200 <= statuses[-1] < 500 or time.monotonic() > until:
                return {"id": name, "sent": sent, "answered": time.time(), "statuses": statuses}
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _status(self, body: bytes) -> int:
        """The answer's status; 599 where none came, which is sent again like any 5xx."""
        try:
            async with self._session.post(self._url, data=body, headers=self._headers) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 599


async def main() -> None:
    job = json.load(sys.stdin)
    timeout = aiohttp.ClientTimeout(total=ANSWERED_WITHIN_SECONDS)
    connector = aiohttp.TCPConnector(limit=job["connections"])
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False) as session:
        print(json.dumps(await Sender(job, session).send()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
