"""
Which alerts fire now, asked of Alertmanager or of Prometheus.

Silenced and inhibited alerts count as firing: a silence is a person's wish not to be told, and no
sign that anything got better. Without this, a silence set in the middle of a run would make its
remedy look like a cure.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, ParamSpec, TypeVar

import aiohttp

from remediator.adapters.endpoints import Endpoint
from remediator.adapters.outgoing import configured_socket
from remediator.adapters.parsing import parsed
from remediator.domain.alerts import Alert, read_alert
from remediator.domain.errors import InvalidPayload, Unavailable
from remediator.domain.json import JSON, Object, dig, dig_list
from remediator.domain.redaction import redact
from remediator.ports import Firing

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

ASK_SECONDS: Final = 5.0
MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
LONG_BYTES: Final = 64 * 1024
FEW_ALERTS: Final = 50
"""Both are read within a millisecond or two; a thread would take as long to begin."""

PLAIN: Final = re.compile(r"[A-Za-z0-9_ .:/@=+-]*")
"""What Alertmanager's two parsers of matchers read alike without escapes; other values are not sent."""

ALWAYS_COMPARED: Final = ("alertname", "namespace")


class HttpAlerts:
    """GETs of JSON, bounded in size and time; a failure of any kind is Unavailable."""

    def __init__(self, ask_seconds: float) -> None:
        self._ask_seconds = ask_seconds
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, name: str, endpoint: Endpoint, path: str, params: Sequence[tuple[str, str]]) -> JSON:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit_per_host=4, socket_factory=configured_socket),
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            async with (
                asyncio.timeout(self._ask_seconds),
                self._session.get(
                    endpoint.base + path,
                    params=list(params),
                    headers=dict(endpoint.headers),
                    ssl=endpoint.tls(),
                    allow_redirects=False,  # a redirect would carry the credentials to somebody else
                ) as answer,
            ):
                if answer.status != 200:
                    raise Unavailable(f"{name}: status {answer.status}")
                content = bytearray()
                async for chunk in answer.content.iter_any():
                    content += chunk
                    if len(content) > MAX_ANSWER_BYTES:
                        raise Unavailable(f"{name}: the answer is larger than {MAX_ANSWER_BYTES} bytes")
                return await parsed(bytes(content), long_bytes=LONG_BYTES)
        except TimeoutError as wrong:
            raise Unavailable(f"{name} did not answer within {self._ask_seconds:g}s") from wrong
        except (aiohttp.ClientError, OSError, ValueError, RecursionError) as wrong:
            raise Unavailable(f"{name} cannot be asked: {redact(str(wrong))[:300]}") from wrong


class AlertSources:
    """
    `ports.AlertSource` over several Alertmanagers, or one Prometheus where none of them answers.

    Firing on any is firing. `Firing.alerts` is None only where nobody answered.
    """

    def __init__(
        self,
        alertmanagers: Sequence[Endpoint] = (),
        prometheus: Endpoint | None = None,
        *,
        ask_seconds: float = ASK_SECONDS,
    ) -> None:
        self._alertmanagers = tuple(alertmanagers)
        self._prometheus = prometheus
        self._http = HttpAlerts(ask_seconds)

    @property
    def configured(self) -> bool:
        return bool(self._alertmanagers) or self._prometheus is not None

    async def firing(self, matching: Mapping[str, str]) -> Firing:
        answers = await asyncio.gather(
            *(self._of_alertmanager(endpoint, matching) for endpoint in self._alertmanagers),
            return_exceptions=True,
        )
        told = [answer for answer in answers if not isinstance(answer, BaseException)]
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Unavailable):
                raise answer
        if told:
            silent = len(answers) - len(told)
            source = "Alertmanager" + (f" ({silent} of {len(answers)} did not answer)" if silent else "")
            return Firing(merged(alert for alerts in told for alert in alerts), source)
        why = "; ".join(str(answer) for answer in answers)
        if self._prometheus is not None:
            try:
                return Firing(await self._of_prometheus(self._prometheus, matching), "Prometheus")
            except Unavailable as wrong:
                why = "; ".join(part for part in (why, str(wrong)) if part)
        return Firing(None, why or "neither Alertmanager nor Prometheus is configured")

    async def close(self) -> None:
        await self._http.close()

    async def _of_alertmanager(self, endpoint: Endpoint, matching: Mapping[str, str]) -> tuple[Alert, ...]:
        params = [("active", "true"), ("silenced", "true"), ("inhibited", "true"), ("unprocessed", "true")]
        params += [("filter", f'{n}="{v}"') for n, v in sorted(matching.items()) if PLAIN.fullmatch(n + v)]
        answer = await self._http.get("Alertmanager", endpoint, "/api/v2/alerts", params)
        if not isinstance(answer, list):
            raise Unavailable("Alertmanager: the answer is not a list")
        return await beside(len(answer), _of_alertmanager, answer, matching)

    async def _of_prometheus(self, endpoint: Endpoint, matching: Mapping[str, str]) -> tuple[Alert, ...]:
        answer = await self._http.get("Prometheus", endpoint, "/api/v1/alerts", [])
        if dig(answer, "status") != "success":
            raise Unavailable("Prometheus: the answer is no list of alerts")
        alerts = dig_list(answer, "data", "alerts")
        return await beside(len(alerts), _of_prometheus, alerts, matching)


async def beside(count: int, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `read` makes of so many alerts; of more than a few in a thread, so that nobody waits for it."""
    if count <= FEW_ALERTS:
        return read(*args, **kwargs)
    return await asyncio.to_thread(read, *args, **kwargs)


def _of_alertmanager(listed: Sequence[JSON], matching: Mapping[str, str]) -> tuple[Alert, ...]:
    raw = ({**alert, "status": "firing"} if isinstance(alert, dict) else alert for alert in listed)
    found = _alerts("Alertmanager", raw, matching)
    # asked again here, for the values that were left out and for a proxy that drops the filter
    return tuple(a for a in found if all(a.labels.get(name, "") == value for name, value in matching.items()))


def _of_prometheus(listed: Sequence[Object], matching: Mapping[str, str]) -> tuple[Alert, ...]:
    firing = (rule_alert(one) for one in listed if one.get("state") == "firing")
    return tuple(alert for alert in _alerts("Prometheus", firing, matching) if _may_be(alert, matching))


def _alerts(source: str, raw: Iterable[JSON], matching: Mapping[str, str]) -> list[Alert]:
    """
    The alerts that can be read.

    Raises Unavailable where one that cannot be may be one that is asked for: without it, what fires would
    look resolved. Others are passed over: one sender's mistake must not hide everybody's.
    """
    found = []
    for alert in raw:
        try:
            found.append(read_alert(alert))
        except InvalidPayload as wrong:
            if _may_be_asked_for(alert, matching):
                raise Unavailable(
                    f"{source}: an alert of its list cannot be read: {redact(str(wrong))[:300]}"
                ) from wrong
            log.warning("alert passed over", extra={"error": str(wrong)})
    return found


def _may_be_asked_for(alert: JSON, matching: Mapping[str, str]) -> bool:
    labels = dig(alert, "labels")
    known = (
        {name: value for name, value in labels.items() if isinstance(value, str)} if isinstance(labels, dict) else {}
    )
    return all(known.get(name, value) == value for name, value in matching.items())


def rule_alert(alert: Object) -> Object:
    """An alert of Prometheus' own list under Alertmanager's field names; who reads it computes the fingerprint."""
    return {
        "status": "firing",
        "labels": alert.get("labels"),
        "annotations": alert.get("annotations"),
        "startsAt": alert.get("activeAt"),
    }


def _may_be(alert: Alert, matching: Mapping[str, str]) -> bool:
    """
    Whether Prometheus' own alert can be the one that is asked for.

    Prometheus adds its external labels only when it sends, so they are missing from its own list: a
    label that the alert does not have is passed over, but for those that no sender adds.
    """
    return all(
        alert.labels.get(name, "" if name in ALWAYS_COMPARED else value) == value for name, value in matching.items()
    )


def merged(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """Each fingerprint once, with its earliest start: two Alertmanagers need not have heard of it together."""
    found: dict[str, Alert] = {}
    for alert in alerts:
        before = found.get(alert.fingerprint)
        if before is None:
            found[alert.fingerprint] = alert
        elif alert.starts_at < before.starts_at:
            found[alert.fingerprint] = replace(before, starts_at=alert.starts_at)
    return tuple(found.values())
