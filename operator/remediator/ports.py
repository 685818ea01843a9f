"""
What the project needs from outside, as Protocols.

Every call is bounded in time by its adapter, raises only the errors of `domain.errors`, and is
redacted before it is stored or shown. The fakes in `testing` hold the same contract and are
checked by the same tests.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from remediator.domain.actions import Permission
from remediator.domain.alerts import Alert
from remediator.domain.json import JSON, Object
from remediator.domain.locks import Busy, Held, LockState, PastChange
from remediator.domain.objects import Kind, ObjectRef


@dataclass(frozen=True, slots=True)
class Identity:
    """
    Who a call to the API server is made as.

    An empty `account` is the operator itself. `run` (`NAMESPACE/NAME`) goes into an impersonation
    extra, so that the API server's audit log tells which run made a change; `void` marks the one
    write that a kill switch lets through.
    """

    account: str = ""
    """`system:serviceaccount:NAMESPACE:NAME`, or empty."""
    run: str = ""
    void: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects in the order of the API server; `truncated` where the limit cut them."""

    items: tuple[Object, ...]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class LogText:
    """
    The end of a container's log.

    `truncated` is set where the byte limit cut it, and `available` is false where the kubelet
    answered with its own excuse instead of a log ("unable to retrieve container logs …").
    """

    text: str
    truncated: bool = False
    available: bool = True


class Objects(Protocol):
    """What is read of the Kubernetes API as one identity. Raises NotFound, Forbidden, Rejected or Unavailable."""

    async def read(self, ref: ObjectRef) -> Object: ...

    async def list(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 500,
    ) -> Listing:
        """Objects of one kind; `namespace` empty means all. At most `limit`, never more."""
        ...


class Cluster(Objects, Protocol):
    """The same, and what is written to it. Every method raises NotFound, Forbidden, Rejected or Unavailable."""

    def acting_as(self, identity: Identity) -> "Cluster":
        """The same API server, asked as somebody else; connections are shared."""
        ...

    def pages(
        self, kind: Kind, namespace: str = "", *, labels: str = "", size: int = 500
    ) -> AsyncIterator[tuple[Object, ...]]:
        """
        All objects of one kind, at most so many at a time, for those who need not hold them together.

        Raises Unavailable in the middle too, where the API server has forgotten the place: begin anew.
        """
        ...

    async def logs(
        self,
        pod: ObjectRef,
        *,
        container: str,
        previous: bool = False,
        tail_lines: int = 200,
        since: timedelta | None = None,
        limit_bytes: int = 1_048_576,
    ) -> LogText: ...

    async def create(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object:
        """The stored object. Raises AlreadyExists where the name is taken."""
        ...

    async def patch(
        self, ref: ObjectRef, operations: Sequence[Object], *, dry_run: bool = False, sub: str = ""
    ) -> Object:
        """
        Apply one JSON patch as a whole and return the object after it.

        `sub` names a subresource (`status`). Raises Conflict where a `test` failed or another
        writer came first: 409, and the 422 that does not say which test it was.
        """
        ...

    async def replace(self, kind: Kind, obj: Object, *, sub: str = "") -> Object:
        """
        Replace under the resourceVersion that `obj` carries; the answer is the object after it.

        Of a subresource the answer is the object's metadata alone. Raises Conflict where it has moved.
        """
        ...

    async def delete(
        self,
        ref: ObjectRef,
        *,
        uid: str = "",
        resource_version: str = "",
        dry_run: bool = False,
    ) -> None:
        """Delete under the preconditions given. Raises Conflict where they do not hold."""
        ...

    async def evict(
        self,
        pod: ObjectRef,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> bool:
        """
        Have the pod end; False where a PodDisruptionBudget does not let it go now, and nothing was done.

        Raises Conflict where the preconditions do not hold.
        """
        ...

    async def allowed(self, permission: Permission, namespace: str, name: str = "") -> tuple[bool, str]:
        """Whether this identity may use all the verbs, and what is missing (SelfSubjectAccessReview)."""
        ...

    async def kind(self, text: str) -> Kind:
        """
        The kind that a Runbook spells `Deployment` or `certificate.cert-manager.io`.

        Raises NotFound where the API server serves no such kind.
        """
        ...

    async def watch(
        self,
        kind: Kind,
        namespace: str,
        changed: Callable[[str, Object], Awaitable[None]],
        *,
        labels: str = "",
        fields: str = "",
    ) -> None:
        """
        List, then follow, for ever; `changed(type, object)` with ADDED, MODIFIED, DELETED or SYNCED.

        Of what the selectors leave out nothing is told; an object that they no longer select is DELETED.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an instant query; `value` is None for NaN and infinities, which are Unknown."""

    labels: Mapping[str, str]
    value: float | None


class Metrics(Protocol):
    """Prometheus' query API."""

    async def query(self, endpoint: str, promql: str, at: datetime) -> tuple[Sample, ...]:
        """
        The series of an instant query, at most 1,000.

        Raises Rejected where the query is wrong, Unavailable where it was not answered in time,
        NotFound where `endpoint` is not configured.
        """
        ...


@dataclass(frozen=True, slots=True)
class Firing:
    """What the sources that can be asked say: the alerts that fire, or None where none could be asked."""

    alerts: tuple[Alert, ...] | None
    source: str
    asked_at: float | None = None
    """In seconds since boot; None: when it was asked for here."""


class AlertSource(Protocol):
    """Alertmanager's and Prometheus' own list of alerts."""

    @property
    def configured(self) -> bool:
        """Whether there is anything to ask."""
        ...

    async def firing(self, matching: Mapping[str, str]) -> Firing:
        """
        Alerts that fire now and carry these labels.

        Firing on any of several Alertmanagers is firing; all unreachable is None, never empty.
        """
        ...


ALL: Final = "all sources"
"""In the place of a source's name: what is wrong with all that they list together."""


@dataclass(frozen=True, slots=True)
class Polled:
    """
    What the sources list now; `present` are the fingerprints of everything listed, silenced and pending too.

    `failures` says by source why it did not answer, or not wholly: what is missing is then unknown.
    """

    firing: tuple[Alert, ...]
    present: frozenset[str]
    failures: Mapping[str, str]


class AlertList(Protocol):
    """Sources that are asked for all of their alerts, where none of them sends any."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def identity(self) -> str:
        """Another text where these are other servers."""
        ...

    async def poll(self) -> Polled:
        """One answer of each. Firing on any is firing; a source that fails stands in `failures` and raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class WebAnswer:
    """
    What a web server said.

    `body` holds at most as many bytes as were asked for, after decompression; `truncated` where
    there were more.
    """

    status: int
    body: bytes
    content_type: str = ""
    truncated: bool = False
    milliseconds: int = 0


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nobody serves there, which is an answer too: refused, closed, a name that does not exist, TLS that fails."""

    reason: str
    """One word: ConnectionRefused, ConnectionClosed, NameUnknown, TLSFailed or NotHTTP."""
    message: str


@dataclass(frozen=True, slots=True)
class Reached:
    """A connection was made to this address, and closed again."""

    address: str
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """
    What a server presents.

    `verified` is whether its chain, its time and its name hold, and `objection` why they do not.
    """

    not_after: datetime
    names: tuple[str, ...]
    issuer: str
    verified: bool
    objection: str
    milliseconds: int


class Web(Protocol):
    """
    Places outside the Kubernetes API, within a fence.

    Names are compared with the hosts of the fence, and the addresses that they lead to are checked
    where the connection is made. Every method raises Forbidden for what the fence refuses, and
    Unavailable where there was no answer in time.
    """

    def within(self, hosts: Sequence[str]) -> "Web":
        """The same, reaching these hosts (`host`, `*.suffix`, each with a `:port` or without) and no others."""
        ...

    async def get(self, url: str, *, headers: Mapping[str, str], limit_bytes: int) -> WebAnswer | NoAnswer:
        """The answer to one GET. Redirects are followed within the fence, and never from https to http."""
        ...

    async def knock(self, host: str, port: int) -> Reached | NoAnswer:
        """Whether somebody accepts connections."""
        ...

    async def look_up(self, host: str) -> tuple[str, ...] | NoAnswer:
        """The addresses of a name."""
        ...

    async def certificate(self, host: str, port: int, server_name: str) -> Certificate | NoAnswer:
        """What the server presents under this name, valid or not."""
        ...


class Notifier(Protocol):
    """Messages to people, by the name of a receiver."""

    async def send(self, namespace: str, receiver: str, subject: str, body: str, *, key: str) -> None:
        """
        Sent at least once; `key` lets the receiving service recognise a repeat.

        Raises NotFound where there is no such receiver, Unavailable where it did not answer.
        """
        ...

    async def known(self, namespace: str, receiver: str) -> bool:
        """Whether the receiver's URL is configured, in the namespace or in the operator's."""
        ...


class KubernetesEvents(Protocol):
    """The Events that `kubectl describe` shows. Best effort: what cannot be written is counted, not raised."""

    async def record(self, about: ObjectRef, uid: str, *, reason: str, message: str, warning: bool = False) -> None: ...


class Evidence(Protocol):
    """What diagnostics captured, compressed and owned by the run."""

    async def keep(self, run: Object, name: str, content: Mapping[str, JSON]) -> str:
        """The name of the ConfigMap that holds it now; the same content is stored once."""
        ...

    async def load(self, namespace: str, name: str) -> Mapping[str, JSON]:
        """Raises NotFound where it has expired."""
        ...


class Locks(Protocol):
    """
    One lock per target, held by a run and not by a process.

    It never expires by time: it is free when its holder released it, and is taken over only where
    the caller finds that the holder has ended or is gone.
    """

    async def read(self, name: str) -> LockState:
        """The lock and the target's last changes; a lock that nobody ever took is free."""
        ...

    def known(self, name: str) -> LockState | None:
        """What `read` would bring without a call, at this moment; None where it would have to ask."""
        ...

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
        """
        Take the lock, and note the changes that it is taken for, in one write.

        With `seen`, what `read` brought, nothing is read again unless it has moved. `freed` is asked
        while the lock is another's: the state without its holder where that one has ended, None where
        it has not. What it raises is passed on, because unknown is not ended. A run that holds the
        lock already gets it again.

        Raises Conflict where others kept writing first.
        """
        ...

    async def release(
        self, name: str, *, holder_uid: str, notes: Sequence[PastChange] = (), seen: LockState | None = None
    ) -> None:
        """
        Nobody holds the lock, or another run does; nothing is written where it was not this run's.

        `notes` say what became of the changes that it was taken for. With `seen`, what this run's
        own taking brought, nothing is read unless it has moved.
        """
        ...

    async def forget_idle(self, before: datetime, forgotten: Callable[[], Awaitable[None]]) -> None:
        """
        Locks that nobody holds, and that say of nothing after that moment, are no more.

        `forgotten` is awaited after each. One that somebody takes meanwhile stays.
        """
        ...


@dataclass(frozen=True, slots=True)
class User:
    """Somebody whom the API server knows, as it describes them."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)


class Reviews(Protocol):
    """The API server's word on people and programs that call the operator. Both raise Unavailable and Forbidden."""

    async def user_of(self, token: str, audience: str) -> User | None:
        """
        Whose token it is, if it was made for this audience (TokenReview); None where it is nobody's.

        An empty audience is the API server's own.
        """
        ...

    async def may_post(self, user: User, path: str) -> bool:
        """Whether RBAC permits the user the verb `post` on a path that is no resource (SubjectAccessReview)."""
        ...


class Clock(Protocol):
    """The only way to the time, and to chance."""

    def now(self) -> datetime:
        """UTC."""
        ...

    def boot_seconds(self) -> float:
        """Seconds that also count while the process or the machine sleeps."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def jitter(self, seconds: float) -> float:
        """A random share of the seconds, so that many waiters do not come back at once."""
        ...
