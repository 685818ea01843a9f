"""
How our kinds are served: names, columns and what a list can be filtered by.

The columns are the product's first screen: `kubectl get` is how most people meet a run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from remediator.domain.guardrails import GuardrailSpec
from remediator.domain.names import LABEL_LIMIT
from remediator.domain.objects import GUARDRAIL, POLICY, REPLY, RUN, RUNBOOK, Kind
from remediator.domain.policies import MAX_POLICY_NAME, AlertPolicySpec
from remediator.domain.replies import ReplySpec
from remediator.domain.runbooks import RunbookSpec
from remediator.domain.runs import RunbookRunSpec, RunbookRunStatus
from remediator.domain.statuses import AlertPolicyStatus, GuardrailStatus, RunbookStatus
from remediator.generate.rules import Rule


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`; `wide` ones appear with `-o wide` only."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False

    def as_json(self) -> dict[str, Any]:
        """As it stands in a CRD."""
        found = {"name": self.name, "type": self.type, "description": self.description, "jsonPath": self.path}
        return {**found, "priority": 1} if self.wide else found


@dataclass(frozen=True, slots=True)
class Served:
    """One kind, whole."""

    kind: Kind
    short: str
    description: str
    spec: type[BaseModel]
    status: type[BaseModel] | None
    """None for a kind of which nothing becomes: it is said once, and that is all."""
    columns: Sequence[Column]
    selectable: Sequence[str] = ()
    rules: Sequence[Rule] = field(default=())
    never_changes: bool = False
    """Whether the spec is said once, as a whole."""


AGE: Final = Column("Age", ".metadata.creationTimestamp", "Since when it exists.", type="date")


def _ready(column: str = "status") -> str:
    return f'.status.conditions[?(@.type=="Ready")].{column}'


def _short_name(longest: int, why: str) -> Rule:
    return Rule(
        f"self.metadata.name.size() <= {longest}", f"metadata.name: at most {longest} characters here, as {why}"
    )


READY: Final = Column("Ready", _ready(), "Whether it can be used.")
WHY: Final = Column("Why", _ready("message"), "Why it is not Ready.", wide=True)

KINDS: Final = (
    Served(
        RUNBOOK,
        "rb",
        "A Runbook says what to find out about an object, which remedies there are and when each fits, how to see "
        "whether it helped, and whom to tell otherwise. It does nothing by itself: an AlertPolicy or a RunbookRun starts it.",
        RunbookSpec,
        RunbookStatus,
        (
            READY,
            Column("Targets", ".spec.targets", "The kinds that it can be about."),
            Column("Policies", ".status.policies", "How many AlertPolicies start it.", type="integer"),
            Column("Open", ".status.runs.open", "How many runs of it are open.", type="integer"),
            AGE,
            WHY,
            Column("Description", ".spec.description", "One sentence for people.", wide=True),
        ),
    ),
    Served(
        POLICY,
        "alp",
        "An AlertPolicy says which alerts start which Runbook, what its runs may do at most, and as whom.",
        AlertPolicySpec,
        AlertPolicyStatus,
        (
            READY,
            Column("Runbook", ".spec.runbookRef.name", "The Runbook that is started."),
            Column("Mode", ".spec.mode", "What its runs may do at most."),
            Column("Open", ".status.runs.open", "How many of its runs are open.", type="integer"),
            Column("Last", ".status.recent[0].outcome", "How the newest run ended."),
            AGE,
            Column("Account", ".spec.serviceAccountName", "Who reads and changes.", wide=True),
            Column("Succeeded", ".status.runs.succeeded", "Runs that went well.", type="integer", wide=True),
            Column("Failed", ".status.runs.failed", "Runs that did not.", type="integer", wide=True),
            WHY,
        ),
        selectable=(".spec.runbookRef.name", ".spec.mode"),
        rules=(_short_name(MAX_POLICY_NAME, "the names of its runs begin with it"),),
    ),
    Served(
        RUN,
        "rbr",
        "A RunbookRun is one run of a Runbook for one target. Its spec is the request and never changes; its status is the "
        "record of what was seen, decided, changed and verified. The operator makes one for an alert; people may make their own.",
        RunbookRunSpec,
        RunbookRunStatus,
        never_changes=True,
        columns=(
            Column("Alert", ".status.alert", "The alert that started it."),
            Column("Target", ".status.target", "The object that it is about."),
            Column("Remedy", ".status.remedy", "The remedy that is, or was last, carried out."),
            Column("State", ".status.state", "Where it stands."),
            Column("Outcome", ".status.outcome", "How it ended."),
            AGE,
            Column("Policy", ".spec.policyRef.name", "The AlertPolicy that started it.", wide=True),
            Column("Runbook", ".spec.runbookRef.name", "The Runbook.", wide=True),
            Column("Mode", ".status.resolved.mode", "What it may do at most, after all Guardrails.", wide=True),
            Column("Duration", ".status.duration", "From start to end.", wide=True),
        ),
        selectable=(
            ".spec.policyRef.name",
            ".spec.runbookRef.name",
            ".spec.target.kind",
            ".spec.target.name",
            ".spec.requestedBy",
            ".status.state",
            ".status.outcome",
        ),
        rules=(_short_name(LABEL_LIMIT, "labels carry it"),),
    ),
    Served(
        REPLY,
        "rpl",
        "A Reply is a person's word to a run: approve, deny, acknowledge, answer, undo, stop. It is created once and never "
        "changes, in the namespace of its run; whoever creates one needs the verb of its type on that run. What became of "
        "it stands on the run, under `status.replies`.",
        ReplySpec,
        None,
        never_changes=True,
        columns=(
            Column("Run", ".spec.runRef.name", "The run that it is said to."),
            Column("Type", ".spec.type", "What is said."),
            Column("User", ".spec.user", "Who says it."),
            Column("Step", ".spec.step", "The step that it is about."),
            Column("Reason", ".spec.reason", "Why."),
            AGE,
            Column("Answer", ".spec.answer", "The answer.", wide=True),
            Column("Plan", ".spec.planHash", "The plan that is approved or denied.", wide=True),
        ),
        selectable=(".spec.runRef.name",),
    ),
    Served(
        GUARDRAIL,
        "gdr",
        "A Guardrail is the fence around what runs may do in the namespaces that it selects, whatever Runbooks and "
        "AlertPolicies say. A change is made only if a Guardrail allows its action and none forbids it.",
        GuardrailSpec,
        GuardrailStatus,
        (
            READY,
            Column("MaxMode", ".spec.maxMode", "The highest mode in the namespaces that it selects."),
            Column("Allow", ".spec.allow", "The changes that it allows."),
            Column("Namespaces", ".status.namespaces", "How many namespaces it selects.", type="integer"),
            Column("Suspend", ".spec.suspend", "Whether it holds everything there.", type="boolean"),
            AGE,
            WHY,
        ),
        selectable=(".spec.maxMode",),
    ),
)
