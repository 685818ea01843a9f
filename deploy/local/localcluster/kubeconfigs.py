"""Kubeconfig files: whole in themselves, so that a copy works anywhere on this machine."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from localcluster.certs import Pair
from localcluster.processes import write_atomically


def with_certificate(file: Path, server: str, authority: Path, pair: Pair) -> Path:
    """The file lets whoever reads it in as the user of the certificate."""
    user = {"client-certificate-data": encoded(pair.certificate), "client-key-data": encoded(pair.key)}
    return written(file, server, authority, user)


def with_token(file: Path, server: str, authority: Path, token: str) -> Path:
    """The file lets whoever reads it in as the bearer of the token."""
    return written(file, server, authority, {"token": token})


def written(file: Path, server: str, authority: Path, user: Mapping[str, Any]) -> Path:
    """The file holds one cluster, one user and one context, all called `local`."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "local",
        "clusters": [
            {"name": "local", "cluster": {"server": server, "certificate-authority-data": encoded(authority)}}
        ],
        "users": [{"name": "local", "user": dict(user)}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
    }
    write_atomically(file, yaml.safe_dump(content, sort_keys=False))
    return file


def encoded(file: Path) -> str:
    """The file's bytes as a kubeconfig carries them."""
    return base64.b64encode(file.read_bytes()).decode()
