"""
The shops of a seed: a Deployment each, and the four ways in which its alert ends.

The Runbooks and policies are the namespace's and serve all seeds; what is made for a seed is cheap.
"""

import enum
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from chaos.sources import Signal
from localcluster.operator import TENANT_ACCOUNT

WANTED = "500"
SEED = "chaos/seed"
DEPTH = {"name": "depth", "promql": {"query": "max(queue_depth)"}}
Object = dict[str, Any]


class Story(enum.StrEnum):
    """What a shop's alert is about, and so which policy wants it."""

    CURED = "cured"
    """The change helps, and the alert resolves."""
    STUCK = "stuck"
    """The change does not help; it is taken back."""
    BORROWED = "borrowed"
    """The change helps, and is taken back after a second."""
    TWO = "two"
    """It takes two changes, one after the other, if Prometheus says that the queue is full."""
    RIVAL = "rival"
    """Another policy wants to change the same object, for the same alert."""

    @property
    def alertname(self) -> str:
        return f"Queue{self.capitalize()}"

    @property
    def matcher(self) -> str:
        """What the policy of this name wants."""
        return 'rival="yes"' if self is Story.RIVAL else f'alertname="{self.alertname}"'

    @property
    def changes(self) -> int:
        """How many a run makes at most."""
        return 1 if self in (Story.CURED, Story.RIVAL) else 2


OF_A_SHOP = (Story.CURED, Story.STUCK, Story.BORROWED, Story.TWO)
"""Each shop has one of these; some have a rival besides."""


def runbook(namespace: str, story: Story, *, description: str = "The queue is full.") -> Object:
    def raised(name: str, variable: str, **more: Any) -> Object:
        return {"name": name, "setEnv": {"container": "app", "vars": {variable: {"value": WANTED}}}, **more}

    variable = "RIVAL" if story is Story.RIVAL else "QUEUE"
    steps = [raised("raise", variable, **({"ttl": "1s"} if story is Story.BORROWED else {}))]
    if story is Story.TWO:
        # a patience of its own keeps it apart from the change before it
        steps.append(raised("again", "SECOND", timeout="1m"))
    remedy = {"name": "bigger", "steps": steps, "ifNotHelped": "Undo" if story is Story.STUCK else "Keep"}
    if story is Story.TWO:
        remedy["when"] = "diagnosis.depth.value > 100.0"
    return {
        "apiVersion": "remediator.dev/v1alpha1",
        "kind": "Runbook",
        "metadata": {"namespace": namespace, "name": story.value},
        "spec": {
            "description": description,
            "targets": ["Deployment"],
            "diagnose": [{"name": "history", "rolloutHistory": {}}, *([DEPTH] if story is Story.TWO else [])],
            "remedies": [remedy],
            "verify": [
                {"rollout": {"within": "20s"}},
                {"alertResolved": {"quietFor": "1s", "within": "2s" if story is Story.STUCK else "6s"}},
            ],
        },
    }


def policy(namespace: str, story: Story) -> Object:
    return {
        "apiVersion": "remediator.dev/v1alpha1",
        "kind": "AlertPolicy",
        "metadata": {"namespace": namespace, "name": story.value},
        "spec": {
            "matchers": [story.matcher],
            "runbookRef": {"name": story.value},
            "mode": "Automatic",
            "serviceAccountName": TENANT_ACCOUNT,
            "grace": "0s",
            "limits": {"cooldown": "0s", "perHour": 20, "concurrent": 1000},
        },
    }


@dataclass(frozen=True)
class Shop:
    """One Deployment, and what happens to its alert; the times are seconds since the seed's begin."""

    seed: str
    namespace: str
    name: str
    story: Story
    fires: tuple[tuple[float, float], ...]
    """From when to when, by itself; a cure ends the last of them earlier."""
    has_rival: bool = False

    @property
    def target(self) -> str:
        return f"Deployment/{self.namespace}/{self.name}"

    @property
    def policies(self) -> tuple[str, ...]:
        """Those that want its alerts."""
        stories = (self.story, Story.RIVAL) if self.has_rival else (self.story,)
        return tuple(f"{self.namespace}/{story.value}" for story in stories)

    @property
    def is_curable(self) -> bool:
        return self.story is not Story.STUCK

    def signal(self, number: int, epoch: int) -> Signal:
        """Its n-th alert: each start is a few seconds after the one before, and all are in the past."""
        return Signal(self.story.alertname, self.namespace, self.name, epoch - 600 + 7 * number, self.has_rival)

    @cached_property
    def manifest(self) -> Object:
        labels = {SEED: self.seed}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"namespace": self.namespace, "name": self.name, "labels": labels},
            "spec": {
                # no node is needed for none, and the controllers carry a rollout of none through as any other
                "replicas": 0,
                "selector": {"matchLabels": {"app": self.name}},
                "template": {
                    "metadata": {"labels": {"app": self.name}},
                    "spec": {"containers": [{"name": "app", "image": "local.remediator.dev/workload:1"}]},
                },
            },
        }
