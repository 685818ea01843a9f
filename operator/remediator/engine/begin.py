"""
Episodes: whether an alert opens a run, joins the open one, or was answered already.

IDENT: a run answers an alert if and only if it has recorded it: the same fingerprint with the same or
a later start. Starts are compared with starts of the same fingerprint, never with a clock of ours.
What is recorded stays recorded, so "covered" may be said from a stale cache; "not covered" only ever
leads to a create, whose name says no to the second of two.

Nothing here reads or writes. Who carries a decision out may meet a run that has moved, and then looks
again and decides again.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from remediator.domain.alerts import Alert, Identities
from remediator.domain.names import key_hash
from remediator.domain.objects import ObjectRef
from remediator.domain.receipts import Receipt
from remediator.domain.runs import AlertSet, RunOutcome
from remediator.engine.alertsets import all_within, joined, opening, recorded_in, starts

NO_IDENTITIES: Final = Identities()

FIRES_AGAIN_AFTER: Final = timedelta(minutes=5)
"""
How long after a "resolved" a "firing" of the same identity counts.

Of two Alertmanagers the slower one's firing may come after the other's resolved, and neither says
when it was sent; after Prometheus was away, the same start truly fires again.
"""


@dataclass(frozen=True, slots=True)
class Key:
    """A policy and a target: what all episodes of the two share. No UID: an alert has none."""

    policy_namespace: str
    policy_name: str
    target: ObjectRef

    @property
    def hash(self) -> str:
        return key_hash(self.policy_namespace, self.policy_name, self.target)

    def __str__(self) -> str:
        return f"{self.policy_namespace}/{self.policy_name} on {self.target}"


@lru_cache(maxsize=16_384)
def key_of(policy_namespace: str, policy_name: str, kind: str, namespace: str, name: str) -> Key:
    """The key; the same object for the same words, because thousands of runs have it in memory."""
    return Key(policy_namespace, policy_name, ObjectRef.of(kind, namespace, name))


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """Which text of a policy a run was made from; a policy that was made anew is another text."""

    uid: str = ""
    generation: int = 0

    def has_changed_since(self, earlier: "PolicyVersion") -> bool:
        """
        Whether this is a later text than the other.

        An earlier generation of the same object is what a cache shows that lags behind, not a change.
        """
        if self.uid and earlier.uid and self.uid != earlier.uid:
            return True
        return self.generation > earlier.generation


@dataclass(frozen=True, slots=True)
class KnownRun:
    """As much of a run as episodes need; `alerts` is held of open runs alone."""

    namespace: str
    name: str
    uid: str
    key: Key
    number: int
    created_at: datetime
    policy: PolicyVersion = PolicyVersion()
    outcome: RunOutcome | None = None
    ending: RunOutcome | None = None
    """How it will end, once the messages that belong to the end are sent."""
    admitted: bool = False
    """Whether the leader has taken it on: such a run came first, whatever its name says."""
    deleting: bool = False
    held: str = ""
    """Why it stands still; empty: it does not."""
    recorded: Identities = NO_IDENTITIES
    has_more: bool = False
    """Whether further identities are kept beside the run and are not in `recorded`."""
    folded: Identities = NO_IDENTITIES
    """What older runs of the key had answered when retention removed them."""
    folded_until: tuple[tuple[PolicyVersion, Identities], ...] = ()
    """The same of runs that answered as long as the policy had this text."""
    alerts: AlertSet | None = None
    has_status: bool = False
    has_recorded: bool = False
    """Whether the alerts stand in the status already, and not only in the request."""
    resource_version: str = field(default="", compare=False)

    @property
    def is_open(self) -> bool:
        """
        Whether an alert may be added to it.

        A run that is about to end as Superseded or Covered has handed its alerts over already: what
        came after that would be on no run.
        """
        is_given_up = self.ending in (RunOutcome.SUPERSEDED, RunOutcome.COVERED)
        return self.outcome is None and not self.deleting and not is_given_up

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def seniority(self) -> tuple[bool, datetime, int, str]:
        """Smaller came first. A second holds many creates, so the number decides among them."""
        return (not self.admitted, self.created_at, self.number, self.full_name)

    def has_answered(self, policy: PolicyVersion) -> bool:
        """
        Whether what this run recorded stays answered by it.

        A run that somebody is deleting is being forgotten: that is how a person says "again".
        """
        if self.deleting or self.outcome is None or not self.outcome.covers:
            return False
        return not (self.outcome.covers_until_policy_changes and policy.has_changed_since(self.policy))

    def has_taken_over(self, policy: PolicyVersion) -> tuple[Identities, ...]:
        """
        What it answers for older runs that are deleted, whatever it comes to itself (FOLD).

        A run that somebody is deleting is being forgotten with all of it.
        """
        if self.deleting:
            return ()
        until = (found for text, found in self.folded_until if not policy.has_changed_since(text))
        return (self.folded, *until) if len(self.folded) else tuple(until)


@dataclass(frozen=True, slots=True)
class Open:
    """A run has to be made, with these alerts in its request: a create drops the status."""

    number: int
    alerts: AlertSet
    beyond: Identities = NO_IDENTITIES
    """What does not fit into the run and has to be stored beside it."""


@dataclass(frozen=True, slots=True)
class Attach:
    """The open run has to be told, if it is still open when it is (RVATTACH)."""

    run: KnownRun
    alerts: AlertSet
    beyond: Identities = NO_IDENTITIES


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the alerts of one key. Without a write everything stands in the API server already."""

    write: Open | Attach | None
    receipts: "Receipts"
    run: KnownRun | None = None
    """The run that the alerts are on; None where one has to be made or none is concerned."""


def decide(
    alerts: Sequence[Alert],
    runs: Iterable[KnownRun],
    policy: PolicyVersion,
    now: datetime,
    *,
    fresh_for: timedelta | None = None,
    taken: Collection[int] = (),
) -> Decision:
    """
    What becomes of these alerts of one key, given all its runs that are known.

    With `fresh_for` (a policy that rests on notifications) the open run is also told that an alert of
    its own was notified again, when what it knows is older than half of it. `taken` are numbers whose
    names something else bears.
    """
    known = sorted(runs, key=_seniority)
    open_runs = [run for run in known if run.is_open]
    receipts = tuple((alert, _receipt(alert, known, open_runs, policy)) for alert in latest_of_each(alerts))
    if open_runs:
        return Decision(_attach(open_runs[0], receipts, now, fresh_for), receipts, open_runs[0])
    fresh = _of(receipts, Receipt.OPENED)
    if not fresh:
        return Decision(None, receipts, _last_to_answer(known, alerts, policy))
    return Decision(Open(next_number(known, taken), *opening(fresh, now)), receipts)


def latest_of_each(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """One alert of each fingerprint: the latest start and, of equal ones, the last that was said."""
    latest: dict[str, Alert] = {}
    for alert in alerts:
        before = latest.get(alert.fingerprint)
        if before is None or before.starts_at <= alert.starts_at:
            latest[alert.fingerprint] = alert
    return tuple(latest.values())


def next_number(runs: Iterable[KnownRun], taken: Collection[int] = ()) -> int:
    """Numbers only grow; the newest run of a key is kept, so that they can."""
    return max((*(run.number for run in runs), *taken), default=0) + 1


Receipts = tuple[tuple[Alert, Receipt], ...]


def _of(receipts: Receipts, wanted: Receipt) -> list[Alert]:
    return [alert for alert, receipt in receipts if receipt is wanted]


def _receipt(alert: Alert, known: Sequence[KnownRun], open_runs: Sequence[KnownRun], policy: PolicyVersion) -> Receipt:
    if not alert.is_firing:
        return Receipt.RESOLVED
    if any(run.recorded.covers(alert) for run in open_runs):
        return Receipt.RECORDED
    if any(_answers(run, alert, policy) for run in known):
        return Receipt.COVERED
    return Receipt.ATTACHED if open_runs else Receipt.OPENED


def _answers(run: KnownRun, alert: Alert, policy: PolicyVersion) -> bool:
    if any(found.covers(alert) for found in run.has_taken_over(policy)):
        return True
    return run.has_answered(policy) and run.recorded.covers(alert)


def answering(runs: Iterable[KnownRun], alerts: Sequence[Alert], policy: PolicyVersion) -> tuple[KnownRun, ...]:
    """The runs that have answered any of these alerts."""
    return tuple(run for run in runs if any(_answers(run, alert, policy) for alert in alerts))


def _last_to_answer(known: Sequence[KnownRun], alerts: Sequence[Alert], policy: PolicyVersion) -> KnownRun | None:
    return max(answering(known, alerts, policy), key=lambda run: run.number, default=None)


def _attach(run: KnownRun, receipts: Receipts, now: datetime, fresh_for: timedelta | None) -> Attach | None:
    """What the open run has to be told, or None if it knows everything."""
    before = run.alerts if run.alerts is not None else AlertSet()
    recorded, resolved = starts(run.recorded), starts(Identities.decode(before.resolved))

    def is_resolved(alert: Alert) -> bool:
        own = recorded_in(alert, recorded)
        return own is not None and resolved.get(own.digest) == own.starts_at

    ended = [a for a in _of(receipts, Receipt.RESOLVED) if recorded_in(a, recorded) and not is_resolved(a)]
    seen = [alert for alert in _of(receipts, Receipt.RECORDED) if run.recorded.covers(alert)]
    again = [alert for alert in seen if is_resolved(alert)] if _is_older(before, now, FIRES_AGAIN_AFTER) else []
    joining = _of(receipts, Receipt.ATTACHED)
    if joining or ended or again:
        return Attach(run, *joined(before, run.recorded, joining=[*joining, *again], ended=ended, now=now))
    if seen and fresh_for is not None and _is_older(before, now, fresh_for / 2):
        return Attach(run, before.model_copy(update={"last_received": now}))
    return None


def _is_older(alerts: AlertSet, now: datetime, than: timedelta) -> bool:
    return alerts.last_received is None or now - alerts.last_received >= than


# What the leader asks before it takes a run on


@dataclass(frozen=True, slots=True)
class Admit:
    """The run may begin."""


@dataclass(frozen=True, slots=True)
class Supersede:
    """An older run of the key is open: it takes over the alerts, then the newcomer ends as Superseded."""

    older: KnownRun


@dataclass(frozen=True, slots=True)
class CoveredBy:
    """Everything the run brings was answered: it ends as Covered."""

    run: KnownRun


def admitted(run: KnownRun, runs: Iterable[KnownRun]) -> Admit | Supersede | CoveredBy:
    """
    ADMIT: whether the leader may take this run on, given all known runs of its key.

    Intake creates when in doubt, and two replicas with caches of different ages may both have been
    in doubt. This costs no read: a watch delivers in order, so the cache that holds a run holds
    every older one. A run that was taken on came first, whatever its number.

    Released alerts (TargetGone, PolicyNotReady, …) are not answered, so a run that brings them again
    is taken on.
    """
    if run.admitted:
        return Admit()
    others = [other for other in runs if other.uid != run.uid]
    older = min((o for o in others if o.is_open and o.seniority < run.seniority), key=_seniority, default=None)
    if older is not None:
        return Supersede(older)
    answering = [other for other in others if other.has_answered(run.policy) or other.has_taken_over(run.policy)]
    answered = Identities().merge(*(_answered(other, run.policy) for other in answering))
    if len(run.recorded) and not run.has_more and all_within(run.recorded, answered):
        return CoveredBy(max(answering, key=lambda other: other.number))
    return Admit()


def _seniority(run: KnownRun) -> tuple[bool, datetime, int, str]:
    return run.seniority


def _answered(run: KnownRun, policy: PolicyVersion) -> Identities:
    own = (run.recorded,) if run.has_answered(policy) else ()
    return Identities().merge(*run.has_taken_over(policy), *own)
