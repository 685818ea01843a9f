"""One workload, one policy, one alert: the smallest world in which the whole flow can be watched."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import yaml

from known import Given
from remediator.actions import registry
from remediator.domain.alerts import Alert
from remediator.domain.json import Object, dig_list
from remediator.domain.objects import ObjectRef
from remediator.domain.runs import Run
from remediator.engine.acceptance import accept_policy, accept_runbook
from remediator.testing import NOON
from remediator.testing.world import World
from worlds import fence

CHECKOUT = ObjectRef.of("Deployment", "shop", "checkout")
REDIS = ObjectRef.of("Deployment", "shop", "redis")
FIXER = "system:serviceaccount:shop:fixer"
ALLOWED = ("setEnv", "restart", "rollback", "scale", "deletePod")

FIRING = Alert(
    fingerprint="4f2a81c09be2d713",
    status="firing",
    labels={"alertname": "QueueFull", "namespace": "shop", "deployment": "checkout"},
    annotations={},
    starts_at=NOON - timedelta(minutes=5),
    ends_at=None,
    generator_url="",
)


PODS = """
- name: pods
  get: {kind: Pod, related: owned}
"""

PODS_ANEW = """
- name: anew
  steps:
  - name: remove
    forEach: diagnosis.pods.items
    maxItems: 3
    target: {kind: Pod, name: '${item.name}'}
    deletePod: {}
"""
"""A remedy for the target's pods, which `PODS` looks at; what follows here belongs to it."""


def deployment(name: str = "checkout", image: str = "shop:1", replicas: int = 2) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": image}]},
            },
        },
    }


def world(book: str, *, allow: tuple[str, ...] = ALLOWED, objects: tuple[Object, ...] = (), **policy: Any) -> World:
    """A world with the Deployment shop/checkout, this Runbook, and a policy that may carry it out."""
    accepted = accept_runbook("shop", "queue", "rb-uid", 1, yaml.safe_load(book), registry)
    spec = {
        "matchers": ['alertname="QueueFull"'],
        "runbookRef": {"name": "queue"},
        "mode": "Automatic",
        "serviceAccountName": "fixer",
        "grace": "0s",
        **policy,
    }
    known = Given(book=accepted, allowed=fence(*allow))
    known.policy = accept_policy(
        "shop", "queue", "policy-uid", 1, spec, accepted, operator_namespace="remediator-system", can_ask=True
    )
    made = World(known)
    made.cluster.add(deployment(), *objects)
    made.cluster.tick()
    return made


async def fired(made: World, *alerts: Alert) -> Run:
    """The run that the alert has opened."""
    known = made.outside.definitions
    assert isinstance(known, Given)
    return await made.open_run(known.policy, CHECKOUT, *(alerts or (FIRING,)))


async def carried_out(made: World, *, within: timedelta = timedelta(hours=4)) -> Run:
    return await made.settle(await fired(made), within=within)


def env(made: World, name: str, ref: ObjectRef = CHECKOUT) -> str | None:
    """The value of a variable of the only container."""
    containers = dig_list(made.cluster.get(ref), "spec", "template", "spec", "containers")
    found: Mapping[str, Any] = {str(entry["name"]): entry.get("value") for entry in dig_list(containers[0], "env")}
    return found.get(name)


def changes(made: World, ref: ObjectRef = CHECKOUT) -> int:
    """How many writes the account made to the object; dry runs do not count."""
    return len([write for write in made.cluster.changes if write.ref == ref and write.identity.account])


def steps(run: Run) -> dict[str, str]:
    """The last round's steps and how they ended."""
    return {step.label: str(step.state) for step in run.status.attempts[-1].steps}
