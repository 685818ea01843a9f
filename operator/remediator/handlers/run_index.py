"""
All runs in memory, fed by one watch: open ones whole enough to attach to, ended ones trimmed.

Of an ended run stays what coverage reads: key, number, UID, outcome, the policy's version and the
identities. A run by hand carries no episode and is not kept.

What this process wrote itself is put in at once, before the watch brings it, so that the second of
two notifications decides from the first one's outcome. Until the watch has confirmed such an entry it
counts for a minute only: had the run been deleted while the watch was broken, nobody would tell, and
a run that is not there must not answer alerts.
"""

import logging
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from sys import intern
from typing import Final

from pydantic import ValidationError

from remediator.domain.alerts import Identities
from remediator.domain.json import Object, dig, dig_int, dig_list, dig_object, dig_text
from remediator.domain.runs import AlertSet, RunOutcome
from remediator.engine.begin import (
    NO_IDENTITIES,
    Admit,
    CoveredBy,
    Key,
    KnownRun,
    PolicyVersion,
    Supersede,
    admitted,
    key_of,
)
from remediator.ports import Clock

log = logging.getLogger(__name__)

UNCONFIRMED_SECONDS: Final = 60.0
REMEMBERED_DELETIONS: Final = 4_096

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_Place = tuple[str, str]
_Begun = tuple[datetime, str, str]
"""When a run was created, and its namespace and name."""


class RunIndex:
    """The runs of all policies, by key and by name."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._runs: dict[_Place, KnownRun] = {}
        self._by_key: dict[Key, tuple[_Place, ...]] = {}
        self._unconfirmed: dict[_Place, float] = {}
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self._taken_on: set[str] = set()
        self._begun: list[_Begun] = []
        self._held: dict[_Place, str] = {}
        self.version = 0
        """Another number whenever a run came or went."""
        self.gone = 0
        """How many went."""
        self.synced = False
        """Whether everything that there was at the start has been seen."""
        self.last_event: float | None = None
        """Seconds since boot when anything was last heard of runs."""

    async def changed(self, what: str | None, obj: Object) -> None:
        """What the watch tells: ADDED, MODIFIED, DELETED, or SYNCED after everything was listed."""
        self.last_event = self._clock.boot_seconds()
        if what == "SYNCED":
            self.synced = True
        elif what == "DELETED":
            self._forget(obj)
        else:
            self._keep(obj, confirmed=True)

    def put(self, obj: Object) -> None:
        """A run as the API server just returned it to us."""
        self._keep(obj, confirmed=False)

    def of(self, key: Key) -> tuple[KnownRun, ...]:
        """Every known run of the key, oldest number first."""
        self._drop_unconfirmed()
        return tuple(sorted((self._runs[p] for p in self._by_key.get(key, ())), key=lambda run: run.number))

    def get(self, namespace: str, name: str) -> KnownRun | None:
        """The run of that name, if it belongs to an episode."""
        self._drop_unconfirmed()
        return self._runs.get((namespace, name))

    def confirmed(self, namespace: str, name: str) -> KnownRun | None:
        """The run of that name as the watch brought it; then everything older was brought too."""
        return None if (namespace, name) in self._unconfirmed else self._runs.get((namespace, name))

    def admission(self, run: KnownRun) -> Admit | Supersede | CoveredBy:
        """
        ADMIT, from what is known.

        A run that may begin counts as taken on from here on: until its record says so, a second one of
        the key could be asked about.
        """
        others = (replace(o, admitted=True) if o.uid in self._taken_on else o for o in self.of(run.key))
        said = admitted(replace(run, admitted=run.admitted or run.uid in self._taken_on), others)
        if isinstance(said, Admit):
            self._taken_on.add(run.uid)
        return said

    def forget_admissions(self) -> None:
        """What this process once admitted is nobody's word any more: only what the records say counts."""
        self._taken_on.clear()

    def begun_since(self, moment: datetime) -> list[tuple[datetime, str]]:
        """When the episodes of after that moment began, in order, and the namespace of each one's run."""
        self._drop_unconfirmed()
        first = bisect_left(self._begun, (moment, "", ""))
        return [(at, namespace) for at, namespace, _ in self._begun[first:]]

    def count_since(self, moment: datetime) -> int:
        """How many episodes began after that moment."""
        self._drop_unconfirmed()
        return len(self._begun) - bisect_left(self._begun, (moment, "", ""))

    def held_for(self, reason: str) -> Iterator[str]:
        """The namespace of each open run that stands still for this reason."""
        return (namespace for (namespace, _), why in self._held.items() if why == reason)

    def __iter__(self) -> Iterator[KnownRun]:
        return iter(tuple(self._runs.values()))

    def __len__(self) -> int:
        return len(self._runs)

    def _keep(self, obj: Object, *, confirmed: bool) -> None:
        before = self._runs.get((dig_text(obj, "metadata", "namespace"), dig_text(obj, "metadata", "name")))
        if before is not None and _is_the_same(before, obj):
            if confirmed:
                self._unconfirmed.pop((before.namespace, before.name), None)
            return
        run = known_run(obj)
        if run is None or run.uid in self._deleted:
            return
        place = (run.namespace, run.name)
        if before is not None and before.uid == run.uid:
            if confirmed:
                self._unconfirmed.pop(place, None)
            if is_older(run.resource_version, before.resource_version):
                return
        elif confirmed:
            self._unconfirmed.pop(place, None)
        if not confirmed and (before is None or before.uid != run.uid):
            self._unconfirmed.pop(place, None)  # so that the oldest stands first
            self._unconfirmed[place] = self._clock.boot_seconds()
        if before is not None and before.created_at != run.created_at:
            self._forget_begun(before)
        self._unlink(place)
        if run.outcome is not None:
            self._taken_on.discard(run.uid)
        self._runs[place] = run
        self._by_key[run.key] = (*self._by_key.get(run.key, ()), place)
        if run.held and run.outcome is None:
            self._held[place] = run.held
        if before is None or before.created_at != run.created_at:
            self._note_begun(run)

    def _forget(self, obj: Object) -> None:
        place = (dig_text(obj, "metadata", "namespace"), dig_text(obj, "metadata", "name"))
        uid = dig_text(obj, "metadata", "uid")
        self._taken_on.discard(uid)
        # an answer to a write of ours may still be on its way
        self._deleted[uid] = None
        if len(self._deleted) > REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        before = self._runs.get(place)
        if before is not None and before.uid == uid:
            self._remove(place)
            self._unconfirmed.pop(place, None)

    def _remove(self, place: _Place) -> None:
        before = self._runs.get(place)
        if before is not None:
            self._forget_begun(before)
            self._unlink(place)

    def _note_begun(self, run: KnownRun) -> None:
        insort(self._begun, (run.created_at, run.namespace, run.name))
        self.version += 1

    def _forget_begun(self, run: KnownRun) -> None:
        entry = (run.created_at, run.namespace, run.name)
        found = bisect_left(self._begun, entry)
        if self._begun[found : found + 1] == [entry]:
            del self._begun[found]
        self.version += 1
        self.gone += 1

    def _unlink(self, place: _Place) -> None:
        before = self._runs.pop(place, None)
        if before is None:
            return
        self._held.pop(place, None)
        left = tuple(other for other in self._by_key[before.key] if other != place)
        if left:
            self._by_key[before.key] = left
        else:
            del self._by_key[before.key]

    def _drop_unconfirmed(self) -> None:
        now = self._clock.boot_seconds() if self._unconfirmed else 0.0
        while self._unconfirmed:
            place, since = next(iter(self._unconfirmed.items()))
            if now - since <= UNCONFIRMED_SECONDS:
                return
            del self._unconfirmed[place]
            self._remove(place)


def _is_the_same(known: KnownRun, obj: Object) -> bool:
    """A list tells of everything once more, and next to nothing of it has changed."""
    metadata = dig_object(obj, "metadata")
    version = dig_text(metadata, "resourceVersion")
    return bool(version) and version == known.resource_version and dig_text(metadata, "uid") == known.uid


def known_run(obj: Object) -> KnownRun | None:
    """
    As much of a run as episodes need; None for one that belongs to none.

    The object is read field by field, not as a whole: a status with one odd field must not make
    alerts start again that the run has answered.
    """
    policy = dig_object(obj, "spec", "policyRef")
    number = dig_int(obj, "spec", "episode", "number")
    if not policy or number < 1:
        return None
    outcome = _outcome(dig_text(obj, "status", "outcome"))
    raw_alerts = dig_object(obj, "status", "alerts")
    has_recorded = bool(raw_alerts)
    raw_alerts = raw_alerts or dig_object(obj, "spec", "episode", "alerts")
    recorded = _identities(obj, dig_text(raw_alerts, "identities"))
    target = [dig_text(obj, "spec", "target", part) for part in ("kind", "namespace", "name")]
    return KnownRun(
        namespace=intern(dig_text(obj, "metadata", "namespace")),
        name=dig_text(obj, "metadata", "name"),
        uid=dig_text(obj, "metadata", "uid"),
        key=key_of(dig_text(policy, "namespace"), dig_text(policy, "name"), *target),
        number=number,
        created_at=_time(dig_text(obj, "metadata", "creationTimestamp")),
        policy=PolicyVersion(intern(dig_text(policy, "uid")), dig_int(policy, "generation")),
        outcome=outcome,
        ending=_outcome(dig_text(obj, "status", "ending", "outcome")),
        admitted=bool(dig_object(obj, "status", "resolved")),
        deleting=bool(dig_text(obj, "metadata", "deletionTimestamp")),
        held=dig_text(obj, "status", "held", "reason"),
        recorded=recorded,
        has_more=dig_int(raw_alerts, "count") > len(recorded),
        folded=_folded(obj),
        folded_until=_folded_until(obj),
        alerts=_alerts(obj, raw_alerts, recorded) if outcome is None else None,
        has_status=dig(obj, "status") is not None,
        has_recorded=has_recorded,
        resource_version=dig_text(obj, "metadata", "resourceVersion"),
    )


def _outcome(text: str) -> RunOutcome | None:
    if not text:
        return None
    try:
        return RunOutcome(text)
    except ValueError:
        # a later version's word: it has ended, and the careful side is that it answered nothing
        return RunOutcome.SUPERSEDED


def _identities(obj: Object, text: str) -> Identities:
    try:
        return Identities.decode(text)
    except ValueError as wrong:
        # Nothing is concluded from it but that it answers nothing: its alerts start again, held by
        # cooldown and budget. Taking it for an answer would lose alerts without a trace.
        log.error("a run's identities are damaged", extra={"run": _full_name(obj), "error": str(wrong)})
        return Identities()


def _folded(obj: Object) -> Identities:
    """What it answers for older runs, whatever becomes of the policy."""
    records = dig_list(obj, "status", "covered")
    found = [_identities(obj, dig_text(one, "identities")) for one in records if not dig_int(one, "policyGeneration")]
    return Identities().merge(*found) if found else NO_IDENTITIES


def _folded_until(obj: Object) -> tuple[tuple[PolicyVersion, Identities], ...]:
    """What it answers for older runs as long as the policy has that text."""
    found: dict[PolicyVersion, Identities] = {}
    for one in dig_list(obj, "status", "covered"):
        text = PolicyVersion(dig_text(one, "policyUid"), dig_int(one, "policyGeneration"))
        if text.generation:
            found[text] = found.get(text, NO_IDENTITIES).merge(_identities(obj, dig_text(one, "identities")))
    return tuple(found.items())


def _alerts(obj: Object, raw: Object, recorded: Identities) -> AlertSet:
    try:
        return AlertSet.model_validate(raw)
    except ValidationError as wrong:
        log.error("a run's alerts cannot be read", extra={"run": _full_name(obj), "error": str(wrong)})
        return AlertSet(count=len(recorded), identities=recorded.encode())


def _full_name(obj: Object) -> str:
    return f"{dig_text(obj, 'metadata', 'namespace')}/{dig_text(obj, 'metadata', 'name')}"


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return _EPOCH


def is_older(version: str, than: str) -> bool:
    """Whether one resourceVersion of an object came before the other; the API server counts them up."""
    if version.isdigit() and than.isdigit():
        return int(version) < int(than)
    return False
