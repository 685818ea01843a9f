"""Many runs of several policies, each on a Deployment of its own, for tests of what they may do at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from flows import FIRING
from remediator.actions import registry
from remediator.domain.alerts import Alert
from remediator.domain.guardrails import Fence, Guardrail, GuardrailSpec
from remediator.domain.json import Object
from remediator.domain.objects import ObjectRef
from remediator.domain.runs import Run
from remediator.engine.acceptance import AcceptedPolicy, AcceptedRunbook, accept_policy, accept_runbook

BOOK = accept_runbook(
    "shop",
    "queue",
    "rb-uid",
    1,
    yaml.safe_load("""
targets: [Deployment]
sharedWith: ["*"]
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  verify:
  - rollout: {within: 5m}
"""),
    registry,
)


@dataclass
class Definitions:
    """`handlers.outside.Known`: one Runbook, several policies, and a fence for each namespace."""

    policies: dict[str, AcceptedPolicy] = field(default_factory=dict)
    fences: dict[str, Fence] = field(default_factory=dict)
    is_complete: bool = True

    def policy(self, namespace: str, name: str, concurrent: int, account: str = "fixer") -> AcceptedPolicy:
        """A policy that lets so many of its runs act at once."""
        spec = {
            "matchers": ['alertname="QueueFull"'],
            "runbookRef": {"name": BOOK.name, "namespace": BOOK.namespace},
            "mode": "Automatic",
            "serviceAccountName": account,
            "grace": "0s",
            "limits": {"concurrent": concurrent},
        }
        made = accept_policy(
            namespace, name, f"uid-{name}", 1, spec, BOOK, operator_namespace="remediator-system", can_ask=True
        )
        self.policies[made.full_name] = made
        return made

    def policy_of(self, run: Run) -> tuple[AcceptedPolicy | None, str]:
        return self.policies[run.policy_name], ""

    def runbook_for(self, namespace: str, name: str, asking: str) -> tuple[AcceptedRunbook | None, str]:
        return BOOK, ""

    def fence(self, namespace: str) -> Fence | None:
        return self.fences.get(namespace, fence())

    def namespace(self, name: str) -> Object:
        return {"name": name, "labels": {}}


def fence(**targets: int | None) -> Fence:
    """A Guardrail that lets so many objects be worked on at once."""
    said = {key: value for key, value in targets.items() if value is not None}
    spec = GuardrailSpec.model_validate({"allow": ["setEnv"], "limits": {"targets": said}})
    return Fence((Guardrail("production", spec),))


def deployment(ref: ObjectRef, replicas: int) -> dict[str, Any]:
    labels = {"app": ref.name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": ref.name, "namespace": ref.namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": "local.remediator.dev/workload:1"}]},
            },
        },
    }


def alert_about(ref: ObjectRef) -> Alert:
    labels = {"alertname": "QueueFull", "deployment": ref.name, "namespace": ref.namespace}
    return replace(FIRING, fingerprint=f"{hash(ref) % 16**16:016x}", labels=labels)


def most_at_once(moments: Sequence[tuple[Any, int, str]]) -> dict[str, int]:
    """Of each name the most that were open at once; a moment is when, how many more or fewer, and of what."""
    now: dict[str, int] = {}
    most: dict[str, int] = {}
    for _, change, name in sorted(moments):
        now[name] = now.get(name, 0) + change
        most[name] = max(most.get(name, 0), now[name])
    assert not any(now.values()), "what was opened is closed"
    return most
