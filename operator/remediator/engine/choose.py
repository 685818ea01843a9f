"""
Which policies want an alert, and what it is about as far as the alert itself says.

Nothing is dropped in silence: an alert is wanted, or it is counted with the reason why not. Where an
object has to be looked up to tell the target, the answer says what to look up; who does so finds an
object, or goes on with `unresolved`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from remediator.domain.alerts import Alert
from remediator.domain.expressions import Missing, Truth, Values
from remediator.domain.json import JSON, Object, dig, dig_int, dig_object, dig_text
from remediator.domain.matching import Matcher, all_match, parse_matchers
from remediator.domain.names import is_object_name
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.domain.policies import Mode, RunbookRef
from remediator.domain.receipts import Receipt
from remediator.domain.runs import OUTSIDE, RunTarget
from remediator.domain.targets import Candidate, candidates
from remediator.engine.acceptance import AcceptedPolicy
from remediator.engine.begin import PolicyVersion

UNRESOLVED: Final = "unresolved"
"""The kind, and the name, of the target of alerts that no object could be found for."""


@dataclass(frozen=True)
class Listener:
    """
    A policy, as far as it takes part in choosing.

    `accepted` is None for one that is not ready: its alerts go to a run that says so and ends.
    `matchers` is None where not even they can be read.
    """

    namespace: str
    name: str
    version: PolicyVersion
    runbook: RunbookRef
    matchers: tuple[Matcher, ...] | None
    accepted: AcceptedPolicy | None = None
    mode: Mode = Mode.DRY_RUN
    account_name: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that its Runbook is about."""
        return tuple(self.accepted.runbook.spec.targets) if self.accepted is not None else ()


@dataclass(frozen=True, slots=True)
class Named:
    """The target is said: by the policy, or because none can be told (then `message` says why)."""

    target: RunTarget
    message: str = ""


@dataclass(frozen=True, slots=True)
class Sought:
    """The target is found by looking at the cluster, beginning with this candidate."""

    candidate: Candidate
    kinds: tuple[str, ...]
    unresolved: RunTarget
    """Where the alert goes if there is no such object."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A policy wants the alert."""

    alert: Alert
    listener: Listener
    place: Named | Sought


@dataclass(frozen=True, slots=True)
class Counted:
    """What became of an alert that goes to no run; `listener` is the policy that has the reason, if one has."""

    alert: Alert
    receipt: Receipt
    listener: Listener | None = None
    message: str = ""


Choice: TypeAlias = Wanted | Counted


def listener(obj: Object, accepted: AcceptedPolicy | None) -> Listener:
    """The policy as it was read; one that was accepted brings its matchers with it."""
    version = PolicyVersion(dig_text(obj, "metadata", "uid"), dig_int(obj, "metadata", "generation", default=1))
    if accepted is not None and PolicyVersion(accepted.uid, accepted.generation) != version:
        accepted = None  # what is ready is another text than the one that was read
    runbook = dig_object(obj, "spec", "runbookRef")
    return Listener(
        namespace=dig_text(obj, "metadata", "namespace"),
        name=dig_text(obj, "metadata", "name"),
        version=version,
        runbook=RunbookRef.model_construct(
            name=dig_text(runbook, "name"), namespace=dig_text(runbook, "namespace") or None
        ),
        matchers=accepted.matchers if accepted is not None else _readable(dig(obj, "spec", "matchers")),
        accepted=accepted,
        mode=_mode(dig_text(obj, "spec", "mode")),
        account_name=dig_text(obj, "spec", "serviceAccountName"),
    )


def choose(alert: Alert, listeners: Iterable[Listener], operator_namespace: str, now: datetime) -> tuple[Choice, ...]:
    """
    Every policy that wants the alert, and every one of which that could not be told.

    A policy sees the alerts whose `namespace` label is its own namespace; the operator's own see all.
    """
    choices = tuple(_choices(alert, listeners, operator_namespace, now))
    return choices or (Counted(alert, Receipt.NO_POLICY),)


def unresolved(namespace: str) -> RunTarget:
    """Where alerts go that no object could be found for: one target for each policy and namespace."""
    return RunTarget(kind=UNRESOLVED, namespace=namespace, name=UNRESOLVED)


def _choices(alert: Alert, listeners: Iterable[Listener], operator_namespace: str, now: datetime) -> Iterator[Choice]:
    for one in listeners:
        if one.namespace not in (operator_namespace, alert.labels.get("namespace", "")):
            continue
        if one.matchers is None:
            yield Counted(alert, Receipt.POLICY_UNREADABLE, one, "its matchers cannot be read")
        elif all_match(one.matchers, alert.labels):
            choice = _wanted(alert, one, operator_namespace, now)
            if choice is not None:
                yield choice


def _wanted(alert: Alert, one: Listener, operator_namespace: str, now: datetime) -> Choice | None:
    own = alert.labels.get("namespace", "")
    nowhere = unresolved(own if is_object_name(own) else one.namespace)
    if one.accepted is None:
        return Wanted(alert, one, Named(nowhere, "the policy is not ready"))
    values = values_of(alert, one.accepted, now)
    if one.accepted.when is not None:
        truth, missing = one.accepted.when.truth(values)
        if truth is Truth.UNKNOWN:
            return Counted(alert, Receipt.FACT_UNKNOWN, one, missing.message if missing is not None else "")
        if truth is Truth.FALSE:
            return None
    reach = "" if one.namespace == operator_namespace else one.namespace
    if one.accepted.target is not None:
        return Wanted(alert, one, _said(one, values, nowhere, reach))
    return Wanted(alert, one, _found(alert, one, nowhere, reach))


def values_of(alert: Alert, policy: AcceptedPolicy, now: datetime) -> Values:
    """What a policy's expressions see before there is a run."""
    seen: JSON = {key: value for key, value in alert.to_json().items() if value is not None}
    return Values(alert=seen, alerts=[seen], params=policy.parameters, now=now)


def _said(one: Listener, values: Values, nowhere: RunTarget, reach: str) -> Named:
    """
    The target that the policy says.

    What does not come out as one of the Runbook's kinds, in the namespace that the policy may reach,
    is not left to chance and not dropped: it goes where people are told.
    """
    assert one.accepted is not None and one.accepted.target is not None
    said = one.accepted.target.render(values, nowhere.namespace)
    if isinstance(said, Missing):
        return Named(nowhere, said.message)
    if said.kind not in one.kinds:
        return Named(nowhere, f"{said.ref} is of a kind that the Runbook's targets do not name")
    if not within_reach(said.ref, reach):
        return Named(nowhere, f"{said.ref} is outside of the policy's namespace")
    return Named(said)


def _found(alert: Alert, one: Listener, nowhere: RunTarget, reach: str) -> Named | Sought:
    """
    The most specific object that the labels name.

    Only that one: where it is gone, a less specific one would be another subject.
    """
    named: Sequence[Candidate] = candidates(alert.labels, one.kinds)
    first = next((candidate for candidate in named if within_reach(candidate.ref, reach)), None)
    if first is None:
        return Named(nowhere, "its labels name no object of the kinds that the Runbook's targets name")
    return Sought(first, one.kinds, nowhere)


def within_reach(ref: ObjectRef, reach: str) -> bool:
    """Whether a policy may be about the object: with a reach, only inside of that namespace."""
    if not reach or ref.kind in OUTSIDE:
        return True
    built_in = BUILT_IN.get(ref.kind_text)
    return ref.namespace == reach and (built_in is None or built_in.namespaced)


def _mode(text: str) -> Mode:
    return Mode(text) if text in list(Mode) else Mode.DRY_RUN


def _readable(matchers: JSON) -> tuple[Matcher, ...] | None:
    texts = [text for text in matchers if isinstance(text, str)] if isinstance(matchers, list) else []
    if not texts:
        return None
    try:
        return tuple(matcher for text in texts for matcher in parse_matchers(text))
    except ValueError:
        return None
