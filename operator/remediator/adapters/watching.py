"""
List, then follow, for ever.

A stream that breaks is opened again where it stopped; where the API server no longer remembers that
place, everything is listed again and compared with what was known, so that an object that vanished
in between is reported as deleted. Objects themselves are not kept: only name, UID and version.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, cast

from remediator.adapters.kube import Expired, KubeApi, TooLarge, failure
from remediator.domain.errors import Forbidden, NotFound, Rejected, RemediatorError, Unavailable
from remediator.domain.json import Object, dig_int, dig_list, dig_object, dig_text
from remediator.domain.objects import Kind

log = logging.getLogger(__name__)

PAGE: Final = 100
"""Objects of a list; of runs one may have 64 KiB, and reading a page holds everything else up."""

TURN_SECONDS: Final = 0.01
"""How long objects are told of before others may use the loop."""

STREAM_SECONDS: Final = 290  # ended by the server before any proxy's usual five minutes
SILENCE_SECONDS: Final = 100.0  # bookmarks come about once a minute
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 30.0

Changed = Callable[[str, Object], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Seen:
    """As much of an object as tells whether it is still the same one, unchanged."""

    uid: str
    resource_version: str


class _Turns:
    """Lets others use the loop from time to time: most of those that are told of something wait for nothing."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    async def give_way(self) -> None:
        if time.perf_counter() - self._began > TURN_SECONDS:
            await asyncio.sleep(0)
            self._began = time.perf_counter()


@dataclass(slots=True)
class Position:
    """Where the watch stands."""

    known: dict[tuple[str, str], Seen]
    resource_version: str = ""
    synced: bool = False


async def follow(
    api: KubeApi,
    path: str,
    headers: Mapping[str, str],
    kind: Kind,
    changed: Changed,
    selectors: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """
    Tell `changed` of every object that the selectors select and of everything that happens to it.

    Until the first list has succeeded errors are raised, because they are likely to be somebody's
    mistake; after it every one is waited out. What `changed` raises ends the watch.
    """
    position = Position({})
    pause = FIRST_PAUSE_SECONDS
    while True:
        began = api.clock.boot_seconds()
        try:
            if not position.resource_version:
                await _relist(api, path, headers, kind, changed, position, selectors)
            await _stream(api, path, headers, kind, changed, position, selectors)
        except _CallerFailed as failed:
            raise failed.reason from None
        except Expired:
            position.resource_version = ""
        except (Unavailable, Forbidden, NotFound, Rejected) as wrong:
            if not position.synced and not isinstance(wrong, Unavailable):
                raise
            if isinstance(wrong, TooLarge | NotFound):
                position.resource_version = ""
            log.warning("watch interrupted", extra={"kind": str(kind), "error": str(wrong)})
        if api.clock.boot_seconds() - began > LONGEST_PAUSE_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        await api.clock.sleep(pause / 2 + api.clock.jitter(pause / 2))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


class _CallerFailed(Exception):
    """What `changed` raised, carried past the handlers that wait errors of the API server out."""

    def __init__(self, reason: RemediatorError) -> None:
        self.reason = reason


async def _tell(changed: Changed, what: str, obj: Object) -> None:
    try:
        await changed(what, obj)
    except RemediatorError as reason:
        raise _CallerFailed(reason) from reason


async def _relist(
    api: KubeApi,
    path: str,
    headers: Mapping[str, str],
    kind: Kind,
    changed: Changed,
    position: Position,
    selectors: Mapping[str, str],
) -> None:
    found: dict[tuple[str, str], Seen] = {}
    token, version = "", ""
    turns = _Turns()
    while True:
        params = {**selectors, "limit": str(PAGE), **({"continue": token} if token else {})}
        answer = await api.json("GET", path, params=params, headers=headers)
        version = dig_text(answer, "metadata", "resourceVersion") or version
        for obj in dig_list(answer, "items"):
            await turns.give_way()
            key, seen = _seen(obj)
            found[key] = seen
            before = position.known.get(key)
            if before is not None and before.uid != seen.uid:
                await _tell(changed, "DELETED", _remains(kind, key, before))
                before = None
            if before == seen:
                continue
            # known at once, so that a list that breaks off is not told a second time
            position.known[key] = seen
            await _tell(changed, "MODIFIED" if before else "ADDED", _whole(kind, obj))
        token = dig_text(answer, "metadata", "continue")
        if not token:
            break
    for key, before in [entry for entry in position.known.items() if entry[0] not in found]:
        del position.known[key]
        await _tell(changed, "DELETED", _remains(kind, key, before))
    position.resource_version = version
    position.synced = True
    await _tell(changed, "SYNCED", {})


async def _stream(
    api: KubeApi,
    path: str,
    headers: Mapping[str, str],
    kind: Kind,
    changed: Changed,
    position: Position,
    selectors: Mapping[str, str],
) -> None:
    params = {
        **selectors,
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": position.resource_version,
        # not all at once: a fleet of watches would otherwise be opened again in the same second
        "timeoutSeconds": str(STREAM_SECONDS - int(api.clock.jitter(60))),
    }
    lines = cast(
        AsyncGenerator[bytes, None],
        api.lines(path, params=params, headers=headers, silence_seconds=SILENCE_SECONDS),
    )
    turns = _Turns()
    async with aclosing(lines):
        async for line in lines:
            await turns.give_way()
            try:
                event = json.loads(line)
            except ValueError as wrong:
                raise Unavailable(f"watch {path}: an event is not JSON") from wrong
            what, obj = dig_text(event, "type"), dig_object(event, "object")
            if what == "ERROR":
                raise failure("WATCH", path, dig_int(obj, "code", default=500), obj)
            version = dig_text(obj, "metadata", "resourceVersion")
            if what in ("ADDED", "MODIFIED"):
                key, seen = _seen(obj)
                position.known[key] = seen
                await _tell(changed, what, _whole(kind, obj))
            elif what == "DELETED":
                position.known.pop(_seen(obj)[0], None)
                await _tell(changed, what, _whole(kind, obj))
            # only when it was taken: an event that the caller failed on is told again
            position.resource_version = version or position.resource_version


def _seen(obj: Object) -> tuple[tuple[str, str], Seen]:
    metadata = dig_object(obj, "metadata")
    key = (dig_text(metadata, "namespace"), dig_text(metadata, "name"))
    return key, Seen(dig_text(metadata, "uid"), dig_text(metadata, "resourceVersion"))


def _whole(kind: Kind, obj: Object) -> Object:
    """List items carry no kind; events do."""
    return {"apiVersion": kind.api_version, "kind": kind.kind, **obj}


def _remains(kind: Kind, key: tuple[str, str], seen: Seen) -> Object:
    namespace, name = key
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            **({"namespace": namespace} if namespace else {}),
            "name": name,
            "uid": seen.uid,
            "resourceVersion": seen.resource_version,
        },
    }
