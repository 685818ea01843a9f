"""
What the demo installs: files of this repository as they are, but for addresses and waits.

Nothing is written for the demo that a cluster of yours would have otherwise, so that the demo shows what is shipped.
"""

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from localcluster.operator import NAMESPACE as OPERATOR_NAMESPACE
from localcluster.operator import REPOSITORY, TENANT_ACCOUNT

Object = dict[str, Any]

FOLDER: Final = REPOSITORY / "deploy/local/demo"
PLAYBOOK: Final = REPOSITORY / "playbooks/pod-crash-loop"
NAMESPACE: Final = "shop"

GRACE: Final = "3s"
WAITS: Final[Mapping[str, str]] = {"for": "6s", "every": "2s", "quietFor": "8s"}
"""In place of the minutes of a check. How long a check may take, `within`, stays as it is."""

ROUTE_WAITS: Final[Mapping[str, str]] = {"group_wait": "1s", "group_interval": "1s"}


def playbook() -> tuple[Object, Object]:
    """The Runbook with shorter waits, and its policy, which may act and has little patience."""
    runbook = loaded(PLAYBOOK / "runbook.yaml")
    policy = loaded(PLAYBOOK / "policy.yaml")
    policy["metadata"]["namespace"] = NAMESPACE
    policy["spec"] |= {"mode": "Automatic", "grace": GRACE, "serviceAccountName": TENANT_ACCOUNT}
    return hurried(runbook), policy


def hurried(runbook: Object) -> Object:
    """The Runbook, with seconds where its checks wait for minutes."""
    for holder in (runbook["spec"], *runbook["spec"].get("remedies", [])):
        for check in holder.get("verify", []):
            for bounds in check.values():
                bounds |= {name: wait for name, wait in WAITS.items() if name in bounds}
    return runbook


def receivers(runbook: Object, url: str) -> Object:
    """The Secret that names, for everybody whom the Runbook tells something, the demo's mailbox."""
    names = sorted({"default", *told(runbook["spec"])})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "remediator-receivers", "namespace": OPERATOR_NAMESPACE},
        "data": {name: base64.b64encode(f"{url}/{name}".encode()).decode() for name in names},
    }


def told(part: Any) -> Iterator[str]:
    """The names of the receivers anywhere in a Runbook."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name in ("notify", "escalate"):
                yield value["to"]
            else:
                yield from told(value)
    elif isinstance(part, list):
        for item in part:
            yield from told(item)


def alertmanager_config(webhook: Mapping[str, Any]) -> Object:
    """The configuration that is shipped, with this operator's address and token, and without its waits."""
    config = loaded(REPOSITORY / "deploy/alertmanager/alertmanager.yaml")
    for route in (config["route"], *config["route"]["routes"]):
        route |= ROUTE_WAITS
    for receiver in config["receivers"]:
        for hook in receiver.get("webhook_configs", []):
            hook |= webhook
    return config


def loaded(file: Path) -> Object:
    """The one document of the file."""
    content: Object = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content
