"""
Prometheus' query API through prometheus-api-client.

That client is synchronous and repeats a failed call for six seconds by default, so it runs in four
threads of its own, without repeats, and every call has a deadline of its own: a cancelled await
leaves its thread behind, which must end by itself. Its session is replaced by one that bounds the
answer, sends the query in the body and reads the errors and warnings that the client throws away.
"""

import asyncio
import json
import math
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from remediator.adapters.endpoints import Endpoint
from remediator.adapters.leash import Leash
from remediator.domain.errors import NotFound, Rejected, Unavailable
from remediator.domain.hosts import objection_to_configured
from remediator.domain.redaction import redact
from remediator.ports import Clock, Sample

THREADS: Final = 4
QUERY_SECONDS: Final = 8.0
MAX_SERIES: Final = 1_000
MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
MAX_MESSAGE_CHARACTERS: Final = 500
WRONG_QUERY: Final = (400, 422)
"""What Prometheus answers to a query that it cannot parse, or cannot evaluate on these series."""


class PrometheusMetrics:
    """`ports.Metrics` over named endpoints."""

    def __init__(
        self, endpoints: Mapping[str, Endpoint], clock: Clock, *, query_seconds: float = QUERY_SECONDS
    ) -> None:
        self._endpoints = dict(endpoints)
        self._clock = clock
        self._query_seconds = query_seconds
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="prometheus")
        self._local = threading.local()

    async def query(self, endpoint: str, promql: str, at: datetime) -> tuple[Sample, ...]:
        if endpoint not in self._endpoints:
            raise NotFound(f"no endpoint {endpoint} is configured")
        loop = asyncio.get_running_loop()
        try:
            # the thread's own deadline ends it; this one covers the wait for a free thread as well
            async with asyncio.timeout(self._query_seconds + 2):
                result = await loop.run_in_executor(self._pool, self._asked, endpoint, promql, at)
        except TimeoutError as wrong:
            raise Unavailable(f"{endpoint} did not answer within {self._query_seconds:g}s") from wrong
        return samples(result)

    def close(self) -> None:
        """No further query is taken; threads end with the query that they have."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _asked(self, name: str, promql: str, at: datetime) -> object:
        leash = Leash(objection_to_configured)
        try:
            with leash.held():
                return self._client(name).custom_query(promql, params={"time": f"{at.timestamp():.3f}"})
        except PrometheusApiClientException as wrong:
            raise Unavailable(f"{name}: {_short(wrong)}") from wrong
        except requests.RequestException as wrong:
            # the text of some of these holds the URL, and so perhaps a password
            raise Unavailable(f"{name} cannot be reached: {leash.refused or type(wrong).__name__}") from wrong
        except (ValueError, KeyError, TypeError) as wrong:
            raise Unavailable(f"{name}: the answer is not Prometheus'") from wrong

    def _client(self, name: str) -> Any:
        # requests' sessions are not made for several threads
        clients: dict[str, Any] = self._local.__dict__.setdefault("clients", {})
        if name not in clients:
            endpoint = self._endpoints[name]
            clients[name] = PrometheusConnect(
                url=endpoint.base,
                headers=dict(endpoint.headers),
                session=_Session(name, self._clock, self._query_seconds, endpoint.ca_file),
                retry=Retry(0),
                timeout=self._query_seconds,
                method="POST",
            )
        return clients[name]


class _Session(requests.Session):
    """A session whose calls end in time, at a size, and with Prometheus' own error."""

    def __init__(self, name: str, clock: Clock, seconds: float, ca_file: str) -> None:
        super().__init__()
        self._name = name
        self._clock = clock
        self._seconds = seconds
        self.trust_env = False  # neither a proxy nor a .netrc of whoever started the process
        self.max_redirects = 0  # a redirect would carry the credentials to somebody else
        if ca_file:
            self.verify = ca_file

    def request(self, method: str, url: str, **rest: Any) -> requests.Response:  # type: ignore[override]  # the client calls it with these alone
        deadline = self._clock.boot_seconds() + self._seconds
        # the client puts the query into the URL even of a POST, where long ones are refused
        form = rest.pop("params", None)
        answer = super().request(method, url, data=form, stream=True, **rest)
        with answer:
            content = bytearray()
            for chunk in answer.iter_content(65_536):
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise Rejected(f"{self._name}: the answer is larger than {MAX_ANSWER_BYTES} bytes")
                if self._clock.boot_seconds() > deadline:
                    raise Unavailable(f"{self._name}: no complete answer within {self._seconds:g}s")
        answer._content = bytes(content)
        self._check(answer)
        return answer

    def _check(self, answer: requests.Response) -> None:
        try:
            body = json.loads(answer.content)
        except ValueError as wrong:
            raise Unavailable(f"{self._name}: status {answer.status_code}, and the answer is not JSON") from wrong
        if not isinstance(body, dict):
            raise Unavailable(f"{self._name}: the answer is not an object")
        said = _short(f"{body.get('errorType', 'error')}: {body.get('error', '')}")
        if answer.status_code in WRONG_QUERY:
            raise Rejected(f"{self._name}: {said}")
        if answer.status_code != 200 or body.get("status") != "success":
            raise Unavailable(f"{self._name}: status {answer.status_code}, {said}")
        data = body.get("data")
        form = data.get("resultType") if isinstance(data, dict) else None
        if form in ("matrix", "string"):
            # an empty matrix could not be told from an empty vector later
            raise Rejected(f"{self._name}: the query brings a {form}; one value for each series is needed")
        warnings = body.get("warnings")
        if warnings:
            # a store that did not answer is a warning; what is missing then is not zero
            raise Unavailable(f"{self._name}: the answer may be incomplete: {_short(warnings)}")


def samples(result: object) -> tuple[Sample, ...]:
    """
    The series of an instant query's result.

    Raises Rejected for what is no vector or scalar, and for more series than anybody can decide on:
    a cut list would look like a whole one.
    """
    if not isinstance(result, list):
        raise Unavailable("the result of the query is not a list")
    if result and not isinstance(result[0], dict):
        return (Sample({}, _number(result[1] if len(result) > 1 else None)),)
    if len(result) > MAX_SERIES:
        raise Rejected(f"the query brings {len(result)} series, at most {MAX_SERIES} are taken; aggregate them")
    found = []
    for series in result:
        if not isinstance(series, dict) or "value" not in series:
            raise Rejected("the query brings a range of values or histograms; one value for each series is needed")
        metric, value = series.get("metric"), series["value"]
        labels = {str(key): str(text) for key, text in metric.items()} if isinstance(metric, dict) else {}
        found.append(Sample(labels, _number(value[1] if isinstance(value, list) and len(value) > 1 else None)))
    return tuple(found)


def _number(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _short(what: object) -> str:
    return redact(str(what))[:MAX_MESSAGE_CHARACTERS]
