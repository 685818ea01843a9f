"""
Two processes that both believe to lead, and one run that has to change one object.

The operator's own shell is run (`handlers.runs.Reconciler` with everything behind it), from a plan that is
made to the end of the run; the object's controllers do at once what they have to.
"""

import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from known import Given
from model.histories import Surroundings
from model.leading import Leader, LockingLeader
from model.search import Actor, Configuration, Happening, Search, State, Step
from model.server import OPERATOR_NAMESPACE, Server, Slots
from remediator.adapters.locks import HOLDER_UID
from remediator.adapters.locks import LEASE as LEASE_KIND
from remediator.domain.changes import RUN_STAMP, STEP_STAMP, VOID_STAMP
from remediator.domain.json import Object, dig, dig_int, dig_list, dig_object, dig_text
from remediator.domain.locks import LockState
from remediator.domain.names import lease_name
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import Run
from remediator.engine.election import EPOCH_NAME, epoch_object, epoch_of
from remediator.engine.suspension import NAME as SWITCH_NAME
from remediator.engine.suspension import switch_object
from remediator.testing.admission import LeaderPolicies, SwitchPolicies
from worlds import CHECKOUT, FIRING, NOON, UID, deployment, fence, policy, run, runbook

BOOK: Final = runbook(
    """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  verify:
  - rollout: {within: 5m}
"""
)
THE_RUN: Final = ObjectRef(RUN.group, RUN.kind, "shop", "queue-1")
ANOTHER_RUN: Final = ObjectRef(RUN.group, RUN.kind, "shop", "queue-2")
LEASE: Final = ObjectRef(LEASE_KIND.group, LEASE_KIND.kind, OPERATOR_NAMESPACE, lease_name(CHECKOUT))
SWITCH: Final = ObjectRef.of("ConfigMap", OPERATOR_NAMESPACE, SWITCH_NAME)
EPOCH: Final = ObjectRef.of("ConfigMap", OPERATOR_NAMESPACE, EPOCH_NAME)
LOCKED: Final = LockState(lease_name(CHECKOUT), CHECKOUT, "shop/queue-1", "run-uid", resource_version="1")


def as_stored(one: Run) -> Object:
    """A run as the API server would hold it."""
    return {
        "apiVersion": RUN.api_version,
        "kind": RUN.kind,
        "metadata": {
            "namespace": one.namespace,
            "name": one.name,
            "uid": one.uid,
            "generation": one.generation,
            "creationTimestamp": "2026-11-21T11:58:00Z",
        },
        "spec": one.spec.as_json(),
        "status": one.status.as_json(),
    }


def rolled_out(obj: Object) -> None:
    """The controllers have done what the object asks for."""
    if dig_text(obj, "kind") in ("Deployment", "StatefulSet"):
        dig_object(obj, "status")["observedGeneration"] = dig_int(obj, "metadata", "generation")


# what stands on the objects


class Planned(NamedTuple):
    """A step, as the record has it."""

    uid: str
    path: str
    was: Any
    to: Any
    undoing: bool
    state: str


class RunView(NamedTuple):
    uid: str
    outcome: str
    steps: Mapping[str, Planned]
    owed: frozenset[str]


class TargetView(NamedTuple):
    uid: str
    run: str
    stamp: str
    void: str
    queue: str | None


def view_of_run(obj: Object) -> RunView:
    steps = {}
    for attempt in dig_list(obj, "status", "attempts"):
        for undoing, kind in ((False, "steps"), (True, "undo")):
            for step in dig_list(attempt, kind):
                edits = dig_list(step, "change", "edits")
                edit = edits[0] if edits else {}
                steps[dig_text(step, "token")] = Planned(
                    dig_text(step, "change", "target", "uid"),
                    dig_text(edit, "path"),
                    dig(edit, "was", "value"),
                    dig(edit, "to", "value"),
                    undoing,
                    dig_text(step, "state"),
                )
    debts = [dig_text(debt, "token") for debt in dig_list(obj, "status", "debts") if dig_text(debt, "state") == "Owed"]
    return RunView(dig_text(obj, "metadata", "uid"), dig_text(obj, "status", "outcome"), steps, frozenset(debts))


def view_of_target(obj: Object) -> TargetView:
    annotations = dig_object(obj, "metadata", "annotations")
    return TargetView(
        dig_text(obj, "metadata", "uid"),
        dig_text(annotations, RUN_STAMP),
        dig_text(annotations, STEP_STAMP),
        dig_text(annotations, VOID_STAMP),
        queue_of(obj),
    )


def holder_of(lease: Object) -> str:
    return dig_text(lease, "metadata", "annotations", HOLDER_UID)


def queue_of(obj: Object) -> str | None:
    containers = dig_list(obj, "spec", "template", "spec", "containers")
    found = [entry.get("value") for entry in dig_list(containers[0], "env") if entry.get("name") == "QUEUE"]
    return str(found[0]) if found else None


class Seen(NamedTuple):
    """What has to be remembered to judge the next step."""

    landed: tuple[str, ...]
    voided: tuple[str, ...]
    ended: tuple[bool, ...]
    """Which objects are runs that have ended, whatever was written over that afterwards."""
    old_news: tuple[bool, ...]
    """For each process whether the alert was over when its piece of work began."""


@dataclass(frozen=True)
class ChangesAreMadeOnce:
    """E1, E2, E2a, E3, E4 and E8, or only those of them that are named."""

    only: frozenset[str] = frozenset()

    def initial(self, search: Search) -> Seen:
        processes, places = len(search.configuration.actors), len(search.server.names)
        return Seen((), (), (False,) * places, (False,) * processes)

    def saw(self, search: Search, step: Step, slots: Slots, around: Surroundings) -> tuple[Hashable, str]:
        seen: Seen = step.before.observed
        if step.process < 0 or step.what in ("dies", "hears"):
            return seen, ""
        if step.fresh:
            old = (*seen.old_news[: step.process], not around.firing, *seen.old_news[step.process + 1 :])
            seen = seen._replace(old_news=old)
        if step.applied is None:
            return seen, ""
        request = search.server.requests[step.request]
        ref = request.ref
        at = search.server.index[ref.group, ref.kind, ref.namespace, ref.name]
        if ref.kind == RUN.kind:
            broken = self._overtaken(search, step, at, slots)
            return self._of_record(search, seen, step, at, slots), broken if self._asks_for(broken) else ""
        if step.applied.moved < 0 or not request.identity.account:
            return seen, ""
        after: TargetView = search.look(slots[at], view_of_target)
        if request.identity.void:
            return seen._replace(voided=_with(seen.voided, after.void)), ""
        before: TargetView = search.look(step.before.slots[at], view_of_target)
        broken = (one for one in self._broken(search, seen, step, before, after) if self._asks_for(one))
        return seen._replace(landed=_with(seen.landed, after.stamp)), next(broken, "")

    def _asks_for(self, broken: str) -> bool:
        return not self.only or broken.partition(" ")[0] in self.only

    def at_rest(self, search: Search, state: State) -> str:
        return ""

    def _overtaken(self, search: Search, step: Step, at: int, slots: Slots) -> str:
        """An intent that was accepted of a leader after a later one had raised the epoch."""
        program = search.configuration.actors[step.process].program
        if EPOCH not in search.server.names or not isinstance(program, Leader):
            return ""
        before = search.look(step.before.slots[at], _intended) or frozenset()
        fresh = (search.look(slots[at], _intended) or frozenset()) - before
        late = fresh and program.epoch < epoch_now(search, step.before)
        return "EPOCH a leader intends something after a later one has raised the epoch" if late else ""

    def _of_record(self, search: Search, seen: Seen, step: Step, at: int, slots: Slots) -> Seen:
        if step.applied is not None and step.applied.moved >= 0:
            record: RunView | None = search.look(slots[at], view_of_run)
            ended = record is not None and (seen.ended[at] or bool(record.outcome))
            seen = seen._replace(ended=(*seen.ended[:at], ended, *seen.ended[at + 1 :]))
        return seen

    def _broken(self, search: Search, seen: Seen, step: Step, before: TargetView, after: TargetView) -> Iterator[str]:
        token = after.stamp
        namespace, _, name = after.run.partition("/")
        at = search.server.index[RUN.group, RUN.kind, namespace, name]
        record: RunView | None = search.look(step.before.slots[at], view_of_run)
        planned = record.steps.get(token) if record is not None else None
        if token in seen.landed:
            yield f"E1 two changes for one token ({token[:8]})"
        if token in seen.voided:
            yield f"E2 a change lands after its step was given up ({token[:8]})"
        if record is None or (seen.ended[at] and not (planned is not None and planned.undoing)):
            yield f"E2 a change lands after its run ended ({token[:8]})"
        if planned is None:
            yield f"E2a a change lands that no record knows of ({token[:8]})"
        elif planned.state != "Intended":
            yield f"E2a a change lands after another leader wrote that its step is {planned.state} ({token[:8]})"
        if planned is not None and before.queue not in (planned.was, planned.to):
            yield f"E3 somebody else's value {before.queue} is overwritten ({token[:8]})"
        if seen.old_news[step.process] and not (planned is not None and planned.undoing):
            yield f"E4 a change lands whose alert was over before anybody looked ({token[:8]})"
        if SWITCH in search.server.names and search.look(step.before.slots[search.server.names.index(SWITCH)], bool):
            yield f"SWITCH a change lands while everything is suspended ({token[:8]})"
        if LEASE in search.server.names:
            holder = search.look(step.before.slots[search.server.names.index(LEASE)], holder_of)
            if record is not None and holder != record.uid:
                yield f"L1 a change lands while {holder or 'nobody'} holds the lock of its object ({token[:8]})"
        if planned is not None and planned.uid != before.uid:
            yield f"E8 another object is changed ({token[:8]})"


def _intended(run: Object) -> frozenset[str]:
    return frozenset(token for token, step in view_of_run(run).steps.items() if step.state == "Intended")


def _with(tokens: tuple[str, ...], token: str) -> tuple[str, ...]:
    return tokens if token in tokens else tuple(sorted((*tokens, token)))


# what others do


def _edited(search: Search, state: State, ref: ObjectRef) -> tuple[int, Object | None]:
    at = search.server.index[ref.group, ref.kind, ref.namespace, ref.name]
    return at, search.server.object(state.slots[at])


def alert_resolves(search: Search, state: State) -> Iterator[tuple[Slots, Surroundings]]:
    """The alert is over, at its source and on the run's record (by an attach of intake)."""
    if not state.around.firing:
        return
    at, obj = _edited(search, state, THE_RUN)
    if obj is None or dig_text(obj, "status", "outcome"):
        yield state.slots, Surroundings(state.around.tick)
        return
    alerts = Run.parse(obj).alerts
    over = alerts.model_copy(update={"resolved": alerts.identities})
    dig_object(obj, "status")["alerts"] = over.as_json()
    yield search.server.edited(state.slots, at, obj), Surroundings(state.around.tick)


def gitops_replaces(search: Search, state: State) -> Iterator[tuple[Slots, Surroundings]]:
    """A GitOps controller puts back what it has, stamps and all."""
    at, obj = _edited(search, state, CHECKOUT)
    if obj is None:
        return
    fresh = deployment()
    was = view_of_target(obj)
    if was.queue is None and not was.stamp and not was.void:
        return
    metadata, before = dig_object(fresh, "metadata"), dig_object(obj, "metadata")
    metadata["uid"], metadata["generation"] = before["uid"], dig_int(obj, "metadata", "generation") + 1
    yield search.server.edited(state.slots, at, fresh), state.around


def somebody_edits(search: Search, state: State) -> Iterator[tuple[Slots, Surroundings]]:
    """Somebody sets the value himself."""
    at, obj = _edited(search, state, CHECKOUT)
    if obj is None or queue_of(obj) == "700":
        return
    dig_list(obj, "spec", "template", "spec", "containers")[0]["env"] = [{"name": "QUEUE", "value": "700"}]
    dig_object(obj, "metadata")["generation"] = dig_int(obj, "metadata", "generation") + 1
    yield search.server.edited(state.slots, at, obj), state.around


def somebody_annotates(search: Search, state: State) -> Iterator[tuple[Slots, Surroundings]]:
    """Somebody writes something of his own to the object."""
    at, obj = _edited(search, state, CHECKOUT)
    if obj is None:
        return
    dig_object(obj, "metadata", "annotations")["note"] = "seen"
    dig_object(obj, "metadata")["generation"] = dig_int(obj, "metadata", "generation") + 1
    yield search.server.edited(state.slots, at, obj), state.around


def target_is_created_anew(search: Search, state: State) -> Iterator[tuple[Slots, Surroundings]]:
    """Somebody deletes the object and creates one of the same name."""
    at, obj = _edited(search, state, CHECKOUT)
    if obj is None or dig_text(obj, "metadata", "uid") != UID:
        return
    fresh = deployment()
    dig_object(fresh, "metadata").update(uid="22222222-2222-2222-2222-222222222222", generation=3)
    yield search.server.edited(state.slots, at, fresh), state.around


def a_later_step_is_given_up(search: Search, state: State) -> Iterator[tuple[Slots, Surroundings]]:
    """After the run has ended, a later one gives a step of its own up on the same object."""
    if everything_has_ended(search, state):
        at, obj = _edited(search, state, search.server.names[1])
        assert obj is not None, "nobody deletes it"
        dig_object(obj, "metadata", "annotations")[VOID_STAMP] = "1a7e51a7e51a7e51"
        yield search.server.edited(state.slots, at, obj), state.around


def gitops_drops_annotations(search: Search, state: State) -> Iterator[tuple[Slots, Surroundings]]:
    """A GitOps controller takes off what it does not know, and finds nothing else to put back."""
    at, obj = _edited(search, state, search.server.names[1])
    if obj is not None and view_of_target(obj).void:
        dig_object(obj, "metadata")["annotations"] = {"team": "shop"}
        yield search.server.edited(state.slots, at, obj), state.around


def switch_is_pulled(search: Search, state: State) -> Iterator[tuple[Slots, Surroundings]]:
    """Everything is suspended; no process has heard of it yet."""
    at = search.server.names.index(SWITCH)
    pulled: Object = {"apiVersion": "v1", "kind": "ConfigMap", **switch_object(OPERATOR_NAMESPACE, "a test", "alice")}
    dig_object(pulled, "metadata")["uid"] = "switch"
    yield search.server.edited(state.slots, at, pulled), state.around


RESOLVED: Final = Happening("the alert resolves", alert_resolves)
REPLACED: Final = Happening("GitOps replaces the object", gitops_replaces)
EDITED: Final = Happening("somebody edits the value", somebody_edits)
ANNOTATED: Final = Happening("somebody annotates the object", somebody_annotates)
ANEW: Final = Happening("the object is deleted and created anew", target_is_created_anew)

PULLED: Final = Happening("the switch is pulled", switch_is_pulled)
OVERWRITTEN: Final = Happening("a later run's step is given up on the object", a_later_step_is_given_up)
DROPPED: Final = Happening("GitOps drops the annotations that it does not know", gitops_drops_annotations)


# what there is


def is_open(search: Search, state: State, work: tuple[str, str]) -> bool:
    at, obj = search.server.index[RUN.group, RUN.kind, *work], None
    obj = search.look(state.slots[at], view_of_run)
    return obj is not None and not obj.outcome


def everything_has_ended(search: Search, state: State) -> bool:
    return all(
        not isinstance(view, RunView) or bool(view.outcome)
        for ref, at in zip(search.server.names, state.slots, strict=True)
        if ref.kind == RUN.kind
        for view in [search.look(at, view_of_run)]
    )


def leader(*held: LockState, epoch: int = 0) -> Leader:
    given = Given(book=BOOK, allowed=fence("setEnv", "restart"))
    given.policy = policy(BOOK, limits={"cooldown": "0s"})
    return Leader(given, BOOK, "runbook-1", held or (LOCKED,), epoch)


def leads(i: int) -> Callable[[Search, State, tuple[str, str]], bool]:
    """Whether the run is open, and the process of this number has come to lead by now, be it deposed or not."""

    def may_begin(search: Search, state: State, work: tuple[str, str]) -> bool:
        return epoch_now(search, state) > i and is_open(search, state, work)

    return may_begin


def epoch_now(search: Search, state: State) -> int:
    return int(search.look(state.slots[search.server.names.index(EPOCH)], epoch_of))


def another_takes_over(search: Search, state: State) -> Iterator[tuple[Slots, Surroundings]]:
    """The next process has raised the epoch; the one before may not know."""
    epoch = epoch_now(search, state) + 1
    if epoch <= sum(isinstance(actor.program, Leader) for actor in search.configuration.actors):
        at = search.server.names.index(EPOCH)
        yield search.server.edited(state.slots, at, epoch_object(OPERATOR_NAMESPACE, epoch, "", NOON)), state.around


def one_change(
    *happenings: Happening,
    leaders: int = 2,
    crashes: int = 0,
    lost: int = 0,
    locked: bool = True,
    epochs: bool = False,
) -> Configuration:
    """
    One run with its plan made, and its lock taken or not, and so many leaders.

    With `epochs` they come to lead one after the other, and the API server refuses what an earlier one
    intends; without, all of them believe to lead from the beginning, and nobody tells them apart.
    """
    record = as_stored(run())
    if locked:
        dig_object(record, "status")["locks"] = [LOCKED.name]
        dig_list(record, "status", "attempts")[0]["lockedAt"] = "2026-11-21T11:59:30Z"
    work = (("shop", "queue-1"),)
    stored = {THE_RUN.name: record, CHECKOUT.name: deployment()}
    if epochs:
        stored[EPOCH.name] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            **epoch_object(OPERATOR_NAMESPACE, 1, "", NOON),
        }
    return Configuration(
        names=(THE_RUN, CHECKOUT, *((EPOCH,) if epochs else ())),
        stored=stored,
        actors=tuple(
            Actor(
                f"leader {'ABC'[i]}",
                leader(epoch=i + 1 if epochs else 0),
                work,
                works_when=leads(i) if epochs else is_open,
            )
            for i in range(leaders)
        ),
        observer=ChangesAreMadeOnce(),
        around=Surroundings(0, ("queue",)),
        alerts={"queue": FIRING},
        crashes=crashes,
        lost=lost,
        happenings=(
            *happenings,
            *((Happening("another leader takes over", another_takes_over, leaders - 1),) if epochs else ()),
        ),
        admission=(EPOCH.name,) if epochs else (),
        rules=lambda server: server.refuse_when(LeaderPolicies(server.cluster, OPERATOR_NAMESPACE).objection),
        settle=rolled_out,
        rests=everything_has_ended,
    )


def one_undo(*happenings: Happening, **bounds: Any) -> Configuration:
    """One run whose change did not help, so that it is taken back."""
    it = one_change(*happenings, **bounds)
    record = as_stored(run())
    attempt = dig_list(record, "status", "attempts")[0]
    made = dig_list(attempt, "steps")[0]
    token = "c0ffee0000000001"
    made.update(state="Done", token=token, generation=3, generationAfter=4, resourceVersion="1")
    made.update(dict.fromkeys(("intendedAt", "startedAt", "endedAt"), "2026-11-21T11:59:30Z"))
    attempt.update(lockedAt="2026-11-21T11:59:30Z", verifyingSince="2026-11-21T11:59:40Z", verdict="Disproved")
    dig_object(record, "status")["locks"] = [LOCKED.name]
    target = deployment(env=[{"name": "QUEUE", "value": "500"}])
    dig_object(target, "metadata")["generation"] = 4
    dig_object(target, "metadata", "annotations").update({RUN_STAMP: "shop/queue-1", STEP_STAMP: token})
    return replace(it, stored={**it.stored, THE_RUN.name: record, CHECKOUT.name: target})


def two_runs(*happenings: Happening, crashes: int = 0, lost: int = 0, each: bool = True) -> Configuration:
    """
    Two runs with their plans made, that would give one value of one object different contents.

    `each` has a process of its own, or else both processes carry on both.
    """
    it = one_change(*happenings, crashes=crashes, lost=lost, locked=False)
    another = json.loads(json.dumps(as_stored(run())).replace('"500"', '"900"').replace("run-uid", "another-uid"))
    dig_object(another, "metadata")["name"] = ANOTHER_RUN.name
    program = LockingLeader(leader().known, BOOK, "runbook-1")
    work = (("shop", THE_RUN.name), ("shop", ANOTHER_RUN.name))
    return replace(
        it,
        names=(THE_RUN, CHECKOUT, ANOTHER_RUN, LEASE),
        stored={**it.stored, ANOTHER_RUN.name: another},
        actors=tuple(
            Actor(f"leader {'AB'[i]}", program, work[i : i + 1] if each else work, works_when=is_open) for i in range(2)
        ),
    )


def with_switch(configuration: Configuration) -> Configuration:
    """The same with a switch that may be pulled, of which processes learn by being refused."""

    def rules(server: Server) -> None:
        server.refuse_when(SwitchPolicies(server.cluster, OPERATOR_NAMESPACE).objection)

    return replace(
        configuration,
        names=(*configuration.names, SWITCH),
        happenings=(*configuration.happenings, PULLED),
        admission=(*configuration.admission, SWITCH.name),
        rules=rules,
    )


def on_stateful_set(configuration: Configuration) -> Configuration:
    """The same with a StatefulSet, whose generation does not count its annotations."""
    ref = ObjectRef.of("StatefulSet", CHECKOUT.namespace, CHECKOUT.name)
    lock = LockState(lease_name(ref), ref, LOCKED.holder, LOCKED.holder_uid, resource_version="1")
    text = json.dumps(dict(configuration.stored)).replace('"Deployment"', f'"{ref.kind}"')
    stored = json.loads(text.replace("Deployment/", f"{ref.kind}/").replace(LOCKED.name, lock.name))
    revisions = {"currentRevision": "1", "updateRevision": "1", "currentReplicas": 2}
    dig_object(stored[ref.name], "status").update(revisions)
    actors = tuple(replace(actor, program=leader(lock)) for actor in configuration.actors)
    return replace(configuration, names=(THE_RUN, ref), stored=stored, actors=actors)
