"""
Alerts as Alertmanager sends them, and the compact memory of which ones were taken in.

An alert's identity is its fingerprint and its `startsAt`. A run remembers identities, not alerts:
ten bytes each, six of a digest of the fingerprint and four of `startsAt` in whole seconds.

Seconds are enough, and both sides are cut the same way, so an alert always covers itself and a later
start never becomes an earlier one. Two starts of one fingerprint inside one second count as one:
to resolve and fire again Prometheus needs two evaluations of the rule, which would have to be less
than half a second apart. `startsAt` is compared with `startsAt` of the same fingerprint alone.
"""

import base64
import binascii
import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError
from pydantic.alias_generators import to_camel

from remediator.domain.bounded import shorten
from remediator.domain.errors import InvalidPayload, Problem
from remediator.domain.json import JSON, Object, parsed_in_turns

VERSION: Final = "4"
MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024
MAX_ALERTS: Final = 10_000
MAX_LABELS: Final = 256
MAX_NAME_LENGTH: Final = 512
MAX_VALUE_LENGTH: Final = 4_096
ANNOTATION_LIMIT_BYTES: Final = 16_384
"""A longer annotation is cut visibly; an alert is not refused for its prose."""
MAX_IDENTITIES: Final = 1_000
"""What a run holds itself, in 14 KB of base64; more go into a ConfigMap of its own."""

_PROBLEMS_OF_ONE_ALERT: Final = 10
_DIGEST_BYTES: Final = 6
_RECORD_BYTES: Final = 10
_FNV_OFFSET: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 0x100000001B3
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,18})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_FINGERPRINT: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_FIRST_SECOND: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND: Final = datetime.fromtimestamp(2**32 - 1, tz=UTC)


class TooLarge(InvalidPayload):
    """The call is larger than any that is read: the sender must send less at once."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One signal, firing or resolved. `ends_at` is None where the sender does not know the end."""

    fingerprint: str
    status: Literal["firing", "resolved"]
    labels: Mapping[str, str] = field(hash=False)
    annotations: Mapping[str, str] = field(hash=False)
    starts_at: datetime
    ends_at: datetime | None = None
    generator_url: str = ""
    identity: "Identity" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(self.fingerprint.encode()).digest()[:_DIGEST_BYTES]
        object.__setattr__(self, "identity", Identity(digest, int(self.starts_at.timestamp())))

    @property
    def name(self) -> str:
        """The `alertname`; empty where the sender gave none."""
        return self.labels.get("alertname", "")

    @property
    def is_firing(self) -> bool:
        return self.status == "firing"

    def to_json(self) -> Object:
        """The alert under Alertmanager's field names; `read_alert` reads it back."""
        return {
            "fingerprint": self.fingerprint,
            "status": self.status,
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "startsAt": _rfc3339(self.starts_at),
            "endsAt": None if self.ends_at is None else _rfc3339(self.ends_at),
            "generatorURL": self.generator_url,
        }


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """
    Which alert it is, in ten bytes.

    48 bits of digest: that an unknown alert is taken for one of a run's thousand has a probability
    of 4 in a million million.
    """

    digest: bytes
    starts_at: int
    """Unix seconds, 1970 to 2106."""

    def __bytes__(self) -> bytes:
        return self.digest + self.starts_at.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class Identities:
    """
    The alerts that were taken in: of each fingerprint the latest start, which covers the earlier ones.

    Held packed and sorted, so that thousands of runs fit in memory and equal sets are equal text.
    """

    packed: bytes = b""

    @classmethod
    def of(cls, alerts: Iterable[Alert]) -> "Identities":
        return cls._latest(alert.identity for alert in alerts)

    @classmethod
    def decode(cls, text: str) -> "Identities":
        """
        Read what `encode` wrote.

        Raises:
            ValueError: if the text is damaged; who reads it must not conclude that nothing was covered.
        """
        try:
            packed = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"the identities are not base64: {error}") from None
        if len(packed) % _RECORD_BYTES:
            raise ValueError(f"the identities are cut off: {len(packed)} bytes is not a multiple of {_RECORD_BYTES}")
        found = cls(packed)
        return found if found._is_in_order() else cls._latest(found)

    def encode(self) -> str:
        return base64.b64encode(self.packed).decode()

    def covers(self, alert: Alert) -> bool:
        """Whether the same fingerprint was taken in with the same or a later start."""
        sought = alert.identity
        at = bisect_left(range(len(self)), sought.digest, key=lambda i: self._record(i).digest)
        if at == len(self):
            return False
        found = self._record(at)
        return found.digest == sought.digest and found.starts_at >= sought.starts_at

    def merge(self, *others: "Identities") -> "Identities":
        return self._latest(identity for each in (self, *others) for identity in each)

    def without(self, other: "Identities") -> "Identities":
        """These, less the ones that the other holds with exactly the same start."""
        removed = set(other)
        return self._latest(identity for identity in self if identity not in removed)

    def split(self, limit: int = MAX_IDENTITIES) -> tuple["Identities", "Identities"]:
        """Those that the run holds itself and those that go elsewhere; which is which says nothing."""
        at = limit * _RECORD_BYTES
        return Identities(self.packed[:at]), Identities(self.packed[at:])

    def __len__(self) -> int:
        return len(self.packed) // _RECORD_BYTES

    def __iter__(self) -> Iterator[Identity]:
        return (self._record(i) for i in range(len(self)))

    def _record(self, i: int) -> Identity:
        at = i * _RECORD_BYTES
        digest_ends = at + _DIGEST_BYTES
        starts_at = int.from_bytes(self.packed[digest_ends : at + _RECORD_BYTES], "big")
        return Identity(self.packed[at:digest_ends], starts_at)

    def _is_in_order(self) -> bool:
        digests = [self.packed[at : at + _DIGEST_BYTES] for at in range(0, len(self.packed), _RECORD_BYTES)]
        return all(one < other for one, other in pairwise(digests))

    @classmethod
    def _latest(cls, identities: Iterable[Identity]) -> "Identities":
        latest: dict[bytes, int] = {}
        for identity in identities:
            latest[identity.digest] = max(identity.starts_at, latest.get(identity.digest, 0))
        return cls(b"".join(bytes(Identity(digest, latest[digest])) for digest in sorted(latest)))


@dataclass(frozen=True, slots=True)
class Notification:
    """
    What one call of Alertmanager said.

    `malformed` says what was wrong with the alerts that are left out, `malformed_alerts` how many
    they are. `truncated_alerts` is how many Alertmanager itself left out.
    """

    receiver: str
    group_key: str
    external_url: str
    truncated_alerts: int
    alerts: tuple[Alert, ...]
    malformed: tuple[Problem, ...] = ()
    malformed_alerts: int = 0


def from_alertmanager(payload: bytes) -> Notification:
    """
    Read the alerts out of one call of Alertmanager's webhook.

    Resolved alerts are kept: they end an episode. What is wrong with one alert is reported and the
    others are kept, as the sender would lose them all with a refusal. A missing fingerprint, which
    Alertmanager always sends and people forget, is computed as Prometheus computes it. Fields that
    are not known are ignored.

    Raises:
        TooLarge: above 8 MiB or 10,000 alerts.
        InvalidPayload: with every problem found, if no alert can be used.

    Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise TooLarge([Problem("", f"the call has {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are read")])
    envelope = _envelope(payload)
    raw_alerts = envelope.alerts
    if len(raw_alerts) > MAX_ALERTS:
        raise TooLarge([Problem("alerts", f"the call has {len(raw_alerts)} alerts; at most {MAX_ALERTS} are read")])
    alerts: list[Alert] = []
    problems: list[Problem] = []
    for i, raw in enumerate(raw_alerts):
        try:
            alerts.append(read_alert(raw, f"alerts[{i}]"))
        except InvalidPayload as error:
            problems += error.problems
    if problems and not alerts:
        raise InvalidPayload(problems)
    return Notification(
        receiver=envelope.receiver,
        group_key=envelope.group_key,
        external_url=envelope.external_url,
        truncated_alerts=envelope.truncated_alerts,
        alerts=tuple(alerts),
        malformed=tuple(problems),
        malformed_alerts=len(raw_alerts) - len(alerts),
    )


def read_alert(raw: JSON, path: str = "") -> Alert:
    """
    Read one alert under Alertmanager's field names.

    Raises:
        InvalidPayload: with the first ten problems found, each below `path`.
    """
    try:
        wire = _WireAlert.model_validate(raw)
    except ValidationError as error:
        raise InvalidPayload(_problems(error, path)) from None
    return Alert(
        fingerprint=wire.fingerprint or fingerprint_of(wire.labels),
        status=wire.status,
        labels=wire.labels,
        annotations={name: shorten(value, ANNOTATION_LIMIT_BYTES) for name, value in (wire.annotations or {}).items()},
        starts_at=wire.starts_at,
        ends_at=wire.ends_at,
        generator_url=wire.generator_url if len(wire.generator_url) <= MAX_VALUE_LENGTH else "",
    )


def fingerprint_of(labels: Mapping[str, str]) -> str:
    """
    The fingerprint that Prometheus and Alertmanager give a set of labels: FNV-1a in 64 bits.

    Source: `LabelSet.Fingerprint` of https://github.com/prometheus/common/blob/main/model/signature.go
    """
    separator = b"\xff"  # occurs in no UTF-8 text
    fields = (part.encode() + separator for name in sorted(labels) for part in (name, labels[name]))
    digest = _FNV_OFFSET
    for byte in b"".join(fields):
        digest = ((digest ^ byte) * _FNV_PRIME) & 0xFFFFFFFFFFFFFFFF
    return f"{digest:016x}"


def _well_formed(text: str) -> str:
    """Refuse half a surrogate pair, which JSON can express and nothing else can store."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("is not valid Unicode") from None
    return text


def _read_time(value: object) -> datetime:
    text = value if isinstance(value, str) else ""
    if not _RFC3339.fullmatch(text):
        raise ValueError("must be a time such as 2026-03-01T12:00:00Z")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a time such as 2026-03-01T12:00:00Z") from None


def _start(value: object) -> datetime:
    starts_at = _read_time(value)
    if not _FIRST_SECOND <= starts_at <= _LAST_SECOND:
        raise ValueError("must be between 1970 and 2106")
    return starts_at


def _end(value: object) -> datetime | None:
    """Go's zero time, year 1, stands for an end that is not known; in other zones it may not even exist."""
    if value is None or (isinstance(value, str) and value.startswith("0001-01-01T")):
        return None
    return _read_time(value)


def _fingerprint(text: str) -> str:
    if text and not _FINGERPRINT.fullmatch(text):
        raise ValueError("must be 1 to 128 letters, digits or any of . _ : -")
    return text


_Text = Annotated[str, AfterValidator(_well_formed)]
_Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH), AfterValidator(_well_formed)]
_Value = Annotated[str, Field(max_length=MAX_VALUE_LENGTH), AfterValidator(_well_formed)]


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", alias_generator=to_camel, hide_input_in_errors=True)


class _WireAlert(_Wire):
    status: Literal["firing", "resolved"]
    labels: Annotated[dict[_Name, _Value], Field(min_length=1, max_length=MAX_LABELS)]
    annotations: Annotated[dict[_Name, _Text], Field(max_length=MAX_LABELS)] | None = None
    starts_at: Annotated[datetime, PlainValidator(_start)]
    ends_at: Annotated[datetime | None, PlainValidator(_end)] = None
    generator_url: Annotated[_Text, Field(alias="generatorURL")] = ""
    fingerprint: Annotated[str, AfterValidator(_fingerprint)] = ""


class _Envelope(_Wire):
    version: Literal["4"]
    alerts: list[Any]
    receiver: _Value = ""
    group_key: _Text = ""
    external_url: Annotated[_Value, Field(alias="externalURL")] = ""
    truncated_alerts: Annotated[int, Field(ge=0)] = 0


def _envelope(payload: bytes) -> _Envelope:
    try:
        value = parsed_in_turns(payload.decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidPayload([Problem("", "the call is not UTF-8")]) from None
    except RecursionError:
        raise InvalidPayload([Problem("", "the call is nested too deeply")]) from None
    except ValueError as error:
        raise InvalidPayload([Problem("", f"the call is not JSON: {error}")]) from None
    try:
        return _Envelope.model_validate(value)
    except ValidationError as error:
        raise InvalidPayload(_problems(error, "")) from None


def _problems(error: ValidationError, path: str) -> list[Problem]:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return [Problem(_path(path, e["loc"]), _sentence(e["type"], e["msg"])) for e in found[:_PROBLEMS_OF_ONE_ALERT]]


def _path(path: str, location: tuple[int | str, ...]) -> str:
    parts = [shorten(str(part), 64) for part in location if part != "[key]"]
    return ".".join([path, *parts] if path else parts)


def _sentence(kind: str, message: str) -> str:
    if kind in ("model_type", "dict_type"):
        return "must be an object"
    message = message.removeprefix("Value error, ").removeprefix("Input ").removeprefix("Dictionary ")
    return (message[:1].lower() + message[1:]).replace("should", "must", 1)


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
