"""
Where a cluster comes from, in the order in which the sources are tried.

1. `REMEDIATOR_TEST_KUBECONFIG`: a cluster that somebody named as disposable. The user's own kubeconfig is
   never read: a test that deletes things must not find a cluster by chance.
2. `KUBEBUILDER_ASSETS`: kube-apiserver, etcd and kubectl of envtest; no controllers, no nodes.
3. A Go toolchain: everything is built from pinned modules.
4. kind with a running Docker.
"""

import enum
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import NotAvailable


class Source(enum.StrEnum):
    """One way to a cluster."""

    EXTERNAL = "external"
    ENVTEST = "envtest"
    GO = "go"
    KIND = "kind"


@dataclass(frozen=True, slots=True)
class Found:
    """The way that this machine offers; `path` is the kubeconfig or the folder that it starts from."""

    source: Source
    path: Path | None = None


def find() -> Found:
    """
    The first source that is there.

    Raises:
        NotAvailable: with one sentence that says what would do.
    """
    if named := os.environ.get("REMEDIATOR_TEST_KUBECONFIG"):
        path = Path(named).expanduser()
        if not path.is_file():
            raise NotAvailable(f"REMEDIATOR_TEST_KUBECONFIG names {path}, which is not a file")
        return Found(Source.EXTERNAL, path)
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        folder = Path(assets).expanduser()
        missing = [name for name in ("kube-apiserver", "etcd", "kubectl") if not (folder / name).is_file()]
        if missing:
            raise NotAvailable(f"KUBEBUILDER_ASSETS names {folder}, which has no {' and no '.join(missing)}")
        return Found(Source.ENVTEST, folder)
    if shutil.which("go"):
        return Found(Source.GO)
    if shutil.which("kind") and docker_runs():
        return Found(Source.KIND)
    raise NotAvailable(
        "a local cluster needs one of: the Go toolchain on PATH, kind on PATH with Docker running, "
        "KUBEBUILDER_ASSETS with envtest's programs, or REMEDIATOR_TEST_KUBECONFIG of a disposable cluster"
    )


def docker_runs() -> bool:
    """True when a Docker daemon answers."""
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0
