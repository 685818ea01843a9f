"""
Which policies an alert is shown to.

Of five hundred policies an alert concerns few: those of its namespace and the operator's own that do not
ask for another alertname. They are found by name, so that an alert costs the same whatever else is there.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from remediator.domain.matching import Operator
from remediator.engine.choose import Listener

ALERTNAME: Final = "alertname"


class Audience:
    """All policies, by the place and the alertname for which they listen."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._rows: dict[tuple[str, str | None], list[Listener]] = {}
        for one in sorted(listeners, key=lambda one: one.full_name):
            self._rows.setdefault((one.namespace, _alertname(one)), []).append(one)

    def __iter__(self) -> Iterator[Listener]:
        return (one for row in self._rows.values() for one in row)

    def of(self, labels: Mapping[str, str], operator_namespace: str) -> list[Listener]:
        """
        The policies that may want an alert with these labels, each once; no other does.

        Those whose matchers cannot be read are among them.
        """
        places = sorted({labels.get("namespace", ""), operator_namespace})
        names = (labels.get(ALERTNAME, ""), None)
        return [one for place in places for name in names for one in self._rows.get((place, name), ())]


def _alertname(one: Listener) -> str | None:
    """The only alertname that it asks for; None where there is no such name."""
    equal = (m.value for m in one.matchers or () if m.name == ALERTNAME and m.operator is Operator.EQUAL)
    return next(equal, None)
