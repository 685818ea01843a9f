"""
The kill switch on a real API server: what is refused while it is pulled, what never is, and how soon.

A cluster of its own: everything else in one would stop, and our CRDs are deleted on the way. The
operator's adapters and its reconciler run in this process, so that it can be frozen between two calls.
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.test_intake import TOKEN, Replica, an_alert
from contract.ports.cluster_promises import until
from known import Given
from localcluster import Cluster as LocalCluster
from localcluster import CommandFailed, NotAvailable
from localcluster.api import ApiError
from localcluster.operator import NAMESPACE, REPOSITORY, TENANT_ACCOUNT, install, open_namespace
from localcluster.processes import moments
from remediator.actions import registry
from remediator.adapters.clock import SystemClock
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.evidence import ConfigMapEvidence
from remediator.adapters.kube import KubeApi, from_kubeconfig
from remediator.adapters.locks import LeaseLocks
from remediator.domain.alerts import Identities, read_alert
from remediator.domain.changes import STAMPS, VOID_STAMP
from remediator.domain.errors import NotFound, Rejected
from remediator.domain.json import Object, dig_object
from remediator.domain.objects import BUILT_IN, RUN, ObjectRef
from remediator.domain.runs import Run, RunOutcome, StepState
from remediator.engine.acceptance import accept_runbook
from remediator.engine.alertsets import packed
from remediator.engine.facts import NOT_SUSPENDED
from remediator.engine.suspension import NAME, recorded, recorded_name, switch_object
from remediator.handlers.runs import Reconciler
from remediator.handlers.switch import Switch
from remediator.ports import Identity
from remediator.testing.fakes import FakeNotifier
from remediator.testing.world import World, transcript
from worlds import fence

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

CONFIG_MAP = BUILT_IN["ConfigMap"]
SWITCH = ObjectRef.of("ConfigMap", NAMESPACE, NAME)
OURS = "/apis/remediator.dev/v1alpha1"

BOOK = """
targets: [Deployment]
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
"""


@pytest.fixture(scope="module")
def ground() -> Iterator[LocalCluster]:
    """A cluster with everything but the pod installed."""
    named = os.environ.get("REMEDIATOR_TEST_CLUSTER")
    try:
        cluster = LocalCluster.attach(named) if named else LocalCluster.up(f"switch-{os.getpid()}", simulated=0)
    except NotAvailable as missing:
        pytest.skip(str(missing))
    if not cluster.has_controllers or cluster.facts.source in ("external", "kind"):
        pytest.skip("its API server is stopped on the way, and must be ours")
    with cluster:
        installed(cluster)
        yield cluster


def installed(cluster: LocalCluster) -> None:
    for _ in moments(60, 1):
        with suppress(CommandFailed):  # the API server does not serve yet what the same call brought
            install(cluster)
            return


@pytest.fixture(scope="module")
def place(ground: LocalCluster) -> str:
    """A namespace in which runs may set variables, and an account that may do everything."""
    name = f"switch-{secrets.token_hex(4)}"
    ground.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    open_namespace(ground, name, ["setEnv"])
    ground.run_kubectl(
        "create", "clusterrolebinding", name, "--clusterrole=cluster-admin", f"--serviceaccount={name}:powerful",
    )  # fmt: skip
    return name


@pytest.fixture
def target(ground: LocalCluster, place: str) -> ObjectRef:
    """A Deployment that nobody runs, with an annotation."""
    made = deployment(f"d-{secrets.token_hex(4)}")
    ground.api.call("POST", f"/apis/apps/v1/namespaces/{place}/deployments", made)
    return ObjectRef.of("Deployment", place, str(made["metadata"]["name"]))


def deployment(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "annotations": {"kept": "1"}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "registry.test/shop:1"}]},
            },
        },
    }


class Hooked(KubeCluster):
    """The operator's client, with something that happens immediately before each of its changes."""

    before_a_change: Callable[[], Awaitable[None]] | None = None

    def acting_as(self, identity: Identity) -> "Hooked":
        made = Hooked(self._api, identity, discovery=self._discovery)
        made.before_a_change = self.before_a_change
        return made

    async def patch(
        self, ref: ObjectRef, operations: Sequence[Object], *, dry_run: bool = False, sub: str = ""
    ) -> Object:
        if self.before_a_change is not None and self._identity.run and not self._identity.void:
            await self.before_a_change()
        return await super().patch(ref, operations, dry_run=dry_run, sub=sub)


class Stage:
    """The switch in somebody's hand, and an operator in this process."""

    def __init__(self, admin: KubeApi, operator: KubeApi, target: ObjectRef) -> None:
        self.target, self.shop = target, target.namespace
        self.admin = KubeCluster(admin)
        powerful = f"system:serviceaccount:{self.shop}:powerful"
        self.for_a_run = self.admin.acting_as(Identity(powerful, f"{self.shop}/a-run"))
        self.voiding = self.admin.acting_as(Identity(powerful, f"{self.shop}/a-run", void=True))
        self.cluster = Hooked(operator)
        self.switch = Switch(self.cluster, NAMESPACE)
        self.switch.heard("SYNCED", {})  # and nothing is followed: what it hears, a test says
        self.notifier = FakeNotifier("default")

    async def pull(self) -> float:
        """Seconds from the answer to the write to the first refusal."""
        await self.admin.create(CONFIG_MAP, switch_object(NAMESPACE, "a test", ""))
        began = time.monotonic()
        while not await self.is_refused():
            assert time.monotonic() - began < 20, "the switch is not enforced"
        return time.monotonic() - began

    async def release(self) -> None:
        with suppress(NotFound):
            await self.admin.delete(SWITCH)
        for _ in range(500):
            if not await self.is_refused():
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the switch is not released")

    async def is_refused(self) -> bool:
        """Whether a change of ours would be refused now."""
        try:
            await self.for_a_run.patch(self.target, annotated("a", "1"), dry_run=True)
        except Rejected as refusal:
            assert "everything is suspended" in str(refusal)
            return True
        return False

    async def open_run(self) -> Run:
        spec: Object = {
            "runbookRef": {"name": "queue"},
            "target": {"kind": "Deployment", "namespace": self.shop, "name": self.target.name},
            "mode": "Automatic",
            "serviceAccountName": TENANT_ACCOUNT,
            "requestedBy": "alice",
        }
        metadata: Object = {"namespace": self.shop, "name": f"by-hand-{self.target.name}"}
        return Run.parse(await self.cluster.create(RUN, {"metadata": metadata, "spec": spec}))

    async def ended(self, run: Run) -> Run:
        """The run after the operator has carried it to its end."""
        reconciler = self.operator()
        for _ in range(20):
            await reconciler.reconcile((run.namespace, run.name))
            now = Run.parse(await self.admin.read(ObjectRef(RUN.group, RUN.kind, run.namespace, run.name)))
            if now.is_ended:
                return now
        raise AssertionError(f"the run has not ended:\n{transcript(now)}")

    def operator(self) -> Reconciler:
        """As after a restart; what is not the API server's is of the test's own."""
        book = accept_runbook(self.shop, "queue", "rb-uid", 1, yaml.safe_load(BOOK), registry)
        world = World(Given(book=book, allowed=fence("setEnv")))
        world.outside = replace(
            world.outside,
            cluster=self.cluster,
            locks=LeaseLocks(self.cluster, NAMESPACE),
            notifier=self.notifier,
            evidence=ConfigMapEvidence(self.cluster),
            clock=SystemClock(),
            switch=self.switch,
        )
        return world.new_operator()


@pytest.fixture
async def stage(ground: LocalCluster, target: ObjectRef) -> AsyncIterator[Stage]:
    token = ground.service_account_token(NAMESPACE, "remediator")
    kubeconfig = ground.kubeconfig_for_token("operator", token)
    async with (
        KubeApi(from_kubeconfig(str(ground.admin_kubeconfig)), SystemClock()) as admin,
        KubeApi(from_kubeconfig(str(kubeconfig)), SystemClock()) as operator,
    ):
        made = Stage(admin, operator, target)
        yield made
        await made.release()


def annotated(name: str, value: str) -> list[Object]:
    """A JSON patch for an object that has annotations."""
    path = f"/metadata/annotations/{name.replace('~', '~0').replace('/', '~1')}"
    return [{"op": "add", "path": path, "value": value}]


# --- what the switch stops -------------------------------------------------------------------------


async def test_a_change_that_was_about_to_be_sent_is_refused_and_its_run_ends_as_stopped(stage: Stage) -> None:
    pulled: list[float] = []

    async def meanwhile() -> None:
        if not pulled:
            pulled.append(await stage.pull())

    before = await stage.admin.read(stage.target)
    stage.cluster.before_a_change = meanwhile

    run = await stage.ended(await stage.open_run())

    print(f"first refusal {pulled[0] * 1000:.1f} ms after the switch's write was answered")
    assert run.status.outcome is RunOutcome.STOPPED, transcript(run)
    (step,) = run.status.attempts[0].steps
    assert step.state is StepState.VOIDED
    after = await stage.admin.read(stage.target)
    assert after["spec"] == before["spec"]
    assert dig_object(after, "metadata", "annotations") == {
        **dig_object(before, "metadata", "annotations"),
        VOID_STAMP: step.token,
    }
    assert [sent.receiver for sent in stage.notifier.sent] == ["default"]


async def test_an_intent_is_refused_before_the_operator_has_heard_of_the_switch(stage: Stage) -> None:
    made = await stage.open_run()
    before = await stage.admin.read(stage.target)
    await stage.pull()

    run = await stage.ended(made)

    assert run.status.outcome is RunOutcome.STOPPED, transcript(run)
    assert run.status.attempts[0].steps[0].state is StepState.PLANNED
    after = await stage.admin.read(stage.target)
    assert after["spec"] == before["spec"]
    assert dig_object(after, "metadata", "annotations").keys() & set(STAMPS) == set()


async def test_no_run_begins_whoever_asks(stage: Stage) -> None:
    await stage.pull()

    with pytest.raises(Rejected, match=r"everything is suspended \(a test\), so no run begins"):
        await stage.open_run()
    spec: Object = {"runbookRef": {"name": "x"}, "target": {"kind": "Deployment", "name": "x"}, "requestedBy": "admin"}
    with pytest.raises(Rejected, match="so no run begins"):
        await stage.admin.create(RUN, {"metadata": {"namespace": stage.shop, "name": "b"}, "spec": spec})


async def test_an_old_intent_may_be_written_again_and_a_new_one_may_not(stage: Stage) -> None:
    run = await stage.open_run()
    ref = ObjectRef(RUN.group, RUN.kind, run.namespace, run.name)

    def status(*states: str, message: str = "") -> list[Object]:
        steps = [{"name": f"s{n}", "action": "setEnv", "state": s, "token": f"t{n}"} for n, s in enumerate(states)]
        undo = [{"name": "u", "action": "setEnv", "state": "Intended", "token": "u0"}]
        attempts = [{"number": 1, "steps": steps[:2], "undo": [*undo, *steps[2:]]}]
        return [{"op": "add", "path": "/status", "value": {"attempts": attempts, "message": message}}]

    await stage.cluster.patch(ref, status("Intended"), sub="status")
    await stage.pull()

    await stage.cluster.patch(ref, status("Intended", message="held"), sub="status")
    for states in (("Intended", "Intended"), ("Intended", "Planned", "Intended")):
        with pytest.raises(Rejected, match="so no step is intended"):
            await stage.cluster.patch(ref, status(*states), sub="status")
    await stage.cluster.patch(ref, status("Voided"), sub="status")
    with pytest.raises(Rejected, match="so no step is intended"):
        await stage.cluster.patch(ref, status("Intended"), sub="status")


Attempt = Callable[[KubeCluster, ObjectRef], Awaitable[Any]]


def on(path: str, value: Any = None, op: str = "add") -> Attempt:
    """A patch of the Deployment."""

    async def attempt(cluster: KubeCluster, target: ObjectRef) -> Any:
        operation: Object = {"op": op, "path": path} if op == "remove" else {"op": op, "path": path, "value": value}
        return await cluster.patch(target, [operation])

    return attempt


async def creating(cluster: KubeCluster, target: ObjectRef) -> Any:
    return await cluster.create(CONFIG_MAP, {"metadata": {"namespace": target.namespace, "name": f"of-{target.name}"}})


async def deleting(cluster: KubeCluster, target: ObjectRef) -> Any:
    return await cluster.delete(target, dry_run=True)


async def scaling(cluster: KubeCluster, target: ObjectRef) -> Any:
    return await cluster.patch(target, [{"op": "replace", "path": "/spec/replicas", "value": 0}], sub="scale")


async def evicting(cluster: KubeCluster, target: ObjectRef) -> Any:
    body: Object = {"metadata": {"namespace": target.namespace, "name": f"of-{target.name}"}}
    body |= {"apiVersion": "policy/v1", "kind": "Eviction"}
    path = f"/api/v1/namespaces/{target.namespace}/pods/of-{target.name}/eviction"
    return await cluster._api.json("POST", path, body=body, headers=cluster._headers)


EVERYTHING: dict[str, Attempt] = {
    "a label": on("/metadata/labels", {"a": "b"}),
    "the spec": on("/spec/minReadySeconds", 1),
    "another annotation": on("/metadata/annotations/other", ""),
    "an annotation that goes": on("/metadata/annotations/kept", op="remove"),
    "an owner": on("/metadata/ownerReferences", [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}]),
    "a creation": creating,
    "a deletion": deleting,
    "a subresource": scaling,
    "an eviction": evicting,
}


async def test_a_void_passes_and_nothing_that_only_says_that_it_is_one(stage: Stage) -> None:
    pod: Object = {"metadata": {"namespace": stage.shop, "name": f"of-{stage.target.name}"}}
    pod["spec"] = {"containers": [{"name": "app", "image": "registry.test/shop:1"}], "nodeName": "nowhere"}
    await stage.admin.create(BUILT_IN["Pod"], pod)

    await stage.pull()
    await stage.voiding.patch(stage.target, annotated(VOID_STAMP, "a-token"))
    await stage.voiding.patch(
        ObjectRef.of("Pod", stage.shop, f"of-{stage.target.name}"),
        [{"op": "add", "path": "/metadata/annotations", "value": {VOID_STAMP: "a-token"}}],
    )
    for what, attempt in EVERYTHING.items():
        with pytest.raises(Rejected, match="a void must be"):
            print(what)
            await attempt(stage.voiding, stage.target)


async def test_no_change_for_a_run_passes_wherever_it_goes_and_everybody_elses_does(stage: Stage) -> None:
    await stage.pull()

    for what, attempt in EVERYTHING.items():
        with pytest.raises(Rejected, match=f"so run {stage.shop}/a-run changes nothing"):
            print(what)
            await attempt(stage.for_a_run, stage.target)
    for what, attempt in EVERYTHING.items():
        print(what)
        if what == "an eviction":
            with pytest.raises(NotFound):  # there is no such pod
                await attempt(stage.admin, stage.target)
        elif what != "an owner":  # the garbage collector would take the Deployment away
            await attempt(stage.admin, stage.target)


# --- alerts ----------------------------------------------------------------------------------------


async def test_no_alert_of_a_burst_is_lost_when_the_switch_is_pulled_in_its_midst(
    ground: LocalCluster, stage: Stage, tmp_path: Path
) -> None:
    for manifest in (
        {"kind": "Runbook", "metadata": {"name": "book"}, "spec": {"targets": ["Deployment"]}},
        {
            "kind": "AlertPolicy",
            "metadata": {"name": "crash"},
            "spec": {"matchers": ['alertname="Crash"'], "runbookRef": {"name": "book"}},
        },
    ):
        plural = {"Runbook": "runbooks", "AlertPolicy": "alertpolicies"}[str(manifest["kind"])]
        path = f"{OURS}/namespaces/{stage.shop}/{plural}"
        ground.api.call("POST", path, {"apiVersion": "remediator.dev/v1alpha1", **manifest})
    (tmp_path / "token").write_text(TOKEN)
    replica = Replica(stage.cluster._api, tmp_path / "token")
    replica.watch()
    await replica.server.start()
    policy, ref = (stage.shop, "crash"), ObjectRef.of("ConfigMap", NAMESPACE, recorded_name((stage.shop, "crash")))
    try:
        await until(lambda: replica.is_synced and stage.shop in {one.namespace for one in replica.known.audience()})
        alerts = [an_alert(stage.shop, f"{n:04d}", f"d{n % 40}") for n in range(200)]

        async def sent(alert: Object) -> str:
            while True:
                status, answer = await replica.send(alert)
                if status == 200:
                    return str(*answer["alerts"])
                await asyncio.sleep(0.2)

        first = asyncio.gather(*(sent(alert) for alert in alerts[:100]))
        await asyncio.sleep(0.2)
        await stage.pull()
        answers = [*await first, *await asyncio.gather(*(sent(alert) for alert in alerts[100:]))]
        runs = [Run.parse(obj) for obj in (await stage.admin.list(RUN, stage.shop)).items]
        kept = packed(recorded(await stage.admin.read(ref)))
        on_runs = Identities().merge(*(Identities.decode(run.alerts.identities) for run in runs))

        assert len(on_runs.merge(kept)) == 200
        assert set(answers[100:]) == {"Suspended"}
        assert len(kept) == answers.count("Suspended") >= 100

        await stage.release()
        await until(lambda: replica.switch.state == NOT_SUSPENDED)
        assert await sent(alerts[150]) == "Suspended"
        assert await sent(an_alert(stage.shop, "new", "d0")) in ("Opened", "Attached")
        assert replica.suspended.kept[policy].keys() >= {read_alert(alerts[150]).identity.digest}
    finally:
        await replica.server.stop()
        await replica.stop_watching()


# --- people ----------------------------------------------------------------------------------------


def test_who_may_pull_the_switch_pulls_it_and_makes_nothing_else_there(ground: LocalCluster) -> None:
    ground.run_kubectl(
        "create", "rolebinding", "carol", "-n", NAMESPACE, "--role=remediator-suspend", "--user=carol",
    )  # fmt: skip
    carol = ground.kubeconfig_for("carol")
    create = ("create", "configmap", "-n", NAMESPACE)
    for _ in moments(10, 0.1):
        with suppress(CommandFailed):
            ground.run_kubectl("auth", "can-i", "create", "configmaps", "-n", NAMESPACE, kubeconfig=carol)
            break

    for name in ("remediator-endpoints-2", "runbook-0123456789abcdef"):
        with pytest.raises(CommandFailed, match="may create the ConfigMaps suspended and pick-up here and no other"):
            ground.run_kubectl(*create, name, kubeconfig=carol)
    forged = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", **switch_object(NAMESPACE, "why", "alice")})
    with pytest.raises(CommandFailed, match="is alice, but the one who asks is carol"):
        ground.run_kubectl("create", "-f", "-", input=forged, kubeconfig=carol)
    ground.run_kubectl(*create, NAME, "--from-literal=reason=by hand", kubeconfig=carol)
    status = json.loads(plugin(ground, "status", "-o", "json"))
    ground.run_kubectl("delete", "configmap", NAME, "-n", NAMESPACE, kubeconfig=carol)
    ground.run_kubectl("delete", "rolebinding", "carol", "-n", NAMESPACE)

    assert (status["suspended"], status["by"], status["reason"]) == (True, None, "by hand")
    assert set(status["admission"].values()) == {"in force"}


def plugin(cluster: LocalCluster, *args: str, code: int = 0) -> str:
    """What `kubectl remediate` says, as the cluster's administrator."""
    done = subprocess.run(
        [sys.executable, "-m", "remediator.cli.main", *args, "--kubeconfig", str(cluster.admin_kubeconfig)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "operator")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_the_command_suspends_under_the_callers_name_and_resumes(ground: LocalCluster) -> None:
    said = plugin(ground, "suspend", "--reason", "a drill", "--yes", "--timeout", "0s")
    made = ground.api.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}")
    resumed = plugin(ground, "resume", "--pick-up")

    assert said == "Everything is suspended: a drill.\n"
    assert made["metadata"]["annotations"]["remediator.dev/by"] == "admin"
    assert resumed.startswith("Resumed; until now everything is suspended by admin: a drill.")
    names = {one["metadata"]["name"] for one in ground.api.items(f"/api/v1/namespaces/{NAMESPACE}/configmaps")}
    assert NAME not in names
    assert "pick-up" in names
    ground.api.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}/configmaps/pick-up")


# --- everybody else --------------------------------------------------------------------------------


def test_nobody_elses_write_is_refused_without_our_kinds_and_while_the_api_server_starts(
    ground: LocalCluster, target: ObjectRef
) -> None:
    api = ground.api
    api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/configmaps", switch_object(NAMESPACE, "a test", ""))
    crds = [one["metadata"]["name"] for one in api.items("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")]
    ours = [name for name in crds if name.endswith(".remediator.dev")]
    try:
        for name in ours:
            api.call("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
        for n in range(5):
            written(ground, target.namespace, f"without-{n}")
        ground.stop_apiserver()
        ground.start_apiserver()
        refusals = [written(ground, target.namespace, f"started-{n}") for n in range(5)]
        held = refused_for_a_run(ground, target)
    finally:
        api.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}")
        if ground.already_running:
            installed(ground)  # others go on with it

    assert len(ours) >= 4
    assert refusals == [""] * 5
    assert "everything is suspended" in held


def written(cluster: LocalCluster, shop: str, name: str) -> str:
    """Somebody's ConfigMap and Deployment are stored; else what refused them."""
    try:
        cluster.api.call("POST", f"/api/v1/namespaces/{shop}/configmaps", {"metadata": {"name": name}})
        cluster.api.call("POST", f"/apis/apps/v1/namespaces/{shop}/deployments", deployment(name))
    except ApiError as refusal:
        return str(refusal)
    return ""


def refused_for_a_run(cluster: LocalCluster, target: ObjectRef) -> str:
    """What the API server says, as soon as it knows the switch again, to a change of ours."""
    shop = target.namespace
    who = f"system:serviceaccount:{shop}:{TENANT_ACCOUNT}"
    for _ in moments(20, 0.1):
        try:
            cluster.run_kubectl(
                "annotate", "deployment", target.name, "a=b", "--overwrite", "--dry-run=server", "-n", shop,
                f"--as={who}", f"--as-user-extra=remediator.dev/run={shop}/a-run",
            )  # fmt: skip
        except CommandFailed as refusal:
            return refusal.stderr
    return ""
