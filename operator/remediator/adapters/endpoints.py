"""Where Prometheus and Alertmanager are, and how they are asked."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from remediator.domain.errors import InvalidManifest, NotFound, Problem
from remediator.domain.json import dig_object
from remediator.domain.objects import ObjectRef
from remediator.ports import Cluster

CONFIG_MAP: Final = "remediator-endpoints"
ALERTMANAGER: Final = "alertmanager"
PROMETHEUS: Final = "prometheus"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    One HTTP API.

    `headers` carry credentials and tenants; neither they nor a password in the URL are ever shown.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: str = ""

    @property
    def base(self) -> str:
        return self.url.rstrip("/")

    def tls(self) -> ssl.SSLContext | bool:
        """What aiohttp takes as `ssl`: the system's authorities unless a file names others."""
        return ssl.create_default_context(cafile=self.ca_file) if self.ca_file else True


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints that the operator was given: queries name one, alerts are asked of the Alertmanagers."""

    prometheus: Mapping[str, Endpoint] = field(default_factory=dict)
    alertmanagers: tuple[Endpoint, ...] = ()

    @property
    def default_prometheus(self) -> Endpoint | None:
        """The one that is asked whether an alert fires where no Alertmanager answers."""
        return self.prometheus.get(PROMETHEUS)


async def load_endpoints(cluster: Cluster, namespace: str) -> Endpoints:
    """
    The endpoints of ConfigMap `remediator-endpoints`; none where there is no such ConfigMap.

    A key is an endpoint's name and its value a URL; `alertmanager` may hold several, one a line.
    Every other key is a Prometheus that queries may name.

    Raises:
        InvalidManifest: with each value that is no http or https URL.
        Unavailable: if the API server did not answer.
    """
    try:
        stored = await cluster.read(ObjectRef("", "ConfigMap", namespace, CONFIG_MAP))
    except NotFound:
        return Endpoints()
    problems: list[Problem] = []
    named: dict[str, list[Endpoint]] = {}
    for name, text in dig_object(stored, "data").items():
        for url in str(text).split():
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                problems.append(Problem(f"data.{name}", "must be an http or https URL"))
                continue
            named.setdefault(name, []).append(Endpoint(url))
    if problems:
        raise InvalidManifest(problems)
    alertmanagers = tuple(named.pop(ALERTMANAGER, ()))
    return Endpoints({name: urls[0] for name, urls in named.items()}, alertmanagers)
