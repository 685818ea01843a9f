"""
`POST /v1/alerts`: Alertmanager's webhook.

A 2xx promises that every alert a policy wants is on a run in the API server. Alertmanager sends again
after a 5xx and never after a 4xx, so a 4xx is only for what sending again cannot heal; nothing is
queued in memory, and nothing is answered 429.
"""

import asyncio
import logging
from typing import Final

from aiohttp import web

from remediator.domain.alerts import MAX_PAYLOAD_BYTES, Notification, TooLarge, from_alertmanager
from remediator.domain.errors import Invalid, RemediatorError
from remediator.domain.json import Object
from remediator.domain.receipts import Receipt
from remediator.domain.redaction import redact
from remediator.handlers.bearer import Tokens
from remediator.handlers.metrics import IntakeMetrics
from remediator.handlers.taking import Answer, Taker
from remediator.ports import Clock

log = logging.getLogger(__name__)

PATH: Final = "/v1/alerts"
ANSWERED_WITHIN_SECONDS: Final = 8.0
"""Before Alertmanager gives up after ten and sends again while the first call still runs."""

PARSED_ELSEWHERE_BYTES: Final = 1_000_000
AGAIN_AFTER_SECONDS: Final = 5
STOPS_WITHIN_SECONDS: Final = 10.0
MAX_PROBLEMS: Final = 100


class Intake:
    """The HTTP shell around `Taker`."""

    def __init__(
        self,
        taker: Taker,
        tokens: Tokens,
        metrics: IntakeMetrics,
        clock: Clock,
        *,
        answered_within_seconds: float = ANSWERED_WITHIN_SECONDS,
    ) -> None:
        self._taker = taker
        self._tokens = tokens
        self._metrics = metrics
        self._clock = clock
        self._answered_within_seconds = answered_within_seconds

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
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return self._refused(413, "TooLarge", [f"at most {MAX_PAYLOAD_BYTES} bytes are read at once"])
        if not await self._tokens.configured():
            return self._again("NoToken", "no token is configured, so nobody can be let in")
        if not await self._tokens.accept(request.headers.get("Authorization", "")):
            response = self._refused(401, "Unauthorized", ["a bearer token is needed, and this is none of those known"])
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        try:
            notification = await parsed(body)
        except TooLarge as large:
            return self._refused(413, "TooLarge", [str(problem) for problem in large.problems])
        except Invalid as invalid:
            self._metrics.alerts.labels(receipt=str(Receipt.MALFORMED)).inc()
            return self._refused(400, "Malformed", [str(problem) for problem in invalid.problems])
        answer = await self._taker.take(notification.alerts)
        return self._counted(notification, answer)

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
