"""
What happened, as others than the operator have written it down.

The API server's audit log says who asked for which write and what came of it; etcd's own history has
the writes whose line a killed API server took with it; the senders know what was accepted, and the
alerts' sources what they said. Nothing here imports the operator: what it promises is to be compared
with what happened, not with what it believes.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

Object = dict[str, Any]

RUN = "remediator.dev/run"
STEP = "remediator.dev/step"
VOID = "remediator.dev/void"
EDITED = "chaos/edited"
"""What the tests' own edits of a target are marked with."""
RUNS = ("runbookruns", "runbookruns/status")
CREDENTIAL = "authentication.kubernetes.io/credential-id"
WRITES = ("create", "update", "patch", "delete")
"""Not `deletecollection`: a list answers it, whose version is that of the newest write to anything."""


@dataclass(frozen=True)
class Write:
    """One write that was carried out."""

    revision: int
    """etcd's: the order in which all writes of the cluster took effect."""
    verb: str
    resource: str
    """`runbookruns/status`, `deployments`, …; of a write without a line in the audit log the plain resource."""
    namespace: str
    name: str
    writer: str
    """The token that was used: every process of the operator has its own. Empty where nobody wrote it down."""
    account: str
    """Who was impersonated; empty where nobody was."""
    run: str
    """`NAMESPACE/NAME` of the run in whose name it was made, be it a change or a void; else empty."""
    is_void: bool
    received: datetime | None
    answered: datetime | None
    after: Object = field(repr=False)
    """The object as the write left it."""
    altered_spec: bool = True
    """False where nobody wrote it down and the object's spec is as it was before."""

    @property
    def is_logged(self) -> bool:
        return self.received is not None

    @property
    def uid(self) -> str:
        return str(self.after.get("metadata", {}).get("uid", ""))

    @property
    def object_key(self) -> tuple[str, str, str]:
        return self.resource.partition("/")[0], self.namespace, self.name

    def annotation(self, name: str) -> str:
        return str((self.after.get("metadata", {}).get("annotations") or {}).get(name, ""))


@dataclass(frozen=True)
class Revision:
    """One state of an object in etcd's history."""

    revision: int
    resource: str
    namespace: str
    name: str
    after: Object = field(repr=False)


@dataclass(frozen=True)
class Delivery:
    """One alert in one notification that was answered, and with what."""

    fingerprint: str
    starts_at: int
    """Unix seconds, as the sender has it."""
    is_firing: bool
    status: int
    """HTTP's; 0 where no answer came."""
    sent: datetime
    answered: datetime
    wanted_by: tuple[str, ...]
    """The policies that want it, `NAMESPACE/NAME`."""
    target: str
    """`Kind/NAMESPACE/NAME`."""
    answer: str = ""
    """What the operator said about it."""

    @property
    def is_accepted(self) -> bool:
        return 200 <= self.status < 300

    def __str__(self) -> str:
        return f"alert {self.fingerprint} of {self.starts_at} about {self.target}, answered {self.status}"


@dataclass(frozen=True)
class Saying:
    """What a source of alerts answered at one moment: the fingerprints that it said were firing."""

    at: datetime
    firing: frozenset[str]


@dataclass(frozen=True)
class Number:
    """What a source answered to a query at one moment: its values, as it wrote them."""

    at: datetime
    values: tuple[str, ...]

    @property
    def is_known(self) -> bool:
        """Whether it is one number: none, several and NaN are not."""
        return len(self.values) == 1 and math.isfinite(float(self.values[0]))


@dataclass(frozen=True)
class Epoch:
    """A leader's number, and when it was raised to it."""

    revision: int
    value: int
    at: datetime | None


@dataclass(frozen=True)
class Evidence:
    """Everything about one span of time, which has ended some time after its last fault."""

    deliveries: Sequence[Delivery]
    sayings: Sequence[Saying]
    writes: Sequence[Write]
    """In the order of their effect."""
    changes_of_a_run: Mapping[str, int] = field(default_factory=dict)
    """How many changes a run of this policy makes at most, those that take something back included."""
    epochs: Sequence[Epoch] = ()
    """What leaders have raised."""
    numbers: Sequence[Number] = ()
    measured: frozenset[str] = frozenset()
    """The policies whose Runbook changes something only where a query says a number."""
    gone: frozenset[str] = frozenset()
    """Namespaces that were deleted: what was in them is not open any more."""


def digest_of(fingerprint: str) -> bytes:
    """By what a run remembers an alert: the first six bytes of the fingerprint's SHA-256."""
    return hashlib.sha256(fingerprint.encode()).digest()[:6]


def unpacked(text: str) -> dict[bytes, int]:
    """The starts that a run has recorded, by digest: ten bytes each, in base64."""
    packed = base64.b64decode(text or "")
    return {packed[i : i + 6]: int.from_bytes(packed[i + 6 : i + 10], "big") for i in range(0, len(packed), 10)}


def packed(starts: Mapping[bytes, int]) -> str:
    """The text that `unpacked` reads."""
    return base64.b64encode(b"".join(one + at.to_bytes(4, "big") for one, at in sorted(starts.items()))).decode()


def logged(lines: Iterable[str | bytes]) -> list[Write]:
    """
    The writes of an audit log that were carried out, in the order of their effect.

    A line that a killed API server has left unfinished is passed over; its write is in etcd's history.
    """
    found = [write for event in _events(lines) if (write := _write(event)) is not None]
    return sorted(found, key=lambda write: write.revision)


def completed(writes: Iterable[Write], history: Iterable[Revision]) -> list[Write]:
    """
    The writes, and for each revision that no line tells of one that nobody wrote down.

    The history holds all revisions in one form, so that what one of them altered can be told from it alone.
    """
    found = {write.revision: write for write in writes}
    specs: dict[tuple[str, str, str], Any] = {}
    for one in history:
        key, spec = (one.resource, one.namespace, one.name), one.after.get("spec")
        altered = key not in specs or specs[key] != spec
        specs[key] = spec
        if one.revision not in found:
            found[one.revision] = Write(
                one.revision, "", *key, "", "", "", False, None, None, one.after, altered_spec=altered
            )
    return [found[revision] for revision in sorted(found)]


def _events(lines: Iterable[str | bytes]) -> Iterator[Object]:
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _write(event: Object) -> Write | None:
    code = event.get("responseStatus", {}).get("code", 0)
    if event.get("stage") != "ResponseComplete" or event["verb"] not in WRITES or not 200 <= code < 300:
        return None
    if "dryRun=" in event.get("requestURI", ""):
        return None
    after = _after(event)
    revision = after.get("metadata", {}).get("resourceVersion")
    if not revision:
        return None  # a review, or a deletion that has left nothing
    about, acting = event.get("objectRef", {}), event.get("impersonatedUser", {})
    extra = acting.get("extra", {})
    return Write(
        revision=int(revision),
        verb=event["verb"],
        resource="/".join(part for part in (about.get("resource", ""), about.get("subresource", "")) if part),
        namespace=about.get("namespace", ""),
        name=about.get("name") or after.get("metadata", {}).get("name", ""),
        writer=_first(event.get("user", {}).get("extra", {}).get(CREDENTIAL)),
        account=acting.get("username", ""),
        run=_first(extra.get(RUN) or extra.get(VOID)),
        is_void=VOID in extra,
        received=datetime.fromisoformat(event["requestReceivedTimestamp"]),
        answered=datetime.fromisoformat(event["stageTimestamp"]),
        after=after,
    )


def _after(event: Object) -> Object:
    """The object as it was left; who asked for its metadata alone has sent all else, and the server keeps that."""
    answer = event.get("responseObject") or {}
    if answer.get("kind") != "PartialObjectMetadata":
        return answer
    return {**(event.get("requestObject") or {}), "metadata": answer.get("metadata", {})}


def _first(values: Sequence[str] | None) -> str:
    return values[0] if values else ""


@dataclass(frozen=True)
class RunState:
    """A run as one write left it."""

    revision: int
    writer: str
    at: datetime | None
    obj: Object = field(repr=False)

    @classmethod
    def of(cls, write: Write) -> Self:
        return cls(write.revision, write.writer, write.answered, write.after)

    @property
    def spec(self) -> Object:
        return self.obj.get("spec", {}) or {}

    @property
    def status(self) -> Object:
        return self.obj.get("status", {}) or {}

    @property
    def outcome(self) -> str:
        return str(self.status.get("outcome", ""))

    @property
    def epoch(self) -> int:
        return int(self.status.get("leaderEpoch", 0))

    @property
    def steps(self) -> list[Object]:
        """Those that were planned, and not those that take something back."""
        return [step for attempt in self.status.get("attempts", []) for step in attempt.get("steps", [])]

    @property
    def undone(self) -> list[Object]:
        """The steps that take something back."""
        return [step for attempt in self.status.get("attempts", []) for step in attempt.get("undo", [])]

    @property
    def intended(self) -> dict[str, str]:
        """The state of every step that is or was intended, by its token."""
        return {
            step["token"]: step["state"]
            for step in [*self.steps, *self.undone]
            if step.get("token") and step.get("state", "Planned") != "Planned"
        }

    @property
    def recorded(self) -> dict[bytes, int]:
        """The alerts that it has, by digest: the status holds them as soon as there is one."""
        opening = self.spec.get("episode", {}).get("alerts", {})
        said = self.status.get("alerts") or opening
        return unpacked(opening.get("identities", "")) | unpacked(said.get("identities", ""))

    @property
    def resolved(self) -> dict[bytes, int]:
        """Those of its alerts that it knows to be over."""
        return unpacked((self.status.get("alerts") or {}).get("resolved", ""))


@dataclass(frozen=True)
class RunHistory:
    """All states of one run, oldest first."""

    states: Sequence[RunState]

    @property
    def last(self) -> RunState:
        return self.states[-1]

    @property
    def name(self) -> str:
        meta = self.last.obj["metadata"]
        return f"{meta['namespace']}/{meta['name']}"

    @property
    def policy(self) -> str:
        ref = self.last.spec.get("policyRef") or {}
        return f"{ref['namespace']}/{ref['name']}" if ref else ""

    @property
    def target(self) -> str:
        about = self.last.spec["target"]
        return f"{about['kind']}/{about.get('namespace', '')}/{about['name']}"

    def may_stand_for(self, target: str) -> bool:
        """Whether it is about this target, or about what the policy's alerts could not be told to be about."""
        return target == self.target or self.is_unresolved

    @property
    def is_unresolved(self) -> bool:
        """Whether it has no target that it could change."""
        return bool(self.last.spec["target"]["kind"] == "unresolved")

    @property
    def target_uid(self) -> str:
        """The UID that was pinned when the run was accepted; empty before."""
        return str(self.last.status.get("resolved", {}).get("targetUid", ""))

    @property
    def recorded(self) -> dict[bytes, int]:
        """Every alert that it has ever recorded."""
        found: dict[bytes, int] = {}
        for state in self.states:
            for digest, at in state.recorded.items():
                found[digest] = max(at, found.get(digest, 0))
        return found

    @property
    def is_admitted(self) -> bool:
        """Whether it stands for its alerts, and no other run stands for them in its place."""
        return self.last.outcome not in ("Superseded", "Covered")

    @property
    def ended(self) -> RunState | None:
        """The state with which it ended."""
        return next((state for state in self.states if state.outcome), None)

    @property
    def taken_on(self) -> RunState | None:
        """The state in which its request was accepted."""
        return next((state for state in self.states if state.status.get("resolved")), None)

    @property
    def undo_tokens(self) -> set[str]:
        return {step["token"] for state in self.states for step in state.undone if step.get("token")}

    def intent(self, token: str) -> RunState | None:
        """The first state in which the token stood as intended."""
        return next((state for state in self.states if token in state.intended), None)


def histories(writes: Iterable[Write]) -> list[RunHistory]:
    """Every run, from its creation on, also those that are gone."""
    found: dict[str, list[RunState]] = {}
    for write in writes:
        if write.resource in RUNS and write.uid:
            found.setdefault(write.uid, []).append(RunState.of(write))
    return [RunHistory(states) for states in found.values()]
