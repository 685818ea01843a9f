"""
Ask Prometheus one question about now.

`value` is there only where the answer is one number: a query that finds nothing has no value, and
nobody should take that for 0.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from remediator.actions.base import Reader
from remediator.domain.actions import ActionClass, ActionInfo, Output, OutputPart, Parameters, Reading
from remediator.domain.errors import NotFound, Unavailable
from remediator.domain.expressions.shapes import NoneIsUnknown
from remediator.domain.fields import ReceiverName


class PromqlParameters(Parameters):
    """An instant query."""

    query: Annotated[str, Field(min_length=1, max_length=2048)] = Field(
        description="PromQL; may hold `${…}`. Outside of the operator's namespace it sees the series of its own "
        "namespace alone: `namespace=…` is put into every selector, and a query that names another namespace, or "
        "that cannot be confined, is not answered (`known` is false)."
    )
    endpoint: ReceiverName = Field(
        default="prometheus", description="A name in the ConfigMap `remediator-endpoints`; default: prometheus."
    )
    limit: int = Field(default=100, ge=1, le=1_000, description="Series at most; of more the output is `truncated`.")


class SampleView(OutputPart):
    """One series."""

    labels: dict[str, str] = Field(description="Its labels.")
    value: Annotated[float | None, NoneIsUnknown] = Field(
        default=None, description="Its value; Unknown where Prometheus says NaN or infinite."
    )


class PromqlOutput(Output):
    """The answer of an instant query."""

    value: float | None = Field(
        default=None, description="The value, where the answer is a scalar or one series; absent otherwise."
    )
    samples: tuple[SampleView, ...] = Field(default=(), description="All series; empty where nothing was found.")


class Promql:
    """Ask Prometheus."""

    info: ClassVar[ActionInfo] = ActionInfo(
        name="promql",
        cls=ActionClass.READ,
        summary="Ask Prometheus one question about now.",
        parameters=PromqlParameters,
        output=PromqlOutput,
        queries=("query",),
    )

    async def read(self, params: PromqlParameters, reader: Reader) -> Reading:
        try:
            found = await reader.metrics.query(params.endpoint, params.query, reader.now)
        except NotFound as error:  # a back end that is not configured has not answered
            raise Unavailable(f"the endpoint {params.endpoint} is not configured") from error
        samples = tuple(SampleView(labels=dict(sample.labels), value=sample.value) for sample in found)
        return Reading(
            PromqlOutput(
                value=samples[0].value if len(samples) == 1 else None,
                samples=samples[: params.limit],
                truncated=len(samples) > params.limit,
            )
        )
