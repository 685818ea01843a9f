"""Where Prometheus and Alertmanager are, and how they are asked."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field


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
