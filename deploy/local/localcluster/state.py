"""
Where clusters keep their state, and what of it is written down.

A cluster is a folder: `.local/<name>/` of the repository, or of `$REMEDIATOR_LOCAL`. Whatever `down` has to
take away is written here before it is made, so that a crash at any moment leaves nothing that cannot be found.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from localcluster.errors import LocalClusterError
from localcluster.processes import write_atomically

REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(slots=True)
class Facts:
    """
    What `attach` and `down` need to know of a cluster.

    `network` is the number of its bridge and subnet, None where it has none. `system_settings` are the
    kernel's settings as they were before a kubelet changed them.
    """

    source: str
    server: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    network: int | None = None
    real: list[str] = field(default_factory=list)
    simulated: int = 0
    metrics: bool = False
    controllers: bool = True
    complete: bool = False
    programs: dict[str, str] = field(default_factory=dict)
    system_settings: dict[str, str] = field(default_factory=dict)


class State:
    """The folder of one cluster."""

    def __init__(self, name: str) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name):
            raise LocalClusterError(f"{name!r} is not a name of a cluster: small letters, digits and dashes")
        self.name = name
        self.folder = home() / name
        self.processes = self.folder / "processes"
        self.logs = self.folder / "logs"
        self.certificates = self.folder / "certs"
        self.kubeconfigs = self.folder / "kubeconfigs"

    def facts(self) -> Facts | None:
        """What is written of the cluster; None when there is none."""
        try:
            return Facts(**json.loads((self.folder / "cluster.json").read_text()))
        except FileNotFoundError:
            return None

    def write(self, facts: Facts) -> None:
        """The facts are on disk."""
        write_atomically(self.folder / "cluster.json", json.dumps(asdict(facts), indent=2))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else starts or stops this cluster meanwhile; the lock goes with the cluster."""
        home().mkdir(parents=True, exist_ok=True)
        file = home() / f".{self.name}.lock"
        while True:
            with file.open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                # Whoever held it before may have removed it; then this one excludes nobody.
                if not is_still(file, lock.fileno()):
                    continue
                try:
                    yield
                finally:
                    if not self.folder.exists():
                        file.unlink()
                return


def home() -> Path:
    """The folder of all clusters."""
    return Path(os.environ.get("REMEDIATOR_LOCAL", REPOSITORY / ".local")).resolve()


def is_still(file: Path, descriptor: int) -> bool:
    """True when the file of this name is the one that was opened."""
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def names() -> list[str]:
    """The clusters that have a state here, running or not."""
    return sorted(file.parent.name for file in home().glob("*/cluster.json"))
