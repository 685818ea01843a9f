"""Many things of one kind, a few of them at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from itertools import chain, islice
from typing import TypeVar

from remediator.domain.errors import RemediatorError, Unavailable

T = TypeVar("T")


async def all_of(work: Iterable[Awaitable[T]], at_once: int) -> list[T]:
    """
    All results in order, or the first failure after all have ended: one that fails holds no other up.

    Others may use the loop between any two of them, also where none waits for anything. What was not begun
    when this is cancelled is not begun. Raises Unavailable for whatever the cluster answered; anything else
    is a mistake of ours.
    """
    waiting = enumerate(work)
    first = [*islice(waiting, max(at_once, 2))]
    if len(first) < 2:  # most often; then nothing is done beside anything
        return [await _alone(one) for _, one in first]
    ended: dict[int, T | BaseException] = {}
    rest = chain(first, waiting)

    async def work_off() -> None:
        for place, one in rest:
            [ended[place]] = await asyncio.gather(one, return_exceptions=True)

    await asyncio.gather(*(work_off() for _ in first[:at_once]))
    failures = [one for one in ended.values() if isinstance(one, BaseException)]
    for failure in failures:
        if not isinstance(failure, RemediatorError):
            raise failure
    if failures:
        raise Unavailable(str(failures[0])) from failures[0]
    results = (ended[place] for place in range(len(ended)))
    return [one for one in results if not isinstance(one, BaseException)]


async def in_turns(things: Iterable[T], in_a_row: int) -> AsyncIterator[T]:
    """Each of them; after so many in a row others may use the loop."""
    for number, one in enumerate(things, 1):
        if number % in_a_row == 0:
            await asyncio.sleep(0)
        yield one


async def _alone(one: Awaitable[T]) -> T:
    try:
        return await one
    except RemediatorError as failure:
        raise Unavailable(str(failure)) from failure
