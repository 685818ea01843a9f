"""
`POST /v1/alerts`: Alertmanager's webhook.

A 2xx promises that every alert a policy wants is on a run in the API server. Alertmanager sends again
after a 5xx and never after a 4xx, so a 4xx is only for what sending again cannot heal; nothing is
queued in memory, and nothing is answered 429. Nobody's call is read before it is known who calls.
"""

import asyncio
import logging
from contextlib import nullcontext
from http import HTTPStatus
from typing import Final

from aiohttp import web

from remediator.domain.alerts import MAX_PAYLOAD_BYTES, Notification, TooLarge, from_alertmanager
from remediator.domain.errors import Invalid, RemediatorError
from remediator.domain.json import Object
from remediator.domain.receipts import Receipt
from remediator.domain.redaction import redact
from remediator.handlers.metrics import IntakeMetrics
from remediator.handlers.senders import Senders, TurnedAway
from remediator.handlers.serving import certified_names
from remediator.handlers.taking import Answer, Taker
from remediator.ports import Clock

log = logging.getLogger(__name__)

PATH: Final = "/v1/alerts"
ANSWERED_WITHIN_SECONDS: Final = 8.0
"""Before Alertmanager gives up after ten and sends again while the first call still runs."""

PARSED_ELSEWHERE_BYTES: Final = 100_000
"""Some hundred alerts take milliseconds of the loop, which has others to answer."""
LARGE_BYTES: Final = 1_000_000
LARGE_AT_ONCE: Final = 2
"""A call of 8 MiB takes some hundred while it is read."""
MOST_BYTES_AT_ONCE: Final = 64 * 1024 * 1024
LEAST_BYTES: Final = 64 * 1024
"""What a call counts for at least, so that the number of calls is bounded too."""
AGAIN_AFTER_SECONDS: Final = 5
MAX_PROBLEMS: Final = 100


class Intake:
    """The HTTP shell around `Taker`."""

    def __init__(
        self,
        taker: Taker,
        senders: Senders,
        metrics: IntakeMetrics,
        clock: Clock,
        *,
        answered_within_seconds: float = ANSWERED_WITHIN_SECONDS,
    ) -> None:
        self._taker = taker
        self._senders = senders
        self._metrics = metrics
        self._clock = clock
        self._answered_within_seconds = answered_within_seconds
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._bytes = 0

    def application(self) -> web.Application:
        """The routes; the body's limit holds wherever a body is read, and it always is."""
        application = web.Application(client_max_size=MAX_PAYLOAD_BYTES)
        application.router.add_post(PATH, self.post)
        return application

    async def post(self, request: web.Request) -> web.Response:
        """One call, whatever happens in it."""
        began = self._clock.boot_seconds()
        with self._metrics.in_flight.track_inprogress():
            try:
                async with asyncio.timeout(self._answered_within_seconds):
                    response = await self._answered(request)
            except TimeoutError:
                response = self._again("Timeout", f"not stored within {self._answered_within_seconds:g}s")
            except RemediatorError as failure:
                response = self._again("Unavailable", redact(str(failure)))
            except web.HTTPException:
                raise
            except Exception:  # a mistake of ours: told in the log, and to the sender as one to try again after
                log.exception("a notification could not be taken in")
                response = self._again("Mistake", "the operator made a mistake; it stands in its log")
        self._metrics.notifications.labels(code=str(response.status)).inc()
        self._metrics.seconds.observe(self._clock.boot_seconds() - began)
        return response

    async def _answered(self, request: web.Request) -> web.Response:
        judged = await self._senders.judge(request.headers.get("Authorization", ""), certified_names(request))
        if isinstance(judged, TurnedAway):
            return self._turned_away(judged)
        self._metrics.senders.labels(by=judged.by).inc()
        length = request.content_length
        counts_for = MAX_PAYLOAD_BYTES if length is None else min(max(length, LEAST_BYTES), MAX_PAYLOAD_BYTES)
        if self._bytes + counts_for > MOST_BYTES_AT_ONCE:
            return self._again("Overloaded", f"{self._bytes} bytes of other calls are being taken in")
        self._bytes += counts_for
        try:
            return await self._taken(request)
        finally:
            self._bytes -= counts_for

    async def _taken(self, request: web.Request) -> web.Response:
        try:
            notification = await self._read(request)
        except web.HTTPRequestEntityTooLarge:
            return self._refused(413, "TooLarge", [f"at most {MAX_PAYLOAD_BYTES} bytes are read at once"])
        except TooLarge as large:
            return self._refused(413, "TooLarge", [str(problem) for problem in large.problems])
        except Invalid as invalid:
            self._metrics.alerts.labels(receipt=str(Receipt.MALFORMED)).inc()
            return self._refused(400, "Malformed", [str(problem) for problem in invalid.problems])
        answer = await self._taker.take(notification.alerts)
        return self._counted(notification, answer)

    async def _read(self, request: web.Request) -> Notification:
        is_small = request.content_length is not None and request.content_length <= LARGE_BYTES
        async with nullcontext() if is_small else self._large:
            return await parsed(await request.read())

    def _turned_away(self, judged: TurnedAway) -> web.Response:
        if judged.status is HTTPStatus.SERVICE_UNAVAILABLE:
            return self._again(judged.reason, judged.problem)
        response = self._refused(judged.status, judged.reason, [judged.problem])
        if judged.status is HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    def _counted(self, notification: Notification, answer: Answer) -> web.Response:
        answer.receipts[Receipt.MALFORMED] += notification.malformed_alerts
        answer.receipts[Receipt.TRUNCATED] += notification.truncated_alerts
        answer.receipts = +answer.receipts
        for receipt, count in answer.receipts.items():
            self._metrics.alerts.labels(receipt=str(receipt)).inc(count)
        if notification.malformed or notification.truncated_alerts:
            log.warning(
                "a notification is not whole",
                extra={"malformed": notification.malformed_alerts, "truncated": notification.truncated_alerts},
            )
        content = answer.to_json()
        if notification.malformed:
            content["problems"] = [*_shown([str(problem) for problem in notification.malformed])]
        return web.json_response(content)

    def _again(self, reason: str, message: str) -> web.Response:
        """Nothing was promised: the sender shall send the same again."""
        self._metrics.refused.labels(reason=reason).inc()
        log.warning("a notification was not taken in", extra={"reason": reason, "error": message})
        content: Object = {"reason": reason, "message": message}
        return web.json_response(content, status=503, headers={"Retry-After": str(AGAIN_AFTER_SECONDS)})

    def _refused(self, status: int, reason: str, problems: list[str]) -> web.Response:
        """The sender must change the call."""
        self._metrics.refused.labels(reason=reason).inc()
        log.warning("a notification was refused", extra={"reason": reason, "problems": problems[:5]})
        content: Object = {"reason": reason, "problems": [*_shown(problems)]}
        return web.json_response(content, status=status)


async def parsed(body: bytes) -> Notification:
    """The notification; a large one is read beside the loop, which has watches to follow."""
    if len(body) > PARSED_ELSEWHERE_BYTES:
        return await asyncio.to_thread(from_alertmanager, body)
    return from_alertmanager(body)


def _shown(problems: list[str]) -> list[str]:
    shown = [redact(problem) for problem in problems[:MAX_PROBLEMS]]
    return [*shown, f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else shown
