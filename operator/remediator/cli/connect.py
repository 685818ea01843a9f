"""
The plugin's composition root: from a kubeconfig to the ports that the verbs use.

Certificates and tokens are taken from the kubeconfig here, because the package that knows every
other way to log in takes half a second to import; it is asked wherever that is not enough.
"""

import os
import ssl
import tempfile
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from remediator.domain.errors import NotFound, Unavailable
from remediator.domain.json import Object, dig, dig_text

if TYPE_CHECKING:
    # ports bring pydantic with them, which a help text does not need
    from remediator.adapters.kube import Access, Credentials
    from remediator.cli.kubeconfig import Context
    from remediator.ports import Clock, Cluster, Evidence

OPERATOR_NAMESPACE: Final = "remediator-system"
OWN_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

PLAIN_USER: Final = frozenset(
    {"client-certificate", "client-certificate-data", "client-key", "client-key-data", "token", "tokenFile", "as"}
)
PLAIN_CLUSTER: Final = frozenset(
    {
        "server",
        "certificate-authority",
        "certificate-authority-data",
        "tls-server-name",
        "disable-compression",
        "extensions",
    }
)
"""Entries with other fields (plugins, providers, proxies, no checks at all) are left to the loader that knows them."""

NOT_HONOURED: Final = ("as-groups", "as-uid", "as-user-extra")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options say about where to connect to; empty is the kubeconfig's own choice."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    operator_namespace: str = OPERATOR_NAMESPACE


@dataclass(frozen=True, slots=True)
class Connected:
    """The ports of one invocation, and the namespaces that it is about."""

    cluster: "Cluster"
    evidence: "Evidence"
    clock: "Clock"
    namespace: str
    operator_namespace: str
    whoami: "Callable[[], Awaitable[tuple[str, tuple[str, ...]]]]"
    """The caller's name and groups, as the API server knows them."""


Connect = Callable[[Wanted], AbstractAsyncContextManager[Connected]]


@asynccontextmanager
async def connected(wanted: Wanted) -> AsyncIterator[Connected]:
    """
    The cluster that the kubeconfig names, until the body ends; without one, the pod's own.

    Raises NotFound and Unavailable with a sentence that says what to do.
    """
    # a third of a second that `--help` does not need
    from remediator.adapters.clock import SystemClock
    from remediator.adapters.cluster import KubeCluster
    from remediator.adapters.evidence import ConfigMapEvidence
    from remediator.adapters.kube import KubeApi, in_cluster
    from remediator.cli.kubeconfig import context_in, locations
    from remediator.ports import Identity

    paths = locations(wanted.kubeconfig)
    in_a_pod = "KUBERNETES_SERVICE_HOST" in os.environ and not any(path.is_file() for path in paths)
    if in_a_pod and not wanted.kubeconfig and not wanted.context:
        credentials, identity, namespace = in_cluster(), Identity(), _own_namespace()
    else:
        context = context_in(paths, wanted.context)
        credentials = _credentials(context, wanted)
        identity, namespace = Identity(dig_text(context.user, "as")), context.namespace
    clock = SystemClock()
    async with KubeApi(credentials, clock) as api:
        cluster = KubeCluster(api, identity)
        yield Connected(
            cluster=cluster,
            evidence=ConfigMapEvidence(cluster),
            clock=clock,
            namespace=wanted.namespace or namespace,
            operator_namespace=wanted.operator_namespace,
            whoami=lambda: caller(cluster),
        )


async def caller(cluster: "Cluster") -> tuple[str, tuple[str, ...]]:
    """
    Who the API server takes the caller for (SelfSubjectReview), with the groups.

    Raises Unavailable where it does not say.
    """
    from remediator.domain.objects import Kind

    kind = Kind("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", namespaced=False)
    answer = await cluster.create(kind, {})
    name = dig_text(answer, "status", "userInfo", "username")
    if not name:
        raise Unavailable("the API server does not say who you are: try `kubectl auth whoami`")
    groups = dig(answer, "status", "userInfo", "groups")
    return name, tuple(str(group) for group in groups) if isinstance(groups, list) else ()


def _own_namespace() -> str:
    try:
        return OWN_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError as wrong:
        raise NotFound("there is no kubeconfig and no service account here: give one by --kubeconfig") from wrong


def _credentials(context: "Context", wanted: Wanted) -> "Credentials":
    refused = [name for name in NOT_HONOURED if context.user.get(name)]
    if refused:
        raise Unavailable(
            f"context {context.name} acts as somebody else with {', '.join(refused)}, which this plugin cannot do:"
            " use another context"
        )
    if not context.server:
        raise NotFound(f"context {context.name} names no cluster with a server: look at `kubectl config view`")
    if set(context.user) <= PLAIN_USER and set(context.cluster) <= PLAIN_CLUSTER:
        return _plain(context)
    from remediator.adapters.kube import from_kubeconfig

    return from_kubeconfig(wanted.kubeconfig or None, context.name)


def _plain(context: "Context") -> "Credentials":
    async def header() -> str:
        token = dig_text(context.user, "token")
        if path := dig_text(context.user, "tokenFile"):
            token = Path(path).read_text(encoding="utf-8").strip()  # noqa: ASYNC240 - a line, read once
        return f"Bearer {token}" if token else ""

    async def load() -> "Access":
        from remediator.adapters.kube import Access

        try:
            tls = _tls(context) if context.server.startswith("https") else False
            await header()
        except (OSError, ValueError, NotBase64) as wrong:
            raise Unavailable(f"the certificates or the token of context {context.name} cannot be used: {wrong}") from (
                wrong
            )
        return Access(context.server, tls, header, dig_text(context.cluster, "tls-server-name") or None)

    return load


def _tls(context: "Context") -> ssl.SSLContext:
    authority = _text(context.cluster, "certificate-authority")
    tls = ssl.create_default_context(cadata=authority or None)
    certificate, key = _text(context.user, "client-certificate"), _text(context.user, "client-key")
    if certificate and key:
        # OpenSSL takes a key from a file alone; this one is the user's only, and gone at once
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as both:
            both.write(f"{certificate}\n{key}\n")
            both.flush()
            tls.load_cert_chain(both.name)
    return tls


def _text(values: Object, name: str) -> str:
    """A field that stands in the kubeconfig itself, or in a file that it names."""
    data = dig_text(values, f"{name}-data")
    if data:
        return b64decode(data, validate=True).decode()
    path = dig_text(values, name)
    return Path(path).read_text(encoding="utf-8") if path else ""
