"""
Nodes with a kubelet and containers, several on one machine.

Each node has a containerd, a kubelet, a range of addresses and a cgroup of its own: a kubelet removes pods
that it does not know, so two of them must never see each other's. Everything is below the node's folder, which
is how it is found again and taken away.
"""

import json
import os
import shutil
import signal
import socket as unix_sockets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from localcluster import images
from localcluster.api import Api, ApiError
from localcluster.certs import Authority
from localcluster.errors import NotAvailable, StartFailed
from localcluster.kubeconfigs import with_certificate
from localcluster.network import Network, can_be_made
from localcluster.nodes_simulated import is_ready
from localcluster.processes import end_of, free_ports, moments, must_run, recorded, run, start, stop
from localcluster.sources import Source, find
from localcluster.state import Facts, State

START_SECONDS = 60
LONGEST_SOCKET = 107  # bytes in the path of a Unix socket
CGROUPS = Path("/sys/fs/cgroup")
PLUGINS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
PLUGIN_RESULTS = Path("/var/lib/cni/results")
NEEDED = ("containerd", "ctr", "runc", "containerd-shim-runc-v2")
TAGS = ("1", "2")  # of the workload's image, so that a rollout has somewhere to go

# A kubelet sets these; they are put back when the cluster goes.
SETTINGS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")

CONTAINERD = """\
version = 2
root = "{node}/containerd/root"
state = "{node}/containerd/state"
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # A container of a virtual machine may lack the right to lower a process's score.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{node}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{node}/registries"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{node}/runc"
"""


def can_run(source: Source) -> None:
    """
    Raises:
        NotAvailable: with one sentence, where real nodes cannot run here.
    """
    if source is not Source.GO:
        raise NotAvailable(f"real nodes take a kubelet, which the source {source} does not have; Go would build one")
    if not can_be_made():
        raise NotAvailable("real nodes need root on Linux, with the program `ip`")
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing or plugins_folder() is None:
        what = ", ".join([*missing, *([] if plugins_folder() else ["the CNI plugins"])])
        raise NotAvailable(f"real nodes need {what}; on Debian: deploy/local/install-debian")


def why_no_real_nodes() -> str | None:
    """One sentence where real nodes cannot run here; None where they can."""
    try:
        can_run(find().source)
    except NotAvailable as missing:
        return str(missing)
    return None


def plugins_folder() -> Path | None:
    """Where the CNI plugins are installed."""
    return next((folder for folder in PLUGINS if (folder / "bridge").exists()), None)


def start_nodes(
    state: State,
    facts: Facts,
    programs: Mapping[str, Path],
    network: Network,
    authority: Authority,
    admin: Path,
    count: int,
) -> None:
    """As many real nodes are Ready, and have the workload's image."""
    archives = [images.pause_archive(state.folder)]
    archives += [images.workload_archive(state.folder, f"{images.REPOSITORY}:{tag}") for tag in TAGS]
    facts.real = [f"real-{number}" for number in range(1, count + 1)]
    facts.system_settings = {name: Path("/proc/sys", name).read_text().strip() for name in SETTINGS}
    state.write(facts)
    for number, name in enumerate(facts.real, 1):
        Node(state, facts, name, number, network, authority).start(programs["kubelet"], archives)
    api = Api(admin)
    for _ in moments(START_SECONDS):
        for process in recorded(state.processes):
            must_run(process)
        if all(ready(api, name) for name in facts.real):
            return
    log = state.logs / "real-1-kubelet.log"
    raise StartFailed(f"the real nodes are not Ready after {START_SECONDS}s:\n{end_of(log)}")


class Node:
    """One real node while it is being started."""

    def __init__(
        self, state: State, facts: Facts, name: str, number: int, network: Network, authority: Authority
    ) -> None:
        self.state = state
        self.facts = facts
        self.name = name
        self.number = number
        self.network = network
        self.authority = authority
        self.folder = state.folder / name

    def start(self, kubelet: Path, archives: list[Path]) -> None:
        """containerd answers with its images, and the kubelet has been started."""
        if len(str(socket(self.state, self.name))) > LONGEST_SOCKET:
            raise NotAvailable(
                f"{self.folder} is too long for the path of a socket; set REMEDIATOR_LOCAL to a shorter folder"
            )
        for part in ("cni", "kubelet", "logs", "volume-plugins"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        make_cgroup(cgroup(self.facts, self.name))
        self._start_containerd()
        for file in archives:
            load(self.state, self.name, file)
        self._start_kubelet(kubelet)

    def _start_containerd(self) -> None:
        first, last = self.network.pods(self.number)
        bridge = {
            "type": "bridge",
            "bridge": self.network.bridge,
            # The bridge has its address; were the plugin to give it one, it would switch on forwarding as well.
            "isGateway": False,
            "ipMasq": False,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.folder / "cni-data"),
                "ranges": [[{"subnet": self.network.subnet, "rangeStart": first, "rangeEnd": last}]],
            },
        }
        networks = {"cniVersion": "0.4.0", "name": "local", "plugins": [bridge]}
        (self.folder / "cni" / "local.conflist").write_text(json.dumps(networks))
        # Every registry is a port of this machine where nobody listens: an unknown image fails at once, and no
        # pod makes this machine call the internet.
        registries = self.folder / "registries" / "_default"
        registries.mkdir(parents=True, exist_ok=True)
        (registries / "hosts.toml").write_text('server = "http://127.0.0.1:9"\n')
        config = self.folder / "containerd.toml"
        address = socket(self.state, self.name)
        config.write_text(
            CONTAINERD.format(node=self.folder, socket=address, pause=images.PAUSE, plugins=plugins_folder())
        )
        process = start(
            self.state.processes,
            f"{self.name}-containerd",
            ["containerd", f"--config={config}", "--log-level=warn"],
            log=self.state.logs / f"{self.name}-containerd.log",
        )
        for _ in moments(START_SECONDS):
            must_run(process)
            if address.exists():
                return
        raise StartFailed(f"containerd does not answer after {START_SECONDS}s:\n{end_of(Path(process.log))}")

    def _start_kubelet(self, kubelet: Path) -> None:
        labels = {"local.remediator.dev/tier": "real"}
        pair = self.authority.pair(
            self.name,
            user=f"system:node:{self.name}",
            groups=["system:nodes"],
            hosts=[self.network.address, "127.0.0.1", self.name],
        )
        kubeconfig = with_certificate(
            self.state.kubeconfigs / f"{self.name}.yaml", self.facts.server, self.authority.certificate, pair
        )
        port = free_ports(1, self.network.address)[0]
        self.facts.ports[self.name] = port
        self.state.write(self.facts)
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.network.address,
            "port": port,
            "readOnlyPort": 0,
            "healthzPort": 0,
            "tlsCertFile": str(pair.certificate),
            "tlsPrivateKeyFile": str(pair.key),
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.authority.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroup(self.facts, self.name)}",
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{socket(self.state, self.name)}",
            "podLogsDir": str(self.folder / "logs"),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            # Nothing answers there, but without it every pod gets a warning event.
            "clusterDNS": ["10.97.0.10"],
            "clusterDomain": "cluster.local",
            "resolvConf": "",
            "makeIPTablesUtilChains": False,
            # The disk is the developer's and may well be full to the kubelet's taste.
            "evictionHard": {"memory.available": "100Mi"},
            "imageGCHighThresholdPercent": 100,
            # What a container's end looks like is reported within two seconds instead of ten.
            "syncFrequency": "2s",
            "nodeStatusUpdateFrequency": "5s",
            "serializeImagePulls": False,
            "registryPullQPS": 0,
            "crashLoopBackOff": {"maxContainerRestartPeriod": "20s"},
            "featureGates": {"KubeletCrashLoopBackOffMax": True},
        }
        file = self.folder / "kubelet.yaml"
        file.write_text(yaml.safe_dump(config))
        start(
            self.state.processes,
            f"{self.name}-kubelet",
            [
                kubelet,
                f"--config={file}",
                f"--kubeconfig={kubeconfig}",
                f"--root-dir={self.folder / 'kubelet'}",
                f"--cert-dir={self.folder / 'kubelet' / 'pki'}",
                f"--hostname-override={self.name}",
                f"--node-ip={self.network.address}",
                "--node-labels=" + ",".join(f"{key}={value}" for key, value in labels.items()),
            ],
            log=self.state.logs / f"{self.name}-kubelet.log",
        )


def load(state: State, name: str, archive: Path) -> None:
    """The node's containerd has the archive's image."""
    run(["ctr", f"--address={socket(state, name)}", "--namespace=k8s.io", "images", "import", archive])


def remove_nodes(state: State, facts: Facts) -> None:
    """
    No container, shim, mount or cgroup of the real nodes is left, and the kernel's settings are as before.

    The shims outlive containerd on purpose, so they are looked for by the socket that they were given.
    """
    for process in recorded(state.processes):
        if process.label.startswith("real-"):
            stop(state.processes, process, seconds=2)
    sandboxes = [found for name in facts.real for found in sandboxes_of(state.folder / name)]
    for name in facts.real:
        own = cgroup(facts, name)
        for _ in moments(10, 0.1):
            living = [*members(own), *shims(socket(state, name))]
            if not living:
                break
            for pid in living:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    if facts.real:
        for mount in mounts_below(state.folder):
            run(["umount", "--lazy", mount])
        for name in facts.real:
            remove_cgroup(cgroup(facts, name))
        for name, value in facts.system_settings.items():
            with suppress(OSError):
                Path("/proc/sys", name).write_text(value)
        remove_traces(state, sandboxes)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What names a pod's traces outside of its node's folder."""

    identity: str
    shim: Path


def sandboxes_of(node: Path) -> list[Sandbox]:
    """The pods of a node as its containerd knows them."""
    files = (node / "containerd" / "state" / "io.containerd.runtime.v2.task").glob("k8s.io/*/address")
    return [Sandbox(file.parent.name, Path(file.read_text().removeprefix("unix://"))) for file in files]


def remove_traces(state: State, sandboxes: list[Sandbox]) -> None:
    """What kubelets, shims and plugins write to fixed places is gone, where it is this cluster's."""
    for sandbox in sandboxes:
        sandbox.shim.unlink(missing_ok=True)
        for result in PLUGIN_RESULTS.glob(f"*-{sandbox.identity}-*"):
            result.unlink()
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and str(link.readlink()).startswith(f"{state.folder}/"):
            link.unlink()
    if any(next(root.glob("rmd*-real-*"), None) for root in hierarchies()):
        return  # another cluster's kubelet still writes to the folders that all of them share
    plugins = Path("/var/lib/kubelet/device-plugins")
    if (plugins / "kubelet.sock").exists() and not somebody_listens(plugins / "kubelet.sock"):
        (plugins / "kubelet.sock").unlink()
    for folder in (plugins, plugins.parent, Path("/var/log/containers"), PLUGIN_RESULTS, PLUGIN_RESULTS.parent):
        with suppress(OSError):
            folder.rmdir()  # refused unless it is empty


def somebody_listens(address: Path) -> bool:
    """True while a process accepts connections on the Unix socket."""
    with unix_sockets.socket(unix_sockets.AF_UNIX) as one:
        try:
            one.connect(str(address))
        except OSError:
            return False
    return True


def socket(state: State, name: str) -> Path:
    """The address of a node's containerd."""
    return state.folder / name / "containerd.sock"


def cgroup(facts: Facts, name: str) -> str:
    """The cgroup of all pods of a node; the network's number makes it the machine's only one."""
    return f"rmd{facts.network}-{name}"


def hierarchies() -> list[Path]:
    """The roots of the machine's cgroups: one of version 2, or one for each controller of version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(mount[1]) for mount in mounts if mount[2] in ("cgroup", "cgroup2")]


def make_cgroup(name: str) -> None:
    """The kubelet finds its cgroup in every hierarchy."""
    for root in hierarchies():
        if root == CGROUPS:
            # Version 2, not tried: on such a machine the controllers are given down level by level.
            control = root / "cgroup.subtree_control"
            for controller in (root / "cgroup.controllers").read_text().split():
                with suppress(OSError):
                    control.write_text(f"+{controller}")
        folder = root / name
        folder.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # In version 1 a new group has no processors and no memory until it is told.
            if root != CGROUPS and (folder / setting).exists():
                (folder / setting).write_text((root / setting).read_text())


def members(name: str) -> Iterator[int]:
    """The processes in the cgroup and below it."""
    seen: set[int] = set()
    for root in hierarchies():
        for file in (root / name).rglob("cgroup.procs"):
            with suppress(OSError):
                seen.update(int(line) for line in file.read_text().split())
    yield from seen


def shims(address: Path) -> Iterator[int]:
    """The containerd shims that were started for this socket."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = file.read_bytes().decode(errors="replace").split("\0")
            if "containerd-shim" in words[0] and str(address) in words:
                yield int(file.parent.name)


def mounts_below(folder: Path) -> list[str]:
    """The places below a folder where something is mounted, the deepest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = [line.split()[4].replace("\\040", " ") for line in lines]
    return sorted((place for place in places if place.startswith(f"{folder}/")), reverse=True)


def remove_cgroup(name: str) -> None:
    """The cgroup is gone from every hierarchy; the kernel may take a moment to forget its last process."""
    for root in hierarchies():
        for _ in moments(5, 0.1):
            left = sorted((root / name).rglob("*/"), reverse=True) if (root / name).exists() else []
            for folder in [*(one for one in left if one.is_dir()), root / name]:
                with suppress(OSError):
                    folder.rmdir()
            if not (root / name).exists():
                break


def ready(api: Api, name: str) -> bool:
    """True when the node has registered and reports that it is Ready."""
    try:
        return is_ready(api.get(f"/api/v1/nodes/{name}"))
    except ApiError as refusal:
        if refusal.status == 404:
            return False
        raise
