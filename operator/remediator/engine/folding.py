"""
FOLD: what an older run has answered is answered by the newest one before the older one is deleted.

Alertmanager sends whole groups again whenever one of their alerts moves, so an alert that nobody has
recorded any more starts again. What was silent for long is left out; what would not fit into the newest
run stays where it is, and the run with it, until it has been silent for as long.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Final

from remediator.domain.alerts import MAX_IDENTITIES, Identities
from remediator.domain.runs import MAX_COVERED, CoveredRecord, Run
from remediator.engine import recurrence
from remediator.engine.alertsets import packed, starts
from remediator.engine.begin import PolicyVersion
from remediator.engine.record import with_status

HEARD_EVERY: Final = timedelta(hours=6)
"""
How often it is written down that an answered alert was sent again: the record is so far behind at most.

Longer than Alertmanager's repeat_interval is by default, after which every alert that fires has been sent.
"""

Until = PolicyVersion | None
"""As long as the policy has which text an alert is answered; None: whatever becomes of the policy."""


def is_silent(heard_at: datetime, silence: timedelta | None, now: datetime) -> bool:
    """Whether nothing was heard for so long, however far the record is behind; None: nobody can tell."""
    return silence is not None and now - heard_at >= silence + HEARD_EVERY


def heard_at(run: Run) -> datetime:
    """When the alerts of the run itself were last sent, as far as that is recorded."""
    times = (run.created_at, run.alerts.last_received, run.status.ended_at, run.status.still_firing)
    return max(moment for moment in times if moment is not None)


def answers_of(run: Run, beside: Identities, silence: timedelta | None, now: datetime) -> tuple[CoveredRecord, ...]:
    """
    All that the run answers and that was not silent for long; `beside` is what is kept outside of it.

    Raises:
        ValueError: if what it has recorded is damaged.
    """
    kept = [one for one in run.status.covered if not is_silent(one.heard_at, silence, now)]
    outcome, last = run.status.outcome, heard_at(run)
    if outcome is None or not outcome.covers or is_silent(last, silence, now):
        return tuple(kept)
    own = Identities.decode(run.alerts.identities).merge(beside)
    if len(own):
        policy = run.spec.policy_ref if outcome.covers_until_policy_changes else None
        kept.append(
            CoveredRecord(
                heard_at=last,
                identities=own.encode(),
                policy_uid=policy.uid if policy is not None else "",
                policy_generation=policy.generation if policy is not None else 0,
            )
        )
    return tuple(kept)


def folded(
    covered: Sequence[CoveredRecord],
    coming: Iterable[CoveredRecord],
    policy: PolicyVersion | None,
    silence: timedelta | None,
    now: datetime,
) -> list[CoveredRecord] | None:
    """
    What a run answers for others with these added; None where it does not fit.

    What was silent for long is left out, and what was answered until the policy changed, if it has:
    `policy` is its present text, None while that is not known. Those that were last heard of on one day
    are kept together, with the time of the last of them.
    """
    latest: dict[tuple[Until, bytes], tuple[int, datetime]] = {}
    for one in (*covered, *coming):
        until = until_of(one)
        if is_silent(one.heard_at, silence, now) or (policy and until and policy.has_changed_since(until)):
            continue
        for digest, start in starts(Identities.decode(one.identities)).items():
            known = latest.get((until, digest), (0, one.heard_at))
            latest[until, digest] = max(start, known[0]), max(one.heard_at, known[1])
    days: defaultdict[tuple[Until, date], dict[bytes, tuple[int, datetime]]] = defaultdict(dict)
    for (until, digest), (start, heard) in latest.items():
        days[until, heard.date()][digest] = start, heard
    if len(latest) > MAX_IDENTITIES or len(days) > MAX_COVERED:
        return None
    found = [_record(until, alerts) for (until, _), alerts in days.items()]
    return sorted(found, key=lambda one: (one.heard_at, one.policy_uid, one.policy_generation))


def until_of(record: CoveredRecord) -> Until:
    """As long as the policy has which text these are answered."""
    return PolicyVersion(record.policy_uid, record.policy_generation) if record.policy_generation else None


def heard_again(run: Run, heard: Identities, now: datetime) -> Run | None:
    """
    The ended run as it notes that these alerts, its own or those that it took over, were sent again.

    None where nothing has to be written: it was noted not long ago, or none of them is its.
    """
    status, update = run.status, dict[str, object]()
    if status.outcome is None:
        return None
    own = Identities.decode(run.alerts.identities)
    # what is kept beside the run is not read for this: it is likely to be one of those
    is_own = run.alerts.count > len(own) or len(_those(own, heard)) > 0
    is_news = now - heard_at(run) >= HEARD_EVERY or recurrence.is_sent_on(run, now)
    if status.outcome.covers and is_own and is_news:
        update["still_firing"] = now
    again = [
        one.model_copy(update={"heard_at": now, "identities": within.encode()})
        for one in status.covered
        if now - one.heard_at >= HEARD_EVERY and len(within := _those(Identities.decode(one.identities), heard))
    ]
    covered = folded(status.covered, again, None, None, now) if again else None
    if covered is not None:
        update["covered"] = covered
    return with_status(run, **update) if update else None


def _those(identities: Identities, heard: Identities) -> Identities:
    """Those of them that answer one of the others."""
    known, sent = starts(identities), starts(heard)
    return packed({digest: start for digest, start in known.items() if digest in sent and start >= sent[digest]})


def _record(until: Until, alerts: dict[bytes, tuple[int, datetime]]) -> CoveredRecord:
    return CoveredRecord(
        heard_at=max(heard for _, heard in alerts.values()),
        identities=packed({digest: start for digest, (start, _) in alerts.items()}).encode(),
        policy_uid=until.uid if until is not None else "",
        policy_generation=until.generation if until is not None else 0,
    )
