"""
Every run that the API server stores, cut to what retention goes by: fed by the watch of runs.

Runs by hand are here too, and those that cannot be read as a whole.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

from remediator.domain.json import Object, dig_text
from remediator.engine.retention import PastRun, past_run

Place = tuple[str, str]
Group = tuple[str, str]


class StoredRuns:
    """All runs by the `history` that they count for."""

    def __init__(self) -> None:
        self._groups: defaultdict[Group, dict[Place, PastRun]] = defaultdict(dict)
        self._group_of: dict[Place, Group] = {}
        self._contents: Counter[str] = Counter()
        self.synced = False
        """Whether every run was seen once; before that nobody knows which are the newest."""

    def changed(self, what: str | None, obj: Object) -> None:
        """What the watch tells."""
        if what == "SYNCED":
            self.synced = True
        elif what == "DELETED":
            place = (dig_text(obj, "metadata", "namespace"), dig_text(obj, "metadata", "name"))
            known = self.get(place)
            if known is not None and known.uid == dig_text(obj, "metadata", "uid"):
                self._take_out(place)
        else:
            self._put(past_run(obj))

    def get(self, place: Place) -> PastRun | None:
        """The run of that namespace and name."""
        group = self._group_of.get(place)
        return self._groups[group].get(place) if group is not None else None

    def groups(self) -> tuple[Group, ...]:
        """Each policy that has runs, and, with an empty name, each namespace that has runs by hand."""
        return tuple(self._groups)

    def of(self, group: Group) -> tuple[PastRun, ...]:
        """The runs that count for one `history`."""
        return tuple(self._groups[group].values()) if group in self._groups else ()

    def names_content(self, name: str) -> bool:
        """Whether any run was made from this frozen Runbook."""
        return self._contents[name] > 0

    def has(self, place: Place, uid: str) -> bool:
        """Whether the run of that name is that very run."""
        known = self.get(place)
        return known is not None and known.uid == uid

    def __iter__(self) -> Iterator[PastRun]:
        return (run for runs in tuple(self._groups.values()) for run in tuple(runs.values()))

    def __len__(self) -> int:
        return len(self._group_of)

    @property
    def ended(self) -> int:
        """How many of them have ended."""
        return sum(run.ended_at is not None for run in self)

    def _put(self, run: PastRun) -> None:
        self._take_out(run.place)
        self._groups[run.group][run.place] = run
        self._group_of[run.place] = run.group
        if run.content:
            self._contents[run.content] += 1

    def _take_out(self, place: Place) -> None:
        group = self._group_of.pop(place, None)
        if group is None:
            return
        gone = self._groups[group].pop(place)
        if not self._groups[group]:
            del self._groups[group]
        if gone.content:
            self._contents[gone.content] -= 1
            if not self._contents[gone.content]:
                del self._contents[gone.content]
