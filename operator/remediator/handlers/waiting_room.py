"""
Those that wait until fewer others act: thousands of them, of whom next to none can be let in at once.

They stand in rows of those that take the same of the limits. Where the first of a row is let in by no
limit, nobody behind it is, so that a run that ends costs a look at each row and not at each who waits.
"""

import heapq
from bisect import bisect_left, insort
from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import datetime

from remediator.engine.acting import Actor, Bounds, Load, Occupied, is_free, is_within, load_of
from remediator.handlers.queue import Key

Urgency = tuple[int, datetime, str]
_Row = list[tuple[Urgency, Key]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run that waits for room, and what would be room for it."""

    actor: Actor
    bounds: Bounds
    urgency: Urgency


class WaitingRoom:
    """The runs that wait, by name, and in rows from the most urgent to the least."""

    def __init__(self) -> None:
        self._known: dict[Key, Waiting] = {}
        self._rows: dict[tuple[Load, Bounds], _Row] = {}

    def __len__(self) -> int:
        return len(self._known)

    def put(self, key: Key, waiting: Waiting) -> None:
        """The run waits for that, and for nothing that it has waited for before."""
        self.drop(key)
        self._known[key] = waiting
        insort(self._rows.setdefault(_row_of(waiting), []), (waiting.urgency, key))

    def drop(self, key: Key) -> None:
        """The run does not wait, or does so no longer."""
        waiting = self._known.pop(key, None)
        if waiting is None:
            return
        name = _row_of(waiting)
        row = self._rows[name]
        del row[bisect_left(row, (waiting.urgency, key))]
        if not row:
            del self._rows[name]

    def let_in(self, occupied: Occupied, but: Container[Key], now: datetime) -> Iterator[tuple[Key, Actor]]:
        """
        Those for whom there is room now, the most urgent first.

        Whoever asks adds each to what is occupied before he asks for the next. Those of `but` are passed
        over. All of them go on waiting until they are dropped.
        """
        heads = [(row[0], 0, number) for number, row in enumerate(self._rows.values())]
        rows = list(self._rows.values())
        heapq.heapify(heads)
        while heads:
            (_, key), place, number = heads[0]
            waiting = self._known[key]
            if key not in but and is_free(waiting.actor, occupied):
                if not is_within(waiting.actor, occupied, waiting.bounds, now):
                    heapq.heappop(heads)
                    continue
                yield key, waiting.actor
            row = rows[number]
            if place + 1 < len(row):
                heapq.heapreplace(heads, (row[place + 1], place + 1, number))
            else:
                heapq.heappop(heads)


def _row_of(waiting: Waiting) -> tuple[Load, Bounds]:
    return load_of(waiting.actor), waiting.bounds
