"""
The newest record of each run with something left to do, as the watch brought it or as this process wrote it.

It saves the read at the beginning of a look, and tells the process's own writes, which its watch brings
back to it, from news. Nothing rests on it: every write is made under the version that it holds, and
where that is no longer the newest everything is read and decided again.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from remediator.domain.json import Object, dig_text
from remediator.domain.runs import Run
from remediator.engine.recurrence import has_something_left
from remediator.handlers.queue import Key
from remediator.handlers.run_index import is_older

KEPT: Final = 2_048
"""
How many whole records are kept; of a run beyond that the look begins with a read.

A thousand open runs take 63 MB with all that belongs to them: `make bench CASE=burst-1000`.
"""


@dataclass(frozen=True, slots=True)
class Known:
    """A run as far as it was carried on, and as it is stored: the same, but for what need not be stored at once."""

    run: Run
    stored: Run


class Latest:
    """Records by run; each serves one look."""

    def __init__(self) -> None:
        self._versions: dict[Key, tuple[str, str]] = {}
        self._runs: OrderedDict[Key, Known] = OrderedDict()

    def is_known(self, obj: Object) -> bool:
        """Whether the run is known like this or newer: then the watch brings what this process has written."""
        key = (dig_text(obj, "metadata", "namespace"), dig_text(obj, "metadata", "name"))
        uid, version = self._versions.get(key, ("", ""))
        coming = dig_text(obj, "metadata", "resourceVersion")
        return uid == dig_text(obj, "metadata", "uid") and (version == coming or is_older(coming, version))

    def note(self, run: Run) -> None:
        """The run as it was just brought or written."""
        key = (run.namespace, run.name)
        self._versions[key] = run.uid, run.resource_version
        if run.is_ended and not has_something_left(run):
            self._runs.pop(key, None)
            return
        self._keep(key, Known(run, run))

    def note_ahead(self, run: Run, stored: Run) -> None:
        """The run as far as it was carried on from its record, where nobody has brought a newer one meanwhile."""
        key = (run.namespace, run.name)
        if self._versions.get(key) == (stored.uid, stored.resource_version):
            self._keep(key, Known(run, stored))

    def _keep(self, key: Key, known: Known) -> None:
        self._runs[key] = known
        self._runs.move_to_end(key)
        if len(self._runs) > KEPT:
            self._runs.popitem(last=False)

    def take(self, key: Key) -> Known | None:
        """The newest record, for one look; the look after that reads, unless there is news until then."""
        return self._runs.pop(key, None)

    def forget(self, key: Key) -> None:
        """Nothing is left to do for the run, or it is not there any more."""
        self._versions.pop(key, None)
        self._runs.pop(key, None)
