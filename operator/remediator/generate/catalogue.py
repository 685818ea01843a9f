"""Every action, as the generators see it."""

from collections.abc import Sequence

from remediator.actions.registry import ACTIONS
from remediator.domain.actions import ActionInfo


def declared() -> Sequence[ActionInfo]:
    """What the registered actions declare, in alphabetical order."""
    return sorted((action.info for action in ACTIONS.values()), key=lambda info: info.name)
