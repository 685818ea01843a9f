"""Definitions on a real API server: each mistake shows on `Ready`, and so does what an account may not do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster import Cluster as LocalCluster
from remediator.adapters.clock import SystemClock
from remediator.adapters.cluster import KubeCluster
from remediator.adapters.kube import KubeApi, from_kubeconfig
from remediator.domain.errors import NotFound
from remediator.domain.json import Object, dig, dig_list, dig_object, dig_text
from remediator.domain.objects import GUARDRAIL, POLICY, RUNBOOK, Kind, ObjectRef
from remediator.generate.__main__ import ROOT
from remediator.generate.kinds import KINDS as SERVED
from remediator.handlers.accounts import Accounts
from remediator.handlers.definitions import KINDS, Definitions
from remediator.handlers.readiness import Readiness
from remediator.testing.clock import StoppedClock
from remediator.testing.fakes import FakeNotifier

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

INVALID = ROOT / "tests" / "data" / "invalid"
OPERATOR_NAMESPACE = "remediator-system"
BY_NAME = {kind.kind: kind for kind in (RUNBOOK, POLICY, GUARDRAIL)}

RUNBOOK_SPEC = """
targets: [Deployment]
diagnose:
- name: pods
  get: {kind: Pod, related: owned}
remedies:
- name: again
  when: diagnosis.pods.items.exists(p, !p.ready)
  steps:
  - name: roll
    restart: {}
"""
POLICY_SPEC = """
matchers: ['alertname="KubePodNotReady"']
runbookRef: {name: not-ready}
mode: Automatic
serviceAccountName: fixer
"""


@dataclass(frozen=True)
class Mistake:
    """A manifest that only the operator can refuse, and the answer it must have."""

    file: Path
    path: str
    says: str

    @classmethod
    def all(cls) -> Iterator["Mistake"]:
        for file in sorted(INVALID.glob("*.yaml")):
            lines = [
                line.removeprefix("# ") for line in file.read_text(encoding="utf-8").splitlines() if line[:2] == "# "
            ]
            head = dict(line.partition(": ")[::2] for line in lines)
            if head["refused-by"] == "operator":
                yield cls(file, head["path"], head["says"])

    @property
    def manifests(self) -> list[Any]:
        return [one for one in yaml.safe_load_all(self.file.read_text(encoding="utf-8")) if one]


MISTAKES = list(Mistake.all())


class Operator:
    """What of the operator looks after definitions, over the real adapters."""

    def __init__(self, api: KubeApi, namespace: str) -> None:
        self.cluster = KubeCluster(api)
        self.namespace = namespace
        self.clock = StoppedClock()
        """Only for when something is looked at again, so that no test waits for it."""
        self.known = Definitions(self.clock, operator_namespace=OPERATOR_NAMESPACE, can_ask=True)
        accounts = Accounts(self.cluster, self.clock, operator_namespace=OPERATOR_NAMESPACE)
        self.readiness = Readiness(self.known, self.cluster, FakeNotifier(), self.clock, accounts)

    async def follow(self) -> None:
        async with asyncio.TaskGroup() as group:
            for kind in KINDS:
                group.create_task(self.cluster.watch(kind, "", partial(self.known.saw, kind)))

    async def create(self, kind: Kind, name: str, spec: str | Object) -> Object:
        place: Object = {"namespace": self.namespace} if kind.namespaced else {}
        read = yaml.safe_load(spec) if isinstance(spec, str) else spec
        return await self.cluster.create(kind, {"metadata": {"name": name, **place}, "spec": read})

    def ref(self, kind: Kind, name: str) -> ObjectRef:
        return ObjectRef(kind.group, kind.kind, self.namespace if kind.namespaced else "", name)

    async def ready(self, kind: Kind, name: str, until: Callable[[Object], bool]) -> Object:
        """The condition Ready as the API server has it, as soon as it is as asked."""
        condition: Object = {}
        turns = 0
        async with asyncio.timeout(30):
            while not condition or not until(condition):
                turns += 1
                if turns % 40 == 0:
                    self.clock.advance(timedelta(seconds=10))  # a write that was not answered is tried again
                await self.readiness.write_due()
                stored = await self.cluster.read(self.ref(kind, name))
                conditions = dig_list(stored, "status", "conditions")
                is_current = dig(stored, "status", "observedGeneration") == dig(stored, "metadata", "generation")
                condition = conditions[0] if conditions and is_current else {}
                await asyncio.sleep(0.05)
        return condition


@pytest.fixture(scope="module")
def served(cluster: LocalCluster) -> LocalCluster:
    """The cluster, with our kinds."""
    for kind in SERVED:
        cluster.run_kubectl("apply", "-f", str(ROOT / "crds" / f"{kind.kind.plural}.yaml"))
    names = [f"crd/{kind.kind.plural}.{kind.kind.group}" for kind in SERVED]
    cluster.run_kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    return cluster


@pytest.fixture
async def operator(served: LocalCluster, namespace: str) -> AsyncIterator[Operator]:
    async with KubeApi(from_kubeconfig(str(served.admin_kubeconfig)), SystemClock()) as api:
        started = Operator(api, namespace)
        following = asyncio.create_task(started.follow())
        yield started
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        with suppress(NotFound):
            await started.cluster.delete(started.ref(GUARDRAIL, "wrong"))


def test_enough_mistakes_are_tried() -> None:
    assert len(MISTAKES) >= 15


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: one.file.stem)
async def test_a_mistake_shows_on_ready_with_its_path_and_what_to_write(operator: Operator, mistake: Mistake) -> None:
    for manifest in mistake.manifests:
        await operator.create(BY_NAME[manifest["kind"]], manifest["metadata"]["name"], manifest["spec"])

    kind = BY_NAME[mistake.manifests[-1]["kind"]]
    ready = await operator.ready(kind, "wrong", lambda condition: mistake.path in dig_text(condition, "message"))

    assert ready["status"] == "False"
    assert mistake.says in dig_text(ready, "message")


async def test_ready_follows_the_runbook_and_the_permissions_of_the_account(operator: Operator) -> None:
    await operator.create(POLICY, "not-ready", POLICY_SPEC)
    absent = await operator.ready(POLICY, "not-ready", lambda one: one["status"] == "False")
    assert f"there is no Runbook {operator.namespace}/not-ready" in dig_text(absent, "message")

    await operator.create(RUNBOOK, "not-ready", RUNBOOK_SPEC)
    unbound = await operator.ready(POLICY, "not-ready", lambda one: one["reason"] == "NotPermitted")
    assert "is there such a ServiceAccount, and is it bound to a role?" in dig_text(unbound, "message")

    await grant(operator, {"": {"pods": ["get", "list"]}, "apps": {"replicasets": ["list"], "deployments": ["get"]}})
    operator.clock.advance(timedelta(minutes=1))
    partly = await operator.ready(POLICY, "not-ready", lambda one: "is there such" not in dig_text(one, "message"))
    account = f"system:serviceaccount:{operator.namespace}:fixer"
    assert partly["message"] == (
        f"spec.serviceAccountName: {account} may not patch deployments.apps in namespace {operator.namespace}"
    )

    rules: list[Object] = [{"op": "add", "path": "/rules/-", "value": rule("apps", "deployments", ["patch"])}]
    await operator.cluster.patch(ObjectRef("rbac.authorization.k8s.io", "Role", operator.namespace, "fixer"), rules)
    await asyncio.sleep(0.5)  # the authorizer follows the role by a watch of its own
    operator.clock.advance(timedelta(minutes=1))
    ready = await operator.ready(POLICY, "not-ready", lambda one: one["status"] != "False")
    assert (ready["status"], ready["reason"]) == ("True", "Accepted")


async def test_a_status_of_ours_is_kept_by_the_server_as_it_was_written(operator: Operator) -> None:
    await operator.create(RUNBOOK, "not-ready", RUNBOOK_SPEC)
    await operator.ready(RUNBOOK, "not-ready", lambda one: one["status"] == "True")
    before = await operator.cluster.read(operator.ref(RUNBOOK, "not-ready"))

    for _ in range(3):
        operator.clock.advance(timedelta(minutes=6))
        await operator.readiness.write_due()

    after = await operator.cluster.read(operator.ref(RUNBOOK, "not-ready"))
    assert dig_object(after, "metadata")["resourceVersion"] == dig_object(before, "metadata")["resourceVersion"]


async def grant(operator: Operator, verbs: dict[str, dict[str, list[str]]]) -> None:
    """A role for the account of the test's policy."""
    role = await operator.cluster.kind("role.rbac.authorization.k8s.io")
    binding = await operator.cluster.kind("rolebinding.rbac.authorization.k8s.io")
    metadata: Object = {"name": "fixer", "namespace": operator.namespace}
    rules: list[Any] = [
        rule(group, resource, allowed) for group, resources in verbs.items() for resource, allowed in resources.items()
    ]
    await operator.cluster.create(role, {"metadata": dict(metadata), "rules": rules})
    subject: Object = {"kind": "ServiceAccount", "name": "fixer", "namespace": operator.namespace}
    reference: Object = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "fixer"}
    await operator.cluster.create(binding, {"metadata": dict(metadata), "roleRef": reference, "subjects": [subject]})
    await asyncio.sleep(0.5)  # the authorizer follows roles by a watch of its own


def rule(group: str, resource: str, verbs: list[str]) -> Any:
    return {"apiGroups": [group], "resources": [resource], "verbs": verbs}
