"""What is true of every action in the registry."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from remediator.actions import effects, registry
from remediator.actions.base import observe
from remediator.domain.actions import ActionClass, Output, Parameters, Permission
from remediator.domain.changes import Change, DeletePods, Patch, change_as_json, change_from_json, with_token
from remediator.domain.json import JSON, Object, dig_text
from remediator.domain.nodes import CORDONED_BY_US
from remediator.domain.objects import BUILT_IN, ObjectRef, Target
from remediator.domain.outcomes import Failed, Running, Succeeded
from remediator.ports import Identity, WebAnswer
from remediator.testing import NOON, FakeCluster, FakeMetrics, FakeNotifier, FakeWeb
from unit.actions.world import NODE, crash, pod_ref, pods, reader, shop, target, with_image, workload

ACCOUNT = "system:serviceaccount:shop:runner"


@dataclass(frozen=True)
class Example:
    """One use of an action that does what the action is for."""

    action: str
    parameters: dict[str, Any] = field(default_factory=dict)
    kind: str = "Deployment"

    def __str__(self) -> str:
        return f"{self.action} of a {self.kind} {self.parameters or ''}".strip()


WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
OWNED = {"kind": "Pod", "related": "owned"}


def _each(action: str, *kinds: str, **parameters: Any) -> list[Example]:
    return [Example(action, parameters, kind) for kind in kinds]


READS = [
    *_each("describe", *WORKLOADS, "Pod", "Node"),
    *_each("events", *WORKLOADS),
    *_each("get", *WORKLOADS, "Pod", "Node"),
    *_each("get", *WORKLOADS, **OWNED),
    Example("httpGet", {"url": "http://api.test/healthz", "headers": {"Accept": "text/plain"}}),
    *_each("logs", *WORKLOADS, "Pod", count={"panic": "panic"}),
    Example("probe", {"dns": {"host": "api.test"}}),
    Example("probe", {"tcp": {"host": "api.test", "port": 80}}),
    Example("promql", {"query": "up"}),
    *_each("rolloutHistory", *WORKLOADS),
    *_each("top", *WORKLOADS, "Pod"),
]
CHANGES = [
    Example("cordon", kind="Node"),
    *_each("deletePod", "Pod"),
    *_each("deletePod", *WORKLOADS, name="*"),
    Example("drain", kind="Node"),
    *_each("restart", *WORKLOADS),
    *_each("rollback", *WORKLOADS),
    *_each("scale", "Deployment", "StatefulSet", replicas=4),
    *_each("setEnv", *WORKLOADS, vars={"QUEUE": "500", "ADDED": "1"}),
    Example("uncordon", kind="Node"),
]
MESSAGES = [Example("escalate", {"to": "team"}), Example("notify", {"to": "team", "message": "x"})]
UNDOABLE = [example for example in CHANGES if registry.info(example.action).undoable]

COUNTS = ("by", "limit", "max", "maxEvents", "maxPods", "min", "replicas", "tailLines", "to")
"""Numbers of things, which have no other unit."""


def world(example: Example) -> tuple[FakeCluster, ObjectRef]:
    """A workload of the kind with two releases; for reads with a crashing pod and its log."""
    if example.kind in ("Pod", "Node"):
        cluster = shop()
        with_image(cluster, "shop:2")
        if example.action == "uncordon":
            cluster.change(NODE, lambda node: node.update(spec={"unschedulable": True}))
            cluster.change(NODE, lambda node: node["metadata"].update(annotations={CORDONED_BY_US: "true"}))
        return cluster, pod_ref(pods(cluster)[0]) if example.kind == "Pod" else NODE
    cluster = shop(workload(example.kind, "ledger", env={"QUEUE": "200"}))
    ref = ObjectRef("apps", example.kind, "shop", "ledger")
    with_image(cluster, "shop:2", ref)
    if registry.info(example.action).reads:
        crash(cluster, pods(cluster, "ledger")[0], "panic: x\n")
    return cluster, ref


def parsed(example: Example, cluster: FakeCluster) -> Parameters:
    given = dict(example.parameters)
    if given.get("name") == "*":
        given["name"] = dig_text(pods(cluster, "ledger")[0], "metadata", "name")
    return registry.parameters(example.action).model_validate(given)


async def planned(example: Example, cluster: FakeCluster, ref: ObjectRef) -> Change:
    acting = cluster.acting_as(Identity(ACCOUNT))
    action, seen = registry.change(example.action), await acting.read(ref)
    return await action.plan(parsed(example, cluster), target(cluster, ref), seen, acting, now=NOON)


async def carried(change: Change, cluster: FakeCluster, token: str = "t1") -> effects.Effect:
    return await effects.carry_out(change, cluster.acting_as(Identity(ACCOUNT)), run="shop/r", token=token)


async def voided(change: Change, cluster: FakeCluster) -> effects.Effect:
    """An intent that is given up is a write of the account too."""
    return await effects.void(change, cluster.acting_as(Identity(ACCOUNT, "shop/r", void=True)), token="t1")


def asked(cluster: FakeCluster) -> set[tuple[str, str, str]]:
    """What the account has called."""
    return {(call.group, call.resource, call.verb) for call in cluster.calls if call.identity.account == ACCOUNT}


async def polled(example: Example, change: Change, cluster: FakeCluster, *, minutes: int = 0) -> object:
    # a new instance of what the record keeps: nothing of the process that started it is left
    action = type(registry.change(example.action))()
    again = change_from_json(change_as_json(change))
    now = NOON + timedelta(minutes=minutes)
    return await action.poll(again, cluster.acting_as(Identity(ACCOUNT)), token="t1", started=NOON, now=now)


def outside() -> FakeWeb:
    web = FakeWeb("api.test")
    web.serves("api.test:80", WebAnswer(200, b"ok"))
    return web


async def looked(example: Example, cluster: FakeCluster, ref: ObjectRef) -> Output:
    metrics = FakeMetrics()
    metrics.answer("up", 1.0)
    through = reader(cluster.acting_as(Identity(ACCOUNT)), target(cluster, ref), metrics, outside())
    return (await observe(registry.diagnostic(example.action), parsed(example, cluster), through)).output


async def done(example: Example, cluster: FakeCluster, ref: ObjectRef) -> None:
    """The whole use of an action, from the first read to the end."""
    if registry.info(example.action).reads:
        assert (await looked(example, cluster, ref)).known
        return
    change = await planned(example, cluster, ref)
    # giving up is a right that an account needs as well: an intent that cannot be voided can never end
    assert isinstance(await effects.void(change, cluster.acting_as(Identity(ACCOUNT)), token="t0"), effects.Voided)
    assert isinstance(await carried(change, cluster), effects.Carried)
    cluster.controllers.never_ready = lambda template: example.kind == "StatefulSet"  # one that has to wait
    cluster.tick()
    assert isinstance(await polled(example, change, cluster), (Succeeded, Running))


def as_people_see(cluster: FakeCluster) -> list[Object]:
    """All objects that stay, without what every write moves."""
    return [
        {"metadata": {"name": obj["metadata"]["name"]}, "spec": _without_empty(obj.get("spec", {}))}
        for kind in (*WORKLOADS, "Node")
        for obj in cluster.objects(kind)
    ]


def _without_empty(value: JSON) -> JSON:
    """The API server does not store empty lists and maps."""
    if isinstance(value, dict):
        return {key: kept for key, item in value.items() if (kept := _without_empty(item)) not in ({}, [])}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


# what an action says about itself


def test_every_action_stands_under_its_own_name_in_alphabetical_order() -> None:
    assert list(registry.ACTIONS) == sorted(registry.ACTIONS)
    assert all(action.info.name == name for name, action in registry.ACTIONS.items())


def test_every_action_has_an_example() -> None:
    assert {example.action for example in [*READS, *CHANGES, *MESSAGES]} == set(registry.ACTIONS)


@pytest.mark.parametrize("name", registry.ACTIONS)
def test_every_parameter_is_described_with_its_unit(name: str) -> None:
    for model, alias, info in _fields(registry.parameters(name)):
        assert info.description, f"{model.__name__}.{alias} has no description"
        if info.annotation in (int, float, int | None, float | None):
            unit = alias.endswith(("Bytes", "Seconds", "Millicores"))
            assert unit or alias in COUNTS, f"{model.__name__}.{alias}: a number without a unit in its name"
        if alias.endswith(("Age", "since", "within", "after")):
            assert timedelta in _parts(info.annotation), f"{model.__name__}.{alias}: a duration is a GoDuration"


@pytest.mark.parametrize("name", registry.ACTIONS)
def test_every_parameter_is_bounded(name: str) -> None:
    schema = registry.parameters(name).model_json_schema(by_alias=True)

    assert not list(_unbounded(schema, schema, name))


@pytest.mark.parametrize("name", registry.names(ActionClass.READ))
def test_every_output_is_described_and_can_be_unknown(name: str) -> None:
    output = registry.info(name).output
    assert output in registry.output_models(name)

    for shape in registry.output_models(name):
        for model, alias, info in _fields(shape):
            assert info.description, f"{model.__name__}.{alias} has no description"
            assert model.__doc__, f"{model.__name__} has no docstring"
    assert set(output(known=False, error="x").as_json()) == {"known", "truncated", "observedAt", "error"}


@pytest.mark.parametrize("name", registry.ACTIONS)
def test_only_changes_write_and_say_what_they_are_made_to(name: str) -> None:
    info = registry.info(name)
    verbs = {verb for permission in info.permissions for verb in permission.verbs}

    assert info.summary
    if info.changes:
        assert info.targets
        assert verbs & {"patch", "delete", "create"}
    else:
        assert verbs <= {"get", "list"}


# what an action does


@pytest.mark.parametrize("example", READS, ids=str)
async def test_a_diagnostic_makes_no_write(example: Example) -> None:
    cluster, ref = world(example)

    assert (await looked(example, cluster, ref)).known

    assert not cluster.writes


@pytest.mark.parametrize("example", READS, ids=str)
async def test_a_diagnostic_whose_target_is_gone_has_an_answer(example: Example) -> None:
    cluster, ref = world(example)
    gone = Target(ref, "the-uid-of-an-earlier-one")
    metrics = FakeMetrics()
    metrics.answer("up", 1.0)

    through = reader(cluster, gone, metrics, outside())
    seen = await observe(registry.diagnostic(example.action), parsed(example, cluster), through)

    assert seen.output.known


@pytest.mark.parametrize("example", [e for e in READS if registry.info(e.action).permissions], ids=str)
async def test_a_diagnostic_that_may_not_read_does_not_know(example: Example) -> None:
    cluster, ref = world(example)
    cluster.permit_only(ACCOUNT, [])

    output = await looked(example, cluster, ref)

    assert not output.known
    assert output.error


@pytest.mark.parametrize("example", [*READS, *CHANGES], ids=str)
async def test_the_permissions_of_a_use_are_enough(example: Example) -> None:
    cluster, ref = world(example)
    needed = registry.permissions([registry.Use(example.action, parsed(example, cluster), (example.kind,))])
    cluster.permit_only(ACCOUNT, needed)

    await done(example, cluster, ref)


@pytest.mark.parametrize("name", [e for e in registry.ACTIONS if registry.info(e).cls is not ActionClass.MESSAGE])
async def test_every_call_is_declared_and_every_permission_is_used(name: str) -> None:
    calls = set()
    for example in [example for example in [*READS, *CHANGES] if example.action == name]:
        cluster, ref = world(example)
        await done(example, cluster, ref)
        calls |= asked(cluster)
        if registry.info(name).changes:
            cluster, ref = world(example)
            await voided(await planned(example, cluster, ref), cluster)
            calls |= asked(cluster)

    assert calls == set(_single(registry.info(name).permissions))


@pytest.mark.parametrize("example", CHANGES, ids=str)
async def test_starting_twice_leaves_the_cluster_as_once_did(example: Example) -> None:
    cluster, ref = world(example)
    change = await planned(example, cluster, ref)
    assert await carried(change, cluster) == effects.Carried(generation=_generation(change, cluster))
    cluster.tick()
    once, written = as_people_see(cluster), len(cluster.changes)

    again = await carried(change, cluster)
    cluster.tick()

    assert isinstance(again, effects.Carried)
    assert again.before
    assert as_people_see(cluster) == once
    assert len(cluster.changes) == written


@pytest.mark.parametrize("example", CHANGES, ids=str)
async def test_another_process_sees_it_end(example: Example) -> None:
    cluster, ref = world(example)
    change = await planned(example, cluster, ref)
    await carried(change, cluster)
    cluster.tick()

    assert isinstance(await polled(example, change, cluster), Succeeded)


@pytest.mark.parametrize("example", CHANGES, ids=str)
async def test_planning_writes_nothing_and_survives_the_record(example: Example) -> None:
    cluster, ref = world(example)

    change = await planned(example, cluster, ref)

    assert not cluster.writes
    assert not change.is_empty
    assert change.summary
    assert change_from_json(change_as_json(change)) == change
    assert change.replaces_pods == registry.info(example.action).replaces_pods
    assert change.undoable == registry.info(example.action).undoable


@pytest.mark.parametrize("example", CHANGES, ids=str)
async def test_a_target_that_is_gone_ends_the_step(example: Example) -> None:
    cluster, ref = world(example)
    change = await planned(example, cluster, ref)
    owner = change.target.ref
    cluster.store.remove(BUILT_IN[owner.kind], owner.namespace, owner.name)
    for pod in cluster.objects("Pod", "shop"):
        cluster.store.remove(BUILT_IN["Pod"], "shop", dig_text(pod, "metadata", "name"))

    effect = await carried(change, cluster)

    assert isinstance(effect, effects.Carried if isinstance(change, DeletePods) else effects.Gone)
    assert isinstance(await polled(example, change, cluster), Failed)


@pytest.mark.parametrize("example", UNDOABLE, ids=str)
async def test_undone_the_object_is_as_it_was(example: Example) -> None:
    cluster, ref = world(example)
    before = as_people_see(cluster)
    change = await planned(example, cluster, ref)
    await carried(change, cluster)
    assert as_people_see(cluster) != before
    assert isinstance(change, Patch)

    await effects.carry_out(change.reversed, cluster, run="shop/r", token="u1")

    assert as_people_see(cluster) == before


@pytest.mark.parametrize("example", UNDOABLE, ids=str)
async def test_an_undo_refuses_where_somebody_has_changed_it_since(example: Example) -> None:
    cluster, ref = world(example)
    change = await planned(example, cluster, ref)
    assert isinstance(change, Patch)
    await carried(change, cluster)
    await _overwrite(change, cluster)
    theirs = as_people_see(cluster)

    effect = await effects.carry_out(change.reversed, cluster, run="shop/r", token="u1")

    assert isinstance(effect, effects.Moved)
    assert as_people_see(cluster) == theirs


@pytest.mark.parametrize("example", [e for e in CHANGES if e.action != "deletePod"], ids=str)
async def test_a_dry_run_shows_a_difference_and_stores_nothing(example: Example) -> None:
    cluster, ref = world(example)
    before = as_people_see(cluster)

    text = await effects.dry_run(await planned(example, cluster, ref), cluster, run="shop/r")

    assert text.startswith(("+ ", "- "))
    assert as_people_see(cluster) == before


@pytest.mark.parametrize("example", CHANGES, ids=str)
async def test_no_value_of_a_change_holds_the_time(example: Example) -> None:
    cluster, ref = world(example)
    change = await planned(example, cluster, ref)
    cluster.store.clock.advance(timedelta(hours=1))

    assert await planned(example, cluster, ref) == change
    assert "<token>" not in str(with_token(change, "t1"))


@pytest.mark.parametrize("example", MESSAGES, ids=str)
async def test_a_message_carries_the_key_and_an_unknown_receiver_fails_the_step(example: Example) -> None:
    notifier = FakeNotifier("team")
    parameters = registry.parameters(example.action).model_validate(example.parameters)
    nobody = parameters.model_copy(update={"to": "nobody"})

    told = await registry.message(example.action).tell(parameters, notifier, namespace="shop", key="k", body="b")
    failed = await registry.message(example.action).tell(nobody, notifier, namespace="shop", key="k", body="b")

    assert isinstance(told, Succeeded)
    assert [sent.key for sent in notifier.sent] == ["k"]
    assert isinstance(failed, Failed)


def _generation(change: Change, cluster: FakeCluster) -> int | None:
    if isinstance(change, DeletePods):
        return None
    generation = cluster.writes[-1].obj["metadata"].get("generation")
    assert (generation is None) == (change.target.ref.kind == "Node")
    return generation


async def _overwrite(change: Patch, cluster: FakeCluster) -> None:
    """Somebody else writes another value to the first field that the change wrote."""
    seen = cluster.get(change.target.ref)
    theirs = Patch(
        change.target,
        tuple(
            type(edit)(
                edit.path, edit.to, {**edit.to, "value": "theirs"} if isinstance(edit.to, dict) else _other(edit.to)
            )
            for edit in change.edits[:1]
        ),
        "theirs",
    )
    assert seen
    await effects.carry_out(theirs, cluster, run="", token="theirs")


def _other(value: object) -> Any:
    return value + 3 if isinstance(value, int) else f"{value}-theirs"


def _single(permissions: tuple[Permission, ...]) -> Iterator[tuple[str, str, str]]:
    for permission in permissions:
        for verb in permission.verbs:
            yield permission.group, permission.resource, verb


def _fields(model: type[BaseModel], seen: frozenset[type[BaseModel]] = frozenset()) -> Iterator[Any]:
    """All fields of a model and of those within it, under the names that people write."""
    for name, info in model.model_fields.items():
        yield model, info.alias or name, info
        for part in _parts(info.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel) and part not in seen:
                yield from _fields(part, seen | {model})


def _parts(annotation: Any) -> list[Any]:
    args = getattr(annotation, "__args__", ())
    return [annotation, *(part for arg in args for part in _parts(arg))]


def _unbounded(schema: Any, root: Any, path: str) -> Iterator[str]:
    """The places of a schema that could hold any amount, or that an API server cannot have."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    others = [option for option in schema.get("anyOf", []) if option.get("type") != "null"]
    if others:
        if len(others) > 1 and not schema.get("x-kubernetes-int-or-string"):
            yield f"{path}: a choice of several types"
        for option in others:
            yield from _unbounded(option, root, path)
    kind = schema.get("type")
    if kind == "string" and "maxLength" not in schema and "enum" not in schema and "const" not in schema:
        yield f"{path}: a string without maxLength"
    if kind == "array":
        if "maxItems" not in schema:
            yield f"{path}: a list without maxItems"
        yield from _unbounded(schema["items"], root, f"{path}[]")
    if kind == "object" and "properties" not in schema:
        if "maxProperties" not in schema:
            yield f"{path}: a map without maxProperties"
        yield from _unbounded(schema.get("additionalProperties", {}), root, f"{path}.*")
    for name, inner in schema.get("properties", {}).items():
        yield from _unbounded(inner, root, f"{path}.{name}")
