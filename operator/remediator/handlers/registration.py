"""
What kopf is told: which kinds to watch, how to log in, and what begins and ends with the process.

kopf is used narrowly: it runs the lifecycle and hands over the events of our definitions. Nothing is
kept in its annotations, no finalizer is put on anybody's object, and it posts no events of its own.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import kopf

from remediator.domain.json import Object
from remediator.domain.objects import GROUP, GUARDRAIL, POLICY, RUNBOOK, VERSION, Kind

WATCHED: Final = (RUNBOOK, POLICY, GUARDRAIL)

Saw = Callable[[Kind, str | None, Object], Awaitable[None]]
Login = Callable[[], Awaitable[kopf.AiohttpSession]]
Hook = Callable[[], Awaitable[None]]


def registry(*, saw: Saw, login: Login, begin: Hook, end: Hook) -> kopf.OperatorRegistry:
    """Handlers for the definitions' events and for the beginning and the end of the process."""
    made = kopf.OperatorRegistry()

    for kind in WATCHED:
        kopf.on.event(GROUP, VERSION, kind.plural, registry=made, id=f"saw-{kind.plural}")(_event(kind, saw))

    @kopf.on.login(registry=made)
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        return await login()

    # what has half begun is not begun once more: the process ends, and the next one begins anew
    @kopf.on.startup(registry=made, errors=kopf.ErrorsMode.PERMANENT)
    async def started(**_: Any) -> None:
        await begin()

    @kopf.on.cleanup(registry=made)
    async def stopped(**_: Any) -> None:
        await end()

    return made


def settings() -> kopf.OperatorSettings:
    """kopf's settings; see the numbers' reasons beside them."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.scanning.disabled = True  # our kinds are there, or nothing works: there is nothing to discover
    made.queueing.idle_timeout = 0.1  # an idle worker pins its object in memory
    made.watching.server_timeout = 290  # ended by the server before any proxy's usual five minutes
    made.watching.chunk_size = 500
    made.networking.request_timeout = 30
    made.networking.connect_timeout = 10
    made.persistence.finalizer = f"{GROUP}/never-used"
    made.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    made.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    return made


def _event(kind: Kind, saw: Saw) -> Callable[..., Awaitable[None]]:
    async def event(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 - kopf's own word
        await saw(kind, type, cast(Object, dict(body)))

    return event
