"""
The images of real nodes' containers, written without an image builder.

An image archive is a tar file with one layer, a configuration and a manifest. Nothing is pulled from anywhere:
a real node has what was loaded into it.
"""

import hashlib
import io
import json
import platform
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localcluster.build import built
from localcluster.errors import LocalClusterError

REPOSITORY = "local.remediator.dev/workload"
PAUSE = "local.remediator.dev/pause:1"
SHELL_COMMANDS = ("sh", "cat", "ls", "echo", "sleep", "nc", "tar", "ps", "env", "true", "false", "kill")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def workload_archive(folder: Path, name: str) -> Path:
    """
    An archive of the workload's image under this name; its VERSION is the tag, so that versions differ.

    Debian's busybox, where it is installed, gives it a shell.
    """
    repository, _, tag = name.partition(":")
    if repository != REPOSITORY or not tag:
        raise LocalClusterError(f"{name} is neither {REPOSITORY}:<tag> nor an image archive (.tar)")
    program = built(["workload"])["workload"]
    files: dict[str, bytes | str] = {"workload": program.read_bytes()}
    busybox = shutil.which("busybox")
    if busybox is not None:
        files["bin/busybox"] = Path(busybox).read_bytes()
        files.update({f"bin/{command}": "busybox" for command in SHELL_COMMANDS})
    config = {"Entrypoint": ["/workload"], "Env": ["PATH=/:/bin", f"VERSION={tag}"], "WorkingDir": "/"}
    return archive(folder / "images" / f"workload-{tag}.tar", name, files, config)


def pause_archive(folder: Path) -> Path:
    """An archive of the image that holds a pod's namespaces."""
    files: dict[str, bytes | str] = {"pause": built(["workload"])["workload"].read_bytes()}
    return archive(folder / "images" / "pause.tar", PAUSE, files, {"Entrypoint": ["/pause"]})


def archive(file: Path, name: str, files: Mapping[str, bytes | str], config: Mapping[str, Any]) -> Path:
    """The file is an image of this name; a text instead of bytes is the target of a symbolic link."""
    layer = tar_of(files)
    digest = hashlib.sha256(layer).hexdigest()
    whole = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "localcluster"}],
    }
    described = json.dumps(whole).encode()
    description = f"{hashlib.sha256(described).hexdigest()}.json"
    manifest = [{"Config": description, "RepoTags": [name], "Layers": [f"{digest}/layer.tar"]}]
    content: dict[str, bytes | str] = {
        f"{digest}/layer.tar": layer,
        description: described,
        "manifest.json": json.dumps(manifest).encode(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(tar_of(content))
    return file


def tar_of(files: Mapping[str, bytes | str]) -> bytes:
    """A tar archive, the same bytes for the same files."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as tar:
        folders = sorted({str(parent) for name in files for parent in Path(name).parents if str(parent) != "."})
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return written.getvalue()
