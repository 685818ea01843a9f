"""
Runs as rows of a table, from the objects as they are stored.

Only what the columns show is read, so that a run of another version still has its row. On a
terminal the table fits: names lose their middle, and any part of a name that is unique at its
beginning or end still finds the run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from remediator.cli.text import UNBOUNDED, Tone, age, front, middle, shown, styled
from remediator.domain.json import Object, dig_list, dig_object, dig_text

GAP: Final = "   "
NARROW_GAP: Final = "  "
SHORT: Final = {
    "Deployment": "deploy",
    "StatefulSet": "sts",
    "DaemonSet": "ds",
    "ReplicaSet": "rs",
    "CronJob": "cj",
    "Pod": "po",
    "Node": "no",
    "Namespace": "ns",
    "Service": "svc",
    "PersistentVolumeClaim": "pvc",
    "PersistentVolume": "pv",
    "HorizontalPodAutoscaler": "hpa",
}
"""kubectl's own short names, where there is no room for the long ones."""

SUCCESSES: Final = frozenset({"Remediated", "NotNeeded", "Done", "DryRun", "Diagnosed"})
"""Outcomes that are shown as good; an unknown one of a newer version is not."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run in a few words."""

    namespace: str
    name: str
    uid: str
    alert: str
    target: str
    remedy: str
    state: str
    outcome: str
    created_at: datetime
    policy: str
    runbook: str
    mode: str
    duration: str
    message: str
    latest: str
    """The newest line of its story."""

    @classmethod
    def of(cls, obj: Object) -> "RunRow":
        spec, status, meta = dig_object(obj, "spec"), dig_object(obj, "status"), dig_object(obj, "metadata")
        timeline = dig_list(status, "timeline")
        last: Object = timeline[-1] if timeline else {}
        target = dig_text(status, "target") or "/".join(
            part for part in (dig_text(spec, "target", "kind"), dig_text(spec, "target", "name")) if part
        )
        return cls(
            namespace=dig_text(meta, "namespace"),
            name=dig_text(meta, "name"),
            uid=dig_text(meta, "uid"),
            alert=dig_text(status, "alert")
            or ", ".join(sorted(dig_object(spec, "episode", "alerts", "names")))
            or ("" if "policyRef" in spec else "(by hand)"),
            target=target,
            remedy=dig_text(status, "remedy"),
            state=dig_text(status, "state") or "Pending",
            outcome=dig_text(status, "outcome"),
            created_at=moment(dig_text(meta, "creationTimestamp")),
            policy=dig_text(spec, "policyRef", "name"),
            runbook=dig_text(spec, "runbookRef", "name"),
            mode=dig_text(status, "resolved", "mode") or dig_text(spec, "mode"),
            duration=dig_text(status, "duration"),
            message=_message(status),
            latest=": ".join(part for part in (dig_text(last, "what"), dig_text(last, "message")) if part),
        )

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name

    @property
    def is_open(self) -> bool:
        return not self.outcome

    @property
    def tone(self) -> Tone:
        if self.is_open:
            return Tone.OPEN
        return Tone.GOOD if self.outcome in SUCCESSES else Tone.BAD


Wanted = Callable[[RunRow], bool]


def _message(status: Object) -> str:
    """Where it stands, and who looks after it while it is open."""
    by = "" if dig_text(status, "outcome") else dig_text(status, "acknowledged", "by")
    return dig_text(status, "message") + (f" (looked after by {by})" if by else "")


def everything(_: RunRow) -> bool:
    return True


def moment(text: str) -> datetime:
    """The time that the API server wrote; the epoch where it wrote none."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def newest_first(rows: Sequence[RunRow]) -> list[RunRow]:
    """What just happened stands on top; runs of one second stay in the order of their names."""
    return sorted(sorted(rows, key=lambda one: one.key), key=lambda one: one.created_at, reverse=True)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, its value, and how narrow it may become (None: not at all)."""

    title: str
    value: Callable[[RunRow, datetime], str]
    least: int | None = None
    cut: Callable[[str, int], str] = front
    toned: bool = False


NAMESPACE: Final = Column("NAMESPACE", lambda one, _: one.namespace, 9, middle)
NAME: Final = Column("NAME", lambda one, _: one.name, 12, middle)
ALERT: Final = Column("ALERT", lambda one, _: one.alert, 8)
TARGET: Final = Column("TARGET", lambda one, _: one.target, 11, middle)
REMEDY: Final = Column("REMEDY", lambda one, _: one.remedy, 8)
SHORT_TARGET: Final = Column("TARGET", lambda one, _: shortened(one.target), 11, middle)
STATE: Final = Column("STATE", lambda one, _: one.state, None, toned=True)
OUTCOME: Final = Column("OUTCOME", lambda one, _: one.outcome, None, toned=True)
STANDING: Final = Column("STATE", lambda one, _: one.outcome or one.state, None, toned=True)
AGE: Final = Column("AGE", lambda one, now: age(now - one.created_at))
WIDE: Final = (
    Column("POLICY", lambda one, _: one.policy, 8),
    Column("RUNBOOK", lambda one, _: one.runbook, 8),
    Column("MODE", lambda one, _: one.mode),
    Column("DURATION", lambda one, _: one.duration),
)
MESSAGE: Final = Column("MESSAGE", lambda one, _: one.message, 30)


def columns(*, all_namespaces: bool, wide: bool, narrow: bool = False) -> tuple[Column, ...]:
    """The columns of a table; a narrow one says how a run ended where it says how an open one stands."""
    standing = (STANDING,) if narrow else (STATE, OUTCOME)
    first = (NAMESPACE,) if all_namespaces else ()
    usual = (*first, NAME, ALERT, SHORT_TARGET if narrow else TARGET, REMEDY, *standing, AGE)
    # who asks for a wide table wants the names whole; its last column alone gives way
    return (*(replace(one, least=None) for one in (*usual, *WIDE)), MESSAGE) if wide else usual


def shortened(target: str) -> str:
    """`deploy/checkout` for `Deployment/checkout`."""
    kind, slash, name = target.partition("/")
    return f"{SHORT.get(kind, kind)}{slash}{name}"


def table(
    rows: Sequence[RunRow],
    now: datetime,
    *,
    all_namespaces: bool = False,
    wide: bool = False,
    width: int = UNBOUNDED,
    colour: bool = False,
) -> list[str]:
    """The lines of the table, its titles first; none is wider than `width` where that can be done."""
    chosen = columns(all_namespaces=all_namespaces, wide=wide)
    texts = _texts(chosen, rows, now)
    gap = GAP
    if _total(_natural(chosen, texts), gap) > width and not wide:
        gap, chosen = NARROW_GAP, columns(all_namespaces=all_namespaces, wide=wide, narrow=True)
        texts = _texts(chosen, rows, now)
    widths = _fitting(chosen, texts, width, gap)
    lines = [_line([(one.title, Tone.TITLE) for one in chosen], widths, gap, colour)]
    for one, cells in zip(rows, texts, strict=True):
        toned = [
            (column.cut(text, size), one.tone if column.toned else Tone.PLAIN)
            for column, text, size in zip(chosen, cells, widths, strict=True)
        ]
        lines.append(_line(toned, widths, gap, colour))
    return lines


def _texts(chosen: Sequence[Column], rows: Sequence[RunRow], now: datetime) -> list[list[str]]:
    return [[" ".join(shown(column.value(one, now)).split()) for column in chosen] for one in rows]


def _natural(chosen: Sequence[Column], texts: Sequence[Sequence[str]]) -> list[int]:
    return [
        max([len(column.title), *(len(cells[index]) for cells in texts)], default=0)
        for index, column in enumerate(chosen)
    ]


def _total(widths: Sequence[int], gap: str) -> int:
    return sum(widths) + len(gap) * (len(widths) - 1)


def _fitting(chosen: Sequence[Column], texts: Sequence[Sequence[str]], width: int, gap: str) -> list[int]:
    """The widths of the columns: the widest that may shrink gives way first."""
    widths = _natural(chosen, texts)
    while _total(widths, gap) > width:
        able = [
            i for i, one in enumerate(chosen) if one.least is not None and widths[i] > max(one.least, len(one.title))
        ]
        if not able:
            break
        widths[max(able, key=lambda i: widths[i] - (chosen[i].least or 0))] -= 1
    return widths


def _line(cells: Sequence[tuple[str, Tone]], widths: Sequence[int], gap: str, colour: bool) -> str:
    *most, (text, tone) = cells
    padded = [styled(text.ljust(size), tone, colour) for (text, tone), size in zip(most, widths, strict=False)]
    return gap.join([*padded, styled(text, tone, colour)]).rstrip()
