"""
A client for the few calls that this package makes itself.

It knows certificates, tokens and impersonation of a kubeconfig's current context, and no more: no exec
plugins, no proxies. Tests of the operator use the operator's own client.
"""

import base64
import json
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from localcluster.errors import LocalClusterError

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class ApiError(LocalClusterError):
    """The API server answered with something else than success."""

    def __init__(self, method: str, path: str, status: int, body: str) -> None:
        super().__init__(f"{method} {path} was answered with {status}: {body.strip()[:500]}")
        self.status = status


class Api:
    """Calls to one API server as one user."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        context = named(config["contexts"], config["current-context"])["context"]
        cluster = named(config["clusters"], context["cluster"])["cluster"]
        user = named(config["users"], context["user"])["user"]
        self.server = str(cluster["server"]).rstrip("/")
        self._headers = {"Accept": "application/json"}
        if token := user.get("token"):
            self._headers["Authorization"] = f"Bearer {token}"
        if name := user.get("as"):
            self._headers["Impersonate-User"] = name
        tls = ssl.create_default_context(cadata=text_of(cluster, "certificate-authority"))
        certificate, key = text_of(user, "client-certificate"), text_of(user, "client-key")
        if certificate and key:
            # The ssl module reads a client's key from a file only.
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as both:
                both.write(f"{certificate}\n{key}\n")
                both.flush()
                tls.load_cert_chain(both.name)
        # A proxy in this process's environment does not lead to this machine's loopback.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
        )

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = "application/json",
        timeout: float = 10,
    ) -> Any:
        """
        The decoded answer.

        Raises:
            ApiError: when the server says no.
            OSError: when it does not answer at all.
        """
        request = urllib.request.Request(
            self.server + path,
            data=json.dumps(body).encode() if body is not None else None,
            method=method,
            headers={**self._headers, "Content-Type": content_type},
        )
        try:
            with self._opener.open(request, timeout=timeout) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                raise ApiError(method, path, refusal.code, refusal.read().decode(errors="replace")) from None
        return json.loads(text) if text.startswith(("{", "[")) else text

    def get(self, path: str, *, timeout: float = 10) -> Any:
        """The object, list or text at a path."""
        return self.call("GET", path, timeout=timeout)

    def items(self, path: str) -> list[dict[str, Any]]:
        """The objects of a list; none where the API server does not know the kind."""
        try:
            found = self.get(path)
        except ApiError as refusal:
            if refusal.status == 404:
                return []
            raise
        return list(found["items"])

    def apply(self, path: str, body: Mapping[str, Any]) -> Any:
        """The object at the path is as given, created or changed."""
        return self.call("PATCH", f"{path}?fieldManager=localcluster&force=true", body, content_type=APPLY_PATCH)

    def is_ready(self) -> bool:
        """True when the server answers and says that it may be used."""
        try:
            return bool(self.get("/readyz", timeout=2) == "ok")
        except (OSError, ApiError):
            return False


def named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The entry of a kubeconfig's list that bears the name."""
    return next(entry for entry in entries if entry["name"] == name)


def text_of(section: Mapping[str, Any], key: str) -> str | None:
    """What a kubeconfig gives either as data or as a file's name."""
    if data := section.get(f"{key}-data"):
        return base64.b64decode(data).decode()
    return Path(section[key]).read_text() if section.get(key) else None
