"""Definitions that a test gives, as the operator would know them."""

from dataclasses import dataclass, field

from remediator.domain.guardrails import Fence
from remediator.domain.json import Object
from remediator.domain.runs import Run
from remediator.engine.acceptance import AcceptedPolicy, AcceptedRunbook


@dataclass
class Given:
    policy: AcceptedPolicy | None = None
    book: AcceptedRunbook | None = None
    allowed: Fence | None = None
    labels: dict[str, str] = field(default_factory=dict)
    is_complete: bool = True

    def policy_of(self, run: Run) -> tuple[AcceptedPolicy | None, str]:
        if run.spec.policy_ref is None:
            return None, ""
        return (self.policy, "") if self.policy is not None else (None, "it was deleted")

    def runbook_for(self, namespace: str, name: str, asking: str) -> tuple[AcceptedRunbook | None, str]:
        return (self.book, "") if self.book is not None else (None, "there is none")

    def fence(self, namespace: str) -> Fence | None:
        return self.allowed

    def namespace(self, name: str) -> Object:
        return {"name": name, "labels": dict(self.labels)}
