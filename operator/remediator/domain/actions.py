"""
What an action says about itself.

The engine decides from this alone: it never sees an action's code. The CRD's schema, the RBAC and
the reference page are generated from the same declarations.
"""

import enum
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from remediator.domain.json import Object


class ActionClass(enum.StrEnum):
    """What an action does to the world: it reads, it alters something, or it tells somebody."""

    READ = "Read"
    CHANGE = "Change"
    MESSAGE = "Message"


@dataclass(frozen=True, slots=True, order=True)
class Permission:
    """Verbs on one resource; a subresource is written as in RBAC, `pods/log`."""

    group: str
    resource: str
    verbs: tuple[str, ...]


class Parameters(BaseModel):
    """
    The root of every action's parameters.

    Names are camelCase in YAML. A value may be a template where its field's type is a string or
    `IntOrTemplate`; the same model reads it before and after rendering.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Output(BaseModel):
    """
    The root of every diagnostic's output.

    A result that could not be had has `known` False, `error` says why, and every other field is
    left out: an expression over it is Unknown, never False.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    known: bool = Field(default=True, description="Whether the system asked gave an answer.")
    truncated: bool = Field(default=False, description="Whether a bound cut the answer; lists are then Unknown.")
    observed_at: str = Field(default="", description="When it was read, RFC 3339.")
    error: str = Field(default="", description="Why it is not known.")

    def as_json(self) -> Object:
        """What expressions see: fields that are None are absent."""
        if not self.known:
            return {"known": False, "truncated": False, "observedAt": self.observed_at, "error": self.error}
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class OutputPart(BaseModel):
    """The root of everything nested in an output; a field that is None is absent, and `has` is false."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


@dataclass(frozen=True, slots=True)
class ActionInfo:
    """
    An action as the engine, the generators and the reference page see it.

    `recognisable` means that a restart can tell whether it already happened; only then may an
    intent found in storage be carried out. `waits_for_rollout` means that it must not meet a rollout
    that is going on.
    """

    name: str
    cls: ActionClass
    summary: str
    parameters: type[Parameters]
    output: type[Output] | None = None
    permissions: tuple[Permission, ...] = ()
    targets: tuple[str, ...] = ()
    replaces_pods: bool = False
    undoable: bool = False
    recognisable: bool = True
    waits_for_rollout: bool = False
    queries: tuple[str, ...] = ()
    """The parameters that are PromQL."""

    NO_TARGET: ClassVar[tuple[str, ...]] = ()

    @property
    def reads(self) -> bool:
        return self.cls is ActionClass.READ

    @property
    def changes(self) -> bool:
        return self.cls is ActionClass.CHANGE


@dataclass(frozen=True, slots=True)
class Reading:
    """What a diagnostic brought back: its typed output, and the text worth keeping as evidence."""

    output: Output
    evidence: str = ""
    notes: tuple[str, ...] = field(default=())
