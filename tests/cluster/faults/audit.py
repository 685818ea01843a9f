"""What the API server's audit log says about the runs and their targets."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from localcluster import Cluster

RUN = "remediator.dev/run"
VOID = "remediator.dev/void"
CREDENTIAL = "authentication.kubernetes.io/credential-id"


@dataclass(frozen=True)
class Write:
    """One write that the API server has answered."""

    verb: str
    resource: str
    """`runbookruns/status`, `deployments`, …"""
    namespace: str
    name: str
    account: str
    """The impersonated user; empty where nobody was."""
    run: str
    """The run in the impersonation's extra, be it that of a change or that of a void."""
    void: bool
    dry_run: bool
    code: int
    credential: str
    """Which token the caller has shown, and so which process it was."""
    received: datetime
    answered: datetime

    @classmethod
    def parse(cls, event: dict[str, Any]) -> Self:
        about, acting = event.get("objectRef", {}), event.get("impersonatedUser", {})
        extra = acting.get("extra", {})
        return cls(
            verb=event["verb"],
            resource="/".join(part for part in (about.get("resource", ""), about.get("subresource", "")) if part),
            namespace=about.get("namespace", ""),
            name=about.get("name", ""),
            account=acting.get("username", ""),
            run=next(iter(extra.get(RUN) or extra.get(VOID) or []), ""),
            void=VOID in extra,
            dry_run="dryRun" in event.get("requestURI", ""),
            code=event.get("responseStatus", {}).get("code", 0),
            credential=next(iter(event["user"].get("extra", {}).get(CREDENTIAL) or []), ""),
            received=datetime.fromisoformat(event["requestReceivedTimestamp"]),
            answered=datetime.fromisoformat(event["stageTimestamp"]),
        )

    @property
    def happened(self) -> bool:
        return 200 <= self.code < 300 and not self.dry_run and self.verb not in ("get", "list", "watch")


class Audit:
    """The log from the moment on in which this was made."""

    def __init__(self, cluster: Cluster) -> None:
        self._log = cluster.audit_log
        self._begin = self._log.stat().st_size if self._log.exists() else 0

    def writes(self, namespace: str) -> list[Write]:
        """All that happened in a namespace, in the order in which it was answered."""
        with self._log.open("rb") as log:
            log.seek(self._begin)
            lines = log.read().splitlines()
        about = f'"namespace":"{namespace}"'.encode()
        found = [Write.parse(json.loads(line)) for line in lines if about in line]
        return [write for write in found if write.happened]
