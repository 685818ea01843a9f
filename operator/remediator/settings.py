"""
Every knob of the operator, read once from the environment.

What belongs to a policy or a Runbook is no setting; what is here changes the process, not what it
may do to a cluster.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
        default="/etc/remediator/intake", description="A file, or a folder of files, each holding one bearer token."
    )
    health_host: str = Field(default="0.0.0.0", description="Address of /healthz and /metrics.")  # noqa: S104 - the kubelet asks from outside
    health_port: Port = Field(default=8081, description="Port of /healthz and /metrics; 0 chooses a free one.")
    workers: int = Field(default=16, ge=1, le=256, description="How many runs are worked on at the same time.")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="What is logged.")
    log_human: bool = Field(default=False, description="Lines for people instead of JSON.")

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
