"""
One local cluster: started, found again, used and taken away.

Tests and the demo hold a `Cluster`; everything else in this package is how it comes about.
"""

import hashlib
import os
import re
import shutil
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from localcluster import guard, images, metrics_server, network, nodes_real, nodes_simulated
from localcluster.api import Api, text_of
from localcluster.build import Progress, built, say_nothing
from localcluster.controlplane import ControlPlane
from localcluster.errors import LocalClusterError, NotAvailable, NotRunning, StartFailed
from localcluster.kubeconfigs import with_certificate, with_token
from localcluster.processes import is_running, recorded, run, stop, write_atomically
from localcluster.sources import Found, Source, find
from localcluster.state import Facts, State

# Servers beside a cluster: when one of them ends, the cluster is none the worse.
BESIDE = (guard.LABEL, "exporter", "prometheus", "alertmanager")
ATTEMPTS = 3
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
CONTROL_PLANE = ("etcd", "kube-apiserver", *CONTROLLERS, "kubectl")


class Cluster:
    """
    A running cluster.

    `already_running` says that `up` found it; leaving the context manager then leaves it running.
    """

    def __init__(self, state: State, facts: Facts, *, already_running: bool) -> None:
        self.state = state
        self.facts = facts
        self.already_running = already_running
        self.name = state.name
        self.folder = state.folder
        self.server = facts.server
        self.ca_file = state.folder / "ca.crt"
        self.kubectl = Path(facts.programs["kubectl"])
        self.admin_kubeconfig = state.kubeconfigs / "admin.yaml"
        self._control_plane = ControlPlane(state, facts, {name: Path(path) for name, path in facts.programs.items()})

    @classmethod
    def up(
        cls,
        name: str,
        *,
        real: int = 0,
        simulated: int = 1,
        metrics: bool = False,
        controllers: bool = True,
        progress: Progress = say_nothing,
        keep: bool = False,
    ) -> Self:
        """
        A cluster of this name runs.

        It ends with the calling process, however that ends, unless `keep` is true or it ran already. What
        could not be had (simulated nodes without kwok, `top` without a bridge) is said through `progress`.

        Without `controllers` it is etcd and the API server alone, with no nodes: nothing else then takes the
        time that is being measured.

        Raises:
            NotAvailable: with one sentence, where this machine cannot do it; nothing is left behind.
        """
        state = State(name)
        with state.held():
            earlier = state.facts()
            if earlier is not None and earlier.complete and answers(state):
                progress(f"cluster {name} is already running at {earlier.server}")
                return cls(state, earlier, already_running=True)
            if earlier is not None:
                progress(f"taking away what is left of an earlier cluster {name}")
                take_down(state)
            found = find()
            if real:
                nodes_real.can_run(found.source)
            for attempt in range(1, ATTEMPTS + 1):
                facts = Facts(source=found.source.value)
                state.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                state.write(facts)
                try:
                    if not keep:
                        guard.start_guard(state)
                    if controllers:
                        bring_up(state, facts, found, real, simulated, metrics, progress)
                    else:
                        bring_up(state, facts, found, 0, 0, False, progress, controllers=False)
                    return cls(state, facts, already_running=False)
                except BaseException as failure:
                    take_down(state)
                    again = isinstance(failure, StartFailed) and (failure.port_was_taken or failure.is_a_crash_of_kwok)
                    if not again or attempt == ATTEMPTS:
                        raise
                    # Between choosing a port and listening on it somebody else may have taken it.
                    progress("a server ended while it was starting; trying again with other ports")
        raise AssertionError("the last attempt returns or raises")

    @classmethod
    def attach(cls, name: str) -> Self:
        """
        The running cluster of this name.

        Raises:
            NotRunning: where there is none.
        """
        state = State(name)
        facts = state.facts()
        if facts is None or not facts.complete:
            raise NotRunning(f"there is no cluster {name}; start it with: make cluster-up NAME={name}")
        return cls(state, facts, already_running=True)

    def down(self) -> None:
        """Nothing of the cluster is left: no process, mount, interface or file."""
        with self.state.held():
            take_down(self.state)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.already_running:
            self.down()

    @property
    def audit_log(self) -> Path:
        """
        The API server's audit log: one JSON object for each write that has been answered, and for each read of
        the operator's account.

        Raises:
            NotAvailable: where the API server is not ours.
        """
        self._must_be_ours("the audit log")
        return self._control_plane.audit_log

    @property
    def has_controllers(self) -> bool:
        """False where only an API server runs: nothing makes service accounts, schedules or scales."""
        return self.facts.source != Source.ENVTEST and self.facts.controllers

    @property
    def api(self) -> Api:
        """A small client with all rights."""
        return Api(self.admin_kubeconfig)

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """
        A kubeconfig of this user in these groups, with a certificate of its own.

        On a cluster that is not ours it impersonates the user instead: the API server treats both alike,
        but the audit log there says who impersonated.
        """
        # Names of users have signs that names of files have not; the digest keeps such users apart.
        digest = hashlib.sha256("\0".join((user, *groups)).encode()).hexdigest()[:12]
        label = f"user-{re.sub(r'[^a-zA-Z0-9.-]', '_', user)}-{digest}"
        file = self.state.kubeconfigs / f"{label}.yaml"
        if self.facts.source in (Source.EXTERNAL, Source.KIND):
            config = yaml.safe_load(self.admin_kubeconfig.read_text())
            for entry in config["users"]:
                entry["user"].update({"as": user, "as-groups": list(groups)})
            write_atomically(file, yaml.safe_dump(config))
            return file
        pair = self._control_plane.authority.pair(label, user=user, groups=groups)
        return with_certificate(file, self.server, self._control_plane.authority.certificate, pair)

    def kubeconfig_for_token(self, name: str, token: str) -> Path:
        """A kubeconfig of whoever bears the token; `name` is only the file's."""
        return with_token(self.state.kubeconfigs / f"token-{name}.yaml", self.server, self.ca_file, token)

    def service_account_token(self, namespace: str, name: str, *, seconds: int = 3600, audience: str = "") -> str:
        """A token of the service account, as the kubelet would ask for it; for the API server if for nobody else."""
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds, **({"audiences": [audience]} if audience else {})},
        }
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        return str(self.api.call("POST", path, request)["status"]["token"])

    def run_kubectl(self, *args: str, input: str | None = None, kubeconfig: Path | None = None) -> str:  # noqa: A002
        """
        What kubectl wrote to its standard output, as the administrator unless another kubeconfig is given.

        Raises:
            CommandFailed: with its exit code and what it wrote to its standard error.
        """
        config = f"--kubeconfig={kubeconfig or self.admin_kubeconfig}"
        return run([self.kubectl, config, f"--cache-dir={self.folder / 'kubectl-cache'}", *args], stdin=input)

    def stop_apiserver(self) -> None:
        """The API server does not answer; pods go on running."""
        self._must_be_ours("stopping the API server")
        self._control_plane.stop_apiserver()

    def start_apiserver(self) -> None:
        """The API server answers again at the same address, with everything that was written."""
        self._must_be_ours("starting the API server")
        self._control_plane.start_apiserver()

    def load_image(self, name: str) -> None:
        """
        Every real node has the image.

        `name` is `local.remediator.dev/workload:<tag>` with any tag, or the path of an image archive.
        """
        archive = Path(name) if name.endswith(".tar") else images.workload_archive(self.folder, name)
        for node in self.facts.real:
            nodes_real.load(self.state, node, archive)

    def write_simulated_log(self, name: str, *, current: str, previous: str | None = None) -> None:
        """Simulated pods with the annotation `local.remediator.dev/logs: NAME` have these logs."""
        nodes_simulated.write_log(self.state, name, current=current, previous=previous)

    def _must_be_ours(self, what: str) -> None:
        if self.facts.source in (Source.EXTERNAL, Source.KIND):
            raise NotAvailable(f"{what} is not possible on a cluster that was not started from its programs here")


def prepare(*, real: bool, metrics: bool, progress: Progress = say_nothing) -> None:
    """The programs that a cluster with these parts takes are built, so that `up` takes seconds."""
    found = find()
    if found.source is Source.GO:
        _programs(found, int(real), 1, metrics, progress)


def bring_up(
    state: State,
    facts: Facts,
    found: Found,
    real: int,
    simulated: int,
    metrics: bool,
    progress: Progress,
    *,
    controllers: bool = True,
) -> None:
    """Everything that was asked for runs, or is said not to."""
    if found.source in (Source.EXTERNAL, Source.KIND):
        borrow(state, facts, found, progress)
        return
    facts.controllers = controllers
    programs = _programs(found, real, simulated, metrics, progress)
    if not controllers:
        programs = {name: path for name, path in programs.items() if name not in CONTROLLERS}
    facts.programs = {name: str(path) for name, path in programs.items()}
    plane = ControlPlane(state, facts, programs)
    plane.start()
    shutil.copyfile(plane.authority.certificate, state.folder / "ca.crt")
    progress(f"API server {facts.server} is ready")

    if found.source is Source.ENVTEST and (real or simulated or metrics):
        progress("envtest's programs have no scheduler, controllers or nodes: pods will stay Pending")
    else:
        _bring_up_nodes(state, facts, programs, plane, real, simulated, metrics, progress)
    facts.complete = True
    state.write(facts)


def _programs(found: Found, real: int, simulated: int, metrics: bool, progress: Progress) -> dict[str, Path]:
    if found.source is Source.ENVTEST:
        assert found.path is not None
        return {name: found.path / name for name in ("etcd", "kube-apiserver", "kubectl")}
    wanted = [*CONTROL_PLANE]
    wanted += ["kubelet", "workload"] if real else []
    wanted += ["kwok"] if simulated else []
    wanted += ["metrics-server"] if metrics and network.can_be_made() else []
    return built(wanted, progress)


def _bring_up_nodes(
    state: State,
    facts: Facts,
    programs: dict[str, Path],
    plane: ControlPlane,
    real: int,
    simulated: int,
    metrics: bool,
    progress: Progress,
) -> None:
    own = network.make(state, facts) if (real or metrics or simulated) and network.can_be_made() else None
    if own is None and metrics:
        progress("`kubectl top` is not available here: it takes a network bridge, which root on Linux can make")
    if simulated:
        facts.simulated = simulated
        nodes_simulated.start_kwok(state, facts, programs["kwok"], own, plane.authority, plane.admin_kubeconfig)
        progress(f"{simulated} simulated {'node is' if simulated == 1 else 'nodes are'} Ready")
    if real:
        assert own is not None
        nodes_real.start_nodes(state, facts, programs, own, plane.authority, plane.admin_kubeconfig, real)
        progress(f"{real} real {'node is' if real == 1 else 'nodes are'} Ready")
    if metrics and own is not None:
        metrics_server.start_server(
            state, facts, programs["metrics-server"], own, plane.authority, plane.admin_kubeconfig
        )
        progress("metrics-server runs; `kubectl top` answers about 20 seconds after a pod has started")


def borrow(state: State, facts: Facts, found: Found, progress: Progress) -> None:
    """The cluster is somebody else's, or kind's: its kubeconfig stands where ours would stand."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise NotAvailable("kubectl is not on PATH, and a cluster of somebody else's needs it")
    admin = state.kubeconfigs / "admin.yaml"
    if found.source is Source.KIND:
        # Not tried: no machine with Docker was at hand when this was written.
        progress(f"kind creates cluster {state.name}; this takes a minute or two")
        run(["kind", "create", "cluster", f"--name={state.name}", f"--kubeconfig={admin}", "--wait=120s"])
    else:
        assert found.path is not None
        whole = ["config", "view", "--raw", "--minify", "--flatten"]
        write_atomically(admin, run([kubectl, f"--kubeconfig={found.path}", *whole]))
    config: dict[str, Any] = yaml.safe_load(admin.read_text())
    facts.server = config["clusters"][0]["cluster"]["server"]
    facts.programs = {"kubectl": kubectl}
    # A cluster behind a public authority's certificate names none.
    authority = text_of(config["clusters"][0]["cluster"], "certificate-authority")
    (state.folder / "ca.crt").write_text(authority or "")
    facts.complete = True
    state.write(facts)
    progress(f"using the {found.source} cluster at {facts.server}; nodes and metrics are what it has")


def take_down(state: State) -> None:
    """Nothing of the cluster is left; the caller holds it."""
    facts = state.facts()
    processes = recorded(state.processes)
    first = [one for one in processes if one.label not in ("etcd", "kube-apiserver", guard.LABEL)]
    for process in first:
        stop(state.processes, process, seconds=5)
    if facts is not None:
        nodes_real.remove_nodes(state, facts)
    for process in recorded(state.processes):
        # What is left serves data that go with it, so nothing is lost by ending at once. The guard itself may be the one who takes the cluster down.
        if process.pid != os.getpid():
            stop(state.processes, process, with_signal=signal.SIGKILL)
    if facts is not None and facts.network is not None:
        network.remove(facts.network)
    if facts is not None and facts.source == Source.KIND:
        run(["kind", "delete", "cluster", f"--name={state.name}"])
    shutil.rmtree(state.folder, ignore_errors=True)
    if state.folder.exists():
        raise LocalClusterError(f"{state.folder} cannot be removed; look for mounts below it")


def answers(state: State) -> bool:
    """True while the cluster's servers run and its API server is ready."""
    own = [one for one in recorded(state.processes) if not one.label.startswith(BESIDE)]
    return all(is_running(process) for process in own) and Api(state.kubeconfigs / "admin.yaml").is_ready()


def servers_of(state: State) -> Iterable[tuple[str, int, bool]]:
    """Every server's label, process id and whether it runs."""
    for process in reversed(recorded(state.processes)):
        yield process.label, process.pid, is_running(process)
