"""
Nothing that strangers write takes time that grows with the square of its length.

The time for four times as much is compared with the time for once as much: four times is linear,
sixteen times is quadratic. The best of several tries counts, so that a busy machine does not.
"""

import json
import time
from collections.abc import Callable
from typing import Final

import pytest

from remediator.domain.alerts import Identities, from_alertmanager
from remediator.domain.durations import parse_duration
from remediator.domain.errors import Invalid
from remediator.domain.expressions.templates import Unbalanced, split
from remediator.domain.matching import TEXT_LIMIT, parse_matchers
from remediator.domain.redaction import redact, redact_json
from remediator.engine.alertsets import opening
from remediator.testing import StoppedClock

TRIES: Final = 3
MOST: Final = 9.0


def alerts(count: int, **more: object) -> bytes:
    one = {"status": "firing", "startsAt": "2026-06-01T11:00:00Z", **more}
    labels = [{"alertname": "Crash", "pod": f"p{number}"} for number in range(count)]
    return json.dumps({"version": "4", "alerts": [{**one, "labels": each} for each in labels]}).encode()


def answered(work: Callable[[], object]) -> None:
    try:
        work()
    except (ValueError, Invalid):
        return


def seconds(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(TRIES):
        began = time.process_time()
        answered(work)
        best = min(best, time.process_time() - began)
    return best


def read(payload: bytes) -> Callable[[], object]:
    return lambda: from_alertmanager(payload)


def opened(count: int) -> Callable[[], object]:
    found = from_alertmanager(alerts(count)).alerts
    return lambda: opening(found, StoppedClock().now())


def merged(count: int) -> Callable[[], object]:
    found = [Identities.of([alert]) for alert in from_alertmanager(alerts(count)).alerts]
    return lambda: Identities().merge(*found)


def parted(text: str) -> Callable[[], object]:
    def work() -> None:
        try:
            list(split(text))
        except Unbalanced:
            return

    return work


GROWING: Final[dict[str, tuple[int, Callable[[int], Callable[[], object]]]]] = {
    "alerts": (100, lambda n: read(alerts(n))),
    "alerts that are all malformed": (100, lambda n: read(alerts(n, startsAt=1))),
    "one long annotation": (
        200_000,
        lambda n: read(alerts(1, annotations={"a": "x" * n})),
    ),
    "an unfinished list": (200_000, lambda n: read(b"[" * n)),
    "a set of alerts": (100, opened),
    "identities": (150, merged),
    "matchers": (TEXT_LIMIT // 4, lambda n: lambda text=("a=b," * n)[:n]: parse_matchers(text)),
    "a matcher of escapes": (TEXT_LIMIT // 4, lambda n: lambda text=('a="' + "\\" * n)[:n]: parse_matchers(text)),
    "braces of a matcher": (TEXT_LIMIT // 4, lambda n: lambda text="{" * n: parse_matchers(text)),
    "a template of text": (2_000, lambda n: parted("a" * n)),
    "a template of openings": (300, lambda n: parted("${" * n)),
    "a template of quotes": (300, lambda n: parted("${'" * n)),
    "secrets": (80, lambda n: lambda text="password=hunter22 " * n: redact(text)),
    "what is nearly a secret": (20_000, lambda n: lambda text="password" * (n // 8): redact(text)),
    "a URL that never ends": (20_000, lambda n: lambda text="http://" + "a:" * (n // 2): redact(text)),
    "quotes and braces": (20_000, lambda n: lambda text='{"password":' * (n // 12): redact(text)),
    "unfinished keys": (500, lambda n: lambda text="-----BEGIN PRIVATE KEY-----\n" * n: redact(text)),
    "blanks": (20_000, lambda n: lambda text="token: " + " " * n: redact(text)),
    "lines of a manifest": (150, lambda n: lambda text="kind: Secret\ndata:\n  a: b\n" * n: redact(text)),
    "a wide tree": (30, lambda n: lambda tree={f"key{i}": "value" for i in range(n)}: redact_json(tree)),  # type: ignore[misc]
    "a duration": (4, lambda n: lambda text="1h" * n: [parse_duration(text) for _ in range(200)]),
}


@pytest.mark.parametrize("what", GROWING)
def test_four_times_as_much_takes_about_four_times_as_long(what: str) -> None:
    once, work = GROWING[what]

    for _ in range(3):
        ratio = seconds(work(4 * once)) / max(seconds(work(once)), 1e-6)
        if ratio < MOST:
            return
    raise AssertionError(f"{what}: {ratio:.1f} times as long")
