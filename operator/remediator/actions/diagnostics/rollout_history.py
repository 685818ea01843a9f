"""The releases of a workload, as the cluster has recorded them, and how far the present one is."""

from typing import ClassVar, Final

from pydantic import Field

from remediator.actions.base import Reader
from remediator.actions.pods import as_meant
from remediator.actions.revisions import History, Revision, history_of
from remediator.domain.actions import ActionClass, ActionInfo, Output, OutputPart, Parameters, Permission, Reading
from remediator.domain.errors import NotFound
from remediator.domain.json import Object, dig_int
from remediator.domain.objects import WORKLOADS
from remediator.domain.workloads import images, is_rolled_out, is_rolling, is_stuck, rollout_counts

MAX_REVISIONS: Final = 100


class RolloutHistoryParameters(Parameters):
    """None: the target says it all."""

    limit: int = Field(default=20, ge=1, le=MAX_REVISIONS, description="Newest revisions that are kept; default 20.")


class RevisionView(OutputPart):
    """One recorded pod template."""

    revision: int = Field(description="The number that `kubectl rollout history` shows.")
    created_at: str = Field(description="When it was first rolled out, RFC 3339; a rollback to it does not change it.")
    images: tuple[str, ...] = Field(description="The images of its containers.")
    change_cause: str | None = Field(default=None, description="What somebody wrote as its reason.")


class RolloutStatus(OutputPart):
    """How far the present rollout is."""

    replicas: int = Field(description="How many are asked for.")
    updated_replicas: int = Field(description="How many have the present template.")
    available_replicas: int = Field(description="How many have been Ready for long enough.")
    observed_generation: int = Field(description="The generation that the controller has seen.")
    complete: bool = Field(description="Whether all have the present template and are available.")
    in_progress: bool = Field(description="Whether pods are still being replaced.")
    stuck: bool = Field(description="Whether the controller has given up waiting for progress.")


class RolloutHistoryOutput(Output):
    """The revisions of a workload, newest first."""

    revisions: tuple[RevisionView, ...] = Field(
        default=(), description="Newest first; empty for a target that is gone."
    )
    newest: RevisionView | None = Field(default=None, description="The one with the highest number.")
    current: RevisionView | None = Field(default=None, description="The one that the workload has now.")
    previous: RevisionView | None = Field(
        default=None, description="What a rollback to `previous` would go to; absent where there is none."
    )
    status: RolloutStatus | None = Field(default=None, description="How far the present rollout is.")


class RolloutHistory:
    """Read the recorded releases of a workload."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="rolloutHistory",
        cls=ActionClass.READ,
        summary="Read the recorded releases of a workload, and how far the present one is.",
        parameters=RolloutHistoryParameters,
        output=RolloutHistoryOutput,
        permissions=(
            Permission("apps", "controllerrevisions", ("list",)),
            Permission("apps", "daemonsets", ("get",)),
            Permission("apps", "deployments", ("get",)),
            Permission("apps", "replicasets", ("list",)),
            Permission("apps", "statefulsets", ("get",)),
        ),
        targets=WORKLOADS,
    )

    async def read(self, params: RolloutHistoryParameters, reader: Reader) -> Reading:
        try:
            workload = await as_meant(reader.cluster, reader.target)
        except NotFound:
            return Reading(RolloutHistoryOutput(), notes=(f"{reader.target} is gone",))
        history = await history_of(reader.cluster, workload, reader.target)
        return Reading(_output(history, workload, params.limit))


def _output(history: History, workload: Object, limit: int) -> RolloutHistoryOutput:
    revisions = tuple(_view(revision) for revision in history.revisions)
    return RolloutHistoryOutput(
        revisions=revisions[:limit],
        newest=revisions[0] if revisions else None,
        current=_view(history.current) if history.current else None,
        previous=_view(history.previous) if history.previous else None,
        status=_status(workload),
        truncated=history.truncated or len(revisions) > limit,
    )


def _view(revision: Revision) -> RevisionView:
    return RevisionView(
        revision=revision.number,
        created_at=revision.created_at,
        images=tuple(images(revision.template)),
        change_cause=revision.change_cause or None,
    )


def _status(workload: Object) -> RolloutStatus:
    counts = rollout_counts(workload)
    return RolloutStatus(
        replicas=counts.desired,
        updated_replicas=counts.updated,
        available_replicas=counts.available,
        observed_generation=dig_int(workload, "status", "observedGeneration"),
        complete=is_rolled_out(workload),
        in_progress=is_rolling(workload),
        stuck=is_stuck(workload),
    )
