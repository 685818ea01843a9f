"""
Prometheus, Alertmanager and the exporter beside a cluster.

They are found on PATH (Debian's packages), or built from pinned modules. Each belongs to its cluster: it is
recorded with the cluster's other servers and ends with it.
"""

import json
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from localcluster.build import Progress, built, say_nothing
from localcluster.cluster import Cluster
from localcluster.errors import StartFailed
from localcluster.processes import Process, end_of, free_ports, moments, recorded, start, stop
from localcluster.processes import is_running as process_is_running

START_SECONDS = 30
ATTEMPTS = 3
ON_PATH = {"prometheus": ("prometheus",), "alertmanager": ("prometheus-alertmanager", "alertmanager")}


@dataclass(frozen=True, slots=True)
class Server:
    """A server beside a cluster; `log` is what it writes."""

    url: str
    log: Path
    process: Process
    records: Path

    def stop(self) -> None:
        """The server does not run any more."""
        stop(self.records, self.process)


def start_exporter(cluster: Cluster) -> Server:
    """kube-state-metrics' metrics of the cluster are served at `/metrics` of the server's URL."""

    def command(port: int) -> list[str | Path]:
        return [
            sys.executable, "-m", "localcluster.exporter",
            f"--kubeconfig={cluster.admin_kubeconfig}", f"--port={port}",
        ]  # fmt: skip

    path = {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    return started(cluster, "exporter", command, ready="/metrics", env=path)


def start_prometheus(
    cluster: Cluster,
    rules_yaml: str | Mapping[str, Any],
    scrape_config: str | Sequence[Mapping[str, Any]],
    alertmanager_url: str | None = None,
    evaluation_interval: str = "1s",
    progress: Progress = say_nothing,
) -> Server:
    """
    Prometheus evaluates the rules (a rule file: `groups: […]`) and scrapes the jobs (a list of scrape
    configurations), both at the interval; alerts go to the Alertmanager where one is given.
    """
    folder = unused_folder(cluster, "prometheus")
    rules = rules_yaml if isinstance(rules_yaml, str) else yaml.safe_dump(dict(rules_yaml))
    (folder / "rules.yaml").write_text(rules)
    jobs = yaml.safe_load(scrape_config) if isinstance(scrape_config, str) else [dict(job) for job in scrape_config]
    config: dict[str, Any] = {
        "global": {
            "scrape_interval": evaluation_interval,
            # It may not be longer than the interval.
            "scrape_timeout": evaluation_interval,
            "evaluation_interval": evaluation_interval,
        },
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": jobs,
    }
    if alertmanager_url:
        target = alertmanager_url.removeprefix("http://").rstrip("/")
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [target]}]}]}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    program = found("prometheus", progress)

    def command(port: int) -> list[str | Path]:
        return [
            program,
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            # So that a test can change the rules and have them read: POST /-/reload.
            "--web.enable-lifecycle",
            # Alerts are sent again often enough for a test that restarts its receiver.
            "--rules.alert.resend-delay=5s",
            "--log.level=warn",
        ]

    return started(cluster, folder.name, command, ready="/-/ready")


def start_alertmanager(
    cluster: Cluster, config_yaml: str | Mapping[str, Any], progress: Progress = say_nothing
) -> Server:
    """Alertmanager runs alone, without peers, with this configuration."""
    folder = unused_folder(cluster, "alertmanager")
    config = config_yaml if isinstance(config_yaml, str) else yaml.safe_dump(dict(config_yaml))
    (folder / "alertmanager.yaml").write_text(config)
    program = found("alertmanager", progress)

    def command(port: int) -> list[str | Path]:
        return [
            program,
            f"--config.file={folder / 'alertmanager.yaml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]

    return started(cluster, folder.name, command, ready="/-/ready")


def pods_job(exporter: Server, name: str = "pods") -> dict[str, Any]:
    """
    A scrape configuration for the cluster's pods with the annotation `prometheus.io/port`.

    Their metrics carry the labels `namespace` and `pod`. Only real pods answer. The exporter says which pods
    there are: Debian's Prometheus is built without Kubernetes' own discovery.
    """
    return {
        "job_name": name,
        "http_sd_configs": [{"url": f"{exporter.url}/targets", "refresh_interval": "1s"}],
    }


def started(
    cluster: Cluster,
    label: str,
    command: Callable[[int], list[str | Path]],
    *,
    ready: str,
    env: Mapping[str, str] | None = None,
) -> Server:
    """
    The server answers at `ready`.

    Raises:
        StartFailed: with the end of its log.
    """
    records = cluster.state.processes
    log = cluster.state.logs / f"{label}.log"
    for attempt in range(1, ATTEMPTS + 1):
        port = free_ports(1)[0]
        process = start(records, label, command(port), log=log, env=env)
        url = f"http://127.0.0.1:{port}"
        for _ in moments(START_SECONDS, 0.1):
            if not process_is_running(process):
                break
            if answer(url + ready) is not None:
                return Server(url, log, process, records)
        stop(records, process)
        failure = StartFailed(f"{label} does not answer:\n{end_of(log)}")
        if attempt == ATTEMPTS or not failure.port_was_taken:
            raise failure
    raise AssertionError("the last attempt returns or raises")


def answer(url: str) -> str | None:
    """What a server of this machine says with status 200; None when it says anything else, or nothing."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as got:
            return str(got.read().decode())
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return None
    except OSError:
        return None


def query(prometheus: Server, promql: str) -> list[dict[str, Any]]:
    """The result of an instant query."""
    said = answer(f"{prometheus.url}/api/v1/query?query={urllib.parse.quote(promql)}")
    return list(json.loads(said)["data"]["result"]) if said is not None else []


def found(program: str, progress: Progress) -> Path:
    """The program on PATH, or one that is built now."""
    for name in ON_PATH[program]:
        if path := shutil.which(name):
            return Path(path)
    return built([program], progress)[program]


def unused_folder(cluster: Cluster, label: str) -> Path:
    """A folder of its own for one more server of this kind."""
    taken = {process.label for process in recorded(cluster.state.processes)}
    numbered = (label if number == 1 else f"{label}-{number}" for number in range(1, 100))
    name = next(one for one in numbered if one not in taken and not (cluster.folder / one).exists())
    folder = cluster.folder / name
    folder.mkdir(parents=True)
    return folder
