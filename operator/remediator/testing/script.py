"""
What stands in a playbook's `scenario.yaml`.

A file has a `world`, in which all its scenarios begin, and the `scenarios`. Each says what else is
different in its world, which alerts fire, what happens meanwhile, and how the run ends. Fields that
nobody knows are refused, so that a misspelt fault is not a test of nothing.
"""

from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from remediator.domain.durations import GoDuration
from remediator.domain.objects import ObjectRef
from remediator.domain.replies import ReplyType

NAME: Final = r"^[a-z][a-z0-9-]{0,59}$"


class Part(BaseModel):
    """The root of everything in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Moment(Part):
    """
    When something happens: `{at: 2m}`, `{changes: 1, after: 30s}`, `{healthy: Deployment shop/checkout}`, `{asked: 1}`.

    Exactly one of the four; it counts from the moment in which it first holds.
    """

    at: GoDuration | None = Field(default=None, description="So long after the beginning.")
    changes: int | None = Field(default=None, ge=1, description="The operator has made so many changes.")
    healthy: str | None = Field(default=None, description="The workload is rolled out, and all its pods are ready.")
    asked: int | None = Field(default=None, ge=1, description="People have been asked so many things.")
    after: GoDuration = Field(default=timedelta(0), description="So much later.")

    @model_validator(mode="after")
    def _one_way(self) -> "Moment":
        if sum(value is not None for value in (self.at, self.changes, self.healthy, self.asked)) != 1:
            raise ValueError("a moment is one of `at`, `changes`, `healthy`, `asked`")
        return self


class Release(Part):
    """A release before the scenario begins; the objects stand for the first one."""

    of: str = Field(description="The workload: `Deployment shop/checkout`.")
    ago: GoDuration = Field(description="How long before the beginning.")
    images: dict[str, str] = Field(description="The image of each container that it changed.")
    cause: str = Field(default="", description="What `kubectl rollout history` shows as change cause.")


class Symptom(Part):
    """An event that the kubelet reports about each pod."""

    reason: str = Field(description="Its reason: `FailedMount`.")
    message: str = Field(description="Its sentence.")


class Behaviour(Part):
    """How pods do, between two moments; of several that fit the last one counts."""

    of: str = Field(default="", description="Pods of this workload: `Deployment shop/checkout`.")
    image: str = Field(default="", description="Pods with a container of this image.")
    since: Moment | None = Field(default=None, description="From here on; default: always.")
    until: Moment | None = Field(default=None, description="Up to here; default: for ever. Then they are healthy.")
    cured: Moment | None = Field(default=None, description="Pods that are made from here on are healthy.")
    ready: bool = Field(default=False, description="Whether they are ready.")
    phase: str = Field(default="Running", description="The pods' phase.")
    waits: str = Field(default="", description="Why the container waits: `CrashLoopBackOff`.")
    message: str = Field(default="", description="The kubelet's sentence about that.")
    ended: str = Field(default="", description="How it last ended: `OOMKilled`, `Error`.")
    exit_code: int = Field(default=1, description="And with which code.")
    restarts: int = Field(default=0, description="How often it was restarted.")
    log: str = Field(default="", description="What its log says.")
    previous_log: str = Field(default="", description="What its log said before it was last restarted.")
    events: list[Symptom] = Field(default_factory=list, description="What the kubelet reports of each pod.")
    usage: dict[str, str] = Field(default_factory=dict, description="What the container uses: `{cpu: 900m}`.")

    @model_validator(mode="after")
    def _one_way(self) -> "Behaviour":
        if bool(self.of) == bool(self.image):
            raise ValueError("pods are named by `of` or by `image`")
        return self


class Answer(Part):
    """What Prometheus answers to queries that hold this text; of several the last one counts."""

    query: str = Field(description="Part of the query.")
    since: Moment | None = Field(default=None, description="From here on; default: always.")
    value: float | None = Field(default=None, description="One series with this value; absent: no series.")


class Denial(Part):
    """What the account of the runs may not do."""

    verb: str = Field(description="`list`; `*` for all.")
    resource: str = Field(description="`pods/log`; `*` for all.")


class Refusal(Part):
    """Writes that an admission policy refuses."""

    kind: str = Field(description="The kind of the object.")
    message: str = Field(description="Its sentence.")


class Setting(Part):
    """
    The world in which a scenario begins.

    Of file and scenario, lists are joined and the rest is replaced; of an object that both have, the
    scenario's counts.
    """

    objects: list[dict[str, Any]] = Field(default_factory=list, description="What is in the cluster, as manifests.")
    releases: list[Release] = Field(default_factory=list, description="What was released before.")
    pods: list[Behaviour] = Field(default_factory=list, description="How pods do that are not well.")
    metrics: list[Answer] = Field(default_factory=list, description="What Prometheus answers.")
    denied: list[Denial] = Field(default_factory=list, description="What the account may not do.")
    refused: list[Refusal] = Field(default_factory=list, description="What the API server refuses to store.")
    receivers: list[str] = Field(default_factory=list, description="The receivers there are.")
    allow: list[str] | None = Field(default=None, description="What the Guardrail allows; default: every change.")
    max_mode: str = Field(default="", description="The highest mode that the Guardrail allows.")
    prometheus: bool = Field(default=True, description="Whether Prometheus can be reached.")
    alertmanager: bool = Field(default=True, description="Whether Alertmanager can be asked what still fires.")

    def with_(self, other: "Setting") -> "Setting":
        """Both together; the other one goes before."""
        joined: dict[str, Any] = {}
        for name in other.model_fields_set:
            mine, its = getattr(self, name), getattr(other, name)
            joined[name] = [*mine, *its] if isinstance(its, list) and isinstance(mine, list) else its
        if "allow" in other.model_fields_set:
            joined["allow"] = other.allow
        named = {_identity(obj): obj for obj in [*self.objects, *other.objects]}
        joined["objects"] = list(named.values())
        return self.model_copy(update=joined)


def _identity(obj: dict[str, Any]) -> tuple[str, ...]:
    metadata = obj.get("metadata", {})
    return str(obj.get("kind")), str(metadata.get("namespace")), str(metadata.get("name"))


class Firing(Part):
    """An alert, as Alertmanager sends it to the operator."""

    at: GoDuration = Field(default=timedelta(0), description="When it is sent, after the beginning.")
    since: GoDuration = Field(default=timedelta(minutes=5), description="How long it has been firing then.")
    labels: dict[str, str] = Field(description="Its labels.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Its annotations.")


class Word(Part):
    """What a person says to the run that is open; an Approve or Deny is about the plan that it asks about."""

    type: ReplyType = Field(description="As in a Reply.")
    user: str = Field(description="Who says it.")
    groups: list[str] = Field(default_factory=list, description="The groups of that person that shall count.")
    step: str = Field(default="", description="The step that is answered.")
    answer: str = Field(default="", description="The answer.")
    reason: str = Field(default="", description="Why.")


class Happening(Part):
    """What somebody else does meanwhile."""

    when: Moment = Field(description="When.")
    says: str = Field(description="One sentence for the transcript.")
    of: str = Field(default="", description="The object that is patched or deleted: `Deployment shop/checkout`.")
    patch: list[dict[str, Any]] = Field(default_factory=list, description="A JSON patch of the object.")
    delete: bool = Field(default=False, description="The object is deleted.")
    reply: Word | None = Field(default=None, description="Somebody speaks to the run.")
    restart_operator: bool = Field(default=False, description="The operator is started anew and remembers nothing.")


class Expectation(Part):
    """How the run ends; of several runs, the first, and `then` the second."""

    outcome: str = Field(description="Its outcome.")
    remedy: str = Field(default="", description="The remedy that was carried out last; empty: none.")
    reason: str = Field(default="", description="The reason of its end; empty: any.")
    then: "Expectation | None" = Field(default=None, description="How the second run ends; absent: any way.")


class Scenario(Part):
    """One story."""

    name: str = Field(pattern=NAME, description="What it is called; its transcript is `transcript-NAME.txt`.")
    title: str = Field(description="What it shows, in one sentence.")
    world: Setting = Field(default_factory=Setting, description="What is different from the file's world.")
    policy: dict[str, Any] = Field(default_factory=dict, description="Merged into the policy's spec.")
    run: dict[str, Any] = Field(default_factory=dict, description="Merged into the spec of the run by hand.")
    again: GoDuration | None = Field(default=None, description="The run by hand is asked for once more, this late.")
    alerts: list[Firing] | None = Field(default=None, description="The alerts; default: the file's.")
    resolves: Moment | None = Field(default=None, description="When all alerts resolve; default: never.")
    meanwhile: list[Happening] = Field(default_factory=list, description="What somebody else does.")
    within: GoDuration = Field(default=timedelta(hours=4), description="When the story is over at the latest.")
    expect: Expectation = Field(description="How it ends.")


class Script(Part):
    """A whole file."""

    world: Setting = Field(description="What all scenarios begin with.")
    alerts: list[Firing] = Field(default_factory=list, description="The alerts of scenarios that name none.")
    scenarios: list[Scenario] = Field(min_length=1, description="The stories.")

    def scenario(self, name: str) -> Scenario:
        """Raises KeyError for a name that there is not; without a name the only one."""
        found = [one for one in self.scenarios if name in ("", one.name)]
        if len(found) != 1:
            raise KeyError(f"name one of the scenarios: {', '.join(one.name for one in self.scenarios)}")
        return found[0]


def read_script(path: Path) -> Script:
    """The file. Raises pydantic's ValidationError where it is not of this form."""
    return _read(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=32)  # a folder of scenarios is read once, not once for each of them
def _read(text: str) -> Script:
    return Script.model_validate(yaml.safe_load(text))


def reference(text: str) -> ObjectRef:
    """The object that `Deployment shop/checkout`, or `Node node-1`, names."""
    kind, _, place = text.partition(" ")
    namespace, _, name = place.rpartition("/")
    return ObjectRef.of(kind, namespace, name)
