"""
What can go wrong that the caller did not ask for.

RemediatorError
├── Invalid                what somebody wrote cannot be used; carries every problem with its path
│   ├── InvalidManifest    the author must change the YAML
│   ├── InvalidPayload     the sender must change the call
│   └── InvalidExpression  the author must change the expression or the template
├── NotFound               the object is not there
├── Conflict               somebody else wrote first: read again
│   └── AlreadyExists      the name is taken
├── Forbidden              the identity may not do this
├── Rejected               the API server understood and refuses: validation, admission, quota
└── Unavailable            a system did not answer, or not in time: try later
    └── Deposed            this process leads no longer: whoever does goes on from the record

A refusal by a guard is a `Verdict`, a failed attempt is an `Outcome`; neither is an exception.
"""

from collections.abc import Iterable
from dataclasses import dataclass


class RemediatorError(Exception):
    """The root of all errors that the project raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One thing that is wrong, where it is, and what would be right.

    `path` is written as kubectl writes it: `spec.remedies[0].steps[2].scale.replicas`.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class Invalid(RemediatorError):
    """What somebody wrote cannot be used; `problems` holds all of them, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


class InvalidManifest(Invalid):
    """The author must change the YAML."""


class InvalidPayload(Invalid):
    """The sender must change the call."""


class InvalidExpression(Invalid):
    """The author must change the expression or the template."""


class NotFound(RemediatorError):
    """The object is not there."""


class Conflict(RemediatorError):
    """
    Somebody else wrote first, or a precondition of the write no longer holds: read again.

    Covers 409 and the 422 by which the API server reports a failed JSON-patch `test`.
    """


class AlreadyExists(Conflict):
    """An object of that name is there already."""


class Forbidden(RemediatorError):
    """The identity that acted may not do this; the message names identity, verb and resource."""


class Rejected(RemediatorError):
    """The API server understood the request and refuses it: validation, admission, quota."""


class Unavailable(RemediatorError):
    """A system did not answer, or not in time; whether a write happened is not known."""


class Deposed(Unavailable):
    """This process leads no longer, so that nothing was sent; whoever does goes on from the record."""
