"""
Read the ends of containers' logs, count lines in them and pick values out of them.

A count is left Unknown where its zero is not certain: where a log was cut or could not be had. Where
there was no pod to read, nothing was counted, and `count` is absent: missing is never zero.
"""

import enum
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar

from pydantic import Field, create_model, field_validator

from remediator.actions.base import Reader, Template
from remediator.actions.logtext import LogsRead, different_values, matching_lines
from remediator.actions.patterns import checked
from remediator.actions.pods import as_meant, owned_pods
from remediator.domain.actions import ActionClass, ActionInfo, Output, OutputPart, Parameters, Permission, Reading
from remediator.domain.bounded import shorten
from remediator.domain.durations import GoDuration
from remediator.domain.errors import NotFound, Rejected
from remediator.domain.expressions.shapes import NoneIsUnknown
from remediator.domain.fields import Identifier
from remediator.domain.json import Object, dig, dig_int, dig_list, dig_text
from remediator.domain.objects import BUILT_IN, ObjectRef
from remediator.domain.pods import container_crash_loops, container_statuses, is_crash_looping, pod_is_ready
from remediator.domain.workloads import created_at

Pattern = Annotated[str, Field(max_length=512)]


class From(enum.StrEnum):
    """Which of the target's pods are read."""

    ALL = "all"
    CRASHING = "crashing"
    NEWEST = "newest"
    ONE = "one"


class LogsParameters(Parameters):
    """Without any: the last 200 lines of every container of up to five pods of the target."""

    pods: From = Field(
        default=From.ALL,
        alias="from",
        description="`all`; `crashing`: only containers that crash again and again; `newest`: the youngest pod; "
        "`one`: a single ready pod, or any where none is. Default: all.",
    )
    previous: bool = Field(
        default=False,
        description="Read what the container wrote before it was last restarted; one that never was is passed over.",
    )
    container: Template | None = Field(default=None, description="Only the container of this name; default: each.")
    tail_lines: int = Field(default=200, ge=1, le=5_000, description="Lines from the end of each log; default 200.")
    since: GoDuration | None = Field(default=None, description="Only lines that are younger; default: of any age.")
    limit_bytes: int = Field(
        default=262_144,
        ge=1_024,
        le=1_048_576,
        description="Bytes of each log; a log that is cut by it makes a count of 0 Unknown. Default 262144.",
    )
    max_pods: int = Field(default=5, ge=1, le=20, description="Pods that are read at most; default 5.")
    count: dict[Identifier, Pattern] = Field(
        default_factory=dict,
        max_length=20,
        description="How many lines match, by a name of yours: `{panic: 'panic:'}`.",
    )
    extract: dict[Identifier, Pattern] = Field(
        default_factory=dict,
        max_length=20,
        description="The different values of the one group in parentheses, most frequent first, at most 100: "
        "`{user: 'user=([a-z]+)'}`.",
    )

    @field_validator("count")
    @classmethod
    def _readable(cls, patterns: dict[str, str]) -> dict[str, str]:
        return {name: checked(pattern) for name, pattern in patterns.items()}

    @field_validator("extract")
    @classmethod
    def _with_one_group(cls, patterns: dict[str, str]) -> dict[str, str]:
        return {name: checked(pattern, groups=1) for name, pattern in patterns.items()}


class LogsOutput(Output):
    """What the logs said."""

    count: dict[str, int] | None = Field(
        default=None, description="Matching lines by name; absent where there was no log to read."
    )
    extract: dict[str, list[str]] | None = Field(
        default=None, description="Different values by name; absent where there was no log to read."
    )
    lines: int = Field(default=0, description="Lines that were read.")
    pods: int = Field(default=0, description="Pods whose logs were read.")
    matching_pods: int = Field(default=0, description="Pods that `from` meant, read or not.")


class Logs:
    """Read the ends of containers' logs."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="logs",
        cls=ActionClass.READ,
        summary="Read the ends of containers' logs, count lines in them and pick values out of them.",
        parameters=LogsParameters,
        output=LogsOutput,
        permissions=(
            Permission("", "pods", ("get", "list")),
            Permission("", "pods/log", ("get",)),
            Permission("apps", "daemonsets", ("get",)),
            Permission("apps", "deployments", ("get",)),
            Permission("apps", "replicasets", ("list",)),
            Permission("apps", "statefulsets", ("get",)),
        ),
    )

    shapes: ClassVar[tuple[type[Output], ...]] = (LogsOutput,)

    @classmethod
    def output_for(cls, params: LogsParameters, targets: Sequence[str]) -> type[Output]:  # noqa: ARG003 - the same for every kind
        return _output_with(tuple(sorted(params.count)), tuple(sorted(params.extract)))

    async def read(self, params: LogsParameters, reader: Reader) -> Reading:
        try:
            owner = await as_meant(reader.cluster, reader.target)
            pods = (await owned_pods(reader.cluster, owner, reader.target)).items
        except NotFound:
            return Reading(LogsOutput(), notes=(f"{reader.target} is gone",))
        meant = _meant(params, pods, reader)
        read = await _read_logs(params, meant[: params.max_pods], reader)
        if read.notes and not read.pods and not read.complete:
            return Reading(LogsOutput(known=False, error=shorten("; ".join(read.notes), 512)))
        return Reading(_output(params, read, len(meant)), read.evidence(), tuple(read.notes))


def _meant(params: LogsParameters, pods: tuple[Object, ...], reader: Reader) -> list[Object]:
    youngest_first = sorted(pods, key=created_at, reverse=True)
    if params.pods is From.CRASHING:
        return [pod for pod in youngest_first if is_crash_looping(pod, reader.now)]
    if params.pods is From.NEWEST:
        return youngest_first[:1]
    if params.pods is From.ONE:
        ready_first = sorted(youngest_first, key=pod_is_ready, reverse=True)
        return ready_first[:1]
    return youngest_first


async def _read_logs(params: LogsParameters, pods: Sequence[Object], reader: Reader) -> LogsRead:
    read = LogsRead()
    for pod in pods:
        for container in _containers(params, pod, reader):
            await _read_one(params, pod, container, reader, read)
    return read


def _containers(params: LogsParameters, pod: Object, reader: Reader) -> Iterator[str]:
    """The containers that are meant and have a log at all: one that never ran has none, which is an answer."""
    app = {dig_text(spec, "name") for spec in dig_list(pod, "spec", "containers")}
    for status in container_statuses(pod):
        name = dig_text(status, "name")
        if params.container is not None and name != params.container:
            continue
        crashes = container_crash_loops(status, reader.now)
        if params.container is None and name not in app and not crashes:
            continue
        if params.pods is From.CRASHING and not crashes:
            continue
        if _has_log(status, previous=params.previous):
            yield name


def _has_log(status: Object, *, previous: bool) -> bool:
    if previous:
        return dig_int(status, "restartCount") > 0
    return dig(status, "state", "waiting") is None or dig_int(status, "restartCount") > 0


async def _read_one(params: LogsParameters, pod: Object, container: str, reader: Reader, read: LogsRead) -> None:
    name = dig_text(pod, "metadata", "name")
    try:
        log = await reader.cluster.logs(
            ObjectRef.to(pod, BUILT_IN["Pod"]),
            container=container,
            previous=params.previous,
            tail_lines=params.tail_lines,
            since=params.since,
            limit_bytes=params.limit_bytes,
        )
    except (NotFound, Rejected) as error:  # gone since the list, or no such run of the container: there is no log
        read.notes.append(f"{name}/{container}: {error}")
        return
    if not log.available:
        read.complete = False
        read.notes.append(f"{name}/{container}: the kubelet had no log to give yet; look again")
        return
    read.take(log, name, container)


def _output(params: LogsParameters, read: LogsRead, matching: int) -> LogsOutput:
    output = LogsOutput(lines=len(read.lines), pods=len(read.pods), matching_pods=matching, truncated=not read.complete)
    if not read.pods:
        return output
    counts = {name: matching_lines(pattern, read.lines) for name, pattern in params.count.items()}
    values = {name: different_values(pattern, read.lines) for name, pattern in params.extract.items()}
    return output.model_copy(
        update={
            "count": {name: count for name, count in counts.items() if count > 0 or read.complete},
            "extract": {name: found for name, found in values.items() if read.complete},
        }
    )


@lru_cache(maxsize=512)
def _output_with(counts: tuple[str, ...], values: tuple[str, ...]) -> type[Output]:
    """LogsOutput with the names that the parameters give, so that a misspelt one does not compile."""
    number, texts = Annotated[int | None, NoneIsUnknown], Annotated[list[str] | None, NoneIsUnknown]
    counted = create_model("LogCounts", __base__=OutputPart, **_fields(counts, number))
    extracted = create_model("LogValues", __base__=OutputPart, **_fields(values, texts))
    return create_model(
        "LogsOutput",
        __base__=LogsOutput,
        count=(counted | None, Field(default=None, description="Matching lines by name.")),
        extract=(extracted | None, Field(default=None, description="Different values by name.")),
    )


def _fields(names: tuple[str, ...], kind: Any) -> dict[str, Any]:
    """Fields under names of their own, because a user may call one `copy` or `json`."""
    return {f"value_{name}": (kind, Field(default=None, alias=name)) for name in names}
