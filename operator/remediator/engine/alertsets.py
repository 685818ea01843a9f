"""
How the alerts of an episode are kept on its run: the identities of all, the first ten in full.

The set has a bounded size. What does not fit is handed back by the functions here, and whoever
stores the run stores it beside: an identity that is recorded nowhere would not be covered later.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from remediator.domain.alerts import MAX_IDENTITIES, Alert, Identities, Identity
from remediator.domain.bounded import shorten
from remediator.domain.redaction import redact, redact_json
from remediator.domain.runs import ALERTS_IN_FULL, AlertRecord, AlertSet

MAX_NAMES: Final = 64
NAME_BYTES: Final = 96
RECORDS_BYTES: Final = 12 * 1024
OTHER_NAMES: Final = "…"
"""Where alerts are counted whose name is one too many."""


def opening(alerts: Sequence[Alert], now: datetime) -> tuple[AlertSet, Identities]:
    """The alerts that open an episode, and the identities that do not fit."""
    return joined(AlertSet(), Identities(), joining=alerts, ended=(), now=now)


def joined(
    before: AlertSet, known: Identities, *, joining: Sequence[Alert], ended: Sequence[Alert], now: datetime
) -> tuple[AlertSet, Identities]:
    """
    The set with these alerts firing and those over, and the identities that do not fit.

    `known` are all identities that the run has recorded, also those kept beside it.
    """
    recorded, inside = starts(known), starts(Identities.decode(before.identities))
    fresh = [alert for alert in joining if alert.identity.digest not in recorded]
    beyond: dict[bytes, int] = {}
    for alert in joining:
        own = alert.identity
        fits = own.digest in inside or (own.digest not in recorded and len(inside) < MAX_IDENTITIES)
        place = inside if fits else beyond
        place[own.digest] = max(own.starts_at, recorded.get(own.digest, 0))
    is_new = any(alert.identity.starts_at > recorded.get(alert.identity.digest, -1) for alert in joining)
    firing = {alert.identity.digest for alert in joining}
    resolved = {
        digest: start for digest, start in starts(Identities.decode(before.resolved)).items() if digest not in firing
    }
    resolved |= {own.digest: own.starts_at for own in (recorded_as(alert, known) for alert in ended) if own is not None}
    return (
        AlertSet(
            count=len(recorded.keys() | inside.keys() | beyond.keys()),
            identities=packed(inside).encode(),
            # what is cut off here counts as firing, which is the careful side
            resolved=packed(resolved).split(MAX_IDENTITIES)[0].encode(),
            names=_names(before.names, fresh),
            first=_first(before.first, joining, ended, now),
            last_received=now,
            last_opened=now if is_new else before.last_opened,
        ),
        packed({digest: start for digest, start in beyond.items() if start > recorded.get(digest, -1)}),
    )


def merged(older: AlertSet, newer: AlertSet) -> tuple[AlertSet, Identities]:
    """
    The older set with what the newer one recorded, and the identities that do not fit.

    For a run that is superseded: its alerts move to the one that was first. Of an alert that both
    know, the newer set says whether it still fires.
    """
    known, coming = starts(Identities.decode(older.identities)), starts(Identities.decode(newer.identities))
    everything = packed({digest: max(start, known.get(digest, 0)) for digest, start in (known | coming).items()})
    inside, beyond = _room_first_for(known, everything)
    over = starts(Identities.decode(newer.resolved))
    resolved = {d: s for d, s in starts(Identities.decode(older.resolved)).items() if d not in coming} | over
    known_records = {record.fingerprint for record in older.first}
    fresh = [record for record in newer.first if record.fingerprint not in known_records]
    names = dict(older.names)
    for name, count in newer.names.items():
        _count(names, name, count)
    return (
        AlertSet(
            count=older.count + newer.count - len(known.keys() & coming.keys()),
            identities=inside.encode(),
            resolved=packed(resolved).split(MAX_IDENTITIES)[0].encode(),
            names=names,
            first=_within([*older.first, *fresh][:ALERTS_IN_FULL], RECORDS_BYTES),
            last_received=_latest(older.last_received, newer.last_received),
            last_opened=_latest(older.last_opened, newer.last_opened),
        ),
        beyond,
    )


def recorded_as(alert: Alert, recorded: Identities) -> Identity | None:
    """
    The identity under which a run knows the alert, or None if it does not.

    Alertmanager moves a start to the earliest of several senders', so an alert may end under an
    earlier start than it was recorded with. It is the same one if its time, to its end, includes the
    start that was recorded. Start and end are the sender's, both.
    """
    return recorded_in(alert, starts(recorded))


def recorded_in(alert: Alert, recorded: Mapping[bytes, int]) -> Identity | None:
    """`recorded_as`, for many alerts: give it the `starts` of what was recorded."""
    own = alert.identity
    start = recorded.get(own.digest)
    if start is None:
        return None
    until = own.starts_at if alert.ends_at is None else max(own.starts_at, int(alert.ends_at.timestamp()))
    is_it = start >= own.starts_at if alert.is_firing else start <= until
    return Identity(own.digest, start) if is_it else None


def starts(identities: Identities) -> dict[bytes, int]:
    """The latest start of each fingerprint's digest."""
    return {identity.digest: identity.starts_at for identity in identities}


def packed(latest: Mapping[bytes, int]) -> Identities:
    return Identities(b"".join(bytes(Identity(digest, latest[digest])) for digest in sorted(latest)))


def all_within(identities: Identities, answered: Identities) -> bool:
    """Whether each of them is among the others with the same or a later start."""
    latest = starts(answered)
    return all(latest.get(identity.digest, -1) >= identity.starts_at for identity in identities)


def _room_first_for(known: Mapping[bytes, int], everything: Identities) -> tuple[Identities, Identities]:
    stay = {i.digest: i.starts_at for i in everything if i.digest in known}
    rest = [i for i in everything if i.digest not in known]
    room = max(0, MAX_IDENTITIES - len(stay))
    return (
        packed(stay | {i.digest: i.starts_at for i in rest[:room]}),
        packed({i.digest: i.starts_at for i in rest[room:]}),
    )


def _names(before: Mapping[str, int], fresh: Iterable[Alert]) -> dict[str, int]:
    names = dict(before)
    for alert in fresh:
        _count(names, shorten(alert.name, NAME_BYTES), 1)
    return names


def _count(names: dict[str, int], name: str, count: int) -> None:
    key = name if name in names or len(names) < MAX_NAMES - 1 else OTHER_NAMES
    names[key] = names.get(key, 0) + count


def _first(
    before: Sequence[AlertRecord], joining: Sequence[Alert], ended: Sequence[Alert], now: datetime
) -> list[AlertRecord]:
    over = {alert.fingerprint: alert for alert in ended}
    found = {
        record.fingerprint: record.model_copy(
            update={"status": "resolved", "ends_at": over[record.fingerprint].ends_at}
        )
        if record.fingerprint in over
        else record
        for record in before
    }
    for alert in joining:
        if alert.fingerprint in found or len(found) < ALERTS_IN_FULL:
            found[alert.fingerprint] = AlertRecord.of(redacted(alert), now)
    return _within(list(found.values()), RECORDS_BYTES)


def _within(records: list[AlertRecord], limit_bytes: int) -> list[AlertRecord]:
    """
    The records in at most so many bytes: long texts are cut, those of annotations first.

    Where that is not enough the last records go, and of a single one the last labels. Each cut text
    says so, and `count` how many alerts there are.
    """
    for longest in (512, 128):
        for labels in (False, True):
            if sum(map(_size, records)) <= limit_bytes:
                return records
            records = [_shortened(record, longest, labels=labels) for record in records]
    while len(records) > 1 and sum(map(_size, records)) > limit_bytes:
        records = records[:-1]
    while records and records[0].labels and _size(records[0]) > limit_bytes:
        fewer = dict(list(records[0].labels.items())[: len(records[0].labels) // 2])
        records = [records[0].model_copy(update={"labels": fewer, "annotations": {}})]
    return records


def _shortened(record: AlertRecord, longest: int, *, labels: bool) -> AlertRecord:
    update: dict[str, object] = {
        "annotations": {name: shorten(value, longest) for name, value in record.annotations.items()},
        "generator_url": record.generator_url if len(record.generator_url) <= longest else "",
    }
    if labels:
        update["labels"] = {name: shorten(value, longest) for name, value in record.labels.items()}
    return record.model_copy(update=update)


def _size(record: AlertRecord) -> int:
    return len(json.dumps(record.as_json(), ensure_ascii=False).encode("utf-8", "replace"))


def redacted(alert: Alert) -> Alert:
    """The alert as it may be stored and shown: labels and annotations are somebody's free text."""
    return replace(
        alert,
        labels=_without_secrets(alert.labels),
        annotations=_without_secrets(alert.annotations),
        generator_url=redact(alert.generator_url),
    )


def _without_secrets(texts: Mapping[str, str]) -> dict[str, str]:
    found = redact_json(dict(texts))  # a name may say of its value that it is a secret
    return {name: str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((moment for moment in (one, other) if moment is not None), default=None)
