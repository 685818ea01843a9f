"""
The field types that all our kinds share, each with the schema that the API server enforces.

Lists, strings and maps are bounded everywhere: the API server estimates the cost of CEL rules
from the bounds and refuses a CRD without them.
"""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

NAME_PATTERN: Final = r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"
IDENTIFIER_PATTERN: Final = r"^[a-z][a-zA-Z0-9]{0,39}$"
SHARE_PATTERN: Final = r"^[0-9]{1,6}%?$"


class ApiModel(BaseModel):
    """
    The root of everything that people write into our kinds.

    Unknown fields are refused, names are camelCase, and what was parsed is not changed afterwards.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    def as_json(self) -> dict[str, Any]:
        """As the API server stores it: unset fields are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
NamespaceName = Annotated[str, Field(min_length=1, max_length=63, pattern=NAME_PATTERN)]
Identifier = Annotated[str, Field(min_length=1, max_length=40, pattern=IDENTIFIER_PATTERN)]
Share = Annotated[str, Field(min_length=1, max_length=7, pattern=SHARE_PATTERN)]
"""A number of pods, or a share of them in percent."""
ReceiverName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]

Expression = Annotated[str, Field(min_length=1, max_length=2048)]
"""Bare CEL."""

Text = Annotated[str, Field(max_length=2048)]
"""A string that may contain `${…}`."""

AnyObject = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
]
"""Data whose shape is decided elsewhere; it is validated by the operator, not by the API server."""

AnyValue = Annotated[Any, WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True})]


KindText = Annotated[
    str,
    Field(min_length=1, max_length=128, pattern=r"^([A-Z][A-Za-z]*|[a-z][a-z0-9]*(\.[a-z0-9-]+)+|external)$"),
]
