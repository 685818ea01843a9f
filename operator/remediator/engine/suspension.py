"""
The kill switch as objects: the ConfigMap that holds everything, and what it may say of itself.

Anybody may make it by hand (`kubectl create configmap suspended`), so whatever it says is taken as
it comes: that it is there is what counts.
"""

import hashlib
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from remediator.domain.alerts import Alert, Identities, Identity
from remediator.domain.bounded import shorten
from remediator.domain.json import Object, dig_text
from remediator.domain.redaction import redact
from remediator.engine.alertsets import packed, recorded_in, starts
from remediator.engine.facts import Suspension

NAME: Final = "suspended"
"""The ConfigMap in the operator's namespace; the admission policies name it too."""

REASON: Final = "reason"
BY: Final = "remediator.dev/by"
MAX_REASON: Final = 512


def suspension(obj: Object) -> Suspension:
    """The switch that this ConfigMap pulls."""
    return Suspension(
        pulled=True,
        by=shorten(redact(dig_text(obj, "metadata", "annotations", BY)), 256),
        reason=shorten(redact(" ".join(dig_text(obj, "data", REASON).split())), MAX_REASON),
        since=_time(dig_text(obj, "metadata", "creationTimestamp")),
    )


def switch_object(namespace: str, reason: str, by: str) -> Object:
    """The ConfigMap that pulls the switch."""
    return {
        "metadata": {
            "namespace": namespace,
            "name": NAME,
            "labels": {"app.kubernetes.io/part-of": "remediator"},
            "annotations": {BY: by} if by else {},
        },
        "data": {REASON: reason},
    }


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


# The alerts that came meanwhile

LABEL: Final = "remediator.dev/suspended-alerts"
"""By which the operator follows its own; its value says which of the two an object is."""

RECORDED: Final = "identities"
PICK_UP: Final = "pick-up"
"""The ConfigMap by which people ask for the recorded alerts; it is there until none is left."""

POLICY: Final = "remediator.dev/policy"
MOST_RECORDED: Final = 92_160
"""Alerts of one policy, ten bytes each: 900 KiB of the 1 MiB that a ConfigMap holds."""

PolicyName = tuple[str, str]


def recorded_name(policy: PolicyName) -> str:
    """Name of the ConfigMap that holds a policy's alerts; policies of all namespaces share one."""
    return f"suspended-alerts-{hashlib.sha256('/'.join(policy).encode()).hexdigest()[:16]}"


def recorded_object(
    namespace: str, policy: PolicyName, known: Mapping[bytes, int], resource_version: str = ""
) -> Object:
    """The ConfigMap that holds these, as it replaces the one of that version."""
    metadata: Object = {
        "namespace": namespace,
        "name": recorded_name(policy),
        "labels": {LABEL: RECORDED, "app.kubernetes.io/part-of": "remediator"},
        "annotations": {POLICY: "/".join(policy)},
    }
    if resource_version:
        metadata["resourceVersion"] = resource_version
    return {"metadata": metadata, "binaryData": {RECORDED: packed(known).encode()}}


def policy_of(obj: Object) -> PolicyName:
    """The policy whose alerts the ConfigMap holds."""
    namespace, _, name = dig_text(obj, "metadata", "annotations", POLICY).partition("/")
    return namespace, name


def recorded(obj: Object) -> dict[bytes, int]:
    """
    The alerts that the ConfigMap holds: of each fingerprint's digest the latest start.

    One that is damaged holds none: its alerts start as usual, held by cooldown and budget, where to
    take it for full would silence them for ever.
    """
    try:
        return starts(Identities.decode(dig_text(obj, "binaryData", RECORDED)))
    except ValueError:
        return {}


def pick_up_object(namespace: str, by: str) -> Object:
    """The ConfigMap that asks for what was recorded."""
    return {
        "metadata": {
            "namespace": namespace,
            "name": PICK_UP,
            "labels": {LABEL: PICK_UP, "app.kubernetes.io/part-of": "remediator"},
            "annotations": {BY: by} if by else {},
        }
    }


@dataclass(frozen=True, slots=True)
class Note:
    """What is to be recorded of a policy's alerts; `let_go` are taken out whatever became of them."""

    firing: tuple[Alert, ...] = ()
    over: tuple[Alert, ...] = ()
    let_go: frozenset[Identity] = frozenset()


def with_notes(known: Mapping[bytes, int], notes: Iterable[Note]) -> dict[bytes, int]:
    """What is recorded after these, one after the other: of each fingerprint's digest the latest start."""
    latest = dict(known)
    for note in notes:
        for identity in note.let_go:
            if latest.get(identity.digest) == identity.starts_at:
                del latest[identity.digest]
        for alert in note.firing:
            own = alert.identity
            latest[own.digest] = max(own.starts_at, latest.get(own.digest, 0))
        for alert in note.over:
            ended = recorded_in(alert, latest)
            if ended is not None:
                del latest[ended.digest]
    return latest


def is_within(alert: Alert, known: Mapping[bytes, int]) -> bool:
    """Whether the same fingerprint is recorded with the same or a later start."""
    own = alert.identity
    return known.get(own.digest, -1) >= own.starts_at


def next_to_pick_up(
    kept: Mapping[PolicyName, Mapping[bytes, int]], most: int
) -> tuple[tuple[PolicyName, Identity], ...]:
    """The alerts that come next, the youngest first: what began last is most likely still so."""
    everything = ((-start, policy, digest) for policy, known in kept.items() for digest, start in known.items())
    return tuple((policy, Identity(digest, -start)) for start, policy, digest in heapq.nsmallest(most, everything))
