"""The runs with something left to do: open ones, and ended ones that still owe something."""

from remediator.domain.runs import Run
from remediator.engine.recurrence import has_something_left
from remediator.handlers.queue import Key


class Unfinished:
    """Their keys, as the watch brought them."""

    def __init__(self) -> None:
        self._open: dict[Key, None] = {}
        self._owing: dict[Key, None] = {}

    def note(self, run: Run) -> bool:
        """The run as it stands now; whether anything is left to do."""
        key = (run.namespace, run.name)
        self.forget(key)
        if not run.is_ended:
            self._open[key] = None
        elif has_something_left(run):
            self._owing[key] = None
        return key in self

    def forget(self, key: Key) -> None:
        """The run is not there any more."""
        self._open.pop(key, None)
        self._owing.pop(key, None)

    def __contains__(self, key: object) -> bool:
        return key in self._open or key in self._owing

    @property
    def debts_first(self) -> tuple[Key, ...]:
        """Runs that owe something before all others: what was changed comes before what might be."""
        return (*self._owing, *self._open)
