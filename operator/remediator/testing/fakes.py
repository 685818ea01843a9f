"""Fakes of everything that is not the Kubernetes API."""

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from remediator.domain.alerts import Alert
from remediator.domain.errors import Forbidden, NotFound, RemediatorError, Unavailable
from remediator.domain.hosts import Place, is_permitted, place_at, place_of
from remediator.domain.json import JSON, Object, dig_text
from remediator.domain.locks import Busy, Held, LockState, PastChange
from remediator.domain.objects import ObjectRef
from remediator.domain.storms import Storm
from remediator.ports import Certificate, Firing, NoAnswer, Reached, Sample, WebAnswer

Answer = float | None | tuple[Sample, ...] | RemediatorError


class FakeMetrics:
    """
    `ports.Metrics`: an answer for each query.

    A number is one series without labels. A query that no answer was given for is a mistake of the
    test and fails it.
    """

    def __init__(self, *, endpoints: tuple[str, ...] = ("prometheus",)) -> None:
        self.endpoints = endpoints
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str, datetime]] = []
        self.unreachable = False

    def answer(self, promql: str, answer: Answer) -> None:
        """What the query brings from here on; an error is raised."""
        self.answers[promql] = answer

    def series(self, promql: str, *values: tuple[Mapping[str, str], float | None]) -> None:
        self.answers[promql] = tuple(Sample(labels, value) for labels, value in values)

    async def query(self, endpoint: str, promql: str, at: datetime) -> tuple[Sample, ...]:
        self.asked.append((endpoint, promql, at))
        if endpoint not in self.endpoints:
            raise NotFound(f"no endpoint {endpoint} is configured")
        if self.unreachable:
            raise Unavailable(f"{endpoint} cannot be reached")
        if promql not in self.answers:
            raise AssertionError(f"the test gave no answer for the query {promql}")
        answer = self.answers[promql]
        if isinstance(answer, RemediatorError):
            raise answer
        return answer if isinstance(answer, tuple) else (Sample({}, answer),)


Served = WebAnswer | Reached | Certificate | tuple[str, ...] | NoAnswer | RemediatorError


class FakeWeb:
    """
    `ports.Web`: what is served at `host:port`, or nothing.

    The fence holds as it does for the real one. Where nothing is served, nobody is.
    """

    def __init__(self, *hosts: str, served: dict[str, Served] | None = None) -> None:
        self.hosts = hosts
        self.served: dict[str, Served] = {} if served is None else served
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    def serves(self, where: str, what: Served) -> None:
        """What `host:port` answers from here on; an error is raised."""
        self.served[where] = what

    def within(self, hosts: Sequence[str]) -> "FakeWeb":
        fenced = FakeWeb(*hosts, served=self.served)
        fenced.asked = self.asked
        return fenced

    async def get(self, url: str, *, headers: Mapping[str, str], limit_bytes: int) -> WebAnswer | NoAnswer:
        self.asked.append((url, headers))
        answer = self._at(place_of(url))
        if not isinstance(answer, WebAnswer):
            assert isinstance(answer, NoAnswer), f"{url} is served something else than HTTP"
            return answer
        return replace(answer, body=answer.body[:limit_bytes], truncated=len(answer.body) > limit_bytes)

    async def knock(self, host: str, port: int) -> Reached | NoAnswer:
        answer = self._at(place_at(host, port))
        return answer if isinstance(answer, NoAnswer) else Reached("10.0.0.7", 2)

    async def look_up(self, host: str) -> tuple[str, ...] | NoAnswer:
        answer = self._at(place_at(host, 443))
        return answer if isinstance(answer, tuple | NoAnswer) else ("10.0.0.7",)

    async def certificate(self, host: str, port: int, server_name: str) -> Certificate | NoAnswer:  # noqa: ARG002 - the port's signature
        answer = self._at(place_at(host, port))
        assert isinstance(answer, Certificate | NoAnswer), f"{host} is served something else than a certificate"
        return answer

    def _at(self, where: Place) -> Served:
        if not is_permitted(where, self.hosts):
            raise Forbidden(f"{where} is not among the hosts that a Guardrail allows here")
        answer = self.served.get(where.netloc, NoAnswer("ConnectionRefused", f"{where} refuses connections"))
        if isinstance(answer, RemediatorError):
            raise answer
        return answer


class FakeAlertSource:
    """`ports.AlertSource`: the alerts that a test lets fire."""

    def __init__(self, *alerts: Alert, configured: bool = True) -> None:
        self.alerts = list(alerts)
        self.unreachable = False
        self.asked: list[dict[str, str]] = []
        self._configured = configured

    @property
    def configured(self) -> bool:
        return self._configured

    async def firing(self, matching: Mapping[str, str]) -> Firing:
        self.asked.append(dict(matching))
        if self.unreachable or not self._configured:
            return Firing(None, "nothing could be asked")
        found = (a for a in self.alerts if all(a.labels.get(k) == v for k, v in matching.items()))
        return Firing(tuple(found), "fake Alertmanager")

    def fire(self, alert: Alert) -> None:
        self.alerts.append(alert)

    def resolve(self, fingerprint: str = "") -> None:
        """That alert fires no longer, or none does."""
        self.alerts = [a for a in self.alerts if fingerprint and a.fingerprint != fingerprint]


@dataclass(frozen=True, slots=True)
class Sent:
    """One message as it was handed over."""

    namespace: str
    receiver: str
    subject: str
    body: str
    key: str


class FakeNotifier:
    """`ports.Notifier`: keeps what was sent."""

    def __init__(self, *receivers: str) -> None:
        self.receivers = set(receivers or ("default",))
        self.sent: list[Sent] = []
        self.failures: list[RemediatorError] = []

    def fail_next(self, count: int, error: RemediatorError | None = None) -> None:
        self.failures.extend([error or Unavailable("the receiver did not answer")] * count)

    async def send(self, namespace: str, receiver: str, subject: str, body: str, *, key: str) -> None:
        if receiver not in self.receivers:
            raise NotFound(f"no receiver {receiver} in namespace {namespace} or in the operator's")
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append(Sent(namespace, receiver, subject, body, key))

    async def known(self, namespace: str, receiver: str) -> bool:  # noqa: ARG002 - the port's signature
        return receiver in self.receivers


@dataclass(frozen=True, slots=True)
class Recorded:
    """One Kubernetes Event."""

    about: ObjectRef
    uid: str
    reason: str
    message: str
    warning: bool

    def __str__(self) -> str:
        return f"{'Warning' if self.warning else 'Normal'} {self.reason} {self.about}: {self.message}"


class FakeStorms:
    """The storms that a test gives."""

    def __init__(self) -> None:
        self.active: tuple[Storm, ...] = ()
        self.is_known = True

    def over(self, namespace: str) -> tuple[Storm, ...] | None:  # noqa: ARG002 - the protocol's signature
        return self.active


class FakeEvents:
    """`ports.KubernetesEvents`: keeps them all, repeated ones too."""

    def __init__(self) -> None:
        self.recorded: list[Recorded] = []

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.recorded]

    async def record(self, about: ObjectRef, uid: str, *, reason: str, message: str, warning: bool = False) -> None:
        self.recorded.append(Recorded(about, uid, reason, message, warning))


class FakeEvidence:
    """`ports.Evidence`: contents by namespace and name."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Mapping[str, JSON]] = {}

    async def keep(self, run: Object, name: str, content: Mapping[str, JSON]) -> str:
        namespace, owner = dig_text(run, "metadata", "namespace"), dig_text(run, "metadata", "name")
        for (place, known), stored in self.kept.items():
            if place == namespace and known.startswith(f"{owner}-{name}-") and stored == content:
                return known
        made = f"{owner}-{name}-{len(self.kept) + 1}"
        self.kept[namespace, made] = copy.deepcopy(dict(content))
        return made

    async def load(self, namespace: str, name: str) -> Mapping[str, JSON]:
        if (namespace, name) not in self.kept:
            raise NotFound(f"evidence {namespace}/{name} has expired")
        return self.kept[namespace, name]


class FakeLocks:
    """`ports.Locks` in a dict; `states` is what stands on the Leases."""

    def __init__(self) -> None:
        self.states: dict[str, LockState] = {}
        self.unreachable = False
        self._version = 0

    async def read(self, name: str) -> LockState:
        self._reached()
        return self.states.get(name, LockState(name))

    def known(self, name: str) -> LockState | None:
        return None if self.unreachable else self.states.get(name, LockState(name))

    async def acquire(
        self,
        name: str,
        *,
        holder: str,
        holder_uid: str,
        target: ObjectRef,
        now: datetime,
        seen: LockState | None = None,
        note: PastChange | None = None,
        freed: Callable[[LockState], Awaitable[LockState | None]] | None = None,
    ) -> Held | Busy:
        state = await self.read(name)
        if seen is not None and seen.resource_version == state.resource_version:
            state = seen
        was = state
        if state.holder_uid not in ("", holder_uid):
            without = await freed(state) if freed is not None else None
            if without is None:
                return Busy(state.holder, state.holder_uid, state.since)
            state = without
        since = state.since if state.holder_uid == holder_uid else now
        taken = replace(state, target=target, holder=holder, holder_uid=holder_uid, since=since)
        return Held(self._written(taken.noted(note) if note else taken), was)

    async def release(
        self, name: str, *, holder_uid: str, notes: Sequence[PastChange] = (), seen: LockState | None = None
    ) -> None:
        state = await self.read(name)
        if seen is not None and seen.resource_version == state.resource_version:
            state = seen
        if state.holder_uid == holder_uid:
            self._written(state.noted(*notes).freed)

    async def forget_idle(self, before: datetime, forgotten: Callable[[], Awaitable[None]]) -> None:
        self._reached()
        for name in [name for name, state in self.states.items() if state.is_idle(before)]:
            del self.states[name]
            await forgotten()

    def _written(self, state: LockState) -> LockState:
        self._version += 1
        self.states[state.name] = replace(state, resource_version=str(self._version))
        return self.states[state.name]

    def _reached(self) -> None:
        if self.unreachable:
            raise Unavailable("the API server cannot be reached")
