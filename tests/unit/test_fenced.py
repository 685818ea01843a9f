"""What Guardrails hold is looked at again when they say something else, and not before its time otherwise."""

from typing import Any

import pytest

from remediator.domain.objects import GUARDRAIL
from remediator.domain.runs import Run, RunOutcome
from remediator.domain.verdicts import Reason
from remediator.handlers.definitions import NAMESPACE, Definitions
from remediator.handlers.fenced import Fenced
from remediator.testing.clock import StoppedClock
from worlds import run

KEY = ("shop", "queue-1")


def held(reason: Reason, **status: Any) -> Run:
    standing = {"reason": reason, "message": "", "since": "2026-11-21T12:00:00Z"}
    return run(status={"held": standing, **status})


@pytest.mark.parametrize("reason", [Reason.FROZEN, Reason.SUSPENDED, Reason.STORM])
def test_a_run_that_guardrails_hold_is_looked_at_once_when_they_change(reason: Reason) -> None:
    fenced = Fenced()
    fenced.note(held(reason))

    assert list(fenced.released(1)) == [KEY]
    assert list(fenced.released(1)) == []
    assert list(fenced.released(2)) == [KEY]


@pytest.mark.parametrize(
    "now",
    [held(Reason.COOLING_DOWN), run(), held(Reason.FROZEN, outcome=RunOutcome.STOPPED)],
    ids=["rest", "on", "end"],
)
def test_a_run_that_they_no_longer_hold_is_left_alone(now: Run) -> None:
    fenced = Fenced()
    fenced.note(held(Reason.FROZEN))
    fenced.note(now)

    assert list(fenced.released(1)) == []


def test_a_run_that_was_deleted_is_left_alone() -> None:
    fenced = Fenced()
    fenced.note(held(Reason.FROZEN))
    fenced.forget(KEY)

    assert list(fenced.released(1)) == []


def a_guardrail(generation: int = 1, **status: Any) -> Any:
    meta = {"name": "production", "uid": "u", "generation": generation, "resourceVersion": str(generation)}
    return {"metadata": meta, "spec": {"allow": ["restart"]}, **({"status": status} if status else {})}


async def test_only_what_a_guardrail_says_or_selects_makes_another_version() -> None:
    definitions = Definitions(StoppedClock(), operator_namespace="remediator-system", can_ask=True)
    versions = []

    async def saw(kind: Any, what: str, obj: Any) -> None:
        await definitions.saw(kind, what, obj)
        versions.append(definitions.fence_version)

    await saw(GUARDRAIL, "ADDED", a_guardrail())
    await saw(GUARDRAIL, "MODIFIED", a_guardrail(namespaces=3))
    await saw(GUARDRAIL, "MODIFIED", a_guardrail(2))
    await saw(NAMESPACE, "ADDED", {"metadata": {"name": "shop", "labels": {"env": "prod"}}})
    await saw(
        NAMESPACE, "MODIFIED", {"metadata": {"name": "shop", "labels": {"env": "prod"}, "annotations": {"a": "b"}}}
    )
    await saw(GUARDRAIL, "DELETED", a_guardrail(2))

    assert [after - before for before, after in zip([0, *versions], versions, strict=False)] == [1, 0, 2, 1, 0, 1]
