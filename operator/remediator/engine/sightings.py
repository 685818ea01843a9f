"""
What was polled, remembered until it is over: which alerts fire, and since when some are missing.

A list says what fires and never what ended. An alert is over when it was missing from every answer for
a while, each of them whole and from every source. Whatever was not told interrupts that: an answer
that failed, was cut or could not be read says nothing of what it lacks. The while is longer than a
source takes after its own start to know again what fires.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from remediator.domain.alerts import Alert


@dataclass(frozen=True, slots=True)
class Sighting:
    """An alert as it was last seen; `missing_since` in seconds of the process, None while it is there."""

    alert: Alert
    missing_since: float | None = None


Sightings = Mapping[str, Sighting]
"""By fingerprint."""


def after_poll(
    before: Sightings, firing: Sequence[Alert], present: Collection[str], *, whole: bool, seconds: float
) -> dict[str, Sighting]:
    """
    The sightings after one round of answers.

    `present` are the fingerprints of all that was listed, firing, silenced or pending; `whole` says that
    nothing can be missing from it but what is not there.
    """
    after: dict[str, Sighting] = {}
    for fingerprint, seen in before.items():
        if fingerprint in present or not whole:
            after[fingerprint] = replace(seen, missing_since=None)
        elif seen.missing_since is None:
            after[fingerprint] = replace(seen, missing_since=seconds)
        else:
            after[fingerprint] = seen
    return after | {alert.fingerprint: Sighting(alert) for alert in firing}


def over(sightings: Sightings, *, seconds: float, missing_for: float, now: datetime) -> tuple[Alert, ...]:
    """
    The alerts that are over, as their sender would tell it.

    They end now and not before they began: their start is the clock of the source.
    """
    return tuple(
        replace(seen.alert, status="resolved", ends_at=max(now, seen.alert.starts_at))
        for seen in sightings.values()
        if seen.missing_since is not None and seconds - seen.missing_since >= missing_for
    )
