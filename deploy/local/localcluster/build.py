"""
The cluster's programs, built from pinned Go modules.

Nobody publishes kube-apiserver as a package that an ordinary package manager installs, but its source is a Go
module. A program is built once per machine and user: the cache folder's name is a hash of everything that
goes into it, so a change of the pins builds anew and never mixes.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import NotAvailable, StartFailed
from localcluster.processes import run

MODULES = Path(__file__).resolve().parent.parent / "go"
KUBERNETES = "v1.36.1"
REPORT_SECONDS = 5

_COMPONENT = "k8s.io/component-base/version"
_VERSION = " ".join(
    f"-X {_COMPONENT}.{name}={value}"
    for name, value in {
        "gitVersion": KUBERNETES,
        "gitMajor": "1",
        "gitMinor": "36",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
    }.items()
)


@dataclass(frozen=True, slots=True)
class Program:
    """One program: the folder of its pins, its package, and the folders of its module that it needs at run time."""

    name: str
    module: str
    package: str
    ldflags: str = ""
    files: tuple[tuple[str, str], ...] = ()


def kubernetes(name: str) -> Program:
    """A program of Kubernetes itself, which says the pinned version of itself."""
    return Program(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", _VERSION)


PROGRAMS = {
    program.name: program
    for program in (
        Program("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
        kubernetes("kube-apiserver"),
        kubernetes("kube-controller-manager"),
        kubernetes("kube-scheduler"),
        kubernetes("kubectl"),
        kubernetes("kubelet"),
        Program(
            "kwok",
            "kwok",
            "sigs.k8s.io/kwok/cmd/kwok",
            files=(("sigs.k8s.io/kwok", "kustomize"),),
        ),
        Program("metrics-server", "metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),
        Program("workload", "workload", "."),
        Program("prometheus", "prometheus", "github.com/prometheus/prometheus/cmd/prometheus"),
        Program("alertmanager", "alertmanager", "github.com/prometheus/alertmanager/cmd/alertmanager"),
    )
}

Progress = Callable[[str], None]


def say_nothing(_line: str) -> None:
    """The progress of a caller who does not want to hear of it."""


def cache_folder() -> Path:
    """Where built programs are kept, outside the repository: `$REMEDIATOR_CACHE`, or ~/.cache/remediator."""
    return Path(os.environ.get("REMEDIATOR_CACHE", "~/.cache/remediator")).expanduser()


def built(names: Iterable[str], progress: Progress = say_nothing) -> dict[str, Path]:
    """
    The programs of these names, ready to run.

    Raises:
        NotAvailable: where there is no Go toolchain to build a missing one.
        StartFailed: with the compiler's words, where one does not build.
    """
    go = shutil.which("go")
    if go is None:
        raise NotAvailable("the Go toolchain is not on PATH, so the cluster's programs cannot be built")
    # GOTOOLCHAIN may choose another version than the go command on PATH; asked inside a module it says which.
    version = run([go, "-C", MODULES / "kubernetes", "env", "GOVERSION"]).strip()
    return {name: _built(go, version, PROGRAMS[name], progress) for name in names}


def _built(go: str, version: str, program: Program, progress: Progress) -> Path:
    folder = cache_folder() / "bin" / _fingerprint(program, version)
    binary = folder / program.name
    if binary.exists():
        return binary
    with _only_one(cache_folder() / "build.lock", program, progress):
        if binary.exists():
            return binary
        folder.mkdir(parents=True, exist_ok=True)
        for module, part in program.files:
            _copy(go, program, module, part, folder)
        draft = folder / f".{program.name}.{os.getpid()}"
        try:
            _compile(go, program, draft, progress)
            draft.replace(binary)
        finally:
            draft.unlink(missing_ok=True)
    return binary


def _fingerprint(program: Program, version: str) -> str:
    folder = MODULES / program.module
    # A module with a package of its own is made of its sources; the others of their pins alone.
    sources = sorted(folder.glob("*.go")) if program.package == "." else []
    parts = [folder / "go.mod", folder / "go.sum", *sources]
    total = hashlib.sha256(f"{version} {platform.machine()} {program.ldflags}".encode())
    for part in parts:
        total.update(part.read_bytes() if part.exists() else b"")
    return f"{program.module}-{total.hexdigest()[:16]}"


def _compile(go: str, program: Program, target: Path, progress: Progress) -> None:
    nice = [found, "-n", "10"] if (found := shutil.which("nice")) else []
    command = [
        *nice, go, "build", "-mod=readonly", "-trimpath",
        "-ldflags", f"-s -w {program.ldflags}".strip(), "-o", str(target), program.package,
    ]  # fmt: skip
    started = time.monotonic()
    progress(f"building {program.name} (minutes when it is the first time on this machine)")
    with (target.parent / f"{program.name}.log").open("w+") as log:
        compiler = subprocess.Popen(
            command,
            cwd=MODULES / program.module,
            env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
            stdout=log,
            stderr=log,
        )
        try:
            while True:
                try:
                    code = compiler.wait(REPORT_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    progress(f"building {program.name}: {time.monotonic() - started:.0f}s")
        except BaseException:
            compiler.kill()
            compiler.wait()
            raise
        log.seek(0)
        if code != 0:
            raise StartFailed(f"{program.name} does not build:\n{log.read()[-2000:]}")
    progress(f"built {program.name} in {time.monotonic() - started:.0f}s")


def _copy(go: str, program: Program, module: str, part: str, folder: Path) -> None:
    """The module's own data files stand beside the program; they are its authors' and not kept in this repository."""
    home = MODULES / program.module
    run([go, "-C", home, "mod", "download", module])
    source = Path(run([go, "-C", home, "list", "-m", "-f", "{{.Dir}}", module]).strip())
    shutil.copytree(source / part, folder / part, dirs_exist_ok=True, copy_function=shutil.copyfile)
    for found in (folder / part, *(folder / part).rglob("*")):
        if found.is_dir():
            found.chmod(0o755)  # the module cache is read-only, and so would the copy be


@contextmanager
def _only_one(lock: Path, program: Program, progress: Progress) -> Iterator[None]:
    """Nobody else of this user builds meanwhile: two compilers of this size starve each other."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        waited = 0
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if waited % REPORT_SECONDS == 0:
                    progress(f"waiting for another build before {program.name}: {waited}s")
                time.sleep(1)
                waited += 1
        yield
