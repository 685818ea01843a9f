"""
What simulated nodes and pods do: the stages that kwok moves them through.

A pod becomes Ready unless its annotation `local.remediator.dev/behave` says otherwise. The annotation belongs
into the pod template, so that one revision of a workload may behave worse than the one before it, and an undo
heals it. All containers of a pod do the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any

PREFIX = "local.remediator.dev"
BEHAVE = f'.metadata.annotations["{PREFIX}/behave"]'
READY = '.status.conditions.[] | select( .type == "Ready" ) | .status'
WAITING_FOR = ".status.containerStatuses.[].state.waiting.reason"

# The status of every pod begins with this; the container's parts follow. kwok's function gives another address
# at every call, and a pod keeps the one it has.
BEGIN = """\
{{ $root := . }}
{{ $now := Now | Quote }}
{{ $notes := or .metadata.annotations dict }}
{{ $behave := or ( index $notes "local.remediator.dev/behave" ) "" }}
phase: %(phase)s
startTime: {{ or .status.startTime Now | Quote }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now }}}
- {type: Ready, status: "%(ready)s", lastTransitionTime: {{ $now }}%(reason)s}
- {type: ContainersReady, status: "%(ready)s", lastTransitionTime: {{ $now }}%(reason)s}
{{ range .spec.readinessGates }}
- {type: {{ .conditionType | Quote }}, status: "True", lastTransitionTime: {{ $now }}}
{{ end }}
{{ with NodeIPWith .spec.nodeName }}
hostIP: {{ . | Quote }}
hostIPs: [{ip: {{ . | Quote }}}]
{{ end }}
{{ if not .status.podIP }}
{{ with PodIPWith .spec.nodeName ( or .spec.hostNetwork false ) ( or .metadata.uid "" ) ( or .metadata.name "" ) ( or .metadata.namespace "" ) }}
podIP: {{ . | Quote }}
podIPs: [{ip: {{ . | Quote }}}]
{{ end }}
{{ end }}
{{ with .spec.initContainers }}
initContainerStatuses:
{{ range . }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  restartCount: 0
  {{ if eq ( or .restartPolicy "" ) "Always" }}
  started: true
  state: {running: {startedAt: {{ $now }}}}
  {{ else }}
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now }}, finishedAt: {{ $now }}}}
  {{ end }}
{{ end }}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
{{ $container := .name }}
{{ $restarts := 0 }}
{{ range $root.status.containerStatuses }}
{{ if eq .name $container }}
{{ $restarts = .restartCount }}
{{ end }}
{{ end }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
"""

END = "{{ end }}\n"

RUNNING = """\
  ready: %(ready)s
  started: true
  restartCount: {{ $restarts }}
  state:
    waiting: null
    terminated: null
    running: {startedAt: {{ $now }}}
"""

CRASHED = """\
  ready: false
  started: false
  restartCount: {{ add $restarts 1 }}
  state:
    running: null
    terminated: null
    waiting:
      reason: CrashLoopBackOff
      message: {{ printf "back-off 10s restarting failed container=%s pod=%s_%s(%s)" .name $root.metadata.name $root.metadata.namespace $root.metadata.uid | Quote }}
  lastState:
    terminated:
      startedAt: {{ $now }}
      finishedAt: {{ $now }}
      {{ if eq $behave "oom" }}
      reason: OOMKilled
      exitCode: 137
      {{ else }}
      reason: Error
      exitCode: {{ or ( index $notes "local.remediator.dev/exit-code" ) "2" }}
      {{ end }}
"""

WAITING = """\
  ready: false
  started: false
  restartCount: {{ $restarts }}
  state:
    running: null
    terminated: null
    waiting:
      reason: %(reason)s
      message: {{ printf %(message)s .image | Quote }}
"""

COMPLETED = """\
  ready: false
  started: false
  restartCount: {{ $restarts }}
  state:
    running: null
    waiting: null
    terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now }}, finishedAt: {{ $now }}}
"""

NODE = """\
{{ $now := Now | Quote }}
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now }}
  lastTransitionTime: {{ $now }}
{{ end }}
phase: Running
addresses:
- {type: InternalIP, address: {{ NodeIP | Quote }}}
- {type: Hostname, address: {{ NodeName | Quote }}}
daemonEndpoints:
  kubeletEndpoint: {Port: {{ NodePort }}}
capacity: {cpu: "64", memory: 256Gi, pods: 10k, ephemeral-storage: 1Ti}
allocatable: {cpu: "64", memory: 256Gi, pods: 10k, ephemeral-storage: 1Ti}
nodeInfo:
  architecture: amd64
  operatingSystem: linux
  kubeletVersion: {{ printf "kwok-%s" Version | Quote }}
  containerRuntimeVersion: simulated
  kernelVersion: simulated
  kubeProxyVersion: ""
  osImage: simulated
  bootID: ""
  machineID: ""
  systemUUID: ""
"""


def all_stages(logs: str) -> list[dict[str, Any]]:
    """Every stage; `logs` is the folder in which the logs that pods name are found."""
    return [
        stage("node-comes-up", "Node", [where(READY, "NotIn", "True")], {"statusTemplate": NODE}),
        # The lease, which kwok renews by itself, is the node's sign of life; this refreshes its conditions.
        stage("node-stays-up", "Node", [where(READY, "In", "True")], {"statusTemplate": NODE}, milliseconds=300_000),
        pod_stage(
            "pod-becomes-ready",
            [
                where(BEHAVE, "DoesNotExist"),
                where(".status.phase", "In", "Pending", "Running"),
                where(READY, "NotIn", "True"),
            ],
            begin("Running", "True") + RUNNING % {"ready": "true"} + END,
            delay_from="ready-after",
        ),
        pod_stage(
            "pod-of-a-job-completes",
            [
                where(BEHAVE, "DoesNotExist"),
                where(".status.phase", "In", "Running"),
                where(".metadata.ownerReferences.[].kind", "In", "Job"),
            ],
            begin("Succeeded", "False", "PodCompleted") + COMPLETED + END,
            milliseconds=500,
            delay_from="complete-after",
        ),
        pod_stage(
            "pod-runs-but-is-not-ready",
            [where(BEHAVE, "In", "notready"), where(READY, "NotIn", "False")],
            begin("Running", "False", "ContainersNotReady") + RUNNING % {"ready": "false"} + END,
        ),
        pod_stage(
            "pod-starts-to-crash",
            [where(BEHAVE, "In", "crashloop", "oom"), where(WAITING_FOR, "NotIn", "CrashLoopBackOff")],
            begin("Running", "False", "ContainersNotReady") + CRASHED + END,
        ),
        pod_stage(
            "pod-crashes-again",
            [where(BEHAVE, "In", "crashloop", "oom"), where(WAITING_FOR, "In", "CrashLoopBackOff")],
            begin("Running", "False", "ContainersNotReady") + CRASHED + END,
            milliseconds=10_000,
            delay_from="crash-every",
        ),
        pod_stage(
            "pod-cannot-pull-its-image",
            [where(BEHAVE, "In", "imagepull"), where(WAITING_FOR, "NotIn", "ErrImagePull", "ImagePullBackOff")],
            begin("Pending", "False", "ContainersNotReady")
            + WAITING % {"reason": "ErrImagePull", "message": '"failed to pull and unpack image %s: not found"'}
            + END,
        ),
        pod_stage(
            "pod-waits-for-its-image",
            [where(BEHAVE, "In", "imagepull"), where(WAITING_FOR, "In", "ErrImagePull")],
            begin("Pending", "False", "ContainersNotReady")
            + WAITING % {"reason": "ImagePullBackOff", "message": '"Back-off pulling image %s"'}
            + END,
            milliseconds=2_000,
        ),
        stage(
            "pod-goes",
            "Pod",
            [where(".metadata.deletionTimestamp", "Exists")],
            {"delete": True},
        ),
        names_its_logs(logs),
    ]


def begin(phase: str, ready: str, reason: str = "") -> str:
    """The first part of a pod's status, up to the parts that differ from container to container."""
    return BEGIN % {"phase": phase, "ready": ready, "reason": f", reason: {reason}" if reason else ""}


def where(key: str, operator: str, *values: str) -> dict[str, Any]:
    """One condition on an object."""
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def stage(
    name: str,
    kind: str,
    conditions: Sequence[Mapping[str, Any]],
    move: Mapping[str, Any],
    *,
    milliseconds: int = 0,
    delay_from: str | None = None,
) -> dict[str, Any]:
    """
    Objects of a kind that meet all conditions make the move.

    It happens after some milliseconds, or after the duration that an annotation of the pod gives.
    """
    delay: dict[str, Any] = {"durationMilliseconds": milliseconds}
    if delay_from is not None:
        delay["durationFrom"] = {"expressionFrom": f'.metadata.annotations["{PREFIX}/{delay_from}"]'}
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": list(conditions)},
            **({"delay": delay} if milliseconds or delay_from else {}),
            "next": dict(move),
        },
    }


def pod_stage(
    name: str,
    conditions: Sequence[Mapping[str, Any]],
    status: str,
    *,
    milliseconds: int = 0,
    delay_from: str | None = None,
) -> dict[str, Any]:
    """Pods that are not being deleted and meet all conditions get the status."""
    alive = [where(".metadata.deletionTimestamp", "DoesNotExist"), *conditions]
    return stage(name, "Pod", alive, {"statusTemplate": status}, milliseconds=milliseconds, delay_from=delay_from)


def names_its_logs(folder: str) -> dict[str, Any]:
    """
    A pod with the annotation `local.remediator.dev/logs: NAME` has the logs of that name.

    kwok finds the files of a pod in a Logs object of the pod's own name, which goes with the pod.
    """
    done = f"{PREFIX}/logs-are-named"
    name = f'{{{{ index .metadata.annotations "{PREFIX}/logs" }}}}'
    logs = f"""\
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Logs
metadata:
  name: {{{{ .metadata.name | Quote }}}}
  namespace: {{{{ .metadata.namespace | Quote }}}}
  ownerReferences:
  - {{apiVersion: v1, kind: Pod, name: {{{{ .metadata.name | Quote }}}}, uid: {{{{ .metadata.uid | Quote }}}}}}
spec:
  logs:
  - logsFile: "{folder}/{name}.log"
    previousLogsFile: "{folder}/{name}.previous.log"
    follow: false
"""
    found = stage(
        "pod-names-its-logs",
        "Pod",
        [
            where(".metadata.deletionTimestamp", "DoesNotExist"),
            where(f'.metadata.annotations["{PREFIX}/logs"]', "Exists"),
            where(f'.metadata.annotations["{done}"]', "DoesNotExist"),
        ],
        {},
    )
    del found["spec"]["next"]
    # Of several stages that fit, the heavier one goes first.
    found["spec"]["weight"] = 1
    mark = f'annotations: {{"{done}": "true"}}\n'
    found["spec"]["steps"] = [
        {"apply": {"template": logs}},
        {"patch": {"type": "merge", "root": "metadata", "template": mark}},
    ]
    return found
