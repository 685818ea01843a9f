"""
From a firing alert to a verified remedy, on this machine: `make demo`.

Everything is the real thing, as in a cluster of yours: API server and nodes, the installation, the operator with
its own account's rights, Prometheus, Alertmanager, a playbook. Only waits are shorter.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from localcluster import (
    Cluster,
    LocalClusterError,
    NotAvailable,
    Server,
    start_alertmanager,
    start_exporter,
    start_prometheus,
    why_no_real_nodes,
)
from localcluster.cluster import take_down
from localcluster.monitoring import ON_PATH, answer
from localcluster.operator import REPOSITORY, Operator, install, open_namespace
from localcluster.processes import free_ports, moments
from localcluster.state import State
from localdemo.inbox import Inbox
from localdemo.manifests import FOLDER, NAMESPACE, Object, alertmanager_config, playbook, receivers
from localdemo.screen import Part, Screen

ALERT: Final = "PodCrashLoopBackOff"
API: Final = f"/apis/remediator.dev/v1alpha1/namespaces/{NAMESPACE}"
RELEASE: Final = f"kubectl patch deployment checkout -n {NAMESPACE} --patch-file deploy/local/demo/"
PLUGIN: Final = Path(sys.executable).parent / "kubectl-remediate"
LONGEST_SECONDS: Final = 300
PANIC_SHOWN: Final = 38

ELSEWHERE: Final = ("REMEDIATOR_TEST_KUBECONFIG", "KUBEBUILDER_ASSETS")
"""They would lead to another cluster than the demo's own."""

T = TypeVar("T")


def main() -> int:
    """The exit code: 0 when the remedy was seen to help, 1 with one sentence when not, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make demo", description="From a firing alert to a verified remedy.")
    parser.add_argument("--keep", action="store_true", help="leave all of it running at the end (make demo KEEP=1)")
    parser.add_argument("--name", default="demo", help="name of its cluster (default: demo)")
    asked = parser.parse_args()
    for name in ELSEWHERE:
        os.environ.pop(name, None)
    signal.signal(signal.SIGTERM, interrupted)
    os.chdir(REPOSITORY)
    screen = Screen()
    try:
        with ExitStack() as ending:
            Demo(asked.name, screen, ending, keep=asked.keep).play()
    except LocalClusterError as problem:
        screen.line(f"\n{problem}", style="red")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def interrupted(_signal: int, _frame: object) -> NoReturn:
    """Being asked to end is Ctrl-C from elsewhere."""
    raise KeyboardInterrupt


class Demo:
    """The parts in the order of the story; each needs the ones before it."""

    cluster: Cluster
    operator: Operator
    prometheus: Server
    alertmanager: Server

    def __init__(self, name: str, screen: Screen, ending: ExitStack, *, keep: bool) -> None:
        self.name = name
        self.screen = screen
        self.ending = ending
        self.keep = keep
        self.inbox = ending.enter_context(Inbox())
        self.released_at = datetime.now(UTC)
        self.release_command = f"{RELEASE}release.yaml"

    def play(self) -> None:
        """From nothing to the end of the story, and what is left to look at."""
        self.screen.title("Set up")
        self.start_cluster()
        self.deploy_shop()
        self.start_monitoring()
        self.install_operator()
        self.install_playbook()
        self.screen.title("A release goes wrong")
        self.release()
        self.follow_alert()
        self.screen.title("The operator at work")
        run = self.follow_run()
        self.show(run)
        self.sum_up()
        if self.keep or self.screen.console.is_terminal:
            self.look_around(run)

    def start_cluster(self) -> None:
        """A cluster of the demo's own, with a real node where that can be had."""
        if shutil.which("go") is None:
            raise NotAvailable("Go 1.26 or newer is not on PATH; the demo's cluster is built with it")
        missing = why_no_real_nodes()
        if missing:
            self.screen.line(f"  a simulated node takes the place of a real one: {missing}", quiet=True)
        kind = "simulated" if missing else "real"
        with self.screen.part("cluster", f"starting a control plane and one {kind} node") as part:
            if State(self.name).facts() is not None:
                part.going_on("taking an earlier demo away")
                self.take_away()
            if not self.keep:
                self.ending.callback(self.clean_up)
            self.cluster = Cluster.up(
                self.name,
                real=0 if missing else 1,
                simulated=1 if missing else 0,
                progress=part.going_on,
                keep=self.keep,
            )
            if missing:
                self.release_command = f"{RELEASE}release-simulated.yaml"
                previous = "panic: runtime error: invalid memory address or nil pointer dereference"
                self.cluster.write_simulated_log("checkout", current="started", previous=previous)
            # Not started yet: Alertmanager has to know first where it will listen.
            self.operator = Operator(self.cluster)
            self.operator.intake_port, self.operator.health_port = free_ports(2)
            part.done(f"Kubernetes {self.cluster.api.get('/version')['gitVersion']}, one {kind} node")

    def deploy_shop(self) -> None:
        """The first release serves."""
        with self.screen.part("shop", "deploying checkout and redis") as part:
            self.kubectl("apply", "-f", FOLDER / "shop.yaml")
            self.until(part, "both pods of checkout are ready", lambda: self.ready_pods() == 2)
            part.done("Deployment checkout, release 1: 2 of 2 pods ready")

    def start_monitoring(self) -> None:
        """Alerts of the shop go through Prometheus and Alertmanager to where the operator will listen."""
        absent = [name for name, programs in ON_PATH.items() if not any(map(shutil.which, programs))]
        if absent:
            self.screen.line(f"  not on PATH, so built from Go modules, once: {', '.join(absent)}", quiet=True)
        with self.screen.part("monitoring", "starting Prometheus and Alertmanager") as part:
            exporter = start_exporter(self.cluster)
            config = alertmanager_config(self.operator.receiver())
            self.alertmanager = start_alertmanager(self.cluster, config, part.going_on)
            self.prometheus = start_prometheus(
                self.cluster,
                (FOLDER / "rules.yaml").read_text(encoding="utf-8"),
                [{"job_name": "state", "static_configs": [{"targets": [exporter.url.removeprefix("http://")]}]}],
                self.alertmanager.url,
                progress=part.going_on,
            )
            part.done("Prometheus with a rule, Alertmanager with a webhook")

    def install_operator(self) -> None:
        """As on a cluster of yours, except that the process runs beside it."""
        with self.screen.part("operator", "installing CRDs, admission policies and roles") as part:
            install(self.cluster, {"prometheus": self.prometheus.url, "alertmanager": self.alertmanager.url})
            part.going_on("starting the operator")
            self.operator.start()
            part.done("runs, with the rights of its ServiceAccount alone")

    def install_playbook(self) -> None:
        """The playbook's policy may act, and the fence lets it roll back and do nothing else."""
        with self.screen.part("playbook", "installing playbooks/pod-crash-loop") as part:
            open_namespace(self.cluster, NAMESPACE, ["rollback"])
            runbook, policy = playbook()
            self.apply(receivers(runbook, self.inbox.url), runbook, policy)
            path = f"{API}/alertpolicies/{policy['metadata']['name']}"
            self.until(part, "the policy is Ready", lambda: is_ready(self.cluster.api.get(path)))
            part.done("pod-crash-loop is Ready: it may roll back, and no more")

    def release(self) -> None:
        """The next release is out, and bad."""
        with self.screen.part("release 2", "rolling out release 2 of checkout") as part:
            self.released_at = datetime.now(UTC)
            self.kubectl(*self.release_command.split()[1:])
            pod = self.until(part, "a pod of release 2 crashes again and again", self.crashing_pod)
            log = self.kubectl("logs", "--previous", pod, "-n", NAMESPACE)
            said = next((line for line in log.splitlines() if "panic:" in line), "they do not say why")
            part.done(f"its pods crash: {said if len(said) <= PANIC_SHOWN else said[:PANIC_SHOWN] + '…'}")

    def follow_alert(self) -> None:
        """The rule fires, and the operator has made a run of it."""
        with self.screen.part("alert", f"waiting until {ALERT} fires") as part:
            self.until(part, f"{ALERT} fires", lambda: "firing" in self.alert_states())
            part.done(f"{ALERT} fires, {self.since_release():.0f} s after the release")
        with self.screen.part("run", "Alertmanager tells the operator") as part:
            self.until(part, "the operator begins a run", lambda: self.cluster.api.items(f"{API}/runbookruns"))
            part.done("Alertmanager has told the operator, which has begun a run")

    def follow_run(self) -> str:
        """The run has ended as it should; its name."""
        # The operator's code, which the demo needs for this alone.
        from remediator.cli.connect import Wanted, connected
        from remediator.cli.live import follow
        from remediator.cli.options import Screen as Terminal
        from remediator.cli.tables import RunRow

        async def followed() -> list[RunRow]:
            wanted = Wanted(kubeconfig=str(self.cluster.admin_kubeconfig), namespace=NAMESPACE)
            async with asyncio.timeout(LONGEST_SECONDS), connected(wanted) as ports:
                return await follow(
                    ports.cluster,
                    ports.clock,
                    NAMESPACE,
                    screen=Terminal.of_this_process(no_color=False),
                    until=lambda rows: bool(rows) and not any(row.is_open for row in rows),
                )

        began = time.monotonic()
        try:
            (row, *_) = asyncio.run(followed())
        except TimeoutError:
            raise LocalClusterError(f"the run is open after {LONGEST_SECONDS} s; {self.said_last()}") from None
        self.screen.took.append(("remedy", time.monotonic() - began))
        if row.outcome != "Remediated":
            self.command("kubectl", "remediate", "show", row.name, "-n", NAMESPACE)
            raise LocalClusterError(f"the run ended {row.outcome}: {row.message}")
        return row.name

    def show(self, run: str) -> None:
        """What anybody sees of it afterwards."""
        self.screen.title("What is left of it")
        self.command("kubectl", "remediate", "show", run, "-n", NAMESPACE)
        self.command("kubectl", "get", "runbookruns", "-n", NAMESPACE)
        self.command("kubectl", "rollout", "history", "deployment/checkout", "-n", NAMESPACE)
        for message in self.inbox.messages:
            self.screen.line(f"To {message.receiver}: {message.title}", style="bold")
            self.screen.line(message.text)

    def sum_up(self) -> None:
        """How long it all took."""
        self.screen.title("How long it took")
        for name, seconds in self.screen.took:
            self.screen.line(f"  {seconds:5.1f} s  {name}")
        self.screen.line(f"  {sum(seconds for _, seconds in self.screen.took):5.1f} s  in all")

    def look_around(self, run: str) -> None:
        """Ways to go on; without `--keep` it all goes with Ctrl-C."""
        place = os.path.relpath(self.cluster.folder)
        names = self.environment()
        (self.cluster.folder / "env").write_text("".join(f"export {key}='{value}'\n" for key, value in names.items()))
        self.screen.title("Look around")
        for what, how in (
            ("in another shell", f"source {place}/env"),
            ("or", f"export KUBECONFIG={place}/kubeconfigs/admin.yaml PATH={place}/bin:$PATH"),
            ("what there is", "kubectl get runbooks,alertpolicies,guardrails,runbookruns -A"),
            ("why that remedy", f"kubectl remediate explain {run} -n {NAMESPACE}"),
            ("the log it read", f"kubectl remediate show {run} -n {NAMESPACE} --evidence"),
            ("break it again", self.release_command),
            ("see it wait", f"kubectl remediate list -n {NAMESPACE} --watch   (CoolingDown: one rollback in 30m)"),
            ("Prometheus", f"{self.prometheus.url}/alerts"),
            ("Alertmanager", self.alertmanager.url),
            ("the operator", f"{self.operator.health_url}/metrics and {place}/operator/log"),
            ("stop", "make demo-down" if self.keep else "Ctrl-C (make demo KEEP=1 leaves it running)"),
        ):
            self.screen.line(f"  {what:<18}{how}")
        if not self.keep:
            signal.pause()

    def clean_up(self) -> None:
        """Nothing of the demo is left on this machine."""
        # A second Ctrl-C would leave half of it, and it takes seconds.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.screen.line()
        with self.screen.part("clean up", "taking all of it away") as part:
            self.take_away()
            part.done("nothing of the demo is left")

    def take_away(self) -> None:
        """The demo's cluster is gone, and everything beside it."""
        state = State(self.name)
        with state.held():
            take_down(state)

    def kubectl(self, *arguments: str | Path) -> str:
        """What kubectl says to the administrator."""
        return self.cluster.run_kubectl(*map(str, arguments))

    def apply(self, *manifests: Object) -> None:
        """The objects are there."""
        whole = {"apiVersion": "v1", "kind": "List", "items": manifests}
        self.cluster.run_kubectl("apply", "-f", "-", input=json.dumps(whole))

    def command(self, *words: str) -> None:
        """The command as a person would type it, and what it says."""
        self.screen.line(f"$ {' '.join(words)}", style="cyan")
        sys.stdout.flush()
        names = self.environment()
        program = shutil.which(words[0], path=names["PATH"]) or words[0]
        # The plugin asks the terminal how wide it is; what kubectl says itself is the same anywhere.
        asks = words[1] == "remediate"
        done = subprocess.run(
            [program, *words[1:]], env={**os.environ, **names}, check=False, text=True, capture_output=not asks
        )
        if not asks:
            self.screen.line((done.stdout + done.stderr).rstrip())
        self.screen.line()

    def environment(self) -> dict[str, str]:
        """What a shell needs: the kubeconfig, and kubectl with its plugin."""
        programs = self.cluster.folder / "bin"
        programs.mkdir(exist_ok=True)
        for name, program in (("kubectl", self.cluster.kubectl), ("kubectl-remediate", PLUGIN)):
            if not (programs / name).is_symlink():
                (programs / name).symlink_to(program)
        return {"KUBECONFIG": str(self.cluster.admin_kubeconfig), "PATH": f"{programs}:{os.environ['PATH']}"}

    def until(self, part: Part, what: str, holds: Callable[[], T], seconds: float = 90) -> T:
        """
        What `holds` said as soon as it was something.

        Raises:
            LocalClusterError: that it did not come about, and what the operator said last.
        """
        for _ in moments(seconds, 0.2):
            if found := holds():
                return found
            part.going_on(f"waiting until {what}")
        raise LocalClusterError(f"it did not come about within {seconds:.0f} s that {what}; {self.said_last()}")

    def said_last(self) -> str:
        """The end of the operator's log, which goes with the cluster."""
        if not self.operator.log.exists():
            return "the operator had not been started"
        return "the operator said last:\n" + "\n".join(self.operator.log.read_text().splitlines()[-5:])

    def since_release(self) -> float:
        """Seconds."""
        return (datetime.now(UTC) - self.released_at).total_seconds()

    def pods(self) -> list[dict[str, Any]]:
        """The pods of checkout that are not on their way out."""
        found = self.cluster.api.items(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3Dcheckout")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready_pods(self) -> int:
        """How many pods of checkout serve."""
        return sum(any(one["ready"] for one in pod["status"].get("containerStatuses", [])) for pod in self.pods())

    def crashing_pod(self) -> str:
        """The name of one that crashes again and again; nothing where all are well."""
        for pod in self.pods():
            for container in pod["status"].get("containerStatuses", []):
                if container["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff":
                    return str(pod["metadata"]["name"])
        return ""

    def alert_states(self) -> list[str]:
        """How Prometheus sees the alerts of the shop."""
        said = answer(f"{self.prometheus.url}/api/v1/alerts")
        return [one["state"] for one in json.loads(said)["data"]["alerts"]] if said else []


def is_ready(definition: Object) -> bool:
    """True when the operator says that it has understood it, in the form that it has now."""
    status = definition.get("status", {})
    return status.get("observedGeneration") == definition["metadata"]["generation"] and any(
        one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", [])
    )


if __name__ == "__main__":
    sys.exit(main())
