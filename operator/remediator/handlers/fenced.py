"""
The runs that stand still because of Guardrails, so that they are looked at as soon as these change.

A freeze may last for days, and whoever ends it early has nobody to tell but the Guardrail.
"""

from collections.abc import Iterator
from typing import Final

from remediator.domain.runs import Run
from remediator.domain.verdicts import Reason
from remediator.handlers.queue import Key

BY_GUARDRAILS: Final = frozenset({str(Reason.SUSPENDED), str(Reason.FROZEN), str(Reason.STORM)})


class Fenced:
    """Runs that are held by what Guardrails say, those of people too."""

    def __init__(self) -> None:
        self._keys: set[Key] = set()
        self._version = 0

    def note(self, run: Run) -> None:
        """The run as it was last seen."""
        held = run.status.held
        if held is not None and held.reason in BY_GUARDRAILS and not run.is_ended:
            self._keys.add((run.namespace, run.name))
        else:
            self.forget((run.namespace, run.name))

    def forget(self, key: Key) -> None:
        """The run was deleted."""
        self._keys.discard(key)

    def released(self, fence_version: int) -> Iterator[Key]:
        """The runs to look at again if the Guardrails are another version than at the last call; else none."""
        if fence_version != self._version:
            self._version = fence_version
            yield from sorted(self._keys)
