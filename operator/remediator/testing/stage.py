"""
The world of a scenario in motion: pods that crash, metrics that fall, people who meddle.

What is scripted begins at moments; a moment that waits for something counts from when it first holds.
Everything here happens between two looks of the operator, never during one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from remediator.domain.errors import NotFound, Unavailable
from remediator.domain.json import JSON, Object, dig_list, dig_object, dig_text
from remediator.domain.objects import BUILT_IN, GROUP, RUN, ObjectRef
from remediator.domain.workloads import is_rolled_out
from remediator.ports import Clock, Sample
from remediator.testing.cluster import FakeCluster
from remediator.testing.jsonpatch import patched
from remediator.testing.script import Answer, Behaviour, Happening, Moment, Release, Setting, reference

POD = BUILT_IN["Pod"]


@dataclass
class Moments:
    """When moments began to hold."""

    cluster: FakeCluster
    clock: Clock
    begun: datetime
    _since: dict[Moment, datetime] = field(default_factory=dict)

    def look(self, moments: Sequence[Moment]) -> None:
        """Those that hold at this very moment are remembered."""
        for moment in moments:
            if moment not in self._since and self._holds(moment):
                self._since[moment] = self.clock.now()

    def due(self, moment: Moment) -> datetime | None:
        """When it comes; None where that is not known yet."""
        if moment.at is not None:
            return self.begun + moment.at + moment.after
        since = self._since.get(moment)
        return since + moment.after if since is not None else None

    def has_come(self, moment: Moment | None) -> bool:
        """True also for none at all."""
        if moment is None:
            return True
        due = self.due(moment)
        return due is not None and due <= self.clock.now()

    def has_passed(self, moment: Moment | None, made: datetime) -> bool:
        """Whether it had come already when something was made."""
        due = self.due(moment) if moment is not None else None
        return due is not None and due <= made

    def _holds(self, moment: Moment) -> bool:
        if moment.changes is not None:
            made = [write for write in self.cluster.changes if write.identity.account]
            return len(made) >= moment.changes
        if moment.asked is not None:
            rounds = [one for run in self.cluster.objects(RUN) for one in dig_list(run, "status", "attempts")]
            asked = [one for each in rounds for what in ("approvals", "questions") for one in dig_list(each, what)]
            return len(asked) >= moment.asked
        if moment.healthy is not None:
            ref = reference(moment.healthy)
            return self.cluster.has(ref) and is_rolled_out(self.cluster.get(ref))
        return False


class ScriptedMetrics:
    """`ports.Metrics`: the answers of a script."""

    def __init__(self, answers: Sequence[Answer], moments: Moments, *, reachable: bool) -> None:
        self._answers = answers
        self._moments = moments
        self._reachable = reachable

    async def query(self, endpoint: str, promql: str, at: datetime) -> tuple[Sample, ...]:  # noqa: ARG002 - the port's signature
        if not self._reachable:
            raise Unavailable(f"{endpoint} did not answer within 5s")
        found = [one for one in self._answers if one.query in promql]
        if not found:
            raise AssertionError(f"the scenario gives no answer for the query {promql}")
        now = [one for one in found if self._moments.has_come(one.since)]
        if not now or now[-1].value is None:
            return ()
        return (Sample({}, now[-1].value),)


class Stage:
    """The pods and the people of a scenario."""

    def __init__(self, cluster: FakeCluster, clock: Clock, setting: Setting, moments: Moments) -> None:
        self._cluster = cluster
        self._clock = clock
        self._behaviours = setting.pods
        self._moments = moments
        self._played: dict[str, Behaviour] = {}
        self._reported: set[tuple[str, str]] = set()
        self._settled: tuple[str, ...] = ()
        cluster.controllers.never_ready = self._never_ready

    def settle(self) -> None:
        """Controllers and kubelets have done what follows from what is there; where nothing is new, nothing does."""
        seen = self._seen()
        if seen == self._settled:
            return
        self._cluster.tick()
        for pod in self._cluster.objects("Pod"):
            self._play(pod)
        self._cluster.tick()
        self._settled = self._seen()

    def _seen(self) -> tuple[str, ...]:
        """What a change of would have consequences: objects that are not ours, and the moments that have come."""
        versions = (
            dig_text(obj, "metadata", "resourceVersion")
            for (group, *_), obj in self._cluster.store.objects.items()
            if group != GROUP
        )
        moments = (m for one in self._behaviours for m in (one.since, one.until, one.cured) if m is not None)
        return (*versions, *(str(self._moments.has_come(moment)) for moment in moments))

    def release(self, release: Release) -> None:
        """A workload gets other images, as by `kubectl set image`."""

        def edit(obj: Object) -> None:
            for container in dig_list(obj, "spec", "template", "spec", "containers"):
                container["image"] = release.images.get(dig_text(container, "name"), container.get("image"))
            if release.cause:
                annotations = dig_object(obj, "metadata", "annotations")
                dig_object(obj, "metadata")["annotations"] = {
                    **annotations,
                    "kubernetes.io/change-cause": release.cause,
                }

        self._cluster.change(reference(release.of), edit)

    async def happen(self, happening: Happening) -> None:
        """Somebody does this."""
        if not happening.of:
            return
        ref = reference(happening.of)
        if happening.delete:
            await self._cluster.delete(ref)
        if happening.patch:
            self._cluster.change(ref, lambda obj: obj.update(patched(obj, happening.patch)))

    # pods

    def _never_ready(self, template: Object) -> bool:
        behaviour = self._behaviour(dig_object(template, "metadata", "labels"), template, self._clock.now())
        return behaviour is not None and not behaviour.ready

    def _behaviour(self, labels: Object, template: Object, made: datetime) -> Behaviour | None:
        fitting = [
            one
            for one in self._behaviours
            if self._moments.has_come(one.since)
            and not (one.until is not None and self._moments.has_come(one.until))
            and not self._moments.has_passed(one.cured, made)
            and self._fits(one, labels, template)
        ]
        return fitting[-1] if fitting else None

    def _fits(self, behaviour: Behaviour, labels: Object, template: Object) -> bool:
        if behaviour.image:
            images = [dig_text(one, "image") for one in dig_list(template, "spec", "containers")]
            return behaviour.image in images
        try:
            workload = self._cluster.get(reference(behaviour.of))
        except NotFound:
            return False
        wanted = dig_object(workload, "spec", "selector", "matchLabels")
        return all(labels.get(key) == value for key, value in wanted.items())

    def _play(self, pod: Object) -> None:
        uid = dig_text(pod, "metadata", "uid")
        behaviour = self._behaviour(dig_object(pod, "metadata", "labels"), pod, _made(pod))
        ref = ObjectRef.to(pod, POD)
        if behaviour is None:
            if self._played.pop(uid, None) is not None:
                self._cluster.change(ref, lambda obj: _recover(obj, self._now()))
            return
        if self._played.get(uid) != behaviour:
            self._played[uid] = behaviour
            self._cluster.change(ref, lambda obj: _suffer(obj, behaviour, self._clock.now()))
        self._say(ref, pod, behaviour)

    def _say(self, ref: ObjectRef, pod: Object, behaviour: Behaviour) -> None:
        for container in dig_list(pod, "spec", "containers"):
            name = dig_text(container, "name")
            self._cluster.put_log(ref, name, behaviour.log)
            if behaviour.restarts:
                self._cluster.put_log(ref, name, behaviour.previous_log, previous=True)
        for symptom in behaviour.events:
            self._report(pod, symptom.reason, symptom.message)
        if behaviour.usage:
            self._measure(ref, pod, behaviour)

    def _report(self, pod: Object, reason: str, message: str) -> None:
        name, uid = dig_text(pod, "metadata", "name"), dig_text(pod, "metadata", "uid")
        if (uid, reason) in self._reported:
            return
        self._reported.add((uid, reason))
        about: Object = {"kind": "Pod", "namespace": dig_text(pod, "metadata", "namespace"), "name": name, "uid": uid}
        self._cluster.add(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"{name}.{reason.lower()}", "namespace": dig_text(pod, "metadata", "namespace")},
                "involvedObject": about,
                "type": "Warning",
                "reason": reason,
                "message": message,
                "count": 1,
                "lastTimestamp": self._now(),
            }
        )

    def _measure(self, ref: ObjectRef, pod: Object, behaviour: Behaviour) -> None:
        kind = BUILT_IN["PodMetrics"]
        metrics = ObjectRef(kind.group, kind.kind, ref.namespace, ref.name)
        if self._cluster.has(metrics):
            return
        self._cluster.add(
            {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "metadata": {
                    "name": ref.name,
                    "namespace": ref.namespace,
                    "labels": dict(dig_object(pod, "metadata", "labels")),
                },
                "containers": [
                    {"name": dig_text(one, "name"), "usage": cast(JSON, dict(behaviour.usage))}
                    for one in dig_list(pod, "spec", "containers")
                ],
            }
        )

    def _now(self) -> str:
        return _rfc3339(self._clock.now())


def _made(pod: Object) -> datetime:
    return datetime.fromisoformat(dig_text(pod, "metadata", "creationTimestamp"))


def _suffer(pod: Object, behaviour: Behaviour, now: datetime) -> None:
    state: dict[str, Any] = {"running": {"startedAt": _rfc3339(now)}}
    if behaviour.waits:
        state = {"waiting": {"reason": behaviour.waits, "message": behaviour.message}}
    last: dict[str, Any] = {}
    if behaviour.ended:
        ended = _rfc3339(now - timedelta(minutes=1))
        last = {"terminated": {"reason": behaviour.ended, "exitCode": behaviour.exit_code, "finishedAt": ended}}
    _status(pod, _rfc3339(now), ready=behaviour.ready, phase=behaviour.phase)
    for status in dig_list(pod, "status", "containerStatuses"):
        if behaviour.image in ("", status.get("image")):
            status.update(ready=behaviour.ready, restartCount=behaviour.restarts, state=state, lastState=last)


def _recover(pod: Object, now: str) -> None:
    _status(pod, now, ready=True, phase="Running")
    for status in dig_list(pod, "status", "containerStatuses"):
        status.update(ready=True, state={"running": {"startedAt": now}})


def _status(pod: Object, now: str, *, ready: bool, phase: str) -> None:
    status = dig_object(pod, "status")
    text = "True" if ready else "False"
    scheduled = "False" if phase == "Pending" and not dig_text(pod, "spec", "nodeName") else "True"
    status["phase"] = phase
    status["conditions"] = [
        {"type": "Ready", "status": text, "lastTransitionTime": now},
        {"type": "ContainersReady", "status": text},
        {"type": "PodScheduled", "status": scheduled},
    ]
    pod["status"] = status


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
