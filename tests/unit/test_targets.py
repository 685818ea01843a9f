from collections.abc import Mapping

import pytest

from remediator.domain.json import Object
from remediator.domain.objects import ObjectRef, Target
from remediator.domain.targets import (
    Found,
    Read,
    Unresolved,
    candidates,
    container_of,
    controller_of,
    find_target,
    is_exporter,
)

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
POD = ObjectRef.of("Pod", "shop", "checkout-7d9-x2k")
REPLICA_SET = ObjectRef.of("ReplicaSet", "shop", "checkout-7d9")
DEPLOYMENT = ObjectRef.of("Deployment", "shop", "checkout")
POD_ALERT = {"alertname": "KubePodCrashLooping", "namespace": "shop", "pod": POD.name, "container": "app"}


def obj(ref: ObjectRef, owner: ObjectRef | None = None, api_version: str = "apps/v1", **rest: object) -> Object:
    metadata: Object = {"name": ref.name, "namespace": ref.namespace, "uid": f"uid-{ref.name}"}
    if owner is not None:
        metadata["ownerReferences"] = [
            {
                "apiVersion": api_version,
                "kind": owner.kind,
                "name": owner.name,
                "uid": f"uid-{owner.name}",
                "controller": True,
            }
        ]
    made: Object = {"metadata": metadata}
    made.update(rest)  # type: ignore[arg-type]  # a test writes plain dicts
    return made


WORLD: Mapping[ObjectRef, Object] = {
    POD: obj(POD, REPLICA_SET, status={"podIP": "10.0.0.7"}),
    REPLICA_SET: obj(REPLICA_SET, DEPLOYMENT),
    DEPLOYMENT: obj(DEPLOYMENT),
}


def run(
    labels: Mapping[str, str], allowed: tuple[str, ...], world: Mapping[ObjectRef, Object] = WORLD
) -> tuple[list[ObjectRef], Found | Unresolved]:
    """Carry out the reads as a caller does; what the world does not hold is not there."""
    seen: dict[ObjectRef, Object | None] = {}
    while isinstance(step := find_target(labels, allowed, seen), Read):
        assert step.ref not in seen
        seen[step.ref] = world.get(step.ref)
    return list(seen), step


def found(ref: ObjectRef) -> Found:
    return Found(Target(ref, f"uid-{ref.name}"))


@pytest.mark.parametrize(
    ("labels", "kind", "name"),
    [
        ({"deployment": "checkout"}, "Deployment", "checkout"),
        ({"statefulset": "db"}, "StatefulSet", "db"),
        ({"daemonset": "agent"}, "DaemonSet", "agent"),
        ({"replicaset": "checkout-7d9"}, "ReplicaSet", "checkout-7d9"),
        ({"job_name": "backup-28"}, "Job", "backup-28"),
        ({"cronjob": "backup"}, "CronJob", "backup"),
        ({"horizontalpodautoscaler": "checkout"}, "HorizontalPodAutoscaler", "checkout"),
        ({"poddisruptionbudget": "checkout"}, "PodDisruptionBudget", "checkout"),
        ({"persistentvolumeclaim": "data-db-0"}, "PersistentVolumeClaim", "data-db-0"),
        ({"pod": "db-0"}, "Pod", "db-0"),
        ({"exported_service": "checkout"}, "Service", "checkout"),
    ],
)
def test_every_label_of_kube_state_metrics_names_its_kind(labels: dict[str, str], kind: str, name: str) -> None:
    (candidate,) = candidates({"namespace": "shop", **labels}, (kind,))

    assert candidate.ref == ObjectRef.of(kind, "shop", name)


def test_a_node_and_a_namespace_need_no_namespace() -> None:
    assert [c.ref for c in candidates({"node": "node-1"}, ("Node",))] == [ObjectRef.of("Node", "", "node-1")]
    assert [c.ref for c in candidates({"namespace": "shop"}, ("Namespace",))] == [ObjectRef.of("Namespace", "", "shop")]


def test_the_most_specific_label_comes_first() -> None:
    labels = {
        "node": "node-1",
        "namespace": "shop",
        "pod": "db-0",
        "persistentvolumeclaim": "data",
        "statefulset": "db",
    }

    named = candidates(labels, ("Node", "Namespace", "StatefulSet", "PersistentVolumeClaim"))

    assert [c.label for c in named] == ["statefulset", "persistentvolumeclaim", "pod", "node", "namespace"]


def test_only_kinds_of_the_runbook_are_named() -> None:
    assert candidates({"namespace": "shop", "deployment": "checkout", "node": "node-1"}, ("StatefulSet",)) == ()


def test_a_label_moved_aside_replaces_the_plain_one() -> None:
    labels = {
        "namespace": "monitoring",
        "pod": "ksm-0",
        "exported_namespace": "shop",
        "exported_pod": "checkout-7d9-x2k",
    }

    (candidate,) = candidates(labels, WORKLOADS)

    assert candidate.ref == POD
    assert candidate.label == "exported_pod"


def test_beside_a_namespace_moved_aside_the_plain_pod_is_the_exporter() -> None:
    labels = {"namespace": "monitoring", "pod": "ksm-0", "exported_namespace": "shop", "deployment": "checkout"}

    assert [c.ref for c in candidates(labels, WORKLOADS)] == [DEPLOYMENT]


def test_the_service_that_was_scraped_is_never_the_subject() -> None:
    assert candidates({"namespace": "shop", "service": "checkout"}, ("Service",)) == ()


@pytest.mark.parametrize("name", ["", "../../secrets/x", "Checkout", "a b", "x" * 300, "checkout\n"])
def test_a_label_that_is_no_name_names_nothing(name: str) -> None:
    assert candidates({"namespace": "shop", "deployment": name}, WORKLOADS) == ()
    assert candidates({"namespace": name, "deployment": "checkout"}, WORKLOADS) == ()


def test_the_container_is_the_subjects() -> None:
    assert container_of({"container": "app", "pod": "x"}) == "app"
    assert container_of({"container": "ksm", "exported_container": "app"}) == "app"
    assert container_of({"container": "ksm", "exported_pod": "x"}) == ""
    assert container_of({}) == ""


def test_a_pod_leads_through_its_replica_set_to_its_deployment() -> None:
    reads, step = run(POD_ALERT, WORKLOADS)

    assert reads == [POD, REPLICA_SET, DEPLOYMENT]
    assert step == found(DEPLOYMENT)


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_a_pod_leads_to_the_workload_that_made_it(kind: str) -> None:
    owner = ObjectRef.of(kind, "shop", "db")

    _, step = run(POD_ALERT, WORKLOADS, {POD: obj(POD, owner), owner: obj(owner)})

    assert step == found(owner)


def test_a_pod_of_a_job_leads_to_its_cron_job() -> None:
    job, cron = ObjectRef.of("Job", "shop", "backup-28"), ObjectRef.of("CronJob", "shop", "backup")
    world = {POD: obj(POD, job, "batch/v1"), job: obj(job, cron, "batch/v1"), cron: obj(cron)}

    assert run(POD_ALERT, ("CronJob",), world)[1] == found(cron)
    assert run(POD_ALERT, ("CronJob", "Job"), world)[1] == found(job)


def test_a_pod_gives_way_to_its_controller_even_if_the_runbook_targets_both() -> None:
    assert run(POD_ALERT, ("Pod", "ReplicaSet", "Deployment"))[1] == found(DEPLOYMENT)


def test_a_pod_without_controller_is_the_target_if_the_runbook_targets_pods() -> None:
    bare = {POD: obj(POD)}

    assert run(POD_ALERT, ("Pod", "Deployment"), bare)[1] == found(POD)
    assert isinstance(run(POD_ALERT, WORKLOADS, bare)[1], Unresolved)


def test_a_foreign_controller_is_the_target_if_the_runbook_names_its_kind() -> None:
    rollout = ObjectRef("argoproj.io", "Rollout", "shop", "checkout")
    as_runbooks_write_it = ObjectRef("argoproj.io", "rollout", "shop", "checkout")
    world = {
        POD: obj(POD, REPLICA_SET),
        REPLICA_SET: obj(REPLICA_SET, rollout, "argoproj.io/v1alpha1"),
        as_runbooks_write_it: obj(rollout),
    }

    assert run(POD_ALERT, ("rollout.argoproj.io",), world)[1] == found(as_runbooks_write_it)


def test_a_foreign_controller_that_no_runbook_names_is_not_even_read() -> None:
    rollout = ObjectRef("argoproj.io", "Rollout", "shop", "checkout")
    world = {POD: obj(POD, REPLICA_SET), REPLICA_SET: obj(REPLICA_SET, rollout, "argoproj.io/v1alpha1")}

    reads, step = run(POD_ALERT, WORKLOADS, world)

    assert reads == [POD, REPLICA_SET]
    assert isinstance(step, Unresolved)


def test_a_kind_of_the_same_name_in_another_group_is_not_the_built_in_one() -> None:
    other = obj(POD, DEPLOYMENT, "example.com/v1")

    owner = controller_of(other, POD)

    assert owner is not None
    assert owner[0].kind_text == "deployment.example.com"


def test_an_owner_that_is_not_the_controller_is_no_way_up() -> None:
    owned = obj(POD, REPLICA_SET)
    owned["metadata"]["ownerReferences"][0]["controller"] = False  # type: ignore[index, call-overload]

    assert controller_of(owned, POD) is None


def test_an_owner_re_created_under_its_name_is_not_the_owner() -> None:
    imposter = obj(REPLICA_SET, DEPLOYMENT)
    imposter["metadata"]["uid"] = "uid-other"  # type: ignore[index, call-overload]

    step = run(POD_ALERT, WORKLOADS, {**WORLD, REPLICA_SET: imposter})[1]

    assert step == Unresolved("ReplicaSet shop/checkout-7d9 is not there any more")


def test_a_pod_that_is_gone_ends_the_search_before_its_node_is_named() -> None:
    step = run({**POD_ALERT, "node": "node-1"}, (*WORKLOADS, "Node"), {})[1]

    assert step == Unresolved("Pod shop/checkout-7d9-x2k is not there any more")


def test_a_pod_that_leads_to_other_kinds_leaves_the_next_label_its_turn() -> None:
    node = ObjectRef.of("Node", "", "node-1")

    step = run({**POD_ALERT, "node": "node-1"}, ("CronJob", "Node"), {**WORLD, node: obj(node)})[1]

    assert step == found(node)


def test_owners_in_a_circle_come_to_an_end() -> None:
    world = {POD: obj(POD, REPLICA_SET), REPLICA_SET: obj(REPLICA_SET, POD, "v1")}

    assert isinstance(run(POD_ALERT, ("Deployment",), world)[1], Unresolved)


def test_labels_that_name_nothing_are_said_to() -> None:
    step = run({"alertname": "Watchdog"}, WORKLOADS)[1]

    assert isinstance(step, Unresolved)
    assert step.message == (
        "no label of the alert names an object of the Runbook's targets (DaemonSet, Deployment, StatefulSet)"
    )


def test_a_pod_whose_address_is_the_instance_is_the_exporter() -> None:
    step = run({**POD_ALERT, "instance": "10.0.0.7:8080"}, WORKLOADS)[1]

    assert step == Unresolved(
        "Pod shop/checkout-7d9-x2k is where the alert's metrics come from, not what they are about"
    )


def test_a_pod_moved_aside_is_the_subject_even_if_it_exports_about_itself() -> None:
    labels = {"exported_pod": POD.name, "exported_namespace": "shop", "instance": "10.0.0.7:8080"}

    assert run(labels, WORKLOADS)[1] == found(DEPLOYMENT)


@pytest.mark.parametrize(
    ("instance", "addresses", "exporter"),
    [
        ("10.0.0.7:8080", ["10.0.0.7"], True),
        ("10.0.0.7", ["10.0.0.7"], True),
        ("10.0.0.8:8080", ["10.0.0.7"], False),
        ("10.0.0.70:8080", ["10.0.0.7"], False),
        ("[fd00::7]:8080", ["10.0.0.7", "fd00:0::7"], True),
        ("fd00::7", ["fd00::7"], True),
        ("[fd00::8]:8080", ["10.0.0.7", "fd00::7"], False),
        ("node-1:9100", ["10.0.0.7"], False),
        ("", [""], False),
        ("nonsense::::", ["10.0.0.7"], False),
    ],
)
def test_the_exporter_is_told_by_its_address(instance: str, addresses: list[str], exporter: bool) -> None:
    pod = obj(POD, status={"podIP": addresses[0], "podIPs": [{"ip": ip} for ip in addresses]})

    assert is_exporter(pod, {"instance": instance}) is exporter


def test_without_an_instance_no_pod_is_the_exporter() -> None:
    assert not is_exporter(WORLD[POD], {})
