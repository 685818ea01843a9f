"""
What people have said, in memory: fed by one watch, and asked at every look without a call.

A run's replies are kept under its namespace and name, those to an earlier run of that name among them:
the engine says what they are worth, and a word that does not count is recorded and not lost. They stay
until they are deleted, which is some time after their run.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from remediator.domain.json import Object, dig_text
from remediator.domain.replies import Reply
from remediator.domain.runs import Run

log = logging.getLogger(__name__)

KEPT: Final = 256
"""How many replies to one run are looked at: the newest, so that a flood does not hide a word of today."""

Place = tuple[str, str]
"""Namespace and name of a run."""


class Replies:
    """The replies to every run there is."""

    def __init__(self) -> None:
        self._kept: defaultdict[Place, dict[str, Reply]] = defaultdict(dict)
        self.synced = False
        """Whether everything that had been said before has been seen."""

    def changed(self, what: str | None, obj: Object) -> Place | None:
        """What the watch tells; the answer is the run that should be looked at, if anything new was said to it."""
        if what == "SYNCED":
            self.synced = True
            return None
        place = (dig_text(obj, "metadata", "namespace"), dig_text(obj, "spec", "runRef", "name"))
        uid = dig_text(obj, "metadata", "uid")
        if what == "DELETED":
            self._forget(place, uid)
            return None
        reply = parsed(obj)
        if reply is None or uid in self._kept[place]:
            return None
        self._kept[place][uid] = reply
        if len(self._kept[place]) > KEPT:
            oldest = min(self._kept[place].values(), key=lambda one: (one.created_at, one.name))
            del self._kept[place][oldest.uid]
        return place

    def of(self, run: Run) -> tuple[Reply, ...] | None:
        """Everything that was said to a run of this name, oldest first; None while that is not known."""
        if not self.synced:
            return None
        return in_order(self._kept.get((run.namespace, run.name), {}).values())

    def all(self) -> tuple[Reply, ...]:
        """Everything that was said and is not deleted, to whatever run."""
        return tuple(reply for replies in self._kept.values() for reply in replies.values())

    def _forget(self, place: Place, uid: str) -> None:
        known = self._kept.get(place, {})
        known.pop(uid, None)
        if not known:
            self._kept.pop(place, None)


def parsed(obj: Object) -> Reply | None:
    """The reply; None, and a line in the log, for one that is not of this form."""
    try:
        return Reply.parse(obj)
    except (KeyError, ValueError) as wrong:
        name = f"{dig_text(obj, 'metadata', 'namespace')}/{dig_text(obj, 'metadata', 'name')}"
        log.error("a reply cannot be read", extra={"reply": name, "error": str(wrong)[:500]})
        return None


def in_order(replies: Iterable[Reply]) -> tuple[Reply, ...]:
    """As they were said."""
    return tuple(sorted(replies, key=lambda one: (one.created_at, one.name)))
