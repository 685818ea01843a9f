"""
What every implementation of the Cluster port promises.

The same tests run against `FakeCluster` and against a real API server: a fake that is kinder than
the real thing would make every test that rests on it worthless.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from remediator.domain.actions import Permission
from remediator.domain.changes import Edit, FieldPath, Patch, json_patch, void_patch
from remediator.domain.errors import AlreadyExists, Conflict, Forbidden, NotFound, Rejected
from remediator.domain.json import Object, dig, dig_int, dig_list, dig_object, dig_text
from remediator.domain.objects import BUILT_IN, Kind, ObjectRef, Target
from remediator.domain.pods import pod_is_ready
from remediator.ports import Cluster, Identity

CONFIG_MAP = BUILT_IN["ConfigMap"]
DEPLOYMENT = BUILT_IN["Deployment"]
REPLICA_SET = BUILT_IN["ReplicaSet"]
POD = BUILT_IN["Pod"]
WIDGET = Kind("ports.example.com", "v1", "Widget", "widgets")


class World(Protocol):
    """One implementation, with what only its own side can arrange."""

    cluster: Cluster
    namespace: str
    has_controllers: bool

    async def grant(self, account: str, permissions: list[Permission]) -> None:
        """The account may do this in the world's namespace, and nothing else."""
        ...

    async def eventually(self, look: Callable[[], Awaitable[Any]]) -> Any:
        """The first true answer; controllers have had their time."""
        ...


def named(name: str, namespace: str, **rest: Any) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, **rest}


def deployment(name: str, namespace: str, *, replicas: int = 2, image: str = "example.com/shop:1") -> Object:
    return named(
        name,
        namespace,
        spec={
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "nodeSelector": {"local.remediator.dev/tier": "simulated"},
                    "tolerations": [{"operator": "Exists"}],
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "main", "image": image}],
                },
            },
        },
    )


def version(obj: Object) -> str:
    return dig_text(obj, "metadata", "resourceVersion")


def uid(obj: Object) -> str:
    return dig_text(obj, "metadata", "uid")


def generation(obj: Object) -> int:
    return dig_int(obj, "metadata", "generation", default=-1)


def op(kind: str, path: str, value: Any = None) -> Object:
    return {"op": kind, "path": path} if kind == "remove" else {"op": kind, "path": path, "value": value}


@dataclass
class Told:
    """What a watch said, in order."""

    events: list[tuple[str, Object]]

    def __init__(self) -> None:
        self.events = []

    async def __call__(self, what: str, obj: Object) -> None:
        self.events.append((what, obj))

    @property
    def lines(self) -> list[str]:
        return [f"{what} {dig_text(obj, 'metadata', 'name')}".strip() for what, obj in self.events]


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a watch tells, it has no event to wait for
            await asyncio.sleep(0.01)


class ClusterPromises:
    """A subclass brings the fixture `world`."""

    # creating and reading

    async def test_a_created_object_has_a_uid_and_a_version(self, world: World) -> None:
        made = await world.cluster.create(CONFIG_MAP, named("one", world.namespace, data={"a": "1"}))

        read = await world.cluster.read(ObjectRef.of("ConfigMap", world.namespace, "one"))

        assert uid(read) == uid(made) != ""
        assert version(read) == version(made) != ""
        assert dig_text(read, "data", "a") == "1"
        assert dig_text(read, "kind") == "ConfigMap"

    async def test_a_name_that_is_taken_already_exists(self, world: World) -> None:
        await world.cluster.create(CONFIG_MAP, named("one", world.namespace))

        with pytest.raises(AlreadyExists):
            await world.cluster.create(CONFIG_MAP, named("one", world.namespace))

    async def test_what_is_not_there_is_not_found(self, world: World) -> None:
        with pytest.raises(NotFound):
            await world.cluster.read(ObjectRef.of("Deployment", world.namespace, "nobody"))
        with pytest.raises(NotFound):
            await world.cluster.create(CONFIG_MAP, named("one", "no-such-namespace"))

    async def test_a_name_that_is_none_is_rejected(self, world: World) -> None:
        with pytest.raises(Rejected):
            await world.cluster.create(CONFIG_MAP, named("Not A Name", world.namespace))

    async def test_a_reference_without_a_name_reaches_nothing(self, world: World) -> None:
        with pytest.raises(Rejected):
            await world.cluster.delete(ObjectRef.of("ConfigMap", world.namespace, ""))
        with pytest.raises(Rejected):
            await world.cluster.read(ObjectRef("", "ConfigMap", "", "one"))

    async def test_a_name_cannot_point_at_another_path(self, world: World) -> None:
        with pytest.raises((NotFound, Rejected)):
            await world.cluster.read(ObjectRef.of("ConfigMap", world.namespace, "../secrets/one"))

    async def test_dry_run_of_a_creation_leaves_nothing(self, world: World) -> None:
        made = await world.cluster.create(CONFIG_MAP, named("one", world.namespace), dry_run=True)

        assert dig_text(made, "metadata", "name") == "one"
        with pytest.raises(NotFound):
            await world.cluster.read(ObjectRef.of("ConfigMap", world.namespace, "one"))

    # patches

    async def test_a_patch_whose_tests_hold_is_applied_as_a_whole(self, world: World) -> None:
        made = await world.cluster.create(CONFIG_MAP, named("one", world.namespace, data={"a": "1"}))

        after = await world.cluster.patch(
            ObjectRef.to(made, CONFIG_MAP),
            [
                op("test", "/metadata/uid", uid(made)),
                op("test", "/metadata/annotations", None),
                op("test", "/data/a", "1"),
                op("replace", "/data/a", "2"),
                op("add", "/data/b", "3"),
            ],
        )

        assert dig_object(after, "data") == {"a": "2", "b": "3"}
        assert version(after) != version(made)

    @pytest.mark.parametrize(
        "operations",
        [
            [op("test", "/data/a", "other"), op("replace", "/data/a", "2")],
            [op("replace", "/data/a", "2"), op("test", "/data/a", "1")],
            [op("test", "/data/missing", "1")],
            [op("test", "/data/a", None)],
            [op("test", "/metadata/uid", "another"), op("replace", "/data/a", "2")],
            [op("replace", "/data/a", "2"), op("remove", "/data/missing")],
            [op("replace", "/data/a", "2"), op("replace", "/data/missing/deep", "2")],
            [op("add", "/missing/deep", "2")],
        ],
    )
    async def test_a_patch_that_does_not_fit_conflicts_and_changes_nothing(
        self, world: World, operations: list[Object]
    ) -> None:
        made = await world.cluster.create(CONFIG_MAP, named("one", world.namespace, data={"a": "1"}))

        with pytest.raises(Conflict):
            await world.cluster.patch(ObjectRef.to(made, CONFIG_MAP), operations)

        read = await world.cluster.read(ObjectRef.to(made, CONFIG_MAP))
        assert version(read) == version(made)
        assert dig_object(read, "data") == {"a": "1"}

    async def test_replacing_what_is_not_there_adds_it(self, world: World) -> None:
        made = await world.cluster.create(CONFIG_MAP, named("one", world.namespace, data={"a": "1"}))

        after = await world.cluster.patch(ObjectRef.to(made, CONFIG_MAP), [op("replace", "/data/b", "2")])

        assert dig_object(after, "data") == {"a": "1", "b": "2"}

    async def test_a_patch_to_a_value_that_is_not_valid_is_rejected_and_no_conflict(self, world: World) -> None:
        made = await world.cluster.create(DEPLOYMENT, deployment("shop", world.namespace))

        with pytest.raises(Rejected):
            await world.cluster.patch(ObjectRef.to(made, DEPLOYMENT), [op("replace", "/spec/replicas", -1)])

    async def test_a_patch_of_what_is_not_there_is_not_found(self, world: World) -> None:
        with pytest.raises(NotFound):
            await world.cluster.patch(
                ObjectRef.of("ConfigMap", world.namespace, "nobody"), [op("add", "/data", {"a": "1"})]
            )

    async def test_a_patch_under_a_version_that_has_moved_conflicts(self, world: World) -> None:
        made = await world.cluster.create(CONFIG_MAP, named("one", world.namespace, data={"a": "1"}))
        ref = ObjectRef.to(made, CONFIG_MAP)
        await world.cluster.patch(ref, [op("replace", "/data/a", "2")])

        with pytest.raises(Conflict):
            await world.cluster.patch(
                ref, [op("test", "/metadata/resourceVersion", version(made)), op("replace", "/data/a", "3")]
            )

    async def test_a_patch_that_changes_nothing_does_not_move_the_version(self, world: World) -> None:
        made = await world.cluster.create(CONFIG_MAP, named("one", world.namespace, data={"a": "1"}))

        after = await world.cluster.patch(ObjectRef.to(made, CONFIG_MAP), [op("replace", "/data/a", "1")])

        assert version(after) == version(made)

    async def test_dry_run_of_a_patch_leaves_no_trace(self, world: World) -> None:
        made = await world.cluster.create(DEPLOYMENT, deployment("dry", world.namespace, replicas=0))
        ref = ObjectRef.to(made, DEPLOYMENT)
        operations = [op("add", "/spec/minReadySeconds", 7)]

        after = await world.cluster.patch(ref, operations, dry_run=True)

        assert dig_int(after, "spec", "minReadySeconds") == 7
        assert dig_int(await world.cluster.read(ref), "spec", "minReadySeconds") == 0

    async def test_an_immutable_config_map_is_rejected_as_such(self, world: World) -> None:
        made = await world.cluster.create(CONFIG_MAP, named("frozen", world.namespace, data={"a": "1"}, immutable=True))

        with pytest.raises(Rejected):
            await world.cluster.patch(ObjectRef.to(made, CONFIG_MAP), [op("replace", "/data/a", "2")])

    # generations

    async def test_the_generation_of_a_deployment_moves_with_spec_and_annotations_alone(self, world: World) -> None:
        made = await world.cluster.create(DEPLOYMENT, deployment("shop", world.namespace, replicas=0))
        ref = ObjectRef.to(made, DEPLOYMENT)

        async def settled() -> Object | None:
            read = await world.cluster.read(ref)
            return read if dig(read, "status", "observedGeneration") == generation(read) else None

        before = await world.eventually(settled) if world.has_controllers else made
        spec = await world.cluster.patch(ref, [op("add", "/spec/minReadySeconds", 7)])
        noted = await world.cluster.patch(ref, [op("add", "/metadata/annotations/note", "x")])
        labelled = await world.cluster.patch(ref, [op("add", "/metadata/labels", {"note": "x"})])

        assert generation(spec) == generation(before) + 1
        assert generation(noted) == generation(spec) + 1
        assert generation(labelled) == generation(noted)

    async def test_a_config_map_has_no_generation(self, world: World) -> None:
        made = await world.cluster.create(CONFIG_MAP, named("one", world.namespace))

        assert dig(made, "metadata", "generation") is None

    # a change, as the engine makes it

    async def test_a_rendered_change_is_made_once(self, world: World) -> None:
        made = await world.cluster.create(DEPLOYMENT, deployment("shop", world.namespace, replicas=0))
        target = Target(ObjectRef.to(made, DEPLOYMENT), uid(made))

        async def changed() -> tuple[list[Object], Object] | None:
            seen = await world.cluster.read(target.ref)
            change = Patch(target, (Edit(FieldPath.of("spec", "replicas"), 0, 1),), "1 replica")
            operations = json_patch(change, seen, run="shop/run-1", token="t1")
            try:
                return operations, await world.cluster.patch(target.ref, operations)
            except Conflict:
                return None  # the controller wrote its revision in between

        operations, after = await world.eventually(changed)

        assert dig_int(after, "spec", "replicas") == 1
        assert dig_text(after, "metadata", "annotations", "remediator.dev/step") == "t1"
        with pytest.raises(Conflict):
            await world.cluster.patch(target.ref, operations)

    async def test_a_void_keeps_a_late_change_out(self, world: World) -> None:
        made = await world.cluster.create(DEPLOYMENT, deployment("shop", world.namespace, replicas=0))
        target = Target(ObjectRef.to(made, DEPLOYMENT), uid(made))

        async def voided() -> tuple[list[Object], Object] | None:
            seen = await world.cluster.read(target.ref)
            change = Patch(target, (Edit(FieldPath.of("spec", "replicas"), 0, 1),), "1 replica")
            late = json_patch(change, seen, run="shop/run-1", token="t1")
            try:
                return late, await world.cluster.patch(target.ref, void_patch(target, seen, token="t1"))
            except Conflict:
                return None  # the controller wrote its revision in between

        late, after = await world.eventually(voided)

        assert dig_text(after, "metadata", "annotations", "remediator.dev/void") == "t1"
        with pytest.raises(Conflict):
            await world.cluster.patch(target.ref, late)

    # replacing

    async def test_a_replacement_under_an_old_version_conflicts(self, world: World) -> None:
        made = await world.cluster.create(CONFIG_MAP, named("one", world.namespace, data={"a": "1"}))
        await world.cluster.replace(CONFIG_MAP, {**made, "data": {"a": "2"}})

        with pytest.raises(Conflict):
            await world.cluster.replace(CONFIG_MAP, {**made, "data": {"a": "3"}})

    async def test_a_replacement_without_a_version_is_rejected(self, world: World) -> None:
        await world.cluster.create(CONFIG_MAP, named("one", world.namespace))

        with pytest.raises(Rejected):
            await world.cluster.replace(CONFIG_MAP, named("one", world.namespace, data={"a": "1"}))

    # deleting

    async def test_a_deletion_holds_to_its_preconditions(self, world: World) -> None:
        made = await world.cluster.create(CONFIG_MAP, named("one", world.namespace, data={"a": "1"}))
        ref = ObjectRef.to(made, CONFIG_MAP)
        moved = await world.cluster.patch(ref, [op("replace", "/data/a", "2")])

        with pytest.raises(Conflict):
            await world.cluster.delete(ref, uid="another")
        with pytest.raises(Conflict):
            await world.cluster.delete(ref, uid=uid(made), resource_version=version(made))
        await world.cluster.delete(ref, uid=uid(made), resource_version=version(moved), dry_run=True)
        assert await world.cluster.read(ref)

        await world.cluster.delete(ref, uid=uid(made), resource_version=version(moved))

        with pytest.raises(NotFound):
            await world.cluster.read(ref)
        with pytest.raises(NotFound):
            await world.cluster.delete(ref)

    async def test_what_is_owned_goes_with_its_owner(self, world: World) -> None:
        if not world.has_controllers:
            pytest.skip("nothing collects garbage where only an API server runs")
        owner = await world.cluster.create(CONFIG_MAP, named("owner", world.namespace))
        owned = named("owned", world.namespace)
        dig_object(owned, "metadata")["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid(owner)}
        ]
        await world.cluster.create(CONFIG_MAP, owned)

        await world.cluster.delete(ObjectRef.to(owner, CONFIG_MAP))

        async def gone() -> bool:
            found = await world.cluster.list(CONFIG_MAP, world.namespace, fields="metadata.name=owned")
            return not found.items

        assert await world.eventually(gone)

    async def test_a_finalizer_holds_what_is_deleted(self, world: World) -> None:
        held = named("held", world.namespace)
        dig_object(held, "metadata")["finalizers"] = ["ports.example.com/hold"]
        made = await world.cluster.create(CONFIG_MAP, held)
        ref = ObjectRef.to(made, CONFIG_MAP)

        await world.cluster.delete(ref)
        marked = await world.cluster.read(ref)
        await world.cluster.patch(ref, [op("remove", "/metadata/finalizers")])

        assert dig_text(marked, "metadata", "deletionTimestamp")
        with pytest.raises(NotFound):
            await world.cluster.read(ref)

    # lists

    async def test_a_list_holds_what_the_selectors_select(self, world: World) -> None:
        for name, tier in (("a", "front"), ("b", "back"), ("c", "back")):
            obj = named(name, world.namespace)
            dig_object(obj, "metadata")["labels"] = {"tier": tier, name: "yes"}
            await world.cluster.create(CONFIG_MAP, obj)

        async def names(labels: str = "", fields: str = "") -> list[str]:
            found = await world.cluster.list(CONFIG_MAP, world.namespace, labels=labels, fields=fields)
            all_names = [dig_text(item, "metadata", "name") for item in found.items]
            return [name for name in all_names if name != "kube-root-ca.crt"]

        assert await names() == ["a", "b", "c"]
        assert await names("tier=back") == ["b", "c"]
        assert await names("tier!=back,tier") == ["a"]
        assert await names("tier in (front, other)") == ["a"]
        assert await names("tier notin (front),b") == ["b"]
        assert await names("tier,!a") == ["b", "c"]
        assert await names(fields="metadata.name=b") == ["b"]
        assert await names("tier=back", "metadata.name!=b") == ["c"]

    async def test_a_field_that_is_not_indexed_is_rejected(self, world: World) -> None:
        with pytest.raises(Rejected):
            await world.cluster.list(CONFIG_MAP, world.namespace, fields="data.a=1")

    async def test_a_list_is_cut_at_its_limit_and_says_so(self, world: World) -> None:
        for name in ("a", "b", "c"):
            obj = named(name, world.namespace)
            dig_object(obj, "metadata")["labels"] = {"cut": "yes"}
            await world.cluster.create(CONFIG_MAP, obj)

        two = await world.cluster.list(CONFIG_MAP, world.namespace, labels="cut=yes", limit=2)
        three = await world.cluster.list(CONFIG_MAP, world.namespace, labels="cut=yes", limit=3)

        assert [dig_text(item, "metadata", "name") for item in two.items] == ["a", "b"]
        assert two.truncated
        assert len(three.items) == 3
        assert not three.truncated
        assert "kind" not in three.items[0]

    async def test_pages_hold_everything_once_and_each_a_few(self, world: World) -> None:
        for name in ("a", "b", "c", "d", "e"):
            obj = named(f"paged-{name}", world.namespace)
            dig_object(obj, "metadata")["labels"] = {"paged": "no" if name == "e" else "yes"}
            await world.cluster.create(CONFIG_MAP, obj)

        pages = [
            [dig_text(obj, "metadata", "name") for obj in page]
            async for page in world.cluster.pages(CONFIG_MAP, world.namespace, labels="paged=yes", size=3)
        ]
        nothing = [page async for page in world.cluster.pages(CONFIG_MAP, world.namespace, labels="paged=never")]

        assert sorted(name for page in pages for name in page) == [f"paged-{name}" for name in "abcd"]
        assert max(map(len, pages)) <= 3
        assert [obj for page in nothing for obj in page] == []

    # kinds

    async def test_kinds_are_found_by_the_spelling_of_runbooks(self, world: World) -> None:
        assert await world.cluster.kind("Deployment") == DEPLOYMENT
        assert await world.cluster.kind("deployment.apps") == DEPLOYMENT
        assert await world.cluster.kind("widget.ports.example.com") == WIDGET
        for unknown in ("Gadget", "gadget.ports.example.com", "widget.nowhere.example.com"):
            with pytest.raises(NotFound):
                await world.cluster.kind(unknown)

    @pytest.mark.parametrize("spelling", ["Secret", "secrets", "secret."])
    async def test_no_runbook_finds_the_kind_secret(self, world: World, spelling: str) -> None:
        with pytest.raises(Rejected):
            await world.cluster.kind(spelling)

    async def test_the_status_of_a_custom_object_is_written_through_its_subresource_alone(self, world: World) -> None:
        made = await world.cluster.create(
            WIDGET, named("w", world.namespace, spec={"size": 1}, status={"phase": "Invented"})
        )
        ref = ObjectRef.to(made, WIDGET)

        assert "status" not in made
        first = await world.cluster.patch(ref, [op("add", "/status", {"phase": "Ready"})], sub="status")
        assert dig_text(first, "status", "phase") == "Ready"
        assert generation(first) == generation(made) == 1
        second = await world.cluster.patch(
            ref, [op("replace", "/status/phase", "Forged"), op("replace", "/spec/size", 2)]
        )
        assert dig_text(second, "status", "phase") == "Ready"
        assert generation(second) == 2
        third = await world.cluster.replace(
            WIDGET, {**second, "spec": {"size": 3}, "status": {"phase": "Done"}}, sub="status"
        )
        assert third.keys() <= {"apiVersion", "kind", "metadata"}, "of a subresource's replacement the metadata alone"
        stored = await world.cluster.read(ref)
        assert dig_text(stored, "metadata", "resourceVersion") == dig_text(third, "metadata", "resourceVersion")
        assert dig_int(stored, "spec", "size") == 2
        assert dig_text(stored, "status", "phase") == "Done"
        with pytest.raises(Conflict):
            await world.cluster.replace(WIDGET, {**second, "status": {"phase": "Late"}}, sub="status")

    # identities

    async def test_an_account_may_do_what_it_was_granted_and_nothing_else(self, world: World) -> None:
        account = f"system:serviceaccount:{world.namespace}:fixer"
        permission = Permission("", "configmaps", ("get", "create"))
        await world.grant(account, [permission])
        made = await world.cluster.create(CONFIG_MAP, named("one", world.namespace, data={"a": "1"}))
        ref = ObjectRef.to(made, CONFIG_MAP)

        as_account = world.cluster.acting_as(Identity(account))

        assert await as_account.read(ref)
        assert await as_account.allowed(permission, world.namespace) == (True, "")
        allowed, why = await as_account.allowed(
            Permission("", "configmaps", ("get", "patch", "delete")), world.namespace
        )
        assert not allowed
        assert "patch, delete configmaps" in why
        with pytest.raises(Forbidden, match="cannot patch"):
            await as_account.patch(ref, [op("replace", "/data/a", "2")])
        with pytest.raises(Forbidden):
            await as_account.read(ObjectRef.of("Pod", world.namespace, "one"))
        with pytest.raises(Forbidden):
            await as_account.list(CONFIG_MAP, world.namespace)
        assert await world.cluster.patch(ref, [op("replace", "/data/a", "3")])

    # watches

    async def test_a_watch_tells_what_is_there_and_then_what_happens(self, world: World) -> None:
        await world.cluster.create(WIDGET, named("before", world.namespace, spec={"size": 1}))
        told = Told()

        watching = asyncio.create_task(world.cluster.watch(WIDGET, world.namespace, told))
        await until(lambda: "SYNCED" in told.lines)
        made = await world.cluster.create(WIDGET, named("after", world.namespace, spec={"size": 1}))
        ref = ObjectRef.to(made, WIDGET)
        await world.cluster.patch(ref, [op("replace", "/spec/size", 2)])
        await world.cluster.delete(ref)
        await until(lambda: "DELETED after" in told.lines)
        watching.cancel()

        assert told.lines == ["ADDED before", "SYNCED", "ADDED after", "MODIFIED after", "DELETED after"]
        assert all(dig_text(obj, "kind") == "Widget" for what, obj in told.events if what != "SYNCED")
        assert uid(told.events[-1][1]) == uid(made)

    async def test_a_watch_with_selectors_tells_of_nothing_else(self, world: World) -> None:
        for name, labels in (("one", {"a": "1"}), ("other", {"a": "1"}), ("third", {"a": "2"})):
            obj = named(name, world.namespace, data={})
            dig_object(obj, "metadata")["labels"] = {**labels}
            await world.cluster.create(CONFIG_MAP, obj)
        by_name, by_label = Told(), Told()

        watching = [
            asyncio.create_task(world.cluster.watch(CONFIG_MAP, world.namespace, by_name, fields="metadata.name=one")),
            asyncio.create_task(world.cluster.watch(CONFIG_MAP, world.namespace, by_label, labels="a=1")),
        ]
        await until(lambda: "SYNCED" in by_name.lines and "SYNCED" in by_label.lines)
        await world.cluster.patch(
            ObjectRef.of("ConfigMap", world.namespace, "other"), [op("replace", "/metadata/labels/a", "2")]
        )
        await world.cluster.delete(ObjectRef.of("ConfigMap", world.namespace, "third"))
        await world.cluster.delete(ObjectRef.of("ConfigMap", world.namespace, "one"))
        await until(lambda: "DELETED one" in by_name.lines and "DELETED one" in by_label.lines)
        for one in watching:
            one.cancel()

        assert by_name.lines == ["ADDED one", "SYNCED", "DELETED one"]
        assert by_label.lines == ["ADDED one", "ADDED other", "SYNCED", "DELETED other", "DELETED one"]

    async def test_a_watch_that_its_caller_fails_ends(self, world: World) -> None:
        await world.cluster.create(WIDGET, named("one", world.namespace, spec={"size": 1}))

        async def failing(what: str, obj: Object) -> None:
            raise Conflict("the caller's own")

        with pytest.raises(Conflict, match="the caller's own"):
            await asyncio.wait_for(world.cluster.watch(WIDGET, world.namespace, failing), 10)

    # logs

    async def test_the_log_of_nothing_is_not_found(self, world: World) -> None:
        with pytest.raises(NotFound):
            await world.cluster.logs(ObjectRef.of("Pod", world.namespace, "nobody"), container="main")

    async def test_a_container_that_is_not_there_has_no_log(self, world: World) -> None:
        pod = named(
            "one",
            world.namespace,
            spec={
                "nodeSelector": {"local.remediator.dev/tier": "none"},
                "containers": [{"name": "main", "image": "example.com/shop:1"}],
            },
        )
        await world.cluster.create(POD, pod)

        with pytest.raises(NotFound):
            await world.cluster.logs(ObjectRef.of("Pod", world.namespace, "one"), container="other")

    # controllers

    async def test_a_deployment_rolls_and_keeps_its_revisions(self, world: World) -> None:
        if not world.has_controllers:
            pytest.skip("nothing rolls where only an API server runs")
        made = await world.cluster.create(DEPLOYMENT, deployment("shop", world.namespace))
        ref = ObjectRef.to(made, DEPLOYMENT)

        async def rolled_out() -> Object | None:
            read = await world.cluster.read(ref)
            done = (
                dig(read, "status", "observedGeneration") == generation(read)
                and dig_int(read, "status", "updatedReplicas") == 2
                and dig_int(read, "status", "availableReplicas") == 2
                and dig_int(read, "status", "replicas") == 2
            )
            return read if done else None

        async def revisions() -> dict[str, str]:
            found = await world.cluster.list(REPLICA_SET, world.namespace, labels="app=shop")
            return {
                dig_text(item, "metadata", "annotations", "deployment.kubernetes.io/revision"): dig_text(
                    item, "spec", "template", "spec", "containers", 0, "image"
                )
                for item in found.items
            }

        async def pods() -> set[str]:
            found = await world.cluster.list(POD, world.namespace, labels="app=shop")
            return {uid(pod) for pod in found.items if not dig(pod, "metadata", "deletionTimestamp")}

        image = "/spec/template/spec/containers/0/image"
        assert await world.eventually(rolled_out)
        first = await pods()
        await world.cluster.patch(ref, [op("replace", image, "example.com/shop:2")])
        assert await world.eventually(rolled_out)
        second = await pods()
        assert await revisions() == {"1": "example.com/shop:1", "2": "example.com/shop:2"}
        await world.cluster.patch(ref, [op("replace", image, "example.com/shop:1")])
        last = await world.eventually(rolled_out)

        assert await revisions() == {"2": "example.com/shop:2", "3": "example.com/shop:1"}
        assert dig_text(last, "metadata", "annotations", "deployment.kubernetes.io/revision") == "3"
        assert len(first) == len(second) == 2
        assert not first & second
        sets = await world.cluster.list(REPLICA_SET, world.namespace, labels="app=shop")
        owner = dig_list(sets.items[0], "metadata", "ownerReferences")[0]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Deployment", "shop", uid(made))

    @pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
    async def test_other_workloads_roll_and_keep_their_revisions(self, world: World, kind: str) -> None:
        if not world.has_controllers:
            pytest.skip("nothing rolls where only an API server runs")
        obj = deployment("db", world.namespace, replicas=2)
        spec = dig_object(obj, "spec")
        if kind == "StatefulSet":
            spec["serviceName"] = "db"
        else:
            del spec["replicas"]
        made = await world.cluster.create(BUILT_IN[kind], obj)
        ref = ObjectRef.to(made, BUILT_IN[kind])

        async def rolled_out() -> Object | None:
            read = await world.cluster.read(ref)
            status = dig_object(read, "status")
            if kind == "StatefulSet":
                done = status.get("updatedReplicas") == status.get("readyReplicas") == 2 and (
                    status.get("currentRevision") == status.get("updateRevision")
                )
            else:
                wanted = status.get("desiredNumberScheduled")
                done = bool(wanted) and (
                    status.get("updatedNumberScheduled") == status.get("numberAvailable") == wanted
                )
            return read if done and status.get("observedGeneration") == generation(read) else None

        async def revisions() -> list[tuple[int, str]]:
            found = await world.cluster.list(BUILT_IN["ControllerRevision"], world.namespace, labels="app=db")
            path = ("data", "spec", "template", "spec", "containers", 0, "image")
            return sorted((dig_int(item, "revision"), dig_text(item, *path)) for item in found.items)

        image = "/spec/template/spec/containers/0/image"
        assert await world.eventually(rolled_out)
        pods = await world.cluster.list(POD, world.namespace, labels="app=db")
        assert dig_text(pods.items[0], "metadata", "labels", "controller-revision-hash")
        owner = dig_list(pods.items[0], "metadata", "ownerReferences")[0]
        assert (owner["kind"], owner["uid"]) == (kind, uid(made))
        await world.cluster.patch(ref, [op("replace", image, "example.com/shop:2")])
        assert await world.eventually(rolled_out)
        assert await revisions() == [(1, "example.com/shop:1"), (2, "example.com/shop:2")]
        await world.cluster.patch(ref, [op("replace", image, "example.com/shop:1")])
        assert await world.eventually(rolled_out)
        assert await revisions() == [(2, "example.com/shop:2"), (3, "example.com/shop:1")]

    async def test_a_deleted_pod_of_a_deployment_is_replaced_by_another(self, world: World) -> None:
        if not world.has_controllers:
            pytest.skip("nothing replaces pods where only an API server runs")
        await world.cluster.create(DEPLOYMENT, deployment("shop", world.namespace))

        async def two() -> list[Object] | None:
            found = await world.cluster.list(POD, world.namespace, labels="app=shop")
            living = [pod for pod in found.items if not dig(pod, "metadata", "deletionTimestamp")]
            return living if len(living) == 2 else None

        before = await world.eventually(two)
        victim = before[0]
        await world.cluster.delete(ObjectRef.to(victim, POD), uid=uid(victim))

        async def replaced() -> bool:
            after = await two()
            return after is not None and uid(victim) not in {uid(pod) for pod in after}

        assert await world.eventually(replaced)

    # evicting

    async def test_an_eviction_holds_to_its_preconditions(self, world: World) -> None:
        victim = await self._ready_pod(world)
        ref = ObjectRef.to(victim, POD)

        with pytest.raises(Conflict):
            await world.cluster.evict(ref, uid="another")
        assert await world.cluster.evict(ref, uid=uid(victim), dry_run=True)
        assert not dig(await world.cluster.read(ref), "metadata", "deletionTimestamp")
        assert await world.cluster.evict(ref, uid=uid(victim), grace_seconds=0)

        async def gone() -> bool:
            try:
                seen = await world.cluster.read(ref)
            except NotFound:
                return True
            return uid(seen) != uid(victim)

        assert await world.eventually(gone)

    async def test_what_is_not_there_cannot_be_evicted(self, world: World) -> None:
        with pytest.raises(NotFound):
            await world.cluster.evict(ObjectRef.of("Pod", world.namespace, "nothing"))

    async def test_a_disruption_budget_keeps_a_ready_pod_until_it_allows(self, world: World) -> None:
        victim = await self._ready_pod(world)
        ref, budget = ObjectRef.to(victim, POD), ObjectRef.of("PodDisruptionBudget", world.namespace, "shop")
        spec: Object = {"minAvailable": 2, "selector": {"matchLabels": {"app": "shop"}}}
        await world.cluster.create(BUILT_IN["PodDisruptionBudget"], named("shop", world.namespace, spec=spec))

        async def allowed(most: int) -> bool:
            seen = await world.cluster.read(budget)
            return dig_int(seen, "status", "observedGeneration") == generation(seen) and (
                dig_int(seen, "status", "currentHealthy"),
                dig_int(seen, "status", "disruptionsAllowed"),
            ) == (2, most)

        assert await world.eventually(lambda: allowed(0))
        assert not await world.cluster.evict(ref, uid=uid(victim), dry_run=True)
        assert not await world.cluster.evict(ref, uid=uid(victim))
        assert uid(await world.cluster.read(ref)) == uid(victim)

        await world.cluster.patch(budget, [op("replace", "/spec/minAvailable", 1)])
        assert await world.eventually(lambda: allowed(1))
        assert await world.cluster.evict(ref, uid=uid(victim))

    async def _ready_pod(self, world: World) -> Object:
        """One of two pods of the Deployment `shop` that serve."""
        if not world.has_controllers:
            pytest.skip("no pod is ready where only an API server runs")
        await world.cluster.create(DEPLOYMENT, deployment("shop", world.namespace))

        async def two() -> list[Object] | None:
            found = await world.cluster.list(POD, world.namespace, labels="app=shop")
            ready = [pod for pod in found.items if pod_is_ready(pod)]
            return ready if len(ready) == 2 else None

        ready: list[Object] = await world.eventually(two)
        return ready[0]


def fresh(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(4)}"
