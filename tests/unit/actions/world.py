"""A small shop in a fake cluster: what the tests of actions are about."""

from collections.abc import Iterable
from typing import Any

from remediator.actions.base import Reader
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import BUILT_IN, ObjectRef, Target
from remediator.testing import NOON, FakeCluster, FakeMetrics, FakeWeb

CHECKOUT = ObjectRef("apps", "Deployment", "shop", "checkout")
LEDGER = ObjectRef("apps", "StatefulSet", "shop", "ledger")
AGENT = ObjectRef("apps", "DaemonSet", "shop", "agent")
NODE = ObjectRef("", "Node", "", "node-1")


def template(name: str, image: str, env: dict[str, str] | None = None, *more: Object) -> Object:
    variables: list[Any] = [{"name": key, "value": value} for key, value in (env or {}).items()]
    app: Object = {"name": "app", "image": image, "resources": {"limits": {"cpu": "200m", "memory": "256Mi"}}}
    if variables:
        app["env"] = variables
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [app, *more]}}


def workload(kind: str, name: str, image: str = "shop:1", *, replicas: int = 2, **fields: Any) -> Object:
    env, metadata, spec = fields.pop("env", None), fields.pop("metadata", {}), fields.pop("spec", {})
    strategy = "strategy" if kind == "Deployment" else "updateStrategy"
    found: Object = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            strategy: {"type": "RollingUpdate"},
            "template": template(name, image, env, *fields.pop("more", ())),
            **({} if kind == "DaemonSet" else {"replicas": replicas}),
            **spec,
        },
    }
    assert not fields
    return found


def shop(*objects: Object, **checkout: Any) -> FakeCluster:
    """A rolled-out Deployment `checkout`, and what else is given."""
    cluster = FakeCluster()
    cluster.add({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}})
    cluster.add(workload("Deployment", "checkout", **{"env": {"QUEUE": "200"}, **checkout}), *objects)
    cluster.tick()
    return cluster


def target(cluster: FakeCluster, ref: ObjectRef = CHECKOUT) -> Target:
    return Target(ref, dig_text(cluster.get(ref), "metadata", "uid"))


def reader(
    cluster: FakeCluster,
    ref: ObjectRef | Target = CHECKOUT,
    metrics: FakeMetrics | None = None,
    web: FakeWeb | None = None,
) -> Reader:
    about = ref if isinstance(ref, Target) else target(cluster, ref)
    return Reader(
        cluster=cluster,
        metrics=metrics or FakeMetrics(),
        web=web or FakeWeb(),
        target=about,
        now=NOON,
        namespace="shop",
    )


def pods(cluster: FakeCluster, app: str = "checkout") -> list[Object]:
    return [pod for pod in cluster.objects("Pod", "shop") if dig_text(pod, "metadata", "labels", "app") == app]


def pod_ref(pod: Object) -> ObjectRef:
    return ObjectRef.to(pod, BUILT_IN["Pod"])


def with_image(cluster: FakeCluster, image: str, ref: ObjectRef = CHECKOUT) -> None:
    """Somebody releases another image, and it is rolled out."""
    cluster.change(ref, lambda obj: obj["spec"]["template"]["spec"]["containers"][0].update(image=image))
    cluster.tick()


def with_status(cluster: FakeCluster, pod: Object, **state: Any) -> None:
    """The first container's status of a pod, as the kubelet would write it; it is not Ready."""
    status = {"name": "app", "image": "shop:1", "ready": False, "restartCount": 3, "state": {"running": {}}, **state}

    def edit(obj: Object) -> None:
        obj["status"]["containerStatuses"] = [status]
        obj["status"]["conditions"] = [{"type": "Ready", "status": "False"}]

    cluster.change(pod_ref(pod), edit)


def crash(cluster: FakeCluster, pod: Object, log: str = "", *, reason: str = "Error", code: int = 1) -> None:
    """The pod's container crashes again and again."""
    with_status(
        cluster,
        pod,
        state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}},
        lastState={"terminated": {"reason": reason, "exitCode": code, "finishedAt": "2026-06-01T11:59:00Z"}},
    )
    cluster.put_log(pod_ref(pod), "app", log, previous=True)


def event(name: str, about: Object, kind: str, reason: str, message: str, **fields: Any) -> Object:
    involved = {"kind": kind, "name": about["metadata"]["name"], "namespace": "shop", "uid": about["metadata"]["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "shop"},
        "involvedObject": involved,
        "reason": reason,
        "message": message,
        "type": "Warning",
        "lastTimestamp": "2026-06-01T11:58:00Z",
        **fields,
    }


def names(objects: Iterable[Object]) -> list[str]:
    return [dig_text(obj, "metadata", "name") for obj in objects]
