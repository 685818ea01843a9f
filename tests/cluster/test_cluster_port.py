"""`KubeCluster` keeps the promises of the Cluster port on a real API server, and what a fake cannot show."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.ports.cluster_promises import (
    CONFIG_MAP,
    POD,
    WIDGET,
    ClusterPromises,
    Told,
    named,
    op,
    until,
)
from localcluster import Cluster as LocalCluster
from localcluster.api import ApiError
from localcluster.processes import moments
from remediator.adapters.clock import SystemClock
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.kube import KubeApi, from_kubeconfig, in_cluster
from remediator.domain.actions import Permission
from remediator.domain.changes import VOID_STAMP
from remediator.domain.errors import Forbidden, NotFound, Rejected, RemediatorError, Unavailable
from remediator.domain.json import Object, dig, dig_list, dig_text
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.ports import Identity

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

WORKLOAD = "local.remediator.dev/workload:1"


class RealWorld:
    """A namespace on a real API server."""

    def __init__(self, local: LocalCluster, cluster: KubeCluster, namespace: str) -> None:
        self.local = local
        self.cluster = cluster
        self.namespace = namespace
        self.has_controllers = local.has_controllers

    async def grant(self, account: str, permissions: list[Permission]) -> None:
        name = account.rpartition(":")[2]
        role = await self.cluster.kind("role.rbac.authorization.k8s.io")
        binding = await self.cluster.kind("rolebinding.rbac.authorization.k8s.io")
        rules = [{"apiGroups": [p.group], "resources": [p.resource], "verbs": list(p.verbs)} for p in permissions]
        await self.cluster.create(role, named(name, self.namespace, rules=rules))
        await self.cluster.create(
            binding,
            named(
                name,
                self.namespace,
                roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                subjects=[{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}],
            ),
        )

        async def known() -> bool:
            as_account = self.cluster.acting_as(Identity(account))
            return all([(await as_account.allowed(p, self.namespace))[0] for p in permissions])

        assert await self.eventually(known)

    async def eventually(self, look: Callable[[], Awaitable[Any]]) -> Any:
        found = await look()
        async with asyncio.timeout(30):
            while not found:
                await asyncio.sleep(0.1)
                found = await look()
        return found


@pytest.fixture(scope="module")
def widgets(cluster: LocalCluster) -> None:
    """A kind that only a CRD knows."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
            "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
        },
    }
    manifest = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{WIDGET.plural}.{WIDGET.group}"},
        "spec": {
            "group": WIDGET.group,
            "scope": "Namespaced",
            "names": {"kind": WIDGET.kind, "plural": WIDGET.plural, "singular": "widget"},
            "versions": [
                {
                    "name": WIDGET.version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }
    try:
        cluster.api.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", manifest)
    except ApiError as refusal:
        if refusal.status != 409:
            raise
    for _ in moments(20, 0.1):
        try:
            cluster.api.get(f"/apis/{WIDGET.group}/{WIDGET.version}/{WIDGET.plural}")
            return
        except ApiError:
            continue


@pytest.fixture
async def api(cluster: LocalCluster) -> AsyncIterator[KubeApi]:
    async with KubeApi(from_kubeconfig(str(cluster.admin_kubeconfig)), SystemClock()) as opened:
        yield opened


@pytest.fixture
def world(cluster: LocalCluster, api: KubeApi, namespace: str, widgets: None) -> RealWorld:
    return RealWorld(cluster, KubeCluster(api), namespace)


class TestKubeCluster(ClusterPromises):
    pass


async def test_a_field_that_the_schema_does_not_know_is_rejected_and_never_dropped(world: RealWorld) -> None:
    made = await world.cluster.create(WIDGET, named("one", world.namespace, spec={"size": 1}))

    with pytest.raises(Rejected, match="unknown field"):
        await world.cluster.create(WIDGET, named("two", world.namespace, spec={"siez": 1}))
    with pytest.raises(Rejected, match="unknown field"):
        await world.cluster.patch(ObjectRef.to(made, WIDGET), [op("add", "/spec/siez", 2)])


async def test_what_admission_refuses_is_rejected_and_not_forbidden(world: RealWorld) -> None:
    quota = named("none", world.namespace, spec={"hard": {"configmaps": "0"}})
    await world.cluster.create(BUILT_IN["ResourceQuota"], quota)

    async def counted() -> Exception | None:
        try:
            await world.cluster.create(CONFIG_MAP, named("one", world.namespace), dry_run=True)
        except RemediatorError as refused:
            return refused
        return None

    if not world.has_controllers:
        pytest.skip("nothing counts quota where only an API server runs")
    refused = await world.eventually(counted)

    assert isinstance(refused, Rejected)
    assert "exceeded quota" in str(refused)


async def test_what_a_policy_denies_is_rejected(world: RealWorld) -> None:
    policies = await world.cluster.kind("validatingadmissionpolicy.admissionregistration.k8s.io")
    bindings = await world.cluster.kind("validatingadmissionpolicybinding.admissionregistration.k8s.io")
    name = f"no-stop.{world.namespace}"
    extra = "has(request.userInfo.extra) && 'remediator.dev/run' in request.userInfo.extra"
    await world.cluster.create(
        policies,
        {
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}},
                    "resourceRules": [
                        {
                            "apiGroups": [""],
                            "apiVersions": ["v1"],
                            "operations": ["CREATE", "UPDATE"],
                            "resources": ["configmaps"],
                        }
                    ],
                },
                "matchConditions": [{"name": "of-a-run", "expression": extra}],
                "validations": [{"expression": "false", "message": "stopped", "reason": "Forbidden"}],
            },
        },
    )
    await world.cluster.create(
        bindings,
        {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}},
    )
    account = f"system:serviceaccount:{world.namespace}:fixer"
    await world.grant(account, [Permission("", "configmaps", ("get", "create", "patch"))])
    made = await world.cluster.create(CONFIG_MAP, named("one", world.namespace, data={"a": "1"}))
    ref = ObjectRef.to(made, CONFIG_MAP)
    of_run = world.cluster.acting_as(Identity(account, run="shop/run-1"))
    of_void = world.cluster.acting_as(Identity(account, run="shop/run-1", void=True))

    async def refused() -> Exception | None:
        try:
            await of_run.patch(ref, [op("replace", "/data/a", "2")], dry_run=True)
        except RemediatorError as refusal:
            return refusal
        return None

    try:
        refusal = await world.eventually(refused)
        assert isinstance(refusal, Rejected), refusal
        assert "stopped" in str(refusal)
        # the void's own extra, and no extra at all, are let through
        assert await of_void.patch(ref, [op("add", "/metadata/annotations", {VOID_STAMP: "token"})])
        assert await world.cluster.acting_as(Identity(account)).patch(ref, [op("replace", "/data/a", "4")])
    finally:
        await world.cluster.delete(ObjectRef(bindings.group, bindings.kind, "", name))
        await world.cluster.delete(ObjectRef(policies.group, policies.kind, "", name))


async def test_an_impersonated_account_has_its_groups_and_the_run_without_asking_for_them(world: RealWorld) -> None:
    account = f"system:serviceaccount:{world.namespace}:fixer"
    review = await world.cluster.kind("selfsubjectreview.authentication.k8s.io")

    answer = await world.cluster.acting_as(Identity(account, run="shop/run-1")).create(review, {"metadata": {}})

    info = dig(answer, "status", "userInfo")
    assert dig_text(info, "username") == account
    assert dig(info, "groups") == [
        "system:serviceaccounts",
        f"system:serviceaccounts:{world.namespace}",
        "system:authenticated",
    ]
    assert dig(info, "extra", "remediator.dev/run") == ["shop/run-1"]


async def test_who_may_not_impersonate_is_forbidden_to(cluster: LocalCluster, namespace: str) -> None:
    credentials = from_kubeconfig(str(cluster.kubeconfig_for("nobody-in-particular")))
    async with KubeApi(credentials, SystemClock()) as opened:
        someone_else = KubeCluster(opened).acting_as(Identity(f"system:serviceaccount:{namespace}:default"))

        with pytest.raises(Forbidden, match="cannot impersonate"):
            await someone_else.read(ObjectRef.of("ConfigMap", namespace, "one"))


async def test_a_pod_uses_its_service_account(
    cluster: LocalCluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = cluster.server.removeprefix("https://").split(":")
    (tmp_path / "token").write_text(cluster.service_account_token(namespace, "default"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    for name, file in (("TOKEN", tmp_path / "token"), ("CERT", cluster.ca_file)):
        monkeypatch.setattr(f"kubernetes.aio.config.incluster_config.SERVICE_{name}_FILENAME", str(file))

    async with KubeApi(in_cluster(), SystemClock()) as opened:
        with pytest.raises(Forbidden, match=f"system:serviceaccount:{namespace}:default"):
            await KubeCluster(opened).read(ObjectRef.of("ConfigMap", namespace, "one"))


async def test_an_exec_plugin_gives_the_token(cluster: LocalCluster, namespace: str, tmp_path: Path) -> None:
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": cluster.service_account_token(namespace, "default")},
    }
    (tmp_path / "credential").write_text(json.dumps(credential))
    config = yaml.safe_load(cluster.admin_kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": "cat",
                "args": [str(tmp_path / "credential")],
            }
        }
    (tmp_path / "config").write_text(yaml.safe_dump(config))

    async with KubeApi(from_kubeconfig(str(tmp_path / "config")), SystemClock()) as opened:
        with pytest.raises(Forbidden, match=f"system:serviceaccount:{namespace}:default"):
            await KubeCluster(opened).read(ObjectRef.of("ConfigMap", namespace, "one"))


async def test_a_token_that_is_not_good_is_unavailable_and_names_no_token(
    cluster: LocalCluster, namespace: str
) -> None:
    credentials = from_kubeconfig(str(cluster.kubeconfig_for_token("bad", "not-a-good-token")))
    async with KubeApi(credentials, SystemClock()) as opened:
        with pytest.raises(Unavailable, match="credentials") as told:
            await KubeCluster(opened).read(ObjectRef.of("ConfigMap", namespace, "one"))

    assert "not-a-good-token" not in str(told.value)


async def test_an_api_server_that_is_not_there_is_unavailable(cluster: LocalCluster, tmp_path: Any) -> None:
    config = tmp_path / "nowhere.yaml"
    config.write_text(cluster.admin_kubeconfig.read_text().replace(cluster.server, "https://127.0.0.1:9"))
    async with KubeApi(from_kubeconfig(str(config)), SystemClock()) as opened:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await KubeCluster(opened).read(ObjectRef.of("ConfigMap", "default", "one"))


class Interrupted(KubeApi):
    """The first stream ends at once, and the place where it stopped is forgotten."""

    streams = 0
    in_between: Callable[[], Awaitable[None]]

    async def lines(
        self, path: str, *, params: Mapping[str, str], headers: Mapping[str, str], silence_seconds: float
    ) -> AsyncIterator[bytes]:
        self.streams += 1
        if self.streams == 1:
            params = {**params, "timeoutSeconds": "1"}
        if self.streams == 2:
            await self.in_between()
            params = {**params, "resourceVersion": "1"}
        async for line in super().lines(path, params=params, headers=headers, silence_seconds=silence_seconds):
            yield line


async def test_a_watch_whose_place_is_forgotten_lists_again_and_tells_what_vanished(
    cluster: LocalCluster, world: RealWorld
) -> None:
    for name in ("kept", "changed", "gone", "made-anew"):
        await world.cluster.create(WIDGET, named(name, world.namespace, spec={"size": 1}))

    async def in_between() -> None:
        def ref(name: str) -> ObjectRef:
            return ObjectRef(WIDGET.group, WIDGET.kind, world.namespace, name)

        await world.cluster.patch(ref("changed"), [op("replace", "/spec/size", 2)])
        await world.cluster.delete(ref("gone"))
        await world.cluster.delete(ref("made-anew"))
        await world.cluster.create(WIDGET, named("made-anew", world.namespace, spec={"size": 1}))
        await world.cluster.create(WIDGET, named("later", world.namespace, spec={"size": 1}))

    told = Told()
    async with Interrupted(from_kubeconfig(str(cluster.admin_kubeconfig)), SystemClock()) as opened:
        opened.in_between = in_between
        watching = asyncio.create_task(KubeCluster(opened).watch(WIDGET, world.namespace, told))
        await until(lambda: told.lines.count("SYNCED") == 2)
        watching.cancel()

    first, second = told.lines[:5], told.lines[5:]
    assert first == ["ADDED changed", "ADDED gone", "ADDED kept", "ADDED made-anew", "SYNCED"]
    assert second == [
        "MODIFIED changed",
        "ADDED later",
        "DELETED made-anew",
        "ADDED made-anew",
        "DELETED gone",
        "SYNCED",
    ]


async def test_a_watch_of_a_kind_that_is_not_served_says_so(world: RealWorld) -> None:
    with pytest.raises(NotFound):
        await world.cluster.watch(type(WIDGET)("nowhere.example.com", "v1", "X", "xs"), "", Told())


async def test_a_list_of_many_pages_is_whole(world: RealWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remediator.adapters.cluster.PAGE", 3)
    for number in range(8):
        obj = named(f"page-{number}", world.namespace, metadata=None)
        obj["metadata"] = {"name": f"page-{number}", "namespace": world.namespace, "labels": {"paged": "yes"}}
        await world.cluster.create(CONFIG_MAP, obj)

    whole = await world.cluster.list(CONFIG_MAP, world.namespace, labels="paged=yes")
    cut = await world.cluster.list(CONFIG_MAP, world.namespace, labels="paged=yes", limit=7)

    assert len(whole.items) == 8
    assert not whole.truncated
    assert len(cut.items) == 7
    assert cut.truncated


def pod_on_a_real_node(namespace: str, env: dict[str, str]) -> Object:
    return named(
        "one",
        namespace,
        spec={
            "nodeSelector": {"local.remediator.dev/tier": "real"},
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "main",
                    "image": WORKLOAD,
                    "env": [{"name": name, "value": value} for name, value in env.items()],
                }
            ],
        },
    )


@pytest.mark.real_node
async def test_logs_of_a_crash_loop_are_read_and_cut_at_their_front(world: RealWorld) -> None:
    await world.cluster.create(POD, pod_on_a_real_node(world.namespace, {"FAIL": "panic"}))
    ref = ObjectRef.of("Pod", world.namespace, "one")

    async def crashed() -> bool:
        pod = await world.cluster.read(ref)
        status = dig_list(pod, "status", "containerStatuses")
        return bool(status and dig(status[0], "restartCount"))

    await world.eventually(crashed)
    whole = await world.cluster.logs(ref, container="main", previous=True)
    cut = await world.cluster.logs(ref, container="main", previous=True, limit_bytes=40)

    assert whole.available
    assert not whole.truncated
    assert whole.text
    assert cut.truncated
    assert whole.text.endswith(cut.text)
    assert len(cut.text) <= 40


@pytest.mark.real_node
async def test_a_container_without_a_former_one_has_no_previous_log(world: RealWorld) -> None:
    await world.cluster.create(POD, pod_on_a_real_node(world.namespace, {}))
    ref = ObjectRef.of("Pod", world.namespace, "one")

    async def running() -> bool:
        return dig_text(await world.cluster.read(ref), "status", "phase") == "Running"

    await world.eventually(running)

    with pytest.raises(NotFound, match="previous terminated container"):
        await world.cluster.logs(ref, container="main", previous=True)


@pytest.mark.real_node
async def test_the_kubelets_excuse_is_not_taken_for_a_log(cluster: LocalCluster, world: RealWorld) -> None:
    await world.cluster.create(POD, pod_on_a_real_node(world.namespace, {}))
    ref = ObjectRef.of("Pod", world.namespace, "one")

    async def running() -> bool:
        return dig_text(await world.cluster.read(ref), "status", "phase") == "Running"

    async def written() -> bool:
        return (await world.cluster.logs(ref, container="main")).text != ""

    await world.eventually(running)
    await world.eventually(written)
    for log in list(cluster.folder.rglob(f"{world.namespace}_one_*/main/*.log")):
        log.unlink()

    answer = await world.cluster.logs(ref, container="main")

    assert not answer.available, answer
    assert answer.text


async def test_everything_that_the_audit_log_shows_names_the_run(cluster: LocalCluster, world: RealWorld) -> None:
    if cluster.facts.source == "external":
        pytest.skip("the audit log of that API server is not ours")
    account = f"system:serviceaccount:{world.namespace}:fixer"
    await world.grant(account, [Permission("", "configmaps", ("create",))])

    await world.cluster.acting_as(Identity(account, run="shop/run-7")).create(
        CONFIG_MAP, named("audited", world.namespace)
    )

    def entries() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in cluster.audit_log.read_text().splitlines() if line.strip()]
        return [
            entry
            for entry in lines
            if entry.get("objectRef", {}).get("name") == "audited"
            and entry.get("objectRef", {}).get("namespace") == world.namespace
        ]

    async def written() -> list[dict[str, Any]]:
        return entries()

    entry = (await world.eventually(written))[0]
    assert entry["impersonatedUser"]["username"] == account
    assert entry["impersonatedUser"]["extra"] == {"remediator.dev/run": ["shop/run-7"]}
