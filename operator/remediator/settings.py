"""
Every knob of the operator, read once from the environment.

What belongs to a policy or a Runbook is no setting; what is here changes the process, not what it
may do to a cluster.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from remediator.domain.errors import InvalidManifest, Problem

PREFIX: Final = "REMEDIATOR_"
NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseModel):
    """The operator's settings; each is the environment's `REMEDIATOR_<NAME>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str = Field(default="remediator-system", description="The operator's own namespace.")
    account: str = Field(default="remediator", description="Name of the operator's ServiceAccount in it.")
    kubeconfig: str = Field(default="", description="A kubeconfig's path; empty: the pod's own credentials.")
    context: str = Field(default="", description="A context of the kubeconfig; empty: the current one.")
    intake_host: str = Field(default="0.0.0.0", description="Address that alerts are taken on.")  # noqa: S104 - a Service leads here
    intake_port: Port = Field(default=8080, description="Port that alerts are taken on; 0 chooses a free one.")
    intake_token_path: str = Field(
        default="/etc/remediator/intake",
        description="A file, or a folder of files, each holding one bearer token; empty: there are none.",
    )
    intake_kubernetes_tokens: bool = Field(
        default=True, description="Take alerts also from users of the API server whom RBAC permits to post /v1/alerts."
    )
    intake_audience: str = Field(
        default="remediator",
        description="For whom their tokens must have been made; empty: for the API server itself.",
    )
    intake_tls_path: str = Field(
        default="",
        description="A folder with tls.crt and tls.key, read again when they change; empty: plain HTTP is served.",
    )
    intake_client_ca_path: str = Field(
        default="",
        description="A file of the authorities whose client certificates are accepted; empty: none are. Needs TLS.",
    )
    intake_client_names: str = Field(
        default="",
        description="Names, with commas between, of which a client certificate must carry one as common or alternative name.",
    )
    poll: str = Field(
        default="",
        description="Endpoints that are asked for alerts, with commas between; empty: alerts are only taken when sent.",
    )
    poll_seconds: float = Field(default=30.0, ge=1, le=3600, description="Seconds between two rounds of asking.")
    poll_missing_seconds: float = Field(
        default=300.0,
        ge=0,
        le=86400,
        description="How long an alert is missing from every answer before it counts as resolved, in seconds.",
    )
    health_host: str = Field(default="0.0.0.0", description="Address of /healthz and /metrics.")  # noqa: S104 - the kubelet asks from outside
    health_port: Port = Field(default=8081, description="Port of /healthz and /metrics; 0 chooses a free one.")
    workers: int = Field(default=16, ge=1, le=256, description="How many runs are worked on at the same time.")
    replica: str = Field(default="", description="This process's name on the Lease, its pod's; empty: the host's.")
    lease_seconds: int = Field(
        default=15,
        ge=3,
        le=300,
        description=(
            "For how long the replica that leads does so without renewing its Lease, and how long the others wait "
            "after one that has died. It renews three times in it."
        ),
    )
    max_runs: int = Field(
        default=20_000,
        ge=0,
        description="Ended runs that are stored in the whole cluster; of more the oldest are deleted whatever their "
        "policies say of history, but never the newest of a target. 0: any number.",
    )
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="What is logged.")
    log_human: bool = Field(default=False, description="Lines for people instead of JSON.")

    @property
    def polled(self) -> tuple[str, ...]:
        """The names of the endpoints that are polled."""
        return tuple(name.strip() for name in self.poll.split(",") if name.strip())

    @property
    def client_names(self) -> frozenset[str]:
        """The names of those who may send with a client certificate."""
        return frozenset(name.strip() for name in self.intake_client_names.split(",") if name.strip())

    @model_validator(mode="after")
    def _client_certificates_are_whole(self) -> Self:
        if self.intake_client_ca_path and not self.intake_tls_path:
            raise ValueError("INTAKE_CLIENT_CA_PATH: client certificates need TLS; set INTAKE_TLS_PATH too")
        if self.intake_client_ca_path and not self.client_names:
            raise ValueError("INTAKE_CLIENT_CA_PATH: name in INTAKE_CLIENT_NAMES who may send: not all that it signed")
        if self.client_names and not self.intake_client_ca_path:
            raise ValueError("INTAKE_CLIENT_NAMES: needs INTAKE_CLIENT_CA_PATH: nobody's certificate would be verified")
        return self

    @property
    def user(self) -> str:
        """The user that the API server sees."""
        return f"system:serviceaccount:{self.namespace}:{self.account}"


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """
    The settings as the environment gives them; the namespace is the pod's own where it says nothing.

    Raises:
        InvalidManifest: with every variable that is wrong or unknown.
    """
    given = {
        key.removeprefix(PREFIX).lower(): value
        for key, value in environment.items()
        if key.startswith(PREFIX) and not key.startswith(RESERVED)
    }
    if "namespace" not in given and NAMESPACE_FILE.is_file():
        given["namespace"] = NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise InvalidManifest(
            Problem(PREFIX + str(one["loc"][0]).upper() if one["loc"] else PREFIX, one["msg"]) for one in error.errors()
        ) from None


RESERVED: Final = ("REMEDIATOR_TEST_", "REMEDIATOR_LOCAL", "REMEDIATOR_CACHE", "REMEDIATOR_SERVICE_", "REMEDIATOR_PORT")
"""Names of the tests and of Kubernetes' own Service variables, which are not the operator's."""
