"""Whose policies may use a Runbook: those of its own namespace, and of those it is shared with."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from remediator.domain.errors import Problem

EVERYBODY: Final = "*"
_PATTERN: Final = re.compile(r"\*|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?|[a-z0-9][-a-z0-9]{0,61}\*")


def is_shared(runbook_namespace: str, shared_with: Sequence[str], namespace: str) -> bool:
    """
    Whether policies and runs of the namespace may use the Runbook.

    The operator's own namespace is no exception: a tenant who changes his Runbook would otherwise
    decide what the platform's accounts do.
    """
    if namespace == runbook_namespace:
        return True
    return any(
        namespace.startswith(entry.removesuffix("*")) if entry.endswith("*") else entry == namespace
        for entry in shared_with
    )


def sharing_problems(shared_with: Sequence[str]) -> Iterator[Problem]:
    """Entries that no namespace could match as their author meant them."""
    for index, entry in enumerate(shared_with):
        if not _PATTERN.fullmatch(entry):
            message = f'"{entry}" is neither a namespace nor the beginning of one: write shop, team-* or "*"'
            yield Problem(f"spec.sharedWith[{index}]", message)
