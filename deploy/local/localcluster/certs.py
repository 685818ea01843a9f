"""
The cluster's certificate authority.

Keys are elliptic curve keys: they take milliseconds to make, and the API server accepts them for TLS, for
client certificates and for service account tokens alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import LocalClusterError
from localcluster.processes import run

DAYS = "3650"
LONGEST_NAME = 64  # of a common name or an organisation in X.509


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, as files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates into a folder of its own; the folder is all of its state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.crt"
        self.key = folder / "ca.key"

    def found(self) -> None:
        """The authority's own certificate is there, made now or earlier."""
        if self.certificate.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_key(self.key)
        # Python from 3.13 on verifies strictly: both key identifiers and the authority's usage must be there.
        extensions = [
            "basicConstraints=critical,CA:TRUE",
            "keyUsage=critical,keyCertSign,cRLSign,digitalSignature",
            "subjectKeyIdentifier=hash",
        ]
        config = self._written("ca", subject("local-ca", ()), extensions)
        openssl("req -x509 -new -sha256 -extensions ext", days=DAYS, config=config, key=self.key, out=self.certificate)

    def kept(self, name: str) -> Pair:
        """The pair that was made under this name."""
        return Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")

    def pair(self, name: str, *, user: str, groups: Sequence[str] = (), hosts: Sequence[str] = ()) -> Pair:
        """
        A certificate for a user in groups, which is good for a server too where hosts are given.

        What was made under this name earlier is kept.
        """
        pair = self.kept(name)
        if pair.certificate.exists():
            return pair
        make_key(pair.key)
        names = [f"{'IP' if host.replace('.', '').isdigit() else 'DNS'}:{host}" for host in hosts]
        extensions = [
            "basicConstraints=critical,CA:FALSE",
            "keyUsage=critical,digitalSignature",
            f"extendedKeyUsage=clientAuth{',serverAuth' if hosts else ''}",
            "authorityKeyIdentifier=keyid",
            *([f"subjectAltName={','.join(names)}"] if names else []),
        ]
        config = self._written(name, subject(user, groups), extensions)
        request, serial = self.folder / f"{name}.csr", self.folder / f"{name}.srl"
        openssl("req -new -sha256", config=config, key=pair.key, out=request)
        openssl(
            "x509 -req -sha256 -CAcreateserial -extensions ext",
            days=DAYS,
            CA=self.certificate,
            CAkey=self.key,
            CAserial=serial,
            extfile=config,
            out=pair.certificate,
            **{"in": request},
        )
        for leftover in (request, serial):
            leftover.unlink(missing_ok=True)
        return pair

    def _written(self, name: str, distinguished: str, extensions: Sequence[str]) -> Path:
        config = self.folder / f"{name}.cnf"
        config.write_text(
            "[req]\nprompt=no\nutf8=yes\nstring_mask=utf8only\ndistinguished_name=dn\n"
            f"[dn]\n{distinguished}\n[ext]\n" + "\n".join(extensions) + "\n"
        )
        return config


def openssl(words: str, **files: str | Path) -> None:
    """The command of openssl has been carried out with these options."""
    options = (part for name, value in files.items() for part in (f"-{name}", value))
    run(["openssl", *words.split(), *options])


def make_key(file: Path) -> None:
    """The file holds a new private key that only its owner may read."""
    openssl("ecparam -name prime256v1 -genkey -noout", out=file)
    file.chmod(0o600)


def subject(user: str, groups: Sequence[str]) -> str:
    """The user and the groups as openssl's configuration writes them: group by group an organisation."""
    for name in (user, *groups):
        if len(name) > LONGEST_NAME:
            raise LocalClusterError(f"a certificate cannot name {name}: it is longer than {LONGEST_NAME} characters")
    lines = [f"CN={escaped(user)}", *(f"{index}.O={escaped(group)}" for index, group in enumerate(groups))]
    return "\n".join(lines)


def escaped(value: str) -> str:
    """The value with openssl's own signs taken literally."""
    return "".join(f"\\{letter}" if letter in "\\$#\"'`" else letter for letter in value)
