"""
The RunbookRun kind: the request, and the record of what became of it.

The spec is the request and never changes. The status is the record: it is written before every
effect, it moves only through the functions of the engine, and it alone is enough to go on after a
crash. Nothing in it is derived from a clock but times.
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, Field, PlainSerializer

from remediator.domain.alerts import Alert
from remediator.domain.bounded import shorten
from remediator.domain.durations import GoDuration
from remediator.domain.fields import AnyObject, AnyValue, ApiModel, NamespaceName, ObjectName, Text
from remediator.domain.objects import ObjectRef, Target
from remediator.domain.policies import Mode, RunbookRef
from remediator.domain.replies import ReplyType

MAX_TIMELINE: Final = 60
MAX_MESSAGE: Final = 1024
ALERTS_IN_FULL: Final = 10
MAX_COVERED: Final = 64
OUTSIDE: Final = frozenset({"external", "unresolved"})
"""The kinds of targets that are no objects of the cluster."""


def rfc3339(moment: datetime) -> str:
    """Kubernetes' form of a time, in seconds and UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[AwareDatetime, PlainSerializer(rfc3339, return_type=str)]
PreciseTime = Annotated[
    AwareDatetime, PlainSerializer(lambda moment: moment.isoformat().replace("+00:00", "Z"), return_type=str)
]
"""A sender's time, kept as it came: identities compare it."""


class Record(ApiModel):
    """The root of what a status holds: written by us, read back by us."""

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)

    @property
    def size(self) -> int:
        """Bytes of it as compact JSON."""
        try:
            return len(self.model_dump_json(by_alias=True, exclude_none=True, exclude_defaults=True).encode())
        except ValueError:  # half a surrogate pair, which pydantic does not write
            text = json.dumps(self.as_json(), ensure_ascii=False, separators=(",", ":"))
            return len(text.encode("utf-8", "replace"))


class RunTarget(Record):
    """The object that a run is about. `uid` is pinned when the run is accepted, never in the request's key."""

    kind: Text = Field(description="kubectl's spelling: Deployment, certificate.cert-manager.io, or external.")
    namespace: Text = Field(default="", description="Empty for cluster-scoped objects.")
    name: Text = Field(description="Name of the object.")
    uid: Text = Field(default="", description="UID of the object that was meant when the run was made.")

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef.of(self.kind, self.namespace, self.name)

    @property
    def target(self) -> Target:
        return Target(self.ref, self.uid)

    @property
    def is_outside(self) -> bool:
        """Whether it is no object of the cluster: it can be reported on, and is never read or changed."""
        return self.kind in OUTSIDE

    @classmethod
    def of(cls, ref: ObjectRef, uid: str = "") -> "RunTarget":
        return cls(kind=ref.kind_text, namespace=ref.namespace, name=ref.name, uid=uid)


class AlertRecord(Record):
    """An alert as it was received, redacted."""

    fingerprint: Text = Field(description="Alertmanager's own.")
    status: Text = Field(default="firing", description="firing or resolved.")
    labels: dict[str, Text] = Field(default_factory=dict, max_length=64, description="Labels.")
    annotations: dict[str, Text] = Field(default_factory=dict, max_length=32, description="Annotations.")
    starts_at: PreciseTime = Field(description="When it began, by the sender's clock.")
    ends_at: PreciseTime | None = Field(default=None, description="When it ended, by the sender's clock.")
    generator_url: Text = Field(default="", alias="generatorURL", description="Where it was made.")
    received_at: Time | None = Field(default=None, description="When it was first received, by our clock.")

    @classmethod
    def of(cls, alert: Alert, received_at: datetime) -> "AlertRecord":
        return cls(
            fingerprint=alert.fingerprint,
            status=alert.status,
            labels={key: shorten(value, 2048) for key, value in list(alert.labels.items())[:64]},
            annotations={key: shorten(value, 2048) for key, value in list(alert.annotations.items())[:32]},
            starts_at=alert.starts_at,
            ends_at=alert.ends_at,
            generator_url=alert.generator_url[:2048],
            received_at=received_at,
        )


class AlertSet(Record):
    """
    The alerts of an episode: the first ten in full, the identities of all, and who is still firing.

    `identities` is what coverage reads: ten bytes each, in base64.
    """

    count: int = Field(default=0, description="How many different alerts.")
    identities: Annotated[str, Field(max_length=20000)] = Field(
        default="", description="Fingerprint digest and startsAt of each, packed."
    )
    resolved: Annotated[str, Field(max_length=20000)] = Field(
        default="", description="Those of them that have resolved, packed."
    )
    names: dict[str, int] = Field(default_factory=dict, max_length=64, description="How many of each alertname.")
    first: list[AlertRecord] = Field(
        default_factory=list, max_length=ALERTS_IN_FULL, description="The first ten, in full."
    )
    last_received: Time | None = Field(default=None, description="When the newest notification came, by our clock.")
    last_opened: Time | None = Field(
        default=None, description="When an alert of a new identity was last attached, by our clock."
    )


class Episode(Record):
    """What the operator says of a run that an alert started."""

    key: Text = Field(description="Hash of policy and target: all episodes of the two share it.")
    number: int = Field(ge=1, description="The first episode of a policy on a target is 1.")
    alerts: AlertSet = Field(description="The alerts that opened it.")


class PolicyRef(Record):
    namespace: NamespaceName = Field(description="Namespace of the policy.")
    name: ObjectName = Field(description="Name of the policy.")
    uid: Text = Field(default="", description="UID when the run was made.")
    generation: int = Field(default=0, description="Generation when the run was made.")


class RunbookRunSpec(Record):
    """The request. It never changes."""

    runbook_ref: RunbookRef = Field(description="The Runbook to carry out.")
    policy_ref: PolicyRef | None = Field(default=None, description="Set by the operator alone.")
    target: RunTarget = Field(description="The object it is about.")
    parameters: AnyObject = Field(default_factory=dict, description="Values for the Runbook's parameters.")
    mode: Mode = Field(default=Mode.DRY_RUN, description="What it may do at most.")
    service_account_name: ObjectName | None = Field(
        default=None, description="Account of the run's namespace that reads and changes."
    )
    requested_by: Text = Field(description="The user who asks; admission compares it with the caller.")
    reason: Text = Field(default="", description="Why, for those who read it later.")
    episode: Episode | None = Field(default=None, description="Set by the operator alone.")


class State(enum.StrEnum):
    """Where a run stands, for people; nothing reads it."""

    DIAGNOSING = "Diagnosing"
    WAITING = "Waiting"
    AWAITING_APPROVAL = "AwaitingApproval"
    ACTING = "Acting"
    VERIFYING = "Verifying"
    UNDOING = "Undoing"
    AWAITING_HUMAN = "AwaitingHuman"
    ENDED = "Ended"


class RunOutcome(enum.StrEnum):
    """How a run ended; written once, with the end, and what coverage reads."""

    REMEDIATED = "Remediated"
    NOT_NEEDED = "NotNeeded"
    DONE = "Done"
    DRY_RUN = "DryRun"
    DIAGNOSED = "Diagnosed"
    NO_REMEDY = "NoRemedy"
    REFUSED = "Refused"
    DENIED = "Denied"
    EXPIRED = "Expired"
    UNDONE = "Undone"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    HANDED_OVER = "HandedOver"
    STOPPED = "Stopped"
    COVERED = "Covered"
    SUPERSEDED = "Superseded"
    TARGET_GONE = "TargetGone"
    TARGET_CHANGED = "TargetChanged"
    POLICY_NOT_READY = "PolicyNotReady"

    @property
    def is_success(self) -> bool:
        """Condition Succeeded: verified better, or nothing had to be done."""
        return self in _SUCCESSES

    @property
    def covers(self) -> bool:
        """Whether the alerts it recorded stay answered by it (until the policy changes, for dry runs)."""
        return self not in _RELEASING

    @property
    def covers_until_policy_changes(self) -> bool:
        return self in (RunOutcome.DRY_RUN, RunOutcome.DIAGNOSED)

    @property
    def escalates(self) -> bool:
        """Whether somebody must have been told before the run ends so."""
        return self.covers and not self.is_success


_SUCCESSES: Final = frozenset(
    {RunOutcome.REMEDIATED, RunOutcome.NOT_NEEDED, RunOutcome.DONE, RunOutcome.DRY_RUN, RunOutcome.DIAGNOSED}
)
_RELEASING: Final = frozenset(
    {
        RunOutcome.COVERED,
        RunOutcome.SUPERSEDED,
        RunOutcome.TARGET_GONE,
        RunOutcome.TARGET_CHANGED,
        RunOutcome.POLICY_NOT_READY,
    }
)


class StepState(enum.StrEnum):
    """
    How far a step is.

    PLANNED   rendered, nothing written
    INTENDED  recorded with its token; whether it happened is found out from the target
    STARTED   the change is made (or the message sent), the end is awaited
    and the ends: DONE, SKIPPED, FAILED, REFUSED, VOIDED, UNCLEAR
    """

    PLANNED = "Planned"
    INTENDED = "Intended"
    STARTED = "Started"
    DONE = "Done"
    SKIPPED = "Skipped"
    FAILED = "Failed"
    REFUSED = "Refused"
    VOIDED = "Voided"
    UNCLEAR = "Unclear"

    @property
    def is_over(self) -> bool:
        return self not in (StepState.PLANNED, StepState.INTENDED, StepState.STARTED)


class StepRecord(Record):
    """One step of a plan: what it would write, how far it is, what came of it."""

    name: Text = Field(description="The step's name in the Runbook.")
    names: list[Text] = Field(
        default_factory=list, max_length=20, description="All steps that were joined into this one write."
    )
    item: int | None = Field(default=None, description="Which element of `forEach` it is for.")
    item_value: AnyValue = Field(default=None, description="The element.")
    action: Text = Field(description="What is used.")
    joined_actions: list[Text] = Field(
        default_factory=list,
        max_length=20,
        description="The actions of all steps that were joined into this one write.",
    )
    target: RunTarget | None = Field(default=None, description="The object it is about.")
    change: AnyObject | None = Field(default=None, description="What is written, and what it replaces.")
    parameters: AnyObject | None = Field(default=None, description="The rendered parameters of a message or a wait.")
    ttl: GoDuration | None = Field(default=None, description="How long the change may stay.")
    revert_on_resolve: bool = Field(
        default=False, description="Whether the change is taken back when the alerts are resolved."
    )
    state: StepState = Field(default=StepState.PLANNED, description="How far it is.")
    token: Text = Field(default="", description="What the changed object is stamped with.")
    undo_of: Text = Field(default="", description="The token of the change that this one takes back.")
    generation: int | None = Field(default=None, description="The target's generation when the change was intended.")
    resource_version: Text = Field(default="", description="The target's resourceVersion when the change was intended.")
    generation_after: int | None = Field(default=None, description="The target's generation that the change led to.")
    intended_at: Time | None = Field(default=None, description="When it was recorded as intended.")
    started_at: Time | None = Field(default=None, description="When the change was made.")
    ended_at: Time | None = Field(default=None, description="When it was over.")
    reason: Text = Field(default="", description="One word why it was refused.")
    message: Text = Field(default="", description="One sentence for people.")
    output: AnyObject | None = Field(default=None, description="What later steps see under `steps.NAME`.")
    diff: Annotated[str, Field(max_length=8192)] = Field(
        default="", description="What the server-side dry run would change."
    )

    @property
    def has_changed_something(self) -> bool:
        """Whether its change was made, or may have been."""
        return self.change is not None and (self.started_at is not None or self.state is StepState.UNCLEAR)

    @property
    def actions(self) -> tuple[str, ...]:
        """Every action that this one write carries out."""
        return tuple(self.joined_actions) or (self.action,)

    @property
    def label(self) -> str:
        """The step and the element it is for, as people name it."""
        base = "+".join(self.names) if self.names else self.name
        return base if self.item is None else f"{base}[{self.item}]"


class Considered(Record):
    """A remedy that was looked at, and what its condition said."""

    remedy: Text = Field(description="Name of the remedy.")
    when: Text = Field(description="True, False or Unknown.")
    message: Text = Field(default="", description="What was missing, if Unknown.")


class DiagnosticRecord(Record):
    """What one diagnostic brought; the whole output is in the evidence."""

    name: Text = Field(description="The diagnostic's name in the Runbook.")
    action: Text = Field(description="What was used.")
    known: bool = Field(default=True, description="Whether it got an answer.")
    skipped: bool = Field(default=False, description="Whether its `when` was False.")
    summary: Text = Field(default="", description="One line for people.")


class Verdict(enum.StrEnum):
    """Whether a remedy helped."""

    VERIFIED = "Verified"
    DISPROVED = "Disproved"
    INCONCLUSIVE = "Inconclusive"


class CheckRecord(Record):
    """One check of a verification."""

    kind: Text = Field(description="rollout, alertResolved, promql or check.")
    verdict: Verdict | None = Field(default=None, description="Absent while it is open.")
    holds_since: Time | None = Field(default=None, description="Since when it holds without a break.")
    seen_failing: bool = Field(default=False, description="Whether it was known not to hold at any time.")
    message: Text = Field(default="", description="One sentence for people.")


class ReplyRecord(Record):
    """A person's word, and what became of it."""

    name: Text = Field(description="Name of the Reply.")
    uid: Text = Field(default="", description="UID of the Reply.")
    type: ReplyType = Field(description="What was said.")
    user: Text = Field(description="Who said it.")
    at: Time = Field(description="When it was said, by the API server's clock.")
    taken: bool = Field(default=False, description="Whether it counted; false: it was ignored.")
    reason: Text = Field(default="", description="The person's own reason, or why it was ignored.")


class ApprovalNeed(Record):
    """One approval that is asked for, and by whom."""

    by: Text = Field(description="Who asks for it: the policy, a Guardrail, the remedy or the step.")
    count: int = Field(default=1, description="How many distinct people.")
    groups: list[Text] = Field(default_factory=list, max_length=16, description="The groups that they must be in.")


class ApprovalRecord(Record):
    """A question to people whether a plan may be carried out, and what they said."""

    step: Text = Field(default="", description="The step that asks for itself; empty: the whole remedy.")
    plan_hash: Text = Field(description="The plan that is asked about; another plan is another question.")
    needs: list[ApprovalNeed] = Field(default_factory=list, max_length=40, description="What has to be met.")
    asked_at: Time = Field(description="When it was asked; what was said before does not count.")
    deadline: Time = Field(description="When the question expires.")
    given: list[ReplyRecord] = Field(
        default_factory=list, max_length=32, description="The approvals that were used up with the first intent."
    )
    state: Literal["Waiting", "Approved", "Denied", "Expired"] = Field(default="Waiting", description="How it stands.")


class QuestionRecord(Record):
    """Something that a person is asked, by an `ask` or a `manual`."""

    name: Text = Field(description="The step or diagnostic that asks.")
    question: Text = Field(description="What is asked, or has to be done.")
    answers: list[Text] = Field(default_factory=list, max_length=16, description="The answers there are; empty: any.")
    pattern: Text = Field(default="", description="RE2 that the whole answer must match.")
    default: Text = Field(default="", description="Taken when nobody has answered in time; empty: nothing is.")
    asked_at: Time = Field(description="When it was asked.")
    deadline: Time = Field(description="Until when it can be answered.")
    answer: Text = Field(default="", description="What was answered.")
    answered_by: Text = Field(default="", description="Who answered; empty with an answer: the default was taken.")
    answered_at: Time | None = Field(default=None, description="When it was answered, or its time was over.")
    blocking: bool = Field(default=True, description="Whether the run waits for it; false: a listed follow-up.")


class DebtKind(enum.StrEnum):
    """Why a change must still be taken back."""

    TTL = "TTL"
    RESOLVED = "Resolved"
    UNDO = "Undo"


class DebtRecord(Record):
    """A change that must still be taken back, or that has been."""

    token: Text = Field(description="Token of the change that is taken back.")
    step: Text = Field(description="The step that made it.")
    kind: DebtKind = Field(description="Why: its time is over, the alerts are resolved, or an undo was begun.")
    due: Time | None = Field(default=None, description="When; absent: not known yet.")
    resolved_since: Time | None = Field(
        default=None, description="Since when no alert of the episode was seen firing, after the run's end."
    )
    begun_at: Time | None = Field(default=None, description="When it was begun to be taken back.")
    state: Literal["Owed", "Paid", "GivenUp"] = Field(default="Owed", description="GivenUp: a person decides.")
    settled_at: Time | None = Field(default=None, description="When it was paid or given up.")
    message: Text = Field(default="", description="One sentence for people.")


class Acknowledgement(Record):
    """Somebody looks after it."""

    by: Text = Field(description="Who.")
    at: Time = Field(description="Since when.")


class Attempt(Record):
    """One round: a diagnosis, the remedy it led to, what was done and whether it helped."""

    number: int = Field(ge=1, description="1 for the first.")
    diagnosed_at: Time | None = Field(default=None, description="When the diagnosis was finished.")
    evidence: Text = Field(default="", description="ConfigMap that holds what the diagnosis brought.")
    outputs: AnyObject | None = Field(default=None, description="What the diagnosis brought, where it is small.")
    diagnosis: list[DiagnosticRecord] = Field(
        default_factory=list, max_length=64, description="Each diagnostic in one line."
    )
    target_template: Text = Field(default="", description="Hash of the target's pod template that was diagnosed.")
    considered: list[Considered] = Field(
        default_factory=list, max_length=16, description="The remedies that were looked at."
    )
    remedy: Text = Field(default="", description="The remedy that was chosen; empty if none.")
    chosen_at: Time | None = Field(default=None, description="When the choice was made.")
    plan_hash: Text = Field(default="", description="Hash of the rendered changes.")
    locked_at: Time | None = Field(default=None, description="Since when the locks for it are held.")
    steps: list[StepRecord] = Field(default_factory=list, max_length=64, description="The plan and what came of it.")
    verifying_since: Time | None = Field(default=None, description="When verification began.")
    checks: list[CheckRecord] = Field(default_factory=list, max_length=8, description="The verification.")
    verdict: Verdict | None = Field(default=None, description="Whether it helped.")
    undo: list[StepRecord] = Field(default_factory=list, max_length=64, description="What was taken back.")
    approvals: list[ApprovalRecord] = Field(
        default_factory=list, max_length=24, description="Whether people agreed: to the plan, and to single steps."
    )
    questions: list[QuestionRecord] = Field(
        default_factory=list, max_length=72, description="What people were asked, and what they answered."
    )

    @property
    def has_changed_something(self) -> bool:
        """Whether a change of it was made, or may have been."""
        return any(step.has_changed_something for step in self.steps)


class Ending(Record):
    """How the run will end, once the messages that belong to the end are sent."""

    outcome: RunOutcome = Field(description="Becomes `outcome` with the end.")
    reason: Text = Field(default="", description="One word why.")
    message: Text = Field(default="", description="One sentence for people.")
    told: list[StepRecord] = Field(
        default_factory=list, max_length=32, description="The messages of `otherwise` and `finally`."
    )


class Held(Record):
    """Why a run stands still, and until when."""

    reason: Text = Field(description="One word of the closed set.")
    message: Text = Field(description="One sentence for people.")
    until: Time | None = Field(default=None, description="When it is looked at again.")
    since: Time = Field(description="When it began.")


class TimelineEntry(Record):
    """One line of the story."""

    at: Time = Field(description="When.")
    what: Text = Field(description="One word: begin, known, choose, hold, lock, intend, start, done, verified, …")
    message: Text = Field(default="", description="One sentence for people.")


class ConditionRecord(Record):
    """A Kubernetes condition."""

    type: Text = Field(description="Succeeded, Verified, Undone, Approved or Stalled.")
    status: Text = Field(description="True, False or Unknown.")
    reason: Text = Field(description="One CamelCase word.")
    message: Annotated[str, Field(max_length=MAX_MESSAGE)] = Field(default="", description="One sentence for people.")
    last_transition_time: Time = Field(description="When the status last changed.")
    observed_generation: int = Field(default=0, description="Generation of the run it was made from.")


class RunbookContent(Record):
    """Which Runbook was carried out, and where its content of that moment is kept."""

    namespace: Text = Field(description="Namespace of the Runbook.")
    name: Text = Field(description="Name of the Runbook.")
    uid: Text = Field(default="", description="UID of the Runbook.")
    generation: int = Field(default=0, description="Generation of the Runbook.")
    content: Text = Field(default="", description="ConfigMap in the operator's namespace that holds its content.")


class Resolved(Record):
    """What the request became when it was accepted."""

    at: Time = Field(description="When it was accepted.")
    runbook: RunbookContent = Field(description="The Runbook as it was then.")
    target_uid: Text = Field(default="", description="UID of the target; empty for one that is not in the cluster.")
    parameters: AnyObject = Field(default_factory=dict, description="The parameters' values.")
    mode: Mode = Field(description="The effective mode.")
    lowered_by: Text = Field(default="", description="Who lowered the mode.")
    account: Text = Field(
        default="", description="Account that reads and changes; empty: the operator, which only reads."
    )


class CoveredRecord(Record):
    """Alerts that earlier runs on the same target have answered, which are deleted since."""

    heard_at: Time = Field(description="When the last of them was last sent, by our clock.")
    identities: Annotated[str, Field(max_length=20000)] = Field(
        description="Fingerprint digest and startsAt of each, packed."
    )
    policy_uid: Text = Field(
        default="", description="With `policyGeneration`: they are answered as long as the policy is that one."
    )
    policy_generation: int = Field(default=0, description="0: they are answered whatever becomes of the policy.")


class RunbookRunStatus(Record):
    """The record."""

    observed_generation: int = Field(default=0, description="Generation of the spec that this is about.")
    leader_epoch: int = Field(
        default=0,
        ge=0,
        description=(
            "Which leader of the operator wrote this last, counted up with each change of leader. One below that of the "
            "ConfigMap `leader-epoch` in the operator's namespace intends nothing more: the API server refuses it. "
            "0: written before there was a leader, or by intake alone."
        ),
    )
    state: State = Field(default=State.DIAGNOSING, description="Where it stands, for people.")
    outcome: RunOutcome | None = Field(default=None, description="How it ended; set once, with the end.")
    remedy: Text = Field(default="", description="The remedy that is, or was last, carried out.")
    message: Text = Field(default="", description="One sentence about where it stands.")
    alert: Text = Field(default="", description="Name of the alert, for people.")
    target: Text = Field(default="", description="What it is about, for people: Deployment/checkout.")
    started_at: Time | None = Field(default=None, description="When the operator first looked at it.")
    ended_at: Time | None = Field(default=None, description="When it ended.")
    duration: Text = Field(default="", description="From start to end.")
    conditions: list[ConditionRecord] = Field(default_factory=list, max_length=8, description="Kubernetes conditions.")
    resolved: Resolved | None = Field(default=None, description="What the request became.")
    alerts: AlertSet | None = Field(default=None, description="The alerts attached so far.")
    attempts: list[Attempt] = Field(
        default_factory=list, max_length=16, description="The rounds of diagnosis and remedy."
    )
    held: Held | None = Field(default=None, description="Why it stands still.")
    locks: list[Text] = Field(
        default_factory=list,
        max_length=256,
        description="The Leases that it holds: of its target, and of each object that it changes.",
    )
    replies: list[ReplyRecord] = Field(
        default_factory=list, max_length=32, description="What people said, taken or ignored; the newest."
    )
    acknowledged: Acknowledgement | None = Field(default=None, description="Who looks after it.")
    debts: list[DebtRecord] = Field(
        default_factory=list, max_length=64, description="Changes that must still be taken back, or were."
    )
    ending: Ending | None = Field(default=None, description="How it will end.")
    still_firing: Time | None = Field(
        default=None,
        description="When an alert that it has answered was last sent again after its end, by our clock; written "
        "every six hours at most.",
    )
    recurred: Time | None = Field(
        default=None,
        description="When people were told that an alert of it was sent again, half an hour or more after it ended as "
        "Remediated or NotNeeded; absent: there was nothing to tell.",
    )
    covered: list[CoveredRecord] = Field(
        default_factory=list,
        max_length=MAX_COVERED,
        description="Further alerts that it answers, for earlier runs on the target that are deleted.",
    )
    evidence_expired: Time | None = Field(
        default=None, description="When what the diagnosis captured was deleted; absent: it is kept."
    )
    left_out: list[Text] = Field(
        default_factory=list,
        max_length=16,
        description="What was left out of this record to keep it below 64 KiB; empty: nothing was.",
    )
    timeline: list[TimelineEntry] = Field(
        default_factory=list,
        max_length=MAX_TIMELINE,
        description="The story, newest last; the middle is dropped first.",
    )

    def taken(self, kind: ReplyType) -> ReplyRecord | None:
        """The newest word of this type that counted."""
        return next((one for one in reversed(self.replies) if one.taken and one.type is kind), None)

    @property
    def attempt(self) -> Attempt | None:
        """The round that is going on, or the last one."""
        return self.attempts[-1] if self.attempts else None


@dataclass(frozen=True, slots=True)
class Run:
    """A RunbookRun as it was read: who it is, what was asked, what became of it."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    created_at: datetime
    deleting: bool
    spec: RunbookRunSpec
    status: RunbookRunStatus

    @classmethod
    def parse(cls, obj: Mapping[str, Any]) -> "Run":
        """
        Raises:
            ValueError: pydantic's, when spec or status is not of our making.
        """
        meta = obj["metadata"]
        return cls(
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta.get("uid", ""),
            resource_version=meta.get("resourceVersion", ""),
            generation=meta.get("generation", 1),
            created_at=datetime.fromisoformat(meta["creationTimestamp"]),
            deleting="deletionTimestamp" in meta,
            spec=RunbookRunSpec.model_validate(obj.get("spec", {})),
            status=RunbookRunStatus.model_validate(obj.get("status", {})),
        )

    @property
    def is_ended(self) -> bool:
        return self.status.outcome is not None

    @property
    def has_changed_something(self) -> bool:
        """Whether any round of it has made a change, or may have."""
        return any(attempt.has_changed_something for attempt in self.status.attempts)

    @property
    def owes(self) -> bool:
        """Whether a change of it must still be taken back, also after its end."""
        return any(debt.state == "Owed" for debt in self.status.debts)

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def alerts(self) -> AlertSet:
        """All alerts attached so far; the opening ones stand in the spec, because a create drops the status."""
        if self.status.alerts is not None:
            return self.status.alerts
        return self.spec.episode.alerts if self.spec.episode is not None else AlertSet()

    @property
    def home(self) -> str:
        """The namespace whose people answer for it: its policy's, of a run by hand its own."""
        return self.spec.policy_ref.namespace if self.spec.policy_ref is not None else self.namespace

    @property
    def policy_name(self) -> str:
        ref = self.spec.policy_ref
        return f"{ref.namespace}/{ref.name}" if ref is not None else ""

    @property
    def target(self) -> Target:
        """The target, pinned by the UID of the moment in which the run was accepted."""
        uid = self.status.resolved.target_uid if self.status.resolved is not None else self.spec.target.uid
        return Target(self.spec.target.ref, uid)
