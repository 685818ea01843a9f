"""What is wrong with an approval, wherever it is asked for."""

from collections.abc import Iterator

from remediator.domain.approvals import Approval
from remediator.domain.errors import Problem
from remediator.engine.manifests import join


def approval_problems(approval: Approval | None, path: str) -> Iterator[Problem]:
    """Everything that keeps the question from ever being answered."""
    if approval is not None and not approval.expires:
        yield Problem(join(path, "approval", "expires"), "must be longer than 0s: nobody could answer in time")
