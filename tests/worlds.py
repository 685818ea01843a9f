"""Runs, Runbooks and facts for tests of the engine: everything allows, until a test changes one thing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from remediator.actions import registry
from remediator.domain.alerts import Alert, Identities
from remediator.domain.changes import Edit, FieldPath, Patch, change_as_json
from remediator.domain.guardrails import Fence, Guardrail, GuardrailSpec
from remediator.domain.locks import LockState
from remediator.domain.objects import ObjectRef, Target
from remediator.domain.runs import AlertRecord, AlertSet, Run, RunTarget, StepRecord
from remediator.engine.acceptance import AcceptedPolicy, AcceptedRunbook, accept_policy, accept_runbook
from remediator.engine.acting import Occupied
from remediator.engine.facts import NOT_SUSPENDED, Facts, Seen, Surroundings, template_hash

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CHECKOUT = ObjectRef.of("Deployment", "shop", "checkout")
UID = "11111111-1111-1111-1111-111111111111"

RUNBOOK = """
targets: [Deployment]
diagnose:
- name: history
  rolloutHistory: {}
remedies:
- name: bigger
  when: diagnosis.history.revisions.size() > 1
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  verify:
  - rollout: {within: 5m}
  - alertResolved: {quietFor: 2m, within: 20m}
"""


def runbook(text: str = RUNBOOK, namespace: str = "shop") -> AcceptedRunbook:
    return accept_runbook(namespace, "queue", "rb-uid", 1, yaml.safe_load(text), registry)


def policy(book: AcceptedRunbook | None = None, **spec: Any) -> AcceptedPolicy:
    given = {
        "matchers": ['alertname="QueueFull"'],
        "runbookRef": {"name": "queue"},
        "mode": "Automatic",
        "serviceAccountName": "fixer",
        "grace": "0s",
        **spec,
    }
    return accept_policy(
        "shop", "queue", "policy-uid", 1, given, book or runbook(), operator_namespace="remediator-system", can_ask=True
    )


def deployment(**container: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "checkout",
            "namespace": "shop",
            "uid": UID,
            "generation": 3,
            "resourceVersion": "100",
            "annotations": {"team": "shop"},
        },
        "spec": {
            "replicas": 2,
            "template": {"spec": {"containers": [{"name": "app", "image": "shop:1", **container}]}},
        },
        "status": {
            "observedGeneration": 3,
            "replicas": 2,
            "updatedReplicas": 2,
            "readyReplicas": 2,
            "availableReplicas": 2,
        },
    }


def alert(name: str = "QueueFull", minutes_ago: int = 5, **labels: str) -> Alert:
    return Alert(
        fingerprint=f"{abs(hash((name, tuple(labels.items())))) % 16**16:016x}",
        status="firing",
        labels={"alertname": name, "namespace": "shop", "deployment": "checkout", **labels},
        annotations={},
        starts_at=NOON - timedelta(minutes=minutes_ago),
        ends_at=None,
        generator_url="",
    )


FIRING = alert()


def alert_set(*alerts: Alert, resolved: bool = False, received: datetime = NOON) -> AlertSet:
    identities = Identities.of(alerts).encode()
    return AlertSet(
        count=len(alerts),
        identities=identities,
        resolved=identities if resolved else "",
        names={"QueueFull": len(alerts)},
        first=[AlertRecord.of(one, received) for one in alerts],
        last_received=received,
        last_opened=received,
    )


def raise_queue(was: str | None = None) -> Patch:
    path = FieldPath.parse("/spec/template/spec/containers/[name=app]/env/[name=QUEUE]")
    before: Any = {"name": "QUEUE", "value": was} if was is not None else None
    from remediator.domain.changes import ABSENT

    edit = Edit(path, before if before is not None else ABSENT, {"name": "QUEUE", "value": "500"})
    return Patch(Target(CHECKOUT, UID), (edit,), "set QUEUE of container app to 500", replaces_pods=True)


def step(**changes: Any) -> StepRecord:
    return StepRecord(
        **{
            "name": "raise",
            "action": "setEnv",
            "target": RunTarget.of(CHECKOUT, UID),
            "change": change_as_json(raise_queue()),
            **changes,
        }
    )


def run(*, status: dict[str, Any] | None = None, alerts: AlertSet | None = None, **spec: Any) -> Run:
    """A run that was accepted, diagnosed, chosen and planned, and has changed nothing yet."""
    attempt = {
        "number": 1,
        "diagnosedAt": "2026-11-21T11:59:00Z",
        "chosenAt": "2026-11-21T11:59:00Z",
        "remedy": "bigger",
        "planHash": "abc",
        "targetTemplate": template_hash(deployment()),
        "outputs": {},
        "steps": [step().as_json()],
    }
    resolved = {
        "at": "2026-11-21T11:59:00Z",
        "runbook": {"namespace": "shop", "name": "queue", "content": "runbook-1"},
        "targetUid": UID,
        "mode": "Automatic",
        "account": "system:serviceaccount:shop:fixer",
    }
    return Run.parse(
        {
            "metadata": {
                "namespace": "shop",
                "name": "queue-1",
                "uid": "run-uid",
                "resourceVersion": "7",
                "generation": 1,
                "creationTimestamp": "2026-11-21T11:58:00Z",
            },
            "spec": {
                "runbookRef": {"name": "queue"},
                "policyRef": {"namespace": "shop", "name": "queue", "uid": "policy-uid", "generation": 1},
                "target": {"kind": "Deployment", "namespace": "shop", "name": "checkout"},
                "mode": "Automatic",
                "serviceAccountName": "fixer",
                "requestedBy": "system:serviceaccount:remediator-system:remediator",
                "episode": {
                    "key": "k",
                    "number": 1,
                    "alerts": (alerts or alert_set(FIRING)).as_json(),
                },
                **spec,
            },
            "status": {
                "startedAt": "2026-11-21T11:59:00Z",
                "resolved": resolved,
                "attempts": [attempt],
                **(status or {}),
            },
        }
    )


def fence(*allow: str, mode: str | None = None, **spec_fields: Any) -> Fence:
    given = {"allow": list(allow), **({"maxMode": mode} if mode else {}), **spec_fields}
    spec = GuardrailSpec.model_validate(given)
    return Fence((Guardrail("production", spec),))


def facts(**changes: Any) -> Facts:
    """A world in which nothing stands against raising the queue."""
    seen = Seen(obj=deployment())
    book = runbook()
    quiet = Facts(
        now=NOON,
        runbook=book,
        policy=policy(book),
        fence=fence("setEnv", "restart", "rollback"),
        target=seen,
        step_target=seen,
        can_ask=True,
        firing=(FIRING,),
        firing_source="Alertmanager",
        lock=LockState("lease"),
        missing_permissions=(),
        acting=Occupied(),
        surroundings=Surroundings(budgets=(), scalers=(), quotas=(), limit_ranges=()),
        storms=(),
        suspended=NOT_SUSPENDED,
    )
    if isinstance(changes.get("acting"), tuple):
        changes["acting"] = Occupied(changes["acting"])
    return replace(quiet, **changes)


UNREADABLE = Facts(now=NOON)
"""A world of which nothing could be read."""
