"""
What is fed with anything: each target takes bytes, and fails where the code under it says more than no.

A target's own refusal (`ValueError`, `InvalidPayload`, …) is an answer. Any other exception is a mistake
of ours, and so is an answer that does not hold what it promises.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from remediator.domain.alerts import Identities, from_alertmanager, read_alert
from remediator.domain.durations import format_duration, parse_duration
from remediator.domain.errors import Forbidden, InvalidExpression, InvalidPayload
from remediator.domain.expressions import Checker, Known, Missing, Place, Result, Scope, Values
from remediator.domain.hosts import place_of
from remediator.domain.matching import parse_matchers
from remediator.domain.promql import confined, escape
from remediator.domain.quantities import format_quantity, parse_quantity
from remediator.domain.redaction import redact, redact_json
from remediator.engine.alertsets import opening
from remediator.handlers.bearer import Tokens
from remediator.handlers.reviewed import ReviewedTokens
from remediator.handlers.senders import Admitted, Senders
from remediator.ports import User
from remediator.testing import StoppedClock

T = TypeVar("T")

CHECKER: Final = Checker(Scope(parameters={"text": "string", "number": "number", "list": "list"}))
VALUES: Final = Values(
    alert={"labels": {"a": "b"}},
    target={"name": "web", "spec": {"replicas": 3}},
    params={"text": "x", "number": 1.5, "list": ["a"]},
    now=StoppedClock().now(),
)


def text_of(data: bytes) -> str:
    """Any text, halves of surrogate pairs too: JSON and YAML can express them."""
    return data.decode("utf-8", "surrogatepass") if _is_surrogate_text(data) else data.decode("latin-1")


def _is_surrogate_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def payload(data: bytes) -> None:
    """A call of the webhook: every alert that is taken can be stored, read again and known again."""
    try:
        notification = from_alertmanager(data)
    except InvalidPayload as refused:
        assert refused.problems
        json.dumps([str(problem) for problem in refused.problems]).encode()
        return
    assert len(notification.alerts) + notification.malformed_alerts <= 10_000
    for alert in notification.alerts:
        stored = json.loads(json.dumps(alert.to_json()).encode())
        assert read_alert(stored).identity == alert.identity
        assert Identities.of([alert]).covers(alert)
    if notification.alerts:
        alerts, _ = opening(notification.alerts, StoppedClock().now())
        assert len(json.dumps(alerts.as_json()).encode()) < 64 * 1024


def matcher(data: bytes) -> None:
    """Matchers: what is printed of one is read as the same."""
    text = text_of(data)
    try:
        found = parse_matchers(text)
    except ValueError as refused:
        str(refused).encode()
        return
    for one in found:
        assert parse_matchers(str(one)) == (one,)
        one.matches({one.name: one.value, "other": text})


def expression(data: bytes) -> None:
    """CEL: what is accepted has a value or says what is missing."""
    try:
        found = CHECKER.expression(text_of(data), place=Place.STEP_WHEN, path="p", result=Result.ANY)
    except InvalidExpression as refused:
        str(refused).encode()
        return
    assert isinstance(found.evaluate(VALUES), Known | Missing)


def template(data: bytes) -> None:
    """Templates: what is accepted can be rendered."""
    try:
        found = CHECKER.template(text_of(data), place=Place.MESSAGE, path="p")
    except InvalidExpression as refused:
        str(refused).encode()
        return
    assert isinstance(found.evaluate(VALUES), Known | Missing)
    found.text(VALUES)


def promql(data: bytes) -> None:
    """Queries: whatever comes of one sees one namespace."""
    try:
        found = confined(text_of(data), "shop")
    except ValueError as refused:
        str(refused)
        return
    assert escape(found, "shop") == ""
    assert confined(found, "shop") == found


def redaction(data: bytes) -> None:
    """Redaction: it always answers, within bounds, and a second time changes nothing."""
    text = text_of(data)
    found = redact(text)
    found.encode()
    assert len(found.encode()) <= 16 * len(text.encode("utf-8", "replace")) + 64
    assert redact(found) == found
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return
    json.dumps(redact_json(tree))


def duration(data: bytes) -> None:
    """Durations: what is printed of one is read as the same."""
    try:
        found = parse_duration(text_of(data))
    except ValueError as refused:
        str(refused)
        return
    assert parse_duration(format_duration(found)) == found


def quantity(data: bytes) -> None:
    """Quantities: what is printed of one is worth the same."""
    try:
        found = parse_quantity(text_of(data))
    except ValueError as refused:
        str(refused)
        return
    assert parse_quantity(format_quantity(found)).value == found.value


def host(data: bytes) -> None:
    """URLs: a place has a host and a port, or there is none."""
    try:
        found = place_of(text_of(data))
    except Forbidden as refused:
        str(refused)
        return
    assert found.host
    assert 0 < found.port < 65_536


def _result(work: Coroutine[Any, Any, T]) -> T:
    """What comes of work that waits for nothing; an event loop for each input would take all of the time."""
    try:
        work.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    raise AssertionError("it waits for something")


class _Nobody:
    """An API server that knows one token."""

    async def user_of(self, token: str, audience: str) -> User | None:
        return User("alertmanager") if token == "good.token.here" else None

    async def may_post(self, user: User, path: str) -> bool:
        return user.name == "alertmanager"


def bearer(data: bytes) -> None:
    """Headers, as the HTTP server hands them over: nobody gets in but by the one token."""
    header = data.decode("utf-8", "surrogateescape")
    clock = StoppedClock()
    senders = Senders(Tokens("", clock), ReviewedTokens(_Nobody(), clock, audience="x"), {"listed"})
    judged = _result(senders.judge(header, [header]))
    is_good = header.partition(" ")[0].lower() == "bearer" and header.partition(" ")[2].strip() == "good.token.here"
    assert isinstance(judged, Admitted) == (is_good or header == "listed")


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (bearer, duration, expression, host, matcher, payload, promql, quantity, redaction, template)
}
