"""An audit log written by hand: the story of a run, and whatever crime a test plants in it."""

import copy
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from chaos.evidence import (
    CREDENTIAL,
    RUN,
    STEP,
    VOID,
    Delivery,
    Epoch,
    Evidence,
    Number,
    Object,
    Saying,
    digest_of,
    logged,
    packed,
)

BEGAN = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
STARTS_AT = 1_780_315_200
OPERATOR = "system:serviceaccount:remediator-system:remediator"
ACCOUNT = "system:serviceaccount:shop:remediator-runs"
TARGET = "Deployment/shop/checkout"
POLICY = "shop/queue"


@dataclass
class Log:
    """
    What the API server would have written, line by line; each line is one second after the one before.

    `story` tells an ordinary run from its creation to its end.
    """

    lines: list[str] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    sayings: list[Saying] = field(default_factory=list)
    numbers: list[Number] = field(default_factory=list)
    measured: frozenset[str] = frozenset()
    epochs: list[Epoch] = field(default_factory=list)
    revision: int = 100
    _runs: dict[str, Object] = field(default_factory=dict)
    _deployment: Object = field(default_factory=lambda: {"metadata": {"uid": "checkout-1"}, "spec": {"env": ""}})

    @property
    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.revision - 100)

    def evidence(self, at_most: int = 2) -> Evidence:
        """All of it, as the checker takes it."""
        return Evidence(
            self.deliveries,
            self.sayings,
            logged(self.lines),
            {POLICY: at_most},
            self.epochs,
            self.numbers,
            self.measured,
        )

    def story(self, name: str = "queue-1", alert: str = "aa", token: str = "t1") -> None:
        """An alert comes and is acted on; its run ends well."""
        self.deliver(alert)
        self.create(name, alert)
        self.go_on(name, resolved={"targetUid": "checkout-1"})
        self.say(alert)
        self.intend(name, token)
        self.change(name, token)
        self.settle(name, token, "Done")
        self.end(name)

    # what is sent, and said

    def deliver(
        self,
        alert: str = "aa",
        status: int = 200,
        starts_at: int = STARTS_AT,
        *,
        firing: bool = True,
        seconds: float = 0.0,
    ) -> None:
        """It was sent now, and answered so many seconds later."""
        answered = self.now + timedelta(seconds=seconds)
        self.deliveries.append(Delivery(alert, starts_at, firing, status, self.now, answered, (POLICY,), TARGET))

    def say(self, *firing: str) -> None:
        self.sayings.append(Saying(self.now, frozenset(firing)))

    def measure(self, *values: str) -> None:
        """A query is answered so."""
        self.numbers.append(Number(self.now, values))

    def raise_epoch(self, value: int) -> None:
        """Another leader begins; the API server enforces it a little later."""
        self.epochs.append(Epoch(self.revision, value, self.now))

    # what is written to a run

    def create(self, name: str, *alerts: str, starts_at: int = STARTS_AT, policy: str = "queue") -> None:
        identities = packed({digest_of(alert): starts_at for alert in alerts})
        self._runs[name] = {
            "metadata": {"namespace": "shop", "name": name, "uid": f"uid-of-{name}"},
            "spec": {
                "policyRef": {"namespace": "shop", "name": policy},
                "target": {"kind": "Deployment", "namespace": "shop", "name": "checkout"},
                "episode": {"alerts": {"identities": identities}},
            },
        }
        self._write("create", "runbookruns", name, self._runs[name])

    def go_on(self, name: str, *, by: str = "first", **status: Any) -> None:
        """The status says this, too."""
        run = self._runs[name]
        run["status"] = {**run.get("status", {}), **status}
        self._write("update", "runbookruns/status", name, run, by=by)

    def intend(self, name: str, token: str, *, by: str = "first", where: str = "steps", **status: Any) -> None:
        """One more step is recorded as intended."""
        (attempt,) = self._runs[name].get("status", {}).get("attempts") or [{"steps": [], "undo": []}]
        attempt = copy.deepcopy(attempt)
        attempt[where].append({"name": "raise", "token": token, "state": "Intended"})
        self.go_on(name, by=by, attempts=[attempt], **status)

    def settle(self, name: str, token: str, state: str, *, by: str = "first") -> None:
        """The step has come to this."""
        attempts = copy.deepcopy(self._runs[name]["status"]["attempts"])
        for step in [*attempts[0]["steps"], *attempts[0]["undo"]]:
            if step["token"] == token:
                step["state"] = state
        self.go_on(name, by=by, attempts=attempts)

    def end(self, name: str, outcome: str = "Remediated", *, by: str = "first") -> None:
        self.go_on(name, by=by, outcome=outcome)

    def identities(self, name: str) -> str:
        """The alerts that opened it, packed."""
        return str(self._runs[name]["spec"]["episode"]["alerts"]["identities"])

    # what is written to the target

    def change(self, name: str, token: str, *, by: str = "first", code: int = 200, dry_run: bool = False) -> None:
        if code == 200 and not dry_run:
            self._deployment["spec"] = {"env": f"{token} at {self.revision}"}
            self._stamp(STEP, token, RUN, f"shop/{name}")
        self._acting(name, RUN, by, code, dry_run)

    def void(self, name: str, token: str, *, by: str = "first") -> None:
        self._stamp(VOID, token)
        self._acting(name, VOID, by, 200)

    def recreate(self) -> None:
        """Somebody makes another object of the same name."""
        self._deployment = {"metadata": {"uid": "checkout-2"}, "spec": {"env": ""}}

    def _stamp(self, *pairs: str) -> None:
        annotations = self._deployment["metadata"].setdefault("annotations", {})
        annotations.update(zip(pairs[::2], pairs[1::2], strict=True))

    def _acting(self, name: str, extra: str, by: str, code: int, dry_run: bool = False) -> None:
        acting = {"username": ACCOUNT, "extra": {extra: [f"shop/{name}"]}}
        self._write(
            "patch", "deployments", "checkout", self._deployment, by=by, acting=acting, code=code, dry_run=dry_run
        )

    def _write(
        self,
        verb: str,
        resource: str,
        name: str,
        after: Object,
        *,
        by: str = "first",
        acting: Object | None = None,
        code: int = 200,
        dry_run: bool = False,
    ) -> None:
        self.revision += 1
        plural, _, sub = resource.partition("/")
        stored = copy.deepcopy(after)
        stored["metadata"]["resourceVersion"] = str(self.revision)
        event = {
            "stage": "ResponseComplete",
            "verb": verb,
            "requestURI": f"/apis/x/{resource}/{name}" + ("?dryRun=All" if dry_run else ""),
            "user": {"username": OPERATOR, "extra": {CREDENTIAL: [by]}},
            "objectRef": {"resource": plural, "subresource": sub, "namespace": "shop", "name": name},
            "responseStatus": {"code": code},
            "responseObject": stored if code == 200 else {"kind": "Status"},
            "requestReceivedTimestamp": self.now.isoformat(),
            "stageTimestamp": (self.now + timedelta(milliseconds=5)).isoformat(),
        }
        if acting is not None:
            event["impersonatedUser"] = acting
        self.lines.append(json.dumps(event))
