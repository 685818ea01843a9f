"""
All alerts of Alertmanagers and Prometheuses, where nobody sends them.

What one source lists as silenced, inhibited, pending or not yet dispatched is there and is not told: a
webhook would not have told it either.
"""

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from remediator.adapters.alertmanager import HttpAlerts, beside, merged, rule_alert
from remediator.adapters.endpoints import ALERTMANAGER, Endpoint
from remediator.domain.alerts import MAX_ALERTS, Alert, read_alert
from remediator.domain.errors import InvalidPayload, Unavailable
from remediator.domain.json import JSON, dig, dig_text
from remediator.ports import ALL, Polled

log = logging.getLogger(__name__)

ASK_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Source:
    """One server that is polled; `name` is the endpoint's, with a number where it has several."""

    name: str
    endpoint: Endpoint
    is_alertmanager: bool


@dataclass(frozen=True, slots=True)
class _Listed:
    firing: tuple[Alert, ...]
    present: frozenset[str]
    unread: int


class PolledSources:
    """`ports.AlertList` over these sources."""

    def __init__(self, sources: Sequence[Source], *, ask_seconds: float = ASK_SECONDS) -> None:
        self._sources = tuple(sources)
        self._http = HttpAlerts(ask_seconds)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(source.name for source in self._sources)

    @property
    def identity(self) -> str:
        places = sorted(f"{source.name} {source.endpoint.base}" for source in self._sources)
        return hashlib.sha256("\n".join(places).encode()).hexdigest()[:16]

    async def poll(self) -> Polled:
        answers = await asyncio.gather(*(self._of(source) for source in self._sources), return_exceptions=True)
        failures: dict[str, str] = {}
        listed: list[_Listed] = []
        for source, answer in zip(self._sources, answers, strict=True):
            if isinstance(answer, Unavailable):
                failures[source.name] = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                listed.append(answer)
                if answer.unread:
                    failures[source.name] = f"{answer.unread} of its alerts cannot be read"
        firing = merged(alert for one in listed for alert in one.firing)
        if len(firing) > MAX_ALERTS:
            failures[ALL] = f"{len(firing)} alerts fire; at most {MAX_ALERTS} are taken"
            firing = tuple(sorted(firing, key=lambda alert: alert.fingerprint))[:MAX_ALERTS]
        return Polled(firing, frozenset().union(*(one.present for one in listed)), failures)

    async def close(self) -> None:
        await self._http.close()

    async def _of(self, source: Source) -> _Listed:
        if source.is_alertmanager:
            params = [(state, "true") for state in ("active", "silenced", "inhibited", "unprocessed")]
            answer = await self._http.get("Alertmanager", source.endpoint, "/api/v2/alerts", params)
            if not isinstance(answer, list):
                raise Unavailable("Alertmanager: the answer is not a list")
            return await beside(len(answer), _of_alertmanager, answer)
        answer = await self._http.get("Prometheus", source.endpoint, "/api/v1/alerts", [])
        alerts = dig(answer, "data", "alerts")
        if dig(answer, "status") != "success" or not isinstance(alerts, list):
            raise Unavailable("Prometheus: the answer is no list of alerts")
        return await beside(len(alerts), _of_prometheus, alerts)


def sources_of(names: Sequence[str], alertmanagers: Sequence[Endpoint], others: Mapping[str, Endpoint]) -> list[Source]:
    """
    The servers behind the names of endpoints.

    Raises:
        LookupError: with the first name that no endpoint has.
    """
    found: list[Source] = []
    for name in names:
        if name == ALERTMANAGER and alertmanagers:
            numbered = [ALERTMANAGER] if len(alertmanagers) == 1 else []
            numbered = numbered or [f"{ALERTMANAGER}-{number}" for number in range(1, len(alertmanagers) + 1)]
            found += [Source(one, endpoint, True) for one, endpoint in zip(numbered, alertmanagers, strict=True)]
        elif name in others:
            found.append(Source(name, others[name], False))
        else:
            raise LookupError(name)
    return found


def _of_alertmanager(answer: Sequence[JSON]) -> _Listed:
    told = [alert for alert in answer if dig_text(alert, "status", "state") == "active" and not _is_kept_quiet(alert)]
    return _listed([{**one, "status": "firing"} if isinstance(one, dict) else one for one in answer], told, answer)


def _is_kept_quiet(alert: JSON) -> bool:
    return any(dig(alert, "status", by) for by in ("silencedBy", "inhibitedBy", "mutedBy"))


def _of_prometheus(answer: Sequence[JSON]) -> _Listed:
    told = [alert for alert in answer if dig(alert, "state") == "firing"]
    return _listed([rule_alert(one) if isinstance(one, dict) else one for one in answer], told, answer)


def _listed(readable: Sequence[JSON], told: Sequence[JSON], answer: Sequence[JSON]) -> _Listed:
    speaks = {id(one) for one in told}
    firing: list[Alert] = []
    present: set[str] = set()
    unread = 0
    for raw, original in zip(readable, answer, strict=True):
        try:
            alert = read_alert(raw)
        except InvalidPayload as wrong:
            unread += 1
            if unread == 1:
                log.warning("alert passed over", extra={"error": str(wrong)})
            continue
        present.add(alert.fingerprint)
        if id(original) in speaks:
            firing.append(alert)
    return _Listed(tuple(firing), frozenset(present), unread)
